#!/usr/bin/env bash
# Bytes and records of every kind to everything that reads: no panic, no hang, nothing taken that is beyond its limits,
# what is printed is read again as what it was. Runs for so long, with fresh seeds; prints each seed and how many cases it
# made of each property. What fails is kept below tests/proptest-regressions, or beside src, and is to become a test.
# Usage: scripts/fuzz.sh [MINUTES] [SEED]   5; with a seed one round of that alone, to see a failure again.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=${1:-5} seed=${2:-}
for number in "$minutes" "${seed:-1}"; do
  [[ $number =~ ^[0-9]+$ ]] || { printf 'usage: %s [MINUTES] [SEED]\n' "$0" >&2; exit 2; }
done

# A round is a minute or two: short enough to end in time, long enough for rare cases.
export PROPTEST_CASES=${PROPTEST_CASES:-2000}
until=$((SECONDS + minutes * 60))
rounds=0
cargo test --locked --no-run
while :; do
  export PROPTEST_RNG_SEED=${seed:-$((RANDOM * 32768 + RANDOM + 1))}
  rounds=$((rounds + 1))
  printf '\n== round %d: seed %d, %d cases of each property\n' "$rounds" "$PROPTEST_RNG_SEED" "$PROPTEST_CASES"
  # The properties beside the code, and those of the files. Their names begin with any_.
  cargo test --quiet --locked --lib -- ::any_
  cargo test --quiet --locked --test it -- fuzz::
  [ -z "$seed" ] && [ "$SECONDS" -lt "$until" ] || break
done
printf '\nrounds: %d, cases of each property: %d\n' "$rounds" "$((rounds * PROPTEST_CASES))"
