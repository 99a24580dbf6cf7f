# SPDX-License-Identifier: ISC
"""Shared by the benchmarks: mailboxes, services in cgroups of their own, the client, and the namespaces that
everything runs in."""
import contextlib, itertools, json, os, pathlib, random, re, resource, selectors, shutil, signal, socket, ssl, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMED, PLAIN, LETTERS, HUGE, TAKEN, SMALL = 1, 2, 3, 4, 5, 1000  # users; the last is the first of many
ALL = os.sched_getaffinity(0)
ONE = {max(ALL)}
STEADY_S = 0.04
COME_UP_S = 30
HANDLER = 'pop3-handler', 'pop3-handler-tls.so'
TARGETS = *HANDLER, 'pop3-handler-pam.so', 'bench/load', 'bench/floor', 'bench/floor-tls'

ports = itertools.count(1100)  # of a network namespace of our own


class Scale:
    """The amount of work: full, quick or smoke for bench/run, compare for bench/compare."""

    def __init__(self, name):
        def pick(full, quick, compare, smoke):
            return {'full': full, 'quick': quick, 'compare': compare, 'smoke': smoke}[name]

        self.name = name
        self.rounds = pick(5, 3, None, 1)
        self.sessions = pick(300, 100, 100, 8)
        self.unit_sessions = pick(60, 30, None, 4)
        self.big = pick(100_000, 20_000, 20_000, 30)
        self.letters = pick(10_000, 1_000, 2_000, 20)
        self.huge = pick(20, 2, 4, 2)
        self.huge_octets = pick(50 << 20, 50 << 20, 50 << 20, 50 << 10)
        self.held = pick(1000, 200, 200, 64)
        self.sleepers = pick(5000, 300, 200, 16)
        self.polls = pick(5000, 1000, 500, 5)
        self.many_accounts = pick(100_000, 100_000, 100_000, 2000)


# ---- Mail ----

def make_text(octets):
    """Returns a letter of this length with LF line ends. Some lines begin with a dot."""
    words = b'It is a truth universally acknowledged, that a letter has lines of about this length. '
    lines, left = [b'From: a@example.org', b'To: b@example.org', b'Subject: a letter', b''], octets
    left -= sum(len(line) + 1 for line in lines)
    while left > 0:
        line = (b'.' if len(lines) % 50 == 0 else b'') + words[len(lines) % 7:][:72]
        lines.append(line[:max(left - 1, 0)])
        left -= len(lines[-1]) + 1
    return b'\n'.join(lines) + b'\n'


class Mailbox:
    """The Maildir of a user, its number of messages, and their octets on the wire."""

    def __init__(self, mail, user, count, text, has_sizes=False, subdir='cur'):
        self.path, self.user, self.count = mail / f'user{user}', user, count
        self.text, self.has_sizes, self.subdir = text, has_sizes, subdir
        self.message_octets = len(text) + text.count(b'\n')
        self.octets = count * self.message_octets

    def make(self):
        """Makes the files, which belong to root until give_mail()."""
        shutil.rmtree(self.path, ignore_errors=True)
        for subdir in 'new', 'cur', 'tmp':
            (self.path / subdir).mkdir(parents=True)
        sizes = f',S={len(self.text)},W={self.message_octets}' if self.has_sizes else ''
        flags = ':2,S' if self.subdir == 'cur' else ''
        for i in range(self.count):
            name = f'{1700000000 + i}.M{i % 1000000:06}P{i % 30000}.mx.example.org{sizes}{flags}'
            with open(self.path / self.subdir / name, 'wb', 0) as file:
                file.write(self.text)

    def fill(self):
        self.make()
        give_mail(self.path)

    def forget(self):
        """Removes the files that servers keep there, as if no server had ever opened it."""
        for file in self.path.iterdir():
            if file.is_file():
                file.unlink()

    def expected(self):
        return [f'user={self.user}', f'messages={self.count}', f'octets={self.octets}']

    def for_floor(self):
        plus = '+' if self.user == SMALL else ''
        return f'{self.user}{plus}:{self.count}:{self.message_octets}'


def give_mail(path):
    subprocess.run(['chown', '-R', 'nobody:nogroup', path], check=True)
    os.sync()


