/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening and closing of the service, its sessions for reading, and its counters. See service.h, and
 * service_internal.h for who may call what from which thread.
 */
#include "server/service_internal.h"

#include "base/files.h"

#define DEFAULT_AUTHORITY "gridpatrol"
#define DEFAULT_TENANT "default"

/* ---- sessions for reading ---- */

int reader_take(struct service *service, struct reader *ret)
{
    struct readers *readers = &service->readers;
    const struct storage_options options = {
        .world = service->world, .directory = service->directory, .read_only = true};
    struct storage *storage = NULL;
    bool created;
    int r = 0;

    pthread_mutex_lock(&readers->mutex);
    if (readers->idle_count > 0)
        storage = readers->idle[--readers->idle_count];
    pthread_mutex_unlock(&readers->mutex);
    if (!storage)
        r = storage_sqlite_open(&options, &storage, &created, NULL);
    if (r < 0)
        return r;
    *ret = (struct reader){.service = service, .storage = storage};
    return 0;
}

void reader_give(struct reader *reader)
{
    struct readers *readers;

    if (!reader->storage)
        return;
    readers = &reader->service->readers;
    pthread_mutex_lock(&readers->mutex);
    if (readers->idle_count < READERS_IDLE_MAX) {
        readers->idle[readers->idle_count++] = reader->storage;
        reader->storage = NULL;
    }
    pthread_mutex_unlock(&readers->mutex);
    storage_close(reader->storage);
    reader->storage = NULL;
}

static void readers_done(struct readers *readers)
{
    for (size_t i = 0; i < readers->idle_count; i++)
        storage_close(readers->idle[i]);
    pthread_mutex_destroy(&readers->mutex);
}

/* ---- opening ---- */

static int copy_options(struct service *service, const struct service_options *options)
{
    service->world = options->world;
    service->read_only = options->read_only;
    service->directory = strdup(options->directory);
    service->authority = strdup(options->authority ? options->authority : DEFAULT_AUTHORITY);
    service->tenant = strdup(options->tenant ? options->tenant : DEFAULT_TENANT);
    buffer_put_bytes(&service->ca_pem, options->ca_pem);
    if (!service->directory || !service->authority || !service->tenant)
        return -ENOMEM;
    if (options->ca_pem.len > CA_PEM_BYTES_MAX)
        return -EFBIG;
    return buffer_finish(&service->ca_pem);
}

static int open_storage(struct service *service, char **ret_error)
{
    const struct storage_options options = {.world = service->world, .directory = service->directory};
    _cleanup_reader_ struct reader reader = {0};
    bool created;

    if (!service->read_only)
        return storage_sqlite_open(&options, &service->writer, &created, ret_error);
    return reader_take(service, &reader);
}

static int check_names(struct service *service)
{
    char origin[ORIGIN_BYTES_MAX];
    struct uuid nil = {{0}};

    return origin_format(service->authority, service->tenant, &nil, origin);
}

static int stop_at_first(void *user, const struct stored_device_line *line)
{
    return 1;
}

/* Under the storage's lock, so that of two processes that start on a new directory one makes the keys. */
static int open_keys(struct service *service)
{
    struct transaction transaction;
    int r;

    if (service->read_only)
        return keys_open(service, false);
    r = transaction_begin(service, &transaction);
    if (r < 0)
        return r;
    /* Every handheld knows this centre by its receipt key: another one would make all answers worthless to
     * them. It is made only as long as there is none. */
    r = transaction.storage->verbs->devices_each(transaction.storage, stop_at_first, NULL);
    if (r >= 0)
        r = keys_open(service, r == 0);
    transaction_rollback(&transaction);
    return r;
}

static int find_data(const struct service *service, bool must_exist)
{
    if (must_exist || service->read_only)
        return keys_exist(service);
    return files_make_directory(service->world, service->directory);
}

static int open_parts(struct service *service, bool must_exist, const char **ret_part, char **ret_error)
{
    int r;

    *ret_part = "authority or tenant";
    r = check_names(service);
    if (r < 0)
        return r;
    *ret_part = "data directory";
    r = find_data(service, must_exist);
    if (r < 0)
        return r;
    *ret_part = "database";
    r = open_storage(service, ret_error);
    if (r < 0)
        return r;
    /* Here already, as every transaction reads them. */
    *ret_part = "orders";
    r = orders_refresh(service);
    if (r < 0)
        return r;
    *ret_part = "keys";
    r = open_keys(service);
    if (r < 0)
        return r;
    *ret_part = "incarnation";
    r = incarnation_open(service);
    if (r < 0)
        return r;
    *ret_part = "revocations";
    r = revocations_open(service);
    if (r < 0)
        return r;
    *ret_part = "blobs";
    r = blobs_files_open(service->world, service->directory, service->read_only, &service->blobs);
    if (r < 0)
        return r;
    *ret_part = "orders or what they erase";
    return erasure_open(service);
}

