/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery: files that went missing, pages that were damaged, programs killed. Nothing is overwritten, what
 * was not acknowledged goes on under the ids it was given, and no position of a log is given out twice.
 */
#include "tests/unit/store/fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* What `fill` has put into the store. */
struct filled {
    struct store_appended sent, quarantined, queued, with_photo, amendment;
    struct store_photo photo;
};

static struct filled filled;

/* opened, boot, "sent", "bad" | receipt | "queued", "photo", amendment of "sent" */
static void fill(struct here *here)
{
    struct quarantined bad = {.seq = 3, .reason = bytes_of_text("no such category")};

    assert_int_equal(append_note(here->store, "sent", &filled.sent), 0);
    assert_int_equal(append_note(here->store, "bad", &filled.quarantined), 0);
    assert_int_equal(receive_with(here->store, &filled.sent.at.log, 4, &bad, 1), 0);
    assert_int_equal(append_note(here->store, "queued", &filled.queued), 0);
    filled.photo = put_photo_and_preview(here->store, 1, 1000, true);
    assert_int_equal(append_with_photos(here->store, "photo", &filled.photo, 1, &filled.with_photo), 0);
    assert_int_equal(
        append_about(here->store, RECORD_AMENDMENT, "amended", &filled.sent, &filled.amendment), 0);
    assert_int_equal(store_set_setting(here->store, "key", bytes_of_text("value")), 0);
}

static void reopen(struct here *here, enum store_role role, struct store_opened *ret_opened)
{
    store_free(here->store);
    here->store = NULL;
    assert_int_equal(store_open(world_posix(), here->directory, role, &here->store, ret_opened), 0);
}

static void assert_sound(struct store *store)
{
    bool sound = false;

    assert_int_equal(database_is_sound(store, &sound), 0);
    assert_true(sound);
}

static void assert_state(struct store *store, const struct store_appended *appended, enum record_state state)
{
    struct buffer bytes = {0};
    struct store_record record;

    assert_int_equal(store_find(store, &appended->id, &bytes, &record), 0);
    assert_int_equal(record.state, state);
    assert_memory_equal(&record.recorded_at, &appended->at, sizeof(record.recorded_at));
    buffer_done(&bytes);
}

static bool exists(const char *directory, const char *name)
{
    struct stat status;
    char *path = files_join(directory, name);
    bool found = stat(path, &status) == 0;

    free(path);
    return found;
}

/* All that `fill` put there, as it must be after any recovery that could read everything. */
static void assert_everything_goes_on(struct here *here, const struct store_opened *opened)
{
    struct store_log logs[4];
    size_t count;
    struct store_status status = status_of(here->store);
    struct position_in_log amendment;
    bool amended, withdrawn;
    struct buffer value = {0};

    assert_true(opened->recovered);
    assert_int_equal(opened->records_salvaged, 3);
    assert_true(exists(here->directory, opened->set_aside));
    assert_notes(here->store, &findings, "sent bad queued photo amended ");
    assert_state(here->store, &filled.sent, RECORD_SENT);
    assert_state(here->store, &filled.quarantined, RECORD_QUARANTINED);
    assert_state(here->store, &filled.queued, RECORD_QUEUED);
    assert_state(here->store, &filled.with_photo, RECORD_QUEUED);
    assert_state(here->store, &filled.amendment, RECORD_QUEUED);
    assert_int_equal(status.records_sent, 1);
    assert_int_equal(status.records_quarantined, 1);
    assert_int_equal(status.records_queued, 3);
    assert_int_equal(status.photos_pending, 2);
    assert_int_equal(status.blobs_lost, 0);
    assert_true(urgent_waits(here->store));

    assert_int_equal(store_logs(here->store, true, logs, 4, &count), 0);
    assert_int_equal(count, 1);
    assert_memory_not_equal(&logs[0].id, &filled.sent.at.log, sizeof(struct uuid));
    assert_int_equal(store_later_versions(here->store, &filled.sent.at, &amended, &amendment, &withdrawn), 0);
    assert_true(amended);
    assert_memory_equal(&amendment.log, &logs[0].id, sizeof(struct uuid));
    assert_int_equal(store_setting(here->store, "key", &value), 0);
    assert_true(bytes_equal(buffer_bytes(&value), bytes_of_text("value")));
    buffer_done(&value);
    assert_sound(here->store);

    /* The photos are sent once the re-homed record has a receipt. */
    struct store_blob blobs[4];
    assert_int_equal(store_blobs_pending(here->store, blobs, 4, &count), 0);
    assert_int_equal(count, 0);
    assert_int_equal(receive(here->store, &logs[0].id, logs[0].size), 0);
    assert_int_equal(store_blobs_pending(here->store, blobs, 4, &count), 0);
    assert_int_equal(count, 2);
    assert_true(blobs[0].urgent);
    assert_false(urgent_waits(here->store));
    assert_state(here->store, &filled.queued, RECORD_SENT);
    assert_notes(here->store, &queued_findings, "");
}

