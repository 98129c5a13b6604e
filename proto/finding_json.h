/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a finding says, as JSON: the part of `--json` lines that handheld and centre print alike, so that one
 * can be compared with the other. Pure.
 */
#pragma once

#include "proto/record.h"

/* Appends the members, each followed by a comma, without braces:
 *
 *   "category":{"scheme","version","kind":"matter","code"},"component",   null where there is none
 *   "severity","note",
 *   "lat","lon","accuracy_m",           numbers, exact decimals of what was recorded; null without a fix
 *   "fix_time","no_fix",                null where not given
 *   "observed_at","recorded_at",        RFC 3339, in the record's own offset; fix_time in UTC
 *
 * `finding` NULL (a withdrawal, a record that cannot be read): everything but recorded_at is null. */
void finding_put_json(
    const struct finding *finding, int64_t recorded_ms, int32_t utc_offset_min, struct buffer *ret);
