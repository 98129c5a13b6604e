/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zlib streams (RFC 1950) with a preset dictionary. proto/README.md, "Compression". Pure.
 *
 * The stream's FDICT field (Adler-32) names the dictionary; all dictionaries are kept for ever.
 */
#pragma once

#include "base/bytes.h"

#define DICTIONARY_NONE 0u

/* Adler-32 names of the dictionaries this program has, newest first. */
size_t dictionary_names(const uint32_t **ret);
bool dictionary_is_known(uint32_t name);
/* Deflates `plain` at level 1..9 and appends it. `dictionary` is a name or DICTIONARY_NONE. -ENOMEM, -ENOENT
 * unknown. */
int compress_bytes(struct bytes plain, int level, uint32_t dictionary, struct buffer *ret);
/* Inflates a whole stream of at most `len_max` bytes and appends it. -EBADMSG damaged or trailing bytes,
 * -EFBIG over the limit, -ENOENT unknown dictionary, -ENOMEM. */
int inflate_bytes(struct bytes bytes, size_t len_max, struct buffer *ret);
