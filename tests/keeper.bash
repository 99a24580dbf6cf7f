# SPDX-License-Identifier: ISC
# shellcheck shell=bash
# What the tests of a keeper's attacks and failures share.

# Accounts with users of their own: ann and ben, and vic and wim, whose mail belongs to one user.
setup_keeper() {
	setup_site
	needs_root
	export ASAN_OPTIONS=exitcode=99:detect_leaks=0 # leaks are not found after a change of users
	chmod a+rx "$BATS_RUN_TMPDIR" "${BATS_TEST_TMPDIR%/*}" .
	mkdir homes
	chmod 755 homes
	homes=$PWD/homes
	local name ids
	while read -r name ids; do
		mkdir -p "$homes/$name/Maildir/"{new,cur,tmp}
		printf 'Subject: %s\n\nbody\n' "$name" >"$homes/$name/Maildir/new/1.$name.host"
		echo "mine" >"$homes/$name/private"
		chown -R "$ids:$ids" "$homes/$name"
		chmod 700 "$homes/$name"
		echo "$name:{PLAIN}secret:$ids:$ids::$homes/$name" >>accounts/list
	done <<-'END'
		ann 61001
		ben 61002
		vic 61003
		wim 61003
	END
	echo "root:{PLAIN}secret:0:0::$homes/ann" >>accounts/list
	mv accounts/list "$users"
	sed '/^pop3-/d' /etc/passwd >passwd
	printf '%s\n' 'pop3-keeper:x:64990:64990::/:/bin/false' 'pop3-login:x:64991:64991::/:/bin/false' >>passwd
	chown root:64990 accounts "$users"
	chmod 750 accounts
	chmod 640 "$users"
	# shellcheck disable=SC2034 # of listen_port and start_keeper
	options=("--users=$users" --keeper=auto --login-penalty=0 --login-timeout=4)
	# A namespace where the users of the service exist, and /run is its own.
	wrapper=(unshare --mount sh -ec 'mount --bind passwd /etc/passwd; mount -t tmpfs run /run; exec "$@"' sh)
}

# start_keeper NAME [COMMAND...]: a session, as start_session makes it, with a keeper of its own.
start_keeper() {
	start_session "$1" "${wrapper[@]}" "${@:2}" "$HANDLER" "${options[@]}"
}

# listen_keeper: a listener with a keeper; its processes are in `listener` and `keeper`.
listen_keeper() {
	local end
	listen_port "$@"
	listener=${background[-1]}
	exec {end}<>"/dev/tcp/127.0.0.1/$port" # which is answered when all has begun
	read -r -u "$end"
	exec {end}>&-
	read -r keeper _ <"/proc/$listener/task/$listener/children" || [ -n "$keeper" ] # no line end
}
