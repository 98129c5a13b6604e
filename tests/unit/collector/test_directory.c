/* SPDX-License-Identifier: Apache-2.0 */
/* The category directory: the built-in table, look-up, suggestions, search, and reading a replacement. */
#include "tests/unit/unit.h"

#include "collector/core/directory.h"
#include "proto/limits.h"

#include <errno.h>

/* Every test runs at the project's root. */
#define DIRECTORY_FILE "collector/directory/gbt47678.5-2026.tsv"
#define HEAD "# scheme: GB/T 47678.5\n# version: 2027\n"
#define COLUMNS "kind\tcode\tmajor_zh\tmajor_en\tname_zh\tname_en\n"
#define REFUSE "matter\t06010\t市容环境类\tCity appearance\t暴露垃圾\tExposed refuse\n"
#define DRAIN "component\t01004\t市政公用设施\tUtilities\t雨水箅子\tStorm drain grate\n"

/* ---- the built-in directory ---- */

static void built_in_directory_has_the_codes_of_the_scheme(void **state)
{
    const struct directory *directory = directory_built_in();
    size_t matters = 0, components = 0;

    for (size_t i = 0; i < directory->count; i++)
        if (directory->entries[i].kind == CATEGORY_MATTER)
            matters++;
        else
            components++;

    assert_string_equal(directory->scheme, "GB/T 47678.5");
    assert_string_equal(directory->version, "2026");
    assert_int_equal(matters, 250);
    assert_int_equal(components, 153);
}

static void built_in_entries_are_sorted_without_duplicates(void **state)
{
    const struct directory *directory = directory_built_in();

    for (size_t i = 1; i < directory->count; i++)
        assert_true(directory_entry_compare(&directory->entries[i - 1], &directory->entries[i]) < 0);
}

static void every_built_in_entry_is_found_by_kind_and_code(void **state)
{
    const struct directory *directory = directory_built_in();

    for (size_t i = 0; i < directory->count; i++) {
        const struct directory_entry *entry = &directory->entries[i];

        assert_ptr_equal(directory_find(directory, entry->kind, entry->code), entry);
    }
}

static void built_in_names_tell_the_codes_of_a_kind_apart_in_both_languages(void **state)
{
    const struct directory *directory = directory_built_in();

    for (size_t i = 0; i < directory->count; i++)
        for (size_t j = i + 1; j < directory->count; j++) {
            if (directory->entries[i].kind != directory->entries[j].kind)
                continue;
            assert_string_not_equal(directory->entries[i].name_zh, directory->entries[j].name_zh);
            assert_string_not_equal(directory->entries[i].name_en, directory->entries[j].name_en);
        }
}

static void built_in_english_names_fit_a_line_and_are_plain_sentence_case(void **state)
{
    const struct directory *directory = directory_built_in();

    for (size_t i = 0; i < directory->count; i++) {
        const char *name = directory->entries[i].name_en;

        assert_true(name[0] >= 'A' && name[0] <= 'Z');
        assert_in_range(strlen(name), 4, 52);
        for (const char *at = name; *at != '\0'; at++)
            assert_true(*at >= ' ' && *at < 0x7f);
    }
}

/* The build makes the table from the file; read at run time, the same file must give the same directory. */
static void built_in_table_equals_its_file_as_the_parser_reads_it(void **state)
{
    const struct directory *built_in = directory_built_in();
    static char text[DIRECTORY_BYTES_MAX];
    _cleanup_(directory_free_cleanup) struct directory *parsed = NULL;
    _cleanup_fclose_ FILE *file = fopen(DIRECTORY_FILE, "re");
    size_t len, line;

    assert_non_null(file);
    len = fread(text, 1, sizeof(text), file);
    assert_int_equal(directory_parse(text, len, &parsed, &line), 0);

    assert_string_equal(parsed->scheme, built_in->scheme);
    assert_string_equal(parsed->version, built_in->version);
    assert_int_equal(parsed->count, built_in->count);
    for (size_t i = 0; i < built_in->count; i++) {
        assert_int_equal(parsed->entries[i].kind, built_in->entries[i].kind);
        assert_string_equal(parsed->entries[i].code, built_in->entries[i].code);
        assert_string_equal(parsed->entries[i].major_zh, built_in->entries[i].major_zh);
        assert_string_equal(parsed->entries[i].major_en, built_in->entries[i].major_en);
        assert_string_equal(parsed->entries[i].name_zh, built_in->entries[i].name_zh);
        assert_string_equal(parsed->entries[i].name_en, built_in->entries[i].name_en);
    }
}

