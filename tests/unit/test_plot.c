// SPDX-License-Identifier: Apache-2.0
/* A chart shows what was measured, where it was measured: as a sound SVG file of bounded size, and within the cells of a terminal. */
#include "common/run/plot.h"

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

#include "common/base/file.h"
#include "common/run/curve.h"

static char root[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "/tmp/test_plot.XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return (int)file_remove_tree(root, NULL);
}

static char *svg(const struct plot *p)
{
    char *text = NULL;
    size_t n = 0;
    struct why why = {0};
    assert_int_equal(plot_svg(p, &text, &n, &why), ERR_OK);
    assert_int_equal(strlen(text), n);
    return text;
}

static char *term(const struct plot *p, uint32_t w, uint32_t h, bool color)
{
    char *text = NULL;
    struct why why = {0};
    const enum err e = plot_term(p, w, h, color, &text, &why);
    if (e) fail_msg("%s", why_str(&why, e));
    return text;
}

/* -- a small judge of XML: elements nest, attributes are quoted, no stray < or & ---------------------------------- */

static const char *attributes(const char *p)
{
    while (*p == ' ') {
        p += strspn(p, " ");
        const size_t n = strcspn(p, "= />");
        if (!n) break;
        if (p[n] != '=' || p[n + 1] != '"') fail_msg("attribute: %.30s", p);
        const char *end = strchr(p + n + 2, '"');
        assert_non_null(end);
        if (memchr(p + n + 2, '<', (size_t)(end - p - (long)n - 2))) fail_msg("< in %.40s", p);
        p = end + 1;
    }
    return p;
}

static void assert_sound_xml(const char *p)
{
    static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;"};
    const char *open[16];
    int depth = 0;
    for (; *p; p++) {
        if (*p == '&') {
            unsigned k = 0;
            while (k < 4 && strncmp(p, entities[k], strlen(entities[k]))) k++;
            if (k == 4) fail_msg("entity: %.20s", p);
        }
        if (*p != '<') continue;
        const bool closes = p[1] == '/';
        const char *name = p + 1 + closes;
        const size_t n = strcspn(name, " />");
        if (closes) {
            assert_true(depth > 0);
            depth--;
            if (strncmp(open[depth], name, n)) fail_msg("</%.*s> ends <%.*s>", (int)n, name, (int)n, open[depth]);
            p = name + n;
        } else {
            p = attributes(name + n);
            const bool empty = *p == '/';
            if (!empty) assert_true(depth < 16);
            if (!empty) open[depth++] = name;
            p += empty;
        }
        if (*p != '>') fail_msg("no > at %.20s", p);
    }
    assert_int_equal(depth, 0);
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *p = text; (p = strstr(p, what)); p++) n++;
    return n;
}

/* The data of the path of that class. */
static char *path_of(const char *text, const char *class)
{
    char key[64];
    snprintf(key, sizeof key, "<path class=\"%s\" d=\"", class);
    const char *p = strstr(text, key);
    if (!p) fail_msg("no path \"%s\"", class);
    while (p && strstr(p + 1, key)) p = strstr(p + 1, key); /* the last: the legend has one too */
    p += strlen(key);
    return strndup(p, strcspn(p, "\""));
}

static void assert_path(const char *text, const char *class, const char *want)
{
    char *d = path_of(text, class);
    assert_string_equal(d, want);
    free(d);
}

/* -- SVG ------------------------------------------------------------------------------------------------------------ */

static const double steps[] = {1, 2, 3, 4, 5}, rising[] = {0, 0.25, 0.5, 0.75, 1}, gap[] = {0, NAN, 1, 1, NAN}, accuracy[] = {0.5, NAN, NAN, NAN, 1};

static struct plot three(void)
{
    return (struct plot){
        .title = "a run",
        .subtitle = "5 steps",
        .x_label = "step",
        .unit = true,
        .n_series = 3,
        .series = {{"each step", steps, gap, 5, PLOT_FAINT}, {"mean", steps, rising, 5, PLOT_LINE}, {"held out", steps, accuracy, 5, PLOT_POINTS}},
    };
}

