/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of how a handheld follows the centre's keys: syncd/agent/trust.c, and whose signature an answer may
 * have. */
#include "tests/unit/syncd/agent_story.h"

#include <errno.h>

#define IN_FORCE_MS INT64_C(1700000100000)

static struct sign_key key_at(const struct agent_story *story, uint8_t number)
{
    uint8_t seed[SIGN_SEED_BYTES];
    struct sign_key key;

    memset(seed, 0xa0 + number, sizeof(seed));
    sign_key_from_seed(story->enrolment.receipt_key.name, seed, &key);
    return key;
}

/* Adds to what the centre says: `key` names `successor`. */
static void say(struct agent_story *story, uint64_t generation, const struct sign_key *key,
    const struct sign_key *successor, int64_t valid_from_ms)
{
    struct trust_statement statement = {.authority = bytes_of_text("centre.example"),
        .generation = generation,
        .has_key = true,
        .valid_from_ms = valid_from_ms};
    _cleanup_buffer_ struct buffer envelope = {0};

    memcpy(statement.public_key, successor->public.public_key, SIGN_PUBLIC_BYTES);
    assert_int_equal(trust_statement_sign(&statement, key, &envelope), 0);
    assert_int_equal(trust_list_put(buffer_bytes(&envelope), &story->centre.trust), 0);
}

static void sync_now(struct agent_story *story)
{
    agent_sync_now(story->agent);
    agent_story_settle(story);
}

/* Records one finding, and says whether the centre's answers were believed. */
static bool is_believed(struct agent_story *story)
{
    agent_story_record(story, 0, 1);
    sync_now(story);
    return agent_story_status(story).records_queued == 0;
}

static void a_successor_that_the_pinned_key_names_is_believed_also_after_a_restart(void **state)
{
    struct agent_story story;
    struct sign_key first, second;

    agent_story_begin(&story);
    first = story.centre.receipt_key;
    second = key_at(&story, 2);
    assert_true(is_believed(&story));
    assert_int_equal(story.centre.last_trust_known, 1);
    say(&story, 1, &first, &second, IN_FORCE_MS);
    assert_true(is_believed(&story));
    assert_int_equal(story.trusts_kept, 1);
    sync_now(&story);
    assert_int_equal(story.centre.last_trust_known, 2);
    assert_int_equal(story.trusts_kept, 1); /* said again: nothing new */
    story.centre.receipt_key = second;
    assert_true(is_believed(&story));
    agent_story_restart(&story);
    agent_story_settle(&story);
    assert_true(is_believed(&story));
    agent_story_end(&story);
}

static void a_key_that_nobody_named_or_a_stranger_did_is_not_believed(void **state)
{
    struct agent_story story;
    struct sign_key stranger, second;

    agent_story_begin(&story);
    stranger = key_at(&story, 7);
    second = key_at(&story, 2);
    say(&story, 1, &stranger, &second, IN_FORCE_MS);
    agent_story_record(&story, 0, 1);
    agent_story_settle(&story);
    /* The answer itself is good: what it says of keys leads nowhere. */
    assert_int_equal(agent_story_status(&story).records_queued, 0);
    story.centre.receipt_key = second;
    assert_false(is_believed(&story));
    agent_story_end(&story);
}

static void a_list_that_breaks_off_changes_nothing_and_spoils_no_answer(void **state)
{
    struct agent_story story;
    struct sign_key first, second, third;

    agent_story_begin(&story);
    first = story.centre.receipt_key;
    second = key_at(&story, 2);
    third = key_at(&story, 3);
    say(&story, 1, &first, &second, IN_FORCE_MS);
    say(&story, 2, &first, &third, IN_FORCE_MS); /* no longer its to name */
    assert_true(is_believed(&story));
    assert_int_equal(story.trusts_kept, 0);
    story.centre.receipt_key = second;
    assert_false(is_believed(&story));
    agent_story_end(&story);
}

static void a_successor_counts_only_when_it_is_on_the_disk(void **state)
{
    struct agent_story story;
    struct sign_key first, second;

    agent_story_begin(&story);
    first = story.centre.receipt_key;
    second = key_at(&story, 2);
    say(&story, 1, &first, &second, IN_FORCE_MS);
    story.trust_result = -ENOSPC;
    assert_true(is_believed(&story));
    sync_now(&story);
    assert_int_equal(story.centre.last_trust_known, 1); /* so it is said again */
    story.trust_result = 0;
    sync_now(&story);
    sync_now(&story);
    assert_int_equal(story.centre.last_trust_known, 2);
    assert_int_equal(story.trusts_kept, 1);
    agent_story_end(&story);
}

static void a_retired_key_is_believed_until_its_successor_is_in_force_and_never_after_a_restart(void **state)
{
    struct agent_story story;
    struct sign_key first, second;

    agent_story_begin(&story);
    first = story.centre.receipt_key;
    second = key_at(&story, 2);
    say(&story, 1, &first, &second, IN_FORCE_MS);
    assert_true(is_believed(&story));
    story.centre.time_ms = IN_FORCE_MS - 1;
    assert_true(is_believed(&story)); /* the old key, still before the date */
    story.centre.receipt_key = second;
    story.centre.time_ms = IN_FORCE_MS;
    agent_story_wait(&story, 3600 * 1000);
    assert_true(is_believed(&story));
    story.centre.receipt_key = first;
    assert_false(is_believed(&story));
    agent_story_restart(&story);
    agent_story_wait(&story, 1000);
    sync_now(&story);
    assert_int_equal(agent_story_status(&story).records_queued, 1);
    story.centre.receipt_key = second;
    agent_story_wait(&story, 3600 * 1000);
    sync_now(&story);
    assert_int_equal(agent_story_status(&story).records_queued, 0);
    agent_story_end(&story);
}

static void a_damaged_list_leaves_the_pinned_key_and_is_asked_for_again(void **state)
{
    struct agent_story story;
    struct sign_key first, second;

    agent_story_begin(&story);
    first = story.centre.receipt_key;
    second = key_at(&story, 2);
    say(&story, 1, &first, &second, IN_FORCE_MS);
    assert_true(is_believed(&story));
    story.trust.data[story.trust.len / 2] ^= 1;
    agent_story_restart(&story);
    sync_now(&story);
    sync_now(&story);
    assert_int_equal(story.centre.last_trust_known, 2);
    assert_int_equal(story.trusts_kept, 2);
    story.centre.receipt_key = second;
    assert_true(is_believed(&story));
    agent_story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_successor_that_the_pinned_key_names_is_believed_also_after_a_restart),
        cmocka_unit_test(a_key_that_nobody_named_or_a_stranger_did_is_not_believed),
        cmocka_unit_test(a_list_that_breaks_off_changes_nothing_and_spoils_no_answer),
        cmocka_unit_test(a_successor_counts_only_when_it_is_on_the_disk),
        cmocka_unit_test(a_retired_key_is_believed_until_its_successor_is_in_force_and_never_after_a_restart),
        cmocka_unit_test(a_damaged_list_leaves_the_pinned_key_and_is_asked_for_again),
    };

    return cmocka_run_group_tests_name("syncd agent trust", tests, NULL, NULL);
}
