#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/tiny/: a small Qwen2 model saved by transformers, and what PyTorch computes with it.

Run once, by hand, outside the test run:  python3 tests/golden/make_model.py tests/golden/tiny
Needs: torch, transformers, safetensors. The numbers are fp32 on the bf16 weights of the file.
"""
import json, sys, torch
from safetensors.torch import save_file
from transformers import Qwen2Config, Qwen2ForCausalLM

out = sys.argv[1]
torch.manual_seed(7)
cfg = Qwen2Config(vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                  num_key_value_heads=2, max_position_embeddings=256, rope_theta=10000.0, rms_norm_eps=1e-6,
                  tie_word_embeddings=False, bos_token_id=None, eos_token_id=1, initializer_range=0.15)
model = Qwen2ForCausalLM(cfg)
with torch.no_grad():
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            p.normal_(0, 0.1)
        if "norm" in name:
            p.add_(torch.randn_like(p) * 0.1)
model = model.to(torch.bfloat16)
model.save_pretrained(out)
model = model.float()

# Five samples: prompt and completion of different lengths (one crosses a 64-key piece), two groups' worth of advantages.
g = torch.Generator().manual_seed(1)
lens = [(3, 5), (7, 1), (20, 60), (2, 17), (9, 30)]
samples = []
for n_prompt, n_tok in lens:
    ids = torch.randint(0, 96, (n_prompt + n_tok,), generator=g)
    samples.append((ids[:n_prompt], ids[n_prompt:]))
adv = [0.7, -1.2, 0.4, 1.5, -0.3]
eps_low, eps_high, beta = 0.2, 0.28, 0.04
total = sum(n for _, n in lens)

def logprobs(m, prompt, tok, temperature=1.0):
    ids = torch.cat([prompt, tok])[None]
    logits = m(ids).logits[0, len(prompt) - 1:-1] / temperature
    lp = torch.log_softmax(logits, -1)
    entropy = -(lp.exp() * lp).sum(-1)
    return lp[torch.arange(len(tok)), tok], entropy

with torch.no_grad():
    base = [logprobs(model, p, t) for p, t in samples]
noise = torch.Generator().manual_seed(2)
# the writing policy and the reference are the model with some noise on its logprobs, so ratios clip and KL is not zero
old = [lp + 0.25 * torch.randn(lp.shape, generator=noise) for lp, _ in base]
ref = [lp + 0.30 * torch.randn(lp.shape, generator=noise) for lp, _ in base]

def grpo_loss(m, kind):
    """per-token clipped loss with k3 KL; normalisers of TRL's loss_type (trl/trainer/grpo_trainer.py, _compute_loss)"""
    loss = 0
    for i, (p, t) in enumerate(samples):
        lp, _ = logprobs(m, p, t)
        ratio = torch.exp(lp - old[i])
        clipped = torch.clamp(ratio, 1 - eps_low, 1 + eps_high)
        per_token = -torch.min(ratio * adv[i], clipped * adv[i])
        kl = torch.exp(ref[i] - lp) - (ref[i] - lp) - 1
        per_token = per_token + beta * kl
        if kind == "grpo":
            loss = loss + per_token.mean() / len(samples)
        else:
            loss = loss + per_token.sum() / total
    return loss

tensors = {"lp": torch.cat([lp for lp, _ in base]), "entropy": torch.cat([e for _, e in base]),
           "old_lp": torch.cat(old), "ref_lp": torch.cat(ref)}
with torch.no_grad():
    tensors["lp_t07"] = torch.cat([logprobs(model, p, t, 0.7)[0] for p, t in samples])
    tensors["logits_0"] = model(torch.cat(samples[0])[None]).logits[0]
scalars = {}
for kind in ("grpo", "dapo"):
    model.zero_grad()
    loss = grpo_loss(model, kind)
    loss.backward()
    scalars[f"loss_{kind}"] = loss.item()
    scalars[f"norm_{kind}"] = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9).item()
    if kind == "dapo":
        for name, p in model.named_parameters():
            tensors["grad." + name] = p.grad.clone()

# Ten steps of AdamW on the dapo loss, weights held in fp32 and rounded to bf16 for each forward, as grpod does.
master = Qwen2ForCausalLM(cfg).float()
master.load_state_dict(model.state_dict())
opt = torch.optim.AdamW(master.parameters(), lr=2e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
losses, norms = [], []
for step in range(10):
    with torch.no_grad():
        for a, b in zip(model.parameters(), master.parameters()):
            a.copy_(b.to(torch.bfloat16).float())
    model.zero_grad()
    loss = grpo_loss(model, "dapo")
    loss.backward()
    for a, b in zip(model.parameters(), master.parameters()):
        b.grad = a.grad.clone()
    norms.append(torch.nn.utils.clip_grad_norm_(master.parameters(), 0.5).item())
    opt.step()
    losses.append(loss.item())
scalars["ten_losses"], scalars["ten_norms"] = losses, norms

# AdamW alone, on given gradients, with decay: three steps.
w = torch.randn(200, generator=g)
tensors["adam_w0"] = w.clone()
p = torch.nn.Parameter(w.clone())
opt = torch.optim.AdamW([p], lr=0.01, betas=(0.9, 0.95), eps=1e-6, weight_decay=0.1)
for k in range(3):
    grad = torch.randn(200, generator=g)
    tensors[f"adam_g{k}"] = grad
    p.grad = grad.clone()
    opt.step()
    tensors[f"adam_w{k + 1}"] = p.detach().clone()

save_file({k: v.contiguous() for k, v in tensors.items()}, out + "/golden.safetensors")
json.dump({"samples": [{"prompt": p.tolist(), "tok": t.tolist(), "adv": a} for (p, t), a in zip(samples, adv)],
           "eps_low": eps_low, "eps_high": eps_high, "beta": beta, **scalars}, open(out + "/golden.json", "w"), indent=0)
