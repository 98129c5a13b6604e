/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of records by position, as parts of exchange requests and answers. proto/README.md, "Exchange". Pure;
 * for proto/ only.
 */
#pragma once

#include "proto/messages.h"
#include "proto/wire_pack.h"
#include "proto/wire_reader.h"

bool positions_within_limits(const struct position_in_log *positions, size_t count);
/* The list for the generated code, in the scratch arena. */
Wire__RecordPosition **positions_fill(
    const struct position_in_log *positions, size_t count, struct arena *scratch);
/* Reads the current field, which carries one of them. */
void positions_read_item(struct wire_reader *outer, struct wire_items *items);
