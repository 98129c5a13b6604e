/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of lawful erasure at the centre: server/service_erase.c, and what it asks of exchange, repair and
 * uploads. */
#include "tests/unit/server/erase_scene.h"

static void an_erased_finding_is_in_no_file_and_its_log_keeps_its_root(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    _cleanup_answered_ struct answered audit = {0}, again = {0};

    append_findings(handheld, 300);
    uint64_t seq = append_finding(handheld, MARKER);
    append_findings(handheld, 300);
    deliver(scene->centre, handheld);
    assert_somewhere(scene, MARKER);

    struct service_erasure_report report = erase_record(scene, handheld, seq);
    assert_int_equal(report.order, 1);
    assert_int_equal(report.records, 1);
    assert_nowhere(scene, MARKER);
    struct listing *listing = list_findings(scene->centre);
    assert_int_equal(listing->count, 600);
    assert_null(listed_at(listing, &handheld->log, seq));
    free(listing);
    assert_well(scene);

    audit_with(scene->centre, handheld, &(struct audit_request){.level = AUDIT_RECORDS}, &audit);
    assert_int_equal(audit.audit.erased_count, 1);
    assert_int64_equal(audit.audit.erased[0].first, seq);
    assert_int_equal(audit.audit.missing_count + audit.audit.damaged_count + audit.audit.lost_count, 0);
    assert_true(audit.audit.has_root);

    /* The handheld, which has not heard of it, sends the log again: nothing comes back. */
    exchange(scene->centre, handheld, seq, 2, &again);
    assert_int_equal(again.exchange.outcome, EXCHANGE_STORED);
    assert_nowhere(scene, MARKER);
}

/* What SQLite leaves behind when it splits a page, or frees one, without zeroing it: pages that nothing leads
 * to any more, made here by a connection that does not zero them. */
