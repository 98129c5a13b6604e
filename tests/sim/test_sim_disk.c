/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated disk itself: what a crash keeps and forgets, and SQLite in WAL mode on it with two
 * connections.
 */
#include "tests/sim/sim_disk_internal.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct machine {
    struct sim_clock clock;
    struct sim_disk *disk;
    const struct world *world;
};

static int machine_up(void **state)
{
    struct machine *machine = calloc(1, sizeof(*machine));
    machine->clock.wall_ms = 1;
    machine->disk = sim_disk_new("test", 7, &machine->clock);
    machine->world = sim_disk_world(machine->disk);
    assert_int_equal(machine->world->verbs->make_directory(machine->disk, "/data"), 0);
    assert_int_equal(sim_disk_sync_directory(machine->disk, ""), 0);
    *state = machine;
    return 0;
}

static int machine_down(void **state)
{
    struct machine *machine = *state;
    sim_disk_free(machine->disk);
    free(machine);
    return 0;
}

static void write_file(struct machine *machine, const char *path, const char *text, bool sync)
{
    const struct world_verbs *verbs = machine->world->verbs;
    int file = verbs->open(machine->disk, path, WORLD_WRITE, false);
    assert_true(file >= 0);
    assert_int_equal(verbs->write(machine->disk, file, text, strlen(text), 0), 0);
    if (sync)
        assert_int_equal(verbs->sync(machine->disk, file), 0);
    verbs->close(machine->disk, file);
}

static void a_synced_file_in_a_synced_directory_survives_a_crash(void **state)
{
    struct machine *machine = *state;
    write_file(machine, "/data/a", "hello", true);
    assert_int_equal(sim_disk_sync_directory(machine->disk, "/data"), 0);
    for (int i = 0; i < 20; i++)
        sim_disk_crash(machine->disk);
    uint64_t size = 0;
    assert_int_equal(machine->world->verbs->stat(machine->disk, "/data/a", &size, NULL), 0);
    assert_int_equal(size, 5);
}

static void an_unsynced_name_is_sometimes_lost(void **state)
{
    struct machine *machine = *state;
    unsigned lost = 0;
    for (int i = 0; i < 100; i++) {
        write_file(machine, "/data/b", "hello", true);
        sim_disk_crash(machine->disk);
        if (machine->world->verbs->stat(machine->disk, "/data/b", NULL, NULL) == -ENOENT)
            lost++;
        else
            sim_disk_remove(machine->disk, "/data/b");
    }
    assert_in_range(lost, 20, 80);
}

static void unsynced_bytes_are_sometimes_torn(void **state)
{
    struct machine *machine = *state;
    char big[8 * SIM_SECTOR + 1];
    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    unsigned torn = 0;
    for (int i = 0; i < 50; i++) {
        write_file(machine, "/data/c", "", true);
        assert_int_equal(sim_disk_sync_directory(machine->disk, "/data"), 0);
        write_file(machine, "/data/c", big, false);
        sim_disk_crash(machine->disk);
        struct sim_inode *inode = sim_name_find(machine->disk, "/data/c")->inode;
        bool whole =
            inode->volatile_len == sizeof(big) - 1 && !memchr(inode->volatile_data, 0, inode->volatile_len);
        if (inode->volatile_len > 0 && !whole)
            torn++;
        sim_disk_remove(machine->disk, "/data/c");
    }
    assert_true(torn > 5);
}

static void a_failed_sync_makes_nothing_durable(void **state)
{
    struct machine *machine = *state;
    const struct world_verbs *verbs = machine->world->verbs;
    int file = verbs->open(machine->disk, "/data/d", WORLD_CREATE, false);
    assert_int_equal(sim_disk_sync_directory(machine->disk, "/data"), 0);
    sim_disk_fail_syncs(machine->disk, 1);
    assert_int_equal(verbs->write(machine->disk, file, "hello", 5, 0), 0);
    assert_int_equal(verbs->sync(machine->disk, file), -EIO);
    verbs->close(machine->disk, file);
    sim_disk_crash(machine->disk);
    uint64_t size = 1;
    assert_int_equal(verbs->stat(machine->disk, "/data/d", &size, NULL), 0);
    assert_int_equal(size, 0);
}

