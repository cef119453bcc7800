#!/usr/bin/env bash
# A night of 200 minutes, in short: thirty items in four factories, ticked as cron does it, while agents succeed, fail,
# hang, fork, ask and die, their provider is down for half an hour, and the clock is set back by an hour and right again;
# then the morning: drain, stop, pause, and everything is tried again. Prints what became of each item, every mail, what
# ticks took, and fails where anything is not as it should be. PROFILE=release measures what users have; it builds for long.
# Usage: scripts/night.sh [TICKS] [SEED]   A tick per minute is 200, the default; 20 to 400. A seed files the same items at
# the same minutes. What the real claude and codex need is fetched once, see scripts/harness.sh; where that can't be had,
# scripts that print what was recorded of them stand in, and it says so.
set -euo pipefail
cd "$(dirname "$0")/.."

give_up() {
  printf 'night.sh: %s\n' "$*" >&2
  exit 1
}

ticks=${1:-200}
seed=${2:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
for number in "$ticks" "$seed"; do
  [[ $number =~ ^[0-9]+$ ]] || give_up "usage: scripts/night.sh [TICKS] [SEED]"
done

if ! command -v faketime >/dev/null; then
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
  "${as_root[@]}" apt-get install -qy --no-install-recommends faketime ||
    give_up "faketime is needed to set the clock of the drill (Debian package: faketime)"
fi
scripts/harness.sh || printf 'night.sh: no real claude and codex: scripts stand in for them\n' >&2

export FACTORY_TEST_NIGHT_TICKS=$ticks FACTORY_TEST_SEED=$seed
echo "ticks: $ticks, seed: $seed"
exec cargo test --locked --profile "${PROFILE:-sim}" --test it -- --exact --nocapture \
  night::after_a_night_everything_is_where_it_should_be_and_the_morning_goes_on_with_it
