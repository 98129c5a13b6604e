/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walks the markers of a JPEG file (ITU-T T.81, annex B) without decoding it: is there an end, how large is
 * the picture, how much memory would it take, where is the EXIF. Pure. The decoder is then given exactly the
 * bytes from SOI to EOI.
 */
#pragma once

#include "base/bytes.h"
#include "collector/photo/answer.h"

struct jpeg_walk {
    uint32_t width, height;
    uint8_t components;
    size_t len;                 /* up to and with the end-of-image marker */
    uint64_t coefficient_bytes; /* what the decoder must hold at once: 0 if the picture comes in one
                                   sequential scan */
    struct bytes
        exif; /* the first APP1 segment that begins with "Exif\0\0", borrowed from the file; or empty */
};

/*
 * `file` begins with an SOI marker, or with the first byte of one. Returns PHOTO_GOOD when the markers up to
 * EOI hang together (which says nothing yet about what is between them), else the reason; *ret is set only
 * for PHOTO_GOOD.
 */
enum photo_verdict jpeg_walk(struct bytes file, struct jpeg_walk *ret);
