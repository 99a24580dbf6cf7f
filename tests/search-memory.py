#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""search-memory.py PID TEXT...: prints those of the texts that are in the memory of a process."""
import sys

pid, *texts = sys.argv[1:]
found = set()
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
        found |= {text for text in texts if text.encode() in octets}
print(*sorted(found))
