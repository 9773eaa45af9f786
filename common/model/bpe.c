// SPDX-License-Identifier: Apache-2.0
/* Two open-addressing tables: entry by its bytes, merge by its pair of ids. A piece that is itself an entry
 * is the common case; whether the merges lead to that entry is found out once per entry and remembered
 * (`leads_to_self`), which is what makes encode fast without a cache of text. */
#include "common/model/bpe.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/model/tokenizer.h"
#include "common/model/utf8.h"

#define SMALL     32 /* symbols up to which the lowest rank is found by looking at all */
#define RANK_NONE UINT32_MAX
#define PAIR_NONE UINT64_MAX

enum { UNKNOWN, YES, NO }; /* of leads_to_self */

struct entry {
    uint32_t at, n; /* in arena */
    bool there, is_bytes;
};

struct pair {
    uint64_t key; /* left id << 32 | right id; PAIR_NONE: free */
    uint32_t rank, id;
};

struct bpe {
    struct entry *entry; /* [n_id] */
    uint32_t n_id, id_cap, n_entry;
    uint8_t *arena;
    size_t arena_n, arena_cap;
    uint32_t *slot; /* id + 1, 0: free; [slot_mask + 1] */
    uint32_t slot_mask;
    struct pair *pair; /* [pair_mask + 1] */
    uint32_t pair_mask, n_pair, n_merge;
    struct hash128 merges; /* of the merges in their order */
    struct bpe_opts opts;
    int32_t byte_id[256];           /* -1: no entry */
    _Atomic uint8_t *leads_to_self; /* [n_id] */
};

struct bpe_symbol {
    int32_t id, to;      /* to: what it makes with its right neighbour */
    uint32_t rank;       /* of that merge; RANK_NONE */
    uint32_t prev, next; /* RANK_NONE: no neighbour */
};

/* The character that stands for a byte: itself where Latin-1 can print it, else the next free one from
 * U+0100. */
static bool printable(uint32_t b)
{
    return (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xff && b != 0xad);
}

static int byte_of(uint32_t cp)
{
    static const uint8_t other[] = {0,   1,   2,   3,   4,   5,   6,   7,   8,   9,   10,  11,  12,  13,
                                    14,  15,  16,  17,  18,  19,  20,  21,  22,  23,  24,  25,  26,  27,
                                    28,  29,  30,  31,  32,  127, 128, 129, 130, 131, 132, 133, 134, 135,
                                    136, 137, 138, 139, 140, 141, 142, 143, 144, 145, 146, 147, 148, 149,
                                    150, 151, 152, 153, 154, 155, 156, 157, 158, 159, 160, 173};
    if (cp >= 0x100) return cp - 0x100 < sizeof other ? other[cp - 0x100] : -1;
    return printable(cp) ? (int)cp : -1;
}

bool bpe_to_bytes(struct span text, uint8_t *out, size_t *ret_n)
{
    size_t n = 0;
    for (const uint8_t *p = text.p, *end = p + text.n; p < end;) {
        enum utf8_kind kind;
        uint32_t cp;
        p += utf8_next(p, end, &kind, &cp);
        const int b = kind == UTF8_OK ? byte_of(cp) : -1;
        if (b < 0) return false;
        out[n++] = (uint8_t)b;
    }
    *ret_n = n;
    return true;
}

enum err tok_buf_add(struct tok_buf *b, int32_t id)
{
    if (b->n == b->cap) {
        if (b->cap > UINT32_MAX / 2) return ERR_NOMEM;
        const uint32_t cap = b->cap ? 2 * b->cap : 64;
        int32_t *p = realloc(b->id, cap * sizeof *p);
        if (!p) return ERR_NOMEM;
        b->id = p;
        b->cap = cap;
    }
    b->id[b->n++] = id;
    return ERR_OK;
}

/* -- the vocabulary ------------------------------------------------------------------------------------- */

