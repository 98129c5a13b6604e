/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of proto/columns.h: every record comes back with the bytes it had, and nothing hostile comes in. */
#include "tests/unit/proto/samples.h"

#include "proto/columns.h"
#include "proto/columns_table.h"
#include "proto/compression.h"

#include <errno.h>

#define RECORDS_MAX_HERE 4000u

/* The linker leads allocations of the code under test here (see meson.build): the one that `allocations_left`
 * counts down to fails. */
void *__real_malloc(size_t len);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t len);
void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t len);

static size_t allocations_left = SIZE_MAX;

static bool allocation_fails(void)
{
    return allocations_left-- == 0;
}

void *__wrap_malloc(size_t len)
{
    return allocation_fails() ? NULL : __real_malloc(len);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t len)
{
    return allocation_fails() ? NULL : __real_realloc(old, len);
}

/* What was decoded, to be compared while the arena lives. */
struct decoded {
    struct arena arena;
    const struct bytes *records;
    size_t count;
};

static void decoded_done(struct decoded *decoded)
{
    arena_done(&decoded->arena);
}
#define _cleanup_decoded_ _cleanup_(decoded_done)

static int decode(struct bytes columns, struct decoded *ret)
{
    *ret = (struct decoded){0};
    arena_init(&ret->arena, DECODE_BUDGET_BYTES_MAX);
    return columns_decode(columns, &ret->arena, &ret->records, &ret->count);
}

static void assert_same_records(const struct bytes *a, size_t a_count, const struct bytes *b, size_t b_count)
{
    assert_int_equal(a_count, b_count);
    for (size_t i = 0; i < a_count; i++)
        assert_bytes_equal(a[i], b[i]);
}

static void assert_comes_back(const struct bytes *records, size_t count)
{
    _cleanup_buffer_ struct buffer columns = {0};
    _cleanup_decoded_ struct decoded decoded;

    assert_int_equal(columns_encode(records, count, &columns), 0);
    assert_int_equal(decode(buffer_bytes(&columns), &decoded), 0);
    assert_same_records(decoded.records, decoded.count, records, count);
}

/* Many records in one buffer. */
struct batch {
    struct buffer bytes;
    size_t starts[RECORDS_MAX_HERE + 1];
    struct bytes records[RECORDS_MAX_HERE];
    size_t count;
};

static void batch_end_record(struct batch *batch)
{
    assert_true(batch->count < RECORDS_MAX_HERE);
    batch->starts[++batch->count] = batch->bytes.len;
}

static void batch_close(struct batch *batch)
{
    assert_int_equal(buffer_finish(&batch->bytes), 0);
    for (size_t i = 0; i < batch->count; i++)
        batch->records[i] =
            bytes_of(batch->bytes.data + batch->starts[i], batch->starts[i + 1] - batch->starts[i]);
}

static void batch_free(struct batch **batch)
{
    buffer_done(&(*batch)->bytes);
    free(*batch);
}
#define _cleanup_batch_ _cleanup_(batch_free)

static struct batch *batch_new(void)
{
    struct batch *batch = calloc(1, sizeof(*batch));

    assert_non_null(batch);
    return batch;
}

static uint32_t draw(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/* A walk: a finding every two minutes, some steps further. */
static void put_walk(struct batch *batch, size_t count)
{
    static const char *const codes[] = {"01028", "06013", "02019", "05001"};
    uint32_t seed = 2463534242u;

    for (size_t i = 0; i < count; i++) {
        struct record record = sample_record(RECORD_FINDING, "inspector-1");
        uint32_t chance = draw(&seed);
        char note[80];

        snprintf(note, sizeof(note), "%s at no %u, %u cm", chance & 1 ? "Pothole" : "盲道破损", chance >> 20,
            chance >> 8 & 31);
        record.wall_ms += (int64_t)i * 120000 + chance % 60000;
        record.boot_ms += (uint64_t)(record.wall_ms - SAMPLE_WALL_MS);
        record.finding = (struct finding){
            .category = sample_category(codes[chance >> 4 & 3], ""),
            .severity = (enum severity)(chance >> 6 & 3),
            .note = bytes_of_text(note),
            .has_position = true,
            .position = {.lat_e7 = 312304000 + (int32_t)(i * 411),
                .lon_e7 = 1214737000 - (int32_t)(chance % 5000),
                .accuracy_dm = 20 + (chance >> 16 & 15),
                .fix_time_ms = record.wall_ms / 1000 * 1000},
        };
        assert_int_equal(record_encode(&record, &batch->bytes), 0);
        batch_end_record(batch);
    }
    batch_close(batch);
}

static void put_samples(struct batch *batch)
{
    _cleanup_samples_ struct samples samples;

    samples_init(&samples);
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        assert_int_equal(record_encode(&samples.records[i], &batch->bytes), 0);
        batch_end_record(batch);
    }
    batch_close(batch);
}

