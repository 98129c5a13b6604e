/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Importing bundles: proto/README.md, "Bundles". What each request and each photo is worth is decided by the
 * code that takes them from the network; here they are only taken out of the file, one at a time.
 *
 *   head, first request       who it comes from, and that this handheld made it: else nothing is taken
 *   requests, photos          each durable before the next is looked at
 *   end, cut, altered place   receipts for all that the centre then has
 */
#include "server/service_bundle.h"

#include "base/files.h"

#define IMPORT_LOCK_NAME "blobs/import.lock" /* there, whoever makes it, the server's group may use it */
#define FAULT_LINE_MAX 512u
#define TIDY_EVERY_COMMITS 64u

struct import {
    struct service *service;
    const struct service_bundle_io *io;
    struct bundle_reader reader;
    uint8_t *frame, *plain;
    struct service_bundle_report report;
    struct receipts_writer *receipts;
    bool is_introduced; /* the first request was genuine */
    struct bundle_head head;
    unsigned commits;
    /* The photo that is being taken; no writer: its bytes are passed over. */
    bool has_photo;
    struct blob_writer *writer;
    struct sha256 photo;
    uint64_t photo_size, photo_left;
};

static void import_done(struct import *import)
{
    uploads_carry_drop(import->service, import->writer, &import->photo);
    free(import->frame);
    free(import->plain);
    free(import->receipts);
}

static void fault(const struct import *import, const char *line)
{
    if (import->io->fault)
        import->io->fault(import->io->user, line);
}

/* The next `len` bytes. 1; 0 when the file ends before them; -errno. */
static int read_exactly(struct import *import, uint8_t *ret, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = import->io->read(import->io->user, ret + done, len - done);

        if (n <= 0)
            return (int)n;
        done += (size_t)n;
        import->report.bytes_read += (uint64_t)n;
    }
    return 1;
}

/* ---- requests ---- */

/* What a request that was not taken means for who carried it. */
static void tell_outcome(struct import *import, const struct exchange_job *exchange)
{
    const struct exchange_request *request = &exchange->request;
    char log[UUID_TEXT_LEN + 1], line[FAULT_LINE_MAX] = "";

    text_uuid(request->log.b, log);
    switch (exchange->outcome) {
    case INGEST_STORED:
        break;
    case INGEST_AHEAD:
        snprintf(line, sizeof(line),
            "log %s: %zu records from %llu on were not taken: the centre lacks those before them, from %llu on; "
            "import the earlier bundle, or on the handheld: patrol export --bundle FILE --all",
            log, request->record_count, (unsigned long long)request->first_seq,
            (unsigned long long)exchange->size);
        break;
    case INGEST_FORK:
        snprintf(line, sizeof(line),
            "log %s: %zu records were not taken: the centre holds another record at %llu; two copies of this "
            "handheld are in use",
            log, request->record_count, (unsigned long long)exchange->fork_seq);
        break;
    case INGEST_ROOT_MISMATCH:
        snprintf(line, sizeof(line),
            "log %s: %zu records were not taken: they do not fit the root that the handheld has signed", log,
            request->record_count);
        break;
    }
    if (line[0])
        fault(import, line);
}

static int count_exchange(struct import *import, const struct exchange_job *exchange)
{
    const struct exchange_request *request = &exchange->request;
    uint64_t count = request->record_count;

    tell_outcome(import, exchange);
    if (exchange->outcome == INGEST_STORED) {
        import->report.records_new += exchange->appended;
        import->report.records_held += count - exchange->appended;
    } else {
        import->report.records_refused += count;
        count = 0;
    }
    return receipts_note_log(import->receipts, &request->log, request->first_seq, request->first_seq + count);
}

/* The handheld has signed that the bundle is its own: the request's id is the bundle's. */
static int introduce(struct import *import, const struct service_job *job)
{
    const struct bundle_head *head = &import->head;
    struct receipts_writer *receipts = import->receipts;

    if (memcmp(job->exchange.request.request_id, head->bundle, REQUEST_ID_BYTES) != 0)
        return -EBADMSG;
    import->is_introduced = true;
    receipts->device = job->device;
    memcpy(receipts->bundle, head->bundle, REQUEST_ID_BYTES);
    return receipts_begin(receipts);
}

