#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The keeper's account lookups: accounts with their own users, PAM, and checkpassword.

load helpers

# The driver, and the PAM module beside it.
setup() {
	setup_site
	cp "$(dirname "$HANDLER")/tests/ask-auth" . 2>/dev/null || skip 'tests/ask-auth is not built'
	cp "$(dirname "$HANDLER")"/pop3-handler-pam.so . 2>/dev/null || true
	options=("--users=$users" "--mailbox=$mail/%u" --mail-user=mail)
}

# asks OPTION... <<<LINES: the answers go to `lines`.
asks() {
	mapfile -t lines < <(./ask-auth "${options[@]}" "$@" 2>log)
	printf 'answer: %s\n' "${lines[@]}"
	cat log
}

# is N TEXT: the Nth answer, counted from 0.
is() {
	[ "${lines[$1]}" = "$2" ]
}

@test "an account has the uid and gid of its line, or those of mail-user" {
	printf '%s\n' 'a:{PLAIN}x:1234:2345' 'b:{PLAIN}x' 'c:{PLAIN}x:1234' 'd:{PLAIN}x:mail:mail' 'e:{PLAIN}x::5' \
		'f:{PLAIN}x:1234:4294967296' >"$users"
	asks <<-'END'
		login a x
		again
		login b x
		login c x
		login d x
		login e x
		login f x
	END
	is 0 "ok a 1234:2345 $mail/a"
	is 1 "${lines[0]}"
	is 2 "ok b $(id -u mail):$(id -g mail) $mail/b"
	for i in 3 4 5 6; do
		[[ ${lines[i]} == 'EKEYREJECTED '?' uid and gid are neither two numbers nor both empty' ]]
	done
}

@test "accounts with an invalid uid or that of a system user may not log in; mail-user may" {
	i=0
	while read -r ids; do
		echo "a$((++i)):{PLAIN}x:$ids"
	done >"$users" <<-'END'
		0:1000
		999:1000
		1000:0
		1000:4294967295
		4294967295:1000
		65534:1000
		61184:1000
		65519:1000
		1000:1
		61183:1000
		65520:1000
	END
	echo "mailman:{PLAIN}x:$(id -u mail):1" >>"$users"
	asks < <(for i in {1..11}; do echo "login a$i x"; done; echo 'login mailman x')
	for i in {0..7}; do
		[[ ${lines[i]} == 'EKEYREJECTED '*' may not log in' ]]
	done
	is 8 "ok a9 1000:1 $mail/a9"
	is 9 "ok a10 61183:1000 $mail/a10"
	is 10 "ok a11 65520:1000 $mail/a11"
	is 11 "ok mailman $(id -u mail):1 $mail/mailman"
	asks --first-valid-uid=1001 <<<'login a9 x'
	[[ ${lines[0]} == EKEYREJECTED* ]]
}

@test "without mail-user, or with root as mail-user, an account without a uid cannot log in" {
	printf '%s\n' 'a:{PLAIN}x' >"$users"
	asks --mail-user=no-such-user <<<'login a x'
	is 0 "ENXIO a mail-user = 'no-such-user' does not exist"
	asks --mail-user=root <<<'login a x'
	is 0 'EKEYREJECTED a uid 0 with gid 0 may not log in'
}

@test "a keeper accepts no relative path as a mailbox" {
	printf '%s\n' 'a:{PLAIN}x:::::home' >"$users"
	asks '--mailbox=%h' <<<'login a x'
	is 0 'ENXIO a '
}

