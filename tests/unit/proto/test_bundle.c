/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of proto/bundle.h: the files of tests/vectors/bundle.tsv, and bundles in which messages stand where
 * they must not, made by somebody who has the key.
 */
#include "tests/unit/proto/message_samples.h"

#include "proto/bundle.h"

#include <errno.h>

#define MESSAGES_MAX 16u

struct bundle_vector {
    struct bundle_secrets secrets;
    struct buffer head, envelope, photos, file;
};

static void vector_done(struct bundle_vector *vector)
{
    buffer_done(&vector->head);
    buffer_done(&vector->envelope);
    buffer_done(&vector->photos);
    buffer_done(&vector->file);
}

static void take_vector(const char *what, struct bundle_vector *ret)
{
    struct vector_file vectors = vector_open("tests/vectors/bundle.tsv");

    *ret = (struct bundle_vector){0};
    assert_true(vector_next(&vectors, what));
    memcpy(ret->secrets.key, vector_bytes(&vectors, 1).data, BUNDLE_KEY_BYTES);
    memcpy(ret->secrets.seal_seed, vector_bytes(&vectors, 2).data, sizeof(ret->secrets.seal_seed));
    memcpy(ret->secrets.header, vector_bytes(&vectors, 3).data, BUNDLE_HEADER_BYTES);
    buffer_put_bytes(&ret->head, vector_bytes(&vectors, 4));
    buffer_put_bytes(&ret->envelope, vector_bytes(&vectors, 5));
    buffer_put_bytes(&ret->photos, vector_bytes(&vectors, 6));
    buffer_put_bytes(&ret->file, vector_bytes(&vectors, 7));
    vector_close(&vectors);
}
#define _cleanup_vector_ _cleanup_(vector_done)

/* ---- reading a file that is in memory ---- */

struct read_bundle {
    int error; /* of the start or of a message; 0: none; -ENODATA: the file ends before its end */
    size_t count;
    enum bundle_kind kinds[MESSAGES_MAX];
    struct buffer bodies; /* of all messages but the head */
    struct bundle_head head;
    bool is_whole;
};

static void read_done(struct read_bundle *read)
{
    buffer_done(&read->bodies);
}
#define _cleanup_read_ _cleanup_(read_done)

static int read_next(
    struct bundle_reader *reader, struct cursor *file, uint8_t *plain, struct bundle_message *ret)
{
    struct bytes length = cursor_take(file, BUNDLE_FRAME_LENGTH_BYTES), frame;
    size_t len;

    if (file->failed)
        return -ENODATA;
    if (bundle_read_length(length.data, &len) < 0)
        return -EBADMSG;
    frame = cursor_take(file, len);
    return file->failed ? -ENODATA : bundle_read_message(reader, frame, plain, ret);
}

static void read_bundle(struct bytes bytes, const struct sign_key *key, struct read_bundle *ret)
{
    struct cursor file = cursor_of(bytes);
    struct bytes start = cursor_take(&file, BUNDLE_START_BYTES);
    uint8_t *plain = malloc(BUNDLE_MESSAGE_BYTES_MAX);
    struct bundle_message message;
    struct bundle_reader reader;

    assert_non_null(plain);
    *ret = (struct read_bundle){0};
    ret->error = file.failed ? -ENODATA : bundle_read_start(&reader, start.data, key);
    while (ret->error == 0 && !(reader.has_ended && cursor_left(&file) == 0)) {
        ret->error = read_next(&reader, &file, plain, &message);
        if (ret->error < 0)
            break;
        assert_true(ret->count < MESSAGES_MAX);
        ret->kinds[ret->count++] = message.kind;
        if (message.kind == BUNDLE_HEAD)
            ret->head = message.head;
        else
            buffer_put_bytes(&ret->bodies, message.body);
    }
    ret->is_whole = ret->error == 0;
    free(plain);
}

/* ---- the independent file ---- */

/* As make_bundle_vectors.py cuts the photos. */
#define VECTOR_CHUNK 40u

static void write_photo(struct bundle_writer *writer, struct bytes photo, struct buffer *ret)
{
    struct sha256 sha256 = sha256_of(photo);
    struct cursor cursor = cursor_of(photo);

    assert_int_equal(bundle_write_photo(writer, &sha256, photo.len, ret), 0);
    while (cursor_left(&cursor) > 0) {
        size_t len = cursor_left(&cursor) < VECTOR_CHUNK ? cursor_left(&cursor) : VECTOR_CHUNK;

        assert_int_equal(bundle_write_chunk(writer, cursor_take(&cursor, len), ret), 0);
    }
}

