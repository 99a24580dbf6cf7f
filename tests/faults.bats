#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Every system call of a session that deletes messages fails once.

load helpers

setup() {
	setup_site
	sweep="$BATS_TEST_DIRNAME/crash.py"
}

# Under the sanitizers one kind of failure is enough to go through all paths.
plain_build() {
	[ "${SANITIZED:-none}" = none ] || skip "the plain build does it"
}

# sweep_all ERRNO: sessions of all kinds.
sweep_all() {
	local layout command
	for layout in maildir folder; do
		for command in QUIT SLEE DELI recovery; do
			"$sweep" "$1" $layout $command
		done
	done
}

@test "whatever system call fails with EIO, all are deleted or none, and the reply is true" {
	sweep_all EIO
}

@test "the same with ENOSPC" {
	plain_build
	sweep_all ENOSPC
}

@test "the same with EACCES" {
	plain_build
	sweep_all EACCES
}

@test "the same with EROFS" {
	plain_build
	sweep_all EROFS
}

@test "the same with short writes" {
	for layout in maildir folder; do
		"$sweep" short $layout QUIT
	done
	"$sweep" short maildir DELI
}
