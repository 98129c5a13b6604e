/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of syncd/transport/stream.h, over a socket pair whose other end the test holds. */
#include "tests/unit/unit.h"

#include "syncd/transport/stream.h"

#include <errno.h>
#include <sys/socket.h>

struct scene {
    struct transport_stream stream;
    int other;
};

static int begin(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    scene->stream.fd = ends[0];
    scene->other = ends[1];
    *state = scene;
    return 0;
}

static int end(void **state)
{
    struct scene *scene = *state;
    close(scene->stream.fd);
    transport_stream_done(&scene->stream);
    if (scene->other >= 0)
        close(scene->other);
    free(scene);
    return 0;
}

static struct transport_message failed_message(uint32_t serial)
{
    struct transport_message message = {.kind = TRANSPORT_FAILED, .slot = 1, .serial = serial};
    message.failed.failure = TRANSPORT_FAILED_NETWORK;
    message.failed.detail = "Could not connect to server";
    return message;
}

static void messages_in_pieces_and_together_come_whole_and_in_order(void **state)
{
    struct scene *scene = *state;
    _cleanup_buffer_ struct buffer buffer = {0};
    struct transport_message read, first = failed_message(1), second = failed_message(2);

    assert_int_equal(transport_message_encode(&first, &buffer), 0);
    for (size_t i = 0; i < buffer.len; i++) {
        assert_int_equal(transport_stream_read(&scene->stream, &read), 0);
        assert_int_equal(send(scene->other, buffer.data + i, 1, 0), 1);
    }
    while (scene->stream.body_len == 0)
        assert_int_equal(transport_stream_read(&scene->stream, &read), 0);
    assert_int_equal(transport_stream_read(&scene->stream, &read), 1);
    assert_int_equal(read.serial, 1);

    assert_int_equal(transport_message_encode(&second, &buffer), 0);
    assert_int_equal(send(scene->other, buffer.data, buffer.len, 0), buffer.len);
    for (uint32_t serial = 1; serial <= 2; serial++) {
        assert_int_equal(transport_stream_read(&scene->stream, &read), 1);
        assert_int_equal(read.serial, serial);
    }
    assert_int_equal(transport_stream_read(&scene->stream, &read), 0);
}

static void an_end_in_the_middle_of_a_message_is_an_end(void **state)
{
    struct scene *scene = *state;
    struct transport_message read;

    assert_int_equal(send(scene->other, "\0\0\0\5\4", 5, 0), 5);
    close(scene->other);
    scene->other = -1;
    assert_int_equal(transport_stream_read(&scene->stream, &read), 0);
    assert_int_equal(transport_stream_read(&scene->stream, &read), -ECONNRESET);
}

static void a_length_beyond_the_limit_takes_no_memory(void **state)
{
    struct scene *scene = *state;
    struct transport_message read;

    assert_int_equal(send(scene->other, "\xff\xff\xff\xff", 4, 0), 4);
    assert_int_equal(transport_stream_read(&scene->stream, &read), -EBADMSG);
    assert_int_equal(scene->stream.body.capacity, 0);
}

static void what_was_only_announced_takes_one_step_of_memory(void **state)
{
    struct scene *scene = *state;
    struct transport_message read;
    const uint32_t len = TRANSPORT_MESSAGE_BYTES_MAX;
    const uint8_t head[] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len};

    assert_int_equal(send(scene->other, head, sizeof(head), 0), sizeof(head));
    assert_int_equal(transport_stream_read(&scene->stream, &read), 0);
    assert_int_equal(transport_stream_read(&scene->stream, &read), 0);
    assert_true(scene->stream.body.capacity <= TRANSPORT_READ_BYTES);
}

static void what_the_other_end_does_not_take_is_kept_and_sent_later(void **state)
{
    static char body[200 * 1024];
    struct scene *scene = *state;
    struct transport_stream other = {.fd = scene->other};
    struct transport_message message = {.kind = TRANSPORT_RESPONSE, .slot = 1}, read;
    uint32_t written = 0, got = 0;

    message.response = (struct transport_response){.status = 200, .body = bytes_of(body, sizeof(body))};
    while (written < 8) {
        message.serial = written++;
        assert_int_equal(transport_stream_write(&scene->stream, &message), 0);
    }
    assert_true(transport_stream_has_waiting(&scene->stream));
    while (got < written) {
        int r = transport_stream_read(&other, &read);
        assert_true(r >= 0);
        if (r == 1) {
            assert_int_equal(read.serial, got++);
            assert_int_equal(read.response.body.len, sizeof(body));
        }
        assert_int_equal(transport_stream_flush(&scene->stream), 0);
    }
    assert_false(transport_stream_has_waiting(&scene->stream));
    transport_stream_done(&other);
}

static void an_end_that_never_reads_is_given_up_at_the_bound(void **state)
{
    static char body[TRANSPORT_REQUEST_BODY_MAX];
    struct scene *scene = *state;
    struct transport_message message = {.kind = TRANSPORT_REQUEST};
    unsigned written = 0;
    int r;

    message.request =
        (struct transport_request){.method = "POST", .url = "http://x", .body = bytes_of(body, sizeof(body))};
    while ((r = transport_stream_write(&scene->stream, &message)) == 0 && written < 1000)
        written++;
    assert_int_equal(r, -ENOBUFS);
    assert_true(written >= TRANSPORT_SLOTS_MAX);
    assert_true(scene->stream.waiting.len <=
                TRANSPORT_WAITING_BYTES_MAX + TRANSPORT_MESSAGE_BYTES_MAX + TRANSPORT_LENGTH_BYTES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(messages_in_pieces_and_together_come_whole_and_in_order, begin, end),
        cmocka_unit_test_setup_teardown(an_end_in_the_middle_of_a_message_is_an_end, begin, end),
        cmocka_unit_test_setup_teardown(a_length_beyond_the_limit_takes_no_memory, begin, end),
        cmocka_unit_test_setup_teardown(what_was_only_announced_takes_one_step_of_memory, begin, end),
        cmocka_unit_test_setup_teardown(what_the_other_end_does_not_take_is_kept_and_sent_later, begin, end),
        cmocka_unit_test_setup_teardown(an_end_that_never_reads_is_given_up_at_the_bound, begin, end),
    };

    return cmocka_run_group_tests_name("transport_stream", tests, NULL, NULL);
}