def make_small(mail, users, count=10):
    """Makes a mailbox of `count` messages for each of `users` users."""
    text = make_text(2048)
    mailboxes = {SMALL + i: Mailbox(mail, SMALL + i, count, text, True) for i in range(users)}
    for mailbox in mailboxes.values():
        mailbox.make()
    give_mail(mail)
    return mailboxes


def make_mailboxes(mail, scale):
    letter = make_text(8192)
    mailboxes = {
        NAMED: Mailbox(mail, NAMED, scale.big, make_text(1024), True),
        PLAIN: Mailbox(mail, PLAIN, scale.big, make_text(1024)),
        LETTERS: Mailbox(mail, LETTERS, scale.letters, letter, True),
        HUGE: Mailbox(mail, HUGE, scale.huge, make_text(scale.huge_octets), True),
        TAKEN: Mailbox(mail, TAKEN, scale.letters, letter, True, 'new'),
    }
    for mailbox in mailboxes.values():
        mailbox.make()
    return mailboxes | make_small(mail, scale.held)


# ---- Where everything happens ----

class Site:
    """A folder with mail, accounts, a certificate and a log. Services run as nobody."""

    def __init__(self, path, build):
        self.path, self.mail, self.log = path, path / 'mail', path / 'log'
        self.programs = copy_programs(build, path / 'programs')
        self.users, self.cert, self.key = path / 'accounts' / 'users', path / 'tls-cert', path / 'tls-key'
        self.users.parent.mkdir()
        self.log.touch()
        (path / 'run').mkdir(0o700)
        self.make_certificate()
        self.make_settings()
        (path / 'tls-tickets').write_bytes(os.urandom(64))  # for the floor
        self.give(path / 'run', self.key)

    def make_certificate(self):
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc',
                        '-days', '30', '-subj', '/CN=localhost', '-keyout', self.key, '-out', self.cert],
                       check=True, capture_output=True)

    def make_settings(self):
        """Writes the settings file. The certificate is a credential with its file's name."""
        (self.path / 'conf').write_text(''.join(f'{name} = {value}\n' for name, value in self.settings().items()))

    def settings(self):
        return {'users': self.users, 'mailbox': f'{self.mail}/%u', 'max-sessions': 30000,
                'max-sessions-per-source': 30000}

    @staticmethod
    def give(*paths):
        for path in paths:
            shutil.chown(path, 'nobody', 'nogroup')

    def set_accounts(self, count, mailboxes):
        """Makes `count` accounts: first those with small mailboxes, then those with other ones, then some without;
        shuffled, in the same way each time. Replaces the file atomically, as an administrator should."""
        users = sorted(mailboxes, key=lambda user: (user < SMALL, user))
        names = [f'user{user}' for user in itertools.islice(itertools.chain(users, itertools.count(10 * SMALL)), count)]
        random.Random(1).shuffle(names)
        new = self.users.with_name('new')
        new.write_text(''.join(f'{name}:{{PLAIN}}password\n' for name in names))
        self.give(new)
        new.rename(self.users)


class Journal:
    """Reads the notify socket, the journal's socket, and a standard error that leads to the journal. It is a process
    of its own, because its processor time must not count. Writes warnings and errors to the log."""

    def __init__(self, site):
        folder = pathlib.Path('/run/systemd/journal')  # on a tmpfs of our own
        folder.mkdir(parents=True)
        self.notify = site.path / 'notify'
        self.stream, theirs = socket.socketpair()
        self.sockets = [self.bind(self.notify), self.bind(folder / 'socket'), theirs]
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.read(open(site.log, 'ab', 0))
            finally:
                os._exit(1)

    @staticmethod
    def bind(path):
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        bound.bind(str(path))
        path.chmod(0o666)
        return bound

    def read(self, log):
        with selectors.DefaultSelector() as selector:
            for source in self.sockets:
                selector.register(source, selectors.EVENT_READ)
            while ready := selector.select():
                for key, _ in ready:
                    text = key.fileobj.recv(1 << 16)
                    if key.fileobj != self.sockets[0] and b'\nPRIORITY=6\n' not in text:
                        log.write(text)

    def environment(self, site, is_listener):
        """Only a listener notifies systemd."""
        status = os.fstat(self.stream.fileno())
        environment = {'JOURNAL_STREAM': f'{status.st_dev}:{status.st_ino}', 'CREDENTIALS_DIRECTORY': str(site.path)}
        return environment | ({'NOTIFY_SOCKET': str(self.notify), 'WATCHDOG_USEC': '60000000'} if is_listener else {})