static void a_chart_is_where_its_values_are(void **state)
{
    (void)state;
    const struct plot p = three();
    char *s = svg(&p);
    assert_sound_xml(s);
    assert_true(!strncmp(s, "<svg xmlns=\"http://www.w3.org/2000/svg\"", 38));
    /* the plot spans 66..798 and 408..92 */
    assert_path(s, "line s0", "M66.0 408.0L249.0 329.0L432.0 250.0L615.0 171.0L798.0 92.0");
    assert_path(s, "area f0", "M66.0 408.0L249.0 329.0L432.0 250.0L615.0 171.0L798.0 92.0V408H66.0Z");
    assert_path(s, "faint s0", "M66.0 408.0h0M432.0 92.0L615.0 92.0"); /* a value alone is a dot; a gap is a gap */
    assert_path(s, "thread s1", "M66.0 250.0L798.0 92.0");
    assert_non_null(strstr(s, "<circle class=\"dot f1\" cx=\"66.0\" cy=\"250.0\""));
    assert_non_null(strstr(s, "<circle class=\"dot f1\" cx=\"798.0\" cy=\"92.0\""));
    assert_int_equal(count(s, "<circle"), 3); /* one in the legend */
    assert_non_null(strstr(s, "y=\"97.0\" class=\"end f0\""));
    assert_non_null(strstr(s, "y=\"114.0\" class=\"end f1\"")); /* at the same value, but not over the other */
    static const char *const texts[] = {
        ">a run</text>", ">5 steps</text>", ">step</text>", ">each step</text>", ">mean</text>", ">held out</text>", ">0</text>", ">0.2</text>", ">0.8</text>",
        ">1.0</text>", ">1</text>", ">5</text>", "class=\"end f0\">1.00</text>", "class=\"end f1\">1.00</text>", "<title>a run</title>",
        "@media (prefers-color-scheme:dark)",
    };
    for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++)
        if (!strstr(s, texts[i])) fail_msg("no %s", texts[i]);
    assert_int_equal(count(s, "http"), 1); /* the name space: nothing is fetched */
    assert_null(strstr(s, "script"));
    free(s);
}

static void texts_cannot_break_the_file(void **state)
{
    (void)state;
    struct plot p = three();
    p.title = "</text><script>\"&'\x01\xff\xc0\xaf\xed\xa0\x80\xef\xbf\xbf";
    p.subtitle = NULL;
    p.series[0].label = "\xf0\x9f\x98\x80\xe2\x86\x92\xc3\xa9\xf0\x9f";
    char *s = svg(&p);
    assert_sound_xml(s);
    assert_null(strstr(s, "<script"));
    assert_non_null(strstr(s, ">&lt;/text&gt;&lt;script&gt;&quot;&amp;'??\?\?\?\?\?\?\?\?</text>"));
    assert_non_null(strstr(s, ">\xf0\x9f\x98\x80\xe2\x86\x92\xc3\xa9?\?</text>"));
    free(s);
}

static void a_long_run_makes_a_small_file(void **state)
{
    (void)state;
    const size_t n = 200000;
    double *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
    assert_true(x && y);
    for (size_t i = 0; i < n; i++) x[i] = (double)i, y[i] = i == 77777 ? 1 : (double)(i * 2654435761u % 1000) / 2000;
    const struct plot p = {.title = "long",
                           .x_label = "step",
                           .unit = true,
                           .n_series = 3,
                           .series = {{"a", x, y, n, PLOT_FAINT}, {"b", x, y, n, PLOT_LINE}, {"c", x, y, n, PLOT_POINTS}}};
    char *s = svg(&p);
    assert_sound_xml(s);
    assert_in_range(strlen(s), 50000, 400000);
    char *d = path_of(s, "line s0");
    assert_non_null(strstr(d, " 92.0L")); /* the one high value is not lost */
    free(d), free(s), free(x), free(y);
}

