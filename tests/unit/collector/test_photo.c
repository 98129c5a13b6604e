/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of collector/photo/photo.h: verdicts, EXIF and previews of photos made here, and of the corpus when
 * it is there. */
#include "tests/unit/unit.h"

#include "collector/photo/photo.h"
#include "tests/unit/collector/pictures.h"

#include <png.h>

#define PREVIEW_COLOUR_TOLERANCE 24

static enum photo_verdict verdict_of(struct bytes bytes)
{
    struct photo photo;
    assert_int_equal(photo_inspect(bytes, &photo), 0);
    enum photo_verdict verdict = photo.facts.verdict;
    if (verdict == PHOTO_GOOD)
        assert_non_null(photo.preview);
    else
        assert_null(photo.preview);
    photo_done(&photo);
    return verdict;
}

static void assert_verdict(struct bytes bytes, enum photo_verdict expected)
{
    enum photo_verdict verdict = verdict_of(bytes);
    if (verdict != expected)
        fail_msg("verdict is %s, not %s", photo_verdict_word(verdict), photo_verdict_word(expected));
}

static struct photo inspect_good(const struct buffer *file)
{
    struct photo photo;
    assert_int_equal(photo_inspect(buffer_bytes(file), &photo), 0);
    assert_string_equal(photo_verdict_word(photo.facts.verdict), "good");
    return photo;
}

static struct pixels preview_of(const struct photo *photo)
{
    return read_jpeg(bytes_of(photo->preview, photo->facts.preview_len));
}

static bool is_near(uint8_t a, uint8_t b)
{
    return abs(a - b) <= PREVIEW_COLOUR_TOLERANCE;
}

static void assert_quarter(const struct pixels *pixels, enum quarter where, struct colour expected)
{
    struct colour seen = pixels_at(pixels, where);
    if (!is_near(seen.red, expected.red) || !is_near(seen.green, expected.green) ||
        !is_near(seen.blue, expected.blue))
        fail_msg("quarter %d is %d,%d,%d, not %d,%d,%d", (int)where, seen.red, seen.green, seen.blue,
            expected.red, expected.green, expected.blue);
}

static void assert_upright(const struct photo *photo, uint32_t width, uint32_t height)
{
    _cleanup_pixels_ struct pixels preview = preview_of(photo);
    assert_int_equal(preview.width, width);
    assert_int_equal(preview.height, height);
    for (int quarter = TOP_LEFT; quarter <= BOTTOM_RIGHT; quarter++)
        assert_quarter(&preview, (enum quarter)quarter, quarter_colour((enum quarter)quarter));
}

/* Verdicts on whole pictures */

static void jpegs_of_every_kind_are_good_and_show_what_is_in_them(void **state)
{
    static const enum jpeg_kind kinds[] = {JPEG_PLAIN, JPEG_PROGRESSIVE, JPEG_WITH_RESTARTS, JPEG_CMYK};
    _cleanup_pixels_ struct pixels pixels = pixels_upright(1000, 500);

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        _cleanup_buffer_ struct buffer file = {0};
        make_jpeg(&pixels, kinds[i], &file);
        _cleanup_(photo_done) struct photo photo = inspect_good(&file);
        assert_int_equal(photo.facts.format, PHOTO_JPEG);
        assert_int_equal(photo.facts.width, 1000);
        assert_int_equal(photo.facts.height, 500);
        assert_int_equal(photo.facts.orientation, 1);
        assert_string_equal(photo.facts.exif_time, "");
        assert_false(photo.facts.has_position);
        assert_upright(&photo, 640, 320);
    }
}

static void a_grey_jpeg_is_good(void **state)
{
    _cleanup_pixels_ struct pixels pixels = pixels_upright(200, 100);
    _cleanup_buffer_ struct buffer file = {0};
    make_jpeg(&pixels, JPEG_GREY, &file);
    _cleanup_(photo_done) struct photo photo = inspect_good(&file);

    _cleanup_pixels_ struct pixels preview = preview_of(&photo);
    assert_quarter(&preview, TOP_RIGHT, (struct colour){126, 126, 126});
}

