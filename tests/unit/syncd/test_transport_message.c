/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of syncd/transport/message.h: what is written is read, and nothing else is. Each message stands in a
 * block of exactly its size, so that a sanitizer sees a read beyond it.
 */
#include "tests/unit/unit.h"

#include "syncd/transport/message.h"

#include <errno.h>

static const uint8_t hash[SHA256_BYTES] = {1, 2, 3};

static struct transport_message trust_message(void)
{
    struct transport_message message = {.kind = TRANSPORT_TRUST};
    message.trust.ca_pem = bytes_of_text("-----BEGIN CERTIFICATE-----\n");
    message.trust.ca_sha256 = bytes_of(hash, sizeof(hash));
    return message;
}

static struct transport_message request_message(void)
{
    struct transport_message message = {.kind = TRANSPORT_REQUEST, .slot = 3, .serial = 0xfedcba98};
    message.request = (struct transport_request){.deadline_ms = 120000,
        .verify_at_ms = INT64_C(1767225600000),
        .ignore_not_before = true,
        .method = "PATCH",
        .url = "https://centre.example:8443/v1/blobs/x",
        .headers = {{"upload-offset", "17"}, {"authorization", ""}},
        .header_count = 2,
        .body = bytes_of("\0\1\2", 3)};
    return message;
}

static struct transport_message response_message(void)
{
    struct transport_message message = {.kind = TRANSPORT_RESPONSE, .slot = 7, .serial = 1};
    message.response = (struct transport_response){.status = 204,
        .bytes_sent = UINT64_MAX,
        .not_after_ms = INT64_C(1767225600000),
        .ca = bytes_of("der", 3),
        .location = "/v1/blobs/x",
        .upload_offset = "",
        .retry_after = "7",
        .body = bytes_of("\0", 1)};
    return message;
}

static struct transport_message failed_message(void)
{
    struct transport_message message = {.kind = TRANSPORT_FAILED, .slot = 1, .serial = 2};
    message.failed.failure = TRANSPORT_FAILED_TLS;
    message.failed.detail = "SSL peer certificate or SSH remote key was not OK";
    return message;
}

static struct transport_message plain_message(enum transport_message_kind kind)
{
    return (struct transport_message){.kind = kind};
}

#define SAMPLES 6u

static void samples(struct transport_message ret[SAMPLES])
{
    ret[0] = trust_message();
    ret[1] = request_message();
    ret[2] = plain_message(TRANSPORT_CANCEL);
    ret[3] = plain_message(TRANSPORT_NETWORK_CHANGED);
    ret[4] = response_message();
    ret[5] = failed_message();
}

/* What follows the length of an encoded message, in a block of its own size. */
static uint8_t *encoded(const struct transport_message *message, size_t *ret_len)
{
    _cleanup_buffer_ struct buffer buffer = {0};
    assert_int_equal(transport_message_encode(message, &buffer), 0);
    assert_int_equal(transport_message_length(buffer.data, ret_len), 0);
    assert_int_equal(buffer.len, TRANSPORT_LENGTH_BYTES + *ret_len);
    uint8_t *block = malloc(*ret_len);
    memcpy(block, buffer.data + TRANSPORT_LENGTH_BYTES, *ret_len);
    return block;
}

static void assert_text(const char *a, const char *b)
{
    if (!a || !b)
        assert_ptr_equal(a, b);
    else
        assert_string_equal(a, b);
}

static void a_request_is_read_as_it_was_written(void **state)
{
    const struct transport_message wanted = request_message();
    struct transport_message read;
    size_t len;
    _cleanup_free_ uint8_t *block = encoded(&wanted, &len);

    (void)state;
    assert_int_equal(transport_message_decode(bytes_of(block, len), &read), 0);
    assert_int_equal(read.kind, TRANSPORT_REQUEST);
    assert_int_equal(read.slot, wanted.slot);
    assert_int_equal(read.serial, wanted.serial);
    assert_int64_equal(read.request.deadline_ms, wanted.request.deadline_ms);
    assert_int64_equal(read.request.verify_at_ms, wanted.request.verify_at_ms);
    assert_true(read.request.ignore_not_before);
    assert_string_equal(read.request.method, wanted.request.method);
    assert_string_equal(read.request.url, wanted.request.url);
    assert_int_equal(read.request.header_count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(read.request.headers[i].name, wanted.request.headers[i].name);
        assert_string_equal(read.request.headers[i].value, wanted.request.headers[i].value);
    }
    assert_true(bytes_equal(read.request.body, wanted.request.body));
}

