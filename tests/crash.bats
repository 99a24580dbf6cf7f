#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# A session that deletes messages is killed at every system call, and its power is cut at every write
# to the disk. What goes on under the sanitizers is the same.

load helpers

setup() {
	setup_site
	[ "${SANITIZED:-none}" = none ] || skip "the plain build does it"
}

@test "killed at any system call, it has deleted all or none" {
	sweep kill
}

# The power is cut on ext4; tests/power.py does it on xfs and btrfs too.
@test "a loss of power at any write leaves all or none, and undoes nothing acknowledged: Maildir" {
	unshare --mount /usr/bin/python3 "$BATS_TEST_DIRNAME/power.py" ext4 maildir
}

@test "a loss of power at any write leaves all or none, and undoes nothing acknowledged: folder" {
	unshare --mount /usr/bin/python3 "$BATS_TEST_DIRNAME/power.py" ext4 folder
}