@test "a later check of the account notices another uid, gid or mailbox" {
	mkfifo in out
	./ask-auth "${options[@]}" <in >out 2>log &
	background+=($!)
	exec 8>in 9<out
	for line in 'a:{PLAIN}x:1234:5:::' 'a:{PLAIN}x:1235:4' 'a:{PLAIN}x:1234:4::::mail=/m' 'a:{PLAIN}y:1234:4' 'b:{PLAIN}x:1234:4'; do
		echo 'a:{PLAIN}x:1234:4' >"$users"
		echo 'login a x' >&8
		read -r -u 9 reply
		[ "$reply" = "ok a 1234:4 $mail/a" ]
		echo 'a:{PLAIN}x:1234:4:New:/h:/s:foo=1' >"$users"
		echo again >&8
		read -r -u 9 reply
		[[ $reply == 'ok '* ]]
		echo "$line" >"$users"
		echo again >&8
		read -r -u 9 reply
		[[ $reply == 'EKEYREJECTED '*' password, mailbox or rights are not as they were' ]]
	done
	exec 8>&- 9<&-
	wait "${background[0]}"
}

@test "several passwd-files are searched as if they were one" {
	printf '%s\n' 'A:{PLAIN}1' 'b:{PLAIN}1' >"$users"
	printf '%s\n' 'a:{PLAIN}2' 'b:{PLAIN}2' 'c:{PLAIN}2' >other
	asks --users=other <<-'END'
		login a 2
		login b 1
		login b 2
		login c 2
		again
		login A 1
		login d 1
	END
	is 0 "ok a $(id -u mail):$(id -g mail) $mail/a"
	[[ ${lines[1]} == "ok b "* ]]
	is 2 'EKEYREJECTED b wrong password'
	[[ ${lines[3]} == "ok c "* ]]
	[[ ${lines[4]} == "ok c "* ]]
	[[ ${lines[5]} == "ok A "* ]]
	is 6 'EKEYREJECTED - no such user'
	rm other
	asks --users=other <<<'login a 1'
	is 0 'ENOENT A '
}

@test "with %d each domain has a passwd-file, whose names need no domain" {
	options=("--mailbox=$mail/%d/%n" --mail-user=mail "--users=$PWD/%d/passwd")
	mkdir example.org other.example
	printf '%s\n' 'ann:{PLAIN}x' 'bob@example.org:{PLAIN}x' 'eve@other.example:{PLAIN}x' >example.org/passwd
	echo 'ann:{PLAIN}y' >other.example/passwd
	asks <<-'END'
		login ann@example.org x
		again
		login ANN@Example.ORG x
		again
		login bob@example.org x
		login ann@other.example y
		login ann@other.example x
		login eve@other.example x
		login ann@nowhere.example x
		login ann x
		login ann@ x
		login ann@.. x
		login ann@../example.org x
		login ann@. x
		login eve@other.example@example.org x
	END
	ids="$(id -u mail):$(id -g mail)"
	for i in 0 1 2 3; do
		is $i "ok ann@example.org $ids $mail/example.org/ann"
	done
	is 4 "ok bob@example.org $ids $mail/example.org/bob"
	is 5 "ok ann@other.example $ids $mail/other.example/ann"
	is 6 'EKEYREJECTED ann@other.example wrong password'
	for i in 7 8 9 10 11 13 14; do
		is $i 'EKEYREJECTED - no such user'
	done
	is 12 'EKEYREJECTED - a bad user name'
	asks --default-domain=example.org <<<'login ann x'
	is 0 "ok ann@example.org $ids $mail/example.org/ann"
	chmod 0 example.org/passwd
	[ "$(id -u)" -eq 0 ] || { asks <<<'login ann@example.org x' && is 0 'EACCES - '; }
}

@test "the first backend that knows a name decides, and a backend that fails ends the search" {
	printf '%s\n' 'a:{PLAIN}x' 'b:{PLAIN}x::::::nologin' >"$users"
	printf '#!/bin/sh\nexec "$@"\n' >program
	printf '#!/bin/sh\nexit 111\n' >failing
	chmod 755 program failing
	asks --auth=passwd-file "--auth=checkpassword $PWD/program" <<-'END'
		login a y
		login b x
		login c x
	END
	is 0 'EKEYREJECTED a wrong password'
	is 1 'EKEYREJECTED b the account has nologin'
	[[ ${lines[2]} == *' c '* ]]
	asks "--auth=checkpassword $PWD/failing" --auth=passwd-file <<<'login a x'
	is 0 'EIO - checkpassword: exit status 111'
	rm "$users"
	asks --auth=passwd-file "--auth=checkpassword $PWD/program" <<<'login c x'
	is 0 'ENOENT - '
}

