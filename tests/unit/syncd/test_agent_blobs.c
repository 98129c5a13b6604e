/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of syncd/agent/agent.h: uploads, and what lets a photo count as stored. */
#include "tests/unit/syncd/agent_story.h"

#include <sys/stat.h>

static enum blob_state state_of(struct agent_story *story, const struct sha256 *photo)
{
    struct store_blob blob;

    assert_int_equal(store_blob_find(story->store, photo, &blob), 0);
    return blob.state;
}

/* Answers until an upload request of this method is in flight. */
static void answer_until(struct agent_story *story, const char *method)
{
    for (size_t i = 0; i < 100; i++) {
        if (story->sent[2].busy && strcmp(story->sent[2].method, method) == 0)
            return;
        for (uint32_t slot = 0; slot < ENGINE_SLOTS_MAX; slot++) {
            if (story->sent[slot].busy) {
                agent_story_answer(story, slot);
                break;
            }
        }
    }
    fail_msg("no %s came", method);
}

static char *long_content(size_t len)
{
    char *content = malloc(len + 1);

    for (size_t i = 0; i < len; i++)
        content[i] = (char)('a' + (i * 7 + i / 911) % 26);
    content[len] = 0;
    return content;
}

static void break_file(struct agent_story *story, const struct sha256 *photo, const char *content)
{
    _cleanup_free_ char *path = store_blob_path(story->store, photo);
    FILE *file;

    assert_int_equal(chmod(path, 0600), 0);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(content, file);
    fclose(file);
}

static void remove_photo(struct agent_story *story, const struct sha256 *photo)
{
    _cleanup_free_ char *path = store_blob_path(story->store, photo);

    assert_int_equal(unlink(path), 0);
}

static void a_photo_is_uploaded_in_chunks_and_confirmed_by_a_signed_list(void **state)
{
    struct agent_story story;
    _cleanup_free_ char *content = long_content(300000);
    struct sha256 photo;

    agent_story_begin(&story);
    photo = agent_story_photo(&story, "with a photo", content);
    agent_story_settle(&story);
    assert_int_equal(state_of(&story, &photo), BLOB_STORED);
    assert_int_equal(story.centre.posts, 1);
    assert_true(story.centre.patches >= 2);
    assert_int_equal(story.syncs_done, 1);
    agent_story_end(&story);
}

static void a_photos_age_is_counted_by_the_clock_of_the_centre_that_signed_for_it(void **state)
{
    const uint64_t age_ms = 3600000;
    struct agent_story story;
    uint64_t freed;

    agent_story_begin(&story);
    (void)agent_story_photo(&story, "with a photo", "content");
    agent_story_settle(&story);
    int64_t signed_ms = story.centre.time_ms;
    assert_int_equal(store_free_photos(story.store, signed_ms + (int64_t)age_ms - 1, age_ms, &freed), 0);
    assert_int_equal(freed, 0);
    assert_int_equal(store_free_photos(story.store, signed_ms + (int64_t)age_ms, age_ms, &freed), 0);
    assert_int_equal(freed, 1);
    agent_story_end(&story);
}

static void all_bytes_sent_is_not_stored_until_the_centre_has_signed_it(void **state)
{
    struct agent_story story;
    struct agent_status status;
    struct sha256 photo;

    agent_story_begin(&story);
    story.centre.confirms_blobs = false;
    photo = agent_story_photo(&story, "with a photo", "a short photo");
    for (size_t i = 0; i < 20; i++) {
        agent_story_settle(&story);
        agent_story_wait(&story, 10000);
    }
    assert_true(story.centre.blobs[0].stored);
    assert_int_equal(state_of(&story, &photo), BLOB_PENDING);
    assert_int_equal(story.syncs_done, 0);
    assert_int_equal(agent_status(story.agent, &status), 0);
    assert_false(status.all_acknowledged);
    story.centre.confirms_blobs = true;
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_int_equal(state_of(&story, &photo), BLOB_STORED);
    assert_int_equal(story.syncs_done, 1);
    agent_story_end(&story);
}

