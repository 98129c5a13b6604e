/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store on the simulated disk: whatever it was doing when the power went or the process was killed, all
 * that it had said to be done is there afterwards, once, at its place; and no crash is taken for damage.
 *
 * A failing seed is printed; `test_store_crash SEED` runs it alone, `test_store_crash FIRST COUNT` a range.
 */
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_random.h"

#include "store/internal.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define SEEDS 40u
#define ROUNDS 12u
#define ACKNOWLEDGED_MAX 8192u
#define DIRECTORY "/data"

static const struct store_author author = {
    .inspector = {(const uint8_t *)"wang", 4},
    .software = {(const uint8_t *)"test 1", 6},
};

struct acknowledged {
    struct store_appended appended;
    struct sha256 leaf;
    bool has_photo;
    struct sha256 photo;
    unsigned found;
};

struct handheld {
    uint64_t seed;
    struct sim_random random;
    struct sim_clock clock;
    struct sim_disk *disk;
    const struct world *world;
    struct store *store;
    struct acknowledged acknowledged[ACKNOWLEDGED_MAX];
    size_t count;
    unsigned notes;
    uint64_t recoveries;
};

/* Stores a receipt at `size`. */
static int receive(struct handheld *handheld, const struct uuid *log, uint64_t size)
{
    static const uint8_t seed[SIGN_SEED_BYTES] = {1};
    _cleanup_buffer_ struct buffer note = {0};
    struct checkpoint checkpoint = {.origin = "test/default/log", .size = size};
    struct sign_key key;

    int r = store_root_at(handheld->store, log, size, &checkpoint.root);
    if (r < 0)
        return r;
    sign_key_from_seed("test/default/device", seed, &key);
    assert_int_equal(checkpoint_sign(&checkpoint, &key, &note), 0);
    return store_apply_receipt(handheld->store, log, &checkpoint, 1700000000, buffer_bytes(&note), NULL, 0);
}

static void check(struct handheld *handheld, bool holds, const char *what)
{
    if (!holds)
        fail_msg("seed %llu: %s", (unsigned long long)handheld->seed, what);
}

/* ---- what a handheld does ---- */

static int append_some(struct handheld *handheld, size_t count, const struct store_photo *photo)
{
    struct buffer buffers[8] = {0};
    struct store_entry entries[8] = {0};
    struct store_appended appended[8];

    for (size_t i = 0; i < count; i++) {
        char note[600];
        struct record record = {.kind = RECORD_FINDING, .wall_ms = handheld->clock.wall_ms, .boot_ms = 1};
        size_t padding =
            sim_random_chance(&handheld->random, 5) ? 500 : sim_random_below(&handheld->random, 100);

        snprintf(note, sizeof(note), "%u %0*d", handheld->notes++, (int)padding + 1, 0);
        record.finding = (struct finding){
            .category = {bytes_of_text("test"), bytes_of_text("1"), bytes_of_text("0101"), bytes_of(NULL, 0)},
            .note = bytes_of_text(note),
            .no_fix = bytes_of_text("indoors"),
            .photos = photo ? &photo->photo : NULL,
            .photo_count = photo ? 1 : 0,
        };
        assert_int_equal(record_encode(&record, &buffers[i]), 0);
        entries[i] = (struct store_entry){.record = buffer_bytes(&buffers[i]),
            .kind = RECORD_FINDING,
            .photos = photo,
            .photo_count = photo ? 1 : 0};
    }
    int r = store_append(handheld->store, &author, entries, count, appended);
    for (size_t i = 0; i < count; i++) {
        if (r >= 0 && handheld->count < ACKNOWLEDGED_MAX) {
            struct acknowledged *one = &handheld->acknowledged[handheld->count++];

            *one = (struct acknowledged){
                .appended = appended[i], .leaf = merkle_leaf(entries[i].record), .has_photo = photo != NULL};
            if (photo)
                one->photo = photo->photo.sha256;
        }
        buffer_done(&buffers[i]);
    }
    return r;
}

