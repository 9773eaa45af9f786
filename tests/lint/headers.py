#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""headers.py - every header stands alone: it compiles by itself, twice in a row, as C17; those that a .cu file may include also as C++.
CC and CXX name the compilers; without a C++ compiler that half is left out, and said."""
import concurrent.futures
import fnmatch
import os
import re
import shutil
import subprocess
import sys
import tempfile

import tree

CXX_TOO = ['common/dev/dev.h', 'common/dev/ops.h', 'common/dev/batch.h', 'common/base/rng.h', 'common/base/bf16.h', 'common/base/err.h',
           '*/kern/ops.h', 'common/model/forward.h']
# built once per instruction set; one of them is enough to see that they stand
ISA = re.compile(r'common/dev/(simd|gemm|softmax)\.h$|/cpu/')
ISA_FLAGS = ['-DISA=avx2', '-DISA_AVX2', '-mavx2', '-mfma']
WARN = ['-fsyntax-only', '-Wall', '-Wextra', '-Werror', '-Wno-unused-function', '-Wno-missing-field-initializers', '-D_GNU_SOURCE']


def compiler(var, *names):
    given = os.environ.get(var, '').split()
    if given:
        return given
    for n in names:
        if shutil.which(n):
            return [n]
    return None


def compile_one(root, tmp, path, cc, flags, ending):
    src = os.path.join(tmp, path.replace('/', '_') + ending)
    with open(src, 'w', encoding='utf-8') as f:
        f.write(f'#include "{path}"\n#include "{path}"\nextern int one_thing;\n')
    more = ISA_FLAGS if ISA.search(path) else []
    r = subprocess.run(cc + flags + WARN + more + ['-I', root, src], capture_output=True, text=True, timeout=120, check=False)
    if r.returncode == 0:
        return None
    lines = [x for x in r.stderr.splitlines() if 'error' in x] or r.stderr.splitlines() or ['?']
    return f'does not stand alone as {"C++" if ending == ".cc" else "C17"}: {lines[0].strip()}'


def jobs(root):
    cc, cxx = compiler('CC', 'cc', 'gcc', 'clang'), compiler('CXX', 'c++', 'g++', 'clang++')
    if not cc:
        sys.exit('headers.py: no C compiler')
    if not cxx:
        print('headers.py: no C++ compiler here, headers are checked as C alone', file=sys.stderr)
    for path in tree.files(root, '.h'):
        yield path, cc, ['-std=c17'], '.c'
        if cxx and any(fnmatch.fnmatch(path, p) for p in CXX_TOO):
            yield path, cxx, ['-std=c++17', '-x', 'c++'], '.cc'


def find(root):
    with tempfile.TemporaryDirectory() as tmp, concurrent.futures.ThreadPoolExecutor(2) as pool:
        work = [(p, pool.submit(compile_one, root, tmp, p, cc, flags, end)) for p, cc, flags, end in jobs(root)]
        for path, w in work:
            if w.result():
                yield path, 1, w.result()


if __name__ == '__main__':
    tree.run(find)
