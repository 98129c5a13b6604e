/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of syncd/core/engine.h: backoff, Retry-After, refusals, pause, link hints. */
#include "tests/unit/syncd/engine_story.h"

#define HOUR_MS UINT64_C(3600000)

/* One exchange of ten records in flight. */
static void begin_with_work(struct story *story)
{
    story_begin(story);
    story_log(story, 0, 10, 0);
    story_tell(story);
    assert_true(story->slots[0].busy);
}

static void backoff_is_jittered_between_its_bounds_and_grows(void **state)
{
    struct story story;
    uint64_t shortest = UINT64_MAX, longest = 0;

    begin_with_work(&story);
    for (uint32_t i = 1; i < 40; i++) {
        uint64_t waited_ms, top_ms = story.config.backoff_min_ms;

        for (uint32_t k = 0; k < i && top_ms < story.config.backoff_max_ms; k++)
            top_ms *= 2;
        story_fail(&story, 0, FAILURE_NETWORK);
        assert_int_equal(story_report(&story).wait, ENGINE_WAIT_BACKOFF);
        assert_int_equal(story_report(&story).failures_in_row, i);
        assert_true(story_report(&story).next_attempt_ms > story.now_ms);
        waited_ms = story_wait_for_request(&story);
        assert_true(waited_ms >= story.config.backoff_min_ms);
        assert_true(waited_ms <= top_ms && waited_ms <= story.config.backoff_max_ms);
        if (i > 12 && waited_ms < shortest)
            shortest = waited_ms;
        if (waited_ms > longest)
            longest = waited_ms;
    }
    /* Full jitter: at the top of the backoff waits lie anywhere below it. */
    assert_true(shortest < story.config.backoff_max_ms / 3);
    assert_true(longest > story.config.backoff_max_ms / 2);
    story_end(&story);
}

static void an_answer_ends_the_backoff(void **state)
{
    struct story story;

    begin_with_work(&story);
    for (size_t i = 0; i < 5; i++) {
        story_fail(&story, 0, FAILURE_NETWORK);
        story_wait_for_request(&story);
    }
    story_drain(&story);
    assert_int_equal(story_report(&story).failures_in_row, 0);
    story_log(&story, 0, 11, 10);
    story_tell(&story);
    assert_int_equal(story_busy(&story), 1);
    story_end(&story);
}

static void two_requests_that_fail_together_count_once(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 100000, 0);
    story_tell(&story);
    story_stored(&story, 0);
    assert_int_equal(story_busy(&story), 2);
    story_fail(&story, 0, FAILURE_NETWORK);
    story_fail(&story, 1, FAILURE_NETWORK);
    assert_int_equal(story_report(&story).failures_in_row, 1);
    story_end(&story);
}

static void after_a_failure_one_request_at_a_time_is_tried(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 100000, 0);
    story_blobs(&story, 1, 100000, 1, 0);
    story_tell(&story);
    story_stored(&story, 0);
    story_fail(&story, 0, FAILURE_NETWORK);
    story_fail(&story, 1, FAILURE_NETWORK);
    story_wait_for_request(&story);
    assert_int_equal(story_busy(&story), 1);
    story_stored(&story, 0);
    assert_int_equal(story_busy(&story), 2);
    story_end(&story);
}

static void captive_portals_only_delay(void **state)
{
    struct story story;

    begin_with_work(&story);
    for (size_t i = 0; i < 20; i++) {
        story_fail(&story, 0, FAILURE_UNSIGNED);
        assert_non_null(strstr(story_report(&story).reason, "proxy"));
        story_wait_for_request(&story);
    }
    assert_int_equal(story.alarms, 0);
    assert_int_equal(story.sync_done, 0);
    /* The batch was not at fault: it is as large as before. */
    assert_int_equal(story.slots[0].records, 10);
    story_end(&story);
}

