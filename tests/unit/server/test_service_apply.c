/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of what stored records mean: server/service_apply.c over SQLite. */
#include "tests/unit/server/client.h"

#include "proto/time_flags.h"

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

static void record_50_of_100_cannot_be_applied_99_are_and_all_are_acknowledged(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    _cleanup_answered_ struct answered answered = {0}, again = {0};

    append_opened(handheld);
    append_findings(handheld, 49);
    append_bytes(handheld, bytes_of_text("no record at all"));
    append_findings(handheld, 50);
    exchange(centre, handheld, 0, 101, &answered);

    assert_int_equal(answered.exchange.outcome, EXCHANGE_STORED);
    assert_int64_equal(read_receipt(handheld, answered.exchange.receipt).size, 101);
    assert_int_equal(answered.exchange.quarantined_count, 1);
    assert_int64_equal(answered.exchange.quarantined[0].seq, 50);
    assert_true(answered.exchange.quarantined[0].reason.len > 0);

    struct listing *listing = list_findings(centre);
    assert_int_equal(listing->count, 100);
    assert_int_equal(count_state(listing, "stored"), 99);
    assert_int_equal(count_state(listing, "quarantined"), 1);
    assert_true(strlen(must_list(listing, &handheld->log, 50)->reason) > 0);
    assert_int64_equal(last_device(centre).quarantined, 1);
    free(listing);

    /* A lost answer: the list comes again. */
    exchange(centre, handheld, 0, 101, &again);
    assert_int_equal(again.exchange.quarantined_count, 1);
    handheld_free(handheld);
}

static void what_a_lost_answer_would_have_told_of_quarantine_the_next_receipt_tells(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    const struct exchange_request none_held = {.receipt_size = 0}, all_held = {.receipt_size = 4};
    _cleanup_answered_ struct answered lost = {0}, next = {0}, asked = {0}, known = {0};

    append_opened(handheld);
    append_bytes(handheld, bytes_of_text("no record at all"));
    append_findings(handheld, 2);
    exchange(centre, handheld, 0, 2, &lost);
    exchange_with(centre, handheld, 2, 2, &none_held, &next);
    assert_int_equal(next.exchange.quarantined_count, 1);
    assert_int64_equal(next.exchange.quarantined[0].seq, 1);
    /* An answer to a bare question brings the same receipt. */
    exchange_with(centre, handheld, 0, 0, &none_held, &asked);
    assert_int_equal(asked.exchange.quarantined_count, 1);
    exchange_with(centre, handheld, 4, 0, &all_held, &known);
    assert_int_equal(known.exchange.quarantined_count, 0);
    handheld_free(handheld);
}

static void an_empty_record_is_stored_and_quarantined(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);

    append_opened(handheld);
    append_bytes(handheld, bytes_of("", 0));
    deliver(centre, handheld);
    struct listing *listing = list_findings(centre);
    assert_string_equal(must_list(listing, &handheld->log, 1)->state, "quarantined");
    free(listing);
    handheld_free(handheld);
}

static void an_amendment_stands_for_its_finding(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    struct parent parent;

    append_opened(handheld);
    append_finding(handheld, "first words");
    parent = parent_of(handheld, 1);
    parent.log = (struct uuid){{0}}; /* the log it stands in */
    append_amendment(handheld, &parent, "second words");
    parent = parent_of(handheld, 2); /* amends the amendment */
    append_amendment(handheld, &parent, "third words");
    deliver(centre, handheld);

    struct listing *listing = list_findings(centre);
    assert_int_equal(listing->count, 3);
    assert_string_equal(must_list(listing, &handheld->log, 1)->state, "amended");
    assert_string_equal(must_list(listing, &handheld->log, 2)->state, "amended");
    assert_string_equal(must_list(listing, &handheld->log, 3)->state, "stored");
    struct uuid id = record_id(handheld, 1);
    assert_memory_equal(must_list(listing, &handheld->log, 2)->parent.b, id.b, UUID_BYTES);
    free(listing);
    handheld_free(handheld);
}

