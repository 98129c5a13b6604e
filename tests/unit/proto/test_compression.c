/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of proto/compression.h: what was deflated comes back, and nothing damaged, endless or unknown does.
 */
#include "tests/unit/proto/vectors.h"

#include "proto/compression.h"
#include "proto/ids.h"
#include "proto/limits.h"

#include <errno.h>
#include <glob.h>
#include <zlib.h>

/* Text that compresses, of any length. */
static void put_sample(struct buffer *buffer, size_t len)
{
    for (unsigned i = 0; buffer->len < len; i++)
        buffer_printf(buffer, "finding %u: hoarding torn at gate %u; ", i * 7919u, i % 13u);
    buffer->len = len;
    assert_int_equal(buffer_finish(buffer), 0);
}

/* Bytes that do not compress. */
static void put_noise(struct buffer *buffer, size_t len)
{
    uint32_t x = 2463534242u;

    for (size_t i = 0; i < len; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        buffer_put_u8(buffer, (uint8_t)x);
    }
    assert_int_equal(buffer_finish(buffer), 0);
}

static void bytes_of_any_length_and_level_come_back(void **state)
{
    static const size_t lens[] = {0, 1, 2, 100, 4095, 4096, 4097, 8192, 65535, 65536, 300000, 3000000};
    const uint32_t *names;
    size_t count = dictionary_names(&names);

    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        _cleanup_buffer_ struct buffer plain = {0};

        put_sample(&plain, lens[i]);
        for (int level = 1; level <= 9; level += 4) {
            for (size_t d = 0; d <= count; d++) {
                _cleanup_buffer_ struct buffer stream = {0}, again = {0};
                uint32_t dictionary = d < count ? names[d] : DICTIONARY_NONE;

                assert_int_equal(compress_bytes(buffer_bytes(&plain), level, dictionary, &stream), 0);
                assert_int_equal(inflate_bytes(buffer_bytes(&stream), lens[i], &again), 0);
                assert_true(bytes_equal(buffer_bytes(&again), buffer_bytes(&plain)));
            }
        }
    }
}

static void noise_comes_back(void **state)
{
    _cleanup_buffer_ struct buffer plain = {0}, stream = {0}, again = {0};

    put_noise(&plain, 200000);
    assert_int_equal(compress_bytes(buffer_bytes(&plain), 9, DICTIONARY_NONE, &stream), 0);
    assert_int_equal(inflate_bytes(buffer_bytes(&stream), plain.len, &again), 0);
    assert_true(bytes_equal(buffer_bytes(&again), buffer_bytes(&plain)));
}

static void both_append_to_what_the_buffer_holds(void **state)
{
    _cleanup_buffer_ struct buffer stream = {0}, plain = {0};

    buffer_put_text(&stream, "abc");
    assert_int_equal(compress_bytes(bytes_of_text("hello hello"), 6, DICTIONARY_NONE, &stream), 0);
    assert_memory_equal(stream.data, "abc", 3);
    buffer_put_text(&plain, "xyz");
    assert_int_equal(inflate_bytes(bytes_of(stream.data + 3, stream.len - 3), 11, &plain), 0);
    assert_string_equal(buffer_text(&plain), "xyzhello hello");
}

static void stream_over_the_limit_is_refused_and_leaves_nothing(void **state)
{
    static const size_t lens[] = {1, 4096, 4097, 100000, 2000000};

    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        _cleanup_buffer_ struct buffer plain = {0}, stream = {0}, again = {0};

        put_sample(&plain, lens[i]);
        assert_int_equal(compress_bytes(buffer_bytes(&plain), 6, DICTIONARY_NONE, &stream), 0);
        buffer_put_text(&again, "kept");
        assert_int_equal(inflate_bytes(buffer_bytes(&stream), lens[i] - 1, &again), -EFBIG);
        assert_int_equal(inflate_bytes(buffer_bytes(&stream), 0, &again), -EFBIG);
        assert_int_equal(again.len, 4);
        assert_int_equal(inflate_bytes(buffer_bytes(&stream), lens[i], &again), 0);
    }
}

/* RFC 1950, section 2.2: the upper half of the first byte is the window's size, 2 to the power of 8 and it.
 */
