// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "common/base/hash.h"
#include "common/push/push.h"

/* The first line of a small file, "" when there is none. */
static void first_line(const char *path, char *out, size_t cap)
{
    out[0] = 0;
    FILE *f = fopen(path, "re");
    if (!f) return;
    if (!fgets(out, (int)cap, f)) out[0] = 0;
    out[strcspn(out, "\n")] = 0;
    fclose(f);
}

void push_host_id(const char *force, char *out)
{
    if (force && force[0]) {
        snprintf(out, PUSH_HOST_LEN, "%s", force);
        return;
    }
    /* The boot id alone tells hosts and boots apart; the machine id tells containers with a /dev/shm of their
     * own apart. Where that is not enough, opening the object fails and the chunks take over. */
    char id[2][64];
    first_line("/proc/sys/kernel/random/boot_id", id[0], sizeof id[0]);
    first_line("/etc/machine-id", id[1], sizeof id[1]);
    if (id[0][0])
        hash_hex(hash_mix(hash_bytes(id[0], strlen(id[0])), hash_bytes(id[1], strlen(id[1]))), out);
    else
        out[0] = 0;
}
