#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# A session that deletes messages is broken at every system call, and its power is cut at every write.

load helpers

setup() {
	setup_site
	sweep="$BATS_TEST_DIRNAME/crash.py"
}

# Under the sanitizers it is the paths of failures that matter.
plain_build() {
	[ "${SANITIZED:-none}" = none ] || skip "it is the same in the plain build"
}

@test "killed at any system call, it has deleted all or none" {
	plain_build
	for layout in maildir folder; do
		for command in QUIT SLEE DELI recovery; do
			"$sweep" kill $layout $command
		done
	done
}

@test "whatever system call fails with EIO, all are deleted or none, and the reply is true" {
	for layout in maildir folder; do
		for command in QUIT SLEE DELI recovery; do
			"$sweep" EIO $layout $command
		done
	done
}

@test "the same with ENOSPC" {
	plain_build
	for layout in maildir folder; do
		for command in QUIT SLEE DELI recovery; do
			"$sweep" ENOSPC $layout $command
		done
	done
}

@test "the same with EACCES" {
	plain_build
	for layout in maildir folder; do
		for command in QUIT SLEE DELI recovery; do
			"$sweep" EACCES $layout $command
		done
	done
}

@test "the same with EROFS" {
	plain_build
	for layout in maildir folder; do
		for command in QUIT SLEE DELI recovery; do
			"$sweep" EROFS $layout $command
		done
	done
}

@test "the same with short writes" {
	for layout in maildir folder; do
		"$sweep" short $layout QUIT
	done
	plain_build
	"$sweep" short maildir recovery
	"$sweep" short maildir DELI
}

# The power is cut on ext4; tests/power.py does it on xfs and btrfs too.
@test "a loss of power at any write leaves all or none, and undoes nothing acknowledged: Maildir" {
	plain_build
	unshare --mount /usr/bin/python3 "$BATS_TEST_DIRNAME/power.py" ext4 maildir
}

@test "a loss of power at any write leaves all or none, and undoes nothing acknowledged: folder" {
	plain_build
	unshare --mount /usr/bin/python3 "$BATS_TEST_DIRNAME/power.py" ext4 folder
}
