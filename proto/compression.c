/* SPDX-License-Identifier: Apache-2.0 */
/* zlib streams with preset dictionaries: see compression.h. */
#include "proto/compression.h"

#include "proto/dictionary/dictionaries.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#define ZLIB_CONST
#include <zlib.h>

#define WINDOW_BITS_MIN 9
#define WINDOW_BITS 15
#define MEMORY_LEVEL_MAX 8
/* zlib matches within its window but for so many bytes (its MIN_LOOKAHEAD). */
#define LOOKAHEAD_BYTES 262u
/* Bytes are looked at in pieces of this size, to see whether they have become of another kind. */
#define PIECE_BYTES 512u
/* What a block's own code costs, about; and what zlib may write besides for a block, at most. */
#define BLOCK_CODE_BYTES 120u
#define BLOCK_BYTES_MAX 16u
#define INFLATE_STEP_BYTES_MIN 4096u
#define INFLATE_STEP_BYTES_MAX (1024u * 1024u)

size_t dictionary_names(const uint32_t **ret)
{
    const struct bytes *const *contents;

    return dictionaries_known(ret, &contents);
}

/* The dictionary's bytes, or NULL. */
static const struct bytes *dictionary_find(uint32_t name)
{
    const struct bytes *const *contents;
    const uint32_t *names;
    size_t count = dictionaries_known(&names, &contents);

    for (size_t i = 0; i < count; i++)
        if (names[i] == name)
            return contents[i];
    return NULL;
}

bool dictionary_is_known(uint32_t name)
{
    return dictionary_find(name) != NULL;
}

static void end_deflate(z_stream *stream)
{
    deflateEnd(stream);
}

static void end_inflate(z_stream *stream)
{
    inflateEnd(stream);
}

/* How often each byte occurs. */
struct histogram {
    uint32_t counts[256];
    uint32_t total;
};

/* n times the binary logarithm of n, in 1/256, a straight line between powers of two: near enough. */
static uint64_t times_log2(uint32_t n)
{
    unsigned power = n > 0 ? 31u - (unsigned)__builtin_clz(n) : 0;

    return n > 0 ? n * (((uint64_t)power << 8) + ((uint64_t)n << 8 >> power) - 256) : 0;
}

/* What these bytes take in a block of their own, in 1/256 bits, without its code. */
static uint64_t block_cost(const struct histogram *bytes)
{
    uint64_t cost = times_log2(bytes->total);

    for (size_t i = 0; i < ARRAY_LEN(bytes->counts); i++)
        cost -= times_log2(bytes->counts[i]);
    return cost;
}

/* The length of the run at the beginning of `plain` that is best put into one block: it ends where the bytes
 * change their kind so much that a new code pays. zlib by itself ends a block after a number of symbols,
 * which is late for columns: numbers, letters and digits one behind the other. */
static size_t block_len(struct bytes plain)
{
    struct histogram block = {0};
    size_t len = 0;

    while (len < plain.len) {
        size_t piece_len = plain.len - len < PIECE_BYTES ? plain.len - len : PIECE_BYTES;
        struct histogram piece = {.total = (uint32_t)piece_len}, both = block;

        for (size_t i = 0; i < piece_len; i++) {
            piece.counts[plain.data[len + i]]++;
            both.counts[plain.data[len + i]]++;
        }
        both.total += (uint32_t)piece_len;
        if (len > 0 &&
            block_cost(&block) + block_cost(&piece) + (BLOCK_CODE_BYTES * 8u << 8) < block_cost(&both))
            break;
        block = both;
        len += piece_len;
    }
    return len;
}

/* Deflates all into the room that the stream has. */
static int deflate_blocks(z_stream *stream, struct bytes plain)
{
    struct cursor rest = cursor_of(plain);
    int r;

    do {
        struct bytes block = cursor_take(&rest, block_len(bytes_of(rest.next, cursor_left(&rest))));

        stream->next_in = block.data;
        stream->avail_in = (uInt)block.len;
        r = deflate(stream, cursor_left(&rest) > 0 ? Z_BLOCK : Z_FINISH);
    } while (r == Z_OK && stream->avail_in == 0 && cursor_left(&rest) > 0);
    return r == Z_STREAM_END ? 0 : -ENOMEM;
}

