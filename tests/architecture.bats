#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# What the house's rooms may know of each other, and how the code looks.

load helpers

setup() {
	setup_site
	cd "$BATS_TEST_DIRNAME/.." || return 1
}

# sources: the files of the program, as paths without `./`.
sources() {
	find . -name '*.[ch]' ! -path './.*' ! -path './build*' | sed 's|^\./||' | grep -vE '^(bench|fuzz|tests)/' | sort
}

# only PATTERN FILE...: no other file of the source has it.
only() {
	local pattern=$1
	shift
	# shellcheck disable=SC2046
	run ! grep -nE "$pattern" $(sources | grep -E '\.c$' | grep -vxF "$(printf '%s\n' "$@")")
}

@test "who owns something is the only one to touch it" {
	only '\bgnutls_' tls.c tls/certificates.c
	only '"[^"]*(\+OK|-ERR)' protocol.c login.c session.c
	only '\b_?exit\(' pop3-handler.c
	only '\b(fork|accept4|waitpid|sd_(listen|notify|watchdog)[a-z_]*)\(' listener.c lib/libsystemd.c
	only '\b(v?syslog|openlog|sd_journal_[a-z]+)\(|fprintf\(stderr' log.c lib/libsystemd.c sandbox/make-filter.c
	only '\bgetpeername\(' lib/peer.c
	only '\b(prctl|syscall|setres[ug]id|initgroups|setrlimit)\(' sandbox.c
	run ! grep -nE '\b(open|openat|fopen|unlinkat|renameat2)\(' protocol.c transport.c lib/wire.c mailbox/maildir-name.c
	run ! grep -nE '\b(read|write|send|recv|poll)\(' protocol.c settings.c log.c auth.c
	[ "$(grep -cE 'session->state = ' session.c)" -eq 1 ]
}

@test "the C code is formatted as .clang-format says" {
	clang-format --dry-run --Werror ./*.[ch] {bench,fuzz,lib,mailbox,sandbox,tests,tls}/*.[ch]
}

@test "the scripts are clean under shellcheck" {
	shellcheck -x .ci/run tools/* tests/analyse tests/valgrind systemd/post-install tests/helpers.bash tests/boot.bash tests/*.bats
}

@test "the manuals are clean, and they and README tell of every setting" {
	# Which other manuals this machine has is not our affair.
	mandoc -Tlint -W style man/pop3-handler.8 man/pop3-handler.conf.5 |
		grep -vE 'referenced manual not found|outdated mandoc.db' >"$BATS_TEST_TMPDIR/lint" || true
	cat "$BATS_TEST_TMPDIR/lint"
	[ ! -s "$BATS_TEST_TMPDIR/lint" ]
	settings=$("$HANDLER" --help | sed -nE 's/^  --([a-z-]+)=\.\.\..*/\1/p')
	[ "$(wc -w <<<"$settings")" -ge 15 ]
	for setting in $settings; do
		echo "$setting"
		grep -qxF ".It Cm $setting" man/pop3-handler.conf.5
		grep -qF "| \`$setting\` |" README.md
	done
}

@test "every file of source says its licence" {
	for file in $(sources) man/* meson.build meson_options.txt bench/*.{build,c,py} bench/{compare,run,sandbox,sleepers} fuzz/*.* tests/* tools/* .ci/run systemd/*.* systemd/post-install systemd/listener/* examples/* fail2ban/*; do
		head -n 3 "$file" | grep -q 'SPDX-License-Identifier: ISC' || {
			echo "$file"
			return 1
		}
	done
}
