/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of syncd/core/lanes.c by engine.h: what a day's budget lets through, and when the day ends. */
#include "tests/unit/syncd/engine_story.h"

#define HOUR_MS UINT64_C(3600000)
#define DAY_MS (24 * HOUR_MS)
#define PHOTO_BYTES UINT64_C(3000000)
#define KIB UINT64_C(1024)

static struct engine_config config_of(uint64_t text, uint64_t previews, uint64_t photos)
{
    struct engine_config config = story_config();

    config.budget_bytes[NETWORK_METERED][LANE_TEXT] = text;
    config.budget_bytes[NETWORK_METERED][LANE_PREVIEWS] = previews;
    config.budget_bytes[NETWORK_METERED][LANE_PHOTOS] = photos;
    return config;
}

static void set_network(struct story *story, enum engine_network network)
{
    story_feed(story, (struct engine_event){.kind = ENGINE_NETWORK, .network.kind = network});
}

static void begin_metered(struct story *story, uint64_t text, uint64_t previews, uint64_t photos)
{
    struct engine_config config = config_of(text, previews, photos);

    story_begin_with(story, &config);
    set_network(story, NETWORK_METERED);
    story_log(story, 0, 10, 0);
    story_tell(story);
}

static void set_class(struct story *story, enum engine_blob_class class, size_t blob)
{
    story->outbox.blobs[class] = (struct engine_blobs){
        .pending = 1, .has_next = true, .next = story_blob_id(blob), .next_size = PHOTO_BYTES};
    story->outbox.blobs_pending++;
    story_tell(story);
}

/* What the network carries of an upload, as the agent tells it; returns it. */
static uint64_t carry_chunk(struct story *story, uint64_t offset)
{
    const struct engine_action *action = &story->slots[2].action;
    uint64_t bytes = action->upload.step == UPLOAD_CHUNK ? action->upload.bytes_max : 0;

    story_feed(story, (struct engine_event){.kind = ENGINE_BUILT, .slot = 2, .built.wire_bytes = bytes});
    story->now_ms += 1000;
    story_uploaded(story, offset + bytes, PHOTO_BYTES);
    return bytes;
}

/* Uploads until nothing more may go, at most a photo; returns the bytes. */
static uint64_t carry_all(struct story *story)
{
    uint64_t offset = 0;

    while (story->slots[2].busy && offset < PHOTO_BYTES / 2)
        offset += carry_chunk(story, offset);
    return offset;
}

/* The budget, and at most the smallest chunk more. */
static void expect_within(uint64_t carried, uint64_t budget)
{
    assert_true(carried >= budget);
    assert_true(carried < budget + UPLOAD_CHUNK_BYTES_MIN);
}

static void a_lane_sends_its_budget_and_at_most_the_smallest_chunk_more(void **state)
{
    struct story story;

    begin_metered(&story, BUDGET_UNLIMITED, BUDGET_UNLIMITED, 300 * KIB);
    story_stored(&story, 0);
    set_class(&story, BLOBS_PHOTOS, 1);
    expect_within(carry_all(&story), 300 * KIB);
    struct engine_report report = story_report(&story);

    assert_int_equal(report.wait, ENGINE_WAIT_BUDGET);
    assert_int_equal(report.network, NETWORK_METERED);
    assert_int_equal(report.lanes[LANE_PHOTOS].wait, LANE_WAITS_FOR_BUDGET);
    assert_int_equal(report.lanes[LANE_PHOTOS].budget_bytes, 300 * KIB);
    assert_true(report.lanes[LANE_PHOTOS].used >= 300 * KIB);
    assert_int_equal(report.lanes[LANE_PHOTOS].until_ms, report.day_ends_ms);
    assert_int_equal(report.lanes[LANE_TEXT].wait, LANE_WAITS_FOR_NOTHING);
    story_end(&story);
}

static void text_goes_on_when_the_budget_for_photos_is_used_up(void **state)
{
    struct story story;

    begin_metered(&story, BUDGET_UNLIMITED, 0, 0);
    story_stored(&story, 0);
    set_class(&story, BLOBS_PHOTOS, 1);
    set_class(&story, BLOBS_PREVIEWS, 2);
    assert_int_equal(story_busy(&story), 0);
    for (uint64_t size = 11; size < 40; size++) {
        story_log(&story, 0, size, size - 1);
        story_tell(&story);
        assert_true(story.slots[0].busy);
        story_stored(&story, 0);
        assert_false(story.slots[2].busy);
    }
    story_end(&story);
}

