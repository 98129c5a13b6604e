/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of server/service_limits.c: quotas of devices, and when they are told to come again. */
#include "tests/unit/server/client.h"

#define PHOTO_BYTES 1000u
#define DAY_MS INT64_C(86400000)

static int start(void **state)
{
    *state = centre_new();
    return 0;
}

static int stop(void **state)
{
    centre_free(*state);
    return 0;
}

static void limit(struct centre *centre, struct quota quota, uint64_t requests_per_second)
{
    service_set_limits(centre->service, &quota, requests_per_second);
}

static int copy_device(void *user, const struct service_device *device)
{
    struct service_device *copy = user;

    if (uuid_equal(&device->id, &copy->id))
        *copy = *device;
    return 0;
}

static struct service_device listed_device(struct centre *centre, const struct handheld *handheld)
{
    struct service_device device = {.id = handheld->device};

    assert_int_equal(service_each_device(centre->service, copy_device, &device), 0);
    return device;
}

/* ---- the quota of a day ---- */

static void over_quota(struct centre *centre, struct quota quota)
{
    struct handheld *handheld = handheld_enrolled(centre), *other = handheld_enrolled(centre);
    _cleanup_answered_ struct answered first = {0}, refused = {0}, again = {0}, asks = {0}, later = {0};

    limit(centre, quota, 0);
    append_opened(handheld);
    append_findings(handheld, 19);
    exchange(centre, handheld, 0, 10, &first); /* the one that brings it over is taken whole */
    assert_int_equal(first.exchange.size, 10);
    assert_true(listed_device(centre, handheld).over_quota);
    assert_int_equal(listed_device(centre, handheld).alarms, 1);

    exchange(centre, handheld, 10, 10, &refused);
    assert_true(refused.is_refused);
    assert_int_equal(refused.refusal.reason, REFUSAL_OVER_QUOTA);
    assert_int_equal(refused.status, 429);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM records"), 10);

    /* An answer that was lost is given again, and asking costs nothing. */
    exchange(centre, handheld, 0, 10, &again);
    assert_int_equal(again.exchange.size, 10);
    exchange(centre, handheld, 10, 0, &asks);
    assert_false(asks.is_refused);
    /* Nobody else is touched. */
    append_opened(other);
    deliver(centre, other);

    centre->wall_shift_ms += DAY_MS;
    assert_false(listed_device(centre, handheld).over_quota); /* before it has come again */
    assert_int_equal(listed_device(centre, handheld).alarms, 0);
    exchange(centre, handheld, 10, 10, &later);
    assert_int_equal(later.exchange.size, 20);
    handheld_free(handheld);
    handheld_free(other);
}

static void records_over_the_quota_of_a_day_are_refused_until_the_day_is_over(void **state)
{
    over_quota(*state, (struct quota){.records_a_day = 8});
}

static void bytes_over_the_quota_of_a_day_are_refused_until_the_day_is_over(void **state)
{
    over_quota(*state, (struct quota){.bytes_a_day = 300});
}

static void what_was_used_is_kept_over_a_restart(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered refused = {0};

    limit(centre, (struct quota){.records_a_day = 2}, 0);
    append_opened(handheld);
    append_findings(handheld, 1);
    deliver(centre, handheld);
    centre_restart(centre);
    limit(centre, (struct quota){.records_a_day = 2}, 0);
    append_findings(handheld, 1);
    exchange(centre, handheld, 2, 1, &refused);
    assert_int_equal(refused.refusal.reason, REFUSAL_OVER_QUOTA);
    handheld_free(handheld);
}

static void without_a_quota_nothing_is_noted_of_anybody(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);

    append_opened(handheld);
    append_findings(handheld, 100);
    deliver(centre, handheld);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM quota_use"), 0);
    assert_false(listed_device(centre, handheld).over_quota);
    handheld_free(handheld);
}

/* ---- the quota of photos ---- */

static void store_photo(struct centre *centre, const struct handheld *handheld, uint8_t fill)
{
    uint8_t photo[PHOTO_BYTES];

    memset(photo, fill, sizeof(photo));
    upload_photo(centre, handheld, bytes_of(photo, sizeof(photo)));
}

static struct sha256 append_photo(struct handheld *handheld, uint8_t fill)
{
    uint8_t photo[PHOTO_BYTES];

