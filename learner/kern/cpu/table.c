// SPDX-License-Identifier: Apache-2.0
/* table.c - the learner's table of one instruction set. */
#include "learner/kern/cpu/isa.h"

extern const struct learner_ops CPU_FN(learner_ops);
const struct learner_ops CPU_FN(learner_ops) = {
    .loss_head = CPU_FN(loss_head),
    .pack_dx_bytes = CPU_FN(pack_dx_bytes),
    .pack_dx = CPU_FN(pack_dx),
    .matmul_dx = CPU_FN(matmul_dx),
    .matmul_dw = CPU_FN(matmul_dw),
    .bias_bwd = CPU_FN(bias_bwd),
    .rmsnorm_bwd = CPU_FN(rmsnorm_bwd),
    .attention_bwd_bytes = CPU_FN(attention_bwd_bytes),
    .attention_bwd = CPU_FN(attention_bwd),
    .swiglu_bwd = CPU_FN(swiglu_bwd),
    .embed_bwd = CPU_FN(embed_bwd),
    .to_bf16 = CPU_FN(to_bf16),
    .sum_sq = CPU_FN(sum_sq),
    .adamw = CPU_FN(adamw),
};
