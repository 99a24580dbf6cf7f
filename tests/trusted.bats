#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Whatever an attacker does, a client of a trusted network logs in: each scenario without a keeper and
# with one. (What a process under the control of an attacker can reach is in captured.bats and
# keeper-attacks.bats.)

load helpers
load keeper

# setup_service KEEPER: `ann` is the attacker's account, and `ben` logs in from the trusted network.
setup_service() {
	keeper=$1
	if [ "$keeper" = with ]; then
		setup_keeper
	else
		setup_site
		printf '%s:{PLAIN}secret\n' ann ben >"$users"
		make_maildir ann
		make_maildir ben
	fi
	options=("${options[@]/#--login-penalty=*/--login-penalty=1}" --trusted-networks=127.200.0.1 --login-timeout=60)
}

setup() {
	:
}

# Starts the listener, and runs a Python script from standard input.
attack() {
	if [ "$keeper" = with ]; then
		listen_keeper "${settings[@]}"
	else
		listen_port "${settings[@]}"
	fi
	with_client < <(
		cat <<-END
			import re, select, threading
			FROM_INSIDE = '$BATS_TEST_DIRNAME/from-inside.py'
			RECHECK = '$([ "$keeper" = without ] || "${HANDLER%/*}/tests/channel-packet" 5)'
		END
		cat - <<-'END'
			def is_session(pid):
			    try:
			        return 'keeper' not in open(f'/proc/{pid}/cmdline').read()
			    except OSError: # it has just ended
			        return False
			def sessions():
			    return {pid for pid in children() if is_session(pid)}
			def only_session():
			    pids = sessions()
			    return pids if len(pids) == 1 else None
			def trusted_logs_in(times=1):
			    begun = time.monotonic()
			    for i in range(times):
			        Client(port, source='127.200.0.1').login('ben', 'secret').expect('QUIT', '+OK')
			    print(times, 'logins in', time.monotonic() - begun)
			def in_background(function, *arguments):
			    """Calls the function again and again; the result is a function that stops this."""
			    stop = threading.Event()
			    def run():
			        while not stop.is_set():
			            function(*arguments)
			    thread = threading.Thread(target=run)
			    thread.start()
			    def end():
			        stop.set()
			        thread.join()
			    return end
		END
		cat
	)
}

# --- 1,000 addresses ---

thousand_addresses() {
	settings=(--max-logins=100 --max-sessions=120)
	attack <<-'END'
		held, numbers = [], iter(range(1 << 30))
		def connect():
		    i = next(numbers)
		    try:
		        client = socket.create_connection(('127.0.0.1', port), 1, (f'127.{1 + i % 100}.{i // 100 % 10}.1', 0))
		        client.send((b'USER ben\r\nPASS %d\r\n' % i) * (i % 3))
		        held.append(client)
		    except OSError:
		        pass
		    del held[:-500]
		end = in_background(connect)
		try:
		    wait_for(lambda: next(numbers) > 1000)
		    trusted_logs_in(20)
		finally:
		    end()
	END
}

@test "an attacker with 1,000 addresses keeps no trusted network out, without a keeper" {
	setup_service without
	thousand_addresses
}

@test "an attacker with 1,000 addresses keeps no trusted network out, with a keeper" {
	setup_service with
	thousand_addresses
}

# --- A log that stalls ---

stalled_log() {
	mkfifo stalled
	"$BATS_TEST_DIRNAME/stalled-log.py" pipe log >stalled 3>&- &
	background+=($!)
	read -r -t 20 _ <stalled
	attack <<-'END'
		for i in range(20):
		    Client(port, source=f'127.1.1.{i}').expect('AUTH PLAIN AGFubgB3cm9uZw==', '-ERR [AUTH]')
		    trusted_logs_in()
	END
	kill "${background[-1]}"
	timeout 20 tail --pid="${background[-1]}" -f /dev/null
}

