/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must hold. During the run: no receipt for anything that is not durable, no receipt at a handheld that
 * the centre never signed, nothing gone that people were told is safe. At the end: both logs are the same
 * bytes, everything recorded is at the centre exactly once, photos are whole, the counters say what is true.
 */
#include "tests/sim/sim.h"

#include "base/files.h"
#include "proto/bundle.h"
#include "proto/envelope.h"
#include "server/storage/storage.h"

#include <errno.h>

#define DURABLE_IMAGE_PERCENT 4u
#define COMPARE_AT_ONCE 512u
#define QUARANTINE_MAX 1024u

/* ---- receipts ---- */

static struct issued *issued_find(struct sim *sim, const struct uuid *log)
{
    for (size_t i = 0; i < sim->issued_count; i++)
        if (uuid_equal(&sim->issued[i].log, log))
            return &sim->issued[i];
    return NULL;
}

static void issued_note(struct sim *sim, const struct uuid *log, uint64_t size)
{
    struct issued *issued = issued_find(sim, log);

    if (!issued) {
        if (sim->issued_count == SIM_LOGS_MAX) {
            sim_fail(sim, "more than %u logs: something opens logs in circles", SIM_LOGS_MAX);
            return;
        }
        issued = &sim->issued[sim->issued_count++];
        *issued = (struct issued){.log = *log};
    }
    if (size > issued->ever)
        issued->ever = size;
    if (size > issued->held)
        issued->held = size;
}

static int open_reader(const struct world *world, struct storage **ret)
{
    const struct storage_options options = {.world = world, .directory = DATA_DIRECTORY, .read_only = true};
    _cleanup_free_ char *error = NULL;
    bool created;

    return storage_sqlite_open(&options, ret, &created, &error);
}

static uint64_t size_held(struct storage *storage, const struct uuid *log)
{
    struct stored_log stored;

    return storage->verbs->log_find(storage, log, &stored) < 0 ? 0 : stored.frontier.size;
}

/* A copy of what would be left if the power failed now, opened as the centre would. */
static void check_durable_image(struct sim *sim, const struct uuid *log, uint64_t size)
{
    struct sim_clock clock = sim->server.machine.clock;
    struct sim_disk *disk = sim_disk_new("image", sim->seed, &clock);
    struct sim_disk_image *image = sim_disk_snapshot(sim->server.machine.disk);
    struct storage *storage = NULL;
    int r;

    sim_cover(sim, COVER_DURABLE_IMAGE_READ);
    sim_disk_restore(disk, image);
    r = open_reader(sim_disk_world(disk), &storage);
    if (r < 0)
        sim_fail(sim, "the centre's durable image cannot be opened: %s", strerror(-r));
    else if (size_held(storage, log) < size)
        sim_fail(sim, "a receipt for %llu records leaves, but only %llu are durable",
            (unsigned long long)size, (unsigned long long)size_held(storage, log));
    storage_close(storage);
    sim_disk_image_free(image);
    sim_disk_free(disk);
}

static void look_at_outcome(struct sim *sim, struct handheld *handheld, const struct exchange_answer *answer)
{
    if (answer->outcome == EXCHANGE_FORK) {
        sim->was_forked = true;
        sim_cover(sim, COVER_ANSWER_FORK);
    }
    if (answer->next_contact_s > 0)
        sim_cover(sim, COVER_ANSWER_LATER);
    handheld->delivered_as_copy |= handheld->recorded_as_copy && answer->outcome == EXCHANGE_STORED;
    if (handheld->was_unknown && answer->outcome == EXCHANGE_STORED) {
        handheld->was_unknown = false;
        sim_cover(sim, handheld->enrolment.certificates_len > 0 ? COVER_KEY_FORCED : COVER_ADOPTED);
    }
    if (answer->quarantined_count > 0)
        sim_cover(sim, COVER_QUARANTINED);
    if (answer->released_count > 0)
        sim_cover(sim, COVER_RELEASED);
}