static void retry_after_is_obeyed_with_jitter(void **state)
{
    struct story story;
    uint64_t waited_ms;

    begin_with_work(&story);
    story.slots[0].busy = false;
    story_feed(&story,
        (struct engine_event){
            .kind = ENGINE_FAILED, .slot = 0, .failed = {.failure = FAILURE_BUSY, .retry_after_s = 120}});
    assert_int_equal(story_report(&story).wait, ENGINE_WAIT_SERVER);
    waited_ms = story_wait_for_request(&story);
    assert_true(waited_ms >= 120000);
    assert_true(waited_ms <= 240000);
    story_end(&story);
}

static void retry_after_is_clamped(void **state)
{
    struct story story;
    uint64_t waited_ms;

    begin_with_work(&story);
    story.slots[0].busy = false;
    story_feed(&story, (struct engine_event){.kind = ENGINE_FAILED,
                           .slot = 0,
                           .failed = {.failure = FAILURE_BUSY, .retry_after_s = UINT32_MAX}});
    waited_ms = story_wait_for_request(&story);
    assert_true(waited_ms >= HOUR_MS);
    assert_true(waited_ms <= 2 * HOUR_MS);
    story_end(&story);
}

static void a_signed_busy_makes_all_lanes_wait(void **state)
{
    struct story story;
    uint64_t waited_ms;

    begin_with_work(&story);
    story_blobs(&story, 1, 100, 1, 0);
    story.slots[0].busy = false;
    story_feed(&story,
        (struct engine_event){
            .kind = ENGINE_REFUSED, .slot = 0, .refused = {.reason = REFUSAL_BUSY, .retry_after_s = 60}});
    assert_int_equal(story_busy(&story), 0);
    waited_ms = story_wait_for_request(&story);
    assert_true(waited_ms >= 60000 && waited_ms <= 120000);
    assert_int_equal(story.alarms, 0);
    story_end(&story);
}

static void two_thousand_handhelds_told_to_come_back_come_back_spread_out(void **state)
{
    size_t arrivals[12] = {0}, peak = 0;
    const size_t count = 2000;

    for (size_t i = 0; i < count; i++) {
        struct story story;
        uint64_t waited_ms;

        begin_with_work(&story);
        story.random = 1000 * i;
        story.slots[0].busy = false;
        story_feed(&story,
            (struct engine_event){
                .kind = ENGINE_FAILED, .slot = 0, .failed = {.failure = FAILURE_BUSY, .retry_after_s = 60}});
        waited_ms = story_wait_for_request(&story);
        assert_true(waited_ms >= 60000 && waited_ms <= 120000);
        arrivals[waited_ms == 120000 ? 11 : (waited_ms - 60000) / 5000]++;
        story_end(&story);
    }
    for (size_t i = 0; i < ARRAY_LEN(arrivals); i++)
        peak = arrivals[i] > peak ? arrivals[i] : peak;
    assert_true(peak <= 2 * count / ARRAY_LEN(arrivals));
}

static void a_centre_whose_disk_is_full_is_not_called_busy(void **state)
{
    static const struct {
        uint32_t cause;
        const char *word;
    } told[] = {{BUSY_LOAD, "asked to wait"}, {BUSY_FULL, "disk is full"}, {BUSY_DAMAGED, "damaged"},
        {99, "asked to wait"}};

    for (size_t i = 0; i < ARRAY_LEN(told); i++) {
        struct engine_event refused = {.kind = ENGINE_REFUSED,
            .slot = 0,
            .refused = {.reason = REFUSAL_BUSY, .retry_after_s = 10, .busy_cause = told[i].cause}};
        struct story story;

        begin_with_work(&story);
        story.slots[0].busy = false;
        story_feed(&story, refused);
        assert_int_equal(story_report(&story).wait, ENGINE_WAIT_SERVER);
        assert_non_null(strstr(story_report(&story).reason, told[i].word));
        assert_in_range(story_wait_for_request(&story), 10000, 20000);
        story_stored(&story, 0);
        assert_null(strstr(story_report(&story).reason, told[i].word));
        story_end(&story);
    }
}

