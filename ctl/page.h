// SPDX-License-Identifier: Apache-2.0
/* page.h - text for people: lines, pairs and aligned tables, with colour where a terminal shows it; and humane numbers. What comes from outside is
 * shown harmless: a control character or broken UTF-8 in a text never reaches the terminal. Pure but for the FILE. */
#ifndef CTL_PAGE_H
#define CTL_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/err.h"
#include "common/base/span.h"

enum tint { TINT_NONE, TINT_BOLD, TINT_DIM, TINT_GREEN, TINT_YELLOW, TINT_RED };

struct page {
    FILE *f;
    bool colour, watching;
    unsigned width; /* columns; 0: no limit (not a terminal) */
};

/* How stdout is: width and colour (NO_COLOR and TERM=dumb turn it off). f is where the page is written. */
void page_init(struct page *p, FILE *f);

void page_head(struct page *p, const char *fmt, ...) PRINTF_LIKE(2, 3);                  /* a bold line */
void page_pair(struct page *p, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4); /* "  name    value" */
void page_line(struct page *p, enum tint tint, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* A text of many lines, each behind a margin; at most max_lines of it (0: all). */
void page_text(struct page *p, const char *margin, struct span text, uint32_t max_lines);

struct col {
    const char *head;
    bool right; /* numbers */
    bool flex;  /* cut to what the terminal is wide; one column at most */
};

struct table {
    const struct col *col;
    uint32_t n_col, n_cell, cap;
    char **cell;
    enum tint *tint;
    bool failed; /* out of memory */
};

void table_init(struct table *t, const struct col *col, uint32_t n_col);
void table_done(struct table *t);
/* The next cell, row by row. */
void table_add(struct table *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
void table_tint(struct table *t, enum tint tint); /* of the cell added last */
void table_print(const struct table *t, struct page *p);

/* -- numbers ------------------------------------------------------------------------------------------------------------ */

/* Each writes into the caller's storage and returns it. NaN is "-". */
struct human {
    char s[40];
};
const char *human_time(double s, struct human *h);  /* 350 us, 12 ms, 3.2 s, 2 min 05 s, 1 h 20 min, 3 d 4 h */
const char *human_count(double n, struct human *h); /* 12,345; 1.23 M */
const char *human_num(double x, struct human *h);   /* four digits: 0.4312, 1.2e-06 */

/* Columns a text takes on a terminal. */
unsigned text_width(const char *s);

/* text made harmless for one line of a terminal, malloced: control characters as \n, \t or \x1b, broken bytes as U+FFFD. lines: '\n' and '\t' stay.
 * NULL: out of memory. */
char *text_clean(struct span text, bool lines);

#endif
