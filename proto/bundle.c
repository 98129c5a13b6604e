/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bundles: see bundle.h.
 *
 * libsodium begins a stream to be written by drawing its header, which pure code must not. The state that
 * reading begins with, from key and header, is the same one: so both ends begin as a reader does, and the
 * header is an argument.
 */
#include "proto/bundle.h"

#include <errno.h>

#define MAGIC_FAMILY "gridpatrol bundle "
#define RECEIPTS_MAGIC_FAMILY "gridpatrol receipts "
#define PHOTO_BODY_BYTES (SHA256_BYTES + 8u)

_Static_assert(BUNDLE_KEY_BYTES == crypto_secretstream_xchacha20poly1305_KEYBYTES, "the stream's key");
_Static_assert(
    BUNDLE_HEADER_BYTES == crypto_secretstream_xchacha20poly1305_HEADERBYTES, "the stream's header");
_Static_assert(BUNDLE_FRAME_MORE_BYTES == crypto_secretstream_xchacha20poly1305_ABYTES, "tag and MAC");
_Static_assert(BUNDLE_SEALED_KEY_BYTES == BUNDLE_KEY_BYTES + crypto_box_SEALBYTES, "a sealed box");

/* ---- writing ---- */

int bundle_write_start(struct bundle_writer *writer, const uint8_t receipt_key[SIGN_PUBLIC_BYTES],
    const struct bundle_secrets *secrets, struct buffer *ret)
{
    size_t start = ret->len;
    int r;

    buffer_put_text(ret, BUNDLE_MAGIC);
    r = buffer_finish(ret);
    if (r >= 0)
        r = seal_to_device(
            bytes_of(secrets->key, sizeof(secrets->key)), receipt_key, secrets->seal_seed, ret);
    if (r >= 0) {
        buffer_put(ret, secrets->header, sizeof(secrets->header));
        r = buffer_finish(ret);
    }
    if (r >= 0 &&
        crypto_secretstream_xchacha20poly1305_init_pull(&writer->state, secrets->header, secrets->key) != 0)
        r = -EINVAL;
    if (r < 0)
        ret->len = start;
    return r;
}

static int write_message(
    struct bundle_writer *writer, enum bundle_kind kind, struct bytes body, struct buffer *ret)
{
    uint8_t tag = kind == BUNDLE_END ? crypto_secretstream_xchacha20poly1305_TAG_FINAL
                                     : crypto_secretstream_xchacha20poly1305_TAG_MESSAGE;
    _cleanup_buffer_ struct buffer plain = {0};
    uint8_t *place;
    int r;

    buffer_put_u8(&plain, (uint8_t)kind);
    buffer_put_bytes(&plain, body);
    r = buffer_finish(&plain);
    if (r < 0)
        return r;
    place = buffer_extend(ret, BUNDLE_FRAME_LENGTH_BYTES + BUNDLE_FRAME_MORE_BYTES + plain.len);
    if (!place)
        return -ENOMEM;
    for (unsigned i = 0; i < BUNDLE_FRAME_LENGTH_BYTES; i++)
        place[i] = (uint8_t)((BUNDLE_FRAME_MORE_BYTES + plain.len) >> (24 - 8 * i));
    crypto_secretstream_xchacha20poly1305_push(
        &writer->state, place + BUNDLE_FRAME_LENGTH_BYTES, NULL, plain.data, plain.len, NULL, 0, tag);
    return 0;
}

int bundle_write_head(struct bundle_writer *writer, const struct bundle_head *head, struct buffer *ret)
{
    _cleanup_buffer_ struct buffer body = {0};
    int r = bundle_head_encode(head, &body);

    return r < 0 ? r : write_message(writer, BUNDLE_HEAD, buffer_bytes(&body), ret);
}

int bundle_write_exchange(struct bundle_writer *writer, struct bytes envelope, struct buffer *ret)
{
    if (envelope.len > EXCHANGE_ENVELOPE_BYTES_MAX)
        return -EMSGSIZE;
    return write_message(writer, BUNDLE_EXCHANGE, envelope, ret);
}

