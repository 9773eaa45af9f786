// SPDX-License-Identifier: Apache-2.0
/* Every pre-tokenizer here is a regular expression and a rule for what becomes of matches and gaps. */
#include "common/model/pretok.h"

#include <stdlib.h>
#include <string.h>

#define NESTED_MAX 8

/* Digits asks the library's language for numbers, which knows Unicode 17 */
#define NUMBER "[\\p{N}\U00011de0-\U00011de9\U00016ff4-\U00016ff6]"

static const char gpt2[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* -- reading -------------------------------------------------------------------------------------------- */

static bool is_type(const json_t *j, const char *type)
{
    const char *s = json_string_value(json_object_get(j, "type"));
    return s && !strcmp(s, type);
}

static enum err not_supported(struct why *why, const json_t *j, const char *what)
{
    const char *s = json_string_value(json_object_get(j, "type"));
    if (!s) return why_set(why, ERR_FORMAT, "%s: no type", what);
    return why_set(why, ERR_UNSUPPORTED, "%s %.80s", what, s);
}

/* A field that is there must be true or false; else it has the default. */
static enum err read_bool(const json_t *j, const char *key, bool otherwise, bool *ret, struct why *why)
{
    const json_t *v = json_object_get(j, key);
    if (v && !json_is_boolean(v)) return why_set(why, ERR_FORMAT, "%s is not true or false", key);
    *ret = v ? json_is_true(v) : otherwise;
    return ERR_OK;
}

static enum err read_normalizer(const json_t *j, unsigned depth, struct pretok *p, struct why *why)
{
    size_t i;
    const json_t *x;
    if (!j || json_is_null(j)) return ERR_OK;
    if (is_type(j, "NFC")) {
        p->is_nfc = true;
        return ERR_OK;
    }
    const json_t *list = json_object_get(j, "normalizers");
    if (!is_type(j, "Sequence")) return not_supported(why, j, "normalizer");
    if (!json_is_array(list)) return why_set(why, ERR_FORMAT, "normalizer Sequence: no normalizers");
    if (depth == NESTED_MAX) return why_set(why, ERR_UNSUPPORTED, "normalizers nested too deep");
    json_array_foreach(list, i, x) TRY(read_normalizer(x, depth + 1, p, why));
    return ERR_OK;
}

static enum err add_step(struct pretok *p, struct span pattern, struct pretok_step step, struct why *why)
{
    if (p->n_step == PRETOK_MAX_STEP)
        return why_set(why, ERR_UNSUPPORTED, "more than %d pre-tokenizers", PRETOK_MAX_STEP);
    if (pattern.n) TRY(tok_regex_open(pattern, &step.re, why));
    const uint8_t flags[3] = {step.keep_match, step.keep_gap, step.is_level};
    p->hash = hash_mix(p->hash, hash_mix(hash_bytes(flags, sizeof flags), hash_bytes(pattern.p, pattern.n)));
    p->step[p->n_step++] = step;
    return ERR_OK;
}

/* A string to split at, as an expression that matches it alone. */
static enum err escaped(const json_t *s, char **ret, size_t *ret_n)
{
    const char *text = json_string_value(s);
    const size_t n = json_string_length(s);
    char *out = malloc(2 * n + 1), *o = out;
    if (!out) return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) {
        if (strchr("\\.+*?()|[]{}^$#&-~", text[i]) && text[i]) *o++ = '\\';
        *o++ = text[i];
    }
    *ret = out;
    *ret_n = (size_t)(o - out);
    return ERR_OK;
}

static enum err read_split(const json_t *j, struct pretok *p, struct why *why)
{
    const json_t *pattern = json_object_get(j, "pattern"), *regex = json_object_get(pattern, "Regex");
    const json_t *string = json_object_get(pattern, "String");
    const char *behavior = json_string_value(json_object_get(j, "behavior"));
    bool invert = false;
    char *text = NULL;
    size_t n = 0;
    TRY(read_bool(j, "invert", false, &invert, why));
    if (!behavior) return why_set(why, ERR_FORMAT, "Split: no behavior");
    const bool removed = !strcmp(behavior, "Removed");
    if (!removed && strcmp(behavior, "Isolated"))
        return why_set(why, ERR_UNSUPPORTED, "Split behavior %.40s", behavior);
    const struct pretok_step step = {.keep_match = !removed || invert, .keep_gap = !removed || !invert};
    if (json_is_string(regex) && json_string_length(regex))
        return add_step(p, span_of(json_string_value(regex), json_string_length(regex)), step, why);
    if (!json_is_string(string) || !json_string_length(string))
        return why_set(why, ERR_FORMAT, "Split: pattern holds no Regex and no String");
    if (escaped(string, &text, &n)) return why_set(why, ERR_NOMEM, "out of memory");
    const enum err e = add_step(p, span_of(text, n), step, why);
    free(text);
    return e;
}

