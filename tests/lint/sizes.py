#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""sizes.py - sizes that read calmly: a file at most 1,000 lines, a header 150, a function 60; kernels may have long functions, and
simd.h holds one vector in two builds."""
import re

import tree

FILE, HEADER, FUNCTION = 1000, 150, 60
LONG_HEADERS = {
    'common/dev/simd.h',   # the whole vector, written twice
    'common/push/push.h',  # both ends of a push in one contract
    'ctl/quickstart.h',    # six small files in one contract
}
KERNELS = re.compile(r'/cpu/|/cuda/|\.cu$')


def functions(source):
    """(first line, lines) of each function: a brace alone in column 0 to the next closing one. A static table in it is data, not flow, and
    does not count."""
    lines = tree.code(source).split('\n')
    start, table, data = None, None, 0
    for i, s in enumerate(lines):
        if s.rstrip() == '{':
            start, table, data = i, None, 0
        elif start is None:
            continue
        elif s.startswith('}'):
            yield start + 1, i - start + 1 - data
            start = None
        elif table is None and re.match(r'    static const .*\{$', s.rstrip()):
            table = i
        elif table is not None and s.rstrip() == '    };':
            data += i - table + 1
            table = None


def find(root):
    for path in tree.files(root, '.c', '.h', '.cu', '.cuh', '.py', '.sh'):
        source = tree.text(root, path)
        n = source.count('\n')
        if n > FILE:
            yield path, n, f'{n} lines, at most {FILE}'
        if path.endswith('.h') and n > HEADER and path not in LONG_HEADERS:
            yield path, n, f'a header of {n} lines, at most {HEADER}'
        if path.endswith(('.py', '.sh')) or KERNELS.search(path):
            continue
        for line, length in functions(source):
            if length > FUNCTION:
                yield path, line, f'a function of {length} lines, at most {FUNCTION}'


if __name__ == '__main__':
    tree.run(find)
