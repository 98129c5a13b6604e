/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs of positions, as lists in audits and repairs: proto/README.md, "Audit". Pure; for proto/ only.
 *
 * On the wire a list is pairs of numbers: how many positions lie between a run and the end of the one before,
 * and how many belong to it. A position that stands alone so takes two or three bytes.
 */
#pragma once

#include "proto/messages.h"
#include "proto/wire_pack.h"
#include "proto/wire_reader.h"

/* Runs ascend, do not overlap, and lie within a log. */
bool run_list_within_limits(const struct run *runs, size_t count, size_t count_max);
/* The positions in all runs; these are within limits. */
uint64_t run_list_total(const struct run *runs, size_t count);
/* The pairs of runs that are within limits, 2 * count of them, in the scratch arena. */
uint64_t *run_list_fill(const struct run *runs, size_t count, struct arena *scratch);
/* Reads the current field, which carries the pairs. */
void run_list_read(
    struct wire_reader *reader, size_t count_max, const struct run **ret_runs, size_t *ret_count);
