/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The centre's service on the simulated disk: whatever it was doing when the power went or the process was
 * killed, all that it had signed a receipt for is there afterwards, once; what it had promised of an upload
 * is there; what it had called stored is whole.
 *
 * A failing seed is printed; `test_service_crash SEED` runs it alone, `test_service_crash FIRST COUNT` a
 * range.
 */
#include "tests/unit/server/client.h"

#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_random.h"

#define SEEDS 20u
#define ROUNDS 10u
#define ACTIONS_MAX 150u
#define PHOTOS_MAX 200u
#define PHOTO_BYTES_MAX 20000u
#define DIRECTORY "/data"

struct photo_state {
    struct sha256 sha256;
    size_t size;
    uint8_t *bytes;
    uint64_t seq;      /* of the record that names it */
    uint64_t promised; /* bytes */
    bool placed;       /* the last byte was acknowledged */
    bool told_stored;  /* on a signed list */
};

struct life {
    uint64_t seed;
    struct sim_random random;
    struct sim_clock clock;
    struct sim_disk *disk;
    struct centre centre;
    struct handheld *handheld;
    uint64_t receipted;
    bool is_bad_moment; /* an fsync fails */
    struct photo_state photos[PHOTOS_MAX];
    size_t photo_count;
};

static void check(struct life *life, bool holds, const char *what)
{
    if (!holds)
        fail_msg("seed %llu: %s", (unsigned long long)life->seed, what);
}

/* ---- what happens ---- */

/* Sends a request; false when there was no signed answer that counts. */
static bool ask(
    struct life *life, struct bytes body, const struct sha256 *request_sha256, struct answered *ret)
{
    struct service *service = life->centre.service;
    struct service_reply reply = {0};
    struct service_job *job = NULL;

    if (service_prepare(service, SERVICE_EXCHANGE, body, &job) < 0)
        return false;
    if (service_job_needs_commit(job))
        (void)service_commit(service, &job, 1);
    service_answer(service, job, &reply);
    service_job_free(job);
    *ret = (struct answered){.status = reply.status, .body = reply.body};
    if (reply.body.len == 0)
        return false;
    read_answer(&life->centre, request_sha256, ret);
    return !ret->is_refused;
}

static void note_answer(struct life *life, const struct answered *answered)
{
    const struct exchange_answer *answer = &answered->exchange;

    check(life, answer->outcome == EXCHANGE_STORED, "a request that fits was not taken");
    if (answer->receipt.len > 0) {
        uint64_t size = read_receipt(life->handheld, answer->receipt).size;

        check(life, size >= life->receipted, "a receipt went back");
        life->receipted = size;
    }
    for (size_t i = 0; i < answer->stored_blob_count; i++) {
        for (size_t k = 0; k < life->photo_count; k++) {
            if (sha256_equal(&life->photos[k].sha256, &answer->stored_blobs[i].sha256))
                life->photos[k].told_stored = true;
        }
    }
}

static void exchange_some(struct life *life)
{
    struct handheld *handheld = life->handheld;
    uint64_t back = sim_random_below(&life->random, 4);
    uint64_t first = life->receipted > back ? life->receipted - back : 0;
    size_t left = handheld->count - (size_t)first;
    size_t count = left == 0 ? 0 : 1 + (size_t)sim_random_below(&life->random, left);
    struct sha256 asked[8];
    struct exchange_request more = {.asked_blobs = asked};
    _cleanup_buffer_ struct buffer body = {0};
    _cleanup_answered_ struct answered answered = {0};
    struct sha256 sha256;

    while (more.asked_blob_count < ARRAY_LEN(asked) && life->photo_count > 0)
        asked[more.asked_blob_count++] =
            life->photos[sim_random_below(&life->random, life->photo_count)].sha256;
    make_exchange(handheld, first, count, &more, &body, &sha256);
    if (ask(life, buffer_bytes(&body), &sha256, &answered))
        note_answer(life, &answered);
}

static void append_some(struct life *life)
{
    if (life->photo_count < PHOTOS_MAX && sim_random_chance(&life->random, 15)) {
        struct photo_state *photo = &life->photos[life->photo_count++];

        photo->size = 1 + (size_t)sim_random_below(&life->random, PHOTO_BYTES_MAX);
        photo->bytes = malloc(photo->size);
        assert_non_null(photo->bytes);
        for (size_t i = 0; i < photo->size; i++)
            photo->bytes[i] = (uint8_t)sim_random_u64(&life->random);
        photo->sha256 = sha256_of(bytes_of(photo->bytes, photo->size));
        photo->seq = append_finding_with_photo(life->handheld, &photo->sha256, photo->size, NULL);
        return;
    }
    append_findings(life->handheld, 1 + (size_t)sim_random_below(&life->random, 40));
}