static void look_at_refusal(struct sim *sim, struct handheld *handheld, const struct envelope *envelope)
{
    _cleanup_buffer_ struct buffer plain = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct refusal refusal;

    sim_cover(sim, COVER_ANSWER_REFUSED);
    if (envelope_open(envelope, PAYLOAD_REFUSAL, sim->server.receipt_key.public_key,
            EXCHANGE_INFLATED_BYTES_MAX, &plain) < 0) {
        sim_fail(sim, "the centre's refusal is not signed by its key");
        return;
    }
    arena_init(&arena, arena_budget_for(plain.len));
    if (refusal_decode(buffer_bytes(&plain), &arena, &refusal) < 0) {
        sim_fail(sim, "the centre's refusal cannot be decoded");
        return;
    }
    if (refusal.reason != REFUSAL_UNKNOWN_DEVICE)
        return;
    handheld->was_unknown = true;
    sim_cover(sim, COVER_UNKNOWN_DEVICE);
}

static int log_of_origin(const char *origin, struct uuid *ret)
{
    const char *slash = strrchr(origin, '/');

    return slash ? text_parse_uuid(slash + 1, ret->b) : -EINVAL;
}

void check_promise(struct sim *sim, const struct sim_request *request)
{
    _cleanup_buffer_ struct buffer plain = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct exchange_answer answer;
    struct checkpoint checkpoint;
    struct envelope envelope;
    struct uuid log;

    if (request->reply.body.len == 0 || envelope_parse(buffer_bytes(&request->reply.body), &envelope) < 0)
        return;
    if (envelope.type == PAYLOAD_REFUSAL)
        look_at_refusal(sim, &sim->handhelds[request->handheld], &envelope);
    if (envelope.type != PAYLOAD_EXCHANGE_ANSWER)
        return;
    if (envelope_open(&envelope, PAYLOAD_EXCHANGE_ANSWER, sim->server.receipt_key.public_key,
            EXCHANGE_INFLATED_BYTES_MAX, &plain) < 0) {
        sim_fail(sim, "the centre's answer is not signed by its key");
        return;
    }
    arena_init(&arena, arena_budget_for(plain.len));
    if (exchange_answer_decode(buffer_bytes(&plain), &arena, &answer) < 0) {
        sim_fail(sim, "the centre's answer cannot be decoded");
        return;
    }
    look_at_outcome(sim, &sim->handhelds[request->handheld], &answer);
    if (answer.receipt.len == 0)
        return;
    if (checkpoint_parse(answer.receipt, &checkpoint) < 0 || log_of_origin(checkpoint.origin, &log) < 0) {
        sim_fail(sim, "the centre's receipt cannot be read");
        return;
    }
    issued_note(sim, &log, checkpoint.size);
    if (sim_chance(sim, DURABLE_IMAGE_PERCENT))
        check_durable_image(sim, &log, checkpoint.size);
}

static void check_carried_part(struct sim *sim, struct bytes bytes)
{
    _cleanup_buffer_ struct buffer plain = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct bundle_receipts part;
    struct checkpoint checkpoint;
    struct envelope envelope;
    struct uuid log;

    if (envelope_parse(bytes, &envelope) < 0 ||
        envelope_open(&envelope, PAYLOAD_BUNDLE_RECEIPTS, sim->server.receipt_key.public_key,
            EXCHANGE_INFLATED_BYTES_MAX, &plain) < 0) {
        sim_fail(sim, "receipts for a bundle are not signed by the centre's key");
        return;
    }
    arena_init(&arena, arena_budget_for(plain.len));
    if (bundle_receipts_decode(buffer_bytes(&plain), &arena, &part) < 0) {
        sim_fail(sim, "receipts for a bundle cannot be decoded");
        return;
    }
    if (part.receipt.len == 0)
        return;
    if (checkpoint_parse(part.receipt, &checkpoint) < 0 || log_of_origin(checkpoint.origin, &log) < 0 ||
        !uuid_equal(&log, &part.log)) {
        sim_fail(sim, "a receipt for a bundle cannot be read");
        return;
    }
    issued_note(sim, &log, checkpoint.size);
    if (sim_chance(sim, DURABLE_IMAGE_PERCENT))
        check_durable_image(sim, &log, checkpoint.size);
}

