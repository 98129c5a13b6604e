/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Projection: what a record means for the derived tables. Called by the service when records come in, when
 * they are repaired and when the tables are rebuilt; must not know storage. Pure.
 */
#pragma once

#include "proto/record.h"

/* A record may have been re-homed again before it was ever acknowledged: wrapped in a wrapped record. */
#define PROJECTION_REHOMED_DEPTH_MAX 8u

struct projection {
    const char *reason; /* why it cannot be applied (static, English); NULL when it can */
    struct record record;
    bool is_rehomed; /* `record` stood in another log first: there, under this id */
    struct position_in_log first;
    struct uuid first_id;
    struct sha256 first_leaf;
};

/* Decodes a record, unwrapping re-homed ones. Views point into `bytes` and the arena. 0, also for what cannot
 * be applied; -ENOBUFS when the arena is used up, -ENOMEM. */
int projection_decode(struct bytes bytes, struct arena *arena, struct projection *ret);

/* True for what people recorded: findings, amendments, withdrawals. They have rows in the list of findings.
 */
bool projection_is_listed(const struct projection *projection);
/* The parent that an amendment or withdrawal names, its log filled in; false for other kinds. `own_log` is
 * the log that the record first stood in. */
bool projection_parent(const struct projection *projection, const struct uuid *own_log, struct parent *ret);

/* What is known of a parent when its child is to be applied. */
struct parent_facts {
    bool is_known;       /* a record with this position and id is held and was applied */
    bool is_of_device;   /* its log belongs to the child's device */
    bool is_version;     /* it is a finding or an amendment */
    bool is_erased;      /* it was erased by order */
    bool log_is_foreign; /* the log named belongs to another device */
};

enum parent_verdict {
    PARENT_FITS,
    PARENT_AWAITED, /* not held yet: quarantined until it comes */
    PARENT_UNFIT,   /* never to be applied */
};
enum parent_verdict projection_judge_parent(const struct parent_facts *facts, const char **ret_reason);

/* The states that a finding goes through by later records about it. */
enum finding_state {
    FINDING_STORED = 0,
    FINDING_AMENDED = 1,
    FINDING_WITHDRAWN = 2,
    FINDING_QUARANTINED = 3
};
const char *finding_state_name(enum finding_state state);

/* One record of the chain that a finding starts: itself, its amendments, its withdrawals. */
struct version {
    uint64_t arrival; /* order in which the centre took them */
    enum record_kind kind;
};
/* The state of `versions[index]`: the newest amendment stands for the finding, everything before it is
 * amended; one withdrawal withdraws every version. */
enum finding_state projection_version_state(const struct version *versions, size_t count, size_t index);
