// SPDX-License-Identifier: Apache-2.0
/* A folder that transformers wrote: its shards, its fp16 numbers and its config.json mean the same to us. */
#include "common/model/folder.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char *dir;

static void config_says_what_was_asked_for(void **state)
{
    (void)state;
    struct dims d;
    struct why why = {0};
    enum err e = dims_read(dir, &d, &why);
    if (e) fail_msg("%s", why_str(&why, e));
    assert_true(d.n_layer == 2 && d.n_embd == 32 && d.n_head == 2 && d.n_head_kv == 1 && d.head_dim == 16);
    assert_true(d.n_ff == 64 && d.n_vocab == 48 && d.max_pos == 64 && d.tied && d.qkv_bias);
    assert_true(d.rope_theta == 250000.0f && d.rms_eps == 1e-5f);
    assert_true(d.n_eos == 2 && d.eos[0] == 3 && d.eos[1] == 5);
}

static void every_tensor_holds_what_it_held(void **state)
{
    (void)state;
    struct dims d;
    struct why why = {0};
    struct tensor_table t;
    char path[4096];
    snprintf(path, sizeof path, "%s/values.json", dir);
    json_t *values = json_load_file(path, 0, NULL);
    assert_non_null(values);
    assert_int_equal(dims_read(dir, &d, &why), ERR_OK);
    assert_int_equal(tensor_table_init(&d, &t), ERR_OK);
    assert_int_equal(t.n, json_object_size(values));
    float *x = malloc(t.n_param * sizeof *x);
    enum err e = folder_load(dir, &t, x, NULL, &why);
    if (e) fail_msg("%s", why_str(&why, e));
    for (uint32_t i = 0; i < t.n; i++) {
        const struct tensor_info *info = &t.t[i];
        const uint64_t n = (uint64_t)info->rows * info->cols;
        const float *w = x + info->offset;
        double first, last, want, sum = 0;
        json_t *shape;
        if (json_unpack(json_object_get(values, info->name), "[oFFF]", &shape, &first, &last, &want))
            fail_msg("%s is not in values.json", info->name);
        assert_int_equal(json_array_size(shape), info->is_vector ? 1 : 2);
        for (uint64_t k = 0; k < n; k++) sum += (double)w[k];
        /* fp16 to fp32 is exact; only the order of the sum is ours */
        assert_true((double)w[0] == first && (double)w[n - 1] == last && fabs(sum - want) < 1e-9);
    }
    free(x);
    tensor_table_done(&t);
    json_decref(values);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest t[] = {
        cmocka_unit_test(config_says_what_was_asked_for),
        cmocka_unit_test(every_tensor_holds_what_it_held),
    };
    if (argc != 2) return fprintf(stderr, "usage: %s FOLDER\n", argv[0]), 2;
    dir = argv[1];
    return cmocka_run_group_tests(t, NULL, NULL);
}
