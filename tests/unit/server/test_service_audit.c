/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of audit and repair: server/service_audit.c, service_repair.c over SQLite. */
#include "tests/unit/server/audit_client.h"

/* ---- audits ---- */

static void a_healthy_log_is_answered_with_its_root_in_under_1_kb(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 2999);
    _cleanup_answered_ struct answered answered = {0};

    assert_well(centre, handheld, AUDIT_PRESENCE);
    assert_well(centre, handheld, AUDIT_RECORDS);
    assert_well(centre, handheld, AUDIT_MEDIA);
    audit(centre, handheld, AUDIT_PRESENCE, &answered);
    assert_true(answered.body.len < 1024);
    assert_int64_equal(read_receipt(handheld, answered.audit.receipt).size, 3000);
    handheld_free(handheld);
}

static void a_log_that_the_centre_does_not_have_has_size_0(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered answered = {0};

    audit(centre, handheld, AUDIT_MEDIA, &answered);
    assert_int64_equal(answered.audit.size, 0);
    assert_int_equal(answered.audit.receipt.len, 0);
    handheld_free(handheld);
}

static void a_log_of_another_device_is_not_shown(void **state)
{
    struct centre *centre = *state;
    struct handheld *owner = handheld_with(centre, 5), *other = handheld_enrolled(centre);
    const struct audit_request request = {.level = AUDIT_PRESENCE};
    _cleanup_answered_ struct answered answered = {0};

    other->log = owner->log;
    audit_with(centre, other, &request, &answered);
    assert_int_equal(answered.refusal.reason, REFUSAL_LOG_OF_OTHER_DEVICE);
    handheld_free(owner);
    handheld_free(other);
}

static void deleted_rows_are_found_and_mended(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 999);
    struct listing *before = list_findings(centre);
    _cleanup_answered_ struct answered found = {0}, mended = {0};

    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff IN (3, 400, 401, 999)");
    audit(centre, handheld, AUDIT_PRESENCE, &found);
    assert_false(found.audit.has_root);
    assert_int64_equal(found.audit.counted, 996);
    assert_int_equal(found.audit.missing_count, 3);
    assert_int64_equal(found.audit.missing[0].first, 3);
    assert_int64_equal(found.audit.missing[1].first, 400);
    assert_int64_equal(found.audit.missing[1].count, 2);
    assert_int64_equal(found.audit.missing[2].first, 999);
    assert_int_equal(found.audit.damaged_count, 0);

    repair(centre, handheld, found.audit.missing, 3, &mended);
    assert_int64_equal(mended.repair.records_mended, 4);
    assert_int64_equal(mended.repair.records_refused, 0);
    assert_well(centre, handheld, AUDIT_RECORDS);
    struct listing *after = list_findings(centre);
    assert_int_equal(after->count, before->count);
    for (size_t i = 0; i < before->count; i++)
        assert_memory_equal(&before->rows[i], &after->rows[i], sizeof(before->rows[i]));
    free(before);
    free(after);
    handheld_free(handheld);
}

static void a_deleted_record_whose_finding_row_is_gone_too_is_listed_again(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 9);
    const struct run run = {.first = 4, .count = 1};
    _cleanup_answered_ struct answered mended = {0};

    while (service_housekeeping(centre->service) == 1)
        ;
    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff = 4");
    centre_sql(centre, "DELETE FROM findings WHERE key & 0xffffffffff = 4");
    repair(centre, handheld, &run, 1, &mended);
    struct listing *listing = list_findings(centre);
    assert_int_equal(listing->count, 9);
    assert_non_null(listed_at(listing, &handheld->log, 4));
    free(listing);
    handheld_free(handheld);
}