static void photos_go_when_the_budget_for_previews_or_text_is_used_up(void **state)
{
    struct sha256 photo = story_blob_id(1);
    struct story story;

    begin_metered(&story, 1, 0, BUDGET_UNLIMITED);
    story_stored(&story, 0); /* the first exchange was more than the budget */
    set_class(&story, BLOBS_PREVIEWS, 2);
    set_class(&story, BLOBS_PHOTOS, 1);
    story_log(&story, 0, 20, 10);
    story_tell(&story);
    assert_false(story.slots[0].busy);
    assert_true(story.slots[2].busy);
    assert_true(sha256_equal(&story.slots[2].action.upload.blob, &photo));
    assert_int_equal(story_report(&story).lanes[LANE_TEXT].wait, LANE_WAITS_FOR_BUDGET);
    assert_int_equal(story_report(&story).lanes[LANE_PREVIEWS].wait, LANE_WAITS_FOR_BUDGET);
    assert_int_equal(story_report(&story).lanes[LANE_PHOTOS].wait, LANE_IS_SENDING);
    story_end(&story);
}

static void urgent_findings_come_before_every_budget(void **state)
{
    struct sha256 preview = story_blob_id(3), photo = story_blob_id(4);
    struct story story;

    begin_metered(&story, 1, 0, 0);
    story_stored(&story, 0);
    story_log(&story, 0, 20, 10);
    set_class(&story, BLOBS_PHOTOS, 1);
    assert_int_equal(story_busy(&story), 0);
    story.outbox.urgent_text = true;
    story_tell(&story);
    assert_true(story.slots[0].busy);
    story.outbox.urgent_text = false;
    story_stored(&story, 0);
    set_class(&story, BLOBS_URGENT_PHOTOS, 4);
    assert_true(sha256_equal(&story.slots[2].action.upload.blob, &photo));
    carry_chunk(&story, 0);
    set_class(&story, BLOBS_URGENT_PREVIEWS, 3);
    carry_chunk(&story, 0);
    assert_true(sha256_equal(&story.slots[2].action.upload.blob, &preview));
    story_end(&story);
}

static void on_an_unmetered_network_another_budget_counts(void **state)
{
    struct story story;

    begin_metered(&story, BUDGET_UNLIMITED, 0, 0);
    story_stored(&story, 0);
    set_class(&story, BLOBS_PHOTOS, 1);
    assert_int_equal(story_busy(&story), 0);
    set_network(&story, NETWORK_UNMETERED);
    assert_true(story.slots[2].busy);
    carry_chunk(&story, 0);
    set_network(&story, NETWORK_METERED);
    carry_chunk(&story, 0);
    assert_int_equal(story_busy(&story), 0);
    story_end(&story);
}

static void a_day_is_24_hours_from_the_first_byte(void **state)
{
    struct story story;

    begin_metered(&story, BUDGET_UNLIMITED, BUDGET_UNLIMITED, 100 * KIB);
    story_stored(&story, 0);
    story_wait(&story, 10 * DAY_MS); /* nothing is counted in between */
    story_log(&story, 0, 11, 10);
    story_tell(&story);
    story_stored(&story, 0);
    uint64_t start_ms = story.now_ms;
    set_class(&story, BLOBS_PHOTOS, 1);
    (void)carry_all(&story);
    assert_int_equal(story_report(&story).day_ends_ms, start_ms + DAY_MS);
    story_wait(&story, start_ms + DAY_MS - 1 - story.now_ms);
    assert_int_equal(story_busy(&story), 0);
    story_wait(&story, 1);
    assert_int_equal(story_busy(&story), 1); /* it wakes by its own timer: a new token first */
    story_end(&story);
}

/* The engine after a restart in another boot: what had been kept, and nothing else. `elapsed_ms` is what the
 * agent adds: the time since the boot. */
static void restart(struct story *story, uint64_t boot_ms)
{
    struct engine_budget kept = story->budget;
    struct engine_outbox outbox = story->outbox;

    assert_true(story->kept > 0);
    engine_free(story->engine);
    assert_int_equal(engine_new(&story->config, &story->engine), 0);
    story->now_ms = boot_ms;
    for (size_t i = 0; i < ENGINE_SLOTS_MAX; i++)
        story->slots[i].busy = false;
    story->timer_ms = UINT64_MAX;
    kept.elapsed_ms += boot_ms;
    engine_feed(story->engine, &(struct engine_event){.kind = ENGINE_BUDGET, .budget = kept}, boot_ms, 1);
    engine_feed(story->engine,
        &(struct engine_event){.kind = ENGINE_NETWORK, .network.kind = NETWORK_METERED}, boot_ms, 1);
    engine_feed(story->engine, &(struct engine_event){.kind = ENGINE_OUTBOX, .outbox = outbox}, boot_ms, 1);
    story_event(story, ENGINE_STARTED);
}

