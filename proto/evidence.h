/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Evidence of one record: its bytes, inclusion proof, receipt, device certificate and photos, in one file
 * that is checked offline. proto/README.md, "Evidence file". Pure: the file's bytes are arguments.
 *
 *   "gridpatrol evidence 1\n" | u32 length of the head | EvidenceHead | bytes of each blob, in the head's
 * order
 */
#pragma once

#include "proto/trust.h"

struct evidence {
    struct uuid log;
    uint64_t seq;
    struct bytes record;
    const struct sha256 *proof;
    size_t proof_count;
    struct bytes receipt;
    struct bytes certificate;
    const struct sha256 *blobs;
    const uint64_t *blob_sizes;
    size_t blob_count;
    struct bytes trust; /* list of the successors of the centre's receipt keys, or empty */
};

/* Appends magic, length and head; the caller writes the blobs' bytes behind it. */
int evidence_head_encode(const struct evidence *evidence, struct buffer *ret);
/* Parses the head at the start of a file and says where the first blob starts. -EBADMSG, -ENOBUFS, -ENOMEM.
 */
int evidence_head_decode(
    struct bytes file_start, struct arena *arena, struct evidence *ret, size_t *ret_blobs_offset);

enum evidence_verdict {
    EVIDENCE_GENUINE,
    EVIDENCE_BAD_TRUST,       /* the successors of this server key, which the file names, do not hold */
    EVIDENCE_BAD_CERTIFICATE, /* not signed by this server key or a successor, or of another authority */
    EVIDENCE_BAD_RECEIPT,     /* device's or server's signature does not hold, or another log */
    EVIDENCE_NOT_INCLUDED,    /* the record is not in the receipted log at this position */
    EVIDENCE_BAD_RECORD,      /* the record cannot be read, or is no finding */
    EVIDENCE_PHOTO_MISSING,   /* the record names a photo that the file lacks */
    EVIDENCE_PHOTO_ALTERED,   /* a photo that the record does not name, or names with another size; or its
                                 bytes do not match their hash (told by the caller, who hashes them) */
};
const char *evidence_verdict_text(enum evidence_verdict verdict);

struct evidence_facts {
    enum evidence_verdict verdict;
    struct device_certificate certificate;
    struct record record;
    struct uuid id;
    uint64_t receipt_size;
    uint64_t receipt_time_s;
};

/* Checks everything but the photos' bytes. `server` is the key that the checker has pinned: it may have
 * successors since, to which the file leads. 0 with a verdict, or -ENOBUFS, -ENOMEM. Facts that were not
 * reached stay zero. */
int evidence_check(const struct evidence *evidence, const struct verify_key *server, struct arena *arena,
    struct evidence_facts *ret);
