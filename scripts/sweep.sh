#!/usr/bin/env bash
# The real program, killed before each system call that changes anything, or refused each of its calls, one by one: clean
# ticks must recover from every point. Prints how many points were tried in each scene, and what was broken.
# Usage: scripts/sweep.sh [SCENE|all] [--errno E] [--every N] [--jobs N]
#   SCENE      dispatch (the default: all) adopt success failure resume handoff corrupt retention remover
#              launcher-1 launcher-60 launcher-300 (agents that live so many milliseconds)
#   --errno E  the call fails with E instead: EIO ENOSPC EINTR EMFILE EROFS ENOMEM; all: these, one after the other
#   --every N  only each N-th point
#   --jobs N   points at a time; 2
set -euo pipefail
cd "$(dirname "$0")/.."

give_up() {
  printf '%s\n' "$*" >&2
  exit 2
}

scene=all errnos=("") every=1 jobs=2
while [ $# -gt 0 ]; do
  case $1 in
    --errno | --every | --jobs)
      [ $# -ge 2 ] || give_up "$1 needs a value"
      case $1 in
        --errno) errnos=("$2") ;;
        --every) every=$2 ;;
        --jobs) jobs=$2 ;;
      esac
      shift
      ;;
    -*) give_up "usage: scripts/sweep.sh [SCENE|all] [--errno E|all] [--every N] [--jobs N]" ;;
    *) scene=$1 ;;
  esac
  shift
done
[ "${errnos[0]}" != all ] || errnos=(EIO ENOSPC EINTR EMFILE EROFS ENOMEM)

if ! command -v strace >/dev/null; then
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends strace ||
    give_up "strace is needed (Debian package: strace)"
fi

export FACTORY_TEST_SWEEP=$scene FACTORY_TEST_SWEEP_EVERY=$every FACTORY_TEST_SWEEP_JOBS=$jobs
failed=0
for errno in "${errnos[@]}"; do
  FACTORY_TEST_SWEEP_ERRNO=$errno cargo test --locked --test it -- --exact --nocapture \
    sweep::whatever_call_a_process_dies_at_or_is_refused_clean_ticks_go_on_from_there || failed=1
done
exit "$failed"