enum err bpe_create(struct bpe **ret_bpe)
{
    struct bpe *b = calloc(1, sizeof *b);
    if (!b) return ERR_NOMEM;
    b->slot_mask = 1023;
    b->pair_mask = 1023;
    b->slot = calloc(b->slot_mask + 1, sizeof *b->slot);
    b->pair = malloc((b->pair_mask + 1) * sizeof *b->pair);
    if (!b->slot || !b->pair) {
        bpe_destroy(b);
        return ERR_NOMEM;
    }
    memset(b->pair, 0xff, (b->pair_mask + 1) * sizeof *b->pair);
    *ret_bpe = b;
    return ERR_OK;
}

void bpe_destroy(struct bpe *b)
{
    if (!b) return;
    free(b->entry);
    free(b->arena);
    free(b->slot);
    free(b->pair);
    free((void *)b->leads_to_self);
    free(b);
}

static uint32_t *find_slot(const struct bpe *b, const uint8_t *p, size_t n, bool is_bytes)
{
    uint32_t i = (uint32_t)XXH3_64bits(p, n) & b->slot_mask;
    for (;; i = (i + 1) & b->slot_mask) {
        if (!b->slot[i]) return &b->slot[i];
        const struct entry *e = &b->entry[b->slot[i] - 1];
        if (e->n == n && e->is_bytes == is_bytes && !memcmp(b->arena + e->at, p, n)) return &b->slot[i];
    }
}

static enum err grow_slots(struct bpe *b)
{
    const uint32_t mask = 2 * b->slot_mask + 1;
    uint32_t *old = b->slot, *slot = calloc((size_t)mask + 1, sizeof *slot);
    if (!slot) return ERR_NOMEM;
    b->slot = slot;
    b->slot_mask = mask;
    for (uint32_t id = 0; id < b->n_id; id++) {
        const struct entry *e = &b->entry[id];
        if (e->there) *find_slot(b, b->arena + e->at, e->n, e->is_bytes) = id + 1;
    }
    free(old);
    return ERR_OK;
}

static enum err grow_ids(struct bpe *b, uint32_t id)
{
    uint32_t cap = b->id_cap ? b->id_cap : 1024;
    while (cap <= id) cap *= 2;
    if (cap > b->id_cap) {
        struct entry *e = realloc(b->entry, cap * sizeof *e);
        if (!e) return ERR_NOMEM;
        memset(e + b->id_cap, 0, (cap - b->id_cap) * sizeof *e);
        b->entry = e;
        b->id_cap = cap;
    }
    return ERR_OK;
}

static enum err grow_arena(struct bpe *b, size_t n)
{
    if (n > UINT32_MAX - b->arena_n) return ERR_NOMEM;
    if (b->arena_n + n <= b->arena_cap) return ERR_OK;
    size_t cap = b->arena_cap ? b->arena_cap : 1 << 16;
    while (cap < b->arena_n + n) cap *= 2;
    uint8_t *p = realloc(b->arena, cap);
    if (!p) return ERR_NOMEM;
    b->arena = p;
    b->arena_cap = cap;
    return ERR_OK;
}

enum err bpe_add(struct bpe *b, struct span text, int64_t id, struct why *why)
{
    if (id < 0 || id >= BPE_ID_MAX)
        return why_set(why, ERR_RANGE, "vocab: \"%.*s\" has id %lld, ids go from 0 to %d",
                       (int)(text.n < 80 ? text.n : 80), (const char *)text.p, (long long)id, BPE_ID_MAX - 1);
    if (grow_ids(b, (uint32_t)id) || grow_arena(b, text.n + 1) ||
        (2 * b->n_entry > b->slot_mask && grow_slots(b)))
        return why_set(why, ERR_NOMEM, "vocab: out of memory");
    struct entry *e = &b->entry[id];
    uint8_t *p = b->arena + b->arena_n;
    size_t n = text.n;
    if (e->there)
        return why_set(why, ERR_FORMAT, "vocab: id %lld is given twice, once to \"%.*s\"", (long long)id,
                       (int)(text.n < 80 ? text.n : 80), (const char *)text.p);
    const bool is_bytes = bpe_to_bytes(text, p, &n);
    if (!is_bytes) memcpy(p, text.p, n = text.n);
    uint32_t *slot = find_slot(b, p, n, is_bytes);
    if (*slot)
        return why_set(why, ERR_FORMAT, "vocab: \"%.*s\" is there twice", (int)(text.n < 80 ? text.n : 80),
                       (const char *)text.p);
    *e = (struct entry){.at = (uint32_t)b->arena_n, .n = (uint32_t)n, .there = true, .is_bytes = is_bytes};
    *slot = (uint32_t)id + 1;
    b->arena_n += n;
    b->n_entry++;
    if ((uint32_t)id >= b->n_id) b->n_id = (uint32_t)id + 1;
    return ERR_OK;
}

