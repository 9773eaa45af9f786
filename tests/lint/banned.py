#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""banned.py - what is not written here: calls that cannot be used safely, the end of the process outside main, conditionals of the
preprocessor outside guards, fast-math flags, a source file without its licence line."""
import re

import tree

ROOMS = ('common/', 'proto/', 'rollout/', 'learner/', 'ctl/')

CALLS = {
    'sprintf': 'snprintf', 'vsprintf': 'vsnprintf', 'gets': 'fgets', 'strtok': 'strcspn', 'system': 'posix_spawn', 'popen': 'posix_spawn',
    'mktemp': 'mkstemp', 'tmpnam': 'mkstemp', 'strcpy': 'snprintf or memcpy with a length', 'strcat': 'snprintf',
    'alloca': 'an array or malloc', 'atoi': 'strtol', 'atof': 'strtod',
}
TEST_MAY = ('sprintf', 'strcpy', 'strcat', 'atoi', 'atof')  # on strings of its own
CALL = re.compile(r'(?<![\w.>])(' + '|'.join(CALLS) + r')\s*\(')
EXIT = re.compile(r'(?<![\w.>])(_exit|_Exit|exit|quick_exit)\s*\(')
# file: why it may end the process
MAY_EXIT = {
    'common/svc/loop.c': 'a second signal ends at once',
    'ctl/quickstart_run.c': 'a second signal ends at once',
    'ctl/quickstart_proc.c': 'a child between fork and exec',
}

IF = re.compile(r'^[ \t]*#[ \t]*(if|ifdef|ifndef|elif)\b[ \t]*(.*)$', re.M)
IF_ALLOWED = re.compile(r'\b(__cplusplus|__CUDACC__|ISA_[A-Z0-9_]+)\b')
GUARD = re.compile(r'[A-Z0-9_]+_H$')
FAST = re.compile(r'-ffast-math|-Ofast|-funsafe-math-optimizations|-fassociative-math|--?use_fast_math|\bfast-math\b')


def line_of(source, at):
    return source.count('\n', 0, at) + 1


def calls(path, source):
    for m in CALL.finditer(source):
        if m.group(1) in TEST_MAY and not path.startswith(ROOMS):
            continue
        yield path, line_of(source, m.start()), f'{m.group(1)}(): use {CALLS[m.group(1)]}'
    may = path.endswith('main.c') or path in MAY_EXIT or not path.startswith(ROOMS)
    for m in EXIT.finditer(source):
        if not may:
            yield path, line_of(source, m.start()), f'{m.group(1)}(): only main ends a process'


def conditionals(path, source):
    if not path.startswith(ROOMS):
        return
    for m in IF.finditer(source):
        what = m.group(2).strip()
        guard = m.group(1) == 'ifndef' and GUARD.match(what) and re.match(rf'\s*#\s*define\s+{what}\b', source[m.end():])
        if not guard and not IF_ALLOWED.search(what):
            yield path, line_of(source, m.start()), f'#{m.group(1)} {what}: a back end or a platform is chosen at run time, behind a door'


def find(root):
    for path in tree.files(root):
        is_c, is_build = path.endswith(('.c', '.h', '.cu', '.cuh')), path.endswith(('meson.build', 'meson_options.txt', '.sh'))
        is_script = not is_c and not is_build and '.' not in path.rsplit('/', 1)[-1]
        if not (is_c or is_build or is_script or path.endswith(('.py', '.def'))):
            continue
        source = tree.text(root, path)
        is_script = is_script and source.startswith('#!')
        if (is_c or is_script or path.endswith(('.py', '.def', '.sh'))) and 'SPDX-License-Identifier: Apache-2.0' not in '\n'.join(source.split('\n')[:3]):
            yield path, 1, 'no line "SPDX-License-Identifier: Apache-2.0" at its head'
        if is_c:
            yield from calls(path, tree.code(source))
            yield from conditionals(path, tree.code(source))
        if is_build or is_c:
            for m in FAST.finditer(source if is_build else tree.code(source)):
                yield path, line_of(source, m.start()), f'{m.group(0)}: sums have one order here'


if __name__ == '__main__':
    tree.run(find)