static void a_backed_up_photo_is_known_as_such(void **state)
{
    struct agent_story story;
    struct sha256 photo;

    agent_story_begin(&story);
    photo = agent_story_photo(&story, "with a photo", "a short photo");
    agent_story_settle(&story);
    assert_int_equal(state_of(&story, &photo), BLOB_STORED);
    story.centre.blobs[0].backed_up = true;
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_int_equal(state_of(&story, &photo), BLOB_BACKED_UP);
    agent_story_end(&story);
}

static void an_upload_goes_on_where_it_was_cut_after_a_restart(void **state)
{
    struct agent_story story;
    _cleanup_free_ char *content = long_content(300000);
    struct sha256 photo;
    size_t there;

    agent_story_begin(&story);
    photo = agent_story_photo(&story, "with a photo", content);
    answer_until(&story, "PATCH");
    agent_story_answer(&story, 2);
    there = story.centre.blobs[0].bytes.len;
    assert_true(there > 0);
    agent_story_restart(&story);
    agent_story_settle(&story);
    assert_int_equal(state_of(&story, &photo), BLOB_STORED);
    assert_int_equal(story.centre.blobs[0].bytes.len, 300000);
    assert_int_equal(story.centre.posts, 2);
    agent_story_end(&story);
}

static void an_upload_goes_on_where_the_centre_says_after_a_broken_connection(void **state)
{
    struct agent_story story;
    _cleanup_free_ char *content = long_content(300000);
    struct sha256 photo;

    agent_story_begin(&story);
    photo = agent_story_photo(&story, "with a photo", content);
    answer_until(&story, "PATCH");
    /* Half of the chunk arrived before the connection broke. */
    buffer_put(&story.centre.blobs[0].bytes, story.sent[2].body.data, story.sent[2].body.len / 2);
    agent_story_fail(&story, 2, FAILURE_NETWORK);
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_true(story.centre.heads >= 1);
    assert_int_equal(story.centre.posts, 1);
    assert_int_equal(state_of(&story, &photo), BLOB_STORED);
    agent_story_end(&story);
}

static void a_photo_the_centre_has_already_is_confirmed_without_a_byte_of_it(void **state)
{
    struct agent_story story;
    struct sha256 photo;

    agent_story_begin(&story);
    photo = agent_story_photo(&story, "with a photo", "a short photo");
    /* Uploaded and stored, but the answers were lost with the process. */
    answer_until(&story, "PATCH");
    {
        _cleanup_(centre_reply_done) struct centre_reply lost = {0};

        centre_answer(&story, 2, &lost);
    }
    assert_true(story.centre.blobs[0].stored);
    agent_story_restart(&story);
    agent_story_settle(&story);
    assert_int_equal(state_of(&story, &photo), BLOB_STORED);
    assert_int_equal(story.centre.patches, 1);
    agent_story_end(&story);
}

static void a_photo_that_is_gone_is_told_and_blocks_nothing(void **state)
{
    struct agent_story story;
    struct sha256 gone, well;

    agent_story_begin(&story);
    gone = agent_story_photo(&story, "photo that goes", "this one goes");
    well = agent_story_photo(&story, "photo that stays", "this one stays");
    remove_photo(&story, &gone);
    agent_story_settle(&story);
    assert_int_equal(state_of(&story, &gone), BLOB_STATE_LOST);
    assert_int_equal(state_of(&story, &well), BLOB_STORED);
    assert_int_equal(story.alarms, 1);
    /* The loss itself is a record, and has been sent. */
    struct store_status status = agent_story_status(&story);
    assert_int_equal(status.log_size, 2 + 2 + 1);
    assert_int_equal(status.receipt_size, status.log_size);
    assert_int_equal(story.syncs_done, 1);
    agent_story_end(&story);
}

/* They had been freed, and what knew of that went with a damaged database. */
static void photos_that_are_gone_here_and_stored_at_the_centre_are_not_called_lost(void **state)
{
    struct agent_story story;
    struct sha256 photos[24];
    char content[32];

    agent_story_begin(&story);
    for (unsigned i = 0; i < ARRAY_LEN(photos); i++) {
        snprintf(content, sizeof(content), "photo number %u", i);
        photos[i] = agent_story_photo(&story, "with a photo", content);
    }
    agent_story_settle(&story);
    for (unsigned i = 0; i < ARRAY_LEN(photos); i++) {
        assert_int_equal(store_blob_set_state(story.store, &photos[i], BLOB_PENDING, 0), 0);
        remove_photo(&story, &photos[i]);
    }
    agent_story_restart(&story);
    agent_story_settle(&story);
    for (unsigned i = 0; i < ARRAY_LEN(photos); i++)
        assert_int_equal(state_of(&story, &photos[i]), BLOB_STORED);
    assert_int_equal(story.alarms, 0);
    agent_story_end(&story);
}

