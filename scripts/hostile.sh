#!/usr/bin/env bash
# Hostile input at full size, given to the real program: texts, names, bytes, bombs, something else in the place of each
# file, what is around the process, output without end. Prints a row for each call: input, expected code, seen code,
# milliseconds, peak of its memory in MiB (python3). Exits with 1 when a promise broke.
# Usage: scripts/hostile.sh [PERCENT] [PART]
#   PERCENT  how large sizes are; 100: 100,000 items, 1 GB of output, a file of 50 MB. Below 100 neither rows nor peaks
#            are told, and not everything is tried; the ordinary tests are at 1
#   PART     texts, places, said or machine: that part alone
set -euo pipefail
cd "$(dirname "$0")/.."

give_up() {
  printf '%s\n' "$*" >&2
  exit 2
}

percent=${1:-100} part=${2:-}
case $percent in '' | *[!0-9]* | 0) give_up "usage: scripts/hostile.sh [PERCENT] [PART]" ;; esac
case $part in '' | texts | places | said | machine) ;; *) give_up "there is no part $part" ;; esac

printf '%-58s %-22s %6s %7s %9s\n' input expected seen ms "peak MiB"
FACTORY_TEST_HOSTILE_PERCENT=$percent exec cargo test --quiet --locked --test it -- --nocapture --test-threads 2 "hostile::$part"
