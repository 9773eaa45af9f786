// SPDX-License-Identifier: Apache-2.0
/* tokenizer.json -> struct tokenizer. Every key is known or refused: what is skipped silently would give
 * other ids. */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/model/json_scan.h"
#include "common/model/tokenizer_room.h"
#include "common/model/utf8.h"

#define FILE_MAX_BYTES   (48u << 20)
#define CONFIG_MAX_BYTES (8u << 20)
#define NESTED_MAX       8

static struct span text_of(const json_t *j)
{
    return span_of(json_string_value(j), json_string_length(j));
}

/* Every key of j is in the list, which ends with NULL. */
static enum err known_keys(const json_t *j, const char *const *keys, const char *where, struct why *why)
{
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)j, key, v)
    {
        unsigned i = 0;
        while (keys[i] && strcmp(keys[i], key)) i++;
        if (!keys[i]) return why_set(why, ERR_UNSUPPORTED, "%s: key %.80s is not known", where, key);
    }
    return ERR_OK;
}

static enum err read_bool(const json_t *j, const char *key, bool otherwise, bool *ret, const char *where,
                          struct why *why)
{
    const json_t *v = json_object_get(j, key);
    if (v && !json_is_null(v) && !json_is_boolean(v))
        return why_set(why, ERR_FORMAT, "%s: %s is not true or false", where, key);
    *ret = json_is_boolean(v) ? json_is_true(v) : otherwise;
    return ERR_OK;
}

/* A setting that must stay unset: absent, null, or the value that means the same. */
static bool unset(const json_t *v)
{
    return !v || json_is_null(v) || json_is_false(v) || (json_is_string(v) && !json_string_length(v)) ||
           (json_is_number(v) && json_number_value(v) == 0);
}

/* -- the model ------------------------------------------------------------------------------------------ */

/* The two large parts, as json_scan_cut left them out of the rest. */
struct large {
    struct span text; /* the whole file, for line numbers */
    struct span vocab, merges;
};

static enum err read_vocab(const struct large *l, struct bpe *b, struct why *why)
{
    if (!l->vocab.p || *l->vocab.p != '{') return why_set(why, ERR_FORMAT, "model: vocab is not an object");
    struct json_scan s = {.p = l->vocab.p, .end = l->vocab.p + l->vocab.n, .start = l->vocab.p};
    const char *expected = NULL;
    enum err e = ERR_OK;
    size_t n = 0;
    s.p++;
    while (!e && !expected && !json_scan_take(&s, '}')) {
        struct span key;
        int64_t id;
        if (n++ && !json_scan_take(&s, ','))
            expected = "a comma or the end of vocab";
        else if ((e = json_scan_string(&s, &key)) || !json_scan_take(&s, ':'))
            expected = e == ERR_NOMEM ? NULL : "a key of vocab";
        else if (json_scan_int(&s, &id))
            expected = "a whole number as id";
        else
            e = bpe_add(b, key, id, why);
    }
    if (expected) e = json_scan_bad(&s, json_scan_line(l->text, l->vocab.p), expected, why);
    json_scan_done(&s);
    return e;
}

/* "a b", or ["a", "b"]. NULL: a pair; else what is expected instead. */
static const char *read_pair(struct json_scan *s, bool strings, struct span *ret_left, struct span *ret_right)
{
    struct span both;
    if (!strings) {
        if (!json_scan_take(s, '[') || json_scan_string(s, ret_left) || !json_scan_take(s, ',') ||
            json_scan_string(s, ret_right) || !json_scan_take(s, ']'))
            return "a merge, [\"a\", \"b\"],";
        return NULL;
    }
    if (json_scan_string(s, &both)) return "a merge, \"a b\",";
    const uint8_t *blank = memchr(both.p, ' ', both.n);
    if (!blank) return "a merge, \"a b\",";
    *ret_left = span_of(both.p, (size_t)(blank - both.p));
    *ret_right = span_of(blank + 1, both.n - ret_left->n - 1);
    return memchr(ret_right->p, ' ', ret_right->n) ? "a merge, \"a b\"," : NULL;
}

static enum err read_merges(const struct large *l, struct bpe *b, struct why *why)
{
    if (!l->merges.p || *l->merges.p != '[') return why_set(why, ERR_FORMAT, "model: merges is not a list");
    struct json_scan s = {.p = l->merges.p, .end = l->merges.p + l->merges.n, .start = l->merges.p};
    const char *expected = NULL;
    enum err e = ERR_OK;
    size_t n = 0;
    const uint8_t *first = ++s.p;
    const bool strings = !json_scan_take(&s, '[');
    s.p = first;
    while (!e && !expected && !json_scan_take(&s, ']')) {
        struct span left, right;
        if (n++ && !json_scan_take(&s, ','))
            expected = "a comma or the end of merges";
        else if (!(expected = read_pair(&s, strings, &left, &right)) &&
                 !(strings && left.n >= 8 && !memcmp(left.p, "#version", 8))) /* a line of merges.txt */
            e = bpe_merge(b, left, right, why);
    }
    if (expected) e = json_scan_bad(&s, json_scan_line(l->text, l->merges.p), expected, why);
    json_scan_done(&s);
    return e;
}

