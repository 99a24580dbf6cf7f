#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The setting `listen`: the program opens its own sockets, for trials and containers.

load helpers

setup() {
	setup_site
	make_messages 1
}

# start OPTION...: runs the handler with standard output in the file `said`. Its process is the last one
# in `background`.
start() {
	: >said
	: >log
	"${wrapper[@]}" "$HANDLER" "${options[@]}" "$@" </dev/null >said 2>>log 3>&- &
	background+=($!)
}

# is_listening COUNT: waits for COUNT lines of output; sets the array `ports`.
is_listening() {
	until [ "$(wc -l <said)" -eq "$1" ]; do
		kill -0 "${background[-1]}"
	done
	run ! grep -vE '^listening on .*:[1-9][0-9]*$' said
	mapfile -t ports < <(sed 's/.*://' said)
	port=${ports[0]}
}

# fetches ADDRESS...: alice's message can be fetched there.
fetches() {
	for address; do
		curl -sS --user alice:apple "pop3://$address/" | tr -d '\r' | tee listing
		[ "$(<listing)" = '1 11' ]
	done
}

# ends SIGNAL: the signal ends the listener with status 0.
ends() {
	kill -s "$1" "${background[-1]}"
	wait "${background[-1]}"
	unset 'background[-1]'
}

@test "listen opens sockets and prints their addresses once it is ready" {
	start --listen=127.0.0.1:0 '--listen=[::1]:0' --listen=127.0.0.2:0
	is_listening 3
	[ "$(sed 's/:[0-9]*$//' said | tr '\n' ' ')" = 'listening on 127.0.0.1 listening on [::1] listening on 127.0.0.2 ' ]
	fetches "127.0.0.1:${ports[0]}" "[::1]:${ports[1]}" "127.0.0.2:${ports[2]}"
	ends TERM
	[ -z "$(troubles)" ]
	printf '%s\n' 'listen = 127.0.0.3:0' 'listen = 127.0.0.4:0' >settings
	start --config=settings
	is_listening 2
	fetches "127.0.0.3:${ports[0]}" "127.0.0.4:${ports[1]}"
	ends INT
	start --config=settings --listen=127.0.0.5:0 # the command line overrides the file
	is_listening 1
	fetches "127.0.0.5:$port"
}

@test "[::] serves IPv4 as well" {
	start '--listen=[::]:0'
	is_listening 1
	fetches "127.0.0.1:$port" "[::1]:$port"
	grep -F "login of 'alice' from 127.0.0.1 accepted" log
	grep -F "login of 'alice' from ::1 accepted" log
}

@test "a port can be bound again at once, and the reader of standard output may be gone" {
	start --listen=127.0.0.1:0
	is_listening 1
	exec {client}<>"/dev/tcp/127.0.0.1/$port" # the listener closes this connection first
	read -r -t 20 _ <&"$client"
	ends TERM
	: >log
	"$HANDLER" "${options[@]}" "--listen=127.0.0.1:$port" </dev/null > >(:) 2>>log 3>&- &
	background+=($!)
	until curl -sS --user alice:apple "pop3://127.0.0.1:$port/" >listing 2>/dev/null; do
		kill -0 "${background[-1]}"
	done
	exec {client}>&-
	ends TERM
}

# fails STATUS LINE OPTION...: exits with this status after this one line.
fails() {
	local expected=$1 line=$2
	shift 2
	status=0
	"${wrapper[@]}" "$HANDLER" "${options[@]}" "$@" </dev/null >said 2>log || status=$?
	cat log
	[ "$status" -eq "$expected" ]
	[ "$(<log)" = "pop3-handler: $line" ]
	[ ! -s said ]
}

