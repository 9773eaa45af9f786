// SPDX-License-Identifier: Apache-2.0
/* ask.c - one question to a daemon, and which daemon that is. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/svc/ctl_sock.h"
#include "ctl/ctl.h"
#include "proto/msg.h"

#define TIMEOUT_S 10
#define PEEK_S    1.0 /* for looking which learner a node works for */

void say(const char *fmt, ...)
{
    va_list ap;
    char s[700];
    va_start(ap, fmt);
    vsnprintf(s, sizeof s, fmt, ap);
    va_end(ap);
    char *clean = text_clean(span_str(s), true);
    fprintf(stderr, "grpoctl: %s\n", clean ? clean : "out of memory");
    free(clean);
}

int ask_frame(const char *path, struct span frame, double timeout_s, uint8_t **ret_reply, size_t *ret_n, struct why *why)
{
    const double ms = (timeout_s > 0 ? timeout_s : TIMEOUT_S) * 1e3;
    struct human h;
    enum err e = ctl_call(path, frame, ms < 1 ? 1 : ms > 2e9 ? 2000000000 : (int)ms, ret_reply, ret_n, why);
    if (e == ERR_OK) return CTL_OK;
    if (e == ERR_NOENT) return CTL_NO_DAEMON;
    if (e == ERR_ACCESS) {
        why_set(why, e, "%s: permission denied: be root, or a member of the group that owns it", path);
        return CTL_NO_DAEMON;
    }
    if (e == ERR_TIMEOUT) {
        why_set(why, e, "%s: no answer within %s", path, human_time(ms / 1e3, &h));
        return CTL_TIMED_OUT;
    }
    if (e == ERR_CLOSED) why_set(why, e, "%s: hung up without a whole answer", path);
    if (e == ERR_FORMAT) why_set(why, e, "%s: what answers there does not speak like a daemon of grpod", path);
    return CTL_FAILED;
}

static int understand(const char *path, const uint8_t *reply, size_t n, struct answer *ret, struct why *why)
{
    struct msg_ctl_reply m;
    json_error_t je;
    struct why inner = {0};
    const enum err e = msg_get_ctl_reply(span_of(reply, n), &m, &inner);
    if (e) {
        why_set(why, e, "%s: the answer makes no sense: %s", path, why_str(&inner, e));
        return CTL_FAILED;
    }
    if (m.code) {
        char words[400];
        msg_str_copy(m.why, words, sizeof words);
        why_set(why, ERR_INVAL, "%s", *words ? words : err_str((enum err)m.code));
        return CTL_FAILED;
    }
    ret->j = json_loadb((const char *)m.json.p, m.json.n, JSON_REJECT_DUPLICATES, &je);
    if (!json_is_object(ret->j)) {
        why_set(why, ERR_FORMAT, "%s: the answer is no JSON object%s%s", path, ret->j ? "" : ": ", ret->j ? "" : je.text);
        return CTL_FAILED;
    }
    ret->text = strndup((const char *)m.json.p, m.json.n);
    return ret->text ? CTL_OK : (why_set(why, ERR_NOMEM, "out of memory"), CTL_FAILED);
}

int ask(const char *path, const char *verb, const char *args, double timeout_s, struct answer *ret, struct why *why)
{
    struct msg_buf b = {0};
    uint8_t *reply = NULL;
    size_t n = 0;
    int code = CTL_FAILED;
    const struct msg_ctl m = {.verb = span_str(verb), .args = span_str(args ? args : "")};
    *ret = (struct answer){0};
    if (msg_put_ctl(&m, &b) == ERR_OK) code = ask_frame(path, msg_buf_span(&b), timeout_s, &reply, &n, why);
    if (code == CTL_OK) code = understand(path, reply, n, ret, why);
    if (code) answer_done(ret);
    msg_buf_done(&b);
    free(reply);
    return code;
}

