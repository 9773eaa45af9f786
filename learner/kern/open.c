// SPDX-License-Identifier: Apache-2.0
/* open.c - the learner's table of an open device: a plug-in brings its own, the CPU's are linked here. */
#include <string.h>

#include "learner/kern/ops.h"

extern const struct learner_ops avx2_learner_ops, avx512_learner_ops, avx512bf16_learner_ops;

enum err learner_ops_of(const struct dev *d, const struct learner_ops **ret_ops, struct why *why)
{
    static const struct {
        const char *isa;
        const struct learner_ops *ops;
    } list[] = {{"avx2", &avx2_learner_ops}, {"avx512", &avx512_learner_ops}, {"avx512bf16", &avx512bf16_learner_ops}};
    const struct learner_ops *found = d->table ? d->table(d, "learner") : NULL;
    for (unsigned i = 0; !found && d->isa && i < sizeof list / sizeof *list; i++)
        if (!strcmp(d->isa, list[i].isa)) found = list[i].ops;
    if (!found) return why_set(why, ERR_UNSUPPORTED, "device %s cannot train", d->name);
    *ret_ops = found;
    return ERR_OK;
}
