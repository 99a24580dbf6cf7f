#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Slow libraries are loaded only where they are needed, and a missing one is reported.

load helpers

setup() {
	setup_site
	make_messages 1
}

# loaded COMMAND...: runs it; the libraries that it opens are listed in `trace`.
loaded() {
	trace trace trace=openat "$@" >out 2>log <<<QUIT
	grep -q libc.so trace
}

@test "without TLS and systemd neither GnuTLS nor libsystemd is loaded" {
	[ "$SANITIZED" = none ] || skip 'the sanitizers load them at the start'
	loaded "$HANDLER" "${options[@]}"
	run ! grep -E 'pop3-handler-tls|libgnutls|libsystemd|libnettle' trace
	setup_tls
	loaded "$HANDLER" "${options[@]}"
	grep -q 'pop3-handler-tls.so.*= [0-9]' trace
	grep -q libgnutls trace
	run ! grep libsystemd trace
}

# fails COMMAND...: ends with status 74 and one line, which is in the file `log`.
fails() {
	run -74 sh -c '"$@" >out 2>log' sh "$@" <<<QUIT
	cat log
	[ "$(wc -l <log)" -eq 1 ]
	[ ! -s out ]
}

@test "a service that needs the missing TLS module says so and ends" {
	setup_tls
	cp "$HANDLER" .
	echo rubbish >pop3-handler-tls.so
	for tls in starttls implicit; do
		fails ./pop3-handler "${options[@]}" --tls=$tls
		grep -q "^pop3-handler: cannot load TLS: $PWD/pop3-handler-tls.so: " log
	done
	./pop3-handler "${options[@]}" --tls=off <<<QUIT
}

@test "without libsystemd, passed sockets are an error" {
	[ "$SANITIZED" = none ] || skip 'the sanitizers load it at the start'
	echo rubbish >libsystemd.so.0
	fails env LD_LIBRARY_PATH="$PWD" LISTEN_FDS=1 "$HANDLER" "${options[@]}"
	grep -qxF 'pop3-handler: cannot use the sockets that were passed: Can not access a needed shared library' log
	LD_LIBRARY_PATH="$PWD" "$HANDLER" "${options[@]}" <<<QUIT
}
