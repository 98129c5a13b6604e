/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of syncd/agent/agent.h: records that the centre cannot apply, or only later. */
#include "tests/unit/syncd/agent_story.h"

static void every_mix_of_stored_and_quarantined_records_is_told_apart(void **state)
{
    for (uint64_t bits = 0; bits < 16; bits++) {
        struct agent_story story;
        unsigned expected = (unsigned)__builtin_popcountll(bits);

        agent_story_begin(&story);
        /* Two records of the handheld's own stand before those of people. */
        story.centre.quarantine_bits = bits << 2;
        agent_story_record(&story, 0, 4);
        agent_story_settle(&story);
        struct store_status status = agent_story_status(&story);
        assert_int_equal(status.log_size, 6);
        assert_int_equal(status.records_queued, 0);
        assert_int_equal(status.records_quarantined, expected);
        assert_int_equal(status.records_sent, 4 - expected);
        assert_int_equal(story.syncs_done, 1);
        agent_story_end(&story);
    }
}

static void quarantine_told_by_a_late_answer_is_noted_without_taking_a_receipt_back(void **state)
{
    struct agent_story story;
    _cleanup_(centre_reply_done) struct centre_reply first = {0}, second = {0};
    uint64_t size;

    agent_story_begin(&story);
    agent_story_record(&story, 0, 1);
    agent_story_settle(&story);
    story.centre.quarantine_every = 100;
    agent_story_record(&story, 1, 600);
    assert_true(story.sent[0].busy && story.sent[1].busy);
    centre_answer(&story, 0, &first);
    centre_answer(&story, 1, &second);
    agent_story_deliver(&story, 1, &second.response);
    size = agent_story_status(&story).receipt_size;
    assert_true(size > 500);
    agent_story_deliver(&story, 0, &first.response);
    assert_int_equal(agent_story_status(&story).receipt_size, size);
    agent_story_settle(&story);
    assert_int_equal(agent_story_status(&story).records_quarantined, 6);
    agent_story_end(&story);
}

static void quarantine_of_records_whose_answer_was_lost_is_noted_with_the_receipt_that_covers_them(
    void **state)
{
    struct agent_story story;
    _cleanup_(centre_reply_done) struct centre_reply lost = {0};

    agent_story_begin(&story);
    agent_story_record(&story, 0, 1);
    agent_story_settle(&story);
    story.centre.quarantine_every = 100;
    agent_story_record(&story, 1, 600);
    assert_true(story.sent[0].busy && story.sent[1].busy);
    centre_answer(&story, 0, &lost);
    agent_story_answer(&story, 1);
    agent_story_fail(&story, 0, FAILURE_NETWORK);
    agent_story_settle(&story);
    assert_int_equal(agent_story_status(&story).records_queued, 0);
    assert_int_equal(agent_story_status(&story).records_quarantined, 6);
    agent_story_end(&story);
}

/* Five findings are sent, the second of them cannot be applied, and later it can. */
static void begin_with_one_applied_later(struct agent_story *story)
{
    agent_story_begin(story);
    story->centre.quarantine_bits = 1u << 3;
    agent_story_record(story, 0, 5);
    agent_story_settle(story);
    assert_int_equal(agent_story_status(story).records_quarantined, 1);
    assert_int_equal(agent_story_status(story).records_sent, 4);
    story->centre.quarantine_bits = 0;
}

static void a_record_applied_later_counts_as_sent_with_the_next_answer(void **state)
{
    struct agent_story story;

    begin_with_one_applied_later(&story);
    agent_story_record(&story, 5, 1);
    agent_story_settle(&story);
    assert_int_equal(agent_story_status(&story).records_quarantined, 0);
    assert_int_equal(agent_story_status(&story).records_sent, 6);
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_int_equal(story.centre.last_asked_quarantined, 0);
    agent_story_end(&story);
}

