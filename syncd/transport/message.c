/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/transport/message.h"

#include <errno.h>

#define STATUS_MIN 100u
#define STATUS_MAX 999u
#define TIME_MS_MAX INT64_C(253402300799999) /* the last instant of the year 9999 */

/* ---- writing: a broken limit or lack of memory sticks, as in a buffer ---- */

struct writer {
    struct buffer *buffer;
    bool refused;
};

static void put_bytes(struct writer *writer, struct bytes bytes, size_t len_max)
{
    if (bytes.len > len_max) {
        writer->refused = true;
        return;
    }
    buffer_put_u32be(writer->buffer, (uint32_t)bytes.len);
    buffer_put_bytes(writer->buffer, bytes);
}

static bool is_plain_text(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] < 0x20 || text.data[i] == 0x7f)
            return false;
    return true;
}

static void put_text(struct writer *writer, const char *text, size_t bytes_max)
{
    struct bytes bytes = bytes_of(text, text ? strlen(text) + 1 : 0);
    if (text && !is_plain_text(bytes_of(text, bytes.len - 1)))
        writer->refused = true;
    put_bytes(writer, bytes, bytes_max);
}

static void put_time(struct writer *writer, int64_t ms)
{
    if (ms < 0 || ms > TIME_MS_MAX)
        writer->refused = true;
    buffer_put_u64be(writer->buffer, (uint64_t)ms);
}

static void put_request(struct writer *writer, const struct transport_request *request)
{
    if (request->header_count > HTTP_HEADERS_MAX || !request->method || !request->url) {
        writer->refused = true;
        return;
    }
    buffer_put_u64be(writer->buffer, request->deadline_ms);
    put_time(writer, request->verify_at_ms);
    buffer_put_u8(writer->buffer, request->ignore_not_before);
    put_text(writer, request->method, TRANSPORT_METHOD_BYTES_MAX);
    put_text(writer, request->url, TRANSPORT_URL_BYTES_MAX);
    buffer_put_u8(writer->buffer, (uint8_t)request->header_count);
    for (size_t i = 0; i < request->header_count; i++) {
        put_text(writer, request->headers[i].name, TRANSPORT_HEADER_NAME_BYTES_MAX);
        put_text(writer, request->headers[i].value, TRANSPORT_HEADER_VALUE_BYTES_MAX);
    }
    put_bytes(writer, request->body, TRANSPORT_REQUEST_BODY_MAX);
}

static void put_response(struct writer *writer, const struct transport_response *response)
{
    if (response->status < STATUS_MIN || response->status > STATUS_MAX)
        writer->refused = true;
    buffer_put_u32be(writer->buffer, response->status);
    buffer_put_u64be(writer->buffer, response->bytes_sent);
    put_time(writer, response->not_after_ms);
    put_bytes(writer, response->ca, TRANSPORT_CERTIFICATE_BYTES_MAX);
    put_text(writer, response->location, HTTP_LOCATION_MAX);
    put_text(writer, response->upload_offset, TRANSPORT_SHORT_HEADER_BYTES_MAX);
    put_text(writer, response->upload_expires, TRANSPORT_SHORT_HEADER_BYTES_MAX);
    put_text(writer, response->retry_after, TRANSPORT_SHORT_HEADER_BYTES_MAX);
    put_bytes(writer, response->body, TRANSPORT_RESPONSE_BODY_MAX);
}

static void put_trust(struct writer *writer, const struct transport_trust *trust)
{
    if (trust->ca_sha256.len != 0 && trust->ca_sha256.len != SHA256_BYTES)
        writer->refused = true;
    put_bytes(writer, trust->ca_pem, CA_PEM_BYTES_MAX);
    put_bytes(writer, trust->ca_sha256, SHA256_BYTES);
}

static void put_slot(struct writer *writer, const struct transport_message *message)
{
    if (message->slot >= TRANSPORT_SLOTS_MAX)
        writer->refused = true;
    buffer_put_u32be(writer->buffer, message->slot);
    buffer_put_u32be(writer->buffer, message->serial);
}