static void a_photo_altered_on_disk_is_never_sent(void **state)
{
    struct agent_story story;
    struct sha256 altered, shorter;

    agent_story_begin(&story);
    altered = agent_story_photo(&story, "altered", "the right bytes");
    shorter = agent_story_photo(&story, "shorter", "the whole of it");
    break_file(&story, &altered, "the wrong bytes");
    break_file(&story, &shorter, "the whole");
    agent_story_settle(&story);
    assert_int_equal(state_of(&story, &altered), BLOB_STATE_LOST);
    assert_int_equal(state_of(&story, &shorter), BLOB_STATE_LOST);
    assert_int_equal(story.centre.patches, 0);
    assert_int_equal(story.centre.posts, 0);
    agent_story_end(&story);
}

static void a_file_that_goes_in_the_middle_of_its_upload_ends_it(void **state)
{
    struct agent_story story;
    _cleanup_free_ char *content = long_content(300000);
    struct sha256 photo;

    agent_story_begin(&story);
    photo = agent_story_photo(&story, "with a photo", content);
    answer_until(&story, "PATCH");
    remove_photo(&story, &photo);
    agent_story_settle(&story);
    assert_int_equal(state_of(&story, &photo), BLOB_STATE_LOST);
    assert_int_equal(story.syncs_done, 1);
    agent_story_end(&story);
}

static void lose_photo(struct agent_story *story)
{
    story->centre.blobs[0].stored = false;
    buffer_clear(&story->centre.blobs[0].bytes);
}

static void a_stored_photo_that_the_centre_lost_is_sent_again(void **state)
{
    struct agent_story story;
    struct sha256 photo;

    agent_story_begin(&story);
    photo = agent_story_photo(&story, "with a photo", "a short photo");
    agent_story_settle(&story);
    lose_photo(&story);
    story.centre.wanted = (struct blob_have){.sha256 = photo};
    story.centre.has_wanted = true;
    agent_sync_now(story.agent);
    agent_story_answer(&story, 0);
    assert_int_equal(state_of(&story, &photo), BLOB_PENDING);
    story.centre.has_wanted = false;
    agent_story_settle(&story);
    assert_int_equal(state_of(&story, &photo), BLOB_STORED);
    assert_true(story.centre.blobs[0].stored);
    agent_story_end(&story);
}

/* A photo whose last byte has just been sent, and its confirmation is being asked for. */
static struct sha256 upload_and_ask(struct agent_story *story)
{
    struct sha256 photo = agent_story_photo(story, "with a photo", "a short photo");

    answer_until(story, "PATCH");
    agent_story_answer(story, 2);
    assert_true(story->centre.blobs[0].stored);
    assert_true(story->sent[0].busy);
    assert_false(story->sent[2].busy);
    return photo;
}

static void a_photo_that_the_centre_does_not_list_after_its_upload_is_sent_again_at_once(void **state)
{
    struct agent_story story;
    struct sha256 photo;

    agent_story_begin(&story);
    photo = upload_and_ask(&story);
    lose_photo(&story);
    agent_story_answer(&story, 0);
    assert_true(story.sent[2].busy);
    assert_string_equal(story.sent[2].method, "POST");
    answer_until(&story, "PATCH");
    agent_story_answer(&story, 2);
    agent_story_wait(&story, 5000);
    agent_story_settle(&story);
    assert_int_equal(state_of(&story, &photo), BLOB_STORED);
    assert_int_equal(story.syncs_done, 1);
    agent_story_end(&story);
}

