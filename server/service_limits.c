/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the service grants: quotas of devices, and when they shall come again. What is decided stands in
 * server/core/quota.h and pace.h. Nothing here is kept of a device without a quota.
 */
#include "server/service_internal.h"

void service_set_limits(struct service *service, const struct quota *quota, uint64_t requests_per_second)
{
    service->quota = *quota;
    service->pacing.requests_per_second = requests_per_second;
}

/* ---- quotas ---- */

int limits_use_quota(struct service_job *job, struct transaction *transaction, size_t records, uint64_t bytes)
{
    const struct quota *quota = &job->service->quota;
    struct storage *storage = transaction->storage;
    struct quota_use use;
    int r;

    if (!quota_counts_days(quota) || records == 0)
        return 0;
    r = storage->verbs->quota_use(storage, job->device.number, &use);
    if (r < 0)
        return r;
    if (quota_is_used_up(quota, &use, transaction->now_ms))
        return job_refuse(job, REFUSAL_OVER_QUOTA, "this device has used up what it may store in a day");
    quota_add(&use, records, bytes, transaction->now_ms);
    return storage->verbs->set_quota_use(storage, job->device.number, &use);
}

int limits_photos_are_used_up(
    const struct service *service, struct storage *storage, uint64_t device, bool *ret)
{
    uint64_t bytes = 0;
    int r = 0;

    if (service->quota.photo_bytes > 0)
        r = storage->verbs->photo_bytes(storage, device, &bytes);
    if (r >= 0)
        *ret = quota_photos_are_used_up(&service->quota, bytes);
    return r;
}

int limits_read(
    const struct service *service, struct storage *storage, uint64_t device, struct service_device *ret)
{
    struct quota_use use;
    int r = limits_photos_are_used_up(service, storage, device, &ret->photos_over_quota);

    if (r < 0 || !quota_counts_days(&service->quota))
        return r;
    r = storage->verbs->quota_use(storage, device, &use);
    if (r >= 0)
        ret->over_quota = quota_is_used_up(&service->quota, &use, service_now_ms(service));
    return r;
}

/* ---- pacing ---- */

enum pacing_of { PACED_AWAY, PACED_DONE, PACED_WITH_MORE };

static uint32_t pace(struct service *service, enum pacing_of what)
{
    uint64_t now_ms = service->world->verbs->boot_ms(service->world->context);
    struct pacing *pacing = &service->pacing;
    uint64_t per_second = pacing->requests_per_second;
    uint32_t wait_s;

    if (per_second == 0)
        return 0;
    pthread_mutex_lock(&pacing->mutex);
    wait_s = what == PACED_AWAY ? pace_turned_away(&pacing->queue, per_second, now_ms)
                                : pace_request(&pacing->queue, per_second, what == PACED_WITH_MORE, now_ms);
    pthread_mutex_unlock(&pacing->mutex);
    return wait_s;
}

uint32_t service_retry_after_s(struct service *service)
{
    uint32_t wait_s = pace(service, PACED_AWAY);

    return wait_s > OVERLOAD_RETRY_S ? wait_s : OVERLOAD_RETRY_S;
}

void limits_note_upload(struct service *service)
{
    (void)pace(service, PACED_DONE);
}

uint32_t limits_next_contact_s(struct service *service, const struct exchange_request *request)
{
    const struct device_status *status = &request->status;
    /* A handheld tells what it has now and then only: one that has sent something may well have more. */
    bool has_more = request->record_count > 0 &&
                    (!request->has_status || status->records_queued > request->record_count ||
                        status->photos_pending > 0);

    return pace(service, has_more ? PACED_WITH_MORE : PACED_DONE);
}
