/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which logs are pruned, what is left of them, and what the store says of them afterwards: store/prune.c.
 */
#include "tests/unit/store/fixture.h"

#define RECEIPT_MS INT64_C(1700000000000) /* of the fixture's receipts */
#define AGE_MS UINT64_C(1000)
#define OLD_MS (RECEIPT_MS + (int64_t)AGE_MS)
#define RECORDS 700u
#define OWN_RECORDS 2u /* of the store, at the start of a log */

/* A log of RECORDS and a last one that closed it, and one finding in the log behind it. */
struct closed_log {
    struct uuid id, next;
    uint64_t size;
    struct sha256 root;
    struct store_appended first, last;
};

static struct closed_log close_log(struct here *here)
{
    struct closed_log closed = {0};
    struct store_log logs[8];
    size_t count = 0;

    here->store->rotate_records = RECORDS;
    assert_int_equal(append_note(here->store, "first", &closed.first), 0);
    append_many(here->store, 1, RECORDS - OWN_RECORDS - 2);
    assert_int_equal(append_note(here->store, "last", &closed.last), 0);
    assert_int_equal(append_note(here->store, "behind", NULL), 0);
    here->store->rotate_records = LOG_ROTATE_RECORDS;
    assert_int_equal(store_logs(here->store, false, logs, 8, &count), 0);
    assert_true(count >= 2);
    assert_true(logs[count - 2].closed);
    closed.id = logs[count - 2].id;
    closed.size = logs[count - 2].size;
    closed.next = logs[count - 1].id;
    assert_int_equal(store_root_at(here->store, &closed.id, closed.size, &closed.root), 0);
    return closed;
}

static int prune(struct here *here, const struct closed_log *closed)
{
    return store_prune(here->store, &closed->id, closed->size, &closed->root, OLD_MS, AGE_MS);
}

static void remove_all(struct here *here)
{
    bool more = true;

    while (more)
        assert_int_equal(store_prune_some(here->store, &more), 0);
}

static struct closed_log pruned_log(struct here *here)
{
    struct closed_log closed = close_log(here);

    assert_int_equal(receive(here->store, &closed.id, closed.size), 0);
    assert_int_equal(prune(here, &closed), 0);
    remove_all(here);
    return closed;
}

