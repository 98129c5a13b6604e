/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of enrolment, adoption, revocation, and of a centre that was set back: server/service_enrol.c,
 * service_revocations.c, service_keys.c. */
#include "tests/unit/server/client.h"

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

static void new_token(struct centre *centre, uint64_t valid_s, uint8_t ret[ENROL_TOKEN_BYTES])
{
    assert_int_equal(service_token_make(centre->service, "pole 7", "inspector-1", valid_s, ret), 0);
}

static void a_token_enrols_a_handheld_with_a_certificate_of_this_centre(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_new();
    struct device_certificate certificate;
    uint8_t token[ENROL_TOKEN_BYTES];
    _cleanup_answered_ struct answered answered = {0};
    struct verify_key key;

    new_token(centre, 3600, token);
    enrol_with(centre, handheld, token, &answered);
    assert_int_equal(answered.status, 200);
    assert_int_equal(device_certificate_verify(answered.enrol.certificate,
                         service_receipt_key(centre->service), &answered.arena, &certificate),
        0);
    assert_memory_equal(certificate.device.b, handheld->device.b, UUID_BYTES);
    assert_memory_equal(certificate.public_key, handheld->key.public.public_key, SIGN_PUBLIC_BYTES);
    assert_int_equal(certificate.name.len, strlen("pole 7"));
    assert_true(bytes_equal(answered.enrol.inspector, bytes_of_text("inspector-1")));

    char text[VERIFIER_KEY_TEXT_MAX] = "";
    memcpy(text, answered.enrol.receipt_key.data, answered.enrol.receipt_key.len);
    assert_int_equal(verify_key_parse(text, &key), 0);
    assert_memory_equal(key.public_key, service_receipt_key(centre->service)->public_key, SIGN_PUBLIC_BYTES);
    assert_true(service_knows_device(centre->service, &handheld->device));
    handheld_free(handheld);
}

static void the_same_token_and_key_again_give_the_same_certificate(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_new();
    uint8_t token[ENROL_TOKEN_BYTES];
    _cleanup_answered_ struct answered first = {0}, second = {0}, late = {0};

    new_token(centre, 3600, token);
    enrol_with(centre, handheld, token, &first);
    enrol_with(centre, handheld, token, &second);
    assert_true(bytes_equal(first.enrol.certificate, second.enrol.certificate));
    /* The answer was lost, and the handheld asks again when the token has expired. */
    centre->wall_shift_ms += 7200 * 1000;
    enrol_with(centre, handheld, token, &late);
    assert_true(bytes_equal(first.enrol.certificate, late.enrol.certificate));
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM devices"), 1);
    handheld_free(handheld);
}

static void a_used_an_expired_and_an_unknown_token_are_refused(void **state)
{
    struct centre *centre = *state;
    struct handheld *first = handheld_new(), *second = handheld_new();
    uint8_t used[ENROL_TOKEN_BYTES], expired[ENROL_TOKEN_BYTES], unknown[ENROL_TOKEN_BYTES] = {7};
    _cleanup_answered_ struct answered ok = {0}, again = {0}, late = {0}, none = {0};

    new_token(centre, 3600, used);
    new_token(centre, 60, expired);
    enrol_with(centre, first, used, &ok);
    enrol_with(centre, second, used, &again);
    assert_true(again.is_refused);
    assert_int_equal(again.refusal.reason, REFUSAL_TOKEN_USED);
    centre->wall_shift_ms += 61 * 1000;
    enrol_with(centre, second, expired, &late);
    assert_int_equal(late.refusal.reason, REFUSAL_TOKEN_EXPIRED);
    enrol_with(centre, second, unknown, &none);
    assert_int_equal(none.refusal.reason, REFUSAL_TOKEN_UNKNOWN);
    handheld_free(first);
    handheld_free(second);
}

static void a_device_id_that_is_enrolled_with_another_key_is_refused(void **state)
{
    struct centre *centre = *state;
    struct handheld *first = handheld_enrolled(centre), *second = handheld_new();
    uint8_t token[ENROL_TOKEN_BYTES];
    _cleanup_answered_ struct answered answered = {0};

    second->device = first->device;
    new_token(centre, 3600, token);
    enrol_with(centre, second, token, &answered);
    assert_true(answered.is_refused);
    assert_int_equal(answered.refusal.reason, REFUSAL_BAD_REQUEST);
    handheld_free(first);
    handheld_free(second);
}

