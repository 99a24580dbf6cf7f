#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The benchmarks work. doc/PERFORMANCE.md has their figures.

load helpers

setup() {
	setup_site
	make_messages 3
	load=${HANDLER%/*}/bench/load
}

# bench COMMAND [ARGUMENT...]: runs a command of bench/ on this build; its output goes to the file `out`.
bench() {
	[ "$SANITIZED" = none ] || skip 'only the plain build is measured'
	"$BATS_TEST_DIRNAME/../bench/$1" --build="${HANDLER%/*}" "${@:2}" >out 2>log || {
		status=$?
		cat log out
		return $status
	}
}

@test "bench/run measures all of its rows, and reports them" {
	bench run --smoke --output="$BATS_TEST_TMPDIR"
	/usr/bin/python3 - <<-'END'
		import json
		rows = json.load(open('results.json'))['results']
		have = lambda key, value: any(row[key] == value for row in rows)
		assert {1, 1000} < {row['accounts'] for row in rows} and {1, 8, 64} < {row['clients'] for row in rows}
		assert {'pinned', 'free'} == {row['processors'] for row in rows}
		services = {'listener', 'listener, installed', 'per connection', 'per connection, installed',
		            'pop3@.service', 'pop3s@.service', 'pop3.service', 'pop3s.service'}
		assert services == {row['service'] for row in rows}
		for row in rows:
		    assert row['ours'] > 0 or row['what'] in ('% resumed', 'ms CPU of PID 1', 'ms CPU of the journal'), row
		    assert row['floor'] is not None, row
		    assert row['dovecot'] or row['what'] in ('% resumed', 'ms CPU of PID 1', 'ms CPU of the journal') or 'after a poll' in row['work'], row
		assert sum(row['met'] is not None for row in rows) == 22
	END
	[ "$(grep -c '^|' out)" -eq $(($(grep -c '"work"' results.json) + 2)) ]
	grep -q '</svg>' results.svg
}

@test "doc/PERFORMANCE.md has the table of bench/results.json" {
	"$BATS_TEST_DIRNAME/../bench/run" --table >table
	sed -n '/^| work |/,/^$/p' "$BATS_TEST_DIRNAME/../doc/PERFORMANCE.md" | grep . >documented
	diff table documented
}

@test "bench/run shows the log of a service that does not start" {
	mkdir broken
	ln -s "${HANDLER%/*}/bench" broken
	printf '#!/bin/sh\necho "there is nothing to serve" >&2\nexit 78\n' >broken/pop3-handler
	chmod +x broken/pop3-handler
	for service in listener 'listener, installed'; do
		run -1 "$BATS_TEST_DIRNAME/../bench/run" --smoke --only="; $service; " --build=broken
		[[ $output == *"$service: nothing greets on port "*'there is nothing to serve'* ]]
	done
}

@test "bench/compare alternates between two builds" {
	bench compare --smoke --only='RETR 2 x 50 KiB' "${HANDLER%/*}" "${HANDLER%/*}"
	[ "$(grep -c '^| .* |  |$' out)" -ge 3 ]
	grep -q ' figures: 0 are worse, 0 are better' out
	run -1 "$BATS_TEST_DIRNAME/../bench/compare" --build="${HANDLER%/*}" "${HANDLER%/*}" no-such-revision
	[[ $output == *"'no-such-revision' is neither a build folder nor a revision"* ]]
	run -1 "$BATS_TEST_DIRNAME/../bench/compare" --smoke --only=nothing --build="${HANDLER%/*}" "${HANDLER%/*}" "${HANDLER%/*}"
	[[ $output == *"no row has 'nothing' in its title"* ]]
}

@test "bench/compare distinguishes a difference from noise" {
	PYTHONPATH=$BATS_TEST_DIRNAME/../bench PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 - <<-'END'
		import random
		from verdict import CONFIRMED, Outcome
		chance = random.Random(1)
		noise = lambda: chance.lognormvariate(0, 0.05)
		turns = lambda count, factor, *chance: Outcome([(noise(), factor * noise()) for _ in range(count)], *chance)
		for first, more in (8, 16), (5, 12): # the second pair is that of --quick
		    differ = lambda factor: [again.side() for _ in range(2000)
		                             if (again := turns(more, factor, CONFIRMED)).confirms(turns(first, factor))]
		    assert len(differ(1)) <= 3
		    assert len(differ(1.2)) >= 1900 and set(differ(1.2)) == {1}
		    assert len(differ(0.8)) >= 1900 and set(differ(0.8)) == {-1}
		assert not Outcome([(1, 2)] * 4).side() and Outcome([(1, 2)] * 5).side() == 1
		assert not Outcome([(1000, 1001)] * 16).confirms(Outcome([(1000, 1001)] * 16)) # too small a difference
		assert Outcome([(0, 0)] * 16).side() == 0
	END
}

@test "bench/run leaves nothing behind after SIGTERM" {
	[ "$SANITIZED" = none ] || skip 'only the plain build is measured'
	"$BATS_TEST_DIRNAME/../bench/run" --smoke --build="${HANDLER%/*}" --output="$BATS_TEST_TMPDIR" >out 2>log 3>&- &
	background+=($!)
	until grep -q 'floor' log; do # the measurement has begun
		kill -0 "$!"
	done
	inner=$(pgrep -f -- "--output=$BATS_TEST_TMPDIR --inside=" | head -n 1)
	folder=$(tr '\0' '\n' <"/proc/$inner/cmdline" | sed -n 's/^--inside=//p')
	group=$(tr '\0' '\n' <"/proc/$inner/cmdline" | sed -n 's/^--group=//p')
	[ -d "$folder/mail" ]
	[ -d "$group" ]
	kill "$!"
	status=0
	wait "$!" || status=$?
	[ "$status" -eq 143 ]
	[ ! -e "$folder" ]
	[ ! -e "$group" ]
}

@test "bench/sleepers polls each of its sleepers" {
	bench sleepers --sleepers=30 --seconds=2 --every=1 --output="$BATS_TEST_TMPDIR/sleepers.json"
	grep -qx 'polls: 60' out
	/usr/bin/python3 -c 'import json; assert json.load(open("sleepers.json"))["polls"] == 60'
}

@test "the client of bench/run notices each missing or excess octet" {
	echo 'user0:{PLAIN}password' >>"$users"
	mv "$mail/alice" "$mail/user0"
	listen_port
	for mode in login list fetch; do
		"$load" $mode "port=$port" messages=3 octets=33
		run -1 "$load" $mode "port=$port" messages=3 octets=34
		[[ $output == *'octets: 33 instead of 34' ]]
		run -1 "$load" $mode "port=$port" messages=4 octets=33
		[[ $output == *'messages: 3 instead of 4' ]]
	done
	# This name lies, which no Maildir name may do.
	mv "$mail/user0/cur/3.M1P1.h:2,S" "$mail/user0/new/3.M1P1.h,W=12"
	run -1 "$load" fetch "port=$port" messages=3 octets=34
	[[ $output == *'octets of a message: 11 instead of 12' ]]
}

@test "the floor sends what the client expects" {
	setup_tls
	head -c 64 /dev/urandom >tickets
	for HANDLER in "${load%/*}/floor" "${load%/*}/floor-tls"; do
		tls=0 options=(1:3:2048 7+:200:8192)
		[[ $HANDLER != *-tls ]] || tls=1 options=(tls-cert=server.pem tls-key=server.key tls-tickets=tickets "${options[@]}")
		listen_port
		client() {
			"$load" "$1" "port=$port" "tls=$tls" "${@:2}"
		}
		for mode in login list fetch take; do
			client $mode user=1 messages=3 octets=6144 sessions=4 >told
			grep -q "\"offered\": $((3 * tls)), \"resumed\": $((3 * tls))," told
			client $mode user=8 messages=200 octets=1638400 window=64
		done
		echo 2 | client hold user=7 messages=200 octets=1638400 clients=3 users=3 asleep=1 >told
		[ "$(tr '\n' ' ' <told)" = 'ready polled ' ]
		run -1 client login user=2 messages=3 octets=6144
		[[ $output == *'refused: -ERR'* ]]
	done
}
