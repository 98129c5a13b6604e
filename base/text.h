/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small text forms: UTF-8, hexadecimal, UUID text, numbers. Pure; locale never matters.
 */
#pragma once

#include "base/bytes.h"

/* True when `bytes` is well-formed UTF-8 (RFC 3629: no overlong form, no surrogate, at most U+10FFFF). NUL is
 * refused. */
bool text_is_utf8(struct bytes bytes);

/* Puts a blank for each control character, in place: what is quoted may neither start a second line nor steer
 * a terminal. */
void text_make_one_line(char *text);

/* Lower-case hex of `len` bytes into `ret`, which holds 2 * len + 1 chars. */
void text_hex(const uint8_t *data, size_t len, char *ret);
/* Parses exactly 2 * len hex digits, either case. 0 or -EINVAL. */
int text_parse_hex(const char *text, size_t text_len, uint8_t *ret, size_t len);

#define UUID_TEXT_LEN 36u
/* The 8-4-4-4-12 lower-case form (RFC 9562, section 4) with its NUL: UUID_TEXT_LEN + 1 chars. */
void text_uuid(const uint8_t uuid[16], char ret[UUID_TEXT_LEN + 1]);
/* 0 or -EINVAL. */
int text_parse_uuid(const char *text, uint8_t ret[16]);

/* Whole-string decimal numbers, no leading blanks. 0, -EINVAL (no number, trailing text, nan) or -ERANGE. */
int text_parse_u64(const char *text, uint64_t *ret);
int text_parse_double(const char *text, double *ret);

/* Degrees as text ("-73.9530344") to degrees * 10^7 rounded to nearest, exact for up to 7 decimals. 0,
 * -EINVAL, or -ERANGE beyond +-`limit_degrees`. */
int text_parse_e7(const char *text, unsigned limit_degrees, int32_t *ret);
/* Degrees * 10^7 as the shortest decimal text, e.g. "40.7801253", "-0.5", "12". */
#define TEXT_E7_LEN 13u
void text_e7(int32_t value_e7, char ret[TEXT_E7_LEN + 1]);
