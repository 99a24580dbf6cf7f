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

# break_sessions ARGUMENT...: crash.py, in memory if that can be mounted, where a sweep takes half the time. What
# a disk makes of it is the power's part, below.
break_sessions() {
	mkdir -p memory
	if [ "$(id -u)" -eq 0 ]; then
		# shellcheck disable=SC2016
		unshare --mount sh -c 'mount -t tmpfs tmpfs memory && cd memory && exec "$@"' sh \
			"$BATS_TEST_DIRNAME/crash.py" "$@"
	else
		"$BATS_TEST_DIRNAME/crash.py" "$@"
	fi
}

# sweep HOW: breaks sessions of all kinds at every system call.
sweep() {
	local layout command
	for layout in maildir folder; do
		for command in QUIT SLEE DELI recovery; do
			break_sessions "$1" $layout $command
		done
	done
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
	# Under the sanitizers every fifth limit: some in each part of a record, with space and without.
	[ "$SANITIZED" = none ] && stride=1 || stride=5
	for layout in maildir folder; do
		break_sessions short $layout QUIT "$stride"
	done
	break_sessions short maildir DELI "$stride"
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

@test "whatever breaks a takeover, there is no file of unique-ids or a whole one, and all stay the same" {
	for command in takeover rewrite; do
		break_sessions EIO maildir $command 3
		[ "$SANITIZED" = none ] || continue
		break_sessions kill maildir $command
		break_sessions ENOSPC maildir $command 3
		break_sessions short maildir $command 30
	done
}

@test "a loss of power at any write leaves imported unique-ids and their order" {
	needs_root
	plain_build
	unshare --mount /usr/bin/python3 "$BATS_TEST_DIRNAME/power.py" ext4 imported 6
}
