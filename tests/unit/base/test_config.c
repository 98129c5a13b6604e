/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of base/config.h: defaults, values of each type, messages with file and line. */
#include "tests/unit/unit.h"

#include "base/config.h"
#include "base/files.h"

#include <errno.h>

struct settings {
    char *url;
    char *name;
    bool compress;
    uint64_t attempts;
    uint64_t retry_ms;
    uint64_t reserve_bytes;
    uint64_t day_bytes;
    uint64_t look_ms;
    uint64_t kind;
};

static const char *const kinds[] = {"auto", "fast", "slow", NULL};

static const struct config_row rows[] = {
    {"server", "url", CONFIG_TEXT, offsetof(struct settings, url), 0, 0, NULL, "Where the centre is."},
    {"server", "name", CONFIG_TEXT, offsetof(struct settings, name), 0, 8, "unit", "What it is called."},
    {"server", "compress", CONFIG_BOOLEAN, offsetof(struct settings, compress), 0, 0, "yes",
        "Whether to compress."},
    {"retry", "attempts", CONFIG_UNSIGNED, offsetof(struct settings, attempts), 1, 10, "3", "How often."},
    {"retry", "delay", CONFIG_DURATION, offsetof(struct settings, retry_ms), 0, 1800000, "5 s", "How long."},
    {"retry", "reserve", CONFIG_SIZE, offsetof(struct settings, reserve_bytes), 4096, UINT64_MAX, "64 MiB",
        "How much."},
    {"retry", "day", CONFIG_BUDGET, offsetof(struct settings, day_bytes), 0, UINT64_MAX, "unlimited",
        "How much a day."},
    {"retry", "look", CONFIG_INTERVAL, offsetof(struct settings, look_ms), 60000, 3600000, "30min",
        "How often to look."},
    {"retry", "kind", CONFIG_CHOICE, offsetof(struct settings, kind), 0, 0, "auto", "Which kind.", kinds},
};

struct fixture {
    struct settings settings;
    char *error;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    if (!fixture)
        return -1;
    if (config_set_defaults(rows, ARRAY_LEN(rows), &fixture->settings) < 0)
        return -1;
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    config_free(rows, ARRAY_LEN(rows), &fixture->settings);
    free(fixture->error);
    free(fixture);
    return 0;
}

static int parse(struct fixture *fixture, const char *text)
{
    free(fixture->error);
    fixture->error = NULL;
    return config_parse(
        rows, ARRAY_LEN(rows), "test.conf", bytes_of_text(text), &fixture->settings, &fixture->error);
}

static void defaults_are_those_of_the_table(void **state)
{
    const struct fixture *fixture = *state;

    assert_null(fixture->settings.url);
    assert_string_equal(fixture->settings.name, "unit");
    assert_true(fixture->settings.compress);
    assert_int_equal(fixture->settings.attempts, 3);
    assert_int_equal(fixture->settings.retry_ms, 5000);
    assert_int_equal(fixture->settings.reserve_bytes, 64 << 20);
}

static void values_of_every_type_are_taken(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(parse(fixture, "\xef\xbb\xbf# a comment\r\n"
                                    "; another\n"
                                    "\n"
                                    "  [ server ]  \r\n"
                                    "url =  https://centre.example/a=b # c \r\n"
                                    "name=网格\n"
                                    "compress = Off\n"
                                    "[retry]\n"
                                    "attempts = 10\n"
                                    "delay = 2min\n"
                                    "reserve = 1 GiB"),
        0);
    assert_null(fixture->error);
    assert_string_equal(fixture->settings.url, "https://centre.example/a=b # c");
    assert_string_equal(fixture->settings.name, "网格");
    assert_false(fixture->settings.compress);
    assert_int_equal(fixture->settings.attempts, 10);
    assert_int_equal(fixture->settings.retry_ms, 120000);
    assert_true(fixture->settings.reserve_bytes == UINT64_C(1) << 30);
}

