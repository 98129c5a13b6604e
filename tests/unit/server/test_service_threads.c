/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service as the HTTP shell uses it: many threads prepare, answer, upload and audit, one thread commits.
 * What this shows it shows best under ThreadSanitizer.
 */
#include "tests/unit/server/client.h"

#include <pthread.h>

#define HANDHELDS 4u
#define ROUNDS 12u
#define PHOTO_BYTES 5000u

/* A queue of one job at a time for each thread, taken in groups by the writer. */
struct writer {
    struct centre *centre;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct service_job *jobs[HANDHELDS];
    bool done[HANDHELDS], stop;
    struct sha256 blobs[HANDHELDS];
    bool has_blob[HANDHELDS];
};

static void *write_groups(void *user)
{
    struct writer *writer = user;

    pthread_mutex_lock(&writer->mutex);
    while (!writer->stop) {
        struct service_job *group[HANDHELDS];
        size_t slots[HANDHELDS], count = 0;

        for (size_t i = 0; i < HANDHELDS; i++) {
            if (writer->jobs[i] && !writer->done[i]) {
                slots[count] = i;
                group[count++] = writer->jobs[i];
            }
        }
        struct sha256 blob;
        bool has_blob = false;
        for (size_t i = 0; i < HANDHELDS && !has_blob; i++) {
            has_blob = writer->has_blob[i];
            blob = writer->blobs[i];
            writer->has_blob[i] = false;
        }
        if (count == 0 && !has_blob) {
            pthread_cond_wait(&writer->changed, &writer->mutex);
            continue;
        }
        pthread_mutex_unlock(&writer->mutex);
        if (count > 0)
            (void)service_commit(writer->centre->service, group, count);
        if (has_blob)
            (void)service_blob_stored(writer->centre->service, &blob, PHOTO_BYTES);
        (void)service_housekeeping(writer->centre->service);
        pthread_mutex_lock(&writer->mutex);
        for (size_t i = 0; i < count; i++)
            writer->done[slots[i]] = true;
        pthread_cond_broadcast(&writer->changed);
    }
    pthread_mutex_unlock(&writer->mutex);
    return NULL;
}

struct client {
    struct writer *writer;
    struct handheld *handheld;
    size_t slot;
    unsigned failures;
};

static bool send(struct client *client, enum service_route route, struct bytes body, unsigned *ret_status)
{
    struct writer *writer = client->writer;
    struct service *service = writer->centre->service;
    struct service_reply reply = {0};
    struct service_job *job = NULL;

    if (service_prepare(service, route, body, &job) < 0)
        return false;
    if (service_job_needs_commit(job)) {
        pthread_mutex_lock(&writer->mutex);
        writer->jobs[client->slot] = job;
        writer->done[client->slot] = false;
        pthread_cond_broadcast(&writer->changed);
        while (!writer->done[client->slot])
            pthread_cond_wait(&writer->changed, &writer->mutex);
        writer->jobs[client->slot] = NULL;
        pthread_mutex_unlock(&writer->mutex);
    }
    service_answer(service, job, &reply);
    *ret_status = reply.status;
    service_reply_done(&reply);
    service_job_free(job);
    return true;
}

static bool upload(struct client *client, const struct sha256 *sha256, const uint8_t *photo)
{
    struct writer *writer = client->writer;
    struct service *service = writer->centre->service;
    const struct uuid *device = &client->handheld->device;
    struct service_patch *patch = NULL, *stale = NULL;
    struct service_upload at = {0};
    bool stored = false;

    if (service_upload_create(service, device, sha256, PHOTO_BYTES, &at) < 0 ||
        service_patch_begin(service, device, sha256, 0, NULL, &stale) < 0 ||
        service_patch_begin(service, device, sha256, 0, NULL, &patch) < 0 ||
        service_patch_write(patch, photo, PHOTO_BYTES) < 0 ||
        service_patch_end(stale, false, &at, &stored) != -ECANCELED ||
        service_patch_end(patch, true, &at, &stored) < 0 || !stored)
        return false;
    pthread_mutex_lock(&writer->mutex);
    writer->blobs[client->slot] = *sha256;
    writer->has_blob[client->slot] = true;
    pthread_cond_broadcast(&writer->changed);
    pthread_mutex_unlock(&writer->mutex);
    return true;
}

static void *run_client(void *user)
{
    struct client *client = user;
    struct handheld *handheld = client->handheld;
    uint8_t photo[PHOTO_BYTES];

    for (unsigned round = 0; round < ROUNDS; round++) {
        _cleanup_buffer_ struct buffer body = {0}, audit_body = {0}, plain = {0};
        const struct audit_request audit = {.log = handheld->log, .level = AUDIT_MEDIA};
        size_t first = handheld->count;
        struct sha256 sha256, request_sha256;
        unsigned status = 0;

        memset(photo, (int)(client->slot * ROUNDS + round), sizeof(photo));
        sha256 = sha256_of(bytes_of(photo, sizeof(photo)));
        append_findings(handheld, 20);
        append_finding_with_photo(handheld, &sha256, PHOTO_BYTES, NULL);
        make_exchange(handheld, first, handheld->count - first, NULL, &body, &request_sha256);
        if (!send(client, SERVICE_EXCHANGE, buffer_bytes(&body), &status) || status != 200)
            client->failures++;
        if (!upload(client, &sha256, photo))
            client->failures++;
        if (audit_request_encode(&audit, &plain) < 0)
            client->failures++;
        seal_request(handheld, PAYLOAD_AUDIT_REQUEST, buffer_bytes(&plain), &audit_body, &request_sha256);
        if (!send(client, SERVICE_AUDIT, buffer_bytes(&audit_body), &status) || status != 200)
            client->failures++;
        if (!service_knows_device(client->writer->centre->service, &handheld->device))
            client->failures++;
    }
    return NULL;
}

static void many_threads_and_one_writer_store_everything_once(void **state)
{
    struct centre *centre = centre_new();
    struct writer writer = {.centre = centre};
    struct client clients[HANDHELDS];
    pthread_t threads[HANDHELDS], writer_thread;
    struct service_check_report report;

    pthread_mutex_init(&writer.mutex, NULL);
    pthread_cond_init(&writer.changed, NULL);
    for (size_t i = 0; i < HANDHELDS; i++) {
        clients[i] = (struct client){.writer = &writer, .handheld = handheld_enrolled(centre), .slot = i};
        append_opened(clients[i].handheld);
        deliver(centre, clients[i].handheld);
    }
    assert_int_equal(pthread_create(&writer_thread, NULL, write_groups, &writer), 0);
    for (size_t i = 0; i < HANDHELDS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_client, &clients[i]), 0);
    for (size_t i = 0; i < HANDHELDS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    pthread_mutex_lock(&writer.mutex);
    writer.stop = true;
    pthread_cond_broadcast(&writer.changed);
    pthread_mutex_unlock(&writer.mutex);
    assert_int_equal(pthread_join(writer_thread, NULL), 0);

    for (size_t i = 0; i < HANDHELDS; i++) {
        assert_int_equal(clients[i].failures, 0);
        handheld_free(clients[i].handheld);
    }
    assert_int_equal(service_check(centre->service, true, false, NULL, NULL, &report), 0);
    assert_int64_equal(report.records, HANDHELDS * (1 + ROUNDS * 21));
    struct listing *listing = list_findings(centre);
    assert_int_equal(listing->count, HANDHELDS * ROUNDS * 21);
    free(listing);
    centre_free(centre);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_threads_and_one_writer_store_everything_once),
    };

    return cmocka_run_group_tests_name("server service threads", tests, NULL, NULL);
}
