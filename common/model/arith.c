// SPDX-License-Identifier: Apache-2.0
#include "common/model/arith.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bf16.h"
#include "common/base/file.h"
#include "common/base/rng.h"
#include "common/model/folder.h"

#define SHUFFLE_STREAM   UINT64_C(0x6172697468) /* "arith": apart from the streams of the initial weights */
#define SLIP_STREAM      UINT64_C(0x736c6970)   /* "slip" */
#define DEFAULT_N_TEST   500
#define ROW_MAX_BYTES    128
#define ID_ENDOFTEXT     258
#define ID_IM_START      259
#define ID_IM_END        260
#define N_BYTE_PRINTABLE 188

/* The family's 0.02 is meant for far wider layers. With 1 / sqrt(128) for matrices the warm-up takes a third of the steps, and the updates of GRPO,
 * whose size is the learning rate's, disturb larger weights less. */
#define EMBED_SCALE  3.0f
#define MATRIX_SCALE 4.4f

struct dims arith_dims(void)
{
    return (struct dims){.n_layer = 4,
                         .n_embd = 128,
                         .n_head = 4,
                         .n_head_kv = 2,
                         .head_dim = 32,
                         .n_ff = 384,
                         .n_vocab = 272, /* ARITH_N_VOCAB, up to the next multiple of 16 */
                         .max_pos = 256,
                         .rope_theta = 10000.0f,
                         .rms_eps = 1e-6f,
                         .tied = true,
                         .qkv_bias = true,
                         .n_eos = 1,
                         .eos = {ID_IM_END}};
}

/* -- the data
 * ------------------------------------------------------------------------------------------------------ */

/* x as a teacher writes it down who is off by one with probability ARITH_SLIP; which: the draw of this problem. */
static uint32_t slip(uint32_t x, uint64_t seed, uint32_t i, uint32_t which)
{
    const struct rng4 r = rng_philox(seed, (uint64_t)i * 4 + which, SLIP_STREAM);
    if (rng_unit(r.v[0]) >= ARITH_SLIP) return x;
    return x == 0 || r.v[1] & 1 ? x + 1 : x - 1;
}

/* Problem i of ARITH_N_PROBLEM as a line of JSON; returns its length. careless: the teacher slips, and goes on from what was written. */
static size_t print_row(uint32_t i, bool careless, uint64_t seed, char out[ROW_MAX_BYTES])
{
    const uint32_t a = 10 + i / 90, b = 10 + i % 90;
    uint32_t units = a % 10 + b % 10;
    if (careless) units = slip(units, seed, i, 0);
    uint32_t carry = units / 10;
    if (careless) carry = slip(carry, seed, i, 1) % 2;
    uint32_t tens = a / 10 + b / 10 + carry;
    if (careless) tens = slip(tens, seed, i, 2);
    return (size_t)snprintf(out, ROW_MAX_BYTES,
                            "{\"prompt\": \"%u+%u=\", \"answer\": \"%u\", "
                            "\"solution\": \"%u+%u=%u %u+%u+%u=%u\\n#### %u\"}\n",
                            a, b, a + b, a % 10, b % 10, units, a / 10, b / 10, carry, tens, tens * 10 + units % 10);
}

/* Fisher and Yates; the modulo's bias is below 2^-50 for this many. */
static void shuffle(uint32_t *v, uint32_t n, uint64_t seed)
{
    for (uint32_t i = n; i > 1; i--) {
        const uint32_t j = (uint32_t)(rng_u64(seed, SHUFFLE_STREAM, i) % i), t = v[i - 1];
        v[i - 1] = v[j];
        v[j] = t;
    }
}

static enum err write_rows(const char *dir, const char *name, const uint32_t *problem, uint32_t n, bool careless, uint64_t seed,
                           struct why *why)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    char *text = malloc((size_t)n * ROW_MAX_BYTES + 1);
    if (!text) return why_set(why, ERR_NOMEM, "%s: out of memory", path);
    size_t used = 0;
    for (uint32_t i = 0; i < n; i++) used += print_row(problem[i], careless, seed, text + used);
    enum err e = file_write(path, text, used, why);
    free(text);
    return e;
}

