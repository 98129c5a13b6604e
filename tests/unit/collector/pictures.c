/* SPDX-License-Identifier: Apache-2.0 */
/* Photos made for tests; see pictures.h. */
#include "tests/unit/collector/pictures.h"

#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>
#include <zlib.h>

static void need(bool good, const char *what)
{
    if (!good) {
        fprintf(stderr, "pictures: %s failed\n", what);
        abort();
    }
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    need(memory, "calloc");
    return memory;
}

struct colour quarter_colour(enum quarter quarter)
{
    static const struct colour colours[4] = {{230, 20, 20}, {20, 200, 20}, {20, 20, 230}, {230, 230, 20}};
    return colours[quarter];
}

void pixels_done(struct pixels *pixels)
{
    free(pixels->rgb);
    *pixels = (struct pixels){0};
}

static struct pixels pixels_new(uint32_t width, uint32_t height)
{
    return (struct pixels){width, height, allocate((size_t)width * height, 3)};
}

struct pixels pixels_of_quarters(uint32_t width, uint32_t height, const enum quarter stored[4])
{
    struct pixels pixels = pixels_new(width, height);
    uint8_t *at = pixels.rgb;
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            struct colour colour = quarter_colour(stored[(y >= height / 2) * 2 + (x >= width / 2)]);
            *at++ = colour.red;
            *at++ = colour.green;
            *at++ = colour.blue;
        }
    }
    return pixels;
}

struct pixels pixels_upright(uint32_t width, uint32_t height)
{
    static const enum quarter stored[4] = {TOP_LEFT, TOP_RIGHT, BOTTOM_LEFT, BOTTOM_RIGHT};
    return pixels_of_quarters(width, height, stored);
}

struct pixels pixels_of_noise(uint32_t width, uint32_t height, uint32_t seed)
{
    struct pixels pixels = pixels_new(width, height);
    for (size_t i = 0; i < (size_t)width * height * 3; i++) {
        seed = seed * 1664525u + 1013904223u;
        pixels.rgb[i] = (uint8_t)(seed >> 24);
    }
    return pixels;
}

struct colour pixels_at(const struct pixels *pixels, enum quarter quarter)
{
    uint32_t x = pixels->width * (quarter % 2 == 0 ? 1 : 3) / 4;
    uint32_t y = pixels->height * (quarter / 2 == 0 ? 1 : 3) / 4;
    const uint8_t *at = pixels->rgb + ((size_t)y * pixels->width + x) * 3;
    return (struct colour){at[0], at[1], at[2]};
}

/* Full ink wherever a colour is missing, no black, and all of it inverted: as Adobe's programs store it. */
static uint8_t *to_cmyk(const struct pixels *pixels)
{
    size_t count = (size_t)pixels->width * pixels->height;
    uint8_t *cmyk = allocate(count, 4);
    for (size_t i = 0; i < count; i++) {
        memcpy(cmyk + i * 4, pixels->rgb + i * 3, 3);
        cmyk[i * 4 + 3] = 255;
    }
    return cmyk;
}

void make_jpeg(const struct pixels *pixels, enum jpeg_kind kind, struct buffer *ret)
{
    tjhandle handle = tjInitCompress();
    need(handle, "tjInitCompress");
    _cleanup_free_ uint8_t *cmyk = kind == JPEG_CMYK ? to_cmyk(pixels) : NULL;
    uint8_t *jpeg = NULL;
    unsigned long len = 0;
    /* The TurboJPEG API has no other way to ask for restart markers, here one in each row of blocks. */
    if (kind == JPEG_WITH_RESTARTS)
        setenv("TJ_RESTART", "1", 1);
    int r = tjCompress2(handle, cmyk ? cmyk : pixels->rgb, (int)pixels->width, 0, (int)pixels->height,
        cmyk ? TJPF_CMYK : TJPF_RGB, &jpeg, &len, kind == JPEG_GREY ? TJSAMP_GRAY : TJSAMP_420, 90,
        kind == JPEG_PROGRESSIVE ? TJFLAG_PROGRESSIVE : 0);
    unsetenv("TJ_RESTART");
    need(r == 0, "tjCompress2");
    buffer_put(ret, jpeg, len);
    tjFree(jpeg);
    tjDestroy(handle);
}

static void put_u16be(struct buffer *buffer, size_t value)
{
    buffer_put_u8(buffer, (uint8_t)(value >> 8));
    buffer_put_u8(buffer, (uint8_t)value);
}

void make_jpeg_with_exif(const struct pixels *pixels, struct bytes exif, struct buffer *ret)
{
    _cleanup_buffer_ struct buffer plain = {0};
    make_jpeg(pixels, JPEG_PLAIN, &plain);
    buffer_put(ret, plain.data, 2);
    buffer_put(ret, "\xff\xe1", 2);
    put_u16be(ret, exif.len + 2);
    buffer_put_bytes(ret, exif);
    buffer_put(ret, plain.data + 2, plain.len - 2);
}

