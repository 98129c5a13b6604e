/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of collector/photo/answer.h: the line that patrol-photo writes and `patrol` reads. */
#include "tests/unit/unit.h"

#include "base/cleanup.h"
#include "collector/photo/answer.h"

#include <errno.h>

static const struct photo_facts full = {
    .verdict = PHOTO_GOOD,
    .format = PHOTO_JPEG,
    .width = 3264,
    .height = 2448,
    .orientation = 6,
    .exif_time = "2015-04-10T20:12:23",
    .has_position = true,
    .lat_e7 = 404469722,
    .lon_e7 = -37247500,
    .preview_len = 12345,
};

static int parse(const char *line, struct photo_facts *ret)
{
    return photo_answer_parse(line, strlen(line), ret);
}

static void a_good_answer_is_written_as_one_line_with_all_fields(void **state)
{
    char line[PHOTO_ANSWER_LINE_MAX];
    int len = photo_answer_format(&full, line, sizeof(line));

    assert_string_equal(line,
        "ok format=jpeg width=3264 height=2448 orientation=6 exif_time=2015-04-10T20:12:23"
        " exif_lat_e7=404469722 exif_lon_e7=-37247500 preview_len=12345\n");
    assert_int_equal(len, strlen(line));
}

static void what_was_written_is_read_back_the_same(void **state)
{
    struct photo_facts least = {
        .format = PHOTO_PNG, .width = 1, .height = 1, .orientation = 1, .preview_len = 1};
    const struct photo_facts *all[] = {&full, &least};

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        char line[PHOTO_ANSWER_LINE_MAX];
        char again[PHOTO_ANSWER_LINE_MAX];
        struct photo_facts facts;
        photo_answer_format(all[i], line, sizeof(line));
        assert_int_equal(parse(line, &facts), 0);
        photo_answer_format(&facts, again, sizeof(again));
        assert_string_equal(again, line);
        assert_int_equal(facts.verdict, PHOTO_GOOD);
        assert_int_equal(facts.format, all[i]->format);
        assert_int_equal(facts.lat_e7, all[i]->lat_e7);
        assert_int_equal(facts.preview_len, all[i]->preview_len);
    }
}

static void every_refusal_has_a_word_of_its_own(void **state)
{
    for (int verdict = PHOTO_GOOD + 1; verdict < PHOTO_VERDICT_COUNT; verdict++) {
        struct photo_facts facts = {.verdict = (enum photo_verdict)verdict};
        char line[PHOTO_ANSWER_LINE_MAX];
        photo_answer_format(&facts, line, sizeof(line));
        facts.verdict = PHOTO_GOOD;
        assert_int_equal(parse(line, &facts), 0);
        assert_int_equal(facts.verdict, verdict);
    }
}

static void a_line_that_does_not_fit_is_not_cut(void **state)
{
    char line[32];

    assert_int_equal(photo_answer_format(&full, line, sizeof(line)), -ENOBUFS);
}

