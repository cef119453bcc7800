#!/usr/bin/env bash
# What one idle tick costs beside 200 finished and 50 running agents: time, memory, system calls, each beside a
# named floor that was measured in the same run. Usage: scripts/bench-idle.sh [runs]
set -euo pipefail
cd "$(dirname "$0")/.."

runs=${1:-50}
finished=200
running=50

give_up() {
  printf '%s\n' "$*" >&2
  exit 1
}
for program in strace /usr/bin/time awk; do
  command -v "$program" >/dev/null || give_up "$program is needed (Debian packages: strace, time, gawk)"
done

# Cargo says where the program is: the target directory may be configured to be anywhere.
tick=$(cargo build --release --locked --quiet --message-format=json-render-diagnostics |
  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
[ -x "$tick" ] || give_up "cargo built no program"

# The caller's own settings must not steer it.
for name in $(compgen -e FACTORY_TICK_ || true); do unset "$name"; done
unset GITHUB_ACTIONS

home=$(mktemp -d)
cleanup() {
  (cd "$home" && "$tick" stop --all >"$home/stop.log" 2>&1) || cat "$home/stop.log" >&2
  rm -rf "$home"
}
trap cleanup EXIT
cd "$home"

cat >factory.toml <<'END'
[tick]
starts_max = 100
[limits]
items_max = 1000
disk_free_min = "0"
[budget]
starts_per_day = 0
[[role]]
name = "implementer"
suffix = "impl"
command = ["sh", "-c", 'case $FACTORY_ITEM in *done-*) exit 0;; esac; exec sleep 600']
deadline = "0"
END
mkdir issues
body=$(head -c 1500 /dev/zero | tr '\0' x)
for n in $(seq "$finished"); do printf '# Finished %s\n\n%s\n' "$n" "$body" >"issues/done-$n.md"; done
for n in $(seq "$running"); do printf '# Running %s\n\n%s\n' "$n" "$body" >"issues/runs-$n.md"; done

# The state says when the scene is set: nothing is decided any more, and everything is as it should be.
is_set() {
  "$tick" -n --detailed-exitcode >dry.log 2>&1 &&
    "$tick" status | grep -q "^In flight: $running$" && "$tick" status | grep -q "^Done: $finished$" &&
    ! "$tick" status | grep -q ' starting '
}
deadline=$((SECONDS + 120))
until is_set; do
  [ "$SECONDS" -lt "$deadline" ] || { "$tick" status; give_up "the agents did not come up"; }
  "$tick" -q || true
done

idle=("$tick" -q)
read_items=(cat issues/*.md)
empty=(/bin/true)

# Wall time of each run in microseconds, sorted.
walls() {
  local run before after
  for run in $(seq "$runs"); do
    before=$EPOCHREALTIME
    "$@" >/dev/null
    after=$EPOCHREALTIME
    echo $((${after/./} - ${before/./}))
  done | sort -n
}

# min and median, in milliseconds
wall() {
  walls "$@" | awk '{ t[NR] = $1 } END { printf "%.2f %.2f", t[1] / 1000, t[int((NR + 1) / 2)] / 1000 }'
}

# User and system time of all runs together, by run, in milliseconds
cpu() {
  local run
  TIMEFORMAT='%U %S'
  { time for run in $(seq "$runs"); do "$@" >/dev/null; done; } 2>&1 |
    awk -v runs="$runs" '{ printf "%.2f", ($1 + $2) * 1000 / runs }'
}

# KiB
peak() {
  /usr/bin/time -f %M -o peak.log "$@" >/dev/null
  cat peak.log
}

# All system calls, and those that wait for the disk
syscalls() {
  strace -f -c -U calls,name -o calls.log "$@" >/dev/null 2>&1
  awk '$1 ~ /^[0-9]+$/ && $2 != "total" { all += $1 } $2 == "fsync" || $2 == "fdatasync" { sync += $1 }
       END { printf "%d %d", all, sync }' calls.log
}

row() {
  local name=$1 min median calls syncs
  shift
  read -r min median <<<"$(wall "$@")"
  read -r calls syncs <<<"$(syscalls "$@")"
  echo "$name|$min|$median|$(cpu "$@")|$(peak "$@")|$calls|$syncs"
}

printf 'idle tick, %s finished and %s running agents, %s runs\n\n' "$finished" "$running" "$runs"
{
  row "factory-tick -q" "${idle[@]}"
  row "cat the items" "${read_items[@]}"
  row "/bin/true" "${empty[@]}"
} >rows
awk -F'|' '
  function line(name, min, median, cpu, peak, calls, syncs) {
    printf "%-24s %10s %10s %10s %10s %10s %7s\n", name, min, median, cpu, peak, calls, syncs
  }
  function ratio(a, b) { return b > 0 ? sprintf("%.1fx", a / b) : "-" }
  BEGIN { line("", "wall min", "median", "CPU", "peak RSS", "system", "fsync"); line("", "ms", "ms", "ms", "KiB", "calls", "") }
  { line($1, $2, $3, $4, $5, $6, $7); for (i = 1; i <= NF; i++) cell[NR, i] = $i }
  END {
    print ""
    for (floor = 2; floor <= NR; floor++)
      line("tick / " cell[floor, 1], ratio(cell[1, 2], cell[floor, 2]), ratio(cell[1, 3], cell[floor, 3]),
           ratio(cell[1, 4], cell[floor, 4]), ratio(cell[1, 5], cell[floor, 5]), ratio(cell[1, 6], cell[floor, 6]), "")
  }' rows
if command -v hyperfine >/dev/null; then
  echo
  hyperfine --warmup 3 --shell none -n "factory-tick -q" "${idle[*]}" -n "cat the items" "${read_items[*]}" \
    -n /bin/true "${empty[*]}"
fi
