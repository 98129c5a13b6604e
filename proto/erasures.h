/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of erasure orders, as parts of exchange answers and of the receipts for a bundle. proto/README.md,
 * "Erasure". Pure; for proto/ only.
 */
#pragma once

#include "proto/messages.h"
#include "proto/wire_pack.h"
#include "proto/wire_reader.h"

/* Numbers that grow from one to the next, and no more entries in all than one order may have. */
bool erasures_within_limits(const struct erasure_order *orders, size_t count);
/* The list for the generated code, in the scratch arena. */
Wire__ErasureOrder **erasures_fill(const struct erasure_order *orders, size_t count, struct arena *scratch);
/* Reads the current field, which carries one of them. */
void erasures_read_item(struct wire_reader *outer, struct wire_items *items);