static void next_contact_is_obeyed_even_with_nothing_to_send(void **state)
{
    struct story story;
    struct engine_event answer;
    uint64_t waited_ms;

    begin_with_work(&story);
    answer = story_exchanged(&story, 0, EXCHANGE_STORED, 10);
    answer.exchanged.next_contact_s = 600;
    story_log(&story, 0, 10, 10);
    story.slots[0].busy = false;
    story_tell(&story);
    story_feed(&story, answer);
    assert_int_equal(story.sync_done, 1);
    waited_ms = story_wait_for_request(&story);
    assert_true(waited_ms >= 600000 && waited_ms <= 1200000);
    assert_int_equal(story.slots[0].action.exchange.records_max, 0);
    /* And not before: a new record waits. */
    answer = story_exchanged(&story, 0, EXCHANGE_STORED, 10);
    answer.exchanged.next_contact_s = 600;
    story.slots[0].busy = false;
    story_feed(&story, answer);
    story_log(&story, 0, 11, 10);
    story_tell(&story);
    assert_int_equal(story_busy(&story), 0);
    assert_int_equal(story_report(&story).wait, ENGINE_WAIT_SERVER);
    assert_true(story_wait_for_request(&story) >= 600000);
    story_end(&story);
}

static void a_signed_refusal_is_probed_at_most_twice_in_the_first_hour_and_every_six_hours_after(void **state)
{
    struct story story;
    size_t first_hour = 1, next_day = 0; /* the one that was refused is the first */
    uint64_t end_ms;

    begin_with_work(&story);
    end_ms = story.now_ms + HOUR_MS;
    story_refuse(&story, 0, REFUSAL_REVOKED);
    assert_int_equal(story.alarms, 1);
    assert_int_equal(story_report(&story).wait, ENGINE_WAIT_REFUSED);
    assert_true(story_report(&story).refused);
    while (story.now_ms + 1000 <= end_ms) {
        story_wait(&story, 1000);
        if (story.slots[0].busy) {
            first_hour++;
            /* Carries no records. */
            assert_int_equal(story.slots[0].action.exchange.records_max, 0);
            story_refuse(&story, 0, REFUSAL_REVOKED);
        }
    }
    assert_int_equal(first_hour, 2);
    for (size_t minute = 0; minute < 24 * 60; minute++) {
        story_wait(&story, 60000);
        if (story.slots[0].busy) {
            next_day++;
            story_refuse(&story, 0, REFUSAL_REVOKED);
        }
    }
    assert_true(next_day >= 3 && next_day <= 4);
    assert_int_equal(story.alarms, 1);
    story_end(&story);
}

static void the_two_in_flight_when_a_device_is_revoked_are_all_of_the_first_hour(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 100000, 0);
    story_tell(&story);
    story_stored(&story, 0);
    assert_int_equal(story_busy(&story), 2);
    story_refuse(&story, 0, REFUSAL_REVOKED);
    story_refuse(&story, 1, REFUSAL_REVOKED);
    assert_int_equal(story.alarms, 1);
    for (size_t minute = 0; minute < 60; minute++) {
        story_wait(&story, 60000);
        assert_int_equal(story_busy(&story), 0);
    }
    story_end(&story);
}

static void a_refused_device_recovers_by_itself_and_loses_nothing(void **state)
{
    struct story story;

    begin_with_work(&story);
    story_refuse(&story, 0, REFUSAL_REVOKED);
    story_wait_for_request(&story);
    /* The credential was restored. */
    story_stored(&story, 0);
    assert_false(story_report(&story).refused);
    assert_int_equal(story.slots[0].action.exchange.first_seq, 0);
    assert_int_equal(story.slots[0].records, 10);
    story_stored(&story, 0);
    assert_int_equal(story.sync_done, 1);
    story_end(&story);
}

static void sync_now_probes_a_refusal_at_once_and_tells_those_who_wait(void **state)
{
    struct story story;

    begin_with_work(&story);
    story_refuse(&story, 0, REFUSAL_REVOKED);
    assert_int_equal(story.sync_refused, 0);
    story_event(&story, ENGINE_SYNC_NOW);
    assert_int_equal(story_busy(&story), 1);
    story_refuse(&story, 0, REFUSAL_REVOKED);
    assert_int_equal(story.sync_refused, 1);
    assert_int_equal(story_busy(&story), 0);
    story_end(&story);
}