# ---- Services ----

class Program:
    """A program of a service, and its ports. `listens`: it is passed a listening socket, as by systemd. With a journal
    it has the environment of our units, otherwise only what it needs."""

    def __init__(self, command, plain=None, tls=None, listens=False, journal=None):
        self.command, self.plain, self.tls, self.listens, self.journal = command, plain, tls, listens, journal

    def start(self, site, group):
        script = 'echo 0 >"$0/cgroup.procs" && LISTEN_PID=$$ exec "$@"'
        environment = {'PATH': os.environ['PATH'], 'RUNTIME_DIRECTORY': str(site.path / 'run')}
        # If standard output were the log, too, pop3-handler would take the log for its client.
        more, out, error = {}, subprocess.DEVNULL, open(site.log, 'a')
        if self.listens:
            listening = socket.create_server(('127.0.0.1', self.plain or self.tls), backlog=4096)
            more = {'pass_fds': [3], 'preexec_fn': lambda: os.dup2(listening.fileno(), 3)}
            environment['LISTEN_FDS'] = '1'
        if self.journal:
            environment |= self.journal.environment(site, self.listens)
            out = error = self.journal.stream
        return subprocess.Popen(['sh', '-c', script, group, *self.command], env=environment, stdin=subprocess.DEVNULL,
                                stdout=out, stderr=error, **more)


class Service:
    """All processes of a server, in a cgroup of their own."""
    prefix = ()  # of the client's command

    def __init__(self, name, site, group, programs):
        self.name, self.site, self.group = name, site, group / name.replace(' ', '-')
        self.group.mkdir()
        self.plain = next((program.plain for program in programs if program.plain), None)
        self.tls = next((program.tls for program in programs if program.tls), None)
        self.readers = {program.journal.pid for program in programs if program.journal}
        self.processes = [program.start(site, self.group) for program in programs]
        self.come_up()

    def come_up(self):
        """Waits until the service greets clients. If it does not, prints its log and exits."""
        end = time.monotonic() + COME_UP_S
        for port, is_tls in (self.plain, False), (self.tls, True):
            while port and not greets(port, is_tls):
                if time.monotonic() > end or any(process.poll() is not None for process in self.processes):
                    steady(lambda: self.site.log.stat().st_size)  # a reader of the journal may be behind
                    sys.exit(f'{self.name}: nothing greets on port {port}; its log:\n{self.site.log.read_text()[-4000:]}')
                time.sleep(0.01)

    def end(self):
        """Kills every process in the cgroup of the service."""
        while pids := self.pids():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for process in self.processes:
                process.poll()
        for process in self.processes:
            process.wait()
        self.group.rmdir()

    def pids(self):
        return [int(pid) for pid in (self.group / 'cgroup.procs').read_text().split()]

    def pin(self, processors):
        """Moves the service, the reader of its journal, and processes that start later to these processors."""
        os.sched_setaffinity(0, processors)
        for pid in self.readers:
            assert os.waitpid(pid, os.WNOHANG) == (0, 0), 'nothing reads the journal any more'
        for pid in [*self.pids(), *self.readers]:
            with contextlib.suppress(ProcessLookupError):  # a session that has just ended
                os.sched_setaffinity(pid, processors)

    def usage_s(self):
        return group_usage_s(self.group)

    def steady_s(self):
        """Returns the processor time when the service has become idle."""
        return steady(self.usage_s)

    def memory(self):
        """Returns octets; a shared page is divided among the processes that share it."""
        octets = 0
        for pid in self.pids():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # one that has just ended
                text = open(f'/proc/{pid}/smaps_rollup').read()
                octets += int(re.search(r'(?m)^Pss: +(\d+) kB', text).group(1)) * 1024
        return octets


