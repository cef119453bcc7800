#!/usr/bin/env bash
# The power goes, at every point of some twenty ticks and commands. What the disk below the state directory is told is
# recorded at the level of blocks: a loop device on a file whose every write and flush is written down, with ext4 on it.
# From that come disks as a power cut leaves them: all that was written up to a point, or nothing that no flush had
# reached, or single sectors of that. On each, with its journal replayed and under another boot, ticks must go on: no
# generation is lost that a tick had acted upon, no run starts twice, no claim is gone, and everything comes to its end.
# Then the same where ext4 keeps no order that POSIX does not ask for; and once more with the flushes of the state
# directory lost, which must be noticed, or the test is worth nothing.
# What is not modelled: a disk that lies about a flush, or that loses what lay on it before.
# Usage: scripts/power.sh [IMAGES]   IMAGES of each recording; 200. Takes root, /dev/fuse, loop devices and strace, and
# about a second per image; it mounts everything in a mount namespace of its own.
set -euo pipefail
cd "$(dirname "$0")/.."

give_up() {
  printf 'power.sh: %s\n' "$*" >&2
  exit 2
}

images=${1:-200}
[[ $images =~ ^[1-9][0-9]*$ ]] || give_up "usage: scripts/power.sh [IMAGES]"
[ "$(id -u)" -eq 0 ] || give_up "SKIPPED: only root can mount a disk"
for device in /dev/fuse /dev/loop-control; do
  [ -e "$device" ] || give_up "SKIPPED: there is no $device"
done
for need in strace:strace mkfs.ext4:e2fsprogs unshare:util-linux; do
  command -v "${need%%:*}" >/dev/null || give_up "SKIPPED: ${need%%:*} is not there (Debian package: ${need#*:})"
done

export FACTORY_TEST_POWER_IMAGES=$images
cargo test --locked --test it -- --exact --nocapture \
  power::whatever_a_power_cut_leaves_of_the_disk_nothing_that_was_promised_is_lost || exit 1