static void a_withdrawal_withdraws_every_version(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    struct parent parent;

    append_opened(handheld);
    append_finding(handheld, "first words");
    parent = parent_of(handheld, 1);
    append_amendment(handheld, &parent, "second words");
    append_withdrawal(handheld, &parent);
    append_amendment(handheld, &parent, "too late");
    deliver(centre, handheld);

    struct listing *listing = list_findings(centre);
    assert_string_equal(must_list(listing, &handheld->log, 1)->state, "withdrawn");
    assert_string_equal(must_list(listing, &handheld->log, 2)->state, "withdrawn");
    assert_string_equal(must_list(listing, &handheld->log, 3)->state, "stored");
    assert_int_equal(must_list(listing, &handheld->log, 3)->kind, RECORD_WITHDRAWAL);
    assert_string_equal(must_list(listing, &handheld->log, 3)->note, "recorded twice");
    assert_string_equal(must_list(listing, &handheld->log, 4)->state, "withdrawn");
    free(listing);
    handheld_free(handheld);
}

static void an_amendment_waits_for_its_finding_and_is_applied_when_it_comes(void **state)
{
    struct centre *centre = *state;
    struct handheld *first = handheld_enrolled(centre), *second = next_log(first);
    _cleanup_answered_ struct answered answered = {0};

    append_opened(first);
    append_finding(first, "comes late");
    append_opened(second);
    struct parent finding = parent_of(first, 1);
    append_amendment(second, &finding, "comes early");
    struct parent amendment = parent_of(second, 1);
    append_amendment(second, &amendment, "amends what waits");

    exchange(centre, second, 0, 3, &answered);
    assert_int_equal(answered.exchange.quarantined_count, 2);
    struct listing *listing = list_findings(centre);
    assert_string_equal(must_list(listing, &second->log, 1)->state, "quarantined");
    free(listing);

    deliver(centre, first);
    listing = list_findings(centre);
    assert_int_equal(listing->count, 3);
    assert_string_equal(must_list(listing, &first->log, 1)->state, "amended");
    assert_string_equal(must_list(listing, &second->log, 1)->state, "amended");
    assert_string_equal(must_list(listing, &second->log, 2)->state, "stored");
    free(listing);
    assert_int64_equal(last_device(centre).quarantined, 0);
    assert_int_equal(centre_sql(centre, "SELECT count(*) FROM awaited"), 0);
    handheld_free(first);
    handheld_free(second);
}

/* How many of these the centre names as released to a handheld that holds them for quarantined. */
static size_t count_released(
    struct centre *centre, const struct handheld *handheld, const struct position_in_log *held, size_t count)
{
    const struct exchange_request asks = {.asked_quarantined = held, .asked_quarantined_count = count};
    _cleanup_answered_ struct answered answered = {0};

    exchange_with(centre, handheld, handheld->count, 0, &asks, &answered);
    assert_false(answered.is_refused);
    for (size_t i = 0; i < answered.exchange.released_count; i++)
        assert_true(uuid_equal(&answered.exchange.released[i].log, &held[0].log));
    return answered.exchange.released_count;
}

static void what_was_applied_since_is_told_to_the_handheld_as_often_as_it_asks(void **state)
{
    struct centre *centre = *state;
    struct handheld *first = handheld_enrolled(centre), *second = next_log(first);
    const struct position_in_log held[] = {{.log = second->log, .seq = 1}, {.log = second->log, .seq = 2}};

    append_opened(first);
    append_finding(first, "comes late");
    append_opened(second);
    struct parent finding = parent_of(first, 1), nothing = parent_of(first, 0);
    append_amendment(second, &finding, "comes early");
    append_amendment(second, &nothing, "amends what is no finding");
    deliver(centre, second);
    assert_int_equal(count_released(centre, second, held, 2), 0);

    deliver(centre, first);
    assert_int_equal(count_released(centre, second, held, 2), 1);
    assert_int_equal(count_released(centre, first, held, 2), 1);
    assert_int_equal(count_released(centre, second, held + 1, 1), 0);
    handheld_free(first);
    handheld_free(second);
}

