#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# A session that deletes messages is killed at every system call, each of its calls fails once, and the
# power is cut at each of its writes to the disk.

load helpers

# The sanitizers see the same behaviour, and one kind of failure is enough to reach all paths.
plain_build() {
	[ "$SANITIZED" = none ] || skip 'the plain build is enough'
}

# break_sessions ARGUMENT...: crash.py in memory, if that can be mounted, because a sweep takes half the time
# there. The effects of a disk are tested by the loss of power below.
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

@test "a session killed at any system call has deleted all messages or none" {
	plain_build
	sweep kill
}

@test "if any system call fails with EIO, all messages are deleted or none, and the reply is true" {
	sweep EIO
}

@test "if any system call fails with ENOSPC, all messages are deleted or none, and the reply is true" {
	plain_build
	sweep ENOSPC
}

@test "if any system call fails with EACCES, all messages are deleted or none, and the reply is true" {
	plain_build
	sweep EACCES
}

@test "if any system call fails with EROFS, all messages are deleted or none, and the reply is true" {
	plain_build
	sweep EROFS
}

@test "if any write is short, all messages are deleted or none, and the reply is true" {
	# Every fifth limit under the sanitizers: some in each part of a record, with reserved space and without.
	[ "$SANITIZED" = none ] && stride=1 || stride=5
	for layout in maildir folder; do
		break_sessions short $layout QUIT "$stride"
	done
	break_sessions short maildir DELI "$stride"
}

# The power is cut on ext4; tests/power.py can also do it on xfs and btrfs.
@test "a loss of power at any write leaves all messages or none, and undoes no acknowledged reply: Maildir" {
	needs_root
	plain_build
	unshare --mount /usr/bin/python3 "$BATS_TEST_DIRNAME/power.py" ext4 maildir
}

@test "a loss of power at any write leaves all messages or none, and undoes no acknowledged reply: folder" {
	needs_root
	plain_build
	unshare --mount /usr/bin/python3 "$BATS_TEST_DIRNAME/power.py" ext4 folder
}

@test "after any failure of an import, the file of unique-ids is missing or complete, and unique-ids stay the same" {
	for command in takeover rewrite; do
		break_sessions EIO maildir $command 3
		[ "$SANITIZED" = none ] || continue
		break_sessions kill maildir $command
		break_sessions ENOSPC maildir $command 3
		break_sessions short maildir $command 30
	done
}

@test "a loss of power at any write keeps imported unique-ids and their order" {
	needs_root
	plain_build
	unshare --mount /usr/bin/python3 "$BATS_TEST_DIRNAME/power.py" ext4 imported 6
}
