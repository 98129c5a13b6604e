/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of proto/evidence.h: the file of tests/vectors/evidence.tsv, and one built here of which a part is
 * forged as well as a forger without the keys can.
 */
#include "tests/unit/proto/message_samples.h"

#include "proto/evidence.h"
#include "proto/merkle.h"

#include <errno.h>

#define BUDGET (256u * 1024u)
#define LOG_RECORDS 5u
#define RECORD_SEQ 3u
#define RECEIPT_TIME_S UINT64_C(1795430099)

static struct verify_key server_verify_key(void)
{
    return sample_server_key().public;
}

/* What `patrol verify` does with a file: the head, the photos' bytes, and nothing behind them. */
static int verify_file(struct bytes file, const struct verify_key *server, enum evidence_verdict *ret)
{
    _cleanup_arena_ struct arena arena;
    struct evidence_facts facts;
    struct evidence evidence;
    struct cursor cursor;
    size_t offset;
    int r;

    arena_init(&arena, BUDGET);
    r = evidence_head_decode(file, &arena, &evidence, &offset);
    if (r < 0)
        return r;
    assert_true(offset <= file.len);
    r = evidence_check(&evidence, server, &arena, &facts);
    if (r < 0)
        return r;
    cursor = cursor_of(bytes_of(file.data + offset, file.len - offset));
    for (size_t i = 0; i < evidence.blob_count && facts.verdict == EVIDENCE_GENUINE; i++) {
        struct sha256 hash = sha256_of(cursor_take(&cursor, (size_t)evidence.blob_sizes[i]));

        if (cursor.failed || !sha256_equal(&hash, &evidence.blobs[i]))
            facts.verdict = EVIDENCE_PHOTO_ALTERED;
    }
    if (facts.verdict == EVIDENCE_GENUINE && cursor_left(&cursor) > 0)
        return -EBADMSG;
    *ret = facts.verdict;
    return 0;
}

static void take_vector_file(struct buffer *ret)
{
    struct vector_file vectors = vector_open("tests/vectors/evidence.tsv");

    assert_true(vector_next(&vectors, "evidence"));
    buffer_put_bytes(ret, vector_bytes(&vectors, 1));
    vector_close(&vectors);
}

static void the_independent_file_is_genuine(void **state)
{
    struct verify_key server = server_verify_key();
    _cleanup_buffer_ struct buffer file = {0}, head = {0};
    _cleanup_arena_ struct arena arena;
    enum evidence_verdict verdict;
    struct evidence_facts facts;
    struct evidence evidence;
    struct sha256 leaf;
    struct uuid id;
    size_t offset;

    take_vector_file(&file);
    assert_int_equal(verify_file(buffer_bytes(&file), &server, &verdict), 0);
    assert_int_equal(verdict, EVIDENCE_GENUINE);

    arena_init(&arena, BUDGET);
    assert_int_equal(evidence_head_decode(buffer_bytes(&file), &arena, &evidence, &offset), 0);
    assert_int_equal(evidence_check(&evidence, &server, &arena, &facts), 0);
    assert_int_equal(facts.receipt_size, 7);
    assert_int_equal(facts.receipt_time_s, RECEIPT_TIME_S);
    assert_bytes_equal(facts.certificate.name, bytes_of_text("grid 12 西"));
    assert_int_equal(facts.record.kind, RECORD_FINDING);
    assert_bytes_equal(facts.record.finding.note, bytes_of_text("盲道破损"));
    leaf = merkle_leaf(evidence.record);
    id = record_public_id(&sample_log, 3, &leaf);
    assert_true(uuid_equal(&facts.id, &id));

    assert_int_equal(evidence_head_encode(&evidence, &head), 0);
    assert_int_equal(head.len, offset);
    assert_memory_equal(head.data, file.data, offset);
}

