// SPDX-License-Identifier: Apache-2.0
/* quickstart_view.c - on a terminal a picture that is drawn over itself, elsewhere a line now and then. No
 * line of the picture is wider than the terminal, or it could not be taken away again. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "ctl/ctl.h"
#include "ctl/quickstart.h"

#define MIN_WIDTH 60
#define BAR_WIDTH 40
#define PLAIN_NS  (10 * NS_PER_S)
/* The bar of the warm-up: the loss falls to its floor first, then the accuracy rises to its goal. */
#define SFT_LOSS     0.16
#define SFT_ACCURACY 0.22
#define SFT_SHARE    0.6  /* of the loss */
#define LEFT_FROM    0.04 /* of the way before a time left is guessed */
#define MAX_LINE     400

static bool says_utf8(void)
{
    static const char *const name[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (uint32_t i = 0; i < ARRAY_LEN(name); i++) {
        const char *v = getenv(name[i]);
        if (v && *v) return strcasestr(v, "utf-8") || strcasestr(v, "utf8");
    }
    return false;
}

void view_open(struct view *v, FILE *out)
{
    struct page p;
    *v = (struct view){.out = out};
    page_init(&p, out);
    v->live =
        out == stdout && p.width >= MIN_WIDTH && strcmp(getenv("TERM") ? getenv("TERM") : "", "dumb") != 0;
    v->colour = v->live && p.colour;
    v->blocks = says_utf8();
}

void view_clear(struct view *v)
{
    if (v->n_line) fprintf(v->out, "\r\033[%uA\033[J", v->n_line);
    v->n_line = 0;
}

void view_say(struct view *v, const char *fmt, ...)
{
    va_list ap;
    view_clear(v);
    va_start(ap, fmt);
    vfprintf(v->out, fmt, ap);
    va_end(ap);
    fputc('\n', v->out);
    fflush(v->out);
}

void view_phase(struct view *v, enum phase phase, double max_step, double before_s)
{
    view_clear(v);
    v->phase = phase;
    v->max_step = max_step;
    v->before_s = before_s;
    v->phase_ns = clock_now_ns();
    v->begun_at = NAN;
    v->best = 0;
    v->said_step = v->said_accuracy_step = NAN;
    v->said_ns = v->phase_ns;
}

/* -- how far ----------------------------------------------------------------------------------------------
 */

double view_progress(const struct view *v, const struct seen *s)
{
    double p = NAN;
    const double by_step = v->max_step > 0 && s->step > 0 ? s->step / v->max_step : 0;
    if (v->phase == PHASE_SFT && s->loss > 0)
        p = SFT_SHARE * fmin(1, log(s->loss_first / s->loss) / log(s->loss_first / SFT_LOSS)) +
            (1 - SFT_SHARE) * fmin(1, fmax(0, s->accuracy) / SFT_ACCURACY);
    else if (v->phase == PHASE_GRPO && v->target > 0)
        p = (s->reward - s->reward_first) / (v->target - s->reward_first);
    if (!(p > by_step)) p = by_step; /* the step that ends it in any case */
    return p < 0 ? 0 : p > 0.99 ? 0.99 : p;
}

/* Never back: the reward swings, the bar does not. */
static double go_on(struct view *v, const struct seen *s)
{
    const double p = view_progress(v, s);
    if (p > v->best) v->best = p;
    if (isnan(v->begun_at) && s->n_row) v->begun_at = v->best, v->begun_ns = clock_now_ns();
    return v->best;
}

/* "about 1 min 10 s left", or that it is too early to tell. */
static const char *time_left(const struct view *v, char out[64])
{
    struct human h;
    const double done = v->best - v->begun_at, gone = clock_s(clock_now_ns() - v->begun_ns);
    if (done > LEFT_FROM)
        snprintf(out, 64, "about %s left", human_time(fmax(1, round(gone * (1 - v->best) / done)), &h));
    else
        snprintf(out, 64, "time left: not known yet");
    return out;
}

static double elapsed(const struct view *v)
{
    return v->before_s + clock_s(clock_now_ns() - v->phase_ns);
}

/* -- the picture -------------------------------------------------------------------------------- */

/* The picture while it is made: lines, each cut to the width. */
struct picture {
    struct view *v;
    unsigned width;
    uint32_t n;
};

static void line(struct picture *p, const char *tint, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void line(struct picture *p, const char *tint, const char *fmt, ...)
{
    char s[MAX_LINE];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(s, sizeof s, fmt, ap);
    va_end(ap);
    while (text_width(s) >= p->width && *s) { /* a character less, with all its bytes */
        size_t n = strlen(s) - 1;
        while (n && (s[n] & 0xc0) == 0x80) n--;
        s[n] = 0;
    }
    const bool dye = p->v->colour && *tint;
    fprintf(p->v->out, "%s%s%s\033[K\n", dye ? tint : "", s, dye ? "\033[0m" : "");
    p->n++;
}

static const char *bar(const struct view *v, double done, char out[4 * BAR_WIDTH])
{
    const int full = (int)(done * BAR_WIDTH + 0.5);
    size_t n = 0;
    for (int i = 0; i < BAR_WIDTH; i++)
        n += (size_t)snprintf(out + n, 4 * BAR_WIDTH - n, "%s",
                              i < full    ? v->blocks ? "\u2588" : "#"
                              : v->blocks ? "\u2591"
                                          : "-");
    return out;
}

static const char *aim(const struct view *v, char out[80])
{
    if (v->phase == PHASE_SFT) return "between 0.15 and 0.35 wanted";
    if (!(v->target > 0)) return "rewards are shuffled: it should stay";
    snprintf(out, 80, "%.2f wanted", v->target);
    return out;
}

static void draw_live(struct view *v, const struct seen *s, unsigned width)
{
    struct picture p = {.v = v, .width = width};
    struct human a, b, c, d, e;
    char left[64], cells[4 * BAR_WIDTH], want[80];
    const double done = go_on(v, s);
    const bool sft = v->phase == PHASE_SFT;
    if (v->n_line) fprintf(v->out, "\r\033[%uA", v->n_line);
    line(&p, "\033[1m", "%s  %s",
         sft ? "1 of 2: warm-up by supervised fine-tuning" : "2 of 2: GRPO, learning from rewards", v->head);
    line(&p, v->stopping ? "\033[33m" : "\033[32m", "  %s %3.0f %%  %s", bar(v, done, cells), 100 * done,
         v->stopping ? "saving; Ctrl-C again kills" : time_left(v, left));
    line(&p, "", "  step              %s of %s at most, %s in all", human_count(s->step, &a),
         human_count(v->max_step, &b), human_time(round(elapsed(v)), &c));
    if (sft)
        line(&p, "", "  loss              %s", human_num(s->loss, &a));
    else
        line(&p, "", "  reward            %s (the first steps: %s)", human_num(s->reward, &a),
             human_num(s->reward_first, &b));
    line(&p, "", "  held-out accuracy %s (%s)",
         human_num(isnan(s->accuracy) ? v->start_accuracy : s->accuracy, &a), aim(v, want));
    line(&p, "", "  tokens a second   %s trained, %s generated", human_count(round(s->learner_tok_s), &a),
         human_count(round(s->node_tok_s), &b));
    line(&p, "", "  queues            %s jobs wait, %s in flight; %s groups, %s batches wait; %s decoding",
         human_count(s->jobs_waiting, &a), human_count(s->jobs_in_flight, &b), human_count(s->groups, &c),
         human_count(s->batches, &d), human_count(s->decoding, &e));
    line(&p, "", "  policy version    %s learner, %s rollout", human_count(s->learner_version, &a),
         human_count(s->node_version, &b));
    if (v->async)
        line(&p, "", "  mixed versions    %s completions span two versions", human_count(s->n_mixed, &a));
    fputs("\033[J", v->out);
    v->n_line = p.n;
}

/* -- lines ------------------------------------------------------------------------------------------------
 */

static void draw_plain(struct view *v, const struct seen *s)
{
    struct human a, b, c, d;
    char left[64];
    const int64_t now = clock_now_ns();
    const double done = go_on(v, s);
    const bool measured = !isnan(s->accuracy_step) && s->accuracy_step != v->said_accuracy_step;
    if (!s->n_row || s->step == v->said_step || (!measured && now - v->said_ns < PLAIN_NS)) return;
    fprintf(v->out,
            "%s step %.0f: %s %s, held-out accuracy %s, %s tokens/s, %s jobs wait, policy version %s/%s, "
            "%.0f %%, %s\n",
            v->phase == PHASE_SFT ? "sft" : "grpo", s->step, v->phase == PHASE_SFT ? "loss" : "reward",
            human_num(v->phase == PHASE_SFT ? s->loss : s->reward, &a),
            human_num(isnan(s->accuracy) ? v->start_accuracy : s->accuracy, &b),
            human_count(round(s->learner_tok_s), &c), human_num(s->jobs_waiting, &d),
            human_count(s->learner_version, &(struct human){0}),
            human_count(s->node_version, &(struct human){0}), 100 * done, time_left(v, left));
    v->said_step = s->step;
    v->said_accuracy_step = s->accuracy_step;
    v->said_ns = now;
}

void view_draw(struct view *v, const struct seen *s)
{
    struct page p;
    page_init(&p, v->out);
    if (v->live && p.width >= MIN_WIDTH)
        draw_live(v, s, p.width);
    else
        draw_plain(v, s);
    fflush(v->out);
}