/* ---- look-up and names ---- */

static void one_code_names_different_things_by_kind(void **state)
{
    const struct directory *directory = directory_built_in();
    const struct directory_entry *matter = directory_find(directory, CATEGORY_MATTER, "01004");
    const struct directory_entry *component = directory_find(directory, CATEGORY_COMPONENT, "01004");

    assert_non_null(matter);
    assert_non_null(component);
    assert_string_equal(directory_name(matter, true), "雨水箅子异常");
    assert_string_equal(directory_name(matter, false), "Storm drain grate problem");
    assert_string_equal(directory_name(component, true), "雨水箅子");
    assert_string_equal(directory_name(component, false), "Storm drain grate");
}

static void matter_code_is_no_component(void **state)
{
    assert_non_null(directory_find(directory_built_in(), CATEGORY_MATTER, "06010"));
    assert_null(directory_find(directory_built_in(), CATEGORY_COMPONENT, "06010"));
}

static void unknown_codes_are_not_found(void **state)
{
    static const char *const codes[] = {"", "0", "0601", "060100", "01016", "99999", " 06010", "06010 ",
        "暴露垃圾", "\xff\xfe", "06010-a-code-that-is-longer-than-any-code-may-be"};

    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        assert_null(directory_find(directory_built_in(), CATEGORY_MATTER, codes[i]));
}

/* ---- suggestions ---- */

struct suggestion_row {
    enum category_kind kind;
    const char *wanted;
    size_t count;
    const char *codes[DIRECTORY_SUGGESTIONS_MAX];
};

static void suggestions_are_the_nearest_codes_of_the_kind(void **state)
{
    static const struct suggestion_row rows[] = {
        /* a digit missing */
        {CATEGORY_MATTER, "6010", 1, {"06010"}},
        /* a digit too many */
        {CATEGORY_MATTER, "060100", 1, {"06010"}},
        /* two swapped */
        {CATEGORY_MATTER, "60010", 1, {"06010"}},
        /* a component asked for by a matter's code */
        {CATEGORY_COMPONENT, "06010", 3, {"01010", "02010", "03010"}},
        /* a hole in the list */
        {CATEGORY_MATTER, "01016", 3, {"01010", "01011", "01012"}},
        /* a name instead of a code */
        {CATEGORY_MATTER, "暴露垃圾", 1, {"06010"}},
        {CATEGORY_COMPONENT, "tactile", 0, {NULL}},
        {CATEGORY_MATTER, "tactile", 1, {"06051"}},
        /* nothing near */
        {CATEGORY_MATTER, "", 0, {NULL}},
        {CATEGORY_MATTER, "99999999", 0, {NULL}},
        {CATEGORY_MATTER, "\xff", 0, {NULL}},
        {CATEGORY_MATTER, "06010-a-code-that-is-longer-than-any-code-may-be", 0, {NULL}},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct directory_entry *found[DIRECTORY_SUGGESTIONS_MAX] = {NULL};
        const size_t count = directory_suggest(directory_built_in(), rows[i].kind, rows[i].wanted, found);

        for (size_t j = 0; j < count; j++) {
            assert_int_equal(found[j]->kind, rows[i].kind);
            if (j < rows[i].count)
                assert_string_equal(found[j]->code, rows[i].codes[j]);
        }
        assert_int_equal(count, rows[i].count);
    }
}

/* ---- search ---- */

static size_t search(const char *text, const struct directory_entry **ret, size_t max)
{
    return directory_search(directory_built_in(), text, ret, max);
}

