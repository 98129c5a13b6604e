/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries what can be read of a damaged database over into a new one. Used by recover.c only.
 */
#pragma once

#include "store/damaged_image.h"
#include "store/internal.h"

/* In a write transaction of the new, empty database: rows, then a new log with all that was not acknowledged.
 * `ret_salvaged` counts what was re-homed. */
int salvage(struct store *store, struct damaged_image *image, uint64_t *ret_salvaged);
