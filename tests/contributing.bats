#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# CONTRIBUTING.md takes a newcomer through adding a command and a setting. Here the steps are done.

load helpers

setup() {
	[ "$SANITIZED" = none ] || skip 'the plain build tests the steps'
	cd "$BATS_TEST_TMPDIR" || return 1
}

# steps: the diffs of the document, as one.
steps() {
	awk '/^```$/ { inside = 0 } inside; /^```diff$/ { inside = 1 }' "$BATS_TEST_DIRNAME/../CONTRIBUTING.md"
}

# in_tree COMMAND...: runs a command in the changed tree, with none of our variables.
in_tree() {
	env -i --chdir=tree PATH="${PATH//"$BATS_LIBEXEC:"/}" LC_ALL=C.UTF-8 "$@" 3>&-
}

@test "the steps of CONTRIBUTING.md give a command and a setting that pass their tests" {
	mkdir tree
	tar -C "$BATS_TEST_DIRNAME/.." --exclude='./build*' --exclude='./.git' --warning=no-file-changed -c . | tar -C tree -x
	steps >steps.diff
	[ "$(grep -c '^+++ ' steps.diff)" -ge 9 ]
	in_tree git apply -C1 --verbose ../steps.diff || {
		echo 'a diff in CONTRIBUTING.md no longer applies: adapt its context there'
		return 1
	}
	in_tree clang-format --dry-run --Werror protocol.c settings.c settings.h
	in_tree meson setup build -Dwerror=true -Dtests=disabled -Doptimization=0 -Ddebug=false >setup.log
	in_tree ninja -C build pop3-handler >build.log || {
		cat build.log
		return 1
	}
	in_tree bats tests/size.bats tests/protocol.bats
	in_tree bats --filter '^greeting |every setting' tests/settings.bats
	in_tree bats --filter 'manual' tests/architecture.bats
}