static void a_photo_that_the_centre_wants_after_its_upload_is_sent_again_at_once(void **state)
{
    struct agent_story story;
    struct sha256 photo;

    agent_story_begin(&story);
    photo = upload_and_ask(&story);
    agent_story_fail(&story, 0, FAILURE_NETWORK);
    lose_photo(&story);
    /* This exchange does not ask for it: it carries a record. */
    agent_story_record(&story, 0, 1);
    agent_story_wait(&story, 10000);
    story.centre.has_wanted = true;
    story.centre.wanted = (struct blob_have){.sha256 = photo};
    agent_story_answer(&story, 0);
    story.centre.has_wanted = false;
    assert_int_equal(story.centre.last_record_count, 1);
    assert_true(story.sent[2].busy);
    assert_string_equal(story.sent[2].method, "POST");
    agent_story_settle(&story);
    assert_int_equal(state_of(&story, &photo), BLOB_STORED);
    agent_story_end(&story);
}

static void what_was_asked_before_the_upload_was_finished_says_nothing_about_it(void **state)
{
    _cleanup_(centre_reply_done) struct centre_reply early = {0};
    struct agent_story story;
    struct sha256 photo;

    agent_story_begin(&story);
    photo = agent_story_photo(&story, "with a photo", "a short photo");
    answer_until(&story, "PATCH");
    agent_sync_now(story.agent);
    assert_true(story.sent[0].busy);
    story.centre.has_wanted = true;
    story.centre.wanted = (struct blob_have){.sha256 = photo};
    centre_answer(&story, 0, &early);
    story.centre.has_wanted = false;
    agent_story_answer(&story, 2);
    assert_true(story.centre.blobs[0].stored);
    agent_story_deliver(&story, 0, &early.response);
    assert_false(story.sent[2].busy);
    assert_true(story.sent[0].busy);
    agent_story_settle(&story);
    assert_int_equal(state_of(&story, &photo), BLOB_STORED);
    assert_int_equal(story.centre.posts, 1);
    agent_story_end(&story);
}

static void what_was_asked_before_the_centre_found_a_photo_missing_does_not_make_it_stored(void **state)
{
    _cleanup_(centre_reply_done) struct centre_reply early = {0};
    struct agent_story story;
    struct sha256 photo;

    agent_story_begin(&story);
    photo = agent_story_photo(&story, "with a photo", "a short photo");
    agent_story_settle(&story);
    agent_sync_now(story.agent);
    assert_true(story.sent[0].busy);
    centre_answer(&story, 0, &early); /* it still counts as stored, and the answer takes long */
    lose_photo(&story);
    story.centre.bad_blobs[0] = (struct blob_finding){.sha256 = photo, .condition = BLOB_MISSING};
    story.centre.bad_blob_count = 1;
    assert_int_equal(agent_resync(story.agent, AUDIT_MEDIA), 0);
    assert_true(story.sent[3].busy);
    agent_story_answer(&story, 3);
    assert_int_equal(state_of(&story, &photo), BLOB_PENDING);
    agent_story_deliver(&story, 0, &early.response);
    assert_int_equal(state_of(&story, &photo), BLOB_PENDING);
    agent_story_settle(&story);
    assert_int_equal(state_of(&story, &photo), BLOB_STORED);
    assert_true(story.centre.blobs[0].stored);
    assert_true(story.report.ok);
    agent_story_end(&story);
}

static void a_photo_that_waits_again_already_is_mended_by_a_resync_and_not_called_gone(void **state)
{
    _cleanup_(centre_reply_done) struct centre_reply audited = {0};
    struct agent_story story;
    struct sha256 photo;

    agent_story_begin(&story);
    photo = agent_story_photo(&story, "with a photo", "a short photo");
    agent_story_settle(&story);
    lose_photo(&story);
    story.centre.bad_blobs[0] = (struct blob_finding){.sha256 = photo, .condition = BLOB_MISSING};
    story.centre.bad_blob_count = 1;
    assert_int_equal(agent_resync(story.agent, AUDIT_MEDIA), 0);
    assert_true(story.sent[3].busy);
    centre_answer(&story, 3, &audited); /* and this answer takes long */
    story.centre.bad_blob_count = 0;
    agent_sync_now(story.agent);
    story.centre.has_wanted = true;
    story.centre.wanted = (struct blob_have){.sha256 = photo};
    agent_story_answer(&story, 0);
    story.centre.has_wanted = false;
    assert_int_equal(state_of(&story, &photo), BLOB_PENDING);
    agent_story_deliver(&story, 3, &audited.response);
    agent_story_settle(&story);
    assert_int_equal(state_of(&story, &photo), BLOB_STORED);
    assert_int_equal(story.report.blobs_missing, 1);
    assert_int_equal(story.report.blobs_gone, 0);
    assert_true(story.report.ok);
    agent_story_end(&story);
}

