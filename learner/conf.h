// SPDX-License-Identifier: Apache-2.0
/* conf.h - the settings of grpo-learner as a struct (conf.def lists them). */
#ifndef LEARNER_CONF_H
#define LEARNER_CONF_H

#include "common/svc/conf.h"

struct learner_conf {
#define KEY(type, name, def, min, max, live, help) CONF_FIELD_##type name;
#define CHOICE(name, def, choices, live, help)     uint32_t name;
#include "learner/conf.def"
#undef KEY
#undef CHOICE
};

extern const struct conf_list learner_conf_list;

#endif