/* Tick labels of y as the file has them, joined by blanks. */
static void assert_ticks(const double *y, size_t n, bool unit, const char *want)
{
    double x[8];
    char got[256] = "";
    for (size_t i = 0; i < n; i++) x[i] = (double)i + 1;
    const struct plot p = {.title = "t", .x_label = "step", .unit = unit, .n_series = 1, .series = {{"a", x, y, n, PLOT_FAINT}}};
    char *s = svg(&p);
    assert_sound_xml(s);
    for (const char *q = s; (q = strstr(q, "text-anchor=\"end\">")); q++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%.*s", *got ? " " : "", (int)strcspn(q + 18, "<"), q + 18);
    if (strcmp(got, want)) fail_msg("got %s, not %s", got, want);
    free(s);
}

static void ticks_are_round_and_told_apart(void **state)
{
    (void)state;
    assert_ticks((double[]){0.3, 0.4}, 2, true, "0 0.2 0.4 0.6 0.8 1.0");
    assert_ticks((double[]){0.3, 2.4}, 2, true, "0 0.5 1.0 1.5 2.0 2.5"); /* above 1 after all */
    assert_ticks((double[]){-1, 1}, 2, true, "-1.0 -0.5 0 0.5 1.0");
    assert_ticks((double[]){0, 1e-6}, 2, false, "0 2e-7 4e-7 6e-7 8e-7 1e-6");
    assert_ticks((double[]){0, 0.0001}, 2, false, "0 2e-5 4e-5 6e-5 8e-5 0.0001");
    assert_ticks((double[]){3.01e9, 3.19e9}, 2, false, "3e9 3.05e9 3.1e9 3.15e9 3.2e9");
    assert_ticks((double[]){120, 480}, 2, false, "0 100 200 300 400 500");
    assert_ticks((double[]){420, 480}, 2, false, "420 430 440 450 460 470 480");
    assert_ticks((double[]){7, 7, 7}, 3, false, "0 2 4 6 8 10 12");
    assert_ticks((double[]){0, 0}, 2, false, "-1.0 -0.5 0 0.5 1.0");
    assert_ticks((double[]){NAN, INFINITY}, 2, false, "0 0.2 0.4 0.6 0.8 1.0");
    assert_ticks(NULL, 0, false, "0 0.2 0.4 0.6 0.8 1.0");
}

static void extreme_values_do_no_harm(void **state)
{
    (void)state;
    static const double v[] = {0,       -0.0, 1e-310,   5e-324,    1e-300, 1e299,     -1e299, 1.7e308,
                               -1.7e308, NAN,  INFINITY, -INFINITY, 1,      1 + 1e-15, 1e17,   1e17 + 16};
    const size_t n = sizeof v / sizeof *v;
    for (size_t i = 0; i < n * n * n; i++) {
        const double x[] = {v[i % n], v[i % n]}, y[] = {v[i / n % n], v[i / n / n]};
        const struct plot p = {
            .title = "t", .x_label = "step", .n_series = 2, .series = {{"a", x, y, 2, PLOT_LINE}, {"b", y, x, 2, PLOT_POINTS}}};
        char *s = svg(&p);
        if (strstr(s, "nan") || strstr(s, "inf")) fail_msg("%g %g %g", x[0], y[0], y[1]);
        assert_true(strlen(s) < 30000);
        free(s);
        free(term(&p, 40, 10, false));
    }
}

/* -- terminal ------------------------------------------------------------------------------------------------------------ */

/* Columns of a line: characters, without the sequences of colors. */
static uint32_t columns(const char *line, size_t n)
{
    uint32_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (line[i] == '\033') i += strcspn(line + i, "m");
        else if ((line[i] & 0xc0) != 0x80) k++;
    }
    return k;
}

static void a_chart_keeps_within_its_cells(void **state)
{
    (void)state;
    struct plot p = three();
    static const double far[] = {0, 1000, 2000, 15000, 20000}; /* a wide label at the right edge */
    for (unsigned i = 0; i < 3; i++) p.series[i].x = far;
    p.title = "a title that is much too long for a narrow terminal, \xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9, and goes on and on and on for more "
              "than a hundred columns";
    for (uint32_t w = PLOT_MIN_COLUMNS; w < 130; w += 3)
        for (uint32_t h = PLOT_MIN_ROWS; h < 40; h += 3)
            for (int color = 0; color < 2; color++) {
                char *s = term(&p, w, h, color);
                uint32_t lines = 0;
                for (const char *q = s; *q; q += strcspn(q, "\n") + 1, lines++)
                    if (columns(q, strcspn(q, "\n")) > w) fail_msg("%u x %u: %.*s", w, h, (int)strcspn(q, "\n"), q);
                assert_int_equal(lines, h);
                assert_int_equal(strchr(s, '\033') != NULL, color);
                assert_true(s[strlen(s) - 1] == '\n');
                free(s);
            }
}