void answer_done(struct answer *a)
{
    free(a->text);
    json_decref(a->j);
    *a = (struct answer){0};
}

const char *js_str(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return s && *s ? s : "-";
}

double js_num(const json_t *j, const char *key)
{
    const json_t *v = json_object_get(j, key);
    return json_is_number(v) ? json_number_value(v) : (double)NAN;
}

bool js_true(const json_t *j, const char *key)
{
    return json_is_true(json_object_get(j, key));
}

/* -- which daemon ------------------------------------------------------------------------------------------------------- */

/* The doors behind which someone of the wanted kind listens. */
static void listening(const struct doors *all, enum who want, struct doors *ret, struct why *denied)
{
    ret->n = 0;
    for (uint32_t i = 0; i < all->n; i++) {
        const struct door *d = &all->d[i];
        struct why why = {0};
        if (d->who != want && d->who != WHO_ANY) continue;
        const enum err e = ctl_probe(d->path, &why);
        if (e == ERR_OK) ret->d[ret->n++] = *d;
        else if (e == ERR_ACCESS && !*denied->text) *denied = why;
    }
}

/* Nodes of the learner at this port first; with `only`, no others. On one host the port says which learner it is. */
static void of_learner(struct doors *d, unsigned port, bool only)
{
    struct doors near = {.n = 0}, far = {.n = 0};
    for (uint32_t i = 0; i < d->n; i++) {
        struct answer a;
        const int code = ask(d->d[i].path, "status", NULL, PEEK_S, &a, NULL);
        const bool hit = code == CTL_OK && where_url_port(js_str(a.j, "learner")) == port;
        if (hit) near.d[near.n++] = d->d[i];
        else far.d[far.n++] = d->d[i];
        answer_done(&a);
    }
    for (uint32_t i = 0; !only && i < far.n; i++) near.d[near.n++] = far.d[i];
    *d = near;
}

static void several(const struct doors *d)
{
    static bool said;
    if (d->n < 2 || said) return;
    say("%u %ss answer; this is the one at %s (--run or --socket picks another):", d->n, who_name(d->d[0].who), d->d[0].path);
    for (uint32_t i = 1; i < d->n && i < 8; i++) fprintf(stderr, "  %s\n", d->d[i].path);
    if (d->n > 8) fprintf(stderr, "  and %u more\n", d->n - 8);
    said = true;
}

/* What --on says. False: neither. */
static bool who_asked(const struct common *c, enum who *ret)
{
    *ret = !c->on ? WHO_ANY : !strcmp(c->on, "learner") ? WHO_LEARNER : WHO_ROLLOUT;
    return !c->on || !strcmp(c->on, "learner") || !strcmp(c->on, "rollout");
}

static void where_of(const struct common *c, struct where *w)
{
    const char *run = c->run, *sock = c->socket;
    if (!run && !sock) run = getenv("GRPO_RUN"), sock = getenv("GRPO_SOCKET");
    *w = (struct where){.root = "", .cwd = ".", .run = run, .socket = sock, .runtime = getenv("XDG_RUNTIME_DIR")};
}

bool one_door(const struct common *c)
{
    struct where w;
    where_of(c, &w);
    return c->on || (w.socket && *w.socket);
}

bool named(const struct common *c)
{
    struct where w;
    where_of(c, &w);
    return (w.run && *w.run) || (w.socket && *w.socket);
}

