/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/core/finding_form.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct finding_form whole_form(void)
{
    return (struct finding_form){
        .category = "06010",
        .severity = "serious",
        .note = bytes_of_text("路面破损"),
        .lat = "31.2304",
        .lon = "121.4737",
        .accuracy = "3.2",
        .fix_time = "2026-11-23T16:30:00+08:00",
    };
}

static void assert_refused(const struct finding_form *form, const char *field, const char *mend)
{
    struct finding finding;
    struct form_refusal refusal = {""};
    assert_int_equal(finding_form_take(form, directory_built_in(), &finding, &refusal), -EINVAL);
    assert_memory_equal(refusal.message, field, strlen(field));
    assert_non_null(strstr(refusal.message, mend));
    assert_null(strchr(refusal.message, '\n'));
}

static void a_whole_form_becomes_a_finding(void **state)
{
    (void)state;
    struct finding_form form = whole_form();
    struct finding finding;
    struct form_refusal refusal;
    assert_int_equal(finding_form_take(&form, directory_built_in(), &finding, &refusal), 0);
    assert_true(bytes_equal(finding.category.code, bytes_of_text("06010")));
    assert_true(bytes_equal(finding.category.scheme, bytes_of_text("GB/T 47678.5")));
    assert_int_equal(finding.severity, SEVERITY_SERIOUS);
    assert_true(finding.has_position);
    assert_int_equal(finding.position.lat_e7, 312304000);
    assert_int_equal(finding.position.lon_e7, 1214737000);
    assert_int_equal(finding.position.accuracy_dm, 32);
    assert_int_equal(finding.position.fix_time_ms, INT64_C(1795422600000));
    assert_int_equal(finding.observed_ms, 0);
}

static void severity_defaults_to_normal(void **state)
{
    (void)state;
    struct finding_form form = whole_form();
    form.severity = NULL;
    struct finding finding;
    struct form_refusal refusal;
    assert_int_equal(finding_form_take(&form, directory_built_in(), &finding, &refusal), 0);
    assert_int_equal(finding.severity, SEVERITY_NORMAL);
}

static void an_unknown_category_is_refused_with_the_nearest_ones(void **state)
{
    (void)state;
    struct finding_form form = whole_form();
    form.category = "6010";
    assert_refused(&form, "category: ", "06010");
    form.category = NULL;
    assert_refused(&form, "category: missing", "--category");
    form.category = "zzzzzzzzzzz\n";
    assert_refused(&form, "category: ", "patrol categories");
}

static void a_matter_given_as_component_is_pointed_out(void **state)
{
    (void)state;
    struct finding_form form = whole_form();
    form.component = "06010"; /* a matter's code only */
    assert_null(directory_find(directory_built_in(), CATEGORY_COMPONENT, "06010"));
    assert_refused(&form, "component: ", "--category");
}

static void impossible_coordinates_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "90.1", "-90.0000001", "nan", "inf", "", "12,5", "0x10", "1e400", "north"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct finding_form form = whole_form();
        form.lat = bad[i];
        assert_refused(&form, "lat: ", "degrees");
    }
    struct finding_form form = whole_form();
    form.lon = "180.0000001";
    assert_refused(&form, "lon: ", "-180 to 180");
    form.lon = NULL;
    assert_refused(&form, "lon: missing", "--lon");
}

static void the_poles_and_the_antimeridian_are_taken(void **state)
{
    (void)state;
    struct finding_form form = whole_form();
    form.lat = "-90";
    form.lon = "180";
    struct finding finding;
    struct form_refusal refusal;
    assert_int_equal(finding_form_take(&form, directory_built_in(), &finding, &refusal), 0);
    assert_int_equal(finding.position.lat_e7, -900000000);
    assert_int_equal(finding.position.lon_e7, 1800000000);
}

static void without_a_position_a_reason_is_needed(void **state)
{
    (void)state;
    struct finding_form form = {.category = "06010"};
    assert_refused(&form, "position: missing", "--no-fix");
    form.no_fix = "";
    assert_refused(&form, "no_fix: empty", "say why");
    form.no_fix = "indoors";
    struct finding finding;
    struct form_refusal refusal;
    assert_int_equal(finding_form_take(&form, directory_built_in(), &finding, &refusal), 0);
    assert_false(finding.has_position);
    form.lat = "1";
    form.lon = "1";
    assert_refused(&form, "no_fix: ", "one or the other");
}

