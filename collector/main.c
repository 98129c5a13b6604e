/* SPDX-License-Identifier: Apache-2.0 */
/*
 * patrol: the command line of the handheld. Tables of options and commands; the commands themselves are in
 * command_*.c.
 */
#include "collector/commands.h"

#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>

#define FIELD(name) offsetof(struct patrol_options, name)

static const struct option_row option_rows[] = {
    {"data", 0, OPTION_TEXT, FIELD(data), "DIR", "data directory (default " HANDHELD_DATA_DEFAULT ")"},
    {"config", 0, OPTION_TEXT, FIELD(config), "FILE", "configuration file (default " PATROL_CONFIG_PATH ")"},
    {"json", 0, OPTION_FLAG, FIELD(json), NULL, "one JSON object a line"},
    {"category", 0, OPTION_TEXT, FIELD(category), "CODE", "what is wrong: code of a matter"},
    {"component", 0, OPTION_TEXT, FIELD(component), "CODE", "which thing it concerns: code of a component"},
    {"severity", 0, OPTION_TEXT, FIELD(severity), "LEVEL", "minor, normal (default), serious or urgent"},
    {"note", 0, OPTION_TEXT, FIELD(note), "TEXT", "what was seen"},
    {"photo", 0, OPTION_REPEATED, FIELD(photos), "FILE", "a JPEG or PNG photo; may be given several times"},
    {"lat", 0, OPTION_TEXT, FIELD(lat), "DEGREES", "latitude, WGS-84"},
    {"lon", 0, OPTION_TEXT, FIELD(lon), "DEGREES", "longitude, WGS-84"},
    {"accuracy", 0, OPTION_TEXT, FIELD(accuracy), "METRES", "horizontal accuracy of the position"},
    {"fix-time", 0, OPTION_TEXT, FIELD(fix_time), "TIME", "the position's own time (RFC 3339)"},
    {"no-fix", 0, OPTION_TEXT, FIELD(no_fix), "REASON", "why there is no position"},
    {"observed-at", 0, OPTION_TEXT, FIELD(observed_at), "TIME", "when it was seen, if not now (RFC 3339)"},
    {"inspector", 0, OPTION_TEXT, FIELD(inspector), "ID", "who records"},
    {"from", 0, OPTION_TEXT, FIELD(from), "FILE", "findings as NDJSON, one a line; - for standard input"},
    {"reason", 0, OPTION_TEXT, FIELD(reason), "TEXT", "why a finding is withdrawn"},
    {"state", 0, OPTION_TEXT, FIELD(state), "STATE", "only queued, sent or quarantined ones"},
    {"wait", 0, OPTION_TEXT, FIELD(wait), "SECONDS", "wait this long for the end"},
    {"level", 0, OPTION_TEXT, FIELD(level), "LEVEL", "presence, records (default) or media"},
    {"evidence", 0, OPTION_TEXT, FIELD(evidence), "ID", "the finding to export"},
    {"bundle", 0, OPTION_TEXT, FIELD(bundle), "FILE", "write all that is unsent, for a data carrier"},
    {"all", 0, OPTION_FLAG, FIELD(all), NULL, "also what the centre has: for one that has lost it"},
    {"output", 'o', OPTION_TEXT, FIELD(output), "FILE", "where to write"},
    {"server-key", 0, OPTION_TEXT, FIELD(server_key), "FILE",
        "the centre's key, from: patrol-server key -o FILE"},
    {"kind", 0, OPTION_TEXT, FIELD(kind), "KIND", "only matter or component"},
    {"replace", 0, OPTION_FLAG, FIELD(replace), NULL, "leave the centre this handheld belongs to now"},
    {"help", 'h', OPTION_FLAG, FIELD(help), NULL, "show this text"},
    {"version", 0, OPTION_FLAG, FIELD(version), NULL, "show the version"},
};

