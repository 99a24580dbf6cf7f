#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""differential.py [--checks=N] [--seconds=N] [--seed=N] [--no-namesakes]

Compares the program with a model of a mailbox. A neighbour (another program: deliveries, flags,
removals, second names, copies, files that vanish and reappear, other times, litter, missing
directories, quotas, damaged caches) and sessions (all commands, sleep, read-only sessions, waits for
the lock, lost connections, kills during a commit) take random steps, on Maildirs and folders of a few
or more than 1,000 messages. After each step the model gives the expected answer of the session and
the expected files. Ends after a number of checks (100,000, unless seconds are given), or at the first
failure: then it prints the last steps and the expected result, keeps the mailbox, and exits with 1.
The seed repeats a run, except for the moment of a kill. Without namesakes, a unique part belongs to
one file at a time, with one name, and does not reappear."""
import argparse, collections, hashlib, os, pwd, random, re, shutil, signal, subprocess, sys, tempfile, time
import traceback

parser = argparse.ArgumentParser(usage=__doc__.split('\n')[0])
parser.add_argument('--checks', type=int)
parser.add_argument('--seconds', type=float)
parser.add_argument('--seed', type=int, default=random.SystemRandom().randrange(10 ** 9))
parser.add_argument('--no-namesakes', action='store_true')
arguments = parser.parse_args()
checks_max = arguments.checks or (sys.maxsize if arguments.seconds else 100_000)
start = time.monotonic()
end = start + (arguments.seconds or 10 ** 9)
handler = os.environ.get('HANDLER') or os.path.realpath(__file__ + '/../../build/pop3-handler')
if not os.access(handler, os.X_OK):
    sys.exit(f'there is no {handler}: build it first')

TICK_S = 0.02  # the clock of birth times advances at least this often
COPY_S = 12  # a copy is removed after this, because a session renames it when it is 30 s old
STALE_S = 25  # a mailbox with an older copy is abandoned
ANSWER_S = 120  # for all answers of one step
COPIES_MAX = 200  # in a mailbox; each has an open descriptor
SESSIONS_MAX = 3
LOCK_WAIT_S = 5
VAIN_EVERY_S = 60  # an omitted step changes no other one, so that the seed repeats the run
CLOCK_S = 0.03  # an older file's times differ from those of later changes
READ_ONLY_CLOCK_S = 2.1
FIRST_READ = 65536  # RETR measures a message of up to this size before it announces the size
TIMES_NS = [-10 ** 15, -1, 0, 1, 10 ** 9, 10 ** 18, 10 ** 18 + 1, 2 * 10 ** 18]  # of files of a folder
DIGEST = re.compile('sha256[0-9a-f]{64}')
OURS = '.pop3-handler.'
INFO = re.compile(':|[;!]2,')  # these begin the part of a name that is not in the unique-id
LITTER = re.compile(rb'.*\.(tmp|part|partial|filepart|crdownload|swp)|.*~|#.*#|thumbs\.db|desktop\.ini',
                    re.IGNORECASE | re.DOTALL)
NOT_PLAIN = re.compile(rb'\x1f\x8b\x08|BZh.1AY&SY|\xfd7zXZ\0|\x28\xb5\x2f\xfd|\x04\x22\x4d\x18|'
                       rb'Dovecot-LZ4\r\x2a\x9b\xc5|CRYPTED\x03\x07', re.DOTALL)
NOT_PLAIN_BEGINS = [b'\x1f\x8b\x08', b'\x1f\x8b\x08', b'\x1f\x8b\x08\0\n.\n', b'BZh91AY&SY', b'\xfd7zXZ\0',
                    b'\x28\xb5\x2f\xfd', b'\x04\x22\x4d\x18', b'Dovecot-LZ4\r\x2a\x9b\xc5', b'CRYPTED\x03\x07']
NEARLY = [b'\x1f\x8b\x07', b'\x1f\x8b', b'BZh91AY&S', b'\xfd7zXZ', b'x\x1f\x8b\x08', b'CRYPTED\x03', b'dovecot-LZ4']

counts = collections.Counter()
durations = collections.defaultdict(lambda: 0.005)  # of commands; a kill comes at any moment of a command


class Mismatch(Exception):
    """A failed comparison: its subject, the expected value, the actual value."""


def require(is_good, what, expected, seen):
    """Compares as part of another check, which is counted."""
    if not is_good:
        raise Mismatch(what, expected, seen)


def check(is_good, what, expected, seen):
    counts['checks'] += 1
    require(is_good, what, expected, seen)


def same(what, expected, seen):
    """Compares; for containers a failure shows the difference."""
    counts['checks'] += 1
    if expected == seen:
        return
    if isinstance(expected, dict):
        expected, seen = ({key: value for key, value in one.items() if other.get(key) != value}
                          for one, other in ((expected, seen), (seen, expected)))
    elif isinstance(expected, list):
        first = next((i for i, pair in enumerate(zip(expected, seen)) if pair[0] != pair[1]),
                     min(len(expected), len(seen)))
        what += f', from position {first} of {len(expected)}'
        expected, seen = expected[first:first + 5], seen[first:first + 5]
    raise Mismatch(what, expected, seen)


# --- Messages ---

def to_wire(content):
    """Returns a message as RETR sends it, before dot-stuffing."""
    lines = re.sub(rb'(?<!\r)\n', b'\r\n', content)
    return lines if not lines or lines.endswith(b'\n') else lines + b'\r\n'


def top_of(wire, count):
    """Returns the part that TOP sends."""
    lines = wire.split(b'\r\n')[:-1]
    body = lines.index(b'') + 1 if b'' in lines else len(lines)
    return b''.join(line + b'\r\n' for line in lines[:body + count])


def plain_id(unique):
    """Returns the unique-id of a message without namesakes."""
    octets = os.fsencode(unique)
    if re.fullmatch(rb'[!-~]{1,70}', octets) and unique != '_' and not DIGEST.fullmatch(unique):
        return unique
    return 'sha256' + hashlib.sha256(octets).hexdigest()


def arrival(unique):
    """Returns the seconds and microseconds in a Maildir name."""
    seconds = re.match('[0-9]*', unique)[0]
    fraction = re.match(r'\.[^.]*?M([0-9]+)', unique[len(seconds):])
    microseconds = int(fraction[1]) if fraction else 0
    return int(seconds or 0), microseconds if microseconds < 10 ** 6 else 0


def split_name(name):
    """Returns the unique part of a Maildir name, and the rest with the separator."""
    found = INFO.search(name)
    return (name[:found.start()], name[found.start():]) if found else (name, '')


def add_seen(name):
    unique, info = split_name(name)
    if not info:
        return name + ':2,S'
    return unique + info[:3] + ''.join(sorted({*info[3:], 'S'})) if info[1:3] == '2,' else name


def field(unique, letter):
    """Returns the number in a field of a Maildir name, or None."""
    found = re.search(f',{letter}=([^,]*)', unique)
    return int(found[1]) if found and re.fullmatch('[0-9]+', found[1]) else None


class Message:
    """`names`: the current paths of its file below the mailbox with this unique part; `past`: all its
    paths so far."""

    def __init__(self, unique, inode, names, content, is_maildir):
        self.unique, self.inode, self.names, self.past = unique, inode, set(names), set(names)
        self.is_maildir = is_maildir
        self.set_content(content)
        self.plain = plain_id(unique)
        self.digest = None  # its unique-id as a namesake, once seen
        self.was_unseen = False  # another program removed the flag S; a session may not have noticed
        self.modified_ns = 0  # of a folder's file
        self.has_lost_name = False  # one of several names: the session that removes the others may not count it
        self.born = time.time()

    def order(self):
        return arrival(self.unique) if self.is_maildir else self.modified_ns, os.fsencode(self.unique)

    def version(self):
        """Returns the identity of a folder's file: if it changes, the message is new."""
        return self.inode, self.modified_ns

    def set_names(self, names):
        self.names = set(names)
        self.past |= self.names

    def set_content(self, content):
        self.content, self.wire = content, to_wire(content)
        self.is_plain = not NOT_PLAIN.match(content)
        self.told = self.told_size() if self.is_maildir else None

    def told_size(self):
        """Returns the size in its name, if plausible."""
        stored, told = field(self.unique, 'S'), field(self.unique, 'W')
        return told if told is None or stored is None or stored <= told <= 2 * stored + 1 else None

    def sizes(self):
        """Returns the sizes that it may be listed with before it is retrieved."""
        octets = len(self.wire) if self.is_plain else len(self.content)
        if self.told is None:
            return [octets]
        return [self.told, octets] if self.is_plain else [self.told]

    def promises(self):
        """Returns the sizes that RETR may announce: it verifies the size in a name first."""
        told, stored = self.told, len(self.content)
        is_believed = told is not None and self.content.endswith(b'\n') and stored <= told <= 2 * stored
        return [len(self.wire), told] if is_believed and stored > FIRST_READ else [len(self.wire)]

    def has_wrong_size(self):
        """Whether the log may report a wrong size. Dovecot does not count an added line end."""
        return self.told is not None and self.told != len(self.wire) and (
            self.content.endswith(b'\n') or self.told + 2 != len(self.wire))

    def quota_octets(self):
        stored = field(self.unique, 'S')
        return len(self.content) if stored is None else stored

    def __repr__(self):
        return f'{sorted(self.names) or self.unique} ({self.inode})'