static void notes_that_are_not_utf8_or_too_long_are_refused(void **state)
{
    (void)state;
    struct finding_form form = whole_form();
    form.note = bytes_of_text("\xc2\xb7\xbb\xb5");
    assert_refused(&form, "note: not UTF-8", "iconv");
    char *big = malloc(NOTE_BYTES_MAX + 1);
    assert_non_null(big);
    memset(big, 'x', NOTE_BYTES_MAX + 1);
    form.note = bytes_of(big, NOTE_BYTES_MAX + 1);
    assert_refused(&form, "note: 16385 bytes", "shorten");
    form.note.len--;
    struct finding finding;
    struct form_refusal refusal;
    assert_int_equal(finding_form_take(&form, directory_built_in(), &finding, &refusal), 0);
    free(big);
}

static void times_without_an_offset_are_refused(void **state)
{
    (void)state;
    struct finding_form form = whole_form();
    form.observed_at = "2026-11-23T16:30:00";
    assert_refused(&form, "observed_at: ", "+08:00");
    form.observed_at = NULL;
    form.fix_time = "yesterday";
    assert_refused(&form, "fix_time: ", "+08:00");
}

static void a_wrong_accuracy_or_severity_is_refused(void **state)
{
    (void)state;
    struct finding_form form = whole_form();
    form.accuracy = "-1";
    assert_refused(&form, "accuracy: ", "metres");
    form.accuracy = "nan";
    assert_refused(&form, "accuracy: ", "metres");
    form.accuracy = NULL;
    form.severity = "terrible";
    assert_refused(&form, "severity: ", "minor, normal, serious or urgent");
    form.severity = "";
    assert_refused(&form, "severity: ", "minor, normal, serious or urgent");
}

static void an_amendment_keeps_what_is_not_given(void **state)
{
    (void)state;
    struct finding_form form = whole_form();
    struct finding before, after;
    struct form_refusal refusal;
    assert_int_equal(finding_form_take(&form, directory_built_in(), &before, &refusal), 0);
    struct finding_form change = {.severity = "urgent"};
    assert_int_equal(finding_form_amend(&change, directory_built_in(), &before, false, &after, &refusal), 0);
    assert_int_equal(after.severity, SEVERITY_URGENT);
    assert_true(bytes_equal(after.note, before.note));
    assert_int_equal(after.position.lat_e7, before.position.lat_e7);
}

static void an_amendment_that_changes_nothing_is_refused(void **state)
{
    (void)state;
    struct finding_form form = whole_form(), nothing = {0};
    struct finding before, after;
    struct form_refusal refusal;
    assert_int_equal(finding_form_take(&form, directory_built_in(), &before, &refusal), 0);
    assert_int_equal(
        finding_form_amend(&nothing, directory_built_in(), &before, false, &after, &refusal), -EINVAL);
    assert_int_equal(finding_form_amend(&nothing, directory_built_in(), &before, true, &after, &refusal), 0);
}

static void an_amendment_may_replace_a_position_by_a_reason(void **state)
{
    (void)state;
    struct finding_form form = whole_form(), change = {.no_fix = "fix was stale"};
    struct finding before, after;
    struct form_refusal refusal;
    assert_int_equal(finding_form_take(&form, directory_built_in(), &before, &refusal), 0);
    assert_int_equal(finding_form_amend(&change, directory_built_in(), &before, false, &after, &refusal), 0);
    assert_false(after.has_position);
    assert_true(bytes_equal(after.no_fix, bytes_of_text("fix was stale")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_form_becomes_a_finding),
        cmocka_unit_test(severity_defaults_to_normal),
        cmocka_unit_test(an_unknown_category_is_refused_with_the_nearest_ones),
        cmocka_unit_test(a_matter_given_as_component_is_pointed_out),
        cmocka_unit_test(impossible_coordinates_are_refused),
        cmocka_unit_test(the_poles_and_the_antimeridian_are_taken),
        cmocka_unit_test(without_a_position_a_reason_is_needed),
        cmocka_unit_test(notes_that_are_not_utf8_or_too_long_are_refused),
        cmocka_unit_test(times_without_an_offset_are_refused),
        cmocka_unit_test(a_wrong_accuracy_or_severity_is_refused),
        cmocka_unit_test(an_amendment_keeps_what_is_not_given),
        cmocka_unit_test(an_amendment_that_changes_nothing_is_refused),
        cmocka_unit_test(an_amendment_may_replace_a_position_by_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