static void window_is_as_large_as_what_it_has_to_hold(void **state)
{
    static const struct {
        size_t len;
        uint8_t window;
    } cases[] = {{0, 1}, {249, 1}, {251, 2}, {762, 2}, {763, 3}, {32000, 7}, {300000, 7}};

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        _cleanup_buffer_ struct buffer plain = {0}, stream = {0};

        put_noise(&plain, cases[i].len);
        assert_int_equal(compress_bytes(buffer_bytes(&plain), 6, DICTIONARY_NONE, &stream), 0);
        assert_int_equal(stream.data[0], cases[i].window << 4 | 8);
    }
}

/* Small windows and their small tables, with and without the dictionary in front. */
static void noise_and_text_of_every_short_length_come_back(void **state)
{
    const uint32_t *names;
    size_t count = dictionary_names(&names);

    for (size_t len = 0; len < 9000; len += len < 1100 ? 1 : 61) {
        for (unsigned kind = 0; kind < 4; kind++) {
            _cleanup_buffer_ struct buffer plain = {0}, stream = {0}, again = {0};
            uint32_t dictionary = kind / 2 == 0 || count == 0 ? DICTIONARY_NONE : names[0];

            if (kind % 2 == 0)
                put_noise(&plain, len);
            else
                put_sample(&plain, len);
            assert_int_equal(compress_bytes(buffer_bytes(&plain), 6, dictionary, &stream), 0);
            assert_int_equal(inflate_bytes(buffer_bytes(&stream), len, &again), 0);
            assert_true(bytes_equal(buffer_bytes(&again), buffer_bytes(&plain)));
        }
    }
}

/* A megabyte of zeros is a kilobyte of stream; what is inflated never passes the limit by much. */
static void bomb_is_refused_without_being_inflated(void **state)
{
    _cleanup_buffer_ struct buffer plain = {0}, stream = {0}, again = {0};

    memset(buffer_extend(&plain, 64u << 20), 0, 64u << 20);
    assert_int_equal(compress_bytes(buffer_bytes(&plain), 9, DICTIONARY_NONE, &stream), 0);
    assert_in_range(stream.len, 1, 70000);
    assert_int_equal(inflate_bytes(buffer_bytes(&stream), 1u << 20, &again), -EFBIG);
    assert_in_range(again.capacity, 0, 4u << 20);
}

static void damaged_stream_is_refused(void **state)
{
    _cleanup_buffer_ struct buffer plain = {0}, stream = {0}, again = {0};

    put_sample(&plain, 3000);
    assert_int_equal(compress_bytes(buffer_bytes(&plain), 9, DICTIONARY_NONE, &stream), 0);
    for (size_t len = 0; len < stream.len; len++)
        assert_int_equal(inflate_bytes(bytes_of(stream.data, len), 3000, &again), -EBADMSG);
    for (size_t bit = 0; bit < stream.len * 8; bit++) {
        int r;

        stream.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        r = inflate_bytes(buffer_bytes(&stream), 3000, &again);
        stream.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        /* A larger window in the header, or the bits that fill up the last block, change nothing: then the
         * bytes are still those. */
        if (r == 0)
            assert_true(bytes_equal(buffer_bytes(&again), buffer_bytes(&plain)));
        else
            assert_true(r == -EBADMSG || r == -EFBIG || r == -ENOENT);
        buffer_clear(&again);
    }
    buffer_put_u8(&stream, 0);
    assert_int_equal(inflate_bytes(buffer_bytes(&stream), 3000, &again), -EBADMSG);
    assert_int_equal(again.len, 0);
}

/* zlib by itself would give numbers, text and noise one code. */
static void bytes_of_several_kinds_take_fewer_than_in_the_blocks_of_zlib(void **state)
{
    _cleanup_buffer_ struct buffer plain = {0}, stream = {0}, again = {0};
    uint8_t by_zlib[32768];
    uLongf by_zlib_len = sizeof(by_zlib);

    for (unsigned i = 0; i < 2000; i++)
        buffer_put_u8(&plain, (uint8_t)(i * 2654435761u >> 30));
    put_sample(&plain, 4000);
    put_noise(&plain, 6000);
    assert_int_equal(compress2(by_zlib, &by_zlib_len, plain.data, plain.len, 9), Z_OK);
    assert_int_equal(compress_bytes(buffer_bytes(&plain), 9, DICTIONARY_NONE, &stream), 0);
    assert_in_range(stream.len, 1, by_zlib_len - 100);
    assert_int_equal(inflate_bytes(buffer_bytes(&stream), plain.len, &again), 0);
    assert_true(bytes_equal(buffer_bytes(&again), buffer_bytes(&plain)));
}

