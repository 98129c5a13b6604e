/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of syncd/core/engine.h: blob uploads. */
#include "tests/unit/syncd/engine_story.h"

#define BLOB_SIZE 500000u

/* The upload in flight, which must be of this step. */
static const struct engine_action *upload(const struct story *story, enum upload_step step)
{
    assert_true(story->slots[2].busy);
    assert_int_equal(story->slots[2].action.kind, ENGINE_SEND_UPLOAD);
    assert_int_equal(story->slots[2].action.upload.step, step);
    return &story->slots[2].action;
}

/* All text is acknowledged, blob 1 is pending, a token was given, its upload is being created. */
static void begin_upload(struct story *story)
{
    story_begin(story);
    story_log(story, 0, 10, 10);
    story_blobs(story, 1, BLOB_SIZE, 1, 0);
    story_tell(story);
    assert_true(story->slots[0].busy);
    story_stored(story, 0);
    upload(story, UPLOAD_CREATE);
}

static void a_token_is_asked_for_before_the_first_upload(void **state)
{
    struct story story;
    struct sha256 blob = story_blob_id(1);

    story_begin(&story);
    story_log(&story, 0, 10, 10);
    story_blobs(&story, 1, BLOB_SIZE, 1, 0);
    story_tell(&story);
    assert_int_equal(story_busy(&story), 1);
    assert_int_equal(story.slots[0].action.exchange.records_max, 0);
    story_stored(&story, 0);
    assert_true(sha256_equal(&upload(&story, UPLOAD_CREATE)->upload.blob, &blob));
    story_end(&story);
}

static void photos_wait_until_all_text_is_acknowledged(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 10, 0);
    story_blobs(&story, 1, BLOB_SIZE, 1, 0);
    story_tell(&story);
    assert_true(story.slots[0].busy);
    assert_false(story.slots[2].busy);
    story_stored(&story, 0);
    assert_true(story.slots[2].busy);
    assert_int_equal(story.sync_done, 0);
    story_end(&story);
}

static void chunks_follow_each_other_until_all_bytes_are_there(void **state)
{
    struct story story;
    uint64_t offset = 0;
    size_t chunks = 0;

    begin_upload(&story);
    story_uploaded(&story, 0, BLOB_SIZE);
    while (offset < BLOB_SIZE) {
        const struct engine_action *action = upload(&story, UPLOAD_CHUNK);

        assert_int_equal(action->upload.offset, offset);
        assert_true(action->upload.bytes_max >= UPLOAD_CHUNK_BYTES_MIN);
        assert_true(action->upload.bytes_max <= UPLOAD_CHUNK_BYTES_MAX);
        offset += action->upload.bytes_max;
        if (offset >= BLOB_SIZE)
            offset = BLOB_SIZE;
        story.now_ms += 50;
        story_uploaded(&story, offset, BLOB_SIZE);
        assert_true(++chunks < 20);
    }
    assert_int_equal(story.sync_done, 0);
    assert_int_equal(story_busy(&story), 0);
    /* The agent counts it as uploaded now: the centre is asked for its signature. */
    story_blobs(&story, 1, BLOB_SIZE, 0, 1);
    story_tell(&story);
    assert_true(story.slots[0].busy);
    assert_int_equal(story.slots[0].action.exchange.records_max, 0);
    {
        struct engine_event answer = story_exchanged(&story, 0, EXCHANGE_STORED, 10);

        answer.exchanged.blobs_asked = answer.exchanged.blobs_confirmed = 1;
        story.slots[0].busy = false;
        story_blobs(&story, 1, BLOB_SIZE, 0, 0);
        story_tell(&story);
        story_feed(&story, answer);
    }
    assert_int_equal(story.sync_done, 1);
    story_end(&story);
}

static void an_existing_part_is_resumed_where_it_ends(void **state)
{
    struct story story;

    begin_upload(&story);
    story_uploaded(&story, 450000, BLOB_SIZE);
    assert_int_equal(upload(&story, UPLOAD_CHUNK)->upload.offset, 450000);
    story_end(&story);
}

static void a_blob_the_server_has_whole_already_needs_no_chunk(void **state)
{
    struct story story;

    begin_upload(&story);
    story_uploaded(&story, BLOB_SIZE, BLOB_SIZE);
    assert_false(story.slots[2].busy);
    story_end(&story);
}

