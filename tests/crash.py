#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""crash.py kill|EIO|ENOSPC|EACCES|EROFS|short maildir|folder QUIT|SLEE|DELI|recovery [N]
crash.py kill|EIO|ENOSPC|EACCES|EROFS|short maildir takeover|rewrite [N]

Breaks a session that deletes messages at each of its system calls after login, one after the other:
kills it there, or makes the call fail; or (short) limits the size of files, so that the call that
reaches the limit is a short write and later ones fail. recovery: breaks a session that completes the
deletion of a killed one. takeover, rewrite: breaks one that creates or rewrites the file of imported
unique-ids, which must then be missing or complete, with the same unique-ids in later sessions.
Otherwise every later session must find all messages or none, as the reply said if there was one; the
mailbox must work, and its quota must not subtract more than is gone. Prints the number of points; with
N it tests only every Nth. Its directory is made in the working directory."""
import os, re, resource, shutil, signal, subprocess, sys, tempfile

how, layout, command = sys.argv[1:4]
stride = int(sys.argv[4]) if len(sys.argv) > 4 else 1
handler = os.environ['HANDLER']
os.environ['ASAN_OPTIONS'] = 'detect_leaks=0:exitcode=99'  # LeakSanitizer does not work under strace
here = tempfile.mkdtemp(dir=os.getcwd(), prefix='.crash.')
os.environ['GCOV_PREFIX'] = here  # killed processes must not damage the counts of tools/check --coverage
mailbox = here + '/mail/alice'
open(here + '/users', 'w').write('alice:{PLAIN}apple\n')
# Most sweeps omit the sandbox, whose calls would be a sixth more.
sandbox = 'on' if how in ('kill', 'EIO') else 'off'
options = ['--user=root', f'--sandbox={sandbox}', f'--users={here}/users', f'--mailbox={here}/mail/%u']

# Unique part -> its directory in a Maildir. After RETR, sessions also rename files and write sizes.
messages = {'1.M1P1.h': 'new', '2.M1P1.h': 'cur', '3.M1P1.h': 'new', '4.M1P1.h': 'cur',
            '5.M1P1.h': 'new'}
login = ['USER alice', 'PASS apple']
# By unique-ids: a folder's file that stat(2) fails for is listed as the oldest.
deletion = login + ['LIST', 'RETR 1', 'DELE UID:2.M1P1.h', 'DELE UID:3.M1P1.h', 'RETR 5', 'DELE UID:5.M1P1.h']
doomed = {'2.M1P1.h', '3.M1P1.h', '5.M1P1.h'}
script = deletion + [command]
if command == 'DELI':
    script, doomed = login + ['RETR 1', 'DELI UID:2.M1P1.h'], {'2.M1P1.h'}
elif command == 'recovery':
    script = login + ['LIST', 'RETR 1', 'QUIT']
elif command in ('takeover', 'rewrite'):
    script = login + ['UIDL', 'QUIT']
    options += ['--unique-ids-from=dovecot %u']
# The messages in Dovecot's list: all but one, and those that are removed later.
imported = {'10': '4.M1P1.h', '11': '2.M1P1.h', '12': '3.M1P1.h', '13': '1.M1P1.h'}
stale = {str(uid): f'{uid}.M1P1.h' for uid in range(20, 30)}
ids_path = mailbox + '/.pop3-handler.ids'


# Short writes would truncate lines of maildirsize.
has_quota = layout == 'maildir' and how != 'short' and command not in ('takeover', 'rewrite')


def make_mailbox():
    shutil.rmtree(here + '/mail', ignore_errors=True)
    for subdir in ['new', 'cur', 'tmp'] if layout == 'maildir' else ['.']:
        os.makedirs(f'{mailbox}/{subdir}')
    for unique, subdir in messages.items():
        path = {'folder': unique, 'maildir': f'{subdir}/{unique}' + (subdir == 'cur') * ':2,F'}
        open(f'{mailbox}/{path[layout]}', 'w').write(f'Subject: {unique}\n\nHello\n')
    if has_quota:
        open(f'{mailbox}/maildirsize', 'w').write(f'1000000S\n{25 * len(messages)} {len(messages)}\n')


def make_victim():
    """Makes the mailbox for the session that will be broken."""
    make_mailbox()
    if command == 'recovery':
        talk(deletion + ['QUIT'], strace('-e', 'inject=unlinkat:signal=KILL:when=2'))
        assert len(files()) == len(messages) - 1
    elif command in ('takeover', 'rewrite'):
        listed = imported | (stale if command == 'rewrite' else {})
        with open(mailbox + '/dovecot-uidlist', 'w') as uidlist:
            uidlist.write('3 V5 N99\n' + ''.join(f'{uid} :{name}\n' for uid, name in listed.items()))
    if command == 'rewrite':
        for name in stale.values():
            open(f'{mailbox}/cur/{name}', 'w').close()
        talk(login)
        for name in stale.values():
            os.remove(f'{mailbox}/cur/{name}')


def files():
    """Returns the unique parts of all message files, and the names of any other files."""
    found = []
    for folder, _, names in os.walk(mailbox):
        found += [name.split(':')[0] for name in names if name not in ours]
    return sorted(found)


def quota():
    """Returns the quota's number of messages, and checks its octets."""
    lines = [line.split() for line in open(f'{mailbox}/maildirsize').read().splitlines()[1:]]
    octets, count = (sum(int(line[i]) for line in lines) for i in range(2))
    assert octets == 25 * count, lines
    return count


