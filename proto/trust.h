/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trust statements: how a centre changes its receipt key and its CAs, so that whoever has pinned one of its
 * keys can follow. proto/README.md, "Successors". Pure.
 *
 *   key 0 ── signs ──► names key 1 ── signs ──► names key 2 ── signs ──► CAs
 *
 * The centre keeps the list of its statements; a handheld keeps what it was given of it, and evidence carries
 * it. Nothing of a list counts that the pinned key, the anchor, does not lead to.
 */
#pragma once

#include "proto/enrolment.h"

struct trust_statement {
    struct bytes authority;
    uint64_t generation;
    bool has_key;
    uint8_t public_key[SIGN_PUBLIC_BYTES];
    int64_t valid_from_ms;
    struct bytes ca_pem; /* without a key */
};

/* Appends the envelope. -EMSGSIZE, -ENOMEM. */
int trust_statement_sign(
    const struct trust_statement *statement, const struct sign_key *key, struct buffer *ret);
/* Appends an envelope to a list of statements. -ENOMEM. */
int trust_list_put(struct bytes envelope, struct buffer *list);

struct trust_key {
    struct verify_key key;
    uint64_t generation;   /* of the statement that names it; 0 of the anchor */
    int64_t valid_from_ms; /* of the anchor 0 */
};

struct trust_item {
    struct bytes envelope;
    uint64_t generation; /* 0: from before the anchor, and not checked */
    bool names_key, says_cas;
};

struct trust {
    struct trust_key keys[TRUST_KEYS_MAX]; /* the anchor, then its successors in order */
    size_t key_count;                      /* at least 1 */
    uint64_t generation;                   /* of the newest statement; 0: there is none */
    struct bytes ca_pem;                   /* as the newest statement says; empty: nothing */
    struct trust_item items[TRUST_STATEMENTS_MAX];
    size_t item_count;
};

/* Trust in the anchor alone. */
void trust_in(const struct verify_key *anchor, struct trust *ret);
/* Follows a list (which may be empty, or two behind one another) from the anchor. Views point into the list
 * and the arena. What comes before the first statement that the anchor signed is passed over without being
 * inflated: it is of times before the anchor. -EBADMSG malformed, out of order, or of another centre;
 * -EKEYREJECTED a statement that is not signed by the newest key before it; -ENOBUFS, -ENOMEM. */
int trust_follow(struct bytes list, const struct verify_key *anchor, struct arena *arena, struct trust *ret);

enum trust_part {
    TRUST_ALL, /* what is worth keeping: all that name a key, the newest word on CAs, and the newest of all */
    TRUST_KEYS, /* only those that name a key: for evidence */
};
/* Appends the list of what is newer than `generation` (0: all, also from before the anchor). -ENOMEM. */
int trust_list_encode(
    const struct trust *trust, uint64_t generation, enum trust_part part, struct buffer *ret);

/* The key with this id, or NULL. */
const struct trust_key *trust_find(const struct trust *trust, const uint8_t key_id[8]);
/* The same for something fresh: NULL also for a key whose successor has taken over by `server_time_ms`. */
const struct trust_key *trust_find_current(
    const struct trust *trust, const uint8_t key_id[8], int64_t server_time_ms);
/* The last key: what is sealed to the centre now can be opened by nobody who stole an older one. */
const struct trust_key *trust_newest(const struct trust *trust);
/* receipt_verify by whichever of the keys cosigned the note. */
int trust_verify_receipt(const struct trust *trust, struct bytes note, const struct verify_key *device,
    struct checkpoint *ret, uint64_t *ret_time_s);
/* device_certificate_verify by whichever of the keys signed it. */
int trust_verify_certificate(
    const struct trust *trust, struct bytes envelope, struct arena *arena, struct device_certificate *ret);