static void assert_opened_as_recovered(struct here *here)
{
    struct store_log logs[4] = {0};
    size_t count = 0;
    struct buffer bytes = {0};
    struct store_record row = {0};
    struct arena arena;
    struct record record;

    assert_int_equal(store_logs(here->store, true, logs, 4, &count), 0);
    struct position_in_log at = {.log = logs[count - 1].id, .seq = 0};
    arena_init(&arena, 65536);
    assert_int_equal(store_read(here->store, &at, &bytes, &row), 0);
    assert_int_equal(record_decode(row.record, &arena, &record, NULL), 0);
    assert_int_equal(record.opened.reason, OPEN_RECOVERED);
    assert_memory_equal(&record.opened.predecessor, &filled.sent.at.log, sizeof(struct uuid));
    arena_done(&arena);
    buffer_done(&bytes);
}

static void missing_wal_after_a_checkpoint_loses_nothing_and_repeats_no_position(void **state)
{
    struct here *here = *state;
    struct store_opened opened;

    fill(here);
    store_free(here->store);
    here->store = store_opened_in(here->directory, STORE_DAEMON);
    assert_int_equal(store_checkpoint_wal(here->store, true), 0);
    store_free(here->store);
    here->store = NULL;
    remove_file(here->directory, WAL_NAME);
    reopen(here, STORE_COLLECTOR, &opened);
    assert_opened_as_recovered(here);
    assert_everything_goes_on(here, &opened);
}

static void missing_wal_with_records_in_it_goes_on_in_a_new_log(void **state)
{
    struct here *here = *state;
    struct store_appended lost, after;
    struct store_opened opened;

    fill(here);
    store_free(here->store);
    here->store = store_opened_in(here->directory, STORE_DAEMON);
    assert_int_equal(store_checkpoint_wal(here->store, true), 0);
    assert_int_equal(append_note(here->store, "lost", &lost), 0);
    store_free(here->store);
    here->store = NULL;
    remove_file(here->directory, WAL_NAME);
    reopen(here, STORE_COLLECTOR, &opened);
    assert_int_equal(append_note(here->store, "after", &after), 0);
    /* "lost" had been acknowledged: its position may be known elsewhere, and is not used again. */
    assert_memory_not_equal(&after.at.log, &lost.at.log, sizeof(struct uuid));
    assert_notes(here->store, &findings, "sent bad queued photo amended after ");
}

static void missing_shm_changes_nothing(void **state)
{
    struct here *here = *state;
    struct store_opened opened;
    struct store_appended after = {0};

    fill(here);
    store_free(here->store);
    here->store = NULL;
    remove_file(here->directory, SHM_NAME);
    reopen(here, STORE_DAEMON, &opened);
    assert_false(opened.recovered);
    assert_notes(here->store, &findings, "sent bad queued photo amended ");
    assert_int_equal(append_note(here->store, "after", &after), 0);
    assert_memory_equal(&after.at.log, &filled.sent.at.log, sizeof(struct uuid));
    assert_int_equal(after.at.seq, filled.amendment.at.seq + 1);
}