static void write_start(
    struct bundle_writer *writer, const struct bundle_secrets *secrets, struct buffer *ret)
{
    _cleanup_message_samples_ struct message_samples samples;
    struct sign_key server = sample_server_key();

    message_samples_init(&samples);
    assert_int_equal(bundle_write_start(writer, server.public.public_key, secrets, ret), 0);
    assert_int_equal(bundle_write_head(writer, &samples.bundle_head, ret), 0);
}

static void a_bundle_is_written_as_the_independent_writer_does(void **state)
{
    _cleanup_vector_ struct bundle_vector vector;
    _cleanup_buffer_ struct buffer file = {0};
    struct bundle_writer writer;
    struct bytes photos;

    take_vector("bundle", &vector);
    photos = buffer_bytes(&vector.photos);
    write_start(&writer, &vector.secrets, &file);
    assert_int_equal(bundle_write_exchange(&writer, buffer_bytes(&vector.envelope), &file), 0);
    write_photo(&writer, bytes_of(photos.data, photos.len - 1), &file);
    write_photo(&writer, bytes_of(photos.data + photos.len - 1, 1), &file);
    assert_int_equal(bundle_write_end(&writer, &file), 0);
    assert_bytes_equal(buffer_bytes(&file), buffer_bytes(&vector.file));
}

static void the_independent_bundle_is_read(void **state)
{
    static const enum bundle_kind kinds[] = {BUNDLE_HEAD, BUNDLE_EXCHANGE, BUNDLE_PHOTO, BUNDLE_CHUNK,
        BUNDLE_CHUNK, BUNDLE_CHUNK, BUNDLE_PHOTO, BUNDLE_CHUNK, BUNDLE_END};
    struct sign_key server = sample_server_key();
    struct uuid device = sample_device();
    _cleanup_vector_ struct bundle_vector vector;
    _cleanup_read_ struct read_bundle read;

    take_vector("bundle", &vector);
    read_bundle(buffer_bytes(&vector.file), &server, &read);
    assert_true(read.is_whole);
    assert_int_equal(read.count, ARRAY_LEN(kinds));
    assert_memory_equal(read.kinds, kinds, sizeof(kinds));
    assert_true(uuid_equal(&read.head.device, &device));
    assert_int64_equal(read.head.made_ms, SAMPLE_WALL_MS);
    assert_int_equal(read.bodies.len, vector.envelope.len + vector.photos.len + 2 * (SHA256_BYTES + 8));
}

static void the_stream_is_that_of_the_independent_writer(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/bundle.tsv");
    crypto_secretstream_xchacha20poly1305_state stream;
    bool has_begun = false;
    size_t checked = 0;

    for (; vector_next(&vectors, "stream"); checked++) {
        uint8_t cipher[256];
        struct bytes key = vector_bytes(&vectors, 1), header = vector_bytes(&vectors, 2);
        struct bytes plain = vector_bytes(&vectors, 3), expected = vector_bytes(&vectors, 5);

        if (!has_begun)
            assert_int_equal(
                crypto_secretstream_xchacha20poly1305_init_pull(&stream, header.data, key.data), 0);
        has_begun = true;
        assert_true(plain.len + BUNDLE_FRAME_MORE_BYTES <= sizeof(cipher));
        crypto_secretstream_xchacha20poly1305_push(
            &stream, cipher, NULL, plain.data, plain.len, NULL, 0, (uint8_t)vector_number(&vectors, 4));
        assert_bytes_equal(bytes_of(cipher, plain.len + BUNDLE_FRAME_MORE_BYTES), expected);
    }
    vector_close(&vectors);
    assert_int_equal(checked, 9);
}

/* ---- damage ---- */

