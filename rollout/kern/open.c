// SPDX-License-Identifier: Apache-2.0
/* open.c - the rollout's table of an open device: a plug-in brings its own, the CPU's are linked here. */
#include <string.h>

#include "rollout/kern/ops.h"

extern const struct rollout_ops avx2_rollout_ops, avx512_rollout_ops, avx512bf16_rollout_ops;

enum err rollout_ops_of(const struct dev *d, const struct rollout_ops **ret_ops, struct why *why)
{
    static const struct {
        const char *isa;
        const struct rollout_ops *ops;
    } list[] = {{"avx2", &avx2_rollout_ops}, {"avx512", &avx512_rollout_ops}, {"avx512bf16", &avx512bf16_rollout_ops}};
    const struct rollout_ops *found = d->table ? d->table(d, "rollout") : NULL;
    for (unsigned i = 0; !found && d->isa && i < sizeof list / sizeof *list; i++)
        if (!strcmp(d->isa, list[i].isa)) found = list[i].ops;
    if (!found) return why_set(why, ERR_UNSUPPORTED, "device %s cannot sample", d->name);
    *ret_ops = found;
    return ERR_OK;
}