static void pngs_of_every_colour_type_are_good_and_show_what_is_in_them(void **state)
{
    static const struct png_form forms[] = {
        {.colour_type = PNG_COLOR_TYPE_RGB, .depth = 8},
        {.colour_type = PNG_COLOR_TYPE_RGB, .depth = 16},
        {.colour_type = PNG_COLOR_TYPE_RGB_ALPHA, .depth = 8},
        {.colour_type = PNG_COLOR_TYPE_RGB_ALPHA, .depth = 16},
        {.colour_type = PNG_COLOR_TYPE_PALETTE, .depth = 2},
        {.colour_type = PNG_COLOR_TYPE_PALETTE, .depth = 8},
    };
    _cleanup_pixels_ struct pixels pixels = pixels_upright(1500, 900);

    for (size_t i = 0; i < 2 * ARRAY_LEN(forms); i++) {
        struct png_form form = forms[i / 2];
        form.interlaced = i % 2;
        _cleanup_buffer_ struct buffer file = {0};
        make_png(&pixels, &form, &file);
        _cleanup_(photo_done) struct photo photo = inspect_good(&file);
        assert_int_equal(photo.facts.format, PHOTO_PNG);
        assert_int_equal(photo.facts.width, 1500);
        assert_int_equal(photo.facts.height, 900);
        assert_upright(&photo, 640, 384);
    }
}

static void an_interlaced_png_of_any_size_gives_the_same_preview_as_a_plain_one(void **state)
{
    static const uint32_t sides[][2] = {
        {1, 1}, {2, 3}, {4, 1}, {1, 5}, {7, 9}, {33, 17}, {650, 13}, {1300, 1290}};

    for (size_t i = 0; i < ARRAY_LEN(sides); i++) {
        _cleanup_pixels_ struct pixels pixels = pixels_of_noise(sides[i][0], sides[i][1], 7);
        _cleanup_buffer_ struct buffer plain_file = {0};
        _cleanup_buffer_ struct buffer interlaced_file = {0};
        make_png(&pixels, &(struct png_form){.colour_type = PNG_COLOR_TYPE_RGB, .depth = 8}, &plain_file);
        make_png(&pixels,
            &(struct png_form){.colour_type = PNG_COLOR_TYPE_RGB, .depth = 8, .interlaced = true},
            &interlaced_file);
        _cleanup_(photo_done) struct photo plain = inspect_good(&plain_file);
        _cleanup_(photo_done) struct photo interlaced = inspect_good(&interlaced_file);
        assert_int_equal(interlaced.facts.preview_len, plain.facts.preview_len);
        assert_memory_equal(interlaced.preview, plain.preview, plain.facts.preview_len);
    }
}

static void a_transparent_place_is_shown_white(void **state)
{
    _cleanup_buffer_ struct buffer file = {0};
    static const uint8_t clear[16 * 16 * 4];
    png_image image = {.version = PNG_IMAGE_VERSION, .width = 16, .height = 16, .format = PNG_FORMAT_RGBA};
    png_alloc_size_t len = 0;
    assert_true(png_image_write_get_memory_size(image, len, 0, clear, 0, NULL) != 0);
    assert_true(png_image_write_to_memory(&image, buffer_extend(&file, len), &len, 0, clear, 0, NULL));
    file.len = len;
    _cleanup_(photo_done) struct photo photo = inspect_good(&file);

    _cleanup_pixels_ struct pixels preview = preview_of(&photo);
    assert_quarter(&preview, TOP_LEFT, (struct colour){255, 255, 255});
}

static void the_edges_of_a_png_are_as_bright_as_its_middle(void **state)
{
    _cleanup_buffer_ struct buffer file = {0};
    make_blank_png(2001, 1301, &file);
    _cleanup_(photo_done) struct photo photo = inspect_good(&file);

    _cleanup_pixels_ struct pixels preview = preview_of(&photo);
    for (size_t i = 0; i < (size_t)preview.width * preview.height * 3; i++)
        assert_in_range(preview.rgb[i], 250, 255);
}

/* Previews */

static void noise_of_any_shape_fits_into_a_preview(void **state)
{
    static const uint32_t sides[][2] = {
        {1600, 1200}, {641, 640}, {640, 640}, {3000, 40}, {3, 3000}, {2000, 1}, {1, 1}};

    for (size_t i = 0; i < ARRAY_LEN(sides); i++) {
        _cleanup_pixels_ struct pixels pixels = pixels_of_noise(sides[i][0], sides[i][1], 3);
        _cleanup_buffer_ struct buffer file = {0};
        make_jpeg(&pixels, JPEG_PLAIN, &file);
        _cleanup_(photo_done) struct photo photo = inspect_good(&file);
        _cleanup_pixels_ struct pixels preview = preview_of(&photo);
        assert_in_range(photo.facts.preview_len, 1, PREVIEW_BYTES_MAX);
        assert_in_range(preview.width, 1, PHOTO_PREVIEW_SIDE_MAX);
        assert_in_range(preview.height, 1, PHOTO_PREVIEW_SIDE_MAX);
    }
}