/* Each piece of another kind than the one before: as many blocks as there can be. */
static void bytes_that_change_all_the_time_come_back(void **state)
{
    for (int level = 1; level <= 9; level++) {
        _cleanup_buffer_ struct buffer plain = {0}, stream = {0}, again = {0};

        for (unsigned i = 0; i < 400; i++)
            if (i % 2 == 0)
                put_noise(&plain, 512);
            else
                memset(buffer_extend(&plain, 512), (int)i & 0xff, 512);
        assert_int_equal(compress_bytes(buffer_bytes(&plain), level, DICTIONARY_NONE, &stream), 0);
        assert_int_equal(inflate_bytes(buffer_bytes(&stream), plain.len, &again), 0);
        assert_true(bytes_equal(buffer_bytes(&again), buffer_bytes(&plain)));
    }
}

static void two_streams_in_a_row_are_refused(void **state)
{
    _cleanup_buffer_ struct buffer stream = {0}, again = {0};

    assert_int_equal(compress_bytes(bytes_of_text("one"), 9, DICTIONARY_NONE, &stream), 0);
    assert_int_equal(compress_bytes(bytes_of_text("two"), 9, DICTIONARY_NONE, &stream), 0);
    assert_int_equal(inflate_bytes(buffer_bytes(&stream), 100, &again), -EBADMSG);
}

/* Bare deflate and gzip are other formats. */
static void other_formats_are_refused(void **state)
{
    static const int window_bits[] = {-15, 15 + 16};

    for (size_t i = 0; i < ARRAY_LEN(window_bits); i++) {
        _cleanup_buffer_ struct buffer again = {0};
        uint8_t out[200], plain[] = "hello hello hello";
        z_stream stream = {
            .next_in = plain, .avail_in = sizeof(plain), .next_out = out, .avail_out = sizeof(out)};

        assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, window_bits[i], 8, Z_DEFAULT_STRATEGY), Z_OK);
        assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
        assert_int_equal(inflate_bytes(bytes_of(out, stream.total_out), 100, &again), -EBADMSG);
        deflateEnd(&stream);
    }
}

static void unknown_dictionary_is_refused_by_both(void **state)
{
    static const uint8_t dictionary[] = "a dictionary that nobody ships";
    _cleanup_buffer_ struct buffer again = {0}, stream_out = {0};
    uint8_t out[200], plain[] = "a dictionary that nobody ships, used";
    z_stream stream = {
        .next_in = plain, .avail_in = sizeof(plain), .next_out = out, .avail_out = sizeof(out)};

    assert_int_equal(deflateInit(&stream, 9), Z_OK);
    assert_int_equal(deflateSetDictionary(&stream, dictionary, sizeof(dictionary)), Z_OK);
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(inflate_bytes(bytes_of(out, stream.total_out), 100, &again), -ENOENT);
    deflateEnd(&stream);

    assert_false(dictionary_is_known(0x12345678));
    assert_false(dictionary_is_known(DICTIONARY_NONE));
    assert_int_equal(compress_bytes(bytes_of_text("x"), 6, 0x12345678, &stream_out), -ENOENT);
    assert_int_equal(stream_out.len, 0);
}

/* What was ever shipped is kept for ever, byte for byte: others name it by its Adler-32. */
static void dictionary_1_is_the_one_that_was_shipped(void **state)
{
    static const char expected[] = "346663e49c6e49560775044dca6996dc215e6ba267cea0d1453108cdb571922a";
    _cleanup_buffer_ struct buffer content = {0};
    _cleanup_fclose_ FILE *file = fopen("proto/dictionary/dictionary_1.bin", "r");
    char hex[SHA256_TEXT_LEN + 1];
    struct sha256 hash;

    assert_non_null(file);
    buffer_extend(&content, 8193);
    content.len = fread(content.data, 1, 8193, file);
    assert_in_range(content.len, 1, 8192);
    hash = sha256_of(buffer_bytes(&content));
    text_hex(hash.b, SHA256_BYTES, hex);
    assert_string_equal(hex, expected);
    assert_int_equal(adler32(1, content.data, (uInt)content.len), 0x00ff163b);
}

