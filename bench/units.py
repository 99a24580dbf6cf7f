# SPDX-License-Identifier: ISC
"""The installed units of both kinds, under a systemd that is booted for them, and the same units with the floor as
their program."""
import itertools, os, pathlib, shutil, subprocess

import harness
from rows import FLOOR, Figure, Row, cpu, login, login_name, rate

KINDS = 'pop3', 'pop3s'
SERVICES = {f'{kind}{at}.service': (kind, at == '') for at in ('@', '') for kind in KINDS}  # the value says whether it is a listener
ACCOUNTS, MAILBOXES, CLIENTS = 1000, 64, 8
CERTIFICATE, KEY = 'fullchain.pem', 'privkey.pem'
PATHS = {'PATH': '/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin', 'HOME': '/root'}


class Machine:
    """A systemd as PID 1 of namespaces and a cgroup of its own (tests/boot.bash), with everything installed."""

    def __init__(self, site, group, build):
        self.site, self.build, self.group = site, build, group / 'machine'
        self.folder = site.path / 'machine'
        self.folder.mkdir()
        self.group.mkdir()
        self.bash('echo 0 >"$0/cgroup.procs"; boot')
        self.pid = int((self.folder / 'systemd.pid').read_text())
        self.root = pathlib.Path(f'/proc/{self.pid}/root')
        self.units = itertools.count(1)
        self.run('meson', 'install', '-C', build, '--no-rebuild')
        self.set_up()

    def bash(self, script):
        environment = os.environ | {'BATS_FILE_TMPDIR': str(self.folder), 'BATS_TEST_DIRNAME': str(harness.ROOT / 'tests'),
                                    'HANDLER': str(self.build / 'pop3-handler')}
        subprocess.run(['bash', '-euc', '. "$BATS_TEST_DIRNAME/boot.bash"; ' + script, self.group], env=environment,
                       check=True, stdin=subprocess.DEVNULL)

    def run(self, *command):
        enter = 'nsenter', f'--target={self.pid}', '--all', '--root', '--wd', 'env', '-i'
        subprocess.run([*enter, *(f'{name}={value}' for name, value in PATHS.items()), *command], check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def set_up(self):
        """Makes accounts, mail and a certificate."""
        folder = self.root / 'etc/pop3-handler'
        tls = folder / 'tls'
        (folder / 'pop3-handler.conf').write_text('users = /etc/pop3-handler/users\nmailbox = /var/vmail/%u\n'
                                                  f'tls-cert = /etc/pop3-handler/tls/{CERTIFICATE}\n'
                                                  f'tls-key = /etc/pop3-handler/tls/{KEY}\n')
        users = range(harness.SMALL, harness.SMALL + ACCOUNTS)
        (folder / 'users').write_text(''.join(f'user{user}:{{PLAIN}}password\n' for user in users))
        tls.mkdir()
        shutil.copy(self.site.cert, tls / CERTIFICATE)
        shutil.copy(self.site.key, tls / KEY)
        for program in 'floor', 'floor-tls':
            shutil.copy(self.build / 'bench' / program, self.root / 'usr/local/sbin')
        shutil.copy(self.site.path / 'tls-tickets', self.root / 'usr/local/share')
        self.mailbox = harness.make_small(self.root / 'var/vmail', MAILBOXES)[harness.SMALL]
        self.run('chown', '-R', 'vmail:', '/var/vmail')

    def start(self, kind, is_listener, is_floor=False):
        """Starts a copy of the installed units, with another name and port, and perhaps the floor as the program."""
        installed, own = self.root / 'usr/local/lib/systemd/system', self.root / 'etc/systemd/system'
        name, port, at = f'unit{next(self.units)}', next(harness.ports), '' if is_listener else '@'
        sockets = self.root / 'usr/local/share/pop3-handler/listener' if is_listener else installed
        socket = (sockets / f'{kind}.socket').read_text()
        service = (installed / f'{kind}{at}.service').read_text()
        if is_floor:
            service += '[Service]\nExecStart=\n' + self.floor_command(kind) + ('Type=exec\nWatchdogSec=0\n' if is_listener else '')
        (own / f'{name}.socket').write_text(socket + f'[Socket]\nListenStream=\nListenStream={port}\n')
        (own / f'{name}{at}.service').write_text(service)
        self.run('systemctl', 'daemon-reload')
        self.run('systemctl', 'start', f'{name}.socket')
        if is_listener:
            self.run('systemctl', 'start', f'{name}.service')
        return Unit(self, port, f'{name}.service' if is_listener else f'system-{name}.slice')

    def floor_command(self, kind):
        program = 'floor-tls tls-cert=%d/tls-cert tls-key=%d/tls-key tls-tickets=/usr/local/share/tls-tickets' if kind == 'pop3s' else 'floor'
        credentials = (f'LoadCredential=tls-{what}:/etc/pop3-handler/tls/{file}\n' for what, file in (('cert', CERTIFICATE), ('key', KEY)))
        return f'ExecStart=/usr/local/sbin/{program} {self.mailbox.for_floor()}\n' + ''.join(credentials)

    def end(self):
        self.bash('power_off')


class Unit:
    """A unit of the machine, as a service that rows can measure."""

    def __init__(self, machine, port, group):
        self.site, self.mailbox, self.plain, self.tls = machine.site, machine.mailbox, port, port
        self.prefix = 'nsenter', f'--net=/proc/{machine.pid}/ns/net'
        self.group, slice = machine.group / 'system.slice' / group, machine.group / 'system.slice'
        self.beside = {'pid1': machine.group / 'init.scope', 'journald': slice / 'systemd-journald.service'}

    def pin(self, processors):
        """Pins only the client: systemd's processes run on any processor."""
        os.sched_setaffinity(0, processors)

    def usage_s(self):
        return harness.group_usage_s(self.group) if self.group.exists() else 0

    def steady_s(self):
        return harness.steady(self.usage_s)

    def beside_s(self):
        return {who: harness.steady(lambda: harness.group_usage_s(group)) for who, group in self.beside.items()}


def unit_login(unit, sessions, row, tls):
    """Also measures PID 1 and the journal."""
    before = unit.beside_s()
    figures = login(unit, unit.mailbox, sessions, row, tls)
    after = unit.beside_s()
    return figures | {who: (after[who] - before[who]) / sessions * 1e3 for who in before}


def make_row(mailbox, scale, service, kind):
    beside = {'pid1': Figure('ms CPU of PID 1'), 'journald': Figure('ms CPU of the journal')}
    tls = kind == 'pop3s'
    row = Row(login_name(tls), service, rate() | cpu() | beside, None, accounts=ACCOUNTS,
              clients=CLIENTS, processors=harness.ALL, floor=f'{FLOOR} {service}')
    row.run = lambda unit: unit_login(unit, scale.unit_sessions, row, tls)
    row.their_run = lambda dovecot: login(dovecot, mailbox, scale.sessions, row, tls)
    return row


def make_rows(mailboxes, scale):
    return [make_row(mailboxes[harness.SMALL], scale, service, kind) for service, (kind, _) in SERVICES.items()]


def make_services(machine):
    ours = {service: machine.start(*which) for service, which in SERVICES.items()}
    return ours | {f'{FLOOR} {service}': machine.start(*which, True) for service, which in SERVICES.items()}