static void later_value_wins_and_an_empty_text_is_none(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(parse(fixture, "[server]\nurl=a\nname=x\n[retry]\n[server]\nurl=b\nname=\n"), 0);
    assert_string_equal(fixture->settings.url, "b");
    assert_null(fixture->settings.name);
}

static void every_unit_means_what_it_says(void **state)
{
    static const struct {
        const char *line;
        uint64_t retry_ms, reserve_bytes;
    } cases[] = {
        {"delay = 250 ms", 250, 64 << 20},
        {"delay = 3s", 3000, 64 << 20},
        {"delay = 30 min", 1800000, 64 << 20},
        {"delay = 0", 0, 64 << 20},
        {"delay = 0h", 0, 64 << 20},
        {"reserve = 4096", 5000, 4096},
        {"reserve = 4KiB", 5000, 4096},
        {"reserve = 2 MiB", 5000, 2 << 20},
        {"reserve = 18446744073709551615", 5000, UINT64_MAX},
    };
    _cleanup_free_ char *text = NULL;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct fixture fixture = {0};

        assert_int_equal(config_set_defaults(rows, ARRAY_LEN(rows), &fixture.settings), 0);
        free(text);
        assert_true(asprintf(&text, "[retry]\n%s\n", cases[i].line) > 0);
        assert_int_equal(parse(&fixture, text), 0);
        assert_true(fixture.settings.retry_ms == cases[i].retry_ms);
        assert_true(fixture.settings.reserve_bytes == cases[i].reserve_bytes);
        config_free(rows, ARRAY_LEN(rows), &fixture.settings);
    }
}

static void errors_name_file_line_key_and_the_fix(void **state)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"[sever]\n", "test.conf:1: no section is called [sever]"},
        {"\n[server\n", "test.conf:2: a section must end with ]"},
        {"url = x\n", "test.conf:1: url: stands before any [section]"},
        {"[server]\nretries = 3\n", "test.conf:2: retries: no such key in [server]"},
        {"[server]\nattempts = 3\n", "test.conf:2: attempts: no such key in [server]"},
        {"[server]\njust words\n",
            "test.conf:2: expected \"key = value\", \"[section]\" or a comment that starts with #"},
        {"[server]\n= 3\n",
            "test.conf:2: expected \"key = value\", \"[section]\" or a comment that starts with #"},
        {"[server]\ncompress = maybe\n",
            "test.conf:2: compress: \"maybe\" is neither yes nor no; give one of them"},
        {"[server]\nname = 123456789\n", "test.conf:2: name: 9 bytes are too long; give at most 8"},
        {"[server]\nname = \xff\n", "test.conf:2: this line is not UTF-8 text"},
        {"[retry]\nattempts = 0\n", "test.conf:2: attempts: \"0\" is out of range; give one from 1 to 10"},
        {"[retry]\nattempts = 99999999999999999999\n",
            "test.conf:2: attempts: \"99999999999999999999\" is out of range; give one from 1 to 10"},
        {"[retry]\nattempts = three\n",
            "test.conf:2: attempts: \"three\" is no valid number; give one from 1 to 10"},
        {"[retry]\nattempts =\n", "test.conf:2: attempts: \"\" is no valid number; give one from 1 to 10"},
        {"[retry]\ndelay = 5\n",
            "test.conf:2: delay: \"5\" is no valid number; give one from 0 ms to 30 min, in ms, s, min, h or d"},
        {"[retry]\ndelay = 1 h\n",
            "test.conf:2: delay: \"1 h\" is out of range; give one from 0 ms to 30 min, in ms, s, min, h or d"},
        {"[retry]\ndelay = 5 weeks\n",
            "test.conf:2: delay: \"5 weeks\" is no valid number; give one from 0 ms to 30 min, in ms, s, min, h or d"},
        {"[retry]\ndelay = 18446744073709551615 d\n",
            "test.conf:2: delay: \"18446744073709551615 d\" is out of range; give one from 0 ms to 30 min, in "
            "ms, s, min, h or d"},
        {"[retry]\nreserve = 1 KB\n",
            "test.conf:2: reserve: \"1 KB\" is no valid number; give one from 4 KiB to 18446744073709551615, "
            "in bytes, KiB, MiB or GiB"},
        {"[retry]\nreserve = 0000000000000000000000001\n",
            "test.conf:2: reserve: \"0000000000000000000000001\" is out of range; give one from 4 KiB to "
            "18446744073709551615, in bytes, KiB, MiB or GiB"},
        {"[retry]\nday = none\n",
            "test.conf:2: day: \"none\" is no valid number; give one from 0, in bytes, KiB, MiB or GiB, or "
            "unlimited"},
        {"[retry]\nreserve = unlimited\n",
            "test.conf:2: reserve: \"unlimited\" is no valid number; give one from 4 KiB to "
            "18446744073709551615, in bytes, KiB, MiB or GiB"},
        {"[retry]\nlook = 10 s\n",
            "test.conf:2: look: \"10 s\" is out of range; give one from 1 min to 1 h, in ms, s, min, h or d, or "
            "off"},
        {"[retry]\nlook = 0\n",
            "test.conf:2: look: \"0\" is out of range; give one from 1 min to 1 h, in ms, s, min, h or d, or off"},
        {"[retry]\ndelay = off\n",
            "test.conf:2: delay: \"off\" is no valid number; give one from 0 ms to 30 min, in ms, s, min, h or d"},
        {"[retry]\nkind = quick\n", "test.conf:2: kind: \"quick\" is not known; give auto, fast or slow"},
        {"[retry]\nkind =\n", "test.conf:2: kind: \"\" is not known; give auto, fast or slow"},
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(parse(fixture, cases[i].text), -EINVAL);
        assert_string_equal(fixture->error, cases[i].error);
    }
}

