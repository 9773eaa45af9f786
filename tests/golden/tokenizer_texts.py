# SPDX-License-Identifier: Apache-2.0
"""Texts for make_tokenizer.py: many scripts, code, mathematics, emoji, and Unicode at random."""
import random

SENTENCES = [
    "", " ", "  ", "\n", "\n\n", "\t", "\r\n", " \n ", "\u00a0", "\u3000", "\u180e", "\u200b", "\x00", "\x1f", "\x7f", "\x85",
    "a", "A", "0", "!", "'", "''", "'s", "'S", "'\u017f", "I'll we've they're it's I'm he'd can't", "IT'S I'LL WE'VE YOU'RE I'M HE'D DON'T",
    "don\u2019t they\u2019re 'tis 'twas rock 'n' roll", "x's's 'sss ''s '\u212a 'ReVeLlMdT",
    "Hello world", " Hello World!", "Hello,  world", "hello\n\n\nworld", "hello \n \n world  ", "   leading", "trailing   ",
    "The quick brown fox jumps over the lazy dog.", "One, two; three: four! Five? (six) [seven] {eight} <nine>",
    "1 12 123 1234 12345 123456 1234567890", "3.14159 1,000,000 0x7fff 1e-9 10% $5.00 \u20ac20 \u00a330", "\u00bd \u00be \u2460 \u2167 \u0663\u0664 \u0967\u0968 \u4e09\u5343",
    "x2y3z 4ever b4 a1b2c3 1st 2nd 3rd", "v1.2.3-rc.4+build.5", "2026-11-24T19:11:13Z", "192.168.0.1:8080", "user@example.com https://example.com/a/b?c=d&e=f#g",
    "ied 4 \u00bd months", "F\u00fchrerschein \u00fcber die Stra\u00dfe, gro\u00df und sch\u00f6n", "L'\u00e9t\u00e9 o\u00f9 \u00e7a br\u00fbla, na\u00efve c\u0153ur", "\u00bfD\u00f3nde est\u00e1 el ni\u00f1o? \u00a1Aqu\u00ed!",
    "P\u0159\u00edli\u0161 \u017elu\u0165ou\u010dk\u00fd k\u016f\u0148", "Za\u017c\u00f3\u0142\u0107 g\u0119\u015bl\u0105 ja\u017a\u0144", "\u0130stanbul'da \u0131\u015f\u0131k \u011f", "Ti\u1ebfng Vi\u1ec7t r\u1ea5t d\u1ec5 th\u01b0\u01a1ng", "\u00c6blegr\u00f8d p\u00e5 \u00f8en", "\u00deetta er \u00edslenska",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0429\u0443\u043a\u0430 \u0438 \u0451\u0436", "\u0407\u0436\u0430\u043a \u0433\u0430\u0439", "\u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u03ba\u03b1\u03b9 \u03bc\u03b1\u03b8\u03b7\u03bc\u03b1\u03c4\u03b9\u03ba\u03ac", "\u0540\u0561\u0575\u0565\u0580\u0565\u0576", "\u10e5\u10d0\u10e0\u10d7\u10e3\u10da\u10d8",
    "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \u05e2\u05d5\u05dc\u05dd", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645\u060c \u0643\u0650\u062a\u064e\u0627\u0628\u064c", "\u0641\u0627\u0631\u0633\u06cc \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0627\u064f\u0631\u062f\u0648", "\u0915\u094d\u0937\u0924\u094d\u0930\u093f\u092f \u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e", "\u09ac\u09be\u0982\u09b2\u09be \u09ad\u09be\u09b7\u09be \u09a1\u09bc\u09a2\u09bc",
    "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd \u0bae\u0bca\u0bb4\u0bbf", "\u0c24\u0c46\u0c32\u0c41\u0c17\u0c41", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01 \u0e19\u0e49\u0e33", "\u0ea5\u0eb2\u0ea7", "\u1019\u103c\u1014\u103a\u1019\u102c", "\u1781\u17d2\u1798\u17c2\u179a", "\u0f56\u0f7c\u0f51\u0f0b\u0f61\u0f72\u0f42", "\u12a0\u121b\u122d\u129b", "\u13e3\u13b3\u13a9",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01\u4eca\u5929\u5929\u6c14\u4e0d\u9519\u3002", "\u7e41\u9ad4\u4e2d\u6587\u6e2c\u8a66\uff1a\u300c\u5f15\u865f\u300d", "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3001\u30ab\u30bf\u30ab\u30ca\u3068\u3072\u3089\u304c\u306a\u3002", "\u304b\u3099\u304d\u309a \u30ac\u30ab\u3099", "\ud55c\uad6d\uc5b4 \ud14d\uc2a4\ud2b8\uc785\ub2c8\ub2e4", "\u1112\u1161\u11ab\u1100\u1173\u11af", "\uff21\uff22\uff23 \uff11\uff12\uff13 \uff76\uff85",
    "\u1820\u1828\u1833\u1820\u180e\u1820", "\u16a0\u16a2\u16a6", "\U00010330\U00010331", "\U00012000\U00012031", "\U00013000", "\U0001e900\U0001e922", "\U00031350\U000323af's \U0002ebf0 \U00011f04", "\u31ef\u2ffc x \U0001fae8\U0001fadc",
    "\U0001f600\U0001f601 ok \U0001f44d\U0001f3fd", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family", "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "\u2764\ufe0f \u263a\ufe0e 1\ufe0f\u20e3", "\U0001f3f4\U000e0067\U000e0062\U000e007f", "\U0001f937\U0001f3fd\u200d\u2640\ufe0f shrug",
    "a\u0301 e\u0301\u0323 e\u0323\u0301 o\u0302\u0301 u\u0308\u0304 A\u030a \u212b \u2126 \u1e9b\u0323", "q\u0301\u0323\u0307 \u0301alone \u0300\u0301", "\u0344 \u0340\u0341 \u0343 \u0374 \u037e \u0387 \u1fef", "\u0958\u095d \u09dc \u0a33 \u2adc \ufb1d \ufb2c \U0001d15e \U0001d1bb", "\uf900\ufa10\U0002f800 \u2329", "x\u05b0\u0591\u0301\u0345\u0334y", "e\u0898\u0301 e\u0899\u0301 x\u1df6\u0301 \U00011935\U00011930", "\uac00\u11a8 \u1100\u1161\u11a7 \uac01\u11a8",
    "if (x == 1) {\n\treturn y;\n}\n", "def f(a, b=None):\n    return a if b is None else b  # note\n", "for (int i = 0; i < n; i++) sum += a[i] * b[i];\n", "SELECT * FROM t WHERE id = 'x';\r\nDROP TABLE t;\r\n", "<div class=\"a\">&nbsp;</div>\n<!-- c -->", "#include <stdio.h>\n\n\nint main(void) { return 0; }\n", "a->b.c::d<E>(&f, *g, !h, ~i, j|k, l^m, n%o);", "$ ls -la | grep foo > /dev/null 2>&1 && echo ok", "fn main() { let x: Vec<u8> = vec![0; 10]; }", "{\"key\": [1, 2.5, null, true], \"s\": \"\\u00e9\\n\"}", "snake_case camelCase PascalCase SCREAMING_CASE kebab-case __init__",
    "\\frac{a}{b} + \\sqrt{x^2 + y_1} = \\boxed{42}", "\u2200x\u2208\u211d: \u2203y \u2264 x\u00b2 \u2227 \u222b\u2080\u00b9 f(t) dt \u2248 \u03c0/4", "\U0001d4d0\U0001d54f\U0001d7d9 \u2115\u2286\u2124", "7+5=12 4+8+1=13\n#### 132", "x\u2081 + x\u2082 \u2260 \u221e, \u2211_{i=1}^{n} i = n(n+1)/2", "E = mc\u00b2; H\u2082O; 25 \u00b0C; 5\u2032 3\u2033",
    "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n", "<|endoftext|><|endoftext|>", "<|im_start", "|im_end|>", "<think>\nhmm\n</think>\n\nyes", "<|im_start|><|im_start|>x<|im_end|>", "a <|endoftext|> b", "<tool_call>\n{\"name\": \"f\"}\n</tool_call>", "<\uff5cUser\uff5c>hello<\uff5cAssistant\uff5c><\uff5cend\u2581of\u2581sentence\uff5c>", "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>", "e<|im_end|>\u0301 <|im_start|>\u0301e\u0301",
    "  <L>  x <L>", " <R>  \n y<R>z <R> <R>", "\u2003<L>\u2003<R>\u2003\u2003", "a<B> \t <B>b  <B>", "word<W>word <W> word <W>. x<W> <W>y \u00e9<W> <W>\u0301 \u24d0<W> \u200d<W>, _<W>", "<W><W>", "caf\u00e9 cafe\u0301 CAF\u00c9 \u212b", "ab abc abcd abcde bcd", "aa aaa aaaa aaaaa", "<N\u00e9> <Ne\u0301> <S\u00e9> <Se\u0301>", "\n <L>\n<R>\n ", "x".join(c + "<B>" + c for c in "\t\n\v\f\r \x1c\x85\u00a0\u1680\u180e\u2000\u200a\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"), "<L><L> <L>  <R><L> <R> <L>", "ssss <ss> <s", "[PAD][PAD] [UNK] [UNK", "\u00e9 token \u00e9\u00e9", "<_> <_><_>  <_>",
    "=" * 40, "-" * 17 + " " + "_" * 9, "ab" * 60, "a" * 300, " " * 100 + "x", "\n" * 40, " \n" * 30, "1" * 50, "\u00e9" * 40, "e\u0301" * 40, "\u4e2d" * 50, "!?" * 30, "\U0001f600" * 20, "'s" * 30, "0a" * 30, "\u0300" * 60, "\u0323\u0301" * 40,
]


