#!/usr/bin/env bash
# Runs the simulator over more seeds than the tests do: scripts/sim.sh [SEEDS] [TICKS] [FIRST_SEED].
# Without a first seed it starts at one that nobody has run yet. It prints what the seeds lived through; a broken rule
# is told with its seed and tick. FACTORY_TICK_SIM_SEED=n scripts/sim.sh replays one seed, telling each tick.
set -euo pipefail
cd "$(dirname "$0")/.."

seeds=${1:-2000}
ticks=${2:-100}
# Thirty bits of chance: short enough to be typed again.
first=${3:-$((RANDOM * 32768 + RANDOM + 1))}

for number in "$seeds" "$ticks" "$first"; do
  [[ $number =~ ^[1-9][0-9]*$ ]] || { printf 'usage: %s [SEEDS] [TICKS] [FIRST_SEED]\n' "$0" >&2; exit 2; }
done

export FACTORY_TICK_SIM_SEEDS=$seeds FACTORY_TICK_SIM_TICKS=$ticks FACTORY_TICK_SIM_FIRST_SEED=$first
exec cargo test --locked --profile sim --test it sim::every_rule -- --nocapture