static void a_small_photo_is_not_made_larger(void **state)
{
    _cleanup_pixels_ struct pixels pixels = pixels_upright(90, 60);
    _cleanup_buffer_ struct buffer file = {0};
    make_jpeg(&pixels, JPEG_PLAIN, &file);
    _cleanup_(photo_done) struct photo photo = inspect_good(&file);

    assert_upright(&photo, 90, 60);
}

static void the_same_photo_gives_the_same_preview(void **state)
{
    _cleanup_pixels_ struct pixels pixels = pixels_of_noise(900, 700, 5);
    _cleanup_buffer_ struct buffer file = {0};
    make_jpeg(&pixels, JPEG_PLAIN, &file);
    _cleanup_(photo_done) struct photo first = inspect_good(&file);
    _cleanup_(photo_done) struct photo second = inspect_good(&file);

    assert_int_equal(first.facts.preview_len, second.facts.preview_len);
    assert_memory_equal(first.preview, second.preview, first.facts.preview_len);
}

/* Where the corners of the stored picture lie in the upright one, read off the words of EXIF 2.3 for tag
 * 0x0112. */
static const enum quarter stored_corners[9][4] = {
    [1] = {TOP_LEFT, TOP_RIGHT, BOTTOM_LEFT, BOTTOM_RIGHT}, /* row 0 is the top, column 0 the left */
    [2] = {TOP_RIGHT, TOP_LEFT, BOTTOM_RIGHT, BOTTOM_LEFT}, /* top, right */
    [3] = {BOTTOM_RIGHT, BOTTOM_LEFT, TOP_RIGHT, TOP_LEFT}, /* bottom, right */
    [4] = {BOTTOM_LEFT, BOTTOM_RIGHT, TOP_LEFT, TOP_RIGHT}, /* bottom, left */
    [5] = {TOP_LEFT, BOTTOM_LEFT, TOP_RIGHT, BOTTOM_RIGHT}, /* left, top */
    [6] = {TOP_RIGHT, BOTTOM_RIGHT, TOP_LEFT, BOTTOM_LEFT}, /* right, top */
    [7] = {BOTTOM_RIGHT, TOP_RIGHT, BOTTOM_LEFT, TOP_LEFT}, /* right, bottom */
    [8] = {BOTTOM_LEFT, TOP_LEFT, BOTTOM_RIGHT, TOP_RIGHT}, /* left, bottom */
};

static void all_eight_orientations_end_upright(void **state)
{
    for (uint8_t i = 0; i < 32; i++) {
        uint8_t orientation = (uint8_t)(i / 4 + 1);
        bool sideways = orientation >= 5;
        _cleanup_pixels_ struct pixels pixels =
            pixels_of_quarters(sideways ? 480 : 960, sideways ? 960 : 480, stored_corners[orientation]);
        _cleanup_buffer_ struct buffer exif = {0};
        make_exif(&(struct exif_form){.big_endian = i % 2, .orientation = orientation}, &exif);
        _cleanup_buffer_ struct buffer file = {0};
        if (i % 4 < 2)
            make_jpeg_with_exif(&pixels, buffer_bytes(&exif), &file);
        else
            make_png(&pixels,
                &(struct png_form){
                    .colour_type = PNG_COLOR_TYPE_RGB, .depth = 8, .exif = buffer_bytes(&exif)},
                &file);
        _cleanup_(photo_done) struct photo photo = inspect_good(&file);
        assert_int_equal(photo.facts.orientation, orientation);
        assert_int_equal(photo.facts.width, pixels.width);
        assert_int_equal(photo.facts.height, pixels.height);
        assert_upright(&photo, 640, 320);
    }
}