static void put_message(struct writer *writer, const struct transport_message *message)
{
    buffer_put_u8(writer->buffer, (uint8_t)message->kind);
    switch (message->kind) {
    case TRANSPORT_TRUST:
        put_trust(writer, &message->trust);
        return;
    case TRANSPORT_NETWORK_CHANGED:
        return;
    case TRANSPORT_CANCEL:
        put_slot(writer, message);
        return;
    case TRANSPORT_REQUEST:
        put_slot(writer, message);
        put_request(writer, &message->request);
        return;
    case TRANSPORT_RESPONSE:
        put_slot(writer, message);
        put_response(writer, &message->response);
        return;
    case TRANSPORT_FAILED:
        put_slot(writer, message);
        buffer_put_u8(writer->buffer, (uint8_t)message->failed.failure);
        put_text(writer, message->failed.detail ? message->failed.detail : "", TRANSPORT_DETAIL_BYTES_MAX);
        return;
    }
}

int transport_message_encode(const struct transport_message *message, struct buffer *ret)
{
    size_t before = ret->len;
    struct writer writer = {.buffer = ret};
    buffer_put_u32be(ret, 0);
    put_message(&writer, message);
    if (buffer_finish(ret) < 0)
        return -ENOMEM;
    size_t len = ret->len - before - TRANSPORT_LENGTH_BYTES;
    if (writer.refused || len > TRANSPORT_MESSAGE_BYTES_MAX) {
        ret->len = before;
        return -EMSGSIZE;
    }
    for (size_t i = 0; i < TRANSPORT_LENGTH_BYTES; i++)
        ret->data[before + i] = (uint8_t)(len >> (8 * (TRANSPORT_LENGTH_BYTES - 1 - i)));
    return 0;
}

/* ---- reading: whatever is wrong fails the cursor ---- */

int transport_message_length(const uint8_t head[TRANSPORT_LENGTH_BYTES], size_t *ret)
{
    struct cursor cursor = cursor_of(bytes_of(head, TRANSPORT_LENGTH_BYTES));
    uint32_t len = cursor_u32be(&cursor);
    if (len == 0 || len > TRANSPORT_MESSAGE_BYTES_MAX)
        return -EBADMSG;
    *ret = len;
    return 0;
}

static struct bytes take_bytes(struct cursor *cursor, size_t len_max)
{
    uint32_t len = cursor_u32be(cursor);
    if (len > len_max)
        cursor->failed = true;
    return cursor_take(cursor, cursor->failed ? 0 : len);
}

/* NULL for "none". */
static const char *take_text(struct cursor *cursor, size_t bytes_max)
{
    struct bytes bytes = take_bytes(cursor, bytes_max);
    if (cursor->failed || bytes.len == 0)
        return NULL;
    if (bytes.data[bytes.len - 1] != '\0' || !is_plain_text(bytes_of(bytes.data, bytes.len - 1))) {
        cursor->failed = true;
        return NULL;
    }
    return (const char *)bytes.data;
}

static const char *take_needed_text(struct cursor *cursor, size_t bytes_max)
{
    const char *text = take_text(cursor, bytes_max);
    if (!text)
        cursor->failed = true;
    return text;
}

static int64_t take_time(struct cursor *cursor)
{
    uint64_t ms = cursor_u64be(cursor);
    if (ms > (uint64_t)TIME_MS_MAX)
        cursor->failed = true;
    return cursor->failed ? 0 : (int64_t)ms;
}

static void take_request(struct cursor *cursor, struct transport_request *ret)
{
    ret->deadline_ms = cursor_u64be(cursor);
    ret->verify_at_ms = take_time(cursor);
    uint8_t flag = cursor_u8(cursor);
    if (flag > 1)
        cursor->failed = true;
    ret->ignore_not_before = flag == 1;
    ret->method = take_needed_text(cursor, TRANSPORT_METHOD_BYTES_MAX);
    ret->url = take_needed_text(cursor, TRANSPORT_URL_BYTES_MAX);
    ret->header_count = cursor_u8(cursor);
    if (ret->header_count > HTTP_HEADERS_MAX)
        cursor->failed = true;
    for (size_t i = 0; i < ret->header_count && !cursor->failed; i++) {
        ret->headers[i].name = take_needed_text(cursor, TRANSPORT_HEADER_NAME_BYTES_MAX);
        ret->headers[i].value = take_needed_text(cursor, TRANSPORT_HEADER_VALUE_BYTES_MAX);
    }
    ret->body = take_bytes(cursor, TRANSPORT_REQUEST_BODY_MAX);
}

