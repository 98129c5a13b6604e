/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints and receipts: see checkpoint.h. The layouts are those of C2SP tlog-checkpoint and
 * tlog-cosignature (cosignature/v1). */
#include "proto/checkpoint.h"

#include "proto/base64.h"
#include "proto/note.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>

#define SIZE_DIGITS_MAX 13u /* of LOG_SIZE_MAX */
#define ROOT_BASE64_LEN 44u
#define CHECKPOINT_TEXT_BYTES_MAX (ORIGIN_BYTES_MAX + SIZE_DIGITS_MAX + ROOT_BASE64_LEN + 3u)
#define COSIGNED_HEADER_BYTES_MAX 64u
#define TIMESTAMPED_SIGNATURE_BYTES (8u + SIGNATURE_BYTES)

/* Decimal without leading zeros. */
static int parse_size(struct bytes digits, uint64_t *ret)
{
    uint64_t size = 0;

    if (digits.len == 0 || digits.len > SIZE_DIGITS_MAX || (digits.len > 1 && digits.data[0] == '0'))
        return -EBADMSG;
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.data[i] < '0' || digits.data[i] > '9')
            return -EBADMSG;
        size = size * 10 + (uint64_t)(digits.data[i] - '0');
    }
    if (size > LOG_SIZE_MAX)
        return -EBADMSG;
    *ret = size;
    return 0;
}

/* The three lines of a checkpoint. Extension lines are refused: nobody of this protocol writes one, and
 * nobody is to cosign what it does not understand. */
static int parse_checkpoint_text(struct bytes text, struct checkpoint *ret)
{
    struct cursor cursor = cursor_of(text);
    struct bytes origin = cursor_take_until(&cursor, '\n');
    struct bytes size = cursor_take_until(&cursor, '\n');
    struct bytes root = cursor_take_until(&cursor, '\n');
    struct checkpoint checkpoint = {0};

    if (cursor_finish(&cursor) < 0 || origin.len == 0 || origin.len >= ORIGIN_BYTES_MAX)
        return -EBADMSG;
    if (parse_size(size, &checkpoint.size) < 0)
        return -EBADMSG;
    if (base64_decode_exactly(root, BASE64_STANDARD, checkpoint.root.b, SHA256_BYTES) < 0)
        return -EBADMSG;
    memcpy(checkpoint.origin, origin.data, origin.len);
    *ret = checkpoint;
    return 0;
}

static int parse(struct bytes bytes, struct note *ret_note, struct checkpoint *ret)
{
    int r = note_parse(bytes, ret_note);

    return r < 0 ? r : parse_checkpoint_text(ret_note->text, ret);
}

int checkpoint_parse(struct bytes note, struct checkpoint *ret)
{
    struct note parts;

    return parse(note, &parts, ret);
}

static bool signature_holds(const uint8_t signature[SIGNATURE_BYTES], struct bytes message,
    const uint8_t public_key[SIGN_PUBLIC_BYTES])
{
    return crypto_sign_verify_detached(signature, message.data, message.len, public_key) == 0;
}

int checkpoint_sign(
    const struct checkpoint *checkpoint, const struct sign_key *device, struct buffer *ret_note)
{
    char root[ROOT_BASE64_LEN + 1], text[CHECKPOINT_TEXT_BYTES_MAX + 1];
    uint8_t signature[SIGNATURE_BYTES];
    size_t start = ret_note->len, text_len;
    int len;

    assert(checkpoint->size <= LOG_SIZE_MAX);
    assert(checkpoint->origin[0] != '\0' && !strchr(checkpoint->origin, '\n'));
    sodium_bin2base64(root, sizeof(root), checkpoint->root.b, SHA256_BYTES, sodium_base64_VARIANT_ORIGINAL);
    len = snprintf(
        text, sizeof(text), "%s\n%llu\n%s\n", checkpoint->origin, (unsigned long long)checkpoint->size, root);
    assert(len > 0 && (size_t)len < sizeof(text));
    text_len = (size_t)len;
    crypto_sign_detached(signature, NULL, (const uint8_t *)text, text_len, device->secret);

    buffer_put(ret_note, text, text_len);
    buffer_put_text(ret_note, "\n");
    note_put_signature(ret_note, &device->public, SIGNATURE_ED25519, signature, sizeof(signature));
    if (buffer_finish(ret_note) < 0) {
        ret_note->len = start;
        return -ENOMEM;
    }
    return 0;
}