static enum err read_step(const json_t *j, struct pretok *p, struct why *why)
{
    bool flag = true;
    const struct pretok_step both = {.keep_match = true, .keep_gap = true};
    struct pretok_step level = both;
    if (p->n_step && p->step[p->n_step - 1].is_level)
        return why_set(why, ERR_UNSUPPORTED, "a pre-tokenizer after ByteLevel");
    if (is_type(j, "Split")) return read_split(j, p, why);
    if (is_type(j, "Digits")) {
        TRY(read_bool(j, "individual_digits", false, &flag, why));
        return add_step(p, span_str(flag ? NUMBER : NUMBER "+"), both, why);
    }
    if (!is_type(j, "ByteLevel")) return not_supported(why, j, "pre_tokenizer");
    TRY(read_bool(j, "add_prefix_space", true, &p->prefix_space, why));
    TRY(read_bool(j, "use_regex", true, &flag, why));
    level.is_level = true;
    p->hash = hash_mix(p->hash, hash_bytes(&(uint8_t){p->prefix_space}, 1));
    return add_step(p, span_str(flag ? gpt2 : ""), level, why);
}

static enum err read_pre_tokenizer(const json_t *j, unsigned depth, struct pretok *p, struct why *why)
{
    size_t i;
    const json_t *x, *list = json_object_get(j, "pretokenizers");
    if (!is_type(j, "Sequence")) return read_step(j, p, why);
    if (!json_is_array(list)) return why_set(why, ERR_FORMAT, "pre_tokenizer Sequence: no pretokenizers");
    if (depth == NESTED_MAX) return why_set(why, ERR_UNSUPPORTED, "pre-tokenizers nested too deep");
    json_array_foreach(list, i, x) TRY(read_pre_tokenizer(x, depth + 1, p, why));
    return ERR_OK;
}

enum err pretok_read(const json_t *normalizer, const json_t *pre_tokenizer, struct pretok *ret_p,
                     struct why *why)
{
    *ret_p = (struct pretok){0};
    TRY(read_normalizer(normalizer, 0, ret_p, why));
    ret_p->hash = hash_bytes(&(uint8_t){ret_p->is_nfc}, 1);
    if (pre_tokenizer && !json_is_null(pre_tokenizer)) TRY(read_pre_tokenizer(pre_tokenizer, 0, ret_p, why));
    if (!ret_p->n_step || !ret_p->step[ret_p->n_step - 1].is_level)
        return why_set(why, ERR_UNSUPPORTED, "a pre_tokenizer that does not end with ByteLevel");
    return ERR_OK;
}

void pretok_done(struct pretok *p)
{
    for (uint32_t i = 0; i < p->n_step; i++) tok_regex_close(p->step[i].re);
    *p = (struct pretok){0};
}

/* -- running -------------------------------------------------------------------------------------------- */

enum err pretok_normalize(const struct pretok *p, struct pretok_work *w, struct span text,
                          struct span *ret_text)
{
    *ret_text = text;
    return p->is_nfc ? nfc(&w->nfc, text, ret_text) : ERR_OK;
}

static enum err with_space(struct pretok_work *w, struct span *text)
{
    if (w->prefixed_cap < text->n + 1) {
        uint8_t *p = realloc(w->prefixed, text->n + 1);
        if (!p) return ERR_NOMEM;
        w->prefixed = p;
        w->prefixed_cap = text->n + 1;
    }
    w->prefixed[0] = ' ';
    memcpy(w->prefixed + 1, text->p, text->n);
    *text = span_of(w->prefixed, text->n + 1);
    return ERR_OK;
}

struct run {
    const struct pretok *p;
    struct pretok_work *w;
    pretok_emit *emit;
    void *arg;
};

static enum err cut(const struct run *r, uint32_t step, struct span text)
{
    if (!text.n) return ERR_OK;
    if (step == r->p->n_step) return r->emit(r->arg, text);
    const struct pretok_step *s = &r->p->step[step];
    if (s->is_level && r->p->prefix_space && text.p[0] != ' ') TRY(with_space(r->w, &text));
    if (!s->re) return cut(r, step + 1, text);
    for (size_t at = 0, a, b; at < text.n; at = b) {
        const enum err e = tok_regex_find(s->re, &r->w->regex, text, at, &a, &b);
        if (e && e != ERR_NOENT) return e;
        if (e) a = b = text.n;
        if (s->keep_gap && a > at) TRY(cut(r, step + 1, span_of(text.p + at, a - at)));
        if (s->keep_match && b > a) TRY(cut(r, step + 1, span_of(text.p + a, b - a)));
    }
    return ERR_OK;
}

enum err pretok_cut(const struct pretok *p, struct pretok_work *w, struct span text, pretok_emit *emit,
                    void *arg)
{
    const struct run r = {.p = p, .w = w, .emit = emit, .arg = arg};
    return cut(&r, 0, text);
}

void pretok_work_done(struct pretok_work *w)
{
    nfc_done(&w->nfc);
    tok_regex_work_done(&w->regex);
    free(w->prefixed);
    *w = (struct pretok_work){0};
}
