/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of what a record means: server/core/projection.c. */
#include "tests/unit/unit.h"

#include "proto/merkle.h"
#include "server/core/projection.h"

#include <errno.h>

static const struct uuid log_a = {{0xaa}}, log_b = {{0xbb}}, log_c = {{0xcc}};

static void encode(const struct record *record, struct buffer *ret)
{
    assert_int_equal(record_encode(record, ret), 0);
}

static void encode_finding(struct buffer *ret)
{
    const struct record record = {.kind = RECORD_FINDING,
        .wall_ms = 1700000000000,
        .finding = {.category = {.scheme = bytes_of_text("s"),
                        .version = bytes_of_text("1"),
                        .code = bytes_of_text("01028")},
            .note = bytes_of_text("note"),
            .no_fix = bytes_of_text("indoors")}};

    encode(&record, ret);
}

static void wrap(const struct uuid *log, uint64_t seq, struct bytes bytes, struct buffer *ret)
{
    const struct record record = {.kind = RECORD_REHOMED,
        .wall_ms = 1700000000000,
        .rehomed = {.log = *log, .seq = seq, .record = bytes}};

    encode(&record, ret);
}

static void decode(struct bytes bytes, struct arena *arena, struct projection *ret)
{
    arena_init(arena, arena_budget_for(bytes.len));
    assert_int_equal(projection_decode(bytes, arena, ret), 0);
}

static void a_finding_is_listed(void **state)
{
    _cleanup_buffer_ struct buffer bytes = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct projection projection;

    encode_finding(&bytes);
    decode(buffer_bytes(&bytes), &arena, &projection);
    assert_null(projection.reason);
    assert_false(projection.is_rehomed);
    assert_true(projection_is_listed(&projection));
    assert_int_equal(projection.record.kind, RECORD_FINDING);
}

static void what_is_no_record_has_a_reason(void **state)
{
    _cleanup_arena_ struct arena arena = {0};
    struct projection projection;

    decode(bytes_of_text("no record"), &arena, &projection);
    assert_non_null(projection.reason);
    assert_false(projection_is_listed(&projection));
    assert_int_equal(projection.record.kind, 0);
}

static void a_rehomed_record_keeps_its_first_position_and_id(void **state)
{
    _cleanup_buffer_ struct buffer bytes = {0}, wrapped = {0}, twice = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct projection projection;

    encode_finding(&bytes);
    wrap(&log_a, 7, buffer_bytes(&bytes), &wrapped);
    wrap(&log_b, 3, buffer_bytes(&wrapped), &twice);
    decode(buffer_bytes(&twice), &arena, &projection);
    struct sha256 leaf = merkle_leaf(buffer_bytes(&bytes));
    struct uuid id = record_public_id(&log_a, 7, &leaf);
    assert_null(projection.reason);
    assert_true(projection.is_rehomed);
    assert_int_equal(projection.record.kind, RECORD_FINDING);
    assert_memory_equal(projection.first.log.b, log_a.b, UUID_BYTES);
    assert_int64_equal(projection.first.seq, 7);
    assert_memory_equal(projection.first_leaf.b, leaf.b, SHA256_BYTES);
    assert_memory_equal(projection.first_id.b, id.b, UUID_BYTES);
}

static void a_rehomed_record_that_cannot_be_read_has_a_reason(void **state)
{
    _cleanup_buffer_ struct buffer wrapped = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct projection projection;

    wrap(&log_a, 7, bytes_of_text("no record"), &wrapped);
    decode(buffer_bytes(&wrapped), &arena, &projection);
    assert_non_null(projection.reason);
}

static void wrapping_has_a_limit(void **state)
{
    struct buffer bytes = {0};
    struct projection projection;

    encode_finding(&bytes);
    for (unsigned i = 0; i < 20; i++) {
        _cleanup_arena_ struct arena arena = {0};
        struct buffer wrapped = {0};

        wrap(&log_a, i, buffer_bytes(&bytes), &wrapped);
        buffer_done(&bytes);
        bytes = wrapped;
        decode(buffer_bytes(&bytes), &arena, &projection);
        assert_int_equal(projection.reason == NULL, i < PROJECTION_REHOMED_DEPTH_MAX);
    }
    buffer_done(&bytes);
}