static void columns_are_those_of_the_independent_implementation(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/columns.tsv");
    size_t checked = 0;

    while (vector_next(&vectors, "columns")) {
        _cleanup_buffer_ struct buffer columns = {0};
        _cleanup_decoded_ struct decoded decoded;
        struct bytes records[VECTOR_FIELDS_MAX], expected = vector_bytes(&vectors, 2);
        size_t count = vectors.field_count - 3;

        assert_true(vectors.field_count < VECTOR_FIELDS_MAX);
        for (size_t i = 0; i < count; i++)
            records[i] = vector_bytes(&vectors, i + 3);
        assert_int_equal(columns_encode(records, count, &columns), 0);
        assert_bytes_equal(buffer_bytes(&columns), expected);
        assert_int_equal(decode(expected, &decoded), 0);
        assert_same_records(decoded.records, decoded.count, records, count);
        checked++;
    }
    vector_close(&vectors);
    assert_int_equal(checked, 8);
}

static void what_the_independent_implementation_refuses_is_refused(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/columns.tsv");
    size_t checked = 0;

    while (vector_next(&vectors, "refused")) {
        _cleanup_decoded_ struct decoded decoded;
        int r = decode(vector_bytes(&vectors, 2), &decoded);

        if (r != -EBADMSG || decoded.records)
            fail_msg("%s: %d", vectors.fields[1], r);
        checked++;
    }
    vector_close(&vectors);
    assert_int_equal(checked, 24);
}

static void every_cut_of_columns_is_refused(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/columns.tsv");

    while (vector_next(&vectors, "columns")) {
        struct bytes columns = vector_bytes(&vectors, 2);

        for (size_t len = 0; len < columns.len; len++) {
            _cleanup_decoded_ struct decoded decoded;
            _cleanup_free_ uint8_t *exact = malloc(len > 0 ? len : 1);

            assert_non_null(exact);
            memcpy(exact, columns.data, len);
            assert_int_equal(decode(bytes_of(exact, len), &decoded), -EBADMSG);
        }
    }
    vector_close(&vectors);
}

static void no_records_and_empty_records_come_back(void **state)
{
    static const struct bytes empty[3];

    assert_comes_back(NULL, 0);
    assert_comes_back(empty, 1);
    assert_comes_back(empty, ARRAY_LEN(empty));
}

static void samples_of_every_kind_come_back(void **state)
{
    _cleanup_batch_ struct batch *batch = batch_new();

    put_samples(batch);
    assert_comes_back(batch->records, batch->count);
    for (size_t i = 0; i < batch->count; i++)
        assert_comes_back(&batch->records[i], 1);
}

/* Otherwise it would be a round trip through nothing. */
static void samples_of_every_kind_are_taken_apart(void **state)
{
    static const size_t finding_row = 6, wall_row = 1;
    _cleanup_batch_ struct batch *batch = batch_new();

    put_samples(batch);
    for (size_t i = 0; i < batch->count; i++) {
        uint8_t scratch[4096];
        struct columns_values values;

        columns_take_apart(batch->records[i], scratch, &values);
        assert_true(columns_has(values.shape, wall_row));
        assert_int_equal(
            columns_has(values.shape, finding_row), i >= SAMPLE_FINDING && i <= SAMPLE_FINDING_BEFORE_1970);
    }
}

static void a_walk_comes_back_and_is_compressed_better_than_in_rows(void **state)
{
    _cleanup_batch_ struct batch *batch = batch_new();
    _cleanup_buffer_ struct buffer columns = {0}, in_columns = {0}, in_rows = {0};

    put_walk(batch, 200);
    assert_comes_back(batch->records, batch->count);
    assert_int_equal(columns_encode(batch->records, batch->count, &columns), 0);
    assert_int_equal(compress_bytes(buffer_bytes(&columns), 9, DICTIONARY_NONE, &in_columns), 0);
    assert_int_equal(compress_bytes(buffer_bytes(&batch->bytes), 9, DICTIONARY_NONE, &in_rows), 0);
    assert_in_range(in_columns.len, 1, in_rows.len * 6 / 10);
}

