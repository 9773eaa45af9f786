#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""finds.py - does each lint find what it is for, and only that? A small clean tree is made in a temporary folder; the lints are silent on it;
then one violation after another is planted, and must be found in that file and line."""
import os
import sys
import tempfile

import banned
import headers
import layers
import sizes

SPDX = '// SPDX-License-Identifier: Apache-2.0\n'

CLEAN = {
    'common/base/err.h': SPDX + '#ifndef ERR_H\n#define ERR_H\nenum err { ERR_OK };\n#endif\n',
    'common/base/place.c': SPDX + '#include "common/base/err.h"\n/* strcpy( in a comment, "#if 0" in words */\nconst char *s = "system(1)";\n',
    'common/dev/dev.h': SPDX + '#ifndef DEV_H\n#define DEV_H\n#include "common/base/err.h"\n#ifdef __cplusplus\nextern "C" {\n#endif\n'
                        'enum err dev_open(void);\n#ifdef __cplusplus\n}\n#endif\n#endif\n',
    'common/dev/cpu/isa.h': SPDX + '#ifndef ISA_H\n#define ISA_H\n#ifdef ISA_AVX2\n#endif\n#endif\n',
    'common/svc/net.c': SPDX + '#include <nng/nng.h>\n',
    'learner/train.h': SPDX + '#ifndef TRAIN_H\n#define TRAIN_H\n#include "common/dev/dev.h"\n#endif\n',
    'learner/main.c': SPDX + '#include "learner/train.h"\nint main(void)\n{\n    exit(0);\n}\n',
    'rollout/engine.c': SPDX + '#include "common/dev/dev.h"\n\nint f(void)\n{\n' + '    f();\n' * 58 + '}\n',
    'tests/unit/test_table.c': SPDX + 'int f(void)\n{\n    static const int t[] = {\n' + '        1,\n' * 90 + '    };\n    return t[0];\n}\n',
    'tests/unit/test_x.c': SPDX + '#include "learner/train.h"\n#include "common/base/err.h"\n#if 1\n#endif\n',
    'meson.build': "project('x', 'c')\n",
}

# lint, file, its new text (or what is added to it), the line that must be named
PLANTED = [
    (layers, 'common/base/place.c', '#include "common/dev/dev.h"\n', 5),
    (layers, 'common/dev/cpu/attention.c', SPDX + '\n#include "learner/train.h"\n', 3),
    (layers, 'rollout/engine.c', '#include "learner/train.h"\n', 65),
    (layers, 'learner/main.c', '#include "common/dev/cpu/isa.h"\n', 7),
    (layers, 'tests/unit/test_x.c', '#include "common/dev/cpu/isa.h"\n', 6),
    (layers, 'tests/unit/test_x.c', '#include "common/base/place.c"\n', 6),
    (layers, 'learner/main.c', '#include "train.h"\n', 7),
    (layers, 'elsewhere/x.c', SPDX + '#include "common/base/err.h"\n', 2),
    (layers, 'learner/main.c', '#include <nng/nng.h>\n', 7),
    (headers, 'common/base/span.h', SPDX + '#ifndef SPAN_H\n#define SPAN_H\nstruct span { size_t n; };\n#endif\n', 1),
    (headers, 'common/base/twice.h', SPDX + 'struct twice { int n; };\n', 1),
    (headers, 'common/base/rng.h', SPDX + '#ifndef RNG_H\n#define RNG_H\nint new(int class);\n#endif\n', 1),
    (sizes, 'common/base/long.c', SPDX + '\n' * 1000, 1001),
    (sizes, 'common/base/long.h', SPDX + '\n' * 150, 151),
    (sizes, 'rollout/engine.c', 'int g(void)\n{\n' + '    f();\n' * 59 + '}\n', 66),
    (sizes, 'rollout/engine.c', 'int g(void)\n{\n    static const int t[] = {\n' + '        1,\n' * 9 + '    };\n' + '    f();\n' * 59 + '}\n', 66),
    (banned, 'common/base/place.c', 'void f(void) { strcpy(a, b); }\n', 5),
    (banned, 'common/base/place.c', 'void f(void) { g(); sprintf (a, b); }\n', 5),
    (banned, 'ctl/verb.c', SPDX + 'void f(void) { strtok(a, b); gets(a); }\n', 2),
    (banned, 'tests/unit/test_x.c', 'void f(void) { system("ls"); }\n', 6),
    (banned, 'rollout/engine.c', 'void h(void) { exit(1); }\n', 65),
    (banned, 'common/base/place.c', '#ifdef __linux__\n#endif\n', 5),
    (banned, 'common/base/place.c', '# if 0\n#endif\n', 5),
    (banned, 'common/base/place.c', '#ifndef NDEBUG\n#endif\n', 5),
    (banned, 'common/base/bare.c', 'int x;\n', 1),
    (banned, 'tests/tool.py', 'print(1)\n', 1),
    (banned, 'deploy/start', '#!/bin/sh\ntrue\n', 1),
    (banned, 'meson.build', "add_project_arguments('-ffast-math', language: 'c')\n", 2),
]


def write(root, path, words, add=False):
    full = os.path.join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, 'a' if add else 'w', encoding='utf-8') as f:
        f.write(words)


def plant(root, path, words):
    """The violation in; what undoes it out."""
    full = os.path.join(root, path)
    old = None
    if os.path.exists(full):
        with open(full, encoding='utf-8') as f:
            old = f.read()
    write(root, path, words, add=old is not None)
    return lambda: write(root, path, old) if old is not None else os.remove(full)


def main():
    bad = 0
    with tempfile.TemporaryDirectory() as root:
        for path, words in CLEAN.items():
            write(root, path, words)
        for lint in (layers, headers, sizes, banned):
            for f in lint.find(root):
                bad += 1
                print(f'{lint.__name__}: a clean tree, yet {f}')
        for lint, path, words, line in PLANTED:
            undo = plant(root, path, words)
            found = list(lint.find(root))
            if not any(f[0] == path and f[1] == line for f in found):
                bad += 1
                print(f'{lint.__name__}: did not find {words.strip()[-60:]!r} at {path}:{line}; it said {found}')
            if any(f[0] != path for f in found):
                bad += 1
                print(f'{lint.__name__}: blames another file: {found}')
            undo()
    print(f'{len(PLANTED)} violations planted, {bad} wrong')
    sys.exit(1 if bad else 0)


if __name__ == '__main__':
    main()
