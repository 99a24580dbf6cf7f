#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# What the house's rooms may know of each other, and how the code looks.

load helpers

setup() {
	setup_site
	cd "$BATS_TEST_DIRNAME/.." || return 1
}

# may_include FILE ROOM...: FILE includes none of our headers but its own and these.
may_include() {
	local file=$1 found header
	shift
	found=$(sed -nE 's/^#include "(.*)\.h"$/\1/p' "$file")
	for header in $found; do
		[[ " ${file%.*} $* " == *" $header "* ]] || {
			echo "$file includes $header.h"
			return 1
		}
	done
}

@test "the arrows between the rooms go down only" {
	may_include wire.c
	may_include name.c
	may_include digest.c
	may_include util.h
	may_include template.c util
	may_include systemd.c util
	may_include log.c systemd util
	may_include tickets.c digest util
	may_include tls.c tickets util
	may_include tls-module.c tls util
	may_include title.c util
	may_include scoreboard.c util
	may_include peer.c util
	may_include listener.h scoreboard peer
	may_include listener.c scoreboard log peer systemd util
	may_include transport.c tls peer util
	may_include settings.c template wire util
	may_include stamp.c
	may_include auth.h stamp
	may_include auth.c stamp template util
	may_include listing.h stamp
	may_include listing.c digest name wire util
	may_include directories.h listing
	may_include directories.c commit listing util
	may_include commit.c digest util
	may_include sizes.h listing
	may_include sizes.c listing digest name wire util
	may_include snapshot.h listing
	may_include snapshot.c listing wire util
	may_include mailbox.c commit directories listing name sizes snapshot stamp wire util
	may_include session.h transport
	may_include sandbox.c sandbox-filter util
	may_include reach.c auth sandbox settings tickets tls util
	may_include make-filter.c
	may_include session.c reach sandbox settings transport mailbox auth scoreboard title log util
	may_include login.h session
	may_include login.c session settings transport mailbox auth scoreboard wire log util
	may_include protocol.c login session settings transport mailbox auth scoreboard wire log util
	may_include pop3-handler.c auth listener log protocol reach sandbox settings tickets title tls transport util
	for file in *.c; do
		grep -qF "may_include $file" tests/house.bats
	done
}

shopt -s extglob # for the whole file: it must be set before a pattern is parsed

@test "who owns something is the only one to touch it" {
	run ! grep -lE '\bgnutls_' ./!(tls).c
	run ! grep -nE '\b(open|openat|fopen|unlinkat|renameat2)\(' protocol.c transport.c wire.c name.c
	run ! grep -nE '\b(read|write|send|recv|poll)\(' protocol.c settings.c log.c auth.c
	run ! grep -nE '"[^"]*(\+OK|-ERR)' ./!(protocol|login|session).c
	run ! grep -nE '\b_?exit\(' ./!(pop3-handler).c
	run ! grep -nE '\b(fork|accept4|waitpid|sd_(listen|notify|watchdog)[a-z_]*)\(' ./!(listener|systemd).c
	run ! grep -nE '\b(v?syslog|openlog|sd_journal_[a-z]+)\(|fprintf\(stderr' ./!(log|make-filter|systemd).c
	run ! grep -nE '\bgetpeername\(' ./!(peer).c
	run ! grep -nE '\b(prctl|syscall|setres[ug]id|initgroups|setrlimit)\(' ./!(sandbox).c
	[ "$(grep -cE 'session->state = ' session.c)" -eq 1 ]
}

@test "the C code is formatted as .clang-format says" {
	clang-format --dry-run --Werror ./*.c ./*.h {bench,fuzz,tests}/*.[ch]
}

@test "the scripts are clean under shellcheck" {
	shellcheck -x .ci/run tools/* tests/analyse tests/valgrind systemd/settle tests/helpers.bash tests/boot.bash tests/*.bats
}

@test "the manuals are clean, and they and README tell of every setting" {
	# Which other manuals this machine has is not our affair.
	mandoc -Tlint -W style pop3-handler.8 pop3-handler.conf.5 |
		grep -vE 'referenced manual not found|outdated mandoc.db' >"$BATS_TEST_TMPDIR/lint" || true
	cat "$BATS_TEST_TMPDIR/lint"
	[ ! -s "$BATS_TEST_TMPDIR/lint" ]
	settings=$("$HANDLER" --help | sed -nE 's/^  --([a-z-]+)=\.\.\..*/\1/p')
	[ "$(wc -w <<<"$settings")" -ge 15 ]
	for setting in $settings; do
		echo "$setting"
		grep -qxF ".It Cm $setting" pop3-handler.conf.5
		grep -qF "| \`$setting\` |" README.md
	done
}

@test "every file of source says its licence" {
	for file in ./*.c ./*.h ./*.8 ./*.5 meson.build meson_options.txt bench/*.{build,c,py} bench/{compare,run,sandbox,sleepers} fuzz/*.* tests/* tools/* .ci/run systemd/*.* systemd/settle systemd/listener/* examples/* fail2ban/*; do
		head -n 3 "$file" | grep -q 'SPDX-License-Identifier: ISC' || {
			echo "$file"
			return 1
		}
	done
}
