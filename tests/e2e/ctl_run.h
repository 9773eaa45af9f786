// SPDX-License-Identifier: Apache-2.0
/* ctl_run.h - run grpoctl as a user would, in a folder of its own, and look at what came out. */
#ifndef TESTS_E2E_CTL_RUN_H
#define TESTS_E2E_CTL_RUN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <cmocka.h>

struct ran {
    int code; /* 128 + signal when one ended it */
    double s;
    char out[20000], err[4000];
};

/* argv[1] of the test: the program. False: it is not there. */
bool ctl_program(int argc, char **argv);
/* One more variable for its environment, such as "A=b"; NULL: none. */
void ctl_env(const char *extra);

/* Run it with words ended by NULL; in is its stdin. The result is valid until the next. */
struct ran run_argv(char *const *argv, const char *in);
#define RUN(...) run_argv((char *[]){"grpoctl", __VA_ARGS__, NULL}, "")

/* The same on a terminal of 100 columns; all that it shows is in out. */
struct ran run_on_terminal(char *const *argv);

/* Start it, stdout into a file; wait for its end and return its code. */
pid_t spawn(char *const *argv, const char *in, const char *out);
int finish(pid_t pid);

void slurp(const char *path, char *out, size_t cap); /* a file as text, cut to fit */
void assert_has(const char *text, const char *part);
unsigned count(const char *text, const char *part);

/* For cmocka: a new folder as the present one; and gone with it. */
int set_up(void **state);
int tear_down(void **state);

#endif
