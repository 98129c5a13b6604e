/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One direction of the lab's link: what becomes of each packet, and when. A queue that drops at its tail, a
 * transmitter of some rate, loss on the way, a delay. Packets never overtake each other.
 *
 *   offered ──► queue ──► transmitter ──► (lost?) ──► in flight for the delay ──► carried
 *          └► overflowed      └──────────── cut, all of it ─────────┘
 *
 * Called by tests/lab/link.c and its unit test. Pure: the time is an argument, in nanoseconds of any clock
 * that never goes back; what is told of an earlier time than before is taken for now.
 */
#pragma once

#include "base/bytes.h"

#define LINK_NEVER UINT64_MAX
#define LINK_PACKET_LEN_MAX 65535u
/* Packets that one direction holds at most, waiting or in flight; the next one counts as overflowed. */
#define LINK_PACKETS_MAX 65536u
#define LINK_RATE_BPS_MAX UINT64_C(10000000000)
#define LINK_DELAY_NS_MAX UINT64_C(60000000000)
#define LINK_QUEUE_BYTES_MAX UINT64_C(1073741824)

struct link_shape {
    uint64_t rate_bps; /* bits of IP packets a second; 0: sending takes no time */
    uint64_t delay_ns; /* from the last bit's sending to its arrival */
    double loss;       /* 0 … 1: the chance of each packet to be lost after it was sent */
    /* A packet that would make what is not wholly sent exceed this is dropped; an empty queue takes any. */
    uint64_t queue_bytes;
};

struct link_count {
    uint64_t packets, bytes;
};

/* offered = carried + lost + overflowed + cut + waiting, in packets and in bytes. */
struct link_counters {
    struct link_count offered, carried, lost, overflowed;
    struct link_count cut;     /* dropped by an outage, or by an interface that was down */
    struct link_count waiting; /* in the queue, in the transmitter or in flight */
};

struct link_model;

/* 0, -EINVAL when something of the shape is out of its range, or -ENOMEM. The same seed loses the same ones
 * of the packets that are sent, counted from the first. */
int link_model_new(const struct link_shape *shape, uint64_t seed, struct link_model **ret);
void link_model_free(struct link_model *model);
/* A new shape, for packets whose sending has not begun; the delay and loss also for the one being sent.
 * 0 or -EINVAL. */
int link_model_set(struct link_model *model, uint64_t now_ns, const struct link_shape *shape);
struct link_shape link_model_shape(const struct link_model *model);
/* An outage begins: all that waits is dropped, and so is all that is offered until it ends. */
void link_model_cut(struct link_model *model, uint64_t now_ns, bool is_cut);
/* A packet comes to the link; its bytes are copied. 0, also when it was dropped; -EMSGSIZE or -ENOMEM. */
int link_model_offer(struct link_model *model, uint64_t now_ns, struct bytes packet);
/* The next packet that has arrived by now; borrowed until `link_model_pass`, which must follow. */
bool link_model_arrived(struct link_model *model, uint64_t now_ns, struct bytes *ret);
/* Ends with the packet that arrived: it was carried, or the far interface did not take it. */
void link_model_pass(struct link_model *model, bool taken);
/* When something is to be done next (a packet is sent or arrives), or LINK_NEVER. */
uint64_t link_model_next_ns(const struct link_model *model);
struct link_counters link_model_counters(const struct link_model *model);

/* Outages that come again and again: of each period, counted from `from_ns`, the last part is cut. */
struct link_schedule {
    uint64_t from_ns, every_ns, for_ns; /* every_ns 0: no outage */
};

/* 0, or -EINVAL unless 0 < for < every, or every is 0. */
int link_schedule_check(const struct link_schedule *schedule);
bool link_schedule_is_cut(const struct link_schedule *schedule, uint64_t now_ns);
/* The first beginning or end of an outage that is later than now, or LINK_NEVER. */
uint64_t link_schedule_next_ns(const struct link_schedule *schedule, uint64_t now_ns);
