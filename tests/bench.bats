#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# That bench/run works; what it measures is for bench/run to say.

load helpers

setup() {
	setup_site
	make_messages 3
	load=${HANDLER%/*}/bench/load
}

@test "bench/run goes through all of its rows, and reports them" {
	"$BATS_TEST_DIRNAME/../bench/run" --smoke --build="${HANDLER%/*}" --output="$BATS_TEST_TMPDIR" >out 2>log
	cat out
	/usr/bin/python3 -c 'import json; print(len({row["work"] for row in json.load(open("results.json"))["results"]}))' >rows
	[ "$(cat rows)" -eq 18 ]
	[ "$(grep -c '| \(yes\|no\) |$' out)" -ge 18 ]
	grep -q '</svg>' results.svg
}

@test "the client of bench/run notices each octet that is too few or too many" {
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
	# As a Maildir name must not, this one lies.
	mv "$mail/user0/cur/3.M1P1.h:2,S" "$mail/user0/new/3.M1P1.h,W=12"
	run -1 "$load" fetch "port=$port" messages=3 octets=34
	[[ $output == *'octets of a message: 11 instead of 12' ]]
}

@test "the floor says what the client expects" {
	setup_tls
	for HANDLER in "${load%/*}/floor" "${load%/*}/floor-tls"; do
		tls=0 options=(1:3:2048 7+:200:8192)
		[[ $HANDLER != *-tls ]] || tls=1 options=(tls-cert=server.pem tls-key=server.key "${options[@]}")
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
