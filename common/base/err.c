// SPDX-License-Identifier: Apache-2.0
#include "common/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *err_str(enum err e)
{
    static const char *const words[ERR_COUNT] = {
        [ERR_OK] = "ok",
#define ERR(name, w) [ERR_##name] = w,
#include "common/base/err.def"
#undef ERR
    };
    if ((unsigned)e >= ERR_COUNT) return "unknown error";
    return words[e];
}

enum err err_from_errno(int errnum)
{
    switch (errnum) {
    case ENOMEM: return ERR_NOMEM;
    case EINVAL: return ERR_INVAL;
    case ENOENT: return ERR_NOENT;
    case EEXIST:
    case ENOTEMPTY: return ERR_EXIST;
    case EACCES:
    case EPERM:
    case EROFS: return ERR_ACCESS;
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return ERR_NOSPACE;
    case ETIMEDOUT: return ERR_TIMEOUT;
    case EBUSY: return ERR_BUSY;
    case EAGAIN: return ERR_AGAIN;
    default: return ERR_IO;
    }
}

enum err why_set(struct why *why, enum err e, const char *fmt, ...)
{
    if (!why) return e;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why->text, sizeof why->text, fmt, ap);
    va_end(ap);
    return e;
}

enum err why_add(struct why *why, enum err e, const char *fmt, ...)
{
    if (!why) return e;
    char old[sizeof why->text];
    snprintf(old, sizeof old, "%s", why_str(why, e));
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(why->text, sizeof why->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof why->text - 1)
        snprintf(why->text + n, sizeof why->text - (size_t)n, ": %.*s", (int)(sizeof why->text - (size_t)n - 3), old);
    return e;
}

const char *why_str(const struct why *why, enum err e)
{
    return why && why->text[0] ? why->text : err_str(e);
}
