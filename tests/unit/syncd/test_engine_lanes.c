/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of syncd/core/lanes.c by engine.h: link-up waits after an outage, and which lane goes first. */
#include "tests/unit/syncd/engine_story.h"

#define MINUTE_MS UINT64_C(60000)
#define LONG_OUTAGE_MS (11 * MINUTE_MS)
#define URGENT_MOST_MS UINT64_C(5000)
#define TEXT_MOST_MS UINT64_C(20000)
#define PHOTOS_MOST_MS UINT64_C(40000)
#define PHOTO_BYTES UINT64_C(3000000)

/* So long every attempt fails. */
static void fail_for(struct story *story, uint64_t ms)
{
    uint64_t end_ms = story->now_ms + ms;

    while (story_busy(story) > 0 || story->timer_ms < end_ms) {
        if (story_busy(story) > 0) {
            story_fail(story, 0, FAILURE_NETWORK);
            continue;
        }
        story->now_ms = story->timer_ms;
        story_event(story, ENGINE_TIMER);
    }
    story->now_ms = end_ms;
}

/* A handheld that has sent what it had, whose link goes away for so long, and that records more meanwhile. */
static void begin_outage(struct story *story, uint64_t seed, uint64_t records, uint64_t outage_ms)
{
    story_begin(story);
    story->random = seed;
    story_log(story, 0, 10, 0);
    story_tell(story);
    story_drain(story);
    story_link(story, false);
    story_log(story, 0, 10 + records, 10);
    story_tell(story);
    fail_for(story, outage_ms);
}

/* How long until the next request of a story whose link comes back now. */
static uint64_t wait_after_link_up(struct story *story)
{
    story_link(story, true);
    return story_wait_for_request(story);
}

static void after_a_long_outage_text_waits_at_most_20_s_and_anywhere_below(void **state)
{
    uint64_t least = UINT64_MAX, most = 0;

    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct story story;
        uint64_t waited_ms;

        begin_outage(&story, seed, 5, LONG_OUTAGE_MS);
        waited_ms = wait_after_link_up(&story);
        least = waited_ms < least ? waited_ms : least;
        most = waited_ms > most ? waited_ms : most;
        story_end(&story);
    }
    assert_true(most <= TEXT_MOST_MS);
    assert_true(most > TEXT_MOST_MS * 9 / 10);
    assert_true(least < TEXT_MOST_MS / 10);
}

static void after_a_long_outage_an_urgent_finding_waits_at_most_5_s(void **state)
{
    uint64_t most = 0;

    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct story story;
        uint64_t waited_ms;

        begin_outage(&story, seed, 5, LONG_OUTAGE_MS);
        story.outbox.urgent_text = true;
        story_tell(&story);
        waited_ms = wait_after_link_up(&story);
        most = waited_ms > most ? waited_ms : most;
        story_end(&story);
    }
    /* An attempt that failed just before the link came is not repeated sooner than by the backoff. */
    assert_true(most <= URGENT_MOST_MS);
    assert_true(most > URGENT_MOST_MS * 8 / 10);
}

static void an_urgent_finding_recorded_while_text_waits_goes_sooner(void **state)
{
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct story story;

        begin_outage(&story, seed, 5, LONG_OUTAGE_MS);
        story_link(&story, true);
        story_wait(&story, URGENT_MOST_MS);
        if (story_busy(&story) == 0) {
            assert_int_equal(story_report(&story).lanes[LANE_TEXT].wait, LANE_WAITS_FOR_LINK_UP);
            story.outbox.urgent_text = true;
            story_tell(&story);
            assert_int_equal(story_busy(&story), 1);
        }
        story_end(&story);
    }
}

