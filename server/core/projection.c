/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Projection: see projection.h and proto/README.md, "Records". Pure.
 */
#include "server/core/projection.h"

#include "proto/merkle.h"

#include <assert.h>
#include <errno.h>

int projection_decode(struct bytes bytes, struct arena *arena, struct projection *ret)
{
    *ret = (struct projection){0};
    for (unsigned depth = 0; depth <= PROJECTION_REHOMED_DEPTH_MAX; depth++) {
        int r = record_decode(bytes, arena, &ret->record, &ret->reason);

        if (r == -ENOBUFS || r == -ENOMEM)
            return r;
        if (r < 0) {
            if (!ret->reason)
                ret->reason = "not a record";
            ret->record = (struct record){0};
            return 0;
        }
        ret->reason = NULL;
        if (ret->record.kind != RECORD_REHOMED)
            return 0;

        bytes = ret->record.rehomed.record;
        ret->is_rehomed = true;
        ret->first.log = ret->record.rehomed.log;
        ret->first.seq = ret->record.rehomed.seq;
        ret->first_leaf = merkle_leaf(bytes);
        ret->first_id = record_public_id(&ret->first.log, ret->first.seq, &ret->first_leaf);
    }
    ret->reason = "re-homed too many times";
    ret->record = (struct record){0};
    return 0;
}

bool projection_is_listed(const struct projection *projection)
{
    if (projection->reason)
        return false;
    switch (projection->record.kind) {
    case RECORD_FINDING:
    case RECORD_AMENDMENT:
    case RECORD_WITHDRAWAL:
        return true;
    case RECORD_OPENED:
    case RECORD_DEVICE_EVENT:
    case RECORD_REHOMED:
    case RECORD_CLOSED:
        return false;
    }
    return false;
}

bool projection_parent(const struct projection *projection, const struct uuid *own_log, struct parent *ret)
{
    if (projection->reason)
        return false;
    if (projection->record.kind == RECORD_AMENDMENT)
        *ret = projection->record.amendment.parent;
    else if (projection->record.kind == RECORD_WITHDRAWAL)
        *ret = projection->record.withdrawal.parent;
    else
        return false;
    if (uuid_is_nil(&ret->log))
        ret->log = *own_log;
    return true;
}

enum parent_verdict projection_judge_parent(const struct parent_facts *facts, const char **ret_reason)
{
    const char *reason = NULL;
    enum parent_verdict verdict = PARENT_FITS;

    if (facts->log_is_foreign || (facts->is_known && !facts->is_of_device)) {
        verdict = PARENT_UNFIT;
        reason = "the record it names belongs to another device";
    } else if (facts->is_erased) {
        verdict = PARENT_UNFIT;
        reason = "the record it names was erased by order; erase this one too if it holds the same";
    } else if (!facts->is_known) {
        verdict = PARENT_AWAITED;
        reason = "the record it names is not known yet";
    } else if (!facts->is_version) {
        verdict = PARENT_UNFIT;
        reason = "the record it names is no finding";
    }
    if (reason)
        *ret_reason = reason;
    return verdict;
}

const char *finding_state_name(enum finding_state state)
{
    switch (state) {
    case FINDING_STORED:
        return "stored";
    case FINDING_AMENDED:
        return "amended";
    case FINDING_WITHDRAWN:
        return "withdrawn";
    case FINDING_QUARANTINED:
        return "quarantined";
    }
    return "unknown";
}

enum finding_state projection_version_state(const struct version *versions, size_t count, size_t index)
{
    bool is_withdrawn = false, is_newest = true;

    assert(index < count);
    if (versions[index].kind == RECORD_WITHDRAWAL)
        return FINDING_STORED;
    for (size_t i = 0; i < count; i++) {
        if (versions[i].kind == RECORD_WITHDRAWAL)
            is_withdrawn = true;
        else if (versions[i].kind == RECORD_AMENDMENT && i != index &&
                 (versions[index].kind == RECORD_FINDING || versions[i].arrival > versions[index].arrival))
            is_newest = false;
    }
    if (is_withdrawn)
        return FINDING_WITHDRAWN;
    return is_newest ? FINDING_STORED : FINDING_AMENDED;
}
