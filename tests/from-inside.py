#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""from-inside.py PID CALL...: makes a process that waits for its client do system calls, as an attacker
in control of it would, and prints the results: "NAME: NUMBER" or "NAME: ERROR". A CALL is a name and
arguments, separated by blanks: numbers; or the addresses of @ and octets in hexadecimal, or of a string.
Missing arguments are 0. Afterwards the process waits again; but a last CALL that begins with "!", which
must be refused, replaces its wait, which returns that error. A call that kills the process is the last:
"NAME: killed by SIGNAL". A name may also be a number, and int80:NUMBER is a call of a 32-bit program.
`send PACKET` and `ask PACKET`, octets in hexadecimal, talk to the keeper of a session: send returns like
write(2), ask returns the error in the answer, or `closed`. x86_64 only."""
import ctypes, errno, os, platform, re, signal, struct, sys

assert platform.machine() == 'x86_64'
# The system calls by name, as the C library's headers have them.
with open('/usr/include/x86_64-linux-gnu/asm/unistd_64.h') as header:
    numbers = {name: int(number) for name, number in re.findall(r'#define __NR_(\w+) (\d+)', header.read())}
CONT, ATTACH, DETACH, GETREGS, SETREGS, SINGLESTEP = 7, 16, 17, 12, 13, 9
# struct user_regs_struct
names = ('r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss '
         'fs_base gs_base ds es fs gs').split()
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_ulong, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long
pid = int(sys.argv[1])


def ptrace(request, data=None):
    if libc.ptrace(request, pid, None, data) < 0:
        raise OSError(ctypes.get_errno(), f'ptrace {request}')


def get_registers():
    buffer = ctypes.create_string_buffer(8 * len(names))
    ptrace(GETREGS, ctypes.cast(buffer, ctypes.c_void_p))
    return dict(zip(names, struct.unpack(f'{len(names)}Q', buffer.raw)))


def set_registers(registers):
    raw = struct.pack(f'{len(names)}Q', *(registers[name] for name in names))
    ptrace(SETREGS, ctypes.cast(ctypes.create_string_buffer(raw), ctypes.c_void_p))


def number_of(name):
    return numbers[name] if name in numbers else int(name.removeprefix('int80:'), 0)


def set_instruction(octets, memory, before):
    memory.seek(before['rip'] - 2)
    memory.write(octets)


def make_ready(text, memory, before):
    """Prepares the call as the next one of the process. Returns its name."""
    name, *words = text.split(' ')
    arguments, space = [], before['rsp'] - 4096
    if name.startswith('int80:'):
        set_instruction(b'\xcd\x80', memory, before)
    for word in words:
        try:
            arguments.append(int(word, 0) & (2 ** 64 - 1))
        except ValueError:
            octets = bytes.fromhex(word[1:]) if word.startswith('@') else word.encode()
            memory.seek(space)
            memory.write(octets + b'\0')
            arguments.append(space)
            space += len(octets) + 1
    arguments += [0] * (6 - len(arguments))
    order = ['rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp'] if name.startswith('int80:') else ['rdi', 'rsi', 'rdx', 'r10', 'r8', 'r9']
    registers = dict(before, rip=before['rip'] - 2, rax=number_of(name), orig_rax=2 ** 64 - 1, **dict(zip(order, arguments)))
    set_registers(registers)
    return name


def call(text, memory, before):
    """Returns the result of the call as the kernel reports it."""
    name = make_ready(text, memory, before)
    ptrace(SINGLESTEP)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        print(f'{name}: killed by {signal.Signals(os.WTERMSIG(status)).name}')
        sys.exit()
    if os.WSTOPSIG(status) == signal.SIGSYS:
        ptrace(SINGLESTEP)  # the trap of the single step follows
        os.waitpid(pid, 0)
        return name, 'EPERM'
    if name.startswith('int80:'):
        set_instruction(b'\x0f\x05', memory, before)
    result = get_registers()['rax']
    result -= 2 ** 64 if result >= 2 ** 63 else 0
    return name, errno.errorcode[-result] if result < 0 else result


def find_channel():
    """Returns the session's descriptor of the channel to its keeper: its only SOCK_SEQPACKET socket."""
    with open('/proc/net/unix') as table:
        inodes = {words[6] for words in map(str.split, table) if words[4] == '0005'}
    for fd in os.listdir(f'/proc/{pid}/fd'):
        if re.sub(r'\D', '', os.readlink(f'/proc/{pid}/fd/{fd}')) in inodes:
            return fd
    sys.exit('the process has no keeper')


def talk_to_keeper(verb, packet, memory, before):
    """Sends a packet, and optionally waits for its answer."""
    fd, octets = find_channel(), bytes.fromhex(packet)
    space = call(f'mmap 0 {1 << 16} 3 0x22 -1 0', memory, before)[1]
    memory.seek(space)
    memory.write(octets)
    result = call(f'write {fd} {space} {len(octets)}', memory, before)[1]
    while verb == 'ask' and result in (len(octets), 'EAGAIN'):
        if (received := call(f'read {fd} {space} {1 << 16}', memory, before)[1]) in (0, 'ECONNRESET'):
            result = 'closed'
            break
        memory.seek(space)
        error = struct.unpack('i', memory.read(4))[0] if isinstance(received, int) else received
        result = errno.errorcode[-error] if isinstance(error, int) and error < 0 else error
    if verb == 'ask' and result == 'EPIPE':
        result = 'closed'
    call(f'munmap {space} {1 << 16}', memory, before)
    return verb, result


ptrace(ATTACH)
os.waitpid(pid, 0)
before = get_registers()
with open(f'/proc/{pid}/mem', 'r+b', buffering=0) as memory:
    memory.seek(before['rip'] - 2)
    assert memory.read(2) == b'\x0f\x05', 'the process does not wait in a system call'
    for text in sys.argv[2:]:
        if text.startswith('!'):
            make_ready(text[1:], memory, before)
            ptrace(CONT)
            os.waitpid(pid, 0)
            ptrace(DETACH, signal.SIGSYS)
            sys.exit()
        verb, _, packet = text.partition(' ')
        name, result = (talk_to_keeper(verb, packet, memory, before) if verb in ('ask', 'send') else
                        call(text, memory, before))
        print(f'{name}: {result}')
        if name == 'fork' and isinstance(result, int):
            os.kill(result, signal.SIGKILL)
set_registers(before)
ptrace(DETACH)
