#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# A session that deletes messages is killed at every system call, every one of them fails once, and
# its power is cut at every write to the disk.

load helpers

# What goes on under the sanitizers is the same, and one kind of failure is enough to go through all
# paths.
plain_build() {
	[ "$SANITIZED" = none ] || skip "the plain build does it"
}

@test "killed at any system call, a session has deleted all or none" {
	plain_build
	sweep kill
}

@test "whatever system call fails with EIO, all are deleted or none, and the reply is true" {
	sweep EIO
}

@test "whatever system call fails with ENOSPC, all are deleted or none, and the reply is true" {
	plain_build
	sweep ENOSPC
}

@test "whatever system call fails with EACCES, all are deleted or none, and the reply is true" {
	plain_build
	sweep EACCES
}

@test "whatever system call fails with EROFS, all are deleted or none, and the reply is true" {
	plain_build
	sweep EROFS
}

@test "whichever write is short, all are deleted or none, and the reply is true" {
	for layout in maildir folder; do
		"$BATS_TEST_DIRNAME/crash.py" short $layout QUIT
	done
	"$BATS_TEST_DIRNAME/crash.py" short maildir DELI
}

# The power is cut on ext4; tests/power.py does it on xfs and btrfs too.
@test "a loss of power at any write leaves all or none, and undoes nothing acknowledged: Maildir" {
	needs_root
	plain_build
	unshare --mount /usr/bin/python3 "$BATS_TEST_DIRNAME/power.py" ext4 maildir
}

@test "a loss of power at any write leaves all or none, and undoes nothing acknowledged: folder" {
	needs_root
	plain_build
	unshare --mount /usr/bin/python3 "$BATS_TEST_DIRNAME/power.py" ext4 folder
}
