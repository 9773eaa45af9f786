#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/learner/values.json: advantages and loss normalisers as TRL computes them, learning rates as transformers' schedules give.

Run once, by hand, outside the test run:  python3 tests/golden/make_learner.py tests/golden/learner
Needs: torch, transformers, trl (the values were made with trl 1.16.0, transformers 5.24.0, in double where they allow it).
"""
import inspect, json, sys, textwrap, types
from unittest.mock import MagicMock
import torch
import trl, transformers
from transformers import get_scheduler
from trl.trainer import grpo_trainer
from trl.trainer.grpo_trainer import GRPOTrainer

torch.set_default_dtype(torch.float64)
g = torch.Generator().manual_seed(3)


def advantages(rewards, group, scale):
    """The statements of TRL's own method that turn rewards into advantages, run on their own."""
    src = textwrap.dedent(inspect.getsource(GRPOTrainer._generate_and_score_completions))
    begin = src.index("unscorable_mask = ")
    begin = src.rindex("\n", 0, begin) + 1
    end = src.index("# Slice to keep only the local part")
    me = types.SimpleNamespace(multi_objective_aggregation="sum_then_normalize", scale_rewards=scale, reward_weights=torch.ones(1), reward_funcs=[0])
    env = dict(vars(grpo_trainer), self=me, rewards_per_func=torch.tensor(rewards)[:, None], num_generations=group, device="cpu")
    exec(textwrap.dedent(src[begin:end]), env)
    return env["advantages"].tolist()


def loss(kind, mask, tool, logps, old, ref, adv, beta, max_len):
    me = MagicMock()
    me._get_per_token_logps_and_entropies.return_value = (logps, torch.zeros_like(logps), None)
    me.configure_mock(top_entropy_quantile=1.0, off_policy_mask_threshold=None, importance_sampling_level="token", beta=beta, loss_type=kind,
                      epsilon_low=0.2, epsilon_high=0.28, use_vllm=False, max_completion_length=max_len, _entropy_bonus_enabled=False,
                      aux_loss_enabled=False, current_gradient_accumulation_steps=1)
    me.args.configure_mock(delta=None, use_bias_correction_kl=False, steps_per_generation=1)
    me.model.training = False
    me.accelerator.num_processes = 1
    me.accelerator.gather = me.accelerator.gather_for_metrics = lambda x: x
    ids = torch.zeros(mask.shape, dtype=torch.long)
    inputs = dict(prompt_ids=ids[:, :1], prompt_mask=ids[:, :1] + 1, completion_ids=ids, completion_mask=mask, tool_mask=tool, advantages=adv,
                  old_per_token_logps=old, ref_per_token_logps=ref, num_items_in_batch=(mask * tool).sum())
    return GRPOTrainer._compute_loss(me, MagicMock(), inputs).item()


out = {"versions": {"trl": trl.__version__, "transformers": transformers.__version__}, "advantages": [], "loss": {}, "lr": []}

groups = [[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1.1, 1.1, 1.1, 1.1], [0.1, 0.2, 0.3, 0.9], [1e-5, 2e-5, 3e-5, 4e-5], [-3.0, 5.0, 100.0, 0.25]]
for group in (4, 2, 1):
    for scale in ("group", "batch", "none"):
        flat = [r for x in groups for r in x]
        out["advantages"].append({"group": group, "scale": scale, "rewards": flat, "advantages": advantages(flat, group, scale)})

lens, width, max_len = [5, 1, 9, 3, 7], 9, 12
mask = torch.tensor([[int(t < n) for t in range(width)] for n in lens])
tool = torch.ones_like(mask)
tool[2, 2:6] = 0        # a tool's answer in the middle
tool[3, :] = 0          # a sequence without a trained token
logps = -3 * torch.rand(mask.shape, generator=g)
old = logps + 0.5 * torch.randn(mask.shape, generator=g)
ref = logps + 0.3 * torch.randn(mask.shape, generator=g)
adv = torch.tensor([0.7, -1.2, 0.4, 1.5, -0.3])
for beta in (0.0, 0.04):
    per_token = [[loss("dr_grpo", torch.nn.functional.one_hot(torch.tensor(t), width)[None] * torch.eye(5, dtype=torch.long)[i][:, None],
                       tool * 0 + 1, logps, old, ref, adv, beta, 1) * len(lens) for t in range(n)] for i, n in enumerate(lens)]
    out["loss"][str(beta)] = {"per_token": per_token, "trained": [[int(tool[i, t]) for t in range(n)] for i, n in enumerate(lens)], "max_completion_length": max_len,
                              "loss": {k: loss(k, mask, tool, logps, old, ref, adv, beta, max_len) for k in ("grpo", "bnpo", "dr_grpo", "dapo")}}

for name, kw in (("constant_with_warmup", {}), ("linear", {}), ("cosine", {}), ("cosine_with_min_lr", {"min_lr_rate": 0.1}), ("cosine_with_min_lr", {"min_lr_rate": 0.0})):
    for warmup, total in ((0, 10), (3, 10), (10, 10), (5, 100), (1, 2)):
        p = torch.nn.Parameter(torch.zeros(1))
        opt = torch.optim.SGD([p], lr=2e-4)
        sched = get_scheduler(name, opt, num_warmup_steps=warmup, num_training_steps=total, scheduler_specific_kwargs=kw or None)
        rates = []
        for _ in range(total):
            rates.append(sched.get_last_lr()[0])
            opt.step()
            sched.step()
        out["lr"].append({"type": name.replace("_with_warmup", ""), "learning_rate": 2e-4, "min_lr_rate": kw.get("min_lr_rate", 0), "warmup_steps": warmup,
                          "max_steps": total, "rates": rates})

with open(sys.argv[1] + "/values.json", "w") as f:
    json.dump(out, f, indent=1)
    f.write("\n")
