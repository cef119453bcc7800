#!/usr/bin/env bash
# The real claude and codex under real ticks, with a model that is played on loopback: what the ticks decided when
# everything went well, when their trees were killed, their sessions were gone or taken, and their provider failed.
# Usage: scripts/presets.sh [part of a test's name]
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/harness.sh
export FACTORY_TICK_REQUIRE_HARNESS=1
exec cargo test --locked --test it "presets::${1:-}" -- --nocapture --test-threads=1