static int32_t id_of(const struct bpe *b, const uint8_t *p, size_t n, bool is_bytes)
{
    return (int32_t)*find_slot(b, p, n, is_bytes) - 1;
}

int32_t bpe_id(const struct bpe *b, struct span text)
{
    uint8_t small[256], *p = text.n <= sizeof small ? small : malloc(text.n);
    size_t n;
    if (!p) return -1;
    const int32_t id = bpe_to_bytes(text, p, &n) ? id_of(b, p, n, true) : id_of(b, text.p, text.n, false);
    if (p != small) free(p);
    return id;
}

uint32_t bpe_n_id(const struct bpe *b)
{
    return b->n_id;
}

uint32_t bpe_n_entry(const struct bpe *b)
{
    return b->n_entry;
}

struct span bpe_bytes(const struct bpe *b, uint32_t id)
{
    if (id >= b->n_id || !b->entry[id].there) return span_of(NULL, 0);
    return span_of(b->arena + b->entry[id].at, b->entry[id].n);
}

/* -- the merges ----------------------------------------------------------------------------------------- */

static struct pair *find_pair(const struct bpe *b, uint64_t key)
{
    uint64_t h = key * UINT64_C(0x9e3779b97f4a7c15);
    uint32_t i = (uint32_t)(h >> 32 ^ h >> 47) & b->pair_mask;
    while (b->pair[i].key != key && b->pair[i].key != PAIR_NONE) i = (i + 1) & b->pair_mask;
    return &b->pair[i];
}

static enum err grow_pairs(struct bpe *b)
{
    const uint32_t old_mask = b->pair_mask;
    struct pair *old = b->pair, *pair = malloc(2 * ((size_t)old_mask + 1) * sizeof *pair);
    if (!pair) return ERR_NOMEM;
    memset(pair, 0xff, 2 * ((size_t)old_mask + 1) * sizeof *pair);
    b->pair = pair;
    b->pair_mask = 2 * old_mask + 1;
    for (uint32_t i = 0; i <= old_mask; i++)
        if (old[i].key != PAIR_NONE) *find_pair(b, old[i].key) = old[i];
    free(old);
    return ERR_OK;
}

static enum err not_there(struct why *why, uint32_t rank, struct span left, struct span right,
                          const char *what)
{
    return why_set(why, ERR_FORMAT, "merges[%u]: \"%.*s\" + \"%.*s\": %s is not in the vocabulary", rank,
                   (int)(left.n < 80 ? left.n : 80), (const char *)left.p, (int)(right.n < 80 ? right.n : 80),
                   (const char *)right.p, what);
}

