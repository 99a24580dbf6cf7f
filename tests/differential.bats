#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Whatever sessions and a neighbour do, answers and files are those that a model expects. A failure
# prints the seed, the last steps, and what was expected.

load helpers

[ "$SANITIZED" = none ] && seconds=15 || seconds=8

@test "after random steps, the answers and the files are those of the model" {
	TMPDIR=$PWD "$BATS_TEST_DIRNAME/differential.py" --seconds="$seconds" --no-namesakes
}

@test "so they are with messages that share a unique part or a file, and with some that come back" {
	TMPDIR=$PWD "$BATS_TEST_DIRNAME/differential.py" --seconds="$seconds"
}
