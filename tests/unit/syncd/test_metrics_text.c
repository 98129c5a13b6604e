/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/unit.h"

#include "syncd/metrics_text.h"

static struct agent_status status_of_a_working_day(void)
{
    struct agent_status status = {
        .enrolled = true,
        .last_answer_wall_ms = 1700000000250,
        .bytes_down = 77,
        .alarms = 2,
        .store = {.records_queued = 3,
            .records_sent = 41,
            .records_pruned = 12,
            .previews_pending = 2,
            .photos_pending = 5,
            .bytes_pending = 9000,
            .free_bytes = (UINT64_C(5) << 20) + 12345},
        .resync = {.finished = true,
            .ok = true,
            .cause = RESYNC_SELF_AUDIT,
            .level = AUDIT_PRESENCE,
            .finished_ms = 1700000001007,
            .records_missing = 4,
            .records_damaged = 1},
    };
    for (size_t network = 0; network < ENGINE_NETWORKS; network++)
        for (size_t lane = 0; lane < ENGINE_LANES; lane++)
            status.engine.budget_bytes[network][lane] = BUDGET_UNLIMITED;
    status.engine.wait = ENGINE_WAIT_BACKOFF;
    status.engine.network = NETWORK_METERED;
    status.engine.budget_bytes[NETWORK_METERED][LANE_PHOTOS] = 0;
    status.engine.used_bytes[NETWORK_METERED][LANE_TEXT] = 600;
    status.engine.counts.exchanges[EXCHANGE_STORED] = 7;
    status.engine.counts.failures[FAILURE_TLS] = 8;
    status.engine.counts.refusals[REFUSAL_REVOKED] = 9;
    status.engine.counts.sent_bytes[NETWORK_METERED][LANE_TEXT] = 601;
    return status;
}

static char *text_of(const struct agent_status *status)
{
    const struct metrics_state state = {.status = status,
        .link_is_up = true,
        .workers_started = 6,
        .workers_lost = 1,
        .started_wall_ms = 1699999999000};
    _cleanup_buffer_ struct buffer text = {0};

    metrics_text(&state, &text);
    assert_int_equal(buffer_finish(&text), 0);
    return strndup((const char *)text.data, text.len);
}

static void assert_line(const char *text, const char *line)
{
    _cleanup_free_ char *whole = NULL;

    assert_true(asprintf(&whole, "\n%s\n", line) > 0);
    if (!strstr(text, whole))
        fail_msg("no line \"%s\" in:\n%s", line, text);
}

static void what_status_says_is_in_the_text(void **state)
{
    struct agent_status status = status_of_a_working_day();
    _cleanup_free_ char *text = text_of(&status);

    assert_line(text, "gridpatrol_syncd_build_info{version=\"" GRIDPATROL_VERSION "\"} 1");
    assert_line(text, "gridpatrol_syncd_waiting{lane=\"text\"} 3");
    assert_line(text, "gridpatrol_syncd_waiting{lane=\"previews\"} 2");
    assert_line(text, "gridpatrol_syncd_waiting{lane=\"photos\"} 3");
    assert_line(text, "gridpatrol_syncd_waiting_bytes 9000");
    assert_line(text, "gridpatrol_syncd_records_sent_total 41");
    assert_line(text, "gridpatrol_syncd_records_pruned 12");
    assert_line(text, "gridpatrol_syncd_state{state=\"backoff\"} 1");
    assert_line(text, "gridpatrol_syncd_state{state=\"idle\"} 0");
    assert_line(text, "gridpatrol_syncd_exchanges_total{outcome=\"stored\"} 7");
    assert_line(text, "gridpatrol_syncd_failures_total{kind=\"tls\"} 8");
    assert_line(text, "gridpatrol_syncd_refusals_total{reason=\"revoked\"} 9");
    assert_line(text, "gridpatrol_syncd_sent_bytes_total{lane=\"text\",network=\"metered\"} 601");
    assert_line(text, "gridpatrol_syncd_sent_bytes_total{lane=\"text\",network=\"unmetered\"} 0");
    assert_line(text, "gridpatrol_syncd_budget_used_bytes{lane=\"text\",network=\"metered\"} 600");
    assert_line(text, "gridpatrol_syncd_received_bytes_total 77");
    assert_line(text, "gridpatrol_syncd_alarms_total 2");
    assert_line(text, "gridpatrol_syncd_workers_started_total 6");
    assert_line(text, "gridpatrol_syncd_workers_lost_total 1");
    assert_line(text, "gridpatrol_syncd_link_up 1");
}

static void times_are_seconds_and_one_that_is_not_known_is_left_out(void **state)
{
    struct agent_status status = status_of_a_working_day();
    _cleanup_free_ char *text = text_of(&status);

    assert_line(text, "gridpatrol_syncd_start_time_seconds 1699999999.000");
    assert_line(text, "gridpatrol_syncd_last_answer_timestamp_seconds 1700000000.250");
    assert_line(text,
        "gridpatrol_syncd_last_resync_timestamp_seconds{cause=\"self-audit\",level=\"presence\"} "
        "1700000001.007");
    assert_null(strstr(text, "\ngridpatrol_syncd_newest_receipt_timestamp_seconds "));
    assert_null(strstr(text, "\ngridpatrol_syncd_oldest_waiting_timestamp_seconds "));
}

static void a_budget_of_nothing_is_0_and_one_without_limit_is_infinite(void **state)
{
    struct agent_status status = status_of_a_working_day();
    _cleanup_free_ char *text = text_of(&status);

    assert_line(text, "gridpatrol_syncd_budget_limit_bytes{lane=\"photos\",network=\"metered\"} 0");
    assert_line(text, "gridpatrol_syncd_budget_limit_bytes{lane=\"photos\",network=\"unmetered\"} +Inf");
}

static void a_resync_that_has_not_ended_says_nothing_yet(void **state)
{
    struct agent_status status = status_of_a_working_day();
    status.resync.records_lost = 2;
    _cleanup_free_ char *ended = text_of(&status);

    assert_line(ended, "gridpatrol_syncd_last_resync_ok 1");
    assert_line(ended, "gridpatrol_syncd_last_resync_lost{what=\"records\"} 2");
    assert_line(ended, "gridpatrol_syncd_last_resync_missing{what=\"records\"} 5");
    status.resync.finished = false;
    _cleanup_free_ char *running = text_of(&status);
    assert_null(strstr(running, "\ngridpatrol_syncd_last_resync"));
    status.resync.finished = status.resync.failed = true;
    _cleanup_free_ char *failed = text_of(&status);
    assert_line(failed, "gridpatrol_syncd_last_resync_ok 0");
}

static void a_little_less_free_space_is_the_same_text(void **state)
{
    struct agent_status status = status_of_a_working_day();
    _cleanup_free_ char *before = text_of(&status);

    assert_line(before, "gridpatrol_syncd_free_bytes 5242880");
    status.store.free_bytes -= 4096;
    _cleanup_free_ char *after = text_of(&status);
    assert_string_equal(before, after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_status_says_is_in_the_text),
        cmocka_unit_test(times_are_seconds_and_one_that_is_not_known_is_left_out),
        cmocka_unit_test(a_budget_of_nothing_is_0_and_one_without_limit_is_infinite),
        cmocka_unit_test(a_resync_that_has_not_ended_says_nothing_yet),
        cmocka_unit_test(a_little_less_free_space_is_the_same_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