static void a_preview_carries_no_exif(void **state)
{
    _cleanup_pixels_ struct pixels pixels = pixels_upright(64, 64);
    _cleanup_buffer_ struct buffer exif = {0};
    make_exif(&(struct exif_form){.orientation = 6, .time = "2015:04:10 20:12:23"}, &exif);
    _cleanup_buffer_ struct buffer file = {0};
    make_jpeg_with_exif(&pixels, buffer_bytes(&exif), &file);
    _cleanup_(photo_done) struct photo photo = inspect_good(&file);

    assert_true(jpeg_has_marker(buffer_bytes(&file), 0xe1));
    assert_false(jpeg_has_marker(bytes_of(photo.preview, photo.facts.preview_len), 0xe1));
}

/* Broken EXIF */

static void a_photo_with_broken_exif_is_as_good_as_one_without(void **state)
{
    _cleanup_pixels_ struct pixels pixels = pixels_upright(32, 16);
    _cleanup_buffer_ struct buffer exif = {0};
    make_exif(&(struct exif_form){.orientation = 1, .time = "2015:04:10 20:12:23"}, &exif);

    for (size_t len = 0; len < exif.len; len += 3) {
        _cleanup_buffer_ struct buffer file = {0};
        make_jpeg_with_exif(&pixels, bytes_of(exif.data, len), &file);
        _cleanup_(photo_done) struct photo photo = inspect_good(&file);
        assert_upright(&photo, 32, 16);
    }
}

/* Refusals */

static void no_bytes_are_empty(void **state)
{
    assert_verdict((struct bytes){0}, PHOTO_EMPTY);
}

static void one_byte_over_the_limit_is_too_large(void **state)
{
    _cleanup_free_ uint8_t *bytes = calloc(1, BLOB_BYTES_MAX + 1u);

    assert_verdict(bytes_of(bytes, BLOB_BYTES_MAX + 1u), PHOTO_TOO_LARGE);
    assert_verdict(bytes_of(bytes, BLOB_BYTES_MAX), PHOTO_NOT_AN_IMAGE);
}

static void other_files_are_not_images(void **state)
{
    static const char *const files[] = {
        "hello\n", "GIF89a\1", "BM", "%PDF-1.4", "RIFF....WEBP", "\xff\xd9", "\x89QNG", "II*", "<svg/>"};

    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        assert_verdict(bytes_of_text(files[i]), PHOTO_NOT_AN_IMAGE);
}

static void zeros_and_noise_behind_a_signature_are_refused(void **state)
{
    _cleanup_pixels_ struct pixels noise = pixels_of_noise(64, 64, 9);
    static const uint8_t zeros[4096];
    const struct bytes fills[] = {bytes_of(zeros, sizeof(zeros)), bytes_of(noise.rgb, 64 * 64 * 3)};

    for (size_t i = 0; i < ARRAY_LEN(fills); i++) {
        _cleanup_buffer_ struct buffer jpeg = {0};
        buffer_put(&jpeg, "\xff\xd8\xff", 3);
        buffer_put_bytes(&jpeg, fills[i]);
        assert_int_not_equal(verdict_of(buffer_bytes(&jpeg)), PHOTO_GOOD);
        _cleanup_buffer_ struct buffer png = {0};
        buffer_put(&png, "\x89PNG\r\n\x1a\n", 8);
        buffer_put_bytes(&png, fills[i]);
        assert_int_not_equal(verdict_of(buffer_bytes(&png)), PHOTO_GOOD);
    }
}

static void assert_every_cut_is_seen(const struct buffer *file)
{
    _cleanup_free_ uint8_t *zero_tail = malloc(file->len);
    memcpy(zero_tail, file->data, file->len);
    for (size_t len = file->len - 1; len >= 1; len--) {
        assert_verdict(bytes_of(file->data, len), PHOTO_TRUNCATED);
        /* What a power cut leaves of a file whose length was already written. */
        zero_tail[len] = 0;
        if (file->data[len] != 0)
            assert_int_not_equal(verdict_of(bytes_of(zero_tail, file->len)), PHOTO_GOOD);
    }
}

static void a_jpeg_truncated_at_any_byte_is_refused(void **state)
{
    static const enum jpeg_kind kinds[] = {JPEG_PLAIN, JPEG_PROGRESSIVE, JPEG_WITH_RESTARTS};
    _cleanup_pixels_ struct pixels pixels = pixels_of_noise(24, 40, 1);

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        _cleanup_buffer_ struct buffer file = {0};
        make_jpeg(&pixels, kinds[i], &file);
        assert_verdict(buffer_bytes(&file), PHOTO_GOOD);
        assert_every_cut_is_seen(&file);
    }
}