static int refused(struct import *import, const struct service_job *job)
{
    char line[FAULT_LINE_MAX];

    import->report.refusal = job->refusal_text;
    if (!import->is_introduced || job->refusal == REFUSAL_REVOKED || job->refusal == REFUSAL_UNKNOWN_DEVICE)
        return -EACCES;
    snprintf(line, sizeof(line), "a request of %zu records was not taken: %s",
        job->exchange.request.record_count, job->refusal_text);
    fault(import, line);
    import->report.records_refused += job->exchange.request.record_count;
    import->report.refusal = NULL;
    return 0;
}

static int tidy(struct import *import)
{
    struct storage *writer = import->service->writer;
    int r = 0;

    if (++import->commits % TIDY_EVERY_COMMITS == 0)
        r = writer->verbs->maintain(writer);
    /* It is done again later, by whoever serves. */
    return r == -EBUSY ? 0 : r;
}

static int take_job(struct import *import, struct service_job *job)
{
    int r = 0;

    if (!uuid_equal(&job->device_id, &import->head.device)) {
        if (!import->is_introduced)
            return -EBADMSG;
        fault(import, "a request was not taken: it is not one of this handheld");
        return 0;
    }
    if (service_job_needs_commit(job))
        r = service_commit(import->service, &job, 1);
    if (r < 0)
        return r;
    if (job->is_refused)
        return refused(import, job);
    if (!import->is_introduced)
        r = introduce(import, job);
    if (r >= 0)
        r = count_exchange(import, &job->exchange);
    return r < 0 ? r : tidy(import);
}

static int take_exchange(struct import *import, struct bytes envelope)
{
    struct service_job *job = NULL;
    int r = service_prepare_carried(import->service, envelope, &job);

    if (r < 0)
        return r;
    r = take_job(import, job);
    service_job_free(job);
    return r;
}

/* ---- photos ---- */

static void refuse_photo(struct import *import, const char *why)
{
    char hash[SHA256_TEXT_LEN + 1], line[FAULT_LINE_MAX];

    text_hex(import->photo.b, SHA256_BYTES, hash);
    snprintf(line, sizeof(line), "photo %s was not taken: %s", hash, why);
    fault(import, line);
    import->report.photos_refused++;
    import->has_photo = false;
}

/* One whose bytes end before its size. */
static void end_photo(struct import *import)
{
    if (!import->has_photo)
        return;
    uploads_carry_drop(import->service, import->writer, &import->photo);
    import->writer = NULL;
    refuse_photo(import, "it is not whole in the bundle");
}

static int begin_photo(struct import *import, const struct bundle_message *message)
{
    int r = uploads_carry_begin(
        import->service, &import->head.device, &message->sha256, message->size, &import->writer);

    import->photo = message->sha256;
    import->photo_size = import->photo_left = message->size;
    import->has_photo = r == 0;
    if (r == -EACCES) {
        refuse_photo(import, "no record of this handheld that is at the centre names it");
        return 0;
    }
    if (r <= 0)
        return r;
    import->report.photos_held++;
    return receipts_note_blob(import->receipts, &import->photo);
}

static int finish_photo(struct import *import)
{
    int r = uploads_carry_end(import->service, import->writer, &import->photo, import->photo_size);

    import->writer = NULL;
    if (r == -EILSEQ) {
        refuse_photo(import, "its bytes have another hash");
        return 0;
    }
    if (r < 0)
        return r;
    import->has_photo = false;
    import->report.photos_new++;
    r = receipts_note_blob(import->receipts, &import->photo);
    return r < 0 ? r : tidy(import);
}

static int take_chunk(struct import *import, struct bytes bytes)
{
    int r;

    if (!import->has_photo)
        return 0;
    r = import->service->blobs->verbs->write(import->writer, bytes.data, bytes.len);
    if (r < 0)
        return r;
    import->photo_left -= bytes.len;
    return import->photo_left == 0 ? finish_photo(import) : 0;
}

/* ---- the file ---- */

static int take_head(struct import *import, const struct bundle_head *head)
{
    import->head = *head;
    import->head.software = (struct bytes){0}; /* its view ends with the message */
    import->report.device = head->device;
    import->report.made_ms = head->made_ms;
    return 0;
}

