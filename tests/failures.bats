#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Failed logins: which logins are delayed, what counts as a failure, and what forgets it. Each test runs in all
# places that count them: the sessions of a listener, the keeper of a listener, and keepers of single connections.

load helpers
load keeper

setup() {
	[ "$SANITIZED" = none ] || skip 'it mostly waits: the plain build is enough'
	setup_site
	printf '%s\n' 'alice:{PLAIN}apple:61001:61001' 'bob:{PLAIN}banana:61001:61001' \
		'off:{PLAIN}x:61001:61001::::nologin' 'away:{PLAIN}x:61001:61001::::allow_nets=192.0.2.1' >"$users"
	places=(sessions)
	if [ "$(id -u)" -eq 0 ]; then
		let_others_in
		chmod 755 accounts mail
		chmod 644 "$users"
		places+=(keeper keepers)
	fi
}

# start PLACE OPTION...: a server, in a directory of this name; sets `port`.
start() {
	local options=("${options[@]}" "--mailbox=$mail/$1/%u" --login-penalty=1 "${@:2}")
	mkdir "$1"
	cp -a accounts "$1"
	options=("${options[@]/#--users=*/--users=$PWD/$1/accounts/users}")
	make_maildir "$1/alice"
	make_maildir "$1/bob"
	cd "$1" || return 1
	wrapper=()
	if [ "$1" != sessions ]; then
		export ASAN_OPTIONS=exitcode=99:detect_leaks=0 # LeakSanitizer finds nothing after a change of users
		chown -R 61001:61001 "$mail/$1"
		make_service_users
		options=("${options[@]/#--user=*/--keeper=auto}")
	fi
	if [ "$1" = keepers ]; then serve_port; else listen_port; fi
	cd ..
}

# everywhere OPTION... <<<SCRIPT: runs a script of clients in all places at the same time.
everywhere() {
	local place clients=() pid
	{
		cat <<-'END'
			import base64, threading
			def at_once(*attempts):
			    failures = []
			    def run(attempt):
			        try:
			            attempt()
			        except BaseException as failure:
			            failures.append(failure)
			    threads = [threading.Thread(target=run, args=[attempt]) for attempt in attempts]
			    for thread in threads:
			        thread.start()
			    for thread in threads:
			        thread.join()
			    assert not failures, failures
			def encode(*texts):
			    return base64.b64encode('\0'.join(texts).encode()).decode()
			def attempt(lines, answer, source='127.0.0.1'):
			    """Returns the seconds to the last reply. Each failure doubles a delay: a busy machine does not."""
			    client = Client(port, source=source)
			    start = time.monotonic()
			    for line in lines:
			        reply = client.ask(line)
			    seconds = time.monotonic() - start + 0.01 # the server rounds
			    assert reply.startswith(answer), (answer, reply, source, [line[:60] for line in lines])
			    client.close()
			    return seconds
			def login(user, password, source='127.0.0.1'):
			    return attempt([f'USER {user}', f'PASS {password}'], '+OK', source)
			def fail(*users, source='127.0.0.1', password='wrong{}'):
			    """Logins that fail at the same time, each with its own delay."""
			    at_once(*(lambda user=user, i=i: attempt([f'USER {user}', f'PASS {password.format(i)}'], '-ERR [AUTH]', source)
			              for i, user in enumerate(users)))
		END
		cat
	} >clients.py
	for place in "${places[@]}"; do
		start "$place" "$@"
		(cd "$place" && with_client <../clients.py) &
		clients+=($!)
	done
	for pid in "${clients[@]}"; do
		wait "$pid"
	done
}

@test "every kind of login attempt is delayed after failures of its source" {
	everywhere <<-'END'
		kinds = [
		    ['USER alice', 'PASS apple'], ['USER alice', 'PASS wrong'], ['USER ghost', 'PASS wrong'],
		    ['USER off', 'PASS x'], ['USER away', 'PASS x'], ['USER ../alice', 'PASS apple'],
		    ['AUTH PLAIN ' + encode('', 'alice', 'wrong')], ['AUTH PLAIN', encode('', 'alice', 'wrong')],
		    ['AUTH PLAIN ' + encode('bob', 'alice', 'apple')], ['AUTH PLAIN ' + encode('', 'alice', '')],
		    ['AUTH PLAIN', encode('', 'x' * 4000, 'x')], ['AUTH PLAIN', encode('', 'alice', 'x' * 4000)],
		    ['AUTH LOGIN', encode('alice'), encode('wrong')], ['AUTH LOGIN ' + encode('alice'), encode('')],
		]
		def run(i, lines):
		    source = f'127.0.1.{i}'
		    fail('alice', 'alice', 'alice', source=source)
		    if i == 0:
		        assert attempt(lines, '+OK', source) >= 1
		    else:
		        seconds = attempt(lines, '-ERR [AUTH]', source)
		        assert seconds >= 2, (source, seconds) # a failure itself takes a second
		at_once(*(lambda i=i, lines=lines: run(i, lines) for i, lines in enumerate(kinds)))
	END
}