static void nothing_unsigned_ends_a_refusal(void **state)
{
    struct story story;

    begin_with_work(&story);
    story_refuse(&story, 0, REFUSAL_REVOKED);
    story_wait_for_request(&story);
    story_fail(&story, 0, FAILURE_UNSIGNED);
    assert_true(story_report(&story).refused);
    story_link(&story, true);
    assert_int_equal(story_busy(&story), 0);
    assert_true(story_wait_for_request(&story) >= 300000);
    story_end(&story);
}

static void an_unknown_device_shows_its_certificate_once(void **state)
{
    struct story story;

    begin_with_work(&story);
    assert_false(story.slots[0].action.exchange.with_certificate);
    story_refuse(&story, 0, REFUSAL_UNKNOWN_DEVICE);
    assert_true(story.slots[0].busy);
    assert_true(story.slots[0].action.exchange.with_certificate);
    assert_int_equal(story.alarms, 0);
    /* Adopted again: all goes on, without the certificate. */
    story_stored(&story, 0);
    assert_true(story.slots[0].busy);
    assert_false(story.slots[0].action.exchange.with_certificate);
    assert_int_equal(story.slots[0].records, 10);
    story_end(&story);
}

static void a_certificate_that_does_not_help_is_a_refusal(void **state)
{
    struct story story;
    size_t requests = 2;

    begin_with_work(&story);
    story_refuse(&story, 0, REFUSAL_UNKNOWN_DEVICE);
    story_refuse(&story, 0, REFUSAL_UNKNOWN_DEVICE);
    assert_int_equal(story_busy(&story), 0);
    assert_int_equal(story.alarms, 1);
    for (size_t minute = 0; minute < 59; minute++) {
        story_wait(&story, 60000);
        requests += story.slots[0].busy;
    }
    assert_int_equal(requests, 2);
    story_wait_for_request(&story);
    assert_true(story.slots[0].action.exchange.with_certificate);
    story_end(&story);
}

static void a_link_that_comes_up_shortens_the_backoff(void **state)
{
    struct story story;

    begin_with_work(&story);
    for (size_t i = 0; i < 4; i++) { /* all of it in less than 10 minutes: no long outage */
        story_fail(&story, 0, FAILURE_NETWORK);
        story_wait_for_request(&story);
    }
    story_fail(&story, 0, FAILURE_NETWORK);
    story_link(&story, false);
    assert_non_null(strstr(story_report(&story).reason, "no network"));
    story.now_ms += story.config.backoff_min_ms - 1000;
    story_link(&story, true);
    assert_true(story_wait_for_request(&story) <= 5000);
    story_end(&story);
}

static void ten_thousand_link_flaps_neither_hammer_nor_deafen(void **state)
{
    struct story story;
    size_t requests;

    begin_with_work(&story);
    requests = story.requests;
    for (size_t i = 0; i < 10000; i++) {
        story.now_ms += 10;
        story_link(&story, i % 2 == 0);
        if (story.slots[0].busy)
            story_fail(&story, 0, FAILURE_NETWORK);
        while (story.timer_ms <= story.now_ms)
            story_event(&story, ENGINE_TIMER);
    }
    /* 100 s, at most one attempt in 5 s. */
    assert_true(story.requests - requests <= 21);
    story_link(&story, true);
    story_wait_for_request(&story);
    story_stored(&story, 0);
    story_drain(&story);
    story_end(&story);
}

static void a_request_caught_by_a_link_change_is_tried_again_within_ten_seconds(void **state)
{
    struct story story;
    uint64_t changed_ms;

    begin_with_work(&story);
    story.now_ms += 1000;
    changed_ms = story.now_ms;
    story_link(&story, true);
    assert_int_equal(story.cancels, 0);
    while (story.requests < 2)
        story_wait(&story, 100);
    assert_int_equal(story.cancels, 1);
    assert_true(story.now_ms - changed_ms <= 10000);
    assert_int_equal(story_report(&story).failures_in_row, 0);
    story_end(&story);
}