static void assert_first_found(const char *text, enum category_kind kind, const char *code)
{
    const struct directory_entry *found[1] = {NULL};

    assert_int_equal(search(text, found, 1), 1);
    assert_string_equal(found[0]->code, code);
    assert_int_equal(found[0]->kind, kind);
}

static void search_puts_the_best_first(void **state)
{
    assert_first_found("06010", CATEGORY_MATTER, "06010");
    assert_first_found("0601", CATEGORY_MATTER, "06010");
    assert_first_found("暴露", CATEGORY_MATTER, "06010");
    assert_first_found("盲道", CATEGORY_MATTER, "06051");
    assert_first_found("EXPOSED ref", CATEGORY_MATTER, "06010");
    assert_first_found("grate", CATEGORY_MATTER, "01004");
    /* the whole name goes before a name that only starts so, though matters come first */
    assert_first_found("fountain", CATEGORY_COMPONENT, "04010");
    assert_first_found("路灯", CATEGORY_COMPONENT, "01037");
    assert_first_found("street tree", CATEGORY_COMPONENT, "04002");
}

static void search_wants_every_part_of_the_text(void **state)
{
    const struct directory_entry *found[DIRECTORY_ENTRIES_MAX];

    assert_int_equal(search("parked non-motorised", found, ARRAY_LEN(found)), 1);
    assert_string_equal(found[0]->code, "09010");
    assert_int_equal(search("非机动车 乱停", found, ARRAY_LEN(found)), 1);
    assert_string_equal(found[0]->code, "09010");
    assert_int_equal(search("非机动车　乱停", found, ARRAY_LEN(found)), 1); /* with an ideographic blank */
    assert_int_equal(search("\t parked  0901 ", found, ARRAY_LEN(found)), 1);
    assert_int_equal(search("parked 暴露", found, ARRAY_LEN(found)), 0);
}

static void search_matches_english_at_the_start_of_words_only(void **state)
{
    const struct directory_entry *found[DIRECTORY_ENTRIES_MAX];

    assert_int_equal(search("actile", found, ARRAY_LEN(found)), 0);
    assert_int_equal(search("tactil", found, ARRAY_LEN(found)), 1);
    assert_int_equal(search("wheeled", found, ARRAY_LEN(found)), 1); /* of "iron-wheeled" */
}

static void search_finds_a_class_after_the_names(void **state)
{
    const struct directory_entry *found[DIRECTORY_ENTRIES_MAX];
    const size_t count = search("construction", found, ARRAY_LEN(found));

    assert_int_equal(count, 16);
    /* in its name, at the start; then only in its class */
    assert_string_equal(found[0]->code, "08001");
    assert_string_equal(found[count - 1]->code, "08014");
    for (size_t i = 0; i < count; i++)
        assert_string_equal(found[i]->major_en, "Construction management");
}

static void search_without_text_lists_the_whole_directory_in_order(void **state)
{
    const struct directory *directory = directory_built_in();
    const struct directory_entry *found[DIRECTORY_ENTRIES_MAX];

    assert_int_equal(search("", found, ARRAY_LEN(found)), directory->count);
    for (size_t i = 0; i < directory->count; i++)
        assert_ptr_equal(found[i], &directory->entries[i]);
    assert_int_equal(search(" \t　", found, ARRAY_LEN(found)), directory->count);
}

static void search_never_writes_more_than_it_may(void **state)
{
    const struct directory_entry *found[4] = {NULL, NULL, NULL, NULL};

    assert_int_equal(search("0", found, 3), 3);
    assert_null(found[3]);
    assert_int_equal(search("0", found, 0), 0);
}

static void search_takes_any_bytes(void **state)
{
    static const char seconds[] = {'\0', ' ', '0', 'a', '\x7f', '\x80', '\xe3', '\xff'};
    const struct directory_entry *found[4];
    char text[3] = {0};

    for (int first = 1; first < 256; first++)
        for (size_t i = 0; i < sizeof(seconds); i++) {
            text[0] = (char)first;
            text[1] = seconds[i];
            assert_in_range(search(text, found, ARRAY_LEN(found)), 0, ARRAY_LEN(found));
        }
}