static void photos_wait_longer_than_the_text_of_the_same_handheld_and_at_most_40_s(void **state)
{
    uint64_t most = 0;

    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct story story;
        uint64_t up_ms, text_ms;

        begin_outage(&story, seed, 5, LONG_OUTAGE_MS);
        story_blobs(&story, 1, PHOTO_BYTES, 1, 0);
        story_tell(&story);
        up_ms = story.now_ms;
        text_ms = wait_after_link_up(&story);
        assert_int_equal(story.slots[0].action.kind, ENGINE_SEND_EXCHANGE);
        while (!story.slots[2].busy) {
            if (story.slots[0].busy)
                story_stored(&story, 0);
            else
                story_wait_for_request(&story);
        }
        assert_true(story.now_ms - up_ms >= text_ms);
        assert_true(story.now_ms - up_ms <= PHOTOS_MOST_MS);
        most = story.now_ms - up_ms > most ? story.now_ms - up_ms : most;
        story_end(&story);
    }
    assert_true(most > PHOTOS_MOST_MS * 9 / 10);
}

static void after_a_short_outage_nothing_waits_longer_than_5_s(void **state)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct story story;

        begin_outage(&story, seed, 5, 10 * MINUTE_MS);
        story_blobs(&story, 1, PHOTO_BYTES, 1, 0);
        story_tell(&story);
        assert_true(wait_after_link_up(&story) <= 5000);
        while (story.slots[0].busy)
            story_stored(&story, 0);
        assert_true(story.slots[2].busy);
        story_end(&story);
    }
}

static void an_idle_hour_is_no_outage(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 10, 0);
    story_tell(&story);
    story_drain(&story);
    story_wait(&story, 60 * MINUTE_MS);
    story_link(&story, true); /* another address, say */
    story_log(&story, 0, 11, 10);
    story_tell(&story);
    assert_int_equal(story_busy(&story), 1);
    story_end(&story);
}

static void a_link_that_is_said_to_be_gone_while_answers_come_is_no_outage(void **state)
{
    struct story story;

    story_begin(&story);
    story_link(&story, false);
    story_wait(&story, LONG_OUTAGE_MS);
    story_log(&story, 0, 10, 0);
    story_tell(&story);
    story_drain(&story); /* the truth is a signed answer */
    story_link(&story, true);
    story_log(&story, 0, 11, 10);
    story_tell(&story);
    assert_int_equal(story_busy(&story), 1);
    story_end(&story);
}

static void a_start_does_not_wait(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 10, 0);
    story_tell(&story);
    assert_int_equal(story_busy(&story), 1);
    story_end(&story);
}

static void a_start_without_a_link_is_an_outage_until_there_is_one(void **state)
{
    size_t waited = 0;

    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct story story;

        story_begin(&story);
        story.random = seed;
        story_link(&story, false);
        story_wait(&story, 60 * MINUTE_MS);
        story_link(&story, true);
        story_log(&story, 0, 10, 0);
        story_tell(&story);
        waited += story_busy(&story) == 0;
        assert_true(story_wait_for_request(&story) <= TEXT_MOST_MS);
        story_end(&story);
    }
    assert_true(waited > 40);
}

static void on_the_loopback_nothing_waits(void **state)
{
    struct story story;

    begin_outage(&story, 3, 5, LONG_OUTAGE_MS);
    story_feed(&story, (struct engine_event){.kind = ENGINE_NETWORK, .network.is_loopback = true});
    story_wait(&story, story.config.backoff_min_ms); /* since the last failure */
    assert_int_equal(story_busy(&story), 0);
    story_link(&story, true);
    assert_int_equal(story_busy(&story), 1);
    story_end(&story);
}

static void what_a_person_asks_for_does_not_wait(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct story story;

        begin_outage(&story, seed, 5, LONG_OUTAGE_MS);
        story_blobs(&story, 1, PHOTO_BYTES, 1, 0);
        story_tell(&story);
        story_link(&story, true);
        story_event(&story, ENGINE_SYNC_NOW);
        assert_int_equal(story_busy(&story), 1);
        while (story.slots[0].busy)
            story_stored(&story, 0);
        assert_true(story.slots[2].busy);
        story_end(&story);
    }
}

