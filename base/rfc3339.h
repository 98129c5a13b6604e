/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instants as RFC 3339 text. Pure: civil-calendar arithmetic only, no time zone database, no clock.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RFC3339_LEN 29u /* "2026-11-23T16:33:53.123+08:00" */

/* Parses a full RFC 3339 date-time ("Z" or a numeric offset is required; up to 9 fraction digits, cut to ms;
 * a leap second 60 is taken as 59). `ret_offset_min` may be NULL. 0, or -EINVAL. Years 0000 to 9999. */
int rfc3339_parse(const char *text, int64_t *ret_unix_ms, int32_t *ret_offset_min);
/* Writes `unix_ms` in the given offset (minutes east, 0 gives "Z"); milliseconds only when they are not 0.
 * Instants outside the years 0000..9999 are written as the nearest one inside; an offset of a day or more as
 * "Z".
 */
void rfc3339_format(int64_t unix_ms, int32_t offset_min, char ret[RFC3339_LEN + 1]);