@test "a bad address is a mistake of the setting" {
	for address in '' 127.0.0.1 127.0.0.1: 127.0.0.1:x 127.0.0.1:65536 127.0.0.1:-1 1.2.3:110 localhost:110 :110 110 \
		::1:110 '[::1]' '[::1]:' '[::1:110' '::1]:110' '[]:110' '[:110' ']:110' '[127.0.0.1]:110' '[::1]]:110' \
		'[::1]:110 [::1]:111'; do
		fails 64 "command line: listen: '$address' is not an IP address with a port, like 127.0.0.1:110 or [::]:110 (16 at most)" \
			"--listen=$address"
	done
	# 17 valid addresses are too many.
	printf 'listen = 127.0.0.1:0\n%.0s' {1..17} >settings
	fails 78 "settings:17: listen: '127.0.0.1:0' is not an IP address with a port, like 127.0.0.1:110 or [::]:110 (16 at most)" \
		--config=settings
	sed -i 1d settings
	start --config=settings
	is_listening 16
	fetches "127.0.0.1:${ports[15]}"
}

@test "an address that is in use or not local is one line that names it" {
	start --listen=127.0.0.1:0
	is_listening 1
	mv log other.log
	fails 74 "cannot listen on 127.0.0.1:$port: Address already in use" --listen=127.0.0.1:0 "--listen=127.0.0.1:$port"
	fails 74 'cannot listen on 192.0.2.1:0: Cannot assign requested address' --listen=192.0.2.1:0
}

@test "a listener with bad TLS files never reports that it is ready" {
	echo rubbish >server.pem
	status=0
	"$HANDLER" "${options[@]}" --listen=127.0.0.1:0 --tls=implicit --tls-cert=server.pem </dev/null >said 2>log || status=$?
	[ "$status" -eq 78 ]
	[ ! -s said ]
}

# passes LISTENING CONNECTED: sets `wrapper` to run a program with these numbers of sockets in LISTEN_FDS.
passes() {
	cat >passed.py <<-END
		import os, socket, sys
		listening = [socket.create_server(("127.0.0.1", 0)) for i in range(max(1, $1))]
		connected = [socket.create_connection(listening[0].getsockname()) for i in range($2)]
		passed = [os.dup2(s.fileno(), 100 + i) for i, s in enumerate(listening[:$1] + connected)]
		for i, fd in enumerate(passed):
		    os.dup2(fd, 3 + i)
		os.closerange(3 + len(passed), 1024)
		os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(passed))}
		os.execvp(sys.argv[1], sys.argv[1:])
	END
	wrapper=(/usr/bin/python3 passed.py)
}

@test "listen is refused if a socket was passed, and a client sees nothing of it" {
	for sockets in '1 0' '0 1' '1 1'; do
		# shellcheck disable=SC2086
		passes $sockets
		fails 78 'listen = 127.0.0.1:0, but a socket was passed, too' --listen=127.0.0.1:0
	done
	wrapper=()
	# As inetd does with "nowait" and with "wait".
	status=0
	"$BATS_TEST_DIRNAME/on-socket.py" 127.0.0.1 sh -c 'exec "$@" 2>&0' sh \
		"$HANDLER" "${options[@]}" --listen=127.0.0.1:0 </dev/null >said || status=$?
	[ "$status" -eq 78 ]
	[ ! -s said ]
	listen_port --listen=127.0.0.1:0
	status=0
	wait "${background[-1]}" || status=$?
	[ "$status" -eq 78 ]
	grep -F 'listen = 127.0.0.1:0, but a socket was passed, too' log
}

@test "more sockets than it can serve are a clear error" {
	passes 17 0
	fails 74 'cannot use the sockets that were passed: there are more than 16'
}

@test "a Unix socket on standard input, as sshd makes it, is not a client for listen" {
	cat >sshd.py <<-'END'
		import socket, subprocess, sys
		ours, theirs = socket.socketpair()
		server = subprocess.Popen(sys.argv[1:], stdin=theirs, stdout=theirs)
		theirs.close()
		line = ours.makefile().readline()
		assert line.startswith("listening on 127.0.0.1:"), line
		with socket.create_connection(("127.0.0.1", int(line.split(":")[1])), timeout=20) as client:
		    assert client.recv(100) == b"+OK pop3-handler ready\r\n"
		server.terminate()
		assert server.wait() == 0
	END
	timeout 30 /usr/bin/python3 sshd.py "$HANDLER" "${options[@]}" --listen=127.0.0.1:0 2>log
}