static void chunks_grow_on_a_fast_link_and_shrink_on_a_slow_one(void **state)
{
    struct story story;
    uint64_t size = 64 * 1024 * 1024, offset = 0;
    uint32_t chunk = 0;

    begin_upload(&story);
    story_uploaded(&story, 0, size);
    for (size_t i = 0; i < 6; i++) {
        chunk = upload(&story, UPLOAD_CHUNK)->upload.bytes_max;
        offset += chunk;
        story.now_ms += 10;
        story_uploaded(&story, offset, size);
    }
    assert_int_equal(chunk, UPLOAD_CHUNK_BYTES_MAX);
    for (size_t i = 0; i < 30; i++) {
        chunk = upload(&story, UPLOAD_CHUNK)->upload.bytes_max;
        offset += chunk;
        story_wait(&story, chunk / 10); /* 10 kB/s */
        story_uploaded(&story, offset, size);
    }
    assert_in_range(chunk, story.config.chunk_target_ms * 5, story.config.chunk_target_ms * 20);
    story_end(&story);
}

static void new_text_goes_out_at_once_and_no_new_chunk_starts_before_it_is_answered(void **state)
{
    struct story story;

    begin_upload(&story);
    story_uploaded(&story, 0, BLOB_SIZE);
    upload(&story, UPLOAD_CHUNK);
    story_log(&story, 0, 11, 10);
    story_tell(&story);
    assert_true(story.slots[0].busy);
    assert_int_equal(story.slots[0].records, 1);
    story_uploaded(&story, 65536, BLOB_SIZE);
    assert_false(story.slots[2].busy);
    story_stored(&story, 0);
    assert_int_equal(upload(&story, UPLOAD_CHUNK)->upload.offset, 65536);
    story_end(&story);
}

/* Each takes a little less than CHUNK_YIELD_MS; between two of them the link is the photo's. */
static void a_finding_now_and_then_breaks_off_no_chunk(void **state)
{
    struct story story;

    begin_upload(&story);
    story_uploaded(&story, 0, BLOB_SIZE);
    upload(&story, UPLOAD_CHUNK);
    for (uint64_t size = 11; size < 16; size++) {
        story_log(&story, 0, size, size - 1);
        story_tell(&story);
        story_wait(&story, 5900);
        story_stored(&story, 0);
        story_wait(&story, 1000);
    }
    upload(&story, UPLOAD_CHUNK);
    assert_int_equal(story.cancels, 0);
    story_end(&story);
}

static void text_that_needs_the_link_for_long_breaks_off_the_chunk_which_goes_on_where_it_was(void **state)
{
    struct story story;

    begin_upload(&story);
    story_uploaded(&story, 0, BLOB_SIZE);
    upload(&story, UPLOAD_CHUNK);
    story_log(&story, 0, 100000, 10);
    story_tell(&story);
    story_wait(&story, 5900);
    assert_int_equal(story.cancels, 0);
    story_wait(&story, 100);
    assert_int_equal(story.cancels, 1);
    assert_false(story.slots[2].busy);
    for (size_t answers = 0; !story.slots[2].busy; answers++) {
        story_stored(&story, story.slots[0].busy ? 0 : 1);
        assert_true(answers < 1000);
    }
    upload(&story, UPLOAD_OFFSET);
    story_uploaded(&story, 30000, BLOB_SIZE);
    assert_int_equal(upload(&story, UPLOAD_CHUNK)->upload.offset, 30000);
    assert_int_equal(story.alarms, 0);
    story_end(&story);
}

/* Text that cannot go has no use for the link. */
static void text_that_waits_for_the_centre_breaks_off_no_chunk(void **state)
{
    struct story story;

    begin_upload(&story);
    story_uploaded(&story, 0, BLOB_SIZE);
    upload(&story, UPLOAD_CHUNK);
    story_log(&story, 0, 100000, 10);
    story_tell(&story);
    story_fail(&story, 0, FAILURE_BUSY);
    if (story.slots[1].busy)
        story_fail(&story, 1, FAILURE_BUSY);
    story_wait(&story, story.config.backoff_min_ms - 1);
    upload(&story, UPLOAD_CHUNK);
    assert_int_equal(story.cancels, 0);
    story_end(&story);
}

