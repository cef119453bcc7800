#!/usr/bin/env bash
# Shows factory-tick at work, with real processes, in a temporary folder that is removed at the end (KEEP=1 keeps it).
# Needs Rust. Exits with 0 only if everything happened as it is told here.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly patience_seconds=30

say() { printf '\n%s\n' "$*"; }

fail() {
  printf '\nThe demo failed: %s\n' "$*" >&2
  exit 1
}

command -v cargo >/dev/null || fail "cargo was not found; install Rust (rustup does it) and try again"

say "Building factory-tick (release; the first time takes a few minutes) ..."
# Cargo says where the program is: the target directory may be configured to be anywhere.
program=$(cargo build --release --locked --quiet --message-format=json-render-diagnostics |
  sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
[ -x "$program" ] || fail "cargo built no program"

# The caller's own settings must not steer the demo.
for name in $(compgen -e FACTORY_TICK_ || true); do unset "$name"; done

demo=$(mktemp -d "${TMPDIR:-/tmp}/factory-tick-demo.XXXXXX")
export FACTORY_TICK_CONFIG="$demo/factory.toml"
export FACTORY_TICK_STATE_DIR="$demo/state"

factory_tick() { "$program" "$@"; }

clean_up() {
  local code=$?
  trap - EXIT
  # An agent that still runs is ended before its folder goes.
  if [ -e "$demo/factory.toml" ]; then factory_tick stop --all >/dev/null 2>&1 || true; fi
  if [ "${KEEP:-}" = 1 ]; then
    say "The folder is kept: $demo"
  else
    rm -rf "$demo"
  fi
  exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

mkdir "$demo/issues"

cat >"$demo/factory.toml" <<'TOML'
[limits]
disk_free_min = "0"      # a demo needs no reserve

[attempts]
backoff_base = "2s"      # instead of 5 minutes, so that you need not wait

[[role]]
name = "implementer"
suffix = "impl"
command = ["./agent.sh"]
resume = ["./agent.sh", "--resume", "{session}"]
deadline = "1m"
TOML

cat >"$demo/agent.sh" <<'SH'
#!/bin/sh
# Stands for a coding agent. It runs in the workspace of its item; what it leaves there is there next time.
echo "run $FACTORY_RUN, arguments: $*" >>history

case "$FACTORY_ITEM" in
dir:HELLO)
  echo "Hello from $PWD" >hello.txt
  ;;
dir:FLAKY)
  [ -e tried ] || { touch tried; echo "the network is down" >&2; exit 1; }
  ;;
dir:LONG)
  if [ "$1" = --resume ]; then
    echo "going on with session $2"
  else
    echo "FACTORY_SESSION=s-42"
    echo "interrupted in the middle" >&2
    exit 1
  fi
  ;;
esac
SH
chmod +x "$demo/agent.sh"

printf '# Say hello\n\nWrite hello.txt.\n' >"$demo/issues/HELLO.md"
printf '# Survive a bad network\n\nThe first attempt fails.\n' >"$demo/issues/FLAKY.md"
printf '{"title": "Finish what was begun", "body": "Its first run leaves a session."}\n' >"$demo/issues/LONG.json"

say "A factory is a folder. This one, in $demo:"
(cd "$demo" && find factory.toml agent.sh issues -type f | sort | sed 's/^/  /')
say "HELLO succeeds at once. FLAKY fails once, waits, and succeeds. LONG fails with a session and is resumed."
say "What would a tick do? A dry run changes nothing:"
echo '$ factory-tick --dry-run'
factory_tick --dry-run
[ ! -e "$demo/state" ] || fail "the dry run left something behind"

all_done() {
  local item
  for item in hello flaky long; do
    grep -qs '"status":"done"' "$demo/issues/.factory/$item.json" || return 1
  done
}

say "Now a tick each second. Cron would run one each minute."
give_up_at=$((SECONDS + patience_seconds))
until all_done; do
  [ "$SECONDS" -lt "$give_up_at" ] || fail "not done after $patience_seconds seconds"
  echo '$ factory-tick'
  factory_tick || fail "a tick ended with exit code $?"
  sleep 1
done

say "All three are done. The factory in one screen:"
echo '$ factory-tick status'
factory_tick status || fail "status ended with exit code $?"

# What the agents themselves saw, run by run.
history_of() { sed 's|run [0-9a-f]*/||' "$demo/state/workspaces/$1/history"; }

expect() {
  local what=$1 got=$2 want=$3
  [ "$got" = "$want" ] || fail "$(printf '%s\nexpected:\n%s\nfound:\n%s' "$what" "$want" "$got")"
  printf '  ok  %s\n' "$what"
}

say "Checking what the agents saw:"
expect "HELLO ran once" "$(history_of HELLO)" "hello-impl.1, arguments: "
expect "HELLO did its work" "$(cat "$demo/state/workspaces/HELLO/hello.txt")" "Hello from $demo/state/workspaces/HELLO"
expect "FLAKY ran twice, both times from the start" "$(history_of FLAKY)" \
  "flaky-impl.1, arguments: 
flaky-impl.2, arguments: "
expect "LONG ran twice, the second time with its session" "$(history_of LONG)" \
  "long-impl.1, arguments: 
long-impl.2, arguments: --resume s-42"
counters=$(factory_tick status --format json | sed -n 's/.*"counters":{\([^}]*\)}.*/\1/p')
expect "5 runs were dispatched, 1 of them a resume" \
  "$(tr , '\n' <<<"$counters" | grep -E '"(dispatched|resumes)":')" \
  '"dispatched":5
"resumes":1'

say "The demo went as promised."