static void a_png_truncated_at_any_byte_is_refused(void **state)
{
    _cleanup_pixels_ struct pixels pixels = pixels_of_noise(24, 20, 1);

    for (int interlaced = 0; interlaced < 2; interlaced++) {
        _cleanup_buffer_ struct buffer file = {0};
        make_png(&pixels,
            &(struct png_form){.colour_type = PNG_COLOR_TYPE_RGB, .depth = 8, .interlaced = interlaced},
            &file);
        assert_verdict(buffer_bytes(&file), PHOTO_GOOD);
        assert_every_cut_is_seen(&file);
    }
}

static void a_truncated_jpeg_that_was_given_an_end_is_refused(void **state)
{
    _cleanup_pixels_ struct pixels pixels = pixels_of_noise(320, 240, 2);
    _cleanup_buffer_ struct buffer file = {0};
    make_jpeg(&pixels, JPEG_PLAIN, &file);

    for (size_t tenth = 2; tenth < 10; tenth++) {
        _cleanup_buffer_ struct buffer cut = {0};
        buffer_put(&cut, file.data, file.len * tenth / 10);
        buffer_put(&cut, "\xff\xd9", 2);
        assert_verdict(buffer_bytes(&cut), PHOTO_TRUNCATED);
    }
}

static void a_block_lost_from_the_middle_is_seen(void **state)
{
    static const enum jpeg_kind kinds[] = {JPEG_PLAIN, JPEG_WITH_RESTARTS};
    _cleanup_pixels_ struct pixels pixels = pixels_of_noise(640, 480, 4);

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        _cleanup_buffer_ struct buffer file = {0};
        make_jpeg(&pixels, kinds[i], &file);
        size_t at = file.len / 2;
        memmove(file.data + at, file.data + at + 4096, file.len - at - 4096);
        assert_int_not_equal(verdict_of(bytes_of(file.data, file.len - 4096)), PHOTO_GOOD);
    }
}

static void a_changed_byte_in_png_picture_data_is_damage(void **state)
{
    _cleanup_pixels_ struct pixels pixels = pixels_of_noise(64, 64, 6);
    _cleanup_buffer_ struct buffer file = {0};
    make_png(&pixels, &(struct png_form){.colour_type = PNG_COLOR_TYPE_RGB, .depth = 8}, &file);

    file.data[file.len / 2] ^= 0x10;
    assert_verdict(buffer_bytes(&file), PHOTO_DAMAGED);
}

static void insert(const struct buffer *file, size_t at, const char *text, size_t len, struct buffer *ret)
{
    buffer_put(ret, file->data, at);
    buffer_put(ret, text, len);
    buffer_put(ret, file->data + at, file->len - at);
}

static void the_litter_that_cameras_leave_is_accepted(void **state)
{
    static const char litter[600] = "MakerStuff";
    _cleanup_pixels_ struct pixels pixels = pixels_upright(200, 120);
    _cleanup_buffer_ struct buffer file = {0};
    make_jpeg(&pixels, JPEG_PLAIN, &file);
    const struct {
        size_t at, len;
    } places[] = {
        {2 + 18, sizeof(litter)},   /* between the first segments */
        {file.len - 2, 8},          /* padding of the picture data */
        {file.len, sizeof(litter)}, /* behind the end */
    };

    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        _cleanup_buffer_ struct buffer littered = {0};
        insert(&file, places[i].at, litter, places[i].len, &littered);
        _cleanup_(photo_done) struct photo photo = inspect_good(&littered);
        assert_upright(&photo, 200, 120);
    }
}

static void a_second_picture_behind_the_first_changes_nothing(void **state)
{
    _cleanup_pixels_ struct pixels pixels = pixels_upright(100, 50);
    _cleanup_buffer_ struct buffer file = {0};
    make_jpeg(&pixels, JPEG_PLAIN, &file);
    _cleanup_pixels_ struct pixels other = pixels_of_noise(30, 30, 8);
    make_jpeg(&other, JPEG_PLAIN, &file);
    file.len -= 5;
    _cleanup_(photo_done) struct photo photo = inspect_good(&file);

    assert_upright(&photo, 100, 50);
}

