# SPDX-License-Identifier: ISC
"""The rows of the benchmarks: the work, the services that do it, and the figures."""
import statistics

import harness
from harness import ALL, HUGE, LETTERS, NAMED, ONE, PLAIN, SMALL, TAKEN, Held, work

LISTENER, INSTALLED = 'listener', 'listener, installed'
CONNECTIONS, INSTALLED_CONNECTIONS = 'per connection', 'per connection, installed'
FLOOR, FLOOR_CONNECTIONS, DOVECOT = 'floor', 'floor per connection', 'dovecot'
MAKERS = {LISTENER: harness.listener, INSTALLED: harness.installed_listener,
          CONNECTIONS: harness.connections, INSTALLED_CONNECTIONS: harness.installed_connections}
MS, PER_GB, SESSIONS, KIB = 'ms CPU', 's CPU/GB', 'sessions/s', 'KiB'


class Figure:
    """A figure of a row. It may have a goal for its ratio to Dovecot's, or for the figure itself."""

    def __init__(self, what, sign='<=', limit=None, of_ratio=True):
        self.what, self.sign, self.limit, self.of_ratio = what, sign, limit, of_ratio

    def goal(self):
        return None if self.limit is None else f'{self.sign} {self.limit:.3g}' + (' x' if self.of_ratio else '')

    def is_met(self, ours, ratio):
        value = ratio if self.of_ratio else ours
        if self.limit is None or value is None:
            return None
        return value <= self.limit if self.sign == '<=' else value >= self.limit


class Row:
    """A piece of work at which a service of ours, the floor and Dovecot take turns. Dovecot may do other work with the
    same result."""

    def __init__(self, name, service, figures, run, their_run=None, accounts=None, clients=1, processors=ONE,
                 floor=FLOOR, peer=DOVECOT, most_rounds=5):
        self.name, self.service, self.figures, self.run, self.their_run = name, service, figures, run, their_run or run
        self.accounts, self.clients, self.processors, self.floor, self.peer = accounts, clients, processors, floor, peer
        self.most_rounds = most_rounds
        self.seen = {'ours': [], 'floor': [], 'dovecot': []}

    def title(self):
        return f'{self.name}; {self.service}; {self.accounts:,} accounts; {self.clients:,} clients; {self.where()}'

    def where(self):
        return 'pinned' if self.processors == ONE else 'free'

    def measure(self, services):
        """A turn of each."""
        self.seen['ours'].append(self.run(services[self.service]))
        if self.floor:
            self.seen['floor'].append(self.run(services[self.floor]))
        if self.peer:
            self.seen['dovecot'].append(self.their_run(services[self.peer]))

    def results(self):
        return [self.result(key, figure) for key, figure in self.figures.items()]

    def result(self, key, figure):
        values = {who: [seen[key] for seen in turns if key in seen] for who, turns in self.seen.items()}
        ours = values['ours']
        to_floor, to_dovecot = (ratios(ours, values[who]) for who in ('floor', 'dovecot'))
        spread = to_dovecot or to_floor or ours
        return {'work': self.name, 'service': self.service, 'accounts': self.accounts, 'clients': self.clients,
                'processors': self.where(), 'turns': len(ours), 'what': figure.what, 'ours': median(ours), 'floor': median(values['floor']),
                'dovecot': median(values['dovecot']), 'to_floor': median(to_floor), 'to_dovecot': median(to_dovecot),
                'spread': [min(spread), max(spread)], 'goal': figure.goal(),
                'met': figure.is_met(median(ours), median(to_dovecot))}


def ratios(ours, theirs):
    return [a / b for a, b in zip(ours, theirs) if b]


def median(values):
    return statistics.median(values) if values else None


# ---- Work ----

def login(service, mailbox, sessions, row, tls=False):
    told = work(service, 'login', mailbox, tls, sessions, row.clients, processors=row.processors)
    return {'cpu': told['server'] / sessions * 1e3, 'rate': sessions / told['seconds'],
            'resumed': told['resumed'] / max(told['offered'], 1) * 100, 'client': told['cpu'] / told['seconds'] * 100}


