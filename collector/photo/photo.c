/* SPDX-License-Identifier: Apache-2.0 */
/* One photo from bytes to verdict and preview; see photo.h. */
#include "collector/photo/photo.h"

#include "collector/photo/decode.h"
#include "collector/photo/exif.h"

#include <assert.h>
#include <errno.h>
#include <turbojpeg.h>

/* Below this quality a smaller picture shows more than a larger one. */
#define QUALITY_MIN 45

static const uint8_t jpeg_signature[3] = {0xff, 0xd8, 0xff};
static const uint8_t png_signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};

/* A file that ends within its signature passes, and is found to be truncated by whoever reads on. */
static bool has_signature(struct bytes file, const uint8_t *signature, size_t len)
{
    return memcmp(file.data, signature, file.len < len ? file.len : len) == 0;
}

/* By the first bytes; file names are not asked. */
static enum photo_verdict recognise(struct bytes file, enum photo_format *ret_format)
{
    if (file.len == 0)
        return PHOTO_EMPTY;
    if (file.len > BLOB_BYTES_MAX)
        return PHOTO_TOO_LARGE;
    if (has_signature(file, jpeg_signature, sizeof(jpeg_signature)))
        *ret_format = PHOTO_JPEG;
    else if (has_signature(file, png_signature, sizeof(png_signature)))
        *ret_format = PHOTO_PNG;
    else
        return PHOTO_NOT_AN_IMAGE;
    return PHOTO_GOOD;
}

static void destroy_handle(tjhandle *handle)
{
    if (*handle)
        tjDestroy(*handle);
}

/*
 * Returns the length of the JPEG in buffer[size], which has room for the worst case by tjBufSize().
 * Progressive costs the encoder a few milliseconds and saves a tenth of the bytes, which all travel before
 * any full photo does.
 */
static int compress(
    tjhandle handle, const struct raster *raster, int quality, uint8_t *buffer, size_t size, size_t *ret_len)
{
    unsigned long len = size;
    int r = tjCompress2(handle, raster->rgb, (int)raster->width, 0, (int)raster->height, TJPF_RGB, &buffer,
        &len, TJSAMP_420, quality, TJFLAG_NOREALLOC | TJFLAG_ACCURATEDCT | TJFLAG_PROGRESSIVE);
    if (r < 0)
        return -ENOMEM;
    *ret_len = len;
    return 0;
}

/*
 * Leaves the best quality that fits in `buffer`, or sets *ret_len to 0 when even the worst is too large. The
 * worst is tried first, because it tells soonest that a size is hopeless.
 */
static int compress_to_fit(
    tjhandle handle, const struct raster *raster, uint8_t *buffer, size_t size, size_t *ret_len)
{
    static const int better_qualities[] = {75, 65, 55};
    size_t len;
    int r = compress(handle, raster, QUALITY_MIN, buffer, size, &len);
    if (r < 0)
        return r;
    if (len > PREVIEW_BYTES_MAX) {
        *ret_len = 0;
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(better_qualities); i++) {
        r = compress(handle, raster, better_qualities[i], buffer, size, &len);
        if (r < 0)
            return r;
        if (len <= PREVIEW_BYTES_MAX) {
            *ret_len = len;
            return 0;
        }
    }
    return compress(handle, raster, QUALITY_MIN, buffer, size, ret_len);
}

/* Below this quality a smaller picture shows more than a larger one; the last side always fits, whatever is
 * in the picture. */
static int make_preview(
    const struct raster *small, uint8_t orientation, uint8_t **ret_preview, uint32_t *ret_len)
{
    static const uint32_t sides[] = {PHOTO_PREVIEW_SIDE_MAX, 560, 480, 400, 320, 240, 160, 96};
    _cleanup_(destroy_handle) tjhandle handle = tjInitCompress();
    size_t size = tjBufSize((int)PHOTO_PREVIEW_SIDE_MAX, (int)PHOTO_PREVIEW_SIDE_MAX, TJSAMP_420);
    _cleanup_free_ uint8_t *buffer = malloc(size);
    if (!handle || !buffer)
        return -ENOMEM;

    for (size_t i = 0; i < ARRAY_LEN(sides); i++) {
        uint32_t width;
        uint32_t height;
        raster_fit(small->width, small->height, sides[i], &width, &height);
        _cleanup_(raster_done) struct raster stored = {0};
        _cleanup_(raster_done) struct raster upright = {0};
        size_t len = 0;
        int r = raster_shrink(small, width, height, &stored);
        if (r >= 0)
            r = raster_upright(&stored, orientation, &upright);
        if (r >= 0)
            r = compress_to_fit(handle, &upright, buffer, size, &len);
        if (r < 0)
            return r;
        if (len > 0) {
            uint8_t *shorter = realloc(buffer, len);
            *ret_preview = shorter ? shorter : buffer;
            buffer = NULL;
            *ret_len = (uint32_t)len;
            return 0;
        }
    }
    /* Even noise of the last size needs less than half of the limit. */
    assert(false);
    return -ENOMEM;
}

int photo_inspect(struct bytes bytes, struct photo *ret)
{
    struct photo photo = {.facts = {.orientation = 1}};
    struct photo_facts *facts = &photo.facts;
    _cleanup_(decoded_done) struct decoded decoded = {0};
    facts->verdict = recognise(bytes, &facts->format);
    if (facts->verdict == PHOTO_GOOD) {
        int r = facts->format == PHOTO_JPEG ? decode_jpeg(bytes, &decoded, &facts->verdict)
                                            : decode_png(bytes, &decoded, &facts->verdict);
        if (r < 0)
            return r;
    }
    if (facts->verdict == PHOTO_GOOD) {
        facts->width = decoded.width;
        facts->height = decoded.height;
        exif_read(decoded.exif, facts);
        int r = make_preview(&decoded.small, facts->orientation, &photo.preview, &facts->preview_len);
        if (r < 0)
            return r;
    }
    *ret = photo;
    return 0;
}

void photo_done(struct photo *photo)
{
    free(photo->preview);
    *photo = (struct photo){0};
}
