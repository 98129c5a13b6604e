/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What people record: findings with and without photos, amendments, withdrawals, imports. Each has a note of
 * its own, by which it is found again anywhere; what the collector told its user is remembered.
 */
#include "tests/sim/sim.h"

#include "base/text.h"

#include <assert.h>
#include <errno.h>

#define ACT_RECORDS_MAX 24u
#define PHOTO_BYTES_MAX 90000u
#define PREVIEW_SIZE_MAX 3000u
#define PHOTOS_MAX 2u
#define PHOTOS_PERCENT 35u
#define SEASON_PHOTOS_PERCENT 3u /* hundreds of records: what a season is about is their number */
#define TRIES_MAX 3u

struct act_record {
    struct buffer bytes;
    struct store_photo photos[PHOTOS_MAX];
    struct photo named[PHOTOS_MAX];
    size_t finding; /* its place in sim->findings */
};

struct act {
    struct sim *sim;
    struct handheld *handheld;
    struct store *store;
    struct act_record records[ACT_RECORDS_MAX];
    struct store_entry entries[ACT_RECORDS_MAX];
    size_t count;
    bool is_plain; /* findings only, no amendments or withdrawals of others */
    unsigned photos_percent;
    bool has_recovered; /* it found the database damaged, and set it aside */
};

uint64_t finding_number_of(struct bytes note)
{
    char digits[24];
    size_t prefix = sizeof(NOTE_PREFIX) - 1;
    uint64_t number;

    if (note.len <= prefix || note.len - prefix >= sizeof(digits) ||
        memcmp(note.data, NOTE_PREFIX, prefix) != 0)
        return UINT64_MAX;
    memcpy(digits, note.data + prefix, note.len - prefix);
    digits[note.len - prefix] = 0;
    return text_parse_u64(digits, &number) < 0 ? UINT64_MAX : number;
}

static struct sim_finding *finding_new(struct act *act)
{
    struct sim *sim = act->sim;

    if (sim->finding_count == sim->finding_capacity) {
        sim->finding_capacity = sim->finding_capacity ? 2 * sim->finding_capacity : 64;
        sim->findings = reallocarray(sim->findings, sim->finding_capacity, sizeof(*sim->findings));
        if (!sim->findings)
            abort();
    }
    act->records[act->count].finding = sim->finding_count;
    sim->findings[sim->finding_count] = (struct sim_finding){
        .number = sim->finding_count, .handheld = act->handheld->number, .truth = TRUTH_UNCERTAIN};
    return &sim->findings[sim->finding_count++];
}

/* ---- photos ---- */

static int put_picture(struct act *act, size_t size_max, struct sha256 *ret, uint64_t *ret_size)
{
    struct sim *sim = act->sim;
    struct sim_random content = {.state = sim_random_u64(&sim->random)};
    size_t size = sim_between(sim, 1, size_max);
    _cleanup_free_ uint8_t *bytes = malloc(size);

    if (!bytes)
        abort();
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)sim_random_u64(&content);
    *ret_size = size;
    return store_photo_put_bytes(act->store, bytes_of(bytes, size), ret);
}

static void note_photo(
    struct sim_finding *finding, const struct sha256 *sha256, uint64_t size, bool has_budget)
{
    finding->photos[finding->photo_count++] =
        (struct sim_photo){.sha256 = *sha256, .size = size, .has_budget = has_budget};
}

static int take_photos(struct act *act, struct sim_finding *finding, struct finding *body)
{
    struct sim *sim = act->sim;
    struct act_record *record = &act->records[act->count];
    size_t count = sim_chance(sim, act->photos_percent) ? sim_between(sim, 1, PHOTOS_MAX) : 0;

    for (size_t i = 0; i < count; i++) {
        struct photo *photo = &record->named[i];
        uint64_t preview_size;
        int r = put_picture(act, PHOTO_BYTES_MAX, &photo->sha256, &photo->size);

        if (r >= 0)
            r = put_picture(act, PREVIEW_SIZE_MAX, &photo->preview_sha256, &preview_size);
        if (r < 0)
            return r;
        photo->preview_size = (uint32_t)preview_size;
        record->photos[i] = (struct store_photo){.photo = *photo, .urgent = sim_chance(sim, 20)};
        if (record->photos[i].urgent)
            act->entries[act->count].is_urgent = true;
        note_photo(finding, &photo->sha256, photo->size, !record->photos[i].urgent);
        note_photo(finding, &photo->preview_sha256, preview_size, false);
    }
    body->photos = record->named;
    body->photo_count = count;
    act->entries[act->count].photos = record->photos;
    act->entries[act->count].photo_count = count;
    sim->coverage->photos += count;
    return 0;
}

