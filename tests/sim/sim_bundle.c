/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is carried by hand: a bundle of all that a handheld has to send, as `patrol export --bundle` writes
 * it, to the centre; whole or cut, once or twice, also while a machine dies of it. The receipts come back
 * when the carrier does, perhaps after the same was sent over the network, perhaps twice.
 */
#include "tests/sim/sim.h"

#include "proto/bundle.h"

#include <errno.h>

#define CARRIED_LOGS_MAX 64u
#define CARRIED_PHOTOS_MAX 64u
#define IMPORTS_MAX 3u
#define BACK_RETRY_MS (20 * MINUTE_MS)

/* ---- at the handheld: what `patrol export --bundle` does ---- */

static int write_log(
    struct handheld *handheld, const struct store_log *log, struct bundle_writer *writer, struct buffer *file)
{
    int r = 0;

    for (uint64_t seq = log->receipt_size; r >= 0 && seq < log->size;) {
        _cleanup_buffer_ struct buffer envelope = {0};

        r = agent_bundle_part(handheld->agent, &log->id, seq, &envelope, &seq);
        if (r >= 0)
            r = bundle_write_exchange(writer, buffer_bytes(&envelope), file);
    }
    return r;
}

static int write_photo(struct handheld *handheld, const struct store_blob *blob, struct bundle_writer *writer,
    struct buffer *file)
{
    uint8_t chunk[1000];
    int r = bundle_write_photo(writer, &blob->sha256, blob->size, file);

    for (uint64_t at = 0; r >= 0 && at < blob->size;) {
        uint64_t left = blob->size - at;
        ssize_t n = store_blob_read(
            handheld->store, &blob->sha256, at, chunk, left < sizeof(chunk) ? (size_t)left : sizeof(chunk));

        if (n <= 0)
            return n == -ENOENT ? 0 : (int)n; /* what ends too early counts for nothing */
        r = bundle_write_chunk(writer, bytes_of(chunk, (size_t)n), file);
        at += (uint64_t)n;
    }
    return r;
}

static int write_content(struct handheld *handheld, struct bundle_writer *writer, struct buffer *file)
{
    struct store_log logs[CARRIED_LOGS_MAX];
    struct store_blob photos[CARRIED_PHOTOS_MAX];
    size_t log_count = 0, photo_count = 0;
    int64_t newest;
    int r = store_blobs_newest(handheld->store, &newest);

    if (r >= 0)
        r = store_logs(handheld->store, true, logs, CARRIED_LOGS_MAX, &log_count);
    for (size_t i = 0; r >= 0 && i < log_count; i++)
        r = write_log(handheld, &logs[i], writer, file);
    if (r >= 0)
        r = store_blobs_to_carry(
            handheld->store, false, NULL, newest, photos, CARRIED_PHOTOS_MAX, &photo_count);
    for (size_t i = 0; r >= 0 && i < photo_count; i++)
        r = write_photo(handheld, &photos[i], writer, file);
    return r;
}

static int write_bundle(struct sim *sim, struct handheld *handheld, struct buffer *file)
{
    const struct world *world = handheld->machine.world;
    struct bundle_head head = {.device = handheld->enrolment.device};
    _cleanup_buffer_ struct buffer envelope = {0};
    struct bundle_secrets secrets;
    struct bundle_writer writer;
    int r = agent_bundle_begin(handheld->agent, head.bundle, &envelope);

    world->verbs->random(world->context, &secrets, sizeof(secrets));
    if (r >= 0)
        r = bundle_write_start(&writer, sim->server.receipt_key.public_key, &secrets, file);
    if (r >= 0)
        r = bundle_write_head(&writer, &head, file);
    if (r >= 0)
        r = bundle_write_exchange(&writer, buffer_bytes(&envelope), file);
    if (r >= 0)
        r = write_content(handheld, &writer, file);
    return r < 0 ? r : bundle_write_end(&writer, file);
}

/* ---- at the centre ---- */

struct carrier {
    struct cursor file;
    struct buffer receipts;
};

static ssize_t read_file(void *user, void *ret, size_t len)
{
    struct carrier *carrier = user;
    size_t left = cursor_left(&carrier->file);

    if (len > left)
        len = left;
    if (len > 0)
        memcpy(ret, cursor_take(&carrier->file, len).data, len);
    return (ssize_t)len;
}

static int write_receipts(void *user, struct bytes bytes)
{
    struct carrier *carrier = user;

    buffer_put_bytes(&carrier->receipts, bytes);
    return buffer_finish(&carrier->receipts);
}