# checks TEXT [LINE...]: asks a checkpassword program that runs this shell script.
checks() {
	printf '#!/bin/sh\n%s\n' "$1" >program
	chmod 755 program
	shift
	printf '%s\n' "$@" >script
	asks "--auth=checkpassword $PWD/program one  two" <script
}

@test "checkpassword: the program sees the name, the password and the client, and nothing else" {
	# shellcheck disable=SC2016
	checks 'cat <&3 >seen; env >environment; echo "$1 $2 $# $5" >arguments; (readlink /proc/$$/fd/0 /proc/$$/fd/1) >files; exit 1' \
		'login ann@example.org pass word '
	is 0 'EKEYREJECTED - checkpassword: exit status 1'
	tr '\0' '\n' <seen >fields
	[ "$(sed 3d fields)" = $'ann@example.org\npass word ' ]
	[[ "$(sed -n 3p fields)" =~ ^[0-9]+$ ]]
	grep -vE '^(PWD|_|SHLVL|OLDPWD)=' environment | LC_ALL=C sort >ours
	[ "$(cat ours)" = $'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPROTO=TCP\nTCPREMOTEIP=192.0.2.7' ]
	[ "$(cat arguments)" = 'one two 4 ' ]
	[ "$(cat files)" = $'/dev/null\n/dev/null' ]
}

@test "checkpassword: the account is the user that the program has become" {
	needs_root
	chmod 755 . ..
	checks 'export USER=Ann HOME=/home/ann; shift 2; exec setpriv --reuid=1234 --regid=2345 --clear-groups "$@"' \
		'login ann x' again
	is 0 "ok Ann 1234:2345 $mail/Ann"
	is 1 "${lines[0]}"
	checks 'unset USER HOME; shift 2; exec setpriv --reuid=1234 --regid=2345 --clear-groups "$@"' 'login ann x'
	is 0 "ok ann 1234:2345 $mail/ann"
	checks 'shift 2; exec setpriv --reuid=999 --regid=2345 --clear-groups "$@"' 'login ann x'
	is 0 'EKEYREJECTED ann uid 999 with gid 2345 may not log in'
	checks 'shift 2; USER=../bob exec setpriv --reuid=1234 --regid=2345 --clear-groups "$@"' 'login ann x'
	is 0 'EKEYREJECTED - a bad user name'
	options+=('--mailbox=%h/Maildir')
	checks 'shift 2; HOME=home exec setpriv --reuid=1234 --regid=2345 --clear-groups "$@"' 'login ann x'
	is 0 'ENXIO ann '
	checks 'shift 2; HOME=/home/a exec setpriv --reuid=1234 --regid=2345 --clear-groups "$@"' 'login ann x'
	is 0 'ok ann 1234:2345 /home/a/Maildir'
}

@test "checkpassword: root is refused" {
	needs_root
	checks 'shift 2; exec "$@"' 'login ann x'
	is 0 'EKEYREJECTED ann uid 0 with gid 0 may not log in'
}

@test "checkpassword: any other result than yes or no is a failure" {
	checks 'exit 2' 'login ann x'
	is 0 'EIO - checkpassword: exit status 2'
	checks 'exit 111' 'login ann x'
	is 0 'EIO - checkpassword: exit status 111'
	checks 'kill -SEGV $$' 'login ann x'
	is 0 'EIO - checkpassword: signal 11'
	checks 'exit 0' 'login ann x'
	is 0 'EIO - checkpassword: it has not reported'
	checks 'shift 2; "$@"; exit 0' 'login ann x' # a child of the program reports
	is 0 'EIO - checkpassword: it has not reported'
	checks 'echo forged >&4; exit 0' 'login ann x'
	is 0 'EIO - checkpassword: it has not reported'
	printf '#!/nonexistent\n' >program
	asks "--auth=checkpassword $PWD/program" <<<'login ann x'
	is 0 'EIO - checkpassword: No such file or directory'
}