static void altered_bytes_are_found_by_a_records_audit_only(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 599);
    _cleanup_answered_ struct answered presence = {0}, records = {0}, mended = {0};

    centre_sql(centre, "UPDATE records SET bytes = zeroblob(length(bytes)) WHERE key & 0xffffffffff = 77");
    audit(centre, handheld, AUDIT_PRESENCE, &presence);
    assert_int_equal(presence.audit.damaged_count, 0);
    audit(centre, handheld, AUDIT_RECORDS, &records);
    assert_int_equal(records.audit.damaged_count, 1);
    assert_int64_equal(records.audit.damaged[0].first, 77);
    assert_int64_equal(records.audit.damaged[0].count, 1);
    repair(centre, handheld, records.audit.damaged, 1, &mended);
    assert_well(centre, handheld, AUDIT_RECORDS);
    handheld_free(handheld);
}

static void an_altered_leaf_is_found_where_it_is(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 599);
    _cleanup_answered_ struct answered found = {0}, mended = {0};

    centre_sql(centre, "UPDATE records SET leaf = zeroblob(32) WHERE key & 0xffffffffff = 300");
    audit(centre, handheld, AUDIT_PRESENCE, &found);
    assert_int_equal(found.audit.damaged_count, 1);
    assert_int64_equal(found.audit.damaged[0].first, 300);
    assert_int64_equal(found.audit.damaged[0].count, 1);
    repair(centre, handheld, found.audit.damaged, 1, &mended);
    assert_well(centre, handheld, AUDIT_PRESENCE);
    handheld_free(handheld);
}

static void a_leaf_and_bytes_altered_together_are_found_in_their_tile(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 999);
    _cleanup_answered_ struct answered found = {0}, mended = {0};

    forge_record(centre, 300); /* in a whole tile */
    forge_record(centre, 990); /* in the last, growing one */
    audit(centre, handheld, AUDIT_PRESENCE, &found);
    assert_int_equal(found.audit.damaged_count, 2);
    assert_int64_equal(found.audit.damaged[0].first, 256);
    assert_int64_equal(found.audit.damaged[0].count, 256);
    assert_int64_equal(found.audit.damaged[1].first, 768);
    assert_int64_equal(found.audit.damaged[1].count, 232);
    repair(centre, handheld, found.audit.damaged, 2, &mended);
    assert_int64_equal(mended.repair.records_refused, 0);
    assert_well(centre, handheld, AUDIT_RECORDS);
    handheld_free(handheld);
}

static void kept_roots_that_are_wrong_are_mended_when_the_records_are_right(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 1999);
    struct service_check_report report;

    centre_sql(centre, "UPDATE tiles SET root = zeroblob(32) WHERE key & 0xffffffffff = 2");
    centre_sql(centre, "DELETE FROM tiles WHERE key & 0xffffffffff = 5");
    assert_int_equal(service_check(centre->service, false, false, NULL, NULL, &report), -EUCLEAN);
    assert_well(centre, handheld, AUDIT_PRESENCE);
    assert_int_equal(service_check(centre->service, false, false, NULL, NULL, &report), 0);
    handheld_free(handheld);
}

static void when_kept_roots_cannot_be_trusted_the_handheld_is_given_the_tiles_roots(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 999);
    _cleanup_answered_ struct answered found = {0}, mended = {0};
    const struct run run = {.first = 256, .count = 256};

    forge_record(centre, 300);
    centre_sql(centre, "UPDATE tiles SET root = zeroblob(32) WHERE key & 0xffffffffff = 1");
    audit(centre, handheld, AUDIT_PRESENCE, &found);
    assert_int_equal(found.audit.tile_root_count, 4);
    for (size_t i = 0; i < 4; i++) {
        size_t count = i < 3 ? TILE_LEAVES : 1000 - 3 * TILE_LEAVES;
        struct sha256 own = merkle_root_of(handheld->leaves + i * TILE_LEAVES, count);

        assert_int_equal(sha256_equal(&own, &found.audit.tile_roots[i]), i != 1);
    }
    repair(centre, handheld, &run, 1, &mended);
    assert_int64_equal(mended.repair.records_mended, 256);
    assert_well(centre, handheld, AUDIT_RECORDS);
    handheld_free(handheld);
}

