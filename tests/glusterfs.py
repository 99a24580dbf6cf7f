#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""glusterfs.py [recovery|announcements|seen|cache|replaced]...

Sessions on two hosts share the mailboxes of a GlusterFS volume. The hosts are two default mounts, A
and B, of a volume with one brick. Runs all of these cases, or those that are named:
  recovery       a session on A is killed while it deletes 25 of 40 messages, while one on B polls:
                 afterwards each later session on both finds all 25, or none
  announcements  mail is delivered on A while a session on B sleeps: WAKE announces it within 2.5 s
  seen           a session that has retrieved 20 messages is killed in its QUIT: no message is doubled
  cache          whether B takes what A remembers of a large Maildir (says so, cannot fail)
  replaced       another directory replaces a mailbox: the first login on B finds it
Prints counts; exit status 1 if a case failed. HANDLER is the program. Needs root, a current directory
on ext4 or xfs, and Debian's glusterfs-server and glusterfs-client; if something is missing it says so
and exits with 77. Its processes, mounts and addresses are in private namespaces and end with them."""
import collections, ctypes, itertools, os, random, re, select, shutil, signal
import statistics, subprocess, sys, tempfile, threading, time, traceback

KILLS, DELIVERIES, MESSAGES_SEEN, REPLACEMENTS = 50, 100, 20, 20
CALM = 3           # rounds without a kill, which measure a QUIT
ATTRIBUTES_S = 1.2  # caches of attributes and entries mostly expire before this
LATE_S = 2.5       # and always before this: a second in the kernel, after one in the client
PATIENCE_S = 20    # for a reply, or for a mailbox that is in use
LIMIT_S = 900      # for a case
ADDRESS = '192.0.2.1'  # GlusterFS refuses 127.0.0.1
CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None, use_errno=True)
user_numbers = itertools.count()


def not_run(why):
    print('glusterfs.py: not run:', why, file=sys.stderr)
    sys.exit(77)


def check_needs():
    if os.geteuid() != 0:
        not_run('it needs root')
    packages = {'glusterd': 'glusterfs-server', 'gluster': 'glusterfs-server',
                'mount.glusterfs': 'glusterfs-client', 'ip': 'iproute2', 'strace': 'strace'}
    for program, package in packages.items():
        if not shutil.which(program):
            not_run(f'there is no {program}: install {package}')
    if not os.path.exists('/dev/fuse'):
        not_run('there is no /dev/fuse')
    kind = run('stat', '--file-system', '--format=%T', '.')
    if kind not in ('ext2/ext3', 'xfs'):
        not_run(f'{os.getcwd()} is on {kind}, a brick needs ext4 or xfs')


def run(*command):
    """Runs a command, and returns its output."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, (command, done.stdout)
    return done.stdout.strip()


def unshare(flags):
    if libc.unshare(flags) < 0:
        not_run('unshare: ' + os.strerror(ctypes.get_errno()))


def run_inside(work):
    """Runs a function in private namespaces, which end with it or with this process."""
    unshare(CLONE_NEWPID)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.setsid()  # ^C is for the parent
            unshare(CLONE_NEWNS | CLONE_NEWNET)
            status = work()
        except SystemExit as e:
            status = e.code
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except BaseException:
        # PID 1 of its namespace: no process there outlives it, and waitpid waits for all.
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise


# ---- The volume ----

def make_volume():
    """A volume of one brick, mounted as A and as B."""
    run('mount', '--make-rprivate', '/')
    run('mount', '-t', 'proc', 'proc', '/proc')
    for folder in ['/run', '/var/log/glusterfs', '/var/lib/glusterd']:
        run('mount', '-t', 'tmpfs', 'tmpfs', folder)
    run('ip', 'link', 'set', 'lo', 'up')
    run('ip', 'address', 'add', ADDRESS + '/32', 'dev', 'lo')
    run('glusterd')
    for _ in range(30):
        if subprocess.run(['gluster', '--mode=script', 'volume', 'info'], stdin=subprocess.DEVNULL,
                          capture_output=True).returncode == 0:
            break
        time.sleep(1)
    run('gluster', '--mode=script', 'volume', 'create', 'mail', f'{ADDRESS}:{here}/brick', 'force')
    run('gluster', '--mode=script', 'volume', 'start', 'mail')
    for host in 'AB':
        os.mkdir(f'{here}/{host}')
        run('mount', '-t', 'glusterfs', f'{ADDRESS}:/mail', f'{here}/{host}')


def make_account():
    """A user without a mailbox."""
    return f'user{next(user_numbers)}'


def make_maildir(name):
    for subdir in ['new', 'cur', 'tmp']:
        os.makedirs(f'{here}/A/{name}/{subdir}')


