#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""layers.py - the walls between rooms. A room is a folder; an include line names the room it enters, and ROOMS says which it may.
The table is that of docs/ARCHITECTURE.md."""
import os
import re

import tree

COMMON = ['common/base', 'common/svc', 'common/dev', 'common/comm', 'common/model', 'common/reward', 'common/run', 'common/push']
ALL = COMMON + ['proto', 'rollout', 'learner', 'ctl', 'tests', 'bench']

# room: the rooms whose headers it may include, besides its own
ROOMS = {
    'common/base': [],
    'common/svc': ['common/base'],
    'common/dev': ['common/base'],
    'common/comm': ['common/base', 'common/dev'],
    'common/model': ['common/base', 'common/dev', 'common/comm'],
    'common/reward': ['common/base'],
    'common/run': ['common/base'],
    'common/push': ['common/base', 'common/svc', 'common/dev', 'proto'],
    'proto': ['common/base'],
    'rollout': COMMON + ['proto'],
    'learner': COMMON + ['proto'],
    'ctl': ['common/base', 'common/svc', 'common/model', 'common/reward', 'common/run', 'proto'],
    'docs': ['common/svc', 'rollout', 'learner'],  # the lists of settings, for the man pages
    'tests': ALL,
    'bench': ALL,
}

# folder: the one folder whose files may look inside
PRIVATE = {
    'common/dev/cpu': 'common/dev', 'common/dev/cuda': 'common/dev',
    'rollout/kern/cpu': 'rollout/kern', 'rollout/kern/cuda': 'rollout/kern',
    'learner/kern/cpu': 'learner/kern', 'learner/kern/cuda': 'learner/kern',
}

# header of a library: where it may be included (a file or a folder); tests and bench may anywhere
LIBRARIES = {
    'nng/': ['common/svc/net'],
    'msgpack': ['proto/msg.c'],
    'uv.h': ['common/base/post.', 'common/svc/'],
    'ini.h': ['common/svc/conf.c'],
    'systemd/': ['common/svc/daemon.c'],
    'sqlite3.h': ['common/run/'],
    'gmp.h': ['common/reward/'],
    'microhttpd.h': ['rollout/http'],
    'pcre2.h': ['common/model/'],
    'utf8proc.h': ['common/model/', 'ctl/'],
    'xxhash.h': ['common/base/hash.c', 'common/model/'],
    'immintrin.h': ['common/dev/simd.h'],
    'cuda': ['common/dev/cuda/', 'common/comm/', 'rollout/kern/cuda/', 'learner/kern/cuda/'],
}

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)


def room_of(path):
    for room in sorted(ROOMS, key=len, reverse=True):
        if path.startswith(room + '/'):
            return room
    return None


def inside(path, folder):
    return path.startswith(folder + '/')


def check_ours(root, path, target):
    here, there = room_of(path), room_of(target)
    if target.endswith('.c'):
        return f'includes a source file, {target}: link its library'
    if not os.path.exists(os.path.join(root, target)):
        return f'includes "{target}", which is not there: includes are written from the root'
    if here is None:
        return 'is in no room: ROOMS in tests/lint/layers.py lists them'
    if there is None:
        return f'includes "{target}", which is in no room'
    if there != here and there not in ROOMS[here]:
        return f'{here} may not enter {there}: {target}'
    for folder, parent in PRIVATE.items():
        if inside(target, folder) and not inside(path, parent):
            return f'{folder} is private to {parent}: {target}'
    return None


def check_library(path, header):
    if room_of(path) in ('tests', 'bench'):
        return None
    for lib, places in LIBRARIES.items():
        if header.startswith(lib) and not any(path.startswith(p) for p in places):
            return f'<{header}> belongs to {", ".join(places)}'
    return None


def find(root):
    for path in tree.files(root, '.c', '.h', '.cu', '.cuh', '.def'):
        source = tree.text(root, path)
        for m in INCLUDE.finditer(source):
            words = check_ours(root, path, m.group(2)) if m.group(1) == '"' else check_library(path, m.group(2))
            if words:
                yield path, source.count('\n', 0, m.start(2)) + 1, words


if __name__ == '__main__':
    tree.run(find)
