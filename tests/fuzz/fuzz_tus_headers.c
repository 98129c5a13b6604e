/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes the headers of tus: every parser over the same text; what is taken comes back from what is written
 * of it. */
#include "server/core/tus_headers.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES_MAX 8192u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_hash(
    const char *form, const struct sha256 *hash, int (*parse)(const char *, struct sha256 *))
{
    char base64[sodium_base64_ENCODED_LEN(SHA256_BYTES, sodium_base64_VARIANT_ORIGINAL)];
    char text[128];
    struct sha256 again;

    sodium_bin2base64(base64, sizeof(base64), hash->b, SHA256_BYTES, sodium_base64_VARIANT_ORIGINAL);
    snprintf(text, sizeof(text), "%s %s", form, base64);
    if (parse(text, &again) != 0 || !sha256_equal(&again, hash))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[TEXT_BYTES_MAX + 1], date[TUS_DATE_LEN + 1], hex[SHA256_TEXT_LEN + 1];
    struct sha256 hash;
    uint64_t number;

    if (size > TEXT_BYTES_MAX)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';

    if (tus_parse_number(text, &number) == 0) {
        if (number > INT64_MAX || strspn(text, "0123456789") != strlen(text))
            abort();
        tus_format_date((int64_t)number, date);
        if (strlen(date) != TUS_DATE_LEN)
            abort();
    }
    if (tus_parse_metadata(text, &hash) == 0)
        check_hash("sha256", &hash, tus_parse_metadata);
    if (tus_parse_checksum(text, &hash) == 0)
        check_hash("sha256", &hash, tus_parse_checksum);
    if (tus_parse_segment(text, &hash) == 0) {
        text_hex(hash.b, SHA256_BYTES, hex);
        if (strcmp(hex, text) != 0)
            abort();
    }
    const char *token = tus_parse_bearer(text);
    if (token && (token < text || token + strlen(token) != text + strlen(text)))
        abort();
    (void)tus_is_patch_type(text);
    return 0;
}
