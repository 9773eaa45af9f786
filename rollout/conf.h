// SPDX-License-Identifier: Apache-2.0
/* conf.h - the settings of grpo-rollout as a struct (conf.def lists them). */
#ifndef ROLLOUT_CONF_H
#define ROLLOUT_CONF_H

#include "common/svc/conf.h"

struct rollout_conf {
#define KEY(type, name, def, min, max, live, help) CONF_FIELD_##type name;
#define CHOICE(name, def, choices, live, help)     uint32_t name;
#include "rollout/conf.def"
#undef KEY
#undef CHOICE
};

extern const struct conf_list rollout_conf_list;

#endif
