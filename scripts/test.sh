#!/usr/bin/env bash
# Everything that must hold before a change is merged: format, lints, tests. What the tests need and this machine
# lacks is installed from Debian's packages where that is possible, else named.
set -euo pipefail
cd "$(dirname "$0")/.."

# program:package
needs=(python3:python3 faketime:faketime cc:gcc cc:libc6-dev git:git unshare:util-linux setpriv:util-linux ps:procps strace:strace)

say() { printf '\n== %s\n' "$*"; }

give_up() {
  printf '%s\n' "$*" >&2
  exit 1
}

missing_packages() {
  local need
  for need in "${needs[@]}"; do
    command -v "${need%%:*}" >/dev/null || printf '%s\n' "${need#*:}"
  done | sort -u
}

install() {
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || return 1
    as_root=(sudo -n)
  fi
  command -v apt-get >/dev/null || return 1
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"
}

mapfile -t packages < <(missing_packages)
if [ "${#packages[@]}" -gt 0 ]; then
  say "Missing packages: ${packages[*]}"
  install "${packages[@]}" || give_up "The tests need these packages (by their names in Debian): ${packages[*]}"
fi

command -v cargo >/dev/null || give_up "cargo was not found; install Rust (rustup does it) and try again"
for component in rustfmt:fmt clippy:clippy; do
  if ! cargo "${component#*:}" --version >/dev/null 2>&1; then
    say "Installing ${component%%:*}"
    rustup component add "${component%%:*}" || give_up "The tests need ${component%%:*}"
  fi
done

# The agent programs are large, so they are fetched where they are asked for. Elsewhere the tests that need them say that
# they were skipped.
if [ "${CI:-}" = true ] || [ "${FACTORY_TICK_REQUIRE_HARNESS:-0}" != 0 ]; then
  say "Agent programs"
  scripts/harness.sh
  export FACTORY_TICK_REQUIRE_HARNESS=1
fi

if [ "${CI:-}" = true ] || [ "${FACTORY_TICK_REQUIRE_BROKER:-0}" != 0 ]; then
  say "The broker"
  scripts/broker.sh
  export FACTORY_TICK_REQUIRE_BROKER=1
fi

say "Format"
cargo fmt --check

say "Lints"
cargo clippy --all-targets --locked -- -D warnings

say "Tests"
cargo test --locked

say "The simulator, with seeds that no run had before"
cargo prove sim 10

say "The table of rules and tests"
cargo prove coverage

say "All is well: format, lints and tests"