static void sides_beyond_the_limit_are_refused_without_decoding(void **state)
{
    static const uint32_t sides[][2] = {
        {65535, 65535}, {65536, 1}, {1, 65536}, {12001, 10000}, {0x7fffffff, 0x7fffffff}};

    for (size_t i = 0; i < ARRAY_LEN(sides); i++) {
        _cleanup_buffer_ struct buffer png = {0};
        make_png_header(sides[i][0], sides[i][1], &png);
        assert_verdict(buffer_bytes(&png), PHOTO_TOO_MANY_PIXELS);
    }
    _cleanup_buffer_ struct buffer within = {0};
    make_png_header(12000, 10000, &within);
    assert_int_not_equal(verdict_of(buffer_bytes(&within)), PHOTO_TOO_MANY_PIXELS);
}

/* Writes other sides into a JPEG's frame header. */
static void set_jpeg_sides(struct buffer *file, uint8_t frame_marker, uint16_t width, uint16_t height)
{
    for (size_t at = 2; at + 9 < file->len; at++) {
        if (file->data[at] == 0xff && file->data[at + 1] == frame_marker) {
            const uint8_t sides[4] = {
                (uint8_t)(height >> 8), (uint8_t)height, (uint8_t)(width >> 8), (uint8_t)width};
            memcpy(file->data + at + 5, sides, sizeof(sides));
            return;
        }
    }
    fail_msg("no frame header");
}

static void a_jpeg_of_too_many_pixels_is_refused_without_decoding(void **state)
{
    _cleanup_pixels_ struct pixels pixels = pixels_upright(16, 16);
    _cleanup_buffer_ struct buffer file = {0};
    make_jpeg(&pixels, JPEG_PLAIN, &file);

    set_jpeg_sides(&file, 0xc0, 65535, 65535);
    assert_verdict(buffer_bytes(&file), PHOTO_TOO_MANY_PIXELS);
    set_jpeg_sides(&file, 0xc0, 0, 16);
    assert_verdict(buffer_bytes(&file), PHOTO_DAMAGED);
}

static void a_jpeg_with_two_frames_is_damaged(void **state)
{
    _cleanup_pixels_ struct pixels pixels = pixels_upright(16, 16);
    _cleanup_buffer_ struct buffer file = {0};
    make_jpeg(&pixels, JPEG_PLAIN, &file);
    size_t at = 2;
    while (file.data[at] != 0xff || file.data[at + 1] != 0xc0)
        at++;
    char frame[2 + 17];
    memcpy(frame, file.data + at, sizeof(frame));
    set_jpeg_sides(&file, 0xc0, 65535, 65535);
    _cleanup_buffer_ struct buffer doubled = {0};
    insert(&file, at, frame, sizeof(frame), &doubled);

    assert_verdict(buffer_bytes(&doubled), PHOTO_DAMAGED);
}

static void a_progressive_jpeg_that_needs_too_much_memory_is_refused(void **state)
{
    _cleanup_pixels_ struct pixels pixels = pixels_upright(16, 16);
    _cleanup_buffer_ struct buffer file = {0};
    make_jpeg(&pixels, JPEG_PROGRESSIVE, &file);

    /* 4:2:0 keeps 3 bytes of coefficients a pixel: 360 MB, which a sequential one of that size would not
     * need. */
    set_jpeg_sides(&file, 0xc2, 12000, 10000);
    assert_verdict(buffer_bytes(&file), PHOTO_TOO_MANY_PIXELS);
}

static void a_jpeg_of_a_rare_kind_is_unsupported(void **state)
{
    _cleanup_pixels_ struct pixels pixels = pixels_upright(16, 16);
    _cleanup_buffer_ struct buffer file = {0};
    make_jpeg(&pixels, JPEG_PLAIN, &file);
    size_t at = 2;
    while (file.data[at] != 0xff || file.data[at + 1] != 0xc0)
        at++;

    file.data[at + 1] = 0xc3; /* lossless */
    assert_verdict(buffer_bytes(&file), PHOTO_UNSUPPORTED);
    file.data[at + 1] = 0xc1;
    file.data[at + 4] = 12; /* bits a sample */
    assert_verdict(buffer_bytes(&file), PHOTO_UNSUPPORTED);
}

