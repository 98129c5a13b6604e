/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One end of the socket between patrol-syncd and patrol-transport: cuts what comes into messages, and keeps
 * what the other end does not take yet. Both ends use it, each on its own loop; it never blocks, and what it
 * keeps is bounded. It does not know what messages mean.
 */
#pragma once

#include "syncd/transport/message.h"

#define TRANSPORT_READ_BYTES (64u * 1024u)
/* Each slot may have an end, or a request, that waits, and as many again that were cancelled. */
#define TRANSPORT_WAITING_BYTES_MAX ((size_t)2 * TRANSPORT_SLOTS_MAX * TRANSPORT_MESSAGE_BYTES_MAX)

struct transport_stream {
    int fd; /* borrowed, non-blocking */
    uint8_t head[TRANSPORT_LENGTH_BYTES];
    size_t head_len;
    size_t body_len; /* of the message that is being read; 0: its length is not known yet */
    struct buffer body;
    struct buffer waiting;
    size_t written; /* of `waiting` */
};

void transport_stream_done(struct transport_stream *stream);
/* Reads what there is, at most TRANSPORT_READ_BYTES of it or one message. 1: a whole message is in
 * `*ret`, which borrows from the stream until the next call; 0: none yet, call again when the socket can be
 * read; -ECONNRESET the other end is gone; -EBADMSG it sends no messages; -ENOMEM. */
int transport_stream_read(struct transport_stream *stream, struct transport_message *ret);
/* Sends a message, or keeps what of it could not be sent. -EMSGSIZE, -ENOMEM (nothing of it is sent),
 * -ENOBUFS the other end does not read, -ECONNRESET. */
int transport_stream_write(struct transport_stream *stream, const struct transport_message *message);
/* Sends what was kept. To be called when the socket can be written and something is kept. -ECONNRESET. */
int transport_stream_flush(struct transport_stream *stream);
bool transport_stream_has_waiting(const struct transport_stream *stream);