/* Each byte of a sample in turn set to something else, cut out, or doubled; all in one batch with whole ones.
 */
static void mutated_records_come_back(void **state)
{
    _cleanup_batch_ struct batch *samples = batch_new();
    uint32_t seed = 88172645u;

    put_samples(samples);
    for (size_t i = 0; i < samples->count; i++) {
        _cleanup_batch_ struct batch *mutated = batch_new();
        struct bytes whole = samples->records[i];

        for (size_t at = 0; at < whole.len; at++)
            for (unsigned way = 0; way < 4; way++) {
                uint8_t other = way < 2 ? (uint8_t)draw(&seed) : whole.data[at];
                size_t repeats = way == 2 ? 0 : way == 3 ? 2 : 1;

                buffer_put(&mutated->bytes, whole.data, at);
                for (size_t n = 0; n < repeats; n++)
                    buffer_put_u8(&mutated->bytes, other);
                buffer_put(&mutated->bytes, whole.data + at + 1, whole.len - at - 1);
                batch_end_record(mutated);
            }
        batch_close(mutated);
        assert_comes_back(mutated->records, mutated->count);
    }
}

static void records_of_noise_come_back(void **state)
{
    _cleanup_batch_ struct batch *batch = batch_new();
    uint32_t seed = 1u;

    for (size_t i = 0; i < 500; i++) {
        size_t len = i % 97 == 0 ? draw(&seed) % RECORD_BYTES_MAX : draw(&seed) % 40;

        for (size_t n = 0; n < len; n++)
            buffer_put_u8(&batch->bytes, (uint8_t)draw(&seed));
        batch_end_record(batch);
    }
    batch_close(batch);
    assert_comes_back(batch->records, batch->count);
}

static void the_longest_records_come_back(void **state)
{
    _cleanup_batch_ struct batch *batch = batch_new();

    for (size_t i = 0; i < 3; i++) {
        /* Inspector of as many bytes as fit: tag, three bytes of length. */
        static const uint8_t head[] = {0x22, 0xfc, 0xff, 0x03};

        buffer_put(&batch->bytes, head, sizeof(head));
        memset(buffer_extend(&batch->bytes, 65532), 'a' + (int)i / 2, 65532);
        batch_end_record(batch);
    }
    batch_close(batch);
    assert_int_equal(batch->records[0].len, RECORD_BYTES_MAX);
    assert_comes_back(batch->records, batch->count);
}

static void encoding_appends_to_what_the_buffer_holds(void **state)
{
    _cleanup_buffer_ struct buffer columns = {0};
    struct bytes record = bytes_of_text("x");
    _cleanup_decoded_ struct decoded decoded;

    buffer_put_text(&columns, "kept");
    assert_int_equal(columns_encode(&record, 1, &columns), 0);
    assert_memory_equal(columns.data, "kept", 4);
    assert_int_equal(decode(bytes_of(columns.data + 4, columns.len - 4), &decoded), 0);
    assert_same_records(decoded.records, decoded.count, &record, 1);
}

static void batch_over_a_limit_is_not_encoded(void **state)
{
    _cleanup_free_ struct bytes *records = calloc(EXCHANGE_RECORDS_MAX + 1, sizeof(*records));
    _cleanup_free_ uint8_t *zeros = calloc(1, RECORD_BYTES_MAX + 1);
    _cleanup_buffer_ struct buffer columns = {0};

    assert_non_null(records);
    assert_non_null(zeros);
    buffer_put_text(&columns, "kept");
    records[0] = bytes_of(zeros, RECORD_BYTES_MAX + 1);
    assert_int_equal(columns_encode(records, 1, &columns), -EMSGSIZE);
    records[0].len = 0;
    assert_int_equal(columns_encode(records, EXCHANGE_RECORDS_MAX + 1, &columns), -EMSGSIZE);
    for (size_t i = 0; i < 129; i++)
        records[i] = bytes_of(zeros, i < 128 ? RECORD_BYTES_MAX : 1);
    assert_int_equal(columns_encode(records, 129, &columns), -EMSGSIZE);
    assert_int_equal(columns.len, 4);
}

static void batch_at_the_limits_comes_back(void **state)
{
    _cleanup_free_ struct bytes *records = calloc(EXCHANGE_RECORDS_MAX, sizeof(*records));
    _cleanup_free_ uint8_t *zeros = calloc(1, RECORD_BYTES_MAX);

    assert_non_null(records);
    assert_non_null(zeros);
    for (size_t i = 0; i < 128; i++)
        records[i] = bytes_of(zeros, RECORD_BYTES_MAX);
    assert_comes_back(records, EXCHANGE_RECORDS_MAX);
}

