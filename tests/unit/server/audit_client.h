/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of audit and repair share: a centre with a handheld whose log it holds, its audits, and its
 * repairs with and without proofs. See client.h.
 */
#pragma once

#include "tests/unit/server/client.h"

static inline int start(void **state)
{
    *state = centre_new();
    return 0;
}

static inline int stop(void **state)
{
    centre_free(*state);
    return 0;
}

/* ---- the handheld's side ---- */

static inline int give_leaves(void *context, uint64_t first, size_t count, struct sha256 *ret)
{
    const struct handheld *handheld = context;

    memcpy(ret, handheld->leaves + first, count * sizeof(*ret));
    return 0;
}

static inline int give_tiles(void *context, uint64_t first, size_t count, struct sha256 *ret)
{
    const struct handheld *handheld = context;

    for (size_t i = 0; i < count; i++)
        ret[i] = merkle_root_of(handheld->leaves + (first + i) * TILE_LEAVES, TILE_LEAVES);
    return 0;
}

static inline void audit(
    struct centre *centre, struct handheld *handheld, enum audit_level level, struct answered *ret)
{
    const struct audit_request request = {.level = level};

    audit_with(centre, handheld, &request, ret);
    assert_false(ret->is_refused);
}

/* Sends the runs again, each with its proof in the tree of all records. */
static inline void repair_with(struct centre *centre, struct handheld *handheld,
    const struct repair_request *asked, const struct run *runs, size_t run_count, struct answered *ret)
{
    struct merkle_source source = {.leaves = give_leaves, .tiles = give_tiles, .context = handheld};
    struct repair_run *sent = calloc(run_count + 1, sizeof(*sent));
    struct sha256 *proofs = calloc((run_count + 1) * MERKLE_PROOF_MAX, sizeof(*proofs));
    struct repair_request request = *asked;
    _cleanup_buffer_ struct buffer plain = {0}, body = {0};
    struct sha256 sha256;

    request_id(request.request_id);
    request.log = handheld->log;
    request.size = handheld->count;
    for (size_t i = 0; i < run_count; i++) {
        struct sha256 *proof = proofs + i * MERKLE_PROOF_MAX;

        sent[i] = (struct repair_run){.first_seq = runs[i].first,
            .records = handheld->records + runs[i].first,
            .record_count = runs[i].count,
            .proof = proof};
        assert_int_equal(merkle_prove_range(&source, runs[i].first, runs[i].count, handheld->count, proof,
                             &sent[i].proof_count),
            0);
    }
    request.runs = sent;
    request.run_count = run_count;
    assert_int_equal(repair_request_encode(&request, &plain), 0);
    seal_request(handheld, PAYLOAD_REPAIR_REQUEST, buffer_bytes(&plain), &body, &sha256);
    send_body(centre, SERVICE_REPAIR, buffer_bytes(&body), &sha256, ret);
    free(sent);
    free(proofs);
}

static inline void repair(struct centre *centre, struct handheld *handheld, const struct run *runs,
    size_t count, struct answered *ret)
{
    const struct repair_request request = {0};

    repair_with(centre, handheld, &request, runs, count, ret);
    assert_false(ret->is_refused);
}

/* Sends the runs again without proofs; whether these records, which may have been changed, are taken. */
static inline void repair_bare(struct centre *centre, struct handheld *handheld, const struct run *runs,
    size_t run_count, struct answered *ret)
{
    struct bytes *records = calloc(REPAIR_RECORDS_MAX, sizeof(*records));
    struct repair_request request = {.bare_runs = runs, .bare_run_count = run_count, .bare_records = records};

    for (size_t i = 0; i < run_count; i++)
        for (uint64_t k = 0; k < runs[i].count; k++)
            records[request.bare_record_count++] = handheld->records[runs[i].first + k];
    repair_with(centre, handheld, &request, NULL, 0, ret);
    assert_false(ret->is_refused);
    free(records);
}

static inline void audit_for_bare(struct centre *centre, struct handheld *handheld, struct answered *ret)
{
    const struct audit_request request = {
        .level = AUDIT_PRESENCE, .reads_run_lists = true, .receipt_size = handheld->count};

    audit_with(centre, handheld, &request, ret);
    assert_false(ret->is_refused);
}

static inline void assert_well(struct centre *centre, struct handheld *handheld, enum audit_level level)
{
    _cleanup_answered_ struct answered answered = {0};
    struct sha256 root = merkle_root_of(handheld->leaves, handheld->count);

    audit(centre, handheld, level, &answered);
    assert_int64_equal(answered.audit.size, handheld->count);
    assert_int64_equal(answered.audit.counted, handheld->count);
    assert_int64_equal(answered.audit.next_seq, 0);
    assert_true(answered.audit.has_root);
    assert_memory_equal(answered.audit.root.b, root.b, SHA256_BYTES);
    assert_int_equal(answered.audit.missing_count, 0);
    assert_int_equal(answered.audit.damaged_count, 0);
    assert_int_equal(answered.audit.tile_root_count, 0);
}

static inline struct handheld *handheld_with(struct centre *centre, size_t findings)
{
    struct handheld *handheld = handheld_enrolled(centre);

    append_opened(handheld);
    append_findings(handheld, findings);
    deliver(centre, handheld);
    return handheld;
}
/* Puts other bytes with their right leaf in a record's place: a forger with access to the database. */
static inline void forge_record(struct centre *centre, uint64_t seq)
{
    struct bytes bytes = bytes_of_text("forged");
    struct sha256 leaf = merkle_leaf(bytes);
    char hex[SHA256_TEXT_LEN + 1], sql[256];

    text_hex(leaf.b, SHA256_BYTES, hex);
    snprintf(sql, sizeof(sql),
        "UPDATE records SET bytes = CAST('forged' AS BLOB), leaf = x'%s' WHERE key & 0xffffffffff = %llu",
        hex, (unsigned long long)seq);
    centre_sql(centre, sql);
}