static void a_better_blob_takes_over_between_two_chunks(void **state)
{
    struct story story;
    struct sha256 preview = story_blob_id(2);

    begin_upload(&story);
    story_uploaded(&story, 0, BLOB_SIZE);
    story_blobs(&story, 2, 20000, 2, 0);
    story_tell(&story);
    story_uploaded(&story, 65536, BLOB_SIZE);
    assert_true(sha256_equal(&upload(&story, UPLOAD_CREATE)->upload.blob, &preview));
    story_end(&story);
}

static void after_a_broken_connection_the_offset_is_asked_for(void **state)
{
    struct story story;

    begin_upload(&story);
    story_uploaded(&story, 0, BLOB_SIZE);
    upload(&story, UPLOAD_CHUNK);
    story_fail(&story, 2, FAILURE_NETWORK);
    assert_int_equal(story_busy(&story), 0);
    assert_true(story_wait_for_request(&story) >= story.config.backoff_min_ms);
    upload(&story, UPLOAD_OFFSET);
    story_uploaded(&story, 40000, BLOB_SIZE);
    assert_int_equal(upload(&story, UPLOAD_CHUNK)->upload.offset, 40000);
    assert_int_equal(story.slots[2].action.upload.bytes_max, 32 * 1024);
    story_end(&story);
}

static void a_wrong_offset_is_asked_for_again_and_a_lost_upload_created_again(void **state)
{
    struct story story;

    begin_upload(&story);
    story_uploaded(&story, 0, BLOB_SIZE);
    story_fail(&story, 2, FAILURE_UPLOAD_OFFSET);
    upload(&story, UPLOAD_OFFSET);
    story_uploaded(&story, 100, BLOB_SIZE);
    assert_int_equal(upload(&story, UPLOAD_CHUNK)->upload.offset, 100);
    story_fail(&story, 2, FAILURE_UPLOAD_GONE);
    upload(&story, UPLOAD_CREATE);
    assert_int_equal(story_report(&story).failures_in_row, 0);
    story_end(&story);
}

static void a_server_that_never_agrees_on_the_offset_does_not_make_it_spin(void **state)
{
    struct story story;
    size_t before;

    begin_upload(&story);
    story_uploaded(&story, 0, BLOB_SIZE);
    for (size_t i = 0; i < 100 && story.slots[2].busy; i++) {
        if (story.slots[2].action.upload.step == UPLOAD_OFFSET)
            story_uploaded(&story, 0, BLOB_SIZE);
        else
            story_fail(&story, 2, FAILURE_UPLOAD_OFFSET);
    }
    assert_false(story.slots[2].busy);
    assert_int_equal(story.alarms, 1);
    assert_true(engine_blob_is_held(story.engine, &story.slots[2].action.upload.blob, story.now_ms));
    before = story.requests;
    story_wait(&story, 590000);
    assert_int_equal(story.requests, before);
    assert_non_null(strstr(story_report(&story).reason, "photo"));
    story_end(&story);
}

static void a_photo_that_came_whole_and_was_another_is_created_anew(void **state)
{
    struct story story;

    begin_upload(&story);
    story_uploaded(&story, 1000, BLOB_SIZE);
    upload(&story, UPLOAD_CHUNK);
    story_fail(&story, 2, FAILURE_UPLOAD_HASH);
    upload(&story, UPLOAD_CREATE);
    assert_int_equal(story.alarms, 0);
    story_end(&story);
}

/* Each time all chunks but the last go well: progress that must not make it go on for ever. */
static void a_hash_that_never_fits_holds_the_blob_back(void **state)
{
    struct story story;
    size_t steps = 0;

    begin_upload(&story);
    while (story.slots[2].busy) {
        const struct engine_action *action = &story.slots[2].action;
        uint64_t end = action->upload.offset + action->upload.bytes_max;

        if (action->upload.step == UPLOAD_CHUNK && end >= BLOB_SIZE)
            story_fail(&story, 2, FAILURE_UPLOAD_HASH);
        else
            story_uploaded(&story, action->upload.step == UPLOAD_CHUNK ? end : 0, BLOB_SIZE);
        assert_true(++steps < 100);
    }
    assert_int_equal(story.alarms, 1);
    story_end(&story);
}

