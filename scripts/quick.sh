#!/usr/bin/env bash
# What a change needs at once: format, lints, unit tests, 50 simulated factories. Under a minute once all is built.
# scripts/test.sh checks everything.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo fmt --check
cargo clippy --all-targets --locked -- -D warnings
cargo test --quiet --locked --lib
cargo prove sim 50
