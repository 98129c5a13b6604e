/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of a device's next key: server/service_device_keys.c, and who may sign when. */
#include "tests/unit/server/client.h"

#include "proto/key_rotation.h"

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

static struct sign_key other_key(const struct handheld *handheld)
{
    uint8_t seed[SIGN_SEED_BYTES];
    struct sign_key key;

    world_posix()->verbs->random(NULL, seed, sizeof(seed));
    sign_key_from_seed(handheld->key.public.name, seed, &key);
    return key;
}

static struct record rotation_to(const struct handheld *handheld, const struct sign_key *next)
{
    struct record record = {.kind = RECORD_KEY_ROTATION, .wall_ms = TEST_WALL_MS};

    key_rotation_sign(&handheld->device, handheld->key.public.public_key, next, &record.key_rotation);
    return record;
}

static uint64_t announce(struct handheld *handheld, const struct sign_key *next)
{
    const struct record record = rotation_to(handheld, next);

    return append_record(handheld, &record);
}

/* A handheld with two records at the centre. */
static struct handheld *handheld_with_records(struct centre *centre)
{
    struct handheld *handheld = handheld_enrolled(centre);

    append_opened(handheld);
    append_finding(handheld, "before");
    deliver(centre, handheld);
    return handheld;
}

/* The certificate that the centre tells to a request without records; empty: none. */
static struct bytes told_certificate(struct centre *centre, struct handheld *handheld, struct buffer *ret)
{
    _cleanup_answered_ struct answered answered = {0};

    exchange(centre, handheld, handheld->count, 0, &answered);
    assert_false(answered.is_refused);
    buffer_clear(ret);
    buffer_put_bytes(ret, answered.exchange.next_certificate);
    assert_int_equal(buffer_finish(ret), 0);
    return buffer_bytes(ret);
}

static struct device_certificate read_certificate(
    struct centre *centre, struct bytes envelope, struct arena *arena)
{
    struct device_certificate certificate;

    arena_init(arena, arena_budget_for(ENROLMENT_BYTES_MAX));
    assert_int_equal(
        device_certificate_verify(envelope, service_receipt_key(centre->service), arena, &certificate), 0);
    return certificate;
}

static enum refusal_reason refusal_of(struct centre *centre, struct handheld *handheld, bool with_certificate)
{
    const struct exchange_request with = {.certificate = buffer_bytes(&handheld->certificate)};
    _cleanup_answered_ struct answered answered = {0};

    exchange_with(centre, handheld, 0, 0, with_certificate ? &with : NULL, &answered);
    return answered.is_refused ? answered.refusal.reason : 0;
}

/* Announces a key, is told its certificate, and uses it. The key before is returned. */
static struct sign_key rotate(struct centre *centre, struct handheld *handheld)
{
    struct sign_key next = other_key(handheld), before = handheld->key;

    announce(handheld, &next);
    deliver(centre, handheld);
    assert_true(told_certificate(centre, handheld, &handheld->certificate).len > 0);
    handheld->key = next;
    assert_int_equal(refusal_of(centre, handheld, false), 0);
    return before;
}

static void ignore_line(void *user, const char *line)
{
    (void)user;
    (void)line;
}

static int rebuild(struct centre *centre)
{
    struct service_check_report report;

    return service_check(centre->service, false, true, ignore_line, NULL, &report);
}

static int64_t alarms(struct centre *centre)
{
    return centre_sql(centre, "SELECT count(*) FROM alarms WHERE kind = 8");
}

static int64_t in_quarantine(struct centre *centre)
{
    return centre_sql(centre, "SELECT count(*) FROM quarantined");
}