/* One PATCH of a photo; what it acknowledges is noted. */
static void upload_some(struct life *life)
{
    struct service *service = life->centre.service;
    const struct uuid *device = &life->handheld->device;
    struct photo_state *photo;
    struct service_patch *patch = NULL;
    struct service_upload upload = {0};
    bool stored = false, complete = sim_random_chance(&life->random, 80);
    size_t len;
    int r;

    if (life->photo_count == 0)
        return;
    photo = &life->photos[sim_random_below(&life->random, life->photo_count)];
    if (photo->seq >= life->receipted)
        return;
    r = service_upload_create(service, device, &photo->sha256, photo->size, &upload);
    if (r == -EEXIST)
        photo->placed = true;
    if (r < 0)
        return;
    check(life, upload.offset >= photo->promised, "an upload's offset went back");
    len = 1 + (size_t)sim_random_below(&life->random, photo->size - upload.offset);
    if (service_patch_begin(service, device, &photo->sha256, upload.offset, NULL, &patch) < 0)
        return;
    (void)service_patch_write(patch, photo->bytes + upload.offset, len);
    if (service_patch_end(patch, complete, &upload, &stored) < 0) {
        if (life->is_bad_moment)
            photo->promised = 0; /* a failed fsync: it is to be sent again */
        return;
    }
    photo->promised = upload.offset;
    photo->placed = photo->placed || stored;
    if (stored && sim_random_chance(&life->random, 80))
        (void)service_blob_stored(service, &photo->sha256, photo->size);
}

static void act(struct life *life)
{
    life->clock.wall_ms += 1000;
    life->clock.boot_ms += 1000;
    switch (sim_random_below(&life->random, 8)) {
    case 0:
    case 1:
        append_some(life);
        break;
    case 2:
        (void)service_housekeeping(life->centre.service);
        break;
    case 3:
    case 4:
        upload_some(life);
        break;
    default:
        exchange_some(life);
        break;
    }
}

/* ---- life and death ---- */

static bool start(struct life *life)
{
    const struct service_options options = {.world = &life->centre.world, .directory = DIRECTORY};
    char *error = NULL;
    int r = service_open(&options, &life->centre.service, &error);

    if (r < 0)
        check(life, sim_disk_is_dead(life->disk), error);
    free(error);
    return r >= 0;
}

static void die(struct life *life)
{
    if (sim_random_chance(&life->random, 30) && !sim_disk_is_dead(life->disk)) {
        sim_disk_stop(life->disk); /* nothing that it still does takes effect */
        service_free(life->centre.service);
        sim_disk_end_stop(life->disk);
        sim_disk_kill(life->disk);
    } else {
        service_free(life->centre.service);
        sim_disk_crash(life->disk);
        life->clock.boot_id[0]++;
    }
    life->centre.service = NULL;
    sim_disk_plan_crash(life->disk, 0);
}

static void live(struct life *life)
{
    sim_disk_plan_crash(life->disk, 1 + sim_random_below(&life->random, 500));
    if (start(life)) {
        for (unsigned i = 0; i < ACTIONS_MAX && !sim_disk_is_dead(life->disk); i++) {
            life->is_bad_moment = sim_random_chance(&life->random, 3);
            if (life->is_bad_moment)
                sim_disk_fail_syncs(life->disk, 1);
            act(life);
            sim_disk_fail_syncs(life->disk, 0);
            if (life->is_bad_moment && sim_random_chance(&life->random, 30))
                break; /* often the process ends at it */
        }
    }
    die(life);
}

/* ---- what must hold ---- */

static void print_fault(void *user, const char *line)
{
    print_error("%s\n", line);
}

static void check_photo(struct life *life, const struct photo_state *photo)
{
    struct service_upload upload = {0};
    int r;

    if (photo->seq >= life->receipted)
        return;
    r = service_upload_create(
        life->centre.service, &life->handheld->device, &photo->sha256, photo->size, &upload);
    check(life, r >= 0 || r == -EEXIST, "an upload cannot be gone on with");
    check(life, upload.offset >= photo->promised, "an upload's offset went back");
    if (photo->placed || photo->told_stored)
        check(life, r == -EEXIST, "a photo that was acknowledged is not there");
}

