/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of proto/wire_reader.h: the encoding alone, without any message of ours. */
#include "tests/unit/unit.h"

#include "proto/wire_reader.h"

#include <errno.h>

#define BUDGET 4096u

struct scene {
    struct arena arena;
    struct wire_reader reader;
};

static void scene_done(struct scene *scene)
{
    arena_done(&scene->arena);
}
#define _cleanup_scene_ _cleanup_(scene_done)

static void scene_of(struct scene *ret, const char *message, size_t len)
{
    arena_init(&ret->arena, BUDGET);
    ret->reader = wire_reader_of(bytes_of(message, len), &ret->arena);
}
#define SCENE(scene, literal) scene_of(scene, literal, sizeof(literal) - 1)

static void fields_come_in_the_order_of_the_bytes(void **state)
{
    _cleanup_scene_ struct scene scene;

    /* 1: varint 150; 2: "ab"; 3: fixed32; 4: fixed64; 300: varint 1 */
    SCENE(&scene, "\x08\x96\x01\x12\x02"
                  "ab\x1d\x01\x02\x03\x04\x21\x01\x00\x00\x00\x00\x00\x00\x80\xe0\x12\x01");
    assert_true(wire_next(&scene.reader));
    assert_int_equal(scene.reader.field, 1);
    assert_int_equal(wire_u64(&scene.reader), 150);
    assert_true(wire_next(&scene.reader));
    assert_int_equal(scene.reader.type, WIRE_RUN);
    assert_int_equal(scene.reader.run.len, 2);
    assert_true(wire_next(&scene.reader));
    assert_int_equal(wire_sfixed32(&scene.reader), 0x04030201);
    assert_true(wire_next(&scene.reader));
    assert_int64_equal(scene.reader.value, UINT64_C(0x8000000000000001));
    assert_true(wire_next(&scene.reader));
    assert_int_equal(scene.reader.field, 300);
    assert_false(wire_next(&scene.reader));
    assert_int_equal(wire_finish(&scene.reader, NULL), 0);
}

static void an_empty_message_has_no_field(void **state)
{
    struct wire_reader reader = wire_reader_of((struct bytes){0}, NULL);

    assert_false(wire_next(&reader));
    assert_int_equal(wire_finish(&reader, NULL), 0);
}

static void malformed_fields_end_the_reading(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } rows[] = {
        {"\x08", 1},                                              /* no value */
        {"\x80", 1},                                              /* half a tag */
        {"\x88\x00\x01", 3},                                      /* a tag with a needless byte */
        {"\x08\x81\x00", 3},                                      /* a number with a needless byte */
        {"\x00\x01", 2},                                          /* field 0 */
        {"\x0b\x0c", 2},                                          /* groups */
        {"\x0e\x01", 2},                                          /* wire type 6 */
        {"\x0f\x01", 2},                                          /* wire type 7 */
        {"\x12\x02x", 3},                                         /* a run longer than the rest */
        {"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},     /* a run of 2^64 - 1 */
        {"\x1d\x01\x02\x03", 4},                                  /* three bytes of four */
        {"\x21\x01\x02\x03\x04\x05\x06\x07", 8},                  /* seven of eight */
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11},     /* 2^65 - 1 */
        {"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12}, /* eleven bytes */
        {"\x80\x80\x80\x80\x10\x01", 6},                          /* a field number of 2^29 */
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_scene_ struct scene scene;
        const char *reason = NULL;

        scene_of(&scene, rows[i].bytes, rows[i].len);
        if (wire_next(&scene.reader))
            fail_msg("row %zu was taken", i);
        assert_int_equal(wire_finish(&scene.reader, &reason), -EBADMSG);
        assert_string_equal(reason, "malformed encoding");
        assert_false(wire_next(&scene.reader));
    }
}

static void numbers_reach_the_ends_of_their_types(void **state)
{
    _cleanup_scene_ struct scene scene;

    SCENE(&scene, "\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" /* 2^64 - 1 */
                  "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" /* zigzag: the least */
                  "\x18\xff\xff\xff\xff\x0f"                     /* zigzag of 32 bits: the least */
                  "\x20\xff\xff\xff\xff\x0f"                     /* 2^32 - 1 */
                  "\x28\x80\x80\x80\x80\x10"                     /* 2^32 */
    );
    assert_true(wire_next(&scene.reader));
    assert_int64_equal(wire_u64(&scene.reader), UINT64_MAX);
    assert_true(wire_next(&scene.reader));
    assert_int64_equal(wire_s64(&scene.reader), INT64_MIN);
    assert_true(wire_next(&scene.reader));
    assert_int_equal(wire_s32(&scene.reader), INT32_MIN);
    assert_true(wire_next(&scene.reader));
    assert_int64_equal(wire_u32(&scene.reader), UINT32_MAX);
    assert_true(wire_next(&scene.reader));
    assert_int_equal(wire_u32(&scene.reader), 0);
    assert_int_equal(wire_finish(&scene.reader, NULL), -EBADMSG);
}

