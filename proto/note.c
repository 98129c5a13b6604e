/* SPDX-License-Identifier: Apache-2.0 */
/* Signed notes: see note.h. The layout is that of the C2SP specification "signed-note". */
#include "proto/note.h"

#include "base/text.h"
#include "proto/base64.h"

#include <errno.h>
#include <sodium.h>

/* Em dash (U+2014) and a space. */
#define LINE_START "\xe2\x80\x94 "
#define LINE_START_LEN 4u
#define SIGNATURE_DATA_BYTES_MAX (NOTE_TEXT_BYTES_MAX / 4 * 3)
/* The longest signature this program makes: key id, time, Ed25519. */
#define OWN_SIGNATURE_BYTES_MAX (NOTE_KEY_ID_BYTES + 8u + SIGNATURE_BYTES)

/* The spaces of Unicode (White_Space) that are not ASCII, as they stand in UTF-8. */
static bool has_wide_space(struct bytes text)
{
    for (size_t i = 0; i + 1 < text.len; i++) {
        const uint8_t *at = text.data + i;

        if (at[0] == 0xc2 && (at[1] == 0x85 || at[1] == 0xa0)) /* U+0085, U+00A0 */
            return true;
        if (i + 2 >= text.len)
            continue;
        if (at[0] == 0xe1 && at[1] == 0x9a && at[2] == 0x80) /* U+1680 */
            return true;
        if (at[0] == 0xe2 && at[1] == 0x80 && /* U+2000 to U+200A, U+2028, U+2029, U+202F */
            (at[2] <= 0x8a || at[2] == 0xa8 || at[2] == 0xa9 || at[2] == 0xaf))
            return true;
        if (at[0] == 0xe2 && at[1] == 0x81 && at[2] == 0x9f) /* U+205F */
            return true;
        if (at[0] == 0xe3 && at[1] == 0x80 && at[2] == 0x80) /* U+3000 */
            return true;
    }
    return false;
}

bool note_name_is_valid(struct bytes name)
{
    if (name.len == 0 || !text_is_utf8(name))
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] <= ' ' || name.data[i] == 0x7f || name.data[i] == '+')
            return false;
    return !has_wide_space(name);
}

void note_key_id(const struct verify_key *key, enum signature_type type, uint8_t ret[NOTE_KEY_ID_BYTES])
{
    const uint8_t separator_and_type[2] = {'\n', (uint8_t)type};
    crypto_hash_sha256_state state;
    struct sha256 hash;

    crypto_hash_sha256_init(&state);
    crypto_hash_sha256_update(&state, (const uint8_t *)key->name, strlen(key->name));
    crypto_hash_sha256_update(&state, separator_and_type, sizeof(separator_and_type));
    crypto_hash_sha256_update(&state, key->public_key, SIGN_PUBLIC_BYTES);
    crypto_hash_sha256_final(&state, hash.b);
    memcpy(ret, hash.b, NOTE_KEY_ID_BYTES);
}

/* The next signature line, taken apart: its name, and the decoded bytes in `data`. */
static int next_signature(struct cursor *lines, struct bytes *ret_name,
    uint8_t data[SIGNATURE_DATA_BYTES_MAX], size_t *ret_data_len)
{
    struct bytes start = cursor_take(lines, LINE_START_LEN);
    struct bytes name = cursor_take_until(lines, ' ');
    struct bytes base64 = cursor_take_until(lines, '\n');
    size_t data_len;

    if (lines->failed || memcmp(start.data, LINE_START, LINE_START_LEN) != 0 || !note_name_is_valid(name))
        return -EBADMSG;
    if (base64_decode(base64, BASE64_STANDARD, data, SIGNATURE_DATA_BYTES_MAX, &data_len) < 0 ||
        data_len <= NOTE_KEY_ID_BYTES)
        return -EBADMSG;
    *ret_name = name;
    *ret_data_len = data_len;
    return 0;
}

int note_parse(struct bytes bytes, struct note *ret)
{
    uint8_t data[SIGNATURE_DATA_BYTES_MAX];
    struct cursor lines;
    struct note note;
    size_t split = 0;

    if (bytes.len > NOTE_TEXT_BYTES_MAX || !text_is_utf8(bytes))
        return -EBADMSG;
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.data[i] < ' ' && bytes.data[i] != '\n')
            return -EBADMSG;
        if (i > 0 && bytes.data[i] == '\n' && bytes.data[i - 1] == '\n')
            split = i;
    }
    if (split == 0 || split + 1 == bytes.len)
        return -EBADMSG;
    note.text = bytes_of(bytes.data, split);
    note.signatures = bytes_of(bytes.data + split + 1, bytes.len - split - 1);

    for (lines = cursor_of(note.signatures); cursor_left(&lines) > 0;) {
        struct bytes name;
        size_t data_len;
        int r = next_signature(&lines, &name, data, &data_len);

        if (r < 0)
            return r;
    }
    *ret = note;
    return 0;
}

int note_find_signature(
    const struct note *note, const struct verify_key *key, enum signature_type type, uint8_t *ret, size_t len)
{
    uint8_t key_id[NOTE_KEY_ID_BYTES], data[SIGNATURE_DATA_BYTES_MAX];
    struct cursor lines = cursor_of(note->signatures);

    note_key_id(key, type, key_id);
    while (cursor_left(&lines) > 0) {
        struct bytes name;
        size_t data_len;

        if (next_signature(&lines, &name, data, &data_len) < 0)
            return -EKEYREJECTED;
        if (!bytes_equal(name, bytes_of_text(key->name)) || memcmp(data, key_id, sizeof(key_id)) != 0)
            continue;
        /* The first line of a known key decides: the standard wants the note refused when it does not hold.
         */
        if (data_len != NOTE_KEY_ID_BYTES + len)
            return -EKEYREJECTED;
        memcpy(ret, data + NOTE_KEY_ID_BYTES, len);
        return 0;
    }
    return -EKEYREJECTED;
}

void note_put_signature(struct buffer *note, const struct verify_key *key, enum signature_type type,
    const uint8_t *signature, size_t len)
{
    char base64[sodium_base64_ENCODED_LEN(OWN_SIGNATURE_BYTES_MAX, sodium_base64_VARIANT_ORIGINAL)];
    uint8_t data[OWN_SIGNATURE_BYTES_MAX];

    note_key_id(key, type, data);
    memcpy(data + NOTE_KEY_ID_BYTES, signature, len);
    sodium_bin2base64(base64, sizeof(base64), data, NOTE_KEY_ID_BYTES + len, sodium_base64_VARIANT_ORIGINAL);
    buffer_put_text(note, LINE_START);
    buffer_put_text(note, key->name);
    buffer_put_text(note, " ");
    buffer_put_text(note, base64);
    buffer_put_text(note, "\n");
}