def first_list(service, mailbox):
    mailbox.forget()
    return {'cpu': work(service, 'list', mailbox)['server'] * 1e3}


def later(service, mailbox, mode):
    """Measures the second of two sessions."""
    work(service, mode, mailbox)
    return {'cpu': work(service, mode, mailbox)['server'] * 1e3}


def retrieve(service, mailbox, row, tls=False, window=1):
    work(service, 'login', mailbox, tls)  # fills caches
    told = work(service, 'fetch', mailbox, tls, window=window, processors=row.processors)
    return {'cpu': told['server'] / told['octets'] * 1e9, 'rate': told['octets'] / told['retrieve_seconds'] / 1e6,
            'client': told['cpu'] / told['seconds'] * 100}


def take(service, mailbox):
    if len(list((mailbox.path / mailbox.subdir).iterdir())) < mailbox.count:
        mailbox.fill()
    return {'cpu': work(service, 'take', mailbox, window=64)['server'] * 1e3}


def polls(service, mailbox, times):
    service.pin(ONE)
    held = Held(service, mailbox, True, 1, 1, True).start()
    before = service.steady_s()
    held.ask(times)
    held.hear()
    after = service.steady_s()
    held.end()
    return {'cpu': (after - before) / times * 1e3}


def memory(service, mailbox, tls, connections, users, asleep, times=0):
    service.pin(ALL)
    held = Held(service, mailbox, tls, connections, users, asleep).start()
    if times:
        held.ask(times)
        held.hear()
    service.steady_s()
    octets = service.memory() / connections
    held.end()
    service.steady_s()
    return {'memory': octets / 1024}


# ---- The rows ----

def cpu(limit=None, what=MS):
    return {'cpu': Figure(what, '<=', limit)}


def rate(limit=None, what=SESSIONS):
    return {'rate': Figure(what, '>=', limit)}


def login_name(tls):
    return 'login, STAT, QUIT' + (', TLS 1.3' if tls else '')


def login_row(mailboxes, scale, name, service, figures, tls=False, **more):
    row = Row(name, service, figures, None, **more)
    row.run = row.their_run = lambda s: login(s, mailboxes[SMALL], max(scale.sessions, row.clients), row, tls)
    return row


def retrieve_row(mailbox, name, figures, tls=False, window=1, **more):
    row = Row(name, LISTENER, figures, None, **more)
    row.run = row.their_run = lambda s: retrieve(s, mailbox, row, tls, window)
    return row


def bare_login_rows(login_of):
    """The rows of 0.1.0, with their goals."""
    name, tls = login_name(False), login_name(True)
    resumed = {'resumed': Figure('% resumed', '>=', 99, False)}
    return [
        login_of(name, LISTENER, cpu(.5), clients=8),
        login_of(name, LISTENER, rate(1.8), clients=8, processors=ALL),
        login_of(name, CONNECTIONS, cpu(1.5), clients=8, floor=FLOOR_CONNECTIONS),
        login_of(tls, LISTENER, cpu(.6) | resumed, tls=True, clients=8),
    ]


def installed_login_rows(login_of, scale):
    """Logins to services as they are installed, with different numbers of accounts, clients and processors."""
    many, few = scale.many_accounts, 1000

    def vary(service, tls, cases, **more):
        return [login_of(login_name(tls), service, cpu() | rate(), tls=tls, accounts=accounts, clients=clients, processors=processors, **more)
                for accounts, clients in cases for processors in (ONE, ALL)]

    return [
        *vary(INSTALLED, False, [(1, 1), (few, 1), (few, 8), (few, 64), (many, 1), (many, 8), (many, 64)]),
        *vary(INSTALLED, True, [(few, 1), (few, 8), (few, 64), (many, 8)]),
        *vary(INSTALLED_CONNECTIONS, False, [(few, 8)], floor=FLOOR_CONNECTIONS),
        *vary(INSTALLED_CONNECTIONS, True, [(few, 8)], floor=FLOOR_CONNECTIONS),
    ]


