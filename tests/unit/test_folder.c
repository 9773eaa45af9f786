// SPDX-License-Identifier: Apache-2.0
/* A folder is read whole or refused with the tensor's name; shards stay inside it; initial weights are the
 * seed's. */
#include "common/model/folder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/base/bf16.h"
#include "common/base/file.h"
#include "common/model/safetensors.h"

static char root[64];
static struct dims dims = {.n_layer = 2,
                           .n_embd = 64,
                           .n_head = 2,
                           .n_head_kv = 1,
                           .head_dim = 32,
                           .n_ff = 96,
                           .n_vocab = 64,
                           .max_pos = 32,
                           .rope_theta = 1e4f,
                           .rms_eps = 1e-6f,
                           .tied = true,
                           .qkv_bias = true};
static struct tensor_table table;
static float *master;
static uint16_t *image;

static int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/test_folder.XXXXXX");
    if (!mkdtemp(root) || tensor_table_init(&dims, &table)) return -1;
    master = malloc(table.n_param * sizeof *master);
    image = malloc(table.n_param * sizeof *image);
    if (!master || !image) return -1;
    folder_init_weights(&table, 5, master);
    for (uint64_t i = 0; i < table.n_param; i++) image[i] = bf16_from_f32(master[i]);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(master);
    free(image);
    tensor_table_done(&table);
    return (int)file_remove_tree(root, NULL);
}

static const char *at(const char *name)
{
    static char path[16][256];
    static unsigned turn;
    char *p = path[turn++ % 16];
    snprintf(p, sizeof path[0], "%s/%s", root, name);
    return p;
}

static void ok(enum err e, const struct why *why)
{
    if (e) fail_msg("%s", why_str(why, e));
}

/* The tensors of the table as what to write, with room for one more. */
static uint32_t all(struct st_write *w)
{
    for (uint32_t i = 0; i < table.n; i++) {
        const struct tensor_info *t = &table.t[i];
        w[i] =
            (struct st_write){t->name, ST_BF16, t->is_vector ? 1 : 2, {t->rows, t->cols}, image + t->offset};
    }
    return table.n;
}

static const char *fresh(const char *name)
{
    struct why why = {0};
    const char *dir = at(name);
    ok(file_mkdirs(dir, &why), &why);
    return dir;
}

static enum err load(const char *dir, struct why *why)
{
    uint16_t *got = malloc(table.n_param * sizeof *got);
    assert_non_null(got);
    enum err e = folder_load(dir, &table, NULL, got, why);
    if (!e) assert_memory_equal(got, image, table.n_param * sizeof *got);
    free(got);
    return e;
}

static void what_is_saved_is_loaded(void **state)
{
    (void)state;
    struct why why = {0};
    struct dims back;
    const char *from = fresh("from"), *dir = fresh("round");
    float *f32 = malloc(table.n_param * sizeof *f32);
    uint16_t *b16 = malloc(table.n_param * sizeof *b16);
    ok(file_write(at("from/tokenizer.json"), "{}", 2, &why), &why);
    ok(folder_save(dir, &dims, &table, image, from, &why), &why);
    ok(folder_load(dir, &table, f32, b16, &why), &why);
    for (uint64_t i = 0; i < table.n_param; i++)
        assert_true(b16[i] == image[i] && f32[i] == bf16_to_f32(image[i]));
    ok(dims_read(dir, &back, &why), &why);
    assert_true(back.n_layer == dims.n_layer && back.n_vocab == dims.n_vocab && back.tied);
    assert_true(file_exists(at("round/tokenizer.json")));
    assert_false(file_exists(at("round/generation_config.json"))); /* from has none */
    free(f32);
    free(b16);
}

static void a_tensor_that_is_wrong_is_named(void **state)
{
    (void)state;
    struct st_write w[64];
    fresh("wrong");
    struct why why = {0};
    const uint32_t n = all(w);
    ok(safetensors_write(at("wrong/model.safetensors"), w, n - 1, &why), &why);
    assert_int_equal(load(at("wrong"), &why), ERR_FORMAT);
    assert_non_null(strstr(why.text, "model.norm.weight is missing"));
    w[3].dim[0] /= 2, w[3].dim[1] *= 2;
    ok(safetensors_write(at("wrong/model.safetensors"), w, n, &why), &why);
    assert_int_equal(load(at("wrong"), &why), ERR_FORMAT);
    assert_non_null(strstr(why.text, w[3].name));
    all(w);
    w[5].dtype = ST_I16;
    ok(safetensors_write(at("wrong/model.safetensors"), w, n, &why), &why);
    assert_int_equal(load(at("wrong"), &why), ERR_UNSUPPORTED);
    assert_non_null(strstr(why.text, w[5].name));
    all(w);
    w[n] =
        (struct st_write){"model.layers.2.mlp.up_proj.weight", ST_BF16, 1, {1}, image}; /* a layer too many */
    ok(safetensors_write(at("wrong/model.safetensors"), w, n + 1, &why), &why);
    assert_int_equal(load(at("wrong"), &why), ERR_FORMAT);
    assert_non_null(strstr(why.text, "model.layers.2.mlp.up_proj.weight"));
    assert_int_equal(load(at("nowhere"), &why), ERR_NOENT);
    assert_non_null(strstr(why.text, "nowhere/model.safetensors"));
}