/* ---- records ---- */

/* A finding that somebody could want to amend: recorded here, for certain. */
static const struct sim_finding *draw_parent(struct act *act)
{
    struct sim *sim = act->sim;

    for (unsigned tries = 0; tries < 8 && sim->finding_count > 0; tries++) {
        const struct sim_finding *finding = &sim->findings[sim_below(sim, sim->finding_count)];

        if (finding->truth == TRUTH_CERTAIN && finding->kind == RECORD_FINDING &&
            finding->handheld == act->handheld->number)
            return finding;
    }
    return NULL;
}

static struct parent parent_of(struct act *act, const struct sim_finding *finding)
{
    struct store_entry *entry = &act->entries[act->count];

    assert(finding); /* the acts that have a parent are not chosen without one */
    entry->has_parent = true;
    entry->parent = finding->at;
    return (struct parent){.log = finding->at.log, .seq = finding->at.seq, .id = finding->id};
}

static enum record_kind draw_kind(struct sim *sim, const struct sim_finding *parent)
{
    if (!parent || !sim_chance(sim, 15))
        return RECORD_FINDING;
    return sim_chance(sim, 70) ? RECORD_AMENDMENT : RECORD_WITHDRAWAL;
}

static int build(struct act *act, const struct sim_finding *parent, struct sim_finding *finding)
{
    struct sim *sim = act->sim;
    const struct sim_clock *clock = &act->handheld->machine.clock;
    struct act_record *own = &act->records[act->count];
    char note[48];
    struct record record = {
        .kind = draw_kind(sim, parent), .wall_ms = clock->wall_ms, .boot_ms = clock->boot_ms};
    struct finding body = {.category = {.scheme = bytes_of_text("test"),
                               .version = bytes_of_text("1"),
                               .code = bytes_of_text("0101")},
        .has_position = true,
        .position = {.lat_e7 = 250000000, .lon_e7 = 1215000000}};
    int r = 0;

    snprintf(note, sizeof(note), NOTE_PREFIX "%llu", (unsigned long long)finding->number);
    body.note = bytes_of_text(note);
    finding->kind = record.kind;
    act->entries[act->count].kind = record.kind;
    if (record.kind == RECORD_WITHDRAWAL) {
        record.withdrawal =
            (struct withdrawal){.parent = parent_of(act, parent), .reason = bytes_of_text(note)};
    } else {
        r = take_photos(act, finding, &body);
        if (record.kind == RECORD_AMENDMENT)
            record.amendment = (struct amendment){.parent = parent_of(act, parent), .finding = body};
        else
            record.finding = body;
    }
    if (r >= 0)
        r = record_encode(&record, &own->bytes);
    act->entries[act->count].record = buffer_bytes(&own->bytes);
    return r;
}

static int add_record(struct act *act)
{
    struct sim_finding parent;
    const struct sim_finding *drawn = act->is_plain ? NULL : draw_parent(act);

    if (drawn)
        parent = *drawn; /* the list may move */
    int r = build(act, drawn ? &parent : NULL, finding_new(act));

    act->count++;
    return r;
}

/* ---- what the user is told ---- */

static void tell(struct act *act, const struct store_appended *appended)
{
    struct sim *sim = act->sim;

    for (size_t i = 0; i < act->count; i++) {
        struct sim_finding *finding = &sim->findings[act->records[i].finding];

        finding->truth = TRUTH_CERTAIN;
        act->handheld->recorded_as_copy |= sim->was_cloned;
        finding->id = appended[i].id;
        finding->at = appended[i].at;
        sim->coverage->findings++;
    }
}

static const struct store_author author = {
    .inspector = {(const uint8_t *)"wang", 4}, .software = {(const uint8_t *)"sim", 3}};

static int carry_out(struct act *act, size_t count)
{
    struct store_appended appended[ACT_RECORDS_MAX];
    struct store_opened opened = {0};
    int r = store_open(act->handheld->machine.world, DATA_DIRECTORY, STORE_COLLECTOR, &act->store, &opened);

    act->has_recovered = opened.recovered;
    for (size_t i = 0; r >= 0 && i < count; i++)
        r = add_record(act);
    if (r >= 0)
        r = store_append(act->store, &author, act->entries, act->count, appended);
    if (r >= 0 && !sim_disk_is_dead(act->handheld->machine.disk) &&
        !sim_disk_is_stopped(act->handheld->machine.disk))
        tell(act, appended);
    return r;
}