static sqlite3 *open_database(struct machine *machine)
{
    sqlite3 *database = NULL;
    assert_int_equal(sqlite3_open_v2("/data/test.db", &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                         machine->world->vfs_name),
        SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(database, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;", NULL, NULL, NULL), 0);
    return database;
}

static int count_rows(sqlite3 *database)
{
    sqlite3_stmt *statement;
    assert_int_equal(sqlite3_prepare_v2(database, "SELECT count(*) FROM t", -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int count = sqlite3_column_int(statement, 0);
    sqlite3_finalize(statement);
    return count;
}

static void sqlite_keeps_every_commit_over_crashes_with_two_connections(void **state)
{
    struct machine *machine = *state;
    sqlite3 *one = open_database(machine);
    assert_int_equal(sqlite3_exec(one, "CREATE TABLE t(x)", NULL, NULL, NULL), SQLITE_OK);
    int committed = 0;
    for (int round = 0; round < 30; round++) {
        sqlite3 *two = open_database(machine);
        for (int i = 0; i < 10; i++) {
            sqlite3 *writer = i % 2 ? one : two;
            assert_int_equal(
                sqlite3_exec(writer, "INSERT INTO t VALUES(randomblob(700))", NULL, NULL, NULL), SQLITE_OK);
            committed++;
            assert_int_equal(count_rows(i % 2 ? two : one), committed);
        }
        if (round % 3 == 0)
            assert_int_equal(
                sqlite3_wal_checkpoint_v2(one, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL), SQLITE_OK);
        sqlite3_exec(
            one, "BEGIN IMMEDIATE; INSERT INTO t VALUES(1);", NULL, NULL, NULL); /* never committed */
        sim_disk_crash(machine->disk);
        sqlite3_close_v2(one);
        sqlite3_close_v2(two);
        one = open_database(machine);
        assert_int_equal(count_rows(one), committed);
    }
    sqlite3_close(one);
}

static void synchronous_normal_loses_commits_in_a_crash(void **state)
{
    struct machine *machine = *state;
    unsigned lost = 0;
    for (int round = 0; round < 30; round++) {
        sqlite3 *one = open_database(machine);
        sqlite3_exec(one, "PRAGMA synchronous=NORMAL; CREATE TABLE IF NOT EXISTS t(x); DELETE FROM t;", NULL,
            NULL, NULL);
        sqlite3_wal_checkpoint_v2(one, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
        assert_int_equal(sqlite3_exec(one, "INSERT INTO t VALUES(1)", NULL, NULL, NULL), SQLITE_OK);
        sim_disk_crash(machine->disk);
        sqlite3_close_v2(one);
        one = open_database(machine);
        if (count_rows(one) == 0)
            lost++;
        sqlite3_close(one);
    }
    assert_true(lost > 3);
}

static void a_dead_machine_refuses_every_change(void **state)
{
    struct machine *machine = *state;
    const struct world_verbs *verbs = machine->world->verbs;
    sim_disk_plan_crash(machine->disk, 2);
    int file = verbs->open(machine->disk, "/data/e", WORLD_CREATE, false);
    assert_true(file >= 0);
    assert_int_equal(verbs->write(machine->disk, file, "x", 1, 0), -EIO);
    assert_true(sim_disk_is_dead(machine->disk));
    assert_int_equal(verbs->sync(machine->disk, file), -EIO);
    assert_int_equal(verbs->open(machine->disk, "/data/e", WORLD_READ, false), -EIO);
    verbs->close(machine->disk, file);
    sim_disk_crash(machine->disk);
    assert_false(sim_disk_is_dead(machine->disk));
}

static void a_full_disk_refuses_growth_and_says_so(void **state)
{
    struct machine *machine = *state;
    const struct world_verbs *verbs = machine->world->verbs;
    sim_disk_set_capacity(machine->disk, 10);
    int file = verbs->open(machine->disk, "/data/f", WORLD_CREATE, false);
    assert_int_equal(verbs->write(machine->disk, file, "0123456789", 10, 0), 0);
    assert_int_equal(verbs->write(machine->disk, file, "x", 1, 10), -ENOSPC);
    assert_int_equal(verbs->write(machine->disk, file, "y", 1, 3), 0);
    verbs->close(machine->disk, file);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, machine_up, machine_down)
    const struct CMUnitTest tests[] = {
        CASE(a_synced_file_in_a_synced_directory_survives_a_crash),
        CASE(an_unsynced_name_is_sometimes_lost),
        CASE(unsynced_bytes_are_sometimes_torn),
        CASE(a_failed_sync_makes_nothing_durable),
        CASE(sqlite_keeps_every_commit_over_crashes_with_two_connections),
        CASE(synchronous_normal_loses_commits_in_a_crash),
        CASE(a_dead_machine_refuses_every_change),
        CASE(a_full_disk_refuses_growth_and_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
