#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The files that `meson install` builds and installs, with the documented options and with other folders.

load helpers

setup_file() {
	cd "$BATS_FILE_TMPDIR" || return 1
	env -u CFLAGS -u CC meson setup --buildtype=release --prefix=/usr --libdir=lib64 build "$BATS_TEST_DIRNAME/.." >log || {
		cat log
		return 1
	}
}

setup() {
	build=$BATS_FILE_TMPDIR/build
	cd "$BATS_TEST_TMPDIR" || return 1
}

@test "an install builds the program and its modules, but no test, fuzz target or benchmark" {
	ninja -C "$build" -n -v >steps
	grep -q ' -o pop3-handler ' steps
	grep -q ' -o pop3-handler-tls\.so ' steps
	run -1 grep -E ' -o (bench|fuzz|tests)/' steps
}

@test "the administrator's tools are installed beside the program" {
	for tool in pop3-check pop3-compare; do
		meson introspect --installed "$build" | grep -F "\"/usr/sbin/$tool\""
	done
}

@test "the manuals name the installed paths, whatever the prefix and the library directory" {
	ninja -C "$build" pop3-handler.8 >log
	meson introspect --installed "$build" | /usr/bin/python3 -c 'import json, sys; print(*json.load(sys.stdin).values(), sep="\n")' >files
	cat "$build/pop3-handler.8" "$BATS_TEST_DIRNAME/../man/pop3-handler.conf.5" | grep -oE '/usr/[a-z0-9/.-]*[a-z0-9-]' | sort -u >named
	cat named
	grep -qx '/usr/sbin/pop3-handler' named
	grep -qx '/usr/lib64/pop3-handler/pop3-handler-tls.so' named
	grep -qx '/usr/share/pop3-handler/listener' named
	grep -qx '/usr/share/pop3-handler/one-user' named
	grep -qx '/usr/share/pop3-handler/pam' named
	while read -r path; do
		grep -qE "^$path(/|$)" files
	done <named
}