static int append_photo(struct handheld *handheld)
{
    struct store_photo photo = {.photo = {.size = 100 + sim_random_below(&handheld->random, 3000)}};
    uint8_t bytes[4096];

    for (size_t i = 0; i < photo.photo.size; i++)
        bytes[i] = (uint8_t)sim_random_u64(&handheld->random);
    int r = store_photo_put_bytes(handheld->store, bytes_of(bytes, photo.photo.size), &photo.photo.sha256);
    return r < 0 ? r : append_some(handheld, 1, &photo);
}

static int take_receipt(struct handheld *handheld)
{
    struct store_log logs[16];
    size_t count;

    int r = store_logs(handheld->store, true, logs, 16, &count);
    if (r < 0 || count == 0)
        return r;
    const struct store_log *log = &logs[sim_random_below(&handheld->random, count)];
    if (log->size == log->receipt_size)
        return 0;
    return receive(handheld, &log->id,
        log->receipt_size + 1 + sim_random_below(&handheld->random, log->size - log->receipt_size));
}

static int leave(struct handheld *handheld)
{
    struct store_status status;

    int r = store_status(handheld->store, &status);
    if (r < 0 || !status.has_log)
        return r;
    enum open_reason reason = sim_random_chance(&handheld->random, 50) ? OPEN_FORK : OPEN_ROTATED;
    return store_leave_log(handheld->store, &author, &status.log, reason, NULL, NULL);
}

static int act(struct handheld *handheld)
{
    uint64_t number;

    switch (sim_random_below(&handheld->random, 20)) {
    case 0:
        return take_receipt(handheld);
    case 1:
        return append_photo(handheld);
    case 2:
        return store_checkpoint_wal(handheld->store, true);
    case 3:
        return store_sweep(handheld->store, 1000, &number);
    case 4:
        return sim_random_chance(&handheld->random, 20) ? leave(handheld) : 0;
    case 5:
        return store_set_setting(handheld->store, "key", bytes_of_text("value"));
    case 6:
        return append_some(handheld, 1 + sim_random_below(&handheld->random, 8), NULL);
    default:
        return append_some(handheld, 1, NULL);
    }
}

/* ---- life and death ---- */

static int open_store(struct handheld *handheld)
{
    struct store_opened opened;
    enum store_role role = sim_random_chance(&handheld->random, 50) ? STORE_DAEMON : STORE_COLLECTOR;

    int r = store_open(handheld->world, DIRECTORY, role, &handheld->store, &opened);
    if (r >= 0)
        handheld->recoveries += opened.recovered;
    return r;
}

static void die(struct handheld *handheld)
{
    store_free(handheld->store);
    handheld->store = NULL;
    if (sim_random_chance(&handheld->random, 30) && !sim_disk_is_dead(handheld->disk)) {
        sim_disk_kill(handheld->disk);
    } else {
        sim_disk_crash(handheld->disk);
        handheld->clock.boot_id[0]++;
    }
    sim_disk_plan_crash(handheld->disk, 0);
    handheld->clock.wall_ms += 10000;
}

static void live(struct handheld *handheld)
{
    sim_disk_plan_crash(handheld->disk, 1 + sim_random_below(&handheld->random, 400));
    int r = open_store(handheld);
    for (unsigned i = 0; r >= 0 && i < 200; i++) {
        bool bad_moment = sim_random_chance(&handheld->random, 2);

        handheld->clock.wall_ms += 100;
        if (bad_moment)
            sim_disk_fail_syncs(handheld->disk, 1);
        r = act(handheld);
        sim_disk_fail_syncs(handheld->disk, 0);
        /* What was refused may be there or not; all the rest goes on. */
        if (bad_moment && r == -EIO && !sim_disk_is_dead(handheld->disk))
            r = 0;
        if (bad_moment && sim_random_chance(&handheld->random, 30))
            break; /* and often the process ends at it */
    }
    check(handheld, r >= 0 || sim_disk_is_dead(handheld->disk), strerror(-r));
    die(handheld);
}

/* ---- what must hold ---- */

static int find_one(void *user, const struct store_record *record)
{
    struct handheld *handheld = user;

    for (size_t i = 0; i < handheld->count; i++)
        if (uuid_equal(&handheld->acknowledged[i].appended.id, &record->id))
            handheld->acknowledged[i].found++;
    return 0;
}