/* ---- a replacement ---- */

static void replacement_is_sorted_and_found(void **state)
{
    static const char text[] =
        HEAD "# any other comment: here\n\n" COLUMNS DRAIN "matter\tX-2.b\t类\tClass\t乙\tSecond\n" REFUSE;
    _cleanup_(directory_free_cleanup) struct directory *directory = NULL;
    size_t line;

    assert_int_equal(directory_parse(text, strlen(text), &directory, &line), 0);

    assert_string_equal(directory->scheme, "GB/T 47678.5");
    assert_string_equal(directory->version, "2027");
    assert_int_equal(directory->count, 3);
    assert_string_equal(directory->entries[0].name_zh, "暴露垃圾");
    assert_string_equal(directory->entries[1].code, "X-2.b");
    assert_string_equal(directory->entries[2].major_zh, "市政公用设施");
    assert_string_equal(directory_find(directory, CATEGORY_COMPONENT, "01004")->name_en, "Storm drain grate");
    assert_null(directory_find(directory, CATEGORY_MATTER, "01004"));
}

static void replacement_may_end_without_a_line_feed(void **state)
{
    static const char text[] = HEAD COLUMNS REFUSE;
    _cleanup_(directory_free_cleanup) struct directory *directory = NULL;
    size_t line;

    assert_int_equal(directory_parse(text, strlen(text) - 1, &directory, &line), 0);
    assert_string_equal(directory->entries[0].name_en, "Exposed refuse");
}

static void replacement_without_english_shows_chinese(void **state)
{
    static const char text[] = HEAD COLUMNS "matter\t1\t类\t\t甲\t\n";
    const struct directory_entry *found[1];
    _cleanup_(directory_free_cleanup) struct directory *directory = NULL;
    size_t line;

    assert_int_equal(directory_parse(text, strlen(text), &directory, &line), 0);
    assert_string_equal(directory_name(&directory->entries[0], false), "甲");
    assert_int_equal(directory_search(directory, "甲", found, 1), 1);
    assert_int_equal(directory_search(directory, "a", found, 1), 0);
}

struct refusal_row {
    const char *text;
    int r;
    size_t line;
};

static void wrong_replacements_are_refused_with_their_line(void **state)
{
    static const struct refusal_row rows[] = {
        {"", -EINVAL, 0},
        {COLUMNS REFUSE, -EINVAL, 0},
        {"# version: 1\n" COLUMNS REFUSE, -EINVAL, 0},
        {"# scheme: a\n" COLUMNS REFUSE, -EINVAL, 0},
        {"# scheme:\n# version: 1\n" COLUMNS REFUSE, -EINVAL, 1},
        {"# scheme: a\tb\n# version: 1\n" COLUMNS REFUSE, -EINVAL, 1},
        {HEAD, -EINVAL, 0},
        {HEAD COLUMNS, -EINVAL, 0},
        {HEAD COLUMNS DRAIN, -EINVAL, 0}, /* no matter */
        {HEAD REFUSE, -EINVAL, 3},        /* no columns */
        {HEAD "code\tkind\tmajor_zh\tmajor_en\tname_zh\tname_en\n" REFUSE, -EINVAL, 3},
        {HEAD COLUMNS REFUSE "thing\t1\ta\tb\tc\td\n", -EINVAL, 5},
        {HEAD COLUMNS REFUSE "matter\t\ta\tb\tc\td\n", -EINVAL, 5},
        {HEAD COLUMNS REFUSE "matter\t1\t\tb\tc\td\n", -EINVAL, 5},
        {HEAD COLUMNS REFUSE "matter\t1\ta\tb\t\td\n", -EINVAL, 5},
        {HEAD COLUMNS REFUSE "matter\t1\ta\tb\tc\n", -EINVAL, 5},
        {HEAD COLUMNS REFUSE "matter\t1\ta\tb\tc\td\te\n", -EINVAL, 5},
        {HEAD COLUMNS REFUSE "matter 1 a b c d\n", -EINVAL, 5},
        {HEAD COLUMNS REFUSE "matter\t0 1\ta\tb\tc\td\n", -EINVAL, 5},
        {HEAD COLUMNS REFUSE "matter\t垃圾\ta\tb\tc\td\n", -EINVAL, 5},
        {HEAD COLUMNS REFUSE "matter\t123456789012345678901234567890123\ta\tb\tc\td\n", -EINVAL, 5},
        {HEAD COLUMNS REFUSE "matter\t1\ta\tb\tc\xff\td\n", -EILSEQ, 5},
        {HEAD COLUMNS REFUSE "matter\t1\ta\tb\t\xc0\x80\td\n", -EILSEQ, 5},
        {HEAD COLUMNS REFUSE "matter\t1\ta\tb\tc\033[2J\td\n", -EILSEQ, 5},
        {HEAD COLUMNS REFUSE "matter\t1\ta\tb\tc\td\r\n", -EILSEQ, 5},
        {HEAD "# \xe6\x97\n" COLUMNS REFUSE, -EILSEQ, 3},
        {HEAD COLUMNS REFUSE DRAIN "# again\n" REFUSE, -EEXIST, 7},
        {HEAD COLUMNS DRAIN REFUSE "\n" DRAIN, -EEXIST, 7},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct directory *untouched = NULL;
        size_t line = SIZE_MAX;

        assert_int_equal(directory_parse(rows[i].text, strlen(rows[i].text), &untouched, &line), rows[i].r);
        assert_int_equal(line, rows[i].line);
        assert_null(untouched);
    }
}

