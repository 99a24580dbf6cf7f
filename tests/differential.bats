#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Answers and files are those of a model, whatever sessions and another program do. A failure prints the
# seed, the last steps and the expected result.

load helpers

[ "$SANITIZED" = none ] && seconds=15 || seconds=8

@test "after random steps, the answers and the files are those of the model" {
	TMPDIR=$PWD "$BATS_TEST_DIRNAME/differential.py" --seconds="$seconds" --no-namesakes
}

@test "after random steps with namesakes and reappearing messages, they are those of the model" {
	TMPDIR=$PWD "$BATS_TEST_DIRNAME/differential.py" --seconds="$seconds"
}