/* The smallest window in which all of it can match. zlib clears its tables for each stream, a quarter of a
 * megabyte at the default, which for a message of some hundred bytes is most of the work. */
static int window_bits(size_t len)
{
    int bits = WINDOW_BITS_MIN;

    while (bits < WINDOW_BITS && (size_t)1 << bits < len + LOOKAHEAD_BYTES)
        bits++;
    return bits;
}

/* Room for as many symbols in a block as the window has bytes: fewer would end blocks early. */
static int memory_level(int bits)
{
    return bits - 6 < MEMORY_LEVEL_MAX ? bits - 6 : MEMORY_LEVEL_MAX;
}

int compress_bytes(struct bytes plain, int level, uint32_t dictionary_name, struct buffer *ret)
{
    const struct bytes *dictionary = dictionary_find(dictionary_name);
    size_t start = ret->len, bound;
    uint8_t *room;
    int bits;

    assert(level >= 1 && level <= 9 && plain.len < UINT_MAX / 2);
    if (dictionary_name != DICTIONARY_NONE && !dictionary)
        return -ENOENT;

    bits = window_bits(plain.len + (dictionary ? dictionary->len : 0));
    _cleanup_(end_deflate) z_stream stream = {0};
    if (deflateInit2(&stream, level, Z_DEFLATED, bits, memory_level(bits), Z_DEFAULT_STRATEGY) != Z_OK)
        return -ENOMEM;
    if (dictionary && deflateSetDictionary(&stream, dictionary->data, (uInt)dictionary->len) != Z_OK)
        return -ENOMEM;

    bound = deflateBound(&stream, plain.len) + BLOCK_BYTES_MAX * (plain.len / PIECE_BYTES);
    room = buffer_extend(ret, bound);
    if (!room)
        return -ENOMEM;
    stream.next_out = room;
    stream.avail_out = (uInt)bound;
    if (deflate_blocks(&stream, plain) < 0) {
        ret->len = start;
        return -ENOMEM;
    }
    ret->len -= stream.avail_out;
    return 0;
}

/* One call of inflate with at most `step` bytes of room in `ret`, which holds `len_max` bytes in all when it
 * is full. Returns 1 at the end of the stream, 0 when there is more to do. */
static int inflate_step(z_stream *stream, size_t step, size_t len_max, struct buffer *ret)
{
    size_t room = len_max - ret->len < step ? len_max - ret->len : step;
    uint8_t beyond = 0;
    bool full = room == 0;
    int r;

    /* At the limit the stream must end without another byte: one byte of room shows whether it does. */
    stream->next_out = full ? &beyond : buffer_extend(ret, room);
    stream->avail_out = full ? 1 : (uInt)room;
    if (!stream->next_out)
        return -ENOMEM;
    r = inflate(stream, Z_NO_FLUSH);
    if (full && stream->avail_out == 0)
        return -EFBIG;
    if (!full)
        ret->len -= stream->avail_out;

    if (r == Z_NEED_DICT) {
        const struct bytes *dictionary = dictionary_find((uint32_t)stream->adler);

        if (!dictionary)
            return -ENOENT;
        r = inflateSetDictionary(stream, dictionary->data, (uInt)dictionary->len);
    }
    if (r == Z_STREAM_END)
        return stream->avail_in == 0 ? 1 : -EBADMSG;
    if (r == Z_MEM_ERROR)
        return -ENOMEM;
    return r == Z_OK ? 0 : -EBADMSG;
}

int inflate_bytes(struct bytes bytes, size_t len_max, struct buffer *ret)
{
    size_t start = ret->len, step = INFLATE_STEP_BYTES_MIN;
    int r = 0;

    assert(bytes.len < UINT_MAX && len_max < SIZE_MAX - start);
    _cleanup_(end_inflate) z_stream stream = {.next_in = bytes.data, .avail_in = (uInt)bytes.len};
    if (inflateInit2(&stream, WINDOW_BITS) != Z_OK)
        return -ENOMEM;

    /* Each call takes in or gives out at least a byte, or is the last: zlib reports a lack of progress. */
    while (r == 0) {
        r = inflate_step(&stream, step, start + len_max, ret);
        if (step < INFLATE_STEP_BYTES_MAX)
            step *= 2;
    }
    if (r < 0)
        ret->len = start;
    return r < 0 ? r : 0;
}
