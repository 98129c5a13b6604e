/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Photos: files in place before the record names them, sent in the right order, freed only when the server
 * has them.
 */
#include "tests/unit/store/fixture.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

static char *path_of(struct here *here, const struct sha256 *sha256)
{
    return store_blob_path(here->store, sha256);
}

static bool file_exists(struct here *here, const struct sha256 *sha256)
{
    struct stat status;
    char *path = path_of(here, sha256);
    bool exists = stat(path, &status) == 0;

    free(path);
    return exists;
}

/* As a flipped bit does it: the row says another state than the index. */
static void set_state_in_row_alone(struct here *here, int state)
{
    char *sql = NULL;

    for (int i = 0; i < 2; i++) {
        assert_int_equal(database_run(here->store, "PRAGMA writable_schema=1"), 0);
        assert_int_equal(
            database_run(here->store,
                i == 0 ? "UPDATE sqlite_schema SET sql = replace(sql, 'state = 0', 'state = 99')"
                       : "UPDATE sqlite_schema SET sql = replace(sql, 'state = 99', 'state = 0')"),
            0);
        store_free(here->store);
        here->store = store_opened_in(here->directory, STORE_DAEMON);
        if (i > 0)
            break;
        assert_true(asprintf(&sql, "UPDATE blobs SET state = %d", state) > 0);
        assert_int_equal(database_run(here->store, sql), 0);
        free(sql);
    }
}

static unsigned files_found;

static int count_file(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    files_found += kind == FTW_F;
    return 0;
}

static unsigned files_below(struct here *here, const char *name)
{
    char *path = files_join(here->directory, name);

    files_found = 0;
    assert_int_equal(nftw(path, count_file, 16, FTW_PHYS), 0);
    free(path);
    return files_found;
}

static void photo_is_named_by_its_hash_and_leaves_nothing_temporary(void **state)
{
    struct here *here = *state;
    struct sha256 sha256, expected = sha256_of(bytes_of_text("photo bytes"));
    uint8_t bytes[64];

    assert_int_equal(store_photo_put_bytes(here->store, bytes_of_text("photo bytes"), &sha256), 0);
    assert_memory_equal(&sha256, &expected, sizeof(sha256));
    assert_int_equal(store_blob_read(here->store, &sha256, 0, bytes, sizeof(bytes)), 11);
    assert_memory_equal(bytes, "photo bytes", 11);
    assert_int_equal(store_blob_read(here->store, &sha256, 6, bytes, 3), 3);
    assert_memory_equal(bytes, "byt", 3);
    assert_int_equal(store_blob_read(here->store, &sha256, 11, bytes, sizeof(bytes)), 0);
    expected.b[0] ^= 1;
    assert_int_equal(store_blob_read(here->store, &expected, 0, bytes, sizeof(bytes)), -ENOENT);
    /* Once more is the same. */
    assert_int_equal(store_photo_put_bytes(here->store, bytes_of_text("photo bytes"), &sha256), 0);
    assert_int_equal(files_below(here, "photos"), 1);
}

static void large_photo_comes_whole_from_an_open_file(void **state)
{
    struct here *here = *state;
    char *path = files_join(here->directory, "camera.jpg");
    struct buffer content = {0};
    struct sha256 sha256;
    uint64_t size;

    for (unsigned i = 0; i < 50000; i++)
        buffer_printf(&content, "%u,", i);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, content.data, content.len), (ssize_t)content.len);
    assert_int_equal(store_photo_put_file(here->store, fd, &sha256, &size), 0);
    assert_int_equal(size, content.len);
    struct sha256 expected = sha256_of(buffer_bytes(&content));
    assert_memory_equal(&sha256, &expected, sizeof(expected));
    uint8_t *back = malloc(content.len);
    assert_int_equal(store_blob_read(here->store, &sha256, 0, back, content.len), (ssize_t)content.len);
    assert_memory_equal(back, content.data, content.len);
    assert_int_equal(ftruncate(fd, BLOB_BYTES_MAX + 1), 0);
    assert_int_equal(store_photo_put_file(here->store, fd, &sha256, &size), -EFBIG);
    assert_int_equal(files_below(here, "photos"), 1);
    close(fd);
    free(back);
    free(path);
    buffer_done(&content);
}