static void a_restart_does_not_refill_the_budget(void **state)
{
    struct story story;

    begin_metered(&story, BUDGET_UNLIMITED, BUDGET_UNLIMITED, 100 * KIB);
    story_stored(&story, 0);
    set_class(&story, BLOBS_PHOTOS, 1);
    (void)carry_all(&story);
    for (size_t i = 0; i < 5; i++) {
        restart(&story, 30000);
        assert_int_equal(story_busy(&story), 0);
        assert_int_equal(story_report(&story).lanes[LANE_PHOTOS].wait, LANE_WAITS_FOR_BUDGET);
    }
    story_end(&story);
}

static void a_crash_gives_back_no_more_than_the_chunk_that_was_on_its_way(void **state)
{
    struct story story;
    uint64_t carried = 0;

    begin_metered(&story, BUDGET_UNLIMITED, BUDGET_UNLIMITED, 500 * KIB);
    story_stored(&story, 0);
    set_class(&story, BLOBS_PHOTOS, 1);
    for (size_t i = 0; i < 200 && story.slots[2].busy; i++) {
        carried += carry_chunk(&story, 0);
        if (story.slots[2].busy)
            carried += carry_chunk(&story, 0);
        restart(&story, 10);
        if (story.slots[0].busy)
            story_stored(&story, 0); /* a token */
    }
    /* Each start asked for a token, which counts too. */
    assert_true(carried <= 500 * KIB + UPLOAD_CHUNK_BYTES_MIN);
    assert_true(carried >= 500 * KIB - UPLOAD_CHUNK_BYTES_MIN);
    story_end(&story);
}

/* Nobody tells the time: no answer, and a wall clock plays no part. Reboots every few hours. */
static void a_day_ends_over_reboots_without_any_clock(void **state)
{
    struct story story;
    uint64_t on_ms = 0;

    begin_metered(&story, 1, 0, 100 * KIB);
    story_stored(&story, 0);
    set_class(&story, BLOBS_PHOTOS, 1);
    (void)carry_all(&story);
    for (size_t requests = story.requests; story.requests == requests && on_ms < 3 * DAY_MS;) {
        restart(&story, 20000);
        story_wait(&story, 5 * HOUR_MS);
        on_ms += 5 * HOUR_MS + 20000;
    }
    /* 24 hours switched on; each reboot may lose what was not kept yet, a quarter of an hour. */
    assert_true(on_ms >= DAY_MS - 5 * HOUR_MS);
    assert_true(on_ms <= DAY_MS + 6 * HOUR_MS);
    story_end(&story);
}

static struct engine_event answered_at(struct story *story, uint64_t server_ms)
{
    struct engine_event event = story_exchanged(story, 0, EXCHANGE_STORED, story->outbox.logs[0].size);

    story->outbox.logs[0].receipt_size = story->outbox.logs[0].size;
    event.exchanged.server_ms = server_ms;
    story->slots[0].busy = false;
    story_tell(story);
    return event;
}

static void the_servers_time_moves_the_day_on_by_what_was_missed_while_off(void **state)
{
    const uint64_t morning_ms = UINT64_C(1800000000000);
    struct story story;

    begin_metered(&story, BUDGET_UNLIMITED, BUDGET_UNLIMITED, 100 * KIB);
    story_feed(&story, answered_at(&story, morning_ms));
    set_class(&story, BLOBS_PHOTOS, 1);
    (void)carry_all(&story);
    /* Off for 20 hours, then for five more: as the server says. */
    restart(&story, 30000);
    story_log(&story, 0, 11, 10);
    story_tell(&story);
    story_feed(&story, answered_at(&story, morning_ms + 20 * HOUR_MS));
    assert_int_equal(story_busy(&story), 0);
    assert_true(story_report(&story).day_ends_ms - story.now_ms <= 4 * HOUR_MS);
    restart(&story, 30000);
    story_log(&story, 0, 12, 11);
    story_tell(&story);
    story_feed(&story, answered_at(&story, morning_ms + 25 * HOUR_MS));
    assert_true(story.slots[2].busy);
    story_end(&story);
}

static void a_servers_clock_that_goes_back_does_not_lengthen_the_day(void **state)
{
    struct story story;
    uint64_t ends_ms;

    begin_metered(&story, BUDGET_UNLIMITED, BUDGET_UNLIMITED, 100 * KIB);
    story_feed(&story, answered_at(&story, UINT64_C(1800000000000)));
    ends_ms = story_report(&story).day_ends_ms;
    story_log(&story, 0, 11, 10);
    story_tell(&story);
    story_feed(&story, answered_at(&story, UINT64_C(1700000000000)));
    assert_int_equal(story_report(&story).day_ends_ms, ends_ms);
    story_end(&story);
}