@test "an empty password lets nobody in, whatever the client asks for" {
	printf '%s\n' 'none:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=:61001:61001' 'plain:{PLAIN}:61001:61001' >>"$users"
	everywhere <<-'END'
		def run(i, texts):
		    attempt(['AUTH PLAIN', encode(*texts)], '-ERR [AUTH]', f'127.0.1.{i}')
		# The keeper gets no password that is too long, nor one for the mailbox of somebody else.
		texts = [(as_whom, user, password) for user in ('none', 'plain')
		         for as_whom, password in (('', ''), ('', 'x' * 9000), ('alice', ''), ('alice', 'x'))]
		at_once(*(lambda i=i, texts=texts: run(i, texts) for i, texts in enumerate(texts)))
	END
}

@test "a success clears only that account's failures, whatever the case of its name" {
	everywhere --default-domain=example.org <<-'END'
		fail('alice', 'alice@EXAMPLE.org', 'ALICE', 'Alice', 'alice')
		assert 4 <= login('alice', 'apple') < 8
		assert login('bob', 'banana') < 4
		fail('carol', 'dave', 'erin', 'alice')
		assert 2 <= login('Alice', 'apple')
		assert 1 <= login('bob', 'banana')
	END
}

@test "repeating one wrong password for one name counts as one failure of its source" {
	everywhere --default-domain=example.org <<-'END'
		fail('alice', password='old')
		fail('alice', 'ALICE', 'Alice', 'aLICE@Example.org', password='old')
		assert login('alice', 'apple') < 4 # five failures would delay it for so long
	END
}

@test "within a session a repeated wrong password is answered at once and counts once" {
	everywhere <<-'END'
		plain = 'AUTH PLAIN ' + encode('', 'alice', 'wrong')
		def repeat(client):
		    client.expect('USER alice', '+OK')
		    client.expect('PASS wrong', '-ERR [AUTH] wrong user name or password')
		    client.expect('AUTH LOGIN', '+ ')
		    client.expect(encode('alice'), '+ ')
		    client.expect(encode('wrong'), '-ERR [AUTH] wrong user name or password')
		    client.expect(plain, '-ERR [AUTH] wrong user name or password')
		client = Client(port)
		client.expect(plain, '-ERR [AUTH]')
		repeat(client)
		client.expect('AUTH PLAIN ' + encode('', 'alice', 'other'), '-ERR [AUTH]')
		for i in range(3):
		    repeat(client)
		client.login()
	END
	for place in "${places[@]}"; do
		[ "$(grep -c "login of 'alice' from 127.0.0.1 refused: wrong password" "$place/log")" -eq 2 ]
	done
}

@test "failures from trusted networks delay their account only" {
	everywhere --trusted-networks=127.0.0.0/8 <<-'END'
		fail('alice', 'alice', 'alice', 'alice', 'alice')
		assert login('bob', 'banana') < 4
		assert 4 <= login('Alice', 'apple', source='127.0.0.2')
		assert login('alice', 'apple') < 4
	END
}

@test "WAKE after a change of the password is refused ever more slowly, until the session ends" {
	everywhere <<-'END'
		client = Client(port).login()
		with open('accounts/users') as file:
		    accounts = file.read()
		with open('accounts/users', 'w') as file:
		    file.write(accounts.replace('apple', 'pear'))
		client.expect('SLEE', '+OK')
		for least_s in 1, 2, 4:
		    start = time.monotonic()
		    client.expect('WAKE', '-ERR [AUTH]')
		    assert least_s <= time.monotonic() - start + 0.01
		assert client.hear() == ''
		assert login('alice', 'pear') < 4 # these count for nobody else
	END
	for place in "${places[@]}"; do
		[ "$(grep -c "login of 'alice' from 127.0.0.1 refused: password, mailbox or rights" "$place/log")" -eq 1 ]
	done
}
