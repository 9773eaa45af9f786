// SPDX-License-Identifier: Apache-2.0
#include "common/run/axis.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_TICK 64
#define TINY     1e-290 /* nearer to 0 than any measure; its powers of ten would be denormal */

bool axis__shows(double v)
{
    return fabs(v) < 1e300; /* false for NaN */
}

static void range_of(const struct plot *p, bool of_x, double *ret_lo, double *ret_hi)
{
    double lo = INFINITY, hi = -INFINITY;
    for (uint32_t k = 0; k < p->n_series; k++) {
        const struct plot_series *s = &p->series[k];
        for (size_t i = 0; i < s->n; i++) {
            const double v = of_x ? s->x[i] : s->y[i];
            if (!axis__shows(s->x[i]) || !axis__shows(s->y[i])) continue;
            lo = fmin(lo, v);
            hi = fmax(hi, v);
        }
    }
    *ret_lo = lo <= hi ? lo : 0;
    *ret_hi = lo <= hi ? hi : 1;
}

/* The least of 1, 2, 5 x 10^k that makes at most n steps of the width. */
static double nice_step(double width, unsigned n)
{
    const double raw = width / n, ten = pow(10, floor(log10(raw)));
    return raw <= ten * 1.0000001 ? ten : raw <= 2 * ten * 1.0000001 ? 2 * ten : raw <= 5 * ten * 1.0000001 ? 5 * ten : 10 * ten;
}

static struct axis with_ticks(double lo, double hi, double step)
{
    struct axis a = {lo, hi, step, ceil(lo / step - 1e-9) * step, 0};
    while (a.n_tick < MAX_TICK && axis__tick(&a, a.n_tick) <= hi + step * 1e-6) a.n_tick++;
    return a;
}

/* Room around a single value, in proportion to it. */
static void part(double *lo, double *hi)
{
    const double largest = fmax(fabs(*lo), fabs(*hi));
    if (*hi - *lo > fmax(largest * 1e-9, TINY)) return;
    const double pad = largest > TINY ? largest / 2 : 1;
    *lo -= pad;
    *hi += pad;
}

struct axis axis__x(const struct plot *p, unsigned n_tick)
{
    double lo, hi;
    range_of(p, true, &lo, &hi);
    if (hi - lo < 1) lo -= lo >= 1 ? 1 : 0, hi += 1; /* steps are whole */
    part(&lo, &hi);
    return with_ticks(lo, hi, fmax(1, nice_step(hi - lo, n_tick)));
}

struct axis axis__y(const struct plot *p, unsigned n_tick)
{
    double lo, hi;
    range_of(p, false, &lo, &hi);
    if (p->unit && lo >= 0 && hi <= 1) {
        lo = 0, hi = 1;
    } else {
        part(&lo, &hi);
        if (lo > 0 && lo < 0.4 * hi) lo = 0; /* zero is worth seeing when it is near */
    }
    const double step = nice_step(hi - lo, n_tick);
    return with_ticks(floor(lo / step + 1e-9) * step, ceil(hi / step - 1e-9) * step, step);
}

double axis__tick(const struct axis *a, unsigned i)
{
    return a->first + i * a->step;
}

double axis__at(const struct axis *a, double v)
{
    return (v - a->lo) / (a->hi - a->lo);
}

/* 3e-06 -> 3e-6 */
static void short_exponent(char *s)
{
    char *e = strchr(s, 'e'), *to;
    if (!e) return;
    to = ++e;
    if (*e == '+') e++;
    if (*e == '-') to++, e++;
    while (*e == '0' && e[1]) e++;
    memmove(to, e, strlen(e) + 1);
}

void axis__label(const struct axis *a, double v, char out[32])
{
    const double largest = fmax(fabs(a->lo), fabs(a->hi)), digits = floor(log10(largest) + 1e-9) - floor(log10(a->step) + 1e-9);
    const int decimals = (int)fmax(0, ceil(-log10(a->step) - 1e-9));
    if (fabs(v) < a->step * 1e-6)
        snprintf(out, 32, "0");
    else if (largest >= 1e6 || a->step < 1e-4)
        snprintf(out, 32, "%.*g", (int)fmin(15, digits + 1), v);
    else
        snprintf(out, 32, "%.*f", decimals, v);
    short_exponent(out);
}
