/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes the reading of bundles. The input counts as a file; as messages by somebody who has the stream's
 * key, each behind a tag and a byte that tells its length; as a file of receipts; and as the messages in
 * both.
 */
#include "proto/bundle.h"
#include "tests/fuzz/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

FUZZ_MESSAGE(bundle_head, bundle_head_encode)
FUZZ_MESSAGE(bundle_receipts, bundle_receipts_encode)

static uint8_t plain[BUNDLE_MESSAGE_BYTES_MAX];

static struct sign_key server_key(void)
{
    uint8_t seed[SIGN_SEED_BYTES];
    struct sign_key key;

    for (size_t i = 0; i < sizeof(seed); i++)
        seed[i] = (uint8_t)(100 + i);
    sign_key_from_seed("gridpatrol.example/receipt", seed, &key);
    return key;
}

/* What holds of every message that is read, whatever was before it. */
struct seen {
    bool has_head, has_ended;
    uint64_t photo_left;
};

static void check_message(struct seen *seen, const struct bundle_message *message)
{
    if (seen->has_ended || seen->has_head == (message->kind == BUNDLE_HEAD))
        abort();
    seen->has_head = true;
    switch (message->kind) {
    case BUNDLE_LATER:
    case BUNDLE_HEAD:
        break;
    case BUNDLE_EXCHANGE:
        if (message->body.len == 0 || message->body.len > EXCHANGE_ENVELOPE_BYTES_MAX)
            abort();
        break;
    case BUNDLE_PHOTO:
        if (message->size == 0 || message->size > BLOB_BYTES_MAX)
            abort();
        seen->photo_left = message->size;
        return;
    case BUNDLE_CHUNK:
        if (message->body.len == 0 || message->body.len > seen->photo_left)
            abort();
        seen->photo_left -= message->body.len;
        return;
    case BUNDLE_END:
        seen->has_ended = true;
        break;
    }
    seen->photo_left = 0;
}

static void read_file(struct cursor file)
{
    struct sign_key key = server_key();
    struct bytes start = cursor_take(&file, BUNDLE_START_BYTES);
    struct bundle_message message;
    struct bundle_reader reader;
    struct seen seen = {0};

    if (file.failed || bundle_read_start(&reader, start.data, &key) < 0)
        return;
    for (;;) {
        struct bytes length = cursor_take(&file, BUNDLE_FRAME_LENGTH_BYTES), frame;
        size_t len;

        if (file.failed || bundle_read_length(length.data, &len) < 0)
            return;
        frame = cursor_take(&file, len);
        if (file.failed || bundle_read_message(&reader, frame, plain, &message) < 0)
            return;
        check_message(&seen, &message);
    }
}

/* The same reader, behind the encryption that a fuzzer cannot guess. */
static void read_messages(struct cursor input)
{
    static const struct bundle_secrets secrets;
    crypto_secretstream_xchacha20poly1305_state stream;
    struct bundle_reader reader = {0};
    struct seen seen = {0};

    if (crypto_secretstream_xchacha20poly1305_init_pull(&stream, secrets.header, secrets.key) != 0)
        abort();
    reader.state = stream;
    while (cursor_left(&input) > 0) {
        uint8_t tag = cursor_u8(&input);
        size_t len = cursor_u8(&input), left = cursor_left(&input);
        struct bytes bytes = cursor_take(&input, len < left ? len : left);
        uint8_t frame[BUNDLE_FRAME_MORE_BYTES + UINT8_MAX];
        struct bundle_message message;

        crypto_secretstream_xchacha20poly1305_push(&stream, frame, NULL, bytes.data, bytes.len, NULL, 0, tag);
        if (bundle_read_message(
                &reader, bytes_of(frame, bytes.len + BUNDLE_FRAME_MORE_BYTES), plain, &message) < 0)
            return;
        check_message(&seen, &message);
    }
}

static void read_receipts(struct cursor file)
{
    struct bytes envelope;

    if (bundle_receipts_open(&file) < 0)
        return;
    while (bundle_receipts_next(&file, &envelope) > 0)
        if (envelope.len == 0 || envelope.len > BUNDLE_RECEIPTS_ENVELOPE_BYTES_MAX)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes bytes = bytes_of(data, size);

    read_file(cursor_of(bytes));
    read_messages(cursor_of(bytes));
    read_receipts(cursor_of(bytes));
    (void)fuzz_bundle_head(bytes);
    (void)fuzz_bundle_receipts(bytes);
    return 0;
}
