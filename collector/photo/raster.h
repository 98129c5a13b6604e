/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pixels in memory: 8-bit RGB rows without padding. Shrinking and turning, nothing else; knows no file
 * format.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RASTER_BYTES_PER_PIXEL 3u

struct raster {
    uint32_t width, height;
    uint8_t *rgb; /* height rows of width pixels */
};

/* Sides must be 1 to 65535; the pixels start black. Returns 0 or -ENOMEM. */
int raster_init(struct raster *ret, uint32_t width, uint32_t height);
void raster_done(struct raster *raster);

/* The sides that fit a picture of width × height into a square of side_max, its shape kept; never larger than
 * the picture. */
void raster_fit(
    uint32_t width, uint32_t height, uint32_t side_max, uint32_t *ret_width, uint32_t *ret_height);

/* Averages `from` down to width × height (neither may be larger than its own): each new pixel is the mean of
 * the area it covers. */
int raster_shrink(const struct raster *from, uint32_t width, uint32_t height, struct raster *ret);

/* Turns a picture upright that is stored with EXIF orientation 1 to 8. */
int raster_upright(const struct raster *from, uint8_t orientation, struct raster *ret);

/*
 * Takes the pixels of a picture in any order and keeps only the means of squares of `factor` pixels a side,
 * so that a picture of any size needs little memory while it is decoded. Every pixel must come exactly once.
 */
struct reducer {
    uint32_t width, height, factor;
    struct raster small; /* the result when factor is 1 */
    uint32_t *sums;      /* three a square, when factor is above 1 */
};

/* Chooses the largest factor that leaves the longest side at least side_min, or 1. Returns 0 or -ENOMEM. */
int reducer_init(struct reducer *ret, uint32_t width, uint32_t height, uint32_t side_min);
void reducer_done(struct reducer *reducer);
/*
 * Takes every x_step-th pixel of row y from x_first on: as many RGBA pixels as that makes. Transparent ones
 * count as on white paper.
 */
void reducer_put_row(
    struct reducer *reducer, uint32_t y, uint32_t x_first, uint32_t x_step, const uint8_t *rgba);
/* Gives the small picture away. */
void reducer_take(struct reducer *reducer, struct raster *ret);