static void nul_inside_a_replacement_is_refused(void **state)
{
    static const char text[] = HEAD COLUMNS REFUSE "matter\t1\ta\tb\tc\0c\td\n";
    struct directory *untouched = NULL;
    size_t line = 0;

    assert_int_equal(directory_parse(text, sizeof(text) - 1, &untouched, &line), -EILSEQ);
    assert_int_equal(line, 5);
    assert_null(untouched);
}

/* Cut anywhere, a directory is refused or is a shorter one; a sanitizer build sees any step too far. */
static void replacement_cut_anywhere_is_read_without_harm(void **state)
{
    static const char whole[] = HEAD COLUMNS REFUSE DRAIN;

    for (size_t len = 0; len < strlen(whole); len++) {
        _cleanup_free_ char *text = malloc(len + 1);
        struct directory *directory = NULL;
        size_t line;

        assert_non_null(text);
        memcpy(text, whole, len);
        if (directory_parse(text, len, &directory, &line) == 0)
            assert_in_range(directory->count, 1, 2);
        directory_free(directory);
    }
}

/* ---- the limits of a replacement ---- */

static size_t write_entries(char *text, size_t size, unsigned count)
{
    size_t len = strlen(HEAD COLUMNS);

    memcpy(text, HEAD COLUMNS, len);
    for (unsigned i = 0; i < count; i++)
        len += (size_t)snprintf(text + len, size - len, "matter\t%05u\ta\tb\tc\td\n", i);
    return len;
}

static void replacement_holds_as_many_entries_as_the_limit_and_no_more(void **state)
{
    static char text[DIRECTORY_BYTES_MAX];
    struct directory *directory = NULL;
    size_t len, line;

    len = write_entries(text, sizeof(text), DIRECTORY_ENTRIES_MAX);
    assert_int_equal(directory_parse(text, len, &directory, &line), 0);
    assert_int_equal(directory->count, DIRECTORY_ENTRIES_MAX);
    assert_non_null(directory_find(directory, CATEGORY_MATTER, "04095"));
    directory_free(directory);

    directory = NULL;
    len = write_entries(text, sizeof(text), DIRECTORY_ENTRIES_MAX + 1);
    assert_int_equal(directory_parse(text, len, &directory, &line), -E2BIG);
    assert_int_equal(line, 3 + DIRECTORY_ENTRIES_MAX + 1);
    assert_null(directory);
}

