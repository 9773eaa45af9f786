// SPDX-License-Identifier: Apache-2.0
#include "learner/conf.h"

#define FIXED false
#define LIVE  true

static const struct conf_key keys[] = {
#define KEY(type, name, def, min, max, live, help)                                                                \
    {#name, CONF_##type, offsetof(struct learner_conf, name), def, min, max, NULL, live, help},
#define CHOICE(name, def, choices, live, help)                                                                    \
    {#name, CONF_CHOICE, offsetof(struct learner_conf, name), def, 0, 0, choices, live, help},
#include "learner/conf.def"
#undef KEY
#undef CHOICE
};

const struct conf_list learner_conf_list = {"learner", keys, sizeof keys / sizeof *keys};