static void a_records_audit_of_a_long_log_goes_on_in_windows(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 66000);
    struct audit_request request = {.level = AUDIT_RECORDS};
    _cleanup_answered_ struct answered first = {0}, second = {0}, presence = {0};

    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff = 65600");
    audit_with(centre, handheld, &request, &first);
    assert_int64_equal(first.audit.first_seq, 0);
    assert_int64_equal(first.audit.next_seq, AUDIT_WINDOW_RECORDS_MAX);
    assert_int64_equal(first.audit.counted, AUDIT_WINDOW_RECORDS_MAX);
    assert_false(first.audit.has_root);
    assert_int_equal(first.audit.missing_count, 0);
    request.from_seq = first.audit.next_seq;
    audit_with(centre, handheld, &request, &second);
    assert_int64_equal(second.audit.first_seq, AUDIT_WINDOW_RECORDS_MAX);
    assert_int64_equal(second.audit.next_seq, 0);
    assert_int_equal(second.audit.missing_count, 1);
    assert_int64_equal(second.audit.missing[0].first, 65600);

    audit(centre, handheld, AUDIT_PRESENCE, &presence);
    assert_int64_equal(presence.audit.counted, 66000);
    assert_int64_equal(presence.audit.next_seq, 0);
    handheld_free(handheld);
}

static void scattered_losses_beyond_the_lists_limit_go_on_in_the_next_window(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 9999);
    struct audit_request request = {.level = AUDIT_PRESENCE};
    uint64_t missing = 0;
    unsigned windows = 0;

    centre_sql(centre, "DELETE FROM records WHERE key % 2 = 1");
    do {
        _cleanup_answered_ struct answered found = {0};

        audit_with(centre, handheld, &request, &found);
        assert_int64_equal(found.audit.first_seq, request.from_seq);
        missing += found.audit.missing_count;
        request.from_seq = found.audit.next_seq;
        windows++;
    } while (request.from_seq > 0);
    assert_int64_equal(missing, 5000);
    assert_int_equal(windows, 2);
    handheld_free(handheld);
}

static void rows_behind_the_log_confuse_no_audit(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 299);

    centre_sql(centre,
        "INSERT INTO records SELECT key + 1000, arrival, received_ms, state, leaf, bytes FROM records");
    assert_well(centre, handheld, AUDIT_PRESENCE);
    assert_well(centre, handheld, AUDIT_RECORDS);
    handheld_free(handheld);
}

/* ---- repairs ---- */

static void a_forged_run_is_refused_and_changes_nothing(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 299);
    const struct run run = {.first = 40, .count = 1};
    struct bytes genuine = handheld->records[40];
    _cleanup_answered_ struct answered answered = {0};

    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff = 40");
    handheld->records[40] = bytes_of_text("what was never recorded");
    repair(centre, handheld, &run, 1, &answered);
    assert_int64_equal(answered.repair.records_mended, 0);
    assert_int64_equal(answered.repair.records_refused, 1);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM records"), 299);
    handheld->records[40] = genuine;
    handheld_free(handheld);
}

static void a_repair_for_a_tree_of_another_size_is_refused(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 299);
    const struct run run = {.first = 40, .count = 1};
    _cleanup_answered_ struct answered answered = {0};

    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff = 40");
    append_findings(handheld, 1); /* not sent yet */
    repair(centre, handheld, &run, 1, &answered);
    assert_int64_equal(answered.repair.records_refused, 1);
    assert_int64_equal(answered.repair.size, 300);
    handheld_free(handheld);
}

static void the_same_repair_again_is_answered_the_same(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 299);
    const struct run run = {.first = 40, .count = 2};

    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff = 40");
    for (int i = 0; i < 2; i++) {
        _cleanup_answered_ struct answered answered = {0};

        repair(centre, handheld, &run, 1, &answered);
        assert_int64_equal(answered.repair.records_mended, 2);
    }
    assert_well(centre, handheld, AUDIT_RECORDS);
    handheld_free(handheld);
}