void check_carried(struct sim *sim, struct bytes receipts)
{
    struct cursor file = cursor_of(receipts);
    struct bytes part;
    int r = bundle_receipts_open(&file);

    while (r >= 0 && (r = bundle_receipts_next(&file, &part)) > 0)
        check_carried_part(sim, part);
    if (r < 0)
        sim_fail(sim, "receipts for a bundle cannot be read");
}

void check_server_start(struct sim *sim)
{
    struct storage *storage = NULL;
    int r = open_reader(sim->server.machine.world, &storage);

    if (r < 0) {
        storage_close(storage);
        return; /* its disk is dying, or the start has told of it */
    }
    for (size_t i = 0; i < sim->issued_count; i++) {
        uint64_t size = size_held(storage, &sim->issued[i].log);

        if (size < sim->issued[i].held)
            sim_fail(sim,
                "the centre signed for %llu records of a log and has %llu of them after its restart",
                (unsigned long long)sim->issued[i].held, (unsigned long long)size);
    }
    storage_close(storage);
}

void check_server_restored(struct sim *sim)
{
    struct storage *storage = NULL;
    int r = open_reader(sim->server.machine.world, &storage);

    if (r < 0)
        sim_fail(sim, "a restored copy of the centre cannot be opened: %s", strerror(-r));
    for (size_t i = 0; r >= 0 && i < sim->issued_count; i++)
        sim->issued[i].held = size_held(storage, &sim->issued[i].log);
    storage_close(storage);
}

bool check_is_held(struct sim *sim, const struct position_in_log *at)
{
    const struct issued *issued = issued_find(sim, &at->log);

    return issued && at->seq < issued->held;
}

void check_receipts(struct sim *sim, struct handheld *handheld)
{
    struct store_log logs[64];
    size_t count = 0;

    if (!handheld->store || store_logs(handheld->store, false, logs, ARRAY_LEN(logs), &count) < 0)
        return;
    for (size_t i = 0; i < count; i++) {
        const struct issued *issued = issued_find(sim, &logs[i].id);

        if (logs[i].receipt_size > (issued ? issued->ever : 0))
            sim_fail(sim, "handheld %u holds a receipt for %llu records, the centre signed for %llu",
                handheld->number, (unsigned long long)logs[i].receipt_size,
                (unsigned long long)(issued ? issued->ever : 0));
    }
}

void check_nothing_counts(struct sim *sim, struct handheld *handheld, const struct store_status *before)
{
    struct store_status after;

    if (!handheld->store || store_status(handheld->store, &after) < 0)
        return;
    if (after.records_queued != before->records_queued || after.photos_pending != before->photos_pending)
        sim_fail(sim, "a portal's answer counts: %llu records and %llu photos were queued, %llu and %llu are",
            (unsigned long long)before->records_queued, (unsigned long long)before->photos_pending,
            (unsigned long long)after.records_queued, (unsigned long long)after.photos_pending);
}

/* A photo that the handheld takes for stored is what it may remove: the centre must have the file. */
static void check_stored(struct sim *sim, struct handheld *handheld, const struct sim_photo *photo)
{
    const struct machine *centre = &sim->server.machine;
    struct store_blob blob;
    char hash[SHA256_TEXT_LEN + 1], path[SIM_PATH_MAX];

    if (store_blob_find(handheld->store, &photo->sha256, &blob) < 0 ||
        (blob.state != BLOB_STORED && blob.state != BLOB_BACKED_UP) || sim->erase_is_uncertain ||
        erase_has_photo(sim, &photo->sha256))
        return;
    text_hex(photo->sha256.b, SHA256_BYTES, hash);
    snprintf(path, sizeof(path), DATA_DIRECTORY "/blobs/%.2s/%s", hash, hash);
    if (centre->world->verbs->stat(centre->disk, path, NULL, NULL) == -ENOENT)
        sim_fail(sim, "handheld %u takes a photo for stored that the centre never had", handheld->number);
}