static void what_a_newer_centre_can_apply_is_told_too(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    const struct position_in_log held = {.log = handheld->log, .seq = 1};
    struct service_check_report report;

    append_opened(handheld);
    append_finding(handheld, "once not understood");
    deliver(centre, handheld);
    centre_sql(centre, "INSERT INTO quarantined(key, reason) VALUES ((1 << 40) + 1, 'unknown record kind')");
    assert_int_equal(count_released(centre, handheld, &held, 1), 0);
    assert_int_equal(service_check(centre->service, false, true, NULL, NULL, &report), 0);
    assert_int_equal(count_released(centre, handheld, &held, 1), 1);
    handheld_free(handheld);
}

static void what_the_centre_does_not_hold_or_another_device_sent_is_never_told_as_released(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre), *other = handheld_enrolled(centre);
    const struct position_in_log theirs = {.log = handheld->log, .seq = 1},
                                 beyond = {.log = handheld->log, .seq = 2},
                                 nowhere = {.log = random_uuid(), .seq = 0};

    append_opened(handheld);
    append_finding(handheld, "applied at once");
    deliver(centre, handheld);
    append_opened(other);
    deliver(centre, other);
    assert_int_equal(count_released(centre, handheld, &theirs, 1), 1);
    assert_int_equal(count_released(centre, other, &theirs, 1), 0);
    assert_int_equal(count_released(centre, handheld, &beyond, 1), 0);
    assert_int_equal(count_released(centre, handheld, &nowhere, 1), 0);
    handheld_free(handheld);
    handheld_free(other);
}

static void an_amendment_of_another_devices_finding_is_quarantined(void **state)
{
    struct centre *centre = *state;
    struct handheld *owner = handheld_enrolled(centre), *other = handheld_enrolled(centre);

    append_opened(owner);
    append_finding(owner, "mine");
    deliver(centre, owner);
    append_opened(other);
    struct parent parent = parent_of(owner, 1);
    append_amendment(other, &parent, "not yours");
    deliver(centre, other);

    struct listing *listing = list_findings(centre);
    assert_string_equal(must_list(listing, &owner->log, 1)->state, "stored");
    assert_string_equal(must_list(listing, &other->log, 1)->state, "quarantined");
    free(listing);
    handheld_free(owner);
    handheld_free(other);
}

static void an_amendment_that_names_the_wrong_id_waits(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);
    struct parent parent;

    append_opened(handheld);
    append_finding(handheld, "one");
    parent = parent_of(handheld, 1);
    parent.id.b[3] ^= 1;
    append_amendment(handheld, &parent, "of something else");
    deliver(centre, handheld);
    struct listing *listing = list_findings(centre);
    assert_string_equal(must_list(listing, &handheld->log, 1)->state, "stored");
    assert_string_equal(must_list(listing, &handheld->log, 2)->state, "quarantined");
    free(listing);
    handheld_free(handheld);
}

/* ---- re-homed records ---- */

static void a_record_rehomed_twice_is_applied_once_under_its_first_id(void **state)
{
    struct centre *centre = *state;
    struct handheld *old = handheld_enrolled(centre), *second = next_log(old), *third = next_log(old);

    append_opened(old);
    append_finding(old, "never taken in its own log");
    struct uuid id = record_id(old, 1);
    append_opened(second);
    append_rehomed(second, &old->log, 1, old->records[1]);
    deliver(centre, second);
    append_opened(third);
    append_rehomed(third, &old->log, 1, old->records[1]);
    append_rehomed(third, &second->log, 1, second->records[1]); /* wrapped twice */
    deliver(centre, third);

    struct listing *listing = list_findings(centre);
    assert_int_equal(listing->count, 1);
    assert_memory_equal(listing->rows[0].id.b, id.b, UUID_BYTES);
    assert_string_equal(listing->rows[0].note, "never taken in its own log");
    assert_memory_equal(listing->rows[0].log.b, second->log.b, UUID_BYTES);
    free(listing);
    handheld_free(old);
    handheld_free(second);
    handheld_free(third);
}