#define RECORD_OPTIONS                                                                                       \
    "category component severity note photo lat lon accuracy fix-time no-fix observed-at inspector"

static const struct command_row {
    const char *name;
    const char *arguments; /* for the usage line */
    size_t arguments_min, arguments_max;
    const char *options; /* names it takes besides data, config, help */
    enum exit_status (*run)(struct program *program, const char *const *arguments, size_t count);
    const char *help;
} commands[] = {
    {"record", "", 0, 0, RECORD_OPTIONS " from", command_record, "record a finding, or many with --from"},
    {"amend", "ID", 1, 1, RECORD_OPTIONS, command_amend, "change a finding: a new record that names it"},
    {"withdraw", "ID", 1, 1, "reason inspector", command_withdraw,
        "withdraw a finding: a new record that names it"},
    {"list", "", 0, 0, "state json", command_list, "list what was recorded here"},
    {"show", "ID", 1, 1, "json", command_show, "show one record"},
    {"status", "", 0, 0, "json", command_status, "see what has reached the centre, what has not, and why"},
    {"sync", "", 0, 0, "wait", command_sync, "try to deliver now"},
    {"resync", "", 0, 0, "level wait json", command_resync,
        "have the centre prove what it holds, and mend it"},
    {"export", "", 0, 0, "evidence output bundle all json", command_export,
        "write the evidence of one finding, or with --bundle all that is unsent"},
    {"import-receipts", "FILE", 1, 1, "json", command_import_receipts,
        "take what the centre has signed for a bundle"},
    {"verify", "FILE", 1, 1, "server-key json", command_verify, "check an evidence file offline"},
    {"categories", "[TEXT]", 0, 1, "kind json", command_categories, "find category codes"},
    {"enroll", "TOKEN-URL", 1, 1, "replace", command_enroll, "enrol this handheld at a centre"},
    {"server-url", "URL", 1, 1, "", command_server_url,
        "follow a centre that has moved, with all that is here"},
};

static const struct command_row *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static bool takes_option(const struct command_row *command, const char *name)
{
    static const char always[] = " data config help version ";
    char padded[256], word[64];
    snprintf(padded, sizeof(padded), " %s ", command ? command->options : "");
    snprintf(word, sizeof(word), " %s ", name);
    return strstr(padded, word) || strstr(always, word);
}

static bool option_is_given(const struct patrol_options *options, const struct option_row *row)
{
    const char *field = (const char *)options + row->offset;
    switch (row->kind) {
    case OPTION_FLAG:
        return *(const bool *)(const void *)field;
    case OPTION_TEXT:
        return *(const char *const *)(const void *)field != NULL;
    case OPTION_REPEATED:
        return ((const struct option_list *)(const void *)field)->count > 0;
    }
    return false;
}

static enum exit_status check_usage(
    const struct command_row *command, const struct patrol_options *options, size_t count)
{
    for (size_t i = 0; i < ARRAY_LEN(option_rows); i++)
        if (option_is_given(options, &option_rows[i]) && !takes_option(command, option_rows[i].name))
            return complain(EXIT_STATUS_USAGE, "%s does not take --%s; see patrol %s --help", command->name,
                option_rows[i].name, command->name);
    if (count < command->arguments_min)
        return complain(EXIT_STATUS_USAGE, "%s: %s is missing; see patrol %s --help", command->name,
            command->arguments, command->name);
    if (count > command->arguments_max)
        return complain(
            EXIT_STATUS_USAGE, "%s: too many arguments; see patrol %s --help", command->name, command->name);
    return EXIT_STATUS_DONE;
}

/* The options that this command takes; of all commands when NULL. */
static void help_options(const struct command_row *command)
{
    struct option_row rows[ARRAY_LEN(option_rows)];
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(option_rows); i++)
        if (takes_option(command, option_rows[i].name))
            rows[count++] = option_rows[i];
    command_line_help(rows, count, stdout);
}

