#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make the tables of unicode_table.c: where the tokenizers library's own Unicode tables differ from those of the libraries used here.

    python3 -m venv V; V/bin/pip install tokenizers unicodedata2; V/bin/python make_unicode_table.py > unicode_table.c

Then clang-format it.

Its regular expressions know Unicode 16 (PCRE2 in Debian 12: 14), its normalizer Unicode 9 (utf8proc: 15). Nothing is
taken from a data file: the library is asked about every code point. The base, Unicode 14, is this Python's (3.11).
"""
import sys
import unicodedata

import tokenizers
import unicodedata2
from tokenizers import Regex
from tokenizers.normalizers import NFC, NFD
from tokenizers.pre_tokenizers import Split

CATEGORIES = ("Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split())
TEXT = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)


def ranges(pairs):
    """Sorted (code point, value) -> [first, last, value] of neighbours with one value."""
    out = []
    for c, v in pairs:
        if out and out[-1][1] == c - 1 and out[-1][2] == v:
            out[-1][1] = c
        else:
            out.append([c, c, v])
    return out


def new_categories():
    of = {}
    for name in CATEGORIES:
        pieces = Split(Regex(r"\p{%s}" % name), "removed").pre_tokenize_str(TEXT)
        for c in set(TEXT) - set("".join(p for p, _ in pieces)):
            of[c] = name
    pairs = [(ord(c), of[c]) for c in TEXT if c in of and of[c] != unicodedata.category(c)]
    assert all(unicodedata.category(chr(c)) == "Cn" for c, v in pairs if (c, v) != (0x1171E, "Mc"))
    return ranges((c, v) for c, v in pairs if c != 0x1171E)  # from Mn to Mc: M all the same


def inert():
    """Marks and composites of the newest Unicode that the library's normalizer passes by, as it does all of new."""
    nfc, nfd = NFC(), NFD()
    parts, found = {}, []
    for c in TEXT:
        d = unicodedata2.normalize("NFD", c)
        if d != c:
            parts[c] = d
    seconds = {d[-1] for d in parts.values()}
    for c in TEXT:
        k = unicodedata2.combining(c)
        if k and k < 240 and nfc.normalize_str("x\u0345" + c) == "x\u0345" + c:
            found.append(c)  # not put before a mark of class 240
        elif c in parts and nfd.normalize_str(c) == c:
            found += [c] + [p for p in parts[c] if not unicodedata2.combining(p) and p in seconds]
    return ranges((ord(c), 0) for c in sorted(set(found)))


def main():
    if unicodedata.unidata_version != "14.0.0":
        sys.exit("this Python knows Unicode %s, the base is 14.0.0" % unicodedata.unidata_version)
    print("// SPDX-License-Identifier: Apache-2.0")
    print("/* Made by make_unicode_table.py from tokenizers %s; do not edit. */" % tokenizers.__version__)
    print('#include "common/model/unicode_table.h"\n')
    rows = new_categories()
    print("const struct unicode_range unicode_new[UNICODE_N_NEW] = {")
    for a, b, v in rows:
        print('    {0x%x, 0x%x, "%s"},' % (a, b, v))
    print("};\n\nconst struct unicode_range unicode_inert[UNICODE_N_INERT] = {")
    still = inert()
    for a, b, _ in still:
        print('    {0x%x, 0x%x, ""},' % (a, b))
    print("};\n\nconst uint8_t unicode_block[UNICODE_N_BLOCK / 8] = {")
    bits = bytearray(0x1100 // 8)
    for a, b, _ in rows + still:
        for block in range(a >> 8, (b >> 8) + 1):
            bits[block >> 3] |= 1 << (block & 7)
    for i in range(0, len(bits), 24):
        print("    " + " ".join("%d," % b for b in bits[i : i + 24]))
    print("};")
    print("UNICODE_N_NEW %d, UNICODE_N_INERT %d" % (len(rows), len(still)), file=sys.stderr)


main()