static void record_whose_photo_is_not_in_place_is_refused(void **state)
{
    struct here *here = *state;
    struct store_photo photo = put_photo_and_preview(here->store, 1, 100, false);
    char *path = path_of(here, &photo.photo.preview_sha256);

    assert_int_equal(unlink(path), 0);
    assert_int_equal(append_with_photos(here->store, "x", &photo, 1, NULL), -ENOENT);
    assert_int_equal(status_of(here->store).records_queued, 0);
    assert_int_equal(status_of(here->store).photos_pending, 0);
    photo = put_photo_and_preview(here->store, 1, 100, false);
    photo.photo.size++;
    assert_int_equal(append_with_photos(here->store, "x", &photo, 1, NULL), -ENOENT);
    photo.photo.size--;
    assert_int_equal(append_with_photos(here->store, "x", &photo, 1, NULL), 0);
    assert_int_equal(status_of(here->store).photos_pending, 2);
    free(path);
}

static void expect_order(struct here *here, const struct sha256 *const *expected, size_t expected_count)
{
    struct store_blob blobs[16] = {0};
    size_t count = 0;

    assert_int_equal(store_blobs_pending(here->store, blobs, 16, &count), 0);
    assert_int_equal(count, expected_count);
    for (size_t i = 0; i < expected_count; i++) {
        assert_memory_equal(&blobs[i].sha256, expected[i], sizeof(struct sha256));
        assert_true(blobs[i].record_sent);
        assert_int_equal(blobs[i].state, BLOB_PENDING);
    }
    if (expected && expected_count > 1) {
        assert_int_equal(store_blobs_pending(here->store, blobs, 1, &count), 0);
        assert_int_equal(count, 1);
        assert_memory_equal(&blobs[0].sha256, expected[0], sizeof(struct sha256));
    }
}

static void previews_go_first_urgent_before_others_and_only_of_sent_records(void **state)
{
    struct here *here = *state;
    struct store_photo calm = put_photo_and_preview(here->store, 1, 100, false);
    struct store_photo urgent = put_photo_and_preview(here->store, 2, 100, true);
    struct store_photo last = put_photo_and_preview(here->store, 3, 100, true);
    struct store_appended appended = {0};

    assert_int_equal(append_with_photos(here->store, "calm", &calm, 1, &appended), 0);
    assert_int_equal(append_with_photos(here->store, "urgent", &urgent, 1, NULL), 0);
    assert_int_equal(append_with_photos(here->store, "last", &last, 1, NULL), 0);
    expect_order(here, NULL, 0);
    assert_int_equal(receive(here->store, &appended.at.log, appended.at.seq + 2), 0);
    expect_order(here,
        (const struct sha256 *[]){&urgent.photo.preview_sha256, &calm.photo.preview_sha256,
            &urgent.photo.sha256, &calm.photo.sha256},
        4);
    assert_int_equal(store_blob_set_state(here->store, &urgent.photo.preview_sha256, BLOB_STORED, 0), 0);
    expect_order(here,
        (const struct sha256 *[]){&calm.photo.preview_sha256, &urgent.photo.sha256, &calm.photo.sha256}, 3);
}