@test "checkpassword: an empty password is refused without running the program" {
	checks 'touch asked; exit 0' 'login ann '
	is 0 'EKEYREJECTED - an empty password, or none'
	[ ! -e asked ]
}

@test "checkpassword: the example queries a database" {
	needs_root
	chmod 755 . ..
	sqlite3 accounts.db "CREATE TABLE accounts(name, uid, gid, home, hash);
		INSERT INTO accounts VALUES('ann', 1234, 2345, '/home/ann', '$(openssl passwd -6 -salt abc 'a secret')');"
	sed "s|^database=.*|database=$PWD/accounts.db|" "$BATS_TEST_DIRNAME/../examples/checkpassword.sh" >program
	chmod 755 program
	options+=("--auth=checkpassword $PWD/program" '--mailbox=%h/Maildir')
	asks <<-'END'
		login ann a secret
		login ann a  secret
		login bob a secret
		login ann'-- a secret
	END
	is 0 'ok ann 1234:2345 /home/ann/Maildir'
	for i in 1 2 3; do
		is $i 'EKEYREJECTED - checkpassword: exit status 1'
	done
	rm accounts.db
	asks <<<'login ann a secret'
	is 0 'EIO - checkpassword: exit status 111'
}

# pam LINE...: a namespace with ann, whose password is secret, and with these lines as the service pop3;
# prints the answers to the script.
pam() {
	needs_root
	[ -e pop3-handler-pam.so ] || skip 'PAM is not built in'
	chmod 755 .
	printf '%s\n' "$@" | sed "s|odd|$(dirname "$HANDLER")/tests/pam-odd.so|" >service
	cp -r /etc/pam.d .
	cp service pam.d/pop3
	cp service pam.d/other-service
	(cat /etc/passwd && echo 'ann:x:1234:2345::/home/ann:/bin/sh') >passwd
	hash=$(openssl passwd -6 secret)
	[ -e shadow ] || (cat /etc/shadow && echo "ann:$hash:20000:0:99999:7:::") >shadow
	chown root:shadow shadow
	chmod 640 shadow
	cat >inside <<-'END'
		mount --bind passwd /etc/passwd
		mount --bind shadow /etc/shadow
		mount --bind pam.d /etc/pam.d
		mount --bind . /mnt # other users may enter /mnt
		while IFS= read -r line; do
			case $line in
			!*) eval "${line#!}" >/dev/null ;;
			*) echo "$line" ;;
			esac
		done <script | "$@"
	END
	mapfile -t lines < <(unshare --mount --propagation private sh -eu inside "${wrapper[@]}" /mnt/ask-auth \
		"--auth=${auth:-pam}" --mailbox=%h/Maildir --first-valid-uid=1000 2>log)
	printf 'answer: %s\n' "${lines[@]}"
	cat log
}

@test "PAM: system users log in with their passwords, and a wrong password causes no wait" {
	needs_root
	printf '%s\n' 'login ann secret' again 'login ann wrong' 'login ann ' 'login root x' 'login zoe secret' \
		'login ../ann secret' 'login Ann secret' \
		"!sleep 0.3; sed 's|/home/ann||' passwd >changed; cat changed >passwd" 'login ann secret' >script
	SECONDS=0
	pam 'auth required pam_unix.so' 'account required pam_unix.so'
	[ "$SECONDS" -lt 2 ]
	is 0 'ok ann 1234:2345 /home/ann/Maildir'
	is 1 "${lines[0]}"
	is 2 'EKEYREJECTED ann PAM: Authentication failure'
	is 3 'EKEYREJECTED - an empty password, or none'
	is 4 'EKEYREJECTED root uid 0 with gid 0 may not log in'
	is 5 'EKEYREJECTED - no such user'
	is 6 'EKEYREJECTED - a bad user name'
	is 7 'EKEYREJECTED - no such user'
	is 8 'ENXIO ann ' # without PAM's text for success
}

