/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receipts for a bundle: see service_bundle.h; proto/README.md, "Bundles".
 */
#include "server/service_bundle.h"

#include "proto/compression.h"

int receipts_begin(struct receipts_writer *receipts)
{
    _cleanup_buffer_ struct buffer start = {0};
    int r = bundle_receipts_start(&start);

    return r < 0 ? r : receipts->write(receipts->user, buffer_bytes(&start));
}

/* The key that signs what this handheld is told. */
static const struct sign_key *signing_key(const struct receipts_writer *receipts)
{
    return &trust_key_for(receipts->service, stored_trust_known(&receipts->device.trust))->key;
}

/* -EMSGSIZE when it comes out too large; then nothing is written. */
static int write_part(struct receipts_writer *receipts, struct bundle_receipts *part)
{
    _cleanup_buffer_ struct buffer plain = {0}, envelope = {0}, framed = {0};
    int r;

    memcpy(part->bundle, receipts->bundle, REQUEST_ID_BYTES);
    part->device = receipts->device.id;
    part->server_time_ms = receipts->begun_ms;
    part->part = receipts->part;
    r = bundle_receipts_encode(part, &plain);
    if (r >= 0)
        r = envelope_seal(PAYLOAD_BUNDLE_RECEIPTS, buffer_bytes(&plain), ANSWER_LEVEL, DICTIONARY_NONE,
            &receipts->device.id, signing_key(receipts), &envelope, NULL);
    if (r >= 0)
        r = bundle_receipts_put(buffer_bytes(&envelope), &framed);
    if (r >= 0)
        r = receipts->write(receipts->user, buffer_bytes(&framed));
    if (r >= 0)
        receipts->part++;
    return r;
}

/* ---- logs ---- */

/* What is in quarantine of a log. Reasons are collected in a buffer that may move: `data` is set when all are
 * there. */
struct quarantine_list {
    struct buffer reasons;
    struct quarantined *items;
    size_t count;
    bool is_full;
};

static void quarantine_list_done(struct quarantine_list *list)
{
    buffer_done(&list->reasons);
    free(list->items);
}

static int note_quarantined(void *user, uint64_t key, const char *reason)
{
    struct quarantine_list *list = user;
    struct quarantined *item;

    list->is_full = list->count == EXCHANGE_QUARANTINED_MAX;
    if (list->is_full)
        return 1;
    item = &list->items[list->count++];
    item->seq = record_key_seq(key);
    item->reason = bytes_of(NULL, strnlen(reason, REASON_BYTES_MAX));
    buffer_put(&list->reasons, reason, item->reason.len);
    return buffer_finish(&list->reasons);
}

static int list_quarantined(
    struct storage *storage, const struct stored_log *log, struct quarantine_list *ret)
{
    const uint8_t *reason;
    int r;

    ret->items = calloc(EXCHANGE_QUARANTINED_MAX, sizeof(*ret->items));
    if (!ret->items)
        return -ENOMEM;
    r = storage->verbs->quarantined_each(storage, record_key(log->number, 0),
        record_key(log->number, log->frontier.size), note_quarantined, ret);
    if (r < 0)
        return r;
    reason = ret->reasons.data;
    for (size_t i = 0; i < ret->count; i++) {
        ret->items[i].reason.data = reason;
        reason += ret->items[i].reason.len;
    }
    return 0;
}

static int write_log_part(struct receipts_writer *receipts, const struct stored_log *log, struct bytes note,
    struct quarantine_list *list)
{
    _cleanup_buffer_ struct buffer receipt = {0};
    struct bundle_receipts part = {
        .log = log->id,
        .quarantined = list->items,
        .quarantined_count = list->count,
        .quarantined_all = !list->is_full,
    };
    int r = receipt_cosign(note, signing_key(receipts), service_now_s(receipts->service), &receipt);

    part.receipt = buffer_bytes(&receipt);
    if (r < 0)
        return r;
    /* The lowest ones come first; the handheld counts the rest as sent, as after an exchange. */
    while ((r = write_part(receipts, &part)) == -EMSGSIZE && part.quarantined_count > 0) {
        part.quarantined_count /= 2;
        part.quarantined_all = false;
    }
    return r;
}

static int write_log(struct receipts_writer *receipts, struct storage *storage, const struct bundle_log *due)
{
    _cleanup_(quarantine_list_done) struct quarantine_list list = {0};
    _cleanup_buffer_ struct buffer note = {0};
    uint64_t count = 0;
    struct stored_log log;
    int r = storage->verbs->log_find(storage, &due->id, &log);

    if (r >= 0 && log.device == receipts->device.number)
        r = log_note_checked(receipts->service, storage, &receipts->device, &log, &note);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (note.len == 0)
        return 0;
    r = storage->verbs->quarantined_count(
        storage, record_key(log.number, due->first_seq), record_key(log.number, due->end_seq), &count);
    if (r >= 0)
        r = list_quarantined(storage, &log, &list);
    if (r < 0)
        return r;
    receipts->quarantined += count;
    return write_log_part(receipts, &log, buffer_bytes(&note), &list);
}

