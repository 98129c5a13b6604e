/* SPDX-License-Identifier: Apache-2.0 */
/* JPEG through the TurboJPEG API, at reduced scale: entropy decoding is complete, so that lost data shows. */
#include "collector/photo/decode.h"

#include "base/cleanup.h"
#include "collector/photo/jpeg_walk.h"

#include <errno.h>
#include <stdlib.h>
#include <turbojpeg.h>

/* Whole-picture coefficients of a progressive JPEG: fits, beside the file itself, into the helper's address
 * space. */
#define COEFFICIENT_BYTES_MAX (UINT64_C(192) * 1024 * 1024)

/*
 * How many unexpected bytes may stand before a marker. Some cameras pad the end of the picture data; webcams
 * that restart the entropy coder often leave a few bytes each time. Lost blocks, on the other hand, leave
 * hundreds before the next restart marker.
 */
#define EXTRANEOUS_BYTES_BEFORE_RESTART_MAX 64u
#define EXTRANEOUS_BYTES_MAX 1024u

static void destroy_handle(tjhandle *handle)
{
    if (*handle)
        tjDestroy(*handle);
}

static bool begins_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

/* "Corrupt JPEG data: 12 extraneous bytes before marker 0xd9": how many, and which marker. */
static bool is_about_extraneous_bytes(const char *text, unsigned long *ret_count, unsigned long *ret_marker)
{
    static const char start[] = "Corrupt JPEG data: ";
    static const char middle[] = " extraneous bytes before marker 0x";
    if (!begins_with(text, start))
        return false;
    char *after;
    unsigned long count = strtoul(text + strlen(start), &after, 10);
    if (!begins_with(after, middle))
        return false;
    *ret_count = count;
    *ret_marker = strtoul(after + strlen(middle), NULL, 16);
    return true;
}

/*
 * What a warning says of the picture. The TurboJPEG API hands out libjpeg's texts, and no codes; they have
 * been the same since libjpeg 6. A text not known here is about the header (an odd JFIF version, Adobe
 * transform or scan parameters): harmless.
 */
static enum photo_verdict judge_warning(const char *text)
{
    unsigned long count;
    unsigned long marker;
    if (is_about_extraneous_bytes(text, &count, &marker)) {
        bool restart = marker >= 0xd0 && marker <= 0xd7;
        unsigned long most = restart ? EXTRANEOUS_BYTES_BEFORE_RESTART_MAX : EXTRANEOUS_BYTES_MAX;
        return count <= most ? PHOTO_GOOD : PHOTO_DAMAGED;
    }
    if (begins_with(text, "Premature end of JPEG file") ||
        begins_with(text, "Corrupt JPEG data: premature end of data segment"))
        return PHOTO_TRUNCATED;
    return begins_with(text, "Corrupt JPEG data") ? PHOTO_DAMAGED : PHOTO_GOOD;
}

/* The least of the scales 1/8 to 8/8 (all are offered since libjpeg-turbo 1.5) that still leaves enough for a
 * preview. */
static tjscalingfactor choose_scale(const struct jpeg_walk *walk)
{
    uint32_t longest = walk->width > walk->height ? walk->width : walk->height;
    tjscalingfactor scale = {.num = 1, .denom = 8};
    while (scale.num < scale.denom && (uint32_t)TJSCALED((int)longest, scale) < PHOTO_PREVIEW_SIDE_MAX)
        scale.num++;
    return scale;
}

/* CMYK in the manner of Adobe: stored inverted, so that 255 is no ink. */
static void cmyk_to_rgb(const uint8_t *cmyk, struct raster *to)
{
    uint8_t *rgb = to->rgb;
    for (size_t i = 0; i < (size_t)to->width * to->height; i++, cmyk += 4) {
        for (size_t c = 0; c < RASTER_BYTES_PER_PIXEL; c++)
            *rgb++ = (uint8_t)(((unsigned)cmyk[c] * cmyk[3] + 127) / 255);
    }
}

static int decompress(struct bytes jpeg, struct raster *to, bool cmyk, enum photo_verdict *ret_verdict)
{
    _cleanup_free_ uint8_t *inks = cmyk ? calloc((size_t)to->width * to->height, 4) : NULL;
    if (cmyk && !inks)
        return -ENOMEM;
    _cleanup_(destroy_handle) tjhandle handle = tjInitDecompress();
    if (!handle)
        return -ENOMEM;
    *ret_verdict = PHOTO_GOOD;
    int r = tjDecompress2(handle, jpeg.data, jpeg.len, cmyk ? inks : to->rgb, (int)to->width, 0,
        (int)to->height, cmyk ? TJPF_CMYK : TJPF_RGB, TJFLAG_LIMITSCANS);
    if (r < 0 && tjGetErrorCode(handle) == TJERR_WARNING) {
        *ret_verdict = judge_warning(tjGetErrorStr2(handle));
    } else if (r < 0) {
        if (begins_with(tjGetErrorStr2(handle), "Insufficient memory"))
            return -ENOMEM;
        *ret_verdict = PHOTO_DAMAGED;
    }
    if (cmyk)
        cmyk_to_rgb(inks, to);
    return 0;
}

int decode_jpeg(struct bytes file, struct decoded *ret, enum photo_verdict *ret_verdict)
{
    struct jpeg_walk walk;
    enum photo_verdict verdict = jpeg_walk(file, &walk);
    if (verdict == PHOTO_GOOD && ((uint64_t)walk.width * walk.height > PHOTO_PIXELS_MAX ||
                                     walk.coefficient_bytes > COEFFICIENT_BYTES_MAX))
        verdict = PHOTO_TOO_MANY_PIXELS;
    if (verdict != PHOTO_GOOD) {
        *ret_verdict = verdict;
        return 0;
    }

    tjscalingfactor scale = choose_scale(&walk);
    _cleanup_(raster_done) struct raster small = {0};
    int r = raster_init(
        &small, (uint32_t)TJSCALED((int)walk.width, scale), (uint32_t)TJSCALED((int)walk.height, scale));
    if (r < 0)
        return r;
    r = decompress(bytes_of(file.data, walk.len), &small, walk.components == 4, &verdict);
    if (r < 0)
        return r;
    if (verdict == PHOTO_GOOD) {
        *ret =
            (struct decoded){.width = walk.width, .height = walk.height, .small = small, .exif = walk.exif};
        small = (struct raster){0};
    }
    *ret_verdict = verdict;
    return 0;
}
