/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of server/blobs/blobs.h: power cuts while a photo gets its name. */
#include "server/blobs/blobs.h"

#include "proto/ids.h"
#include "tests/sim/sim_disk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define SEEDS 40u
#define KEPT_BYTES 3u

static const char photo[] = "the bytes of a photo";
static const char other[] = "what somebody has bent";
static const struct uuid device = {{1}};

static struct blobs *open_blobs(struct sim_disk *disk)
{
    struct blobs *blobs = NULL;

    assert_int_equal(blobs_files_open(sim_disk_world(disk), "/data", false, &blobs), 0);
    return blobs;
}

/* A partial of which a part is promised already, and all the rest written. */
static struct blob_writer *write_all(struct blobs *blobs, const struct sha256 *sha256)
{
    struct blob_partial partial = {
        .device = device, .sha256 = *sha256, .size = sizeof(photo), .expires_ms = INT64_MAX};
    struct blob_writer *writer = NULL;

    assert_int_equal(blobs->verbs->partial_create(blobs, &partial), 0);
    assert_int_equal(blobs->verbs->write_begin(blobs, &partial, &writer), 0);
    assert_int_equal(blobs->verbs->write(writer, photo, KEPT_BYTES), 0);
    assert_int_equal(blobs->verbs->write_keep(writer, INT64_MAX, &partial), 0);
    assert_int_equal(blobs->verbs->write(writer, photo + KEPT_BYTES, sizeof(photo) - KEPT_BYTES), 0);
    assert_int_equal(blobs->verbs->write_keep(writer, INT64_MAX, &partial), 0);
    return writer;
}

/* Somebody goes on with what is left of the partial, with other bytes. */
static void go_on_with_other_bytes(struct blobs *blobs, const struct sha256 *sha256)
{
    struct blob_partial partial;
    struct blob_writer *writer = NULL;

    if (blobs->verbs->partial_find(blobs, &device, sha256, &partial) < 0)
        return;
    assert_int_equal(blobs->verbs->write_begin(blobs, &partial, &writer), 0);
    assert_int_equal(blobs->verbs->write(writer, other, (size_t)(partial.size - partial.offset)), 0);
    blobs->verbs->write_end(writer);
}

/* True when the machine died before the photo was in its place. */
static bool place_and_crash(uint64_t seed, uint64_t operations, const struct sha256 *sha256)
{
    struct sim_clock clock = {.wall_ms = INT64_C(1764000000000), .boot_ms = 1000, .boot_id = {1}};
    _cleanup_(sim_disk_free_cleanup) struct sim_disk *disk = NULL;
    struct sha256 hash;
    uint64_t size;
    char name[32];

    snprintf(name, sizeof(name), "blobs-%llu", (unsigned long long)seed);
    disk = sim_disk_new(name, seed, &clock);
    struct blobs *blobs = open_blobs(disk);
    struct blob_writer *writer = write_all(blobs, sha256);
    sim_disk_plan_crash(disk, operations);
    int r = blobs->verbs->write_place(writer);
    blobs->verbs->write_end(writer);
    blobs_close(blobs);
    bool died = sim_disk_is_dead(disk);
    sim_disk_crash(disk);

    blobs = open_blobs(disk);
    bool is_there = blobs->verbs->find(blobs, sha256, &size) >= 0;
    assert_true(is_there || r < 0);
    if (is_there) {
        go_on_with_other_bytes(blobs, sha256);
        assert_int_equal(blobs->verbs->hash(blobs, sha256, &hash, &size), 0);
        assert_true(sha256_equal(&hash, sha256));
    }
    blobs_close(blobs);
    return died;
}

static void what_goes_on_with_a_partial_after_a_power_cut_is_not_written_into_the_photo(void **state)
{
    struct sha256 sha256 = sha256_of(bytes_of(photo, sizeof(photo)));
    uint64_t deaths = 0;

    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        for (uint64_t operations = 1; place_and_crash(seed, operations, &sha256); operations++)
            deaths++;
    assert_true(deaths >= 3 * SEEDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_on_with_a_partial_after_a_power_cut_is_not_written_into_the_photo),
    };
    return cmocka_run_group_tests_name("server blobs crash", tests, NULL, NULL);
}