static void harmless_extras_are_passed_over(void **state)
{
    (void)state;
    struct st_write w[64];
    struct why why = {0};
    fresh("extra");
    const uint32_t n = all(w);
    w[n] = (struct st_write){"model.layers.0.self_attn.rotary_emb.inv_freq", ST_F32, 1, {4}, image};
    w[n + 1] = w[0];
    w[n + 1].name = "lm_head.weight"; /* the tied embedding, said twice */
    ok(safetensors_write(at("extra/model.safetensors"), w, n + 2, &why), &why);
    ok(load(at("extra"), &why), &why);
    w[n + 1].data = image + 1; /* another head than config.json says */
    ok(safetensors_write(at("extra/model.safetensors"), w, n + 2, &why), &why);
    assert_int_equal(load(at("extra"), &why), ERR_FORMAT);
    assert_non_null(strstr(why.text, "lm_head.weight"));
}

static enum err load_index(const char *weight_map, struct why *why)
{
    char text[512];
    const int n = snprintf(text, sizeof text, "{\"metadata\": {}, \"weight_map\": %s}", weight_map);
    ok(file_write(at("shards/model.safetensors.index.json"), text, (size_t)n, why), why);
    return load(at("shards"), why);
}

static void shards_are_joined_and_stay_inside(void **state)
{
    (void)state;
    struct st_write w[64];
    struct why why = {0};
    const uint32_t n = all(w);
    fresh("shards");
    ok(safetensors_write(at("shards/model-1.safetensors"), w, 7, &why), &why);
    ok(safetensors_write(at("shards/model-2.safetensors"), w + 7, n - 7, &why), &why);
    ok(load_index(
           "{\"a\": \"model-1.safetensors\", \"b\": \"model-2.safetensors\", \"c\": \"model-1.safetensors\"}",
           &why),
       &why);
    static const char *const bad[] = {
        "{\"a\": \"../from/model.safetensors\"}",
        "{\"a\": \"/etc/passwd\"}",
        "{\"a\": \"..\"}",
        "{\"a\": \"\"}",
        "{\"a\": 1}",
        "[]",
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(load_index(bad[i], &why), ERR_FORMAT);
        assert_non_null(strstr(why.text, "index.json"));
    }
    assert_int_equal(load_index("{\"a\": \"model-1.safetensors\"}", &why), ERR_FORMAT);
    assert_non_null(strstr(why.text, "is missing"));
    assert_int_equal(load_index("{\"a\": \"model-3.safetensors\"}", &why), ERR_NOENT);
    ok(safetensors_write(at("shards/model-3.safetensors"), w, n, &why), &why);
    assert_int_equal(load_index("{\"a\": \"model-3.safetensors\", \"b\": \"model-2.safetensors\"}", &why),
                     ERR_FORMAT);
    assert_non_null(strstr(why.text, " too")); /* a tensor in two shards */
}

static void initial_weights_are_the_seeds_and_near_normal(void **state)
{
    (void)state;
    double sum = 0, sq = 0, four = 0, n = 0;
    float *again = malloc(table.n_param * sizeof *again);
    folder_init_weights(&table, 5, again);
    assert_memory_equal(again, master, table.n_param * sizeof *again);
    folder_init_weights(&table, 6, again);
    assert_memory_not_equal(again, master, (size_t)dims.n_vocab * dims.n_embd * sizeof *again);
    free(again);
    for (uint32_t i = 0; i < table.n; i++) {
        const struct tensor_info *t = &table.t[i];
        for (uint64_t k = 0; k < (uint64_t)t->rows * t->cols; k++) {
            const double x = (double)master[t->offset + k] / 0.02;
            if (t->is_vector)
                assert_true(x == 0 || master[t->offset + k] == 1.0f);
            else
                sum += x, sq += x * x, four += x * x * x * x, n++;
        }
    }
    assert_true(n > 60000); /* bounds: 5 standard errors of a normal sample */
    assert_true(fabs(sum / n) < 5 / sqrt(n));
    assert_true(fabs(sq / n - 1) < 5 * sqrt(2 / n));
    assert_true(fabs(four / n - 2.85) < 5 * sqrt(96 / n));
    /* these bits are the contract: the same on every machine */
    assert_true(master[0] == 0x1.4fe9280000000p-7f && master[1] == 0x1.a1eb700000000p-7f);
}

int main(void)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(what_is_saved_is_loaded),
        cmocka_unit_test(a_tensor_that_is_wrong_is_named),
        cmocka_unit_test(harmless_extras_are_passed_over),
        cmocka_unit_test(shards_are_joined_and_stay_inside),
        cmocka_unit_test(initial_weights_are_the_seeds_and_near_normal),
    };
    return cmocka_run_group_tests(t, set_up, tear_down);
}