static void append_png(png_structp png, png_bytep data, size_t len)
{
    buffer_put(png_get_io_ptr(png), data, len);
}

static void flush_png(png_structp png)
{
    (void)png;
}

/* One stored pixel in the form's colour type, at most 8 bytes; palettes hold the four colours. */
static size_t put_png_pixel(const struct png_form *form, const uint8_t *rgb, uint8_t *to)
{
    uint8_t grey = (uint8_t)((rgb[0] * 299 + rgb[1] * 587 + rgb[2] * 114) / 1000);
    size_t len = 0;
    if (form->colour_type == PNG_COLOR_TYPE_PALETTE) {
        for (uint8_t quarter = 0; quarter < 4; quarter++) {
            struct colour colour = quarter_colour((enum quarter)quarter);
            if (memcmp(rgb, &colour, 3) == 0)
                to[0] = quarter;
        }
        return 1;
    }
    bool coloured = form->colour_type & PNG_COLOR_MASK_COLOR;
    for (size_t c = 0; c < (coloured ? 3 : 1); c++) {
        to[len++] = coloured ? rgb[c] : grey;
        if (form->depth == 16)
            to[len++] = 0x55;
    }
    for (int i = 0; form->colour_type & PNG_COLOR_MASK_ALPHA && i < form->depth / 8; i++)
        to[len++] = 255;
    return len;
}

static void put_png_rows(png_structp png, const struct pixels *pixels, const struct png_form *form)
{
    _cleanup_free_ uint8_t *row = allocate(pixels->width, 8);
    int passes = png_set_interlace_handling(png);
    for (int pass = 0; pass < passes; pass++) {
        for (uint32_t y = 0; y < pixels->height; y++) {
            size_t len = 0;
            for (uint32_t x = 0; x < pixels->width; x++)
                len += put_png_pixel(form, pixels->rgb + ((size_t)y * pixels->width + x) * 3, row + len);
            png_write_row(png, row);
        }
    }
}

void make_png(const struct pixels *pixels, const struct png_form *form, struct buffer *ret)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    need(info, "png_create_write_struct");
    if (setjmp(png_jmpbuf(png)))
        need(false, "libpng");
    png_set_write_fn(png, ret, append_png, flush_png);
    png_set_IHDR(png, info, pixels->width, pixels->height, form->depth, form->colour_type,
        form->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
        PNG_FILTER_TYPE_DEFAULT);
    png_color palette[4];
    for (int i = 0; i < 4; i++) {
        struct colour colour = quarter_colour((enum quarter)i);
        palette[i] = (png_color){colour.red, colour.green, colour.blue};
    }
    if (form->colour_type == PNG_COLOR_TYPE_PALETTE)
        png_set_PLTE(png, info, palette, 4);
    _cleanup_buffer_ struct buffer exif = {0};
    if (form->exif.len > 6) {
        buffer_put(&exif, form->exif.data + 6, form->exif.len - 6);
        png_set_eXIf_1(png, info, (png_uint_32)exif.len, exif.data);
    }
    png_write_info(png, info);
    /* Rows are handed over with one byte a pixel, whatever the depth. */
    if (form->depth < 8)
        png_set_packing(png);
    put_png_rows(png, pixels, form);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
}

void make_blank_png(uint32_t width, uint32_t height, struct buffer *ret)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    need(info, "png_create_write_struct");
    if (setjmp(png_jmpbuf(png)))
        need(false, "libpng");
    png_set_write_fn(png, ret, append_png, flush_png);
    png_set_IHDR(png, info, width, height, 1, PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
        PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    _cleanup_free_ uint8_t *row = allocate(width / 8 + 1, 1);
    memset(row, 0xff, width / 8 + 1);
    for (uint32_t y = 0; y < height; y++)
        png_write_row(png, row);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
}

static void put_chunk(struct buffer *ret, const char type[4], struct bytes body)
{
    uLong sum = crc32(0, (const Bytef *)type, 4);
    if (body.len > 0)
        sum = crc32(sum, body.data, (uInt)body.len);
    buffer_put_u32be(ret, (uint32_t)body.len);
    buffer_put(ret, type, 4);
    buffer_put_bytes(ret, body);
    buffer_put_u32be(ret, (uint32_t)sum);
}