/* Texts are put together before their records are: what may be decoded fits into the largest budget all the
 * same. */
static void as_much_text_as_a_batch_may_hold_comes_back(void **state)
{
    /* A finding with a note of 65000 bytes, and nothing else. */
    static const uint8_t head[] = {0x8a, 0x01, 0xec, 0xfb, 0x03, 0x1a, 0xe8, 0xfb, 0x03};
    _cleanup_batch_ struct batch *batch = batch_new();

    for (size_t i = 0; i < 128; i++) {
        buffer_put(&batch->bytes, head, sizeof(head));
        memset(buffer_extend(&batch->bytes, 65000), i % 2 == 0 ? '7' : 'x', 65000);
        batch_end_record(batch);
    }
    batch_close(batch);
    assert_in_range(
        batch->bytes.len, EXCHANGE_INFLATED_BYTES_MAX - RECORD_BYTES_MAX * 2, EXCHANGE_INFLATED_BYTES_MAX);
    assert_comes_back(batch->records, batch->count);
}

/* A record of 65537 bytes, by two words of which each is within the limit. */
static void record_over_the_limit_is_refused_when_put_together(void **state)
{
    for (size_t more = 0; more < 2; more++) {
        /* Inspector, and opened as the rest: 4 bytes of head each. */
        static const uint8_t head[] = {1, 1, 1, 4, 0, 0, 0, 0x30, 0};
        _cleanup_buffer_ struct buffer columns = {0};
        _cleanup_decoded_ struct decoded decoded;

        buffer_put(&columns, head, sizeof(head));
        buffer_put(&columns, (const uint8_t[]){1, 0xf8, 0xff, 0x01}, 4);
        memset(buffer_extend(&columns, 32760), 'a', 32760);
        buffer_put_u8(&columns, 0);
        /* What is left for the rest once tag and length of the inspector are counted. */
        size_t rest = RECORD_BYTES_MAX - 32760 - 4 + more;
        buffer_put(&columns, (const uint8_t[]){2, (uint8_t)(rest >> 8), (uint8_t)rest}, 3);
        memset(buffer_extend(&columns, rest), 'b', rest);
        assert_int_equal(decode(buffer_bytes(&columns), &decoded), more ? -EBADMSG : 0);
    }
}

static void damaged_columns_are_refused_or_give_records_within_the_limits(void **state)
{
    _cleanup_batch_ struct batch *batch = batch_new();
    _cleanup_buffer_ struct buffer columns = {0};
    size_t taken = 0, refused = 0;

    put_walk(batch, 20);
    assert_int_equal(columns_encode(batch->records, batch->count, &columns), 0);
    for (size_t bit = 0; bit < columns.len * 8; bit++) {
        _cleanup_decoded_ struct decoded decoded;
        int r;

        columns.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        r = decode(buffer_bytes(&columns), &decoded);
        columns.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(r == 0 || r == -EBADMSG);
        taken += r == 0;
        refused += r < 0;
        for (size_t i = 0; r == 0 && i < decoded.count; i++)
            assert_in_range(decoded.records[i].len, 0, RECORD_BYTES_MAX);
    }
    assert_true(taken > 0 && refused > 0);
}

/* One word that 16384 records share: 23 KB of columns would be 128 MiB of records. */
static void columns_that_would_blow_up_are_refused_early(void **state)
{
    static const uint8_t head[] = {1, 0x80, 0x80, 0x01, 1, 4, 0, 0, 0, 0x10, 0, 1, 0xc0, 0x3e};
    _cleanup_buffer_ struct buffer columns = {0};
    _cleanup_decoded_ struct decoded decoded;

    buffer_put(&columns, head, sizeof(head));
    memset(buffer_extend(&columns, 8000), 'x', 8000);
    buffer_put_u8(&columns, 0);
    assert_int_equal(decode(buffer_bytes(&columns), &decoded), -EBADMSG);
    assert_true(
        decoded.arena.budget_left > DECODE_BUDGET_BYTES_MAX - EXCHANGE_INFLATED_BYTES_MAX - (1u << 20));
}