/* The collector's process is over, one way or the other. */
static void end(struct act *act, int result)
{
    struct sim *sim = act->sim;
    struct sim_disk *disk = act->handheld->machine.disk;

    store_free(act->store);
    for (size_t i = 0; i < act->count; i++)
        buffer_done(&act->records[i].bytes);
    sim_trace(sim, "handheld %u: %zu recorded: %d", act->handheld->number, act->count, result);
    if (sim_disk_is_dead(disk)) {
        sim_cover(sim, COVER_COLLECTOR_POWER_CUT);
        sim_cover(sim, COVER_APPEND_CRASHED);
        handheld_power_cut(sim, act->handheld);
        daemon_start_later(sim, act->handheld, sim_between(sim, SECOND_MS, 10 * MINUTE_MS));
    } else if (sim_disk_is_stopped(disk)) {
        sim_cover(sim, COVER_COLLECTOR_KILLED);
        sim_disk_end_stop(disk);
    } else if (result < 0) {
        sim_cover(sim, COVER_APPEND_REFUSED);
        if (result != -ENOSPC && result != -EIO && !(result == -EUCLEAN && sim->was_handheld_damaged))
            sim_fail(sim, "a finding could not be recorded: %s", strerror(-result));
    } else if (sim_chance(sim, 90)) {
        daemon_doorbell(sim, act->handheld);
    }
    /* The daemon sees that the database is another one, and ends. */
    if (act->has_recovered && act->handheld->agent) {
        sim_cover(sim, COVER_HANDHELD_RECOVERED);
        daemon_stop(sim, act->handheld);
        daemon_start_later(sim, act->handheld, SECOND_MS);
    }
}

static void act_out(
    struct sim *sim, struct handheld *handheld, size_t count, bool is_plain, unsigned photos_percent)
{
    _cleanup_free_ struct act *act = calloc(1, sizeof(*act));
    int r;

    if (!act)
        abort();
    act->sim = sim;
    act->handheld = handheld;
    act->is_plain = is_plain;
    act->photos_percent = photos_percent;
    r = carry_out(act, count);
    end(act, r);
}

/* As the first receipt of a new year lets it be closed. */
static void close_log(struct sim *sim, struct handheld *handheld)
{
    struct act act = {.sim = sim, .handheld = handheld};
    struct store_opened opened = {0};
    struct store_status status;
    int r = store_open(handheld->machine.world, DATA_DIRECTORY, STORE_COLLECTOR, &act.store, &opened);

    act.has_recovered = opened.recovered;
    if (r >= 0)
        r = store_status(act.store, &status);
    if (r >= 0 && status.has_log)
        r = store_leave_log(act.store, &author, &status.log, OPEN_ROTATED, NULL, NULL);
    end(&act, r);
}

void collector_season(struct sim *sim, struct handheld *handheld, size_t records)
{
    close_log(sim, handheld); /* photos of its own would keep it here */
    for (size_t done = 0; done < records && !sim_failed(sim); done += ACT_RECORDS_MAX)
        act_out(sim, handheld, ACT_RECORDS_MAX, true, SEASON_PHOTOS_PERCENT);
    close_log(sim, handheld);
}

void collector_act(struct sim *sim, struct handheld *handheld)
{
    act_out(
        sim, handheld, sim_chance(sim, 80) ? 1 : sim_between(sim, 2, ACT_RECORDS_MAX), false, PHOTOS_PERCENT);
}

void collector_record_one(struct sim *sim, struct handheld *handheld)
{
    size_t index = sim->finding_count;
    unsigned tries = 1;

    act_out(sim, handheld, 1, true, PHOTOS_PERCENT);
    /* Damage that nobody has met yet is met now; the next one finds it mended. */
    while (sim->was_handheld_damaged && sim->findings[index].truth != TRUTH_CERTAIN && ++tries < TRIES_MAX) {
        index = sim->finding_count;
        act_out(sim, handheld, 1, true, PHOTOS_PERCENT);
    }
    if (sim->findings[index].truth != TRUTH_CERTAIN)
        sim_fail(sim, "a finding could not be recorded though all is well again");
}
