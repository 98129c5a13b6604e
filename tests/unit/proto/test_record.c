/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of proto/record.h against tests/vectors/records.tsv, and against what protobuf-c reads. */
#include "tests/unit/proto/samples.h"

#include "gridpatrol.pb-c.h"

#include <errno.h>

#define VECTORS "tests/vectors/records.tsv"
#define BUDGET (256u * 1024u)

static enum sample sample_of(const char *name)
{
    for (enum sample i = 0; i < SAMPLE_COUNT; i++)
        if (strcmp(name, sample_names[i]) == 0)
            return i;
    fail_msg("no sample is called %s", name);
    return SAMPLE_COUNT;
}

static void every_kind_is_encoded_as_the_independent_writer_does(void **state)
{
    struct vector_file vectors = vector_open(VECTORS);
    _cleanup_samples_ struct samples samples;
    size_t checked = 0;

    samples_init(&samples);
    while (vector_next(&vectors, "record")) {
        enum sample sample = sample_of(vectors.fields[1]);
        _cleanup_buffer_ struct buffer encoded = {0};

        assert_int_equal(record_encode(&samples.records[sample], &encoded), 0);
        assert_bytes_equal(buffer_bytes(&encoded), vector_bytes(&vectors, 2));
        checked++;
    }
    vector_close(&vectors);
    assert_int_equal(checked, SAMPLE_COUNT);
}

static void every_kind_is_decoded_with_all_its_fields(void **state)
{
    struct vector_file vectors = vector_open(VECTORS);
    _cleanup_samples_ struct samples samples;
    _cleanup_arena_ struct arena arena;

    samples_init(&samples);
    arena_init(&arena, BUDGET);
    while (vector_next(&vectors, "record")) {
        enum sample sample = sample_of(vectors.fields[1]);
        const char *reason = "none";
        struct record record;

        assert_int_equal(record_decode(vector_bytes(&vectors, 2), &arena, &record, &reason), 0);
        assert_string_equal(reason, "none");
        assert_record_equal(&record, &samples.records[sample]);
    }
    vector_close(&vectors);
}

static void fields_of_a_newer_sender_are_passed_over(void **state)
{
    struct vector_file vectors = vector_open(VECTORS);
    _cleanup_samples_ struct samples samples;
    _cleanup_arena_ struct arena arena;
    struct record record;

    samples_init(&samples);
    arena_init(&arena, BUDGET);
    assert_true(vector_next(&vectors, "newer"));
    assert_int_equal(record_decode(vector_bytes(&vectors, 2), &arena, &record, NULL), 0);
    assert_record_equal(&record, &samples.records[SAMPLE_FINDING_WITHOUT_POSITION]);
    vector_close(&vectors);
}

static void each_broken_rule_is_refused_with_its_reason(void **state)
{
    struct vector_file vectors = vector_open(VECTORS);
    _cleanup_arena_ struct arena arena;
    size_t checked = 0;

    arena_init(&arena, BUDGET);
    while (vector_next(&vectors, "refused")) {
        const char *expected = vectors.fields[1], *reason = "none";
        struct record record = {.wall_ms = 4711};

        arena_reset(&arena, BUDGET);
        assert_int_equal(record_decode(vector_bytes(&vectors, 2), &arena, &record, &reason), -EBADMSG);
        if (!strstr(reason, expected))
            fail_msg("refused for \"%s\", not for \"%s\"", reason, expected);
        assert_int_equal(record.wall_ms, 4711);
        checked++;
    }
    vector_close(&vectors);
    assert_true(checked > 50);
}

static void limits_are_met_exactly(void **state)
{
    static char note[NOTE_BYTES_MAX + 1];
    static struct sha256 lost[DEVICE_EVENT_LOST_BLOBS_MAX + 1];
    _cleanup_samples_ struct samples samples;
    _cleanup_buffer_ struct buffer encoded = {0};
    _cleanup_arena_ struct arena arena;
    const char *reason = "none";
    struct record decoded, *record;

    samples_init(&samples);
    memset(note, 'n', sizeof(note));
    arena_init(&arena, BUDGET);

    record = &samples.records[SAMPLE_FINDING];
    record->finding.note = bytes_of(note, NOTE_BYTES_MAX);
    assert_int_equal(record_encode(record, &encoded), 0);
    assert_int_equal(record_decode(buffer_bytes(&encoded), &arena, &decoded, NULL), 0);
    record->finding.note.len++;
    assert_int_equal(record_check(record, &reason), -EINVAL);
    assert_string_equal(reason, "note is too long");

    record = &samples.records[SAMPLE_DEVICE_EVENT];
    record->device_event.lost_blobs = lost;
    record->device_event.lost_blob_count = DEVICE_EVENT_LOST_BLOBS_MAX;
    buffer_clear(&encoded);
    assert_int_equal(record_encode(record, &encoded), 0);
    assert_int_equal(record_decode(buffer_bytes(&encoded), &arena, &decoded, NULL), 0);
    assert_int_equal(decoded.device_event.lost_blob_count, DEVICE_EVENT_LOST_BLOBS_MAX);
    record->device_event.lost_blob_count++;
    assert_int_equal(record_check(record, &reason), -EINVAL);
    assert_string_equal(reason, "too many lost photos");
}

