#!/usr/bin/env bash
# Every mutation that cargo-mutants knows, room by room: each must be noticed by the room's own unit tests, or else by any
# unit test, or else by the simulator. scripts/mutants.sh [ROOM...], without one: all of `rooms`.
# Prints a table and what nobody noticed, and exits 1 if that holds any that scripts/mutants-known.txt does not know: it tells of
# each why that is well. What is not tried at all is in .cargo/mutants.toml. Logs are left in target/mutants/ROOM.
# `scripts/mutants.sh --prove` tries the sandbox. PASSES=1 runs only the room's own tests; SEEDS are the simulator's;
# ONLY is a regular expression of mutants; SHARD=k/n tries the k-th of n parts (from 0). Needs cargo-mutants 27 (cargo install --locked cargo-mutants), and root.
#
# A mutant of a room that sends signals or deletes files may hit anybody. So they run where nobody is: in namespaces of
# their own for processes, mounts, control groups and the network, with all that is on disk read-only but one directory for
# the results. What they build and write goes to a /tmp in memory.
set -euo pipefail

readonly rooms=(decide registry run launcher durable state process)

# Process 1 of the namespaces: takes away what can be written, then does what it is asked to.
inside() {
  local root=$1 out=$2 target
  shift 2
  # All three may lie below /tmp, which is about to be covered.
  exec 7<"$root" 8<"$out" 9<"$(command -v cargo-mutants)"
  findmnt --raw --noheadings --output TARGET | sort -u | while read -r target; do
    [ "$target" = /proc ] || mount -o remount,bind,ro "$target"
  done
  mount -t tmpfs -o size=8g,mode=1777 tmpfs /tmp
  mount -t tmpfs -o size=1g,mode=1777 tmpfs /dev/shm
  # The control group of this sandbox is the root of all that can be seen.
  local hierarchy
  hierarchy=$(findmnt --raw --noheadings --output TARGET --types cgroup2 | head -n 1)
  [ -z "$hierarchy" ] || { umount "$hierarchy" && mount -t cgroup2 cgroup2 "$hierarchy"; }
  mkdir -p "$root" /tmp/results /tmp/bin /tmp/work
  mount --no-canonicalize --bind /proc/self/fd/7 "$root"
  mount -o remount,bind,ro "$root"
  mount --no-canonicalize --bind /proc/self/fd/8 /tmp/results
  mount -o remount,bind,rw /tmp/results
  cat <&9 >/tmp/bin/cargo-mutants
  chmod +x /tmp/bin/cargo-mutants
  # Some tests are done as an ordinary user.
  chmod 1777 /tmp/work
  exec 7<&- 8<&- 9<&-
  # An endless allocation ends the mutant, not the machine.
  ulimit -v $((16 << 20))
  export PATH=/tmp/bin:$PATH TMPDIR=/tmp/work
  cd "$root"
  "$@"
}

# Each sees only what the tests before it have missed.
passes() {
  local room=$1 results=/tmp/results
  # Only what a mutant changes is built again, and nothing for a debugger.
  export CARGO_NET_OFFLINE=true CARGO_INCREMENTAL=1 CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0
  # What this machine lacks would be skipped, and a mutant of it missed.
  [ -z "$(findmnt --types cgroup2)" ] || export FACTORY_TEST_SKIP_NOTHING=1
  local mutants=(cargo-mutants mutants --timeout "${SECONDS_MAX:-60}" --build-timeout 600 -j 1
    --output "$results" --no-times --colors never -f "src/$room.rs" -f "src/$room/**" ${ONLY:+--re "$ONLY"} ${SHARD:+--shard "$SHARD"})
  # What is remembered is tested also by what is decided from it.
  local own=("$room::")
  [ "$room" != registry ] || own+=(decide::)
  local targets=("--lib" "--lib" "--test=prove") pass
  local filters=("${own[*]}" "" "prove sim ${SEEDS:-100} 100 --first-seed 1")
  for pass in $(seq "${PASSES:-3}"); do
    local target=${targets[pass - 1]} filter=${filters[pass - 1]} again=()
    [ "$pass" -eq 1 ] || again=(--iterate)
    printf '== %s, pass %s: cargo test %s %s\n' "$room" "$pass" "$target" "$filter"
    # It exits with 2 where some were missed, with 3 where one was too slow: what counts is told at last. With 4 where the
    # tests fail without any mutation: then nothing counts.
    # shellcheck disable=SC2086 # The filters are several arguments.
    "${mutants[@]}" "${again[@]}" --cargo-arg=--locked "--cargo-arg=$target" -- -- $filter || [ $? -le 3 ]
    local kind
    for kind in caught missed unviable timeout; do
      cp "$results/mutants.out/$kind.txt" "$results/$pass.$kind"
    done
    [ -s "$results/$pass.missed" ] || break
  done
}