/* Allocated; NULL when memory ran out. */
static char *open_problem(const char *directory, const char *part, int error)
{
    char *text = NULL;
    int r =
        error == -ENOKEY
            ? asprintf(&text,
                  "%s: a key of its receipts (keys/receipt.key, or one of its successors) is gone, and handhelds know this centre by "
                  "it: restore keys/ from a backup",
                  directory)
            : asprintf(&text, "%s: cannot open its %s: %s", directory, part, strerror(-error));

    return r < 0 ? NULL : text;
}

int service_open(const struct service_options *options, struct service **ret, char **ret_error)
{
    struct service *service = calloc(1, sizeof(*service));
    char *storage_error = NULL;
    const char *part = "options";
    int r;

    if (!service)
        return -ENOMEM;
    pthread_mutex_init(&service->readers.mutex, NULL);
    pthread_mutex_init(&service->revocations.mutex, NULL);
    pthread_mutex_init(&service->orders.mutex, NULL);
    pthread_mutex_init(&service->audits.mutex, NULL);
    pthread_mutex_init(&service->pacing.mutex, NULL);
    pthread_mutex_init(&service->trust.mutex, NULL);
    service_limit_audits(service, AUDITS_AT_ONCE_MAX);
    tokens_open(service);
    uploads_open(service);
    r = copy_options(service, options);
    if (r >= 0)
        r = open_parts(service, options->must_exist, &part, &storage_error);
    if (r < 0) {
        *ret_error = storage_error ? storage_error : open_problem(options->directory, part, r);
        service_free(service);
        return r;
    }
    *ret = service;
    return 0;
}

void service_free(struct service *service)
{
    if (!service)
        return;
    /* Only who keeps house writes the file; an admin command beside it does not. */
    if (service->noted_boot_ms > 0)
        (void)incarnation_note(service);
    uploads_done(service);
    tokens_done(service);
    readers_done(&service->readers);
    storage_close(service->writer);
    blobs_close(service->blobs);
    revocations_done(service);
    orders_file_done(service);
    trust_done(service);
    pthread_mutex_destroy(&service->audits.mutex);
    pthread_mutex_destroy(&service->pacing.mutex);
    buffer_done(&service->ca_pem);
    free(service->directory);
    free(service->authority);
    free(service->tenant);
    free(service);
}

/* ---- counters ---- */

static uint64_t counted(atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void service_metrics(struct service *service, struct service_metrics *ret)
{
    struct counters *counters = &service->counters;

    *ret = (struct service_metrics){
        .records_stored = counted(&counters->records_stored),
        .records_quarantined = counted(&counters->records_quarantined),
        .exchanges = counted(&counters->exchanges),
        .commits = counted(&counters->commits),
        .group_jobs = counted(&counters->group_jobs),
        .blobs_stored = counted(&counters->blobs_stored),
        .blob_bytes = counted(&counters->blob_bytes),
        .refusals = counted(&counters->refusals),
        .forks = counted(&counters->forks),
        .commit_us_total = counted(&counters->commit_us_total),
    };
}

/* ---- housekeeping ---- */

static int index_ids(struct service *service)
{
    struct transaction transaction;
    uint64_t before;
    int more, r = transaction_begin(service, &transaction);

    if (r < 0)
        return r;
    before = transaction.state.indexed_arrival;
    more = transaction.storage->verbs->ids_build(transaction.storage, &transaction.state);
    if (more < 0) {
        transaction_rollback(&transaction);
        return more;
    }
    transaction.has_changed = transaction.state.indexed_arrival != before;
    r = transaction_commit(&transaction);
    return r < 0 ? r : more;
}

int service_index_ids(struct service *service)
{
    int r;

    if (!service->writer)
        return -EROFS;
    r = service->ids_waiting < STORAGE_IDS_BATCH ? 0 : index_ids(service);
    return r < 0 ? r : 0;
}

int service_housekeeping(struct service *service)
{
    uint64_t boot_ms = service->world->verbs->boot_ms(service->world->context);
    int r, more;

    if (!service->writer)
        return -EROFS;
    more = index_ids(service);
    if (more != 0)
        return more;
    r = uploads_enter_found(service);
    if (r < 0)
        return r;
    if (service->noted_boot_ms == 0 || boot_ms - service->noted_boot_ms >= INCARNATION_EVERY_MS) {
        service->noted_boot_ms = boot_ms > 0 ? boot_ms : 1;
        r = incarnation_note(service);
        if (r >= 0)
            r = uploads_expire(service);
        if (r >= 0)
            r = erasure_finish(service);
        if (r == -EBUSY)
            r = 0; /* somebody reads; next time */
        if (r < 0)
            return r;
    }
    return service->writer->verbs->maintain(service->writer);
}