static enum err read_model(const json_t *j, const struct large *l, struct bpe *b, struct why *why)
{
    static const char *const keys[] = {"type",
                                       "dropout",
                                       "unk_token",
                                       "continuing_subword_prefix",
                                       "end_of_word_suffix",
                                       "fuse_unk",
                                       "byte_fallback",
                                       "ignore_merges",
                                       "vocab",
                                       "merges",
                                       NULL};
    static const char *const must_be_unset[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix",
                                                "byte_fallback"};
    struct bpe_opts o = {.unk = -1};
    const json_t *type = json_object_get(j, "type"), *unk = json_object_get(j, "unk_token");
    if (!json_is_object(j)) return why_set(why, ERR_FORMAT, "no model");
    if (type && (!json_is_string(type) || strcmp(json_string_value(type), "BPE")))
        return why_set(why, ERR_UNSUPPORTED, "model type %.40s, only BPE is", json_string_value(type));
    TRY(known_keys(j, keys, "model", why));
    for (unsigned i = 0; i < sizeof must_be_unset / sizeof *must_be_unset; i++)
        if (!unset(json_object_get(j, must_be_unset[i])))
            return why_set(why, ERR_UNSUPPORTED, "model: %s is set", must_be_unset[i]);
    TRY(read_bool(j, "ignore_merges", false, &o.ignore_merges, "model", why));
    TRY(read_bool(j, "fuse_unk", false, &o.fuse_unk, "model", why));
    TRY(read_vocab(l, b, why));
    TRY(read_merges(l, b, why));
    if (json_is_string(unk) && (o.unk = bpe_id(b, text_of(unk))) < 0)
        return why_set(why, ERR_FORMAT, "model: unk_token \"%.80s\" is not in the vocabulary",
                       json_string_value(unk));
    if (bpe_seal(b, &o)) return why_set(why, ERR_NOMEM, "model: out of memory");
    return ERR_OK;
}

/* -- added tokens --------------------------------------------------------------------------------------- */

static enum err read_added_token(struct tokenizer *t, const json_t *j, struct pretok_work *w,
                                 int32_t *next_id, struct why *why)
{
    static const char *const keys[] = {"id",     "content",    "single_word", "lstrip",
                                       "rstrip", "normalized", "special",     NULL};
    static const char where[] = "added_tokens";
    const json_t *id = json_object_get(j, "id"), *content = json_object_get(j, "content");
    struct added_token a;
    if (!json_is_integer(id) || !json_is_string(content))
        return why_set(why, ERR_FORMAT, "added_tokens: an entry has no id or no content");
    TRY(known_keys(j, keys, where, why));
    TRY(read_bool(j, "single_word", false, &a.single_word, where, why));
    TRY(read_bool(j, "lstrip", false, &a.lstrip, where, why));
    TRY(read_bool(j, "rstrip", false, &a.rstrip, where, why));
    TRY(read_bool(j, "special", false, &a.special, where, why));
    TRY(read_bool(j, "normalized", !a.special, &a.normalized, where, why));
    a.content = a.pattern = text_of(content);
    a.id = bpe_id(t->bpe, a.content);
    if (a.id < 0) a.id = (*next_id)++;
    if (json_integer_value(id) != a.id) /* the library would warn and take its own number */
        return why_set(why, ERR_FORMAT, "added_tokens: \"%.80s\" has id %lld, by its place it is %d",
                       json_string_value(content), (long long)json_integer_value(id), (int)a.id);
    if (a.id >= BPE_ID_MAX) return why_set(why, ERR_RANGE, "added_tokens: id %d", (int)a.id);
    if (a.normalized && pretok_normalize(&t->pretok, w, a.content, &a.pattern))
        return why_set(why, ERR_NOMEM, "added_tokens: out of memory");
    if ((uint32_t)a.id >= t->n_id) t->n_id = (uint32_t)a.id + 1;
    return added_add(&t->added, &a, why);
}