static void missing_database_beside_its_wal_is_read_from_the_wal(void **state)
{
    struct here *here = *state;
    struct store_opened opened;
    char *kept;

    fill(here);
    store_free(here->store);
    here->store = NULL;
    remove_file(here->directory, DATABASE_NAME);
    reopen(here, STORE_COLLECTOR, &opened);
    kept = files_join(opened.set_aside, WAL_NAME);
    assert_true(exists(here->directory, kept));
    free(kept);
    assert_opened_as_recovered(here);
    assert_everything_goes_on(here, &opened);
}

static void missing_database_and_wal_open_a_new_log_that_names_the_old_one(void **state)
{
    struct here *here = *state;
    struct store_opened opened;
    struct store_appended after = {0};

    fill(here);
    store_free(here->store);
    here->store = NULL;
    remove_file(here->directory, DATABASE_NAME);
    remove_file(here->directory, WAL_NAME);
    remove_file(here->directory, SHM_NAME);
    reopen(here, STORE_COLLECTOR, &opened);
    assert_true(opened.recovered);
    assert_int_equal(opened.records_salvaged, 0);
    assert_opened_as_recovered(here);
    assert_int_equal(append_note(here->store, "after", &after), 0);
    assert_notes(here->store, &findings, "after ");
    assert_sound(here->store);
}

static void missing_logs_file_does_no_harm(void **state)
{
    struct here *here = *state;
    struct store_opened opened;

    fill(here);
    store_free(here->store);
    here->store = NULL;
    remove_file(here->directory, LOGS_NAME);
    reopen(here, STORE_COLLECTOR, &opened);
    assert_false(opened.recovered);
    assert_notes(here->store, &findings, "sent bad queued photo amended ");
}

static unsigned fault_count;

static void count_fault(void *user, const char *line)
{
    fault_count++;
}

static void missing_photo_directory_is_told_and_new_photos_go_on(void **state)
{
    struct here *here = *state;
    struct store_opened opened;
    struct store_photo photo;
    struct sha256 lost[2];
    struct buffer bytes = {0};
    struct store_record row = {0};
    struct arena arena;
    struct record record;

    fill(here);
    reopen(here, STORE_DAEMON, &opened);
    unit_directory_remove(files_join(here->directory, PHOTOS_NAME));
    fault_count = 0;
    assert_int_equal(store_check(here->store, count_fault, NULL), -EUCLEAN);
    assert_int_equal(fault_count, 2);

    lost[0] = filled.photo.photo.sha256;
    lost[1] = filled.photo.photo.preview_sha256;
    assert_int_equal(store_blobs_lost(here->store, &author, lost, 2), 0);
    assert_int_equal(store_blobs_lost(here->store, &author, lost, 2), 0);
    struct store_status status = status_of(here->store);
    assert_int_equal(status.photos_pending, 0);
    assert_int_equal(status.blobs_lost, 2);
    assert_int_equal(status.log_size, filled.amendment.at.seq + 2); /* one event, not two */
    struct position_in_log at = {.log = status.log, .seq = status.log_size - 1};
    assert_int_equal(store_read(here->store, &at, &bytes, &row), 0);
    arena_init(&arena, 65536);
    assert_int_equal(record_decode(row.record, &arena, &record, NULL), 0);
    assert_int_equal(record.device_event.lost_blob_count, 2);
    assert_memory_equal(&record.device_event.lost_blobs[0], &lost[0], sizeof(lost[0]));
    arena_done(&arena);
    buffer_done(&bytes);

    photo = put_photo(here->store, 9, 500, false);
    assert_int_equal(append_with_photos(here->store, "new", &photo, 1, NULL), 0);
    assert_int_equal(store_check(here->store, count_fault, NULL), 0);
    /* The reopened store is not damaged for lost photos. */
    reopen(here, STORE_DAEMON, &opened);
    assert_false(opened.recovered);
}

/* ---- damage ---- */

static void write_garbage(
    const char *directory, const char *name, uint64_t offset, size_t len, uint64_t *random)
{
    struct buffer garbage = {0};

    for (size_t i = 0; i < len; i++)
        buffer_put_u8(&garbage, (uint8_t)next_random(random));
    write_over(directory, name, offset, buffer_bytes(&garbage));
    buffer_done(&garbage);
}

