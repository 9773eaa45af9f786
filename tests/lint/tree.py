# SPDX-License-Identifier: Apache-2.0
"""tree.py - what every lint shares: the files of a tree, C without its comments and strings, and how a finding is said.

A lint is a module with find(root), which yields (path, line, words). run() prints them as path:line: words and exits 1 if there are any.
usage of each: LINT.py [ROOT]; ROOT is the checkout that holds the lint unless given."""
import os
import re
import sys

SKIP = re.compile(r'^(\.git|build.*|runs|shared|__pycache__|\.cache|subprojects)$')


def files(root, *endings):
    """Paths from the root, sorted; all of them without endings."""
    out = []
    for top, dirs, names in os.walk(root):
        dirs[:] = sorted(d for d in dirs if not SKIP.match(d))
        for n in names:
            p = os.path.relpath(os.path.join(top, n), root)
            if (not endings or n.endswith(endings)) and not os.path.islink(os.path.join(top, n)):
                out.append(p.replace(os.sep, '/'))
    return sorted(out)


def text(root, path):
    with open(os.path.join(root, path), encoding='utf-8', errors='replace') as f:
        return f.read()


PIECES = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def code(source):
    """The same lines with comments and the inside of literals blanked, so that only code matches."""
    def blank(m):
        s = m.group(0)
        keep = s[0] if s[0] in '"\'' else ''
        body = re.sub(r'[^\n]', ' ', s)
        return keep + body[1:-1] + keep if keep and len(s) > 1 else body
    return PIECES.sub(blank, source)


def run(find):
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..')
    found = sorted(set(find(root)))
    for path, line, words in found:
        print(f'{path}:{line}: {words}')
    sys.exit(1 if found else 0)