static void an_unknown_device_is_refused_with_a_signed_refusal(void **state)
{
    struct centre *centre = *state;
    struct handheld *stranger = handheld_new();
    _cleanup_answered_ struct answered answered = {0};

    append_opened(stranger);
    exchange(centre, stranger, 0, 1, &answered);
    assert_int_equal(answered.status, 401);
    assert_int_equal(answered.refusal.reason, REFUSAL_UNKNOWN_DEVICE);
    assert_false(service_knows_device(centre->service, &stranger->device));
    handheld_free(stranger);
}

static void a_handheld_that_a_restored_centre_does_not_know_is_adopted_by_its_certificate(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    struct exchange_request with = {.certificate = buffer_bytes(&handheld->certificate)};
    _cleanup_answered_ struct answered adopted = {0}, after = {0};

    centre_sql(centre, "DELETE FROM devices");
    append_opened(handheld);
    exchange_with(centre, handheld, 0, 0, &with, &adopted);
    assert_false(adopted.is_refused);
    assert_int_equal(adopted.exchange.outcome, EXCHANGE_STORED);
    exchange(centre, handheld, 0, 1, &after);
    assert_int_equal(after.exchange.outcome, EXCHANGE_STORED);
    assert_int64_equal(after.exchange.size, 1);
    handheld_free(handheld);
}

static void a_certificate_of_another_device_or_another_centre_adopts_nobody(void **state)
{
    struct centre *centre = *state;
    struct centre *elsewhere = centre_new();
    struct handheld *handheld = handheld_enrolled(centre), *stranger = handheld_new();
    struct handheld *foreign = handheld_enrolled(elsewhere);
    struct exchange_request stolen = {.certificate = buffer_bytes(&handheld->certificate)};
    struct exchange_request other = {.certificate = buffer_bytes(&foreign->certificate)};
    _cleanup_answered_ struct answered first = {0}, second = {0}, third = {0};

    exchange_with(centre, stranger, 0, 0, &stolen, &first);
    assert_int_equal(first.refusal.reason, REFUSAL_UNKNOWN_DEVICE);
    exchange_with(centre, foreign, 0, 0, &other, &second);
    assert_int_equal(second.refusal.reason, REFUSAL_UNKNOWN_DEVICE);
    /* With the right device's id and certificate, but without its key. */
    centre_sql(centre, "DELETE FROM devices");
    stranger->device = handheld->device;
    exchange_with(centre, stranger, 0, 0, &stolen, &third);
    assert_int_equal(third.refusal.reason, REFUSAL_BAD_REQUEST);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM devices"), 0);
    handheld_free(handheld);
    handheld_free(stranger);
    handheld_free(foreign);
    centre_free(elsewhere);
}

static void a_revoked_device_is_refused_until_it_is_restored(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered revoked = {0}, restored = {0};

    append_opened(handheld);
    assert_int_equal(service_revoke(centre->service, &handheld->device, true), 0);
    assert_true(last_device(centre).revoked);
    assert_false(service_knows_device(centre->service, &handheld->device));
    exchange(centre, handheld, 0, 1, &revoked);
    assert_int_equal(revoked.status, 403);
    assert_int_equal(revoked.refusal.reason, REFUSAL_REVOKED);
    assert_int_equal(service_revoke(centre->service, &handheld->device, false), 0);
    exchange(centre, handheld, 0, 1, &restored);
    assert_int_equal(restored.exchange.outcome, EXCHANGE_STORED);
    handheld_free(handheld);
}

static void a_revocation_by_another_process_is_seen_by_the_next_request(void **state)
{
    struct centre *centre = *state;
    struct service_options options = {.world = &centre->world, .directory = centre->directory};
    struct handheld *handheld = handheld_enrolled(centre);
    struct service *admin = NULL;
    char *error = NULL;
    _cleanup_answered_ struct answered before = {0}, after = {0};

    append_opened(handheld);
    exchange(centre, handheld, 0, 0, &before);
    assert_false(before.is_refused);
    assert_int_equal(service_open(&options, &admin, &error), 0);
    assert_int_equal(service_revoke(admin, &handheld->device, true), 0);
    exchange(centre, handheld, 0, 1, &after);
    assert_int_equal(after.refusal.reason, REFUSAL_REVOKED);
    service_free(admin);
    handheld_free(handheld);
}

