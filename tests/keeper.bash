# SPDX-License-Identifier: ISC
# shellcheck shell=bash
# Shared by the tests of keepers.

# make_service_users: a passwd with the users of the service. `wrapper` runs a command where that is
# /etc/passwd, and /run is private.
make_service_users() {
	sed '/^pop3-/d' /etc/passwd >passwd
	printf '%s\n' 'pop3-keeper:x:64990:64990::/:/bin/false' 'pop3-login:x:64991:64991::/:/bin/false' >>passwd
	wrapper=(unshare --mount sh -ec 'mount --bind passwd /etc/passwd; mount -t tmpfs run /run; exec "$@"' sh)
}

# Accounts with their own users: ann and ben; and vic and wim, whose mail belongs to one user.
setup_keeper() {
	setup_site
	needs_root
	export ASAN_OPTIONS=exitcode=99:detect_leaks=0 # LeakSanitizer finds nothing after a change of users
	let_others_in
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
	make_service_users
	chown root:64990 accounts "$users"
	chmod 750 accounts
	chmod 640 "$users"
	# shellcheck disable=SC2034 # of listen_port and start_keeper
	options=("--users=$users" --keeper=auto --login-penalty=0 --login-timeout=4)
}

# start_keeper NAME [COMMAND...]: a session like that of start_session, with its own keeper.
start_keeper() {
	start_session "$1" "${wrapper[@]}" "${@:2}" "$HANDLER" "${options[@]}"
}

# listen_keeper: a listener with a keeper; sets `listener` and `keeper` to their pids.
listen_keeper() {
	local end
	listen_port "$@"
	listener=${background[-1]}
	exec {end}<>"/dev/tcp/127.0.0.1/$port" # answered once the listener is ready
	read -r -u "$end"
	exec {end}>&-
	read -r keeper _ <"/proc/$listener/task/$listener/children" || [ -n "$keeper" ] # the file has no line end
}