void check_stored_photos(struct sim *sim, struct handheld *handheld)
{
    if (!handheld->store || sim->was_damaged || sim->was_restored)
        return;
    for (size_t i = 0; i < sim->finding_count; i++)
        for (size_t k = 0; k < sim->findings[i].photo_count; k++)
            check_stored(sim, handheld, &sim->findings[i].photos[k]);
}

/* ---- the handheld's promises ---- */

void check_store_start(struct sim *sim, struct handheld *handheld)
{
    if (sim->was_handheld_damaged)
        return; /* what it had delivered need not be there any more */
    for (size_t i = 0; i < sim->finding_count; i++) {
        const struct sim_finding *finding = &sim->findings[i];
        _cleanup_buffer_ struct buffer bytes = {0};
        struct store_record record;
        int r;

        if (finding->handheld != handheld->number || finding->truth != TRUTH_CERTAIN)
            continue;
        r = store_find(handheld->store, &finding->id, &bytes, &record);
        if (r == -ENOENT && prune_has(handheld, &finding->at))
            continue;
        if (r < 0 && !sim_disk_is_dead(handheld->machine.disk) &&
            !sim_disk_is_stopped(handheld->machine.disk))
            sim_fail(sim, "finding %llu was told to be safe, and is gone from handheld %u: %s",
                (unsigned long long)finding->number, handheld->number, strerror(-r));
    }
}

/* ---- the end: findings ---- */

struct finding_walk {
    struct sim *sim;
    uint64_t incomplete;
};

static bool misses_erased_photo(const struct sim *sim, const struct sim_finding *finding)
{
    for (size_t i = 0; i < finding->photo_count; i++)
        if (erase_has_photo(sim, &finding->photos[i].sha256))
            return true;
    return false;
}

static int see_finding(void *user, const struct service_finding *found)
{
    struct finding_walk *walk = user;
    struct sim *sim = walk->sim;
    uint64_t number = finding_number_of(found->finding.note);
    struct sim_finding *finding;

    if (number >= sim->finding_count) {
        sim_fail(sim, "the centre has a finding that nobody recorded");
        return 0;
    }
    finding = &sim->findings[number];
    finding->seen++;
    if (finding->truth == TRUTH_CERTAIN && erase_has_id(sim, &finding->id))
        sim_fail(sim, "finding %llu was erased, and is at the centre", (unsigned long long)number);
    if (finding->seen > 1)
        sim_fail(sim, "finding %llu is at the centre twice", (unsigned long long)number);
    if (finding->truth == TRUTH_CERTAIN && !uuid_equal(&finding->id, &found->id))
        sim_fail(sim, "finding %llu has another id at the centre", (unsigned long long)number);
    finding->is_complete = found->complete;
    if (finding->truth == TRUTH_CERTAIN && !found->complete && !backup_may_lack_of(sim, finding) &&
        !misses_erased_photo(sim, finding) && !sim->handhelds[finding->handheld].is_shut_out)
        sim_fail(sim, "finding %llu has no photos at the centre, but the handheld is done",
            (unsigned long long)number);
    return 0;
}

static void check_photo(struct sim *sim, const struct sim_finding *finding, const struct sim_photo *photo)
{
    _cleanup_buffer_ struct buffer content = {0};
    _cleanup_free_ char *path = NULL;
    struct sha256 sha256;
    int r = service_blob_path(sim->server.service, &photo->sha256, &path);

    if (r >= 0)
        r = files_read(sim->server.machine.world, path, BLOB_BYTES_MAX, &content);
    if (r < 0 && backup_may_lack(sim, photo)) {
        sim_cover(sim, COVER_PHOTO_GONE);
        if (finding->is_complete)
            sim_fail(sim, "finding %llu lacks a photo, and the centre calls it complete",
                (unsigned long long)finding->number);
        return;
    }
    sha256 = sha256_of(buffer_bytes(&content));
    if (r < 0 || content.len != photo->size || !sha256_equal(&sha256, &photo->sha256))
        sim_fail(sim, "a photo of finding %llu is not whole at the centre: %s",
            (unsigned long long)finding->number, strerror(r < 0 ? -r : EILSEQ));
}