static void a_rehomed_record_that_its_own_log_has_brought_is_not_applied_again(void **state)
{
    struct centre *centre = *state;
    struct handheld *old = handheld_enrolled(centre), *next = next_log(old);

    append_opened(old);
    append_finding(old, "taken in its own log");
    deliver(centre, old);
    append_opened(next);
    append_rehomed(next, &old->log, 1, old->records[1]);
    deliver(centre, next);
    struct listing *listing = list_findings(centre);
    assert_int_equal(listing->count, 1);
    assert_memory_equal(listing->rows[0].log.b, old->log.b, UUID_BYTES);
    free(listing);
    handheld_free(old);
    handheld_free(next);
}

static void a_record_that_comes_in_its_own_log_after_it_was_rehomed_is_not_applied_again(void **state)
{
    struct centre *centre = *state;
    struct handheld *old = handheld_enrolled(centre), *next = next_log(old);

    append_opened(old);
    append_findings(old, 3);
    append_opened(next);
    append_rehomed(next, &old->log, 2, old->records[2]);
    deliver(centre, next);
    deliver(centre, old); /* the other copy of a clone, say */
    struct listing *listing = list_findings(centre);
    assert_int_equal(listing->count, 3);
    assert_null(listed_at(listing, &old->log, 2));
    free(listing);
    handheld_free(old);
    handheld_free(next);
}

static void after_a_fork_what_the_clone_recorded_is_applied_from_its_new_log(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre), *clone = next_log(handheld),
                    *new_log = next_log(handheld);
    _cleanup_answered_ struct answered answered = {0};

    append_opened(handheld);
    append_findings(handheld, 4);
    deliver(centre, handheld);
    clone->log = handheld->log;
    for (size_t i = 0; i < 3; i++)
        append_bytes(clone, handheld->records[i]);
    append_finding(clone, "what the other copy saw");
    exchange(centre, clone, 3, 1, &answered);
    assert_int_equal(answered.exchange.outcome, EXCHANGE_FORK);

    struct uuid id = record_id(clone, 3);
    append_opened(new_log);
    append_rehomed(new_log, &clone->log, 3, clone->records[3]);
    struct parent parent = parent_of(clone, 3);
    append_amendment(new_log, &parent, "and what it said later");
    deliver(centre, new_log);

    struct listing *listing = list_findings(centre);
    assert_int_equal(listing->count, 6);
    assert_memory_equal(must_list(listing, &new_log->log, 1)->id.b, id.b, UUID_BYTES);
    assert_string_equal(must_list(listing, &new_log->log, 1)->state, "amended");
    assert_string_equal(must_list(listing, &new_log->log, 2)->state, "stored");
    assert_string_equal(must_list(listing, &handheld->log, 3)->state, "stored");
    free(listing);
    handheld_free(handheld);
    handheld_free(clone);
    handheld_free(new_log);
}

static void an_amendment_rehomed_with_its_finding_finds_it(void **state)
{
    struct centre *centre = *state;
    struct handheld *old = handheld_enrolled(centre), *next = next_log(old);

    append_opened(old);
    append_finding(old, "first words");
    struct parent parent = parent_of(old, 1);
    parent.log = (struct uuid){{0}}; /* its own log: the old one */
    append_amendment(old, &parent, "second words");
    append_opened(next);
    append_rehomed(next, &old->log, 2, old->records[2]); /* before its parent */
    append_rehomed(next, &old->log, 1, old->records[1]);
    deliver(centre, next);
    struct listing *listing = list_findings(centre);
    assert_int_equal(listing->count, 2);
    assert_string_equal(must_list(listing, &next->log, 1)->state, "stored");
    assert_string_equal(must_list(listing, &next->log, 2)->state, "amended");
    free(listing);
    handheld_free(old);
    handheld_free(next);
}

