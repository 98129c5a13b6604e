/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of syncd/agent/agent.h: orders of the centre to erase something. */
#include "tests/unit/syncd/agent_story.h"

#define FIRST_FINDING 2u /* two records of the handheld's own stand before those of people */

/* Five findings are sent, and the centre orders the second of them to be erased. */
static void begin_with_order(struct agent_story *story, struct erased_record *record)
{
    agent_story_begin(story);
    agent_story_record(story, 0, 5);
    agent_story_settle(story);
    *record = (struct erased_record){.at = {.log = agent_story_status(story).log, .seq = FIRST_FINDING + 1},
        .leaf = story->centre.logs[0].leaves[FIRST_FINDING + 1]};
    story->centre.order = (struct erasure_order){
        .number = 7, .time_ms = story->centre.time_ms, .records = record, .record_count = 1};
}

static bool is_erased(struct agent_story *story, const struct erased_record *record)
{
    _cleanup_buffer_ struct buffer bytes = {0};
    struct store_record stored;

    assert_int_equal(store_read(story->store, &record->at, &bytes, &stored), 0);
    return stored.is_erased;
}

static void an_order_is_carried_out_and_told_to_be_done_at_once(void **state)
{
    struct agent_story story;
    struct erased_record record;

    begin_with_order(&story, &record);
    agent_story_record(&story, 5, 1);
    agent_story_settle(&story);
    assert_true(is_erased(&story, &record));
    assert_int_equal(story.centre.last_orders_done, 7);
    agent_story_restart(&story);
    agent_story_record(&story, 7, 1);
    agent_story_settle(&story);
    assert_int_equal(story.centre.last_orders_done, 7);
    assert_int_equal(agent_story_status(&story).records_queued, 0);
    assert_int_equal(story.alarms, 0);
    agent_story_end(&story);
}

static void an_order_in_an_answer_that_was_altered_erases_nothing(void **state)
{
    struct agent_story story;
    struct erased_record record;
    _cleanup_(centre_reply_done) struct centre_reply reply = {0};
    const struct sign_key *forger;
    struct sign_key key;
    uint8_t seed[SIGN_SEED_BYTES] = {9};
    _cleanup_buffer_ struct buffer opened = {0};

    begin_with_order(&story, &record);
    sign_key_from_seed("gridpatrol/receipt", seed, &key);
    forger = &key;
    agent_story_record(&story, 5, 1);
    centre_answer(&story, 0, &reply);
    struct bytes plain = centre_open(&reply, PAYLOAD_EXCHANGE_ANSWER, &story.centre.receipt_key, &opened);
    centre_sign_again(&reply, PAYLOAD_EXCHANGE_ANSWER, forger, &story.centre.device, plain);
    agent_story_deliver(&story, 0, &reply.response);
    assert_false(is_erased(&story, &record));
    agent_story_end(&story);
}

static void a_centre_set_back_to_before_the_record_gets_its_leaf(void **state)
{
    struct agent_story story;
    struct erased_record record;

    begin_with_order(&story, &record);
    agent_story_record(&story, 5, 1);
    agent_story_settle(&story);
    assert_true(is_erased(&story, &record));
    story.centre.order.number = 0;
    story.centre.logs[0].size = 0;
    buffer_clear(&story.centre.logs[0].note);
    agent_story_record(&story, 6, 1);
    agent_story_settle(&story);
    assert_int_equal(story.centre.erased_leaves, 1);
    struct store_status status = agent_story_status(&story);
    assert_int_equal(story.centre.logs[0].size, status.log_size);
    assert_int_equal(status.records_queued, 0);
    agent_story_end(&story);
}

static void a_repair_tells_the_leaf_of_what_was_erased_and_sends_what_stands_beside_it(void **state)
{
    struct agent_story story;
    struct erased_record record;

    begin_with_order(&story, &record);
    agent_story_record(&story, 5, 1);
    agent_story_settle(&story);
    story.centre.missing[0] = (struct run){.first = FIRST_FINDING, .count = 4};
    story.centre.missing_count = 1;
    assert_int_equal(agent_resync(story.agent, AUDIT_RECORDS), 0);
    agent_story_settle(&story);
    assert_int_equal(story.centre.erased_told, 1);
    assert_int_equal(story.centre.lost_told, 0);
    assert_int_equal(story.centre.records_mended, 3);
    assert_int_equal(story.resyncs_done, 1);
    assert_true(story.report.ok);
    assert_int_equal(story.report.records_gone, 0);
    agent_story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_order_is_carried_out_and_told_to_be_done_at_once),
        cmocka_unit_test(an_order_in_an_answer_that_was_altered_erases_nothing),
        cmocka_unit_test(a_centre_set_back_to_before_the_record_gets_its_leaf),
        cmocka_unit_test(a_repair_tells_the_leaf_of_what_was_erased_and_sends_what_stands_beside_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
