/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the bytes of a photo to a small picture in memory: one function a format, called by photo.c alone.
 * Each decodes the whole picture, and says by its verdict whether it could; what lies between is kept small
 * (see photo_inspect()).
 *
 * The small picture's longest side is at least PHOTO_PREVIEW_SIDE_MAX, or the picture's own if that is less,
 * and its shape is the stored one: not yet turned upright.
 */
#pragma once

#include "base/bytes.h"
#include "collector/photo/answer.h"
#include "collector/photo/raster.h"

struct decoded {
    uint32_t width, height; /* of the full picture, as stored */
    struct raster small;    /* owned */
    struct bytes exif; /* borrowed from the file; "Exif\0\0" and a TIFF structure, or a bare TIFF structure,
                          or empty */
};

/* Both return 0 with *ret_verdict set, and with *ret set only for PHOTO_GOOD; or -ENOMEM. */
int decode_jpeg(struct bytes file, struct decoded *ret, enum photo_verdict *ret_verdict);
int decode_png(struct bytes file, struct decoded *ret, enum photo_verdict *ret_verdict);

static inline void decoded_done(struct decoded *decoded)
{
    raster_done(&decoded->small);
}