static void a_record_taken_from_another_devices_log_is_quarantined(void **state)
{
    struct centre *centre = *state;
    struct handheld *owner = handheld_enrolled(centre), *thief = handheld_enrolled(centre);

    append_opened(owner);
    append_finding(owner, "mine");
    deliver(centre, owner);
    append_opened(thief);
    append_rehomed(thief, &owner->log, 1, owner->records[1]);
    deliver(centre, thief);
    struct listing *listing = list_findings(centre);
    assert_int_equal(listing->count, 2);
    assert_string_equal(must_list(listing, &thief->log, 1)->state, "quarantined");
    free(listing);
    handheld_free(owner);
    handheld_free(thief);
}

/* ---- logs ---- */

static void append_opened_after(
    struct handheld *next, const struct handheld *old, enum open_reason reason, uint64_t old_size)
{
    const struct record record = {.kind = RECORD_OPENED,
        .wall_ms = TEST_WALL_MS,
        .opened = {.reason = reason, .predecessor = old->log, .predecessor_size = old_size}};

    append_record(next, &record);
}

static void a_predecessor_left_incomplete_raises_an_alarm(void **state)
{
    struct centre *centre = *state;
    struct handheld *old = handheld_enrolled(centre), *whole = next_log(old), *torn = next_log(old);

    append_opened(old);
    append_findings(old, 2);
    deliver(centre, old);
    append_opened_after(whole, old, OPEN_ROTATED, 3);
    deliver(centre, whole);
    assert_int64_equal(last_device(centre).alarms, 0);
    append_opened_after(torn, old, OPEN_ROTATED, 4);
    deliver(centre, torn);
    assert_int64_equal(last_device(centre).alarms, 1);
    handheld_free(old);
    handheld_free(whole);
    handheld_free(torn);
}

/* ---- rebuilding ---- */

#define LATE_MS INT64_C(1790000000000) /* 2026-09-21 */

static void append_finding_at(struct handheld *handheld, int64_t wall_ms, int64_t fix_ms)
{
    struct record record = {.kind = RECORD_FINDING, .wall_ms = wall_ms, .finding = finding_of("at a time")};

    record.finding.has_position = true;
    record.finding.position = (struct finding_position){.fix_time_ms = fix_ms};
    append_record(handheld, &record);
}

static void a_record_from_before_the_receipt_that_its_handheld_held_is_flagged(void **state)
{
    struct centre *centre = *state;
    struct handheld *old = handheld_enrolled(centre), *next = next_log(old);
    const struct record event = {.kind = RECORD_DEVICE_EVENT,
        .wall_ms = LATE_MS,
        .device_event = {.receipt_size = 1, .receipt_time_ms = LATE_MS}};
    static const unsigned wanted[] = {0, 0, TIME_CLOCK_BEHIND, 0, 0};
    struct service_check_report report;

    append_opened(old);
    append_finding_at(old, LATE_MS - 3600000, 0); /* nothing was known then */
    append_record(old, &event);
    append_finding_at(old, LATE_MS + 1000, 0);
    append_finding_at(old, LATE_MS - 3600000, 0);
    append_opened(next);
    append_finding_at(next, LATE_MS - 3600000, 0); /* nor in another log */
    append_record(next, &event);
    append_rehomed(next, &old->log, 20, old->records[1]); /* older than the log that it stands in */
    deliver(centre, old);
    deliver(centre, next);
    for (int rebuilt = 0; rebuilt < 2; rebuilt++) {
        struct listing *listing = list_findings(centre);

        assert_int_equal(listing->count, ARRAY_LEN(wanted));
        for (size_t i = 0; i < listing->count; i++)
            assert_int_equal(listing->rows[i].time_flags & TIME_CLOCK_BEHIND, wanted[i]);
        free(listing);
        assert_int_equal(service_check(centre->service, false, true, NULL, NULL, &report), 0);
    }
    handheld_free(old);
    handheld_free(next);
}

