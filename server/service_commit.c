/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The writer: one transaction for a group of jobs. See service.h.
 *
 * What becomes of a job is decided before it writes anything, so a job that is refused leaves no trace, but
 * for the device and its key, and does not touch the others of its group. Only a failing storage takes the
 * whole group back.
 */
#include "server/service_internal.h"

#include <assert.h>

int transaction_begin(struct service *service, struct transaction *ret)
{
    struct transaction transaction = {
        .service = service, .storage = service->writer, .awaiting_left = AWAITING_COMMIT_MAX};
    int r;

    if (!service->writer)
        return -EROFS;
    r = transaction.storage->verbs->begin(transaction.storage);
    if (r < 0)
        return r;
    r = transaction.storage->verbs->state(transaction.storage, &transaction.state);
    /* Under the lock, so that nothing is taken against an order that an admin has just given. */
    if (r >= 0)
        r = orders_refresh(service);
    if (r < 0) {
        transaction.storage->verbs->rollback(transaction.storage);
        return r;
    }
    transaction.now_ms = service_now_ms(service);
    *ret = transaction;
    return 0;
}

void transaction_rollback(struct transaction *transaction)
{
    transaction->storage->verbs->rollback(transaction->storage);
}

int transaction_commit(struct transaction *transaction)
{
    struct service *service = transaction->service;
    struct storage *storage = transaction->storage;
    int r;

    if (!transaction->has_changed) {
        transaction_rollback(transaction);
        return 0;
    }
    transaction->state.commits++;
    r = storage->verbs->set_state(storage, &transaction->state);
    if (r < 0) {
        transaction_rollback(transaction);
        return r;
    }
    r = storage->verbs->commit(storage);
    if (r < 0)
        return r;
    service->commits = transaction->state.commits;
    service->ids_waiting = storage_ids_waiting(&transaction->state);
    service_count(&service->counters.commits, 1);
    service_count(&service->counters.records_stored, transaction->records);
    service_count(&service->counters.records_quarantined, transaction->quarantined);
    service_count(&service->counters.forks, transaction->forks);
    return 0;
}

int transaction_alarm(
    struct transaction *transaction, enum alarm_kind kind, uint64_t device, uint64_t key, const char *text)
{
    bool is_new = false;
    int r = transaction->storage->verbs->alarm_put(
        transaction->storage, kind, device, key, transaction->now_ms, text, &is_new);

    if (is_new) {
        transaction->has_changed = true;
        if (kind == ALARM_FORK)
            transaction->forks++;
    }
    return r;
}

/* ---- groups ---- */

static int commit_job(struct service_job *job, struct transaction *transaction)
{
    switch (job->route) {
    case SERVICE_EXCHANGE:
        return exchange_commit(job, transaction);
    case SERVICE_AUDIT:
        return audit_commit(job, transaction);
    case SERVICE_REPAIR:
        return repair_commit(job, transaction);
    case SERVICE_ENROL:
        return enrol_commit(job, transaction);
    }
    return -EINVAL;
}

static int commit_group(struct service *service, struct service_job *const *jobs, size_t count)
{
    struct transaction transaction;
    int r = transaction_begin(service, &transaction);

    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        if (!jobs[i]->needs_commit)
            continue;
        r = commit_job(jobs[i], &transaction);
        if (r < 0) {
            transaction_rollback(&transaction);
            return r;
        }
    }
    return transaction_commit(&transaction);
}

static void refuse_all(struct service_job *const *jobs, size_t count, int error)
{
    bool is_full = error == -ENOSPC || error == -EDQUOT;

    for (size_t i = 0; i < count; i++) {
        if (!jobs[i]->needs_commit)
            continue;
        (void)job_refuse_busy(jobs[i], is_full ? BUSY_FULL : BUSY_LOAD,
            is_full ? "the centre's disk is full" : "the centre cannot store anything now");
        jobs[i]->retry_after_s = BUSY_RETRY_S;
    }
}

/* A damaged place in the database must not hold up whoever has nothing to do with it. Those before one that
 * fails are stored, and are told so. */
static int commit_one_by_one(struct service *service, struct service_job *const *jobs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int r = commit_group(service, &jobs[i], 1);

        if (r == -EUCLEAN || r == -EBADMSG)
            r = job_refuse_storage(jobs[i], r);
        if (r < 0) {
            refuse_all(jobs + i, count - i, r);
            return r;
        }
    }
    return 0;
}

int service_commit(struct service *service, struct service_job *const *jobs, size_t count)
{
    const struct world *world = service->world;
    uint64_t start_ms = world->verbs->boot_ms(world->context);
    int r;

    assert(count <= SERVICE_GROUP_MAX);
    /* A handheld that was told of a photo found in place may be the one that asks now. What cannot be entered
     * is found again when it is offered again. */
    (void)uploads_enter_found(service);
    /* A successor that cannot be read yet is followed later: what is known goes on. */
    (void)trust_refresh(service);
    r = commit_group(service, jobs, count);
    if (r == -EUCLEAN || r == -EBADMSG)
        r = commit_one_by_one(service, jobs, count);
    else if (r < 0)
        refuse_all(jobs, count, r);
    service_count(&service->counters.group_jobs, count);
    service_count(
        &service->counters.commit_us_total, (world->verbs->boot_ms(world->context) - start_ms) * 1000);
    return r;
}