    memset(photo, fill, sizeof(photo));
    struct sha256 sha256 = sha256_of(bytes_of(photo, sizeof(photo)));
    append_finding_with_photo(handheld, &sha256, sizeof(photo), NULL);
    return sha256;
}

static void photos_over_their_quota_wait_and_records_go_on(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered before = {0}, after = {0}, raised = {0};
    struct service_upload upload;

    limit(centre, (struct quota){.photo_bytes = 2 * PHOTO_BYTES}, 0);
    append_opened(handheld);
    append_photo(handheld, 1);
    append_photo(handheld, 2);
    struct sha256 third = append_photo(handheld, 3);
    deliver(centre, handheld);
    store_photo(centre, handheld, 1);
    exchange(centre, handheld, 4, 0, &before);
    assert_true(before.exchange.upload_token.len > 0);
    assert_int_equal(before.exchange.no_upload, NO_UPLOAD_UNSAID);
    store_photo(centre, handheld, 2);

    /* A token that was given before is no way round it. */
    assert_int_equal(
        service_upload_create(centre->service, &handheld->device, &third, PHOTO_BYTES, &upload), -EPERM);
    append_findings(handheld, 5);
    exchange(centre, handheld, 4, 5, &after);
    assert_int_equal(after.exchange.size, 9);
    assert_int_equal(after.exchange.upload_token.len, 0);
    assert_int_equal(after.exchange.no_upload, NO_UPLOAD_OVER_QUOTA);
    assert_true(listed_device(centre, handheld).photos_over_quota);
    assert_false(listed_device(centre, handheld).over_quota);
    assert_int_equal(listed_device(centre, handheld).alarms, 1);

    limit(centre, (struct quota){.photo_bytes = 3 * PHOTO_BYTES}, 0);
    assert_int_equal(listed_device(centre, handheld).alarms, 0);
    exchange(centre, handheld, 9, 0, &raised);
    assert_true(raised.exchange.upload_token.len > 0);
    store_photo(centre, handheld, 3);
    handheld_free(handheld);
}

/* ---- when to come again ---- */

static uint32_t next_contact_s(
    struct centre *centre, const struct handheld *handheld, size_t count, const struct exchange_request *more)
{
    _cleanup_answered_ struct answered answered = {0};

    exchange_with(centre, handheld, 0, count, more, &answered);
    assert_false(answered.is_refused);
    return answered.exchange.next_contact_s;
}

static void only_who_may_have_more_to_send_is_told_to_come_later(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    const struct exchange_request has_less = {.has_status = true, .status.records_queued = 3},
                                  has_records = {.has_status = true, .status.records_queued = 4},
                                  has_photos = {.has_status = true,
                                      .status = {.records_queued = 3, .photos_pending = 1}};

    append_opened(handheld);
    append_findings(handheld, 2);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(next_contact_s(centre, handheld, 3, &has_records), 0); /* no target, no pace */
    limit(centre, (struct quota){0}, 1);
    while (next_contact_s(centre, handheld, 3, NULL) == 0)
        ;
    assert_true(next_contact_s(centre, handheld, 3, &has_records) > 0);
    assert_true(next_contact_s(centre, handheld, 3, &has_photos) > 0);
    assert_int_equal(next_contact_s(centre, handheld, 3, &has_less), 0);
    assert_int_equal(next_contact_s(centre, handheld, 0, NULL), 0);
    assert_int_equal(next_contact_s(centre, handheld, 0, &has_photos), 0);
    handheld_free(handheld);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            records_over_the_quota_of_a_day_are_refused_until_the_day_is_over, start, stop),
        cmocka_unit_test_setup_teardown(
            bytes_over_the_quota_of_a_day_are_refused_until_the_day_is_over, start, stop),
        cmocka_unit_test_setup_teardown(what_was_used_is_kept_over_a_restart, start, stop),
        cmocka_unit_test_setup_teardown(without_a_quota_nothing_is_noted_of_anybody, start, stop),
        cmocka_unit_test_setup_teardown(photos_over_their_quota_wait_and_records_go_on, start, stop),
        cmocka_unit_test_setup_teardown(only_who_may_have_more_to_send_is_told_to_come_later, start, stop),
    };

    return cmocka_run_group_tests_name("service limits", tests, NULL, NULL);
}