static void a_link_that_flaps_does_not_draw_again(void **state)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        struct story story;
        uint64_t up_ms;

        begin_outage(&story, seed, 5, LONG_OUTAGE_MS);
        up_ms = story.now_ms;
        story_link(&story, true);
        while (story_busy(&story) == 0) {
            story_wait(&story, 1000);
            if (story_busy(&story) > 0)
                break;
            story_link(&story, false);
            story_link(&story, true);
        }
        assert_true(story.now_ms - up_ms <= TEXT_MOST_MS + 1000);
        story_end(&story);
    }
}

static void another_long_outage_draws_again(void **state)
{
    uint64_t most = 0;

    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct story story;
        uint64_t waited_ms;

        begin_outage(&story, seed, 5, LONG_OUTAGE_MS);
        story_link(&story, true);
        story_link(&story, false);
        fail_for(&story, LONG_OUTAGE_MS);
        waited_ms = wait_after_link_up(&story);
        most = waited_ms > most ? waited_ms : most;
        story_end(&story);
    }
    assert_true(most > TEXT_MOST_MS / 2);
}

static void a_hint_that_the_network_leads_somewhere_shortens_the_backoff_and_cuts_nothing(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 10, 0);
    story_tell(&story);
    for (size_t i = 0; i < 8; i++) {
        story_fail(&story, 0, FAILURE_NETWORK);
        story_wait_for_request(&story);
    }
    story_event(&story, ENGINE_ONLINE);
    story_wait(&story, 60000); /* the request in flight goes on */
    assert_int_equal(story_busy(&story), 1);
    story_fail(&story, 0, FAILURE_NETWORK);
    story_event(&story, ENGINE_ONLINE);
    assert_true(story_wait_for_request(&story) <= story.config.backoff_min_ms);
    story_end(&story);
}

static void the_status_says_that_the_lanes_wait_for_their_turn_after_an_outage(void **state)
{
    struct story story;

    for (uint64_t seed = 1;; seed++) {
        begin_outage(&story, seed, 5, LONG_OUTAGE_MS);
        story_blobs(&story, 1, PHOTO_BYTES, 1, 0);
        story_tell(&story);
        story_link(&story, true);
        story_wait(&story, 6000);
        if (story_busy(&story) == 0)
            break;
        story_end(&story);
    }
    struct engine_report report = story_report(&story);

    assert_int_equal(report.wait, ENGINE_WAIT_LINK_UP);
    assert_non_null(strstr(report.reason, "after a long outage"));
    assert_int_equal(report.lanes[LANE_TEXT].wait, LANE_WAITS_FOR_LINK_UP);
    assert_int_equal(report.lanes[LANE_PHOTOS].wait, LANE_WAITS_FOR_LINK_UP);
    assert_true(report.lanes[LANE_TEXT].until_ms > story.now_ms);
    assert_true(report.lanes[LANE_PHOTOS].until_ms > report.lanes[LANE_TEXT].until_ms);
    assert_int_equal(report.next_attempt_ms, report.lanes[LANE_TEXT].until_ms);
    story_end(&story);
}

/* ---- which goes first ---- */

static void set_class(struct story *story, enum engine_blob_class class, size_t blob)
{
    story->outbox.blobs[class] = (struct engine_blobs){
        .pending = 1, .has_next = true, .next = story_blob_id(blob), .next_size = PHOTO_BYTES};
    story->outbox.blobs_pending++;
}

static void clear_class(struct story *story, enum engine_blob_class class)
{
    story->outbox.blobs[class] = (struct engine_blobs){0};
    story->outbox.blobs_pending--;
    story->outbox.blobs_unconfirmed++;
}

static void uploads_go_by_class_urgent_previews_first_and_photos_last(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 10, 0);
    for (size_t i = ENGINE_BLOB_CLASSES; i > 0; i--)
        set_class(&story, (enum engine_blob_class)(i - 1), 100 + i - 1);
    story_tell(&story);
    assert_false(story.slots[2].busy); /* text before all of them */
    story_stored(&story, 0);
    for (size_t i = 0; i < ENGINE_BLOB_CLASSES; i++) {
        struct sha256 expected = story_blob_id(100 + i);

        assert_true(story.slots[2].busy);
        assert_true(sha256_equal(&story.slots[2].action.upload.blob, &expected));
        clear_class(&story, (enum engine_blob_class)i);
        story_tell(&story);
        story_uploaded(&story, PHOTO_BYTES, PHOTO_BYTES);
    }
    story_end(&story);
}