static void what_failed_is_counted_too(void **state)
{
    struct story story;

    begin_metered(&story, BUDGET_UNLIMITED, BUDGET_UNLIMITED, 200 * KIB);
    story_stored(&story, 0);
    set_class(&story, BLOBS_PHOTOS, 1);
    carry_chunk(&story, 0);
    story_feed(&story, (struct engine_event){.kind = ENGINE_BUILT, .slot = 2, .built.wire_bytes = 64 * KIB});
    story_fail(&story, 2, FAILURE_NETWORK);
    assert_int_equal(story_report(&story).lanes[LANE_PHOTOS].used, 64 * KIB);
    story_end(&story);
}

static void a_person_who_asks_gets_text_and_previews_and_hears_that_photos_wait(void **state)
{
    struct sha256 preview = story_blob_id(2);
    struct story story;

    begin_metered(&story, 1, 0, 0);
    story_stored(&story, 0);
    story.sync_done = 0;
    story_log(&story, 0, 20, 10);
    set_class(&story, BLOBS_PHOTOS, 1);
    set_class(&story, BLOBS_PREVIEWS, 2);
    assert_int_equal(story_busy(&story), 0);
    story_event(&story, ENGINE_SYNC_NOW);
    assert_true(story.slots[0].busy);
    story_stored(&story, 0);
    assert_true(sha256_equal(&story.slots[2].action.upload.blob, &preview));
    story.outbox.blobs[BLOBS_PREVIEWS] = (struct engine_blobs){0};
    story.outbox.blobs_pending--;
    story_tell(&story);
    assert_int_equal(story.sync_refused, 0);
    story_uploaded(&story, PHOTO_BYTES, PHOTO_BYTES);
    assert_int_equal(story_busy(&story), 0);
    assert_int_equal(story.sync_refused, 1);
    assert_int_equal(story.sync_done, 0);
    assert_int_equal(story_report(&story).wait, ENGINE_WAIT_BUDGET);
    /* That was all that the person's word was good for. */
    story_log(&story, 0, 21, 20);
    story_tell(&story);
    assert_int_equal(story_busy(&story), 0);
    story_end(&story);
}

static void a_resync_counts_as_text_and_waits_unless_a_person_asked(void **state)
{
    struct story story;

    begin_metered(&story, 1, BUDGET_UNLIMITED, BUDGET_UNLIMITED);
    story_stored(&story, 0);
    story_log(&story, 0, 10, 10);
    story.outbox.has_receipt_log = true;
    story.outbox.receipt_log = story_log_id(0);
    story_tell(&story);
    story_resync(&story, AUDIT_PRESENCE, RESYNC_BY_SERVER, 1);
    assert_int_equal(story_busy(&story), 0);
    story_resync(&story, AUDIT_PRESENCE, RESYNC_BY_USER, 0);
    assert_true(story.slots[3].busy);
    story_end(&story);
}

static void a_centre_that_wants_a_resync_hears_that_the_budget_is_used_up(void **state)
{
    struct story story;

    begin_metered(&story, 1, BUDGET_UNLIMITED, BUDGET_UNLIMITED);
    story_stored(&story, 0);
    story_log(&story, 0, 10, 10);
    story.outbox.has_receipt_log = true;
    story.outbox.receipt_log = story_log_id(0);
    story_tell(&story);
    story_resync(&story, AUDIT_PRESENCE, RESYNC_BY_SERVER, 1);
    story_wait(&story, story.config.resync_stall_ms);
    assert_int_equal(story.resync_done, 1);
    assert_non_null(strstr(story.resync_end.resync_done.problem, "budget"));
    story_end(&story);
}