/* The nodes that belong to the run: of --run alone, else of the first learner that answers before others. */
static void order_nodes(const struct where *w, const struct doors *all, struct doors *nodes)
{
    struct doors learners;
    struct why denied = {0};
    char dir[128];
    const bool given = w->run && *w->run;
    listening(all, WHO_LEARNER, &learners, &denied);
    if (!given && (nodes->n < 2 || !learners.n)) return;
    where_dir(learners.n ? &learners.d[0] : &all->d[0], dir, sizeof dir);
    const unsigned port = where_port(given ? w->run : dir);
    if (!port) return;
    /* a node with its socket in the run folder belongs to it, whatever it dials */
    struct doors inside = {.n = 0}, outside = {.n = 0};
    for (uint32_t i = 0; i < nodes->n; i++) {
        char own[128];
        where_dir(&nodes->d[i], own, sizeof own);
        if (!strcmp(own, given ? w->run : dir)) inside.d[inside.n++] = nodes->d[i];
        else outside.d[outside.n++] = nodes->d[i];
    }
    of_learner(&outside, port, given);
    for (uint32_t i = 0; i < outside.n; i++) inside.d[inside.n++] = outside.d[i];
    *nodes = inside;
}

#define NOBODY (-1)

/* An exit code, or NOBODY, for which words are to be found yet. denied: words about a socket that is closed to us. */
static int gather(const struct where *w, enum who want, struct doors *ret, struct why *denied, struct why *why)
{
    struct doors all;
    const enum err e = where_doors(w, &all, why);
    if (e) return e == ERR_RANGE ? CTL_USAGE : CTL_NO_DAEMON;
    listening(&all, want, ret, denied);
    if (want == WHO_ROLLOUT && !(w->socket && *w->socket)) order_nodes(w, &all, ret);
    return ret->n ? CTL_OK : NOBODY;
}

static int nobody(const struct where *w, enum who want, const struct why *denied, struct why *why)
{
    if (*denied->text) why_set(why, ERR_ACCESS, "%s: be root, or a member of the group that owns it", denied->text);
    else if (w->socket && *w->socket) why_set(why, ERR_NOENT, "%s: no daemon answers here", w->socket);
    else if (w->run && *w->run) why_set(why, ERR_NOENT, "no %s answers for the run %s", who_name(want), w->run);
    else
        why_set(why, ERR_NOENT, "no %s answers in runs/, /run, /var/lib/grpo%s or /tmp: start one, or name it with --run DIR or --socket PATH",
                who_name(want), access("/var/lib/grpo", X_OK) && errno == EACCES ? " (closed to this user)" : "");
    return CTL_NO_DAEMON;
}

int pick_all(const struct common *c, enum who want, struct doors *ret, struct why *why)
{
    struct where w;
    struct why denied = {0};
    where_of(c, &w);
    const int code = gather(&w, want, ret, &denied, why);
    return code == NOBODY ? nobody(&w, want, &denied, why) : code;
}

int run_folder(const struct common *c, char *out, size_t cap, struct why *why)
{
    struct where w;
    where_of(c, &w);
    return where_run(&w, out, cap, why) ? CTL_FAILED : CTL_OK;
}

int pick(const struct common *c, enum who first, enum who second, struct door *ret, struct why *why)
{
    struct doors d;
    struct where w;
    struct why denied = {0};
    enum who on;
    if (!who_asked(c, &on)) {
        why_set(why, ERR_INVAL, "--on %s: learner or rollout is expected", c->on);
        return CTL_USAGE;
    }
    if (on && on != first && on != second) {
        why_set(why, ERR_INVAL, "a %s does not do this", who_name(on));
        return CTL_USAGE;
    }
    where_of(c, &w);
    int code = gather(&w, on ? on : first, &d, &denied, why);
    const bool both = !on && second;
    if (code == NOBODY && both) code = gather(&w, second, &d, &denied, why);
    if (code == NOBODY) return nobody(&w, both ? WHO_ANY : on ? on : first, &denied, why);
    if (code) return code;
    several(&d);
    *ret = d.d[0];
    return CTL_OK;
}

int pick_and_ask(const struct common *c, enum who first, enum who second, const char *verb, struct door *ret_door, struct answer *ret,
                 struct why *why)
{
    *ret = (struct answer){0};
    const int code = pick(c, first, second, ret_door, why);
    return code ? code : ask(ret_door->path, verb, NULL, c->timeout_s, ret, why);
}