# --- The mailbox, and its neighbour ---

class Mailbox:
    """The model, and the files. `alive` are the existing messages. If a session was killed
    while it deleted some, these are `pending` until a listing shows which it is, all or none; if
    they are deleted they are `hidden` until a session that may write has removed their files."""

    def __init__(self, here, seed):
        self.seed, self.random = seed, random.Random(seed)
        self.steps = collections.deque(maxlen=40)
        self.here, self.path = here, here + '/mail/alice'
        self.is_maildir = self.random.random() < 0.65
        self.is_large = self.random.random() < 0.25
        self.has_odd_names = self.random.random() < 0.5
        self.alive, self.pending, self.hidden = {}, {}, {}  # as keys, because a set has no order
        self.groups = {}    # unique part -> its messages, by birth
        self.owners = {}    # unique-id -> the first message that had it
        self.deleted = []   # by sessions, with +OK
        self.away = {}      # message -> path, of those that the neighbour has moved elsewhere
        self.litter = set() # files of a folder that are not messages
        self.quota = None   # of a Maildir: the minimum and maximum (octets, messages) that it may contain
        self.was_killed = False  # a killed session; there may be a record
        self.full_waits = int(self.random.random() < 0.3)  # waits for the lock until [IN-USE] that are left
        self.fds = []       # open files of namesakes, so that none gets the inode number of another
        self.caches = {}    # copies from earlier
        self.sessions = []
        self.serial = 0
        self.fill()

    def fill(self):
        self.subdirs = {'new', 'cur', 'tmp'} if self.is_maildir else set()
        for subdir in sorted(self.subdirs):
            os.makedirs(f'{self.path}/{subdir}')
        self.extras = ['cur/.dot', 'tmp/1.M1P1.h'] if self.is_maildir else ['.dot', 'directory/message']
        if self.random.random() < 0.5:  # otherwise no directory is ever empty
            self.extras = self.extras[-1:]
        for path in self.extras:
            os.makedirs(os.path.dirname(f'{self.path}/{path}'), exist_ok=True)
            self.write(path, b'no message\n')
        if not self.is_maildir or len(self.extras) > 1:
            link = 'new/link' if self.is_maildir else 'link'
            os.symlink(self.extras[0], f'{self.path}/{link}')
            self.extras.append(link)
        for _ in range(self.random.randrange(950, 1300) if self.is_large else self.random.randrange(40)):
            self.deliver(1)
        self.note(f'a {"Maildir" if self.is_maildir else "folder"} of {len(self.alive)} messages')

    def note(self, text):
        self.steps.append(text)

    def write(self, path, content):
        with open(f'{self.path}/{path}', 'wb') as file:
            file.write(content)
            return os.fstat(file.fileno()).st_ino

    def exists(self, path):
        return os.path.lexists(f'{self.path}/{path}')

    def rename(self, path, target):
        os.rename(f'{self.path}/{path}', f'{self.path}/{target}')

    def unique_of(self, path):
        return split_name(path.split('/')[1])[0] if self.is_maildir else path

    def some(self, messages, most=1):
        """Returns random messages, sometimes those that a session is working on."""
        if self.random.random() < 0.3:
            busy = {entry.message for session in self.sessions for entry in session.entries
                    if entry.is_marked or entry.is_retrieved}
            messages = [message for message in messages if message in busy] or messages
        return self.random.sample(messages, min(len(messages), self.random.randint(1, most)))

    # --- The disk ---

    def scan(self):
        """Returns path below the mailbox -> inode, for all files that could be messages."""
        found = {}
        for subdir in ['new/', 'cur/'] if self.is_maildir else ['']:
            if not os.path.isdir(f'{self.path}/{subdir}'):
                continue
            with os.scandir(f'{self.path}/{subdir}') as entries:
                found.update((subdir + entry.name, entry.inode()) for entry in entries
                             if entry.name[0] != '.' and entry.is_file(follow_symlinks=False)
                             and (self.is_maildir or not LITTER.fullmatch(os.fsencode(entry.name))))
        return found

    def stamp(self):
        """Returns the folder's directory stamp: the folder is listed again when it changes."""
        status = os.stat(self.path)
        return status.st_ino, status.st_mtime_ns, status.st_ctime_ns

    def our_files(self):
        with os.scandir(self.path) as entries:
            files = [entry for entry in entries if entry.name.startswith(OURS)]
            return {file.name: (file.inode(), file.stat().st_size, file.stat().st_mtime_ns) for file in files}

    def check_disk(self, retrieved=(), is_certain=True):
        """Compares the disk with the model. `retrieved`: messages that may just have been marked as
        seen, or (is_certain) must have been."""
        found = self.scan()
        paths = collections.defaultdict(set)
        for path, inode in found.items():
            paths[inode, self.unique_of(path)].add(path)
        for message in [*self.pending, *self.hidden]:
            message.set_names(paths[message.inode, message.unique])
        for message in retrieved:
            if message in self.alive and message not in self.pending and self.is_maildir:
                self.check_seen(message, paths[message.inode, message.unique], is_certain)
        if any(not message.names for message in self.pending):
            counts['kills: between two files'] += any(message.names for message in self.pending)
            self.decide(True)
        expected = {path: message.inode for message in [*self.alive, *self.hidden] for path in message.names}
        same('the files on the disk', expected, found)
        missing = [path for path in [*self.extras, *self.litter] if not self.exists(path)]
        same('other files on the disk that are gone', [], missing)
        if self.is_maildir:
            others = {name for name in os.listdir(self.path) if not name.startswith(OURS)}
            same('what is in the Maildir', self.subdirs | {'maildirsize'} if self.quota else self.subdirs, others)
            self.check_quota()

    def check_seen(self, message, names, is_certain):
        seen = {'cur/' + add_seen(path.split('/')[1]) for path in message.names}
        is_alone = len(message.names) == 1 and len(self.groups[message.unique]) == 1
        if is_certain and is_alone and not message.was_unseen:
            same('the name of a message that was retrieved', seen, names)
        check(len(names) == len(message.names) and names <= seen | message.names,
              'the names of a message that was retrieved', message.names | seen, names)
        message.set_names(names)

    def decide(self, is_gone):
        """Finds out how the commit of a killed session ended."""
        self.note(f'books: of {list(self.pending)} {"all are" if is_gone else "none is"} gone')
        counts['kills: ' + ('all' if is_gone else 'none')] += 1
        if is_gone:
            self.hidden.update(self.pending)
            for message in self.pending:
                del self.alive[message]
        self.pending = {}

    def settle(self, count, is_read_only):
        """A session has found this number of messages."""
        if self.pending:
            self.decide(count == len(self.alive) - len(self.pending))
        same('the number of messages', len(self.alive), count)
        if not is_read_only:
            self.hidden = {}
            self.was_killed = False
        self.check_disk()

    def commit(self, messages):
        """A session has deleted these, with +OK."""
        for message in messages:
            if message in self.alive:
                del self.alive[message]
                self.deleted.append(message)

    # --- The quota of a Maildir++ ---

    def read_quota(self):
        """Returns its octets and messages: the sums of its lines."""
        with open(f'{self.path}/maildirsize') as file:
            lines = file.read().splitlines()[1:]
        parts = [re.fullmatch('(-?[0-9]+) (-?[0-9]+)', line) for line in lines]
        require(all(parts), 'lines of maildirsize', 'two numbers in each', lines)
        return tuple(sum(int(part[i]) for part in parts) for i in [1, 2])

    def charge(self, sure, unsure):
        """A session has removed these, certainly or possibly."""
        if self.quota:
            for messages, ends in (sure, self.quota), (unsure, self.quota[:1]):
                for end in ends:
                    end[0] -= sum(message.quota_octets() for message in messages)
                    end[1] -= len(messages)

    def check_quota(self):
        if not self.quota:
            return
        seen = self.read_quota()
        check(all(least <= number <= most for least, number, most in zip(self.quota[0], seen, self.quota[1])),
              'octets and messages of maildirsize', self.quota, seen)
        if not self.pending and not self.hidden:
            self.quota = list(seen), list(seen)

    # --- Unique-ids ---

    def note_id(self, message, unique_id, previous):
        """A listing has this unique-id; previous: the unique-ids of this session's previous listing."""
        group = self.groups[message.unique]
        # The first message keeps it. After that is gone, another may get it in a later session.
        if message in previous:
            expected = [previous[message]]
        elif len(group) == 1 or message is group[0]:
            expected = [message.plain]
        elif group[0] in self.alive:
            expected = [message.digest]
        else:
            expected = [message.digest, message.plain]
        if message.digest is None and unique_id != message.plain and DIGEST.fullmatch(unique_id):
            message.digest = unique_id
        expected = [known or message.digest or 'a digest' for known in expected]
        require(unique_id in expected, f'the unique-id of {message}, of {group}', expected, unique_id)
        owner = self.owners.setdefault(unique_id, message)
        require(owner.unique == message.unique, f'the message with the unique-id {unique_id}', owner, message)

    # --- The steps of the neighbour ---

    def new_content(self):
        self.serial += 1
        random, line_end = self.random, self.random.choice([b'\n', b'\n', b'\n', b'\r\n'])
        if random.random() < 0.03:
            return random.choice([b'', b'\n', b'\r', b'.', b'.\n', b'\n\n.\n', b'a\r', b'\r\n\r\n', *NEARLY])
        if random.random() < 0.03:
            return random.choice(NOT_PLAIN_BEGINS) + random.randbytes(random.choice([0, 1, 100, 70000]))
        if random.random() < 0.02:
            count = FIRST_READ + random.choice([-1, 0, 1, 5000])
            text = (b'Subject: %08d\n\n' % self.serial + (b'y' * random.choice([5, 70]) + b'\n') * 12000)[:count]
            return text + random.choice([b'', b'\n'])
        lines = [b'Subject: %08d' % self.serial, b''][:random.choice([2, 2, 2, 1])]
        lines += [random.choice([b'', b'.', b'..', b'. ', b'text', b'caf\xe9', b'a\rb', b'\0', b'x' * 300])
                  for _ in range(random.choice([0, 1, 2, 3, 5, 8, 13, 400]))]
        content = line_end.join(lines) + line_end * random.choice([0, 1, 1, 1, 2])
        return content.replace(b'\r\n', b'\n', 1) if random.random() < 0.1 else content

    def new_unique(self, content):
        """Returns a unique part, or a folder's file name, that was never used before."""
        random, added = self.random, 0 if content.endswith(b'\n') else 2  # Dovecot counts no line end that it adds
        while True:
            number, micro = random.randrange(10 ** 5), random.choice([0, 5, random.randrange(10 ** 6), 1234567])
            forms = [f'{1_700_000_000 + number % 20}.M{micro}P{number}.host',
                     f'{1_700_000_000 + number % 20}.P{number}M{micro}Q1.host',
                     f'{1_700_000_000 + number}.{number}_1.host',
                     f'{1_700_000_000 + number}.M{micro}P1.h,S={len(content)},W={len(to_wire(content))}',
                     f'{1_700_000_000 + number}.M{micro}P1.h,S={len(content)},W={3 * len(content) + 9}',
                     f'{1_700_000_000 + number}.M{micro}P1.h,S={len(content)},W={len(to_wire(content)) + 1}',
                     f'{1_700_000_000 + number}.M{micro}P1.h,W={len(to_wire(content)) - added}',
                     f'{1_700_000_000 + number}.M{micro}P1.h,S={len(content) + random.choice([0, 0, 7])}',
                     f'm{number}', f'{number}.eml', f'a.M{micro}P{number}']
            forms += [f'{number}.tmp', f'#{number}#', f'{number}~'] if self.is_maildir else [
                f'{number}.tmp.eml', f'#{number}', f'#{number}#.', f'~{number}', f'{number}tmp', f'{number}.Parts',
                f'Thumbs.db.{number}']
            if self.has_odd_names:
                forms += [f'{1_700_000_000 + number}.M{micro}P1.{"h" * 70}', f'{number} odd name',
                          f'{number}.caf\u00e9', f'{number};2', f'{number}!x;2.M5',
                          f'sha256{hashlib.sha256(b"%d" % number).hexdigest()}']
            unique = random.choice(forms) if random.random() < 0.5 else forms[0]
            if unique not in self.groups:
                return unique

    def new_path(self, unique, message=None):
        """Returns a path for a message; None: it is taken, or a session could look for a namesake there."""
        if not self.is_maildir:
            return unique
        flags = ''.join(sorted(self.random.sample('DFPRSTab', self.random.choice([0, 0, 1, 2, 3]))))
        flags = self.random.choice([':2,', ':2,', ':2,', ';2,', '!2,']) + flags
        path = self.random.choice([f'new/{unique}', f'cur/{unique}{flags}', f'cur/{unique}{flags}'])
        is_past = any(path in other.past for other in self.groups.get(unique, []) if other is not message)
        return None if is_past or self.exists(path) else path

    def put(self, unique, path, content):
        """Delivers a message."""
        self.make_subdir(path)
        if self.is_maildir:
            inode = self.write(f'tmp/{unique}', content)
            if self.random.random() < 0.2:
                os.link(f'{self.path}/tmp/{unique}', f'{self.path}/{path}')
                os.unlink(f'{self.path}/tmp/{unique}')
            else:
                self.rename(f'tmp/{unique}', path)
        else:
            inode = self.write(path, content)
        message = Message(unique, inode, [path], content, self.is_maildir)
        self.alive[message] = None
        if not self.is_maildir and self.random.random() < 0.3:
            self.set_time(message)
        self.note_file(message)
        return message

    def make_subdir(self, path):
        """Makes the directory of a path, if it is missing."""
        subdir = os.path.dirname(path)
        if subdir and subdir not in self.subdirs:
            os.mkdir(f'{self.path}/{subdir}')
            self.subdirs.add(subdir)

    def note_file(self, message):
        """Notes the identity of a message's file."""
        status = os.stat(f'{self.path}/{min(message.names)}')
        message.inode, message.modified_ns = status.st_ino, status.st_mtime_ns

    def set_time(self, message):
        """Sets a file's modification time, possibly to that of others."""
        time_ns = self.random.choice([*TIMES_NS, self.random.randrange(10 ** 18)])
        os.utime(f'{self.path}/{min(message.names)}', ns=(time_ns, time_ns))

    def deliver(self, most=3):
        for _ in range(self.random.randint(1, most)):
            content = self.new_content()
            unique = self.new_unique(content)
            path = self.new_path(unique)
            if self.is_maildir and self.random.random() < 0.6:
                path = f'new/{unique}'
            message = self.put(unique, path, content)
            self.groups[unique] = [message]
            self.note(f'neighbour: delivers {message}')

    def flag(self):
        """Changes the flags of some or all messages, as an IMAP server does."""
        if not self.is_maildir:
            return
        messages = list(self.alive)
        for message in messages if self.random.random() < 0.05 else self.some(messages, 4):
            path, target = min(message.names, default=None), self.new_path(message.unique, message)
            if path and target and target.startswith('cur/'):
                self.make_subdir(target)
                self.rename(path, target)
                message.set_names(message.names - {path} | {target})
                message.was_unseen |= 'S' in split_name(path)[1] and 'S' not in split_name(target)[1]
                self.note(f'neighbour: renames {path} to {target}')

    def may_remove(self, message):
        """Whether afterwards no session would find, by the unique part, a namesake that it has not listed."""
        return not any(session.is_writing() and session.has_unlisted_namesake(message) for session in self.sessions)

    def remove(self, messages=None):
        for message in messages or self.some(list(self.alive), self.random.choice([1, 1, 3])):
            names = sorted(message.names)
            if messages is None and len(names) > 1 and self.random.random() < 0.5:
                names = names[:1]
            if len(names) == len(message.names) and not self.may_remove(message):
                continue
            for path in names:
                os.unlink(f'{self.path}/{path}')
                message.names.remove(path)
            message.has_lost_name = True
            if not message.names:
                del self.alive[message]
                self.pending.pop(message, None)
            self.note(f'neighbour: removes {names} of {message}')

    def firm(self):
        """Returns the messages that were not in the set of a killed session."""
        return [message for message in self.alive if message not in self.pending]

    def link_other(self):
        """Makes another message by a hard link to an existing message's file."""
        for message in self.some(self.firm()):
            unique = self.new_unique(message.content)
            path = self.new_path(unique)
            self.make_subdir(path)
            os.link(f'{self.path}/{min(message.names)}', f'{self.path}/{path}')
            other = Message(unique, message.inode, [path], message.content, self.is_maildir)
            self.note_file(other)
            self.alive[other] = None
            self.groups[unique] = [other]
            self.note(f'neighbour: links {message} to {path}')

    def link_same(self):
        """Gives a message a second name."""
        for message in self.some(self.firm()) if self.is_maildir else []:
            path = self.new_path(message.unique, message)
            if path and len(message.names) < 3:
                self.make_subdir(path)
                os.link(f'{self.path}/{min(message.names)}', f'{self.path}/{path}')
                message.set_names(message.names | {path})
                self.note(f'neighbour: links {message} to {path}, too')

    def add_namesake(self, message, content):
        """Makes another, younger file with the unique part of a message."""
        group = self.groups[message.unique]
        path = self.new_path(message.unique, None if message in self.alive else message)
        if not path or self.exists(path) or len(self.fds) > COPIES_MAX:
            return
        while time.time() <= max(other.born for other in group) + TICK_S:
            time.sleep(TICK_S / 4)
        other = self.put(message.unique, path, content)
        if len(group) == 1 and message not in self.alive:
            self.groups[message.unique] = [other]  # the existing message is the first one
        else:
            group.append(other)
            self.fds.append(os.open(f'{self.path}/{path}', os.O_RDONLY))
        self.note(f'neighbour: delivers {other}, a namesake of {message}')

    def copy(self):
        """Makes a message with the unique part of another and different content."""
        for message in self.some(self.firm()) if self.is_maildir else []:
            group = self.groups[message.unique]
            if not all(other.is_plain for other in group):
                continue  # a client could not distinguish them
            serial = re.search(rb'\d{8}', message.content)
            content = self.new_content()
            if serial and (',S=' in message.unique or self.random.random() < 0.5):
                content = message.content.replace(serial[0], b'%08d' % self.serial)
            is_plain = not NOT_PLAIN.match(content)
            is_other = is_plain and all(other.content != content for other in group)
            if is_other and (serial or ',S=' not in message.unique):
                self.fds.append(os.open(f'{self.path}/{min(message.names)}', os.O_RDONLY))
                self.add_namesake(message, content)

    def restore(self):
        """Restores a deleted message, as from a backup, or reuses a folder's file name. A session that
        has listed it and may write could not distinguish the two."""
        for message in self.some(self.deleted):
            is_plain = message.is_plain or len(self.groups[message.unique]) == 1
            if is_plain and not any(session.is_writing() and message in session.messages()
                                    for session in self.sessions):
                self.deleted.remove(message)
                is_reused = not self.is_maildir and self.random.random() < 0.5
                self.add_namesake(message, self.new_content() if is_reused else message.content)

    def is_listed(self, message):
        """Whether a session that is awake has listed it."""
        return any(session.state == 'transaction' and message in session.messages() for session in self.sessions)

    def take_away(self, messages=None):
        """Moves a message's file elsewhere: sessions find it gone."""
        for message in messages or self.some(self.firm()):
            if len(message.names) == 1 and len(self.groups[message.unique]) == 1:
                path = min(message.names)
                self.serial += 1  # rename(2) does nothing between two names of one file
                self.away[message] = path, f'{self.here}/away/{self.serial}'
                os.rename(f'{self.path}/{path}', self.away[message][1])
                message.set_names([])
                del self.alive[message]
                self.note(f'neighbour: takes {path} away')

    def bring_back(self, messages=None):
        """Moves the same file back, perhaps after a session has deleted the message."""
        for message in self.some(messages or [message for message in self.away if not self.is_listed(message)], 3):
            path, elsewhere = self.away.pop(message)
            self.make_subdir(path)
            os.rename(elsewhere, f'{self.path}/{path}')
            message.set_names([path])
            self.alive[message] = None
            self.note_file(message)
            self.note(f'neighbour: brings {path} back')

    def remove_subdir(self, subdir):
        """Removes an empty directory of a Maildir, as a backup may. (Sessions that are awake keep their
        open directory.)"""
        if {'new', 'cur'} <= self.subdirs and not os.listdir(f'{self.path}/{subdir}'):
            awake = [session for session in self.sessions if session.state == 'transaction']
            if awake and self.random.random() < 0.5:
                for session in awake:
                    session.drop()
            if not any(session.state == 'transaction' for session in self.sessions):
                os.rmdir(f'{self.path}/{subdir}')
                self.subdirs.remove(subdir)
                counts['missing directories'] += 1
                self.note(f'neighbour: removes {subdir}/')
                session = Session(self, self.random.random() < 0.2)
                session.login()
                session.some(session.entries, session.retrieve)
                self.random.choice([session.sleep, session.quit])()

    def move_all(self):
        """Moves all messages to one directory, so that the other becomes empty; or adds or removes litter."""
        if not self.is_maildir:
            self.change_litter()
            return
        target = self.random.choice(['new/', 'cur/'])
        for message in self.firm():
            for path in sorted(message.names):
                name = path.split('/')[1]
                renamed = target + (split_name(name)[0] if target == 'new/' else name)
                is_taken = self.exists(renamed) or any(
                    renamed in other.past for other in self.groups[message.unique] if other is not message)
                if not path.startswith(target) and not is_taken:
                    self.make_subdir(renamed)
                    self.rename(path, renamed)
                    message.set_names(message.names - {path} | {renamed})
                    message.was_unseen |= 'S' in split_name(path)[1] and 'S' not in split_name(renamed)[1]
        self.note(f'neighbour: moves all to {target}')
        self.remove_subdir('cur' if target == 'new/' else 'new')

    def set_quota(self):
        """Rewrites or removes the quota file. Its sums must not become negative later."""
        if not self.is_maildir or self.pending or self.hidden:
            return
        path = f'{self.path}/maildirsize'
        if self.quota and self.random.random() < 0.3:
            os.unlink(path)
            self.quota = None
        else:
            octets = sum(message.quota_octets() for message in self.alive)
            with open(path, 'w') as file:
                file.write(f'{10 ** 9}S,{10 ** 5}C\n{octets} {len(self.alive)}\n')
            self.quota = [octets, len(self.alive)], [octets, len(self.alive)]
        self.note(f'neighbour: the quota says {self.quota}')

    def change_litter(self):
        """Begins downloads, which become messages when they end."""
        if self.litter and self.random.random() < 0.5:
            name = self.random.choice(sorted(self.litter))
            self.litter.remove(name)
            if self.random.random() < 0.5:
                os.unlink(f'{self.path}/{name}')
                self.note(f'neighbour: removes {name}')
                return
            content = open(f'{self.path}/{name}', 'rb').read()
            unique = self.new_unique(content)
            self.rename(name, unique)
            message = Message(unique, 0, [unique], content, False)
            self.alive[message] = None
            self.groups[unique] = [message]
            self.note_file(message)
            self.note(f'neighbour: renames {name} to {unique}')
            return
        stem = self.random.choice([str(self.random.randrange(10 ** 5)), 'caf\u00e9', '\udcff', '', ':2,S'])
        name = self.random.choice([
            'a' + stem + self.random.choice(['.tmp', '.part', '.partial', '.filepart', '.crdownload', '.swp', '~']),
            f'#{stem}#', 'Thumbs.db', 'desktop.ini'])
        name = self.random.choice([name, name, name.upper(), name.swapcase()])
        if not self.exists(name):
            self.write(name, self.new_content())
            self.litter.add(name)
            self.note(f'neighbour: writes {name!r}')

    def touch(self):
        """Changes the times of a folder's files, which the directory may not show."""
        if not self.is_maildir and not any(session.state == 'transaction' for session in self.sessions):
            for message in self.some(self.firm(), 4):
                self.set_time(message)
                for other in self.alive:
                    if other.inode == message.inode:  # a second name
                        self.note_file(other)
                self.note(f'neighbour: the time of {message} is {message.modified_ns}')

    def test_order(self):
        """Tests that a folder keeps its order while its directory does not change."""
        if self.is_maildir or any(session.state == 'transaction' for session in self.sessions):
            return
        session = Session(self, self.random.random() < 0.1)
        time.sleep(2 * CLOCK_S)
        session.login()
        for _ in range(5):
            if self.random.random() < 0.4:
                session.list()
            session.sleep()
            if self.random.random() < 0.7:
                time.sleep(2 * CLOCK_S)
            self.random.choice([self.touch, self.touch, self.touch, self.edit, self.change_litter])()
            session.open('WAKE')
        session.quit()

    def edit(self):
        """Changes a folder's file in place, or replaces it."""
        if self.is_maildir or any(session.state == 'transaction' for session in self.sessions):
            return
        for message in self.some(self.firm(), 2):
            times = os.stat(f'{self.path}/{message.unique}')
            content = self.random.choice([self.new_content(), message.content + b'more\n',
                                          message.content.replace(b'x\n', b'\nx', 1)])
            if self.random.random() < 0.5 or os.stat(f'{self.path}/{message.unique}').st_nlink > 1:
                self.write('.new', content)
                self.rename('.new', message.unique)
            else:
                self.write(message.unique, content)
            if self.random.random() < 0.3:
                os.utime(f'{self.path}/{message.unique}', ns=(times.st_mtime_ns, times.st_mtime_ns))
            self.note_file(message)
            message.set_content(content)
            self.note(f'neighbour: edits {message}')

    def move(self):
        """Renames a folder's file, which makes it another message."""
        for message in [] if self.is_maildir else self.some(self.firm()):
            unique = self.new_unique(message.content)
            self.rename(message.unique, unique)
            del self.alive[message]
            other = Message(unique, message.inode, [unique], message.content, False)
            self.note_file(other)
            self.alive[other] = None
            self.groups[unique] = [other]
            self.note(f'neighbour: renames {message} to {unique}')

    def damage(self):
        """Removes, damages or restores a cache."""
        names = sorted(name for name in self.our_files() if 'state' not in name)
        if not names:
            return
        name = self.random.choice(names)
        content = bytearray(open(f'{self.path}/{name}', 'rb').read())
        how = self.random.choice(['lose', 'octet', 'octet', 'octet', 'octet', 'cut', 'garbage', 'keep', 'old', 'old'])
        if how == 'keep':
            self.caches[name] = content
            return
        if how == 'octet' and content:
            content[self.random.randrange(len(content))] ^= 1 << self.random.randrange(8)
        elif how == 'cut':
            del content[self.random.randrange(len(content) + 1):]
        elif how == 'garbage':
            content = self.random.randbytes(self.random.randrange(3000))
        elif how == 'old':
            content = self.caches.get(name, content)
        if how == 'lose':
            os.unlink(f'{self.path}/{name}')
        else:
            self.write(name, content)
        self.note(f'neighbour: damages {name}: {how}')

    def test_caches(self):
        """Runs sessions without changes between them: they use the caches, which may be damaged."""
        if any(session.is_writing() for session in self.sessions):
            return
        for _ in range(self.random.choice([2, 2, 5])):
            session = Session(self, False)
            session.login()
            session.list()
            session.quit()
            if self.random.random() < 0.7:
                self.damage()

    def neighbour(self):
        steps = [self.deliver, self.deliver, self.flag, self.flag, self.remove, self.damage, self.edit, self.move,
                 self.link_other, self.test_caches, self.take_away, self.bring_back]
        steps += ([self.move_all, self.set_quota] if self.is_maildir else
                  [self.touch, self.change_litter, self.test_order, self.test_order])
        if not arguments.no_namesakes:
            steps += [self.link_same, self.copy, self.restore]
        self.random.choice(steps)()

    def copies(self, age_s):
        now = time.time()
        return [message for message in self.alive
                if message is not self.groups[message.unique][0] and message.born + age_s < now]

    # --- One step, and the end ---

    def step(self):
        old = self.copies(COPY_S)
        if not all(self.may_remove(message) for message in old):
            for session in list(self.sessions):
                session.drop()
        if old:
            self.remove(old)
        kind = self.random.random()
        if kind < 0.35:
            self.neighbour()
        elif not self.sessions or (kind < 0.4 and len(self.sessions) < SESSIONS_MAX):
            Session(self).login()
        else:
            self.random.choice(self.sessions).step()
        if not self.is_large or self.random.random() < 0.2:
            self.check_disk()

    def finish(self):
        """Runs a last session, which must find every message."""
        for session in list(self.sessions):
            session.drop()
        session = Session(self, False)
        session.login()
        session.list()
        session.some(session.entries, session.retrieve)
        session.quit()

    def close(self):
        for session in list(self.sessions):
            session.process.kill()
            session.end()
        for fd in self.fds:
            os.close(fd)


