/* SPDX-License-Identifier: Apache-2.0 */
/* Base64: see base64.h. */
#include "proto/base64.h"

#include <errno.h>
#include <sodium.h>

int base64_decode(struct bytes text, enum base64_form form, uint8_t *ret, size_t size, size_t *ret_len)
{
    int variant =
        form == BASE64_URL ? sodium_base64_VARIANT_URLSAFE_NO_PADDING : sodium_base64_VARIANT_ORIGINAL;
    size_t len;

    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] >= 0x80)
            return -EBADMSG;
    if (sodium_base642bin(ret, size, (const char *)text.data, text.len, NULL, &len, NULL, variant) != 0)
        return -EBADMSG;
    *ret_len = len;
    return 0;
}

int base64_take(struct bytes text, enum base64_form form, struct buffer *ret)
{
    if (text.len == 0)
        return 0;

    size_t start = ret->len, len;
    uint8_t *place = buffer_extend(ret, text.len);
    int r = place ? base64_decode(text, form, place, text.len, &len) : -ENOMEM;

    ret->len = r < 0 ? start : start + len;
    return r;
}

int base64_decode_exactly(struct bytes text, enum base64_form form, uint8_t *ret, size_t len)
{
    size_t decoded_len;
    int r = base64_decode(text, form, ret, len, &decoded_len);

    if (r < 0)
        return r;
    return decoded_len == len ? 0 : -EBADMSG;
}