static void check_findings(struct sim *sim)
{
    const struct service_finding_filter filter = {0};
    struct finding_walk walk = {.sim = sim};
    int r;

    for (size_t i = 0; i < sim->finding_count; i++)
        sim->findings[i].seen = 0;
    r = service_each_finding(sim->server.service, &filter, see_finding, &walk);
    if (r < 0)
        sim_fail(sim, "the centre's findings cannot be listed: %s", strerror(-r));
    for (size_t i = 0; i < sim->finding_count && !sim_failed(sim); i++) {
        const struct sim_finding *finding = &sim->findings[i];

        if (finding->truth != TRUTH_CERTAIN || erase_has_id(sim, &finding->id) ||
            sim->handhelds[finding->handheld].is_shut_out)
            continue;
        if (finding->seen == 0 && prune_is_told(sim, finding))
            continue;
        if (finding->seen == 0)
            sim_fail(sim, "finding %llu of handheld %u was recorded and is not at the centre",
                (unsigned long long)finding->number, finding->handheld);
        for (size_t k = 0; k < finding->photo_count; k++)
            if (!erase_has_photo(sim, &finding->photos[k].sha256))
                check_photo(sim, finding, &finding->photos[k]);
    }
}

/* ---- the end: logs, byte by byte ---- */

struct compare {
    struct sim *sim;
    const struct store_log *log;
    const struct bytes *records;
    size_t count, next;
};

static int compare_record(void *user, const struct stored_record *stored)
{
    struct compare *compare = user;

    bool is_erased = stored->state == STORED_RECORD_ERASED && stored->has_leaf && !stored->has_bytes;

    if (compare->next < compare->count &&
        (is_erased || (stored->state == STORED_RECORD_PRESENT && stored->has_bytes)) &&
        is_erased == (compare->records[compare->next].len == 0) &&
        (is_erased || bytes_equal(stored->bytes, compare->records[compare->next]))) {
        compare->next++;
        return 0;
    }
    return -EBADMSG;
}

static void compare_log(
    struct sim *sim, struct handheld *handheld, struct storage *storage, const struct store_log *log)
{
    uint64_t first = log->pruned_size; /* what is not here has no bytes to be compared, but a root */
    struct stored_log stored;
    struct sha256 root, kept;
    int found;

    if (log->size == 0)
        return;
    if (storage->verbs->log_find(storage, &log->id, &stored) < 0 || stored.frontier.size < log->size) {
        sim_fail(sim, "the centre lacks records of a log of handheld %u", handheld->number);
        return;
    }
    while (first < log->size) {
        _cleanup_buffer_ struct buffer bytes = {0};
        struct bytes records[COMPARE_AT_ONCE];
        struct compare compare = {.sim = sim, .log = log, .records = records};
        uint64_t left = log->size - first;
        int r = store_outbox_read(handheld->store, &log->id, first,
            left < COMPARE_AT_ONCE ? (size_t)left : COMPARE_AT_ONCE, 1u << 20, &bytes, records,
            &compare.count);

        if (r >= 0)
            r = storage->verbs->records_each(storage, record_key(stored.number, first),
                record_key(stored.number, first + compare.count), true, compare_record, &compare);
        if (r < 0 || compare.count == 0 || compare.next != compare.count) {
            sim_fail(sim,
                "record %llu of a log differs between handheld %u (%llu records, receipt for %llu) and the "
                "centre (%llu): %s",
                (unsigned long long)first + compare.next, handheld->number, (unsigned long long)log->size,
                (unsigned long long)log->receipt_size, (unsigned long long)stored.frontier.size,
                strerror(-r));
            return;
        }
        first += compare.count;
    }
    kept = merkle_root(&stored.frontier);
    found = store_root_at(handheld->store, &log->id, log->size, &root);
    if (found == -EIDRM && sim->was_set_back_wholly)
        return;
    if (stored.frontier.size == log->size && (found < 0 || !sha256_equal(&root, &kept)))
        sim_fail(sim, "the roots of a log differ between handheld %u and the centre", handheld->number);
}