static int take_message(struct import *import, const struct bundle_message *message)
{
    if (message->kind != BUNDLE_CHUNK)
        end_photo(import);
    if (!import->is_introduced && message->kind != BUNDLE_HEAD && message->kind != BUNDLE_EXCHANGE)
        return -EBADMSG;
    switch (message->kind) {
    case BUNDLE_LATER:
        import->report.is_made_newer = true;
        return 0;
    case BUNDLE_HEAD:
        return take_head(import, &message->head);
    case BUNDLE_EXCHANGE:
        return take_exchange(import, message->body);
    case BUNDLE_PHOTO:
        return begin_photo(import, message);
    case BUNDLE_CHUNK:
        return take_chunk(import, message->body);
    case BUNDLE_END:
        return 0;
    }
    return -EBADMSG;
}

/* 1 with a message; 0 the file ends here, or can be read no further, as the report says; -errno. */
static int next_message(struct import *import, struct bundle_message *ret)
{
    uint8_t length[BUNDLE_FRAME_LENGTH_BYTES];
    size_t len = 0;
    int r = read_exactly(import, length, sizeof(length));

    if (r > 0 && (import->reader.has_ended || bundle_read_length(length, &len) < 0)) {
        import->report.is_damaged = true;
        return 0;
    }
    if (r > 0)
        r = read_exactly(import, import->frame, len);
    if (r <= 0) {
        import->report.is_cut = r == 0 && !import->reader.has_ended;
        return r;
    }
    r = bundle_read_message(&import->reader, bytes_of(import->frame, len), import->plain, ret);
    import->report.is_damaged = r == -EBADMSG;
    return r == -EBADMSG ? 0 : r < 0 ? r : 1;
}

static int read_start(struct import *import)
{
    uint8_t start[BUNDLE_START_BYTES];
    int r = read_exactly(import, start, sizeof(start));

    if (r <= 0)
        return r < 0 ? r : -EBADMSG;
    /* It is sealed to the newest key that the handheld knew of when it was written. */
    r = -EKEYREJECTED;
    for (size_t i = 0; r == -EKEYREJECTED && trust_key_at(import->service, i); i++)
        r = bundle_read_start(&import->reader, start, &trust_key_at(import->service, i)->key);
    return r;
}

static int take_all(struct import *import)
{
    struct bundle_message message;
    int r;

    while ((r = next_message(import, &message)) > 0) {
        r = take_message(import, &message);
        if (r < 0)
            return r;
        if (import->io->told)
            import->io->told(import->io->user, &import->report);
    }
    if (r < 0)
        return r;
    end_photo(import);
    /* Nothing says yet whose it is. */
    return import->is_introduced ? 0 : -EBADMSG;
}

static int import_locked(struct import *import)
{
    int r;

    import->frame = malloc(BUNDLE_FRAME_BYTES_MAX);
    import->plain = malloc(BUNDLE_MESSAGE_BYTES_MAX);
    import->receipts = calloc(1, sizeof(*import->receipts));
    if (!import->frame || !import->plain || !import->receipts)
        return -ENOMEM;
    import->receipts->service = import->service;
    import->receipts->write = import->io->receipts;
    import->receipts->user = import->io->user;
    import->receipts->begun_ms = service_now_ms(import->service);
    r = read_start(import);
    if (r >= 0)
        r = take_all(import);
    if (r < 0)
        return r;
    r = receipts_end(import->receipts);
    import->report.records_quarantined = import->receipts->quarantined;
    return r;
}

int service_import_bundle(
    struct service *service, const struct service_bundle_io *io, struct service_bundle_report *ret)
{
    const struct world *world = service->world;
    _cleanup_free_ char *path = files_join(service->directory, IMPORT_LOCK_NAME);
    _cleanup_(import_done) struct import import = {.service = service, .io = io};
    int lock, r;

    if (!service->writer)
        return -EROFS;
    if (!path)
        return -ENOMEM;
    lock = world->verbs->lock_open(world->context, path);
    if (lock < 0)
        return lock;
    r = world->verbs->try_lock(world->context, lock);
    if (r >= 0)
        r = import_locked(&import);
    *ret = import.report;
    (void)world->verbs->lock_close(world->context, lock);
    return r;
}