# --- A session ---

class Entry:
    """A message of a listing."""

    def __init__(self, message):
        self.message, self.unique_id = message, message.plain
        self.is_marked = self.is_deleted = self.is_retrieved = False
        self.is_measured = False  # RETR has measured it
        self.version = message.version()  # known to this session

    def __repr__(self):
        return repr(self.message)


class Session:
    number = 0

    def __init__(self, mailbox, read_only=None):
        Session.number += 1
        self.number, self.mailbox, self.random = Session.number, mailbox, mailbox.random
        self.is_read_only = self.random.random() < 0.2 if read_only is None else read_only
        self.entries = []
        self.state = 'authorization'
        self.stamp = None  # of a folder, as listed; None: unknown
        self.deleted = [0, 0]  # number of messages: minimum, maximum
        self.retrieved, self.retrieved_octets = 0, 0
        self.log = f'{mailbox.here}/log.{self.number}'
        with open(self.log, 'ab') as log:
            self.process = subprocess.Popen([handler, *mailbox_options(mailbox.here),
                                             *['--read-only=yes'] * self.is_read_only],
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        mailbox.sessions.append(self)
        self.expect(self.hear(), '+OK', 'the greeting')

    # --- Lines ---

    def hear(self):
        line = self.process.stdout.readline()
        require(line.endswith(b'\r\n'), f'a line of session {self.number}', 'a line', line)
        return line

    def say(self, line):
        try:
            self.process.stdin.write(line.encode() + b'\r\n')
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the session has ended without an answer

    def ask(self, line):
        begin = time.monotonic()
        self.say(line)
        answer = self.hear()
        durations[self.kind_of(line)] += (time.monotonic() - begin - durations[self.kind_of(line)]) / 5
        self.note(line, answer)
        return answer.decode()[:-2]

    def kind_of(self, line):
        """Commands that take about the same time."""
        return line[:4], min(2, sum(entry.is_marked for entry in self.entries)), self.mailbox.is_large

    def ask_all(self, line):
        """Returns the first line of the answer, and the others without stuffing."""
        answer, lines = self.ask(line), []
        while answer.startswith('+OK'):
            line = self.hear()
            if line == b'.\r\n':
                break
            lines.append(line.removeprefix(b'.'))
        return answer, lines

    def ask_table(self, line):
        """Returns the first line of the answer to LIST or UIDL, and number -> size or unique-id."""
        answer, lines = self.ask_all(line)
        self.expect(answer, '+OK', line)
        table = {}
        for text in lines:
            parts = re.fullmatch(rb'([1-9][0-9]*) ([!-~]{1,70})\r\n', text)
            require(parts, f'a line of {line}', 'a number and what it has', text)
            table[int(parts[1])] = parts[2].decode()
        same(f'the order of {line}', sorted(table), list(table))
        return answer, table

    def note(self, line, answer):
        kind = 'read-only session' if self.is_read_only else 'session'
        self.mailbox.note(f'{kind} {self.number}: {line} -> {answer.decode(errors="replace").strip()}')

    def expect(self, answer, begin, what):
        answer = answer if isinstance(answer, str) else answer.decode()
        check(answer.startswith(begin), f'session {self.number}: the answer to {what}', begin, answer)

    # --- Entries ---

    def messages(self):
        return {entry.message: entry for entry in self.entries}

    def is_writing(self):
        return self.state == 'transaction' and not self.is_read_only

    def has_unlisted_namesake(self, message):
        listed = self.messages()
        return any(other is not message and other in self.mailbox.alive and other not in listed
                   for other in self.mailbox.groups[message.unique])

    def is_there(self, entry):
        """Whether its file exists: True, False, or None if that is unknown."""
        if entry.message in self.mailbox.pending or entry.message in self.mailbox.hidden:
            return None
        if any(self.is_in_place_of(other, entry.message) for other in self.mailbox.groups[entry.message.unique]):
            return None
        if entry.message in self.mailbox.alive:
            return True
        return None if self.has_unlisted_namesake(entry.message) else False

    def is_in_place_of(self, other, message):
        """Whether a namesake has a path that the session may remember as the message's."""
        return other is not message and other in self.mailbox.alive and not other.names.isdisjoint(message.past)

    def sizes(self, entry):
        """Returns the sizes that it may be listed with. A message that got another's unique-id may be
        mistaken for that one until it is retrieved."""
        message = entry.message
        if entry.is_measured:
            return [len(message.wire)]
        return [*message.sizes(), *(size for other in self.may_be_taken_for(entry) for size in other.sizes())]

    def may_be_taken_for(self, entry):
        message = entry.message
        group = self.mailbox.groups[message.unique]
        return [] if message is group[0] or entry.unique_id != message.plain else group

    def show(self, entry):
        """Returns a command's argument for it."""
        if self.random.random() < 0.5:
            return str(self.entries.index(entry) + 1)
        return self.random.choice(['UID:', 'UID:', 'uid:', 'uId:']) + entry.unique_id

    def refuses(self, command, entry):
        """Returns the beginning of the answer for a message that is gone."""
        if 'uid:' in command.lower():
            return '-ERR [UID] '
        return f'-ERR message {self.entries.index(entry) + 1} is gone'

    def left(self):
        return [entry for entry in self.entries if not entry.is_marked and not entry.is_deleted]

    # --- Logging in, waking up ---

    def login(self):
        self.ask('USER alice')
        self.open('PASS apple')

    def open(self, command):
        holders = [] if self.is_read_only else [other for other in self.mailbox.sessions if other.is_writing()]
        if holders and self.random.random() < 0.5:
            return
        before, stamp, begin_ns = self.mailbox.our_files(), self.mailbox.stamp(), time.time_ns()
        was_killed = self.mailbox.was_killed or self.mailbox.pending or self.mailbox.hidden
        if holders and self.mailbox.full_waits:
            self.mailbox.full_waits -= 1
            if counts['waits for the lock: in vain'] <= (time.monotonic() - start) / VAIN_EVERY_S:
                self.wait_in_vain(command)
            return
        answer = self.wait_for(holders[0], command) if holders else self.ask(command)
        parts = re.fullmatch(r'\+OK (?:\[ACTIVITY/(NEW|NONE)\] )?([0-9]+) messages', answer)
        check(parts, f'the answer to {command}', 'a number of messages', answer)
        self.mailbox.settle(int(parts[2]), self.is_read_only)
        self.check_read_only(before)
        self.state = 'transaction'
        older, self.entries = self.entries, [Entry(message) for message in sorted(
            self.mailbox.alive, key=Message.order)]
        known = {entry.message: entry for entry in older if entry.is_measured}
        for entry in self.entries:
            entry.is_measured = entry.message in known and not self.mailbox.is_large
        is_anew = True
        if not self.mailbox.is_maildir:
            is_anew = self.settle_order(older, None if holders else stamp, begin_ns, was_killed)
        if self.random.random() < 0.8 or not arguments.no_namesakes:
            self.learn({entry.message: entry.unique_id for entry in older})
        if command == 'WAKE':
            self.check_news(parts[1], older, is_anew)

    def wait_in_vain(self, command):
        begin = time.monotonic()
        self.say(command)
        answer = self.hear()
        self.note(command, answer)
        same('the answer of a locked mailbox',
             b'-ERR [IN-USE] the mailbox is locked by another session\r\n', answer)
        seconds = time.monotonic() - begin
        check(seconds >= LOCK_WAIT_S - 0.1, 'seconds for the lock', LOCK_WAIT_S, seconds)
        counts['waits for the lock: in vain'] += 1

    def wait_for(self, holder, command):
        """Waits for the lock until its holder ends. Returns the answer."""
        self.say(command)
        time.sleep(self.random.random() * 0.02)
        self.note(f'{command} begins', b'')
        self.random.choice([holder.sleep, holder.quit, holder.drop])()
        answer = self.hear()
        self.note(command, answer)
        counts['waits for the lock'] += 1
        return answer.decode()[:-2]

    def settle_order(self, older, stamp, begin_ns, was_killed):
        """Puts the entries in order. While a folder's directory is unchanged, its listing, order and
        new messages stay. Returns whether it was listed again; None: perhaps."""
        after = self.mailbox.stamp()
        is_same = bool(older) and {entry.message for entry in older} == {entry.message for entry in self.entries}
        is_anew = True
        if older and stamp and self.stamp == stamp and not was_killed:
            is_anew = False
        elif is_same and (self.stamp is None or stamp is None or stamp == self.stamp):
            is_anew = None
        if is_anew is not True:
            by_message = {entry.message: entry for entry in self.entries}
            require(is_same, 'the messages of a folder that has not changed', older, self.entries)
            as_before = [by_message[entry.message] for entry in older]
            if is_anew is None and as_before != self.entries:
                ids = list(self.ask_table('UIDL')[1].values())
                if ids == [entry.message.plain for entry in self.entries]:
                    as_before = self.entries
            self.entries = as_before
        if is_anew is False:
            versions = {entry.message: entry.version for entry in older}
            for entry in self.entries:
                entry.version = versions[entry.message]
            counts['folders: as before'] += 1
        else:
            for entry in self.entries if is_anew is None else []:
                entry.version = None
            # Stamps that are old enough show all changes. A read-only session cannot read the disk's clock.
            margin_s = READ_ONLY_CLOCK_S if self.is_read_only else CLOCK_S
            is_sure = stamp == after and stamp[2] < begin_ns - margin_s * 10 ** 9
            self.stamp = after if is_sure else None
        return is_anew

    def check_read_only(self, before):
        if self.is_read_only:
            same('the files of ours that a read-only session finds and leaves', before, self.mailbox.our_files())

    def learn(self, previous):
        """Checks order and unique-ids of a new listing."""
        lines = self.ask_table('UIDL')[1]
        same('the numbers of UIDL', list(range(1, len(self.entries) + 1)), list(lines))
        ids = list(lines.values())
        same('the number of different unique-ids', len(ids), len(set(ids)))
        namesakes = collections.Counter(entry.message.unique for entry in self.entries)
        for i, unique_id in enumerate(ids):
            if namesakes[self.entries[i].message.unique] > 1:
                self.find_namesake(i, unique_id)
            self.entries[i].unique_id = unique_id
            self.mailbox.note_id(self.entries[i].message, unique_id, previous)
        counts['checks'] += 1

    def find_namesake(self, i, unique_id):
        """Finds the namesake at position i by its content, because namesakes have no order."""
        unique = self.entries[i].message.unique
        content = b''.join(self.ask_all(f'TOP UID:{unique_id} 1000000')[1])
        found = [j for j in range(i, len(self.entries))
                 if self.entries[j].message.unique == unique and self.entries[j].message.wire == content]
        check(len(found) == 1, f'the content of {unique_id}',
              [entry.message.content for entry in self.entries[i:] if entry.message.unique == unique], content)
        self.entries[i], self.entries[found[0]] = self.entries[found[0]], self.entries[i]

    def check_news(self, news, older, is_anew):
        """Whether a message is new: not listed before, or deleted by this session, or (in a folder)
        replaced by another file."""
        listed = {entry.message: entry for entry in older if not entry.is_deleted}
        holders = {entry.unique_id: entry for entry in older}
        if self.mailbox.is_maildir:
            unlisted = [entry for entry in self.entries if entry.message not in listed]
            new = [entry for entry in unlisted
                   if entry.unique_id not in holders or holders[entry.unique_id].is_deleted]
            is_known = new or not unlisted
        else:
            versions = {entry.message.unique: entry.version for entry in older if not entry.is_deleted}
            new = [entry for entry in self.entries if is_anew is not False and
                   versions.get(entry.message.unique, ()) not in [None, entry.message.version()]]
            is_known = is_anew is False or (is_anew and (new or None not in versions.values()))
        if is_known:
            counts[f'news: {news}'] += 1
            same(f'whether WAKE finds new messages ({[entry.message for entry in new]})',
                 'NEW' if new else 'NONE', news)

    def note_versions(self, entries):
        """Notes that a session that lists a folder's sizes notices which messages have changed."""
        for entry in entries:
            if entry.message.is_plain and entry.version not in [None, entry.message.version()]:
                entry.version = 'another'

    # --- Listings ---

    def list(self):
        answer, lines = self.ask_table('LIST')
        seen = {number: int(octets) for number, octets in lines.items()}
        expected = {i: seen[i] if seen.get(i) in self.sizes(entry) else self.sizes(entry)[0]
                    for i, entry in enumerate(self.entries, 1)
                    if not entry.is_marked and not entry.is_deleted and (self.is_there(entry) or i in seen)}
        others = [self.entries[i - 1].message for i in expected if expected[i] != seen.get(i)]
        same(f'LIST, of {others}', expected, seen)
        # A message found to be gone after it was counted is in the sums, but not in the lines.
        if all(self.is_there(entry) for entry in self.left()):
            same('the sums of LIST', f'+OK {len(seen)} messages ({sum(seen.values())} octets)', answer)
        self.note_versions(self.left())

    def stat(self):
        answer = self.ask('STAT')
        sizes = [(self.is_there(entry), self.sizes(entry)) for entry in self.left()]
        parts = re.fullmatch(r'\+OK ([0-9]+) ([0-9]+)', answer)
        require(parts, 'the answer to STAT', 'two numbers', answer)
        count, octets = int(parts[1]), int(parts[2])
        least = [min(some) for is_there, some in sizes if is_there]
        most = [max(some) for _, some in sizes]
        is_good = len(least) <= count <= len(most) and sum(least) <= octets <= sum(most)
        if not is_good:
            self.list()  # which may notice more
        check(is_good, 'STAT, at least', (len(least), sum(least)), answer)
        self.note_versions(self.left())

    def uidl(self):
        seen = self.ask_table('UIDL')[1]
        expected = {i: entry.unique_id for i, entry in enumerate(self.entries, 1)
                    if not entry.is_marked and not entry.is_deleted
                    and (self.is_there(entry) or i in seen)}
        same('UIDL', expected, seen)

    def one(self, entry):
        """Sends LIST or UIDL for one message."""
        number = self.entries.index(entry) + 1
        for command, values in ('LIST', self.sizes(entry)), ('UIDL', [entry.unique_id]):
            question = f'{command} {self.show(entry)}'
            answer = self.ask(question)
            is_there = self.is_there(entry)
            if is_there or (is_there is None and answer.startswith('+OK')):
                expected = [f'+OK {number} {value}' for value in values]
                check(answer in expected, f'{command} of {entry.message}', expected, answer)
                self.note_versions([entry] if command == 'LIST' else [])
            else:
                self.expect(answer, self.refuses(question, entry), f'{question} of {entry.message}, which is gone')

    def nonsense(self):
        """Asks for a message that does not exist, or not any more."""
        listed = {entry.unique_id for entry in self.entries}
        others = ['0', str(len(self.entries) + 1), '4294967297', 'UID:no-such-message', 'UID:']
        others += ['UID:' + message.plain for message in self.mailbox.alive if message.plain not in listed][:3]
        others += [self.show(entry) for entry in self.entries if entry.is_marked or entry.is_deleted][:3]
        command = self.random.choice(['RETR', 'LIST', 'UIDL', 'TOP', 'DELE', 'DELI'])
        other = self.random.choice(others)
        answer = self.ask(f'{command} {other}' + ' 1' * (command == 'TOP'))
        if self.is_read_only and command.startswith('DEL'):
            self.expect(answer, '-ERR [READ-ONLY]', command)
            return
        self.expect(answer, '-ERR [UID] ' if other.lower().startswith('uid:') else '-ERR ', f'{command} {other}')
        check(other.lower().startswith('uid:') or '[' not in answer, f'{command} {other}', 'no code', answer)

    # --- Messages ---

    def check_text(self, entry, command, expected, firsts):
        """`firsts`: the possible first lines of the answer."""
        answer, lines = self.ask_all(command)
        is_there = self.is_there(entry)
        is_plain = entry.message.is_plain
        if is_there is False or (is_there is None and not answer.startswith(('+OK', '-ERR [SYS/PERM]'))):
            self.expect(answer, self.refuses(command, entry), f'{command} of {entry.message}, which is gone')
        elif is_there and not is_plain:
            self.expect(answer, '-ERR [SYS/PERM] cannot read the message: it is ', f'{command} of {entry.message}')
            counts['not plain'] += 1
        elif is_there:
            check(answer in firsts, f'{command} of {entry.message}', firsts, answer)
            same(f'the octets of {command}', expected.splitlines(True),
                 b''.join(lines).splitlines(True))
        if command.startswith('RETR') and answer.startswith('+OK'):
            self.retrieved += 1
            self.retrieved_octets += sum(map(len, lines))
        return answer.startswith('+OK')

    def retrieve(self, entry):
        sizes = [len(entry.message.wire)] if entry.is_measured else entry.message.promises()
        if len(entry.message.content) > FIRST_READ and not entry.is_measured:
            sizes += [size for other in self.may_be_taken_for(entry) for size in other.sizes()]
        firsts = [f'+OK {size} octets' for size in sizes]
        if self.check_text(entry, f'RETR {self.show(entry)}', entry.message.wire, firsts):
            entry.is_retrieved = entry.is_measured = True
            self.note_versions([entry])

    def top(self, entry):
        count = self.random.choice([0, 0, 1, 5, 1000])
        expected = top_of(entry.message.wire, count)
        self.check_text(entry, f'TOP {self.show(entry)} {count}', expected, ['+OK message follows'])

    def ask_deletion(self, command, entry):
        """Checks the answer to DELE or DELI. Returns whether it succeeded, as it does for a vanished message."""
        answer = self.ask(f'{command} {self.show(entry)}')
        if self.is_read_only:
            self.expect(answer, '-ERR [READ-ONLY]', command)
        else:
            self.expect(answer, '+OK', f'{command} of {entry.message}')
            return True
        return False

    def is_touched(self, entry):
        """Whether a folder's file may have another time than the session knows: such a file is not deleted."""
        return not self.mailbox.is_maildir and entry.version != entry.message.version()

    def mark(self, entry):
        if not self.is_touched(entry) and self.ask_deletion('DELE', entry):
            entry.is_marked = True

    def unmark(self):
        self.expect(self.ask('RSET'), '+OK', 'RSET')
        for entry in self.entries:
            entry.is_marked = False

    def removals(self, entries):
        """Returns those of the marked messages that this session will certainly remove, and those that
        it may remove."""
        there = {entry.message: self.is_there(entry) for entry in entries}
        unsure = [message for message in there if there[message] is None or (there[message] and message.has_lost_name)]
        return [message for message in there if there[message] and message not in unsure], unsure

    def note_removals(self, removed):
        sure, unsure = removed
        self.deleted[0] += len(sure)
        self.deleted[1] += len(sure) + len(unsure)
        self.mailbox.charge(sure, unsure)

    def delete(self, entry):
        removed = self.removals([entry])
        if self.is_touched(entry) or not self.ask_deletion('DELI', entry):
            return
        self.note_removals(removed)
        counts['deleted'] += entry.message in self.mailbox.alive
        entry.is_deleted = True
        self.mailbox.commit([entry.message])
        self.mailbox.check_disk()

    # --- Commits ---

    def commit(self, command):
        before = self.mailbox.our_files()
        sure, unsure = self.removals([entry for entry in self.entries if entry.is_marked])
        answer = self.ask(command)
        if command == 'SLEE':
            expected = [f'+OK asleep, {len(sure) + i} messages deleted' for i in range(len(unsure) + 1)]
            check(answer in expected, 'the answer to SLEE', expected, answer)
        else:
            self.expect(answer, '+OK goodbye', command)
        self.note_removals((sure, unsure))
        self.committed(True)
        self.check_read_only(before)

    def committed(self, is_certain):
        """All marked messages are gone, or (not is_certain) that is unknown."""
        for entry in self.entries:
            if entry.is_marked:
                entry.is_marked, entry.is_deleted = False, True
                if not is_certain and entry.message in self.mailbox.alive:
                    self.mailbox.pending[entry.message] = None
                elif is_certain:
                    counts['deleted'] += entry.message in self.mailbox.alive
                    self.mailbox.commit([entry.message])
        retrieved = [] if self.is_read_only else [entry.message for entry in self.entries if entry.is_retrieved]
        if retrieved and self.mailbox.is_maildir and (is_certain or self.mailbox.exists('cur')):
            self.mailbox.subdirs.add('cur')
        self.mailbox.check_disk(retrieved, is_certain)
        if is_certain:
            for entry in self.entries:
                entry.is_retrieved = False

    def sleep(self):
        self.commit('SLEE')
        self.state = 'sleep'

    def quit(self):
        if self.state == 'transaction':
            self.commit('QUIT')
        else:
            self.expect(self.ask('QUIT'), '+OK', 'QUIT')
        self.end([0])

    def end(self, statuses=None):
        """Waits for the process."""
        self.process.stdin.close()
        self.process.stdout.close()
        status = self.process.wait()
        self.mailbox.sessions.remove(self)
        with open(self.log, 'rb') as log, open(self.mailbox.here + '/log', 'ab') as whole:
            text = log.read()
            whole.write(text)
        os.unlink(self.log)
        check(not statuses or status in statuses, f'the exit status of session {self.number}', statuses, status)
        self.check_log(text.decode(errors='surrogateescape'))

    def check_log(self, text):
        """Checks the counts of the last log line, and that lines about messages are true and not repeated."""
        ends = re.findall(r'ended: .* retrieved (\d+) \((\d+) octets\), deleted (\d+), slept', text)
        if ends:
            retrieved, octets, deleted = map(int, ends[0])
            same('retrieved messages and octets in the log',
                 (self.retrieved, self.retrieved_octets), (retrieved, octets))
            least, most = self.deleted
            check(least <= deleted <= most, 'deleted messages in the log', self.deleted, deleted)
        unreadable = re.findall('cannot read the message .*: it is ', text)
        check(len(unreadable) <= 1, 'lines about messages that are not plain', 1, unreadable)
        for unique_id in re.findall("the message '(.*)' has \\d+ octets, not as many", text):
            owner = self.mailbox.owners.get(unique_id)
            group = self.mailbox.groups[owner.unique] if owner else []
            is_wrong = not group or len(group) > 1 or group[0].has_wrong_size()
            check(is_wrong, 'a message whose size is wrong', group, unique_id)

    def drop(self):
        """Breaks the connection; nothing is deleted."""
        self.note('the connection breaks', b'')
        if self.random.random() < 0.5:
            self.process.kill()
            self.end([-signal.SIGKILL])
        else:
            self.end([0])
        self.mailbox.check_disk()

    def kill(self):
        """Kills the process, or closes the connection, during a command."""
        left = self.left()
        command = self.random.choice({
            'authorization': ['PASS apple'], 'sleep': ['WAKE'],
            'transaction': ['QUIT', 'QUIT', 'SLEE'] + ['DELI'] * bool(left and not self.is_read_only)}[self.state])
        if command == 'PASS apple':
            self.ask('USER alice')
        if self.is_writing() and command != 'DELI':
            for entry in self.random.sample(left, min(len(left), self.random.choice([0, 1, 3, 10, 30]))):
                self.mark(entry)
        if command == 'DELI':
            for entry in self.entries:
                entry.is_marked = False
            chosen = self.random.choice(left)
            command = f'DELI {self.show(chosen)}'
            chosen.is_marked = True
        removed = self.removals([entry for entry in self.entries if entry.is_marked])
        self.mailbox.was_killed = True
        self.say(command)
        self.wait_for_moment(command)
        answer = b''
        if self.random.random() < 0.9:
            self.process.kill()
            answer = self.process.stdout.readline()
            self.note(command + ', and is killed', answer)
            self.note_removals(([], removed[0] + removed[1]))
            self.end()
        else:
            self.note(command + ', and the client is gone', answer)
            self.note_removals(([], removed[0] + removed[1]))
            self.end([0, 74])
        counts['kills'] += 1
        if self.state == 'transaction':
            is_refused = answer.startswith(b'-ERR')
            if command.startswith('DELI'):
                for entry in self.entries:
                    entry.is_retrieved = False
            check(not is_refused, f'the answer to {command}', '+OK or nothing', answer)
            self.committed(answer.startswith(b'+OK'))
        self.mailbox.check_disk()

    def wait_for_moment(self, command):
        """Waits for a moment of the running command: its beginning, a random one, or just after it has
        removed a file."""
        paths = [f'{self.mailbox.path}/{path}' for entry in self.entries if entry.is_marked
                 for path in entry.message.names]
        how = self.random.choice(['now', 'any', 'any', 'file', 'file', 'file'])
        if how == 'file' and paths:
            path = self.random.choice(paths[:3])
            deadline = time.monotonic() + 0.1
            while os.path.lexists(path) and time.monotonic() < deadline:
                pass
        elif how != 'now':
            time.sleep(self.random.random() * 1.2 * durations[self.kind_of(command)])

    def lose(self):
        """Removes messages, one of which is marked; the search for another one reveals that. RSET and
        DELE work for the vanished message. When it reappears while the session sleeps, it is new."""
        firm = set(self.mailbox.firm())
        chosen = self.random.sample(self.left(), min(2, len(self.left())))
        if self.is_read_only or not all(entry.message in firm for entry in chosen):
            return
        self.mark(chosen[0])
        self.mailbox.take_away([entry.message for entry in chosen])
        for entry in chosen[1:]:
            self.one(entry)
        self.unmark()
        self.one(chosen[0])
        self.mark(chosen[0])
        if chosen[0].message in self.mailbox.away and self.random.random() < 0.5:
            self.sleep()
            self.mailbox.bring_back([entry.message for entry in chosen if entry.message in self.mailbox.away])
            self.open('WAKE')

    def step(self):
        random = self.random
        if self.state == 'authorization':
            random.choice([self.login, self.login, self.quit, self.drop, self.kill])()
            return
        if self.state == 'sleep':
            kind = random.random()
            if kind < 0.8:
                self.open('WAKE')
            elif kind < 0.9:
                self.expect(self.ask('NOOP'), '+OK', 'NOOP')
                self.expect(self.ask('STAT'), '-ERR', 'STAT')
            else:
                random.choice([self.quit, self.drop, self.kill])()
            return
        left = self.left()
        kinds = [self.sleep, self.sleep, self.quit, self.list, self.list, self.stat, self.uidl, self.nonsense]
        kinds += [self.drop, self.kill, self.unmark] if random.random() < 0.6 else []
        if left:
            kinds += [lambda: self.some(left, self.retrieve), lambda: self.some(left, self.top),
                      lambda: self.one(random.choice(left)), lambda: self.some(left, self.mark),
                      lambda: self.some(left, self.mark), lambda: self.delete(random.choice(left)), self.lose]
        random.choice(kinds)()

    def some(self, entries, action):
        for entry in self.random.sample(entries, min(len(entries), self.random.choice([1, 1, 2, 5]))):
            action(entry)


# --- The run ---

def mailbox_options(here):
    user = pwd.getpwuid(os.getuid()).pw_name
    return [f'--user={user}', f'--users={here}/accounts/users', f'--mailbox={here}/mail/%u', '--login-penalty=0']


def give_up(*_):
    raise Mismatch('an answer', f'one within {ANSWER_S} s', 'none')


def report(mailbox, what, expected, seen):
    print('The last steps:', *mailbox.steps, 'The end of the log:', sep='\n')
    logs = [mailbox.here + '/log', *(session.log for session in mailbox.sessions)]
    log = [line for path in logs if os.path.exists(path)
           for line in open(path, errors='replace').read().splitlines()[-40:]]
    print(*log[-40:], f'{what}:', f'  expected: {expected}', f'  seen:     {seen}', sep='\n')
    print(f'The mailbox is kept: {mailbox.path}')
    print(f'Again: tests/differential.py --seed={mailbox.seed}' + ' --no-namesakes' * arguments.no_namesakes)


def run(here, seed):
    """Takes all steps on one mailbox. Returns whether they succeeded."""
    mailbox = Mailbox(here, seed)
    counts['mailboxes'] += 1
    try:
        for _ in range(mailbox.random.randrange(100, 300)):
            signal.alarm(ANSWER_S)
            mailbox.step()
            counts['steps'] += 1
            if counts['checks'] >= checks_max or time.monotonic() > end:
                break
        signal.alarm(ANSWER_S)
        mailbox.finish()
    except Mismatch as mismatch:
        if mailbox.copies(STALE_S):
            counts['given up: the machine is too slow'] += 1
            return True
        report(mailbox, *mismatch.args)
        return False
    except Exception:
        report(mailbox, 'an exception', 'none', traceback.format_exc())
        return False
    finally:
        signal.alarm(0)
        mailbox.close()
    return True


here = tempfile.mkdtemp(prefix='differential.')
os.environ['RUNTIME_DIRECTORY'] = here + '/run'
os.environ['GCOV_PREFIX'] = here  # a killed process would write half of its counts for --coverage
for folder in ['accounts', 'run', 'mail', 'away']:
    os.mkdir(f'{here}/{folder}', 0o700)
with open(here + '/accounts/users', 'w') as users:
    users.write('alice:{PLAIN}apple\n')
signal.signal(signal.SIGALRM, give_up)
print(f'seed {arguments.seed}', flush=True)
seed, is_good = arguments.seed, True
while is_good and counts['checks'] < checks_max and time.monotonic() < end:
    is_good = run(here, seed)
    seed += 1
    if is_good:
        shutil.rmtree(here + '/mail/alice')
        for name in os.listdir(here + '/away'):
            os.unlink(f'{here}/away/{name}')
print(', '.join(f'{name}: {count}' for name, count in sorted(counts.items())))
if is_good:
    shutil.rmtree(here)
sys.exit(not is_good)
