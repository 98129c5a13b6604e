/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The request headers of tus 1.0.0 (https://tus.io/protocols/resumable-upload, core, creation, expiration and
 * checksum), read into numbers and hashes. Called by the upload routes. Must not know what is done with them.
 * Pure.
 *
 * Texts come from strangers: anything may stand in them but NUL.
 */
#pragma once

#include "proto/ids.h"

#define TUS_VERSION "1.0.0"
#define TUS_EXTENSIONS "creation,expiration,checksum"
#define TUS_CHECKSUM_ALGORITHMS "sha256"
#define TUS_METADATA_BYTES_MAX 4096u

/* Upload-Length, Upload-Offset: digits and nothing else. 0, -EINVAL, or -ERANGE beyond 2^63 - 1. */
int tus_parse_number(const char *text, uint64_t *ret);
/* Upload-Metadata: the value of `sha256`, which is base64 of the 64 hex digits or of the 32 bytes. Other keys
 * are passed over. 0; -EINVAL malformed, a key twice, or no such value; -ENOENT without the key. */
int tus_parse_metadata(const char *text, struct sha256 *ret);
/* Upload-Checksum: "sha256 <base64>". 0; -EINVAL malformed; -ENOTSUP another algorithm. */
int tus_parse_checksum(const char *text, struct sha256 *ret);
/* Authorization: "Bearer <token>" (RFC 6750, section 2.1): the token, borrowed from `text`, or NULL. */
const char *tus_parse_bearer(const char *text);
/* The last segment of an upload's path: 64 lower-case hex digits, so that a blob has one URL. 0 or -EINVAL.
 */
int tus_parse_segment(const char *text, struct sha256 *ret);
/* True for application/offset+octet-stream, with parameters or without. */
bool tus_is_patch_type(const char *content_type);

/* Upload-Expires: IMF-fixdate (RFC 9110, section 5.6.7). Instants outside the years 1970..9999 are written as
 * the nearest one inside. */
#define TUS_DATE_LEN 29u
void tus_format_date(int64_t unix_ms, char ret[TUS_DATE_LEN + 1]);
