/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening: making, sharing, versions; the lock round every write; disks that are full.
 */
#include "tests/unit/store/fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void new_store_is_created_for_the_group_and_says_so(void **state)
{
    char *parent = unit_directory_make();
    char *directory = files_join(parent, "data");
    static const char *const names[] = {DATABASE_NAME, WAL_NAME, SHM_NAME, LOCK_NAME, BALLAST_NAME};
    struct store_opened opened;
    struct store *store;
    struct stat status;
    mode_t mask = umask(0007);

    assert_int_equal(store_open(world_posix(), directory, STORE_COLLECTOR, &store, &opened), 0);
    assert_true(opened.created);
    assert_false(opened.recovered);
    assert_string_equal(opened.set_aside, "");
    assert_int_equal(append_note(store, "x", NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *path = files_join(directory, names[i]);

        assert_int_equal(stat(path, &status), 0);
        assert_int_equal(status.st_mode & 0777, 0660);
        free(path);
    }
    assert_int_equal(stat(directory, &status), 0);
    assert_int_equal(status.st_mode & 07777, 02770);
    store_free(store);
    assert_int_equal(store_open(world_posix(), directory, STORE_DAEMON, &store, &opened), 0);
    assert_false(opened.created);
    store_free(store);
    umask(mask);
    free(directory);
    unit_directory_remove(parent);
}

static void reader_makes_nothing(void **state)
{
    char *parent = unit_directory_make();
    char *directory = files_join(parent, "data");
    struct here *here = *state;
    struct store *reader;
    struct sha256 sha256;
    uint64_t removed;

    assert_int_equal(store_open(world_posix(), directory, STORE_READER, &reader, NULL), -ENOENT);
    assert_int_equal(access(directory, F_OK), -1);
    assert_int_equal(store_open(world_posix(), parent, STORE_READER, &reader, NULL), -ENOENT);
    unit_directory_remove(parent);
    free(directory);

    assert_int_equal(append_note(here->store, "x", NULL), 0);
    assert_int_equal(store_open(world_posix(), here->directory, STORE_READER, &reader, NULL), 0);
    assert_notes(reader, &findings, "x ");
    assert_int_equal(append_note(reader, "y", NULL), -EROFS);
    assert_int_equal(store_photo_put_bytes(reader, bytes_of_text("p"), &sha256), -EROFS);
    assert_int_equal(store_sweep(reader, 0, &removed), -EROFS);
    assert_int_equal(store_checkpoint_wal(reader, true), -EROFS);
    assert_int_equal(store_set_setting(reader, "k", bytes_of_text("v")), -EROFS);
    store_free(reader);
}

static void set_version(struct here *here, int oldest, int version)
{
    char sql[64];

    snprintf(sql, sizeof(sql), "PRAGMA user_version=%d", oldest << 16 | version);
    assert_int_equal(database_run(here->store, sql), 0);
}

static void newer_schema_opens_unless_it_refuses_old_programs(void **state)
{
    struct here *here = *state;
    struct store *store = NULL;

    assert_int_equal(append_note(here->store, "x", NULL), 0);
    /* What a newer program would add: a table, and a column. */
    assert_int_equal(
        database_run(here->store, "CREATE TABLE later(a); ALTER TABLE blobs ADD COLUMN later INTEGER"), 0);
    set_version(here, 1, 7);
    assert_int_equal(store_open(world_posix(), here->directory, STORE_COLLECTOR, &store, NULL), 0);
    struct store_photo photo = put_photo(store, 1, 10, false);
    assert_int_equal(append_with_photos(store, "y", &photo, 1, NULL), 0);
    assert_notes(store, &findings, "x y ");
    store_free(store);
    set_version(here, 4, 7);
    for (int role = STORE_COLLECTOR; role <= STORE_READER; role++)
        assert_int_equal(store_open(world_posix(), here->directory, (enum store_role)role, &store, NULL),
            -EPROTONOSUPPORT);
    set_version(here, 1, 3);
    assert_int_equal(store_open(world_posix(), here->directory, STORE_DAEMON, &store, NULL), 0);
    assert_notes(store, &findings, "x y ");
    store_free(store);
}

static void older_schema_is_read_as_it_is_and_added_to_by_who_writes(void **state)
{
    static const char tables[] =
        "SELECT count(*) FROM sqlite_schema WHERE name IN ('erased', 'erased_blobs')";
    struct here *here = *state;
    struct store *store = NULL;
    struct sha256 photo = {{7}};
    uint64_t erased_by = 1;
    int64_t count;

    assert_int_equal(append_note(here->store, "x", NULL), 0);
    assert_int_equal(
        database_run(here->store, "DROP TABLE erased; DROP TABLE erased_blobs; DROP TABLE pruned"), 0);
    set_version(here, 1, 1);
    assert_int_equal(store_open(world_posix(), here->directory, STORE_READER, &store, NULL), 0);
    assert_notes(store, &findings, "x ");
    assert_int_equal(store_blob_erased_by(store, &photo, &erased_by), 0);
    assert_int_equal(erased_by, 0);
    store_free(store);
    assert_int_equal(store_open(world_posix(), here->directory, STORE_COLLECTOR, &store, NULL), 0);
    assert_int_equal(database_read_number(store, tables, NULL, 0, &count), 1);
    assert_int_equal(count, 2);
    assert_notes(store, &findings, "x ");
    store_free(store);
}

/* A program that met damage, or what looked so, leaves word; the next one may be newer. */
static void sound_database_of_an_older_schema_is_used_although_damage_was_told(void **state)
{
    struct here *here = *state;
    struct store_opened opened;

    assert_int_equal(append_note(here->store, "x", NULL), 0);
    assert_int_equal(
        database_run(here->store, "DROP TABLE erased; DROP TABLE erased_blobs; DROP TABLE pruned"), 0);
    set_version(here, 1, 1);
    store_mark_damage(here->store);
    store_free(here->store);
    here->store = NULL;
    assert_int_equal(store_open(world_posix(), here->directory, STORE_DAEMON, &here->store, &opened), 0);
    assert_false(opened.recovered);
    assert_int_equal(schema_look(here->store), 0);
    assert_notes(here->store, &findings, "x ");
}

static void database_pragmas_are_as_decided(void **state)
{
    struct here *here = *state;
    static const char synchronous[] = "PRAGMA synchronous", page_size[] = "PRAGMA page_size";
    static const char autocheckpoint[] = "PRAGMA wal_autocheckpoint";
    static const char strict[] = "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND strict = 0"
                                 " AND name NOT LIKE 'sqlite_%'";
    int64_t value;
    int no_checkpoint_on_close = 0;

    assert_int_equal(database_read_number(here->store, synchronous, NULL, 0, &value), 1);
    assert_int_equal(value, 2);
    assert_int_equal(database_read_number(here->store, page_size, NULL, 0, &value), 1);
    assert_int_equal(value, 4096);
    assert_int_equal(database_read_number(here->store, autocheckpoint, NULL, 0, &value), 1);
    assert_int_equal(value, 0);
    assert_int_equal(database_read_number(here->store, strict, NULL, 0, &value), 1);
    assert_int_equal(value, 0);
    sqlite3_db_config(here->store->database, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, -1, &no_checkpoint_on_close);
    assert_int_equal(no_checkpoint_on_close, 1);
}

static void last_one_to_close_leaves_the_wal(void **state)
{
    struct here *here = *state;
    uint64_t before, after;

    append_many(here->store, 0, 10);
    assert_int_equal(store_file_size(here->store, WAL_NAME, &before), 0);
    store_free(here->store);
    char *path = files_join(here->directory, WAL_NAME);
    assert_int_equal(world_posix()->verbs->stat(NULL, path, &after, NULL), 0);
    assert_int_equal(before, after);
    free(path);
    here->store = store_opened_in(here->directory, STORE_COLLECTOR);
    assert_int_equal(status_of(here->store).records_queued, 10);
}

/* No daemon runs, and each finding comes from a program of its own, which SQLite makes read all of the WAL.
 */
static void wal_stays_short_when_every_program_records_one_finding(void **state)
{
    struct here *here = *state;
    uint64_t size;

    for (unsigned i = 0; i < 3 * WAL_PAGES_MAX; i++) {
        store_free(here->store);
        here->store = store_opened_in(here->directory, STORE_COLLECTOR);
        append_many(here->store, i, 1);
    }
    assert_int_equal(store_file_size(here->store, WAL_NAME, &size), 0);
    assert_true(size < (uint64_t)2 * WAL_PAGES_FOUND_MAX * PAGE_BYTES);
    assert_int_equal(status_of(here->store).records_queued, 3 * WAL_PAGES_MAX);
}

static void wal_stays_short_and_queries_use_their_indexes(void **state)
{
    struct here *here = *state;
    struct buffer plan = {0};
    sqlite3_stmt *statement;
    uint64_t size;

    for (unsigned i = 0; i < 60; i++)
        append_many(here->store, i * 256, 256);
    assert_int_equal(store_file_size(here->store, WAL_NAME, &size), 0);
    assert_true(size < (uint64_t)2 * WAL_PAGES_MAX * PAGE_BYTES);
    assert_int_equal(store_file_size(here->store, DATABASE_NAME, &size), 0);
    assert_true(size > 100 * PAGE_BYTES); /* it was moved in between */

    assert_int_equal(sqlite3_prepare_v2(here->store->database,
                         "EXPLAIN QUERY PLAN SELECT b.number, b.sha256 FROM blobs AS b CROSS JOIN logs AS l"
                         " ON l.number = b.record >> 40 WHERE b.state = 0 AND (b.record & 1099511627775) <"
                         " l.receipt_size ORDER BY b.role DESC, b.urgent DESC, b.number",
                         -1, &statement, NULL),
        SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW)
        buffer_put_text(&plan, (const char *)sqlite3_column_text(statement, 3));
    sqlite3_finalize(statement);
    assert_non_null(strstr(buffer_text(&plan), "blobs_pending"));
    assert_null(strstr(buffer_text(&plan), "TEMP B-TREE"));
    buffer_done(&plan);
}

/* ---- the lock ---- */

/* A program that takes the lock, says so, and keeps it until it is killed. */
static pid_t hold_lock(const char *directory)
{
    char *path = files_join(directory, LOCK_NAME);
    int ends[2];
    char byte;

    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        int lock = open(path, O_RDWR | O_CLOEXEC);
        if (flock(lock, LOCK_EX) < 0 || write(ends[1], "x", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 1);
    close(ends[0]);
    free(path);
    return child;
}

static void let_go(pid_t child)
{
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

struct patience {
    unsigned paused_ms;
    unsigned let_go_after_ms;
    pid_t holder;
};

static void pause_patiently(void *context, unsigned ms)
{
    struct patience *patience = context;

    patience->paused_ms += ms;
    if (patience->holder > 0 && patience->paused_ms >= patience->let_go_after_ms) {
        let_go(patience->holder);
        patience->holder = 0;
    }
}

static void everything_that_writes_waits_for_the_lock_and_gives_up_in_time(void **state)
{
    struct here *here = *state;
    struct patience patience = {0};
    struct own_world own;
    struct store *store;
    struct sha256 lost = {{1}};
    struct uuid log;

    assert_int_equal(append_note(here->store, "before", NULL), 0);
    log = status_of(here->store).log;
    own_world_init(&own, &patience);
    own.verbs.pause_ms = pause_patiently;
    assert_int_equal(store_open(&own.world, here->directory, STORE_DAEMON, &store, NULL), 0);
    patience.paused_ms = 0;
    pid_t holder = hold_lock(here->directory);

    assert_int_equal(append_note(store, "x", NULL), -EBUSY);
    assert_true(patience.paused_ms >= STORE_LOCK_WAIT_MS);
    assert_true(patience.paused_ms < 2 * STORE_LOCK_WAIT_MS);
    assert_int_equal(store_set_setting(store, "k", bytes_of_text("v")), -EBUSY);
    assert_int_equal(store_checkpoint_wal(store, true), -EBUSY);
    assert_int_equal(receive(store, &log, 3), -EBUSY);
    assert_int_equal(store_drop_receipt(store, &log), -EBUSY);
    assert_int_equal(store_leave_log(store, &author, &log, OPEN_FORK, NULL, NULL), -EBUSY);
    assert_int_equal(store_blobs_lost(store, &author, &lost, 1), -EBUSY);
    assert_notes(store, &findings, "before "); /* reading waits for nobody */
    struct store_status status = status_of(store);
    assert_int_equal(status.records_queued, 1);

    patience.paused_ms = 0;
    patience.let_go_after_ms = 500;
    patience.holder = holder;
    assert_int_equal(append_note(store, "after", NULL), 0);
    assert_true(patience.paused_ms >= 500);
    assert_notes(store, &findings, "before after ");
    store_free(store);
}

/* Follows lock and statements: BEGIN is started, and COMMIT has ended, only while the lock is held. */
struct witness {
    bool held;
    unsigned begun, committed, checkpoints;
};

static int witness_lock(void *context, int lock)
{
    struct witness *witness = context;
    int r = world_posix()->verbs->try_lock(NULL, lock);

    witness->held = witness->held || r >= 0;
    return r;
}

static int witness_unlock(void *context, int lock)
{
    ((struct witness *)context)->held = false;
    return world_posix()->verbs->unlock(NULL, lock);
}

static int witness_statement(unsigned event, void *user, void *statement, void *detail)
{
    struct witness *witness = user;
    const char *sql = sqlite3_sql(statement);

    if (event == SQLITE_TRACE_STMT && strncmp(sql, "BEGIN IMMEDIATE", 15) == 0) {
        assert_true(witness->held);
        witness->begun++;
    }
    if (event == SQLITE_TRACE_PROFILE && strncmp(sql, "COMMIT", 6) == 0) {
        assert_true(witness->held);
        witness->committed++;
    }
    /* No statement writes outside such a transaction. */
    if (event == SQLITE_TRACE_STMT && !sqlite3_stmt_readonly(statement) && strncmp(sql, "BEGIN", 5) != 0)
        assert_true(witness->held);
    return 0;
}

static void lock_is_held_from_before_begin_until_commit_has_returned(void **state)
{
    struct here *here = *state;
    struct witness witness = {0};
    struct own_world own;
    struct store *store;

    own_world_init(&own, &witness);
    own.verbs.try_lock = witness_lock;
    own.verbs.unlock = witness_unlock;
    assert_int_equal(store_open(&own.world, here->directory, STORE_DAEMON, &store, NULL), 0);
    sqlite3_trace_v2(store->database, SQLITE_TRACE_STMT | SQLITE_TRACE_PROFILE, witness_statement, &witness);
    append_many(store, 0, 1000);
    struct uuid log = status_of(store).log;
    assert_int_equal(receive(store, &log, 500), 0);
    assert_int_equal(store_leave_log(store, &author, &log, OPEN_FORK, NULL, NULL), 0);
    assert_int_equal(store_set_setting(store, "k", bytes_of_text("v")), 0);
    assert_int_equal(witness.begun, 7);
    assert_int_equal(witness.begun, witness.committed);
    assert_false(witness.held);
    store_free(store);
}

/* ---- a disk that is full ---- */

/* Writes into a file until nothing more goes in. */
static void fill_disk(const char *directory)
{
    char *path = files_join(directory, "filler");
    int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    static const uint8_t zeros[4096];

    assert_true(file >= 0);
    while (write(file, zeros, sizeof(zeros)) > 0)
        continue;
    close(file);
    free(path);
}

/* A file system of 16 MiB at `directory`, in a namespace of its own, so that it goes with this process
 * however that ends. */
static bool small_disk_mount(const char *directory)
{
    return unshare(CLONE_NEWNS) >= 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) >= 0 &&
           mount("tmpfs", directory, "tmpfs", 0, "size=16m") >= 0;
}

static void text_is_recorded_on_a_full_disk_photos_are_not(void **state)
{
    char *directory = unit_directory_make(), *data = files_join(directory, "data");
    struct store *store;
    struct store_opened opened;
    struct sha256 sha256;
    uint64_t removed;
    unsigned recorded = 0;

    if (!small_disk_mount(directory)) {
        unit_directory_remove(directory);
        skip();
        return;
    }
    assert_int_equal(store_open(world_posix(), data, STORE_DAEMON, &store, &opened), 0);
    assert_int_equal(append_note(store, "before", NULL), 0);
    fill_disk(directory);

    assert_int_equal(store_photo_put_bytes(store, bytes_of_text("photo"), &sha256), -ENOSPC);
    assert_true(ballast_is_whole(store));
    /* Each takes a page of the WAL or so, until the WAL is moved: the ballast is good for many. */
    while (recorded < 500 && append_note(store, "on a full disk", NULL) == 0)
        recorded++;
    assert_int_equal(recorded, 500);
    assert_false(ballast_is_whole(store));
    assert_int_equal(store_photo_put_bytes(store, bytes_of_text("photo"), &sha256), -ENOSPC);
    /* When the ballast is used up as well it is a clear refusal, and what was recorded stays. */
    int r = 0;
    while (r >= 0) {
        fill_disk(directory);
        r = append_note(store, "full", NULL);
        recorded += r >= 0;
    }
    assert_int_equal(r, -ENOSPC);
    assert_int_equal(status_of(store).records_queued, recorded + 1);
    /* Room again: the sweep makes the ballast, and all goes on. */
    remove_file(directory, "filler");
    assert_int_equal(append_note(store, "after", NULL), 0);
    assert_int_equal(store_sweep(store, 0, &removed), 0);
    assert_true(ballast_is_whole(store));
    assert_int_equal(store_photo_put_bytes(store, bytes_of_text("photo"), &sha256), 0);
    bool sound = false;
    assert_int_equal(database_is_sound(store, &sound), 0);
    assert_true(sound);
    store_free(store);
    assert_int_equal(umount(directory), 0);
    free(data);
    unit_directory_remove(directory);
}

/* A photo of a record that the centre has, and in a backup. */
static struct sha256 append_photo_backed_up(struct store *store, const char *content)
{
    struct store_photo photo = {.photo = {.size = strlen(content)}};
    struct store_status status;

    assert_int_equal(store_photo_put_bytes(store, bytes_of_text(content), &photo.photo.sha256), 0);
    assert_int_equal(append_with_photos(store, content, &photo, 1, NULL), 0);
    status = status_of(store);
    assert_int_equal(receive(store, &status.log, status.log_size), 0);
    assert_int_equal(store_blob_set_state(store, &photo.photo.sha256, BLOB_BACKED_UP, 0), 0);
    return photo.photo.sha256;
}

static enum blob_state state_of(struct store *store, const struct sha256 *sha256)
{
    struct store_blob blob;

    assert_int_equal(store_blob_find(store, sha256, &blob), 0);
    return blob.state;
}

static void photos_are_freed_on_a_full_disk_or_stay_whole(void **state)
{
    char *directory = unit_directory_make(), *data = files_join(directory, "data");
    struct sha256 first, second;
    struct store_opened opened;
    struct store *store;
    uint64_t freed;
    uint8_t byte;

    if (!small_disk_mount(directory)) {
        unit_directory_remove(directory);
        skip();
        return;
    }
    assert_int_equal(store_open(world_posix(), data, STORE_DAEMON, &store, &opened), 0);
    first = append_photo_backed_up(store, "first");
    second = append_photo_backed_up(store, "second");
    assert_int_equal(store_blob_set_state(store, &second, BLOB_STORED, 1000), 0);
    fill_disk(directory);
    /* The ballast is good for this too. */
    assert_int_equal(store_free_photos(store, 0, 1000, &freed), 0);
    assert_int_equal(freed, 1);
    assert_int_equal(state_of(store, &first), BLOB_FREED);
    assert_int_equal(store_blob_read(store, &first, 0, &byte, 1), -ENOENT);

    /* Without it a photo is freed, or all of it stays; never half. */
    int r = 0;
    while (r >= 0) {
        fill_disk(directory);
        r = append_note(store, "full", NULL);
    }
    assert_false(ballast_is_whole(store));
    assert_int_equal(store_free_photos(store, 5000, 1000, &freed), -ENOSPC);
    assert_int_equal(state_of(store, &second), BLOB_STORED);
    assert_int_equal(store_blob_read(store, &second, 0, &byte, 1), 1);
    remove_file(directory, "filler");
    assert_int_equal(store_free_photos(store, 5000, 1000, &freed), 0);
    assert_int_equal(freed, 1);
    assert_int_equal(state_of(store, &second), BLOB_FREED);
    store_free(store);
    assert_int_equal(umount(directory), 0);
    free(data);
    unit_directory_remove(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_store_is_created_for_the_group_and_says_so),
        store_test(reader_makes_nothing),
        store_test(newer_schema_opens_unless_it_refuses_old_programs),
        store_test(older_schema_is_read_as_it_is_and_added_to_by_who_writes),
        store_test(sound_database_of_an_older_schema_is_used_although_damage_was_told),
        store_test(database_pragmas_are_as_decided),
        store_test(last_one_to_close_leaves_the_wal),
        store_test(wal_stays_short_when_every_program_records_one_finding),
        store_test(wal_stays_short_and_queries_use_their_indexes),
        store_test(everything_that_writes_waits_for_the_lock_and_gives_up_in_time),
        store_test(lock_is_held_from_before_begin_until_commit_has_returned),
        cmocka_unit_test(text_is_recorded_on_a_full_disk_photos_are_not),
        cmocka_unit_test(photos_are_freed_on_a_full_disk_or_stay_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
