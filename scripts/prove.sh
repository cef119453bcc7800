#!/usr/bin/env bash
# Everything that is promised, tried: faults at each system call, damaged files, power cuts, agents that misbehave,
# hostile input, killed ticks, simulated nights and random input, one script after the other, each with its own table in
# target/prove/. Prints what passed and how long it took; exits with 1 when a promise broke.
# Usage: scripts/prove.sh [PERCENT] [STEP...]
#   PERCENT  how much of each; 100. 50 without the night took 21 minutes on two cores. Mutations are not among it: they
#            take a night (scripts/mutants.sh, scripts/mutants-all.sh)
#   STEP     only these: sweep errno corrupt power reaper hostile kill race sim night fuzz
set -uo pipefail
cd "$(dirname "$0")/.."

percent=${1:-100}
[[ $percent =~ ^[1-9][0-9]*$ ]] || { printf 'usage: %s [PERCENT] [STEP...]\n' "$0" >&2; exit 2; }
[ $# -eq 0 ] || shift
wanted=" ${*:-sweep errno corrupt power reaper hostile kill race sim night fuzz} "

# At least one of so many.
part() { echo $(($1 * percent / 100 > 0 ? $1 * percent / 100 : 1)); }
# Every so-manieth: the less is wanted, the wider the steps.
stride() { echo $((($1 * 100 + percent - 1) / percent)); }

mkdir -p target/prove
failed=0 begun=$SECONDS
printf '%-9s %-44s %7s  %s\n' step command s result

step() {
  local name=$1 from=$SECONDS result=passed
  shift
  [[ $wanted == *" $name "* ]] || return 0
  "$@" >"target/prove/$name.log" 2>&1 || { result="FAILED: target/prove/$name.log" failed=1; }
  printf '%-9s %-44s %7s  %s\n' "$name" "$*" $((SECONDS - from)) "$result"
}

step sweep scripts/sweep.sh all --every "$(stride 1)"
step errno scripts/sweep.sh all --errno all --every "$(stride 3)"
step corrupt scripts/corrupt.sh all --every "$(stride 97)"
step power scripts/power.sh "$(part 200)"
step reaper scripts/reaper.sh 1
step hostile scripts/hostile.sh "$percent"
step kill scripts/kill.sh "$(part 200)"
step race scripts/race.sh "$(part 200)"
step sim scripts/sim.sh "$(part 5000)" 100
step night env PROFILE=release scripts/night.sh "$(part 200)" 7
step fuzz scripts/fuzz.sh "$(part 10)"

printf '%-54s %7s  %s\n' all $((SECONDS - begun)) "$([ "$failed" -eq 0 ] && echo passed || echo FAILED)"
exit "$failed"