static void an_announced_key_is_certified_until_it_is_used_and_then_the_old_one_is_refused(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with_records(centre);
    struct sign_key next = other_key(handheld), old = handheld->key;
    _cleanup_buffer_ struct buffer told = {0}, again = {0};
    _cleanup_arena_ struct arena first_arena, arena;
    struct device_certificate first, certificate;

    assert_int_equal(told_certificate(centre, handheld, &told).len, 0);
    announce(handheld, &next);
    deliver(centre, handheld);
    assert_int_equal(alarms(centre), 1);
    first = read_certificate(centre, buffer_bytes(&handheld->certificate), &first_arena);
    certificate = read_certificate(centre, told_certificate(centre, handheld, &told), &arena);
    assert_memory_equal(certificate.public_key, next.public.public_key, SIGN_PUBLIC_BYTES);
    assert_true(certificate.issued_ms > first.issued_ms);
    assert_true(
        bytes_equal(certificate.name, first.name) && bytes_equal(certificate.inspector, first.inspector));
    assert_true(bytes_equal(told_certificate(centre, handheld, &again), buffer_bytes(&told)));

    handheld->key = next;
    assert_int_equal(told_certificate(centre, handheld, &again).len, 0);
    append_finding(handheld, "by the new key");
    deliver(centre, handheld);
    handheld->key = old;
    assert_int_equal(refusal_of(centre, handheld, false), REFUSAL_REVOKED);
    assert_int_equal(refusal_of(centre, handheld, true), REFUSAL_REVOKED);
    handheld->key = next;
    assert_int_equal(refusal_of(centre, handheld, false), 0);
    assert_int_equal(in_quarantine(centre), 0);
    assert_int_equal(alarms(centre), 1);
    handheld_free(handheld);
}

static void an_answer_to_the_next_key_seals_its_token_to_it(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with_records(centre);
    struct sign_key old = handheld->key;
    _cleanup_answered_ struct answered before = {0}, after = {0};
    _cleanup_buffer_ struct buffer token = {0};

    exchange(centre, handheld, 2, 0, &before);
    assert_int_equal(unseal_by_device(before.exchange.upload_token, &old, &token), 0);
    (void)rotate(centre, handheld);
    exchange(centre, handheld, 3, 0, &after);
    buffer_clear(&token);
    assert_int_equal(unseal_by_device(after.exchange.upload_token, &handheld->key, &token), 0);
    assert_true(unseal_by_device(after.exchange.upload_token, &old, &token) < 0);
    handheld_free(handheld);
}

static void the_receipt_of_a_log_that_did_not_grow_since_is_still_the_old_keys(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with_records(centre);
    struct sign_key old;
    _cleanup_answered_ struct answered answered = {0};
    struct checkpoint checkpoint;
    uint64_t time_s;

    old = rotate(centre, handheld);
    exchange(centre, handheld, 3, 0, &answered);
    assert_int_equal(
        receipt_verify(answered.exchange.receipt, &old.public, &handheld->server_key, &checkpoint, &time_s),
        0);
    assert_int64_equal(checkpoint.size, 3);
    handheld_free(handheld);
}

static void a_retired_key_announces_nothing_any_more_and_cannot_be_announced_again(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with_records(centre);
    struct sign_key third, old = rotate(centre, handheld), current = handheld->key;
    _cleanup_buffer_ struct buffer told = {0};
    struct record record;

    third = other_key(handheld);
    handheld->key = old;
    record = rotation_to(handheld, &third); /* by the key that is not in force: it says nothing */
    handheld->key = current;
    append_record(handheld, &record);
    deliver(centre, handheld);
    assert_int_equal(told_certificate(centre, handheld, &told).len, 0);
    assert_int_equal(in_quarantine(centre), 0);
    announce(handheld, &old);
    deliver(centre, handheld);
    assert_int_equal(told_certificate(centre, handheld, &told).len, 0);
    assert_int_equal(in_quarantine(centre), 1);
    handheld_free(handheld);
}

static void a_key_whose_holder_has_not_signed_is_put_in_quarantine(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with_records(centre);
    struct sign_key next = other_key(handheld);
    struct record record = rotation_to(handheld, &next);
    _cleanup_buffer_ struct buffer told = {0};

    record.key_rotation.signature[0] ^= 1;
    append_record(handheld, &record);
    deliver(centre, handheld);
    assert_int_equal(told_certificate(centre, handheld, &told).len, 0);
    assert_int_equal(in_quarantine(centre), 1);
    assert_int_equal(alarms(centre), 0);
    handheld->key = next;
    assert_int_equal(refusal_of(centre, handheld, false), REFUSAL_UNKNOWN_DEVICE);
    handheld_free(handheld);
}

static void a_key_that_the_device_never_had_stores_nothing(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with_records(centre);
    _cleanup_answered_ struct answered answered = {0};

    handheld->key = other_key(handheld);
    append_finding(handheld, "by a stranger");
    exchange(centre, handheld, 2, 1, &answered);
    assert_int_equal(answered.status, 401);
    assert_int_equal(answered.refusal.reason, REFUSAL_UNKNOWN_DEVICE);
    assert_int_equal(
        refusal_of(centre, handheld, true), REFUSAL_BAD_REQUEST); /* the certificate is of another key */
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM records"), 2);
    handheld_free(handheld);
}