static enum err read_added(struct tokenizer *t, const json_t *list, struct why *why)
{
    size_t i;
    const json_t *x;
    struct pretok_work w = {0};
    enum err e = ERR_OK;
    int32_t next_id = (int32_t)bpe_n_entry(t->bpe);
    if (list && !json_is_null(list) && !json_is_array(list))
        return why_set(why, ERR_FORMAT, "added_tokens is not a list");
    json_array_foreach(list, i, x)
    {
        if (!e) e = read_added_token(t, x, &w, &next_id, why);
    }
    pretok_work_done(&w);
    return e ? e : added_seal(&t->added, why);
}

static bool is_special(const struct added *a, struct span content)
{
    const struct added_token *t = added_find(a, content);
    return t && t->special;
}

/* The table that decode reads: entries of the vocabulary, and over them the added tokens by their patterns.
 */
static enum err fill_pieces(struct tokenizer *t)
{
    size_t n = 0;
    for (uint32_t i = 0; i < t->added.n; i++) n += t->added.token[i].pattern.n;
    t->piece = calloc(t->n_id + 1, sizeof *t->piece);
    t->arena = malloc(n + 1);
    if (!t->piece || !t->arena) return ERR_NOMEM;
    for (uint32_t id = 0; id < bpe_n_id(t->bpe); id++) {
        const struct span s = bpe_bytes(t->bpe, id);
        t->piece[id] = (struct tok_piece){.p = s.p, .n = (uint32_t)s.n, .there = s.p};
    }
    uint8_t *at = t->arena;
    for (uint32_t i = 0; i < t->added.n; i++) {
        const struct added_token *a = &t->added.token[i];
        size_t k;
        if (!bpe_to_bytes(a->pattern, at, &k)) memcpy(at, a->pattern.p, k = a->pattern.n);
        t->piece[a->id] = (struct tok_piece){
            .p = at, .n = (uint32_t)k, .there = true, .special = is_special(&t->added, a->pattern)};
        at += k;
    }
    return ERR_OK;
}

/* -- the rest ------------------------------------------------------------------------------------------- */

/* It would only add BOS and EOS, which encode never does, and trim offsets, which nobody asks for. */
static enum err check_post_processor(const json_t *j, unsigned depth, struct why *why)
{
    size_t i;
    const json_t *x;
    const char *type = json_string_value(json_object_get(j, "type"));
    if (!j || json_is_null(j)) return ERR_OK;
    if (!type || depth == NESTED_MAX) return why_set(why, ERR_FORMAT, "post_processor: no type");
    if (!strcmp(type, "ByteLevel") || !strcmp(type, "TemplateProcessing")) return ERR_OK;
    if (strcmp(type, "Sequence")) return why_set(why, ERR_UNSUPPORTED, "post_processor %.80s", type);
    json_array_foreach(json_object_get(j, "processors"), i, x) TRY(check_post_processor(x, depth + 1, why));
    return ERR_OK;
}

static enum err check_rest(const json_t *j, struct why *why)
{
    static const char *const keys[] = {
        "version",       "truncation",     "padding", "added_tokens", "normalizer",
        "pre_tokenizer", "post_processor", "decoder", "model",        NULL};
    const char *version = json_string_value(json_object_get(j, "version"));
    const char *decoder = json_string_value(json_object_get(json_object_get(j, "decoder"), "type"));
    TRY(known_keys(j, keys, "top level", why));
    if (!version || strcmp(version, "1.0"))
        return why_set(why, ERR_UNSUPPORTED, "version %.40s, only 1.0 is", version ? version : "(none)");
    if (!unset(json_object_get(j, "truncation")))
        return why_set(why, ERR_UNSUPPORTED, "truncation is set: make it null, texts are never cut here");
    if (!unset(json_object_get(j, "padding")))
        return why_set(why, ERR_UNSUPPORTED, "padding is set: make it null, nothing is padded here");
    if (!decoder || strcmp(decoder, "ByteLevel"))
        return why_set(why, ERR_UNSUPPORTED, "decoder %.40s, only ByteLevel is",
                       decoder ? decoder : "(none)");
    return check_post_processor(json_object_get(j, "post_processor"), 0, why);
}

static void hash_all(struct tokenizer *t)
{
    t->hash = hash_mix(bpe_hash(t->bpe), t->pretok.hash);
    for (uint32_t i = 0; i < t->added.n; i++) {
        const struct added_token *a = &t->added.token[i];
        const int32_t flags[6] = {a->id, a->single_word, a->lstrip, a->rstrip, a->normalized, a->special};
        t->hash = hash_mix(t->hash,
                           hash_mix(hash_bytes(flags, sizeof flags), hash_bytes(a->content.p, a->content.n)));
    }
}