static void replacement_is_as_long_as_the_limit_and_no_longer(void **state)
{
    static char text[DIRECTORY_BYTES_MAX + 1];
    const size_t len = write_entries(text, sizeof(text), 1);
    struct directory *directory = NULL;
    size_t line;

    memset(text + len, '\n', sizeof(text) - len);
    assert_int_equal(directory_parse(text, DIRECTORY_BYTES_MAX, &directory, &line), 0);
    directory_free(directory);

    directory = NULL;
    assert_int_equal(directory_parse(text, DIRECTORY_BYTES_MAX + 1, &directory, &line), -E2BIG);
    assert_int_equal(line, 0);
    assert_null(directory);
}

static int parse_with_name_of(size_t name_len)
{
    char name[DIRECTORY_TEXT_BYTES_MAX + 2] = {0}, text[1024];
    _cleanup_(directory_free_cleanup) struct directory *directory = NULL;
    size_t line;
    int len;

    memset(name, 'n', name_len);
    len = snprintf(text, sizeof(text), HEAD COLUMNS "matter\t1\ta\tb\t%s\td\n", name);
    return directory_parse(text, (size_t)len, &directory, &line);
}

static int parse_with_scheme_of(size_t scheme_len)
{
    char scheme[SCHEME_BYTES_MAX + 2] = {0}, text[1024];
    _cleanup_(directory_free_cleanup) struct directory *directory = NULL;
    size_t line;
    int len;

    memset(scheme, 's', scheme_len);
    len = snprintf(text, sizeof(text), "# scheme: %s\n# version: 1\n" COLUMNS REFUSE, scheme);
    return directory_parse(text, (size_t)len, &directory, &line);
}

static void texts_are_as_long_as_their_limit_and_no_longer(void **state)
{
    assert_int_equal(parse_with_name_of(DIRECTORY_TEXT_BYTES_MAX), 0);
    assert_int_equal(parse_with_name_of(DIRECTORY_TEXT_BYTES_MAX + 1), -E2BIG);
    assert_int_equal(parse_with_scheme_of(SCHEME_BYTES_MAX), 0);
    assert_int_equal(parse_with_scheme_of(SCHEME_BYTES_MAX + 1), -E2BIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(built_in_directory_has_the_codes_of_the_scheme),
        cmocka_unit_test(built_in_entries_are_sorted_without_duplicates),
        cmocka_unit_test(every_built_in_entry_is_found_by_kind_and_code),
        cmocka_unit_test(built_in_names_tell_the_codes_of_a_kind_apart_in_both_languages),
        cmocka_unit_test(built_in_english_names_fit_a_line_and_are_plain_sentence_case),
        cmocka_unit_test(built_in_table_equals_its_file_as_the_parser_reads_it),
        cmocka_unit_test(one_code_names_different_things_by_kind),
        cmocka_unit_test(matter_code_is_no_component),
        cmocka_unit_test(unknown_codes_are_not_found),
        cmocka_unit_test(suggestions_are_the_nearest_codes_of_the_kind),
        cmocka_unit_test(search_puts_the_best_first),
        cmocka_unit_test(search_wants_every_part_of_the_text),
        cmocka_unit_test(search_matches_english_at_the_start_of_words_only),
        cmocka_unit_test(search_finds_a_class_after_the_names),
        cmocka_unit_test(search_without_text_lists_the_whole_directory_in_order),
        cmocka_unit_test(search_never_writes_more_than_it_may),
        cmocka_unit_test(search_takes_any_bytes),
        cmocka_unit_test(replacement_is_sorted_and_found),
        cmocka_unit_test(replacement_may_end_without_a_line_feed),
        cmocka_unit_test(replacement_without_english_shows_chinese),
        cmocka_unit_test(wrong_replacements_are_refused_with_their_line),
        cmocka_unit_test(nul_inside_a_replacement_is_refused),
        cmocka_unit_test(replacement_cut_anywhere_is_read_without_harm),
        cmocka_unit_test(replacement_holds_as_many_entries_as_the_limit_and_no_more),
        cmocka_unit_test(replacement_is_as_long_as_the_limit_and_no_longer),
        cmocka_unit_test(texts_are_as_long_as_their_limit_and_no_longer),
    };

    return cmocka_run_group_tests_name("directory", tests, NULL, NULL);
}