@test "PAM: a keeper in group shadow, or with CAP_DAC_READ_SEARCH, needs no more privilege" {
	needs_root
	printf '%s\n' 'login ann secret' again 'login ann wrong' >script
	for rights in "--groups=$(getent group shadow | cut -d: -f3)" \
		'--clear-groups --inh-caps=+dac_read_search --ambient-caps=+dac_read_search'; do
		# shellcheck disable=SC2206
		wrapper=(setpriv --reuid=1 --regid=1 --no-new-privs $rights)
		pam 'auth required pam_unix.so' 'account required pam_unix.so'
		is 0 'ok ann 1234:2345 /home/ann/Maildir'
		is 1 "${lines[0]}"
		is 2 'EKEYREJECTED ann PAM: Authentication failure'
	done
}

@test "PAM: a later check of the account notices a locked, changed or expired password" {
	needs_root
	for change in 's/^ann:/ann:!/' "s|^ann:[^:]*|ann:$(openssl passwd -6 secret)|" 's/:::$/::100:/' 's/:20000:/:0:/'; do
		rm -f shadow
		printf '%s\n' 'login ann secret' again "!sleep 0.3; sed '$change' shadow >changed; cat changed >shadow" again >script
		pam 'auth required pam_unix.so' 'account required pam_unix.so'
		is 0 'ok ann 1234:2345 /home/ann/Maildir'
		is 1 "${lines[0]}"
		[[ ${lines[2]} == 'EKEYREJECTED ann '* ]]
	done
	rm shadow
	printf '%s\n' 'login ann secret' "!sleep 0.3; grep -v '^ann:' passwd >changed; cat changed >passwd" again >script
	pam 'auth required pam_unix.so' 'account required pam_unix.so'
	is 1 'EKEYREJECTED - password, mailbox or rights are not as they were'
}

@test "PAM: one hidden prompt is answered; other prompts are refused or fail" {
	needs_root
	echo 'login ann secret' >script
	account='account required pam_permit.so'
	pam 'auth required pam_unix.so' 'auth required odd talks' 'auth required odd peer' "$account"
	is 0 'ok ann 1234:2345 /home/ann/Maildir'
	pam 'auth required pam_unix.so' 'auth required odd code' "$account"
	is 0 'EKEYREJECTED ann PAM: Conversation error'
	pam 'auth required odd echo' "$account"
	is 0 'EKEYREJECTED ann PAM: Conversation error'
	pam 'auth required odd root' "$account"
	is 0 'EKEYREJECTED ann PAM: Permission denied'
	pam 'auth required odd unavailable' "$account"
	is 0 'EIO ann PAM: Authentication service cannot retrieve authentication info'
	pam 'auth required /nonexistent.so' "$account"
	is 0 'EIO ann PAM: Module is unknown'
	pam 'auth required odd crashes' "$account"
	[ "${#lines[@]}" -eq 0 ]
}

@test "PAM: the configured service name is used" {
	needs_root
	echo 'login ann secret' >script
	auth='pam other-service'
	pam 'auth required pam_unix.so' 'account required pam_unix.so'
	is 0 'ok ann 1234:2345 /home/ann/Maildir'
}

@test "PAM: a service that needs the missing module says so" {
	rm -f pop3-handler-pam.so
	if ./ask-auth --auth=pam <<<'' >out 2>log; then
		return 1
	fi
	grep -F 'cannot load what auth = pam needs: ' log
}

@test "settings that need a keeper are refused without one" {
	for option in --auth=pam --auth=checkpassword\ /bin/true "--users=$PWD/%d/passwd"; do
		expect_status=78 handle /dev/null "$as_me" --keeper=no "$option"
		cat log
		grep -E 'refusing to serve: (pam|checkpassword|users with %d) needs a keeper' log
	done
}