static void check_photo(struct handheld *handheld, const struct acknowledged *one)
{
    struct store_blob blob;
    uint8_t bytes[4096];

    check(handheld, store_blob_find(handheld->store, &one->photo, &blob) == 0, "a photo has no row");
    ssize_t n = store_blob_read(handheld->store, &one->photo, 0, bytes, sizeof(bytes));
    check(handheld, n == (ssize_t)blob.size, "a photo is not whole");
    struct sha256 sha256 = sha256_of(bytes_of(bytes, (size_t)n));
    check(handheld, sha256_equal(&sha256, &one->photo), "a photo is not what was put there");
}

static void check_all(struct handheld *handheld)
{
    static const struct store_filter people = {.findings_only = true};
    struct store_status status;
    bool sound = false;

    check(handheld, open_store(handheld) >= 0, "it cannot be opened");
    check(handheld, handheld->recoveries == 0, "a crash was taken for damage");
    check(handheld, database_is_sound(handheld->store, &sound) >= 0 && sound, "the database is not sound");
    check(handheld, store_each_record(handheld->store, &people, find_one, handheld) >= 0,
        "it cannot be listed");
    check(handheld, store_status(handheld->store, &status) >= 0, "no status");
    check(handheld, status.records_queued + status.records_sent >= handheld->count,
        "the status counts too few");
    for (size_t i = 0; i < handheld->count; i++) {
        const struct acknowledged *one = &handheld->acknowledged[i];
        struct buffer bytes = {0};
        struct store_record record;

        check(handheld, one->found == 1,
            one->found == 0 ? "an acknowledged record is lost" : "a record is listed twice");
        check(handheld, store_read(handheld->store, &one->appended.at, &bytes, &record) >= 0,
            "a position is empty");
        check(handheld, sha256_equal(&record.leaf, &one->leaf), "a position holds another record");
        if (one->has_photo)
            check_photo(handheld, one);
        buffer_done(&bytes);
    }
    store_free(handheld->store);
    handheld->store = NULL;
}

static struct handheld *handheld_new(uint64_t seed)
{
    struct handheld *handheld = calloc(1, sizeof(*handheld));
    char name[32];

    handheld->seed = seed;
    handheld->random.state = seed;
    handheld->clock = (struct sim_clock){.wall_ms = INT64_C(1764000000000), .boot_ms = 1000, .boot_id = {1}};
    snprintf(name, sizeof(name), "store-%llu", (unsigned long long)seed);
    handheld->disk = sim_disk_new(name, seed, &handheld->clock);
    handheld->world = sim_disk_world(handheld->disk);
    return handheld;
}

static void handheld_free(struct handheld *handheld)
{
    store_free(handheld->store);
    sim_disk_free(handheld->disk);
    free(handheld);
}

static void run_seed(uint64_t seed)
{
    struct handheld *handheld = handheld_new(seed);

    for (unsigned round = 0; round < ROUNDS; round++)
        live(handheld);
    check_all(handheld);
    handheld_free(handheld);
}

static uint64_t first_seed = 1, seed_count = SEEDS;

static void everything_acknowledged_survives_any_crash_once(void **state)
{
    for (uint64_t i = 0; i < seed_count; i++)
        run_seed(first_seed + i);
}

/* ---- files that vanish after a crash ---- */

/* What tells a lost database from a new handheld is durable before the first record is. */
static void database_that_vanished_after_a_power_cut_is_missed(void **state)
{
    static const char *const names[] = {"/queue.db", "/queue.db-wal", "/queue.db-shm"};

    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct handheld *handheld = handheld_new(seed);

        assert_int_equal(open_store(handheld), 0);
        assert_int_equal(append_some(handheld, 2, NULL), 0);
        store_free(handheld->store);
        handheld->store = NULL;
        sim_disk_crash(handheld->disk);
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            char path[64];

            snprintf(path, sizeof(path), DIRECTORY "%s", names[i]);
            (void)handheld->world->verbs->unlink(handheld->world->context, path);
        }
        assert_int_equal(open_store(handheld), 0);
        assert_int_equal(handheld->recoveries, 1);
        handheld_free(handheld);
    }
}

/* ---- a failed fsync ---- */

/* The process that meets the failing fsync ends, the next one goes on with what the kernel shows it, and then
 * the power goes. */
