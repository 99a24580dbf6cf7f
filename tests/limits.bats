#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Limits for clients that send mistakes or too much, and secrets in memory.

load helpers

# bad COUNT: prints COUNT bad commands of different kinds.
bad() {
	local i kinds=('' XTND 'CAPA x' STAT 'USER' "$(printf 'A%.0s' {1..600})" 'PASS')
	for ((i = 0; i < $1; i++)); do
		echo "${kinds[i % ${#kinds[@]}]}"
	done
}

@test "twenty bad commands in a row end a session, and nothing is deleted" {
	make_messages 2
	mapfile -t commands < <(bad 30)
	talk "${commands[@]}" QUIT
	[ "${#lines[@]}" -eq 21 ]
	grep -xE 'pop3-handler: session from local ended before login: too many mistakes; no TLS, [0-9.]+ seconds' log
	as_alice 'DELE 1' "${commands[@]//STAT/WAKE}" QUIT
	[ "${#lines[@]}" -eq 21 ]
	grep -F "session of 'alice' from local ended: too many mistakes; no TLS, retrieved 0 (0 octets), deleted 0" log
	[ "$(files alice | wc -l)" -eq 2 ]
}

@test "a good command resets the count of bad ones, and a missing message is no bad command" {
	make_messages 1
	mapfile -t commands < <(bad 19)
	commands=("${commands[@]//STAT/WAKE}")
	mapfile -t missing < <(yes 'DELE UID:missing' | head -n 40)
	as_alice "${commands[@]}" NOOP "${commands[@]}" 'RETR 7' "${missing[@]}" "${commands[@]}" QUIT
	[ "${lines[-1]}" = '+OK goodbye' ]
}

@test "the eleventh bad command is answered after a delay, and each later one after a longer delay" {
	bad 13 >script
	trace trace trace=ppoll "$HANDLER" "${options[@]}" --login-penalty=1 <script >out
	sed -nE 's/^ppoll\(\[\{fd=1, events=0\}\], 1, \{tv_sec=0, tv_nsec=([0-9]+)\}.*/\1/p' trace >waits
	cat waits
	# Part of each delay has passed when poll is called.
	awk '{ ms = ($1 + 999999) / 1000000; if (int(ms) > 50 * NR || ms <= 50 * (NR - 1)) exit 1 } END { exit NR != 3 }' waits
}

@test "three failed logins in a row end a session" {
	talk 'USER alice' 'PASS 1' 'AUTH PLAIN AGFsaWNlADI=' 'USER alice' 'PASS 3' 'USER alice' 'PASS apple'
	[ "${#lines[@]}" -eq 6 ]
	[ "${lines[5]}" = '-ERR [AUTH] wrong user name or password' ]
	grep -F 'ended before login: too many mistakes' log
}

# peak_kib PID: its peak memory.
peak_kib() {
	awk '/^VmHWM/ { print $2 }' "/proc/$1/status"
}

@test "a session stays below 20 MB for a line of 100 MB, and for a client that does not read" {
	needs_root
	[ "$SANITIZED" = none ] || skip 'the sanitizers need more memory'
	make_messages 3
	cat >scenario.py <<-'END'
		import os, re, subprocess, sys, threading
		def peak(process):
		    return int(re.search(r'VmHWM:\s+(\d+) kB', open(f'/proc/{process.pid}/status').read())[1])
		def start():
		    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
		    assert process.stdout.readline().startswith(b'+OK')
		    return process
		process = start()
		for _ in range(100):
		    process.stdin.write(b'x' * 1_000_000)
		process.stdin.write(b'\r\n')
		process.stdin.flush()
		assert process.stdout.readline() == b'-ERR the line is too long\r\n'
		print('a long line:', peak(process), 'KiB')
		assert peak(process) < 20_000
		process.stdin.write(b'USER alice\r\nPASS apple\r\n')
		process.stdin.flush()
		assert [process.stdout.readline()[:3] for _ in range(2)] == [b'+OK', b'+OK']
		# The client reads nothing, so the session stops reading commands at some time.
		commands = threading.Thread(target=lambda: (process.stdin.write(b'NOOP\r\nLIST\r\n' * 500_000),
		                                            process.stdin.close()))
		commands.start()
		wait = f'/proc/{process.pid}/syscall'
		while not open(wait).read().startswith('271 '):  # ppoll
		    pass
		print('nobody reads:', peak(process), 'KiB')
		assert peak(process) < 20_000
		count = 0
		while block := process.stdout.read(1 << 20):
		    count += block.count(b'\n')
		assert count == 500_000 * (1 + 5), count
		commands.join()
		assert process.wait() == 0
	END
	[ "$(uname -m)" = x86_64 ] || sed -i 's/271/73/' scenario.py
	/usr/bin/python3 scenario.py "$HANDLER" "${options[@]}"
}

