#!/usr/bin/env bash
# Eight ticks at once, round after round: each run is started once, the losers are busy.
# Usage: scripts/race.sh [rounds]
set -euo pipefail
cd "$(dirname "$0")/.."

export FACTORY_TEST_RACE_ROUNDS=${1:-50}
echo "rounds: $FACTORY_TEST_RACE_ROUNDS"
cargo test --locked --test it -- --exact --nocapture \
  crash::of_many_ticks_at_once_one_starts_each_run_and_the_losers_are_busy