static void the_first_error_stays_and_reads_yield_nothing(void **state)
{
    _cleanup_scene_ struct scene scene;
    const char *reason = NULL;

    SCENE(&scene, "\x08\x05\x10\x07");
    assert_true(wire_next(&scene.reader));
    wire_fail(&scene.reader, "first");
    wire_fail(&scene.reader, "second");
    assert_int_equal(wire_u64(&scene.reader), 0);
    assert_false(wire_next(&scene.reader));
    assert_int_equal(wire_finish(&scene.reader, &reason), -EBADMSG);
    assert_string_equal(reason, "first");
}

static void a_field_that_stands_twice_is_an_error_unless_it_is_unknown(void **state)
{
    _cleanup_scene_ struct scene scene;
    const char *reason = NULL;

    SCENE(&scene, "\x08\x05\x10\x01\x10\x01\x08\x05");
    while (wire_next(&scene.reader))
        if (scene.reader.field == 1)
            wire_u64(&scene.reader);
    assert_int_equal(wire_finish(&scene.reader, &reason), -EBADMSG);
    assert_string_equal(reason, "a field stands twice");
}

static void a_field_of_another_type_is_an_error(void **state)
{
    _cleanup_scene_ struct scene scene;

    SCENE(&scene, "\x0a\x01x");
    assert_true(wire_next(&scene.reader));
    assert_int_equal(wire_u64(&scene.reader), 0);
    assert_int_equal(wire_finish(&scene.reader, NULL), -EBADMSG);
}

static void a_message_inside_hands_its_error_outwards(void **state)
{
    _cleanup_scene_ struct scene scene;
    struct wire_reader inner;
    const char *reason = NULL;

    SCENE(&scene, "\x0a\x02\x08\x80\x10\x01");
    assert_true(wire_next(&scene.reader));
    inner = wire_message(&scene.reader);
    assert_false(wire_next(&inner));
    wire_end(&scene.reader, &inner);
    assert_false(wire_next(&scene.reader));
    assert_int_equal(wire_finish(&scene.reader, &reason), -EBADMSG);
    assert_string_equal(reason, "malformed encoding");
}

static void items_are_counted_once_and_limited(void **state)
{
    _cleanup_scene_ struct scene scene;
    struct wire_items items = {0};
    const struct bytes *texts;

    SCENE(&scene, "\x0a\x01"
                  "a\x10\x01\x0a\x02"
                  "bc\x0a\x00");
    while (wire_next(&scene.reader))
        if (scene.reader.field == 1)
            wire_item_bytes(&scene.reader, &items, 3, 2);
    assert_int_equal(wire_finish(&scene.reader, NULL), 0);
    assert_int_equal(items.count, 3);
    texts = items.items;
    assert_true(texts && texts[1].len == 2);

    for (size_t count_max = 0; count_max < 3; count_max++) {
        const char *reason = NULL;

        arena_done(&scene.arena);
        items = (struct wire_items){0};
        SCENE(&scene, "\x0a\x01"
                      "a\x0a\x01"
                      "b\x0a\x01"
                      "c");
        while (wire_next(&scene.reader))
            wire_item_bytes(&scene.reader, &items, count_max, 2);
        assert_int_equal(wire_finish(&scene.reader, &reason), -EBADMSG);
        assert_string_equal(reason, "a list is too long");
    }
}

static void packed_numbers_are_one_run(void **state)
{
    _cleanup_scene_ struct scene scene;
    struct wire_items numbers = {0}, fixed = {0};

    SCENE(&scene, "\x0a\x05\x00\x96\x01\x7f\x01\x12\x08\x01\x00\x00\x00\xff\xff\xff\xff");
    assert_true(wire_next(&scene.reader));
    wire_packed_u64(&scene.reader, &numbers, 4);
    assert_true(wire_next(&scene.reader));
    wire_packed_fixed32(&scene.reader, &fixed, 2);
    assert_int_equal(wire_finish(&scene.reader, NULL), 0);
    assert_int_equal(numbers.count, 4);
    assert_non_null(numbers.items);
    assert_int_equal(((uint64_t *)numbers.items)[1], 150);
    assert_int_equal(fixed.count, 2);
    assert_non_null(fixed.items);
    assert_int64_equal(((uint32_t *)fixed.items)[1], UINT32_MAX);
}