static void an_urgent_photo_comes_between_two_chunks_of_another_which_goes_on_after_it(void **state)
{
    struct sha256 urgent = story_blob_id(2), plain = story_blob_id(1);
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 10, 0);
    set_class(&story, BLOBS_PHOTOS, 1);
    story_tell(&story);
    story_stored(&story, 0);
    story_uploaded(&story, 0, PHOTO_BYTES);
    set_class(&story, BLOBS_URGENT_PHOTOS, 2);
    story_tell(&story);
    story_uploaded(&story, 65536, PHOTO_BYTES);
    assert_true(sha256_equal(&story.slots[2].action.upload.blob, &urgent));
    clear_class(&story, BLOBS_URGENT_PHOTOS);
    story_tell(&story);
    story_uploaded(&story, PHOTO_BYTES, PHOTO_BYTES);
    assert_true(sha256_equal(&story.slots[2].action.upload.blob, &plain));
    assert_int_equal(story.slots[2].action.upload.step, UPLOAD_CREATE); /* which tells the offset */
    story_end(&story);
}

static void a_photo_in_flight_gives_way_to_new_text_within_one_chunk(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 10, 0);
    set_class(&story, BLOBS_PHOTOS, 1);
    story_tell(&story);
    story_stored(&story, 0);
    story_uploaded(&story, 0, PHOTO_BYTES);
    assert_int_equal(story.slots[2].action.upload.step, UPLOAD_CHUNK);
    story_log(&story, 0, 11, 10);
    story_tell(&story);
    assert_true(story.slots[0].busy); /* at once, beside the chunk in flight */
    story_uploaded(&story, 65536, PHOTO_BYTES);
    assert_false(story.slots[2].busy); /* no further chunk before the text is there */
    story_stored(&story, 0);
    assert_true(story.slots[2].busy);
    assert_int_equal(story.slots[2].action.upload.offset, 65536);
    story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_a_long_outage_text_waits_at_most_20_s_and_anywhere_below),
        cmocka_unit_test(after_a_long_outage_an_urgent_finding_waits_at_most_5_s),
        cmocka_unit_test(an_urgent_finding_recorded_while_text_waits_goes_sooner),
        cmocka_unit_test(photos_wait_longer_than_the_text_of_the_same_handheld_and_at_most_40_s),
        cmocka_unit_test(after_a_short_outage_nothing_waits_longer_than_5_s),
        cmocka_unit_test(an_idle_hour_is_no_outage),
        cmocka_unit_test(a_link_that_is_said_to_be_gone_while_answers_come_is_no_outage),
        cmocka_unit_test(a_start_does_not_wait),
        cmocka_unit_test(a_start_without_a_link_is_an_outage_until_there_is_one),
        cmocka_unit_test(on_the_loopback_nothing_waits),
        cmocka_unit_test(what_a_person_asks_for_does_not_wait),
        cmocka_unit_test(a_link_that_flaps_does_not_draw_again),
        cmocka_unit_test(another_long_outage_draws_again),
        cmocka_unit_test(a_hint_that_the_network_leads_somewhere_shortens_the_backoff_and_cuts_nothing),
        cmocka_unit_test(the_status_says_that_the_lanes_wait_for_their_turn_after_an_outage),
        cmocka_unit_test(uploads_go_by_class_urgent_previews_first_and_photos_last),
        cmocka_unit_test(an_urgent_photo_comes_between_two_chunks_of_another_which_goes_on_after_it),
        cmocka_unit_test(a_photo_in_flight_gives_way_to_new_text_within_one_chunk),
    };

    return cmocka_run_group_tests_name("engine lanes", tests, NULL, NULL);
}