static void help(void)
{
    puts(
        "Usage: patrol COMMAND [OPTIONS]\n\nRecords findings on this handheld, with or without a network.\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        printf("  %-15s %-10s %s\n", commands[i].name, commands[i].arguments, commands[i].help);
    puts("\nEvery command takes:");
    help_options(NULL);
    puts(
        "\npatrol COMMAND --help lists the command's own options. Manual: man patrol.\n"
        "Exit status: 0 done, 1 failed, 2 wrong usage, 3 refused for bad input, 4 no space, 5 not enrolled or refused.");
}

static void help_command(const struct command_row *command)
{
    printf("Usage: patrol %s %s%s[OPTIONS]\n\nTo %s.\n\n", command->name, command->arguments,
        command->arguments[0] ? " " : "", command->help);
    help_options(command);
}

static enum exit_status read_settings(struct program *program)
{
    const char *path = program->options.config;
    if (config_set_defaults(patrol_config_rows, patrol_config_row_count, &program->settings) < 0)
        return complain(EXIT_STATUS_FAILED, "out of memory");
    _cleanup_free_ char *error = NULL;
    int r = config_read(patrol_config_rows, patrol_config_row_count, path ? path : PATROL_CONFIG_PATH,
        &program->settings, &error);
    if (r < 0 && error)
        return complain(EXIT_STATUS_USAGE, "%s", error);
    if (r < 0 && !(r == -ENOENT && !path))
        return complain(r == -ENOMEM ? EXIT_STATUS_FAILED : EXIT_STATUS_USAGE, "%s: %s",
            path ? path : PATROL_CONFIG_PATH, strerror(-r));
    const char *environment = getenv(HANDHELD_DATA_ENVIRONMENT);
    program->directory = program->options.data           ? program->options.data
                         : environment && environment[0] ? environment
                         : program->settings.data        ? program->settings.data
                                                         : HANDHELD_DATA_DEFAULT;
    if (!program->directory[0])
        return complain(EXIT_STATUS_USAGE, "data: empty; name a directory");
    return EXIT_STATUS_DONE;
}

static enum exit_status run(struct program *program, const char *const *words, size_t count)
{
    if (program->options.version) {
        puts("patrol " GRIDPATROL_VERSION);
        return EXIT_STATUS_DONE;
    }
    if (count == 0) {
        if (!program->options.help)
            return complain(EXIT_STATUS_USAGE, "a command is missing; see patrol --help");
        help();
        return EXIT_STATUS_DONE;
    }
    const struct command_row *command = find_command(words[0]);
    if (!command)
        return complain(EXIT_STATUS_USAGE, "unknown command \"%.40s\"; see patrol --help", words[0]);
    if (program->options.help) {
        help_command(command);
        return EXIT_STATUS_DONE;
    }
    enum exit_status status = check_usage(command, &program->options, count - 1);
    if (status == EXIT_STATUS_DONE)
        status = read_settings(program);
    if (status == EXIT_STATUS_DONE)
        status = command->run(program, words + 1, count - 1);
    return status;
}

int main(int argc, char **argv)
{
    struct program program = {.world = world_posix()};
    const char *words[4];
    size_t count = 0;
    if (command_line_parse("patrol", option_rows, ARRAY_LEN(option_rows), argc, argv, &program.options, words,
            ARRAY_LEN(words), &count) < 0)
        return EXIT_STATUS_USAGE;
    umask(0007);
    if (sodium_init() < 0)
        return (int)complain(EXIT_STATUS_FAILED, "libsodium could not be started");
    enum exit_status status = run(&program, words, count);
    if (status == EXIT_STATUS_DONE && (fflush(stdout) != 0 || ferror(stdout)))
        status = complain(EXIT_STATUS_FAILED, "the output could not be written: %s", strerror(errno));
    program_done(&program);
    config_free(patrol_config_rows, patrol_config_row_count, &program.settings);
    return (int)status;
}
