/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said of a bundle: the receipts that go back on a data carrier. Used by server/service_bundle.c
 * only, which takes what the bundle carries; must not know how bundles are written.
 *
 * Nothing of a receipt is kept from what was taken: each part says what storage holds when it is made.
 */
#pragma once

#include "proto/bundle.h"
#include "server/service_internal.h"

#define BUNDLE_LOGS_MAX 256u /* of which receipts are due at once */

/* A log of which the bundle brought records first_seq .. end_seq - 1. */
struct bundle_log {
    struct uuid id;
    uint64_t first_seq, end_seq;
};

struct receipts_writer {
    struct service *service;
    int (*write)(void *user, struct bytes bytes);
    void *user;
    uint8_t bundle[REQUEST_ID_BYTES];
    struct stored_device device;
    int64_t begun_ms; /* no part says anything older */
    uint32_t part;
    struct bundle_log logs[BUNDLE_LOGS_MAX];
    size_t log_count;
    struct sha256 blobs[BUNDLE_RECEIPTS_BLOBS_MAX];
    size_t blob_count;
    uint64_t quarantined; /* of the records that the bundle brought */
};

/* Begins the file. 0 or what `write` returns. */
int receipts_begin(struct receipts_writer *receipts);
/* Notes what receipts are due for; writes parts when there is much. */
int receipts_note_log(
    struct receipts_writer *receipts, const struct uuid *log, uint64_t first_seq, uint64_t end_seq);
int receipts_note_blob(struct receipts_writer *receipts, const struct sha256 *sha256);
/* Writes all that is due, and the part that says that it is the last. */
int receipts_end(struct receipts_writer *receipts);
