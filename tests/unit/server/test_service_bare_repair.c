/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of records that are repaired without proofs: server/service_repair.c over SQLite. */
#include "tests/unit/server/audit_client.h"

static void scattered_records_are_named_in_three_bytes_each_and_mended_without_proofs(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 29999);
    _cleanup_answered_ struct answered healthy = {0}, found = {0}, mended = {0};

    audit_for_bare(centre, handheld, &healthy);
    assert_false(healthy.audit.takes_bare_records);
    assert_int_equal(healthy.audit.receipt.len, 0); /* the handheld holds one of this size */
    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff > 0 AND key % 300 = 7");
    audit_for_bare(centre, handheld, &found);
    assert_true(found.audit.takes_bare_records);
    assert_int_equal(found.audit.missing_count, 100);
    assert_true(found.body.len <= healthy.body.len + 100 * 3);

    repair_bare(centre, handheld, found.audit.missing, found.audit.missing_count, &mended);
    assert_int64_equal(mended.repair.records_mended, 100);
    assert_int64_equal(mended.repair.records_refused, 0);
    assert_well(centre, handheld, AUDIT_RECORDS);
    handheld_free(handheld);
}

static void an_older_handheld_is_told_all_in_the_long_form_and_asked_for_proofs(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 299);
    _cleanup_answered_ struct answered found = {0};

    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff = 40");
    audit(centre, handheld, AUDIT_PRESENCE, &found);
    assert_false(found.audit.uses_run_lists);
    assert_false(found.audit.takes_bare_records);
    assert_int_equal(found.audit.missing_count, 1);
    assert_true(found.audit.receipt.len > 0);
    handheld_free(handheld);
}

static void a_forged_bare_record_is_refused_with_all_beside_it(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 599);
    const struct run runs[2] = {{40, 1}, {590, 1}}; /* of a whole tile, and of the last, growing one */
    struct bytes genuine = handheld->records[590];
    _cleanup_answered_ struct answered forged = {0}, mended = {0};

    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff IN (40, 590)");
    handheld->records[590] = bytes_of_text("what was never recorded");
    repair_bare(centre, handheld, runs, 2, &forged);
    assert_int64_equal(forged.repair.records_mended, 0);
    assert_int64_equal(forged.repair.records_refused, 2);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM records"), 598);
    handheld->records[590] = genuine;
    repair_bare(centre, handheld, runs, 2, &mended);
    assert_int64_equal(mended.repair.records_mended, 2);
    assert_well(centre, handheld, AUDIT_RECORDS);
    handheld_free(handheld);
}

static void a_record_in_place_of_another_is_refused_when_it_is_bare(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 299);
    const struct run run = {.first = 40, .count = 2};
    struct bytes first = handheld->records[40];
    _cleanup_answered_ struct answered answered = {0};

    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff IN (40, 41)");
    handheld->records[40] = handheld->records[41];
    handheld->records[41] = first;
    repair_bare(centre, handheld, &run, 1, &answered);
    assert_int64_equal(answered.repair.records_mended, 0);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM records"), 298);
    first = handheld->records[41];
    handheld->records[41] = handheld->records[40];
    handheld->records[40] = first;
    handheld_free(handheld);
}

/* Sends a record that is missing, bare and then with its proof, when the centre cannot check its tile. */
static void assert_only_a_proof_is_taken(struct centre *centre, struct handheld *handheld, uint64_t seq)
{
    const struct run run = {.first = seq, .count = 1};
    _cleanup_answered_ struct answered bare = {0}, proven = {0};

    repair_bare(centre, handheld, &run, 1, &bare);
    assert_int64_equal(bare.repair.records_mended, 0);
    assert_int64_equal(bare.repair.records_refused, 1);
    repair(centre, handheld, &run, 1, &proven);
    assert_int64_equal(proven.repair.records_mended, 1);
}

static void where_other_leaves_of_the_tile_are_gone_or_wrong_only_a_proof_is_taken(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 999);

    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff IN (40, 41, 300)");
    assert_only_a_proof_is_taken(centre, handheld, 40); /* 41 is missing, and was not sent with it */
    forge_record(centre, 301);
    assert_only_a_proof_is_taken(centre, handheld, 300);
    handheld_free(handheld);
}

static void where_the_kept_roots_do_not_lead_to_the_signed_one_only_a_proof_is_taken(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 999);
    _cleanup_answered_ struct answered found = {0};

    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff = 40");
    centre_sql(centre, "UPDATE tiles SET root = zeroblob(32) WHERE key & 0xffffffffff = 2");
    audit_for_bare(centre, handheld, &found);
    assert_false(found.audit.takes_bare_records);
    assert_only_a_proof_is_taken(centre, handheld, 40);
    handheld_free(handheld);
}

/* The forger has also set the kept root of his tile: then no kept root is believed. */
static void a_kept_root_that_was_forged_with_a_record_lets_no_bare_record_in(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 999);
    struct sha256 leaves[TILE_LEAVES], root;
    struct bytes genuine = handheld->records[40];
    const struct run run = {.first = 40, .count = 1};
    _cleanup_answered_ struct answered answered = {0};
    char hex[SHA256_TEXT_LEN + 1], sql[256];

    handheld->records[40] = bytes_of_text("what was never recorded");
    memcpy(leaves, handheld->leaves, sizeof(leaves));
    leaves[40] = merkle_leaf(handheld->records[40]);
    root = merkle_root_of(leaves, TILE_LEAVES);
    text_hex(root.b, SHA256_BYTES, hex);
    snprintf(sql, sizeof(sql), "UPDATE tiles SET root = x'%s' WHERE key & 0xffffffffff = 0", hex);
    centre_sql(centre, sql);
    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff = 40");
    repair_bare(centre, handheld, &run, 1, &answered);
    assert_int64_equal(answered.repair.records_mended, 0);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM records"), 999);
    handheld->records[40] = genuine;
    handheld_free(handheld);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            scattered_records_are_named_in_three_bytes_each_and_mended_without_proofs, start, stop),
        cmocka_unit_test_setup_teardown(
            an_older_handheld_is_told_all_in_the_long_form_and_asked_for_proofs, start, stop),
        cmocka_unit_test_setup_teardown(a_forged_bare_record_is_refused_with_all_beside_it, start, stop),
        cmocka_unit_test_setup_teardown(a_record_in_place_of_another_is_refused_when_it_is_bare, start, stop),
        cmocka_unit_test_setup_teardown(
            where_other_leaves_of_the_tile_are_gone_or_wrong_only_a_proof_is_taken, start, stop),
        cmocka_unit_test_setup_teardown(
            where_the_kept_roots_do_not_lead_to_the_signed_one_only_a_proof_is_taken, start, stop),
        cmocka_unit_test_setup_teardown(
            a_kept_root_that_was_forged_with_a_record_lets_no_bare_record_in, start, stop),
    };

    return cmocka_run_group_tests_name("server service bare_repair", tests, NULL, NULL);
}
