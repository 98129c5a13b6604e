/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the centre's receipt keys and their successors: server/service_trust.c, and who is answered with
 * which. */
#include "tests/unit/server/client.h"

#define DAY_MS (INT64_C(24) * 3600 * 1000)

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

static int64_t now_ms(struct centre *centre)
{
    return centre->world.verbs->wall_ms(centre);
}

static void make_successor(struct centre *centre, int64_t in_ms)
{
    assert_int_equal(service_key_next(centre->service, now_ms(centre) + in_ms), 0);
}

static void ask(struct centre *centre, struct handheld *handheld, uint64_t trust_known, struct answered *ret)
{
    const struct exchange_request request = {.trust_known = trust_known};

    exchange_with(centre, handheld, 0, 0, &request, ret);
    assert_false(ret->is_refused);
}

/* What an answer's list leads to from the handheld's own key. */
static void follow(struct handheld *handheld, struct answered *answered, struct trust *ret)
{
    assert_int_equal(trust_follow(answered->exchange.trust, &handheld->server_key, &answered->arena, ret), 0);
}

static void who_knows_only_the_first_key_is_answered_with_it_and_told_the_rest(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered first = {0}, second = {0};
    struct trust trust;

    make_successor(centre, 0);
    make_successor(centre, 0);
    ask(centre, handheld, 1, &first);
    assert_int_equal(first.signer, 1);
    follow(handheld, &first, &trust);
    assert_int_equal(trust.key_count, 3);
    assert_memory_equal(trust_newest(&trust)->key.public_key,
        service_receipt_key(centre->service)->public_key, SIGN_PUBLIC_BYTES);
    ask(centre, handheld, trust.generation + 1, &second);
    assert_int_equal(second.signer, 3);
    assert_int_equal(second.exchange.trust.len, 0);
    handheld_free(handheld);
}

static void a_program_that_knows_nothing_of_successors_goes_on_as_before(void **state)
{
    struct centre *centre = *state;
    struct handheld *old = handheld_enrolled(centre);
    _cleanup_answered_ struct answered before = {0}, after = {0};

    make_successor(centre, 0);
    struct handheld *young = handheld_enrolled(centre);
    ask(centre, old, 0, &before);
    assert_int_equal(before.signer, 1);
    assert_int_equal(before.exchange.trust.len, 0);
    /* It has pinned the key of its token, whatever else it knows. */
    ask(centre, young, 0, &after);
    assert_int_equal(after.signer, 2);
    handheld_free(old);
    handheld_free(young);
}

static void a_successor_signs_from_its_date_on_for_who_knows_it(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered before = {0}, after = {0}, unaware = {0};

    make_successor(centre, 14 * DAY_MS);
    ask(centre, handheld, 100, &before);
    assert_int_equal(before.signer, 1);
    centre->wall_shift_ms = 14 * DAY_MS + 1000;
    ask(centre, handheld, 100, &after);
    assert_int_equal(after.signer, 2);
    ask(centre, handheld, 1, &unaware);
    assert_int_equal(unaware.signer, 1);
    handheld_free(handheld);
}

static void audits_and_refusals_are_signed_as_the_last_exchange_said(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    const struct audit_request audit = {.level = AUDIT_PRESENCE};
    _cleanup_answered_ struct answered stored = {0}, told = {0}, audited = {0}, rolled_back = {0},
                                       again = {0}, refused = {0};

    append_opened(handheld);
    exchange(centre, handheld, 0, 1, &stored);
    make_successor(centre, 0);
    ask(centre, handheld, 3, &told);
    audit_with(centre, handheld, &audit, &audited);
    assert_int_equal(audited.signer, 2);
    /* A handheld that was set back to a copy from before knows less again. */
    ask(centre, handheld, 1, &rolled_back);
    assert_int_equal(rolled_back.signer, 1);
    audit_with(centre, handheld, &audit, &again);
    assert_int_equal(again.signer, 1);
    assert_int_equal(service_revoke(centre->service, &handheld->device, true), 0);
    exchange(centre, handheld, 0, 0, &refused);
    assert_int_equal(refused.refusal.reason, REFUSAL_REVOKED);
    assert_int_equal(refused.signer, 1);
    handheld_free(handheld);
}