/* As made by a program that knew nothing of them. */
static void a_database_without_clock_marks_is_read_and_given_them(void **state)
{
    struct centre *centre = *state;
    const struct service_options looks = {
        .world = &centre->world, .directory = centre->directory, .read_only = true};
    struct handheld *handheld = handheld_enrolled(centre);
    char *error = NULL;

    append_opened(handheld);
    append_finding_at(handheld, LATE_MS, LATE_MS - 180000);
    deliver(centre, handheld);
    centre_stop(centre);
    centre_sql(centre, "DROP TABLE clock_marks");
    assert_int_equal(service_open(&looks, &centre->service, &error), 0);
    struct listing *listing = list_findings(centre);
    assert_int_equal(listing->count, 1);
    assert_int_equal(listing->rows[0].time_flags & TIME_FIX_OLD, TIME_FIX_OLD);
    free(listing);
    centre_restart(centre);
    centre_sql(centre, "SELECT count(*) FROM clock_marks");
    handheld_free(handheld);
}

static void compare_listings(const struct listing *before, const struct listing *after)
{
    assert_int_equal(before->count, after->count);
    for (size_t i = 0; i < before->count; i++) {
        assert_memory_equal(before->rows[i].id.b, after->rows[i].id.b, UUID_BYTES);
        assert_int64_equal(before->rows[i].arrival, after->rows[i].arrival);
        assert_string_equal(before->rows[i].state, after->rows[i].state);
        assert_string_equal(before->rows[i].note, after->rows[i].note);
        assert_string_equal(before->rows[i].reason, after->rows[i].reason);
    }
}

static void the_derived_tables_made_again_are_the_same(void **state)
{
    struct centre *centre = *state;
    struct handheld *old = handheld_enrolled(centre), *next = next_log(old);
    struct sha256 photo = hash_of("a photo");
    struct service_check_report report;
    _cleanup_answered_ struct answered answered = {0};

    append_opened(old);
    append_findings(old, 5);
    append_bytes(old, bytes_of_text("no record"));
    struct parent parent = parent_of(old, 2);
    append_amendment(old, &parent, "amended");
    parent = parent_of(old, 3);
    append_withdrawal(old, &parent);
    append_finding_with_photo(old, &photo, 1000, NULL);
    append_opened(next);
    append_rehomed(next, &old->log, 20, old->records[4]);
    parent = parent_of(old, 7);
    append_amendment(next, &parent, "amended again, and early");
    deliver(centre, next);
    deliver(centre, old);

    struct listing *before = list_findings(centre);
    centre_sql(centre, "DELETE FROM findings WHERE arrival % 2 = 0");
    centre_sql(centre, "UPDATE findings SET note = 'altered', state = 2");
    centre_sql(centre, "DELETE FROM blob_wanted");
    assert_int_equal(service_check(centre->service, false, true, NULL, NULL, &report), 0);
    assert_int64_equal(report.records, 13);
    assert_int64_equal(report.findings_rebuilt, 11);
    struct listing *after = list_findings(centre);
    compare_listings(before, after);
    exchange(centre, old, 10, 0, &answered);
    assert_int_equal(answered.exchange.wanted_blob_count, 1);
    free(before);
    free(after);
    handheld_free(old);
    handheld_free(next);
}

static void a_finding_amended_too_often_quarantines_the_rest(void **state)
{
    struct centre *centre = *state;
    struct handheld *handheld = handheld_enrolled(centre);

    append_opened(handheld);
    append_finding(handheld, "one");
    struct parent parent = parent_of(handheld, 1);
    for (int i = 0; i < 300; i++)
        append_amendment(handheld, &parent, "and another word");
    deliver(centre, handheld);
    struct listing *listing = list_findings(centre);
    assert_int_equal(listing->count, 301);
    assert_int_equal(count_state(listing, "quarantined"), 300 - 256);
    assert_int_equal(count_state(listing, "stored"), 1);
    free(listing);
    handheld_free(handheld);
}

