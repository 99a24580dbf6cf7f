#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Every system call of a session that deletes messages fails once.

load helpers

# Under the sanitizers one kind of failure is enough to go through all paths.
plain_build() {
	[ "${SANITIZED:-none}" = none ] || skip "the plain build does it"
}

@test "whatever system call fails with EIO, all are deleted or none, and the reply is true" {
	sweep EIO
}

@test "the same with ENOSPC" {
	plain_build
	sweep ENOSPC
}

@test "the same with EACCES" {
	plain_build
	sweep EACCES
}

@test "the same with EROFS" {
	plain_build
	sweep EROFS
}

@test "the same with short writes" {
	for layout in maildir folder; do
		"$BATS_TEST_DIRNAME/crash.py" short $layout QUIT
	done
	"$BATS_TEST_DIRNAME/crash.py" short maildir DELI
}