enum err bpe_merge(struct bpe *b, struct span left, struct span right, struct why *why)
{
    const uint32_t rank = b->n_merge;
    const int32_t l = bpe_id(b, left), r = bpe_id(b, right);
    if (l < 0 || r < 0) return not_there(why, rank, left, right, l < 0 ? "the left side" : "the right side");
    if (grow_arena(b, left.n + right.n) ||
        (5 * (uint64_t)b->n_pair > 3 * (uint64_t)b->pair_mask && grow_pairs(b)))
        return why_set(why, ERR_NOMEM, "merges: out of memory");
    uint8_t *join = b->arena + b->arena_n;
    memcpy(join, left.p, left.n);
    memcpy(join + left.n, right.p, right.n);
    const int32_t id = bpe_id(b, span_of(join, left.n + right.n));
    if (id < 0) return not_there(why, rank, left, right, "their join");
    struct pair *p = find_pair(b, (uint64_t)l << 32 | (uint32_t)r);
    if (p->key == PAIR_NONE) b->n_pair++;
    *p = (struct pair){.key = (uint64_t)l << 32 | (uint32_t)r, .rank = rank, .id = (uint32_t)id};
    b->n_merge++;
    b->merges = hash_mix(b->merges, (struct hash128){.lo = (uint32_t)l, .hi = (uint32_t)r});
    return ERR_OK;
}

enum err bpe_seal(struct bpe *b, const struct bpe_opts *o)
{
    b->opts = *o;
    for (int i = 0; i < 256; i++) b->byte_id[i] = id_of(b, &(uint8_t){(uint8_t)i}, 1, true);
    b->leads_to_self = calloc(b->n_id + 1, 1);
    return b->leads_to_self ? ERR_OK : ERR_NOMEM;
}

struct hash128 bpe_hash(const struct bpe *b)
{
    struct hash128 h = b->merges;
    for (uint32_t id = 0; id < b->n_id; id++) {
        const struct entry *e = &b->entry[id];
        if (!e->there) continue;
        h.lo += id;
        h.hi += e->is_bytes;
        h = hash_mix(h, hash_bytes(b->arena + e->at, e->n));
    }
    const int32_t opts[3] = {b->opts.ignore_merges, b->opts.fuse_unk, b->opts.unk};
    return hash_mix(h, hash_bytes(opts, sizeof opts));
}

/* -- encode --------------------------------------------------------------------------------------------- */

static void look_up(const struct bpe *b, struct bpe_symbol *s, const struct bpe_symbol *right)
{
    const struct pair *p = find_pair(b, (uint64_t)(uint32_t)s->id << 32 | (uint32_t)right->id);
    s->rank = p->key == PAIR_NONE ? RANK_NONE : p->rank;
    s->to = (int32_t)p->id;
}

/* The symbols of a piece before any merge; how many. Without unk, a byte that has no entry is left out. */
static uint32_t first_symbols(const struct bpe *b, struct bpe_symbol *s, struct span piece)
{
    uint32_t n = 0;
    bool after_unk = false;
    for (size_t i = 0; i < piece.n; i++) {
        int32_t id = b->byte_id[piece.p[i]];
        const bool unk = id < 0;
        if (unk) id = b->opts.unk;
        if (id >= 0 && !(unk && after_unk && b->opts.fuse_unk)) s[n++].id = id;
        after_unk = unk;
    }
    return n;
}

/* Merge by looking at every rank each time. Returns how many symbols are left, at the front. */
static uint32_t merge_small(const struct bpe *b, struct bpe_symbol *s, uint32_t n)
{
    for (uint32_t i = 0; i + 1 < n; i++) look_up(b, &s[i], &s[i + 1]);
    while (n > 1) {
        uint32_t best = 0;
        for (uint32_t i = 1; i + 1 < n; i++)
            if (s[i].rank < s[best].rank) best = i;
        if (s[best].rank == RANK_NONE) break;
        s[best].id = s[best].to;
        memmove(&s[best + 1], &s[best + 2], (n - best - 2) * sizeof *s);
        n--;
        if (best + 1 < n) look_up(b, &s[best], &s[best + 1]);
        if (best) look_up(b, &s[best - 1], &s[best]);
    }
    return n;
}

