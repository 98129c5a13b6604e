/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists that the centre says alike in an exchange answer and in the receipts of a bundle: what is in
 * quarantine, which blobs are stored. Pure; for proto/ only.
 */
#pragma once

#include "proto/messages.h"
#include "proto/wire_pack.h"
#include "proto/wire_reader.h"

bool quarantined_within_limits(const struct quarantined *quarantined, size_t count);
/* The lists for the generated code, in the scratch arena. */
Wire__Quarantined **quarantined_fill(
    const struct quarantined *quarantined, size_t count, struct arena *scratch);
Wire__BlobStored **stored_blobs_fill(const struct blob_stored *blobs, size_t count, struct arena *scratch);
/* Each reads the current field, which carries one of them. */
void quarantined_read_item(struct wire_reader *outer, struct wire_items *items);
void stored_blobs_read_item(struct wire_reader *outer, struct wire_items *items, size_t count_max);
