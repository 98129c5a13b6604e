/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of base/command_line.h: options anywhere, exact names, one-line errors. */
#include "tests/unit/capture.h"

#include "base/command_line.h"

#include <errno.h>

struct options {
    bool json;
    const char *output;
    const char *lat;
    struct option_list photos;
};

static const struct option_row rows[] = {
    {"json", 0, OPTION_FLAG, offsetof(struct options, json), NULL, "one object a line"},
    {"output", 'o', OPTION_TEXT, offsetof(struct options, output), "FILE", "write to FILE"},
    {"lat", 0, OPTION_TEXT, offsetof(struct options, lat), "DEGREES", "latitude"},
    {"photo", 0, OPTION_REPEATED, offsetof(struct options, photos), "FILE", "a photo"},
};

#define ARGUMENTS_MAX 4u

struct parsed {
    struct options options;
    const char *arguments[ARGUMENTS_MAX];
    size_t argument_count;
    struct capture capture;
};

/* Parses a NULL-terminated list of words; what went to standard error stays in `parsed->capture.text`. */
static int parse(struct parsed *parsed, const char *const *words)
{
    char *argv[128] = {(char *)(uintptr_t) "patrol"};
    int argc = 1;

    *parsed = (struct parsed){.argument_count = 99};
    for (; *words; words++)
        argv[argc++] = (char *)(uintptr_t)*words;
    capture_start(&parsed->capture);
    int r = command_line_parse("patrol", rows, ARRAY_LEN(rows), argc, argv, &parsed->options,
        parsed->arguments, ARGUMENTS_MAX, &parsed->argument_count);
    capture_stop(&parsed->capture);
    return r;
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void options_stand_before_and_after_the_command(void **state)
{
    struct parsed parsed;

    assert_int_equal(parse(&parsed, WORDS("--json", "export", "-o", "out", "id", "--lat=1=2")), 0);
    assert_true(parsed.options.json);
    assert_string_equal(parsed.options.output, "out");
    assert_string_equal(parsed.options.lat, "1=2");
    assert_int_equal(parsed.argument_count, 2);
    assert_string_equal(parsed.arguments[0], "export");
    assert_string_equal(parsed.arguments[1], "id");
    assert_string_equal(parsed.capture.text, "");
}

static void posixly_correct_changes_nothing(void **state)
{
    struct parsed parsed;

    setenv("POSIXLY_CORRECT", "1", 1);
    assert_int_equal(parse(&parsed, WORDS("list", "--json")), 0);
    unsetenv("POSIXLY_CORRECT");
    assert_true(parsed.options.json);
}

static void values_may_start_with_a_dash(void **state)
{
    struct parsed parsed;

    assert_int_equal(parse(&parsed, WORDS("--lat", "-73.95", "--output", "-", "-")), 0);
    assert_string_equal(parsed.options.lat, "-73.95");
    assert_string_equal(parsed.options.output, "-");
    assert_string_equal(parsed.arguments[0], "-");
}

static void text_option_takes_the_last_and_repeated_takes_all(void **state)
{
    struct parsed parsed;

    assert_int_equal(
        parse(&parsed, WORDS("--photo", "a", "--lat", "1", "--photo=b", "--lat", "2", "--photo", "")), 0);
    assert_string_equal(parsed.options.lat, "2");
    assert_int_equal(parsed.options.photos.count, 3);
    assert_string_equal(parsed.options.photos.values[0], "a");
    assert_string_equal(parsed.options.photos.values[1], "b");
    assert_string_equal(parsed.options.photos.values[2], "");
}

static void double_dash_ends_the_options(void **state)
{
    struct parsed parsed;

    assert_int_equal(parse(&parsed, WORDS("show", "--", "--json", "--")), 0);
    assert_false(parsed.options.json);
    assert_int_equal(parsed.argument_count, 3);
    assert_string_equal(parsed.arguments[1], "--json");
    assert_string_equal(parsed.arguments[2], "--");
}

static void short_option_takes_its_value_attached_or_apart(void **state)
{
    struct parsed parsed;

    assert_int_equal(parse(&parsed, WORDS("-ofile")), 0);
    assert_string_equal(parsed.options.output, "file");
}

static void wrong_usage_is_one_line_that_names_the_option(void **state)
{
    static const struct {
        const char *const words[3];
        const char *message;
    } cases[] = {
        {{"--jsn"}, "patrol: --jsn: no such option; see patrol --help\n"},
        {{"--js"}, "patrol: --js: no such option; see patrol --help\n"}, /* no abbreviations */
        {{"-x"}, "patrol: -x: no such option; see patrol --help\n"},
        {{"--json=1"}, "patrol: --json: takes no value; see patrol --help\n"},
        {{"--lat"}, "patrol: --lat: needs a value; see patrol --help\n"},
        {{"-o"}, "patrol: -o: needs a value; see patrol --help\n"},
        {{"--=x"}, "patrol: --: no such option; see patrol --help\n"},
    };
    struct parsed parsed;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(parse(&parsed, cases[i].words), -EINVAL);
        assert_string_equal(parsed.capture.text, cases[i].message);
        assert_int_equal(parsed.argument_count, 99);
    }
}

