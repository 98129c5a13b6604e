/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Erasure orders as text and in memory: which records and photos the law has turned into hashes. Called by
 * the service, which keeps the text in DATA/orders. Must not know files, storage or clocks. Pure.
 *
 *   order 7 2026-11-24T08:00:00Z
 *   by NAME
 *   reason TEXT
 *   record DEVICE LOG SEQ LEAF
 *   photo DEVICE SHA256
 *
 * A record stands there under each position at which a handheld may hold it: where it was recorded first, and
 * where it was re-homed. With its leaf, as a copied handheld may have written another record there. A line
 * that cannot be read is passed over: nobody but an editor can have made it.
 */
#pragma once

#include "proto/messages.h"

struct order_record {
    struct uuid device;
    struct erased_record record;
    uint64_t order;
};

struct order_blob {
    struct uuid device; /* whose records name it */
    struct sha256 sha256;
    uint64_t order;
};

struct order {
    uint64_t number;
    int64_t time_ms;
    struct bytes by, reason; /* views into the text */
};

/* All of them. The two lists are sorted, by position and by hash, for looking up. */
struct orders {
    struct buffer text;
    struct order *orders;
    size_t count;
    struct order_record *records;
    size_t record_count;
    struct order_blob *blobs;
    size_t blob_count;
};

void orders_done(struct orders *orders);
/* Reads a text, which is copied. -ENOMEM. */
int orders_parse(struct bytes text, struct orders *ret);
/* Appends an order's lines; `by` and `reason` are one line each. */
int order_format(const struct order *order, const struct order_record *records, size_t record_count,
    const struct order_blob *blobs, size_t blob_count, struct buffer *ret);

/* The number of the newest, 0: there is none. */
uint64_t orders_last(const struct orders *orders);
/* The order that has erased the record with this leaf at this position, 0: none. */
uint64_t orders_find_record(
    const struct orders *orders, const struct position_in_log *at, const struct sha256 *leaf);
/* The same for the record with this public id there. */
uint64_t orders_find_id(const struct orders *orders, const struct position_in_log *at, const struct uuid *id);
uint64_t orders_find_blob(const struct orders *orders, const struct sha256 *sha256);