enum err arith_make_data(const char *dir, const struct arith_opts *o, struct why *why)
{
    const uint32_t n_test = o->n_test ? o->n_test : DEFAULT_N_TEST;
    if (n_test >= ARITH_N_PROBLEM)
        return why_set(why, ERR_RANGE, "%u problems held out of %u: none is left to train on", n_test,
                       ARITH_N_PROBLEM);
    uint32_t problem[ARITH_N_PROBLEM];
    for (uint32_t i = 0; i < ARITH_N_PROBLEM; i++) problem[i] = i;
    shuffle(problem, ARITH_N_PROBLEM, o->seed);
    TRY(file_mkdirs(dir, why));
    TRY(write_rows(dir, "test.jsonl", problem, n_test, false, o->seed, why));
    TRY(write_rows(dir, "train.jsonl", problem + n_test, ARITH_N_PROBLEM - n_test, false, o->seed, why));
    return write_rows(dir, "sft.jsonl", problem + n_test, ARITH_N_PROBLEM - n_test, true, o->seed, why);
}

/* -- the tokenizer
 * ------------------------------------------------------------------------------------------------- */

/* The character that stands for a byte in byte-level BPE (Radford et al. 2019): the byte's own where that can
 * be printed in Latin-1, else the next free one from U+0100 on; and the byte's id, printable ones first.
 * UTF-8 into out[3]. */
static uint32_t byte_symbol(uint32_t byte, char out[3])
{
    uint32_t id = 0, other = 0;
    bool printable = false;
    for (uint32_t b = 0; b <= byte; b++) {
        printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b != 0xad);
        if (b < byte && printable) id++;
        if (b < byte && !printable) other++;
    }
    const uint32_t c = printable ? byte : 0x100 + other;
    if (c < 0x80)
        out[0] = (char)c, out[1] = 0;
    else
        out[0] = (char)(0xc0 | c >> 6), out[1] = (char)(0x80 | (c & 63)), out[2] = 0;
    return printable ? id : N_BYTE_PRINTABLE + other;
}

static json_t *make_vocab(void)
{
    char symbol[256][3];
    for (uint32_t b = 0; b < 256; b++) {
        char s[3];
        memcpy(symbol[byte_symbol(b, s)], s, sizeof s);
    }
    json_t *j = json_object();
    for (int id = 0; id < 256; id++) json_object_set_new(j, symbol[id], json_integer(id));
    json_object_set_new(j, "##", json_integer(256));
    json_object_set_new(j, "####", json_integer(257));
    return j;
}

static const struct special {
    int id;
    const char *text;
} specials[] = {{ID_ENDOFTEXT, "<|endoftext|>"}, {ID_IM_START, "<|im_start|>"}, {ID_IM_END, "<|im_end|>"}};
#define N_SPECIAL (sizeof specials / sizeof *specials)

/* The pre-tokenizer's expression of the Qwen2 family, as their tokenizer.json has it. */
static const char split_regex[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

static json_t *make_tokenizer(void)
{
    json_t *added = json_array();
    for (unsigned i = 0; i < N_SPECIAL; i++)
        json_array_append_new(added, json_pack("{s:i, s:s, s:b, s:b, s:b, s:b, s:b}", "id", specials[i].id,
                                               "content", specials[i].text, "single_word", 0, "lstrip", 0,
                                               "rstrip", 0, "normalized", 0, "special", 1));
    json_t *split = json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern", "Regex", split_regex,
                              "behavior", "Isolated", "invert", 0);
    json_t *level = json_pack("{s:s, s:b, s:b, s:b}", "type", "ByteLevel", "add_prefix_space", 0,
                              "trim_offsets", 0, "use_regex", 0);
    json_t *model = json_pack("{s:s, s:n, s:n, s:s, s:s, s:b, s:b, s:b, s:o, s:[[s,s],[s,s]]}", "type", "BPE",
                              "dropout", "unk_token", "continuing_subword_prefix", "", "end_of_word_suffix",
                              "", "fuse_unk", 0, "byte_fallback", 0, "ignore_merges", 0, "vocab",
                              make_vocab(), "merges", "#", "#", "##", "##");
    return json_pack("{s:s, s:n, s:n, s:o, s:{s:s}, s:{s:s, s:[o, O]}, s:o, s:o, s:o}", "version", "1.0",
                     "truncation", "padding", "added_tokens", added, "normalizer", "type", "NFC",
                     "pre_tokenizer", "type", "Sequence", "pretokenizers", split, level, "post_processor",
                     json_incref(level), "decoder", level, "model", model);
}