static void a_chart_in_a_terminal_is_where_its_values_are(void **state)
{
    (void)state;
    struct plot p = three();
    char *s = term(&p, 24, 8, false);
    assert_string_equal(s, "a run\n"
                           "⠶⠶ mean   ● held out\n"
                           "1.0 ┤               ⣀⠤⠒●\n"
                           "    │          ⢀⡠⠔⠊⠉\n"
                           "0.5 ┤●   ⣀⡠⠤⠒⠒⠉⠁\n"
                           "  0 ┤⣀⠤⠒⠉\n"
                           "    └────┴─────────┴────\n"
                           "         2         4\n");
    free(s);
    p.n_series = 1; /* alone, the faint one is drawn without color too; what is not a number is a gap */
    s = term(&p, 24, 8, false);
    assert_string_equal(s, "a run\n"
                           "⠒⠒ each step\n"
                           "1.0 ┤            ⠈⠉⠉⠉⠉⠉⠉\n"
                           "    │\n"
                           "0.5 ┤\n"
                           "  0 ┤⡀\n"
                           "    └──────┴───────────┴\n"
                           "           2           4\n");
    free(s);
}

static void colors_tell_the_series_apart(void **state)
{
    (void)state;
    const struct plot p = three();
    char *s = term(&p, 60, 12, true);
    assert_non_null(strstr(s, "each step"));
    assert_true(count(s, "\033[90m") >= 2 && count(s, "\033[1;34m") >= 2 && count(s, "\033[33m") == 3); /* the legend and the curve */
    assert_int_equal(count(s, "\033["), 2 * count(s, "\033[0m")); /* each is ended */
    free(s);
}

static void sizes_that_cannot_be_are_refused(void **state)
{
    (void)state;
    const struct plot p = three();
    static const uint32_t bad[][2] = {{23, 20}, {80, 6}, {0, 0}, {1001, 20}, {80, 1001}, {UINT32_MAX, UINT32_MAX}};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *text = NULL;
        struct why why = {0};
        assert_int_equal(plot_term(&p, bad[i][0], bad[i][1], false, &text, &why), ERR_RANGE);
        assert_non_null(strstr(why.text, "24 x 7"));
        assert_null(text);
    }
    free(term(&p, 1000, 1000, true));
}

/* -- the curve of a run ----------------------------------------------------------------------------------------------------- */

static void the_average_is_of_what_is_there(void **state)
{
    (void)state;
    const double y[] = {1, 2, 6, NAN, NAN, NAN, 4};
    double m[7];
    plot_average(y, 7, 1, m);
    const double want[] = {1.5, 3, 4, 6, NAN, 4, 4};
    for (unsigned i = 0; i < 7; i++)
        if (m[i] != want[i] && !(isnan(m[i]) && isnan(want[i]))) fail_msg("%u: %g", i, m[i]);
    plot_average(y, 7, 0, m);
    assert_true(m[1] == 2 && isnan(m[3]));
    plot_average(y, 7, 100, m);
    assert_true(m[0] == 3.25 && m[6] == 3.25);
}

static const char *make_run(const char *name, const char *lines)
{
    static char dir[256];
    char path[300];
    struct why why = {0};
    snprintf(dir, sizeof dir, "%s/%s", root, name);
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    assert_int_equal(file_mkdirs(dir, &why), ERR_OK);
    assert_int_equal(file_write(path, lines, strlen(lines), &why), ERR_OK);
    return dir;
}

