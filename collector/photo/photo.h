/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks at the bytes of one photo: is it a whole JPEG or PNG, what does its EXIF say, and what does it look
 * like small.
 *
 * Linked by the helper program patrol-photo and by tests, never by `patrol` itself, which must stay small and
 * must not run image decoders on a stranger's bytes in the process that holds the database. It does no I/O,
 * and keeps nothing between calls: the same bytes always give the same answer and the same preview.
 *
 * "Whole" is found out by decoding the entire picture, though at reduced size:
 *   - a JPEG must reach its end-of-image marker, and its picture data must fill the picture. Bytes behind
 * that marker (motion photos, depth maps) are not looked at;
 *   - stray bytes between a JPEG's segments, and a few at the end of its picture data, are taken as a
 * camera's whim. libjpeg-turbo tells of the first complaint only, so damage behind such a whim goes
 * unnoticed;
 *   - a PNG must be whole to its IEND chunk, with the right checksum on every chunk that matters.
 * EXIF is only ever read; broken EXIF is the same as none.
 */
#pragma once

#include "base/bytes.h"
#include "collector/photo/answer.h"

struct photo {
    struct photo_facts facts;
    uint8_t *preview; /* JPEG, upright, without EXIF; facts.preview_len bytes, NULL unless facts.verdict is
                         PHOTO_GOOD */
};

/*
 * Returns 0 when there is a verdict, good or bad (a refusal is data), and -ENOMEM when there is none. Uses at
 * most about 30 MB beside the bytes, and for a progressive JPEG up to 192 MiB, the room its coefficients
 * need.
 */
int photo_inspect(struct bytes bytes, struct photo *ret);
void photo_done(struct photo *photo);