def mailbox_rows(mailboxes, scale):
    named, plain, letters, huge, taken = (mailboxes[i] for i in (NAMED, PLAIN, LETTERS, HUGE, TAKEN))
    big, fetched = f'{scale.big:,} messages', f'RETR {scale.letters:,} x 8 KiB'
    large = f'RETR {scale.huge} x {scale.huge_octets >> 10:,} KiB'
    mb = 'MB/s'
    return [
        Row(f'UIDL, LIST, {big}, sizes in names, first', LISTENER, cpu(.25), lambda s: first_list(s, named)),
        Row(f'UIDL, LIST, {big}, sizes in names, later', LISTENER, cpu(.3), lambda s: later(s, named, 'list')),
        Row(f'STAT, {big}, plain names, later', LISTENER, cpu(.15), lambda s: later(s, plain, 'login')),
        Row(f'UIDL, LIST, {big}, plain names, first', LISTENER, cpu(.5), lambda s: first_list(s, plain)),
        retrieve_row(letters, f'{fetched}, 64 in flight', cpu(.4, PER_GB), window=64),
        retrieve_row(letters, f'{fetched}, 64 in flight', rate(2.5, mb), window=64, processors=ALL),
        retrieve_row(letters, f'{fetched}, one at a time', cpu(.5, PER_GB)),
        retrieve_row(letters, f'{fetched}, 64 in flight, TLS', cpu(.3, PER_GB), True, 64),
        retrieve_row(huge, f'{large}, TLS', cpu(.2, PER_GB), True, most_rounds=3),
        retrieve_row(huge, large, cpu(.35, PER_GB), most_rounds=3),
        retrieve_row(huge, large, rate(3, mb), processors=ALL, most_rounds=3),
        Row(f'fetch and delete {scale.letters:,} x 8 KiB', LISTENER, cpu(.8), lambda s: take(s, taken), most_rounds=3),
    ]


def sleep_rows(mailboxes, scale, service):
    """A poll is WAKE and SLEE; for Dovecot it is a login and STAT."""
    has_goals = service == LISTENER
    small, plain = mailboxes[SMALL], mailboxes[PLAIN]

    def poll_row(name, mailbox):
        row = Row(name, service, cpu(1 / 30 if has_goals else None), lambda s: polls(s, mailbox, scale.polls))
        row.their_run = lambda s: login(s, small, scale.sessions, row, True)
        return row

    def memory_row(name, limit, tls, connections, asleep, times=0, peer=DOVECOT, most_rounds=2):
        return Row(name, service, {'memory': Figure(KIB, '<=', limit if has_goals else None, False)},
                   lambda s: memory(s, small, tls, connections, scale.held, asleep, times),
                   lambda s: memory(s, small, tls, connections, scale.held, False),
                   clients=connections, processors=ALL, peer=peer, most_rounds=most_rounds)

    rows = [
        poll_row('a poll, TLS, 10 messages', small),
        poll_row(f'a poll, TLS, {scale.big:,} messages', plain),
        memory_row('memory of an idle connection', 90, False, scale.held, False),
        memory_row('memory of an idle connection, TLS, ours asleep', 220, True, scale.held, True),
    ]
    if has_goals:  # bench/sleepers measures the other service
        rows.append(memory_row('memory of a connection asleep, TLS, after a poll of each', 220, True, scale.sleepers, True, 1, None, 1))
    return rows


def make_rows(mailboxes, scale):
    def login_of(*arguments, **more):
        return login_row(mailboxes, scale, *arguments, **more)

    rows = [*bare_login_rows(login_of), *installed_login_rows(login_of, scale), *mailbox_rows(mailboxes, scale),
            *sleep_rows(mailboxes, scale, LISTENER), *sleep_rows(mailboxes, scale, INSTALLED)]
    for row in rows:
        row.accounts = row.accounts or len(mailboxes)
    return rows