static void a_photo_that_is_never_listed_is_offered_again_with_growing_pauses(void **state)
{
    struct agent_story story;
    size_t offers;

    agent_story_begin(&story);
    story.centre.confirms_blobs = false;
    agent_story_photo(&story, "with a photo", "a short photo");
    for (size_t second = 0; second < 7200; second++) {
        agent_story_settle(&story);
        agent_story_wait(&story, 1000);
    }
    offers = story.centre.posts + story.centre.heads;
    assert_true(offers >= 3);
    assert_true(offers <= 25);
    assert_int_equal(story.centre.patches, 1);
    agent_story_end(&story);
}

static void a_wanted_photo_that_is_no_longer_here_stays_as_it_is(void **state)
{
    struct agent_story story;
    struct sha256 photo, never = {.b = {1, 2, 3}};

    agent_story_begin(&story);
    photo = agent_story_photo(&story, "with a photo", "a short photo");
    agent_story_settle(&story);
    remove_photo(&story, &photo);
    story.centre.has_wanted = true;
    story.centre.wanted = (struct blob_have){.sha256 = photo};
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_int_equal(state_of(&story, &photo), BLOB_STORED);
    story.centre.wanted = (struct blob_have){.sha256 = never};
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_int_equal(story.syncs_done, 3);
    agent_story_end(&story);
}

/* Killed between the row and the file, or the row was damaged. */
static void a_wanted_photo_that_was_freed_and_is_still_here_is_sent(void **state)
{
    struct agent_story story;
    struct sha256 photo;

    agent_story_begin(&story);
    photo = agent_story_photo(&story, "with a photo", "a short photo");
    agent_story_settle(&story);
    assert_int_equal(store_blob_set_state(story.store, &photo, BLOB_FREED, 0), 0);
    story.centre.blobs[0].stored = false;
    buffer_clear(&story.centre.blobs[0].bytes);
    story.centre.wanted = (struct blob_have){.sha256 = photo};
    story.centre.has_wanted = true;
    agent_sync_now(story.agent);
    agent_story_answer(&story, 0);
    story.centre.has_wanted = false;
    agent_story_settle(&story);
    assert_int_equal(state_of(&story, &photo), BLOB_STORED);
    assert_true(story.centre.blobs[0].stored);
    agent_story_end(&story);
}

/* The database was damaged, and its record is only at the centre now. */
static void a_wanted_photo_that_no_record_here_names_any_more_is_sent(void **state)
{
    struct agent_story story;
    struct sha256 photo;

    agent_story_begin(&story);
    agent_story_record(&story, 0, 1);
    agent_story_settle(&story);
    assert_int_equal(store_photo_put_bytes(story.store, bytes_of_text("a short photo"), &photo), 0);
    story.centre.wanted = (struct blob_have){.sha256 = photo};
    story.centre.has_wanted = true;
    agent_sync_now(story.agent);
    agent_story_answer(&story, 0);
    assert_int_equal(state_of(&story, &photo), BLOB_PENDING);
    story.centre.has_wanted = false;
    agent_story_settle(&story);
    assert_int_equal(state_of(&story, &photo), BLOB_STORED);
    assert_true(story.centre.blobs[0].stored);
    agent_story_end(&story);
}