/* True when receipts have left the centre, in `ret`. */
static bool import(struct sim *sim, struct handheld *handheld, struct bytes file, struct buffer *ret)
{
    struct carrier carrier = {.file = cursor_of(file)};
    const struct service_bundle_io io = {.read = read_file, .receipts = write_receipts, .user = &carrier};
    struct sim_disk *disk = sim->server.machine.disk;
    struct service_bundle_report report = {0};
    bool dies, is_good;
    int r = service_import_bundle(sim->server.service, &io, &report);

    dies = sim_disk_is_dead(disk) || sim_disk_is_stopped(disk);
    is_good = r >= 0 && !dies;
    sim_trace(sim,
        "server: bundle of handheld %u: %d: %llu new, %llu held, %llu refused; photos %llu, %llu, %llu",
        handheld->number, r, (unsigned long long)report.records_new, (unsigned long long)report.records_held,
        (unsigned long long)report.records_refused, (unsigned long long)report.photos_new,
        (unsigned long long)report.photos_held, (unsigned long long)report.photos_refused);
    if (dies)
        sim_cover(sim, COVER_CARRIED_CRASHED);
    if (r == -EKEYREJECTED || r == -EPROTONOSUPPORT)
        sim_fail(sim, "the centre does not take a bundle of its own handheld: %s", strerror(-r));
    if (is_good) {
        check_carried(sim, buffer_bytes(&carrier.receipts));
        buffer_clear(ret);
        buffer_put_bytes(ret, buffer_bytes(&carrier.receipts));
    }
    buffer_done(&carrier.receipts);
    server_after(sim);
    return is_good;
}

/* ---- back at the handheld ---- */

static int take_parts(struct handheld *handheld, bool check_only)
{
    struct cursor file = cursor_of(buffer_bytes(&handheld->carried));
    struct agent_receipts taken;
    struct bytes envelope;
    int r = bundle_receipts_open(&file);

    while (r >= 0 && (r = bundle_receipts_next(&file, &envelope)) > 0) {
        r = agent_take_receipts(handheld->agent, envelope, check_only, &taken);
        if (r >= 0 && !check_only && (taken.log == RECEIPTS_LOG_FORKED || taken.log == RECEIPTS_LOG_SET_BACK))
            sim_cover(handheld->sim, COVER_LEFT_BY_RECEIPTS);
    }
    return r;
}

static void run_back(struct sim *sim, void *object, uint64_t number)
{
    struct handheld *handheld = object;
    int r;

    if (handheld->carried_number != number)
        return; /* another carrier has come since */
    if (!handheld->agent) {
        if (sim->is_chaos)
            sim_at(sim, BACK_RETRY_MS, run_back, handheld, number);
        return;
    }
    r = take_parts(handheld, true);
    if (r >= 0)
        r = take_parts(handheld, false);
    sim_trace(sim, "handheld %u: receipts from a carrier: %d", handheld->number, r);
    if (r == -EBADMSG || r == -EKEYREJECTED || r == -EXDEV)
        sim_fail(sim, "handheld %u does not take the centre's receipts: %s", handheld->number, strerror(-r));
    if (r >= 0)
        sim_cover(sim, COVER_CARRIED_RECEIPTS);
    check_receipts(sim, handheld);
    check_stored_photos(sim, handheld);
    daemon_after(sim, handheld);
    if (sim->is_chaos && sim_chance(sim, 20))
        sim_at(sim, sim_below(sim, HOUR_MS), run_back, handheld, number);
}

bool bundle_carry(struct sim *sim, struct handheld *handheld)
{
    _cleanup_buffer_ struct buffer file = {0}, receipts = {0};
    size_t imports = sim_between(sim, 1, IMPORTS_MAX);
    bool is_back = false;
    int r;

    if (!handheld->agent || !sim->server.service)
        return false;
    r = write_bundle(sim, handheld, &file);
    sim_trace(sim, "handheld %u: a bundle of %zu bytes: %d", handheld->number, file.len, r);
    daemon_after(sim, handheld);
    if (r < 0)
        return false;
    for (size_t i = 0; i < imports && sim->server.service; i++) {
        bool is_cut = sim_chance(sim, 40);
        size_t len = is_cut ? (size_t)sim_below(sim, file.len) : file.len;

        sim_cover(sim, is_cut ? COVER_CARRIED_CUT : i > 0 ? COVER_CARRIED_AGAIN : COVER_CARRIED);
        if (sim_chance(sim, 30))
            sim_disk_plan_crash(sim->server.machine.disk, sim_between(sim, 1, 80));
        is_back = import(sim, handheld, bytes_of(file.data, len), &receipts) || is_back;
        sim_disk_plan_crash(sim->server.machine.disk, 0);
    }
    if (!is_back)
        return true;
    buffer_clear(&handheld->carried);
    buffer_put_bytes(&handheld->carried, buffer_bytes(&receipts));
    sim_at(sim, sim_below(sim, sim_chance(sim, 50) ? MINUTE_MS : 12 * HOUR_MS), run_back, handheld,
        ++handheld->carried_number);
    return true;
}