def random_texts(n, seed, specials=()):
    """n short texts of code points at random, from one to a few sorts of them each."""
    rng = random.Random(seed)
    blocks = [(0x20, 0x7E), (0x80, 0x24F), (0x370, 0x5FF), (0x600, 0x8FF), (0x900, 0xDFF), (0xE00, 0x12BF), (0x1E00, 0x1FFF), (0x2000, 0x2BFF),
              (0x3000, 0x33FF), (0x4E00, 0x9FFF), (0xA480, 0xABFF), (0xAC00, 0xD7A3), (0xF900, 0xFFFD), (0x10000, 0x107FF),
              (0x10800, 0x12FFF), (0x16000, 0x1BFFF), (0x1D000, 0x1DFFF), (0x1E000, 0x1FAFF), (0x20000, 0x323AF), (0xE0000, 0xE01EF)]

    def any_scalar():
        c = rng.randrange(0x110000 - 0x800)
        return chr(c if c < 0xD800 else c + 0x800)

    def from_block():
        b = rng.choice(blocks)
        return lambda: chr(rng.randint(*b))

    sorts = [lambda: chr(rng.randrange(128)), lambda: rng.choice(" \n\t\r  "), lambda: rng.choice("abcdeXYZ019"), any_scalar,
             lambda: chr(rng.randint(0x300, 0x36F)), lambda: rng.choice("eauoAUO\u03b9\u0915\u304b\u1100\u1161"), lambda: rng.choice(["'s", "'LL", " ", "\r\n", "1234", "  x"]),
             lambda: chr(rng.randint(0x4E00, 0x9FFF)), lambda: rng.choice(".,;:!?-_()[]{}<>/|\\@#$%^&*+=~`\"'")]
    if specials:
        sorts.append(lambda: rng.choice(specials))
    out = []
    for _ in range(n):
        use = rng.sample(sorts, rng.randint(1, 4)) + [from_block() for _ in range(rng.randint(0, 2))]
        out.append("".join(rng.choice(use)() for _ in range(rng.randint(1, 60))))
    return out