static void take_response(struct cursor *cursor, struct transport_response *ret)
{
    ret->status = cursor_u32be(cursor);
    if (ret->status < STATUS_MIN || ret->status > STATUS_MAX)
        cursor->failed = true;
    ret->bytes_sent = cursor_u64be(cursor);
    ret->not_after_ms = take_time(cursor);
    ret->ca = take_bytes(cursor, TRANSPORT_CERTIFICATE_BYTES_MAX);
    ret->location = take_text(cursor, HTTP_LOCATION_MAX);
    ret->upload_offset = take_text(cursor, TRANSPORT_SHORT_HEADER_BYTES_MAX);
    ret->upload_expires = take_text(cursor, TRANSPORT_SHORT_HEADER_BYTES_MAX);
    ret->retry_after = take_text(cursor, TRANSPORT_SHORT_HEADER_BYTES_MAX);
    ret->body = take_bytes(cursor, TRANSPORT_RESPONSE_BODY_MAX);
}

static void take_trust(struct cursor *cursor, struct transport_trust *ret)
{
    ret->ca_pem = take_bytes(cursor, CA_PEM_BYTES_MAX);
    ret->ca_sha256 = take_bytes(cursor, SHA256_BYTES);
    if (ret->ca_sha256.len != 0 && ret->ca_sha256.len != SHA256_BYTES)
        cursor->failed = true;
}

static void take_slot(struct cursor *cursor, struct transport_message *ret)
{
    ret->slot = cursor_u32be(cursor);
    ret->serial = cursor_u32be(cursor);
    if (ret->slot >= TRANSPORT_SLOTS_MAX)
        cursor->failed = true;
}

static void take_failure(struct cursor *cursor, struct transport_message *ret)
{
    uint8_t failure = cursor_u8(cursor);
    if (failure < TRANSPORT_FAILED_NETWORK || failure > TRANSPORT_FAILED_CANCELLED)
        cursor->failed = true;
    ret->failed.failure = (enum transport_failure)failure;
    ret->failed.detail = take_needed_text(cursor, TRANSPORT_DETAIL_BYTES_MAX);
}

/* False for a kind that there is not. */
static bool take_fields(struct cursor *cursor, uint8_t kind, struct transport_message *ret)
{
    if (kind < TRANSPORT_TRUST || kind > TRANSPORT_FAILED)
        return false;
    ret->kind = (enum transport_message_kind)kind;
    switch (ret->kind) {
    case TRANSPORT_TRUST:
        take_trust(cursor, &ret->trust);
        return true;
    case TRANSPORT_NETWORK_CHANGED:
        return true;
    case TRANSPORT_CANCEL:
        take_slot(cursor, ret);
        return true;
    case TRANSPORT_REQUEST:
        take_slot(cursor, ret);
        take_request(cursor, &ret->request);
        return true;
    case TRANSPORT_RESPONSE:
        take_slot(cursor, ret);
        take_response(cursor, &ret->response);
        return true;
    case TRANSPORT_FAILED:
        take_slot(cursor, ret);
        take_failure(cursor, ret);
        return true;
    }
    return false;
}

int transport_message_decode(struct bytes bytes, struct transport_message *ret)
{
    struct cursor cursor = cursor_of(bytes);
    struct transport_message message = {0};
    if (bytes.len > TRANSPORT_MESSAGE_BYTES_MAX || !take_fields(&cursor, cursor_u8(&cursor), &message) ||
        cursor_finish(&cursor) < 0)
        return -EBADMSG;
    *ret = message;
    return 0;
}