static void heap_push(struct bpe_work *w, uint32_t rank, uint32_t at)
{
    const uint64_t x = (uint64_t)rank << 32 | at;
    uint32_t i = w->heap_n++;
    if (rank == RANK_NONE) {
        w->heap_n--;
        return;
    }
    for (; i && w->heap[(i - 1) / 2] > x; i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = x;
}

static uint64_t heap_pop(struct bpe_work *w)
{
    const uint64_t top = w->heap[0], x = w->heap[--w->heap_n];
    uint32_t i = 0;
    for (uint32_t k; (k = 2 * i + 1) < w->heap_n; i = k) {
        if (k + 1 < w->heap_n && w->heap[k + 1] < w->heap[k]) k++;
        if (w->heap[k] >= x) break;
        w->heap[i] = w->heap[k];
    }
    w->heap[i] = x;
    return top;
}

/* The same with a heap of (rank, place). An entry whose symbol has another rank by now is out of date: a rank
 * belongs to one pair. At most n - 1 + 2 (n - 1) entries are ever pushed. */
static uint32_t merge_large(const struct bpe *b, struct bpe_work *w, uint32_t n)
{
    struct bpe_symbol *s = w->symbol;
    w->heap_n = 0;
    for (uint32_t i = 0; i < n; i++) {
        s[i].prev = i ? i - 1 : RANK_NONE;
        s[i].next = i + 1 < n ? i + 1 : RANK_NONE;
        s[i].rank = RANK_NONE;
        if (i + 1 < n) look_up(b, &s[i], &s[i + 1]);
        heap_push(w, s[i].rank, i);
    }
    while (w->heap_n) {
        const uint64_t top = heap_pop(w);
        const uint32_t at = (uint32_t)top, gone = s[at].next;
        if (s[at].rank != top >> 32) continue;
        s[at].id = s[at].to;
        s[at].next = s[gone].next;
        s[at].rank = s[gone].rank = RANK_NONE;
        s[gone].id = -1;
        if (s[at].next != RANK_NONE) {
            s[s[at].next].prev = at;
            look_up(b, &s[at], &s[s[at].next]);
            heap_push(w, s[at].rank, at);
        }
        if (s[at].prev != RANK_NONE) {
            look_up(b, &s[s[at].prev], &s[at]);
            heap_push(w, s[s[at].prev].rank, s[at].prev);
        }
    }
    uint32_t left = 0;
    for (uint32_t i = 0; i < n; i++)
        if (s[i].id >= 0) s[left++].id = s[i].id;
    return left;
}

static enum err work_grow(struct bpe_work *w, size_t n)
{
    if (n <= w->cap) return ERR_OK;
    if (n > UINT32_MAX / 4) return ERR_NOMEM;
    uint32_t cap = w->cap ? w->cap : 256;
    while (cap < n) cap *= 2;
    struct bpe_symbol *s = realloc(w->symbol, cap * sizeof *s);
    if (!s) return ERR_NOMEM;
    w->symbol = s;
    uint64_t *h = realloc(w->heap, 3 * (size_t)cap * sizeof *h);
    if (!h) return ERR_NOMEM;
    w->heap = h;
    w->cap = cap;
    return ERR_OK;
}

enum err bpe_encode(const struct bpe *b, struct bpe_work *w, struct span piece, struct tok_buf *out)
{
    const int32_t whole = id_of(b, piece.p, piece.n, true);
    const int known = whole < 0 ? NO : atomic_load_explicit(&b->leads_to_self[whole], memory_order_relaxed);
    if (whole >= 0 && (b->opts.ignore_merges || known == YES)) return tok_buf_add(out, whole);
    TRY(work_grow(w, piece.n));
    uint32_t n = first_symbols(b, w->symbol, piece);
    n = n <= SMALL ? merge_small(b, w->symbol, n) : merge_large(b, w, n);
    if (whole >= 0 && known == UNKNOWN)
        atomic_store_explicit(&b->leads_to_self[whole], n == 1 && w->symbol[0].id == whole ? YES : NO,
                              memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++) TRY(tok_buf_add(out, w->symbol[i].id));
    return ERR_OK;
}

void bpe_work_done(struct bpe_work *w)
{
    free(w->symbol);
    free(w->heap);
    *w = (struct bpe_work){0};
}
