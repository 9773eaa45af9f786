// SPDX-License-Identifier: Apache-2.0
/* axis.h - where an axis begins and ends and what its ticks say. Private to this room. */
#ifndef COMMON_RUN_AXIS_H
#define COMMON_RUN_AXIS_H

#include "common/run/plot.h"

struct axis {
    double lo, hi, step; /* finite, lo < hi, step > 0 */
    double first;        /* the first tick; the others are one step apart, up to hi */
    unsigned n_tick;
};

/* About n_tick ticks at 1, 2 or 5 times a power of ten. x covers the values; y is widened to whole steps. */
struct axis axis__x(const struct plot *p, unsigned n_tick);
struct axis axis__y(const struct plot *p, unsigned n_tick);

double axis__tick(const struct axis *a, unsigned i);
double axis__at(const struct axis *a, double v); /* 0 at lo, 1 at hi */
bool axis__shows(double v);                      /* finite, and small enough to count with */

/* "0.25", "120", "3e-6": as many digits as tell two ticks apart. */
void axis__label(const struct axis *a, double v, char out[32]);

#endif
