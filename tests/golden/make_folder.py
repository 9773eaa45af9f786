#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/folder/: a tied Qwen2 model in fp16, saved by transformers in shards, and what its tensors hold.

Run once, by hand, outside the test run:  python3 tests/golden/make_folder.py tests/golden/folder
Needs: torch, transformers. values.json: name -> [shape, first, last, sum in double].
"""
import json, os, sys, torch
from transformers import Qwen2Config, Qwen2ForCausalLM

out = sys.argv[1]
torch.manual_seed(11)
cfg = Qwen2Config(vocab_size=48, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                  num_key_value_heads=1, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=True,
                  rope_parameters={"rope_type": "default", "rope_theta": 250000.0}, eos_token_id=[3, 5])
model = Qwen2ForCausalLM(cfg)
with torch.no_grad():
    for p in model.parameters():
        p.normal_(0, 0.3)
model = model.to(torch.float16)
model.save_pretrained(out, max_shard_size="20KB")
values = {}
for name, p in model.state_dict().items():
    if name == "lm_head.weight":
        continue
    x = p.double().flatten()
    values[name] = [list(p.shape), x[0].item(), x[-1].item(), x.sum().item()]
with open(os.path.join(out, "values.json"), "w") as f:
    json.dump(values, f, indent=0)
    f.write("\n")