static void a_carrier_takes_all_page_by_page_also_of_unsent_records_and_no_newer_ones(void **state)
{
    struct here *here = *state;
    struct store_photo photos[5];
    struct store_blob all[16], page[1], newest = {0};
    struct store_blob *after = NULL;
    size_t count = 0, found = 0;
    int64_t number_max;

    assert_int_equal(store_blobs_newest(here->store, &number_max), 0);
    assert_int64_equal(number_max, 0);
    for (uint8_t i = 0; i < 4; i++) {
        photos[i] = put_photo_and_preview(here->store, i, 100, i == 2);
        assert_int_equal(append_with_photos(here->store, "x", &photos[i], 1, NULL), 0);
    }
    assert_int_equal(store_blobs_newest(here->store, &number_max), 0);
    photos[4] = put_photo_and_preview(here->store, 4, 100, true);
    assert_int_equal(append_with_photos(here->store, "later", &photos[4], 1, NULL), 0);
    assert_int_equal(store_blob_set_state(here->store, &photos[0].photo.sha256, BLOB_STORED, 0), 0);
    assert_int_equal(store_blob_set_state(here->store, &photos[1].photo.sha256, BLOB_FREED, 0), 0);

    assert_int_equal(store_blobs_to_carry(here->store, false, NULL, number_max, all, 16, &count), 0);
    assert_int_equal(count, 6);
    assert_memory_equal(&all[0].sha256, &photos[2].photo.preview_sha256, SHA256_BYTES);
    assert_memory_equal(&all[1].sha256, &photos[0].photo.preview_sha256, SHA256_BYTES);
    assert_memory_equal(&all[4].sha256, &photos[2].photo.sha256, SHA256_BYTES);
    assert_memory_equal(&all[5].sha256, &photos[3].photo.sha256, SHA256_BYTES);
    /* The same, one at a time. */
    for (;;) {
        size_t one;

        assert_int_equal(store_blobs_to_carry(here->store, false, after, number_max, page, 1, &one), 0);
        if (one == 0)
            break;
        assert_true(found < count);
        assert_memory_equal(&page[0].sha256, &all[found++].sha256, SHA256_BYTES);
        newest = page[0];
        after = &newest;
    }
    assert_int_equal(found, 6);
    /* What the centre has is carried when all is asked for; what was freed is not here. */
    assert_int_equal(store_blobs_to_carry(here->store, true, NULL, number_max, all, 16, &count), 0);
    assert_int_equal(count, 7);
}

static void states_are_kept_and_the_stored_ones_listed(void **state)
{
    struct here *here = *state;
    struct store_photo photos[3];
    struct store_blob blob, blobs[4];
    size_t count;

    for (uint8_t i = 0; i < 3; i++) {
        photos[i] = put_photo(here->store, i, 50, false);
        assert_int_equal(append_with_photos(here->store, "x", &photos[i], 1, NULL), 0);
        assert_int_equal(store_blob_set_state(here->store, &photos[i].photo.sha256, BLOB_STORED, 0), 0);
    }
    assert_int_equal(store_blobs_stored(here->store, 0, blobs, 4, &count), 0);
    assert_int_equal(count, 3);
    assert_int_equal(store_blobs_stored(here->store, blobs[0].number, blobs, 4, &count), 0);
    assert_int_equal(count, 2);
    assert_memory_equal(&blobs[0].sha256, &photos[1].photo.sha256, sizeof(struct sha256));
    assert_int_equal(store_blob_set_state(here->store, &photos[1].photo.sha256, BLOB_BACKED_UP, 0), 0);
    assert_int_equal(store_blob_find(here->store, &photos[1].photo.sha256, &blob), 0);
    assert_int_equal(blob.state, BLOB_BACKED_UP);
    assert_int_equal(blob.size, 50);
    assert_int_equal(blob.role, BLOB_PHOTO);
    struct sha256 unknown = {{5}};
    assert_int_equal(store_blob_find(here->store, &unknown, &blob), -ENOENT);
    assert_int_equal(store_blob_set_state(here->store, &unknown, BLOB_STORED, 0), -ENOENT);
}

static void same_photo_in_two_records_is_one_blob(void **state)
{
    struct here *here = *state;
    struct store_photo photo = put_photo(here->store, 1, 50, false);
    struct store_blob blob;

    assert_int_equal(append_with_photos(here->store, "a", &photo, 1, NULL), 0);
    photo.urgent = true;
    assert_int_equal(append_with_photos(here->store, "b", &photo, 1, NULL), 0);
    assert_int_equal(status_of(here->store).photos_pending, 1);
    assert_int_equal(store_blob_find(here->store, &photo.photo.sha256, &blob), 0);
    assert_true(blob.urgent);
}

