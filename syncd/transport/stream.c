/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/transport/stream.h"

#include <errno.h>
#include <sys/socket.h>

void transport_stream_done(struct transport_stream *stream)
{
    buffer_done(&stream->body);
    buffer_done(&stream->waiting);
    *stream = (struct transport_stream){.fd = -1};
}

/* ---- reading ---- */

/* Bytes that came, 0 when there are none now. */
static ssize_t receive(const struct transport_stream *stream, void *ret, size_t len)
{
    ssize_t n = recv(stream->fd, ret, len, MSG_DONTWAIT);
    if (n > 0)
        return n;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return -ECONNRESET;
}

static int read_length(struct transport_stream *stream)
{
    ssize_t n = receive(stream, stream->head + stream->head_len, sizeof(stream->head) - stream->head_len);
    if (n < 0)
        return (int)n;
    stream->head_len += (size_t)n;
    if (stream->head_len < sizeof(stream->head))
        return 0;
    buffer_done(&stream->body); /* a large one is not kept for small ones to come */
    return transport_message_length(stream->head, &stream->body_len);
}

/* Room is made for what has come, not for what was announced. */
static int read_body(struct transport_stream *stream)
{
    size_t before = stream->body.len, left = stream->body_len - before;
    size_t step = left < TRANSPORT_READ_BYTES ? left : TRANSPORT_READ_BYTES;
    uint8_t *room = buffer_extend(&stream->body, step);
    if (!room)
        return -ENOMEM;
    ssize_t n = receive(stream, room, step);
    stream->body.len = before + (n > 0 ? (size_t)n : 0);
    return n < 0 ? (int)n : 0;
}

int transport_stream_read(struct transport_stream *stream, struct transport_message *ret)
{
    int r = 0;
    if (stream->body_len == 0)
        r = read_length(stream);
    if (r >= 0 && stream->body_len > 0)
        r = read_body(stream);
    if (r < 0 || stream->body_len == 0 || stream->body.len < stream->body_len)
        return r;
    stream->head_len = stream->body_len = 0;
    r = transport_message_decode(buffer_bytes(&stream->body), ret);
    return r < 0 ? r : 1;
}

/* ---- writing ---- */

bool transport_stream_has_waiting(const struct transport_stream *stream)
{
    return stream->waiting.len > stream->written;
}

int transport_stream_flush(struct transport_stream *stream)
{
    while (transport_stream_has_waiting(stream)) {
        ssize_t n = send(stream->fd, stream->waiting.data + stream->written,
            stream->waiting.len - stream->written, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -ECONNRESET;
        stream->written += (size_t)n;
    }
    buffer_done(&stream->waiting);
    stream->written = 0;
    return 0;
}

int transport_stream_write(struct transport_stream *stream, const struct transport_message *message)
{
    /* What was sent goes first, so that the bound is one of what waits. */
    if (stream->written > 0) {
        stream->waiting.len -= stream->written;
        memmove(stream->waiting.data, stream->waiting.data + stream->written, stream->waiting.len);
        stream->written = 0;
    }
    int r = transport_message_encode(message, &stream->waiting);
    if (r < 0)
        return r;
    if (stream->waiting.len > TRANSPORT_WAITING_BYTES_MAX)
        return -ENOBUFS;
    return transport_stream_flush(stream);
}