static void a_response_is_read_as_it_was_written(void **state)
{
    const struct transport_message wanted = response_message();
    struct transport_message read;
    size_t len;
    _cleanup_free_ uint8_t *block = encoded(&wanted, &len);

    (void)state;
    assert_int_equal(transport_message_decode(bytes_of(block, len), &read), 0);
    assert_int_equal(read.kind, TRANSPORT_RESPONSE);
    assert_int_equal(read.slot, wanted.slot);
    assert_int_equal(read.response.status, 204);
    assert_int64_equal(read.response.bytes_sent, wanted.response.bytes_sent);
    assert_int64_equal(read.response.not_after_ms, wanted.response.not_after_ms);
    assert_text(read.response.location, wanted.response.location);
    assert_text(read.response.upload_offset, wanted.response.upload_offset);
    assert_text(read.response.upload_expires, NULL);
    assert_text(read.response.retry_after, wanted.response.retry_after);
    assert_true(bytes_equal(read.response.ca, wanted.response.ca));
    assert_true(bytes_equal(read.response.body, wanted.response.body));
}

static void trust_and_failures_are_read_as_they_were_written(void **state)
{
    const struct transport_message trust = trust_message(), failed = failed_message();
    struct transport_message read;
    size_t trust_len, failed_len;
    _cleanup_free_ uint8_t *trust_block = encoded(&trust, &trust_len);
    _cleanup_free_ uint8_t *failed_block = encoded(&failed, &failed_len);

    (void)state;
    assert_int_equal(transport_message_decode(bytes_of(trust_block, trust_len), &read), 0);
    assert_true(bytes_equal(read.trust.ca_pem, trust.trust.ca_pem));
    assert_true(bytes_equal(read.trust.ca_sha256, trust.trust.ca_sha256));
    assert_int_equal(transport_message_decode(bytes_of(failed_block, failed_len), &read), 0);
    assert_int_equal(read.failed.failure, TRANSPORT_FAILED_TLS);
    assert_string_equal(read.failed.detail, failed.failed.detail);
}

static void a_message_that_is_cut_anywhere_or_too_long_is_refused(void **state)
{
    struct transport_message all[SAMPLES], read;

    (void)state;
    samples(all);
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t len;
        _cleanup_free_ uint8_t *block = encoded(&all[i], &len);
        for (size_t cut = 0; cut < len; cut++) {
            _cleanup_free_ uint8_t *exact = malloc(cut + 1);
            memcpy(exact, block, cut);
            assert_int_equal(transport_message_decode(bytes_of(cut ? exact : NULL, cut), &read), -EBADMSG);
        }
        _cleanup_free_ uint8_t *longer = malloc(len + 1);
        memcpy(longer, block, len);
        longer[len] = 0;
        assert_int_equal(transport_message_decode(bytes_of(longer, len + 1), &read), -EBADMSG);
    }
}

/* Whatever one byte is turned into: it is refused, or it is another message that is written like that. */
static void a_message_with_any_byte_changed_is_refused_or_another_one(void **state)
{
    struct transport_message all[SAMPLES], read;
    size_t taken = 0;

    (void)state;
    samples(all);
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t len;
        _cleanup_free_ uint8_t *block = encoded(&all[i], &len);
        for (size_t at = 0; at < len; at++) {
            for (unsigned change = 1; change < 256; change += 7) {
                _cleanup_buffer_ struct buffer again = {0};
                block[at] = (uint8_t)(block[at] ^ change);
                if (transport_message_decode(bytes_of(block, len), &read) == 0) {
                    taken++;
                    assert_int_equal(transport_message_encode(&read, &again), 0);
                    assert_memory_equal(again.data + TRANSPORT_LENGTH_BYTES, block, len);
                }
                block[at] = (uint8_t)(block[at] ^ change);
            }
        }
    }
    assert_true(taken > 0);
}