static void compare_logs(struct sim *sim, struct handheld *handheld)
{
    struct store_log logs[SIM_LOGS_MAX];
    struct storage *storage = NULL;
    size_t count = 0;
    int r = store_logs(handheld->store, false, logs, SIM_LOGS_MAX, &count);

    if (r >= 0)
        r = open_reader(sim->server.machine.world, &storage);
    if (r < 0)
        sim_fail(sim, "the logs of handheld %u cannot be read: %s", handheld->number, strerror(-r));
    for (size_t i = 0; r >= 0 && i < count && !sim_failed(sim); i++) {
        if (logs[i].receipt_size < logs[i].size)
            sim_fail(sim, "handheld %u is done, but a log has a receipt for %llu of %llu", handheld->number,
                (unsigned long long)logs[i].receipt_size, (unsigned long long)logs[i].size);
        compare_log(sim, handheld, storage, &logs[i]);
    }
    storage_close(storage);
}

/* ---- the end: what is in quarantine ---- */

struct quarantine {
    struct sim *sim;
    struct position_in_log held[QUARANTINE_MAX]; /* at the handheld */
    size_t held_count;
    struct uuid log; /* that the centre is asked about */
    size_t found;
};

static int find_in_quarantine(void *user, uint64_t key, const char *reason)
{
    struct quarantine *quarantine = user;

    for (size_t i = 0; i < quarantine->held_count; i++)
        if (uuid_equal(&quarantine->held[i].log, &quarantine->log) &&
            quarantine->held[i].seq == record_key_seq(key)) {
            quarantine->found++;
            return 0;
        }
    sim_fail(quarantine->sim, "record %llu of a log is in quarantine (%s), but its handheld calls it sent",
        (unsigned long long)record_key_seq(key), reason);
    return 1;
}

static int find_all(struct storage *storage, const struct store_log *log, struct quarantine *quarantine)
{
    struct stored_log stored;
    int r;

    if (log->size == 0)
        return 0;
    quarantine->log = log->id;
    r = storage->verbs->log_find(storage, &log->id, &stored);
    return r < 0 ? r
                 : storage->verbs->quarantined_each(storage, record_key(stored.number, 0),
                       record_key(stored.number, log->size), find_in_quarantine, quarantine);
}

static void compare_quarantine(struct sim *sim, struct handheld *handheld)
{
    struct quarantine quarantine = {.sim = sim};
    struct store_log logs[SIM_LOGS_MAX];
    struct storage *storage = NULL;
    int64_t cursor = 0;
    size_t count = 0;
    int r =
        store_quarantined(handheld->store, &cursor, quarantine.held, QUARANTINE_MAX, &quarantine.held_count);

    if (r >= 0)
        r = store_logs(handheld->store, false, logs, SIM_LOGS_MAX, &count);
    if (r >= 0)
        r = open_reader(sim->server.machine.world, &storage);
    for (size_t i = 0; r >= 0 && i < count && !sim_failed(sim); i++)
        r = find_all(storage, &logs[i], &quarantine);
    if (r < 0)
        sim_fail(sim, "the quarantine of handheld %u cannot be compared: %s", handheld->number, strerror(-r));
    /* One may be in neither place, and the handheld has said so. */
    else if (!sim_failed(sim) && quarantine.found < quarantine.held_count &&
             !(sim->was_set_back_wholly && handheld->told_gone))
        sim_fail(sim, "handheld %u holds %zu records for quarantined, the centre %zu", handheld->number,
            quarantine.held_count, quarantine.found);
    storage_close(storage);
}