int bundle_write_photo(
    struct bundle_writer *writer, const struct sha256 *sha256, uint64_t size, struct buffer *ret)
{
    _cleanup_buffer_ struct buffer body = {0};

    if (size == 0 || size > BLOB_BYTES_MAX)
        return -EMSGSIZE;
    buffer_put_bytes(&body, sha256_bytes(sha256));
    buffer_put_u64be(&body, size);
    if (buffer_finish(&body) < 0)
        return -ENOMEM;
    return write_message(writer, BUNDLE_PHOTO, buffer_bytes(&body), ret);
}

int bundle_write_chunk(struct bundle_writer *writer, struct bytes bytes, struct buffer *ret)
{
    if (bytes.len == 0 || bytes.len > BUNDLE_CHUNK_BYTES_MAX)
        return -EMSGSIZE;
    return write_message(writer, BUNDLE_CHUNK, bytes, ret);
}

int bundle_write_end(struct bundle_writer *writer, struct buffer *ret)
{
    return write_message(writer, BUNDLE_END, (struct bytes){0}, ret);
}

/* ---- reading ---- */

/* -EPROTONOSUPPORT for the same kind of file in another version. */
static int check_magic(struct bytes found, const char *magic, const char *family)
{
    if (bytes_equal(found, bytes_of_text(magic)))
        return 0;
    return found.len >= strlen(family) && memcmp(found.data, family, strlen(family)) == 0 ? -EPROTONOSUPPORT
                                                                                          : -EBADMSG;
}

int bundle_read_start(
    struct bundle_reader *reader, const uint8_t start[BUNDLE_START_BYTES], const struct sign_key *receipt_key)
{
    struct cursor cursor = cursor_of(bytes_of(start, BUNDLE_START_BYTES));
    struct bytes magic = cursor_take(&cursor, BUNDLE_MAGIC_BYTES);
    struct bytes sealed = cursor_take(&cursor, BUNDLE_SEALED_KEY_BYTES);
    struct bytes header = cursor_take(&cursor, BUNDLE_HEADER_BYTES);
    _cleanup_buffer_ struct buffer key = {0};
    int r = check_magic(magic, BUNDLE_MAGIC, MAGIC_FAMILY);

    if (r >= 0)
        r = unseal_by_device(sealed, receipt_key, &key);
    else
        return r;
    if (r < 0)
        return r == -EBADMSG ? -EKEYREJECTED : r;
    *reader = (struct bundle_reader){0};
    r = crypto_secretstream_xchacha20poly1305_init_pull(&reader->state, header.data, key.data);
    sodium_memzero(key.data, key.len);
    return r == 0 ? 0 : -EBADMSG;
}

int bundle_read_length(const uint8_t bytes[BUNDLE_FRAME_LENGTH_BYTES], size_t *ret_len)
{
    struct cursor cursor = cursor_of(bytes_of(bytes, BUNDLE_FRAME_LENGTH_BYTES));
    uint32_t len = cursor_u32be(&cursor);

    if (len <= BUNDLE_FRAME_MORE_BYTES || len > BUNDLE_FRAME_BYTES_MAX)
        return -EBADMSG;
    *ret_len = len;
    return 0;
}

static int read_head(struct bytes body, struct bundle_head *ret)
{
    _cleanup_arena_ struct arena arena;

    arena_init(&arena, arena_budget_for(body.len));
    return bundle_head_decode(body, &arena, ret);
}

static int read_photo(struct bytes body, struct bundle_message *ret)
{
    struct cursor cursor = cursor_of(body);

    if (sha256_from_bytes(cursor_take(&cursor, SHA256_BYTES), &ret->sha256) < 0)
        return -EBADMSG;
    ret->size = cursor_u64be(&cursor);
    if (cursor_finish(&cursor) < 0 || ret->size == 0 || ret->size > BLOB_BYTES_MAX)
        return -EBADMSG;
    return 0;
}