def deliver(name, subdir='new'):
    """Delivers a message on A. Returns its unique-id."""
    deliver.count += 1
    uid = f'{int(time.time())}.M{deliver.count:06}P1.host'
    with open(f'{here}/A/{name}/tmp/{uid}', 'w') as file:
        file.write(f'Subject: {uid}\n\nHello\n')
    os.rename(f'{here}/A/{name}/tmp/{uid}',
              f'{here}/A/{name}/{subdir}/{uid}' + (':2,S' if subdir == 'cur' else ''))
    return uid


deliver.count = 0


def fill(name, count, subdir='new'):
    """A new Maildir. Returns the unique-ids."""
    make_maildir(name)
    return {deliver(name, subdir) for _ in range(count)}


def on_brick(name):
    """Returns the unique-ids of the files in the brick, past all caches."""
    return sorted(file.partition(':')[0] for subdir in ['new', 'cur']
                  for file in os.listdir(f'{here}/brick/{name}/{subdir}'))


# ---- Sessions ----

class Session:
    """A session on a host. `answer` is the reply to the login."""

    def __init__(self, host, user, prefix=()):
        self.user = user
        with open(here + '/log', 'a') as log:
            self.process = subprocess.Popen(
                [*prefix, handler, '--user=root', f'--users={here}/accounts/users',
                 f'--mailbox={here}/{host}/%u'],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        self.octets = b''
        assert self.hear(), 'no greeting'
        self.answer = self.insist('PASS apple')

    def hear(self):
        """Returns a line; None at the end."""
        until = time.monotonic() + PATIENCE_S
        while b'\n' not in self.octets:
            left_s = max(0, until - time.monotonic())
            assert select.select([self.process.stdout], [], [], left_s)[0], 'no reply'
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                return None
            self.octets += more
        line, _, self.octets = self.octets.partition(b'\n')
        return line.decode().rstrip('\r')

    def tell(self, line):
        os.write(self.process.stdin.fileno(), line.encode() + b'\r\n')

    def ask(self, line):
        self.tell(line)
        return self.hear()

    def expect(self, line, answer='+OK'):
        got = self.ask(line)
        assert got and got.startswith(answer), (line, got)

    def ask_all(self, line):
        self.expect(line)
        lines = []
        while (line := self.hear()) != '.':
            assert line is not None, 'the session is gone'
            lines.append(line)
        return lines

    def insist(self, command):
        """Logs in or wakes, as soon as no other session has the mailbox."""
        until = time.monotonic() + PATIENCE_S
        while True:
            if command != 'WAKE':
                self.expect('USER ' + self.user)
            answer = self.ask(command)
            assert answer, 'the session is gone'
            if not answer.startswith('-ERR [IN-USE]'):
                return answer
            assert time.monotonic() < until, answer
            time.sleep(random.uniform(0.001, 0.004))

    def wake(self):
        answer = self.insist('WAKE')
        assert answer.startswith('+OK [ACTIVITY/'), answer
        return answer

    def uids(self):
        uids = [line.split()[1] for line in self.ask_all('UIDL')]
        assert len(set(uids)) == len(uids), uids
        return set(uids)

    def end(self, command='QUIT'):
        self.expect(command)
        self.process.stdin.close()
        assert self.hear() is None
        assert self.process.wait() == 0, self.process.returncode


def listed(host, user):
    """Returns the unique-ids that a session on that host lists."""
    session = Session(host, user)
    uids = session.uids()
    session.end()
    return uids


class Killer:
    """Ends sessions with QUIT and kills them at a random moment of it. The first ones are not killed,
    and measure a QUIT."""

    def __init__(self):
        self.quit_s = []
        self.files = None  # number of messages that the last killed session left

    def kill(self, session):
        session.process.kill()
        session.process.wait()
        self.files = len(on_brick(session.user))

    def quit(self, session, meanwhile=lambda: None):
        """Returns whether the reply came."""
        self.files = None
        lives = len(self.quit_s) < CALM
        delay_s = 3600 if lives else random.uniform(0, 1.1 * statistics.median(self.quit_s))
        timer = threading.Timer(delay_s, self.kill, [session])
        begin = time.monotonic()
        session.tell('QUIT')
        timer.start()
        meanwhile()
        reply = session.hear()
        if lives:
            self.quit_s.append(time.monotonic() - begin)
            timer.cancel()
        timer.join()
        session.process.stdin.close()
        session.process.wait()
        assert reply == '+OK goodbye' or (reply is None and not lives), reply
        return reply is not None


# ---- Cases: each returns its counters, and the names of those that must be 0 ----

def recovery():
    counts, killer = collections.Counter(), Killer()
    for number in range(CALM + KILLS):
        user = make_account()
        every = fill(user, 40)
        marked = set(random.sample(sorted(every), 25))
        left = every - marked
        poller, views = Session('B', user), []

        def poll(uids_to_delete=()):
            poller.wake()
            views.append(poller.uids())
            for uid in uids_to_delete:
                poller.expect('DELE UID:' + uid)
            poller.expect('SLEE')
            left.difference_update(uids_to_delete)
            time.sleep(random.uniform(0.001, 0.004))

        def poll_for(seconds):
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                poll()

        poller.expect('SLEE')
        poll_for(0.03)
        victim = Session('A', user)
        assert victim.uids() == every
        for uid in marked:
            victim.expect('DELE UID:' + uid)
        until = time.monotonic() + random.choice([0, random.uniform(0, ATTRIBUTES_S)])
        while time.monotonic() < until:  # B's caches expire
            poller.expect('WAKE', '-ERR [IN-USE]')
            time.sleep(random.uniform(0.001, 0.004))
        # The first session after the kill: one on A, or the poller at once, or after its caches have
        # expired, or with its own deletion.
        if number % 4 == 0:
            is_acknowledged = killer.quit(victim)
        else:
            uids_to_delete = random.sample(sorted(left), 2) if number % 4 == 3 else []
            is_acknowledged = killer.quit(victim, lambda: poll(uids_to_delete))
        if number % 4 >= 2:
            poll_for(ATTRIBUTES_S)
        views.append(listed('A', user))
        poll()
        poller.end()
        views += [listed('B', user), listed('A', user)]
        if any(view != set(on_brick(user)) for view in views[-2:]):
            time.sleep(LATE_S)
            views += [listed('B', user), listed('A', user)]
        counts[judge(views, every, marked, left, is_acknowledged, on_brick(user))] += 1
        counts['with a reply'] += is_acknowledged
        if killer.files is not None:
            counts['cut in the middle'] += len(left) < killer.files < len(every)
    return counts, ['torn', 'torn for a while', 'came back', 'acknowledged but there',
                    'not as the disk has it', 'other messages are gone']


def judge(views, every, marked, left, is_acknowledged, files):
    """Classifies the result of deleting `marked` when `left` are listed. An old view is allowed while
    the client caches it, but never a part of the set."""
    if files != sorted(views[-1]) or views[-1] != views[-2]:
        return 'not as the disk has it'
    if not all(left <= view <= every for view in views):
        return 'other messages are gone'
    if views[-1] & marked not in (set(), marked):
        return 'torn'
    if any(view & marked not in (set(), marked) for view in views):
        return 'torn for a while'
    if not views[-1] <= left | marked:
        return 'came back'
    if not views[-1] & marked:
        return 'all gone'
    if is_acknowledged:
        return 'acknowledged but there'
    return 'all there' if all(view & marked for view in views) else 'came back'


def announcements():
    counts, lateness_s, delivered = collections.Counter(), [0], set()
    user = make_account()
    make_maildir(user)
    session = Session('B', user)
    for _ in range(DELIVERIES):
        session.expect('SLEE')
        time.sleep(random.uniform(0, random.choice([0.02, ATTRIBUTES_S])))
        delivered.add(uid := deliver(user))
        begin = time.monotonic()
        for polls in itertools.count():
            waited_s = time.monotonic() - begin
            is_new = session.wake().startswith('+OK [ACTIVITY/NEW]')
            uids = session.uids()
            if is_new or uid in uids or waited_s > LATE_S:
                break
            session.expect('SLEE')
            time.sleep(0.02)
        if is_new and uids == delivered:
            counts['at once' if polls == 0 else 'late'] += 1
            lateness_s.append(waited_s if polls else 0)
        elif is_new:
            counts['announced but not listed'] += 1
        elif uid in uids:
            counts['listed but not announced'] += 1
        else:
            session.end()
            counts['lost until a login' if uid in listed('B', user) else 'lost'] += 1
            session = Session('B', user)
    session.end()
    counts['ms late at most'] = round(max(lateness_s) * 1000)
    return counts, ['lost', 'lost until a login', 'announced but not listed',
                    'listed but not announced']


def seen():
    counts, killer = collections.Counter(), Killer()
    for _ in range(CALM + KILLS):
        user = make_account()
        uids = fill(user, MESSAGES_SEEN)
        session = Session('A', user)
        for number in range(MESSAGES_SEEN):
            session.ask_all(f'RETR {number + 1}')
        counts['with a reply'] += killer.quit(session)
        files = on_brick(user)
        counts['cut in the middle'] += 0 < len(os.listdir(f'{here}/brick/{user}/new')) < len(uids)
        views = [listed(host, user) for host in 'BA']
        if set(files) != uids:
            counts['lost'] += 1
        elif len(files) > len(uids):
            counts['twice'] += 1
        elif views != [uids, uids]:
            counts['other unique-ids'] += 1
        elif on_brick(user) != sorted(uids):
            counts['twice after a login'] += 1
        else:
            counts['good'] += 1
    return counts, ['twice', 'twice after a login', 'lost', 'other unique-ids']


def cache():
    user = make_account()
    uids = fill(user, 1500, 'cur')
    time.sleep(LATE_S + 1)  # so that the directories' times are reliable
    counts = collections.Counter(messages=len(uids))
    for host, which in [('A', 'first'), ('A', 'second'), ('B', 'first'), ('B', 'second')]:
        trace = here + '/trace'
        strace = ['strace', '-qq', '-y', '-e', 'trace=getdents64', '-o', trace]
        session = Session(host, user, strace)
        assert session.uids() == uids
        session.end()
        with open(trace) as lines:
            counts[f"getdents64 at {host}'s {which} login"] = sum(
                f'{here}/{host}/' in line for line in lines)
        time.sleep(LATE_S + 1)
    return counts, []


def replaced():
    counts, mailboxes = collections.Counter(), []
    for number in range(REPLACEMENTS):
        user = make_account()
        old, new = fill(user, 3), fill(user + '.next', 3)
        assert listed('B', user) == old
        if number % 2:
            time.sleep(random.uniform(0, ATTRIBUTES_S))
        os.rename(f'{here}/A/{user}', f'{here}/A/{user}.old')
        os.rename(f'{here}/A/{user}.next', f'{here}/A/{user}')
        if number % 4 < 2:
            shutil.rmtree(f'{here}/A/{user}.old')
        mailboxes.append((user, new))
        session = Session('B', user)
        if session.answer.startswith('+OK'):
            found = session.uids()
            counts['new' if found == new else 'old' if found == old else 'neither'] += 1
        else:
            counts['refused'] += 1
        session.end()
    time.sleep(LATE_S)
    for user, new in mailboxes:
        counts['not found later'] += listed('B', user) != new
    return counts, ['refused', 'neither', 'not found later']


CASES = {case.__name__: case for case in [recovery, announcements, seen, cache, replaced]}
USUAL = re.compile(r'pop3-handler: (login of .* accepted: |session .* ended|'
                   r'login of .* refused: the mailbox is in use)')


def print_log():
    """Returns the log lines of failures, with their numbers."""
    with open(here + '/log') as log:
        unusual = collections.Counter(re.sub(r'\d+', 'N', line.replace(here, '').strip())
                                      for line in log if not USUAL.match(line))
    os.unlink(here + '/log')
    for line, count in unusual.most_common(10):
        print(f'    log, {count} times: {line}')


def run_case(name):
    """Returns whether all cases passed."""
    def give_up(*_):
        raise TimeoutError(f'{name} took longer than {LIMIT_S} seconds')

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LIMIT_S)
    begin = time.monotonic()
    try:
        counts, wrong = CASES[name]()
        for kind in wrong:
            counts[kind] += 0
        print(f'{name}:', ', '.join(f'{count} {kind}' for kind, count in counts.items()),
              f'({time.monotonic() - begin:.0f} s)')
        is_right = not any(counts[kind] for kind in wrong)
    except Exception:
        traceback.print_exc(file=sys.stdout)
        print(f'{name}: broke off')
        is_right = False
    signal.alarm(0)
    print_log()
    sys.stdout.flush()
    return is_right


def run_cases():
    os.makedirs(here + '/accounts')
    os.mkdir(here + '/brick')
    with open(here + '/accounts/users', 'w') as users:
        users.writelines(f'user{number}:{{PLAIN}}apple\n' for number in range(1000))
    open(here + '/log', 'w').close()
    make_volume()
    return 0 if all([run_case(name) for name in names]) else 1


def end(*_):
    sys.exit(1)


names = sys.argv[1:] or list(CASES)
if not set(names) <= set(CASES):
    sys.exit(__doc__)
check_needs()
handler = os.environ.get('HANDLER') or os.path.dirname(__file__) + '/../build/pop3-handler'
handler = os.path.realpath(handler)
if not os.access(handler, os.X_OK):
    sys.exit(f'there is no {handler}: build it first')
for number in [signal.SIGTERM, signal.SIGHUP]:
    signal.signal(number, end)
here = tempfile.mkdtemp(prefix='glusterfs.', dir=os.getcwd())
try:
    status = run_inside(run_cases)
except KeyboardInterrupt:
    status = 130
finally:
    shutil.rmtree(here)
sys.exit(status)