static void leave_stray_copies(struct scene *scene, const char *marker)
{
    _cleanup_free_ char *path = files_join(scene->centre->directory, "centre.db");
    char sql[256];
    sqlite3 *db = NULL;

    snprintf(sql, sizeof(sql),
        "PRAGMA secure_delete = 0; CREATE TABLE stray(text);"
        " INSERT INTO stray VALUES(replace(hex(zeroblob(20000)), '00', '%s ')); DROP TABLE stray",
        marker);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void what_pages_hold_behind_their_rows_of_an_erased_finding_goes_too(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;

    uint64_t seq = append_finding(handheld, "a finding of no note");
    deliver(scene->centre, handheld);
    leave_stray_copies(scene, MARKER);
    assert_somewhere(scene, MARKER);
    erase_record(scene, handheld, seq);
    assert_nowhere(scene, MARKER);
    assert_well(scene);
}

static void a_dry_run_tells_and_changes_nothing(void **state)
{
    struct scene *scene = *state;
    uint64_t seq = finding_with_photo(scene, scene->handheld);
    struct service_erasure_report report = {0};

    deliver(scene->centre, scene->handheld);
    const struct service_erase_target target = {.id = record_id(scene->handheld, seq)};
    assert_int_equal(try_erase(scene, &target, false, true, &report), 0);
    assert_int_equal(report.order, 0);
    assert_int_equal(report.records, 1);
    assert_int_equal(report.photos, 1);
    centre_shell(scene->centre, "! test -e orders && ! test -e erasing");
    struct listing *listing = list_findings(scene->centre);
    assert_int_equal(listing->count, 1);
    free(listing);
}

static void what_is_not_there_is_refused_and_gives_no_order(void **state)
{
    struct scene *scene = *state;
    struct service_erasure_report report = {0};
    const struct service_erase_target record = {.id = random_uuid()};
    const struct service_erase_target photo = {.is_photo = true, .sha256 = hash_of("nobody named it")};

    deliver(scene->centre, scene->handheld);
    assert_int_equal(try_erase(scene, &record, false, false, &report), -EINVAL);
    assert_int_equal(try_erase(scene, &photo, false, false, &report), -EINVAL);
    centre_shell(scene->centre, "! test -e orders && ! test -e erasing");
}

static void amendments_and_withdrawals_go_with_their_finding(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    uint64_t seq = append_finding(handheld, MARKER);
    struct parent parent = parent_of(handheld, seq);

    append_amendment(handheld, &parent, MARKER " again");
    append_withdrawal(handheld, &parent);
    append_findings(handheld, 1);
    deliver(scene->centre, handheld);
    assert_int_equal(erase_record(scene, handheld, seq).records, 3);
    assert_nowhere(scene, MARKER);
    struct listing *listing = list_findings(scene->centre);
    assert_int_equal(listing->count, 1);
    free(listing);
    assert_well(scene);
}

static void of_an_amendment_only_it_and_what_came_after_it_goes(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    uint64_t seq = append_finding(handheld, "harmless");
    struct parent parent = parent_of(handheld, seq);

    append_amendment(handheld, &parent, "harmless too");
    uint64_t second = append_amendment(handheld, &parent, MARKER);
    append_amendment(handheld, &parent, MARKER " and more");
    deliver(scene->centre, handheld);
    assert_int_equal(erase_record(scene, handheld, second).records, 2);
    assert_nowhere(scene, MARKER);
    struct listing *listing = list_findings(scene->centre);
    assert_int_equal(listing->count, 2);
    assert_string_equal(listed_at(listing, &handheld->log, seq)->state, "amended");
    assert_string_equal(listed_at(listing, &handheld->log, seq + 1)->state, "stored");
    free(listing);
    erase_record(scene, handheld, seq + 1);
    listing = list_findings(scene->centre);
    assert_string_equal(listed_at(listing, &handheld->log, seq)->state, "stored");
    free(listing);
    assert_well(scene);
}

static void assert_reason(
    const struct listing *listing, const struct uuid *log, uint64_t seq, const char *expected)
{
    const struct listed *listed = listed_at(listing, log, seq);

    assert_true(listed && strstr(listed->reason, expected));
}

static void an_amendment_that_comes_after_its_finding_was_erased_says_so(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    uint64_t seq = append_finding(handheld, MARKER);
    struct parent parent = parent_of(handheld, seq);

    deliver(scene->centre, handheld);
    erase_record(scene, handheld, seq);
    uint64_t late = append_amendment(handheld, &parent, "it was made before the order came");
    _cleanup_answered_ struct answered answered = {0};
    exchange(scene->centre, handheld, late, 1, &answered);
    assert_int_equal(answered.exchange.outcome, EXCHANGE_STORED);
    struct listing *listing = list_findings(scene->centre);
    assert_string_equal(listed_at(listing, &handheld->log, late)->state, "quarantined");
    assert_reason(listing, &handheld->log, late, "erased by order");
    free(listing);
    assert_well(scene);
    /* And it can be erased as well. */
    assert_int_equal(erase_record(scene, handheld, late).order, 2);
}

static void a_record_goes_wherever_it_was_rehomed(void **state)
{
    struct scene *scene = *state;
    struct handheld *old = scene->handheld, *next = next_log(old), *third = next_log(old);
    uint64_t seq = append_finding(old, MARKER);

    deliver(scene->centre, old);
    append_opened(next);
    append_rehomed(next, &old->log, seq, old->records[seq]);
    deliver(scene->centre, next);
    erase_record(scene, old, seq);
    assert_nowhere(scene, MARKER);
    /* One more copy of it, which was on its way, is taken as its leaf. */
    append_opened(third);
    append_rehomed(third, &old->log, seq, old->records[seq]);
    append_findings(third, 1);
    deliver(scene->centre, third);
    assert_nowhere(scene, MARKER);
    assert_well(scene);
    handheld_free(next);
    handheld_free(third);
}

static void of_a_record_that_only_came_rehomed_its_first_place_is_named_too(void **state)
{
    struct scene *scene = *state;
    struct handheld *old = scene->handheld, *next = next_log(old);
    _cleanup_answered_ struct answered answered = {0};

    deliver(scene->centre, old); /* `opened` alone */
    uint64_t seq = append_finding(old, MARKER);
    append_opened(next);
    append_rehomed(next, &old->log, seq, old->records[seq]);
    deliver(scene->centre, next);
    erase_record(scene, old, seq); /* it is listed under its first id */
    assert_nowhere(scene, MARKER);
    exchange(scene->centre, next, 2, 0, &answered);
    assert_int_equal(answered.exchange.erasure_count, 1);
    assert_int_equal(answered.exchange.erasures[0].record_count, 2);
    handheld_free(next);
}

static void a_finding_takes_its_photo_with_it(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    _cleanup_answered_ struct answered answered = {0};
    struct service_upload upload_found;
    char *path = NULL;

    uint64_t seq = finding_with_photo(scene, handheld);
    deliver(scene->centre, handheld);
    upload(scene);
    assert_somewhere(scene, PHOTO_MARKER);
    assert_int_equal(erase_record(scene, handheld, seq).photos, 1);
    assert_nowhere(scene, PHOTO_MARKER);
    assert_int_equal(service_blob_path(scene->centre->service, &scene->sha256, &path), -ENOENT);
    exchange(scene->centre, handheld, handheld->count, 0, &answered);
    assert_int_equal(answered.exchange.wanted_blob_count, 0);
    assert_int_equal(answered.exchange.erasures[0].blob_count, 1);
    assert_int_equal(service_upload_create(scene->centre->service, &handheld->device, &scene->sha256,
                         PHOTO_BYTES, &upload_found),
        -EACCES);
}

static void a_photo_that_another_finding_names_stays_until_it_is_named_itself(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    struct service_erasure_report report = {0};
    _cleanup_answered_ struct answered audit = {0};

    uint64_t seq = finding_with_photo(scene, handheld);
    finding_with_photo(scene, handheld);
    deliver(scene->centre, handheld);
    upload(scene);
    report = erase_record(scene, handheld, seq);
    assert_int_equal(report.photos, 0);
    assert_int_equal(report.photos_kept, 1);
    assert_somewhere(scene, PHOTO_MARKER);

    const struct service_erase_target photo = {.is_photo = true, .sha256 = scene->sha256};
    assert_int_equal(try_erase(scene, &photo, false, false, &report), 0);
    assert_nowhere(scene, PHOTO_MARKER);
    struct listing *listing = list_findings(scene->centre);
    assert_int_equal(listing->count, 1);
    assert_false(listing->rows[0].complete);
    free(listing);
    audit_with(scene->centre, handheld, &(struct audit_request){.level = AUDIT_MEDIA}, &audit);
    assert_int_equal(audit.audit.blob_count, 1);
    assert_int_equal(audit.audit.blobs[0].condition, BLOB_ERASED);
    assert_well(scene);
}

static void a_photo_goes_with_its_preview_whichever_was_named(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    const struct sha256 previews[] = {hash_of("preview 0"), hash_of("preview 1")};
    const struct sha256 photos[] = {scene->sha256, hash_of("photo 1")};
    struct service_erasure_report report = {0};

    append_finding_with_photo(handheld, &photos[0], PHOTO_BYTES, &previews[0]);
    append_finding_with_photo(handheld, &photos[1], PHOTO_BYTES, &previews[1]);
    deliver(scene->centre, handheld);
    const struct service_erase_target by_photo = {.is_photo = true, .sha256 = photos[0]};
    const struct service_erase_target by_preview = {.is_photo = true, .sha256 = previews[1]};
    assert_int_equal(try_erase(scene, &by_photo, false, false, &report), 0);
    assert_int_equal(report.photos, 2);
    assert_int_equal(try_erase(scene, &by_preview, false, false, &report), 0);
    assert_int_equal(report.photos, 2);
    assert_int_equal(centre_sql(scene->centre, "SELECT count(*) FROM blobs WHERE state = 2"), 4);
}

static void photos_only_leaves_the_record(void **state)
{
    struct scene *scene = *state;
    struct service_erasure_report report = {0};

    uint64_t seq = finding_with_photo(scene, scene->handheld);
    deliver(scene->centre, scene->handheld);
    upload(scene);
    const struct service_erase_target target = {.id = record_id(scene->handheld, seq)};
    assert_int_equal(try_erase(scene, &target, true, false, &report), 0);
    assert_int_equal(report.records, 0);
    assert_int_equal(report.photos, 1);
    assert_nowhere(scene, PHOTO_MARKER);
    struct listing *listing = list_findings(scene->centre);
    assert_int_equal(listing->count, 1);
    free(listing);
    assert_well(scene);
}

/* All bytes of the photo are there, and nobody has looked at them. */
static struct service_patch *all_but_the_end(struct scene *scene)
{
    struct service *service = scene->centre->service;
    const struct uuid *device = &scene->handheld->device;
    struct service_patch *patch;
    struct service_upload found;

    assert_int_equal(service_upload_create(service, device, &scene->sha256, PHOTO_BYTES, &found), 0);
    assert_int_equal(service_patch_begin(service, device, &scene->sha256, 0, NULL, &patch), 0);
    assert_int_equal(service_patch_write(patch, scene->photo, PHOTO_BYTES), 0);
    return patch;
}

static void a_photo_that_was_on_its_way_when_it_was_erased_does_not_come_in(void **state)
{
    struct scene *scene = *state;
    struct service *service = scene->centre->service;
    struct service_upload found;
    bool stored = false;

    uint64_t seq = finding_with_photo(scene, scene->handheld);
    deliver(scene->centre, scene->handheld);
    struct service_patch *patch = all_but_the_end(scene);
    erase_record(scene, scene->handheld, seq);
    if (service_patch_end(patch, true, &found, &stored) >= 0 && stored)
        assert_int_equal(service_blob_stored(service, &scene->sha256, PHOTO_BYTES), 0);
    assert_nowhere(scene, PHOTO_MARKER);
    centre_restart(scene->centre);
    assert_nowhere(scene, PHOTO_MARKER);
}

static void a_photo_that_came_whole_just_before_it_was_erased_is_not_entered(void **state)
{
    struct scene *scene = *state;
    struct service *service = scene->centre->service;
    struct service_upload found;
    bool stored = false;

    uint64_t seq = finding_with_photo(scene, scene->handheld);
    deliver(scene->centre, scene->handheld);
    struct service_patch *patch = all_but_the_end(scene);
    assert_int_equal(service_patch_end(patch, true, &found, &stored), 0);
    assert_true(stored);
    erase_record(scene, scene->handheld, seq);
    assert_int_equal(service_blob_stored(service, &scene->sha256, PHOTO_BYTES), 0);
    assert_int_equal(centre_sql(scene->centre, "SELECT state FROM blobs"), 2); /* erased */
    assert_nowhere(scene, PHOTO_MARKER);
}

static void a_centre_without_the_record_takes_its_leaf_if_the_root_proves_it(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    _cleanup_answered_ struct answered wrong = {0}, bare = {0}, right = {0}, audit = {0};

    uint64_t seq = append_finding(handheld, MARKER);
    append_findings(handheld, 3);
    turn_into_leaf(handheld, seq);
    const struct sha256 other = hash_of("another leaf");
    const struct exchange_request lies = {.erased_leaves = &other, .erased_leaf_count = 1};
    const struct exchange_request tells = {.erased_leaves = &handheld->leaves[seq], .erased_leaf_count = 1};
    exchange_with(scene->centre, handheld, 0, handheld->count, &lies, &wrong);
    assert_int_equal(wrong.exchange.outcome, EXCHANGE_ROOT_MISMATCH);
    exchange(scene->centre, handheld, 0, handheld->count, &bare); /* as an old centre would read it */
    assert_int_equal(bare.exchange.outcome, EXCHANGE_ROOT_MISMATCH);
    exchange_with(scene->centre, handheld, 0, handheld->count, &tells, &right);
    assert_int_equal(right.exchange.outcome, EXCHANGE_STORED);
    assert_int64_equal(read_receipt(handheld, right.exchange.receipt).size, handheld->count);

    audit_with(scene->centre, handheld, &(struct audit_request){.level = AUDIT_RECORDS}, &audit);
    assert_int_equal(audit.audit.erased_count, 1);
    assert_int_equal(audit.audit.missing_count + audit.audit.damaged_count, 0);
    /* No order of this centre is about it. */
    assert_int_equal(centre_sql(scene->centre, "SELECT count(*) FROM alarms WHERE kind = 7"), 1);
    struct listing *listing = list_findings(scene->centre);
    assert_int_equal(listing->count, 3);
    free(listing);
    assert_well(scene);
}

static void a_repair_does_not_bring_back_what_was_erased(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    _cleanup_answered_ struct answered answered = {0};
    struct repair_run run = {.first_seq = 0, .records = handheld->records, .record_count = 2};

    uint64_t seq = append_finding(handheld, MARKER);
    deliver(scene->centre, handheld);
    erase_record(scene, handheld, seq);
    centre_sql(scene->centre, "DELETE FROM records WHERE key % 1099511627776 = 1");
    repair(scene, &(struct repair_request){.runs = &run, .run_count = 1}, &answered);
    assert_int64_equal(answered.repair.records_mended, 2);
    assert_nowhere(scene, MARKER);
    assert_int_equal(centre_sql(scene->centre, "SELECT count(*) FROM records WHERE state = 1"), 1);
    assert_well(scene);
}

static void a_row_that_is_gone_comes_back_as_the_leaf_that_the_handheld_has_left(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    _cleanup_answered_ struct answered answered = {0};

    uint64_t seq = append_finding(handheld, MARKER);
    append_findings(handheld, 2);
    deliver(scene->centre, handheld);
    erase_record(scene, handheld, seq);
    centre_sql(scene->centre, "DELETE FROM records WHERE key % 1099511627776 = 1");
    repair(scene,
        &(struct repair_request){
            .erased_seqs = &seq, .erased_leaves = &handheld->leaves[seq], .erased_count = 1},
        &answered);
    assert_false(answered.is_refused);
    assert_int_equal(centre_sql(scene->centre, "SELECT state FROM records WHERE key % 1099511627776 = 1"), 1);
    assert_int_equal(centre_sql(scene->centre, "SELECT count(*) FROM alarms"), 0);
    assert_well(scene);
}

static void a_leaf_that_no_root_proves_counts_as_lost(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    _cleanup_answered_ struct answered answered = {0};
    const struct sha256 wrong = hash_of("another leaf");

    uint64_t seq = append_finding(handheld, MARKER);
    append_findings(handheld, 2);
    deliver(scene->centre, handheld);
    centre_sql(scene->centre, "DELETE FROM records WHERE key % 1099511627776 = 1");
    repair(scene, &(struct repair_request){.erased_seqs = &seq, .erased_leaves = &wrong, .erased_count = 1},
        &answered);
    assert_int_equal(centre_sql(scene->centre, "SELECT state FROM records WHERE key % 1099511627776 = 1"), 2);
}

static void a_handheld_cannot_erase_what_the_centre_has(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    _cleanup_answered_ struct answered answered = {0};

    uint64_t seq = append_finding(handheld, "evidence against its owner");
    deliver(scene->centre, handheld);
    repair(scene,
        &(struct repair_request){
            .erased_seqs = &seq, .erased_leaves = &handheld->leaves[seq], .erased_count = 1},
        &answered);
    struct listing *listing = list_findings(scene->centre);
    assert_int_equal(listing->count, 1);
    free(listing);
    assert_somewhere(scene, "evidence against its owner");
}

/* ---- what is damaged here ---- */

struct told_lines {
    char lines[1024];
};

static void note_line(void *user, const char *line)
{
    struct told_lines *told = user;
    size_t len = strlen(told->lines);

    snprintf(told->lines + len, sizeof(told->lines) - len, "%s\n", line);
}

/* Is refused with this said, and gives no order. */
static void assert_refused_saying(
    struct scene *scene, const struct service_erase_target *targets, size_t count, const char *said)
{
    struct told_lines told = {{0}};
    const struct service_erasure erasure = {.targets = targets,
        .target_count = count,
        .by = "the clerk",
        .reason = "court order 12/3",
        .told = note_line,
        .user = &told};
    struct service_erasure_report report = {0};

    assert_int_equal(service_erase(scene->centre->service, &erasure, &report), -EINVAL);
    assert_non_null(strstr(told.lines, said));
    centre_shell(scene->centre, "! test -e orders && ! test -e erasing");
}

static void no_order_is_written_from_a_damaged_record(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    uint64_t seq = append_finding(handheld, MARKER);
    struct repair_run run = {.first_seq = 0, .records = handheld->records, .record_count = 2};
    _cleanup_answered_ struct answered answered = {0};

    deliver(scene->centre, handheld);
    const struct service_erase_target target = {.id = record_id(handheld, seq)};
    centre_sql(scene->centre, "UPDATE records SET bytes = zeroblob(9) WHERE key % 1099511627776 = 1");
    assert_refused_saying(scene, &target, 1, "its copy here is damaged; run patrol-server resync first");
    repair(scene, &(struct repair_request){.runs = &run, .run_count = 1}, &answered);
    assert_int64_equal(answered.repair.records_mended, 2);
    assert_int_equal(erase_record(scene, handheld, seq).records, 1);
    assert_nowhere(scene, MARKER);
}

/* The amendment goes with its finding. */
static void no_order_is_written_when_a_record_that_goes_along_is_gone(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    uint64_t seq = append_finding(handheld, "harmless");
    struct parent parent = parent_of(handheld, seq);

    append_amendment(handheld, &parent, MARKER);
    deliver(scene->centre, handheld);
    const struct service_erase_target target = {.id = record_id(handheld, seq)};
    centre_sql(scene->centre, "DELETE FROM records WHERE key % 1099511627776 = 2");
    assert_refused_saying(scene, &target, 1, "its copy here is damaged");
}

static void no_order_is_written_when_a_rehomed_copy_has_a_damaged_leaf(void **state)
{
    struct scene *scene = *state;
    struct handheld *old = scene->handheld, *next = next_log(old);
    uint64_t seq = append_finding(old, MARKER);

    deliver(scene->centre, old);
    append_opened(next);
    append_rehomed(next, &old->log, seq, old->records[seq]);
    deliver(scene->centre, next);
    const struct service_erase_target target = {.id = record_id(old, seq)};
    centre_sql(scene->centre, "UPDATE records SET leaf = zeroblob(32) WHERE key = (2 << 40) + 1");
    assert_refused_saying(scene, &target, 1, "record 1 of log ");
    handheld_free(next);
}

static void a_record_that_is_in_neither_place_can_be_erased(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    _cleanup_answered_ struct answered answered = {0};

    uint64_t seq = append_finding(handheld, MARKER);
    append_findings(handheld, 1);
    deliver(scene->centre, handheld);
    centre_sql(scene->centre, "UPDATE records SET bytes = zeroblob(9) WHERE key % 1099511627776 = 1");
    repair(scene,
        &(struct repair_request){.lost_seqs = &seq, .lost_leaves = &handheld->leaves[seq], .lost_count = 1},
        &answered);
    assert_int_equal(centre_sql(scene->centre, "SELECT state FROM records WHERE key % 1099511627776 = 1"), 2);
    assert_int_equal(erase_record(scene, handheld, seq).records, 1);
    assert_nowhere(scene, MARKER);
    struct listing *listing = list_findings(scene->centre);
    assert_int_equal(listing->count, 1);
    free(listing);
}

static void what_a_handheld_has_erased_on_its_own_word_an_order_takes_off_the_list(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    _cleanup_answered_ struct answered answered = {0};

    uint64_t seq = append_finding(handheld, MARKER);
    append_findings(handheld, 1);
    deliver(scene->centre, handheld);
    centre_sql(scene->centre, "DELETE FROM records WHERE key % 1099511627776 = 1");
    repair(scene,
        &(struct repair_request){
            .erased_seqs = &seq, .erased_leaves = &handheld->leaves[seq], .erased_count = 1},
        &answered);
    struct listing *listing = list_findings(scene->centre);
    assert_int_equal(listing->count, 2);
    free(listing);
    assert_int_equal(erase_record(scene, handheld, seq).records, 1);
    assert_nowhere(scene, MARKER);
    listing = list_findings(scene->centre);
    assert_int_equal(listing->count, 1);
    free(listing);
}

static void a_photo_that_no_record_names_any_more_is_not_said_to_be_erased(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    struct service_check_report report = {0};

    uint64_t seq = append_finding(handheld, "to be erased as well");
    finding_with_photo(scene, handheld);
    deliver(scene->centre, handheld);
    upload(scene);
    centre_sql(scene->centre, "UPDATE records SET bytes = zeroblob(9) WHERE key % 1099511627776 = 2");
    assert_int_equal(service_check(scene->centre->service, false, true, NULL, NULL, &report), -EUCLEAN);
    const struct service_erase_target targets[] = {
        {.id = record_id(handheld, seq)}, {.is_photo = true, .sha256 = scene->sha256}};
    assert_refused_saying(scene, targets, 2, "no record that is here names it now");
    assert_somewhere(scene, PHOTO_MARKER);
}

/* ---- what waits ---- */

/* Of a record that another copy of the handheld has written at this position, say. */
static void what_waits_for_another_record_at_the_position_stays(void **state)
{
    struct scene *scene = *state;
    struct handheld *handheld = scene->handheld;
    uint64_t seq = append_finding(handheld, MARKER);
    struct parent parent = parent_of(handheld, seq);

    parent.id.b[3] ^= 1;
    uint64_t waits = append_amendment(handheld, &parent, "of something else");
    deliver(scene->centre, handheld);
    assert_int_equal(erase_record(scene, handheld, seq).records, 1);
    struct listing *listing = list_findings(scene->centre);
    assert_int_equal(listing->count, 1);
    assert_non_null(listed_at(listing, &handheld->log, waits));
    free(listing);
}

static void what_waits_for_the_record_goes_with_it(void **state)
{
    struct scene *scene = *state;
    struct handheld *old = scene->handheld, *next = next_log(old);

    deliver(scene->centre, old); /* `opened` alone */
    uint64_t seq = append_finding(old, MARKER);
    struct parent parent = parent_of(old, seq);
    append_opened(next);
    append_amendment(next, &parent, MARKER " again");
    struct parent amendment = parent_of(next, 1);
    append_amendment(next, &amendment, MARKER " and again");
    deliver(scene->centre, next);
    assert_int_equal(erase_record(scene, next, 1).records, 2);
    assert_nowhere(scene, MARKER);
    handheld_free(next);
}

static void an_amendment_of_an_erased_finding_that_only_came_rehomed_says_so(void **state)
{
    struct scene *scene = *state;
    struct handheld *old = scene->handheld, *next = next_log(old);

    deliver(scene->centre, old); /* `opened` alone */
    uint64_t seq = append_finding(old, MARKER);
    struct parent parent = parent_of(old, seq);
    append_opened(next);
    append_rehomed(next, &old->log, seq, old->records[seq]);
    deliver(scene->centre, next);
    erase_record(scene, old, seq); /* it is listed under its first id */
    uint64_t late = append_amendment(next, &parent, "it was made before the order came");
    parent.id.b[3] ^= 1;
    uint64_t other = append_amendment(next, &parent, "of another record there");
    _cleanup_answered_ struct answered answered = {0};
    exchange(scene->centre, next, late, 2, &answered);
    assert_int_equal(answered.exchange.outcome, EXCHANGE_STORED);
    struct listing *listing = list_findings(scene->centre);
    assert_reason(listing, &next->log, late, "erased by order");
    assert_reason(listing, &next->log, other, "not known yet");
    free(listing);
    handheld_free(next);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_erased_finding_is_in_no_file_and_its_log_keeps_its_root),
        TEST(what_pages_hold_behind_their_rows_of_an_erased_finding_goes_too),
        TEST(a_dry_run_tells_and_changes_nothing),
        TEST(what_is_not_there_is_refused_and_gives_no_order),
        TEST(amendments_and_withdrawals_go_with_their_finding),
        TEST(of_an_amendment_only_it_and_what_came_after_it_goes),
        TEST(an_amendment_that_comes_after_its_finding_was_erased_says_so),
        TEST(a_record_goes_wherever_it_was_rehomed),
        TEST(of_a_record_that_only_came_rehomed_its_first_place_is_named_too),
        TEST(a_finding_takes_its_photo_with_it),
        TEST(a_photo_that_another_finding_names_stays_until_it_is_named_itself),
        TEST(a_photo_goes_with_its_preview_whichever_was_named),
        TEST(photos_only_leaves_the_record),
        TEST(a_photo_that_was_on_its_way_when_it_was_erased_does_not_come_in),
        TEST(a_centre_without_the_record_takes_its_leaf_if_the_root_proves_it),
        TEST(a_repair_does_not_bring_back_what_was_erased),
        TEST(a_row_that_is_gone_comes_back_as_the_leaf_that_the_handheld_has_left),
        TEST(a_leaf_that_no_root_proves_counts_as_lost),
        TEST(a_handheld_cannot_erase_what_the_centre_has),
        TEST(a_photo_that_came_whole_just_before_it_was_erased_is_not_entered),
        TEST(no_order_is_written_from_a_damaged_record),
        TEST(no_order_is_written_when_a_record_that_goes_along_is_gone),
        TEST(no_order_is_written_when_a_rehomed_copy_has_a_damaged_leaf),
        TEST(a_record_that_is_in_neither_place_can_be_erased),
        TEST(what_a_handheld_has_erased_on_its_own_word_an_order_takes_off_the_list),
        TEST(a_photo_that_no_record_names_any_more_is_not_said_to_be_erased),
        TEST(what_waits_for_another_record_at_the_position_stays),
        TEST(what_waits_for_the_record_goes_with_it),
        TEST(an_amendment_of_an_erased_finding_that_only_came_rehomed_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
