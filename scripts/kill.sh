#!/usr/bin/env bash
# Ticks killed with SIGKILL at moments spread over all of a tick: no agent is lost, doubled or forgotten.
# Usage: scripts/kill.sh [moments] [seed]   A seed draws the same moments again.
set -euo pipefail
cd "$(dirname "$0")/.."

export FACTORY_TEST_KILL_MOMENTS=${1:-50}
export FACTORY_TEST_SEED=${2:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
echo "moments: $FACTORY_TEST_KILL_MOMENTS, seed: $FACTORY_TEST_SEED"
cargo test --locked --test it -- --exact --nocapture \
  crash::a_tick_killed_at_any_moment_loses_doubles_and_forgets_no_agent