static void strangers_answers_to_uploads_count_for_nothing(void **state)
{
    const struct http_response strangers[] = {
        {.status = 200},
        {.status = 200, .location = "/v1/blobs/x"},
        {.status = 201},
        {.status = 201, .location = ""},
        {.status = 201, .location = "/v1/blobs/with space"},
        {.status = 201, .location = "/v1/blobs/x", .upload_offset = "many"},
        {.status = 204},
        {.status = 302, .location = "http://portal.example/"},
        {.status = 404},
        {.status = 500},
    };

    for (size_t i = 0; i < ARRAY_LEN(strangers); i++) {
        struct agent_story story;
        struct sha256 photo;

        agent_story_begin(&story);
        photo = agent_story_photo(&story, "with a photo", "a short photo");
        answer_until(&story, "POST");
        agent_story_deliver(&story, 2, &strangers[i]);
        assert_int_equal(state_of(&story, &photo), BLOB_PENDING);
        agent_sync_now(story.agent);
        answer_until(&story, "PATCH");
        agent_story_deliver(&story, 2, &strangers[i]);
        assert_int_equal(state_of(&story, &photo), BLOB_PENDING);
        agent_sync_now(story.agent);
        agent_story_settle(&story);
        assert_int_equal(state_of(&story, &photo), BLOB_STORED);
        agent_story_end(&story);
    }
}

static void an_offset_beyond_the_end_is_not_believed(void **state)
{
    struct agent_story story;
    struct sha256 photo;
    const struct http_response beyond = {.status = 204, .upload_offset = "1000000"};

    agent_story_begin(&story);
    photo = agent_story_photo(&story, "with a photo", "a short photo");
    answer_until(&story, "PATCH");
    agent_story_deliver(&story, 2, &beyond);
    assert_int_equal(state_of(&story, &photo), BLOB_PENDING);
    agent_story_settle(&story);
    assert_int_equal(state_of(&story, &photo), BLOB_STORED);
    agent_story_end(&story);
}

static void the_token_goes_to_the_centre_alone_whatever_location_says(void **state)
{
    struct agent_story story;
    const struct http_response elsewhere = {
        .status = 201, .location = "https://evil.example/patrol/v1/blobs/abc", .upload_offset = "0"};

    agent_story_begin(&story);
    agent_story_photo(&story, "with a photo", "a short photo");
    answer_until(&story, "POST");
    agent_story_deliver(&story, 2, &elsewhere);
    assert_string_equal(story.sent[2].method, "PATCH");
    assert_string_equal(story.sent[2].path, "/v1/blobs/abc");
    agent_story_end(&story);
}

static void photos_wait_for_the_receipt_of_their_record(void **state)
{
    struct agent_story story;

    agent_story_begin(&story);
    agent_story_photo(&story, "with a photo", "a short photo");
    assert_true(story.sent[0].busy);
    assert_false(story.sent[2].busy);
    agent_story_end(&story);
}

static void many_photos_all_arrive(void **state)
{
    struct agent_story story;

    agent_story_begin(&story);
    for (unsigned i = 0; i < 12; i++) {
        char content[32];

        snprintf(content, sizeof(content), "photo number %u", i);
        agent_story_photo(&story, content, content);
    }
    agent_story_settle(&story);
    assert_int_equal(agent_story_status(&story).photos_pending, 0);
    for (size_t i = 0; i < 12; i++)
        assert_true(story.centre.blobs[i].stored);
    assert_int_equal(story.centre.posts, 12);
    assert_int_equal(story.syncs_done, 1);
    agent_story_end(&story);
}

/* ---- a tus server of somebody else ---- */

static void a_foreign_tus_server_gets_core_tus_and_no_token(void **state)
{
    struct agent_story story;
    const struct http_response created = {.status = 201, .location = "http://127.0.0.1:1080/files/7"};
    const struct http_response other_host = {.status = 201, .location = "http://127.0.0.2:1080/files/7"};

    agent_story_begin(&story);
    story.uploads_url = "http://127.0.0.1:1080/files/";
    agent_story_restart(&story);
    agent_story_photo(&story, "with a photo", "a short photo");
    answer_until(&story, "POST");
    assert_string_equal(story.sent[2].path, "http://127.0.0.1:1080/files/");
    assert_null(sent_header(&story.sent[2], "authorization"));
    agent_story_deliver(&story, 2, &other_host);
    assert_false(story.sent[2].busy);
    agent_sync_now(story.agent);
    if (!story.sent[2].busy)
        agent_story_answer(&story, 0);
    assert_string_equal(story.sent[2].method, "POST");
    agent_story_deliver(&story, 2, &created);
    assert_string_equal(story.sent[2].method, "PATCH");
    assert_string_equal(story.sent[2].path, "http://127.0.0.1:1080/files/7");
    assert_string_equal(sent_header(&story.sent[2], "upload-offset"), "0");
    assert_null(sent_header(&story.sent[2], "upload-checksum"));
    agent_story_end(&story);
}

