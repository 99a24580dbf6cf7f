#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""documents.py KIND FILE...

Prints those parts of Markdown documents and manuals (mdoc, in a directory named man) that are of KIND,
each once:
  command  commands to type, in code blocks and quoted in the text
  unknown  lines of code blocks that no rule recognises, with file and line
  exim, inetd, smtpd, xinetd, script, setting, session, log, output, other
           the other contents of code blocks"""
import re, sys

# The first words of commands, after any variables. A line of a code block with another first word is
# unknown until the word is added here. Text between backticks with another first word is not a command,
# nor is one of these words alone, unless it is a path.
WORDS = ['apt-get', 'bats', 'certbot', 'chgrp', 'cp', 'curl', 'doveconf', 'echo', 'git', 'journalctl', 'ln', 'meson',
         'pop3-check', 'pop3-compare', 'pop3-handler', 'postconf', 'printf', 'sed', 'sudo', 'systemctl', 'systemd-analyze', 'tcpserver',
         r'(\.ci|bench|build-demo|tests|tools)/[\w-]+(\.py)?']
COMMAND = re.compile(rf'([A-Z_]+=\S+ )*({"|".join(WORDS)})( |$)')
# Paragraphs of one kind, by their first lines; below, single lines.
BLOCKS = {
    'exim': re.compile(r'mailboxes:$'),
    'script': re.compile(r'#!/bin/sh$'),
    'smtpd': re.compile(r'table mailboxes '),
    'xinetd': re.compile(r'service \w+$'),
}
LINES = {
    'inetd': re.compile(r'\w+ stream tcp (no)?wait(\.\d+)? \w+ /'),
    'setting': re.compile(r'[a-z-]+ = \S'),
    'session': re.compile(r'[CS]: |\.\.\.$'),
    'log': re.compile(r"(login of|message|session of) '|session from |TLS handshake with |connection from |"
                      r'settings and certificates are |reload failed, |the sandbox has refused '),
}
OTHERS = ['c', 'diff', 'ini', 'text']  # languages of fenced blocks without commands
FENCED = re.compile(r'^(?P<fence>```+|~~~+) *(?P<language>\w*)\n(?P<code>.*?)^(?P=fence)$', re.M | re.S)
LITERAL = re.compile(r'^\.Bd -literal.*\n(?P<code>(.*\n)*?)\.Ed$', re.M)  # of a manual
QUOTED = re.compile(r'^\.[DQ]l (.+?)( [.,:;)])*$', re.M)  # in a manual
INDENTED = re.compile(r'(?<=\n\n)(?P<code>( {4}.*\n+)+)')


def fold(text):
    return ' '.join(text.split())


def in_block(lines, where):
    """Yields the kind and text of each part. `where` returns file and line of a line's index."""
    has_prompts = any(line.startswith('$ ') for line in lines)
    number = 0
    while number < len(lines):
        line, begin = lines[number], number
        kind = next((kind for kind, first in BLOCKS.items() if first.match(line)), None)
        if kind:
            number = lines.index('', begin) if '' in lines[begin:] else len(lines)
            yield kind, '\n'.join(lines[begin:number])
            continue
        number += 1
        if has_prompts and not line.startswith('$ '):
            yield 'output', line
            continue
        line = line.removeprefix('$ ')
        if COMMAND.match(line):
            while line.endswith(('\\', '|')) and number < len(lines):
                line = line.removesuffix('\\') + ' ' + lines[number]
                number += 1
            yield 'command', fold(re.sub(r'\s#\s.*', '', line))
        elif line:
            kind = next((kind for kind, rule in LINES.items() if rule.match(line)), None)
            yield (kind, line) if kind else ('unknown', where(begin) + line)


def in_document(path):
    """The same for a file."""
    text = open(path).read()
    for form in FENCED, INDENTED:
        for match in form.finditer(text):
            lines = [line.removeprefix('    ' * (form is INDENTED)) for line in match['code'].rstrip().split('\n')]
            begin = text.count('\n', 0, match.start('code')) + 1
            if form is FENCED and match['language'] in OTHERS:
                yield 'other', '\n'.join(lines)
            else:
                yield from in_block(lines, lambda number: f'{path}:{begin + number}: ')
        text = form.sub(lambda match: '\n' * match[0].count('\n'), text)
    for paragraph in text.split('\n\n'):
        for span in re.finditer(r'(`+)(.+?)\1(?!`)', paragraph, re.S):
            words = fold(span[2])
            if COMMAND.match(words) and (' ' in words or '/' in words):
                yield 'command', words


def in_manual(path):
    """The same for a manual."""
    text = open(path).read()
    for match in LITERAL.finditer(text):
        lines = match['code'].rstrip().replace('\\&', '').replace('\\e', '\\').split('\n')
        begin = text.count('\n', 0, match.start('code')) + 1
        yield from in_block(lines, lambda number: f'{path}:{begin + number}: ')
    for span in QUOTED.finditer(LITERAL.sub('', text)):
        if COMMAND.match(span[1]) and ' ' in span[1]:
            yield 'command', fold(span[1])


def parts(path):
    return in_manual(path) if path.startswith('man/') else in_document(path)


wanted, *paths = sys.argv[1:]
for text in dict.fromkeys(text for path in paths for kind, text in parts(path) if kind == wanted):
    print(text)
