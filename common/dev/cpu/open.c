// SPDX-License-Identifier: Apache-2.0
/* open.c - the CPU as a device: memory is ordinary memory, a stream is nothing, an op has happened when it returns. */
#include "common/dev/cpu/open.h"

#include <gnu/libc-version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/team.h"
#include "common/dev/cpu/cpu.h"
#include "common/dev/par.h"

struct cpu_dev {
    struct dev dev;
    struct team *team;
    void *scratch;
    uint64_t scratch_bytes;
};

static void cpu_close(struct dev *d)
{
    struct cpu_dev *c = (struct cpu_dev *)d;
    team_destroy(c->team);
    free(c->scratch);
    free(c);
}

static enum err cpu_alloc(struct dev *d, uint64_t bytes, void **ret_mem)
{
    (void)d;
    if (bytes > SIZE_MAX - 4096) return ERR_NOMEM;
    const size_t n = (bytes + 63) / 64 * 64;
    void *p = NULL;
    if (posix_memalign(&p, 64, n ? n : 64)) return ERR_NOMEM;
    memset(p, 0, n ? n : 64);
    *ret_mem = p;
    return ERR_OK;
}

static void cpu_free(struct dev *d, void *mem)
{
    (void)d;
    free(mem);
}

static enum err cpu_copy_in(struct dev *d, struct stream *s, void *dst, const void *src, uint64_t bytes)
{
    (void)d, (void)s;
    memcpy(dst, src, bytes);
    return ERR_OK;
}

static enum err cpu_zero(struct dev *d, struct stream *s, void *dst, uint64_t bytes)
{
    (void)d, (void)s;
    memset(dst, 0, bytes);
    return ERR_OK;
}

static enum err cpu_sync(struct dev *d, struct stream *s)
{
    (void)d, (void)s;
    return ERR_OK;
}

void *dev_scratch(struct dev *d, uint64_t bytes)
{
    struct cpu_dev *c = (struct cpu_dev *)d;
    if (bytes <= c->scratch_bytes) return c->scratch;
    void *p = NULL;
    if (cpu_alloc(d, bytes + bytes / 4, &p)) return NULL;
    free(c->scratch);
    c->scratch = p;
    c->scratch_bytes = bytes + bytes / 4;
    return p;
}

static const struct dev_ops cpu_mem = {
    .close = cpu_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .copy_in = cpu_copy_in,
    .copy_out = cpu_copy_in,
    .copy = cpu_copy_in,
    .zero = cpu_zero,
    .sync = cpu_sync,
};

struct isa {
    const char *name;
    const struct ops *ops;
    bool here;
};

/* Best first. */
static void isa_list(struct isa out[3])
{
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    out[0] = (struct isa){"avx512bf16", &avx512bf16_ops, avx512 && __builtin_cpu_supports("avx512bf16")};
    out[1] = (struct isa){"avx512", &avx512_ops, avx512};
    out[2] = (struct isa){"avx2", &avx2_ops, avx2};
}

static enum err pick(const char *want, struct isa *ret, struct why *why)
{
    struct isa all[3];
    isa_list(all);
    for (unsigned i = 0; i < 3; i++) {
        if (want && strcmp(want, all[i].name) != 0) continue;
        if (all[i].here) {
            *ret = all[i];
            return ERR_OK;
        }
        if (want) return why_set(why, ERR_UNSUPPORTED, "this CPU has no %s", want);
    }
    if (want) return why_set(why, ERR_UNSUPPORTED, "unknown instruction set \"%s\": one of avx2, avx512, avx512bf16", want);
    return why_set(why, ERR_UNSUPPORTED, "this CPU has no AVX2 with FMA");
}

enum err cpu_open(const struct dev_opts *o, const char *isa_name, struct dev **ret_dev, struct why *why)
{
    struct isa isa = {0};
    TRY(pick(isa_name, &isa, why));
    struct cpu_dev *c = calloc(1, sizeof *c);
    if (!c) return ERR_NOMEM;
    enum err e = team_create(o->n_thread ? o->n_thread : team_usable_cpus(), o->cpu_pin, &c->team, why);
    if (e) {
        free(c);
        return e;
    }
    c->dev.mem = &cpu_mem;
    c->dev.ops = isa.ops;
    c->dev.isa = isa.name;
    c->dev.n_thread = team_size(c->team);
    c->dev.mem_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    snprintf(c->dev.name, sizeof c->dev.name, "cpu/%s", isa.name);
    /* log comes from the C library, everything else from this build */
    snprintf(c->dev.numerics, sizeof c->dev.numerics, "cpu/%s piece%d libc%s cc%s", isa.name, ATTN_PIECE_TOK, gnu_get_libc_version(),
             __VERSION__);
    *ret_dev = &c->dev;
    return ERR_OK;
}

struct team *dev_team(const struct dev *d)
{
    return d->isa ? ((const struct cpu_dev *)d)->team : NULL;
}
