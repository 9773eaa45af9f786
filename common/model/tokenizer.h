// SPDX-License-Identifier: Apache-2.0
/* tokenizer.h - byte-level BPE, exact for the tokenizer.json files of Qwen2 and Qwen3, DeepSeek-R1-Distill,
 * SmolLM2 and Llama 3.
 *
 * What is read: BPE with merges in both forms, ignore_merges and unk_token; added tokens with all their
 * flags; NFC; Split (a regular expression or a string; Isolated or Removed), Digits and ByteLevel, alone or
 * in a Sequence. Anything else in the file is ERR_UNSUPPORTED with its name, never skipped silently; but a
 * post-processor is, since it would only add BOS and EOS. "The library" below is Hugging Face's tokenizers,
 * whose ids and text these are. A tokenizer is immutable once open: encode and decode may be called from any
 * thread. */
#ifndef COMMON_MODEL_TOKENIZER_H
#define COMMON_MODEL_TOKENIZER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/hash.h"
#include "common/base/span.h"

struct tokenizer;

/* Open `dir`/tokenizer.json (and tokenizer_config.json for the eos and bos tokens). The caller owns *ret_tok.
 */
enum err tokenizer_open(const char *dir, struct tokenizer **ret_tok, struct why *why) MUST_CHECK;
/* The same from bytes: json is tokenizer.json; config may be empty. For tests and fuzzing. */
enum err tokenizer_parse(struct span json, struct span config, struct tokenizer **ret_tok,
                         struct why *why) MUST_CHECK;
void tokenizer_close(struct tokenizer *t);

uint32_t tokenizer_n_vocab(const struct tokenizer *t); /* largest id + 1 */
int32_t tokenizer_eos(const struct tokenizer *t);      /* -1: none named */
int32_t tokenizer_bos(const struct tokenizer *t);      /* -1: none named */

/* Id of an added token, or of a vocabulary entry as the file writes it; -1: none. */
int32_t tokenizer_id(const struct tokenizer *t, struct span text);
/* Of the parsed contents that decide ids; both daemons compare it. */
struct hash128 tokenizer_hash(const struct tokenizer *t);

/* Growable output; start zeroed, end with free(). */
struct tok_buf {
    int32_t *id;
    uint32_t n, cap;
};
struct text_buf {
    char *p; /* NUL after n bytes, for convenience; text may hold NULs itself */
    size_t n, cap;
};

/* Append the ids of text. special: added tokens in the text become their ids, as in the library; else they
 * are ordinary text. No BOS or EOS is ever added. On an error nothing is appended. ERR_FORMAT: text is not
 * UTF-8. ERR_RANGE: more than 1 GiB, or the file's expression needs too many steps on it. ERR_NOMEM. */
enum err tokenizer_encode(const struct tokenizer *t, struct span text, bool special,
                          struct tok_buf *out) MUST_CHECK;

/* Append the text of ids. Bytes that are no UTF-8 become U+FFFD, as in the library. skip_special: leave out
 * special tokens. Ids outside the vocabulary are left out. ERR_NOMEM. */
enum err tokenizer_decode(const struct tokenizer *t, const int32_t *id, uint32_t n, bool skip_special,
                          struct text_buf *out) MUST_CHECK;

/* The same a few ids at a time, for a reader who waits: the pieces together are what tokenizer_decode gives
 * of all the ids. Bytes that may still become a character are held back. Start zeroed; nothing to free. */
struct tok_stream {
    uint8_t held[4];
    uint8_t n_held;
};
enum err tokenizer_stream(const struct tokenizer *t, struct tok_stream *s, const int32_t *id, uint32_t n,
                          bool skip_special, struct text_buf *out) MUST_CHECK;
/* No more ids: what is held back becomes U+FFFD. ERR_NOMEM. */
enum err tokenizer_stream_end(struct tok_stream *s, struct text_buf *out) MUST_CHECK;

#endif
