/* SPDX-License-Identifier: Apache-2.0 */
/* Shrinking and turning of RGB pictures, in integers only, so that every machine computes the same preview.
 */
#include "collector/photo/raster.h"

#include "base/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

int raster_init(struct raster *ret, uint32_t width, uint32_t height)
{
    uint8_t *rgb = calloc((size_t)width * height, RASTER_BYTES_PER_PIXEL);
    if (!rgb)
        return -ENOMEM;
    *ret = (struct raster){.width = width, .height = height, .rgb = rgb};
    return 0;
}

void raster_done(struct raster *raster)
{
    free(raster->rgb);
    *raster = (struct raster){0};
}

static uint32_t scale_side(uint32_t side, uint32_t longest, uint32_t longest_new)
{
    uint64_t scaled = ((uint64_t)side * longest_new + longest / 2) / longest;
    return scaled < 1 ? 1 : (uint32_t)scaled;
}

void raster_fit(uint32_t width, uint32_t height, uint32_t side_max, uint32_t *ret_width, uint32_t *ret_height)
{
    uint32_t longest = width > height ? width : height;
    uint32_t longest_new = longest < side_max ? longest : side_max;
    *ret_width = scale_side(width, longest, longest_new);
    *ret_height = scale_side(height, longest, longest_new);
}

/*
 * One line (a row, or a column by its stride) of `from_len` pixels averaged to `to_len`. Both lines are laid
 * over a ruler with from_len × to_len marks: an old pixel is to_len marks long, a new one from_len, and a new
 * pixel's weights sum up to from_len.
 */
static void shrink_line(const uint8_t *from, size_t from_stride, uint32_t from_len, uint8_t *to,
    size_t to_stride, uint32_t to_len)
{
    uint32_t index = 0;
    uint32_t left = to_len; /* how much of the old pixel at `index` is not yet used */
    for (uint32_t i = 0; i < to_len; i++) {
        uint64_t sums[RASTER_BYTES_PER_PIXEL] = {0};
        uint32_t wanted = from_len;
        while (wanted > 0) {
            uint32_t weight = wanted < left ? wanted : left;
            const uint8_t *pixel = from + (size_t)index * from_stride;
            for (size_t c = 0; c < RASTER_BYTES_PER_PIXEL; c++)
                sums[c] += (uint64_t)weight * pixel[c];
            wanted -= weight;
            left -= weight;
            if (left == 0) {
                index++;
                left = to_len;
            }
        }
        for (size_t c = 0; c < RASTER_BYTES_PER_PIXEL; c++)
            to[(size_t)i * to_stride + c] = (uint8_t)((sums[c] + from_len / 2) / from_len);
    }
}

int raster_shrink(const struct raster *from, uint32_t width, uint32_t height, struct raster *ret)
{
    assert(width > 0 && width <= from->width && height > 0 && height <= from->height);
    _cleanup_(raster_done) struct raster narrow = {0};
    int r = raster_init(&narrow, width, from->height);
    if (r < 0)
        return r;
    size_t from_row = (size_t)from->width * RASTER_BYTES_PER_PIXEL;
    size_t to_row = (size_t)width * RASTER_BYTES_PER_PIXEL;
    for (uint32_t y = 0; y < from->height; y++)
        shrink_line(from->rgb + y * from_row, RASTER_BYTES_PER_PIXEL, from->width, narrow.rgb + y * to_row,
            RASTER_BYTES_PER_PIXEL, width);

    struct raster small;
    r = raster_init(&small, width, height);
    if (r < 0)
        return r;
    for (uint32_t x = 0; x < width; x++)
        shrink_line(narrow.rgb + (size_t)x * RASTER_BYTES_PER_PIXEL, to_row, from->height,
            small.rgb + (size_t)x * RASTER_BYTES_PER_PIXEL, to_row, height);
    *ret = small;
    return 0;
}

