#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Opens a folder that we wrote with transformers: config, weights, tokenizer; by hand, outside the test run.

    python3 tests/golden/by_hand_folder.py runs/quickstart/checkpoints/step-100 [PROMPT]

Needs: torch, transformers, safetensors. Ends with "ok", or fails saying what differs.
"""
import json, os, sys, torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

path = os.path.abspath(sys.argv[1])
prompt = sys.argv[2] if len(sys.argv) > 2 else "47+85="
raw = json.load(open(os.path.join(path, "config.json")))
model, info = AutoModelForCausalLM.from_pretrained(path, dtype=torch.bfloat16, output_loading_info=True)
assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
c = model.config
theta = c.rope_parameters["rope_theta"] if getattr(c, "rope_parameters", None) else c.rope_theta
for have, key in [(c.hidden_size, "hidden_size"), (c.vocab_size, "vocab_size"), (theta, "rope_theta"),
                  (c.rms_norm_eps, "rms_norm_eps"), (c.tie_word_embeddings, "tie_word_embeddings"),
                  (c.eos_token_id, "eos_token_id"), (c.num_key_value_heads, "num_key_value_heads")]:
    assert have == raw[key], (key, have, raw[key])
state = model.state_dict()
for name, t in load_file(os.path.join(path, "model.safetensors")).items():
    assert t.dtype == torch.bfloat16 and torch.equal(t, state[name]), name
print(f"{sum(p.numel() for p in model.parameters())} parameters, theta {theta}, end {c.eos_token_id}")

tok = AutoTokenizer.from_pretrained(path)
for text in [prompt, "7+5=12 4+8+1=13\n#### 132", "h\u00e9llo  W\u00f6rld\n\n\u65e5\u672c <|im_end|>"]:
    ids = tok(text).input_ids
    back = tok.decode(ids, clean_up_tokenization_spaces=False)
    print(f"{text!r} -> {len(ids)} tokens {ids}")
    assert back == text, back
ends = c.eos_token_id if isinstance(c.eos_token_id, list) else [c.eos_token_id]
assert len(tok) <= c.vocab_size and tok.eos_token_id in ends, (len(tok), tok.eos_token_id)
ids = torch.tensor([tok(prompt).input_ids])
out = model.float().generate(ids, do_sample=False, max_new_tokens=32, pad_token_id=tok.pad_token_id)
print("greedy:", repr(tok.decode(out[0])))
print("ok")
