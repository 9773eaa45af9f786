#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/tokenizer/: tokenizer.json files of each form, and what the tokenizers library makes of texts with them.

    python3 tests/golden/make_tokenizer.py tests/golden/tokenizer QWEN3

Run once, by hand, outside the test run. Needs: tokenizers. QWEN3: a folder with the tokenizer.json of Qwen3 (Alibaba Cloud,
Apache-2.0). The file is too large to be kept, so what is kept has the same ids and only those merges that can have a part
in the texts here; the ids in its vectors are those that the whole file gives.

texts.json: texts for all. NAME/vectors.json: "own": texts for this one only; "ids": of texts and own, in order; "text": n -> what
decodes otherwise than the text; "skip": n -> the same without special tokens; "plain": ids of own when no added token is looked
for, as from the file without them; "decode": [ids, text, text without special tokens]."""
import json
import os
import random
import sys

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tokenizer_texts import SENTENCES, random_texts

QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
DEEPSEEK3 = ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
             " ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")


def split(regex, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: regex}, "behavior": behavior, "invert": invert}


def level(use_regex=False, prefix=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": use_regex}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def token(content, **flags):
    t = {"id": None, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    t.update(flags)
    return t


def trained(pre, n_merge, texts):
    """Vocabulary (256 bytes first) and merges of a small BPE."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = Tokenizer.from_str(json.dumps(
        {"version": "1.0", "added_tokens": [], "pre_tokenizer": pre, "model": {"type": "BPE", "vocab": {}, "merges": []}})).pre_tokenizer
    t.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=256 + n_merge, show_progress=False,
                                                     initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    m = json.loads(t.to_str())["model"]
    return m["vocab"], [tuple(x) if isinstance(x, list) else tuple(x.split(" ")) for x in m["merges"]]


def assembled(pre, vocab, merges, added, normalizer=None, strings=False, **model):
    taken = len(vocab)
    for t in added:
        t["id"] = vocab.get(t["content"], taken)
        taken += t["id"] == taken
    m = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
         "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocab,
         "merges": [" ".join(x) if strings else list(x) for x in merges]}
    m.update(model)
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": normalizer,
            "pre_tokenizer": pre, "post_processor": None, "decoder": level(), "model": m}


def chatml():
    return [token("<|endoftext|>"), token("<|im_start|>"), token("<|im_end|>"), token("<think>", special=False), token("</think>", special=False)]


def qwen2(texts):
    pre = sequence(split(QWEN2), level())
    return assembled(pre, *trained(pre, 400, texts), chatml(), {"type": "NFC"}, continuing_subword_prefix="", end_of_word_suffix="")