@test "port 110 is bound before root becomes the user" {
	needs_root
	as_nobody true
	# shellcheck disable=SC2016
	wrapper=(unshare --net sh -c 'ip link set lo up && exec "$@"' sh)
	start --listen=127.0.0.1:110 --user=nobody
	is_listening 1
	[ "$port" -eq 110 ]
	[ "$(stat -c %U "/proc/${background[-1]}/task/${background[-1]}/status")" = root ] # the process is not dumpable
	grep -E "^Uid:(.$(id -u nobody)){4}$" "/proc/${background[-1]}/status"
	nsenter --target="${background[-1]}" --net bash -c "$(declare -f fetches); fetches 127.0.0.1:110"
}

@test "root is refused, with a hint how to start" {
	needs_root
	options=("${options[@]:1}")
	fails 78 'refusing to serve as root: name another user, for instance --user=nobody' --listen=127.0.0.1:0 --keeper=no
	grep -v '^pop3-' /etc/passwd >passwd
	# shellcheck disable=SC2016
	wrapper=(unshare --mount sh -c 'mount --bind passwd /etc/passwd && exec "$@"' sh)
	fails 78 'cannot become the user pop3-keeper for the keeper (or set keeper = no): there is no such user' --listen=127.0.0.1:0
}

@test "SIGHUP keeps the sockets, even if the settings change" {
	echo 'listen = 127.0.0.1:0' >settings
	start --config=settings
	is_listening 1
	echo 'listen = 127.0.0.2:0' >settings
	kill -HUP "${background[-1]}"
	logged 'settings and certificates are read again'
	fetches "127.0.0.1:$port"
	: >settings
	kill -HUP "${background[-1]}"
	until [ "$(grep -c 'settings and certificates are read again' log)" -eq 2 ]; do
		kill -0 "${background[-1]}"
	done
	fetches "127.0.0.1:$port"
	[ "$(wc -l <said)" -eq 1 ]
}

# make_root: a root directory with only the program, its libraries and alice's mail.
make_root() {
	mkdir -p root/{etc,proc,mail}
	cp "$HANDLER" root/handler
	ldd "$HANDLER" | grep -o '/[^ ]*' | xargs cp -L --parents -t root
	cp -a "$mail/alice" root/mail
	cp "$users" root/users
	echo 'nobody:x:65534:65534::/:/' >root/etc/passwd
	chown -R 65534 root/mail
}

@test "as PID 1 of a container without libsystemd it reaps orphans and ends on signals" {
	needs_root
	[ "$SANITIZED" = none ] || skip 'the sanitizers load libsystemd at the start'
	make_root
	mkfifo orphan.pipe
	for signal in TERM INT; do
		: >said
		unshare --pid --fork --mount --kill-child --root=root --mount-proc=/proc \
			/handler --listen=127.0.0.1:0 --user=nobody --users=/users '--mailbox=/mail/%u' </dev/null >said 2>log 3>&- &
		background+=($!)
		is_listening 1
		fetches "127.0.0.1:$port"
		listener=$(pgrep -P "${background[-1]}")
		background=("$listener" "${background[-1]}") # unshare ignores SIGTERM
		grep -E '^NSpid:.*[^0-9]1$' "/proc/$listener/status"
		run ! grep systemd "/proc/$listener/maps"
		# An orphan: PID 1 is its parent when it ends.
		children=/proc/$listener/task/$listener/children
		until [ -z "$(cat "$children")" ]; do
			kill -0 "$listener"
		done
		nsenter --target="$listener" --pid sh -c 'sh -c "read -r x" <&3 3<&- &' 3< <(cat orphan.pipe)
		until [ -n "$(cat "$children")" ]; do
			kill -0 "$listener"
		done
		: >orphan.pipe
		until [ -z "$(cat "$children")" ]; do
			kill -0 "$listener"
		done
		kill -s "$signal" "$listener"
		wait "${background[-1]}"
		background=()
		[ -z "$(troubles)" ]
	done
}

