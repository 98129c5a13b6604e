/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of collector/photo/exif.h: which way is up, when and where, from EXIF made here. */
#include "tests/unit/unit.h"

#include "collector/photo/exif.h"
#include "tests/unit/collector/pictures.h"

static struct photo_facts facts_of(struct bytes exif)
{
    struct photo_facts facts = {.orientation = 1};
    exif_read(exif, &facts);
    return facts;
}

static struct photo_facts facts_with(const struct exif_form *form)
{
    _cleanup_buffer_ struct buffer exif = {0};
    make_exif(form, &exif);
    return facts_of(buffer_bytes(&exif));
}

/* Madrid, as a phone wrote it. */
static const struct exif_form madrid = {
    .time = "2015:04:10 20:12:23",
    .position = true,
    .lat_half = 'N',
    .lon_half = 'W',
    .lat = {40, 1, 26, 1, 4910, 100},
    .lon = {3, 1, 43, 1, 2911, 100},
};

static void time_and_place_are_read_in_both_byte_orders_and_from_signed_fractions(void **state)
{
    for (int i = 0; i < 4; i++) {
        struct exif_form form = madrid;
        form.big_endian = i % 2;
        form.signed_fractions = i / 2;
        struct photo_facts facts = facts_with(&form);
        assert_string_equal(facts.exif_time, "2015-04-10T20:12:23");
        assert_true(facts.has_position);
        assert_int_equal(facts.lat_e7, 404469722);
        assert_int_equal(facts.lon_e7, -37247528);
    }
}

static void the_four_quarters_of_the_globe_have_their_signs(void **state)
{
    struct exif_form form = madrid;
    form.lat_half = 'S';
    form.lon_half = 'E';
    struct photo_facts facts = facts_with(&form);

    assert_int_equal(facts.lat_e7, -404469722);
    assert_int_equal(facts.lon_e7, 37247528);
}

static void degrees_in_one_fraction_with_empty_minutes_are_read(void **state)
{
    struct exif_form form = {
        .position = true,
        .lat_half = 'N',
        .lon_half = 'E',
        .lat = {31230416, 1000000, 0, 0, 0, 0},
        .lon = {180, 1, 0, 1, 0, 1},
    };
    struct photo_facts facts = facts_with(&form);

    assert_int_equal(facts.lat_e7, 312304160);
    assert_int_equal(facts.lon_e7, 1800000000);
}

static void impossible_places_are_left_out_and_the_rest_is_kept(void **state)
{
    struct exif_form forms[8];
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        forms[i] = madrid;
    forms[0].lat[0] = 91;
    forms[1].lon[0] = 181;
    forms[2].lat[1] = 0;
    forms[3].lon[5] = 0;
    forms[4].lat_half = 'X';
    forms[5].lon_half = '\0';
    memset(forms[6].lat, 0, sizeof(forms[6].lat));
    memset(forms[6].lon, 0, sizeof(forms[6].lon));
    forms[7].signed_fractions = true;
    forms[7].lat[4] = (uint32_t)-1;
    for (size_t i = 1; i < 6; i += 2)
        forms[6].lat[i] = forms[6].lon[i] = 1;

    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct photo_facts facts = facts_with(&forms[i]);
        assert_false(facts.has_position);
        assert_string_equal(facts.exif_time, "2015-04-10T20:12:23");
    }
}

static void impossible_times_and_orientations_are_left_out(void **state)
{
    static const char *const times[] = {"0000:00:00 00:00:00", "    :  :     :  :  ", "2015:02:30 20:12:23",
        "2015-04-10 20:12:23", "2015:04:10T20:12:23", "2015:04:10 20:12", "\xff\xff\xff"};

    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        struct photo_facts facts = facts_with(&(struct exif_form){.orientation = 9, .time = times[i]});
        assert_string_equal(facts.exif_time, "");
        assert_int_equal(facts.orientation, 1);
    }
}

static void exif_of_a_png_comes_without_its_introduction(void **state)
{
    _cleanup_buffer_ struct buffer exif = {0};
    make_exif(&madrid, &exif);

    assert_string_equal(facts_of(bytes_of(exif.data + 6, exif.len - 6)).exif_time, "2015-04-10T20:12:23");
}

static void exif_cut_off_or_changed_anywhere_gives_only_possible_facts(void **state)
{
    _cleanup_buffer_ struct buffer exif = {0};
    make_exif(&madrid, &exif);

    for (size_t i = 0; i < 2 * exif.len; i++) {
        size_t at = i / 2;
        uint8_t kept = exif.data[at];
        struct photo_facts facts;
        if (i % 2 == 0) {
            facts = facts_of(bytes_of(exif.data, at));
        } else {
            exif.data[at] = (uint8_t)~kept;
            facts = facts_of(buffer_bytes(&exif));
            exif.data[at] = kept;
        }
        assert_in_range(facts.orientation, 1, 8);
        assert_true(facts.exif_time[0] == '\0' || photo_time_is_valid(facts.exif_time));
        assert_true(facts.lat_e7 >= -900000000 && facts.lat_e7 <= 900000000);
        assert_true(facts.lon_e7 >= -1800000000 && facts.lon_e7 <= 1800000000);
    }
}

static void no_exif_at_all_changes_nothing(void **state)
{
    struct photo_facts facts = facts_of((struct bytes){0});

    assert_int_equal(facts.orientation, 1);
    assert_string_equal(facts.exif_time, "");
    assert_false(facts.has_position);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_and_place_are_read_in_both_byte_orders_and_from_signed_fractions),
        cmocka_unit_test(the_four_quarters_of_the_globe_have_their_signs),
        cmocka_unit_test(degrees_in_one_fraction_with_empty_minutes_are_read),
        cmocka_unit_test(impossible_places_are_left_out_and_the_rest_is_kept),
        cmocka_unit_test(impossible_times_and_orientations_are_left_out),
        cmocka_unit_test(exif_of_a_png_comes_without_its_introduction),
        cmocka_unit_test(exif_cut_off_or_changed_anywhere_gives_only_possible_facts),
        cmocka_unit_test(no_exif_at_all_changes_nothing),
    };
    return cmocka_run_group_tests_name("collector exif", tests, NULL, NULL);
}