/* bos_token and eos_token: null, a string, or an object with its content. */
static enum err read_named(const struct tokenizer *t, const json_t *config, const char *key, int32_t *ret,
                           struct why *why)
{
    const json_t *v = json_object_get(config, key);
    if (json_is_object(v)) v = json_object_get(v, "content");
    *ret = -1;
    if (!v || json_is_null(v)) return ERR_OK;
    if (!json_is_string(v)) return why_set(why, ERR_FORMAT, "tokenizer_config.json: %s is not a string", key);
    *ret = tokenizer_id(t, text_of(v));
    if (*ret >= 0) return ERR_OK;
    return why_set(why, ERR_FORMAT, "tokenizer_config.json: %s \"%.80s\" is not a token of tokenizer.json",
                   key, json_string_value(v));
}

static enum err read_config(struct tokenizer *t, struct span text, struct why *why)
{
    json_error_t je;
    t->eos = t->bos = -1;
    if (!text.n) return ERR_OK;
    /* model_max_length is beyond 64 bits in some files */
    json_t *j =
        json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &je);
    if (!j) return why_set(why, ERR_FORMAT, "tokenizer_config.json: line %d: %s", je.line, je.text);
    enum err e = json_is_object(j) ? read_named(t, j, "eos_token", &t->eos, why)
                                   : why_set(why, ERR_FORMAT, "tokenizer_config.json is not an object");
    if (!e) e = read_named(t, j, "bos_token", &t->bos, why);
    json_decref(j);
    return e;
}

static enum err read_all(struct tokenizer *t, const json_t *j, const struct large *l, struct why *why)
{
    if (!json_is_object(j)) return why_set(why, ERR_FORMAT, "not an object");
    TRY(check_rest(j, why));
    if (bpe_create(&t->bpe)) return why_set(why, ERR_NOMEM, "out of memory");
    TRY(pretok_read(json_object_get(j, "normalizer"), json_object_get(j, "pre_tokenizer"), &t->pretok, why));
    TRY(read_model(json_object_get(j, "model"), l, t->bpe, why));
    t->n_id = bpe_n_id(t->bpe);
    TRY(read_added(t, json_object_get(j, "added_tokens"), why));
    if (fill_pieces(t)) return why_set(why, ERR_NOMEM, "out of memory");
    hash_all(t);
    return ERR_OK;
}

static enum err read_text(struct tokenizer *t, struct span text, struct why *why)
{
    struct large l = {.text = text};
    json_error_t je;
    char *rest;
    size_t n;
    if (!text.n) return why_set(why, ERR_FORMAT, "line 1: the file is empty");
    if (json_scan_cut(text, &rest, &n, &l.vocab, &l.merges)) return why_set(why, ERR_NOMEM, "out of memory");
    json_t *j = json_loadb(rest, n, JSON_REJECT_DUPLICATES, &je);
    free(rest);
    enum err e = ERR_OK;
    if (j)
        e = read_all(t, j, &l, why);
    else if (je.text[0])
        e = why_set(why, ERR_FORMAT, "line %d: %s", je.line, je.text);
    else
        e = why_set(why, ERR_NOMEM, "out of memory"); /* jansson has no words for it */
    json_decref(j);
    return e;
}

enum err tokenizer_parse(struct span json, struct span config, struct tokenizer **ret_tok, struct why *why)
{
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t) return why_set(why, ERR_NOMEM, "tokenizer.json: out of memory");
    enum err e = read_text(t, json, why);
    if (e)
        why_add(why, e, "tokenizer.json");
    else
        e = read_config(t, config, why);
    if (e) {
        tokenizer_close(t);
        return e;
    }
    *ret_tok = t;
    return ERR_OK;
}

enum err tokenizer_open(const char *dir, struct tokenizer **ret_tok, struct why *why)
{
    char path[PATH_MAX], config_path[PATH_MAX], *text = NULL, *config = NULL;
    size_t n = 0, config_n = 0;
    if ((size_t)snprintf(path, sizeof path, "%s/tokenizer.json", dir) >= sizeof path ||
        (size_t)snprintf(config_path, sizeof config_path, "%s/tokenizer_config.json", dir) >=
            sizeof config_path)
        return why_set(why, ERR_INVAL, "%s: path too long", dir);
    TRY(file_read(path, FILE_MAX_BYTES, &text, &n, why));
    enum err e =
        file_exists(config_path) ? file_read(config_path, CONFIG_MAX_BYTES, &config, &config_n, why) : ERR_OK;
    if (!e) {
        e = tokenizer_parse(span_of(text, n), span_of(config, config_n), ret_tok, why);
        if (e) why_add(why, e, "%s", dir);
    }
    free(text);
    free(config);
    return e;
}
