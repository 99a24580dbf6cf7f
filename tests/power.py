#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""power.py ext4|xfs|btrfs maildir|folder|imported [N]

Cuts the power of a session that deletes messages. The session works on a real file system, on a
disk that records every write and every flush of its cache, while another process calls sync as often
as it can. For each write, the disk is then restored to its state at a power failure there: once with
all writes so far, and once with a random part of the unflushed ones (each missing, complete, or only
its beginning). Each such disk is mounted, and the next session must find each deleted set of messages
complete or gone, and gone if the deletion had been acknowledged. (imported: a Maildir whose unique-ids
and order are imported from a list that is removed afterwards.) Prints the number of disks; with N it
tests only every Nth write or flush. Needs root and a private mount namespace."""
import ctypes, os, random, shutil, struct, subprocess, sys, tempfile, threading
from multiprocessing import Process

filesystem, layout = sys.argv[1:3]
stride = int(sys.argv[3]) if len(sys.argv) > 3 else 1
handler = os.environ['HANDLER']
random.seed('1')
libc = ctypes.CDLL(None, use_errno=True)
here = tempfile.mkdtemp(dir=os.getcwd(), prefix='.power.')
for folder in ['fuse', 'mail']:
    os.mkdir(f'{here}/{folder}')
image, log_path = here + '/image', here + '/log'
make = {'ext4': 'mke2fs -q -t ext4 -J size=4', 'xfs': 'mkfs.xfs -q', 'btrfs': 'mkfs.btrfs -q'}
size = {'ext4': 16, 'xfs': 300, 'btrfs': 128}[filesystem] << 20
sector = 4096 if filesystem == 'btrfs' else 512  # the unit that is written atomically
open(here + '/users', 'w').write('alice:{PLAIN}apple\n')
options = ['--user=root', '--users=' + here + '/users', '--mailbox=' + here + '/mail/%u']
subprocess.run(['mount', '--make-rprivate', '/'], check=True)


def serve_disk():
    """A file that is a disk, and its log: offset, length and octets of each write; length 0 is a
    flush."""
    from fusepy import FUSE, Operations

    class Disk(Operations):
        def __init__(self):
            self.disk = open(image, 'r+b', buffering=0)
            self.log = open(log_path, 'wb', buffering=0)

        def getattr(self, path, handle=None):
            if path == '/':
                return {'st_mode': 0o40700, 'st_nlink': 2}
            return {'st_mode': 0o100600, 'st_nlink': 1, 'st_size': size}

        def readdir(self, path, handle):
            return ['.', '..', 'disk']

        def read(self, path, count, offset, handle):
            return os.pread(self.disk.fileno(), count, offset)

        def write(self, path, octets, offset, handle):
            os.pwrite(self.disk.fileno(), octets, offset)
            self.log.write(struct.pack('<QQ', offset, len(octets)) + octets)
            return len(octets)

        def fsync(self, path, data_only, handle):
            self.log.write(struct.pack('<QQ', 0, 0))
            return 0

        def truncate(self, path, length, handle=None):
            return 0

    FUSE(Disk(), here + '/fuse', foreground=True, nothreads=True)


def mount(path):
    command = ['mount', '-t', filesystem, '-o', 'loop', path, here + '/mail']
    if subprocess.run(command).returncode == 0:
        return
    # About one in ten thousand disks has an ext4 superblock with a wrong checksum. Do what an
    # administrator would: e2fsck uses another superblock and replays the journal.
    if filesystem == 'ext4':
        subprocess.run(['e2fsck', '-fy', path], stdout=subprocess.DEVNULL)
    subprocess.run(command, check=True)


def unmount():
    subprocess.run(['umount', here + '/mail'], check=True)


messages = [f'{i:02}.M1P1.h' for i in range(1, 41)]
uidlist = here + '/mail/alice/dovecot-uidlist'
if layout == 'imported':
    options.append('--unique-ids-from=dovecot %f')
    messages.reverse()


def make_mailbox():
    for place in ['.'] if layout == 'folder' else ['new', 'cur', 'tmp']:
        os.makedirs(f'{here}/mail/alice/{place}', exist_ok=True)
    for i, name in enumerate(messages):
        place = '.' if layout == 'folder' else 'new' if i % 2 else 'cur'
        open(f'{here}/mail/alice/{place}/{name}', 'w').write(f'Subject: {name}\n\nHello\n')
    if layout == 'imported':
        with open(uidlist, 'w') as file:
            file.write('3 V5 N99\n' + ''.join(f'{i + 1} :{name}\n' for i, name in enumerate(messages)))


class Session:
    def __init__(self):
        self.process = subprocess.Popen([handler, *options], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        self.process.stdout.readline()
        self.ask('USER alice', 'PASS apple')

    def ask(self, *lines):
        for line in lines:
            self.process.stdin.write(line.encode() + b'\r\n')
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
            assert answer.startswith(b'+OK'), answer
        return answer

    def uids(self):
        self.ask('UIDL')
        return [line.split()[1].decode() for line in iter(self.process.stdout.readline, b'.\r\n')]

    def quit(self):
        self.ask('QUIT')
        self.process.wait()


def record():
    """Runs the session. Returns the states of the mailbox, each with the length of the log when the
    state was acknowledged."""
    disk = Process(target=serve_disk, daemon=True)  # ends with a failed test
    disk.start()
    while not os.path.ismount(here + '/fuse'):
        assert disk.is_alive()
    mount(here + '/fuse/disk')
    make_mailbox()
    root = os.open(here + '/mail', os.O_RDONLY)
    libc.syncfs(root)
    stop = threading.Event()

    def write_out():
        while not stop.is_set():
            libc.syncfs(root)

    left = list(messages)
    states = [(os.path.getsize(log_path), list(left))]

    def acknowledged(*gone):
        for name in gone:
            left.remove(name)
        states.append((os.path.getsize(log_path), list(left)))

    for busy in [False, True, True]:
        writer = threading.Thread(target=write_out)
        if busy:
            writer.start()
        session = Session()
        uids = session.uids()
        if os.path.exists(uidlist):
            os.remove(uidlist)
        session.ask('DELI 1')
        acknowledged(uids[0])
        session.ask(*(f'DELE {i}' for i in range(2, 9)), 'SLEE')
        acknowledged(*uids[1:8])
        session.ask('WAKE', 'DELE 1', 'DELE 2', 'QUIT')
        acknowledged(*uids[8:10])
        session.process.wait()
        stop.set()
        if busy:
            writer.join()
        stop.clear()
    os.close(root)
    unmount()
    subprocess.run(['umount', here + '/fuse'], check=True)
    disk.join()
    return states


def entries():
    log = open(log_path, 'rb').read()
    at = 0
    while at < len(log):
        offset, length = struct.unpack_from('<QQ', log, at)
        at += 16 + length
        yield at, offset, log[at - length:at]


def copy(path):
    subprocess.run(['cp', '--sparse=always', path, here + '/cut'], check=True)


def write(path, offset, octets):
    with open(path, 'r+b') as disk:
        disk.seek(offset)
        disk.write(octets)


def check(end, states):
    """Mounts the disk as a power failure at this point of the log leaves it."""
    acknowledged = max(i for i, (length, _) in enumerate(states) if length <= end)
    allowed = [left for _, left in states[acknowledged:acknowledged + 2]]
    mount(here + '/cut')
    for _ in range(2):
        session = Session()
        found = session.uids()
        session.quit()
        assert found in allowed, (end, acknowledged, found, allowed)
    unmount()


with open(image, 'wb') as disk:
    disk.truncate(size)
subprocess.run([*make[filesystem].split(), image], check=True)
shutil.copy(image, here + '/flushed')
states = record()
begin, finish = states[0][0], states[-1][0]
disks, waiting = 0, []  # unflushed writes
for i, (end, offset, octets) in enumerate(entries()):
    if octets:
        waiting.append((offset, octets))
    else:
        for done in waiting:
            write(here + '/flushed', *done)
        waiting = []
    if end < begin or end > finish or i % stride:
        continue
    copy(here + '/flushed')
    for done in waiting:
        write(here + '/cut', *done)
    check(end, states)
    copy(here + '/flushed')
    for offset, octets in waiting:
        write(here + '/cut', offset,
              random.choice([b'', octets, octets[:random.randrange(len(octets)) & -sector]]))
    check(end, states)
    disks += 2
print(f'power {filesystem} {layout}: {disks} disks')
shutil.rmtree(here)