static void budgets_and_choices_are_taken(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(fixture->settings.day_bytes, UINT64_MAX);
    assert_int_equal(fixture->settings.kind, 0);
    assert_int_equal(parse(fixture, "[retry]\nday = 50 MiB\nkind = slow\n"), 0);
    assert_int_equal(fixture->settings.day_bytes, 50u * 1024 * 1024);
    assert_int_equal(fixture->settings.kind, 2);
    assert_int_equal(parse(fixture, "[retry]\nday = 0\n"), 0);
    assert_int_equal(fixture->settings.day_bytes, 0);
    assert_int_equal(parse(fixture, "[retry]\nday = unlimited\nkind = fast\n"), 0);
    assert_int_equal(fixture->settings.day_bytes, UINT64_MAX);
    assert_int_equal(fixture->settings.kind, 1);
}

static void an_interval_is_a_duration_or_off(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(fixture->settings.look_ms, 30 * 60000);
    assert_int_equal(parse(fixture, "[retry]\nlook = off\n"), 0);
    assert_int_equal(fixture->settings.look_ms, 0);
    assert_int_equal(parse(fixture, "[retry]\nlook = 1h\n"), 0);
    assert_int_equal(fixture->settings.look_ms, 3600000);
}

static void nul_bytes_are_no_text(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(config_parse(rows, ARRAY_LEN(rows), "test.conf", bytes_of("[server]\nurl=a\0b\n", 17),
                         &fixture->settings, &fixture->error),
        -EINVAL);
    assert_string_equal(fixture->error, "test.conf:2: this line is not UTF-8 text");
}

static void missing_file_is_told_without_a_message(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(
        config_read(rows, ARRAY_LEN(rows), "/nowhere/at/all.conf", &fixture->settings, &fixture->error),
        -ENOENT);
    assert_null(fixture->error);
}