static int64_t count_rows(struct here *here, const char *sql)
{
    sqlite3_stmt *statement = NULL;

    assert_int_equal(sqlite3_prepare_v2(here->store->database, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t count = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return count;
}

static bool is_found(struct here *here, const struct uuid *id)
{
    struct buffer bytes = {0};
    struct store_record record;
    int r = store_find(here->store, id, &bytes, &record);

    buffer_done(&bytes);
    assert_true(r == 0 || r == -ENOENT);
    return r == 0;
}

static void only_a_closed_log_that_is_wholly_receipted_and_old_may_go(void **state)
{
    struct here *here = *state;
    struct uuid found;

    append_many(here->store, 0, 300);
    struct uuid log = status_of(here->store).log;
    assert_int_equal(receive(here->store, &log, status_of(here->store).log_size), 0);
    assert_int_equal(store_prunable(here->store, OLD_MS, AGE_MS, &found), -ENOENT); /* it goes on */
    struct closed_log closed = close_log(here);
    assert_int_equal(receive(here->store, &closed.id, closed.size - 1), 0);
    assert_int_equal(store_prunable(here->store, OLD_MS, AGE_MS, &found), -ENOENT);
    assert_int_equal(prune(here, &closed), -ENOENT);
    assert_int_equal(receive(here->store, &closed.id, closed.size), 0);
    assert_int_equal(store_prunable(here->store, OLD_MS - 1, AGE_MS, &found), -ENOENT);
    assert_int_equal(store_prunable(here->store, 0, 0, &found), -ENOENT); /* no time of the server is known */
    assert_int_equal(store_prunable(here->store, OLD_MS, AGE_MS, &found), 0);
    assert_true(uuid_equal(&found, &closed.id));
}

static void a_backup_of_less_or_of_other_records_prunes_nothing(void **state)
{
    struct here *here = *state;
    struct closed_log closed = close_log(here);
    struct sha256 other = closed.root;

    other.b[0] ^= 1;
    assert_int_equal(receive(here->store, &closed.id, closed.size), 0);
    assert_int_equal(
        store_prune(here->store, &closed.id, closed.size - 1, &closed.root, OLD_MS, AGE_MS), -EBADMSG);
    assert_int_equal(store_prune(here->store, &closed.id, closed.size, &other, OLD_MS, AGE_MS), -EBADMSG);
    assert_int_equal(
        store_prune(here->store, &closed.next, closed.size, &closed.root, OLD_MS, AGE_MS), -ENOENT);
    remove_all(here);
    assert_int_equal(status_of(here->store).records_pruned, 0);
    assert_true(is_found(here, &closed.first.id));
}

static void the_records_go_and_every_root_and_count_stays(void **state)
{
    struct here *here = *state;
    struct closed_log closed = close_log(here);
    struct sha256 tile, root;

    assert_int_equal(receive(here->store, &closed.id, closed.size), 0);
    assert_int_equal(store_root_at(here->store, &closed.id, 2 * TILE_LEAVES, &tile), 0);
    struct store_status before = status_of(here->store);
    assert_int_equal(prune(here, &closed), 0);
    remove_all(here);
    assert_int_equal(count_rows(here, "SELECT count(*) FROM records WHERE key >> 40 = 1"),
        (int64_t)(closed.size % TILE_LEAVES));
    assert_int_equal(store_root_at(here->store, &closed.id, closed.size, &root), 0);
    assert_true(sha256_equal(&root, &closed.root));
    assert_int_equal(store_root_at(here->store, &closed.id, 2 * TILE_LEAVES, &root), 0);
    assert_true(sha256_equal(&root, &tile));
    assert_int_equal(store_root_at(here->store, &closed.id, 5, &root), -EIDRM);
    struct store_status after = status_of(here->store);
    assert_int_equal(after.records_sent, before.records_sent);
    assert_int_equal(after.records_queued, before.records_queued);
    assert_true(after.records_pruned > 500 && after.records_pruned <= 2 * TILE_LEAVES);
    assert_false(is_found(here, &closed.first.id));
    assert_true(is_found(here, &closed.last.id));
    assert_int_equal(store_check(here->store, NULL, NULL), 0);
    assert_false(here->store->damage_marked);
}

static void it_goes_on_where_it_was_broken_off(void **state)
{
    struct here *here = *state;
    struct closed_log closed = close_log(here);
    struct uuid found;

    assert_int_equal(receive(here->store, &closed.id, closed.size), 0);
    assert_int_equal(prune(here, &closed), 0);
    /* Nothing is gone yet, and nobody counts on it any more. */
    assert_int_equal(store_prunable(here->store, OLD_MS, AGE_MS, &found), -ENOENT);
    assert_int_equal(store_check(here->store, NULL, NULL), 0);
    store_free(here->store);
    here->store = store_opened_in(here->directory, STORE_DAEMON);
    remove_all(here);
    assert_int_equal(count_rows(here, "SELECT count(*) FROM records WHERE key >> 40 = 1"),
        (int64_t)(closed.size % TILE_LEAVES));
    assert_int_equal(store_check(here->store, NULL, NULL), 0);
}

static void the_index_of_ids_forgets_what_is_gone(void **state)
{
    struct here *here = *state;

    here->store->rotate_records = 20000;
    append_many(here->store, 0, 20000);
    assert_int_equal(append_note(here->store, "behind", NULL), 0);
    assert_int_equal(store_index_ids(here->store), 0);
    assert_true(count_rows(here, "SELECT count(*) FROM ids") > 16000);
    struct store_log logs[2];
    size_t count;
    assert_int_equal(store_logs(here->store, false, logs, 2, &count), 0);
    struct closed_log closed = {.id = logs[0].id, .size = logs[0].size};
    assert_int_equal(store_root_at(here->store, &closed.id, closed.size, &closed.root), 0);
    assert_int_equal(receive(here->store, &closed.id, closed.size), 0);
    assert_int_equal(prune(here, &closed), 0);
    remove_all(here);
    assert_int_equal(count_rows(here, "SELECT count(*) FROM ids"), 0);
    assert_int_equal(store_index_ids(here->store), 0);
}

static void what_was_erased_or_is_in_quarantine_stays_listed(void **state)
{
    struct here *here = *state;
    struct closed_log closed = close_log(here);
    const struct quarantined quarantined = {.seq = 10, .reason = bytes_of_text("unknown category")};
    struct erased_record erased = {.at = {.log = closed.id, .seq = 20}};
    const struct erasure_order order = {
        .number = 7, .time_ms = 1700000000000, .records = &erased, .record_count = 1};

    assert_int_equal(receive_with(here->store, &closed.id, closed.size, &quarantined, 1), 0);
    assert_int_equal(store_leaf(here->store, &closed.id, 20, &erased.leaf), 0);
    assert_int_equal(store_erase(here->store, &order, 1), 0);
    struct store_status before = status_of(here->store);
    assert_int_equal(prune(here, &closed), 0);
    remove_all(here);
    struct buffer bytes = {0};
    struct store_record record;
    assert_int_equal(store_read(here->store, &erased.at, &bytes, &record), 0);
    assert_true(record.is_erased);
    assert_int_equal(record.erased_by, 7);
    assert_true(is_found(here, &record.id));
    struct store_status after = status_of(here->store);
    assert_int_equal(after.records_quarantined, 1);
    assert_int_equal(after.records_sent, before.records_sent);
    assert_notes(here->store, &quarantined_findings, "8 ");
    /* It stays when it was applied after all, and is counted as what is here. */
    const struct position_in_log released = {.log = closed.id, .seq = 10};
    assert_int_equal(store_release(here->store, &released, 1), 0);
    assert_int_equal(status_of(here->store).records_pruned, after.records_pruned);
    assert_int_equal(store_check(here->store, NULL, NULL), 0);
    buffer_done(&bytes);
}

static void recover_here(struct here *here)
{
    struct store_opened opened;

    assert_int_equal(store_checkpoint_wal(here->store, true), 0);
    store_free(here->store);
    remove_file(here->directory, WAL_NAME);
    assert_int_equal(store_open(world_posix(), here->directory, STORE_DAEMON, &here->store, &opened), 0);
    assert_true(opened.recovered);
}

/* It is one of the last records of its log, which stay. */
static void whose_amendment_was_pruned_is_not_taken_for_the_newest_version(void **state)
{
    struct here *here = *state;
    struct closed_log first = close_log(here), second;
    struct position_in_log amendment;
    bool amended, withdrawn;

    assert_int_equal(append_about(here->store, RECORD_AMENDMENT, "changed", &first.last, NULL), 0);
    second = close_log(here);
    assert_int_equal(receive(here->store, &first.id, first.size), 0);
    assert_int_equal(receive(here->store, &second.id, second.size), 0);
    assert_int_equal(prune(here, &first), 0);
    remove_all(here);
    assert_int_equal(store_later_versions(here->store, &first.last.at, &amended, &amendment, &withdrawn), 0);
    assert_true(amended);
    assert_int_equal(prune(here, &second), 0);
    remove_all(here);
    assert_true(is_found(here, &first.last.id));
    assert_int_equal(
        store_later_versions(here->store, &first.last.at, &amended, &amendment, &withdrawn), -EIDRM);
    recover_here(here);
    assert_true(is_found(here, &first.last.id));
    assert_int_equal(
        store_later_versions(here->store, &first.last.at, &amended, &amendment, &withdrawn), -EIDRM);
}

static void nothing_goes_while_an_older_log_has_to_stay(void **state)
{
    struct here *here = *state;
    struct closed_log first = close_log(here), second = close_log(here);
    struct uuid found;

    assert_int_equal(receive(here->store, &second.id, second.size), 0);
    assert_int_equal(store_prunable(here->store, OLD_MS, AGE_MS, &found), -ENOENT);
    assert_int_equal(prune(here, &second), -ENOENT);
    assert_int_equal(receive(here->store, &first.id, first.size), 0);
    assert_int_equal(prune(here, &first), 0);
    assert_int_equal(prune(here, &second), 0);
}

static void records_that_were_pruned_are_no_damage_to_whoever_wants_to_send_them(void **state)
{
    struct here *here = *state;
    struct closed_log closed = pruned_log(here);
    struct buffer bytes = {0};
    struct bytes views[4];
    size_t count = 0;

    assert_int_equal(store_outbox_read(here->store, &closed.id, 3, 4, 65536, &bytes, views, &count), -EIDRM);
    assert_int_equal(store_drop_receipt(here->store, &closed.id), 0);
    assert_int_equal(store_outbox_read(here->store, &closed.id, 0, 4, 65536, &bytes, views, &count), -EIDRM);
    assert_false(here->store->damage_marked);
    buffer_done(&bytes);
}

static void when_the_centre_has_gone_back_what_is_left_is_carried_over(void **state)
{
    struct here *here = *state;
    struct closed_log closed = pruned_log(here);
    uint64_t rehomed = 0;
    struct uuid current;
    struct store_log logs[4];
    size_t count;

    struct checkpoint checkpoint = {.size = 100};
    struct buffer note = {0};
    make_note(&note, &checkpoint);
    assert_int_equal(
        store_apply_receipt(here->store, &closed.id, &checkpoint, 1700000001, buffer_bytes(&note), NULL, 0),
        0);
    assert_int_equal(
        store_leave_log(here->store, &author, &closed.id, OPEN_RECOVERED, &current, &rehomed), 0);
    assert_true(uuid_equal(&current, &closed.next));
    /* All but the record that closed the log. */
    assert_int_equal(rehomed, closed.size % TILE_LEAVES - 1);
    assert_int_equal(store_logs(here->store, true, logs, 4, &count), 0);
    assert_int_equal(count, 1);
    assert_true(uuid_equal(&logs[0].id, &closed.next));
    assert_true(is_found(here, &closed.last.id));
    assert_int_equal(store_check(here->store, NULL, NULL), 0);
    buffer_done(&note);
}

/* Nobody may take what was pruned for lost, or wait for it. */
static void assert_counts_as_pruned(struct here *here, const struct closed_log *closed)
{
    struct buffer bytes = {0};
    struct bytes views[4];
    struct store_log logs[8];
    struct uuid found;
    size_t count = 0;

    assert_int_equal(store_outbox_read(here->store, &closed->id, 3, 4, 65536, &bytes, views, &count), -EIDRM);
    assert_int_equal(store_logs(here->store, false, logs, 8, &count), 0);
    assert_true(uuid_equal(&logs[0].id, &closed->id));
    assert_int_equal(logs[0].size, closed->size);
    assert_int_equal(logs[0].receipt_size, closed->size);
    assert_int_equal(logs[0].pruned_size, closed->size - closed->size % TILE_LEAVES);
    assert_int_equal(logs[0].pruned_ms, OLD_MS);
    assert_int_equal(store_prunable(here->store, OLD_MS, AGE_MS, &found), -ENOENT);
    assert_int_equal(store_check(here->store, NULL, NULL), 0);
    assert_int_equal(count_rows(here, "PRAGMA user_version") >> 16, 3);
    buffer_done(&bytes);
}

static void a_recovery_keeps_a_pruned_log_with_its_root_and_sends_nothing_of_it_again(void **state)
{
    struct here *here = *state;
    struct closed_log closed = pruned_log(here);
    struct store_status before = status_of(here->store);
    struct sha256 root;

    assert_int_equal(receive(here->store, &closed.next, 2), 0);
    recover_here(here);
    assert_counts_as_pruned(here, &closed);
    assert_int_equal(store_root_at(here->store, &closed.id, closed.size, &root), 0);
    assert_true(sha256_equal(&root, &closed.root));
    remove_all(here);
    assert_int_equal(status_of(here->store).records_pruned, before.records_pruned);
    assert_notes(here->store, &queued_findings, "behind ");
    assert_int_equal(append_note(here->store, "goes on", NULL), 0);
    assert_true(is_found(here, &closed.last.id));
    assert_false(is_found(here, &closed.first.id));
}

/* As when the daemon ends between two pieces, which are larger than this log. */
static struct closed_log half_removed_log(struct here *here)
{
    static const char sql[] = "DELETE FROM records WHERE key BETWEEN 1 << 40 AND (1 << 40) + 255;"
                              "UPDATE pruned SET removed = 256";
    struct closed_log closed = close_log(here);

    assert_int_equal(receive(here->store, &closed.id, closed.size), 0);
    assert_int_equal(prune(here, &closed), 0);
    assert_int_equal(sqlite3_exec(here->store->database, sql, NULL, NULL, NULL), SQLITE_OK);
    return closed;
}

static void assert_half_is_gone(struct here *here, const struct closed_log *closed)
{
    struct buffer bytes = {0};
    struct bytes views[4];
    struct store_log logs[8];
    struct sha256 root;
    size_t count = 0;

    assert_int_equal(store_logs(here->store, false, logs, 8, &count), 0);
    assert_int_equal(logs[0].pruned_size, 256);
    assert_int_equal(store_outbox_read(here->store, &closed->id, 3, 4, 65536, &bytes, views, &count), -EIDRM);
    assert_int_equal(store_outbox_read(here->store, &closed->id, 256, 4, 65536, &bytes, views, &count), 0);
    assert_int_equal(store_root_at(here->store, &closed->id, closed->size, &root), 0);
    assert_true(sha256_equal(&root, &closed->root));
    assert_int_equal(store_check(here->store, NULL, NULL), 0);
    buffer_done(&bytes);
}

static void a_recovery_knows_how_far_the_removal_had_come(void **state)
{
    struct here *here = *state;
    struct closed_log closed = half_removed_log(here);

    recover_here(here);
    assert_int_equal(store_prune_stop(here->store, &closed.id), 0);
    assert_half_is_gone(here, &closed);
}

static void a_recovery_keeps_what_had_gone_before_the_removal_was_stopped(void **state)
{
    struct here *here = *state;
    struct closed_log closed = half_removed_log(here);

    assert_int_equal(store_prune_stop(here->store, &closed.id), 0);
    assert_half_is_gone(here, &closed);
    recover_here(here);
    assert_half_is_gone(here, &closed);
}

static void a_receipt_that_ends_among_pruned_records_is_no_damage(void **state)
{
    struct here *here = *state;
    struct closed_log closed = pruned_log(here);
    struct checkpoint checkpoint = {.size = 100};
    struct buffer note = {0};

    make_note(&note, &checkpoint);
    assert_int_equal(
        store_apply_receipt(here->store, &closed.id, &checkpoint, 1700000001, buffer_bytes(&note), NULL, 0),
        0);
    assert_int_equal(store_check(here->store, NULL, NULL), 0);
    buffer_done(&note);
}

static void tiles_that_do_not_give_the_signed_root_are_not_taken_over_and_nothing_is_sent_again(void **state)
{
    struct here *here = *state;
    struct closed_log closed = pruned_log(here);
    struct sha256 root;

    assert_int_equal(sqlite3_exec(here->store->database,
                         "UPDATE tiles SET root = (SELECT root FROM tiles WHERE key = (1 << 32) + 1),"
                         " frontier = (SELECT root FROM tiles WHERE key = (1 << 32) + 1) WHERE key = 1 << 32",
                         NULL, NULL, NULL),
        SQLITE_OK);
    assert_int_equal(store_check(here->store, NULL, NULL), -EUCLEAN);
    recover_here(here);
    assert_counts_as_pruned(here, &closed);
    assert_int_equal(store_root_at(here->store, &closed.id, closed.size, &root), -EUCLEAN);
    remove_all(here);
    assert_notes(here->store, &queued_findings, "behind ");
    assert_int_equal(append_note(here->store, "goes on", NULL), 0);
    assert_int_equal(store_check(here->store, NULL, NULL), 0);
}

static void a_log_of_which_nothing_but_tiles_is_left_survives_a_recovery(void **state)
{
    struct here *here = *state;
    struct store_log logs[2];
    size_t count;
    struct sha256 root;

    here->store->rotate_records = 2 * TILE_LEAVES - 1;
    append_many(here->store, 0, 2 * TILE_LEAVES - OWN_RECORDS - 1);
    assert_int_equal(append_note(here->store, "behind", NULL), 0);
    assert_int_equal(store_logs(here->store, false, logs, 2, &count), 0);
    struct closed_log closed = {.id = logs[0].id, .size = logs[0].size, .next = logs[1].id};
    assert_int_equal(closed.size, 2 * TILE_LEAVES);
    assert_int_equal(store_root_at(here->store, &closed.id, closed.size, &closed.root), 0);
    assert_int_equal(receive(here->store, &closed.id, closed.size), 0);
    assert_int_equal(prune(here, &closed), 0);
    remove_all(here);
    assert_int_equal(count_rows(here, "SELECT count(*) FROM records WHERE key >> 40 = 1"), 0);
    recover_here(here);
    assert_counts_as_pruned(here, &closed);
    assert_int_equal(store_root_at(here->store, &closed.id, closed.size, &root), 0);
    assert_true(sha256_equal(&root, &closed.root));
}

static void a_log_stays_while_a_photo_of_it_is_held(void **state)
{
    struct here *here = *state;
    struct store_photo photo = put_photo(here->store, 1, 100, false);
    struct store_blob blob;
    struct uuid found;
    uint64_t freed;

    assert_int_equal(append_with_photos(here->store, "with a photo", &photo, 1, NULL), 0);
    struct closed_log closed = close_log(here);
    assert_int_equal(receive(here->store, &closed.id, closed.size), 0);
    assert_int_equal(store_prunable(here->store, OLD_MS, AGE_MS, &found), -ENOENT);
    assert_int_equal(store_blob_set_state(here->store, &photo.photo.sha256, BLOB_STORED, OLD_MS), 0);
    assert_int_equal(store_prunable(here->store, OLD_MS, AGE_MS, &found), -ENOENT);
    assert_int_equal(store_free_photos(here->store, OLD_MS + 1, 1, &freed), 0);
    assert_int_equal(freed, 1);
    assert_int_equal(store_prunable(here->store, OLD_MS, AGE_MS, &found), 0);
    assert_int_equal(prune(here, &closed), 0);
    remove_all(here);
    assert_int_equal(store_blob_find(here->store, &photo.photo.sha256, &blob), 0);
    assert_int_equal(blob.state, BLOB_FREED);
}

static void an_order_to_erase_what_was_pruned_is_carried_out(void **state)
{
    struct here *here = *state;
    struct closed_log closed = close_log(here);
    struct erased_record erased = {.at = {.log = closed.id, .seq = 20}};
    const struct erasure_order order = {
        .number = 7, .time_ms = 1700000000000, .records = &erased, .record_count = 1};
    uint64_t done = 0;

    assert_int_equal(store_leaf(here->store, &closed.id, 20, &erased.leaf), 0);
    assert_int_equal(receive(here->store, &closed.id, closed.size), 0);
    assert_int_equal(prune(here, &closed), 0);
    remove_all(here);
    assert_int_equal(store_erase(here->store, &order, 1), 0);
    assert_int_equal(store_orders_done(here->store, &done), 0);
    assert_int_equal(done, 7);
    assert_int_equal(store_check(here->store, NULL, NULL), 0);
}

static void a_program_that_knows_of_no_pruning_is_refused_only_when_something_was_pruned(void **state)
{
    struct here *here = *state;
    struct closed_log closed = close_log(here);

    assert_int_equal(receive(here->store, &closed.id, closed.size), 0);
    assert_int_equal(count_rows(here, "PRAGMA user_version") >> 16, 1);
    assert_int_equal(prune(here, &closed), 0);
    assert_int_equal(count_rows(here, "PRAGMA user_version") >> 16, 3);
    store_free(here->store);
    here->store = store_opened_in(here->directory, STORE_DAEMON);
    assert_int_equal(count_rows(here, "PRAGMA user_version") >> 16, 3);
}

/* A receipt that the centre gave at this time. */
static void receive_at(struct here *here, uint64_t time_s)
{
    struct store_status status = status_of(here->store);
    struct checkpoint checkpoint = {.size = status.log_size};
    struct buffer note = {0};

    assert_int_equal(store_root_at(here->store, &status.log, checkpoint.size, &checkpoint.root), 0);
    make_note(&note, &checkpoint);
    assert_int_equal(
        store_apply_receipt(here->store, &status.log, &checkpoint, time_s, buffer_bytes(&note), NULL, 0), 0);
    buffer_done(&note);
}

#define LAST_OF_2026_S UINT64_C(1798761599)

static void a_log_is_left_in_order_after_the_first_receipt_of_a_new_year(void **state)
{
    struct here *here = *state;

    append_many(here->store, 0, 300);
    receive_at(here, LAST_OF_2026_S - 5);
    append_many(here->store, 300, 1);
    receive_at(here, LAST_OF_2026_S);
    append_many(here->store, 301, 1);
    assert_int_equal(status_of(here->store).logs, 1);
    receive_at(here, LAST_OF_2026_S + 1);
    append_many(here->store, 302, 1);
    assert_int_equal(status_of(here->store).logs, 2);
    append_many(here->store, 303, 1);
    receive_at(here, LAST_OF_2026_S + 2);
    append_many(here->store, 304, 300);
    assert_int_equal(status_of(here->store).logs, 2);
}

static void a_short_log_goes_on_over_the_end_of_the_year(void **state)
{
    struct here *here = *state;

    append_many(here->store, 0, 20);
    receive_at(here, LAST_OF_2026_S);
    receive_at(here, LAST_OF_2026_S + 1);
    append_many(here->store, 20, 1);
    assert_int_equal(status_of(here->store).logs, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_a_closed_log_that_is_wholly_receipted_and_old_may_go),
        TEST(a_backup_of_less_or_of_other_records_prunes_nothing),
        TEST(the_records_go_and_every_root_and_count_stays),
        TEST(it_goes_on_where_it_was_broken_off),
        TEST(the_index_of_ids_forgets_what_is_gone),
        TEST(what_was_erased_or_is_in_quarantine_stays_listed),
        TEST(whose_amendment_was_pruned_is_not_taken_for_the_newest_version),
        TEST(nothing_goes_while_an_older_log_has_to_stay),
        TEST(records_that_were_pruned_are_no_damage_to_whoever_wants_to_send_them),
        TEST(when_the_centre_has_gone_back_what_is_left_is_carried_over),
        TEST(a_recovery_keeps_a_pruned_log_with_its_root_and_sends_nothing_of_it_again),
        TEST(a_recovery_knows_how_far_the_removal_had_come),
        TEST(a_recovery_keeps_what_had_gone_before_the_removal_was_stopped),
        TEST(a_receipt_that_ends_among_pruned_records_is_no_damage),
        TEST(tiles_that_do_not_give_the_signed_root_are_not_taken_over_and_nothing_is_sent_again),
        TEST(a_log_of_which_nothing_but_tiles_is_left_survives_a_recovery),
        TEST(a_log_stays_while_a_photo_of_it_is_held),
        TEST(an_order_to_erase_what_was_pruned_is_carried_out),
        TEST(a_program_that_knows_of_no_pruning_is_refused_only_when_something_was_pruned),
        TEST(a_log_is_left_in_order_after_the_first_receipt_of_a_new_year),
        TEST(a_short_log_goes_on_over_the_end_of_the_year),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