static void an_expired_token_is_renewed_by_an_exchange_without_records(void **state)
{
    struct story story;

    begin_upload(&story);
    story_uploaded(&story, 0, BLOB_SIZE);
    story_fail(&story, 2, FAILURE_UPLOAD_TOKEN);
    assert_int_equal(story_busy(&story), 1);
    assert_int_equal(story.slots[0].action.exchange.records_max, 0);
    assert_int_equal(story.alarms, 0);
    story_stored(&story, 0);
    upload(&story, UPLOAD_CREATE);
    story_end(&story);
}

static void a_token_is_renewed_before_it_ends(void **state)
{
    struct story story;
    uint64_t size = 64 * 1024 * 1024;
    size_t asked = 0;
    uint64_t offset = 0;

    begin_upload(&story);
    story_uploaded(&story, 0, size);
    for (size_t i = 0; i < 1000; i++) {
        story.now_ms += 2000;
        if (story.timer_ms <= story.now_ms)
            story_event(&story, ENGINE_TIMER);
        if (story.slots[0].busy) {
            asked++;
            story_stored(&story, 0);
        } else {
            offset = story.slots[2].action.upload.offset + 1000;
            story_uploaded(&story, offset, size);
        }
    }
    /* 2,000 s at most, tokens of 900 s. */
    assert_true(asked >= 2 && asked <= 3);
    story_end(&story);
}

static void a_blob_refused_with_a_fresh_token_gives_way_to_the_next(void **state)
{
    struct story story;
    struct sha256 refused = story_blob_id(1), next = story_blob_id(2);

    begin_upload(&story);
    story_fail(&story, 2, FAILURE_UPLOAD_TOKEN);
    assert_true(engine_blob_is_held(story.engine, &refused, story.now_ms));
    assert_int_equal(story.alarms, 1);
    story_blobs(&story, 2, BLOB_SIZE, 2, 0);
    story_tell(&story);
    story_wait_for_request(&story);
    story_stored(&story, 0);
    assert_true(sha256_equal(&upload(&story, UPLOAD_CREATE)->upload.blob, &next));
    story_end(&story);
}

static void a_centre_that_gives_no_token_is_asked_with_backoff(void **state)
{
    struct story story;

    story_begin(&story);
    story.token_with_answers = false;
    story_log(&story, 0, 10, 10);
    story_blobs(&story, 1, BLOB_SIZE, 1, 0);
    story_tell(&story);
    for (size_t minute = 0; minute < 120; minute++) {
        if (story.slots[0].busy)
            story_stored(&story, 0);
        story_wait(&story, 60000);
    }
    assert_true(story.requests >= 4);
    assert_true(story.requests <= 20);
    story_end(&story);
}

static void a_centre_that_says_why_there_is_no_token_is_quoted(void **state)
{
    struct story story;
    struct engine_event answer;

    story_begin(&story);
    story.token_with_answers = false;
    story_log(&story, 0, 10, 10);
    story_blobs(&story, 1, BLOB_SIZE, 1, 0);
    story_tell(&story);
    answer = story_exchanged(&story, 0, EXCHANGE_STORED, 10);
    answer.exchanged.no_upload = NO_UPLOAD_OVER_QUOTA;
    story.slots[0].busy = false;
    story_feed(&story, answer);
    assert_int_equal(story_busy(&story), 0);
    assert_non_null(strstr(story_report(&story).reason, "quota of photos"));
    /* Text goes out at once all the same. */
    story_log(&story, 0, 11, 10);
    story_tell(&story);
    assert_true(story.slots[0].busy);
    assert_int_equal(story.slots[0].records, 1);
    story_end(&story);
}

static void a_centre_without_room_for_photos_holds_up_photos_alone(void **state)
{
    struct story story;
    size_t uploads = 0;

    begin_upload(&story);
    story_fail(&story, 2, FAILURE_UPLOAD_FULL);
    assert_int_equal(story_busy(&story), 0);
    assert_non_null(strstr(story_report(&story).reason, "no room for photos"));
    assert_int_equal(story_report(&story).failures_in_row, 0);
    story_log(&story, 0, 11, 10);
    story_tell(&story);
    assert_true(story.slots[0].busy);
    story_stored(&story, 0);
    for (size_t minute = 0; minute < 120; minute++) {
        if (story.slots[2].busy) {
            uploads++;
            story_fail(&story, 2, FAILURE_UPLOAD_FULL);
        } else if (story.slots[0].busy) {
            story_stored(&story, 0);
        }
        story_wait(&story, 60000);
    }
    assert_in_range(uploads, 4, 20);
    assert_int_equal(story.alarms, 0);
    story_end(&story);
}