static void a_run_has_its_curve(void **state)
{
    (void)state;
    struct curve c;
    struct why why = {0};
    const char *dir = make_run("fine/", "{\"step\": 10, \"reward\": 0.25, \"accuracy\": null, \"kl\": 3}\n"
                                        "{\"step\": 11, \"reward\": 0.5, \"accuracy\": 0.375, \"kl\": 4}\n{\"st");
    assert_int_equal(curve_open(dir, NULL, &c, &why), ERR_OK);
    const struct plot *p = &c.plot;
    assert_true(p->n_series == 3 && p->unit);
    assert_string_equal(p->title, "fine: reward");
    assert_string_equal(p->subtitle, "held-out accuracy 0.375 at step 11");
    assert_true(p->series[0].style == PLOT_FAINT && p->series[0].n == 2 && p->series[0].x[1] == 11 && p->series[0].y[1] == 0.5);
    assert_true(p->series[1].style == PLOT_LINE && p->series[1].y[0] == 0.375);
    assert_true(p->series[2].style == PLOT_POINTS && p->series[2].y[1] == 0.375 && isnan(p->series[2].y[0]));
    curve_close(&c);
    assert_int_equal(curve_open(dir, "kl", &c, &why), ERR_OK);
    assert_true(c.plot.n_series == 2 && !c.plot.unit && c.plot.series[0].y[1] == 4);
    curve_close(&c);
    assert_int_equal(curve_open(dir, "accuracy", &c, &why), ERR_OK);
    assert_true(c.plot.n_series == 1 && c.plot.series[0].style == PLOT_POINTS);
    curve_close(&c);
}

static void a_run_without_rewards_shows_its_loss(void **state)
{
    (void)state;
    struct curve c;
    struct why why = {0};
    const char *dir = make_run("sft", "{\"step\": 1, \"reward\": null, \"accuracy\": null, \"loss\": 2.5}\n");
    assert_int_equal(curve_open(dir, NULL, &c, &why), ERR_OK);
    assert_string_equal(c.plot.title, "sft: loss");
    assert_true(c.plot.n_series == 2 && c.plot.series[0].y[0] == 2.5);
    curve_close(&c);
}

static void assert_no_curve(const char *dir, const char *column, enum err want, const char *words)
{
    struct curve c;
    struct why why = {0};
    assert_int_equal(curve_open(dir, column, &c, &why), want);
    if (!strstr(why.text, words)) fail_msg("%s", why.text);
}

static void a_run_without_a_curve_says_why(void **state)
{
    (void)state;
    assert_no_curve("/nowhere/at/all", NULL, ERR_NOENT, "/nowhere/at/all/metrics.jsonl");
    assert_no_curve(make_run("new", ""), NULL, ERR_NOENT, "new/metrics.jsonl: no step yet");
    assert_no_curve(make_run("other", "{\"step\": 1, \"reward\": 1}\n"), "rewad", ERR_NOENT, "no column \"rewad\"; there are: step reward");
    assert_no_curve(make_run("bad", "{\"step\": 1}\n{\n{}\n"), NULL, ERR_FORMAT, "bad/metrics.jsonl:2:");
}

static void the_curve_is_written_into_the_run(void **state)
{
    (void)state;
    char path[300], *text;
    size_t n;
    struct why why = {0};
    const char *dir = make_run("write", "{\"step\": 1, \"reward\": 0.5}\n");
    assert_int_equal(curve_write_svg(dir, &why), ERR_OK);
    snprintf(path, sizeof path, "%s/reward.svg", dir);
    assert_int_equal(file_read(path, 1 << 20, &text, &n, &why), ERR_OK);
    assert_sound_xml(text);
    assert_non_null(strstr(text, "write: reward"));
    free(text);
    assert_int_equal(curve_write_svg(make_run("write_none", ""), &why), ERR_NOENT);
    snprintf(path, sizeof path, "%s/write_none/reward.svg", root);
    assert_false(file_exists(path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chart_is_where_its_values_are),
        cmocka_unit_test(texts_cannot_break_the_file),
        cmocka_unit_test(a_long_run_makes_a_small_file),
        cmocka_unit_test(ticks_are_round_and_told_apart),
        cmocka_unit_test(extreme_values_do_no_harm),
        cmocka_unit_test(a_chart_keeps_within_its_cells),
        cmocka_unit_test(a_chart_in_a_terminal_is_where_its_values_are),
        cmocka_unit_test(colors_tell_the_series_apart),
        cmocka_unit_test(sizes_that_cannot_be_are_refused),
        cmocka_unit_test(the_average_is_of_what_is_there),
        cmocka_unit_test(a_run_has_its_curve),
        cmocka_unit_test(a_run_without_rewards_shows_its_loss),
        cmocka_unit_test(a_run_without_a_curve_says_why),
        cmocka_unit_test(the_curve_is_written_into_the_run),
    };
    return cmocka_run_group_tests_name("plot", tests, set_up, tear_down);
}
