/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of base/log.h: levels, prefixes, one line a message. */
#include "tests/unit/capture.h"

#include "base/log.h"

#include <errno.h>

/* Starts the log in a given environment and catches what `write_messages` says. */
static const char *logged(
    struct capture *capture, const char *level, const char *journal, void (*write_messages)(void))
{
    unsetenv("GRIDPATROL_LOG");
    unsetenv("JOURNAL_STREAM");
    if (level)
        setenv("GRIDPATROL_LOG", level, 1);
    if (journal)
        setenv("JOURNAL_STREAM", journal, 1);
    log_set_level(LOG_LEVEL_INFO);
    log_start("patrol-test");
    capture_start(capture);
    write_messages();
    return capture_stop(capture);
}

static void one_of_each(void)
{
    log_err("photo %d lost", 1);
    log_warning("retry in %s", "5 s");
    log_info("started");
    log_debug("detail");
}

static void lines_carry_the_program_and_stop_below_the_level(void **state)
{
    struct capture capture;

    assert_string_equal(logged(&capture, NULL, NULL, one_of_each),
        "patrol-test: photo 1 lost\npatrol-test: retry in 5 s\npatrol-test: started\n");
    assert_string_equal(logged(&capture, "err", NULL, one_of_each), "patrol-test: photo 1 lost\n");
    assert_non_null(strstr(logged(&capture, "debug", NULL, one_of_each), "patrol-test: detail\n"));
    /* A level that does not exist changes nothing. */
    assert_null(strstr(logged(&capture, "loud", NULL, one_of_each), "detail"));
}

static void journal_gets_priorities_instead_of_the_name(void **state)
{
    struct capture capture;

    assert_string_equal(logged(&capture, "debug", "8:1234", one_of_each),
        "<3>photo 1 lost\n<4>retry in 5 s\n<6>started\n<7>detail\n");
}

static void say_something_hostile(void)
{
    log_warning("file \"%s\" is no photo", "a\nb\r\x1b[31m\x7f\tc");
}

static void message_with_control_characters_stays_one_line(void **state)
{
    struct capture capture;

    assert_string_equal(logged(&capture, NULL, NULL, say_something_hostile),
        "patrol-test: file \"a b  [31m  c\" is no photo\n");
}

static void say_something_long(void)
{
    log_err("%*s", 100000, "end");
}

static void message_beyond_the_limit_is_cut_and_still_a_line(void **state)
{
    struct capture capture;
    const char *text = logged(&capture, NULL, NULL, say_something_long);

    assert_true(strlen(text) > 1000 && strlen(text) <= 2048);
    assert_int_equal(text[strlen(text) - 1], '\n');
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void say_it_with_errno(void)
{
    errno = ENOSPC;
    log_err("disk full");
    assert_int_equal(errno, ENOSPC);
}

static void logging_keeps_errno(void **state)
{
    struct capture capture;

    assert_string_equal(logged(&capture, NULL, NULL, say_it_with_errno), "patrol-test: disk full\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_carry_the_program_and_stop_below_the_level),
        cmocka_unit_test(journal_gets_priorities_instead_of_the_name),
        cmocka_unit_test(message_with_control_characters_stays_one_line),
        cmocka_unit_test(message_beyond_the_limit_is_cut_and_still_a_line),
        cmocka_unit_test(logging_keeps_errno),
    };

    return cmocka_run_group_tests_name("base log", tests, NULL, NULL);
}