static void what_is_recorded_after_a_failed_fsync_does_not_hang_on_what_failed(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct handheld *handheld = handheld_new(seed);

        assert_int_equal(open_store(handheld), 0);
        assert_int_equal(append_some(handheld, 2, NULL), 0);
        sim_disk_fail_syncs(handheld->disk, 1);
        assert_int_equal(append_some(handheld, 2, NULL), -EIO);
        store_free(handheld->store);
        sim_disk_kill(handheld->disk);
        assert_int_equal(open_store(handheld), 0);
        assert_int_equal(append_some(handheld, 2, NULL), 0);
        store_free(handheld->store);
        sim_disk_crash(handheld->disk);
        check_all(handheld);
        handheld_free(handheld);
    }
}

/* Killed in the instant between the fsync that fails and whatever it would do about it. */
static void a_process_killed_at_a_failed_fsync_leaves_word_of_it(void **state)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct handheld *handheld = handheld_new(seed);

        assert_int_equal(open_store(handheld), 0);
        assert_int_equal(append_some(handheld, 2, NULL), 0);
        sim_disk_fail_syncs(handheld->disk, 1);
        sim_disk_plan_stop(handheld->disk, 1 + seed / 2);
        append_some(handheld, 2, NULL);
        store_free(handheld->store);
        sim_disk_fail_syncs(handheld->disk, 0);
        sim_disk_end_stop(handheld->disk);
        sim_disk_kill(handheld->disk);
        assert_int_equal(open_store(handheld), 0);
        assert_int_equal(append_some(handheld, 2, NULL), 0);
        store_free(handheld->store);
        sim_disk_crash(handheld->disk);
        check_all(handheld);
        handheld_free(handheld);
    }
}

/* What a killed process had written last is with the kernel; it is told later that it could not be kept. */
static void what_a_killed_process_wrote_is_written_again_when_its_fsync_fails(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct handheld *handheld = handheld_new(seed);

        assert_int_equal(open_store(handheld), 0);
        assert_int_equal(append_some(handheld, 2, NULL), 0);
        sim_disk_plan_stop(handheld->disk, 1 + seed);
        append_some(handheld, 8, NULL);
        store_free(handheld->store);
        sim_disk_end_stop(handheld->disk);
        sim_disk_kill(handheld->disk);
        assert_int_equal(open_store(handheld), 0);
        sim_disk_fail_syncs(handheld->disk, 1);
        assert_int_equal(append_some(handheld, 2, NULL), -EIO);
        assert_int_equal(append_some(handheld, 2, NULL), 0);
        store_free(handheld->store);
        sim_disk_crash(handheld->disk);
        check_all(handheld);
        handheld_free(handheld);
    }
}

static void a_record_that_was_refused_does_not_turn_up_after_a_restart(void **state)
{
    static const struct store_filter people = {.findings_only = true};
    struct handheld *handheld = handheld_new(1);
    struct store_status status;

    assert_int_equal(open_store(handheld), 0);
    assert_int_equal(append_some(handheld, 2, NULL), 0);
    sim_disk_fail_syncs(handheld->disk, 1);
    assert_int_equal(append_some(handheld, 2, NULL), -EIO);
    store_free(handheld->store);
    sim_disk_kill(handheld->disk);
    assert_int_equal(open_store(handheld), 0);
    assert_int_equal(store_status(handheld->store, &status), 0);
    assert_int_equal(status.records_queued, 2);
    assert_int_equal(store_each_record(handheld->store, &people, find_one, handheld), 0);
    handheld_free(handheld);
}

/* ---- pruning ---- */

#define PRUNED_RECORDS (9u * TILE_LEAVES + 50u) /* removed in two pieces */
#define RECEIPT_MS INT64_C(1700000000000)

/* A log that may be pruned, and what the centre signs of it. */
struct closed_log {
    struct uuid id;
    uint64_t size;
    struct sha256 root;
};

static struct sim_disk_image *make_closed_log(struct closed_log *ret)
{
    struct handheld *handheld = handheld_new(1);
    struct sim_disk_image *image;
    struct store_log logs[2];
    size_t count;

