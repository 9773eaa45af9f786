// SPDX-License-Identifier: Apache-2.0
/* conf.h - settings from one list per daemon: struct, defaults, bounds, INI file, command line, --help and the manual's table.
 *
 * A daemon's conf.def holds lines
 *     KEY(type, name, default, min, max, LIVE or FIXED, help)   type: BOOL U32 U64 F64 STR
 *     CHOICE(name, default, "a|b|c", LIVE or FIXED, help)       stored as the choice's number
 * Values are texts until they are set, so a default, a file and the command line go one way. Numbers take k, M, G (powers of 1024
 * for U64, 1000 for U32). Settings that TRL, vLLM or transformers have carry their names. One thread. */
#ifndef COMMON_SVC_CONF_H
#define COMMON_SVC_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/err.h"
#include "common/base/span.h"

enum conf_type { CONF_BOOL, CONF_U32, CONF_U64, CONF_F64, CONF_STR, CONF_CHOICE };

struct conf_key {
    const char *name;
    enum conf_type type;
    size_t offset; /* into the daemon's struct */
    const char *def;
    double min, max;
    const char *choices;
    bool live; /* may change while the daemon runs */
    const char *help;
};

struct conf_list {
    const char *section; /* of the INI file; keys outside any section are accepted too */
    const struct conf_key *key;
    uint32_t n;
};

/* Set every key of a zeroed struct to its default. */
enum err conf_defaults(const struct conf_list *l, void *conf, struct why *why) MUST_CHECK;
void conf_done(const struct conf_list *l, void *conf); /* frees texts */

/* One setting. ERR_NOENT: no such key; ERR_INVAL, ERR_RANGE: the words name the key, the value and the bounds. */
enum err conf_set(const struct conf_list *l, void *conf, const char *name, const char *value, struct why *why) MUST_CHECK;

/* An INI file: [section], name = value, comments behind ';' or a leading '#'; a value is one line, however long. An unknown key or section
 * or a bad value is an error with file and line; settings of the lines before it stay. Sections of the other daemon are skipped. */
enum err conf_read(const struct conf_list *l, void *conf, const char *path, struct why *why) MUST_CHECK;
enum err conf_parse(const struct conf_list *l, void *conf, struct span text, const char *name, struct why *why) MUST_CHECK;

/* argv[1..]: --config FILE first, then --name value, --name=value (dashes or underscores), --name alone for a BOOL. Sets *ret_stop when --help or --version
 * was answered on stdout. */
enum err conf_args(const struct conf_list *l, void *conf, int argc, char **argv, const char *about, bool *ret_stop, struct why *why) MUST_CHECK;

/* The value of a key as text; out is cut to fit. */
void conf_get(const struct conf_key *k, const void *conf, char *out, size_t cap);
void conf_help(const struct conf_list *l, const char *about, FILE *f);

/* Used by the daemons' conf.c: */
#define CONF_FIELD_BOOL bool
#define CONF_FIELD_U32  uint32_t
#define CONF_FIELD_U64  uint64_t
#define CONF_FIELD_F64  double
#define CONF_FIELD_STR  char *

#endif