static void what_neither_side_has_is_marked_lost_and_the_root_still_holds(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 299);
    uint64_t lost[2] = {40, 50};
    struct sha256 leaves[2] = {handheld->leaves[40], handheld->leaves[50]};
    const struct repair_request request = {.lost_seqs = lost, .lost_leaves = leaves, .lost_count = 2};
    _cleanup_answered_ struct answered answered = {0}, audited = {0};
    struct sha256 root = merkle_root_of(handheld->leaves, 300);

    /* Record 50 is well here: that the handheld has lost it changes nothing. */
    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff = 40");
    repair_with(centre, handheld, &request, NULL, 0, &answered);
    audit(centre, handheld, AUDIT_RECORDS, &audited);
    assert_int_equal(audited.audit.missing_count, 0);
    assert_int_equal(audited.audit.lost_count, 1);
    assert_int64_equal(audited.audit.lost[0].first, 40);
    assert_int64_equal(audited.audit.lost[0].count, 1);
    assert_true(audited.audit.has_root);
    assert_memory_equal(audited.audit.root.b, root.b, SHA256_BYTES);
    assert_int64_equal(last_device(centre).alarms, 1);
    handheld_free(handheld);
}

static void a_wrong_leaf_of_a_lost_record_is_not_kept(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 299);
    uint64_t lost = 40;
    struct sha256 leaf = handheld->leaves[41];
    const struct repair_request request = {.lost_seqs = &lost, .lost_leaves = &leaf, .lost_count = 1};
    _cleanup_answered_ struct answered answered = {0}, audited = {0};

    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff = 40");
    repair_with(centre, handheld, &request, NULL, 0, &answered);
    audit(centre, handheld, AUDIT_PRESENCE, &audited);
    assert_int_equal(audited.audit.lost_count, 1);
    assert_int_equal(audited.audit.damaged_count, 0);
    assert_false(audited.audit.has_root);
    handheld_free(handheld);
}

static void the_check_names_what_is_wrong(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 299);
    struct service_check_report report;

    assert_int_equal(service_check(centre->service, true, false, NULL, NULL, &report), 0);
    assert_int64_equal(report.records, 300);
    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff = 7");
    centre_sql(centre, "UPDATE records SET bytes = x'00' WHERE key & 0xffffffffff = 280");
    assert_int_equal(service_check(centre->service, true, false, NULL, NULL, &report), -EUCLEAN);
    assert_int64_equal(report.records_bad, 2);
    handheld_free(handheld);
}

static void a_log_that_lost_its_frontier_gets_it_back_by_a_rebuild(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 299);
    struct service_check_report report;
    _cleanup_answered_ struct answered answered = {0};

    centre_sql(centre, "UPDATE logs SET size = 256, frontier = zeroblob(32)");
    assert_int_equal(service_check(centre->service, false, false, NULL, NULL, &report), -EUCLEAN);
    assert_int_equal(service_check(centre->service, false, true, NULL, NULL, &report), 0);
    append_findings(handheld, 1);
    exchange(centre, handheld, 300, 1, &answered);
    assert_int_equal(answered.exchange.outcome, EXCHANGE_STORED);
    handheld_free(handheld);
}

static void two_records_lost_in_one_tile_keep_their_leaves_and_the_log_its_root(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 299);
    uint64_t lost[2] = {40, 50};
    struct sha256 leaves[2] = {handheld->leaves[40], handheld->leaves[50]};
    const struct repair_request request = {.lost_seqs = lost, .lost_leaves = leaves, .lost_count = 2};
    _cleanup_answered_ struct answered answered = {0}, audited = {0};
    struct sha256 root = merkle_root_of(handheld->leaves, 300);

    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff IN (40, 50)");
    repair_with(centre, handheld, &request, NULL, 0, &answered);
    audit(centre, handheld, AUDIT_RECORDS, &audited);
    assert_int_equal(audited.audit.lost_count, 2);
    assert_int_equal(
        centre_sql(centre, "SELECT count(*) FROM records WHERE state = 2 AND leaf IS NOT NULL"), 2);
    assert_true(audited.audit.has_root);
    assert_memory_equal(audited.audit.root.b, root.b, SHA256_BYTES);
    handheld_free(handheld);
}

