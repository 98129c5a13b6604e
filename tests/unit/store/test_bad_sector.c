/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A part of queue.db that the disk does not give, to SQLite or to anybody: store/database.c and
 * store/recover.c. What stands there is lost to the handheld, but not what stands beside it, and recording
 * goes on.
 */
#include "tests/unit/store/fixture.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

#define COUNT 200u

/* Reads that touch these bytes of this file fail, so many times, wherever it is moved. */
static struct {
    ino_t inode;
    uint64_t first, end;
    unsigned times;
    int file; /* as the world has it open, or -1 */
    int (*real_open)(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags, int *ret_flags);
    int (*real_read)(sqlite3_file *file, void *ret, int len, sqlite3_int64 offset);
} bad;

static bool is_bad(uint64_t offset, size_t len)
{
    if (bad.times == 0 || offset >= bad.end || offset + len <= bad.first)
        return false;
    bad.times--;
    return true;
}

static int read_for_sqlite(sqlite3_file *file, void *ret, int len, sqlite3_int64 offset)
{
    return is_bad((uint64_t)offset, (size_t)len) ? SQLITE_IOERR_CORRUPTFS
                                                 : bad.real_read(file, ret, len, offset);
}

static int last_error(sqlite3_vfs *unused, int len, char *text)
{
    return EIO;
}

static int open_for_sqlite(sqlite3_vfs *vfs, const char *path, sqlite3_file *file, int flags, int *ret_flags)
{
    static sqlite3_io_methods methods;

    struct stat status;

    int code = bad.real_open(vfs, path, file, flags, ret_flags);
    if (code != SQLITE_OK || !(flags & SQLITE_OPEN_MAIN_DB) || stat(path, &status) != 0 ||
        status.st_ino != bad.inode)
        return code;
    methods = *file->pMethods;
    bad.real_read = methods.xRead;
    methods.xRead = read_for_sqlite;
    file->pMethods = &methods;
    return code;
}

static int open_and_note(void *context, const char *path, enum world_open how, bool secret)
{
    int file = world_posix()->verbs->open(NULL, path, how, secret);
    struct stat status;

    if (file >= 0 && fstat(file, &status) == 0 && status.st_ino == bad.inode)
        bad.file = file;
    return file;
}

static int close_and_forget(void *context, int file)
{
    if (file == bad.file)
        bad.file = -1;
    return world_posix()->verbs->close(NULL, file);
}

static ssize_t read_or_fail(void *context, int file, void *ret, size_t len, uint64_t offset)
{
    return file == bad.file && is_bad(offset, len) ? -EIO
                                                   : world_posix()->verbs->read(NULL, file, ret, len, offset);
}

static sqlite3_vfs vfs;
static struct own_world own;

static int make_world(void **state)
{
    const sqlite3_vfs *real = sqlite3_vfs_find(NULL);

    vfs = *real;
    vfs.zName = "bad sector";
    vfs.pNext = NULL;
    vfs.xOpen = open_for_sqlite;
    vfs.xGetLastError = last_error;
    bad.real_open = real->xOpen;
    bad.file = -1;
    assert_int_equal(sqlite3_vfs_register(&vfs, 0), SQLITE_OK);
    own_world_init(&own, NULL);
    own.verbs.open = open_and_note;
    own.verbs.close = close_and_forget;
    own.verbs.read = read_or_fail;
    own.world.vfs_name = vfs.zName;
    return 0;
}

static void open_again(struct here *here, struct store_opened *ret_opened)
{
    store_free(here->store);
    here->store = NULL;
    assert_int_equal(store_open(&own.world, here->directory, STORE_COLLECTOR, &here->store, ret_opened), 0);
}

/* The WAL is begun again, with one page that holds no record: all others are read from queue.db. */
static void move_into_database(struct store *store)
{
    assert_int_equal(store_checkpoint_wal(store, true), 0);
    assert_int_equal(store_set_setting(store, "key", bytes_of_text("value")), 0);
}