static void no_bit_of_a_bundle_can_change_unnoticed(void **state)
{
    struct sign_key server = sample_server_key();
    _cleanup_vector_ struct bundle_vector vector;

    take_vector("bundle", &vector);
    for (size_t bit = 0; bit < vector.file.len * 8; bit++) {
        _cleanup_read_ struct read_bundle read;

        vector.file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        read_bundle(buffer_bytes(&vector.file), &server, &read);
        if (read.is_whole)
            fail_msg("bit %zu of byte %zu can change", bit % 8, bit / 8);
        vector.file.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void a_bundle_cut_anywhere_is_not_whole_and_gives_what_was_whole_before(void **state)
{
    struct sign_key server = sample_server_key();
    _cleanup_vector_ struct bundle_vector vector;
    size_t before = 0;

    take_vector("bundle", &vector);
    for (size_t len = 0; len < vector.file.len; len++) {
        uint8_t *cut = malloc(len > 0 ? len : 1);
        _cleanup_read_ struct read_bundle read;

        assert_non_null(cut);
        memcpy(cut, vector.file.data, len);
        read_bundle(bytes_of(cut, len), &server, &read);
        free(cut);
        if (read.error != -ENODATA)
            fail_msg("cut at %zu: %d", len, read.error);
        assert_in_range(read.count, before, before + 1);
        before = read.count;
    }
    assert_int_equal(before, 8); /* all but the end */
}

static void bytes_behind_the_end_are_noticed(void **state)
{
    struct sign_key server = sample_server_key();
    _cleanup_vector_ struct bundle_vector vector;
    _cleanup_read_ struct read_bundle read;

    take_vector("bundle", &vector);
    buffer_put(&vector.file, "\0\0\0\x20 and more", 13);
    read_bundle(buffer_bytes(&vector.file), &server, &read);
    assert_false(read.is_whole);
    assert_int_equal(read.count, 9);
}

static void a_bundle_for_another_centre_and_one_of_another_version_are_told_apart(void **state)
{
    struct sign_key server = sample_server_key(), other = sample_device_key();
    _cleanup_vector_ struct bundle_vector vector;
    struct bundle_reader reader;

    take_vector("bundle", &vector);
    assert_int_equal(bundle_read_start(&reader, vector.file.data, &other), -EKEYREJECTED);
    assert_int_equal(bundle_read_start(&reader, vector.file.data, &server), 0);
    vector.file.data[BUNDLE_MAGIC_BYTES - 2] = '2';
    assert_int_equal(bundle_read_start(&reader, vector.file.data, &server), -EPROTONOSUPPORT);
    vector.file.data[0] = 'G';
    assert_int_equal(bundle_read_start(&reader, vector.file.data, &server), -EBADMSG);
}

/* ---- what stands where it must not ---- */

struct forged {
    struct bundle_writer writer;
    struct buffer file;
};

static void forged_done(struct forged *forged)
{
    buffer_done(&forged->file);
}
#define _cleanup_forged_ _cleanup_(forged_done)

static void forge_start(struct forged *ret, bool with_head)
{
    struct sign_key server = sample_server_key();
    struct bundle_secrets secrets;

    *ret = (struct forged){0};
    sample_count_up((uint8_t *)&secrets, sizeof(secrets), 1);
    if (with_head)
        write_start(&ret->writer, &secrets, &ret->file);
    else
        assert_int_equal(bundle_write_start(&ret->writer, server.public.public_key, &secrets, &ret->file), 0);
}

/* Any message, with any tag. */
static void forge(struct forged *forged, const void *plain, size_t len, uint8_t tag)
{
    uint8_t *place;

    buffer_put_u32be(&forged->file, (uint32_t)(len + BUNDLE_FRAME_MORE_BYTES));
    place = buffer_extend(&forged->file, len + BUNDLE_FRAME_MORE_BYTES);
    assert_non_null(place);
    crypto_secretstream_xchacha20poly1305_push(&forged->writer.state, place, NULL, plain, len, NULL, 0, tag);
}

static int read_forged(const struct forged *forged, size_t *ret_count)
{
    struct sign_key server = sample_server_key();
    _cleanup_read_ struct read_bundle read;

    read_bundle(buffer_bytes(&forged->file), &server, &read);
    *ret_count = read.count;
    return read.error;
}

#define MESSAGE crypto_secretstream_xchacha20poly1305_TAG_MESSAGE
#define FINAL crypto_secretstream_xchacha20poly1305_TAG_FINAL

static void messages_out_of_order_are_refused(void **state)
{
    static const struct {
        const char *what;
        const char *plain;
        size_t len;
        uint8_t tag;
    } wrong[] = {
        {"a chunk without a photo", "\x04x", 2, MESSAGE},
        {"an empty request", "\x02", 1, MESSAGE},
        {"a request with the final tag", "\x02x", 2, FINAL},
        {"an end without the final tag", "\x05", 1, MESSAGE},
        {"an end that says something", "\x05x", 2, FINAL},
        {"a photo without its size", "\x03x", 2, MESSAGE},
        {"a head that cannot be read", "\x01x", 2, MESSAGE},
        {"a message to be pushed", "\x02x", 2, crypto_secretstream_xchacha20poly1305_TAG_PUSH},
    };
    size_t count;

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        _cleanup_forged_ struct forged forged;

        forge_start(&forged, true);
        forge(&forged, wrong[i].plain, wrong[i].len, wrong[i].tag);
        if (read_forged(&forged, &count) != -EBADMSG || count != 1)
            fail_msg("%s was taken", wrong[i].what);
    }
}

static void nothing_stands_before_the_head_and_nothing_behind_the_end(void **state)
{
    static const char *const early[] = {"\x02x", "\x07later"};
    _cleanup_forged_ struct forged late;
    size_t count;

    for (size_t i = 0; i < ARRAY_LEN(early); i++) {
        _cleanup_forged_ struct forged forged;

        forge_start(&forged, false);
        forge(&forged, early[i], strlen(early[i]), MESSAGE);
        assert_int_equal(read_forged(&forged, &count), -EBADMSG);
        assert_int_equal(count, 0);
    }
    forge_start(&late, true);
    forge(&late, "\x05", 1, FINAL);
    forge(&late, "\x02x", 2, MESSAGE);
    assert_int_equal(read_forged(&late, &count), -EBADMSG);
    assert_int_equal(count, 2);
}

static void a_photo_gets_no_byte_more_than_its_size(void **state)
{
    struct sha256 sha256 = sample_hash("photo");
    _cleanup_forged_ struct forged forged;
    size_t count;

    forge_start(&forged, true);
    assert_int_equal(bundle_write_photo(&forged.writer, &sha256, 3, &forged.file), 0);
    forge(&forged, "\x04xy", 3, MESSAGE);
    forge(&forged, "\x04zz", 3, MESSAGE);
    assert_int_equal(read_forged(&forged, &count), -EBADMSG);
    assert_int_equal(count, 3);
    assert_int_equal(bundle_write_photo(&forged.writer, &sha256, 0, &forged.file), -EMSGSIZE);
    assert_int_equal(
        bundle_write_photo(&forged.writer, &sha256, BLOB_BYTES_MAX + 1, &forged.file), -EMSGSIZE);
    assert_int_equal(bundle_write_chunk(&forged.writer, (struct bytes){0}, &forged.file), -EMSGSIZE);
}

static void what_a_newer_sender_adds_is_passed_over(void **state)
{
    _cleanup_forged_ struct forged forged;
    struct sign_key server = sample_server_key();
    _cleanup_read_ struct read_bundle read;

    forge_start(&forged, true);
    forge(&forged, "\x07 something", 11, MESSAGE);
    forge(&forged, "\xff", 1, MESSAGE);
    assert_int_equal(bundle_write_end(&forged.writer, &forged.file), 0);
    read_bundle(buffer_bytes(&forged.file), &server, &read);
    assert_true(read.is_whole);
    assert_int_equal(read.kinds[1], BUNDLE_LATER);
    assert_int_equal(read.kinds[2], BUNDLE_LATER);
}

static void the_longest_request_and_chunk_fit_and_one_byte_more_does_not(void **state)
{
    uint8_t *bytes = calloc(1, EXCHANGE_ENVELOPE_BYTES_MAX + 1);
    struct sha256 sha256 = sample_hash("photo");
    _cleanup_forged_ struct forged forged;
    size_t count;

    assert_non_null(bytes);
    forge_start(&forged, true);
    assert_int_equal(
        bundle_write_exchange(&forged.writer, bytes_of(bytes, EXCHANGE_ENVELOPE_BYTES_MAX + 1), &forged.file),
        -EMSGSIZE);
    assert_int_equal(
        bundle_write_exchange(&forged.writer, bytes_of(bytes, EXCHANGE_ENVELOPE_BYTES_MAX), &forged.file), 0);
    assert_int_equal(bundle_write_photo(&forged.writer, &sha256, BLOB_BYTES_MAX, &forged.file), 0);
    assert_int_equal(
        bundle_write_chunk(&forged.writer, bytes_of(bytes, BUNDLE_CHUNK_BYTES_MAX + 1), &forged.file),
        -EMSGSIZE);
    assert_int_equal(
        bundle_write_chunk(&forged.writer, bytes_of(bytes, BUNDLE_CHUNK_BYTES_MAX), &forged.file), 0);
    assert_int_equal(bundle_write_end(&forged.writer, &forged.file), 0);
    assert_int_equal(read_forged(&forged, &count), 0);
    assert_int_equal(count, 5);
    free(bytes);
}

/* ---- receipts ---- */

static int read_receipts(struct bytes bytes, size_t *ret_count)
{
    struct cursor file = cursor_of(bytes);
    struct bytes envelope;
    int r = bundle_receipts_open(&file);

    *ret_count = 0;
    while (r >= 0 && (r = bundle_receipts_next(&file, &envelope)) > 0)
        ++*ret_count;
    return r;
}

static void receipts_are_written_and_read_as_the_independent_writer_does(void **state)
{
    struct vector_file vectors = vector_open("tests/vectors/bundle.tsv");
    _cleanup_buffer_ struct buffer file = {0};
    struct bytes first, second, expected;
    size_t count;

    assert_true(vector_next(&vectors, "receipts"));
    first = vector_bytes(&vectors, 1);
    second = vector_bytes(&vectors, 2);
    expected = vector_bytes(&vectors, 3);
    assert_int_equal(bundle_receipts_start(&file), 0);
    assert_int_equal(bundle_receipts_put(first, &file), 0);
    assert_int_equal(bundle_receipts_put(second, &file), 0);
    assert_bytes_equal(buffer_bytes(&file), expected);
    assert_int_equal(read_receipts(expected, &count), 0);
    assert_int_equal(count, 2);
    vector_close(&vectors);
}

static void receipts_that_are_cut_too_long_or_of_another_version_are_refused(void **state)
{
    _cleanup_buffer_ struct buffer file = {0};
    size_t count, first_end;

    assert_int_equal(bundle_receipts_start(&file), 0);
    assert_int_equal(bundle_receipts_put(bytes_of_text("part"), &file), 0);
    first_end = file.len;
    assert_int_equal(bundle_receipts_put(bytes_of_text("another"), &file), 0);
    for (size_t len = 0; len < file.len; len++) {
        int r = read_receipts(bytes_of(file.data, len), &count);

        /* Between two parts a cut is not seen here: the last part says that it is the last. */
        if (r == 0 && len != first_end && len != BUNDLE_RECEIPTS_MAGIC_BYTES)
            fail_msg("a cut at %zu was not seen", len);
    }
    buffer_put_u32be(&file, BUNDLE_RECEIPTS_ENVELOPE_BYTES_MAX + 1);
    assert_non_null(buffer_extend(&file, BUNDLE_RECEIPTS_ENVELOPE_BYTES_MAX + 1));
    assert_int_equal(read_receipts(buffer_bytes(&file), &count), -EBADMSG);
    assert_int_equal(count, 2);
    file.data[BUNDLE_RECEIPTS_MAGIC_BYTES - 2] = '2';
    assert_int_equal(read_receipts(buffer_bytes(&file), &count), -EPROTONOSUPPORT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_stream_is_that_of_the_independent_writer),
        cmocka_unit_test(a_bundle_is_written_as_the_independent_writer_does),
        cmocka_unit_test(the_independent_bundle_is_read),
        cmocka_unit_test(no_bit_of_a_bundle_can_change_unnoticed),
        cmocka_unit_test(a_bundle_cut_anywhere_is_not_whole_and_gives_what_was_whole_before),
        cmocka_unit_test(bytes_behind_the_end_are_noticed),
        cmocka_unit_test(a_bundle_for_another_centre_and_one_of_another_version_are_told_apart),
        cmocka_unit_test(messages_out_of_order_are_refused),
        cmocka_unit_test(nothing_stands_before_the_head_and_nothing_behind_the_end),
        cmocka_unit_test(a_photo_gets_no_byte_more_than_its_size),
        cmocka_unit_test(what_a_newer_sender_adds_is_passed_over),
        cmocka_unit_test(the_longest_request_and_chunk_fit_and_one_byte_more_does_not),
        cmocka_unit_test(receipts_are_written_and_read_as_the_independent_writer_does),
        cmocka_unit_test(receipts_that_are_cut_too_long_or_of_another_version_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
