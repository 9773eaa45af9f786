// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a configuration file: settings within their bounds, or words that begin with the file and the
 * line. */
#include <stdlib.h>
#include <string.h>

#include "common/svc/conf.h"

struct settings {
    bool flag;
    uint32_t whole, mode;
    uint64_t bytes;
    double real;
    char *text;
};

static const struct conf_key keys[] = {
    {"flag", CONF_BOOL, offsetof(struct settings, flag), "true", 0, 0, NULL, false, ""},
    {"whole", CONF_U32, offsetof(struct settings, whole), "100", 1, 1048576, NULL, false, ""},
    {"mode", CONF_CHOICE, offsetof(struct settings, mode), "a", 0, 0, "a|bc|d", false, ""},
    {"bytes", CONF_U64, offsetof(struct settings, bytes), "2G", 1024, 1e15, NULL, false, ""},
    {"real", CONF_F64, offsetof(struct settings, real), "1e-6", 0, 10, NULL, true, ""},
    {"text", CONF_STR, offsetof(struct settings, text), "", 0, 0, NULL, false, ""},
};
static const struct conf_list list = {"learner", keys, sizeof keys / sizeof *keys};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct settings s = {0};
    struct why why = {0};
    char v[64];
    if (conf_defaults(&list, &s, NULL)) abort();
    if (conf_parse(&list, &s, span_of(data, size), "f", &why) && strncmp(why.text, "f:", 2)) abort();
    if (s.whole < 1 || s.whole > 1048576 || s.mode > 2 || s.bytes < 1024 ||
        s.bytes > UINT64_C(1000000000000000))
        abort();
    if (!(s.real >= 0 && s.real <= 10) || !s.text) abort();
    for (uint32_t i = 0; i < list.n; i++) conf_get(&keys[i], &s, v, sizeof v);
    conf_done(&list, &s);
    return 0;
}
