// SPDX-License-Identifier: Apache-2.0
/* push_rig.h - a small model's table, images made from a version, and what lies in shared memory. For the
 * tests of common/push. */
#ifndef TESTS_UNIT_PUSH_RIG_H
#define TESTS_UNIT_PUSH_RIG_H

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/hash.h"
#include "common/push/push.h"

/* five tensors, one of a single element, ends that fall into the middle of chunks; 1.2 MB */
enum {
    RIG_TENSORS = 5,
    RIG_PARAMS = 600001,
    RIG_CHUNK = 65536,
    RIG_CHUNKS = (2 * RIG_PARAMS + RIG_CHUNK - 1) / RIG_CHUNK
};
static const uint64_t rig_end[RIG_TENSORS] = {1, 100000, 100007, 500000, RIG_PARAMS};

/* The image of a version: every element depends on both. The caller frees. */
static inline uint16_t *rig_image(struct version v)
{
    uint16_t *p = malloc(RIG_PARAMS * sizeof *p);
    if (!p) abort();
    for (uint32_t i = 0; i < RIG_PARAMS; i++)
        p[i] = (uint16_t)((i * 2654435761u >> 11) ^ (uint32_t)v.counter * 40503u ^ (uint32_t)v.incarnation);
    return p;
}

static inline bool rig_is_image(const uint16_t *p, struct version v)
{
    uint16_t *want = rig_image(v);
    bool same = memcmp(p, want, RIG_PARAMS * sizeof *p) == 0;
    free(want);
    return same;
}

static inline struct push_source_opts rig_source(const char *run, const char *host, bool use_shm,
                                                 uint32_t n_keep)
{
    return (struct push_source_opts){
        .host = host,
        .run = run,
        .end = rig_end,
        .n_tensor = RIG_TENSORS,
        .n_param = RIG_PARAMS,
        .n_keep = n_keep,
        .use_shm = use_shm,
        .chunk_bytes = RIG_CHUNK,
        .shm_mode = 0640,
        .shm_gid = -1,
    };
}

static inline enum err rig_publish(struct push_source *s, struct version v)
{
    uint16_t *image = rig_image(v);
    enum err e = push_source_publish(s, v, image, NULL);
    free(image);
    return e;
}

/* How many objects of this run lie in shared memory; the name of one into name (may be NULL). */
static inline unsigned rig_shm(const char *run, char *name, size_t cap)
{
    char prefix[64];
    snprintf(prefix, sizeof prefix, "grpo-%016lx-", (unsigned long)hash_bytes(run, strlen(run)).lo);
    DIR *d = opendir("/dev/shm");
    if (!d) return 0;
    unsigned n = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (strncmp(e->d_name, prefix, strlen(prefix)) != 0) continue;
        if (name) snprintf(name, cap, "/%s", e->d_name);
        n++;
    }
    closedir(d);
    return n;
}

static inline uint64_t rig_rss_bytes(void)
{
    unsigned long size = 0, rss = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f) return 0;
    if (fscanf(f, "%lu %lu", &size, &rss) != 2) rss = 0;
    fclose(f);
    return (uint64_t)rss * (uint64_t)sysconf(_SC_PAGESIZE);
}

#endif