static int verify_device(const struct note *note, const struct verify_key *device)
{
    uint8_t signature[SIGNATURE_BYTES];
    int r = note_find_signature(note, device, SIGNATURE_ED25519, signature, sizeof(signature));

    if (r < 0)
        return r;
    return signature_holds(signature, note->text, device->public_key) ? 0 : -EKEYREJECTED;
}

int checkpoint_verify(struct bytes note, const struct verify_key *device, struct checkpoint *ret)
{
    struct checkpoint checkpoint;
    struct note parts;
    int r = parse(note, &parts, &checkpoint);

    if (r < 0)
        return r;
    r = verify_device(&parts, device);
    if (r < 0)
        return r;
    *ret = checkpoint;
    return 0;
}

/* What a cosignature signs: a header that names the time, then the checkpoint's text. */
static struct bytes cosigned_message(struct bytes text, uint64_t time_s,
    uint8_t message[COSIGNED_HEADER_BYTES_MAX + CHECKPOINT_TEXT_BYTES_MAX])
{
    int len = snprintf((char *)message, COSIGNED_HEADER_BYTES_MAX, "cosignature/v1\ntime %llu\n",
        (unsigned long long)time_s);

    assert(len > 0 && (unsigned)len < COSIGNED_HEADER_BYTES_MAX && text.len <= CHECKPOINT_TEXT_BYTES_MAX);
    memcpy(message + len, text.data, text.len);
    return bytes_of(message, (size_t)len + text.len);
}

int receipt_cosign(struct bytes note, const struct sign_key *server, uint64_t time_s, struct buffer *ret_note)
{
    uint8_t message_space[COSIGNED_HEADER_BYTES_MAX + CHECKPOINT_TEXT_BYTES_MAX];
    uint8_t timestamped[TIMESTAMPED_SIGNATURE_BYTES];
    struct checkpoint checkpoint;
    size_t start = ret_note->len;
    struct bytes message;
    struct note parts;
    int r = parse(note, &parts, &checkpoint);

    if (r < 0)
        return r;
    message = cosigned_message(parts.text, time_s, message_space);
    for (unsigned i = 0; i < 8; i++)
        timestamped[i] = (uint8_t)(time_s >> (56 - 8 * i));
    crypto_sign_detached(timestamped + 8, NULL, message.data, message.len, server->secret);

    buffer_put_bytes(ret_note, note);
    note_put_signature(ret_note, &server->public, SIGNATURE_COSIGNATURE, timestamped, sizeof(timestamped));
    r = buffer_finish(ret_note);
    if (r == 0 && ret_note->len - start > NOTE_TEXT_BYTES_MAX)
        r = -EMSGSIZE;
    if (r < 0)
        ret_note->len = start;
    return r;
}

static int verify_server(const struct note *note, const struct verify_key *server, uint64_t *ret_time_s)
{
    uint8_t message_space[COSIGNED_HEADER_BYTES_MAX + CHECKPOINT_TEXT_BYTES_MAX];
    uint8_t timestamped[TIMESTAMPED_SIGNATURE_BYTES];
    struct cursor cursor = cursor_of(bytes_of(timestamped, sizeof(timestamped)));
    struct bytes message;
    uint64_t time_s;
    int r = note_find_signature(note, server, SIGNATURE_COSIGNATURE, timestamped, sizeof(timestamped));

    if (r < 0)
        return r;
    time_s = cursor_u64be(&cursor);
    message = cosigned_message(note->text, time_s, message_space);
    if (!signature_holds(timestamped + 8, message, server->public_key))
        return -EKEYREJECTED;
    *ret_time_s = time_s;
    return 0;
}

int receipt_verify(struct bytes note, const struct verify_key *device, const struct verify_key *server,
    struct checkpoint *ret, uint64_t *ret_time_s)
{
    struct checkpoint checkpoint;
    struct note parts;
    uint64_t time_s;
    int r = parse(note, &parts, &checkpoint);

    if (r < 0)
        return r;
    r = verify_device(&parts, device);
    if (r < 0)
        return r;
    r = verify_server(&parts, server, &time_s);
    if (r < 0)
        return r;
    *ret = checkpoint;
    *ret_time_s = time_s;
    return 0;
}