def greets(port, is_tls):
    """Whether a client is greeted. A connection is no proof, because a socket that was made for a service listens
    before the service runs."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(socket.create_connection(('127.0.0.1', port), COME_UP_S))
            if is_tls:
                connection = stack.enter_context(context.wrap_socket(connection))
            return connection.recv(3) == b'+OK'
    except OSError:
        return False


def group_usage_s(group):
    return int(re.search(r'usage_usec (\d+)', (group / 'cpu.stat').read_text()).group(1)) / 1e6


def steady(read):
    """Returns the result of `read` when it has stopped changing."""
    last, begin = read(), time.monotonic()
    since = begin
    while time.monotonic() < min(since + STEADY_S, begin + 10):
        time.sleep(0.005)
        now = read()
        if now != last:
            last, since = now, time.monotonic()
    return last


AS_NOBODY = 'setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups'


def tcpserver(port, command):
    return ['tcpserver', '-u', '65534', '-g', '65534', '-R', '-H', '-l0', '-c1000', '127.0.0.1', str(port), *command]


def handler(site, programs, *more):
    return [programs / 'pop3-handler', *(f'--{name}={value}' for name, value in site.settings().items()), *more]


def implicit_tls(site):
    return '--tls=implicit', f'--tls-cert={site.cert}', f'--tls-key={site.key}'


def listener(site, programs, _):
    """One for each port, started without root, as by the units. The plain port has no certificate."""
    return [Program([*AS_NOBODY, *handler(site, programs)], plain=next(ports), listens=True),
            Program([*AS_NOBODY, *handler(site, programs, *implicit_tls(site))], tls=next(ports), listens=True)]


def installed_listener(site, programs, journal):
    """The same with the environment, the settings file and the certificate that the units have."""
    command = [*AS_NOBODY, programs / 'pop3-handler', f'--config={site.path}/conf']
    return [Program(command, plain=next(ports), listens=True, journal=journal),
            Program([*command, '--tls=implicit'], tls=next(ports), listens=True, journal=journal)]


def connections(site, programs, _):
    plain = next(ports)
    return [Program(tcpserver(plain, handler(site, programs)), plain)]


def installed_connections(site, programs, journal):
    plain, tls = next(ports), next(ports)
    command = [programs / 'pop3-handler', f'--config={site.path}/conf']
    return [Program(tcpserver(plain, command), plain, journal=journal),
            Program(tcpserver(tls, [*command, '--tls=implicit']), tls=tls, journal=journal)]


def floor_tls(folder):
    return [f'{name}={folder}/{name}' for name in ('tls-cert', 'tls-key', 'tls-tickets')]


def floor(site, programs, mailboxes):
    """The floor: it accepts, forks and sends the same replies."""
    mailboxes = [mailbox.for_floor() for mailbox in mailboxes.values() if mailbox.user <= SMALL]
    return [Program([*AS_NOBODY, programs / 'floor', *mailboxes], plain=next(ports), listens=True),
            Program([*AS_NOBODY, programs / 'floor-tls', *floor_tls(site.path), *mailboxes], tls=next(ports), listens=True)]


def floor_connections(site, programs, mailboxes):
    """The floor of a process for each connection."""
    plain, tls, mailbox = next(ports), next(ports), mailboxes[SMALL].for_floor()
    return [Program(tcpserver(plain, [programs / 'floor', mailbox]), plain),
            Program(tcpserver(tls, [programs / 'floor-tls', *floor_tls(site.path), mailbox]), tls=tls)]


def dovecot(site):
    """In its high-performance login mode. A process serves many sessions, which costs a quarter of a process for
    each."""
    plain, tls = next(ports), next(ports)
    (site.path / 'dovecot.conf').write_text(f'''
        base_dir = {site.path}/dovecot
        log_path = {site.log}
        protocols = pop3
        listen = 127.0.0.1
        disable_plaintext_auth = no
        ssl = yes
        ssl_cert = <{site.cert}
        ssl_key = <{site.key}
        auth_mechanisms = plain
        mail_location = maildir:{site.mail}/%u
        first_valid_uid = 1
        mail_max_userip_connections = 100000
        default_process_limit = 5000
        default_client_limit = 10000
        passdb {{
          driver = passwd-file
          args = {site.users}
        }}
        userdb {{
          driver = static
          args = uid=nobody gid=nogroup home={site.mail}/%u
        }}
        service pop3 {{
          service_count = 256
          process_min_avail = 8
        }}
        service pop3-login {{
          service_count = 0
          process_min_avail = 2
          client_limit = 10000
          inet_listener pop3 {{
            port = {plain}
          }}
          inet_listener pop3s {{
            port = {tls}
            ssl = yes
          }}
        }}
        ''')
    return [Program(['dovecot', '-F', '-c', site.path / 'dovecot.conf'], plain, tls)]


# ---- The client ----

def client(service, mode, tls, *arguments):
    port = service.tls if tls else service.plain
    return [*service.prefix, service.site.programs / 'load', mode, f'port={port}', f'tls={int(tls)}', *arguments]


def work(service, mode, mailbox, tls=False, sessions=1, clients=1, window=1, processors=ONE):
    """Does one piece of work. Returns the processor time of the service, and the client's results."""
    service.pin(processors)
    before = service.steady_s()
    output = subprocess.run(client(service, mode, tls, *mailbox.expected(), f'sessions={sessions}',
                                   f'clients={clients}', f'users={clients}', f'window={window}'),
                            check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output) | {'server': service.steady_s() - before}


