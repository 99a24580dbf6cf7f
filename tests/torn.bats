#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Sessions beside a program that renames all messages: a readdir(3) then misses existing files.
# `tests/torn.py` runs for longer, and with more messages.

load helpers

# torn_on KIND COMMAND...: the same on a new file system of this kind, which COMMAND makes.
torn_on() {
	[ "$SANITIZED" = none ] || skip 'torn reads are those of the file system: the plain build is enough'
	needs_root
	command -v "$2" >/dev/null || skip "there is no $2"
	truncate -s 300M disk
	"${@:2}" disk >mkfs.log 2>&1 || { cat mkfs.log && return 1; }
	# shellcheck disable=SC2016
	unshare --mount sh -c 'mount -t "$1" -o loop disk mail && cd mail && exec "$2" --messages=4000 --seconds=1' \
		sh "$1" "$BATS_TEST_DIRNAME/torn.py"
}

@test "a torn read loses no message and restores none" {
	"$BATS_TEST_DIRNAME/torn.py" --messages=5000 --seconds=2
}

@test "a torn read loses no message and restores none: ext4" {
	torn_on ext4 mkfs.ext4 -q -N 30000
}

@test "a torn read loses no message and restores none: xfs" {
	torn_on xfs mkfs.xfs -q
}

@test "a torn read loses no message and restores none: btrfs" {
	torn_on btrfs mkfs.btrfs -q
}

@test "a torn read loses no message and restores none: tmpfs" {
	[ "$SANITIZED" = none ] || skip 'torn reads are those of the file system: the plain build is enough'
	needs_root
	# shellcheck disable=SC2016
	unshare --mount sh -c 'mount -t tmpfs tmpfs mail && cd mail && exec "$1" --messages=10000 --seconds=2' \
		sh "$BATS_TEST_DIRNAME/torn.py"
}
