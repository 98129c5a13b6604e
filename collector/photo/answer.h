/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words that pass between `patrol` and its helper `patrol-photo`, and the limits both of them keep.
 *
 *   caller → helper   stdin: the photo's bytes, to end of file
 *   helper → caller   stdout: one line of text, then, if the photo is good, `preview_len` bytes of JPEG
 *
 *   ok format=jpeg width=3264 height=2448 orientation=6 exif_time=2015-04-10T20:12:23
 *      exif_lat_e7=404469722 exif_lon_e7=-37247500 preview_len=12345\n          (one line; the exif_ fields
 * may be absent) bad reason=truncated\n
 *
 * The helper exits with 0 in both cases. Anything else (another status, a signal, silence past the deadline,
 * a line that is not exactly of this form, too many or too few bytes behind it) means only that the photo
 * could not be decoded.
 *
 * Both programs use this file; it needs nothing but libc and the limits, and knows neither image libraries
 * nor processes.
 */
#pragma once

#include "proto/limits.h"
#include "proto/photo_format.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The size limits of a photo and of its preview are the protocol's: BLOB_BYTES_MAX and PREVIEW_BYTES_MAX. */
/* Width times height, as stored. Phones of today reach 108 megapixels. */
#define PHOTO_PIXELS_MAX (UINT64_C(120) * 1000 * 1000)
/* Either side; the JPEG format ends here too. */
#define PHOTO_SIDE_MAX 65535u
#define PHOTO_PREVIEW_SIDE_MAX 640u
/* The answer's first line, with its newline. */
#define PHOTO_ANSWER_LINE_MAX 256u
/* How long the helper lets itself run, and, a little longer, how long its caller waits. */
#define PHOTO_CPU_SECONDS_MAX 10u
#define PHOTO_ALARM_SECONDS 14u
#define PHOTO_DEADLINE_MS 15000u

enum photo_verdict {
    PHOTO_GOOD,
    PHOTO_EMPTY,
    PHOTO_TOO_LARGE,
    PHOTO_NOT_AN_IMAGE,    /* neither JPEG nor PNG by its first bytes */
    PHOTO_TRUNCATED,       /* the file, or the picture data in it, ends too early */
    PHOTO_DAMAGED,         /* bytes that no encoder wrote */
    PHOTO_UNSUPPORTED,     /* a JPEG of a rare kind: lossless, hierarchical, 12 bits a sample */
    PHOTO_TOO_MANY_PIXELS, /* also a progressive JPEG that would need too much memory */
};
#define PHOTO_VERDICT_COUNT 8

struct photo_facts {
    enum photo_verdict verdict; /* what follows is only meaningful for PHOTO_GOOD */
    enum photo_format format;
    uint32_t width, height; /* as stored, before the orientation is applied */
    uint8_t orientation;    /* 1 to 8 as in EXIF; 1 when the file names none */
    char exif_time[20]; /* DateTimeOriginal as YYYY-MM-DDTHH:MM:SS in the camera's own, unnamed zone; "" if
                           absent */
    bool has_position;
    int32_t lat_e7, lon_e7;
    uint32_t preview_len;
};

/* The word for a refusal, as it stands in the answer: "empty", "truncated", ...; "good" for PHOTO_GOOD. */
const char *photo_verdict_word(enum photo_verdict verdict);

/*
 * Writes the answer's line, newline included and no NUL counted, into line[size]. Returns its length, or
 * -ENOBUFS (PHOTO_ANSWER_LINE_MAX always suffices).
 */
int photo_answer_format(const struct photo_facts *facts, char *line, size_t size);

/*
 * Reads a line (len counts its newline) that another process wrote, and trusts nothing in it: numbers must be
 * within the limits above, and the text must be, byte for byte, what photo_answer_format() writes for them.
 * Returns 0 or -EBADMSG.
 */
int photo_answer_parse(const char *line, size_t len, struct photo_facts *ret);

/* True for YYYY-MM-DDTHH:MM:SS with a day and an hour that exist (a leap second is let through). */
bool photo_time_is_valid(const char *text);