/* Ten days on a metered network: ten findings and two photos of 3 MB a day, 2 MiB a day for photos. */
static void over_ten_days_all_text_arrives_and_photos_keep_to_their_budget(void **state)
{
    const uint64_t budget = 2048 * KIB;
    struct engine_config config = config_of(BUDGET_UNLIMITED, BUDGET_UNLIMITED, budget);
    uint64_t offset = 0, photo = 1, text = 10;
    struct story story;

    config.slow_poll_ms = 60000;
    story_begin_with(&story, &config);
    set_network(&story, NETWORK_METERED);
    for (size_t day = 0; day < 10; day++) {
        uint64_t today = 0, end_ms = story.now_ms + DAY_MS;

        story_log(&story, 0, text, story.outbox.logs[0].receipt_size);
        text += 10;
        story_blobs(&story, photo, PHOTO_BYTES, 20 - photo, 0);
        story_tell(&story);
        while (story.now_ms < end_ms) {
            if (story.slots[0].busy) {
                story_stored(&story, 0);
            } else if (story.slots[2].busy) {
                uint64_t moved = carry_chunk(&story, offset);

                today += moved;
                offset += moved;
                if (offset >= PHOTO_BYTES) {
                    offset = 0;
                    photo++;
                    story_blobs(&story, photo, PHOTO_BYTES, 20 - photo, 0);
                    story_tell(&story);
                }
            } else {
                story.now_ms = story.timer_ms < end_ms ? story.timer_ms : end_ms;
                story_event(&story, ENGINE_TIMER);
            }
        }
        assert_true(today >= budget / 2);
        assert_true(today < budget + UPLOAD_CHUNK_BYTES_MIN);
        assert_int_equal(story.outbox.logs[0].receipt_size, story.outbox.logs[0].size);
    }
    story_end(&story);
}

static void what_became_of_requests_is_counted_by_its_kind(void **state)
{
    struct story story;
    struct engine_counts counts;

    begin_metered(&story, BUDGET_UNLIMITED, BUDGET_UNLIMITED, BUDGET_UNLIMITED);
    story_fail(&story, 0, FAILURE_TLS);
    story_wait_for_request(&story);
    story_wait(&story, story.config.answer_deadline_ms); /* nobody answers */
    set_network(&story, NETWORK_UNMETERED);
    if (story_busy(&story) == 0)
        story_wait_for_request(&story);
    story_stored(&story, 0);
    story_log(&story, 0, 11, 10);
    story_tell(&story);
    story_refuse(&story, 0, REFUSAL_REVOKED);
    counts = story_report(&story).counts;
    assert_int_equal(counts.failures[FAILURE_TLS], 1);
    assert_int_equal(counts.failures[FAILURE_NETWORK], 1);
    assert_int_equal(counts.exchanges[EXCHANGE_STORED], 1);
    assert_int_equal(counts.refusals[REFUSAL_REVOKED], 1);
    assert_true(counts.sent_bytes[NETWORK_METERED][LANE_TEXT] >= 2 * 10 * RECORD_WIRE_BYTES);
    assert_true(counts.sent_bytes[NETWORK_UNMETERED][LANE_TEXT] > 0);
    assert_int_equal(counts.sent_bytes[NETWORK_UNMETERED][LANE_PHOTOS], 0);
    /* A new day takes nothing of it away. */
    story_wait(&story, DAY_MS + HOUR_MS);
    assert_true(story_report(&story).used_bytes[NETWORK_METERED][LANE_TEXT] == 0);
    assert_true(story_report(&story).counts.sent_bytes[NETWORK_METERED][LANE_TEXT] ==
                counts.sent_bytes[NETWORK_METERED][LANE_TEXT]);
    story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lane_sends_its_budget_and_at_most_the_smallest_chunk_more),
        cmocka_unit_test(text_goes_on_when_the_budget_for_photos_is_used_up),
        cmocka_unit_test(photos_go_when_the_budget_for_previews_or_text_is_used_up),
        cmocka_unit_test(urgent_findings_come_before_every_budget),
        cmocka_unit_test(on_an_unmetered_network_another_budget_counts),
        cmocka_unit_test(a_day_is_24_hours_from_the_first_byte),
        cmocka_unit_test(a_restart_does_not_refill_the_budget),
        cmocka_unit_test(a_crash_gives_back_no_more_than_the_chunk_that_was_on_its_way),
        cmocka_unit_test(a_day_ends_over_reboots_without_any_clock),
        cmocka_unit_test(the_servers_time_moves_the_day_on_by_what_was_missed_while_off),
        cmocka_unit_test(a_servers_clock_that_goes_back_does_not_lengthen_the_day),
        cmocka_unit_test(what_failed_is_counted_too),
        cmocka_unit_test(a_person_who_asks_gets_text_and_previews_and_hears_that_photos_wait),
        cmocka_unit_test(a_resync_counts_as_text_and_waits_unless_a_person_asked),
        cmocka_unit_test(a_centre_that_wants_a_resync_hears_that_the_budget_is_used_up),
        cmocka_unit_test(over_ten_days_all_text_arrives_and_photos_keep_to_their_budget),
        cmocka_unit_test(what_became_of_requests_is_counted_by_its_kind),
    };

    return cmocka_run_group_tests_name("engine budget", tests, NULL, NULL);
}
