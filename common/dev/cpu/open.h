// SPDX-License-Identifier: Apache-2.0
/* open.h - private to common/dev: the CPU back end's door. isa NULL: the best this host has. */
#ifndef COMMON_DEV_CPU_OPEN_H
#define COMMON_DEV_CPU_OPEN_H

#include "common/dev/dev.h"

enum err cpu_open(const struct dev_opts *o, const char *isa, struct dev **ret_dev, struct why *why) MUST_CHECK;

#endif
