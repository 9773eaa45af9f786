#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/tokenizer/unicode.json: what the tokenizers library holds every single character for.

    python3 tests/golden/make_unicode.py tests/golden/tokenizer/unicode.json

Run once, by hand, outside the test run. Needs: tokenizers.
"category": [first, last, general category] of its regular expressions; "space": [first, last] of their \\s;
"mark": c -> the normal form of U+4E00 U+0345 c, where that is something else (c is reordered, or decomposed);
"pair": [text, normal form] of what composites are made of, alone and with a mark between."""
import json
import sys

from tokenizers import Regex
from tokenizers.normalizers import NFC, NFD
from tokenizers.pre_tokenizers import Split

CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf".split()
TEXT = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)


def matched(expression):
    pieces = Split(Regex(expression), "removed").pre_tokenize_str(TEXT)
    return set(TEXT) - set("".join(p for p, _ in pieces))


def ranges(of):
    out = []
    for c in sorted(of):
        if out and out[-1][1] == ord(c) - 1 and out[-1][2:] == of[c]:
            out[-1][1] = ord(c)
        else:
            out.append([ord(c), ord(c)] + of[c])
    return out


def main():
    nfc, nfd = NFC(), NFD()
    category = {c: [name] for name in CATEGORIES for c in matched(r"\p{%s}" % name)}
    mark, pairs = {}, set()
    for c in TEXT:
        text = "\u4e00\u0345" + c
        normal = nfc.normalize_str(text)
        hangul = "\uac00" <= c <= "\ud7a3"
        if normal != text and not hangul:
            mark["%x" % ord(c)] = normal
        d = nfd.normalize_str(c)
        if d != c and (not hangul or ord(c) % 97 == 0):
            pairs |= {d, "\u0334".join(d), d[0] + "\u0898" + d[1:]} | ({d + "\u11a7"} if hangul else set())
    pairs |= {"\U00011935\U00011930", "\U000105d2\u0307", "\U00011382\U000113c9", "\U00016d67\U00016d67"}  # of Unicode 13 and 16
    out = {"category": ranges(category), "space": ranges({c: [] for c in matched(r"\s")}), "mark": mark,
           "pair": [[t, nfc.normalize_str(t)] for t in sorted(pairs)]}
    with open(sys.argv[1], "w", encoding="ascii") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")


main()
