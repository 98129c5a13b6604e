/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Photos made for tests: four coloured quarters, or noise, as JPEG or PNG, with EXIF if wanted; and a look
 * into the previews that come out. Used by the tests of the photo helper and of its caller. Whatever fails
 * here aborts: it is the test that is wrong.
 */
#pragma once

#include "base/bytes.h"

#include <stdbool.h>
#include <stdint.h>

enum quarter { TOP_LEFT, TOP_RIGHT, BOTTOM_LEFT, BOTTOM_RIGHT };

/* The colour of a quarter of an upright picture: red, green, blue, yellow. */
struct colour {
    uint8_t red, green, blue;
};
struct colour quarter_colour(enum quarter quarter);

/* Plain RGB pixels, to be freed. */
struct pixels {
    uint32_t width, height;
    uint8_t *rgb;
};
void pixels_done(struct pixels *pixels);
#define _cleanup_pixels_ _cleanup_(pixels_done)

/* The four colours in order of the stored picture's quarters. */
struct pixels pixels_of_quarters(uint32_t width, uint32_t height, const enum quarter stored[4]);
struct pixels pixels_upright(uint32_t width, uint32_t height);
/* Incompressible, the same for the same seed. */
struct pixels pixels_of_noise(uint32_t width, uint32_t height, uint32_t seed);
/* The pixel in the middle of a quarter. */
struct colour pixels_at(const struct pixels *pixels, enum quarter quarter);

enum jpeg_kind { JPEG_PLAIN, JPEG_GREY, JPEG_PROGRESSIVE, JPEG_WITH_RESTARTS, JPEG_CMYK };

/* All appended to *ret. */
void make_jpeg(const struct pixels *pixels, enum jpeg_kind kind, struct buffer *ret);
/* A JPEG with an APP1 segment put in behind its start. */
void make_jpeg_with_exif(const struct pixels *pixels, struct bytes exif, struct buffer *ret);

struct png_form {
    int colour_type; /* PNG_COLOR_TYPE_... of libpng, which depths it takes there */
    int depth;
    bool interlaced;
    struct bytes exif; /* "Exif\0\0" before it is left out, as PNG wants it */
};
void make_png(const struct pixels *pixels, const struct png_form *form, struct buffer *ret);
/* Signature, header and end of a PNG that claims these sides, with correct checksums. */
void make_png_header(uint32_t width, uint32_t height, struct buffer *ret);

/* A whole white PNG of one bit a pixel: large sides, small file. */
void make_blank_png(uint32_t width, uint32_t height, struct buffer *ret);

/* EXIF with up to three things in it; what is zero is left out. */
struct exif_form {
    const char *time;        /* as EXIF has it, "2015:04:10 20:12:23" */
    uint32_t lat[6], lon[6]; /* numerator and denominator of degrees, minutes, seconds */
    char lat_half, lon_half;
    uint16_t orientation;
    bool position, signed_fractions, big_endian;
};
void make_exif(const struct exif_form *form, struct buffer *ret);

/* Decodes a preview; aborts if that gives as much as a warning. */
struct pixels read_jpeg(struct bytes jpeg);
bool jpeg_has_marker(struct bytes jpeg, uint8_t marker);
