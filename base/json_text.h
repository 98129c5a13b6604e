/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON text as it is printed: one object a line, numbers exact, without a tree in memory. Pure.
 */
#pragma once

#include "base/bytes.h"

/* A JSON string (RFC 8259, section 7): UTF-8 as it is, what must be escaped is; bytes that are not UTF-8
 * become U+FFFD. */
void json_put_text(struct buffer *buffer, struct bytes text);