    assert_int_equal(open_store(handheld), 0);
    while (handheld->notes < PRUNED_RECORDS)
        assert_int_equal(append_some(handheld, 8, NULL), 0);
    assert_int_equal(store_logs(handheld->store, false, logs, 2, &count), 0);
    ret->id = logs[0].id;
    assert_int_equal(store_leave_log(handheld->store, &author, &ret->id, OPEN_ROTATED, NULL, NULL), 0);
    assert_int_equal(store_logs(handheld->store, false, logs, 2, &count), 0);
    ret->size = logs[0].size;
    assert_int_equal(store_root_at(handheld->store, &ret->id, ret->size, &ret->root), 0);
    assert_int_equal(receive(handheld, &ret->id, ret->size), 0);
    image = sim_disk_snapshot(handheld->disk);
    handheld_free(handheld);
    return image;
}

/* -ENOENT: it was marked before. */
static int prune(struct handheld *handheld, const struct closed_log *closed)
{
    bool more = true;
    int r = store_prune(handheld->store, &closed->id, closed->size, &closed->root, RECEIPT_MS, 0);

    r = r == -ENOENT ? 0 : r;
    while (r >= 0 && more)
        r = store_prune_some(handheld->store, &more);
    return r;
}

/* All of it is here as it was, or counts as pruned; whatever is left, the log is the same. */
static void check_pruning(struct handheld *handheld, const struct closed_log *closed, bool is_over)
{
    struct store_status status;
    struct store_log log;
    struct sha256 root;
    size_t count;
    bool sound = false;

    assert_int_equal(open_store(handheld), 0);
    check(handheld, handheld->recoveries == 0, "a crash in pruning was taken for damage");
    check(handheld, database_is_sound(handheld->store, &sound) >= 0 && sound, "the database is not sound");
    if (is_over)
        assert_int_equal(prune(handheld, closed), 0);
    assert_int_equal(store_logs(handheld->store, false, &log, 1, &count), 0);
    assert_true(uuid_equal(&log.id, &closed->id));
    assert_int_equal(log.size, closed->size);
    assert_int_equal(log.receipt_size, closed->size);
    assert_int_equal(store_root_at(handheld->store, &closed->id, closed->size, &root), 0);
    assert_true(sha256_equal(&root, &closed->root));
    assert_int_equal(store_status(handheld->store, &status), 0);
    assert_int_equal(status.records_queued, 0);
    assert_true(status.records_sent >= PRUNED_RECORDS);
    check(handheld, log.pruned_size > 0 || status.records_pruned == 0, "records went that were not marked");
    if (is_over)
        assert_true(status.records_pruned > 9u * TILE_LEAVES - 4u);
    store_free(handheld->store);
    handheld->store = NULL;
}

static void pruning_that_is_broken_off_anywhere_goes_on_and_spoils_nothing(void **state)
{
    struct closed_log closed = {0};
    struct sim_disk_image *image = make_closed_log(&closed);
    uint64_t deaths = 0;
    bool died = true;

    for (uint64_t operations = 1; died; operations += 1 + operations / 20) {
        struct handheld *handheld = handheld_new(operations);

        sim_disk_restore(handheld->disk, image);
        assert_int_equal(open_store(handheld), 0);
        sim_disk_plan_crash(handheld->disk, operations);
        int r = prune(handheld, &closed);
        died = sim_disk_is_dead(handheld->disk);
        check(handheld, died || r == 0, strerror(-r));
        die(handheld);
        check_pruning(handheld, &closed, false);
        check_pruning(handheld, &closed, true);
        handheld_free(handheld);
        deaths += died;
    }
    sim_disk_image_free(image);
    assert_true(deaths >= 20);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(database_that_vanished_after_a_power_cut_is_missed),
        cmocka_unit_test(what_is_recorded_after_a_failed_fsync_does_not_hang_on_what_failed),
        cmocka_unit_test(a_process_killed_at_a_failed_fsync_leaves_word_of_it),
        cmocka_unit_test(what_a_killed_process_wrote_is_written_again_when_its_fsync_fails),
        cmocka_unit_test(a_record_that_was_refused_does_not_turn_up_after_a_restart),
        cmocka_unit_test(pruning_that_is_broken_off_anywhere_goes_on_and_spoils_nothing),
        cmocka_unit_test(everything_acknowledged_survives_any_crash_once),
    };

    if (argc > 1) {
        first_seed = strtoull(argv[1], NULL, 10);
        seed_count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