static void a_receipt_is_cosigned_by_the_key_that_signs_the_answer(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    const struct exchange_request aware = {.trust_known = 3}, unaware = {.trust_known = 1};
    _cleanup_answered_ struct answered by_first = {0}, by_second = {0};

    append_opened(handheld);
    append_findings(handheld, 1);
    make_successor(centre, 0);
    exchange_with(centre, handheld, 0, 1, &unaware, &by_first);
    assert_int64_equal(read_receipt(handheld, by_first.exchange.receipt).size, 1);
    exchange_with(centre, handheld, 1, 1, &aware, &by_second);
    handheld->server_key = *service_receipt_key(centre->service);
    assert_int64_equal(read_receipt(handheld, by_second.exchange.receipt).size, 2);
    handheld_free(handheld);
}

static void a_token_is_answered_with_the_key_that_its_url_names(void **state)
{
    struct centre *centre = *state;
    struct handheld *early = handheld_new(), *late = handheld_new();
    uint8_t before[ENROL_TOKEN_BYTES], after[ENROL_TOKEN_BYTES];
    _cleanup_answered_ struct answered of_early = {0}, again = {0}, of_late = {0};
    struct trust trust;

    assert_int_equal(service_token_make(centre->service, NULL, NULL, 3600, before), 0);
    early->server_key = *service_receipt_key(centre->service);
    make_successor(centre, 0);
    assert_int_equal(service_token_make(centre->service, NULL, NULL, 3600, after), 0);
    late->server_key = *service_receipt_key(centre->service);

    enrol_with(centre, early, before, &of_early);
    assert_int_equal(of_early.signer, 1);
    assert_int_equal(trust_follow(of_early.enrol.trust, &early->server_key, &of_early.arena, &trust), 0);
    assert_int_equal(trust.key_count, 2);
    enrol_with(centre, early, before, &again);
    assert_int_equal(again.signer, 1);
    assert_true(bytes_equal(again.enrol.certificate, of_early.enrol.certificate));

    enrol_with(centre, late, after, &of_late);
    assert_int_equal(of_late.signer, 2);
    assert_int_equal(trust_follow(of_late.enrol.trust, &late->server_key, &of_late.arena, &trust), 0);
    assert_int_equal(trust.key_count, 1);
    assert_true(trust.generation > 0);
    handheld_free(early);
    handheld_free(late);
}

static void a_restored_centre_adopts_by_a_certificate_of_any_of_its_keys(void **state)
{
    struct centre *centre = *state;
    struct handheld *old = handheld_enrolled(centre);
    make_successor(centre, 0);
    struct handheld *young = handheld_enrolled(centre);
    struct exchange_request with = {.trust_known = 1};
    _cleanup_answered_ struct answered refused = {0}, of_old = {0}, of_young = {0};

    centre_sql(centre, "DELETE FROM devices");
    centre_sql(centre, "DELETE FROM trust_known");
    exchange_with(centre, old, 0, 0, &with, &refused);
    assert_int_equal(refused.refusal.reason, REFUSAL_UNKNOWN_DEVICE);
    assert_int_equal(refused.signer, 1); /* what it can believe */
    with.certificate = buffer_bytes(&old->certificate);
    exchange_with(centre, old, 0, 0, &with, &of_old);
    assert_false(of_old.is_refused);
    assert_int_equal(of_old.signer, 1);
    with.certificate = buffer_bytes(&young->certificate);
    exchange_with(centre, young, 0, 0, &with, &of_young);
    assert_false(of_young.is_refused);
    assert_int_equal(of_young.signer, 2);
    handheld_free(old);
    handheld_free(young);
}

static void a_successor_that_another_process_makes_is_followed_without_a_restart(void **state)
{
    struct centre *centre = *state;
    struct service_options options = {.world = &centre->world, .directory = centre->directory};
    struct handheld *handheld = handheld_enrolled(centre);
    struct service *admin = NULL;
    char *error = NULL;
    _cleanup_answered_ struct answered answered = {0}, after = {0};
    struct trust trust;

    assert_int_equal(service_open(&options, &admin, &error), 0);
    assert_int_equal(service_key_next(admin, now_ms(centre)), 0);
    service_free(admin);
    ask(centre, handheld, 1, &answered);
    follow(handheld, &answered, &trust);
    assert_int_equal(trust.key_count, 2);
    ask(centre, handheld, trust.generation + 1, &after);
    assert_int_equal(after.signer, 2);
    handheld_free(handheld);
}

