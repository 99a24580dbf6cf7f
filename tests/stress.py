#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""stress.py SECONDS renames|dovecot HANDLER MAIL OPTION...

Sessions of alice list, retrieve, delete, sleep and wake, while mail is delivered to her Maildir
below MAIL, and an IMAP client sets flags and expunges: by the file operations of such a server, or
through a real Dovecot. Every message must be accounted for: found by each session that began after
its delivery, retrieved unchanged, and at the end present with its flags, or deleted by one side."""
import imaplib, os, random, re, subprocess, sys, threading, time

seconds, imap_kind, handler, mail, *options = sys.argv[1:]
maildir = mail + '/alice'
stop = threading.Event()
failures = []

delivered, lines_of = [], {}  # unique-ids; the lines of each message
deleted = set()    # by POP3, with +OK
expunged = set()   # by IMAP
gone = set()       # reported to a session as gone
flagged = {}       # unique-id -> flags that IMAP has set
counted = []       # (number of messages that a SLEE reported as deleted, number marked)
listings = []      # (number delivered before, unique-ids that a session found)
operations = {'delivered': 0, 'imap': 0, 'sessions': 0, 'retrieved': 0, 'deleted': 0, 'wakes': 0}


def actor(work):
    def run():
        try:
            work()
        except BaseException:
            import traceback
            failures.append(traceback.format_exc())
            stop.set()
    return threading.Thread(target=run)


def deliver():
    while not stop.wait(0.002):
        number = len(delivered)
        unique = f'{int(time.time())}.M{number:06}P{os.getpid()}.host'
        body = [f'line {i} of {number}' for i in range(random.randrange(20))]
        lines_of[unique] = [f'Subject: {unique}', ''] + ['.' * (i % 3) + line
                                                         for i, line in enumerate(body)]
        with open(f'{maildir}/tmp/{unique}', 'w') as file:
            file.write('\n'.join(lines_of[unique] + ['']))
        if number % 2:
            os.link(f'{maildir}/tmp/{unique}', f'{maildir}/new/{unique}')
            os.unlink(f'{maildir}/tmp/{unique}')
        else:
            os.rename(f'{maildir}/tmp/{unique}', f'{maildir}/new/{unique}')
        delivered.append(unique)
        operations['delivered'] += 1


def rename():
    """Makes the file operations of an IMAP server."""
    while not stop.wait(0.001):
        new, cur = os.listdir(maildir + '/new'), os.listdir(maildir + '/cur')
        for name in random.sample(new, len(new) // 2):
            try:
                os.rename(f'{maildir}/new/{name}', f'{maildir}/cur/{name}' +
                          (':2,' if ':' not in name else ''))
            except FileNotFoundError:
                pass
        for name in random.sample(cur, min(5, len(cur))):
            unique, _, info = name.partition(':2,')
            try:
                if random.random() < 0.1:
                    os.unlink(f'{maildir}/cur/{name}')
                    expunged.add(unique)
                else:
                    flag = random.choice('DFR')
                    os.rename(f'{maildir}/cur/{name}', f'{maildir}/cur/{unique}:2,' +
                              ''.join(sorted(set(info) | {flag})))
                    flagged.setdefault(unique, set()).add(flag)
            except FileNotFoundError:
                pass
            operations['imap'] += 1


def dovecot():
    imap = imaplib.IMAP4_stream(f'doveadm -c {mail}/dovecot.conf exec imap 2>/dev/null')
    flags = {'F': '\\Flagged', 'R': '\\Answered', 'D': '\\Draft'}
    imap.select()
    while not stop.is_set():
        imap.noop()
        numbers = imap.uid('search', None, 'ALL')[1][0].split()
        for number in random.sample(numbers, min(5, len(numbers))):
            answer = imap.uid('fetch', number, '(BODY.PEEK[HEADER.FIELDS (SUBJECT)])')[1]
            header = b''.join(part[1] for part in answer if isinstance(part, tuple))
            if not header.startswith(b'Subject: '):
                continue  # POP3 has deleted it meanwhile
            unique = header.decode().split()[1]
            letter = random.choice('DFR')
            if random.random() < 0.1:
                imap.uid('store', number, '+FLAGS', '(\\Deleted)')
                # Counted first, because a session may list it at once.
                expunged.add(unique)
                imap.uid('expunge', number)
            elif imap.uid('store', number, '+FLAGS', f'({flags[letter]})')[1] != [None]:
                flagged.setdefault(unique, set()).add(letter)
            operations['imap'] += 1
    imap.logout()


class Session:
    def __init__(self):
        self.log = open(f'{mail}/log', 'a')
        self.process = subprocess.Popen([handler, *options], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.process.stdout.readline()

    def ask(self, line):
        self.process.stdin.write(line + '\r\n')
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip('\n')

    def ask_all(self, line):
        first = self.ask(line)
        rest = []
        if first.startswith('+OK'):
            rest = [line.rstrip('\n') for line in iter(self.process.stdout.readline, '.\n')]
        return first, rest

    def open(self, command):
        """Logs in or wakes; another session may have the mailbox."""
        for _ in range(19):  # one more failure would end the session
            if stop.is_set():
                return False
            before = len(delivered)
            if command != 'WAKE':
                self.ask('USER alice')
            answer = self.ask(command)
            if answer.startswith('+OK'):
                self.uids = [line.split()[1] for line in self.ask_all('UIDL')[1]]
                assert len(set(self.uids)) == len(self.uids)
                listings.append((before, set(self.uids)))
                return True
            assert answer == '-ERR [IN-USE] the mailbox is locked by another session', answer
        return False

    def retrieve(self, uid, size):
        answer, lines = self.ask_all('RETR UID:' + uid)
        if not answer.startswith('+OK'):
            assert re.fullmatch(r'-ERR \[UID\] message \d+ is gone', answer), answer
            gone.add(uid)
            return
        lines = [line[1:] if line.startswith('.') else line for line in lines]
        octets = sum(len(line) + 2 for line in lines)
        assert lines == lines_of[uid], (uid, lines)
        assert size in (None, octets) and answer == f'+OK {octets} octets', (uid, answer)
        operations['retrieved'] += 1

    def work(self):
        """Runs a part of a session. Returns the marked unique-ids."""
        sizes = {}
        if random.random() < 0.5:
            sizes = dict(line.split() for line in self.ask_all('LIST')[1])
        marked = set()
        chosen = random.sample(self.uids, min(30, len(self.uids)))
        for uid in chosen:
            size = sizes.get(str(self.uids.index(uid) + 1))
            self.retrieve(uid, int(size) if size else None)
            kind = random.choice(['DELE', 'DELE', 'DELI', ''])
            if kind:
                answer = self.ask(f'{kind} UID:{uid}')
                assert answer.startswith('+OK'), answer
            if kind == 'DELE':
                marked.add(uid)
            elif kind == 'DELI':
                deleted.add(uid)
        return marked

    def leave(self, command, marked):
        answer = self.ask(command)
        parts = re.fullmatch('[+]OK (?:goodbye|asleep, ([0-9]+) messages deleted)', answer)
        assert parts and int(parts[1] or 0) <= len(marked), answer
        if parts[1]:
            counted.append((int(parts[1]), len(marked)))
        deleted.update(marked)
        operations['deleted'] = len(deleted)


def collect():
    while not stop.is_set():
        session = Session()
        if session.open('PASS apple'):
            operations['sessions'] += 1
            for _ in range(random.randrange(5)):
                session.leave('SLEE', session.work())
                if not session.open('WAKE'):
                    break
                operations['wakes'] += 1
            else:
                marked = session.work()
                if random.random() < 0.8:
                    session.leave('QUIT', marked)
        session.process.stdin.close()
        session.process.stdout.read()
        status = session.process.wait()
        assert status == 0, status


def account():
    """Accounts for every message after all activity has ended."""
    session = Session()
    stop.clear()
    assert session.open('PASS apple')
    left = set(session.uids)
    assert left == set(delivered) - deleted - expunged, (left ^ (set(delivered) - deleted - expunged))
    for uid in left:
        session.retrieve(uid, None)
    session.ask('NOOP')
    assert gone <= expunged | deleted, gone - expunged
    # Messages that a session marked but did not delete were expunged by IMAP.
    assert sum(marked - removed for removed, marked in counted) <= len(expunged), counted
    names = [name for place in ['new', 'cur'] for name in os.listdir(f'{maildir}/{place}')]
    assert sorted(name.partition(':')[0] for name in names) == sorted(left)
    for name in names:
        unique, _, info = name.partition(':2,')
        assert flagged.get(unique, set()) <= set(info), (name, flagged[unique])
    # Each session found the messages delivered before it began.
    removed = deleted | expunged
    for before, found in listings:
        missing = set(delivered[:before]) - found - removed
        assert not missing, missing
    assert not os.listdir(maildir + '/tmp')


for place in ['new', 'cur', 'tmp']:
    os.makedirs(f'{maildir}/{place}', exist_ok=True)
actors = [actor(work) for work in (deliver, rename if imap_kind == 'renames' else dovecot, collect,
                                   collect)]
for thread in actors:
    thread.start()
stop.wait(int(seconds))
stop.set()
for thread in actors:
    thread.join()
if not failures:
    account()
operations.update(flagged=len(flagged), expunged=len(expunged))
usual = re.compile(r'pop3-handler: (\d+ lines about local were omitted: \d+ login refused|login of .* (accepted: .*|refused: the mailbox is in use)|session .* ended.*)$')
failures += ['log: ' + line for line in open(mail + '/log') if not usual.match(line)]
print(operations)
sys.exit('\n'.join(failures) or 0)
