// SPDX-License-Identifier: Apache-2.0
/* dev.c - "auto", "cpu", "cpu:avx2", ... to a back end. */
#include "common/dev/dev.h"

#include <string.h>

#include "common/dev/cpu/open.h"

enum err dev_open(const struct dev_opts *o, struct dev **ret_dev, struct why *why)
{
    const char *spec = o->spec && *o->spec ? o->spec : "auto";
    if (!strcmp(spec, "auto") || !strcmp(spec, "cpu")) return cpu_open(o, NULL, ret_dev, why);
    if (!strncmp(spec, "cpu:", 4)) return cpu_open(o, spec + 4, ret_dev, why);
    if (!strncmp(spec, "cuda", 4)) return why_set(why, ERR_UNSUPPORTED, "no CUDA plug-in: device \"%s\" is not to be had; use cpu or auto", spec);
    return why_set(why, ERR_INVAL, "unknown device \"%s\": auto, cpu, cpu:avx2, cpu:avx512 or cpu:avx512bf16", spec);
}

void dev_close(struct dev *d)
{
    if (d) d->mem->close(d);
}