static void one_wrong_leaf_of_a_lost_record_is_not_believed(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 299);
    uint64_t lost[2] = {40, 290}; /* of two tiles: the second leaf is right */
    struct sha256 leaves[2] = {handheld->leaves[41], handheld->leaves[290]};
    const struct repair_request request = {.lost_seqs = lost, .lost_leaves = leaves, .lost_count = 2};
    _cleanup_answered_ struct answered answered = {0};

    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff IN (40, 290)");
    repair_with(centre, handheld, &request, NULL, 0, &answered);
    assert_int_equal(
        centre_sql(centre, "SELECT key & 0xffffffffff FROM records WHERE state = 2 AND leaf IS NOT NULL"),
        290);
    handheld_free(handheld);
}

static void a_leaf_that_the_handheld_does_not_know_costs_not_the_centres_own(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 299);
    uint64_t lost[1] = {40};
    struct sha256 leaves[1] = {{{0}}}; /* its row is gone at the handheld */
    const struct repair_request request = {.lost_seqs = lost, .lost_leaves = leaves, .lost_count = 1};
    _cleanup_answered_ struct answered answered = {0}, audited = {0};

    centre_sql(
        centre, "UPDATE records SET bytes = x'00' WHERE key & 0xffffffffff = 40"); /* its leaf is whole */
    repair_with(centre, handheld, &request, NULL, 0, &answered);
    audit(centre, handheld, AUDIT_RECORDS, &audited);
    assert_int_equal(audited.audit.lost_count, 1);
    assert_true(audited.audit.has_root);
    handheld_free(handheld);
}

static void a_record_that_is_still_to_come_costs_no_lost_ones_leaf(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 299);
    uint64_t lost = 40;
    const struct repair_request request = {
        .lost_seqs = &lost, .lost_leaves = &handheld->leaves[40], .lost_count = 1};
    const struct run later = {.first = 50, .count = 1};
    _cleanup_answered_ struct answered answered = {0}, mended = {0}, audited = {0};

    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff IN (40, 50)");
    repair_with(centre, handheld, &request, NULL, 0, &answered);
    repair(centre, handheld, &later, 1, &mended);
    audit(centre, handheld, AUDIT_RECORDS, &audited);
    assert_int_equal(audited.audit.lost_count, 1);
    assert_int_equal(audited.audit.missing_count + audited.audit.damaged_count, 0);
    assert_true(audited.audit.has_root);
    handheld_free(handheld);
}

static void a_wrong_leaf_goes_when_the_rest_of_its_tile_has_come(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 299);
    uint64_t lost = 40;
    const struct repair_request request = {
        .lost_seqs = &lost, .lost_leaves = &handheld->leaves[41], .lost_count = 1};
    const struct run later = {.first = 50, .count = 1};
    _cleanup_answered_ struct answered answered = {0}, mended = {0}, audited = {0};

    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff = 40");
    centre_sql(centre, "UPDATE records SET bytes = x'00' WHERE key & 0xffffffffff = 50");
    repair_with(centre, handheld, &request, NULL, 0, &answered);
    assert_int_equal(centre_sql(centre, "SELECT leaf IS NOT NULL FROM records WHERE state = 2"), 1);
    repair(centre, handheld, &later, 1, &mended);
    audit(centre, handheld, AUDIT_RECORDS, &audited);
    assert_int_equal(audited.audit.lost_count, 1);
    assert_int_equal(audited.audit.damaged_count, 0);
    assert_int_equal(centre_sql(centre, "SELECT leaf IS NOT NULL FROM records WHERE state = 2"), 0);
    handheld_free(handheld);
}

