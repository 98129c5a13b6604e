/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is doubtful about the times of a record. A handheld's clock may boot in 1970 or be set to anything,
 * and a receiver may count its weeks wrong: such records are taken like all others, and flagged, so that
 * people who rely on an instant are told. Order never depends on it. Called by whoever prints findings, at
 * the handheld with what it knows, at the centre with more. Pure.
 */
#pragma once

#include "base/bytes.h"

#define TIME_TOLERANCE_MS INT64_C(300000)       /* two clocks that differ by no more agree */
#define TIME_FIX_OLD_MS INT64_C(120000)         /* who walks is elsewhere by then */
#define TIME_FIX_AGE_MAX_MS INT64_C(86400000)   /* nobody keeps a fix so long: the clocks disagree */
#define TIME_EARLIEST_MS INT64_C(1767225600000) /* 2026-01-01: no record is older than gridpatrol */

enum time_flag {
    TIME_CLOCK_BEHIND = 1 << 0,  /* the record's own time is before what was already past when it was made */
    TIME_CLOCK_AHEAD = 1 << 1,   /* it is after the centre had the record */
    TIME_FIX_DISAGREES = 1 << 2, /* the fix's time and the record's cannot both be right */
    TIME_FIX_OLD = 1 << 3,       /* the position is where the handheld was some time before */
};

struct time_facts {
    int64_t recorded_ms; /* wall clock of the handheld */
    int64_t fix_ms;      /* the fix's own time; 0: none was given */
    int64_t
        not_before_ms; /* the centre's clock, in a receipt that the handheld had when it made the record; 0 */
    int64_t received_ms; /* the centre's clock when it had stored the record; 0: it is not there */
};

/* A set of enum time_flag. */
unsigned time_flags(const struct time_facts *facts);
/* Appends "flags":["fix_old"], the names of a set in the order above, followed by a comma. */
void time_flags_put_json(unsigned flags, struct buffer *ret);
/* Appends the names with a space between. */
void time_flags_put_text(unsigned flags, struct buffer *ret);