static void broken_packed_numbers_are_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } rows[] = {
        {"\x0a\x01\x80", 3},                                          /* cut */
        {"\x0a\x02\x01\x80", 4},                                      /* cut behind a whole one */
        {"\x0a\x02\x80\x00", 4},                                      /* a needless byte */
        {"\x0a\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13}, /* too long */
        {"\x0a\x05\x01\x02\x03\x04\x05", 7},                          /* five of at most four */
        {"\x08\x01", 2},                                              /* not packed */
        {"\x0a\x01\x01\x0a\x01\x01", 6},                              /* two runs */
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        _cleanup_scene_ struct scene scene;
        struct wire_items numbers = {0};

        scene_of(&scene, rows[i].bytes, rows[i].len);
        while (wire_next(&scene.reader))
            wire_packed_u64(&scene.reader, &numbers, 4);
        if (wire_finish(&scene.reader, NULL) != -EBADMSG)
            fail_msg("row %zu was taken", i);
    }
}

static void an_arena_that_is_used_up_is_another_error(void **state)
{
    struct wire_items items = {0};
    struct wire_reader reader;
    struct arena arena;
    const char *reason = "none";

    arena_init(&arena, 0);
    reader = wire_reader_of(bytes_of("\x0a\x01x", 3), &arena);
    assert_true(wire_next(&reader));
    wire_item_bytes(&reader, &items, 3, 1);
    assert_int_equal(wire_finish(&reader, &reason), -ENOBUFS);
    assert_string_equal(reason, "none");
    arena_done(&arena);
}

static void exact_fields_may_be_empty_only_where_that_means_none(void **state)
{
    _cleanup_scene_ struct scene scene;
    uint8_t key[2] = {7, 7};
    struct uuid id;

    SCENE(&scene, "\x0a\x00\x12\x02"
                  "ab\x1a\x00");
    assert_true(wire_next(&scene.reader));
    assert_false(wire_exact_or_none(&scene.reader, key, 2));
    assert_int_equal(key[0], 7);
    assert_true(wire_next(&scene.reader));
    assert_true(wire_exact_or_none(&scene.reader, key, 2));
    assert_int_equal(key[1], 'b');
    assert_true(wire_next(&scene.reader));
    wire_uuid(&scene.reader, &id);
    assert_int_equal(wire_finish(&scene.reader, NULL), -EBADMSG);
}

static void a_missing_field_can_be_demanded(void **state)
{
    _cleanup_scene_ struct scene scene;

    SCENE(&scene, "\x08\x05");
    while (wire_next(&scene.reader))
        wire_u64(&scene.reader);
    wire_demand(&scene.reader, WIRE_FIELD(1));
    assert_int_equal(wire_finish(&scene.reader, NULL), 0);
    wire_demand(&scene.reader, WIRE_FIELD(1) | WIRE_FIELD(2));
    assert_int_equal(wire_finish(&scene.reader, NULL), -EBADMSG);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_come_in_the_order_of_the_bytes),
        cmocka_unit_test(an_empty_message_has_no_field),
        cmocka_unit_test(malformed_fields_end_the_reading),
        cmocka_unit_test(numbers_reach_the_ends_of_their_types),
        cmocka_unit_test(the_first_error_stays_and_reads_yield_nothing),
        cmocka_unit_test(a_field_that_stands_twice_is_an_error_unless_it_is_unknown),
        cmocka_unit_test(a_field_of_another_type_is_an_error),
        cmocka_unit_test(a_message_inside_hands_its_error_outwards),
        cmocka_unit_test(items_are_counted_once_and_limited),
        cmocka_unit_test(packed_numbers_are_one_run),
        cmocka_unit_test(broken_packed_numbers_are_refused),
        cmocka_unit_test(an_arena_that_is_used_up_is_another_error),
        cmocka_unit_test(exact_fields_may_be_empty_only_where_that_means_none),
        cmocka_unit_test(a_missing_field_can_be_demanded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