DELI_DONE = re.compile(r'\+OK message [1-5] is deleted')
ours = ['.pop3-handler.state', '.pop3-handler.cache', '.pop3-handler.ids', 'maildirsize', 'dovecot-uidlist']


def talk(lines, prefix=(), **more):
    session = subprocess.run([*prefix, handler, *options], input='\r\n'.join(lines + ['']),
                             capture_output=True, text=True, timeout=60, **more)
    if session.returncode in (99, -signal.SIGSEGV, -signal.SIGABRT):
        sys.exit(f'{session.returncode}: {session.stderr}')
    return session.stdout.splitlines(), session.stderr


def listed():
    """Returns the unique-ids that a session lists, and checks their messages."""
    lines, log = talk(login + ['UIDL', 'LIST', 'RETR 1'])
    first, second = lines.index('.'), [i for i, line in enumerate(lines) if line == '.'][1]
    uids = [line.split()[1] for line in lines[4:first]]
    assert len(uids) == second - first - 2, lines
    assert not uids or lines[-5:-1] == [f'+OK {20 + len(uids[0])} octets', 'Subject: ' + uids[0], '', 'Hello'], lines
    return sorted(uids)


def reply(lines):
    """Returns the reply to the command that deletes; None if there was none, or no mailbox."""
    if len(lines) < 3 or lines[2].startswith('-ERR'):
        return None
    if command == 'DELI':
        text = [line for line in lines if 'is deleted' in line or 'cannot delete' in line]
    else:
        text = [line for line in lines
                if line == '+OK goodbye' or line.startswith('+OK asleep') or 'cannot delete the marked' in line]
    return text[-1] if text else None


def check(point, lines, log):
    answer, all_of_them = reply(lines), sorted(messages)
    left = sorted(set(messages) - doomed)
    if command == 'recovery':  # the session before passed the commit point
        answer, all_of_them = None, left
    try:
        uids = listed()
        assert uids in (all_of_them, left), uids
        assert answer is None or (uids == left) == answer.startswith('+OK'), uids
        asleep = f'+OK asleep, {len(doomed)} messages deleted'
        assert answer is None or not answer.startswith('+OK') or answer in ('+OK goodbye', asleep) or DELI_DONE.fullmatch(answer), answer
        assert files() == uids, files()
        counted = quota() if has_quota else len(uids)
        assert len(uids) <= counted <= len(messages), counted
        assert how != 'kill' or answer is None or counted == len(uids), counted
        # The mailbox works: all of its messages can be deleted.
        lines, log = talk(login + [f'DELE {i + 1}' for i in range(len(uids))] + ['QUIT'])
        assert lines[2] == f'+OK {len(uids)} messages' and lines[-1] == '+OK goodbye'
        assert files() == []
        assert not has_quota or quota() == counted - len(uids), quota()
        return uids == left
    except AssertionError:
        print(f'{how} {layout} {command}, point {point}:', '\n'.join(lines), log, files(), sep='\n')
        raise


