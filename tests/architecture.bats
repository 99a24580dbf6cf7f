#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# What modules may include of each other, and how the code looks.

load helpers

setup() {
	setup_site
	cd "$BATS_TEST_DIRNAME/.." || return 1
}

# The front modules. Each may include those after it.
order='pop3-handler takeover protocol login session-log keeper session listener sandbox mailbox transport channel auth tls failures scoreboard settings log'

# sources: the files of the program, as paths without `./`. What other tests make and remove meanwhile
# begins with a dot: messages may be named like headers.
sources() {
	find . -ignore_readdir_race \( -path './.*' -o -path './build*' \) -prune -o -name '*.[ch]' -print |
		sed 's|^\./||' | grep -vE '^(bench|fuzz|tests)/' | sort
}

# forbidden_includes: each include in the folder we are in that breaks one of these rules:
# 1. An inner module (in a folder) is included only by its front module and its neighbours there.
# 2. lib/ includes only lib/.
# 3. The front modules, and the inner ones for theirs, include only those that come after them.
forbidden_includes() {
	sources | xargs grep -H '^#include "' | sed -E 's|\.[ch]:#include "(.*)\.h"| \1|' | awk -v "order=$order" '
		function folder(module) { sub("/.*", "", module); return module }
		BEGIN { count = split(order, fronts); for (i = 1; i <= count; i++) rank[fronts[i]] = i }
		{
			from = folder($1); to = folder($2); is_inner = $2 ~ "/"
			if (to == "lib") allowed = 1
			else if (is_inner) allowed = from == to
			else allowed = rank[from] && rank[to] && rank[from] <= rank[to]
			if (!allowed) print $1, "includes", $2
		}'
}

@test "modules include only what the architecture lets them" {
	run -0 forbidden_includes
	echo "$output"
	[ -z "$output" ]
	for module in $(sources | grep -v / | sed 's/\..*//' | uniq); do
		[[ " $order " == *" $module "* ]]
	done
}

@test "README has the front modules in the order of the architecture" {
	# shellcheck disable=SC2016
	modules=$(sed -nE 's/^\| `([a-z0-9-]+)\.c`(, `\1\/`)? \|.*/\1/p' README.md)
	[ "$(tr '\n' ' ' <<<"$modules")" = "$order " ]
}

@test "an include that the architecture forbids is found" {
	mkdir "$BATS_TEST_TMPDIR/tree"
	sources | xargs cp --parents -t "$BATS_TEST_TMPDIR/tree"
	cd "$BATS_TEST_TMPDIR/tree"
	while read -r module header; do
		echo "$module $header"
		cp "$module.c" whole.c.orig
		echo "#include \"$header.h\"" >>"$module.c"
		run -0 forbidden_includes
		[ "$output" = "$module includes $header" ]
		mv whole.c.orig "$module.c"
	done <<-'END'
		protocol mailbox/listing
		transport tls/ticket-key
		mailbox/lock tls/ticket-key
		lib/wire log
		lib/wire mailbox/listing
		settings auth
		mailbox/listing session
		log nowhere
	END
}

@test "each static function and each struct has a name of its own in the whole program" {
	sources | xargs grep -hoP '^(__attribute__.* )?static [^=;]*?\b\K[a-z0-9_]+(?=\([^;]*$)|^struct [a-z0-9_]+(?= \{)' | sort >"$BATS_TEST_TMPDIR/names"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/names")" -gt 300 ]
	run -0 uniq -d "$BATS_TEST_TMPDIR/names"
	echo "$output"
	[ -z "$output" ]
}

# only PATTERN FILE...: no other file of the source has it.
only() {
	local pattern=$1
	shift
	# shellcheck disable=SC2046
	run ! grep -nE "$pattern" $(sources | grep -E '\.c$' | grep -vxF "$(printf '%s\n' "$@")")
}

@test "who owns something is the only one to touch it" {
	only '\bgnutls_' tls.c tls/certificates.c tls/signing.c
	only '"[^"]*(\+OK|-ERR)' protocol.c login.c session.c
	only '\b_?exit\(' pop3-handler.c keeper.c keeper/checker.c sandbox/consent.c takeover.c
	only '\b(fork|accept4|waitpid|sd_(listen|notify|watchdog)[a-z_]*)\(' listener.c keeper.c keeper/checker.c sandbox/consent.c auth/checkpassword.c lib/libsystemd.c takeover.c
	only '\b(v?syslog|openlog|sd_journal_[a-z]+)\([^3]|fprintf\(stderr' sandbox/make-filter.c
	only '\bgetpeername\(' lib/peer.c
	only '\b(prctl|syscall|setres[ug]id|initgroups|setrlimit)\(' sandbox.c sandbox/consent.c keeper.c keeper/checker.c
	run ! grep -nE '\b(open|openat|fopen|unlinkat|renameat2)\(' protocol.c transport.c lib/wire.c mailbox/maildir-name.c
	run ! grep -nE '\b(read|write|send|recv|poll)\(' protocol.c settings.c auth.c auth/{backend,pam,passwd-file,password}.c
	[ "$(grep -cE 'session->state = ' session.c)" -eq 1 ]
}

@test "each event of the log has an entry in the catalog, and each entry an event" {
	diff <(grep -oE '"[0-9a-f]{32}"' log.c | tr -d '"' | sort) \
		<(sed -n 's/^-- //p' systemd/pop3-handler.catalog | sort)
}

@test "the C code is formatted as .clang-format says" {
	clang-format --dry-run --Werror ./*.[ch] {auth,bench,fuzz,keeper,lib,mailbox,sandbox,tests,tls}/*.[ch]
}

@test "the scripts are clean under shellcheck" {
	mapfile -t tools < <(grep -lE '^#!/bin/(ba)?sh' tools/*) # the others are in Python
	shellcheck -x .ci/run "${tools[@]}" doc/draw tests/analyse tests/valgrind systemd/{pop3-check,post-install} tests/*.bash tests/*.bats
}

@test "the manuals are clean" {
	# Which other manuals this machine has is not our affair.
	mandoc -Tlint -W style man/pop3-handler.8 man/pop3-handler.conf.5 |
		grep -vE 'referenced manual not found|outdated mandoc.db' >"$BATS_TEST_TMPDIR/lint" || true
	cat "$BATS_TEST_TMPDIR/lint"
	[ ! -s "$BATS_TEST_TMPDIR/lint" ]
}

@test "every file of source says its licence" {
	for file in $(sources) man/* meson.build meson_options.txt bench/*.{build,c,py} bench/{compare,run,sandbox,sleepers} fuzz/*.* tests/* tools/* .ci/run systemd/* examples/* fail2ban/*; do
		head -n 3 "$file" | grep -q 'SPDX-License-Identifier: ISC' || {
			echo "$file"
			return 1
		}
	done
}

@test "no text has words that a reader stumbles over" {
	# The exceptions are the inputs of the fuzzers. The pattern does not match itself.
	hard='so (many|much)|h(im(self)?|is)|as whic[h]|none of it[s]|all of i[t]'
	run -1 grep -rInwiE "$hard" --exclude-dir='.[!.]*' --exclude-dir='build*' --exclude-dir=corpus . .ci
	echo "$output"
}
