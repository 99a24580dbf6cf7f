#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""search-memory.py PID TEXT...: prints those of the texts that are in the memory of a process. For one that
begins with `hex:` these are octets."""
import sys


def regions(pid):
    """Yields the octets of each region that the process can read."""
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
    """Those of the texts that are there."""
    sought = {text: bytes.fromhex(text[4:]) if text.startswith('hex:') else text.encode() for text in texts}
    return {text for octets in regions(pid) for text in texts if sought[text] in octets}


if __name__ == '__main__':
    print(*sorted(search(*sys.argv[1:])))
