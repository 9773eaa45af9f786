#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/tokenizer.c with the tokenizers library in one thread, for comparison; by hand.

    python3 bench/peer_tokenizer.py FOLDER FILE...

Needs: tokenizers. The same documents, the same five passes, the same line; the counts of ids must agree."""
import os
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
from tokenizers import Tokenizer  # noqa: E402

DOCUMENT, PASSES = 4096, 5


def documents(data):
    at = 0
    while at < len(data):
        end = len(data) if len(data) - at <= DOCUMENT else data.find(b"\n", at + DOCUMENT - 1) + 1 or len(data)
        yield data[at:end].decode()
        at = end


start = time.process_time()
tok = Tokenizer.from_file(os.path.join(sys.argv[1], "tokenizer.json"))
print("tokenizers open_ms=%.0f" % ((time.process_time() - start) * 1e3))
for path in sys.argv[2:]:
    data = open(path, "rb").read()
    texts = list(documents(data))
    enc = dec = 1e9
    for _ in range(PASSES):
        a = time.process_time()
        ids = [e.ids for e in tok.encode_batch_fast(texts, add_special_tokens=False)]
        b = time.process_time()
        back = [tok.decode(i, skip_special_tokens=False) for i in ids]
        c = time.process_time()
        enc, dec = min(enc, b - a), min(dec, c - b)
    n = len(data) * 1e-6
    print("tokenizers file=%s mb=%.1f ids=%d encode_mb_per_s=%.1f decode_mb_per_s=%.1f"
          % (os.path.basename(path), n, sum(map(len, ids)), n / enc, n / dec))
