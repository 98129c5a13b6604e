/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The form of a finding: texts as a person or a file gave them, to a finding that may be recorded. Pure.
 *
 * The command line, the NDJSON import and the touch page fill the same form, so that all refuse the same
 * things in the same words. A refusal names the field and says how to mend it.
 */
#pragma once

#include "collector/core/directory.h"
#include "proto/record.h"

#define FORM_MESSAGE_MAX 400u

/* NULL: not given. Texts are borrowed. */
struct finding_form {
    const char *category;    /* code of a matter */
    const char *component;   /* code of a component */
    const char *severity;    /* minor, normal, serious, urgent */
    struct bytes note;       /* data NULL: not given */
    const char *lat, *lon;   /* decimal degrees, WGS-84 */
    const char *accuracy;    /* metres */
    const char *fix_time;    /* RFC 3339 */
    const char *no_fix;      /* why there is no position */
    const char *observed_at; /* RFC 3339 */
};

/* What was wrong, as "field: what is wrong; how to mend it". */
struct form_refusal {
    char message[FORM_MESSAGE_MAX];
};

/*
 * Checks a whole new form and fills `ret` (views into the form and the directory; no photos). Category is
 * required, and either a position or a reason why there is none; severity defaults to normal. 0, or -EINVAL
 * with the refusal.
 */
int finding_form_take(const struct finding_form *form, const struct directory *directory, struct finding *ret,
    struct form_refusal *refusal);

/*
 * Takes what the form gives over a finding as it was before (an amendment): fields that are not given stay.
 * At least one must be given, or `photos_added`. An empty note or component removes it. 0 or -EINVAL.
 */
int finding_form_amend(const struct finding_form *form, const struct directory *directory,
    const struct finding *before, bool photos_added, struct finding *ret, struct form_refusal *refusal);

/* A text that goes into a record: a reason of withdrawal, an inspector. 0 or -EINVAL. */
int form_text_take(
    const char *field, const char *text, size_t len_max, struct bytes *ret, struct form_refusal *refusal);