/* It takes the small steps, as they bring no bytes. */
static void a_full_centre_that_still_says_how_much_it_has_is_asked_ever_less_often(void **state)
{
    struct story story;
    size_t chunks = 0;

    begin_upload(&story);
    story_uploaded(&story, 0, BLOB_SIZE);
    for (size_t minute = 0; minute < 120; minute++) {
        if (story.slots[2].busy && story.slots[2].action.upload.step != UPLOAD_CHUNK)
            story_uploaded(&story, 0, BLOB_SIZE);
        if (story.slots[2].busy) {
            chunks++;
            story_fail(&story, 2, FAILURE_UPLOAD_FULL);
        } else if (story.slots[0].busy) {
            story_stored(&story, 0);
        }
        story_wait(&story, 60000);
    }
    assert_in_range(chunks, 4, 20);
    story_end(&story);
}

static void a_blob_too_large_for_the_server_does_not_block_others(void **state)
{
    struct story story;
    struct sha256 next = story_blob_id(2);

    begin_upload(&story);
    story_fail(&story, 2, FAILURE_TOO_LARGE);
    assert_int_equal(story.alarms, 1);
    assert_int_equal(story.requests, 2);
    story_blobs(&story, 2, BLOB_SIZE, 2, 0);
    story_tell(&story);
    assert_true(sha256_equal(&upload(&story, UPLOAD_CREATE)->upload.blob, &next));
    story_end(&story);
}

static void a_chunk_that_is_too_large_is_halved(void **state)
{
    struct story story;
    uint32_t first;

    begin_upload(&story);
    story_uploaded(&story, 0, BLOB_SIZE);
    first = upload(&story, UPLOAD_CHUNK)->upload.bytes_max;
    story_fail(&story, 2, FAILURE_TOO_LARGE);
    upload(&story, UPLOAD_OFFSET);
    story_uploaded(&story, 0, BLOB_SIZE);
    assert_int_equal(upload(&story, UPLOAD_CHUNK)->upload.bytes_max, first / 2);
    story_end(&story);
}

static void a_photo_that_is_gone_from_the_handheld_is_passed_over(void **state)
{
    struct story story;
    struct sha256 next = story_blob_id(2);

    begin_upload(&story);
    story_blobs(&story, 2, BLOB_SIZE, 1, 0);
    story_tell(&story);
    story.slots[2].busy = false;
    story_feed(&story, (struct engine_event){.kind = ENGINE_NOTHING_TO_SEND, .slot = 2});
    assert_true(sha256_equal(&upload(&story, UPLOAD_CREATE)->upload.blob, &next));
    story_end(&story);
}

static void uploads_that_are_never_confirmed_are_asked_for_with_growing_pauses(void **state)
{
    struct story story;
    size_t asked = 0;

    story_begin(&story);
    story_log(&story, 0, 10, 10);
    story_blobs(&story, 1, BLOB_SIZE, 0, 3);
    story_tell(&story);
    for (size_t second = 0; second < 7200; second++) {
        if (story.slots[0].busy) {
            struct engine_event answer = story_exchanged(&story, 0, EXCHANGE_STORED, 10);

            answer.exchanged.blobs_asked = 3;
            asked++;
            story.slots[0].busy = false;
            story_feed(&story, answer);
        }
        story_wait(&story, 1000);
    }
    assert_true(asked >= 5);
    assert_true(asked <= 25);
    assert_int_equal(story.sync_done, 0);
    assert_non_null(strstr(story_report(&story).reason, "confirmed"));
    story_end(&story);
}

static void many_uploads_are_confirmed_together(void **state)
{
    struct story story;
    size_t asked = 0;

    begin_upload(&story);
    for (size_t i = 1; i <= 200; i++) {
        while (!story.slots[2].busy) {
            assert_true(story.slots[0].busy);
            asked++;
            {
                struct engine_event answer = story_exchanged(&story, 0, EXCHANGE_STORED, 10);

                answer.exchanged.blobs_asked = answer.exchanged.blobs_confirmed =
                    story.outbox.blobs_unconfirmed;
                story.slots[0].busy = false;
                story.outbox.blobs_unconfirmed = 0;
                story_tell(&story);
                story_feed(&story, answer);
            }
        }
        story_blobs(&story, i + 1, BLOB_SIZE, 201 - i, story.outbox.blobs_unconfirmed + 1);
        story_tell(&story);
        story_uploaded(&story, BLOB_SIZE, BLOB_SIZE);
    }
    assert_true(asked <= 200 / story.config.ask_after_uploads + 1);
    story_end(&story);
}

