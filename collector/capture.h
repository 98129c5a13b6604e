/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capture: from a finding and its photo files to a durable record. Shared by record, its import, and amend;
 * knows no command line.
 */
#pragma once

#include "collector/program.h"

struct captured_photos {
    struct photo photos[FINDING_PHOTOS_MAX];
    struct store_photo stored[FINDING_PHOTOS_MAX];
    size_t count;
};

/*
 * Looks at each file, puts photo and preview into the store's photo directory (durable when this returns),
 * and fills `ret`, in order. 0; -EINVAL refused, with the line in `refusal`; other -errno of the store.
 */
int capture_photos(struct program *program, struct store *store, const char *const *paths, size_t count,
    bool urgent, struct captured_photos *ret, struct form_refusal *refusal);

/* The common head of a record, as of now. */
struct record record_now(struct program *program, enum record_kind kind, struct bytes inspector);
struct store_author author_of(struct bytes inspector);