def r1_distill(texts):
    """Bars and blanks outside ASCII in the added tokens, some of them not special; a template that adds BOS."""
    pre = sequence(split(QWEN2), level())
    names = ["<\uff5cend\u2581of\u2581sentence\uff5c>", "<\uff5cbegin\u2581of\u2581sentence\uff5c>"]
    added = [token(x) for x in names] + [token(x, special=False) for x in
                                         ("<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>", "<think>", "</think>", "<|EOT|>")]
    j = assembled(pre, *trained(pre, 150, texts), added, {"type": "Sequence", "normalizers": [{"type": "NFC"}]}, strings=True)
    bos = {"SpecialToken": {"id": names[1], "type_id": 0}}
    j["post_processor"] = {"type": "TemplateProcessing", "single": [bos, {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [bos, {"Sequence": {"id": "A", "type_id": 0}}, bos, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {names[1]: {"id": names[1], "ids": [added[1]["id"]], "tokens": [names[1]]}}}
    return j


def smollm2(texts):
    """Digits one by one, then GPT-2's expression; special tokens first in the vocabulary; bytes without an entry."""
    pre = sequence({"type": "Digits", "individual_digits": True}, level(use_regex=True))
    vocab, merges = trained(pre, 250, texts)
    lost = [v for v in sorted(vocab, key=vocab.get)[:256] if v in "\u0123\u0124\u0125\u0126\u0127\u0128\u00f9\u00fa"]
    merges = [m for m in merges if not any(x in m[0] + m[1] for x in lost)]
    keep = [v for v in sorted(vocab, key=vocab.get) if not any(x in v for x in lost)]
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>"]
    return assembled(pre, {v: i for i, v in enumerate(names + keep)}, merges, [token(x) for x in names], strings=True)


def llama3(texts):
    """ignore_merges, with entries that no merges lead to."""
    pre = sequence(split(LLAMA3), level())
    vocab, merges = trained(pre, 200, texts)
    for word in (" Vi\u1ec7t", "world", " jumps", "123", "\u4e16\u754c", "\n\n\n\n", "'ll"):
        mapped = "".join(p for p, _ in pre_tokenizers.ByteLevel(False, use_regex=False).pre_tokenize_str(word))
        vocab.setdefault(mapped, len(vocab))
    added = [token(x) for x in ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")]
    return assembled(pre, vocab, merges, added, strings=True, ignore_merges=True)


def o200k(texts):
    pre = sequence(split(O200K, "Removed", True), level())
    return assembled(pre, *trained(pre, 150, texts), [token("<|endoftext|>")])


def deepseek3(texts):
    pre = sequence(split(r"\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), split(DEEPSEEK3), level())
    return assembled(pre, *trained(pre, 150, texts), [token("<\uff5cend\u2581of\u2581sentence\uff5c>")], {"type": "Sequence", "normalizers": []})


def gpt2(texts):
    """A blank before the first word; one pre-tokenizer without a list; a string to split at."""
    pre = level(use_regex=True, prefix=True)
    return assembled(pre, *trained(pre, 150, texts), [token("<|endoftext|>", normalized=True)], strings=True)


def strings(texts):
    pre = sequence(split("ab", "Removed", kind="String"), split(".", "Isolated", kind="String"), split("\u00e9", "Removed", True, kind="String"),
                   {"type": "Digits", "individual_digits": False}, level(prefix=True))
    return assembled(pre, *trained(level(), 60, texts), [token("<|im_start|>")])


def added(texts):
    """Every flag of added tokens, tokens inside tokens, and such that only their normal form is looked for."""
    pre = sequence(split(QWEN2), level())
    vocab, merges = trained(pre, 100, texts)
    tokens = [token("<L>", lstrip=True), token("<R>", rstrip=True), token("<B>", lstrip=True, rstrip=True, special=False), token("<W>", single_word=True),
              token("aa"), token("aaa"), token("abcd", special=False), token("abc", special=False), token("bcd"), token("<Ne\u0301>", normalized=True),
              token("<Se\u0301>", normalized=True, special=False), token("\u00e9", normalized=True, special=False), token("[PAD]", normalized=True),
              token("  <_>", special=False), token("<_>", rstrip=True), token("\n", special=False), token("ss", lstrip=True, single_word=True),
              token("the", normalized=True, special=False, single_word=True), token("\u212b", special=False)]
    return assembled(pre, vocab, merges, tokens, {"type": "NFC"})


def unknown(texts, fuse):
    """Bytes without an entry become unk_token, or one for a run of them."""
    pre = sequence(split(QWEN2), level())
    vocab, merges = trained(pre, 120, texts)
    alphabet = set(sorted(vocab, key=vocab.get)[:256])
    lost = {x for x in alphabet if ord(x) >= 0xE0 or x in "xyz!"}
    merges = [m for m in merges if not lost & set(m[0] + m[1])]
    keep = ["[UNK]"] + [v for v in sorted(vocab, key=vocab.get) if not lost & set(v)]
    return assembled(pre, {v: i for i, v in enumerate(keep)}, merges, [token("[UNK]")], strings=True, unk_token="[UNK]", fuse_unk=fuse)


FORMS = {"qwen2": qwen2, "r1_distill": r1_distill, "smollm2": smollm2, "llama3": llama3, "o200k": o200k, "deepseek3": deepseek3, "gpt2": gpt2,
         "strings": strings, "added": added, "unk": lambda t: unknown(t, False), "fuse_unk": lambda t: unknown(t, True)}


def save(path, value):
    with open(path, "w", encoding="ascii") as f:
        json.dump(value, f, separators=(",", ":"))
        f.write("\n")


def vectors(tok, texts, own, n_decode, seed):
    rng = random.Random(seed)
    bare = Tokenizer.from_str(json.dumps(dict(json.loads(tok.to_str()), added_tokens=[], post_processor=None)))
    out = {"own": own, "ids": [], "text": {}, "skip": {}, "decode": [], "plain": [bare.encode(t).ids for t in own]}
    for i, text in enumerate(texts + own):
        ids = tok.encode(text, add_special_tokens=False).ids
        whole, skip = (tok.decode(ids, skip_special_tokens=x) for x in (False, True))
        out["ids"].append(ids)
        if whole != text:
            out["text"][str(i)] = whole
        if skip != whole:
            out["skip"][str(i)] = skip
    n = max(tok.get_vocab().values()) + 1
    pool = sorted({i for ids in out["ids"] for i in ids})
    for _ in range(n_decode):
        ids = [rng.choice((rng.choice(pool), rng.randrange(n), n + 7) if rng.random() < 0.1 else (rng.choice(pool),)) for _ in range(rng.randint(1, 24))]
        out["decode"].append([ids] + [tok.decode(ids, skip_special_tokens=x) for x in (False, True)])
    return out


def trimmed(whole, ids):
    """Of a file, the merges that can have a part in these ids: all that make one of them, or of their sides, and so on."""
    model = json.loads(json.dumps(whole["model"]))
    text = {i: t for t, i in model["vocab"].items()}
    makes = {}
    for m in model["merges"]:
        makes.setdefault("".join(m), []).append(tuple(m))
    keep = {text[i] for i in ids if i in text} | set(pre_tokenizers.ByteLevel.alphabet())
    todo = list(keep)
    while todo:
        for m in makes.get(todo.pop(), []):
            todo += [x for x in m if x not in keep]
            keep |= set(m)
    model["merges"] = [m for m in model["merges"] if "".join(m) in keep]
    model["vocab"] = {t: i for t, i in model["vocab"].items() if t in keep}
    # an added token that is in the vocabulary too keeps its id when others before it are gone
    model["vocab"].update({t["content"]: t["id"] for t in whole["added_tokens"]})
    return dict(whole, model=model)


def main():
    out, qwen3 = sys.argv[1:]
    texts = SENTENCES + random_texts(150, 1, ["<|im_start|>", "<|im_end|>", "<think>", "<|endoftext|>"])
    save(os.path.join(out, "texts.json"), texts)
    for k, (name, make) in enumerate(FORMS.items()):
        j = make(SENTENCES * 3 + random_texts(200, 99))
        folder = os.path.join(out, name)
        os.makedirs(folder, exist_ok=True)
        save(os.path.join(folder, "tokenizer.json"), j)
        tok = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        own = random_texts(40, 1000 + k, [t["content"] for t in j["added_tokens"]] + ["<N\u00e9>", "<S\u00e9>", " <R> ", "  "])
        save(os.path.join(folder, "vectors.json"), vectors(tok, texts, own, 60, k))
    tok = Tokenizer.from_file(os.path.join(qwen3, "tokenizer.json"))
    found = vectors(tok, texts, random_texts(300, 77, ["<|im_start|>", "<tool_call>", "<|image_pad|>"]), 100, 77)
    folder = os.path.join(out, "qwen3")
    os.makedirs(folder, exist_ok=True)
    ids = {i for x in found["ids"] + found["plain"] for i in x} | {i for x in found["decode"] for i in x[0]}
    with open(os.path.join(qwen3, "tokenizer.json"), encoding="utf-8") as f:
        save(os.path.join(folder, "tokenizer.json"), trimmed(json.load(f), ids))
    save(os.path.join(folder, "vectors.json"), found)


if __name__ == "__main__":
    main()