static void a_captive_portal_holds_photos_by_backoff_only(void **state)
{
    struct story story;

    begin_upload(&story);
    story_uploaded(&story, 0, BLOB_SIZE);
    story_fail(&story, 2, FAILURE_UNSIGNED);
    assert_int_equal(story_report(&story).wait, ENGINE_WAIT_BACKOFF);
    story_wait_for_request(&story);
    upload(&story, UPLOAD_OFFSET);
    assert_int_equal(story.alarms, 0);
    story_end(&story);
}

static void a_centre_that_is_busy_for_long_is_waited_for_and_nothing_else(void **state)
{
    struct story story;
    size_t refused = 0;

    begin_upload(&story);
    story_uploaded(&story, 0, BLOB_SIZE);
    while (refused < 100) {
        if (story.slots[0].busy) { /* the token has ended meanwhile */
            story_stored(&story, 0);
            continue;
        }
        if (!story.slots[2].busy)
            assert_in_range(story_wait_for_request(&story), 1, story.config.backoff_max_ms);
        if (story.slots[2].busy) {
            story_fail(&story, 2, FAILURE_BUSY);
            refused++;
        }
    }
    assert_int_equal(story.alarms, 0);
    story_wait_for_request(&story);
    if (story.slots[0].busy)
        story_stored(&story, 0);
    story_uploaded(&story, BLOB_SIZE, BLOB_SIZE);
    assert_int_equal(story.alarms, 0);
    story_end(&story);
}

static void a_photo_whose_place_alone_is_busy_lets_the_next_one_go_first(void **state)
{
    struct story story;
    struct sha256 busy = story_blob_id(1), next = story_blob_id(2);
    size_t refused = 0;

    begin_upload(&story);
    while (!engine_blob_is_held(story.engine, &busy, story.now_ms)) {
        story_wait_for_request(&story);
        if (story.slots[0].busy) {
            story_stored(&story, 0);
            continue;
        }
        story_fail(&story, 2, FAILURE_BUSY);
        assert_true(++refused < 20);
    }
    story_blobs(&story, 2, BLOB_SIZE, 2, 0);
    story_tell(&story);
    story_wait_for_request(&story);
    if (story.slots[0].busy)
        story_stored(&story, 0);
    assert_true(sha256_equal(&upload(&story, UPLOAD_CREATE)->upload.blob, &next));
    assert_int_equal(story.alarms, 0);
    story_end(&story);
}

static void one_photo_that_always_breaks_the_connection_does_not_hold_up_the_others(void **state)
{
    struct story story;
    struct sha256 bad = story_blob_id(1);
    size_t failures = 0;

    begin_upload(&story);
    while (!engine_blob_is_held(story.engine, &bad, story.now_ms)) {
        story_wait_for_request(&story);
        if (story.slots[0].busy) /* the token has ended meanwhile */
            story_stored(&story, 0);
        else if (story.slots[2].action.upload.step != UPLOAD_CHUNK)
            story_uploaded(&story, 0, BLOB_SIZE);
        else
            story_fail(&story, 2, FAILURE_NETWORK);
        assert_true(++failures < 60);
    }
    assert_true(failures >= 5);
    story_end(&story);
}

static void a_link_that_breaks_every_chunk_off_is_not_blamed_on_the_photo_that_moves_on(void **state)
{
    struct story story;
    struct sha256 photo = story_blob_id(1);
    uint64_t offset = 0;

    begin_upload(&story);
    story_uploaded(&story, 0, BLOB_SIZE);
    for (size_t times = 0; times < 40; times++) {
        upload(&story, UPLOAD_CHUNK);
        story_fail(&story, 2, FAILURE_NETWORK);
        assert_false(engine_blob_is_held(story.engine, &photo, story.now_ms));
        story_wait_for_request(&story);
        if (story.slots[0].busy) /* the token has ended meanwhile */
            story_stored(&story, 0);
        offset += 1000;
        story_uploaded(&story, offset, BLOB_SIZE);
    }
    assert_int_equal(upload(&story, UPLOAD_CHUNK)->upload.offset, offset);
    assert_int_equal(story.alarms, 0);
    story_end(&story);
}