static void what_became_of_a_quarantined_record_is_asked_until_an_answer_has_come(void **state)
{
    struct agent_story story;
    _cleanup_(centre_reply_done) struct centre_reply lost = {0};

    begin_with_one_applied_later(&story);
    agent_sync_now(story.agent);
    centre_answer(&story, 0, &lost);
    agent_story_fail(&story, 0, FAILURE_NETWORK);
    assert_int_equal(agent_story_status(&story).records_quarantined, 1);
    agent_story_restart(&story);
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_int_equal(agent_story_status(&story).records_quarantined, 0);
    agent_story_end(&story);
}

static void many_quarantined_records_are_asked_for_in_turn_and_released_in_one_go(void **state)
{
    struct agent_story story;
    size_t before;

    agent_story_begin(&story);
    story.centre.quarantine_every = 1;
    agent_story_record(&story, 0, 600);
    agent_story_settle(&story);
    assert_int_equal(agent_story_status(&story).records_quarantined, 600);
    /* Nothing was released: nobody asks for the rest at once. */
    before = story.centre.exchanges;
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_int_equal(story.centre.exchanges, before + 1);
    assert_int_equal(story.centre.last_asked_quarantined, EXCHANGE_ASKED_QUARANTINED_MAX);

    story.centre.quarantine_every = 0;
    agent_sync_now(story.agent);
    agent_story_settle(&story);
    assert_int_equal(agent_story_status(&story).records_quarantined, 0);
    assert_true(story.centre.exchanges <= before + 6);
    agent_story_end(&story);
}

static void with_records_few_questions_are_asked(void **state)
{
    struct agent_story story;

    agent_story_begin(&story);
    story.centre.quarantine_every = 1;
    agent_story_record(&story, 0, 100);
    agent_story_settle(&story);
    agent_story_record(&story, 100, 1);
    agent_story_settle(&story);
    assert_int_equal(story.centre.last_record_count, 1);
    assert_true(story.centre.last_asked_quarantined > 0);
    assert_true(story.centre.last_asked_quarantined <= 8);
    agent_story_end(&story);
}

static void what_a_server_said_before_it_was_set_back_releases_nothing(void **state)
{
    struct agent_story story;
    _cleanup_(centre_reply_done) struct centre_reply late = {0};

    begin_with_one_applied_later(&story);
    agent_sync_now(story.agent);
    agent_story_record(&story, 5, 100);
    assert_true(story.sent[0].busy && story.sent[1].busy);
    centre_answer(&story, 0, &late);
    /* The log is gone from the copy that was restored, and so is what it had learnt. */
    story.centre.logs[0].size = 0;
    buffer_clear(&story.centre.logs[0].note);
    story.centre.quarantine_bits = 1u << 3;
    for (size_t i = 0; i < 5 && story.sent[1].busy; i++)
        agent_story_answer(&story, 1);
    assert_true(agent_story_status(&story).receipt_size > 5);
    assert_int_equal(agent_story_status(&story).records_quarantined, 1);
    agent_story_deliver(&story, 0, &late.response);
    assert_int_equal(agent_story_status(&story).records_quarantined, 1);
    agent_story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mix_of_stored_and_quarantined_records_is_told_apart),
        cmocka_unit_test(quarantine_told_by_a_late_answer_is_noted_without_taking_a_receipt_back),
        cmocka_unit_test(
            quarantine_of_records_whose_answer_was_lost_is_noted_with_the_receipt_that_covers_them),
        cmocka_unit_test(a_record_applied_later_counts_as_sent_with_the_next_answer),
        cmocka_unit_test(what_became_of_a_quarantined_record_is_asked_until_an_answer_has_come),
        cmocka_unit_test(many_quarantined_records_are_asked_for_in_turn_and_released_in_one_go),
        cmocka_unit_test(with_records_few_questions_are_asked),
        cmocka_unit_test(what_a_server_said_before_it_was_set_back_releases_nothing),
    };

    return cmocka_run_group_tests_name("agent quarantine", tests, NULL, NULL);
}