static void each_dictionary_file_is_known_by_its_adler(void **state)
{
    const uint32_t *names;
    size_t count = dictionary_names(&names);
    glob_t files;

    assert_int_equal(glob("proto/dictionary/dictionary_*.bin", 0, NULL, &files), 0);
    assert_int_equal(files.gl_pathc, count);
    for (size_t i = 0; i < count; i++) {
        _cleanup_fclose_ FILE *file = fopen(files.gl_pathv[i], "r");
        uint8_t content[8193];
        size_t len;

        assert_non_null(file);
        len = fread(content, 1, sizeof(content), file);
        assert_true(dictionary_is_known((uint32_t)adler32(1, content, (uInt)len)));
    }
    globfree(&files);
}

static void streams_of_the_independent_implementation_are_inflated(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/compression.tsv");
    size_t checked = 0;

    while (vector_next(&vectors, "stream")) {
        _cleanup_buffer_ struct buffer plain = {0}, own = {0}, again = {0};
        uint32_t name = (uint32_t)vector_number(&vectors, 1);
        struct bytes expected = vector_bytes(&vectors, 2), stream = vector_bytes(&vectors, 3);

        assert_int_equal(inflate_bytes(stream, 10000, &plain), 0);
        assert_true(bytes_equal(buffer_bytes(&plain), expected));
        /* RFC 1950, section 2.2: FDICT is bit 5 of the second byte, and the name follows. */
        assert_int_equal(compress_bytes(expected, 9, name, &own), 0);
        assert_int_equal(own.data[1] & 0x20, 0x20);
        assert_memory_equal(own.data + 2, stream.data + 2, 4);
        assert_int_equal(inflate_bytes(buffer_bytes(&own), 10000, &again), 0);
        assert_true(bytes_equal(buffer_bytes(&again), expected));
        checked++;
    }
    vector_close(&vectors);
    assert_int_equal(checked, 4);
}

static void one_finding_takes_fewer_bytes_with_the_dictionary(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/records.tsv");
    const uint32_t *names;

    dictionary_names(&names);
    while (vector_next(&vectors, "record")) {
        _cleanup_buffer_ struct buffer without = {0}, with = {0};
        struct bytes record;

        if (strcmp(vectors.fields[1], "finding") != 0)
            continue;
        record = vector_bytes(&vectors, 2);
        assert_int_equal(compress_bytes(record, 9, DICTIONARY_NONE, &without), 0);
        assert_int_equal(compress_bytes(record, 9, names[0], &with), 0);
        assert_in_range(with.len, 1, without.len - 20);
    }
    vector_close(&vectors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_any_length_and_level_come_back),
        cmocka_unit_test(noise_comes_back),
        cmocka_unit_test(both_append_to_what_the_buffer_holds),
        cmocka_unit_test(stream_over_the_limit_is_refused_and_leaves_nothing),
        cmocka_unit_test(window_is_as_large_as_what_it_has_to_hold),
        cmocka_unit_test(noise_and_text_of_every_short_length_come_back),
        cmocka_unit_test(bomb_is_refused_without_being_inflated),
        cmocka_unit_test(damaged_stream_is_refused),
        cmocka_unit_test(bytes_of_several_kinds_take_fewer_than_in_the_blocks_of_zlib),
        cmocka_unit_test(bytes_that_change_all_the_time_come_back),
        cmocka_unit_test(two_streams_in_a_row_are_refused),
        cmocka_unit_test(other_formats_are_refused),
        cmocka_unit_test(unknown_dictionary_is_refused_by_both),
        cmocka_unit_test(dictionary_1_is_the_one_that_was_shipped),
        cmocka_unit_test(each_dictionary_file_is_known_by_its_adler),
        cmocka_unit_test(streams_of_the_independent_implementation_are_inflated),
        cmocka_unit_test(one_finding_takes_fewer_bytes_with_the_dictionary),
    };

    return cmocka_run_group_tests_name("proto compression", tests, NULL, NULL);
}