static void keys_and_their_dates_outlive_a_restart_and_are_their_owners_only(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered answered = {0};
    struct trust trust;

    make_successor(centre, 5 * DAY_MS);
    assert_int_equal(service_key_ca(centre->service, bytes_of_text("a CA")), 0);
    centre_restart(centre);
    ask(centre, handheld, 1, &answered);
    follow(handheld, &answered, &trust);
    assert_int_equal(trust.key_count, 2);
    assert_true(trust.keys[1].valid_from_ms - now_ms(centre) > 4 * DAY_MS);
    assert_true(bytes_equal(trust.ca_pem, bytes_of_text("a CA")));
    centre_shell(centre, "test \"$(stat -c %a keys/receipt-2.key)\" = 600");
    handheld_free(handheld);
}

static void cas_are_said_again_by_a_successor_and_only_the_newest_are_kept(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered answered = {0}, of_young = {0};
    struct trust trust;

    assert_int_equal(service_key_ca(centre->service, (struct bytes){0}), -EINVAL);
    assert_int_equal(service_key_ca(centre->service, bytes_of_text("first CA")), 0);
    assert_int_equal(service_key_ca(centre->service, bytes_of_text("second CA")), 0);
    make_successor(centre, 0);
    ask(centre, handheld, 1, &answered);
    follow(handheld, &answered, &trust);
    assert_true(bytes_equal(trust.ca_pem, bytes_of_text("second CA")));
    assert_int_equal(trust.item_count, 2);
    struct handheld *young = handheld_enrolled(centre);
    ask(centre, young, 1, &of_young);
    follow(young, &of_young, &trust);
    assert_true(bytes_equal(trust.ca_pem, bytes_of_text("second CA")));
    handheld_free(handheld);
    handheld_free(young);
}

/* Killed between the new seed and the word on it. */
static void a_seed_that_was_never_named_is_used_by_the_next_attempt(void **state)
{
    struct centre *centre = *state;

    centre_shell(centre, "head -c 32 /dev/zero > keys/receipt-2.key");
    make_successor(centre, 0);
    centre_shell(centre, "test $(tr -d '\\0' < keys/receipt-2.key | wc -c) = 0");
    centre_restart(centre);
    assert_int_equal(service_key_next(centre->service, now_ms(centre)), 0);
}

static void a_key_that_was_named_and_is_gone_or_another_stops_the_start(void **state)
{
    static const char *const damages[] = {"mv keys/receipt-2.key aside",
        "cp keys/receipt.key keys/receipt-2.key", "head -c 100 keys/trust > x && mv x keys/trust"};
    struct centre *centre = *state;
    const struct service_options options = {.world = &centre->world, .directory = centre->directory};

    make_successor(centre, 0);
    centre_stop(centre);
    centre_shell(centre, "cp -a keys kept");
    for (size_t i = 0; i < ARRAY_LEN(damages); i++) {
        struct service *service = NULL;
        char *error = NULL;

        centre_shell(centre, damages[i]);
        assert_true(service_open(&options, &service, &error) < 0);
        assert_non_null(error);
        free(error);
        centre_shell(centre, "rm -rf keys && cp -a kept keys");
    }
    centre_start(centre);
}

static struct centre *meddled_with;

/* Another process makes the third key, just when it has been looked for. */
static int open_and_meddle(void *context, const char *path, enum world_open how, bool secret)
{
    const struct service_options options = {.world = world_posix(), .directory = meddled_with->directory};
    int r = world_posix()->verbs->open(NULL, path, how, secret);
    struct service *other = NULL;
    char *error = NULL;

    if (!strstr(path, "/keys/receipt-3.key") || how != WORLD_READ)
        return r;
    meddled_with->verbs.open = world_posix()->verbs->open;
    assert_int_equal(service_open(&options, &other, &error), 0);
    assert_int_equal(service_key_next(other, now_ms(meddled_with)), 0);
    service_free(other);
    return r;
}