/* Everything is in the database then, and SQLite reads nothing from the WAL. */
static void checkpoint_and_empty_wal(struct here *here)
{
    char *wal = files_join(here->directory, WAL_NAME);

    store_free(here->store);
    here->store = store_opened_in(here->directory, STORE_DAEMON);
    assert_int_equal(store_checkpoint_wal(here->store, true), 0);
    store_free(here->store);
    here->store = NULL;
    assert_int_equal(truncate(wal, 33), 0);
    free(wal);
}

static void damaged_header_page_loses_nothing(void **state)
{
    struct here *here = *state;
    struct store_opened opened;

    fill(here);
    checkpoint_and_empty_wal(here);
    write_garbage(here->directory, DATABASE_NAME, 0, 4096, &(uint64_t){1});
    reopen(here, STORE_COLLECTOR, &opened);
    assert_everything_goes_on(here, &opened);
}

static void a_head_that_makes_the_database_one_to_read_only_is_damage(void **state)
{
    struct here *here = *state;
    struct store_appended appended;
    struct store_opened opened;

    fill(here);
    checkpoint_and_empty_wal(here);
    write_over(here->directory, DATABASE_NAME, 18, bytes_of_text("\x12")); /* SQLite: a newer form */
    reopen(here, STORE_COLLECTOR, &opened);
    assert_int_equal(append_note(here->store, "refused", &appended), -EUCLEAN);
    reopen(here, STORE_COLLECTOR, &opened);
    assert_everything_goes_on(here, &opened);
}

static void database_that_is_no_database_is_set_aside(void **state)
{
    struct here *here = *state;
    struct store_opened opened;

    fill(here);
    store_free(here->store);
    here->store = NULL;
    for (size_t i = 0; i < 2; i++) {
        remove_file(here->directory, i == 0 ? DATABASE_NAME : WAL_NAME);
        write_over(here->directory, i == 0 ? DATABASE_NAME : WAL_NAME, 0,
            bytes_of_text("this is no database at all, but long enough for a header"));
    }
    reopen(here, STORE_COLLECTOR, &opened);
    assert_true(opened.recovered);
    assert_notes(here->store, &findings, "");
    assert_opened_as_recovered(here);
}

static void reader_does_not_touch_a_damaged_store(void **state)
{
    struct here *here = *state;
    struct store *reader;

    fill(here);
    store_free(here->store);
    here->store = NULL;
    remove_file(here->directory, WAL_NAME);
    assert_int_equal(store_open(world_posix(), here->directory, STORE_READER, &reader, NULL), -EUCLEAN);
    assert_false(exists(here->directory, WAL_NAME));
    assert_true(exists(here->directory, DATABASE_NAME));
}

static void damage_behind_a_running_program_is_recovered_at_the_next_open(void **state)
{
    struct here *here = *state;
    struct store_opened opened;
    struct bytes views[8];
    struct buffer bytes = {0};
    size_t count;

    /* Alter one byte of the note of "queued" on the disk, where SQLite cannot see that it is another. */
    fill(here);
    checkpoint_and_empty_wal(here);
    assert_true(replace_in(here->directory, DATABASE_NAME, "queued", "qu3ued") > 0);
    reopen(here, STORE_COLLECTOR, &opened);
    assert_false(opened.recovered);
    int r = store_outbox_read(here->store, &filled.sent.at.log, 4, 8, SIZE_MAX, &bytes, views, &count);
    assert_int_equal(r, -EUCLEAN);
    buffer_done(&bytes);

    reopen(here, STORE_DAEMON, &opened);
    assert_true(opened.recovered);
    assert_notes(here->store, &findings, "sent bad photo amended ");
    assert_sound(here->store);
}

