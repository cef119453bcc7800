#!/usr/bin/env bash
# Every file that the program reads, cut at each byte and with each bit flipped, given to the real program: nothing is
# lost, started a second time or ended for it. Each corruption of the registry is also loaded alone. Prints how many
# there were of each file, what became of them, and what was broken.
# Usage: scripts/corrupt.sh [WHAT|all] [--every N]
#   WHAT       a part of the name of a group of files, as the table has them: registry, backup, state, run, items,
#              configuration; the default: all
#   --every N  only each N-th corruption of each file; 97. With 1 all takes many hours
set -euo pipefail
cd "$(dirname "$0")/.."

usage="usage: scripts/corrupt.sh [WHAT|all] [--every N]"
give_up() {
  printf '%s\n' "$*" >&2
  exit 2
}

what=all every=97
while [ $# -gt 0 ]; do
  case $1 in
    --every)
      [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || give_up "$usage"
      every=$2
      shift
      ;;
    -*) give_up "$usage" ;;
    *) what=$1 ;;
  esac
  shift
done

export FACTORY_TEST_CORRUPT=$what FACTORY_TEST_CORRUPT_EVERY=$every
exec cargo test --locked --test it -- --exact --nocapture \
  corrupt::whatever_is_damaged_nothing_is_lost_doubled_or_ended