static void a_revocation_survives_a_restored_database(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    struct exchange_request with = {.certificate = buffer_bytes(&handheld->certificate)};
    _cleanup_answered_ struct answered answered = {0}, adopting = {0};

    centre_stop(centre);
    centre_shell(centre, "mkdir ../backup.$$ && cp centre.db* ../backup.$$ && mv ../backup.$$ backup");
    centre_start(centre);
    assert_int_equal(service_revoke(centre->service, &handheld->device, true), 0);
    centre_stop(centre);
    centre_shell(centre, "rm centre.db* && cp backup/* .");
    centre_start(centre);
    exchange(centre, handheld, 0, 0, &answered);
    assert_int_equal(answered.refusal.reason, REFUSAL_REVOKED);
    /* Nor does its certificate let it back in. */
    centre_sql(centre, "DELETE FROM devices");
    exchange_with(centre, handheld, 0, 0, &with, &adopting);
    assert_int_equal(adopting.refusal.reason, REFUSAL_REVOKED);
    handheld_free(handheld);
}

static void a_revoked_device_that_a_restored_centre_does_not_know_can_be_let_back_in(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    struct exchange_request with = {.certificate = buffer_bytes(&handheld->certificate)};
    _cleanup_answered_ struct answered refused = {0}, adopted = {0};

    assert_int_equal(service_revoke(centre->service, &handheld->device, true), 0);
    centre_sql(centre, "DELETE FROM devices");
    exchange_with(centre, handheld, 0, 0, &with, &refused);
    assert_int_equal(refused.refusal.reason, REFUSAL_REVOKED);
    assert_int_equal(service_revoke(centre->service, &handheld->device, false), 0);
    exchange_with(centre, handheld, 0, 0, &with, &adopted);
    assert_false(adopted.is_refused);
    assert_int_equal(adopted.exchange.outcome, EXCHANGE_STORED);
    handheld_free(handheld);
}

static void a_stolen_device_that_a_restored_centre_does_not_know_is_shut_out_before_it_shows_up(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    struct exchange_request with = {.certificate = buffer_bytes(&handheld->certificate)};
    _cleanup_answered_ struct answered refused = {0};

    centre_sql(centre, "DELETE FROM devices");
    assert_int_equal(service_revoke(centre->service, &handheld->device, true), 0);
    exchange_with(centre, handheld, 0, 0, &with, &refused);
    assert_int_equal(refused.refusal.reason, REFUSAL_REVOKED);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM devices"), 0);
    handheld_free(handheld);
}

static void nobody_is_let_back_in_who_was_never_there(void **state)
{
    struct centre *centre = *state;
    struct uuid unknown = random_uuid();

    assert_int_equal(service_revoke(centre->service, &unknown, false), -ENOENT);
}

static void a_decision_for_which_there_is_no_room_leaves_the_list_readable(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);

    centre_shell(centre, "truncate -s 64M revocations");
    assert_int_equal(service_revoke(centre->service, &handheld->device, true), -EFBIG);
    assert_true(service_knows_device(centre->service, &handheld->device));
    handheld_free(handheld);
}

static void a_restored_database_has_less_and_a_new_incarnation_and_takes_the_rest_again(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered before = {0}, after = {0}, resent = {0};

    append_opened(handheld);
    append_findings(handheld, 4);
    deliver(centre, handheld);
    centre_stop(centre);
    centre_shell(centre, "mkdir backup && cp centre.db* backup");
    centre_start(centre);
    append_findings(handheld, 5);
    exchange(centre, handheld, 5, 5, &before);
    assert_int64_equal(before.exchange.size, 10);
    assert_int_equal(service_housekeeping(centre->service), 0);
    centre_stop(centre);
    centre_shell(centre, "rm centre.db* && cp backup/* .");
    centre_start(centre);

    exchange(centre, handheld, 10, 0, &after);
    assert_int_equal(after.exchange.outcome, EXCHANGE_AHEAD);
    assert_int64_equal(after.exchange.size, 5);
    assert_true(memcmp(before.exchange.incarnation.b, after.exchange.incarnation.b, UUID_BYTES) != 0);
    exchange(centre, handheld, 5, 5, &resent);
    assert_int_equal(resent.exchange.outcome, EXCHANGE_STORED);
    struct listing *listing = list_findings(centre);
    assert_int_equal(listing->count, 9);
    free(listing);
    handheld_free(handheld);
}