static void the_record_of_one_device_rotates_no_other(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with_records(centre), *other = handheld_with_records(centre);
    struct sign_key next = other_key(handheld);
    const struct record record = rotation_to(handheld, &next);
    _cleanup_buffer_ struct buffer told = {0};

    append_record(other, &record);
    deliver(centre, other);
    assert_int_equal(told_certificate(centre, handheld, &told).len, 0);
    assert_int_equal(told_certificate(centre, other, &told).len, 0);
    handheld_free(handheld);
    handheld_free(other);
}

static void a_second_announcement_takes_the_place_of_one_that_was_not_used(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with_records(centre);
    struct sign_key first = other_key(handheld), second = other_key(handheld);
    _cleanup_buffer_ struct buffer told = {0};
    _cleanup_arena_ struct arena arena;
    struct device_certificate certificate;

    announce(handheld, &first);
    announce(handheld, &first); /* again, as after a death: the same */
    announce(handheld, &second);
    deliver(centre, handheld);
    assert_int_equal(alarms(centre), 2);
    certificate = read_certificate(centre, told_certificate(centre, handheld, &told), &arena);
    assert_memory_equal(certificate.public_key, second.public.public_key, SIGN_PUBLIC_BYTES);
    handheld->key = first;
    assert_int_equal(refusal_of(centre, handheld, false), REFUSAL_UNKNOWN_DEVICE);
    handheld->key = second;
    assert_int_equal(refusal_of(centre, handheld, false), 0);
    handheld_free(handheld);
}

static void a_rehomed_announcement_counts_and_one_that_is_read_again_changes_nothing(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with_records(centre);
    struct sign_key next = other_key(handheld);
    const struct record record = rotation_to(handheld, &next);
    _cleanup_buffer_ struct buffer bytes = {0}, told = {0}, again = {0};

    assert_int_equal(record_encode(&record, &bytes), 0);
    append_rehomed(handheld, &(struct uuid){.b = {1, 2, 3, 4, 5, 6, 0x47, 8, 0x89}}, 7, buffer_bytes(&bytes));
    deliver(centre, handheld);
    assert_true(told_certificate(centre, handheld, &told).len > 0);
    centre->wall_shift_ms += 5000;
    assert_int_equal(rebuild(centre), 0);
    assert_true(bytes_equal(told_certificate(centre, handheld, &again), buffer_bytes(&told)));
    handheld->key = next;
    assert_int_equal(refusal_of(centre, handheld, false), 0);
    assert_int_equal(rebuild(centre), 0);
    assert_int_equal(refusal_of(centre, handheld, false), 0);
    assert_int_equal(told_certificate(centre, handheld, &again).len, 0);
    handheld_free(handheld);
}

static void a_centre_that_was_set_back_takes_the_later_certificate_and_never_an_earlier_one(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with_records(centre);
    _cleanup_buffer_ struct buffer first_certificate = {0};
    struct sign_key first;

    buffer_put_bytes(&first_certificate, buffer_bytes(&handheld->certificate));
    centre_shell(centre, "mkdir copy");
    centre_stop(centre);
    centre_shell(centre, "cp centre.db* copy/");
    centre_start(centre);
    first = rotate(centre, handheld);
    centre_stop(centre);
    centre_shell(centre, "rm -f centre.db* && cp copy/centre.db* .");
    centre_start(centre);

    assert_int_equal(refusal_of(centre, handheld, false), REFUSAL_UNKNOWN_DEVICE);
    assert_int_equal(refusal_of(centre, handheld, true), 0);
    assert_int_equal(alarms(centre), 1);
    deliver(centre, handheld); /* the rotation again: it speaks of earlier times */
    assert_int_equal(in_quarantine(centre), 0);
    assert_int_equal(refusal_of(centre, handheld, false), 0);
    /* Whoever has the old key has the old certificate, too. */
    handheld->key = first;
    buffer_clear(&handheld->certificate);
    buffer_put_bytes(&handheld->certificate, buffer_bytes(&first_certificate));
    assert_int_equal(refusal_of(centre, handheld, true), REFUSAL_REVOKED);
    centre_sql(centre, "DELETE FROM device_keys");
    assert_int_equal(refusal_of(centre, handheld, true), REFUSAL_UNKNOWN_DEVICE);
    handheld_free(handheld);
}