/* The answer to its first delivery was lost, and then the log was left. */
static void an_undecodable_record_that_was_rehomed_is_listed_once(void **state)
{
    static const uint8_t junk[] = {0xff, 0xff, 0xff, 0x07, 1, 2, 3};
    struct centre *centre = *state;
    struct handheld *old = handheld_enrolled(centre), *next = handheld_new();
    struct listing *listing;
    size_t same = 0;

    append_opened(old);
    append_bytes(old, bytes_of(junk, sizeof(junk)));
    deliver(centre, old);
    next->device = old->device;
    next->key = old->key;
    next->server_key = old->server_key;
    append_opened(next);
    append_rehomed(next, &old->log, 1, old->records[1]);
    deliver(centre, next);
    listing = list_findings(centre);
    struct uuid id = record_id(old, 1);
    for (size_t i = 0; i < listing->count; i++)
        same += uuid_equal(&listing->rows[i].id, &id);
    assert_int_equal(same, 1);
    free(listing);
    handheld_free(old);
    handheld_free(next);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_undecodable_record_that_was_rehomed_is_listed_once, start, stop),
        cmocka_unit_test_setup_teardown(
            record_50_of_100_cannot_be_applied_99_are_and_all_are_acknowledged, start, stop),
        cmocka_unit_test_setup_teardown(
            what_a_lost_answer_would_have_told_of_quarantine_the_next_receipt_tells, start, stop),
        cmocka_unit_test_setup_teardown(an_empty_record_is_stored_and_quarantined, start, stop),
        cmocka_unit_test_setup_teardown(an_amendment_stands_for_its_finding, start, stop),
        cmocka_unit_test_setup_teardown(a_withdrawal_withdraws_every_version, start, stop),
        cmocka_unit_test_setup_teardown(
            an_amendment_waits_for_its_finding_and_is_applied_when_it_comes, start, stop),
        cmocka_unit_test_setup_teardown(
            what_was_applied_since_is_told_to_the_handheld_as_often_as_it_asks, start, stop),
        cmocka_unit_test_setup_teardown(what_a_newer_centre_can_apply_is_told_too, start, stop),
        cmocka_unit_test_setup_teardown(
            what_the_centre_does_not_hold_or_another_device_sent_is_never_told_as_released, start, stop),
        cmocka_unit_test_setup_teardown(an_amendment_of_another_devices_finding_is_quarantined, start, stop),
        cmocka_unit_test_setup_teardown(an_amendment_that_names_the_wrong_id_waits, start, stop),
        cmocka_unit_test_setup_teardown(
            a_record_rehomed_twice_is_applied_once_under_its_first_id, start, stop),
        cmocka_unit_test_setup_teardown(
            a_rehomed_record_that_its_own_log_has_brought_is_not_applied_again, start, stop),
        cmocka_unit_test_setup_teardown(
            a_record_that_comes_in_its_own_log_after_it_was_rehomed_is_not_applied_again, start, stop),
        cmocka_unit_test_setup_teardown(
            after_a_fork_what_the_clone_recorded_is_applied_from_its_new_log, start, stop),
        cmocka_unit_test_setup_teardown(an_amendment_rehomed_with_its_finding_finds_it, start, stop),
        cmocka_unit_test_setup_teardown(a_record_taken_from_another_devices_log_is_quarantined, start, stop),
        cmocka_unit_test_setup_teardown(a_predecessor_left_incomplete_raises_an_alarm, start, stop),
        cmocka_unit_test_setup_teardown(the_derived_tables_made_again_are_the_same, start, stop),
        cmocka_unit_test_setup_teardown(
            a_record_from_before_the_receipt_that_its_handheld_held_is_flagged, start, stop),
        cmocka_unit_test_setup_teardown(a_database_without_clock_marks_is_read_and_given_them, start, stop),
        cmocka_unit_test_setup_teardown(a_finding_amended_too_often_quarantines_the_rest, start, stop),
    };

    return cmocka_run_group_tests_name("server service apply", tests, NULL, NULL);
}