static void an_ordinary_restart_keeps_the_incarnation(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered before = {0}, after = {0};

    append_opened(handheld);
    exchange(centre, handheld, 0, 1, &before);
    centre_restart(centre);
    centre_restart(centre);
    exchange(centre, handheld, 1, 0, &after);
    assert_memory_equal(before.exchange.incarnation.b, after.exchange.incarnation.b, UUID_BYTES);
    handheld_free(handheld);
}

static void an_incarnation_file_that_is_too_long_is_written_anew(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered before = {0}, after = {0};

    append_opened(handheld);
    exchange(centre, handheld, 0, 1, &before);
    centre_stop(centre);
    centre_shell(centre, "truncate -s 1000 incarnation");
    centre_start(centre);
    exchange(centre, handheld, 1, 0, &after);
    assert_memory_equal(before.exchange.incarnation.b, after.exchange.incarnation.b, UUID_BYTES);
    centre_shell(centre, "test $(wc -c <incarnation) -lt 100");
    handheld_free(handheld);
}

static void keys_are_kept_and_readable_by_their_owner_only(void **state)
{
    struct centre *centre = *state;
    struct verify_key before = *service_receipt_key(centre->service);

    centre_restart(centre);
    assert_memory_equal(
        before.public_key, service_receipt_key(centre->service)->public_key, SIGN_PUBLIC_BYTES);
    assert_string_equal(before.name, "gridpatrol/receipt");
    centre_shell(
        centre, "test \"$(stat -c %a keys/receipt.key keys/upload.secret)\" = \"$(printf '600\\n600')\"");
}

/* Handhelds know the centre by it: with another one, all its answers would be worthless to them. */
static void a_receipt_key_that_is_gone_is_not_replaced_once_handhelds_are_enrolled(void **state)
{
    struct centre *centre = *state;
    const struct service_options options = {.world = &centre->world, .directory = centre->directory};
    struct service *service = NULL;
    char *error = NULL;

    struct handheld *handheld = handheld_enrolled(centre);
    centre_stop(centre);
    centre_shell(centre, "mv keys aside");
    assert_int_equal(service_open(&options, &service, &error), -ENOKEY);
    assert_non_null(strstr(error, "restore keys/ from a backup"));
    free(error);
    centre_shell(centre, "test ! -e keys/receipt.key && rm -rf keys && mv aside keys");
    centre_start(centre);
    assert_memory_equal(
        service_receipt_key(centre->service)->public_key, handheld->server_key.public_key, SIGN_PUBLIC_BYTES);
    handheld_free(handheld);
}

static void looking_only_needs_a_data_directory_and_changes_nothing(void **state)
{
    struct centre *centre = *state;
    struct service_options options = {
        .world = &centre->world, .directory = "/nonexistent", .read_only = true};
    struct handheld *handheld = handheld_enrolled(centre);
    struct service *looking = NULL;
    struct service_device device = {0};
    uint8_t token[ENROL_TOKEN_BYTES];
    char *error = NULL;

    assert_int_equal(service_open(&options, &looking, &error), -ENOENT);
    assert_non_null(error);
    free(error);
    options.directory = centre->directory;
    assert_int_equal(service_open(&options, &looking, &error), 0);
    assert_int_equal(service_each_device(looking, keep_device, &device), 0);
    assert_memory_equal(device.id.b, handheld->device.b, UUID_BYTES);
    assert_int_equal(service_token_make(looking, NULL, NULL, 60, token), -EROFS);
    service_free(looking);
    handheld_free(handheld);
}

static int count_finding(void *user, const struct service_finding *finding)
{
    (*(unsigned *)user)++;
    return 0;
}