static void a_link_hint_does_not_shorten_what_the_server_asked_for(void **state)
{
    struct story story;

    begin_with_work(&story);
    story.slots[0].busy = false;
    story_feed(&story,
        (struct engine_event){
            .kind = ENGINE_FAILED, .slot = 0, .failed = {.failure = FAILURE_BUSY, .retry_after_s = 120}});
    story_link(&story, true);
    assert_true(story_wait_for_request(&story) >= 120000);
    story_end(&story);
}

static void sync_now_overrides_backoff_pause_and_retry_after(void **state)
{
    struct story story;

    begin_with_work(&story);
    story_fail(&story, 0, FAILURE_NETWORK);
    story_event(&story, ENGINE_SYNC_NOW);
    assert_int_equal(story_busy(&story), 1);
    story.slots[0].busy = false;
    story_feed(&story,
        (struct engine_event){
            .kind = ENGINE_FAILED, .slot = 0, .failed = {.failure = FAILURE_BUSY, .retry_after_s = 120}});
    assert_int_equal(story_busy(&story), 0);
    story_event(&story, ENGINE_SYNC_NOW);
    assert_int_equal(story_busy(&story), 1);
    story_fail(&story, 0, FAILURE_NETWORK);
    story_event(&story, ENGINE_PAUSE);
    story_event(&story, ENGINE_SYNC_NOW);
    assert_int_equal(story_busy(&story), 1);
    story_drain(&story);
    /* Done: paused again. */
    story_log(&story, 0, 12, 10);
    story_tell(&story);
    assert_int_equal(story_busy(&story), 0);
    assert_int_equal(story_report(&story).wait, ENGINE_WAIT_PAUSED);
    story_end(&story);
}

static void pause_starts_nothing_and_resume_goes_on(void **state)
{
    struct story story;

    story_begin(&story);
    story_event(&story, ENGINE_PAUSE);
    story_log(&story, 0, 10, 0);
    story_tell(&story);
    story_wait(&story, HOUR_MS);
    assert_int_equal(story.requests, 0);
    assert_int_equal(story_report(&story).wait, ENGINE_WAIT_PAUSED);
    story_event(&story, ENGINE_RESUME);
    assert_int_equal(story_busy(&story), 1);
    story_end(&story);
}

static void sync_now_with_nothing_to_send_asks_the_centre_first(void **state)
{
    struct story story;

    story_begin(&story);
    story_log(&story, 0, 10, 10);
    story_tell(&story);
    story_event(&story, ENGINE_SYNC_NOW);
    assert_int_equal(story.sync_done, 0);
    assert_int_equal(story.slots[0].action.exchange.records_max, 0);
    assert_int_equal(story.slots[0].action.exchange.first_seq, 10);
    story_stored(&story, 0);
    assert_int_equal(story.sync_done, 1);
    story_end(&story);
}

static void sync_now_without_any_log_is_done_at_once(void **state)
{
    struct story story;

    story_begin(&story);
    story_event(&story, ENGINE_SYNC_NOW);
    assert_int_equal(story.sync_done, 1);
    assert_int_equal(story.requests, 0);
    story_end(&story);
}

static void an_idle_handheld_asks_for_commands_now_and_then(void **state)
{
    struct engine_config config = engine_config_default();
    struct story story;

    story_begin_with(&story, &config);
    story_log(&story, 0, 10, 10);
    story_tell(&story);
    for (size_t i = 0; i < 5; i++) {
        uint64_t waited_ms = story_wait_for_request(&story);

        assert_true(i == 0 || waited_ms >= config.idle_contact_ms);
        assert_true(waited_ms <= 2 * config.idle_contact_ms);
        assert_int_equal(story.slots[0].action.exchange.records_max, 0);
        story_stored(&story, 0);
    }
    story_end(&story);
}