static void lengths_beyond_the_limit_are_refused_before_anything_is_read(void **state)
{
    static const uint8_t none[] = {0, 0, 0, 0}, all[] = {0xff, 0xff, 0xff, 0xff};
    const uint32_t largest = TRANSPORT_MESSAGE_BYTES_MAX, beyond = largest + 1;
    const uint8_t largest_bytes[] = {
        (uint8_t)(largest >> 24), (uint8_t)(largest >> 16), (uint8_t)(largest >> 8), (uint8_t)largest};
    const uint8_t beyond_bytes[] = {
        (uint8_t)(beyond >> 24), (uint8_t)(beyond >> 16), (uint8_t)(beyond >> 8), (uint8_t)beyond};
    size_t len = 0;

    (void)state;
    assert_int_equal(transport_message_length(none, &len), -EBADMSG);
    assert_int_equal(transport_message_length(all, &len), -EBADMSG);
    assert_int_equal(transport_message_length(beyond_bytes, &len), -EBADMSG);
    assert_int_equal(len, 0);
    assert_int_equal(transport_message_length(largest_bytes, &len), 0);
    assert_int_equal(len, largest);
}

/* Encodes what must not be, with room for what was there before. */
static void assert_not_written(const struct transport_message *message)
{
    _cleanup_buffer_ struct buffer buffer = {0};
    buffer_put_text(&buffer, "before");
    assert_int_equal(transport_message_encode(message, &buffer), -EMSGSIZE);
    assert_int_equal(buffer.len, 6);
}

static void what_breaks_a_limit_is_not_written(void **state)
{
    static char large[TRANSPORT_REQUEST_BODY_MAX + 1];
    static char url[TRANSPORT_URL_BYTES_MAX + 1];
    struct transport_message message = request_message();

    (void)state;
    message.request.body = bytes_of(large, sizeof(large));
    assert_not_written(&message);
    message = request_message();
    memset(url, 'u', sizeof(url) - 1);
    message.request.url = url;
    assert_not_written(&message);
    message = request_message();
    message.request.headers[0].value = "17\r\nx-evil: 1";
    assert_not_written(&message);
    message = request_message();
    message.slot = TRANSPORT_SLOTS_MAX;
    assert_not_written(&message);
    message = request_message();
    message.request.verify_at_ms = -1;
    assert_not_written(&message);
    message = response_message();
    message.response.status = 1000;
    assert_not_written(&message);
    message = response_message();
    message.response.body = bytes_of(large, TRANSPORT_RESPONSE_BODY_MAX + 1);
    assert_not_written(&message);
    message = trust_message();
    message.trust.ca_sha256.len = 1;
    assert_not_written(&message);
}

static void the_largest_request_fits(void **state)
{
    static char large[TRANSPORT_REQUEST_BODY_MAX];
    static char url[TRANSPORT_URL_BYTES_MAX], value[TRANSPORT_HEADER_VALUE_BYTES_MAX],
        name[TRANSPORT_HEADER_NAME_BYTES_MAX];
    struct transport_message message = request_message(), read;
    size_t len;

    (void)state;
    memset(url, 'u', sizeof(url) - 1);
    memset(value, 'v', sizeof(value) - 1);
    memset(name, 'n', sizeof(name) - 1);
    message.request.url = url;
    message.request.body = bytes_of(large, sizeof(large));
    message.request.header_count = HTTP_HEADERS_MAX;
    for (size_t i = 0; i < HTTP_HEADERS_MAX; i++)
        message.request.headers[i] = (struct http_header){name, value};
    _cleanup_free_ uint8_t *block = encoded(&message, &len);
    assert_int_equal(transport_message_decode(bytes_of(block, len), &read), 0);
    assert_int_equal(read.request.body.len, sizeof(large));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_read_as_it_was_written),
        cmocka_unit_test(a_response_is_read_as_it_was_written),
        cmocka_unit_test(trust_and_failures_are_read_as_they_were_written),
        cmocka_unit_test(a_message_that_is_cut_anywhere_or_too_long_is_refused),
        cmocka_unit_test(a_message_with_any_byte_changed_is_refused_or_another_one),
        cmocka_unit_test(lengths_beyond_the_limit_are_refused_before_anything_is_read),
        cmocka_unit_test(what_breaks_a_limit_is_not_written),
        cmocka_unit_test(the_largest_request_fits),
    };

    return cmocka_run_group_tests_name("transport_message", tests, NULL, NULL);
}
