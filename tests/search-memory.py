#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""search-memory.py PID TEXT...: prints the texts that are found in the memory of a process. A text that
begins with `hex:` stands for octets in hexadecimal."""
import sys


def regions(pid):
    """Yields the octets of each readable region of the process."""
    with open(f'/proc/{pid}/maps') as maps, open(f'/proc/{pid}/mem', 'rb', buffering=0) as memory:
        for line in maps:
            limits, permissions = line.split()[:2]
            start, end = (int(limit, 16) for limit in limits.split('-'))
            if not permissions.startswith('r') or '[vvar' in line or '[vsyscall]' in line:
                continue
            memory.seek(start)
            octets = b''
            while len(octets) < end - start and (more := memory.read(end - start - len(octets))):
                octets += more
            yield octets


def search(pid, *texts):
    """Returns the texts that are found."""
    sought = {text: bytes.fromhex(text[4:]) if text.startswith('hex:') else text.encode() for text in texts}
    return {text for octets in regions(pid) for text in texts if sought[text] in octets}


if __name__ == '__main__':
    print(*sorted(search(*sys.argv[1:])))
