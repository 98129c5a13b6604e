/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json_text.h"

#include "base/text.h"

/* The length of the well-formed character at the start of `text`, 0 when there is none. */
static size_t character_len(struct bytes text)
{
    for (size_t len = 1; len <= 4 && len <= text.len; len++)
        if (text_is_utf8(bytes_of(text.data, len)))
            return len;
    return 0;
}

static void put_ascii(struct buffer *buffer, uint8_t c)
{
    switch (c) {
    case '"':
    case '\\':
        buffer_put_u8(buffer, '\\');
        buffer_put_u8(buffer, c);
        return;
    case '\n':
        buffer_put_text(buffer, "\\n");
        return;
    case '\r':
        buffer_put_text(buffer, "\\r");
        return;
    case '\t':
        buffer_put_text(buffer, "\\t");
        return;
    default:
        if (c < 0x20 || c == 0x7f)
            buffer_printf(buffer, "\\u%04x", c);
        else
            buffer_put_u8(buffer, c);
    }
}

void json_put_text(struct buffer *buffer, struct bytes text)
{
    buffer_put_u8(buffer, '"');
    while (text.len > 0) {
        size_t len = 1;
        if (text.data[0] < 0x80) {
            put_ascii(buffer, text.data[0]);
        } else if ((len = character_len(text)) > 0) {
            buffer_put(buffer, text.data, len);
        } else {
            buffer_put_text(buffer, "\xef\xbf\xbd");
            len = 1;
        }
        text.data += len;
        text.len -= len;
    }
    buffer_put_u8(buffer, '"');
}
