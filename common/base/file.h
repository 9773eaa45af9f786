// SPDX-License-Identifier: Apache-2.0
/* file.h - whole files and folders, with words that name the path. Blocking: not for the loop thread. */
#ifndef COMMON_BASE_FILE_H
#define COMMON_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/span.h"

/* Read a whole regular file of at most max_bytes; *ret_text is NUL-terminated, owned by the caller (free). */
enum err file_read(const char *path, size_t max_bytes, char **ret_text, size_t *ret_n,
                   struct why *why) MUST_CHECK;

/* Replace path by these bytes: temporary file, fsync, rename, fsync of the folder. A reader sees the old or
 * the new file. */
enum err file_write(const char *path, const void *bytes, size_t n, struct why *why) MUST_CHECK;

/* Copy from to `to` (as file_write). ERR_NOENT when `from` is not there. */
enum err file_copy(const char *from, const char *to, struct why *why) MUST_CHECK;

/* Map a regular file read-only; *ret_map.n may be 0. file_unmap() ends it. */
enum err file_map(const char *path, struct span *ret_map, struct why *why) MUST_CHECK;
void file_unmap(struct span map);

bool file_exists(const char *path);
enum err file_mkdirs(const char *path, struct why *why) MUST_CHECK;      /* like mkdir -p */
enum err file_remove_tree(const char *path, struct why *why) MUST_CHECK; /* absent is fine; never follows
   links; at most 64 folders deep */

/* fsync the folder's files and itself, then rename to `to`, which must not exist; fsync the parent. */
enum err file_publish_dir(const char *from, const char *to, struct why *why) MUST_CHECK;

/* The same over a folder that is there: the two change places in one step, and from is the old one then (both in one folder).
 * ERR_UNSUPPORTED: this file system cannot. */
enum err file_swap_dir(const char *from, const char *to, struct why *why) MUST_CHECK;

#endif