static void a_backup_names_no_key_whose_seed_it_has_not_got(void **state)
{
    struct centre *centre = *state;
    char *target = unit_directory_make();
    const struct service_options options = {.world = world_posix(), .directory = target};
    struct service_backup_report report = {0};
    struct service *restored = NULL;
    char *error = NULL;

    make_successor(centre, 0);
    meddled_with = centre;
    centre->verbs.open = open_and_meddle;
    assert_int_equal(service_backup(centre->service, target, NULL, NULL, NULL, &report), 0);
    assert_ptr_equal(centre->verbs.open, world_posix()->verbs->open);
    if (service_open(&options, &restored, &error) < 0)
        fail_msg("%s", error);
    service_free(restored);
    unit_directory_remove(target);
}

/* A backup that an older program made, looked at by this one. */
static void a_database_from_before_successors_can_be_read_and_checked_as_it_is(void **state)
{
    struct centre *centre = *state;
    const struct service_options options = {
        .world = &centre->world, .directory = centre->directory, .read_only = true};
    struct handheld *handheld = handheld_enrolled(centre);
    struct service_check_report report;
    struct signer signer = {.key_id = handheld->device.b};
    struct service *looking = NULL;
    char *error = NULL;

    append_opened(handheld);
    deliver(centre, handheld);
    centre_stop(centre);
    centre_sql(centre, "DROP TABLE trust_known");
    assert_int_equal(service_open(&options, &looking, &error), 0);
    assert_int_equal(service_check(looking, true, false, NULL, NULL, &report), 0);
    assert_int_equal(report.records, 1);
    assert_int_equal(service_each_key(looking, compare_signer, &signer, NULL), 0);
    service_free(looking);
    centre_start(centre);
    _cleanup_answered_ struct answered answered = {0};
    ask(centre, handheld, 1, &answered);
    handheld_free(handheld);
}

static void there_is_an_end_to_successors(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered answered = {0};
    struct trust trust;

    for (size_t i = 1; i < TRUST_KEYS_MAX; i++)
        make_successor(centre, 0);
    assert_int_equal(service_key_next(centre->service, now_ms(centre)), -EMLINK);
    ask(centre, handheld, 1, &answered);
    follow(handheld, &answered, &trust);
    assert_int_equal(trust.key_count, TRUST_KEYS_MAX);
    handheld_free(handheld);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            who_knows_only_the_first_key_is_answered_with_it_and_told_the_rest, start, stop),
        cmocka_unit_test_setup_teardown(
            a_program_that_knows_nothing_of_successors_goes_on_as_before, start, stop),
        cmocka_unit_test_setup_teardown(a_successor_signs_from_its_date_on_for_who_knows_it, start, stop),
        cmocka_unit_test_setup_teardown(
            audits_and_refusals_are_signed_as_the_last_exchange_said, start, stop),
        cmocka_unit_test_setup_teardown(a_receipt_is_cosigned_by_the_key_that_signs_the_answer, start, stop),
        cmocka_unit_test_setup_teardown(a_token_is_answered_with_the_key_that_its_url_names, start, stop),
        cmocka_unit_test_setup_teardown(
            a_restored_centre_adopts_by_a_certificate_of_any_of_its_keys, start, stop),
        cmocka_unit_test_setup_teardown(
            a_successor_that_another_process_makes_is_followed_without_a_restart, start, stop),
        cmocka_unit_test_setup_teardown(
            keys_and_their_dates_outlive_a_restart_and_are_their_owners_only, start, stop),
        cmocka_unit_test_setup_teardown(
            cas_are_said_again_by_a_successor_and_only_the_newest_are_kept, start, stop),
        cmocka_unit_test_setup_teardown(a_seed_that_was_never_named_is_used_by_the_next_attempt, start, stop),
        cmocka_unit_test_setup_teardown(
            a_key_that_was_named_and_is_gone_or_another_stops_the_start, start, stop),
        cmocka_unit_test_setup_teardown(a_backup_names_no_key_whose_seed_it_has_not_got, start, stop),
        cmocka_unit_test_setup_teardown(
            a_database_from_before_successors_can_be_read_and_checked_as_it_is, start, stop),
        cmocka_unit_test_setup_teardown(there_is_an_end_to_successors, start, stop),
    };

    return cmocka_run_group_tests_name("server service keys", tests, NULL, NULL);
}