static void a_record_over_the_limit_is_neither_encoded_nor_decoded(void **state)
{
    static uint8_t inner[RECORD_BYTES_MAX], bytes[RECORD_BYTES_MAX + 1];
    _cleanup_samples_ struct samples samples;
    _cleanup_buffer_ struct buffer encoded = {0};
    _cleanup_arena_ struct arena arena;
    const char *reason = "none";
    struct record decoded, *record;
    size_t overhead;

    samples_init(&samples);
    arena_init(&arena, BUDGET);
    record = &samples.records[SAMPLE_REHOMED];
    record->rehomed.record = bytes_of(inner, RECORD_CAPTURE_BYTES_MAX);
    assert_int_equal(record_encode(record, &encoded), 0);
    overhead = encoded.len - RECORD_CAPTURE_BYTES_MAX;

    buffer_clear(&encoded);
    record->rehomed.record.len = RECORD_BYTES_MAX - overhead;
    assert_int_equal(record_encode(record, &encoded), 0);
    assert_int_equal(encoded.len, RECORD_BYTES_MAX);
    assert_int_equal(record_decode(buffer_bytes(&encoded), &arena, &decoded, NULL), 0);

    buffer_clear(&encoded);
    record->rehomed.record.len++;
    assert_int_equal(record_encode(record, &encoded), -EMSGSIZE);
    assert_int_equal(encoded.len, 0);
    assert_int_equal(record_decode(bytes_of(bytes, sizeof(bytes)), &arena, &decoded, &reason), -EBADMSG);
    assert_string_equal(reason, "record is too long");
}

static void a_record_cut_anywhere_is_refused(void **state)
{
    _cleanup_samples_ struct samples samples;

    samples_init(&samples);
    for (enum sample i = 0; i < SAMPLE_COUNT; i++) {
        _cleanup_buffer_ struct buffer encoded = {0};
        _cleanup_arena_ struct arena arena;
        struct record record;

        arena_init(&arena, BUDGET);
        assert_int_equal(record_encode(&samples.records[i], &encoded), 0);
        for (size_t len = 0; len < encoded.len; len++) {
            /* A copy of exactly this length, so that a sanitizer sees a read behind it. */
            uint8_t *cut = malloc(len > 0 ? len : 1);

            assert_non_null(cut);
            memcpy(cut, encoded.data, len);
            arena_reset(&arena, BUDGET);
            assert_int_equal(record_decode(bytes_of(cut, len), &arena, &record, NULL), -EBADMSG);
            free(cut);
        }
    }
}

static void a_budget_that_is_too_small_is_said_so(void **state)
{
    _cleanup_samples_ struct samples samples;

    samples_init(&samples);
    for (enum sample i = 0; i < SAMPLE_COUNT; i++) {
        _cleanup_buffer_ struct buffer encoded = {0};
        size_t budget = 0;
        int r = -ENOBUFS;

        assert_int_equal(record_encode(&samples.records[i], &encoded), 0);
        for (; r < 0; budget++) {
            struct record record = {.wall_ms = 4711};
            _cleanup_arena_ struct arena arena;

            arena_init(&arena, budget);
            r = record_decode(buffer_bytes(&encoded), &arena, &record, NULL);
            assert_true(r == 0 || (r == -ENOBUFS && record.wall_ms == 4711));
            assert_true(budget <= arena_budget_for(encoded.len));
        }
    }
}

/* Whatever stands in the bytes: what we take, protobuf-c takes too, and it is encoded to the same meaning
 * again. */
