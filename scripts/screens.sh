#!/usr/bin/env bash
# Makes the screens in README.md anew, from fixtures/screens.
set -euo pipefail
cd "$(dirname "$0")/.."
WRITE_SCREENS=1 cargo test --locked --quiet --test it the_screens_in_the_readme