void make_png_header(uint32_t width, uint32_t height, struct buffer *ret)
{
    static const uint8_t rgb_8_bits[5] = {8, 2, 0, 0, 0};
    static const uint8_t no_pixels[8] = {0x78, 0x9c, 0x03, 0x00, 0x00, 0x00, 0x00, 0x01};
    _cleanup_buffer_ struct buffer header = {0};
    buffer_put_u32be(&header, width);
    buffer_put_u32be(&header, height);
    buffer_put(&header, rgb_8_bits, sizeof(rgb_8_bits));
    buffer_put(ret, "\x89PNG\r\n\x1a\n", 8);
    put_chunk(ret, "IHDR", buffer_bytes(&header));
    put_chunk(ret, "IDAT", bytes_of(no_pixels, sizeof(no_pixels)));
    put_chunk(ret, "IEND", (struct bytes){0});
}

/* A TIFF structure while it is written: offsets count from behind "Exif\0\0". */
struct tiff {
    struct buffer *to;
    size_t start;
    bool big_endian;
};

static void put_number(struct tiff *tiff, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        buffer_put_u8(tiff->to, (uint8_t)(value >> 8 * (tiff->big_endian ? bytes - 1 - i : i)));
}

static void put_entry(struct tiff *tiff, uint32_t tag, uint32_t type, uint32_t count, uint32_t value)
{
    put_number(tiff, tag, 2);
    put_number(tiff, type, 2);
    put_number(tiff, count, 4);
    put_number(tiff, value, 4);
}

/* A value of up to four bytes that is shorter stands at the front of its field, whichever end the numbers
 * begin with. */
static void put_short_entry(struct tiff *tiff, uint32_t tag, uint32_t value)
{
    put_entry(tiff, tag, 3, 1, tiff->big_endian ? value << 16 : value);
}

static void put_letter_entry(struct tiff *tiff, uint32_t tag, char letter)
{
    put_entry(tiff, tag, 2, 2, tiff->big_endian ? (uint32_t)letter << 24 : (uint32_t)letter);
}

/*
 * Fixed places: IFD 0 at 8 (three entries), the EXIF IFD at 50 (one), its text at 68 (20 bytes), the GPS IFD
 * at 88 (four), the latitude at 142 and the longitude at 166.
 */
void make_exif(const struct exif_form *form, struct buffer *ret)
{
    buffer_put(ret, "Exif\0", 6);
    struct tiff tiff = {.to = ret, .start = ret->len, .big_endian = form->big_endian};
    buffer_put(ret, form->big_endian ? "MM" : "II", 2);
    put_number(&tiff, 42, 2);
    put_number(&tiff, 8, 4);

    put_number(&tiff, 3, 2);
    put_short_entry(&tiff, form->orientation ? 0x0112 : 0xfff0, form->orientation);
    put_entry(&tiff, 0x8769, 4, 1, 50);
    put_entry(&tiff, form->position ? 0x8825 : 0xfff1, 4, 1, 88);
    put_number(&tiff, 0, 4);

    put_number(&tiff, 1, 2);
    put_entry(&tiff, form->time ? 0x9003 : 0xfff2, 2, 20, 68);
    put_number(&tiff, 0, 4);
    char time[20] = "";
    if (form->time)
        memcpy(time, form->time, strnlen(form->time, sizeof(time) - 1));
    buffer_put(ret, time, sizeof(time));

    put_number(&tiff, 4, 2);
    put_letter_entry(&tiff, 1, form->lat_half);
    put_entry(&tiff, 2, form->signed_fractions ? 10 : 5, 3, 142);
    put_letter_entry(&tiff, 3, form->lon_half);
    put_entry(&tiff, 4, form->signed_fractions ? 10 : 5, 3, 166);
    put_number(&tiff, 0, 4);
    for (size_t i = 0; i < 6; i++)
        put_number(&tiff, form->lat[i], 4);
    for (size_t i = 0; i < 6; i++)
        put_number(&tiff, form->lon[i], 4);
    need(ret->len - tiff.start == 190, "EXIF layout");
}

struct pixels read_jpeg(struct bytes jpeg)
{
    tjhandle handle = tjInitDecompress();
    need(handle, "tjInitDecompress");
    int width;
    int height;
    int sampling;
    int colours;
    need(tjDecompressHeader3(handle, jpeg.data, jpeg.len, &width, &height, &sampling, &colours) == 0,
        "preview header");
    struct pixels pixels = pixels_new((uint32_t)width, (uint32_t)height);
    need(tjDecompress2(handle, jpeg.data, jpeg.len, pixels.rgb, width, 0, height, TJPF_RGB, 0) == 0,
        "preview");
    tjDestroy(handle);
    return pixels;
}

bool jpeg_has_marker(struct bytes jpeg, uint8_t marker)
{
    for (size_t at = 2; at + 4 <= jpeg.len && jpeg.data[at] == 0xff;) {
        if (jpeg.data[at + 1] == marker)
            return true;
        if (jpeg.data[at + 1] == 0xda)
            break;
        at += 2 + ((size_t)jpeg.data[at + 2] << 8) + jpeg.data[at + 3];
    }
    return false;
}