static void changed_bytes_are_read_as_protobuf_c_reads_them(void **state)
{
    _cleanup_samples_ struct samples samples;
    size_t taken = 0;

    samples_init(&samples);
    for (enum sample i = 0; i < SAMPLE_COUNT; i++) {
        _cleanup_buffer_ struct buffer encoded = {0};
        _cleanup_arena_ struct arena arena;

        arena_init(&arena, BUDGET);
        assert_int_equal(record_encode(&samples.records[i], &encoded), 0);
        for (size_t bit = 0; bit < encoded.len * 8; bit++) {
            struct record record;
            Wire__Record *wire;

            encoded.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            arena_reset(&arena, BUDGET);
            if (record_decode(buffer_bytes(&encoded), &arena, &record, NULL) == 0) {
                wire = wire__record__unpack(NULL, encoded.len, encoded.data);
                assert_non_null(wire);
                assert_int64_equal(record.wall_ms, wire->wall_ms);
                assert_int_equal(record.utc_offset_min, wire->utc_offset_min);
                assert_int_equal(record.kind, wire->body_case);
                assert_bytes_equal(record.inspector, bytes_of(wire->inspector.data, wire->inspector.len));
                if (record.kind == RECORD_FINDING) {
                    assert_int_equal(record.finding.photo_count, wire->finding->n_photos);
                    assert_int_equal(record.finding.severity, wire->finding->severity);
                    assert_bytes_equal(
                        record.finding.note, bytes_of(wire->finding->note.data, wire->finding->note.len));
                }
                wire__record__free_unpacked(wire, NULL);
                taken++;
            }
            encoded.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
    assert_true(taken > 100);
}

static void times_of_any_clock_survive(void **state)
{
    static const int64_t times_ms[] = {
        INT64_MIN, INT64_MIN + 1, -1000, -999, -1, 1, 999, 1000, 1795430033123, INT64_MAX - 1, INT64_MAX};
    static const uint64_t boots_ms[] = {0, 1, 1795430033123, INT64_MAX, UINT64_MAX};

    for (size_t i = 0; i < ARRAY_LEN(times_ms); i++)
        for (size_t j = 0; j < ARRAY_LEN(times_ms); j++)
            for (size_t k = 0; k < ARRAY_LEN(boots_ms); k++) {
                struct record record = sample_record(RECORD_FINDING, "i"), decoded;
                _cleanup_buffer_ struct buffer encoded = {0};
                _cleanup_arena_ struct arena arena;

                arena_init(&arena, BUDGET);
                record.finding = sample_finding_without_position();
                record.wall_ms = times_ms[i];
                record.finding.observed_ms = times_ms[j];
                record.boot_ms = boots_ms[k];
                assert_int_equal(record_encode(&record, &encoded), 0);
                assert_int_equal(record_decode(buffer_bytes(&encoded), &arena, &decoded, NULL), 0);
                assert_record_equal(&record, &decoded);
            }
}

static void names_of_severities_go_there_and_back(void **state)
{
    static const enum severity severities[] = {
        SEVERITY_MINOR, SEVERITY_NORMAL, SEVERITY_SERIOUS, SEVERITY_URGENT};
    enum severity severity = SEVERITY_NONE;

    for (size_t i = 0; i < ARRAY_LEN(severities); i++) {
        assert_int_equal(severity_from_name(severity_name(severities[i]), &severity), 0);
        assert_int_equal(severity, severities[i]);
    }
    assert_string_equal(severity_name(SEVERITY_NONE), "");
    assert_int_equal(severity_from_name("", &severity), -EINVAL);
    assert_int_equal(severity_from_name("Minor", &severity), -EINVAL);
}

static void only_findings_and_amendments_have_a_finding(void **state)
{
    _cleanup_samples_ struct samples samples;

    samples_init(&samples);
    for (enum sample i = 0; i < SAMPLE_COUNT; i++) {
        const struct record *record = &samples.records[i];
        bool has_one = record->kind == RECORD_FINDING || record->kind == RECORD_AMENDMENT;

        assert_int_equal(record_finding(record) != NULL, has_one);
        assert_string_not_equal(record_kind_name(record->kind), "unknown");
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_encoded_as_the_independent_writer_does),
        cmocka_unit_test(every_kind_is_decoded_with_all_its_fields),
        cmocka_unit_test(fields_of_a_newer_sender_are_passed_over),
        cmocka_unit_test(each_broken_rule_is_refused_with_its_reason),
        cmocka_unit_test(limits_are_met_exactly),
        cmocka_unit_test(a_record_over_the_limit_is_neither_encoded_nor_decoded),
        cmocka_unit_test(a_record_cut_anywhere_is_refused),
        cmocka_unit_test(a_budget_that_is_too_small_is_said_so),
        cmocka_unit_test(changed_bytes_are_read_as_protobuf_c_reads_them),
        cmocka_unit_test(times_of_any_clock_survive),
        cmocka_unit_test(names_of_severities_go_there_and_back),
        cmocka_unit_test(only_findings_and_amendments_have_a_finding),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
