#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Sessions, an MDA and an IMAP server, all at work on one Maildir.

load helpers

[ "$SANITIZED" = none ] && seconds=10 || seconds=4

# dovecot_imap: configures a Dovecot whose IMAP process serves alice's Maildir.
dovecot_imap() {
	printf '%s\n' "base_dir = $mail/run" "state_dir = $mail/run" 'log_path = /dev/stderr' 'ssl = no' \
		'protocols = imap' "mail_location = maildir:$mail/alice" >"$mail/dovecot.conf"
}

@test "beside a Dovecot on the same Maildir flags survive, and each notices the deletions of the other" {
	make_maildir alice
	for i in 1 2 3 4 5; do
		make_message "alice/new/$i.M1P1.h" "Subject: $i\n\nHello\n"
	done
	dovecot_imap
	cat >scenario.py <<-'END'
		import imaplib, os, subprocess, sys
		mail, *command = sys.argv[1:]
		pop3 = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
		def ask(line, all=False):
		    pop3.stdin.write(line + '\n')
		    pop3.stdin.flush()
		    answer = [pop3.stdout.readline().strip()]
		    while all and answer[-1] != '.':
		        answer.append(pop3.stdout.readline().strip())
		    print(line, answer)
		    return answer if all else answer[0]
		def flags():
		    return {int(line.split()[0]): imaplib.ParseFlags(line)
		            for line in imap.fetch('1:*', '(FLAGS)')[1] if line}
		pop3.stdout.readline()
		ask('USER alice')
		assert ask('PASS apple') == '+OK 5 messages'
		imap = imaplib.IMAP4_stream(f'doveadm -c {mail}/dovecot.conf exec imap')
		assert imap.select()[1] == [b'5']
		imap.store('2:3', '+FLAGS', '(\\Flagged)')
		imap.store('5', '+FLAGS', '(\\Deleted)')
		imap.expunge()
		# During a session a renamed message is found, and an expunged one is gone.
		assert ask('RETR 2', True)[1] == 'Subject: 2'
		assert ask('RETR 5') == '-ERR message 5 is gone'
		ask('RETR 4', True)
		ask('DELE 1')
		ask('DELE 3')
		assert ask('SLEE').startswith('+OK asleep, ')
		imap.noop()
		assert imap.select()[1] == [b'2']
		assert set(flags()[1]) >= {b'\\Flagged', b'\\Seen'}, flags()
		assert b'\\Seen' in flags()[2], flags()
		imap.store('2', '+FLAGS', '(\\Deleted)')
		imap.expunge()
		assert ask('WAKE') == '+OK [ACTIVITY/NONE] 1 messages'
		assert ask('UIDL', True)[1] == '1 2.M1P1.h'
		ask('DELI 1')
		ask('QUIT')
		imap.noop()
		assert imap.select()[1] == [b'0']
		imap.append('INBOX', None, None, b'Subject: appended\r\n\r\nHello\r\n')
		done = subprocess.run(command, input='USER alice\nPASS apple\nRETR 1\n', text=True,
		                      capture_output=True)
		assert done.stdout.splitlines()[4] == 'Subject: appended', done
		imap.logout()
	END
	as_nobody /usr/bin/python3 scenario.py "$mail" "$PWD/handler" "${options[@]}"
}

@test "beside an MDA and a server that renames and expunges, no message is lost" {
	/usr/bin/python3 "$BATS_TEST_DIRNAME/stress.py" "$seconds" renames "$HANDLER" "$mail" "${options[@]}"
}

@test "beside an MDA and a real Dovecot, no message is lost" {
	dovecot_imap
	cp "$BATS_TEST_DIRNAME/stress.py" . # the user nobody cannot read the source directory
	as_nobody /usr/bin/python3 stress.py "$seconds" dovecot "$PWD/handler" "$mail" "${options[@]}"
}