@test "Ctrl-C in a terminal ends the listener and its sessions at once" {
	cat >terminal.py <<-'END'
		import os, pty, socket, sys, time
		pid, terminal = pty.fork()
		if pid == 0:
		    os.execvp(sys.argv[1], sys.argv[1:])
		lines = b""
		while b"listening on" not in lines or not lines.endswith(b"\n"):
		    lines += os.read(terminal, 1000)
		port = int(lines.split(b"listening on 127.0.0.1:")[1].split(b"\r")[0])
		clients = [socket.create_connection(("127.0.0.1", port), timeout=20) for i in range(3)]
		files = [client.makefile("rb") for client in clients]
		clients[0].sendall(b"USER bob\r\nPASS banana split \r\n")
		for file in files + 2 * files[:1]:
		    assert file.readline().startswith(b"+OK")
		begin = time.monotonic()
		os.write(terminal, b"\x03")
		try:
		    while octets := os.read(terminal, 1000):
		        lines += octets
		except OSError: # EIO: no process has the terminal open
		    pass
		assert os.waitpid(pid, 0)[1] == 0
		assert time.monotonic() - begin < 5
		assert b"killed" not in lines, lines
	END
	make_maildir bob
	timeout 30 /usr/bin/python3 terminal.py "$HANDLER" "${options[@]}" --listen=127.0.0.1:0
}

# --- A directory that only root can enter ---

# setup_far: puts the program into the directory `far`, where the tests continue; it serves as nobody.
setup_far() {
	as_nobody true
	setup_tls
	chown nobody server.key
	mkdir -m 700 far
	mv handler pop3-handler-tls.so far
	chown nobody run
	options=(--user=nobody "--users=$users" "--mailbox=$mail/%u" "--tls-cert=$PWD/server.pem" "--tls-key=$PWD/server.key")
	HANDLER=$PWD/far/handler
	cd far || return
}

@test "started in a directory that its user cannot enter, it serves TLS" {
	needs_root
	setup_far
	start --listen=127.0.0.1:0
	is_listening 1
	curl -sS --ssl-reqd --cacert ../ca.pem --user alice:apple "pop3://127.0.0.1:$port/"
	serve_port # one process for each connection
	curl -sS --ssl-reqd --cacert ../ca.pem --user alice:apple "pop3://127.0.0.1:$port/"
	run -0 "$HANDLER" "${options[@]}" --check-config
	[[ $output == *"lacks the certificate of the issuer 'CN=ca'" && ${#lines[@]} -eq 1 ]]
}

@test "a reload names a file that only root can read" {
	needs_root
	setup_far
	touch settings ../settings
	start --config=settings --listen=127.0.0.1:0 --tls=off
	is_listening 1
	kill -HUP "${background[-1]}"
	logged "reload failed, the settings are as before: cannot read the settings file 'settings': Permission denied"
	fetches "127.0.0.1:$port"
	unset 'options[3]' 'options[4]'
	start "--config=${PWD%/*}/settings" --listen=127.0.0.1:0
	is_listening 1
	printf '%s\n' "tls-cert = ${PWD%/*}/server.pem" "tls-key = ${PWD%/*}/server.key" >../settings
	kill -HUP "${background[-1]}"
	logged "cannot load TLS: $PWD/pop3-handler-tls.so: cannot open shared object file: Permission denied"
	fetches "127.0.0.1:$port"
}

@test "a module that cannot be loaded is logged with its name and the reason" {
	needs_root
	setup_far
	echo rubbish >pop3-handler-tls.so
	fails 74 "cannot load TLS: $PWD/pop3-handler-tls.so: file too short" --listen=127.0.0.1:0
	fails 74 "cannot load TLS: $PWD/pop3-handler-tls.so: file too short" --check-config
}
