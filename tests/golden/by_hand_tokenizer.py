#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares with the tokenizers library on texts that nobody has seen, for any tokenizer.json; by hand, outside the test run.

    python3 tests/golden/by_hand_tokenizer.py build/tests/golden/golden_tokenizer FOLDER [TEXTS [SEED]]

FOLDER holds a tokenizer.json, the whole file of a real model for one. Needs: tokenizers. Ends with "ok", or says what differs."""
import os
import random
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer

from make_tokenizer import save, vectors
from tokenizer_texts import SENTENCES, random_texts

binary, folder = sys.argv[1], os.path.abspath(sys.argv[2])
n = int(sys.argv[3]) if len(sys.argv) > 3 else 10000
seed = int(sys.argv[4]) if len(sys.argv) > 4 else random.randrange(1 << 30)
tok = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
added = [t.content for t in tok.get_added_tokens_decoder().values()]
texts = SENTENCES + random_texts(n, seed, added)
rng = random.Random(seed)
while len(texts) < n + n // 4:  # and texts made of texts
    texts.append("".join(rng.sample(texts, rng.randint(2, 12))))
with tempfile.TemporaryDirectory() as tmp:
    os.mkdir(os.path.join(tmp, "x"))
    os.symlink(os.path.join(folder, "tokenizer.json"), os.path.join(tmp, "x", "tokenizer.json"))
    save(os.path.join(tmp, "texts.json"), texts)
    save(os.path.join(tmp, "x", "vectors.json"), vectors(tok, texts, texts[-n // 4 :], n, seed))
    done = subprocess.run([binary, tmp, "x"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
print("%d texts, %d bytes, seed %d" % (len(texts), sum(len(t.encode()) for t in texts), seed))
if done.returncode:
    sys.exit(done.stdout.decode(errors="replace"))
print("ok")