static void a_parent_without_a_log_is_in_the_log_that_its_child_first_stood_in(void **state)
{
    _cleanup_buffer_ struct buffer bytes = {0};
    _cleanup_arena_ struct arena arena = {0};
    const struct record record = {.kind = RECORD_WITHDRAWAL,
        .wall_ms = 1700000000000,
        .withdrawal = {.parent = {.seq = 4, .id = {{9}}}, .reason = bytes_of_text("twice")}};
    struct projection projection;
    struct parent parent;

    encode(&record, &bytes);
    decode(buffer_bytes(&bytes), &arena, &projection);
    assert_true(projection_parent(&projection, &log_c, &parent));
    assert_memory_equal(parent.log.b, log_c.b, UUID_BYTES);
    assert_int64_equal(parent.seq, 4);
}

static void a_parent_is_judged_by_what_is_known_of_it(void **state)
{
    const struct {
        struct parent_facts facts;
        enum parent_verdict verdict;
    } cases[] = {
        {{.is_known = true, .is_of_device = true, .is_version = true}, PARENT_FITS},
        {{.is_known = false}, PARENT_AWAITED},
        {{.is_known = false, .is_of_device = true}, PARENT_AWAITED},
        {{.is_known = true, .is_of_device = true, .is_version = false}, PARENT_UNFIT},
        {{.is_known = true, .is_of_device = false, .is_version = true}, PARENT_UNFIT},
        {{.is_known = false, .log_is_foreign = true}, PARENT_UNFIT},
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *reason = NULL;

        assert_int_equal(projection_judge_parent(&cases[i].facts, &reason), cases[i].verdict);
        assert_int_equal(reason != NULL, cases[i].verdict != PARENT_FITS);
    }
}

static void the_newest_amendment_stands_for_the_finding(void **state)
{
    const struct version versions[] = {{.arrival = 5, .kind = RECORD_FINDING},
        {.arrival = 9, .kind = RECORD_AMENDMENT}, {.arrival = 7, .kind = RECORD_AMENDMENT}};

    assert_int_equal(projection_version_state(versions, 1, 0), FINDING_STORED);
    assert_int_equal(projection_version_state(versions, 3, 0), FINDING_AMENDED);
    assert_int_equal(projection_version_state(versions, 3, 1), FINDING_STORED);
    assert_int_equal(projection_version_state(versions, 3, 2), FINDING_AMENDED);
}

static void a_finding_that_came_after_its_amendment_is_still_amended(void **state)
{
    const struct version versions[] = {
        {.arrival = 9, .kind = RECORD_FINDING}, {.arrival = 5, .kind = RECORD_AMENDMENT}};

    assert_int_equal(projection_version_state(versions, 2, 0), FINDING_AMENDED);
    assert_int_equal(projection_version_state(versions, 2, 1), FINDING_STORED);
}

static void one_withdrawal_withdraws_every_version(void **state)
{
    const struct version versions[] = {{.arrival = 1, .kind = RECORD_FINDING},
        {.arrival = 2, .kind = RECORD_WITHDRAWAL}, {.arrival = 3, .kind = RECORD_AMENDMENT}};

    assert_int_equal(projection_version_state(versions, 3, 0), FINDING_WITHDRAWN);
    assert_int_equal(projection_version_state(versions, 3, 1), FINDING_STORED);
    assert_int_equal(projection_version_state(versions, 3, 2), FINDING_WITHDRAWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_finding_is_listed),
        cmocka_unit_test(what_is_no_record_has_a_reason),
        cmocka_unit_test(a_rehomed_record_keeps_its_first_position_and_id),
        cmocka_unit_test(a_rehomed_record_that_cannot_be_read_has_a_reason),
        cmocka_unit_test(wrapping_has_a_limit),
        cmocka_unit_test(a_parent_without_a_log_is_in_the_log_that_its_child_first_stood_in),
        cmocka_unit_test(a_parent_is_judged_by_what_is_known_of_it),
        cmocka_unit_test(the_newest_amendment_stands_for_the_finding),
        cmocka_unit_test(a_finding_that_came_after_its_amendment_is_still_amended),
        cmocka_unit_test(one_withdrawal_withdraws_every_version),
    };

    return cmocka_run_group_tests_name("server projection", tests, NULL, NULL);
}