static void lost_photo_that_comes_back_is_sent(void **state)
{
    struct here *here = *state;
    struct store_photo photo = put_photo(here->store, 1, 50, false);
    char *path = path_of(here, &photo.photo.sha256);

    assert_int_equal(append_with_photos(here->store, "a", &photo, 1, NULL), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(store_blobs_lost(here->store, &author, &photo.photo.sha256, 1), 0);
    assert_int_equal(status_of(here->store).blobs_lost, 1);
    photo = put_photo(here->store, 1, 50, false);
    assert_int_equal(append_with_photos(here->store, "b", &photo, 1, NULL), 0);
    assert_int_equal(status_of(here->store).blobs_lost, 0);
    assert_int_equal(status_of(here->store).photos_pending, 1);
    free(path);
}

#define SIGNED_MS INT64_C(1764000000000) /* the server's clock when it signed for a photo */

/* Rebooted, and nothing is known of the server's clock yet; or it was set back. */
static void a_clock_that_is_behind_frees_no_photo(void **state)
{
    struct here *here = *state;
    struct store_photo stored = put_photo(here->store, 2, 50, false);
    static const int64_t clocks_ms[] = {0, 1, SIGNED_MS - INT64_C(400) * 24 * 3600000, SIGNED_MS};
    uint64_t freed;

    assert_int_equal(append_with_photos(here->store, "s", &stored, 1, NULL), 0);
    assert_int_equal(store_blob_set_state(here->store, &stored.photo.sha256, BLOB_STORED, SIGNED_MS), 0);
    for (size_t i = 0; i < ARRAY_LEN(clocks_ms); i++) {
        assert_int_equal(store_free_photos(here->store, clocks_ms[i], 3600000, &freed), 0);
        assert_int_equal(freed, 0);
    }
    assert_true(file_exists(here, &stored.photo.sha256));
}

static void photos_are_freed_when_backed_up_or_stored_and_old(void **state)
{
    struct here *here = *state;
    struct store_photo pending = put_photo(here->store, 1, 50, false);
    struct store_photo stored = put_photo(here->store, 2, 50, false);
    struct store_photo backed_up = put_photo(here->store, 3, 50, false);
    struct store_blob blob;
    uint64_t freed, removed;

    assert_int_equal(append_with_photos(here->store, "p", &pending, 1, NULL), 0);
    assert_int_equal(append_with_photos(here->store, "s", &stored, 1, NULL), 0);
    assert_int_equal(append_with_photos(here->store, "b", &backed_up, 1, NULL), 0);
    assert_int_equal(store_blob_set_state(here->store, &stored.photo.sha256, BLOB_STORED, SIGNED_MS), 0);
    assert_int_equal(store_blob_set_state(here->store, &backed_up.photo.sha256, BLOB_BACKED_UP, 0), 0);
    assert_int_equal(store_free_photos(here->store, SIGNED_MS + 3599999, 3600000, &freed), 0);
    assert_int_equal(freed, 1);
    assert_false(file_exists(here, &backed_up.photo.sha256));
    assert_true(file_exists(here, &stored.photo.sha256));
    assert_int_equal(store_free_photos(here->store, SIGNED_MS + 3600000, 3600000, &freed), 0);
    assert_int_equal(freed, 1);
    assert_false(file_exists(here, &stored.photo.sha256));
    assert_true(file_exists(here, &pending.photo.sha256));
    assert_int_equal(store_blob_find(here->store, &stored.photo.sha256, &blob), 0);
    assert_int_equal(blob.state, BLOB_FREED);
    /* A program killed between the row and the file left the file behind. */
    (void)put_photo(here->store, 2, 50, false);
    assert_int_equal(store_sweep(here->store, 0, &removed), 0);
    assert_int_equal(removed, 1);
    assert_false(file_exists(here, &stored.photo.sha256));
    /* Naming it again sends nothing again. */
    (void)put_photo(here->store, 2, 50, false);
    assert_int_equal(append_with_photos(here->store, "again", &stored, 1, NULL), 0);
    assert_int_equal(status_of(here->store).photos_pending, 1);
}

static void sweep_removes_only_what_is_old_and_was_never_named(void **state)
{
    struct here *here = *state;
    struct store_photo named = put_photo(here->store, 1, 50, false);
    struct store_photo orphan = put_photo(here->store, 2, 50, false);
    char *temporary = files_join(here->directory, "photos/tmp/0123456789abcdef");
    char *foreign = NULL;
    uint64_t removed;

    assert_int_equal(append_with_photos(here->store, "x", &named, 1, NULL), 0);
    assert_true(asprintf(&foreign, "%s/photos/%02x", here->directory, orphan.photo.sha256.b[0]) > 0);
    char *note = files_join(foreign, "a note of somebody");
    close(open(temporary, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    close(open(note, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(store_sweep(here->store, 3600000, &removed), 0);
    assert_int_equal(removed, 0);
    assert_int_equal(store_sweep(here->store, 0, &removed), 0);
    assert_int_equal(removed, 2);
    assert_true(file_exists(here, &named.photo.sha256));
    assert_false(file_exists(here, &orphan.photo.sha256));
    assert_int_equal(access(temporary, F_OK), -1);
    assert_int_equal(access(note, F_OK), 0);
    free(temporary);
    free(foreign);
    free(note);
}

/* What recovery could not find the record of. */
static void photo_that_nobody_names_is_sent_when_it_is_asked_for_and_whole(void **state)
{
    struct here *here = *state;
    struct store_photo photo = put_photo(here->store, 1, 50, false);
    struct store_photo altered = put_photo(here->store, 2, 50, false);
    struct store_photo named = put_photo(here->store, 3, 50, false);
    struct sha256 never = {.b = {1}};
    struct store_appended appended = {0};
    struct store_blob blobs[4];
    char name[PHOTO_NAME_LEN + 1];
    size_t count;

    photo_name(&altered.photo.sha256, name);
    write_over(here->directory, name, 10, bytes_of_text("x"));
    assert_int_equal(append_with_photos(here->store, "a", &named, 1, &appended), 0);
    assert_int_equal(store_blob_adopt(here->store, &photo.photo.sha256), 0); /* no record has a receipt */
    assert_int_equal(receive(here->store, &appended.at.log, appended.at.seq), 0);
    assert_int_equal(store_blob_adopt(here->store, &never), 0);
    assert_int_equal(store_blob_adopt(here->store, &altered.photo.sha256), 0);
    assert_int_equal(store_blob_adopt(here->store, &named.photo.sha256), 0);
    assert_int_equal(status_of(here->store).photos_pending, 1);

    assert_int_equal(store_blob_adopt(here->store, &photo.photo.sha256), 1);
    assert_int_equal(store_blobs_pending(here->store, blobs, ARRAY_LEN(blobs), &count), 0);
    assert_int_equal(count, 1);
    assert_memory_equal(&blobs[0].sha256, &photo.photo.sha256, sizeof(struct sha256));
    assert_int_equal(blobs[0].size, 50);
    /* One that counts as lost, too. */
    assert_int_equal(store_blobs_lost(here->store, &author, &photo.photo.sha256, 1), 0);
    assert_int_equal(store_blob_adopt(here->store, &photo.photo.sha256), 1);
    assert_int_equal(status_of(here->store).blobs_lost, 0);
    assert_int_equal(status_of(here->store).photos_pending, 2);
}

static void sweep_leaves_photos_alone_while_a_damaged_database_is_set_aside(void **state)
{
    struct here *here = *state;
    struct store_photo orphan = put_photo(here->store, 2, 50, false);
    char *aside = files_join(here->directory, "damaged-20261123T163353Z");
    uint64_t removed;

    assert_int_equal(mkdir(aside, 0700), 0);
    assert_int_equal(store_sweep(here->store, 0, &removed), 0);
    assert_int_equal(removed, 0);
    assert_true(file_exists(here, &orphan.photo.sha256));
    assert_int_equal(rmdir(aside), 0);
    assert_int_equal(store_sweep(here->store, 0, &removed), 0);
    assert_int_equal(removed, 1);
    free(aside);
}

/* ---- disks that fail ---- */

static unsigned failing_syncs;
static unsigned syncs;

static int sync_badly(void *context, int file)
{
    syncs++;
    if (failing_syncs > 0) {
        failing_syncs--;
        return -EIO;
    }
    return world_posix()->verbs->sync(NULL, file);
}

static void failed_sync_is_answered_by_a_new_file(void **state)
{
    struct here *here = *state;
    struct own_world own;
    struct store *store;
    struct sha256 sha256;

    own_world_init(&own, NULL);
    own.verbs.sync = sync_badly;
    assert_int_equal(store_open(&own.world, here->directory, STORE_COLLECTOR, &store, NULL), 0);
    failing_syncs = 1;
    syncs = 0;
    assert_int_equal(store_photo_put_bytes(store, bytes_of_text("photo"), &sha256), 0);
    assert_int_equal(syncs, 2);
    assert_int_equal(files_below(here, "photos"), 1);
    failing_syncs = 2;
    assert_int_equal(store_photo_put_bytes(store, bytes_of_text("other"), &sha256), -EIO);
    assert_int_equal(files_below(here, "photos"), 1);
    store_free(store);
}

static bool disk_full;

static int write_to_full_disk(void *context, int file, const void *data, size_t len, uint64_t offset)
{
    return disk_full ? -ENOSPC : world_posix()->verbs->write(NULL, file, data, len, offset);
}

static uint64_t free_bytes;

static int space_as_told(void *context, const char *path, uint64_t *ret)
{
    *ret = free_bytes;
    return 0;
}

static void photo_stops_before_the_disk_is_full(void **state)
{
    struct here *here = *state;
    struct own_world own;
    struct store *store;
    struct sha256 sha256;

    own_world_init(&own, NULL);
    own.verbs.write = write_to_full_disk;
    own.verbs.space = space_as_told;
    assert_int_equal(store_open(&own.world, here->directory, STORE_COLLECTOR, &store, NULL), 0);
    free_bytes = STORE_RESERVE_BYTES + 4;
    assert_int_equal(store_photo_put_bytes(store, bytes_of_text("photo"), &sha256), -ENOSPC);
    free_bytes = STORE_RESERVE_BYTES + 5;
    assert_int_equal(store_photo_put_bytes(store, bytes_of_text("photo"), &sha256), 0);
    /* Full in the middle of it all the same: nothing half-written stays. */
    disk_full = true;
    assert_int_equal(store_photo_put_bytes(store, bytes_of_text("more"), &sha256), -ENOSPC);
    disk_full = false;
    assert_int_equal(files_below(here, "photos"), 1);
    /* Without the ballast there are no photos until it can be made again. */
    remove_file(here->directory, BALLAST_NAME);
    free_bytes = 3 * (uint64_t)STORE_RESERVE_BYTES;
    assert_int_equal(store_photo_put_bytes(store, bytes_of_text("more"), &sha256), -ENOSPC);
    assert_false(ballast_is_whole(store));
    free_bytes += 4;
    assert_int_equal(store_photo_put_bytes(store, bytes_of_text("more"), &sha256), 0);
    assert_true(ballast_is_whole(store));
    store_free(store);
}

static void sweep_makes_the_ballast_again_when_there_is_room(void **state)
{
    struct here *here = *state;
    struct own_world own;
    struct store *store;
    uint64_t removed;

    assert_true(ballast_is_whole(here->store));
    remove_file(here->directory, BALLAST_NAME);
    own_world_init(&own, NULL);
    own.verbs.space = space_as_told;
    assert_int_equal(store_open(&own.world, here->directory, STORE_DAEMON, &store, NULL), 0);
    free_bytes = STORE_RESERVE_BYTES;
    assert_int_equal(store_sweep(store, 0, &removed), 0);
    assert_false(ballast_is_whole(store));
    free_bytes = 3 * (uint64_t)STORE_RESERVE_BYTES;
    assert_int_equal(store_sweep(store, 0, &removed), 0);
    assert_true(ballast_is_whole(store));
    store_free(store);
}

/* Its record has been sent. */
static struct store_photo waiting_photo(struct here *here)
{
    struct store_photo photo = put_photo(here->store, 7, 9000, false);
    struct store_appended appended = {0};

    assert_int_equal(append_with_photos(here->store, "with a photo", &photo, 1, &appended), 0);
    assert_int_equal(receive(here->store, &appended.at.log, status_of(here->store).log_size), 0);
    return photo;
}

static void a_photo_that_waits_in_the_index_alone_is_damage(void **state)
{
    struct here *here = *state;
    struct store_photo photo = waiting_photo(here);
    struct store_blob blobs[4];
    size_t count = 0;

    assert_int_equal(store_blobs_pending(here->store, blobs, ARRAY_LEN(blobs), &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(store_blob_is_pending(here->store, &photo.photo.sha256), 1);
    set_state_in_row_alone(here, BLOB_STORED);
    assert_int_equal(store_blobs_pending(here->store, blobs, ARRAY_LEN(blobs), &count), -EUCLEAN);
    assert_int_equal(
        store_blobs_pending_of(here->store, BLOB_PHOTO, false, blobs, ARRAY_LEN(blobs), &count), -EUCLEAN);
    store_free(here->store);
    here->store = store_opened_in(here->directory, STORE_DAEMON); /* recovered */
    assert_int_equal(store_blobs_pending(here->store, blobs, ARRAY_LEN(blobs), &count), 0);
}

static void a_photo_that_waits_and_is_not_found_by_its_hash_is_damage(void **state)
{
    struct here *here = *state;
    (void)waiting_photo(here);
    struct store_blob blobs[4];
    size_t count = 0;

    assert_int_equal(database_run(here->store, "PRAGMA writable_schema=1"), 0);
    assert_int_equal(database_run(here->store,
                         "UPDATE sqlite_schema SET rootpage=(SELECT rootpage FROM sqlite_schema"
                         " WHERE name='sqlite_autoindex_logs_1') WHERE name='sqlite_autoindex_blobs_1'"),
        0);
    store_free(here->store);
    here->store = store_opened_in(here->directory, STORE_DAEMON);
    assert_int_equal(store_blobs_pending(here->store, blobs, ARRAY_LEN(blobs), &count), -EUCLEAN);
    store_free(here->store);
    here->store = store_opened_in(here->directory, STORE_DAEMON); /* recovered */
    assert_int_equal(store_blobs_pending(here->store, blobs, ARRAY_LEN(blobs), &count), 0);
    assert_int_equal(count, 1);
}

static void a_photo_that_waits_in_its_row_alone_is_damage(void **state)
{
    struct here *here = *state;
    struct store_photo photo = waiting_photo(here);
    struct store_blob blobs[4];
    size_t count = 0;

    assert_int_equal(store_blob_set_state(here->store, &photo.photo.sha256, BLOB_STORED, 0), 0);
    assert_int_equal(store_blob_is_pending(here->store, &photo.photo.sha256), 0);
    set_state_in_row_alone(here, BLOB_PENDING);
    assert_int_equal(store_blobs_pending(here->store, blobs, ARRAY_LEN(blobs), &count), 0);
    assert_int_equal(count, 0);
    assert_int_equal(store_blob_is_pending(here->store, &photo.photo.sha256), -EUCLEAN);
    store_free(here->store);
    here->store = store_opened_in(here->directory, STORE_DAEMON); /* recovered */
    assert_int_equal(store_blob_is_pending(here->store, &photo.photo.sha256), 1);
    assert_int_equal(store_blobs_pending(here->store, blobs, ARRAY_LEN(blobs), &count), 0);
    assert_int_equal(count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(a_photo_that_waits_in_the_index_alone_is_damage),
        store_test(a_photo_that_waits_and_is_not_found_by_its_hash_is_damage),
        store_test(a_photo_that_waits_in_its_row_alone_is_damage),
        store_test(photo_is_named_by_its_hash_and_leaves_nothing_temporary),
        store_test(large_photo_comes_whole_from_an_open_file),
        store_test(record_whose_photo_is_not_in_place_is_refused),
        store_test(previews_go_first_urgent_before_others_and_only_of_sent_records),
        store_test(a_carrier_takes_all_page_by_page_also_of_unsent_records_and_no_newer_ones),
        store_test(states_are_kept_and_the_stored_ones_listed),
        store_test(same_photo_in_two_records_is_one_blob),
        store_test(lost_photo_that_comes_back_is_sent),
        store_test(a_clock_that_is_behind_frees_no_photo),
        store_test(photos_are_freed_when_backed_up_or_stored_and_old),
        store_test(sweep_removes_only_what_is_old_and_was_never_named),
        store_test(photo_that_nobody_names_is_sent_when_it_is_asked_for_and_whole),
        store_test(sweep_leaves_photos_alone_while_a_damaged_database_is_set_aside),
        store_test(failed_sync_is_answered_by_a_new_file),
        store_test(photo_stops_before_the_disk_is_full),
        store_test(sweep_makes_the_ballast_again_when_there_is_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