static void damaged_row_of_a_photo_stands_for_no_photo(void **state)
{
    struct here *here = *state;
    struct store_opened opened;
    struct store_blob blob;

    fill(here);
    assert_int_equal(database_run(here->store, "UPDATE blobs SET sha256 = zeroblob(32) WHERE role = 1"), 0);
    checkpoint_and_empty_wal(here);
    write_garbage(here->directory, DATABASE_NAME, 0, 4096, &(uint64_t){5});
    reopen(here, STORE_DAEMON, &opened);
    assert_true(opened.recovered);
    assert_int_equal(status_of(here->store).photos_pending, 2);
    assert_int_equal(status_of(here->store).blobs_lost, 0);
    assert_int_equal(store_blob_find(here->store, &filled.photo.photo.preview_sha256, &blob), 0);
    assert_int_equal(blob.state, BLOB_PENDING);
}

/* It is not lost: its file is here, and when the centre has its record it asks for it. */
static void photo_whose_record_is_gone_waits_for_nothing(void **state)
{
    struct here *here = *state;
    struct store_opened opened;

    fill(here);
    checkpoint_and_empty_wal(here);
    assert_true(replace_in(here->directory, DATABASE_NAME, "photo", "ph0t0") > 0);
    reopen(here, STORE_DAEMON, &opened);
    assert_int_equal(store_check(here->store, NULL, NULL), -EUCLEAN);
    reopen(here, STORE_DAEMON, &opened);
    assert_true(opened.recovered);
    assert_notes(here->store, &findings, "sent bad queued amended ");
    assert_int_equal(status_of(here->store).photos_pending, 0);
    assert_int_equal(status_of(here->store).blobs_lost, 0);
    assert_int_equal(store_blob_adopt(here->store, &filled.photo.photo.sha256), 1);
    assert_int_equal(status_of(here->store).photos_pending, 1);
}

/* What was recorded is not found any more, by whoever needs the log's root first. */
static void missing_row_behind_a_running_program_is_recovered_at_the_next_open(void **state)
{
    struct here *here = *state;
    struct store_opened opened;
    struct store_appended gone = {0};
    struct sha256 root;

    for (unsigned by_receipt = 0; by_receipt < 2; by_receipt++) {
        assert_int_equal(append_note(here->store, by_receipt ? "2" : "1", NULL), 0);
        assert_int_equal(append_note(here->store, "gone", &gone), 0);
        assert_int_equal(append_note(here->store, by_receipt ? "4" : "3", NULL), 0);
        assert_int_equal(database_run(here->store, "DELETE FROM records WHERE instr(bytes, x'676f6e65')"), 0);
        if (by_receipt) {
            struct checkpoint checkpoint = {.size = gone.at.seq + 2};
            _cleanup_buffer_ struct buffer note = {0};

            make_note(&note, &checkpoint);
            assert_int_equal(store_apply_receipt(here->store, &gone.at.log, &checkpoint, 1700000000,
                                 buffer_bytes(&note), NULL, 0),
                -EUCLEAN);
        } else {
            assert_int_equal(store_root_at(here->store, &gone.at.log, gone.at.seq + 2, &root), -EUCLEAN);
        }
        reopen(here, STORE_DAEMON, &opened);
        assert_true(opened.recovered);
    }
    /* The WAL still has it. */
    assert_notes(here->store, &findings, "1 gone 3 2 gone 4 ");
}

/* SQLite takes the WAL to end at the damage, and would write the next record over what stands behind it. */
static void collector_that_comes_first_does_not_write_over_what_stands_behind_damage_in_the_wal(void **state)
{
    struct here *here = *state;
    struct store_opened opened;
    uint64_t size;

    assert_int_equal(append_note(here->store, "first", NULL), 0);
    assert_int_equal(store_file_size(here->store, WAL_NAME, &size), 0);
    assert_int_equal(append_note(here->store, "second", NULL), 0);
    assert_int_equal(append_note(here->store, "third", NULL), 0);
    assert_int_equal(append_note(here->store, "fourth", NULL), 0);
    store_free(here->store);
    here->store = NULL;
    write_garbage(here->directory, WAL_NAME, size + 100, 64, &(uint64_t){3});
    reopen(here, STORE_COLLECTOR, &opened);
    assert_true(opened.recovered);
    assert_int_equal(append_note(here->store, "fifth", NULL), 0);
    assert_notes(here->store, &findings, "first second third fourth fifth ");
}

