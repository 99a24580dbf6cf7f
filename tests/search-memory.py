#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""search-memory.py PID TEXT...: prints the texts that are found in the memory of a process. A text that
begins with `hex:` stands for octets in hexadecimal."""
import re, sys


def regions(pid):
    """Yields the octets of each readable region of the process, but for the code and constants of its program
    and libraries."""
    with open(f'/proc/{pid}/maps') as maps, open(f'/proc/{pid}/mem', 'rb', buffering=0) as memory:
        for line in maps:
            limits, permissions = line.split()[:2]
            start, end = (int(limit, 16) for limit in limits.split('-'))
            is_code = permissions in ('r--p', 'r-xp') and re.search(r'(/pop3-handler|\.so[.0-9]*)$', line)
            if not permissions.startswith('r') or is_code or '[vvar' in line or '[vsyscall]' in line:
                continue
            memory.seek(start)
            octets = b''
            while len(octets) < end - start and (more := memory.read(end - start - len(octets))):
                octets += more
            yield octets


def search(pid, *texts):
    """Returns the texts that are found."""
    sought = {text: bytes.fromhex(text[4:]) if text.startswith('hex:') else text.encode() for text in texts}
    dense = (re.sub(rb'\0{64,}', bytes(64), octets) for octets in regions(pid))  # most of the memory is zeros
    return {text for octets in dense for text in texts if sought[text] in octets}


if __name__ == '__main__':
    print(*sorted(search(*sys.argv[1:])))