static void a_link_that_comes_and_goes_is_not_blamed_on_the_photo_that_was_on_its_way(void **state)
{
    static const enum engine_failure failures[] = {FAILURE_NETWORK, FAILURE_TLS, FAILURE_UNSIGNED};

    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        struct story story;
        struct sha256 photo = story_blob_id(1);

        begin_upload(&story);
        story_uploaded(&story, 0, BLOB_SIZE);
        for (size_t times = 0; times < 50; times++) {
            story_fail(&story, 2, failures[i]);
            assert_false(engine_blob_is_held(story.engine, &photo, story.now_ms));
            story_link(&story, true);
            story_wait_for_request(&story);
        }
        upload(&story, UPLOAD_OFFSET);
        assert_int_equal(story.alarms, 0);
        story_end(&story);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_asked_for_before_the_first_upload),
        cmocka_unit_test(photos_wait_until_all_text_is_acknowledged),
        cmocka_unit_test(chunks_follow_each_other_until_all_bytes_are_there),
        cmocka_unit_test(an_existing_part_is_resumed_where_it_ends),
        cmocka_unit_test(a_blob_the_server_has_whole_already_needs_no_chunk),
        cmocka_unit_test(chunks_grow_on_a_fast_link_and_shrink_on_a_slow_one),
        cmocka_unit_test(new_text_goes_out_at_once_and_no_new_chunk_starts_before_it_is_answered),
        cmocka_unit_test(a_finding_now_and_then_breaks_off_no_chunk),
        cmocka_unit_test(text_that_needs_the_link_for_long_breaks_off_the_chunk_which_goes_on_where_it_was),
        cmocka_unit_test(text_that_waits_for_the_centre_breaks_off_no_chunk),
        cmocka_unit_test(a_better_blob_takes_over_between_two_chunks),
        cmocka_unit_test(after_a_broken_connection_the_offset_is_asked_for),
        cmocka_unit_test(a_wrong_offset_is_asked_for_again_and_a_lost_upload_created_again),
        cmocka_unit_test(a_server_that_never_agrees_on_the_offset_does_not_make_it_spin),
        cmocka_unit_test(a_photo_that_came_whole_and_was_another_is_created_anew),
        cmocka_unit_test(a_hash_that_never_fits_holds_the_blob_back),
        cmocka_unit_test(an_expired_token_is_renewed_by_an_exchange_without_records),
        cmocka_unit_test(a_token_is_renewed_before_it_ends),
        cmocka_unit_test(a_blob_refused_with_a_fresh_token_gives_way_to_the_next),
        cmocka_unit_test(a_centre_that_gives_no_token_is_asked_with_backoff),
        cmocka_unit_test(a_centre_that_says_why_there_is_no_token_is_quoted),
        cmocka_unit_test(a_centre_without_room_for_photos_holds_up_photos_alone),
        cmocka_unit_test(a_full_centre_that_still_says_how_much_it_has_is_asked_ever_less_often),
        cmocka_unit_test(a_blob_too_large_for_the_server_does_not_block_others),
        cmocka_unit_test(a_chunk_that_is_too_large_is_halved),
        cmocka_unit_test(a_photo_that_is_gone_from_the_handheld_is_passed_over),
        cmocka_unit_test(uploads_that_are_never_confirmed_are_asked_for_with_growing_pauses),
        cmocka_unit_test(many_uploads_are_confirmed_together),
        cmocka_unit_test(a_captive_portal_holds_photos_by_backoff_only),
        cmocka_unit_test(a_centre_that_is_busy_for_long_is_waited_for_and_nothing_else),
        cmocka_unit_test(a_photo_whose_place_alone_is_busy_lets_the_next_one_go_first),
        cmocka_unit_test(one_photo_that_always_breaks_the_connection_does_not_hold_up_the_others),
        cmocka_unit_test(a_link_that_breaks_every_chunk_off_is_not_blamed_on_the_photo_that_moves_on),
        cmocka_unit_test(a_link_that_comes_and_goes_is_not_blamed_on_the_photo_that_was_on_its_way),
    };

    return cmocka_run_group_tests_name("engine media", tests, NULL, NULL);
}