static void a_database_that_no_writer_has_added_tables_to_can_be_read_as_it_is(void **state)
{
    struct centre *centre = *state;
    const struct service_options options = {
        .world = &centre->world, .directory = centre->directory, .read_only = true};
    const struct service_finding_filter all = {0};
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered answered = {0};
    struct service_check_report report;
    struct service_device device = {0};
    struct service *looking = NULL;
    unsigned findings = 0;
    char *error = NULL;

    append_opened(handheld);
    exchange(centre, handheld, 0, 1, &answered);
    centre_stop(centre);
    centre_sql(centre, "DROP TABLE clock_marks");
    centre_sql(centre, "DROP TABLE quota_use");
    centre_sql(centre, "DROP TABLE orders_done");
    centre_sql(centre, "DROP TABLE trust_known");
    centre_sql(centre, "DROP TABLE asked_resyncs");
    assert_int_equal(service_open(&options, &looking, &error), 0);
    assert_int_equal(service_each_device(looking, keep_device, &device), 0);
    assert_memory_equal(device.id.b, handheld->device.b, UUID_BYTES);
    assert_int_equal(service_each_finding(looking, &all, count_finding, &findings), 0);
    assert_int_equal(service_check(looking, true, false, NULL, NULL, &report), 0);
    assert_int_equal(report.records, 1);
    service_free(looking);
    /* It was only read: the tables are a writer's to make. */
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM sqlite_schema WHERE name = 'quota_use'"), 0);
    centre_start(centre);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM sqlite_schema WHERE name = 'quota_use'"), 1);
    handheld_free(handheld);
}

static void a_database_of_a_newer_program_is_refused_with_a_clear_word(void **state)
{
    struct centre *centre = *state;
    struct service_options options = {.world = &centre->world, .directory = centre->directory};
    struct service *service = NULL;
    char *error = NULL;

    centre_sql(centre, "UPDATE state SET oldest_schema = 99");
    assert_int_equal(service_open(&options, &service, &error), -EPROTONOSUPPORT);
    assert_non_null(strstr(error, "newer"));
    free(error);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_token_enrols_a_handheld_with_a_certificate_of_this_centre, start, stop),
        cmocka_unit_test_setup_teardown(the_same_token_and_key_again_give_the_same_certificate, start, stop),
        cmocka_unit_test_setup_teardown(a_used_an_expired_and_an_unknown_token_are_refused, start, stop),
        cmocka_unit_test_setup_teardown(
            a_device_id_that_is_enrolled_with_another_key_is_refused, start, stop),
        cmocka_unit_test_setup_teardown(an_unknown_device_is_refused_with_a_signed_refusal, start, stop),
        cmocka_unit_test_setup_teardown(
            a_handheld_that_a_restored_centre_does_not_know_is_adopted_by_its_certificate, start, stop),
        cmocka_unit_test_setup_teardown(
            a_certificate_of_another_device_or_another_centre_adopts_nobody, start, stop),
        cmocka_unit_test_setup_teardown(a_revoked_device_is_refused_until_it_is_restored, start, stop),
        cmocka_unit_test_setup_teardown(
            a_revocation_by_another_process_is_seen_by_the_next_request, start, stop),
        cmocka_unit_test_setup_teardown(a_revocation_survives_a_restored_database, start, stop),
        cmocka_unit_test_setup_teardown(
            a_revoked_device_that_a_restored_centre_does_not_know_can_be_let_back_in, start, stop),
        cmocka_unit_test_setup_teardown(
            a_stolen_device_that_a_restored_centre_does_not_know_is_shut_out_before_it_shows_up, start, stop),
        cmocka_unit_test_setup_teardown(nobody_is_let_back_in_who_was_never_there, start, stop),
        cmocka_unit_test_setup_teardown(
            a_decision_for_which_there_is_no_room_leaves_the_list_readable, start, stop),
        cmocka_unit_test_setup_teardown(
            a_restored_database_has_less_and_a_new_incarnation_and_takes_the_rest_again, start, stop),
        cmocka_unit_test_setup_teardown(an_ordinary_restart_keeps_the_incarnation, start, stop),
        cmocka_unit_test_setup_teardown(an_incarnation_file_that_is_too_long_is_written_anew, start, stop),
        cmocka_unit_test_setup_teardown(keys_are_kept_and_readable_by_their_owner_only, start, stop),
        cmocka_unit_test_setup_teardown(
            a_receipt_key_that_is_gone_is_not_replaced_once_handhelds_are_enrolled, start, stop),
        cmocka_unit_test_setup_teardown(looking_only_needs_a_data_directory_and_changes_nothing, start, stop),
        cmocka_unit_test_setup_teardown(
            a_database_that_no_writer_has_added_tables_to_can_be_read_as_it_is, start, stop),
        cmocka_unit_test_setup_teardown(
            a_database_of_a_newer_program_is_refused_with_a_clear_word, start, stop),
    };

    return cmocka_run_group_tests_name("server service trust", tests, NULL, NULL);
}