@test "a log that stalls keeps no trusted network out, without a keeper" {
	setup_service without
	stalled_log
}

@test "a log that stalls keeps no trusted network out, with a keeper" {
	setup_service with
	stalled_log
}

# --- Crashes ---

crashes() {
	attack <<-'END'
		def crash(source, logs_in):
		    client = Client(port, source=source)
		    assert client.greeting, source
		    if logs_in:
		        client.login('ann', 'secret')
		    [pid] = wait_for(only_session)
		    os.kill(pid, signal.SIGABRT)
		    wait_for(lambda: not sessions())
		    trusted_logs_in()
		    wait_for(lambda: not sessions())
		for i in range(11):
		    crash(f'127.1.1.{i + 1}', logs_in=True)
		# With a keeper, crashes after login are those of a user, and no others wait.
		if not RECHECK:
		    wait_for(lambda: Client(port, source='127.1.3.1').greeting)
		    wait_for(lambda: not sessions())
		for i in range(11):
		    crash(f'127.1.2.{i + 1}', logs_in=False)
		waits = re.findall('for ([0-9]+) seconds only clients of trusted-networks are served', open('log').read())
		assert waits == (['1'] if RECHECK else ['1', '2']), waits
	END
}

@test "crashes at will, before login and after it, keep no trusted network out, without a keeper" {
	setup_service without
	crashes
}

@test "crashes at will, before login and after it, keep no trusted network out, with a keeper" {
	setup_service with
	crashes
}

# --- A process under the control of an attacker ---

# captured before|after: the attacker's session writes to all memory that it shares, and to the log; it
# asks the keeper without end; and it stops.
captured() {
	[ "$(uname -m)" = x86_64 ] || skip 'tests/from-inside.py supports x86_64 only'
	[ "$SANITIZED" = none ] || skip 'sanitizer builds have another seccomp filter'
	needs_root
	attack <<<"stage = '$1'"$'\n'"$(
		cat <<-'END'
			client = Client(port, source='127.1.1.1')
			if stage == 'after':
			    client.login('ann', 'secret')
			[pid] = wait_for(only_session)
			# States of the scoreboard and others, wherever the session can write them.
			areas = [[int(number, 16) for number in line.split()[0].split('-')]
			         for line in open(f'/proc/{pid}/maps') if ' rw-s ' in line]
			def overwrite():
			    with open(f'/proc/{pid}/mem', 'r+b', buffering=0) as memory:
			        for state in 3, 4, 0xffffffff, 0, 2, 5:
			            for start, end in areas:
			                memory.seek(start)
			                memory.write(state.to_bytes(4, 'little') * ((end - start) // 4))
			assert areas
			end = in_background(overwrite)
			try:
			    trusted_logs_in(20)
			finally:
			    end()
			calls = ['write 2 @666f726765640a 7']
			if RECHECK and stage == 'after':
			    calls.append(f'ask {RECHECK}')
			flood = subprocess.Popen([FROM_INSIDE, str(pid), *calls * 2000], stdout=subprocess.DEVNULL)
			while flood.poll() is None:
			    trusted_logs_in()
			assert flood.returncode == 0
			client.expect('QUIT', '+OK') # the session continues
			client = Client(port, source='127.1.1.2')
			if stage == 'after':
			    client.login('ann', 'secret')
			[pid] = wait_for(only_session)
			os.kill(pid, signal.SIGSTOP)
			trusted_logs_in()
			os.kill(pid, signal.SIGKILL)
		END
	)"
	grep -q forged log
}

@test "a session that is captured before login keeps no trusted network out, without a keeper" {
	setup_service without
	captured before
}

@test "a session that is captured before login keeps no trusted network out, with a keeper" {
	setup_service with
	captured before
}

@test "a session that is captured after login keeps no trusted network out, without a keeper" {
	setup_service without
	captured after
}

@test "a session that is captured after login keeps no trusted network out, with a keeper" {
	setup_service with
	captured after
}
