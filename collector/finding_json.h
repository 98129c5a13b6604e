/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A finding between JSON and the form: NDJSON lines in, `--json` objects out. Field names are those of the
 * man page, patrol(1).
 */
#pragma once

#include "collector/core/finding_form.h"
#include "store/store.h"

#include <jansson.h>

#define NDJSON_LINE_BYTES_MAX (128u * 1024u)

/* One parsed line. The texts of the form and the paths belong to it. */
struct finding_line {
    json_t *object;
    struct finding_form form;
    const char *inspector; /* NULL: not given */
    const char *photos[FINDING_PHOTOS_MAX];
    size_t photo_count;
    char lat[32], lon[32], accuracy[32];
};

/* Parses one line (without its newline). 0, or -EINVAL with the refusal. */
int finding_line_parse(struct bytes text, struct finding_line *ret, struct form_refusal *refusal);
void finding_line_done(struct finding_line *line);

/* How a finding stands, for its JSON object. */
struct finding_state {
    struct uuid id;
    struct position_in_log at;
    bool has_device;
    struct uuid device;
    const char *state;
    const char *reason; /* of a quarantine, or NULL */
    bool complete;
    /* One word for each photo, and its preview. */
    const char *photo_states[FINDING_PHOTOS_MAX], *preview_states[FINDING_PHOTOS_MAX];
};

/* Appends the object that list and show print, on one line. */
void finding_put_object(const struct record *record, const struct finding_state *state, struct buffer *ret);
