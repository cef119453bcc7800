#!/usr/bin/env bash
# The real agent programs that the presets are made for, of the versions that fixtures/harness was recorded with:
# fetched once into target/harness, checked against their hashes. Prints where they are; the tests find them there.
# Usage: scripts/harness.sh   About 250 MB to fetch, 700 MB on disk. A new version needs its hashes here and new
# recordings (FACTORY_TICK_RECORD_HARNESS=1, see fixtures/harness/INDEX).
set -euo pipefail
cd "$(dirname "$0")/.."

claude_version=2.1.197
codex_version=0.169.0

give_up() {
  printf 'harness.sh: %s\n' "$*" >&2
  exit 1
}

case "$(uname -s)-$(uname -m)" in
  Linux-x86_64)
    platform=linux-x64 triple=x86_64-unknown-linux-musl
    claude_hash=sha512-rIlKmrY0QMyHgPRX/MYWNj039vbypICvI9jVe3rs9Xy2RnNklySjyPxqh62QadznzoftEO23uYQ1tFePcQ//bg==
    codex_hash=sha512-o05NyAOCDygSPRo1yinzxvkRSdmsZyBD9E7mbpmjRanSfM8lypqWtQgEo4XfNkwhuCR2aFu8mlGOsQGFXVbVww==
    ;;
  Linux-aarch64)
    platform=linux-arm64 triple=aarch64-unknown-linux-musl
    claude_hash=sha512-sx6SoGj3MNR5CV+YDkNtbLHXa1tn3G8qcYFgm1gnvOi9ODQUKbhiPfankJfkTMDVekOvnKJhm6i9hGFIPzp7cQ==
    codex_hash=sha512-NZ/DaQUpcQmxmqee7Z9uC1rzw3GhSbooawcaTe1LN5Yk+WlinUKGdTXJgClRT/9ogQEEM9TWxYzvxPfj5G/xFg==
    ;;
  *) give_up "no hashes are pinned for $(uname -s) on $(uname -m)" ;;
esac

home=target/harness
partial=
cleanup() { [ -z "$partial" ] || rm -rf "$partial"; }
trap cleanup EXIT

hash_of() {
  node -p '"sha512-" + require("crypto").createHash("sha512").update(require("fs").readFileSync(process.argv[1])).digest("base64")' "$1"
}

# fetch NAME PACKAGE HASH PROGRAM: the package, unpacked under its version and hash, and bin/NAME that points at its
# program. A folder of that name is whole: it was renamed into place after its archive had been checked.
fetch() {
  local name=$1 package=$2 expected=$3 program=$4
  local folder actual archive
  folder=$home/$name-${package##*@}-$(printf %s "${expected#sha512-}" | tr -dc A-Za-z0-9 | cut -c1-12)
  if [ ! -x "$folder/$program" ]; then
    command -v npm >/dev/null || give_up "npm was not found; it is what fetches $package"
    partial=$(mktemp -d "$home/partial-XXXXXX")
    # npm's own pack runs no script of the package.
    npm pack --silent --pack-destination "$partial" "$package" >/dev/null ||
      give_up "$package could not be fetched"
    archive=$(echo "$partial"/*.tgz)
    actual=$(hash_of "$archive")
    [ "$actual" = "$expected" ] ||
      give_up "$package is not what the presets were tested with: expected $expected, got $actual"
    tar -xzf "$archive" -C "$partial" --no-same-owner
    [ -x "$partial/package/$program" ] || give_up "$package holds no program $program"
    rm -rf "$folder"
    mv "$partial/package" "$folder"
    rm -rf "$partial"
    partial=
  fi
  ln -sfn "../${folder##*/}/$program" "$home/bin/$name"
  printf '%s\t%s\n' "$name" "$PWD/$home/bin/$name"
}

mkdir -p "$home/bin"
fetch claude "@anthropic-ai/claude-code-$platform@$claude_version" "$claude_hash" claude
fetch codex "@openai/codex@$codex_version-$platform" "$codex_hash" "vendor/$triple/bin/codex"
