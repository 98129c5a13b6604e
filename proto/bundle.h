/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bundles: what a handheld has to send, as a file on a data carrier, and the file in which the centre's
 * receipts for it come back. proto/README.md, "Bundles". Pure: secrets are arguments, the files' bytes too.
 *
 *   bundle     "gridpatrol bundle 1\n" | the stream's key, sealed to the centre | the stream's header |
 * frames frame      u32 length | one message of the stream (crypto_secretstream of libsodium) message kind, 1
 * byte | body
 *
 *   head, then as often as there is something: exchange | photo chunk chunk ...; at last end, with TAG_FINAL
 *
 *   receipts   "gridpatrol receipts 1\n" | frames: u32 length | Envelope{BundleReceipts}
 *
 * Used by `patrol`, which writes bundles and reads receipts, and by the centre's service, which does the
 * opposite. Says nothing of what an exchange or a photo is worth: that is checked as if it had come online.
 */
#pragma once

#include "proto/enrolment.h"

#include <sodium.h>

#define BUNDLE_MAGIC "gridpatrol bundle 1\n"
#define BUNDLE_MAGIC_BYTES (sizeof(BUNDLE_MAGIC) - 1)
#define BUNDLE_KEY_BYTES 32u
#define BUNDLE_HEADER_BYTES 24u
#define BUNDLE_SEALED_KEY_BYTES (BUNDLE_KEY_BYTES + 48u)
#define BUNDLE_START_BYTES (BUNDLE_MAGIC_BYTES + BUNDLE_SEALED_KEY_BYTES + BUNDLE_HEADER_BYTES)
#define BUNDLE_FRAME_LENGTH_BYTES 4u
#define BUNDLE_FRAME_MORE_BYTES 17u /* of a frame's message beside its plain bytes */
#define BUNDLE_FRAME_BYTES_MAX (BUNDLE_FRAME_MORE_BYTES + BUNDLE_MESSAGE_BYTES_MAX)

enum bundle_kind {
    BUNDLE_LATER = 0, /* none that this program knows: a newer sender's, passed over */
    BUNDLE_HEAD = 1,
    BUNDLE_EXCHANGE = 2, /* an exchange request's envelope */
    BUNDLE_PHOTO = 3,    /* hash and size of the blob whose bytes follow */
    BUNDLE_CHUNK = 4,
    BUNDLE_END = 5,
};

/* ---- writing a bundle ---- */

/* Random bytes, used once. */
struct bundle_secrets {
    uint8_t key[BUNDLE_KEY_BYTES], seal_seed[32], header[BUNDLE_HEADER_BYTES];
};

struct bundle_writer {
    crypto_secretstream_xchacha20poly1305_state state;
};

/* Each appends to `ret`: -ENOMEM. `receipt_key` is the centre's: -EINVAL when it cannot be sealed to. */
int bundle_write_start(struct bundle_writer *writer, const uint8_t receipt_key[SIGN_PUBLIC_BYTES],
    const struct bundle_secrets *secrets, struct buffer *ret);
int bundle_write_head(struct bundle_writer *writer, const struct bundle_head *head, struct buffer *ret);
/* -EMSGSIZE over EXCHANGE_ENVELOPE_BYTES_MAX. */
int bundle_write_exchange(struct bundle_writer *writer, struct bytes envelope, struct buffer *ret);
/* A photo's bytes follow in chunks of at most BUNDLE_CHUNK_BYTES_MAX, and nothing else between them. One that
 * ends before its size, because something else follows, counts for nothing. -EMSGSIZE. */
int bundle_write_photo(
    struct bundle_writer *writer, const struct sha256 *sha256, uint64_t size, struct buffer *ret);
int bundle_write_chunk(struct bundle_writer *writer, struct bytes bytes, struct buffer *ret);
int bundle_write_end(struct bundle_writer *writer, struct buffer *ret);

/* ---- reading one ---- */

struct bundle_message {
    enum bundle_kind kind;
    struct bytes body;    /* of an exchange: the envelope; of a chunk: the photo's bytes */
    struct sha256 sha256; /* of a photo */
    uint64_t size;        /* of a photo */
    struct bundle_head head;
};

struct bundle_reader {
    crypto_secretstream_xchacha20poly1305_state state;
    bool has_head, has_ended;
    uint64_t photo_left; /* bytes of the photo that are still to come */
};

/* Reads what a bundle begins with. -EBADMSG it is none; -EPROTONOSUPPORT one of another version;
 * -EKEYREJECTED it is sealed to another centre, or damaged here; -ENOMEM. */
int bundle_read_start(struct bundle_reader *reader, const uint8_t start[BUNDLE_START_BYTES],
    const struct sign_key *receipt_key);
/* The length of the message that follows. -EBADMSG none can be so long. */
int bundle_read_length(const uint8_t bytes[BUNDLE_FRAME_LENGTH_BYTES], size_t *ret_len);
/* Opens a message; `ret` views `plain`, of BUNDLE_MESSAGE_BYTES_MAX bytes. -EBADMSG altered, out of order, or
 * not what it must be: nothing more can be read then. After `has_ended` nothing may follow. */
int bundle_read_message(
    struct bundle_reader *reader, struct bytes frame, uint8_t *plain, struct bundle_message *ret);

/* ---- receipts ---- */

#define BUNDLE_RECEIPTS_MAGIC "gridpatrol receipts 1\n"
#define BUNDLE_RECEIPTS_MAGIC_BYTES (sizeof(BUNDLE_RECEIPTS_MAGIC) - 1)
#define BUNDLE_RECEIPTS_ENVELOPE_BYTES_MAX (BUNDLE_RECEIPTS_BYTES_MAX + 1024u)

/* Append what a file of receipts begins with, and a part of it. -ENOMEM. */
int bundle_receipts_start(struct buffer *ret);
int bundle_receipts_put(struct bytes envelope, struct buffer *ret);
/* Steps over the beginning of such a file. -EBADMSG, -EPROTONOSUPPORT. */
int bundle_receipts_open(struct cursor *file);
/* The next part's envelope. 1; 0 at the end; -EBADMSG cut or too long. */
int bundle_receipts_next(struct cursor *file, struct bytes *ret);