static void no_bit_of_the_file_can_change_unnoticed(void **state)
{
    struct verify_key server = server_verify_key();
    _cleanup_buffer_ struct buffer file = {0};

    take_vector_file(&file);
    for (size_t bit = 0; bit < file.len * 8; bit++) {
        enum evidence_verdict verdict = EVIDENCE_GENUINE;

        file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (verify_file(buffer_bytes(&file), &server, &verdict) == 0 && verdict == EVIDENCE_GENUINE)
            fail_msg("bit %zu of byte %zu can change", bit % 8, bit / 8);
        file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void a_file_cut_anywhere_is_not_genuine(void **state)
{
    struct verify_key server = server_verify_key();
    _cleanup_buffer_ struct buffer file = {0};

    take_vector_file(&file);
    for (size_t len = 0; len < file.len; len++) {
        uint8_t *cut = malloc(len > 0 ? len : 1);
        enum evidence_verdict verdict = EVIDENCE_GENUINE;

        assert_non_null(cut);
        memcpy(cut, file.data, len);
        assert_true(verify_file(bytes_of(cut, len), &server, &verdict) < 0 || verdict != EVIDENCE_GENUINE);
        free(cut);
    }
    buffer_put_u8(&file, 0);
    enum evidence_verdict verdict;
    assert_int_equal(verify_file(buffer_bytes(&file), &server, &verdict), -EBADMSG);
}

/* A file of a log of five records, of which the one at RECORD_SEQ is the subject. */
struct built {
    struct samples samples;
    struct buffer records[LOG_RECORDS], receipt, certificate;
    struct sha256 leaves[LOG_RECORDS], proof[MERKLE_DEPTH_MAX], blobs[3];
    uint64_t blob_sizes[3];
    struct evidence evidence;
};

static void built_done(struct built *built)
{
    samples_done(&built->samples);
    for (size_t i = 0; i < LOG_RECORDS; i++)
        buffer_done(&built->records[i]);
    buffer_done(&built->receipt);
    buffer_done(&built->certificate);
}
#define _cleanup_built_ _cleanup_(built_done)

static int read_leaves(void *context, uint64_t first, size_t count, struct sha256 *ret)
{
    memcpy(ret, (struct sha256 *)context + first, count * sizeof(*ret));
    return 0;
}

static int read_no_tiles(void *context, uint64_t first, size_t count, struct sha256 *ret)
{
    return -ENOSYS;
}

static void sign_certificate(
    struct built *built, const char *authority, const struct sign_key *device, const struct sign_key *server)
{
    struct device_certificate certificate = {
        .authority = bytes_of_text(authority),
        .tenant = bytes_of_text("default"),
        .device = sample_device(),
        .issued_ms = SAMPLE_WALL_MS,
    };

    memcpy(certificate.public_key, device->public.public_key, SIGN_PUBLIC_BYTES);
    buffer_clear(&built->certificate);
    assert_int_equal(device_certificate_sign(&certificate, server, &built->certificate), 0);
    built->evidence.certificate = buffer_bytes(&built->certificate);
}

static void sign_receipt(
    struct built *built, const struct uuid *log, const struct sign_key *device, const struct sign_key *server)
{
    struct merkle_source source = {.leaves = read_leaves, .tiles = read_no_tiles, .context = built->leaves};
    struct checkpoint checkpoint = {.size = LOG_RECORDS};
    _cleanup_buffer_ struct buffer note = {0};

    assert_int_equal(origin_format("gridpatrol.example", "default", log, checkpoint.origin), 0);
    assert_int_equal(merkle_root_at(&source, LOG_RECORDS, &checkpoint.root), 0);
    assert_int_equal(
        merkle_prove_inclusion(&source, RECORD_SEQ, LOG_RECORDS, built->proof, &built->evidence.proof_count),
        0);
    built->evidence.proof = built->proof;
    assert_int_equal(checkpoint_sign(&checkpoint, device, &note), 0);
    buffer_clear(&built->receipt);
    assert_int_equal(receipt_cosign(buffer_bytes(&note), server, RECEIPT_TIME_S, &built->receipt), 0);
    built->evidence.receipt = buffer_bytes(&built->receipt);
}

/* Puts `bytes` at RECORD_SEQ and signs anew, with the genuine keys. */
static void build_over(struct built *built, struct bytes bytes)
{
    struct sign_key device = sample_device_key(), server = sample_server_key();

    buffer_clear(&built->records[RECORD_SEQ]);
    buffer_put_bytes(&built->records[RECORD_SEQ], bytes);
    for (size_t i = 0; i < LOG_RECORDS; i++)
        built->leaves[i] = merkle_leaf(buffer_bytes(&built->records[i]));
    built->evidence.log = sample_log;
    built->evidence.seq = RECORD_SEQ;
    built->evidence.record = buffer_bytes(&built->records[RECORD_SEQ]);
    sign_certificate(built, "gridpatrol.example", &device, &server);
    sign_receipt(built, &sample_log, &device, &server);
}

static void build_over_sample(struct built *built, enum sample sample)
{
    _cleanup_buffer_ struct buffer encoded = {0};

    assert_int_equal(record_encode(&built->samples.records[sample], &encoded), 0);
    build_over(built, buffer_bytes(&encoded));
}

static void built_init(struct built *ret)
{
    *ret = (struct built){0};
    samples_init(&ret->samples);
    for (size_t i = 0; i < LOG_RECORDS; i++)
        buffer_printf(&ret->records[i], "record %zu", i);
    ret->blobs[0] = sample_hash("photo");
    ret->blobs[1] = sample_hash("preview");
    ret->blobs[2] = sample_hash("second photo");
    ret->blob_sizes[0] = 2200000;
    ret->blob_sizes[1] = 23999;
    ret->blob_sizes[2] = 70;
    ret->evidence.blobs = ret->blobs;
    ret->evidence.blob_sizes = ret->blob_sizes;
    ret->evidence.blob_count = 3;
    build_over_sample(ret, SAMPLE_FINDING);
}

static void assert_verdict(const struct evidence *evidence, enum evidence_verdict expected)
{
    struct verify_key server = server_verify_key();
    struct evidence_facts facts;
    _cleanup_arena_ struct arena arena;

    arena_init(&arena, BUDGET);
    assert_int_equal(evidence_check(evidence, &server, &arena, &facts), 0);
    if (facts.verdict != expected)
        fail_msg("%s, not %s", evidence_verdict_text(facts.verdict), evidence_verdict_text(expected));
}

static void findings_amendments_and_withdrawals_are_genuine(void **state)
{
    _cleanup_built_ struct built built;

    built_init(&built);
    assert_verdict(&built.evidence, EVIDENCE_GENUINE);
    build_over_sample(&built, SAMPLE_AMENDMENT);
    assert_verdict(&built.evidence, EVIDENCE_GENUINE);
    built.evidence.blob_count = 0;
    build_over_sample(&built, SAMPLE_WITHDRAWAL);
    assert_verdict(&built.evidence, EVIDENCE_GENUINE);
}

static void a_rehomed_finding_has_the_id_of_where_it_stood_first(void **state)
{
    struct verify_key server = server_verify_key();
    _cleanup_built_ struct built built;
    _cleanup_arena_ struct arena arena;
    struct evidence_facts facts;
    struct sha256 first_leaf;
    struct uuid first_id;

    built_init(&built);
    built.evidence.blob_count = 0;
    build_over_sample(&built, SAMPLE_REHOMED);
    arena_init(&arena, BUDGET);
    assert_int_equal(evidence_check(&built.evidence, &server, &arena, &facts), 0);
    assert_int_equal(facts.verdict, EVIDENCE_GENUINE);
    assert_int_equal(facts.record.kind, RECORD_FINDING);
    first_leaf = merkle_leaf(buffer_bytes(&built.samples.inner));
    first_id = record_public_id(&sample_other_log, 41, &first_leaf);
    assert_true(uuid_equal(&facts.id, &first_id));
}

static void a_certificate_that_this_server_did_not_give_is_bad(void **state)
{
    struct sign_key device = sample_device_key(), server = sample_server_key(), other = sample_server_key();
    _cleanup_built_ struct built built;
    struct evidence evidence;

    built_init(&built);
    sign_certificate(&built, "gridpatrol.example", &device, &device);
    assert_verdict(&built.evidence, EVIDENCE_BAD_CERTIFICATE);
    sign_certificate(&built, "another.example", &device, &server);
    assert_verdict(&built.evidence, EVIDENCE_BAD_CERTIFICATE);
    sign_certificate(&built, "", &device, &server);
    assert_verdict(&built.evidence, EVIDENCE_BAD_CERTIFICATE);
    sign_certificate(&built, "gridpatrol.example", &device, &server);
    assert_verdict(&built.evidence, EVIDENCE_GENUINE);

    evidence = built.evidence;
    evidence.certificate = bytes_of_text("no envelope");
    assert_verdict(&evidence, EVIDENCE_BAD_CERTIFICATE);
    evidence.certificate.len = 0;
    assert_verdict(&evidence, EVIDENCE_BAD_CERTIFICATE);

    /* The verifier's key is another one than the file's server has. */
    struct evidence_facts facts;
    _cleanup_arena_ struct arena arena;
    other.public.public_key[0] ^= 1;
    arena_init(&arena, BUDGET);
    assert_int_equal(evidence_check(&built.evidence, &other.public, &arena, &facts), 0);
    assert_int_equal(facts.verdict, EVIDENCE_BAD_CERTIFICATE);
    assert_int_equal(facts.receipt_size, 0);
}

static void a_receipt_of_another_device_server_or_log_is_bad(void **state)
{
    struct sign_key device = sample_device_key(), server = sample_server_key(), thief = sample_device_key();
    uint8_t seed[SIGN_SEED_BYTES] = {7};
    _cleanup_built_ struct built built;
    struct evidence evidence;

    built_init(&built);
    sign_key_from_seed(device.public.name, seed, &thief);
    sign_receipt(&built, &sample_log, &thief, &server);
    assert_verdict(&built.evidence, EVIDENCE_BAD_RECEIPT);
    sign_key_from_seed(server.public.name, seed, &thief);
    sign_receipt(&built, &sample_log, &device, &thief);
    assert_verdict(&built.evidence, EVIDENCE_BAD_RECEIPT);
    sign_receipt(&built, &sample_other_log, &device, &server);
    assert_verdict(&built.evidence, EVIDENCE_BAD_RECEIPT);
    sign_receipt(&built, &sample_log, &device, &server);
    assert_verdict(&built.evidence, EVIDENCE_GENUINE);

    evidence = built.evidence;
    evidence.log = sample_other_log;
    assert_verdict(&evidence, EVIDENCE_BAD_RECEIPT);
    evidence = built.evidence;
    evidence.receipt = bytes_of_text("no note");
    assert_verdict(&evidence, EVIDENCE_BAD_RECEIPT);
}

static void a_receipt_that_the_server_did_not_cosign_is_bad(void **state)
{
    struct merkle_source source = {.leaves = read_leaves, .tiles = read_no_tiles};
    struct checkpoint checkpoint = {.size = LOG_RECORDS};
    struct sign_key device = sample_device_key();
    _cleanup_buffer_ struct buffer note = {0};
    _cleanup_built_ struct built built;

    built_init(&built);
    source.context = built.leaves;
    assert_int_equal(merkle_root_at(&source, LOG_RECORDS, &checkpoint.root), 0);
    assert_int_equal(origin_format("gridpatrol.example", "default", &sample_log, checkpoint.origin), 0);
    assert_int_equal(checkpoint_sign(&checkpoint, &device, &note), 0);
    built.evidence.receipt = buffer_bytes(&note);
    assert_verdict(&built.evidence, EVIDENCE_BAD_RECEIPT);
}

static void a_record_that_the_log_does_not_hold_there_is_not_included(void **state)
{
    _cleanup_buffer_ struct buffer other = {0};
    _cleanup_built_ struct built built;
    struct evidence evidence;

    built_init(&built);
    built.samples.records[SAMPLE_FINDING].finding.severity = SEVERITY_MINOR;
    assert_int_equal(record_encode(&built.samples.records[SAMPLE_FINDING], &other), 0);
    evidence = built.evidence;
    evidence.record = buffer_bytes(&other);
    assert_verdict(&evidence, EVIDENCE_NOT_INCLUDED);

    evidence = built.evidence;
    evidence.seq = 2;
    assert_verdict(&evidence, EVIDENCE_NOT_INCLUDED);
    evidence.seq = LOG_RECORDS;
    assert_verdict(&evidence, EVIDENCE_NOT_INCLUDED);
    evidence = built.evidence;
    evidence.proof_count--;
    assert_verdict(&evidence, EVIDENCE_NOT_INCLUDED);
    built.proof[0].b[31] ^= 1;
    assert_verdict(&built.evidence, EVIDENCE_NOT_INCLUDED);
}

static void a_record_that_is_no_finding_is_bad(void **state)
{
    static const enum sample others[] = {SAMPLE_OPENED, SAMPLE_DEVICE_EVENT, SAMPLE_CLOSED};
    _cleanup_buffer_ struct buffer inner = {0};
    _cleanup_built_ struct built built;

    built_init(&built);
    built.evidence.blob_count = 0;
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        build_over_sample(&built, others[i]);
        assert_verdict(&built.evidence, EVIDENCE_BAD_RECORD);
    }
    build_over(&built, bytes_of_text("\xff not a record"));
    assert_verdict(&built.evidence, EVIDENCE_BAD_RECORD);

    /* Rehomed: what is no finding, and what was rehomed before. */
    assert_int_equal(record_encode(&built.samples.records[SAMPLE_CLOSED], &inner), 0);
    built.samples.records[SAMPLE_REHOMED].rehomed.record = buffer_bytes(&inner);
    build_over_sample(&built, SAMPLE_REHOMED);
    assert_verdict(&built.evidence, EVIDENCE_BAD_RECORD);
    buffer_clear(&inner);
    built.samples.records[SAMPLE_REHOMED].rehomed.record = buffer_bytes(&built.samples.inner);
    assert_int_equal(record_encode(&built.samples.records[SAMPLE_REHOMED], &inner), 0);
    built.samples.records[SAMPLE_REHOMED].rehomed.record = buffer_bytes(&inner);
    build_over_sample(&built, SAMPLE_REHOMED);
    assert_verdict(&built.evidence, EVIDENCE_BAD_RECORD);
}

static void each_photo_and_preview_must_be_there(void **state)
{
    _cleanup_built_ struct built built;

    for (size_t i = 0; i < 3; i++) {
        built_init(&built);
        built.blobs[i] = built.blobs[2];
        built.blob_sizes[i] = built.blob_sizes[2];
        built.evidence.blob_count = 2;
        assert_verdict(&built.evidence, EVIDENCE_PHOTO_MISSING);
        built_done(&built);
    }
    built_init(&built);
    built.evidence.blob_count = 0;
    assert_verdict(&built.evidence, EVIDENCE_PHOTO_MISSING);
}

static void photos_of_another_size_or_of_nobody_are_altered(void **state)
{
    _cleanup_built_ struct built built;

    built_init(&built);
    for (size_t i = 0; i < 3; i++) {
        built.blob_sizes[i]++;
        assert_verdict(&built.evidence, EVIDENCE_PHOTO_ALTERED);
        built.blob_sizes[i]--;
    }
    build_over_sample(&built, SAMPLE_WITHDRAWAL);
    assert_verdict(&built.evidence, EVIDENCE_PHOTO_ALTERED);
    build_over_sample(&built, SAMPLE_FINDING_WITHOUT_POSITION);
    assert_verdict(&built.evidence, EVIDENCE_PHOTO_ALTERED);
}

static void a_budget_that_is_too_small_is_said_so(void **state)
{
    struct verify_key server = server_verify_key();
    _cleanup_buffer_ struct buffer file = {0};
    int r = -ENOBUFS;

    take_vector_file(&file);
    for (size_t budget = 0; r < 0; budget++) {
        _cleanup_arena_ struct arena arena;
        struct evidence_facts facts;
        struct evidence evidence;
        size_t offset;

        arena_init(&arena, budget);
        r = evidence_head_decode(buffer_bytes(&file), &arena, &evidence, &offset);
        if (r == 0)
            r = evidence_check(&evidence, &server, &arena, &facts);
        assert_true(r == 0 || r == -ENOBUFS);
        assert_true(budget <= arena_budget_for(file.len));
    }
}

static void what_is_over_a_limit_is_not_encoded(void **state)
{
    static struct sha256 hashes[EVIDENCE_BLOBS_MAX + 1];
    static uint64_t sizes[EVIDENCE_BLOBS_MAX + 1];
    _cleanup_buffer_ struct buffer head = {0};
    struct evidence evidence = {.blobs = hashes, .blob_sizes = sizes, .blob_count = 1};

    assert_int_equal(evidence_head_encode(&evidence, &head), -EMSGSIZE); /* a blob of no bytes */
    sizes[0] = BLOB_BYTES_MAX + 1;
    assert_int_equal(evidence_head_encode(&evidence, &head), -EMSGSIZE);
    evidence.blob_count = EVIDENCE_BLOBS_MAX + 1;
    assert_int_equal(evidence_head_encode(&evidence, &head), -EMSGSIZE);
    evidence = (struct evidence){.seq = LOG_SIZE_MAX};
    assert_int_equal(evidence_head_encode(&evidence, &head), -EMSGSIZE);
    evidence = (struct evidence){.proof = hashes, .proof_count = MERKLE_DEPTH_MAX + 1};
    assert_int_equal(evidence_head_encode(&evidence, &head), -EMSGSIZE);
    assert_int_equal(head.len, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_independent_file_is_genuine),
        cmocka_unit_test(no_bit_of_the_file_can_change_unnoticed),
        cmocka_unit_test(a_file_cut_anywhere_is_not_genuine),
        cmocka_unit_test(findings_amendments_and_withdrawals_are_genuine),
        cmocka_unit_test(a_rehomed_finding_has_the_id_of_where_it_stood_first),
        cmocka_unit_test(a_certificate_that_this_server_did_not_give_is_bad),
        cmocka_unit_test(a_receipt_of_another_device_server_or_log_is_bad),
        cmocka_unit_test(a_receipt_that_the_server_did_not_cosign_is_bad),
        cmocka_unit_test(a_record_that_the_log_does_not_hold_there_is_not_included),
        cmocka_unit_test(a_record_that_is_no_finding_is_bad),
        cmocka_unit_test(each_photo_and_preview_must_be_there),
        cmocka_unit_test(photos_of_another_size_or_of_nobody_are_altered),
        cmocka_unit_test(a_budget_that_is_too_small_is_said_so),
        cmocka_unit_test(what_is_over_a_limit_is_not_encoded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
