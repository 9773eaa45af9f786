// SPDX-License-Identifier: Apache-2.0
/* intake.h - messages to work and back: msg_job -> work, work -> msg_group. Pure, loop thread. */
#ifndef ROLLOUT_INTAKE_H
#define ROLLOUT_INTAKE_H

#include "proto/msg.h"
#include "rollout/work.h"

#define INTAKE_MAX_GROUP 4096

/* Check every field of a job and make its work. eos: used when the job names none. ERR_RANGE or ERR_INVAL with words naming the field. */
enum err intake_job(const struct msg_job *j, const int32_t *eos, uint32_t n_eos, struct work **ret_work, struct why *why) MUST_CHECK;

/* The group message of a finished work into out. */
enum err intake_group(const struct work *w, uint64_t node_id, struct msg_buf *out) MUST_CHECK;

#endif