static void changed_bytes_anywhere_give_a_verdict_and_nothing_worse(void **state)
{
    _cleanup_pixels_ struct pixels pixels = pixels_of_noise(40, 24, 11);
    uint32_t random = 1;

    for (int kind = 0; kind < 4; kind++) {
        _cleanup_buffer_ struct buffer file = {0};
        if (kind == 0)
            make_png(&pixels, &(struct png_form){.colour_type = PNG_COLOR_TYPE_RGB, .depth = 8}, &file);
        else
            make_jpeg(&pixels,
                (enum jpeg_kind[]){JPEG_PLAIN, JPEG_PLAIN, JPEG_PROGRESSIVE, JPEG_WITH_RESTARTS}[kind],
                &file);
        for (int round = 0; round < 300; round++) {
            _cleanup_buffer_ struct buffer changed = {0};
            buffer_put_bytes(&changed, buffer_bytes(&file));
            for (int i = 0; i < 4; i++) {
                random = random * 1664525u + 1013904223u;
                changed.data[(random >> 8) % changed.len] = (uint8_t)random;
            }
            verdict_of(buffer_bytes(&changed));
        }
    }
}

/* The corpus. cmocka's TAP counts a skipped test as failed, so these pass where there is no corpus. */

static bool read_corpus_file(const char *folder, const char *name, struct buffer *ret)
{
    char path[512];
    snprintf(path, sizeof(path), "../shared/corpus/%s/%s", folder, name);
    _cleanup_fclose_ FILE *file = fopen(path, "rbe");
    uint8_t block[65536];
    size_t n;
    while (file && (n = fread(block, 1, sizeof(block), file)) > 0)
        buffer_put(ret, block, n);
    return file;
}

/* A line of MANIFEST.tsv: file, bytes, size, model, DateTimeOriginal, orientation, gps, what Pillow said. */
struct manifest_row {
    char *fields[8];
};

static bool next_row(FILE *manifest, char **line, size_t *capacity, struct manifest_row *ret)
{
    if (getline(line, capacity, manifest) < 0)
        return false;
    char *rest = *line;
    rest[strcspn(rest, "\r\n")] = '\0';
    for (size_t i = 0; i < ARRAY_LEN(ret->fields); i++) {
        char *field = strsep(&rest, "\t");
        ret->fields[i] = field ? field : rest;
    }
    return ret->fields[6];
}

static FILE *open_manifest(const char *folder, char **line, size_t *capacity)
{
    char path[512];
    snprintf(path, sizeof(path), "../shared/corpus/%s/MANIFEST.tsv", folder);
    FILE *manifest = fopen(path, "re");
    if (manifest && getline(line, capacity, manifest) < 0)
        abort();
    return manifest;
}

static void assert_as_in_manifest(const struct photo *photo, const struct manifest_row *row)
{
    const struct photo_facts *facts = &photo->facts;
    char size[64];
    snprintf(size, sizeof(size), "JPEG %ux%u", facts->width, facts->height);
    assert_string_equal(size, row->fields[2]);

    char time[20];
    snprintf(time, sizeof(time), "%s", row->fields[4]);
    if (time[0] != '\0') {
        time[4] = time[7] = '-';
        time[10] = 'T';
    }
    assert_string_equal(facts->exif_time, time);
    assert_int_equal(facts->orientation, row->fields[5][0] ? atoi(row->fields[5]) : 1);

    double lat;
    double lon;
    bool has_position = sscanf(row->fields[6], "%lf,%lf", &lat, &lon) == 2;
    assert_int_equal(facts->has_position, has_position);
    if (has_position) {
        assert_true(abs(facts->lat_e7 - (int32_t)(lat * 1e7)) < 100);
        assert_true(abs(facts->lon_e7 - (int32_t)(lon * 1e7)) < 100);
    }
}

static void real_photos_of_the_corpus_are_good_and_read_as_its_manifest_says(void **state)
{
    _cleanup_free_ char *line = NULL;
    size_t capacity = 0;
    _cleanup_fclose_ FILE *manifest = open_manifest("photos", &line, &capacity);
    if (!manifest)
        return;

    size_t count = 0;
    struct manifest_row row;
    while (next_row(manifest, &line, &capacity, &row)) {
        _cleanup_buffer_ struct buffer file = {0};
        assert_true(read_corpus_file("photos", row.fields[0], &file));
        _cleanup_(photo_done) struct photo photo = inspect_good(&file);
        assert_as_in_manifest(&photo, &row);
        bool sideways = photo.facts.orientation >= 5;
        bool stored_wide = photo.facts.width > photo.facts.height;
        _cleanup_pixels_ struct pixels preview = preview_of(&photo);
        assert_int_equal(preview.width > preview.height, stored_wide != sideways);
        assert_in_range(photo.facts.preview_len, 1, PREVIEW_BYTES_MAX);
        assert_verdict(bytes_of(file.data, file.len * 9 / 10), PHOTO_TRUNCATED);
        assert_verdict(bytes_of(file.data, file.len - 1), PHOTO_TRUNCATED);
        count++;
    }
    assert_int_equal(count, 18);
}

