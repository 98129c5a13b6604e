/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of how a handheld replaces its own key: syncd/agent/device_key.c. */
#include "tests/unit/syncd/agent_story.h"

#include "proto/key_rotation.h"

#include <errno.h>

static const uint8_t next_seed[SIGN_SEED_BYTES] = {0x7e, 0x57};

static struct sign_key next_key(const struct agent_story *story)
{
    struct sign_key key;

    sign_key_from_seed(story->centre.device_key.name, next_seed, &key);
    return key;
}

static void sync_now(struct agent_story *story)
{
    agent_sync_now(story->agent);
    agent_story_settle(story);
}

struct announcements {
    size_t count;
    struct key_rotation last;
};

static int note_announcement(void *user, const struct store_record *record)
{
    struct announcements *found = user;
    _cleanup_arena_ struct arena arena = {0};
    struct record decoded;

    if (record->kind != RECORD_KEY_ROTATION)
        return 0;
    arena_init(&arena, arena_budget_for(record->record.len));
    assert_int_equal(record_decode(record->record, &arena, &decoded, NULL), 0);
    found->last = decoded.key_rotation;
    found->count++;
    return 0;
}

static struct announcements announcements(struct agent_story *story)
{
    struct announcements found = {0};

    assert_int_equal(store_each_record(story->store, NULL, note_announcement, &found), 0);
    return found;
}

static void sign_certificate(const struct agent_story *story, const struct sign_key *centre,
    const uint8_t public_key[SIGN_PUBLIC_BYTES], const struct uuid *device, struct buffer *ret)
{
    struct device_certificate certificate = {.authority = bytes_of_text(story->enrolment.authority),
        .tenant = bytes_of_text(story->enrolment.tenant),
        .device = *device,
        .issued_ms = story->centre.time_ms};

    buffer_clear(ret);
    memcpy(certificate.public_key, public_key, SIGN_PUBLIC_BYTES);
    assert_int_equal(device_certificate_sign(&certificate, centre, ret), 0);
}

static void a_key_is_announced_once_by_a_record_that_both_keys_have_signed(void **state)
{
    struct agent_story story;
    struct announcements found;
    struct sign_key next;

    (void)state;
    agent_story_begin(&story);
    next = next_key(&story);
    assert_int_equal(agent_announce_key(story.agent, next_seed), 0);
    assert_int_equal(agent_announce_key(story.agent, next_seed), 0);
    agent_story_restart(&story);
    assert_int_equal(agent_announce_key(story.agent, next_seed), 0);
    found = announcements(&story);
    assert_int_equal(found.count, 1);
    assert_memory_equal(found.last.old_key, story.centre.device_key.public_key, SIGN_PUBLIC_BYTES);
    assert_memory_equal(found.last.new_key, next.public.public_key, SIGN_PUBLIC_BYTES);
    assert_int_equal(key_rotation_verify(&found.last, &story.centre.device), 0);
    agent_story_settle(&story);                         /* the centre checks that the old key signs */
    assert_int_equal(story.centre.records_appended, 3); /* opened, the boot, and this */
    agent_story_end(&story);
}

static void a_death_between_the_record_and_its_note_costs_a_second_record_that_says_the_same(void **state)
{
    struct agent_story story;
    struct announcements first, second;

    (void)state;
    agent_story_begin(&story);
    assert_int_equal(agent_announce_key(story.agent, next_seed), 0);
    first = announcements(&story);
    assert_int_equal(store_set_setting(story.store, "announced_key", bytes_of_text("")), 0);
    agent_story_restart(&story);
    assert_int_equal(agent_announce_key(story.agent, next_seed), 0);
    second = announcements(&story);
    assert_int_equal(second.count, 2);
    assert_memory_equal(&first.last, &second.last, sizeof(first.last));
    agent_story_end(&story);
}

static void only_a_certificate_by_the_centre_for_this_device_is_taken_and_once(void **state)
{
    struct agent_story story;
    struct sign_key next, stranger;
    struct uuid other;

    (void)state;
    agent_story_begin(&story);
    next = next_key(&story);
    sign_key_from_seed(story.enrolment.receipt_key.name, next_seed, &stranger);
    other = story.centre.device;
    other.b[0] ^= 1;
    sign_certificate(
        &story, &stranger, next.public.public_key, &story.centre.device, &story.centre.next_certificate);
    sync_now(&story);
    sign_certificate(
        &story, &story.centre.receipt_key, next.public.public_key, &other, &story.centre.next_certificate);
    sync_now(&story);
    assert_int_equal(story.certificates_told, 0);
    agent_story_record(&story, 0, 1);
    sync_now(&story);
    assert_int_equal(agent_story_status(&story).records_queued, 0); /* the answers were good */

    story.certificate_result = -ENOSPC;
    sign_certificate(&story, &story.centre.receipt_key, next.public.public_key, &story.centre.device,
        &story.centre.next_certificate);
    sync_now(&story);
    story.certificate_result = 1;
    sync_now(&story);
    sync_now(&story);
    assert_int_equal(
        story.certificates_told, 2); /* it failed, then it was kept; the third time is old news */
    assert_memory_equal(story.last_certified_key, next.public.public_key, SIGN_PUBLIC_BYTES);
    agent_story_end(&story);
}

static void after_the_switch_the_new_key_signs_and_receipts_by_the_old_one_still_hold(void **state)
{
    struct agent_story story;
    struct buffer former = {0}, certificate = {0};
    struct sign_key next;
    struct bytes envelope;

    (void)state;
    agent_story_begin(&story);
    next = next_key(&story);
    agent_story_record(&story, 0, 3);
    sync_now(&story);
    sign_certificate(&story, &story.centre.receipt_key, story.centre.device_key.public_key,
        &story.centre.device, &certificate);
    envelope = buffer_bytes(&certificate);
    buffer_put_u32be(&former, (uint32_t)envelope.len);
    buffer_put_bytes(&former, envelope);
    story.enrolment.certificates = former.data;
    story.enrolment.certificates_len = former.len;
    memcpy(story.device_seed, next_seed, sizeof(next_seed));
    assert_int_equal(agent_set_enrolment(story.agent, &story.enrolment, story.device_seed), 0);
    story.centre.device_key = next.public;

    /* The log has not grown: what the centre cosigns of it is by the old key. */
    size_t done = story.syncs_done;
    sync_now(&story);
    assert_int_equal(story.syncs_done, done + 1);
    assert_int_equal(agent_story_status(&story).records_queued, 0);
    agent_story_record(&story, 3, 1);
    sync_now(&story);
    assert_int_equal(agent_story_status(&story).records_queued, 0);
    story.enrolment.certificates = NULL;
    story.enrolment.certificates_len = 0;
    buffer_done(&former);
    buffer_done(&certificate);
    agent_story_end(&story);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_is_announced_once_by_a_record_that_both_keys_have_signed),
        cmocka_unit_test(a_death_between_the_record_and_its_note_costs_a_second_record_that_says_the_same),
        cmocka_unit_test(only_a_certificate_by_the_centre_for_this_device_is_taken_and_once),
        cmocka_unit_test(after_the_switch_the_new_key_signs_and_receipts_by_the_old_one_still_hold),
    };

    return cmocka_run_group_tests_name("agent device key", tests, NULL, NULL);
}