/* The frame that ends a transaction is written last, so nothing stands behind one that a power cut tore. */
static void damaged_end_of_a_transaction_is_seen_when_one_more_stands_behind_it(void **state)
{
    struct here *here = *state;
    struct store_opened opened;
    uint64_t size;

    assert_int_equal(append_note(here->store, "first", NULL), 0);
    assert_int_equal(append_note(here->store, "second", NULL), 0);
    assert_int_equal(store_file_size(here->store, WAL_NAME, &size), 0);
    assert_int_equal(append_note(here->store, "third", NULL), 0);
    store_free(here->store);
    here->store = NULL;
    write_garbage(here->directory, WAL_NAME, size - 100, 64, &(uint64_t){4});
    reopen(here, STORE_DAEMON, &opened);
    assert_true(opened.recovered);
    assert_notes(here->store, &findings, "first second third ");
}

/* The WAL was moved into the database and not begun again yet: its frames before the damage hold older states
 * of pages that the database has in their last. */
static void record_that_the_database_holds_too_survives_damage_in_the_wal(void **state)
{
    struct here *here = *state;
    struct store_opened opened;
    unsigned count = 120, damaged = 0;
    char note[16], altered[16];

    for (unsigned i = 0; i < count; i++) {
        snprintf(note, sizeof(note), "number %03u", i);
        assert_int_equal(append_note(here->store, note, NULL), 0);
    }
    assert_int_equal(store_checkpoint_wal(here->store, true), 0);
    store_free(here->store);
    here->store = NULL;
    /* One that stands in one frame only: the last record of its page. */
    for (unsigned i = 0; damaged == 0 && i < count - 4; i++) {
        snprintf(note, sizeof(note), "number %03u", i);
        snprintf(altered, sizeof(altered), "nimber %03u", i);
        if (replace_in(here->directory, WAL_NAME, note, note) == 1)
            damaged = replace_in(here->directory, WAL_NAME, note, altered);
    }
    assert_int_equal(damaged, 1);
    reopen(here, STORE_DAEMON, &opened);
    assert_true(opened.recovered);
    assert_int_equal(status_of(here->store).records_queued, count);
}

static ssize_t read_nothing(void *context, int file, void *ret, size_t len, uint64_t offset)
{
    return -EIO;
}

static void disk_that_gives_nothing_is_no_damage(void **state)
{
    struct here *here = *state;
    struct own_world own;
    struct store_opened opened;

    /* A program met an error, and now nothing can be read at all: that will pass, or another machine reads
     * the disk. */
    fill(here);
    store_free(here->store);
    here->store = NULL;
    write_over(here->directory, DAMAGE_MARK_NAME, 0, bytes_of_text("x"));
    own_world_init(&own, NULL);
    own.verbs.read = read_nothing;
    assert_int_equal(store_open(&own.world, here->directory, STORE_COLLECTOR, &here->store, &opened), -EIO);

    assert_int_equal(store_open(world_posix(), here->directory, STORE_DAEMON, &here->store, &opened), 0);
    assert_false(opened.recovered);
    assert_notes(here->store, &findings, "sent bad queued photo amended ");
}

static int unreadable_wal;

static int open_and_note_wal(void *context, const char *path, enum world_open how, bool secret)
{
    int file = world_posix()->verbs->open(NULL, path, how, secret);

    if (how == WORLD_READ && strcmp(strrchr(path, '/') + 1, WAL_NAME) == 0)
        unreadable_wal = file;
    return file;
}

static ssize_t read_all_but_the_wal(void *context, int file, void *ret, size_t len, uint64_t offset)
{
    return file == unreadable_wal ? -EIO : world_posix()->verbs->read(NULL, file, ret, len, offset);
}