static int write_logs(struct receipts_writer *receipts)
{
    _cleanup_reader_ struct reader reader = {0};
    int r = reader_take(receipts->service, &reader);

    /* Each log in one moment: its handheld may be sending. */
    for (size_t i = 0; r >= 0 && i < receipts->log_count; i++) {
        r = reader.storage->verbs->view(reader.storage);
        if (r < 0)
            break;
        r = write_log(receipts, reader.storage, &receipts->logs[i]);
        reader.storage->verbs->view_end(reader.storage);
    }
    receipts->log_count = 0;
    return r;
}

int receipts_note_log(
    struct receipts_writer *receipts, const struct uuid *log, uint64_t first_seq, uint64_t end_seq)
{
    struct bundle_log *known = NULL;
    int r = 0;

    for (size_t i = 0; i < receipts->log_count && !known; i++)
        if (uuid_equal(&receipts->logs[i].id, log))
            known = &receipts->logs[i];
    if (!known && receipts->log_count == BUNDLE_LOGS_MAX)
        r = write_logs(receipts);
    if (!known) {
        known = &receipts->logs[receipts->log_count++];
        *known = (struct bundle_log){.id = *log, .first_seq = first_seq, .end_seq = end_seq};
    }
    if (first_seq < end_seq && (known->first_seq == known->end_seq || first_seq < known->first_seq))
        known->first_seq = first_seq;
    if (end_seq > known->end_seq)
        known->end_seq = end_seq;
    return r;
}

/* ---- photos ---- */

/* Only of blobs that the device's own records name: it is told nothing about what others stored. */
static int list_stored(struct receipts_writer *receipts, struct blob_stored *ret, size_t *ret_count)
{
    _cleanup_reader_ struct reader reader = {0};
    size_t count = 0;
    int r = reader_take(receipts->service, &reader);

    for (size_t i = 0; r >= 0 && i < receipts->blob_count; i++) {
        const struct sha256 *sha256 = &receipts->blobs[i];
        struct stored_blob blob = {0};

        r = reader.storage->verbs->blob_is_named(reader.storage, sha256, receipts->device.number);
        if (r > 0)
            r = reader.storage->verbs->blob_find(reader.storage, sha256, &blob);
        if (r >= 0 && blob.state == STORED_BLOB_PRESENT)
            ret[count++] = (struct blob_stored){.sha256 = *sha256, .backed_up = blob.is_backed_up};
    }
    *ret_count = count;
    return r;
}

static int write_blobs(struct receipts_writer *receipts, bool is_last)
{
    struct bundle_receipts part = {.is_last = is_last};
    _cleanup_free_ struct blob_stored *stored = calloc(BUNDLE_RECEIPTS_BLOBS_MAX, sizeof(*stored));
    int r = stored ? list_stored(receipts, stored, &part.stored_blob_count) : -ENOMEM;

    part.stored_blobs = stored;
    receipts->blob_count = 0;
    return r < 0 ? r : write_part(receipts, &part);
}

int receipts_note_blob(struct receipts_writer *receipts, const struct sha256 *sha256)
{
    int r = receipts->blob_count == BUNDLE_RECEIPTS_BLOBS_MAX ? write_blobs(receipts, false) : 0;

    receipts->blobs[receipts->blob_count++] = *sha256;
    return r;
}

/* A handheld that is reached by data carriers alone hears of erasure orders here. */
static int write_erasures(struct receipts_writer *receipts)
{
    _cleanup_reader_ struct reader reader = {0};
    uint64_t after = 0;
    int r = reader_take(receipts->service, &reader);

    if (r >= 0)
        r = reader.storage->verbs->orders_done(reader.storage, receipts->device.number, &after);
    while (r >= 0) {
        _cleanup_(told_orders_done) struct told_orders told = {0};
        struct bundle_receipts part = {0};

        r = orders_tell(receipts->service, &receipts->device.id, after, &told);
        if (r < 0 || told.count == 0)
            return r;
        after = told.orders[told.count - 1].number;
        part.erasures = told.orders;
        part.erasure_count = told.count;
        r = write_part(receipts, &part);
    }
    return r;
}

int receipts_end(struct receipts_writer *receipts)
{
    int r = write_logs(receipts);

    if (r >= 0)
        r = write_erasures(receipts);
    return r < 0 ? r : write_blobs(receipts, true);
}