static void budget_that_is_used_up_is_told_and_nothing_is_returned(void **state)
{
    _cleanup_batch_ struct batch *batch = batch_new();
    _cleanup_buffer_ struct buffer columns = {0};
    size_t refused = 0;
    int r = -ENOBUFS;

    put_walk(batch, 30);
    assert_int_equal(columns_encode(batch->records, batch->count, &columns), 0);
    for (size_t budget = 0; r < 0; budget += 64, refused++) {
        _cleanup_arena_ struct arena arena;
        const struct bytes *records = NULL;
        size_t count = 12345;

        arena_init(&arena, budget);
        r = columns_decode(buffer_bytes(&columns), &arena, &records, &count);
        if (r < 0) {
            assert_int_equal(r, -ENOBUFS);
            assert_null(records);
            assert_int_equal(count, 12345);
        } else {
            assert_same_records(records, count, batch->records, batch->count);
        }
    }
    assert_in_range(refused, 20, 400);
}

static void each_allocation_that_fails_is_told_and_leaves_nothing(void **state)
{
    _cleanup_batch_ struct batch *batch = batch_new();
    _cleanup_buffer_ struct buffer whole = {0};
    size_t failed = 0;
    int r = -ENOMEM;

    put_walk(batch, 20);
    for (; r < 0; failed++) {
        _cleanup_buffer_ struct buffer columns = {0};

        allocations_left = failed;
        r = columns_encode(batch->records, batch->count, &columns);
        allocations_left = SIZE_MAX;
        assert_true(r == 0 || (r == -ENOMEM && columns.len == 0));
        if (r == 0)
            buffer_put_bytes(&whole, buffer_bytes(&columns));
    }
    assert_in_range(failed, 20, 200);

    r = -ENOBUFS;
    for (failed = 0; r < 0; failed++) {
        _cleanup_decoded_ struct decoded decoded;

        allocations_left = failed;
        r = decode(buffer_bytes(&whole), &decoded);
        allocations_left = SIZE_MAX;
        assert_true(r == 0 || (r == -ENOMEM && !decoded.records));
        if (r == 0)
            assert_same_records(decoded.records, decoded.count, batch->records, batch->count);
    }
    assert_in_range(failed, 2, 200);
}

/* The order of texts by category is only for the compressor. */
static void texts_come_back_in_the_order_of_their_records(void **state)
{
    _cleanup_batch_ struct batch *batch = batch_new();

    for (unsigned i = 0; i < 300; i++) {
        struct record record = sample_record(RECORD_FINDING, "inspector-1");
        char note[20], code[8];

        snprintf(note, sizeof(note), "%u/%u", i, i * 7 % 10);
        snprintf(code, sizeof(code), "%u", i * 31 % 17);
        record.finding = sample_finding_without_position();
        record.finding.category = sample_category(code, "");
        record.finding.note = bytes_of_text(i % 5 == 0 ? "" : note);
        if (i % 3 == 0)
            record = sample_record(RECORD_CLOSED, "");
        assert_int_equal(record_encode(&record, &batch->bytes), 0);
        batch_end_record(batch);
    }
    batch_close(batch);
    assert_comes_back(batch->records, batch->count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_those_of_the_independent_implementation),
        cmocka_unit_test(what_the_independent_implementation_refuses_is_refused),
        cmocka_unit_test(every_cut_of_columns_is_refused),
        cmocka_unit_test(no_records_and_empty_records_come_back),
        cmocka_unit_test(samples_of_every_kind_come_back),
        cmocka_unit_test(samples_of_every_kind_are_taken_apart),
        cmocka_unit_test(a_walk_comes_back_and_is_compressed_better_than_in_rows),
        cmocka_unit_test(mutated_records_come_back),
        cmocka_unit_test(records_of_noise_come_back),
        cmocka_unit_test(the_longest_records_come_back),
        cmocka_unit_test(encoding_appends_to_what_the_buffer_holds),
        cmocka_unit_test(batch_over_a_limit_is_not_encoded),
        cmocka_unit_test(batch_at_the_limits_comes_back),
        cmocka_unit_test(as_much_text_as_a_batch_may_hold_comes_back),
        cmocka_unit_test(record_over_the_limit_is_refused_when_put_together),
        cmocka_unit_test(damaged_columns_are_refused_or_give_records_within_the_limits),
        cmocka_unit_test(columns_that_would_blow_up_are_refused_early),
        cmocka_unit_test(budget_that_is_used_up_is_told_and_nothing_is_returned),
        cmocka_unit_test(each_allocation_that_fails_is_told_and_leaves_nothing),
        cmocka_unit_test(texts_come_back_in_the_order_of_their_records),
    };

    return cmocka_run_group_tests_name("proto columns", tests, NULL, NULL);
}
