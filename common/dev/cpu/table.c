// SPDX-License-Identifier: Apache-2.0
/* table.c - the op table of one instruction set. */
#include "common/dev/cpu/isa.h"

const struct ops CPU_FN(ops) = {
    .pack_bytes = CPU_FN(pack_bytes),
    .pack = CPU_FN(pack),
    .matmul = CPU_FN(matmul),
    .embed = CPU_FN(embed),
    .rmsnorm = CPU_FN(rmsnorm),
    .rope_kv = CPU_FN(rope_kv),
    .attention = CPU_FN(attention),
    .swiglu = CPU_FN(swiglu),
    .logprob = CPU_FN(logprob),
    .kv_block_bytes = CPU_FN(kv_block_bytes),
    .kv_copy = CPU_FN(kv_copy),
    .kv_zero = CPU_FN(kv_zero),
};
