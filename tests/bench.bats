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