static void anything_but_the_exact_form_is_refused(void **state)
{
    static const char *const lines[] = {
        "",
        "\n",
        "ok\n",
        "bad reason=good\n",
        "bad reason=\n",
        "bad reason=truncated",
        "bad reason=truncated \n",
        "bad reason=Truncated\n",
        "ok format=gif width=1 height=1 orientation=1 preview_len=1\n",
        "ok format=png width=1 height=1 orientation=1 preview_len=1",
        "ok format=png width=1 height=1 orientation=1 preview_len=1\n\n",
        "ok format=png width=01 height=1 orientation=1 preview_len=1\n",
        "ok format=png width=+1 height=1 orientation=1 preview_len=1\n",
        "ok format=png width=-1 height=1 orientation=1 preview_len=1\n",
        "ok format=png width=0 height=1 orientation=1 preview_len=1\n",
        "ok format=png width=65536 height=1 orientation=1 preview_len=1\n",
        "ok format=png width=4294967297 height=1 orientation=1 preview_len=1\n",
        "ok format=png width=99999999999999999999 height=1 orientation=1 preview_len=1\n",
        "ok format=png width=65535 height=65535 orientation=1 preview_len=1\n",
        "ok format=png width=1 height=1 orientation=0 preview_len=1\n",
        "ok format=png width=1 height=1 orientation=9 preview_len=1\n",
        "ok format=png width=1 height=1 orientation=1 preview_len=0\n",
        "ok format=png width=1 height=1 orientation=1 preview_len=24577\n",
        "ok format=png height=1 width=1 orientation=1 preview_len=1\n",
        "ok format=png width=1 height=1 orientation=1 exif_time= preview_len=1\n",
        "ok format=png width=1 height=1 orientation=1 exif_time=2015-13-10T20:12:23 preview_len=1\n",
        "ok format=png width=1 height=1 orientation=1 exif_time=2015-04-10 20:12:23 preview_len=1\n",
        "ok format=png width=1 height=1 orientation=1 exif_lat_e7=1 preview_len=1\n",
        "ok format=png width=1 height=1 orientation=1 exif_lat_e7=900000001 exif_lon_e7=0 preview_len=1\n",
        "ok format=png width=1 height=1 orientation=1 exif_lat_e7=0 exif_lon_e7=-1800000001 preview_len=1\n",
        "ok format=png width=1 height=1 orientation=1 exif_lat_e7=-0 exif_lon_e7=1 preview_len=1\n",
        "ok format=png width=1 height=1 orientation=1 preview_len=1 more=1\n",
    };
    struct photo_facts facts = full;

    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        if (parse(lines[i], &facts) != -EBADMSG)
            fail_msg("accepted: %s", lines[i]);
    }
    assert_int_equal(facts.width, full.width);
}

static void a_cut_line_or_one_with_a_zero_byte_is_refused(void **state)
{
    char line[PHOTO_ANSWER_LINE_MAX];
    struct photo_facts facts;
    size_t len = (size_t)photo_answer_format(&full, line, sizeof(line));

    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(photo_answer_parse(line, cut, &facts), -EBADMSG);
    for (size_t at = 0; at < len; at++) {
        char changed[PHOTO_ANSWER_LINE_MAX];
        memcpy(changed, line, len);
        changed[at] = '\0';
        assert_int_equal(photo_answer_parse(changed, len, &facts), -EBADMSG);
    }
}

static void an_endless_line_is_refused(void **state)
{
    char line[PHOTO_ANSWER_LINE_MAX * 2];
    struct photo_facts facts;

    memset(line, 'o', sizeof(line));
    assert_int_equal(photo_answer_parse(line, sizeof(line), &facts), -EBADMSG);
}

static void only_days_of_the_calendar_are_valid_times(void **state)
{
    assert_true(photo_time_is_valid("2024-02-29T23:59:60"));
    assert_true(photo_time_is_valid("2000-02-29T00:00:00"));
    assert_false(photo_time_is_valid("1900-02-29T00:00:00"));
    assert_false(photo_time_is_valid("2023-02-29T00:00:00"));
    assert_false(photo_time_is_valid("2023-04-31T00:00:00"));
    assert_false(photo_time_is_valid("0000-01-01T00:00:00"));
    assert_false(photo_time_is_valid("2023-00-01T00:00:00"));
    assert_false(photo_time_is_valid("2023-01-01T24:00:00"));
    assert_false(photo_time_is_valid("2023-01-01T00:60:00"));
    assert_false(photo_time_is_valid("2023-01-01T00:00:61"));
    assert_false(photo_time_is_valid("2023-01-01T00:00:00Z"));
    assert_false(photo_time_is_valid("2023-01-01"));
    assert_false(photo_time_is_valid(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_answer_is_written_as_one_line_with_all_fields),
        cmocka_unit_test(what_was_written_is_read_back_the_same),
        cmocka_unit_test(every_refusal_has_a_word_of_its_own),
        cmocka_unit_test(a_line_that_does_not_fit_is_not_cut),
        cmocka_unit_test(anything_but_the_exact_form_is_refused),
        cmocka_unit_test(a_cut_line_or_one_with_a_zero_byte_is_refused),
        cmocka_unit_test(an_endless_line_is_refused),
        cmocka_unit_test(only_days_of_the_calendar_are_valid_times),
    };
    return cmocka_run_group_tests_name("collector answer", tests, NULL, NULL);
}