static void what_is_quoted_stays_in_the_one_line(void **state)
{
    struct parsed parsed;

    assert_int_equal(parse(&parsed, WORDS("--a\n\x1b[2Jb=c")), -EINVAL);
    assert_string_equal(parsed.capture.text, "patrol: --a  [2Jb: no such option; see patrol --help\n");
}

static void too_many_words_are_refused(void **state)
{
    const char *many[2 * (OPTION_LIST_MAX + 1) + 1] = {0};
    struct parsed parsed;

    assert_int_equal(parse(&parsed, WORDS("1", "2", "3", "4")), 0);
    assert_int_equal(parse(&parsed, WORDS("1", "2", "3", "4", "five")), -EINVAL);
    assert_string_equal(parsed.capture.text, "patrol: five: one argument too many; see patrol --help\n");

    for (size_t i = 0; i <= OPTION_LIST_MAX; i++)
        many[i] = "--photo=x";
    assert_int_equal(parse(&parsed, many), -EINVAL);
    assert_string_equal(parsed.capture.text, "patrol: --photo: given too often; see patrol --help\n");
}

static void no_words_are_no_arguments(void **state)
{
    const char *argument = NULL;
    size_t count = 99;
    char *argv[] = {NULL};
    struct options options = {0};

    assert_int_equal(
        command_line_parse("patrol", rows, ARRAY_LEN(rows), 0, argv, &options, &argument, 1, &count), 0);
    assert_int_equal(count, 0);
}

static void help_aligns_the_options(void **state)
{
    char *text = NULL;
    size_t len = 0;
    FILE *file = open_memstream(&text, &len);

    command_line_help(rows, ARRAY_LEN(rows), file);
    fclose(file);
    assert_string_equal(text, "      --json           one object a line\n"
                              "  -o, --output FILE    write to FILE\n"
                              "      --lat DEGREES    latitude\n"
                              "      --photo FILE...  a photo\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_before_and_after_the_command),
        cmocka_unit_test(posixly_correct_changes_nothing),
        cmocka_unit_test(values_may_start_with_a_dash),
        cmocka_unit_test(text_option_takes_the_last_and_repeated_takes_all),
        cmocka_unit_test(double_dash_ends_the_options),
        cmocka_unit_test(short_option_takes_its_value_attached_or_apart),
        cmocka_unit_test(wrong_usage_is_one_line_that_names_the_option),
        cmocka_unit_test(what_is_quoted_stays_in_the_one_line),
        cmocka_unit_test(too_many_words_are_refused),
        cmocka_unit_test(no_words_are_no_arguments),
        cmocka_unit_test(help_aligns_the_options),
    };

    return cmocka_run_group_tests_name("base command_line", tests, NULL, NULL);
}