/* Some pages of findings. */
static void fill_database(struct here *here)
{
    _cleanup_free_ char *path = store_path(here->store, DATABASE_NAME);
    struct stat status;

    assert_int_equal(stat(path, &status), 0);
    bad.inode = status.st_ino;
    bad.times = 0;
    append_many(here->store, 1, COUNT);
    assert_int_equal(append_note(here->store, "the last one", NULL), 0);
    move_into_database(here->store);
}

/* The page of queue.db in which `text` stands. */
static void make_page_bad(struct here *here, const char *text, unsigned times)
{
    _cleanup_free_ char *path = store_path(here->store, DATABASE_NAME);
    _cleanup_buffer_ struct buffer content = {0};

    assert_int_equal(files_read(world_posix(), path, 1u << 26, &content), 0);
    const uint8_t *at = memmem(content.data, content.len, text, strlen(text));
    assert_non_null(at);
    bad.first = (uint64_t)(at - content.data) / PAGE_BYTES * PAGE_BYTES;
    bad.end = bad.first + PAGE_BYTES;
    bad.times = times;
}

static unsigned count_findings(struct store *store)
{
    struct notes notes = list_notes(store, &findings);

    buffer_done(&notes.text);
    return notes.count;
}

static void bad_sector_of_the_database_stops_no_recording(void **state)
{
    struct here *here = *state;
    struct store_opened opened;

    fill_database(here);
    make_page_bad(here, "the last one", UINT_MAX);
    open_again(here, &opened);
    assert_false(opened.recovered);
    assert_true(append_note(here->store, "not yet", NULL) < 0);
    open_again(here, &opened);
    assert_true(opened.recovered);
    assert_int_equal(append_note(here->store, "goes on", NULL), 0);
    unsigned kept = count_findings(here->store);
    assert_true(kept > COUNT / 2); /* what older frames of the WAL still hold comes back besides */
}

/* SQLite does not get as far as to call it damage: it cannot read what tables there are. */
static void bad_sector_at_the_head_of_the_database_is_recovered_by_the_next_opening(void **state)
{
    struct here *here = *state;
    struct store_opened opened;

    fill_database(here);
    store_free(here->store);
    here->store = NULL;
    bad.first = 0;
    bad.end = PAGE_BYTES;
    bad.times = UINT_MAX;
    assert_int_equal(store_open(&own.world, here->directory, STORE_COLLECTOR, &here->store, &opened), -EIO);
    open_again(here, &opened);
    assert_true(opened.recovered);
    assert_int_equal(append_note(here->store, "goes on", NULL), 0);
    assert_int_equal(count_findings(here->store), COUNT + 2);
}

static void database_that_gives_nothing_beside_a_wal_that_can_be_read_is_no_damage(void **state)
{
    struct here *here = *state;
    struct store_opened opened;

    fill_database(here);
    store_free(here->store);
    here->store = NULL;
    bad.first = 0;
    bad.end = UINT64_MAX;
    bad.times = UINT_MAX;
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            store_open(&own.world, here->directory, STORE_COLLECTOR, &here->store, &opened), -EIO);
    bad.times = 0;
    open_again(here, &opened);
    assert_false(opened.recovered);
    assert_int_equal(count_findings(here->store), COUNT + 1);
}

static void read_that_fails_once_is_told_and_nothing_is_set_aside(void **state)
{
    struct here *here = *state;
    struct store_opened opened;

    fill_database(here);
    make_page_bad(here, "the last one", 1);
    open_again(here, &opened);
    assert_true(append_note(here->store, "not yet", NULL) < 0);
    make_page_bad(here, "the last one", 1); /* and once while all of it is looked at */
    open_again(here, &opened);
    assert_false(opened.recovered);
    assert_int_equal(append_note(here->store, "goes on", NULL), 0);
    assert_int_equal(count_findings(here->store), COUNT + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(bad_sector_of_the_database_stops_no_recording),
        store_test(bad_sector_at_the_head_of_the_database_is_recovered_by_the_next_opening),
        store_test(database_that_gives_nothing_beside_a_wal_that_can_be_read_is_no_damage),
        store_test(read_that_fails_once_is_told_and_nothing_is_set_aside),
    };
    return cmocka_run_group_tests(tests, make_world, NULL);
}