@test "a session limits its address space, and file sizes unless it logs into a file" {
	[ "$SANITIZED" = none ] || skip 'the sanitizers need a larger address space'
	start_session one
	grep -xE 'Max address space +2147483648 +2147483648 .*' "/proc/$pid_one/limits"
	grep -xE 'Max file size +unlimited .*' "/proc/$pid_one/limits" # the log is a file
	# shellcheck disable=SC2016
	start_session two sh -c 'exec "$0" "$@" 2>/dev/null' "$HANDLER" "${options[@]}"
	grep -xE 'Max file size +268435456 +268435456 .*' "/proc/$pid_two/limits"
	# A lower limit stays.
	start_session three prlimit --as=1073741824 "$HANDLER" "${options[@]}"
	grep -xE 'Max address space +1073741824 +1073741824 .*' "/proc/$pid_three/limits"
	start_session four prlimit --as=1073741824:4294967296 "$HANDLER" "${options[@]}"
	grep -xE 'Max address space +1073741824 +2147483648 .*' "/proc/$pid_four/limits"
	cat three.log four.log
	[ ! -s three.log ] && [ ! -s four.log ]
}

@test "keepalive and TCP_USER_TIMEOUT detect a peer that is gone" {
	needs_root
	serve_port
	exec {to}<>"/dev/tcp/127.0.0.1/$port"
	from_one=$to
	hear one
	ss -Htno "sport = :$port" | tee sockets
	grep -E 'timer:\(keepalive,(4min[0-9.]*sec|5min)' sockets
	exec {to}>&-
	printf 'QUIT\r\n' >script
	ASAN_OPTIONS=detect_leaks=0 "$BATS_TEST_DIRNAME/on-socket.py" 127.0.0.1 \
		strace -qq -o trace -e trace=setsockopt "$HANDLER" "${options[@]}" <script >out
	grep -F 'SOL_TCP, TCP_USER_TIMEOUT, [600000], 4) = 0' trace
}

# --- Secrets ---

plain_build() {
	[ "$SANITIZED" = none ] || skip 'the sanitizers keep freed memory'
}

@test "after login, no password is in memory, neither the user's nor another one" {
	needs_root
	plain_build
	printf '%s\n' "alice:$(openssl passwd -5 -salt pepper correct-horse)" 'bob:{PLAIN}zebra-crossing' \
		"carol:$(openssl passwd -5 -salt vinegar nothing)" >"$users"
	start_session one
	# Split in the middle, and with other commands in the same packet.
	printf 'NOOP\r\nUSER bob\r\nPASS wrong-password\r\nUSER alice\r\nPASS corr' >&"$to_one"
	hear one
	hear one
	hear one
	[[ $reply == '-ERR [AUTH]'* ]]
	hear one
	printf 'ect-horse\r\nPASS again-a-secret\r\nNOOP\r\nNO' >&"$to_one"
	hear one
	[[ $reply == '+OK '*messages ]]
	hear one
	hear one
	run -0 "$BATS_TEST_DIRNAME/search-memory.py" "$pid_one" correct-horse ect-horse wrong-password \
		zebra-crossing vinegar again-a-secret pepper pop3-handler
	# Finding this one shows that the search works.
	[ "$output" = pop3-handler ]
	ask one OP
	ask one SLEE
	ask one WAKE
	[[ $reply == '+OK [ACTIVITY'* ]]
	run -0 "$BATS_TEST_DIRNAME/search-memory.py" "$pid_one" zebra-crossing vinegar correct-horse
	[ -z "$output" ]
}

@test "after a login through TLS the password is not in memory" {
	needs_root
	plain_build
	echo "alice:$(openssl passwd -5 -salt pepper correct-horse)" >"$users"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 1 -subj /CN=localhost \
		-keyout key.pem -out cert.pem 2>/dev/null
	serve_port --tls=implicit --tls-cert=cert.pem --tls-key=key.pem
	cat >scenario.py <<-'END'
		import socket, ssl, subprocess, sys
		context = ssl.create_default_context()
		context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
		client = context.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[1])))).makefile('rw')
		def ask(line):
		    client.write(line + '\r\n')
		    client.flush()
		    return client.readline()
		client.readline()
		ask('USER alice')
		assert ask('PASS correct-horse').startswith('+OK')
		assert ask('STAT').startswith('+OK')
		children = open(f'/proc/{sys.argv[2]}/task/{sys.argv[2]}/children').read().split()
		found = subprocess.run([sys.argv[3], *children, 'correct-horse', 'pepper', 'pop3-handler'], capture_output=True, text=True)
		assert found.stdout == 'pop3-handler\n', found
	END
	/usr/bin/python3 scenario.py "$port" "${background[-1]}" "$BATS_TEST_DIRNAME/search-memory.py"
}