int raster_upright(const struct raster *from, uint8_t orientation, struct raster *ret)
{
    /* What EXIF 2.3, tag 0x0112, says of the stored rows and columns, read backwards: where does the upright
     * pixel (x, y) lie? */
    bool sideways = orientation >= 5;
    bool mirror_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    bool mirror_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;

    struct raster upright;
    int r =
        raster_init(&upright, sideways ? from->height : from->width, sideways ? from->width : from->height);
    if (r < 0)
        return r;
    uint8_t *to = upright.rgb;
    for (uint32_t y = 0; y < upright.height; y++) {
        for (uint32_t x = 0; x < upright.width; x++) {
            uint32_t stored_x = sideways ? y : x;
            uint32_t stored_y = sideways ? x : y;
            if (mirror_x)
                stored_x = from->width - 1 - stored_x;
            if (mirror_y)
                stored_y = from->height - 1 - stored_y;
            size_t at = ((size_t)stored_y * from->width + stored_x) * RASTER_BYTES_PER_PIXEL;
            memcpy(to, from->rgb + at, RASTER_BYTES_PER_PIXEL);
            to += RASTER_BYTES_PER_PIXEL;
        }
    }
    *ret = upright;
    return 0;
}

static uint32_t squares(uint32_t side, uint32_t factor)
{
    return (side + factor - 1) / factor;
}

int reducer_init(struct reducer *ret, uint32_t width, uint32_t height, uint32_t side_min)
{
    uint32_t longest = width > height ? width : height;
    uint32_t factor = longest / side_min;
    if (factor < 1)
        factor = 1;
    struct reducer reducer = {.width = width, .height = height, .factor = factor};
    int r = raster_init(&reducer.small, squares(width, factor), squares(height, factor));
    if (r < 0)
        return r;
    if (factor > 1) {
        size_t count = (size_t)reducer.small.width * reducer.small.height;
        reducer.sums = calloc(count, RASTER_BYTES_PER_PIXEL * sizeof(*reducer.sums));
        if (!reducer.sums) {
            raster_done(&reducer.small);
            return -ENOMEM;
        }
    }
    *ret = reducer;
    return 0;
}

void reducer_done(struct reducer *reducer)
{
    raster_done(&reducer->small);
    free(reducer->sums);
    *reducer = (struct reducer){0};
}

/* As seen on white paper. */
static void blend(const uint8_t rgba[4], uint8_t ret_rgb[RASTER_BYTES_PER_PIXEL])
{
    unsigned alpha = rgba[3];
    for (size_t c = 0; c < RASTER_BYTES_PER_PIXEL; c++)
        ret_rgb[c] = (uint8_t)((rgba[c] * alpha + 255 * (255 - alpha) + 127) / 255);
}

void reducer_put_row(
    struct reducer *reducer, uint32_t y, uint32_t x_first, uint32_t x_step, const uint8_t *rgba)
{
    size_t row = (size_t)(y / reducer->factor) * reducer->small.width;
    uint32_t column = x_first / reducer->factor;
    uint32_t beyond =
        x_first % reducer->factor; /* pixels of that column's square that are left of this one */
    for (uint32_t x = x_first; x < reducer->width; x += x_step, rgba += 4) {
        uint8_t blended[RASTER_BYTES_PER_PIXEL];
        const uint8_t *rgb = rgba;
        if (rgba[3] != 255) {
            blend(rgba, blended);
            rgb = blended;
        }
        size_t at = (row + column) * RASTER_BYTES_PER_PIXEL;
        if (reducer->factor == 1) {
            memcpy(reducer->small.rgb + at, rgb, RASTER_BYTES_PER_PIXEL);
        } else {
            for (size_t c = 0; c < RASTER_BYTES_PER_PIXEL; c++)
                reducer->sums[at + c] += rgb[c];
        }
        for (beyond += x_step; beyond >= reducer->factor; beyond -= reducer->factor)
            column++;
    }
}

/* The last square of a row or column may be cut off by the picture's edge. */
static uint32_t square_len(uint32_t side, uint32_t factor, uint32_t index)
{
    uint32_t left = side - index * factor;
    return left < factor ? left : factor;
}

void reducer_take(struct reducer *reducer, struct raster *ret)
{
    struct raster *small = &reducer->small;
    size_t at = 0;
    for (uint32_t row = 0; reducer->factor > 1 && row < small->height; row++) {
        for (uint32_t column = 0; column < small->width; column++) {
            uint32_t pixels = square_len(reducer->width, reducer->factor, column) *
                              square_len(reducer->height, reducer->factor, row);
            for (size_t c = 0; c < RASTER_BYTES_PER_PIXEL; c++, at++)
                small->rgb[at] = (uint8_t)((reducer->sums[at] + pixels / 2) / pixels);
        }
    }
    *ret = *small;
    *small = (struct raster){0};
}