/* ---- the end: counters, and the centre's own check ---- */

static int count_record(void *user, const struct store_record *record)
{
    uint64_t *counts = user;

    counts[record->state]++;
    return 0;
}

static void check_counters(struct sim *sim, struct handheld *handheld)
{
    const struct store_filter people = {.findings_only = true};
    uint64_t counts[3] = {0};
    struct store_status status;
    int r = store_status(handheld->store, &status);

    if (r >= 0)
        r = store_each_record(handheld->store, &people, count_record, counts);
    if (r < 0) {
        sim_fail(sim, "the counters of handheld %u cannot be read: %s", handheld->number, strerror(-r));
        return;
    }
    if (status.records_queued != 0 || status.photos_pending != 0 || status.bytes_pending != 0)
        sim_fail(sim, "handheld %u is done, but says that %llu records and %llu photos are pending",
            handheld->number, (unsigned long long)status.records_queued,
            (unsigned long long)status.photos_pending);
    status.records_sent -= status.records_pruned;
    if (status.records_queued != counts[RECORD_QUEUED] || status.records_sent != counts[RECORD_SENT] ||
        status.records_quarantined != counts[RECORD_QUARANTINED])
        sim_fail(sim, "handheld %u counts %llu sent and %llu in quarantine, but has %llu and %llu",
            handheld->number, (unsigned long long)status.records_sent,
            (unsigned long long)status.records_quarantined, (unsigned long long)counts[RECORD_SENT],
            (unsigned long long)counts[RECORD_QUARANTINED]);
    if (status.blobs_lost != 0 && !backup_may_lack_any(sim))
        sim_fail(
            sim, "handheld %u lost %llu photos", handheld->number, (unsigned long long)status.blobs_lost);
}

static void note_fault(void *user, const char *line)
{
    struct sim *sim = user;

    sim_fail(sim, "%s", line);
}

static void check_centre(struct sim *sim)
{
    struct service_check_report report;
    int r = service_check(sim->server.service, true, false, note_fault, sim, &report);

    if (r < 0)
        sim_fail(sim, "the centre's check of itself: %s", strerror(-r));
}

static void check_store(struct sim *sim, struct handheld *handheld)
{
    int r = store_check(handheld->store, note_fault, sim);

    if (r < 0)
        sim_fail(sim, "handheld %u's check of its store: %s", handheld->number, strerror(-r));
}

static int add_alarms(void *user, const struct service_device *device)
{
    *(uint64_t *)user += device->alarms;
    return 0;
}

/* Whoever runs the centre must be able to see that there are two of one handheld. */
static void check_alarms(struct sim *sim)
{
    uint64_t alarms = 0;
    int r = service_each_device(sim->server.service, add_alarms, &alarms);

    if (r < 0)
        sim_fail(sim, "the centre's devices cannot be listed: %s", strerror(-r));
    else if (alarms == 0)
        sim_fail(sim, "a fork was answered, and the centre has no alarm");
}

void check_end(struct sim *sim)
{
    check_findings(sim);
    for (size_t i = 0; i < sim->handheld_count && !sim_failed(sim); i++) {
        if (sim->was_handheld_damaged)
            continue; /* its old logs may have holes */
        if (!sim->handhelds[i].is_shut_out) {
            compare_logs(sim, &sim->handhelds[i]);
            compare_quarantine(sim, &sim->handhelds[i]);
            check_counters(sim, &sim->handhelds[i]);
        }
        check_store_start(sim, &sim->handhelds[i]);
        check_store(sim, &sim->handhelds[i]);
        prune_check(sim, &sim->handhelds[i], true);
    }
    if (!sim_failed(sim) && sim->was_forked && !sim->was_restored)
        check_alarms(sim);
    if (!sim_failed(sim))
        check_centre(sim);
    if (!sim_failed(sim))
        erase_check(sim);
}
