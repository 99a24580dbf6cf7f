#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Changes at the moment when the mailbox is read, on file systems that give both the same time.

load helpers

# on_coarse_clocks: runs a Python script from standard input on each of them. It can `ask` a session
# of alice that has logged in, and her mailboxes are in `mail`.
on_coarse_clocks() {
	needs_root
	{
		cat <<-'END'
			import os, subprocess, sys
			mail, kind, device, *command = sys.argv[1:]
			turns = 20 if os.environ['SANITIZED'] != 'none' else 200 if kind == 'ramfs' else 40
			subprocess.run(['mount', '-t', kind, device, mail], check=True)
			handler = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
			def ask(*lines):
			    handler.stdin.write(b''.join(line + b'\r\n' for line in lines))
			    handler.stdin.flush()
			    return [handler.stdout.readline() for line in lines][-1]
			def login():
			    handler.stdout.readline()
			    assert ask(b'USER alice', b'PASS apple').startswith(b'+OK')
		END
		cat
	} >scenario.py
	truncate -s 8M ext2.image
	mke2fs -q -t ext2 -I 128 ext2.image 2>&1
	# On many file systems, newer kernels give two changes different times if the file was examined in
	# between. ramfs does not: its clock advances every few milliseconds. This ext2 stores whole
	# seconds: a turn takes a tenth.
	unshare --mount /usr/bin/python3 scenario.py "$mail" ramfs none "$HANDLER" "${options[@]}"
	unshare --mount /usr/bin/python3 scenario.py "$mail" ext2 ext2.image "$HANDLER" "${options[@]}"
}

@test "new mail is never missed, even if it comes in the same instant as the listing" {
	on_coarse_clocks <<-'END'
		os.makedirs(mail + '/alice/new')
		os.makedirs(mail + '/alice/cur')
		login()
		def deliver(name):
		    open(f'{mail}/alice/new/{name}.M1P1.h', 'x').close()
		for i in range(turns):
		    # A delivery, a listing, and a delivery, as close together as possible.
		    assert ask(b'SLEE').startswith(b'+OK')
		    deliver(2 * i)
		    assert ask(b'WAKE').startswith(b'+OK [ACTIVITY/NEW]'), i
		    deliver(2 * i + 1)
		    assert ask(b'SLEE', b'WAKE').startswith(b'+OK [ACTIVITY/NEW]'), i
	END
}

@test "a folder's file that changes in the instant of its reading is not taken for unchanged" {
	on_coarse_clocks <<-'END'
		os.makedirs(mail + '/alice')
		file = open(mail + '/alice/a.eml', 'wb', buffering=0)
		login()
		for i in range(turns):
		    os.pwrite(file.fileno(), b'ab\n\n', 0)
		    assert ask(b'SLEE', b'WAKE', b'LIST 1') == b'+OK 1 6\r\n', i
		    os.pwrite(file.fileno(), b'abc\n', 0)
		    assert ask(b'SLEE', b'WAKE', b'LIST 1') == b'+OK 1 5\r\n', i
	END
}