# What a mutant could try, and must not get.
attempts() {
  local stranger=$1 place refused=0 tried=0
  for place in /root /etc /var /work /home /sys/fs/cgroup /dev "$PWD" "$PWD/target" "$HOME/.cargo"; do
    [ -d "$place" ] || continue
    tried=$((tried + 1))
    if ! touch "$place/mutants-were-here" 2>/dev/null; then refused=$((refused + 1)); else echo "WRITABLE: $place"; fi
  done
  tried=$((tried + 2))
  if ! kill -KILL "$stranger" 2>/dev/null; then refused=$((refused + 1)); else echo "SIGNALLED: $stranger"; fi
  if ! ls "/proc/$stranger" >/dev/null 2>&1; then refused=$((refused + 1)); else echo "SEEN: $stranger"; fi
  # Everybody but this process, which is the first one here. That the stranger outlives it is for the caller to see.
  kill -KILL -- -1 2>/dev/null || true
  printf 'processes to be seen: %s\n' "$(find /proc -maxdepth 1 -name '[0-9]*' | wc -l)"
  printf 'control group: %s\n' "$(tail -n 1 /proc/self/cgroup)"
  printf '%s of %s attempts refused\n' "$refused" "$tried"
  [ "$refused" -eq "$tried" ]
}

# The sandbox that runs, and its control groups.
sandbox='' groups=()

# Ends whatever is in there, and removes its groups.
end_sandbox() {
  ! kill -KILL "$sandbox" 2>/dev/null || wait "$sandbox" 2>/dev/null || true
  local group tries
  for group in "${groups[@]}"; do
    # What was just killed counts for a moment.
    for tries in {1..50}; do
      ! find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || break
      [ "$tries" -lt 50 ] || echo "cannot remove $group" >&2
      sleep 0.1
    done
  done
}

# Starts this script again in namespaces and control groups of its own, and leaves nothing of them.
sandboxed() {
  local out=$1 pids hierarchy own
  groups=()
  shift
  hierarchy=$(findmnt --raw --noheadings --output TARGET --types cgroup2 | head -n 1)
  own=$(sed -n 's/^0:://p' /proc/self/cgroup)
  [ -z "$hierarchy" ] || groups+=("$hierarchy${own%/}/mutants-$$")
  pids=$(findmnt --raw --noheadings --output TARGET --types cgroup --options pids | head -n 1)
  [ -z "$pids" ] || groups+=("$pids/mutants-$$")
  # shellcheck disable=SC2016 # For the shell inside.
  nice -n 5 bash -c '
    while [ "$1" != -- ]; do
      mkdir "$1" || exit 2
      # A mutant may fork without end.
      [ ! -e "$1/pids.max" ] || echo 2000 >"$1/pids.max"
      echo $$ >"$1/cgroup.procs" || exit 2
      shift
    done
    shift
    exec unshare --mount --pid --fork --cgroup --net --ipc --kill-child --mount-proc "$@"
  ' sandbox "${groups[@]}" -- "${BASH_SOURCE[0]}" --inside "$PWD" "$out" "$@" &
  sandbox=$!
  local code=0
  trap end_sandbox EXIT
  trap 'exit 130' INT TERM
  wait "$sandbox" || code=$?
  trap - EXIT INT TERM
  end_sandbox
  return "$code"
}

# Of these mutants those that scripts/mutants-known.txt does not name. Lines move, so it names none.
unknown() {
  sed -E 's/^([^:]+):[0-9]+:[0-9]+: /\1: /' "$1" | paste -d '\t' - "$1" |
    awk -F '\t' 'NR == FNR { known[$0] = 1; next } !($1 in known) { print $2 }' scripts/mutants-known.txt -
}

count() { wc -l <"$1"; }

# The line of the table for a room, by how far its passes went.
line_of() {
  local room=$1 out=$2 pass caught=0 timeouts=0 missed
  for pass in 1 2 3; do
    [ -e "$out/$pass.missed" ] || continue
    caught=$((caught + $(count "$out/$pass.caught")))
    timeouts=$((timeouts + $(count "$out/$pass.timeout")))
    missed=$(count "$out/$pass.missed")
  done
  local unviable
  unviable=$(count "$out/1.unviable")
  printf '%-10s %7s %7s %7s %8s %8s\n' "$room" $((caught + missed + unviable + timeouts)) \
    "$caught" "$missed" "$unviable" "$timeouts"
}

main() {
  cd "$(dirname "${BASH_SOURCE[0]}")/.."
  [ "$(id -u)" -eq 0 ] || { echo "only root can make the sandbox" >&2; exit 2; }
  command -v cargo-mutants >/dev/null || { echo "cargo-mutants was not found: cargo install --locked cargo-mutants" >&2; exit 2; }
  local all=$PWD/target/mutants room left=0
  mkdir -p "$all"
  if [ "${1:-}" = --prove ]; then
    sleep 60 &
    local stranger=$! code=0
    sandboxed "$all" attempts "$stranger" || code=$?
    kill "$stranger" || { echo "the process outside is gone" >&2; code=1; }
    return "$code"
  fi
  [ $# -gt 0 ] || set -- "${rooms[@]}"
  for room in "$@"; do
    [ -d "src/$room" ] || { echo "no room is called $room" >&2; exit 2; }
  done
  for room in "$@"; do
    rm -rf "${all:?}/$room"
    mkdir "$all/$room"
    sandboxed "$all/$room" passes "$room"
  done
  printf '\n%-10s %7s %7s %7s %8s %8s\n' room mutants caught missed unviable timeouts
  for room in "$@"; do line_of "$room" "$all/$room"; done
  for room in "$@"; do
    local last news
    last=$(find "$all/$room" -name '?.missed' | sort | tail -n 1)
    news=$(unknown "$last")
    [ -z "$news" ] || { left=1; printf '\nmissed in %s:\n%s\n' "$room" "$news"; }
  done
  return "$left"
}

if [ "${1:-}" = --inside ]; then
  shift
  inside "$@"
else
  main "$@"
fi