static void a_relative_location_of_a_foreign_server_is_resolved(void **state)
{
    static const char *const locations[][2] = {
        {"/files/8", "http://127.0.0.1:1080/files/8"},
        {"8", "http://127.0.0.1:1080/files/8"},
        {"http://127.0.0.1:1080/x/8", "http://127.0.0.1:1080/x/8"},
    };

    for (size_t i = 0; i < ARRAY_LEN(locations); i++) {
        struct agent_story story;
        const struct http_response created = {.status = 201, .location = locations[i][0]};

        agent_story_begin(&story);
        story.uploads_url = "http://127.0.0.1:1080/files/";
        agent_story_restart(&story);
        agent_story_photo(&story, "with a photo", "a short photo");
        answer_until(&story, "POST");
        agent_story_deliver(&story, 2, &created);
        assert_string_equal(story.sent[2].path, locations[i][1]);
        agent_story_end(&story);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_photo_is_uploaded_in_chunks_and_confirmed_by_a_signed_list),
        cmocka_unit_test(a_photos_age_is_counted_by_the_clock_of_the_centre_that_signed_for_it),
        cmocka_unit_test(all_bytes_sent_is_not_stored_until_the_centre_has_signed_it),
        cmocka_unit_test(a_backed_up_photo_is_known_as_such),
        cmocka_unit_test(an_upload_goes_on_where_it_was_cut_after_a_restart),
        cmocka_unit_test(an_upload_goes_on_where_the_centre_says_after_a_broken_connection),
        cmocka_unit_test(a_photo_the_centre_has_already_is_confirmed_without_a_byte_of_it),
        cmocka_unit_test(a_photo_that_is_gone_is_told_and_blocks_nothing),
        cmocka_unit_test(photos_that_are_gone_here_and_stored_at_the_centre_are_not_called_lost),
        cmocka_unit_test(a_photo_altered_on_disk_is_never_sent),
        cmocka_unit_test(a_file_that_goes_in_the_middle_of_its_upload_ends_it),
        cmocka_unit_test(a_stored_photo_that_the_centre_lost_is_sent_again),
        cmocka_unit_test(a_photo_that_the_centre_does_not_list_after_its_upload_is_sent_again_at_once),
        cmocka_unit_test(a_photo_that_the_centre_wants_after_its_upload_is_sent_again_at_once),
        cmocka_unit_test(what_was_asked_before_the_upload_was_finished_says_nothing_about_it),
        cmocka_unit_test(what_was_asked_before_the_centre_found_a_photo_missing_does_not_make_it_stored),
        cmocka_unit_test(a_photo_that_waits_again_already_is_mended_by_a_resync_and_not_called_gone),
        cmocka_unit_test(a_photo_that_is_never_listed_is_offered_again_with_growing_pauses),
        cmocka_unit_test(a_wanted_photo_that_is_no_longer_here_stays_as_it_is),
        cmocka_unit_test(a_wanted_photo_that_was_freed_and_is_still_here_is_sent),
        cmocka_unit_test(a_wanted_photo_that_no_record_here_names_any_more_is_sent),
        cmocka_unit_test(strangers_answers_to_uploads_count_for_nothing),
        cmocka_unit_test(an_offset_beyond_the_end_is_not_believed),
        cmocka_unit_test(the_token_goes_to_the_centre_alone_whatever_location_says),
        cmocka_unit_test(photos_wait_for_the_receipt_of_their_record),
        cmocka_unit_test(many_photos_all_arrive),
        cmocka_unit_test(a_foreign_tus_server_gets_core_tus_and_no_token),
        cmocka_unit_test(a_relative_location_of_a_foreign_server_is_resolved),
    };

    return cmocka_run_group_tests_name("agent blobs", tests, NULL, NULL);
}