/* Many of the malformed files are broken in their metadata only: a whole picture with odd EXIF is a good
 * photo. */
static void malformed_files_of_the_corpus_are_refused_where_nothing_can_open_them(void **state)
{
    _cleanup_free_ char *line = NULL;
    size_t capacity = 0;
    _cleanup_fclose_ FILE *manifest = open_manifest("malformed", &line, &capacity);
    if (!manifest)
        return;

    size_t count = 0;
    struct manifest_row row;
    while (next_row(manifest, &line, &capacity, &row)) {
        _cleanup_buffer_ struct buffer file = {0};
        assert_true(read_corpus_file("malformed", row.fields[0], &file));
        enum photo_verdict verdict = verdict_of(buffer_bytes(&file));
        bool opens = strcmp(row.fields[2], "OPEN-FAIL") != 0;
        if ((verdict == PHOTO_GOOD) != opens)
            fail_msg("%s: %s", row.fields[0], photo_verdict_word(verdict));
        count++;
    }
    assert_int_equal(count, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jpegs_of_every_kind_are_good_and_show_what_is_in_them),
        cmocka_unit_test(a_grey_jpeg_is_good),
        cmocka_unit_test(pngs_of_every_colour_type_are_good_and_show_what_is_in_them),
        cmocka_unit_test(an_interlaced_png_of_any_size_gives_the_same_preview_as_a_plain_one),
        cmocka_unit_test(a_transparent_place_is_shown_white),
        cmocka_unit_test(the_edges_of_a_png_are_as_bright_as_its_middle),
        cmocka_unit_test(noise_of_any_shape_fits_into_a_preview),
        cmocka_unit_test(a_small_photo_is_not_made_larger),
        cmocka_unit_test(the_same_photo_gives_the_same_preview),
        cmocka_unit_test(all_eight_orientations_end_upright),
        cmocka_unit_test(a_preview_carries_no_exif),
        cmocka_unit_test(a_photo_with_broken_exif_is_as_good_as_one_without),
        cmocka_unit_test(no_bytes_are_empty),
        cmocka_unit_test(one_byte_over_the_limit_is_too_large),
        cmocka_unit_test(other_files_are_not_images),
        cmocka_unit_test(zeros_and_noise_behind_a_signature_are_refused),
        cmocka_unit_test(a_jpeg_truncated_at_any_byte_is_refused),
        cmocka_unit_test(a_png_truncated_at_any_byte_is_refused),
        cmocka_unit_test(a_truncated_jpeg_that_was_given_an_end_is_refused),
        cmocka_unit_test(a_block_lost_from_the_middle_is_seen),
        cmocka_unit_test(a_changed_byte_in_png_picture_data_is_damage),
        cmocka_unit_test(the_litter_that_cameras_leave_is_accepted),
        cmocka_unit_test(a_second_picture_behind_the_first_changes_nothing),
        cmocka_unit_test(sides_beyond_the_limit_are_refused_without_decoding),
        cmocka_unit_test(a_jpeg_of_too_many_pixels_is_refused_without_decoding),
        cmocka_unit_test(a_jpeg_with_two_frames_is_damaged),
        cmocka_unit_test(a_progressive_jpeg_that_needs_too_much_memory_is_refused),
        cmocka_unit_test(a_jpeg_of_a_rare_kind_is_unsupported),
        cmocka_unit_test(changed_bytes_anywhere_give_a_verdict_and_nothing_worse),
        cmocka_unit_test(real_photos_of_the_corpus_are_good_and_read_as_its_manifest_says),
        cmocka_unit_test(malformed_files_of_the_corpus_are_refused_where_nothing_can_open_them),
    };
    return cmocka_run_group_tests_name("collector photo", tests, NULL, NULL);
}
