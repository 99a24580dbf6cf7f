#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Maildirs of other servers after a restore from a backup or version control: they are served as their own
# server would.

load helpers

# setup_dovecot [SETTING...]: a Dovecot that owns alice's Maildir; `dovecot` runs doveadm.
setup_dovecot() {
	command -v doveadm >/dev/null || skip 'needs doveadm, which tools/packages check installs'
	needs_root
	mkdir dovecot home
	cat >dovecot.conf <<-END
		mail_location = maildir:$mail/alice
		base_dir = $BATS_TEST_TMPDIR/dovecot
		log_path = $BATS_TEST_TMPDIR/dovecot.log
		mail_home = $BATS_TEST_TMPDIR/home
		mail_uid = nobody
		mail_gid = nogroup
		first_valid_uid = 1
		ssl = no
		pop3_no_flag_updates = yes
	END
	printf '%s\n' "$@" >>dovecot.conf
	chown nobody "$mail" dovecot home
	let_others_in
	dovecot=(setpriv --reuid=nobody --regid=nogroup --clear-groups env USER=nobody "HOME=$PWD/home" doveadm -c "$PWD/dovecot.conf")
}

# fill COUNT: makes Dovecot save COUNT messages, and mark some of them as seen.
fill() {
	local i
	for ((i = 1; i <= $1; i++)); do
		printf 'Subject: %s\n\n%s\n.\nend' "$i" "$(head -c $((i * 999)) /dev/zero | tr '\0' x | fold -w 70)" |
			"${dovecot[@]}" save -m INBOX
	done
	"${dovecot[@]}" flags add '\Seen' mailbox INBOX 1:2
}

# messages_in: prints the messages in a server's output, one per line.
messages_in() {
	/usr/bin/python3 -c '
import re, sys
out = sys.stdin.buffer.read()
for answer in re.findall(rb"(?s)\+OK \d+ octets\r\n(.*?)\r\n\.\r\n(?=\+OK|-ERR)", out):
    print(answer)'
}

@test "a Maildir of Dovecot is served as Dovecot serves it after rsync, git, tar and cp" {
	setup_dovecot
	fill 4
	printf '%s\r\n' 'RETR 1' 'RETR 2' 'RETR 3' 'RETR 4' QUIT >script
	"${dovecot[@]}" exec pop3 < <(cat script) >theirs 2>dovecot.err
	messages_in <theirs >expected
	[ "$(wc -l <expected)" -eq 4 ]
	cp -r "$mail/alice" original
	for how in rsync git tar cp; do
		rm -rf "${mail:?}/alice"
		case $how in
		rsync) rsync -rt --prune-empty-dirs original/ "$mail/alice" ;;
		git)
			git init -q repository
			cp -r original/. repository
			git -C repository add -A
			git -C repository -c user.name=a -c user.email=a@example.org commit -qm all
			git clone -q repository "$mail/alice"
			;;
		tar) tar -C original -cf - . | { mkdir "$mail/alice" && tar -C "$mail/alice" -xf -; } ;;
		cp) cp -r original "$mail/alice" ;;
		esac
		[ $how = cp ] || [ $how = tar ] || [ ! -e "$mail/alice/new" ]
		printf '%s\r\n' 'USER alice' 'PASS apple' 'RETR 1' 'RETR 2' 'RETR 3' 'RETR 4' LIST QUIT >script
		as_nobody ./handler "${options[@]}" <script >ours 2>log
		messages_in <ours | cmp expected -
		[ -z "$(troubles)" ]
		# Only mail is listed.
		printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' 'DELE 2' 'DELE 3' 'DELE 4' 'DELE 5' QUIT >script
		as_nobody ./handler "${options[@]}" <script >ours 2>log
		grep -q 'goodbye' ours
		[ "$(find "$mail/alice/cur" -type f | wc -l)" -eq 0 ]
		(cd original && find . -type f -name 'dovecot*') | while read -r file; do
			cmp "original/$file" "$mail/alice/$file"
		done
	done
}

@test "messages that Dovecot compresses or encrypts are not sent as garbage, and plain ones are sent" {
	make_key private.pem
	openssl pkey -in private.pem -pubout >public.pem
	setup_dovecot "plugin {" "mail_crypt_global_public_key = <$PWD/public.pem" 'mail_crypt_save_version = 2' '}'
	printf 'Subject: plain\n\nHello\n' | "${dovecot[@]}" save -m INBOX
	for kind in gz bz2 lz4 zstd crypt; do
		more=(-o mail_plugins=zlib -o "plugin/zlib_save=$kind")
		[ $kind != crypt ] || more=(-o mail_plugins=mail_crypt)
		printf 'Subject: %s\n\nHello\n' $kind | "${dovecot[@]}" "${more[@]}" save -m INBOX
	done
	printf '%s\r\n' 'USER alice' 'PASS apple' UIDL 'RETR 1' 'RETR 2' 'RETR 3' 'RETR 4' 'RETR 5' 'RETR 6' 'TOP 6 0' STAT QUIT >script
	as_nobody ./handler "${options[@]}" <script >out 2>log
	read_lines
	show
	grep -qx $'Subject: plain\r' out
	for kind in gzip bzip2 'lz4 of Dovecot' zstd; do
		grep -qxF -e "-ERR [SYS/PERM] cannot read the message: it is compressed ($kind)"$'\r' out
	done
	[ "$(grep -cF 'it is encrypted (mail_crypt of Dovecot)' out)" -eq 2 ]
	grep -q '^+OK 6 ' out
	grep -F 'cannot read the message' log
}

@test "a mailbox of Dovecot in another format is refused and not changed" {
	for format in mdbox sdbox; do
		rm -rf dovecot home "${mail:?}/alice"
		setup_dovecot "mail_location = $format:$mail/alice"
		fill 2
		find "$mail/alice" -exec stat -c '%n %i %Y' {} + | sort >before
		printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' QUIT >script
		as_nobody ./handler "${options[@]}" <script >out 2>log
		grep -qxF -e $'-ERR [SYS/PERM] cannot open the mailbox\r' out
		grep -F "cannot open the mailbox '$mail/alice': it looks like" log
		find "$mail/alice" -exec stat -c '%n %i %Y' {} + | sort | cmp before -
	done
}