static void an_erased_leaf_and_a_lost_one_of_a_tile_prove_each_other(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with(centre, 299);
    uint64_t erased = 40, lost = 50;
    const struct repair_request request = {.erased_seqs = &erased,
        .erased_leaves = &handheld->leaves[40],
        .erased_count = 1,
        .lost_seqs = &lost,
        .lost_leaves = &handheld->leaves[50],
        .lost_count = 1};
    _cleanup_answered_ struct answered answered = {0}, audited = {0};

    centre_sql(centre, "DELETE FROM records WHERE key & 0xffffffffff IN (40, 50)");
    repair_with(centre, handheld, &request, NULL, 0, &answered);
    audit(centre, handheld, AUDIT_RECORDS, &audited);
    assert_int_equal(audited.audit.erased_count, 1);
    assert_int_equal(audited.audit.lost_count, 1);
    assert_true(audited.audit.has_root);
    handheld_free(handheld);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_record_that_is_still_to_come_costs_no_lost_ones_leaf, start, stop),
        cmocka_unit_test_setup_teardown(a_wrong_leaf_goes_when_the_rest_of_its_tile_has_come, start, stop),
        cmocka_unit_test_setup_teardown(
            an_erased_leaf_and_a_lost_one_of_a_tile_prove_each_other, start, stop),
        cmocka_unit_test_setup_teardown(
            two_records_lost_in_one_tile_keep_their_leaves_and_the_log_its_root, start, stop),
        cmocka_unit_test_setup_teardown(one_wrong_leaf_of_a_lost_record_is_not_believed, start, stop),
        cmocka_unit_test_setup_teardown(
            a_leaf_that_the_handheld_does_not_know_costs_not_the_centres_own, start, stop),
        cmocka_unit_test_setup_teardown(a_healthy_log_is_answered_with_its_root_in_under_1_kb, start, stop),
        cmocka_unit_test_setup_teardown(a_log_that_the_centre_does_not_have_has_size_0, start, stop),
        cmocka_unit_test_setup_teardown(a_log_of_another_device_is_not_shown, start, stop),
        cmocka_unit_test_setup_teardown(deleted_rows_are_found_and_mended, start, stop),
        cmocka_unit_test_setup_teardown(
            a_deleted_record_whose_finding_row_is_gone_too_is_listed_again, start, stop),
        cmocka_unit_test_setup_teardown(altered_bytes_are_found_by_a_records_audit_only, start, stop),
        cmocka_unit_test_setup_teardown(an_altered_leaf_is_found_where_it_is, start, stop),
        cmocka_unit_test_setup_teardown(
            a_leaf_and_bytes_altered_together_are_found_in_their_tile, start, stop),
        cmocka_unit_test_setup_teardown(
            kept_roots_that_are_wrong_are_mended_when_the_records_are_right, start, stop),
        cmocka_unit_test_setup_teardown(
            when_kept_roots_cannot_be_trusted_the_handheld_is_given_the_tiles_roots, start, stop),
        cmocka_unit_test_setup_teardown(a_records_audit_of_a_long_log_goes_on_in_windows, start, stop),
        cmocka_unit_test_setup_teardown(
            scattered_losses_beyond_the_lists_limit_go_on_in_the_next_window, start, stop),
        cmocka_unit_test_setup_teardown(rows_behind_the_log_confuse_no_audit, start, stop),
        cmocka_unit_test_setup_teardown(a_forged_run_is_refused_and_changes_nothing, start, stop),
        cmocka_unit_test_setup_teardown(a_repair_for_a_tree_of_another_size_is_refused, start, stop),
        cmocka_unit_test_setup_teardown(the_same_repair_again_is_answered_the_same, start, stop),
        cmocka_unit_test_setup_teardown(
            what_neither_side_has_is_marked_lost_and_the_root_still_holds, start, stop),
        cmocka_unit_test_setup_teardown(a_wrong_leaf_of_a_lost_record_is_not_kept, start, stop),
        cmocka_unit_test_setup_teardown(the_check_names_what_is_wrong, start, stop),
        cmocka_unit_test_setup_teardown(a_log_that_lost_its_frontier_gets_it_back_by_a_rebuild, start, stop),
    };

    return cmocka_run_group_tests_name("server service audit", tests, NULL, NULL);
}
