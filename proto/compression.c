/* SPDX-License-Identifier: Apache-2.0 */
/* zlib streams with preset dictionaries: see compression.h. */
#include "proto/compression.h"

#include "proto/dictionary/dictionaries.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#define ZLIB_CONST
#include <zlib.h>

#define MEMORY_LEVEL 8
#define WINDOW_BITS 15
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

int compress_bytes(struct bytes plain, int level, uint32_t dictionary_name, struct buffer *ret)
{
    const struct bytes *dictionary = dictionary_find(dictionary_name);
    size_t start = ret->len, bound;
    uint8_t *room;

    assert(level >= 1 && level <= 9 && plain.len < UINT_MAX / 2);
    if (dictionary_name != DICTIONARY_NONE && !dictionary)
        return -ENOENT;

    _cleanup_(end_deflate) z_stream stream = {0};
    if (deflateInit2(&stream, level, Z_DEFLATED, WINDOW_BITS, MEMORY_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
        return -ENOMEM;
    if (dictionary && deflateSetDictionary(&stream, dictionary->data, (uInt)dictionary->len) != Z_OK)
        return -ENOMEM;

    bound = deflateBound(&stream, plain.len);
    room = buffer_extend(ret, bound);
    if (!room)
        return -ENOMEM;
    stream.next_in = plain.data;
    stream.avail_in = (uInt)plain.len;
    stream.next_out = room;
    stream.avail_out = (uInt)bound;
    if (deflate(&stream, Z_FINISH) != Z_STREAM_END) {
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