static void wal_that_alone_cannot_be_read_stops_nobody(void **state)
{
    struct here *here = *state;
    struct own_world own;
    struct store_opened opened;
    struct store_appended appended;

    fill(here);
    store_free(here->store);
    here->store = NULL;
    write_over(here->directory, DAMAGE_MARK_NAME, 0, bytes_of_text("x"));
    own_world_init(&own, NULL);
    own.verbs.open = open_and_note_wal;
    own.verbs.read = read_all_but_the_wal;
    assert_int_equal(store_open(&own.world, here->directory, STORE_COLLECTOR, &here->store, &opened), 0);
    assert_int_equal(append_note(here->store, "goes on", &appended), 0);
    reopen(here, STORE_DAEMON, &opened);
}

static void open_connection_notices_that_its_files_were_set_aside(void **state)
{
    struct here *here = *state;
    struct store *other = store_opened_in(here->directory, STORE_DAEMON);
    struct store_opened opened;

    fill(here);
    /* Another program finds damage and recovers, while this one has the old files open. */
    store_mark_damage(here->store);
    write_garbage(here->directory, WAL_NAME, 60, 100, &(uint64_t){2});
    store_free(here->store);
    here->store = NULL;
    pid_t child = fork();
    if (child == 0) {
        struct store *store;
        int r = store_open(world_posix(), here->directory, STORE_COLLECTOR, &store, &opened);
        _exit(r == 0 && opened.recovered ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    uint64_t counter;
    assert_int_equal(append_note(other, "into the void", NULL), -EUCLEAN);
    assert_int_equal(store_change_counter(other, &counter), -EUCLEAN);
    store_free(other);
    reopen(here, STORE_DAEMON, &opened);
    assert_false(opened.recovered);
    assert_notes(here->store, &findings, "sent bad queued photo amended ");
}

#define RANDOM_ROUNDS 12
#define RANDOM_RECORDS 1500u

struct seen {
    bool notes[RANDOM_RECORDS];
    unsigned count;
};

static int see(void *user, const struct store_record *record)
{
    struct seen *seen = user;
    struct arena arena;
    struct record decoded;
    unsigned number;

    arena_init(&arena, 262144);
    assert_int_equal(record_decode(record->recorded, &arena, &decoded, NULL), 0);
    assert_int_equal(sscanf((const char *)decoded.finding.note.data, "%u", &number), 1);
    assert_true(number < RANDOM_RECORDS);
    assert_false(seen->notes[number]); /* nothing twice */
    seen->notes[number] = true;
    seen->count++;
    arena_done(&arena);
    return 0;
}

/* One page's worth of garbage anywhere in one of the two files costs at most the records on that page. */
static void random_damage_costs_one_page_of_records_at_most(void **state)
{
    struct here *here = *state;

    for (unsigned round = 0; round < RANDOM_ROUNDS; round++) {
        struct seen seen = {0};
        struct store_opened opened;
        struct store_status status;
        bool in_wal = round % 3 == 2;
        const char *name = in_wal ? WAL_NAME : DATABASE_NAME;
        uint64_t size;

        store_free(here->store);
        unit_directory_remove(here->directory);
        here->directory = unit_directory_make();
        here->store = store_opened_in(here->directory, STORE_DAEMON);
        append_many(here->store, 0, RANDOM_RECORDS - 300);
        status = status_of(here->store);
        assert_int_equal(receive(here->store, &status.log, 700), 0);
        if (!in_wal)
            assert_int_equal(store_checkpoint_wal(here->store, true), 0);
        append_many(here->store, RANDOM_RECORDS - 300, 300);
        assert_int_equal(store_file_size(here->store, name, &size), 0);
        store_free(here->store);

        uint64_t random = round + 1, offset = next_random(&random) % (size - 64);
        write_garbage(here->directory, name, offset, 64, &random);

        here->store = store_opened_in(here->directory, STORE_DAEMON);
        (void)store_check(here->store, count_fault, NULL);
        reopen(here, STORE_DAEMON, &opened);
        assert_sound(here->store);
        int r = store_each_record(here->store, &findings, see, &seen);
        assert_int_equal(r, 0);
        /* 64 bytes may touch two pages; about 45 of these small records stand on one. */
        if (seen.count < RANDOM_RECORDS - 2 * 60)
            fail_msg("round %u, %s at %llu: only %u of %u", round, name, (unsigned long long)offset,
                seen.count, RANDOM_RECORDS);
        assert_int_equal(append_note(here->store, "0", NULL), 0);
        store_free(here->store);
        here->store = NULL;
    }
}

/* ---- kills ---- */

#define KILL_ROUNDS 12

static void append_and_report(const char *directory, int pipe_end, unsigned first)
{
    struct store *store;

    if (store_open(world_posix(), directory, STORE_COLLECTOR, &store, NULL) < 0)
        _exit(1);
    for (unsigned i = first;; i++) {
        char note[16];
        struct store_appended appended = {0};

        snprintf(note, sizeof(note), "%u", i);
        if (append_note(store, note, &appended) < 0)
            _exit(2);
        if (write(pipe_end, &appended, sizeof(appended)) != (ssize_t)sizeof(appended))
            _exit(3);
    }
}

static void killed_appender_loses_nothing_that_it_acknowledged(void **state)
{
    struct here *here = *state;
    struct buffer acknowledged = {0};

    store_free(here->store);
    here->store = NULL;
    for (unsigned round = 0; round < KILL_ROUNDS; round++) {
        int ends[2];
        struct store_appended appended = {0};

        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0)
            append_and_report(here->directory, ends[1], round * 100000);
        close(ends[1]);
        for (unsigned i = 0; i < 5 + round; i++) {
            assert_int_equal(read(ends[0], &appended, sizeof(appended)), (ssize_t)sizeof(appended));
            buffer_put(&acknowledged, &appended, sizeof(appended));
        }
        kill(child, SIGKILL);
        while (read(ends[0], &appended, sizeof(appended)) == (ssize_t)sizeof(appended))
            buffer_put(&acknowledged, &appended, sizeof(appended));
        close(ends[0]);
        assert_int_equal(waitpid(child, NULL, 0), child);
    }
    struct store_opened opened;
    assert_int_equal(store_open(world_posix(), here->directory, STORE_DAEMON, &here->store, &opened), 0);
    assert_false(opened.recovered);
    assert_sound(here->store);
    const struct store_appended *all = (const struct store_appended *)(const void *)acknowledged.data;
    for (size_t i = 0; i < acknowledged.len / sizeof(*all); i++)
        assert_state(here->store, &all[i], RECORD_QUEUED);
    assert_int_equal(status_of(here->store).logs, 1);
    buffer_done(&acknowledged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(missing_wal_after_a_checkpoint_loses_nothing_and_repeats_no_position),
        store_test(missing_wal_with_records_in_it_goes_on_in_a_new_log),
        store_test(missing_shm_changes_nothing),
        store_test(missing_database_beside_its_wal_is_read_from_the_wal),
        store_test(missing_database_and_wal_open_a_new_log_that_names_the_old_one),
        store_test(missing_logs_file_does_no_harm),
        store_test(missing_photo_directory_is_told_and_new_photos_go_on),
        store_test(damaged_header_page_loses_nothing),
        store_test(a_head_that_makes_the_database_one_to_read_only_is_damage),
        store_test(database_that_is_no_database_is_set_aside),
        store_test(reader_does_not_touch_a_damaged_store),
        store_test(damage_behind_a_running_program_is_recovered_at_the_next_open),
        store_test(damaged_row_of_a_photo_stands_for_no_photo),
        store_test(photo_whose_record_is_gone_waits_for_nothing),
        store_test(missing_row_behind_a_running_program_is_recovered_at_the_next_open),
        store_test(collector_that_comes_first_does_not_write_over_what_stands_behind_damage_in_the_wal),
        store_test(damaged_end_of_a_transaction_is_seen_when_one_more_stands_behind_it),
        store_test(record_that_the_database_holds_too_survives_damage_in_the_wal),
        store_test(disk_that_gives_nothing_is_no_damage),
        store_test(wal_that_alone_cannot_be_read_stops_nobody),
        store_test(open_connection_notices_that_its_files_were_set_aside),
        store_test(random_damage_costs_one_page_of_records_at_most),
        store_test(killed_appender_loses_nothing_that_it_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