def uids_of(lines):
    """Returns the answer to UIDL; None: there was none."""
    if '+OK unique-ids follow' not in lines or '.' not in lines:
        return None
    return [line.split()[1] for line in lines[lines.index('+OK unique-ids follow') + 1:lines.index('.')]]


def ids_lines():
    """Returns the file of unique-ids without its header; None: there is no file."""
    return open(ids_path).read().splitlines()[1:] if os.path.exists(ids_path) else None


def check_ids(point, lines, log):
    """Returns whether the file was created, or rewritten."""
    whole = [f'{uid} {name}' for uid, name in imported.items()]
    before = None if command == 'takeover' else whole + [f'{uid} {name}' for uid, name in stale.items()]
    left, uids = ids_lines(), uids_of(lines)
    try:
        assert left in (before, whole), left
        # Messages without an imported unique-id are listed only if the file exists, and stay.
        everything = [*imported, '5.M1P1.h']
        assert uids in (None, everything) or (uids == list(imported) and command == 'takeover'), uids
        assert uids != everything or left, uids
        for _ in range(2):
            lines, log = talk(script)
            assert uids_of(lines) == everything, lines
            assert ids_lines() == whole, ids_lines()
        assert files() == sorted(messages), files()
        return left == whole
    except AssertionError:
        print(f'{how} {layout} {command}, point {point}:', '\n'.join(lines), log, files(), sep='\n')
        raise


def strace(*more):
    return ['strace', '-qq', '-o', here + '/trace', *more]


def calls():
    """The system calls after login of a session that is not broken: the name of each, and which of
    that name it is, as strace counts them."""
    make_victim()
    talk(script, strace())
    trace = open(here + '/trace').read().splitlines()
    names = [call.split('(')[0] for call in trace]
    first = next(i for i, call in enumerate(trace) if re.search('openat.*"' + mailbox, call))
    return [(names[i], names[:i + 1].count(names[i])) for i in range(first, len(names))]


points = range(240) if how == 'short' else calls()
fault = 'signal=KILL' if how == 'kill' else 'error=' + how
# Without a stop at each of the other calls. strace cannot kill there.
quickly = [] if how == 'kill' else ['-f', '--seccomp-bpf']


def break_at(point):
    make_victim()
    if how == 'short':
        limit, has_space = divmod(point, 2)
        if has_space and command not in ('takeover', 'rewrite'):  # that the session before this one has kept ready
            talk(login)
        return talk(script, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE,
                                                                  (limit, limit)))
    name, which = point
    result = talk(script, strace(*quickly, '-e', 'trace=' + name, '-e', f'inject={name}:{fault}:when={which}'))
    if re.search('INJECTED|killed by SIGKILL', open(here + '/trace').read()):
        return result
    return None  # the session waited less for the clock than the one that gave the points


was_deleted = []
not_reached = 0
for point in points[::stride]:
    # What is no failure of a disk; and a brk(2) that cannot shrink makes the C library fall.
    if how in ('kill', 'short') or point[0] not in ('brk', 'mmap', 'munmap', 'exit_group'):
        result = next(filter(None, (break_at(point) for _ in range(20))), None)
        if result:
            was_deleted.append((check_ids if command in ('takeover', 'rewrite') else check)(point, *result))
        else:
            not_reached += 1
# The points were on both sides of the commit point; those that were not reached are calls that at most
# five late ticks of the clock had added.
assert not_reached <= 5 * 3, not_reached
assert any(was_deleted)
assert how == 'short' or command == 'recovery' or not all(was_deleted)
print(f'{how} {layout} {command}: {len(was_deleted)} points'
      + (f', {not_reached} not reached' if not_reached else ''))
shutil.rmtree(here)
