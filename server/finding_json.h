/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a finding says, as JSON: the part of `findings --json` lines that `patrol list --json` prints alike at
 * the handheld, so that one can be compared with the other. Pure.
 */
#pragma once

#include "proto/record.h"

/* Appends the members, each followed by a comma, without braces:
 *
 *   "category":{"scheme","version","kind":"matter","code","component"},   null where there is none
 *   "severity","note",
 *   "lat","lon","accuracy_m",      numbers, exact decimals of what was recorded; null without a fix
 *   "fix_time","no_fix",           null where not given
 *   "observed_at","recorded_at",   RFC 3339, in the record's own offset
 *
 * `has_finding` false (a withdrawal, a record that cannot be read): only the note and recorded_at are not
 * null. */
void finding_put_json(const struct finding *finding, bool has_finding, int64_t recorded_ms,
    int32_t utc_offset_min, struct buffer *ret);
