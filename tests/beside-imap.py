#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""beside-imap.py SECONDS HANDLER MAIL OPTION...

alice's Maildir below MAIL was Dovecot's, with the settings in MAIL/dovecot.conf and the default format.
After the import, the IMAP of that Dovecot stays: it appends, flags, copies, moves to another folder
and back, and expunges, beside our sessions that list and delete. Halfway its list is removed, so that
it makes another one. No unique-id may ever change: imported messages keep theirs and come first, the
unique-ids of others are their names."""
import glob, hashlib, imaplib, os, random, re, subprocess, sys, threading, time, traceback

seconds, handler, mail, *options = sys.argv[1:]
maildir = mail + '/alice'
dovecot = ['doveadm', '-c', mail + '/dovecot.conf', 'exec']
half, end = (time.monotonic() + float(seconds) * part for part in (0.5, 1))
failures, counts = [], {'imap': 0, 'sessions': 0, 'tops': 0, 'deleted': 0}
subjects = {}  # unique-id -> the unique-id of its message
travellers = set()  # names of messages that have been in the other folder


def ask(server, line, is_long=False):
    server.stdin.write(line + '\r\n')
    server.stdin.flush()
    first = server.stdout.readline().strip()
    assert first.startswith('+OK') or '[UID]' in first or 'gone' in first, (line, first)
    return [text.rstrip() for text in iter(server.stdout.readline, '.\n')] if is_long and first[0] == '+' else []


def start(command):
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)


def quit(server):
    ask(server, 'QUIT')
    server.stdin.close()
    assert server.wait() == 0


def uidl(server):
    return [line.split(' ', 1)[1] for line in ask(server, 'UIDL', True)]


def names(places=('new', 'cur')):
    return {name.partition(':')[0] for place in places for name in os.listdir(f'{maildir}/{place}')}


def id_of(name):
    plain = name if len(name) <= 70 else 'sha256' + hashlib.sha256(name.encode()).hexdigest()
    return imported.get(name, plain)


# --- The IMAP server and its client ---

def append(imap):
    imap.append('INBOX', None, None, f'Subject: {random.random()}\r\n\r\nHello\r\n'.encode())


def flag(imap):
    imap.uid('store', pick(imap), random.choice(['+', '-']) + 'FLAGS', random.choice(['\\Seen', '\\Flagged', 'word']))


def copy(imap):
    imap.uid('copy', pick(imap), 'INBOX')


def expunge(imap):
    imap.uid('store', pick(imap), '+FLAGS', '\\Deleted')
    imap.expunge()


def there_and_back(imap):
    """Moves a new message to the other folder and back. (An imported one may be forgotten meanwhile, and
    return with its name as its unique-id.)"""
    append(imap)
    imap.uid('move', '*', 'Other')
    travellers.update(names(['.Other/new', '.Other/cur']))
    imap.select('Other')
    imap.uid('move', '1:*', 'INBOX')
    imap.select()


def pick(imap):
    return random.choice(imap.uid('search', None, 'ALL')[1][0].split() or [b'1']).decode()


def connect():
    imap = imaplib.IMAP4_stream(' '.join(dovecot) + ' imap 2>/dev/null')
    imap.select()
    return imap


def work():
    is_first_half = True
    imap = connect()
    imap.create('Other')
    while time.monotonic() < end and not failures:
        random.choice([append, append, flag, flag, flag, copy, expunge, there_and_back])(imap)
        imap.noop()
        counts['imap'] += 1
        if is_first_half and time.monotonic() > half:
            is_first_half = False
            imap.logout()
            for file in ['dovecot-uidlist', *glob.glob('dovecot.index*', root_dir=maildir)]:
                os.unlink(f'{maildir}/{file}')
            imap = connect()
    imap.logout()


# --- Sessions ---

def session(last):
    """Returns the listing of a session."""
    before = names()
    server = start([handler, *options])
    server.stdout.readline()
    ask(server, 'USER alice')
    ask(server, 'PASS apple')
    listed = uidl(server)
    check(listed, last, {id_of(name) for name in (before & names()) - travellers})
    for unique_id in random.sample(listed, min(5, len(listed))):
        subject = ask(server, f'TOP UID:{unique_id} 0', True)[:1]
        if subject:
            assert subjects.setdefault(unique_id, subject) == subject, (unique_id, subject, subjects)
            counts['tops'] += 1
    if listed and random.random() < 0.03:
        ask(server, f'DELE {random.randint(1, len(listed))}')
        counts['deleted'] += 1
    quit(server)
    counts['sessions'] += 1
    return listed


def check(listed, last, certain):
    """`last`: the listing before. `certain`: the unique-ids of messages that were there all the time."""
    assert len(set(listed)) == len(listed), listed
    assert certain <= set(listed), (certain - set(listed), listed)
    old = [unique_id for unique_id in theirs if unique_id in listed]
    assert listed[:len(old)] == old, (listed, theirs)
    assert not set(listed) & set(imported), ('names of imported messages', set(listed) & set(imported))
    assert [i for i in listed if i in last] == [i for i in last if i in listed], (last, listed)


def collect():
    last = theirs
    while time.monotonic() < end and not failures:
        last = session(last)


def guarded(function):
    try:
        function()
    except BaseException:
        failures.append(traceback.format_exc())


log = open(mail + '/log', 'a')
server = start([*dovecot, 'pop3'])
theirs = uidl(server)
quit(server)
validity, *entries = open(maildir + '/dovecot-uidlist').read().splitlines()
validity = int(re.search(r' V(\d+)', validity)[1])
imported = {line.partition(' :')[2]: f'{int(line.split()[0]):08x}{validity:08x}' for line in entries}
assert {id_of(name) for name in names()} == set(theirs)
assert session(theirs) == theirs
thread = threading.Thread(target=guarded, args=[work])
thread.start()
guarded(collect)
thread.join()
if not failures:
    there = {id_of(name) for name in names()}  # before the session, because it may delete one
    assert set(session([])) == there
print(counts, len(imported.keys() & names()), 'imported messages are left')
sys.exit('\n'.join(failures) or 0)
