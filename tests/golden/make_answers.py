# SPDX-License-Identifier: Apache-2.0
"""Makes answers.tsv: pairs of answers and the verdict of math-verify, another author's judge of mathematics.

    pip install 'math-verify==0.9.0' 'antlr4-python3-runtime==4.13.2'
    python make_answers.py GSM8K/test.jsonl MATH-500/test.jsonl > answers.tsv

Columns: a, b, math-verify's verdict (1 equal, 0 not), and why we say the opposite on purpose, empty where we agree.
Answers are rows of GSM8K (MIT, OpenAI) and MATH-500 (MIT, Hendrycks et al.) and rewritten forms of them; the last block is
made by hand. Where the verdict depends on which one is called gold, the pair is left out.
"""
import json
import re
import sys
import warnings

from math_verify import LatexExtractionConfig, parse, verify

warnings.filterwarnings("ignore")

NOT_SUM = "sums, products and powers are no numbers here"
NOT_ROUNDED = "exact here, six decimals there"
NOT_CAS = "no algebra here"
PERCENT = "a percentage is a hundredth here and nothing else"
FORM = "a form that math-verify does not read"
WORDS = "a number word behind a number is not a unit"
BASE = "a digit's base counts here"

BY_HAND = [
    ("20\\%", "0.2", ""), ("20\\%", "\\frac15", ""), ("20\\%", "20", PERCENT), ("50\\%", "\\frac12", ""),
    ("2+3", "5", NOT_SUM), ("16-3+5", "18", NOT_SUM), ("2^3", "8", NOT_SUM), ("2 \\cdot 4", "8", NOT_SUM),
    ("2+3", "6", ""), ("0.333333", "\\frac13", NOT_ROUNDED), ("0.3333333", "\\frac13", NOT_ROUNDED), ("0.3333", "\\frac13", ""),
    ("2\\sqrt{3}", "\\sqrt{12}", NOT_CAS), ("x+1", "1+x", NOT_CAS), ("x+1", "x+2", ""), ("\\sqrt{4}", "2", NOT_CAS),
    ("3 1/2", "3.5", FORM), ("0.\\overline{3}", "\\frac13", FORM), ("1 234", "1234", FORM), ("1e3", "1000", FORM), ("5.", "5", FORM),
    ("8.7\\times 10^8", "870000000", FORM), ("5\\text{ million}", "5", WORDS), ("52_8", "52", BASE), ("52_8", "52_8", ""),
    ("1,234", "1234", ""), ("10,\\!000", "10000", ""), ("(1,234)", "(1, 234)", ""), ("1,23", "123", ""), ("3\\frac{1}{2}", "3.5", ""),
    ("\\$5", "5", ""), ("5\\text{ cm}", "5", ""), ("5 cm", "5", ""), ("18\\text{ eggs}", "18", ""), ("18 eggs", "18", ""), ("50 cents", "50", ""),
    ("x=5", "5", ""), ("y=2x+3", "2x+3", ""), ("x \\in [1,2]", "[1,2]", ""), ("1, 2", "2, 1", ""), ("(1,2)", "(2,1)", ""),
    ("\\{1,2\\}", "2,1", ""), ("[1,2]", "[1,2)", ""), ("\\text{(C)}", "C", ""), ("\\text{Monday}", "monday", ""), ("5 or 6", "5", ""),
    ("6", "6.0000000001", ""), ("6", "6.0000001", ""), ("-\\frac12", "\\frac{-1}{2}", ""), ("\\frac{10}{2}", "5", ""),
]


def rewritten(s):
    """Other ways to write s, then answers that are near it and are others."""
    yield s.replace("\\frac", "\\dfrac")
    yield re.sub(r" (?![a-zA-Z])", "", s)
    yield s.replace("\\left", "").replace("\\right", "")
    yield s.replace("^\\circ", "^{\\circ}")
    yield re.sub(r"\\d?frac\{(\d+)\}\{(\d+)\}$", r"\1/\2", s)
    yield re.sub(r"\\frac\{(\d)\}\{(\d)\}", r"\\frac\1\2", s)
    yield re.sub(r"(\d),(?=\d\d\d)", r"\1{,}", s)
    if re.fullmatch(r"-?\d+", s):
        yield s + ".0"
        yield "\\$" + s if s[0] != "-" else s
        yield "\\frac{%d}{2}" % (2 * int(s))
        yield s + "\\text{ units}"
        yield "{:,}".format(int(s))
        yield str(int(s) + 1)
        yield str(-int(s))
        yield s + "0"
    yield re.sub(r"\\frac\{(\w+)\}\{(\w+)\}", r"\\frac{\2}{\1}", s)
    yield re.sub(r"(\d)(\D*)$", lambda m: str((int(m[1]) + 1) % 10) + m[2], s)
    yield "-" + s if s[0] != "-" else s[1:]


def reason(a, b):
    """Rewritten forms that fall under one of the differences above."""
    if "_" in a and a.split("_")[0] == b.split("_")[0] and re.sub(r"\W", "", a) != re.sub(r"\W", "", b):
        return BASE
    if a.startswith(".000") and b.startswith(".000"):
        return NOT_ROUNDED
    return FORM if re.fullmatch(r"\d+ \d+/\d+", b) else ""


def kind(s):
    """Digits and letters folded: answers of one shape."""
    return re.sub(r"[a-z]", "x", re.sub(r"\d+", "0", s))


def judge(a, b):
    gold, other = (parse("$\\boxed{%s}$" % x, extraction_config=[LatexExtractionConfig()]) for x in (a, b))
    there, back = verify(gold, other), verify(other, gold)
    return there if there == back else None


def answers(path, key, per_kind, at_most):
    seen, out = {}, []
    for line in open(path, encoding="utf-8"):
        s = json.loads(line)[key].split("####")[-1].strip()
        k = kind(s)
        seen[k] = seen.get(k, 0) + 1
        if s and s.isascii() and "\n" not in s and len(s) < 60 and seen[k] <= per_kind and s not in out:
            out.append(s)
    return out[:at_most]


def main():
    pairs = []
    for s in answers(sys.argv[1], "answer", 8, 24) + answers(sys.argv[2], "answer", 3, 140):
        pairs += [(s, f, reason(s, f)) for f in dict.fromkeys(rewritten(s)) if f != s]
    print("# made by make_answers.py with math-verify 0.9.0: a, b, its verdict, why ours is the opposite")
    for a, b, why in dict.fromkeys(pairs + BY_HAND):
        v = judge(a, b)
        if v is not None:
            print(a, b, int(v), why, sep="\t")


main()