class Held:
    """Connections that are held open."""

    def __init__(self, service, mailbox, tls, connections, users, asleep, interval_s=0):
        self.process = subprocess.Popen(
            client(service, 'hold', tls, *mailbox.expected(), f'clients={connections}', f'users={users}',
                   f'asleep={int(asleep)}', f'interval={interval_s}'),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def hear(self):
        line = self.process.stdout.readline()
        assert line, 'the client has ended'
        return line

    def start(self):
        assert self.hear() == 'ready\n'
        return self

    def ask(self, number):
        """Makes each connection poll `number` times, or for `number` seconds."""
        self.process.stdin.write(f'{number}\n')
        self.process.stdin.flush()

    def end(self):
        self.process.stdin.close()
        assert self.process.wait() == 0


# ---- Namespaces ----

def quietly(*command):
    """Shows the output of a command, and exits, only if the command fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f'{" ".join(map(str, command))}:\n{done.stdout}')


def compile_build(build, source=ROOT):
    """Builds the programs of the benchmarks."""
    if not (build / 'build.ninja').exists():
        quietly('meson', 'setup', '--buildtype=release', build, source)
    quietly('ninja', '-C', build, *TARGETS)  # not meson: it does not know targets that are new


def copy_programs(build, folder):
    """Copies the programs to a folder that every user can enter, because a clone may be in /root."""
    folder.mkdir()
    for target in TARGETS:
        if (build / target).exists():
            shutil.copy(build / target, folder)
    return folder


def add_hidden(parser):
    parser.add_argument('--inside', type=pathlib.Path, help='for itself')
    parser.add_argument('--group', type=pathlib.Path, help='for itself')


def install_packages():
    subprocess.run([ROOT / 'tools/packages', 'build', 'bench'], check=True)


def outside():
    """Starts this command again, in namespaces for network, processes and mounts, with a folder and a cgroup. All of
    these are removed at the end, even after an interrupt or SIGTERM."""
    for number in signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    groups = re.search(r'(?m)^\S+ (\S+) cgroup2 ', open('/proc/self/mounts').read())
    if not groups:
        sys.exit('no cgroup2 file system is mounted')
    with tempfile.TemporaryDirectory(prefix='pop3-bench-', dir='/var/tmp') as folder:
        here, group = pathlib.Path(folder), pathlib.Path(groups.group(1)) / pathlib.Path(folder).name
        here.chmod(0o755)
        group.mkdir()
        try:
            return subprocess.run(['unshare', '--net', '--pid', '--mount', '--fork', '--kill-child', '--mount-proc',
                                   *sys.argv, f'--inside={here}', f'--group={group}'],
                                  preexec_fn=lambda: (group / 'cgroup.procs').write_text('0')).returncode
        finally:  # waits until every process has died
            while 'populated 1' in (group / 'cgroup.events').read_text():
                time.sleep(0.01)
            remove_group(group)


def remove_group(group):
    for child in group.iterdir():
        if child.is_dir():
            remove_group(child)
    group.rmdir()


def inside(here, build):
    """Sets up the namespaces. Returns the site, and the reader of its journal."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
    pathlib.Path('/proc/sys/net/unix/max_dgram_qlen').write_text('512')  # as systemd does, for the journal
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', '/run'], check=True)
    site = Site(here, build)
    return site, Journal(site)