/* The backup was made after the first announcement, and the handheld has gone on to a third key since. */
static void a_later_certificate_ends_what_was_announced_before_it(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with_records(centre);
    struct sign_key second = other_key(handheld);
    _cleanup_buffer_ struct buffer told = {0}, second_certificate = {0};

    announce(handheld, &second);
    deliver(centre, handheld);
    centre_shell(centre, "mkdir copy");
    centre_stop(centre);
    centre_shell(centre, "cp centre.db* copy/");
    centre_start(centre);
    assert_true(told_certificate(centre, handheld, &second_certificate).len > 0);
    handheld->key = second;
    (void)rotate(centre, handheld);
    centre_stop(centre);
    centre_shell(centre, "rm -f centre.db* && cp copy/centre.db* .");
    centre_start(centre);

    assert_int_equal(refusal_of(centre, handheld, true), 0);
    deliver(centre, handheld);
    assert_int_equal(told_certificate(centre, handheld, &told).len, 0);
    assert_int_equal(in_quarantine(centre), 0);
    handheld->key = second; /* and its certificate is the earlier one */
    buffer_clear(&handheld->certificate);
    buffer_put_bytes(&handheld->certificate, buffer_bytes(&second_certificate));
    assert_int_equal(refusal_of(centre, handheld, true), REFUSAL_REVOKED);
    handheld_free(handheld);
}

static void a_certificate_given_to_a_thief_brings_no_key_after_the_owner_has_used_his(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with_records(centre);
    const struct sign_key owners = other_key(handheld), thiefs = other_key(handheld);
    _cleanup_buffer_ struct buffer owners_certificate = {0}, thiefs_certificate = {0};

    announce(handheld, &owners);
    deliver(centre, handheld);
    assert_true(told_certificate(centre, handheld, &owners_certificate).len > 0);
    announce(handheld, &thiefs); /* by the key that is in force */
    deliver(centre, handheld);
    assert_true(told_certificate(centre, handheld, &thiefs_certificate).len > 0);
    handheld->key = owners;
    buffer_clear(&handheld->certificate);
    buffer_put_bytes(&handheld->certificate, buffer_bytes(&owners_certificate));
    assert_int_equal(refusal_of(centre, handheld, true), 0);

    handheld->key = thiefs; /* and his certificate is the later one */
    buffer_clear(&handheld->certificate);
    buffer_put_bytes(&handheld->certificate, buffer_bytes(&thiefs_certificate));
    assert_int_equal(refusal_of(centre, handheld, true), REFUSAL_REVOKED);
    handheld->key = owners;
    assert_int_equal(refusal_of(centre, handheld, false), 0);
    handheld_free(handheld);
}

static void a_handheld_that_uses_its_next_key_already_can_enrol_again(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with_records(centre);
    struct sign_key before = handheld->key, next = other_key(handheld);
    uint8_t token[ENROL_TOKEN_BYTES];
    _cleanup_answered_ struct answered answered = {0}, again = {0}, stranger = {0};

    announce(handheld, &next);
    deliver(centre, handheld);
    handheld->key = next;
    assert_int_equal(service_token_make(centre->service, "pole 7", "inspector-1", 3600, token), 0);
    enrol_with(centre, handheld, token, &answered);
    assert_false(answered.is_refused);
    assert_int_equal(refusal_of(centre, handheld, false), 0);
    enrol_with(centre, handheld, token, &again); /* its answer was lost */
    assert_false(again.is_refused);
    assert_true(bytes_equal(again.enrol.certificate, answered.enrol.certificate));

    handheld->key = before;
    assert_int_equal(refusal_of(centre, handheld, false), REFUSAL_REVOKED);
    assert_int_equal(service_token_make(centre->service, "pole 7", "inspector-1", 3600, token), 0);
    enrol_with(centre, handheld, token, &stranger);
    assert_int_equal(stranger.refusal.reason, REFUSAL_BAD_REQUEST);
    handheld_free(handheld);
}

