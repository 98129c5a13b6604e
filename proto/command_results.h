/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How commands of the server have ended, as a part of exchange requests. proto/README.md, "Exchange". Pure;
 * for proto/ only.
 */
#pragma once

#include "proto/messages.h"
#include "proto/wire_pack.h"
#include "proto/wire_reader.h"

bool command_results_within_limits(const struct command_result *results, size_t count);
/* The list for the generated code, in the scratch arena. */
Wire__CommandResult **command_results_fill(
    const struct command_result *results, size_t count, struct arena *scratch);
/* Reads the current field, which carries one of them. */
void command_results_read_item(struct wire_reader *outer, struct wire_items *items);
