#!/usr/bin/env bash
# The real agent-relay broker, of the version that fixtures/broker was recorded with: fetched once into target/broker,
# checked against its hash. Prints where it is; tests/it/broker.rs finds it there.
# Usage: scripts/broker.sh   About 6 MB to fetch, 15 MB on disk. A new version needs its hashes here and new recordings.
set -euo pipefail
cd "$(dirname "$0")/.."

version=12.4.1

give_up() {
  printf 'broker.sh: %s\n' "$*" >&2
  exit 1
}

case "$(uname -s)-$(uname -m)" in
  Linux-x86_64)
    platform=linux-x64
    expected=sha512-WRep8XQPp1gqokg+vuMPabym9Ni0ztJTQJXqbp2tpDumRg/mePExGM+YVik0KWdRSLE/yTUPVSuy3YJCd1Ss6w==
    ;;
  Linux-aarch64)
    platform=linux-arm64
    expected=sha512-95l63CkstHUN3UaUJcf6W3DyRB86vNNg3R9oCJ9A/y/ANzGzvlnI7dRaTNM2Z2DbNRAdRH+B/iy7N8jrlKCRfQ==
    ;;
  *) give_up "no hash is pinned for $(uname -s) on $(uname -m)" ;;
esac

home=target/broker
package=@agent-relay/broker-$platform@$version
program=bin/agent-relay-broker
# A folder of that name is whole: it was renamed into place after its archive had been checked.
folder=$home/$version-$(printf %s "${expected#sha512-}" | tr -dc A-Za-z0-9 | cut -c1-12)
partial=
cleanup() { [ -z "$partial" ] || rm -rf "$partial"; }
trap cleanup EXIT

mkdir -p "$home"
if [ ! -x "$folder/$program" ]; then
  command -v npm >/dev/null || give_up "npm was not found; it is what fetches $package"
  partial=$(mktemp -d "$home/partial-XXXXXX")
  # npm's own pack runs no script of the package.
  npm pack --silent --pack-destination "$partial" "$package" >/dev/null || give_up "$package could not be fetched"
  archive=$(echo "$partial"/*.tgz)
  actual=$(node -p \
    '"sha512-" + require("crypto").createHash("sha512").update(require("fs").readFileSync(process.argv[1])).digest("base64")' \
    "$archive")
  [ "$actual" = "$expected" ] ||
    give_up "$package is not what the fleet was tested with: expected $expected, got $actual"
  tar -xzf "$archive" -C "$partial" --no-same-owner
  [ -f "$partial/package/$program" ] || give_up "$package holds no program $program"
  chmod 755 "$partial/package/$program"
  rm -rf "$folder"
  mv "$partial/package" "$folder"
  rm -rf "$partial"
  partial=
fi
ln -sfn "${folder##*/}/$program" "$home/agent-relay-broker"
printf '%s\n' "$PWD/$home/agent-relay-broker"