static enum bundle_kind kind_of(uint8_t byte)
{
    return byte <= BUNDLE_END ? (enum bundle_kind)byte : BUNDLE_LATER;
}

/* What the message says, if it may stand where it does. */
static int read_body(struct bundle_reader *reader, struct bytes body, struct bundle_message *ret)
{
    uint64_t photo_left = 0;
    int r = 0;

    if (reader->has_ended || reader->has_head == (ret->kind == BUNDLE_HEAD))
        return -EBADMSG;
    switch (ret->kind) {
    case BUNDLE_LATER:
        break;
    case BUNDLE_HEAD:
        r = read_head(body, &ret->head);
        break;
    case BUNDLE_EXCHANGE:
        r = body.len > 0 && body.len <= EXCHANGE_ENVELOPE_BYTES_MAX ? 0 : -EBADMSG;
        break;
    case BUNDLE_PHOTO:
        r = read_photo(body, ret);
        photo_left = ret->size;
        break;
    case BUNDLE_CHUNK:
        r = body.len > 0 && body.len <= BUNDLE_CHUNK_BYTES_MAX && body.len <= reader->photo_left ? 0
                                                                                                 : -EBADMSG;
        photo_left = reader->photo_left - body.len;
        break;
    case BUNDLE_END:
        r = body.len == 0 ? 0 : -EBADMSG;
        break;
    }
    if (r < 0)
        return r;
    reader->photo_left = photo_left;
    reader->has_head = true;
    reader->has_ended = ret->kind == BUNDLE_END;
    ret->body = body;
    return 0;
}

int bundle_read_message(
    struct bundle_reader *reader, struct bytes frame, uint8_t *plain, struct bundle_message *ret)
{
    struct bundle_message message = {0};
    unsigned long long len = 0;
    uint8_t tag = 0;
    int r;

    if (frame.len <= BUNDLE_FRAME_MORE_BYTES || frame.len > BUNDLE_FRAME_BYTES_MAX)
        return -EBADMSG;
    if (crypto_secretstream_xchacha20poly1305_pull(
            &reader->state, plain, &len, &tag, frame.data, frame.len, NULL, 0) != 0)
        return -EBADMSG;
    message.kind = kind_of(plain[0]);
    /* The end, and nothing else, bears the final tag: what was cut cannot pass for whole. */
    if (tag != (message.kind == BUNDLE_END ? crypto_secretstream_xchacha20poly1305_TAG_FINAL
                                           : crypto_secretstream_xchacha20poly1305_TAG_MESSAGE))
        return -EBADMSG;
    r = read_body(reader, bytes_of(plain + 1, (size_t)len - 1), &message);
    if (r >= 0)
        *ret = message;
    return r < 0 && r != -ENOMEM ? -EBADMSG : r;
}

/* ---- receipts ---- */

int bundle_receipts_start(struct buffer *ret)
{
    buffer_put_text(ret, BUNDLE_RECEIPTS_MAGIC);
    return buffer_finish(ret);
}

int bundle_receipts_put(struct bytes envelope, struct buffer *ret)
{
    buffer_put_u32be(ret, (uint32_t)envelope.len);
    buffer_put_bytes(ret, envelope);
    return buffer_finish(ret);
}

int bundle_receipts_open(struct cursor *file)
{
    struct bytes magic = cursor_take(file, BUNDLE_RECEIPTS_MAGIC_BYTES);

    return check_magic(magic, BUNDLE_RECEIPTS_MAGIC, RECEIPTS_MAGIC_FAMILY);
}

int bundle_receipts_next(struct cursor *file, struct bytes *ret)
{
    struct bytes envelope;
    uint32_t len;

    if (cursor_left(file) == 0 && !file->failed)
        return 0;
    len = cursor_u32be(file);
    if (len == 0 || len > BUNDLE_RECEIPTS_ENVELOPE_BYTES_MAX)
        return -EBADMSG;
    envelope = cursor_take(file, len);
    if (file->failed)
        return -EBADMSG;
    *ret = envelope;
    return 1;
}