static void check_all(struct life *life)
{
    struct service_check_report report;
    struct listing *listing;
    _cleanup_answered_ struct answered answered = {0};

    check(life, start(life), "it cannot be opened");
    check(life, service_check(life->centre.service, true, false, print_fault, NULL, &report) == 0,
        "the check finds faults");
    check(life, report.records >= life->receipted, "a receipted record is lost");
    exchange(&life->centre, life->handheld, life->receipted, 0, &answered);
    uint64_t size = answered.exchange.size;
    check(life, size >= life->receipted && size <= life->handheld->count, "the log has another size");
    if (size > 0) {
        struct checkpoint receipt = read_receipt(life->handheld, answered.exchange.receipt);
        struct sha256 root = merkle_root_of(life->handheld->leaves, size);

        check(life, sha256_equal(&root, &receipt.root), "the log holds other records");
    }
    listing = list_findings(&life->centre);
    check(life, size == 0 || listing->count == size - 1 || listing->count == ARRAY_LEN(listing->rows),
        "a finding is listed twice or not at all");
    free(listing);
    for (size_t i = 0; i < life->photo_count; i++)
        check_photo(life, &life->photos[i]);
    service_free(life->centre.service);
}

static struct uuid seeded_uuid(struct life *life)
{
    uint64_t random[2] = {sim_random_u64(&life->random), sim_random_u64(&life->random)};
    uint8_t bytes[UUID_BYTES];

    memcpy(bytes, random, sizeof(bytes));
    return uuid_from_random(bytes);
}

/* Ids and key of the seed, so that a run replays. */
static void enrol(struct life *life)
{
    struct handheld *handheld = life->handheld = handheld_new();
    char name[KEY_NAME_MAX + 1];
    uint8_t token[ENROL_TOKEN_BYTES], seed[SIGN_SEED_BYTES] = {(uint8_t)life->seed, 1};
    _cleanup_answered_ struct answered answered = {0};

    handheld->device = seeded_uuid(life);
    handheld->log = seeded_uuid(life);
    assert_int_equal(device_key_name("gridpatrol", "default", &handheld->device, name), 0);
    sign_key_from_seed(name, seed, &handheld->key);
    check(life, start(life), "it cannot be opened");
    assert_int_equal(service_token_make(life->centre.service, NULL, NULL, 3600, token), 0);
    enrol_with(&life->centre, handheld, token, &answered);
    assert_false(answered.is_refused);
    handheld->server_key = *service_receipt_key(life->centre.service);
    append_opened(handheld);
    service_free(life->centre.service);
    life->centre.service = NULL;
}

static struct life *life_new(uint64_t seed)
{
    struct life *life = calloc(1, sizeof(*life));
    char name[32];

    assert_non_null(life);
    life->seed = life->random.state = seed;
    life->clock = (struct sim_clock){.wall_ms = INT64_C(1764000000000), .boot_ms = 1000, .boot_id = {1}};
    snprintf(name, sizeof(name), "centre-%llu", (unsigned long long)seed);
    life->disk = sim_disk_new(name, seed, &life->clock);
    life->centre.world = *sim_disk_world(life->disk);
    enrol(life);
    return life;
}

static void life_free(struct life *life)
{
    for (size_t i = 0; i < life->photo_count; i++)
        free(life->photos[i].bytes);
    handheld_free(life->handheld);
    sim_disk_free(life->disk);
    free(life);
}

static void run_seed(uint64_t seed)
{
    struct life *life = life_new(seed);

    for (unsigned round = 0; round < ROUNDS; round++)
        live(life);
    check_all(life);
    life_free(life);
}

/* Killed in the instant between the fsync that fails and whatever it would do about it. */
static void a_centre_killed_at_a_failed_fsync_leaves_word_of_it(void **state)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct life *life = life_new(seed);

        check(life, start(life), "it cannot be opened");
        append_findings(life->handheld, 4);
        exchange_some(life);
        sim_disk_fail_syncs(life->disk, 1);
        sim_disk_plan_stop(life->disk, 1 + seed / 2);
        append_findings(life->handheld, 4);
        exchange_some(life);
        service_free(life->centre.service);
        sim_disk_fail_syncs(life->disk, 0);
        sim_disk_end_stop(life->disk);
        sim_disk_kill(life->disk);
        check(life, start(life), "it cannot be opened again");
        append_findings(life->handheld, 4);
        exchange_some(life);
        service_free(life->centre.service);
        sim_disk_crash(life->disk);
        check_all(life);
        life_free(life);
    }
}

static uint64_t first_seed = 1, seed_count = SEEDS;

static void everything_receipted_survives_any_crash_once(void **state)
{
    for (uint64_t i = 0; i < seed_count; i++)
        run_seed(first_seed + i);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_centre_killed_at_a_failed_fsync_leaves_word_of_it),
        cmocka_unit_test(everything_receipted_survives_any_crash_once),
    };

    if (argc > 1) {
        first_seed = strtoull(argv[1], NULL, 10);
        seed_count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