static json_t *make_tokenizer_config(void)
{
    json_t *decoder = json_object();
    for (unsigned i = 0; i < N_SPECIAL; i++) {
        char id[16];
        snprintf(id, sizeof id, "%d", specials[i].id);
        json_object_set_new(decoder, id,
                            json_pack("{s:s, s:b, s:b, s:b, s:b, s:b}", "content", specials[i].text, "lstrip",
                                      0, "normalized", 0, "rstrip", 0, "single_word", 0, "special", 1));
    }
    return json_pack("{s:b, s:b, s:o, s:n, s:b, s:s, s:s, s:i, s:s, s:b, s:s, s:n}", "add_bos_token", 0,
                     "add_prefix_space", 0, "added_tokens_decoder", decoder, "bos_token",
                     "clean_up_tokenization_spaces", 0, "eos_token", "<|im_end|>", "errors", "replace",
                     "model_max_length", (int)arith_dims().max_pos, "pad_token", "<|endoftext|>",
                     "split_special_tokens", 0, "tokenizer_class", "Qwen2Tokenizer", "unk_token");
}

/* Takes j. */
static enum err write_json(const char *dir, const char *name, json_t *j, struct why *why)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    char *text = j ? json_dumps(j, JSON_INDENT(2)) : NULL;
    json_decref(j);
    if (!text) return why_set(why, ERR_NOMEM, "%s: out of memory", path);
    enum err e = file_write(path, text, strlen(text), why);
    free(text);
    return e;
}

/* -- the model
 * ----------------------------------------------------------------------------------------------------- */

static enum err random_image(const struct tensor_table *t, uint64_t seed, uint16_t **ret_image)
{
    float *w = malloc(t->n_param * sizeof *w);
    uint16_t *image = malloc(t->n_param * sizeof *image);
    if (!w || !image) {
        free(w);
        free(image);
        return ERR_NOMEM;
    }
    folder_init_weights(t, seed, w);
    for (uint32_t i = 0; i < t->n; i++) {
        const struct tensor_info *x = &t->t[i];
        const float scale = x->is_vector ? 1 : x->role == TENSOR_EMBED ? EMBED_SCALE : MATRIX_SCALE;
        for (uint64_t k = 0; k < (uint64_t)x->rows * x->cols; k++) w[x->offset + k] *= scale;
    }
    for (uint64_t i = 0; i < t->n_param; i++) image[i] = bf16_from_f32(w[i]);
    free(w);
    *ret_image = image;
    return ERR_OK;
}

static enum err fill_model(const char *dir, const struct dims *d, uint64_t seed, struct why *why)
{
    struct tensor_table t = {0};
    uint16_t *image = NULL;
    enum err e = tensor_table_init(d, &t);
    if (!e) e = random_image(&t, seed, &image);
    if (e) why_set(why, e, "%s: %s", dir, err_str(e));
    if (!e) e = folder_save(dir, d, &t, image, NULL, why);
    if (!e) e = write_json(dir, "tokenizer.json", make_tokenizer(), why);
    if (!e) e = write_json(dir, "tokenizer_config.json", make_tokenizer_config(), why);
    free(image);
    tensor_table_done(&t);
    return e;
}

enum err arith_make_model(const char *dir, const struct arith_opts *o, struct why *why)
{
    const struct dims d = o->dims ? *o->dims : arith_dims();
    char tmp[4096];
    TRY(dims_check(&d, why));
    if (d.n_vocab < ARITH_N_VOCAB)
        return why_set(why, ERR_RANGE, "vocab_size %u, the tokenizer has %u ids", d.n_vocab, ARITH_N_VOCAB);
    if ((size_t)snprintf(tmp, sizeof tmp, "%s.%d.tmp", dir, (int)getpid()) >= sizeof tmp)
        return why_set(why, ERR_INVAL, "%s: path too long", dir);
    TRY(file_remove_tree(tmp, why));
    TRY(file_mkdirs(tmp, why));
    enum err e = fill_model(tmp, &d, o->seed, why);
    if (!e && (e = file_publish_dir(tmp, dir, why)) == ERR_EXIST)
        why_set(why, e, "%s: something is there already: remove it, or choose another place", dir);
    if (e && file_remove_tree(tmp, NULL)) return e; /* the first failure is the one to tell */
    return e;
}

enum err arith_make(const char *dir_model, const char *dir_data, const struct arith_opts *o, struct why *why)
{
    TRY(arith_make_model(dir_model, o, why));
    return arith_make_data(dir_data, o, why);
}