static void an_idle_engine_wakes_only_to_poll(void **state)
{
    struct engine_config config = story_config();
    struct story story;
    size_t wakes = 0;

    config.slow_poll_ms = 60000;
    story_begin_with(&story, &config);
    story_log(&story, 0, 10, 10);
    story_tell(&story);
    while (story.now_ms < 10 * HOUR_MS) {
        story.now_ms = story.timer_ms;
        story_event(&story, ENGINE_TIMER);
        wakes++;
    }
    assert_true(wakes <= 10 * HOUR_MS / story.config.slow_poll_ms + 1);
    assert_int_equal(story.requests, 0);
    story_end(&story);
}

static void a_network_that_is_down_at_the_start_is_awaited(void **state)
{
    struct story story;

    begin_with_work(&story);
    while (story.now_ms < HOUR_MS) {
        if (story.slots[0].busy)
            story_fail(&story, 0, FAILURE_NETWORK);
        story_wait(&story, 1000);
    }
    story_link(&story, true);
    if (!story.slots[0].busy)
        assert_true(story_wait_for_request(&story) <= 10000);
    story_drain(&story);
    story_end(&story);
}

static void a_revoked_device_whose_batch_is_too_large_learns_it_by_the_second_request(void **state)
{
    struct story story;

    begin_with_work(&story);
    story_fail(&story, 0, FAILURE_TOO_LARGE);
    assert_int_equal(story.slots[0].action.exchange.records_max, 0);
    story_refuse(&story, 0, REFUSAL_REVOKED);
    assert_true(story_report(&story).refused);
    assert_int_equal(story.requests, 2);
    story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(backoff_is_jittered_between_its_bounds_and_grows),
        cmocka_unit_test(an_answer_ends_the_backoff),
        cmocka_unit_test(two_requests_that_fail_together_count_once),
        cmocka_unit_test(after_a_failure_one_request_at_a_time_is_tried),
        cmocka_unit_test(captive_portals_only_delay),
        cmocka_unit_test(retry_after_is_obeyed_with_jitter),
        cmocka_unit_test(retry_after_is_clamped),
        cmocka_unit_test(a_signed_busy_makes_all_lanes_wait),
        cmocka_unit_test(two_thousand_handhelds_told_to_come_back_come_back_spread_out),
        cmocka_unit_test(a_centre_whose_disk_is_full_is_not_called_busy),
        cmocka_unit_test(next_contact_is_obeyed_even_with_nothing_to_send),
        cmocka_unit_test(
            a_signed_refusal_is_probed_at_most_twice_in_the_first_hour_and_every_six_hours_after),
        cmocka_unit_test(the_two_in_flight_when_a_device_is_revoked_are_all_of_the_first_hour),
        cmocka_unit_test(a_refused_device_recovers_by_itself_and_loses_nothing),
        cmocka_unit_test(a_revoked_device_whose_batch_is_too_large_learns_it_by_the_second_request),
        cmocka_unit_test(sync_now_probes_a_refusal_at_once_and_tells_those_who_wait),
        cmocka_unit_test(nothing_unsigned_ends_a_refusal),
        cmocka_unit_test(an_unknown_device_shows_its_certificate_once),
        cmocka_unit_test(a_certificate_that_does_not_help_is_a_refusal),
        cmocka_unit_test(a_link_that_comes_up_shortens_the_backoff),
        cmocka_unit_test(ten_thousand_link_flaps_neither_hammer_nor_deafen),
        cmocka_unit_test(a_request_caught_by_a_link_change_is_tried_again_within_ten_seconds),
        cmocka_unit_test(a_link_hint_does_not_shorten_what_the_server_asked_for),
        cmocka_unit_test(sync_now_overrides_backoff_pause_and_retry_after),
        cmocka_unit_test(pause_starts_nothing_and_resume_goes_on),
        cmocka_unit_test(sync_now_with_nothing_to_send_asks_the_centre_first),
        cmocka_unit_test(sync_now_without_any_log_is_done_at_once),
        cmocka_unit_test(an_idle_handheld_asks_for_commands_now_and_then),
        cmocka_unit_test(an_idle_engine_wakes_only_to_poll),
        cmocka_unit_test(a_network_that_is_down_at_the_start_is_awaited),
    };

    return cmocka_run_group_tests_name("engine contact", tests, NULL, NULL);
}
