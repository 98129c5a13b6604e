/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of syncd/agent: what it remembers of the day's budget, and what counts towards it. */
#include "tests/unit/syncd/agent_story.h"

#define HOUR_MS UINT64_C(3600000)
#define PHOTO_BYTES 1500000u
#define BUDGET_BYTES UINT64_C(300000)

/* A metered handheld with one large photo, whose record is sent, and as much of the photo as may go today. */
static void begin(struct agent_story *story)
{
    _cleanup_free_ char *content = malloc(PHOTO_BYTES + 1);

    assert_non_null(content);
    memset(content, 'x', PHOTO_BYTES);
    content[PHOTO_BYTES] = 0;
    agent_story_begin(story);
    story->photo_budget = BUDGET_BYTES;
    agent_story_restart(story);
    (void)agent_story_photo(story, "broken", content);
    agent_story_settle(story);
}

static struct engine_report report_of(struct agent_story *story)
{
    struct agent_status status;

    assert_int_equal(agent_status(story->agent, &status), 0);
    return status.engine;
}

static uint64_t bytes_at_centre(const struct agent_story *story)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < story->centre.blob_count; i++)
        bytes += story->centre.blobs[i].bytes.len;
    return bytes;
}

static void expect_photo_waits(struct agent_story *story)
{
    agent_story_settle(story);
    assert_int_equal(report_of(story).lanes[LANE_PHOTOS].wait, LANE_WAITS_FOR_BUDGET);
    assert_int_equal(agent_story_status(story).photos_pending, 1);
}

static void bytes_of_uploads_count_as_the_centre_gets_them(void **state)
{
    struct agent_story story;

    begin(&story);
    expect_photo_waits(&story);
    assert_int_equal(report_of(&story).lanes[LANE_PHOTOS].used, bytes_at_centre(&story));
    assert_true(bytes_at_centre(&story) >= BUDGET_BYTES);
    assert_true(bytes_at_centre(&story) < PHOTO_BYTES);
    /* Text is not held up by it. */
    agent_story_record(&story, 0, 3);
    agent_story_settle(&story);
    assert_int_equal(agent_story_status(&story).records_queued, 0);
    agent_story_end(&story);
}

static void a_new_process_of_the_same_boot_goes_on_with_the_same_day(void **state)
{
    struct agent_story story;
    uint64_t ends_ms, bytes;

    begin(&story);
    bytes = bytes_at_centre(&story);
    ends_ms = report_of(&story).day_ends_ms;
    story.boot_ms += HOUR_MS;
    story.wall_ms = INT64_C(4000000000000); /* the wall clock has no part in it */
    agent_story_restart(&story);
    expect_photo_waits(&story);
    assert_int_equal(bytes_at_centre(&story), bytes);
    assert_true(report_of(&story).day_ends_ms <= ends_ms);
    assert_true(report_of(&story).day_ends_ms + 1000 >= ends_ms);
    agent_story_wait(&story, 23 * HOUR_MS);
    agent_story_settle(&story);
    assert_true(bytes_at_centre(&story) > bytes);
    agent_story_end(&story);
}

static void another_boot_goes_on_where_the_day_was_whatever_the_wall_clock_says(void **state)
{
    static const int64_t walls_ms[] = {0, INT64_C(4070908800000), INT64_C(1700000000000)};
    struct agent_story story;
    uint64_t bytes;

    begin(&story);
    bytes = bytes_at_centre(&story);
    for (size_t i = 0; i < ARRAY_LEN(walls_ms); i++) {
        story.boot_id++;
        story.boot_ms = 20000;
        story.wall_ms = walls_ms[i];
        agent_story_restart(&story);
        expect_photo_waits(&story);
        assert_int_equal(bytes_at_centre(&story), bytes);
        agent_story_wait(&story, 2 * HOUR_MS);
        expect_photo_waits(&story);
    }
    /* Six hours were kept, a quarter of an hour a boot may be lost: not locked for ever. */
    assert_true(report_of(&story).day_ends_ms - story.boot_ms <= 19 * HOUR_MS);
    agent_story_end(&story);
}

static void the_centres_time_ends_a_day_that_passed_while_the_handheld_was_off(void **state)
{
    struct agent_story story;
    uint64_t bytes;

    begin(&story);
    bytes = bytes_at_centre(&story);
    story.boot_id++;
    story.boot_ms = 20000;
    story.centre.time_ms += (int64_t)(25 * HOUR_MS);
    agent_story_restart(&story);
    expect_photo_waits(&story); /* it has not heard yet */
    agent_story_record(&story, 0, 1);
    agent_story_settle(&story);
    assert_true(bytes_at_centre(&story) > bytes);
    agent_story_end(&story);
}

static void a_budget_that_was_kept_and_cannot_be_read_counts_as_none(void **state)
{
    static const char *const values[] = {"", "x", "00", "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0 1 2 3",
        "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0 1 2 3 4 5 6 7 8 -9",
        "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0 1 18446744073709551615 3 0 0 0 0 0 0"};
    struct agent_story story;

    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        begin(&story);
        assert_int_equal(store_set_setting(story.store, "budget_day", bytes_of_text(values[i])), 0);
        agent_story_restart(&story);
        assert_int_not_equal(report_of(&story).lanes[LANE_PHOTOS].wait, LANE_WAITS_FOR_BUDGET);
        assert_true(report_of(&story).lanes[LANE_PHOTOS].used < 1000); /* a token was asked for */
        agent_story_end(&story);
    }
}

static void without_budgets_nothing_is_written_for_them(void **state)
{
    struct buffer value = {0};
    struct agent_story story;

    agent_story_begin(&story);
    (void)agent_story_photo(&story, "broken", "not much");
    agent_story_settle(&story);
    assert_int_equal(agent_story_status(&story).photos_pending, 0);
    assert_int_equal(store_setting(story.store, "budget_day", &value), -ENOENT);
    agent_story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_of_uploads_count_as_the_centre_gets_them),
        cmocka_unit_test(a_new_process_of_the_same_boot_goes_on_with_the_same_day),
        cmocka_unit_test(another_boot_goes_on_where_the_day_was_whatever_the_wall_clock_says),
        cmocka_unit_test(the_centres_time_ends_a_day_that_passed_while_the_handheld_was_off),
        cmocka_unit_test(a_budget_that_was_kept_and_cannot_be_read_counts_as_none),
        cmocka_unit_test(without_budgets_nothing_is_written_for_them),
    };

    return cmocka_run_group_tests_name("agent budget", tests, NULL, NULL);
}