static void file_is_read_and_its_path_stands_in_the_message(void **state)
{
    struct fixture *fixture = *state;
    char *directory = unit_directory_make();
    _cleanup_free_ char *path = files_join(directory, "x.conf");
    _cleanup_free_ char *expected = NULL;
    _cleanup_buffer_ struct buffer long_text = {0};

    assert_int_equal(
        files_replace(world_posix(), path, bytes_of_text("[retry]\nattempts = 7\nx = 1\n"), false), 0);
    assert_true(asprintf(&expected, "%s:3: x: no such key in [retry]", path) > 0);
    assert_int_equal(config_read(rows, ARRAY_LEN(rows), path, &fixture->settings, &fixture->error), -EINVAL);
    assert_string_equal(fixture->error, expected);
    assert_int_equal(fixture->settings.attempts, 7);

    buffer_printf(&long_text, "#%*s", 300000, "x");
    assert_int_equal(files_replace(world_posix(), path, buffer_bytes(&long_text), false), 0);
    free(take_ptr(fixture->error));
    assert_int_equal(config_read(rows, ARRAY_LEN(rows), path, &fixture->settings, &fixture->error), -EINVAL);
    assert_non_null(strstr(fixture->error, "longer than 262144 bytes"));
    unit_directory_remove(directory);
}

static char *printed(void)
{
    char *text = NULL;
    size_t len = 0;
    FILE *file = open_memstream(&text, &len);

    config_print(rows, ARRAY_LEN(rows), file);
    fclose(file);
    return text;
}

static void printed_file_documents_every_key(void **state)
{
    _cleanup_free_ char *text = printed();

    assert_string_equal(text, "[server]\n"
                              "# Where the centre is.\n"
                              "#url = \n"
                              "# What it is called.\n"
                              "#name = unit\n"
                              "# Whether to compress. (yes or no)\n"
                              "#compress = yes\n"
                              "\n[retry]\n"
                              "# How often. (from 1 to 10)\n"
                              "#attempts = 3\n"
                              "# How long. (from 0 ms to 30 min, in ms, s, min, h or d)\n"
                              "#delay = 5 s\n"
                              "# How much. (from 4 KiB to 18446744073709551615, in bytes, KiB, MiB or GiB)\n"
                              "#reserve = 64 MiB\n"
                              "# How much a day. (from 0, in bytes, KiB, MiB or GiB, or unlimited)\n"
                              "#day = unlimited\n"
                              "# How often to look. (from 1 min to 1 h, in ms, s, min, h or d, or off)\n"
                              "#look = 30min\n"
                              "# Which kind. (auto, fast or slow)\n"
                              "#kind = auto\n");
}

static void printed_file_parses_as_it_stands_and_with_its_values_uncommented(void **state)
{
    struct fixture *fixture = *state;
    _cleanup_free_ char *text = printed();

    assert_int_equal(parse(fixture, text), 0);
    for (char *next = text; (next = strstr(next, "\n#")) != NULL; next++)
        if (next[2] != ' ')
            next[1] = ' ';
    assert_int_equal(parse(fixture, text), 0);
    assert_int_equal(fixture->settings.retry_ms, 5000);
}

#define CONFIG_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONFIG_TEST(defaults_are_those_of_the_table),
        CONFIG_TEST(values_of_every_type_are_taken),
        CONFIG_TEST(later_value_wins_and_an_empty_text_is_none),
        CONFIG_TEST(every_unit_means_what_it_says),
        CONFIG_TEST(errors_name_file_line_key_and_the_fix),
        CONFIG_TEST(budgets_and_choices_are_taken),
        CONFIG_TEST(an_interval_is_a_duration_or_off),
        CONFIG_TEST(nul_bytes_are_no_text),
        CONFIG_TEST(missing_file_is_told_without_a_message),
        CONFIG_TEST(file_is_read_and_its_path_stands_in_the_message),
        CONFIG_TEST(printed_file_documents_every_key),
        CONFIG_TEST(printed_file_parses_as_it_stands_and_with_its_values_uncommented),
    };

    return cmocka_run_group_tests_name("base config", tests, NULL, NULL);
}