static void the_token_of_a_key_that_was_replaced_brings_no_certificate_of_another_one(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_new();
    uint8_t token[ENROL_TOKEN_BYTES];
    _cleanup_answered_ struct answered answered = {0}, again = {0};

    assert_int_equal(service_token_make(centre->service, "pole 7", "inspector-1", 3600, token), 0);
    enrol_with(centre, handheld, token, &answered);
    assert_false(answered.is_refused);
    handheld->server_key = *service_receipt_key(centre->service);
    append_opened(handheld);
    handheld->key = rotate(centre, handheld);
    enrol_with(centre, handheld, token, &again);
    assert_true(again.is_refused);
    assert_int_equal(again.refusal.reason, REFUSAL_BAD_REQUEST);
    handheld_free(handheld);
}

static void a_centre_that_never_knew_the_device_takes_it_with_the_key_that_it_has_now(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with_records(centre);
    struct sign_key first;
    _cleanup_buffer_ struct buffer first_certificate = {0};

    buffer_put_bytes(&first_certificate, buffer_bytes(&handheld->certificate));
    first = rotate(centre, handheld);
    centre_stop(centre);
    centre_shell(centre, "rm -f centre.db*");
    centre_start(centre);

    assert_int_equal(refusal_of(centre, handheld, false), REFUSAL_UNKNOWN_DEVICE);
    assert_int_equal(refusal_of(centre, handheld, true), 0);
    deliver(centre, handheld); /* the rotation speaks of a key that was never in force here */
    assert_int_equal(in_quarantine(centre), 0);
    handheld->key = first;
    buffer_clear(&handheld->certificate);
    buffer_put_bytes(&handheld->certificate, buffer_bytes(&first_certificate));
    assert_int_equal(refusal_of(centre, handheld, false), REFUSAL_UNKNOWN_DEVICE);
    assert_int_equal(refusal_of(centre, handheld, true), REFUSAL_UNKNOWN_DEVICE);
    handheld_free(handheld);
}

static bool is_charged_to_the_device(
    struct centre *centre, const struct handheld *handheld, bool with_certificate)
{
    const struct exchange_request with = {.certificate = buffer_bytes(&handheld->certificate)};
    const struct exchange_request without = {.certificate = {0}};
    _cleanup_buffer_ struct buffer body = {0};
    struct service_job *job = NULL;
    struct sha256 sha256;
    struct uuid device;
    bool is_proven;

    make_exchange(handheld, 0, 0, with_certificate ? &with : &without, &body, &sha256);
    assert_int_equal(service_prepare(centre->service, SERVICE_EXCHANGE, buffer_bytes(&body), &job), 0);
    if (service_job_needs_commit(job))
        assert_int_equal(service_commit(centre->service, &job, 1), 0);
    is_proven = service_job_is_proven(job, &device);
    service_job_free(job);
    return is_proven;
}

static void a_key_that_is_not_the_devices_uses_up_nothing_of_its_rate(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with_records(centre);
    struct sign_key next = other_key(handheld), first = handheld->key;
    _cleanup_buffer_ struct buffer first_certificate = {0};

    buffer_put_bytes(&first_certificate, buffer_bytes(&handheld->certificate));
    assert_true(is_charged_to_the_device(centre, handheld, false));
    handheld->key = next;
    assert_false(is_charged_to_the_device(centre, handheld, false));
    assert_false(is_charged_to_the_device(centre, handheld, true));
    handheld->key = first;
    (void)rotate(centre, handheld);
    assert_true(is_charged_to_the_device(centre, handheld, false));
    handheld->key = first;
    buffer_clear(&handheld->certificate);
    buffer_put_bytes(&handheld->certificate, buffer_bytes(&first_certificate));
    assert_false(is_charged_to_the_device(centre, handheld, true));
    centre_sql(centre, "DELETE FROM device_keys"); /* as where the first was never heard of */
    assert_false(is_charged_to_the_device(centre, handheld, true));
    handheld_free(handheld);
}

/* An audit is no exchange: the key in force is still the one that has signed what is stored. */
static void an_audit_by_the_next_key_has_the_receipt_of_the_one_in_force(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with_records(centre);
    struct sign_key next = other_key(handheld), first = handheld->key;
    const struct audit_request request = {.level = AUDIT_PRESENCE};
    _cleanup_answered_ struct answered answered = {0};
    struct checkpoint checkpoint;
    uint64_t time_s;

    announce(handheld, &next);
    deliver(centre, handheld);
    handheld->key = next;
    audit_with(centre, handheld, &request, &answered);
    assert_int_equal(answered.status, 200);
    assert_int_equal(
        receipt_verify(answered.audit.receipt, &first.public, &handheld->server_key, &checkpoint, &time_s),
        0);
    assert_int64_equal(checkpoint.size, 3);
    handheld_free(handheld);
}

