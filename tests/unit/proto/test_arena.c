/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of proto/arena.h: the budget holds, memory is zeroed and aligned, reuse behaves like a new arena. */
#include "tests/unit/unit.h"

#include "proto/arena.h"
#include "proto/limits.h"

#include <stdalign.h>

static void memory_is_zeroed_aligned_and_apart(void **state)
{
    static const size_t lens[] = {1, 3, 16, 17, 100, 1024, 5000, 70000, 8, 200000, 1};
    uint8_t *objects[ARRAY_LEN(lens)];
    _cleanup_arena_ struct arena arena;

    arena_init(&arena, 1u << 20);
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        objects[i] = arena_alloc(&arena, lens[i]);
        assert_non_null(objects[i]);
        assert_int_equal((uintptr_t)objects[i] % alignof(max_align_t), 0);
        for (size_t j = 0; j < lens[i]; j++)
            assert_int_equal(objects[i][j], 0);
        memset(objects[i], (int)i + 1, lens[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(lens); i++)
        for (size_t j = 0; j < lens[i]; j++)
            assert_int_equal(objects[i][j], i + 1);
}

static void budget_counts_what_is_asked_for_and_then_refuses(void **state)
{
    _cleanup_arena_ struct arena arena;

    arena_init(&arena, 1600);
    for (size_t i = 0; i < 100; i++)
        assert_non_null(arena_alloc(&arena, 16));
    assert_false(arena.exhausted);
    assert_null(arena_alloc(&arena, 1));
    assert_true(arena.exhausted);
}

static void lengths_near_the_end_of_the_address_space_are_refused(void **state)
{
    _cleanup_arena_ struct arena arena;

    arena_init(&arena, SIZE_MAX);
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_null(arena_alloc(&arena, SIZE_MAX - 14));
    assert_null(arena_alloc(&arena, SIZE_MAX / 2));
    assert_true(arena.exhausted);
}

static void object_that_does_not_fit_leaves_the_rest_usable(void **state)
{
    _cleanup_arena_ struct arena arena;

    arena_init(&arena, 1000);
    assert_null(arena_alloc(&arena, 1001));
    assert_non_null(arena_alloc(&arena, 900));
    assert_true(arena.exhausted);
}

static void empty_object_has_an_address_of_its_own(void **state)
{
    _cleanup_arena_ struct arena arena;
    void *a, *b;

    arena_init(&arena, 100);
    a = arena_alloc(&arena, 0);
    b = arena_alloc(&arena, 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_ptr_not_equal(a, b);
}

/* Whether a message is taken must not depend on the messages before it. */
static void reset_arena_takes_exactly_what_a_new_one_takes(void **state)
{
    static const size_t first[] = {10, 100000, 50, 3000, 64};
    _cleanup_arena_ struct arena arena;

    arena_init(&arena, 1u << 20);
    for (size_t round = 0; round < 50; round++) {
        for (size_t i = 0; i < ARRAY_LEN(first); i++) {
            uint8_t *object = arena_alloc(&arena, first[(i + round) % ARRAY_LEN(first)]);

            assert_non_null(object);
            assert_int_equal(object[0], 0);
            memset(object, 0xff, first[(i + round) % ARRAY_LEN(first)]);
        }
        arena_reset(&arena, 160);
        for (size_t i = 0; i < 10; i++) {
            uint8_t *object = arena_alloc(&arena, 16);

            assert_non_null(object);
            for (size_t j = 0; j < 16; j++)
                assert_int_equal(object[j], 0);
            memset(object, 0xff, 16);
        }
        assert_null(arena_alloc(&arena, 1));
        assert_true(arena.exhausted);
        arena_reset(&arena, 1u << 20);
        assert_false(arena.exhausted);
    }
}

static void done_twice_and_done_of_zeroed_are_harmless(void **state)
{
    struct arena arena = {0};

    arena_done(&arena);
    arena_done(NULL);
    arena_init(&arena, 100);
    assert_non_null(arena_alloc(&arena, 10));
    arena_done(&arena);
    arena_done(&arena);
    assert_null(arena_alloc(&arena, 1));
}

static void budget_for_a_message_is_four_times_its_size_within_the_limits(void **state)
{
    assert_int_equal(arena_budget_for(0), DECODE_BUDGET_BYTES_MIN);
    assert_int_equal(arena_budget_for(DECODE_BUDGET_BYTES_MIN / 4), DECODE_BUDGET_BYTES_MIN);
    assert_int_equal(arena_budget_for(10000), 40000);
    assert_int_equal(arena_budget_for(DECODE_BUDGET_BYTES_MAX / 4), DECODE_BUDGET_BYTES_MAX);
    assert_int_equal(arena_budget_for(EXCHANGE_INFLATED_BYTES_MAX), DECODE_BUDGET_BYTES_MAX);
    assert_int_equal(arena_budget_for(SIZE_MAX), DECODE_BUDGET_BYTES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_zeroed_aligned_and_apart),
        cmocka_unit_test(budget_counts_what_is_asked_for_and_then_refuses),
        cmocka_unit_test(lengths_near_the_end_of_the_address_space_are_refused),
        cmocka_unit_test(object_that_does_not_fit_leaves_the_rest_usable),
        cmocka_unit_test(empty_object_has_an_address_of_its_own),
        cmocka_unit_test(reset_arena_takes_exactly_what_a_new_one_takes),
        cmocka_unit_test(done_twice_and_done_of_zeroed_are_harmless),
        cmocka_unit_test(budget_for_a_message_is_four_times_its_size_within_the_limits),
    };

    return cmocka_run_group_tests_name("proto arena", tests, NULL, NULL);
}
