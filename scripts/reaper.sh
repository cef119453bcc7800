#!/usr/bin/env bash
# Agents that misbehave in every way of tests/it/reaper/misbehave.c, as root and as an ordinary user, each in a pid
# namespace of its own: what is left of a run that ended, was stopped, or lost its launcher to SIGKILL, with a control
# group, without one, and without a limit either; and how much of it was told. Then three times 1,000 pids of ours that
# are given to somebody else: how many of those were signalled. Fails where it is not as promised.
# Usage: scripts/reaper.sh [rounds] [cells]
#   rounds   how often each cell is tried; 1 (about four minutes). The worst counts
#   cells    only those whose name holds this, such as "bare", "Root" or "bare Ordinary Killed"
# Needs root for the columns of root, and for processes of other users.
set -euo pipefail
cd "$(dirname "$0")/.."

export FACTORY_TEST_REAPER=${1:-1} FACTORY_TEST_REAPER_ONLY=${2:-}
failed=0
# So many other processes make each look at all of them as long as it is in life.
FACTORY_TEST_REAPER_CROWD=${FACTORY_TEST_REAPER_CROWD:-500} cargo test --locked --test it -- --exact --nocapture \
  reaper::whatever_an_agent_does_nothing_of_its_run_is_left_or_it_is_told || failed=1
[ -n "$FACTORY_TEST_REAPER_ONLY" ] ||
  FACTORY_TEST_REUSE=1000 cargo test --locked --test it -- --exact --nocapture \
    reaper::reuse::whoever_is_given_a_pid_that_was_ours_is_never_signalled || failed=1
exit "$failed"