static void a_revoked_device_rotates_nothing(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with_records(centre);
    struct sign_key next = other_key(handheld), old = handheld->key;

    announce(handheld, &next);
    assert_int_equal(service_revoke(centre->service, &handheld->device, true), 0);
    assert_int_equal(refusal_of(centre, handheld, false), REFUSAL_REVOKED);
    handheld->key = next;
    assert_int_equal(refusal_of(centre, handheld, false), REFUSAL_UNKNOWN_DEVICE);
    assert_int_equal(service_revoke(centre->service, &handheld->device, false), 0);
    handheld->key = old;
    deliver(centre, handheld);
    assert_int_equal(service_revoke(centre->service, &handheld->device, true), 0);
    handheld->key = next;
    assert_int_equal(refusal_of(centre, handheld, false), REFUSAL_REVOKED);
    handheld_free(handheld);
}

static void a_device_has_a_bounded_number_of_keys(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_with_records(centre);
    struct sign_key next;

    for (size_t i = 1; i < DEVICE_KEYS_MAX; i++)
        (void)rotate(centre, handheld);
    assert_int_equal(in_quarantine(centre), 0);
    next = other_key(handheld);
    announce(handheld, &next);
    deliver(centre, handheld);
    assert_int_equal(in_quarantine(centre), 1);
    assert_int_equal(refusal_of(centre, handheld, false), 0);
    handheld_free(handheld);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            an_announced_key_is_certified_until_it_is_used_and_then_the_old_one_is_refused, start, stop),
        cmocka_unit_test_setup_teardown(an_answer_to_the_next_key_seals_its_token_to_it, start, stop),
        cmocka_unit_test_setup_teardown(
            the_receipt_of_a_log_that_did_not_grow_since_is_still_the_old_keys, start, stop),
        cmocka_unit_test_setup_teardown(
            a_retired_key_announces_nothing_any_more_and_cannot_be_announced_again, start, stop),
        cmocka_unit_test_setup_teardown(a_key_whose_holder_has_not_signed_is_put_in_quarantine, start, stop),
        cmocka_unit_test_setup_teardown(a_key_that_the_device_never_had_stores_nothing, start, stop),
        cmocka_unit_test_setup_teardown(the_record_of_one_device_rotates_no_other, start, stop),
        cmocka_unit_test_setup_teardown(
            a_second_announcement_takes_the_place_of_one_that_was_not_used, start, stop),
        cmocka_unit_test_setup_teardown(
            a_rehomed_announcement_counts_and_one_that_is_read_again_changes_nothing, start, stop),
        cmocka_unit_test_setup_teardown(
            a_centre_that_was_set_back_takes_the_later_certificate_and_never_an_earlier_one, start, stop),
        cmocka_unit_test_setup_teardown(a_later_certificate_ends_what_was_announced_before_it, start, stop),
        cmocka_unit_test_setup_teardown(
            a_certificate_given_to_a_thief_brings_no_key_after_the_owner_has_used_his, start, stop),
        cmocka_unit_test_setup_teardown(
            a_handheld_that_uses_its_next_key_already_can_enrol_again, start, stop),
        cmocka_unit_test_setup_teardown(
            the_token_of_a_key_that_was_replaced_brings_no_certificate_of_another_one, start, stop),
        cmocka_unit_test_setup_teardown(
            a_centre_that_never_knew_the_device_takes_it_with_the_key_that_it_has_now, start, stop),
        cmocka_unit_test_setup_teardown(
            a_key_that_is_not_the_devices_uses_up_nothing_of_its_rate, start, stop),
        cmocka_unit_test_setup_teardown(
            an_audit_by_the_next_key_has_the_receipt_of_the_one_in_force, start, stop),
        cmocka_unit_test_setup_teardown(a_revoked_device_rotates_nothing, start, stop),
        cmocka_unit_test_setup_teardown(a_device_has_a_bounded_number_of_keys, start, stop),
    };

    return cmocka_run_group_tests_name("server service device keys", tests, NULL, NULL);
}
