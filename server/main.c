/* SPDX-License-Identifier: Apache-2.0 */
/*
 * patrol-server: options, configuration, and which command is meant.
 */
#include "base/command_line.h"
#include "base/log.h"
#include "server/commands.h"

#include <errno.h>
#include <limits.h>
#include <sodium.h>

#define OPTION(name, letter, kind, field, value, help)                                                       \
    {                                                                                                        \
        name, letter, kind, offsetof(struct server_options, field), value, help                              \
    }

static const struct option_row option_rows[] = {
    OPTION("config", 0, OPTION_TEXT, config, "FILE", "configuration; default " SERVER_CONFIG_PATH),
    OPTION("data", 0, OPTION_TEXT, data, "DIR",
        "data directory; default $" SERVER_DATA_VARIABLE " or " SERVER_DATA_PATH),
    OPTION("help", 'h', OPTION_FLAG, help, NULL, "show this"),
    OPTION("version", 0, OPTION_FLAG, version, NULL, "show the version"),
    OPTION("listen", 0, OPTION_TEXT, listen, "ADDR:PORT", "where to listen; port 0 takes a free one"),
    OPTION("public-url", 0, OPTION_TEXT, public_url, "URL", "how handhelds reach this server"),
    OPTION("tls-cert", 0, OPTION_TEXT, tls_cert, "FILE", "certificate chain in PEM, the CA last"),
    OPTION("tls-key", 0, OPTION_TEXT, tls_key, "FILE", "the first certificate's private key in PEM"),
    OPTION("name", 0, OPTION_TEXT, name, "NAME", "name of the handheld"),
    OPTION("inspector", 0, OPTION_TEXT, inspector, "ID", "its usual inspector"),
    OPTION("valid", 0, OPTION_TEXT, valid, "DURATION", "how long the token may be used, for example 24h"),
    OPTION("json", 0, OPTION_FLAG, json, NULL, "one JSON object a line"),
    OPTION("geojson", 0, OPTION_FLAG, geojson, NULL, "one GeoJSON FeatureCollection"),
    OPTION("csv", 0, OPTION_FLAG, csv, NULL, "comma-separated, with a header line"),
    OPTION("device", 0, OPTION_TEXT, device, "DEVICE", "only this handheld's"),
    OPTION("since", 0, OPTION_TEXT, since, "N", "only what arrived after the N-th"),
    OPTION("output", 'o', OPTION_TEXT, output, "FILE", "where to write; - for standard output"),
    OPTION("media", 0, OPTION_FLAG, media, NULL, "re-read photos too"),
    OPTION("rebuild", 0, OPTION_FLAG, rebuild, NULL, "make the derived tables again from the records"),
    OPTION("all", 0, OPTION_FLAG, all, NULL, "every handheld"),
    OPTION("level", 0, OPTION_TEXT, level, "LEVEL", "presence, records (default) or media"),
    OPTION("reason", 0, OPTION_TEXT, reason, "TEXT", "why, as the order shall say"),
    OPTION("by", 0, OPTION_TEXT, by, "NAME", "who gives the order"),
    OPTION("photos-only", 0, OPTION_FLAG, photos_only, NULL, "the records stay, their photos go"),
    OPTION("dry-run", 0, OPTION_FLAG, dry_run, NULL, "only show what would go"),
    OPTION("in", 0, OPTION_TEXT, in, "DURATION", "when the next key begins to sign; default 14d"),
    OPTION("number", 0, OPTION_TEXT, number, "N", "which key, as key list counts them; default 1"),
};
#define COMMON_OPTIONS 4u /* the first rows */

#define CONFIG(section, key, type, field, min, max, standard, help)                                          \
    {                                                                                                        \
        section, key, type, offsetof(struct server_config, field), min, max, standard, help                  \
    }

static const struct config_row config_rows[] = {
    CONFIG("server", "data", CONFIG_TEXT, data, 0, 0, NULL, "Data directory."),
    CONFIG("server", "authority", CONFIG_TEXT, authority, 0, 64, "gridpatrol",
        "Names the centre in checkpoints; never changed once handhelds are enrolled."),
    CONFIG("server", "tenant", CONFIG_TEXT, tenant, 0, 64, "default", "Names the tenant in checkpoints."),
    CONFIG("serve", "listen", CONFIG_TEXT, listen, 0, 0, NULL, "Address and port."),
    CONFIG("serve", "public_url", CONFIG_TEXT, public_url, 0, URL_BYTES_MAX, NULL,
        "How handhelds reach this server."),
    CONFIG("serve", "tls_cert", CONFIG_TEXT, tls_cert, 0, 0, NULL, "Certificate chain in PEM, the CA last."),
    CONFIG("serve", "tls_key", CONFIG_TEXT, tls_key, 0, 0, NULL, "Its private key in PEM."),
    CONFIG("serve", "metrics", CONFIG_TEXT, metrics, 0, 8, "loopback",
        "Who may read /metrics: loopback, all or off."),
    CONFIG(
        "serve", "threads", CONFIG_UNSIGNED, threads, 0, 16, "0", "HTTP threads; 0: one for each processor."),
    CONFIG(
        "serve", "connections_max", CONFIG_UNSIGNED, connections_max, 16, 65536, "2048", "Open connections."),
    CONFIG("serve", "connections_per_address_max", CONFIG_UNSIGNED, connections_per_address_max, 0, 65536,
        "0", "Of these, from one address; 0: half of them."),
    CONFIG("serve", "memory_max", CONFIG_SIZE, memory_max, 1048576, UINT64_C(1) << 40, "1GiB",
        "What requests may take, estimated; over it they are told to come again."),
    CONFIG("serve", "header_timeout", CONFIG_DURATION, header_timeout_ms, 100, 600000, "30s",
        "From a new connection to the end of its first request's headers, TLS included."),
    CONFIG("serve", "idle_timeout", CONFIG_DURATION, idle_timeout_ms, 100, 3600000, "75s",
        "From an answer to the end of the next request's headers."),
    CONFIG("serve", "stall_timeout", CONFIG_DURATION, stall_timeout_ms, 100, 600000, "30s",
        "Between two pieces of a body."),
    CONFIG("serve", "body_grace", CONFIG_DURATION, body_grace_ms, 100, 600000, "30s",
        "A body may take this long, and longer by its bytes at the least rate."),
    CONFIG("serve", "body_rate_min", CONFIG_SIZE, body_rate_min, 1, 1048576, "256",
        "The least rate, bytes a second."),
    CONFIG("serve", "stop_timeout", CONFIG_DURATION, stop_timeout_ms, 0, 300000, "10s",
        "How long requests in flight may take after SIGTERM."),
    CONFIG("serve", "device_requests_per_minute", CONFIG_UNSIGNED, device_requests_per_minute, 0,
        UINT64_C(1000000000), "6000", "Requests of one handheld; over it, it is told to come again; 0: any."),
    CONFIG("serve", "device_bytes_per_minute", CONFIG_SIZE, device_bytes_per_minute, 0, UINT64_C(1) << 40,
        "1GiB", "Likewise bytes that it sends."),
    CONFIG("serve", "unproven_requests_per_minute", CONFIG_UNSIGNED, unproven_requests_per_minute, 0,
        UINT64_C(1000000000), "6000", "Requests from one address that no handheld has signed for; 0: any."),
    CONFIG("serve", "requests_per_second", CONFIG_UNSIGNED, requests_per_second, 0, 1000000, "1000",
        "When more come, handhelds that have much to send are told to come later; 0: never."),
    CONFIG("quota", "records_per_day", CONFIG_UNSIGNED, quota.records_a_day, 0, UINT64_C(1) << 40, "0",
        "Records that one handheld may have stored in 24 hours; 0: any."),
    CONFIG("quota", "bytes_per_day", CONFIG_SIZE, quota.bytes_a_day, 0, UINT64_C(1) << 50, "0",
        "Likewise their bytes."),
    CONFIG("quota", "photo_bytes", CONFIG_SIZE, quota.photo_bytes, 0, UINT64_C(1) << 50, "0",
        "Photos that one handheld may have stored in all, previews included; 0: any."),
    CONFIG("token", "valid", CONFIG_DURATION, token_valid_ms, 1000, UINT64_C(31622400000), "24h",
        "How long a token may be used."),
};

struct command_row {
    const char *name, *arguments, *help;
    const char *options; /* names of its own options, between blanks */
    size_t arguments_max;
    int (*run)(const struct command_run *run);
};

static const struct command_row command_rows[] = {
    {"serve", "", "serve handhelds until told to stop", " listen public-url tls-cert tls-key ", 0,
        command_serve},
    {"token", "", "print a one-time enrolment URL", " name inspector valid ", 0, command_token},
    {"devices", "", "list the handhelds", " json ", 0, command_devices},
    {"revoke", "DEVICE", "refuse a handheld from now on", " ", 1, command_revoke},
    {"restore", "DEVICE", "take a revoked handheld back", " ", 1, command_restore},
    {"key", "list|next|ca FILE", "change receipt keys and CAs; with -o write the key for evidence",
        " output number in json ", 2, command_key},
    {"blob", "HASH", "write a stored photo to a file", " output ", 1, command_blob},
    {"check", "", "recompute every log from its stored bytes", " media rebuild ", 0, command_check},
    {"backup", "DIR", "copy all to a directory that can be served, while serving", " ", 1, command_backup},
    {"import-bundle", "FILE",
        "take what a handheld has exported to a data carrier, and write receipts for it", " output json ", 1,
        command_import_bundle},
    {"resync", "DEVICE...|--all", "ask handhelds for an audit and repair", " all level ",
        COMMAND_ARGUMENTS_MAX, command_resync},
    {"erase", "ID...", "erase findings or photos for ever, here and on the handhelds",
        " reason by photos-only dry-run ", COMMAND_ARGUMENTS_MAX, command_erase},
    {"orders", "", "list the erasure orders, and who has not carried them out yet", " json ", 0,
        command_orders},
    {"findings", "", "print what was reported", " json geojson csv device since ", 0, command_findings},
};

/* ---- help ---- */

static bool command_takes(const struct command_row *command, const struct option_row *option)
{
    char word[32];

    if (option < option_rows + COMMON_OPTIONS)
        return true;
    snprintf(word, sizeof(word), " %s ", option->name);
    return strstr(command->options, word) != NULL;
}

static int printed(void)
{
    if (fflush(stdout) != 0 || ferror(stdout))
        return command_fail(EXIT_STATUS_FAILED, "standard output: %s", strerror(errno));
    return EXIT_STATUS_DONE;
}

static int help_all(void)
{
    printf(
        "usage: %s COMMAND [OPTIONS]\n\nThe centre's server of gridpatrol. Commands work beside a running serve.\n\n",
        SERVER_PROGRAM);
    for (size_t i = 0; i < ARRAY_LEN(command_rows); i++)
        printf("  %-15s%-14s%s\n", command_rows[i].name, command_rows[i].arguments, command_rows[i].help);
    printf("\nEvery command takes:\n");
    command_line_help(option_rows, COMMON_OPTIONS, stdout);
    printf("\n%s COMMAND --help lists the command's own.\n", SERVER_PROGRAM);
    return printed();
}

static int help_command(const struct command_row *command)
{
    struct option_row rows[ARRAY_LEN(option_rows)];
    size_t count = 0;

    for (size_t i = 0; i < ARRAY_LEN(option_rows); i++)
        if (command_takes(command, &option_rows[i]))
            rows[count++] = option_rows[i];
    printf("usage: %s %s%s%s [OPTIONS]\n\nTo %s.\n\n", SERVER_PROGRAM, command->name,
        *command->arguments ? " " : "", command->arguments, command->help);
    command_line_help(rows, count, stdout);
    if (command->run == command_serve) {
        printf("\nIts configuration file may say:\n\n");
        config_print(config_rows, ARRAY_LEN(config_rows), stdout);
    }
    return printed();
}

/* ---- one run ---- */

static const struct command_row *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(command_rows); i++)
        if (strcmp(command_rows[i].name, name) == 0)
            return &command_rows[i];
    return NULL;
}

static bool option_is_given(const struct server_options *options, const struct option_row *row)
{
    const char *field = (const char *)options + row->offset;
    return row->kind == OPTION_FLAG ? *(const bool *)field
                                    : *(const char *const *)(const void *)field != NULL;
}

/* The parser knows the options of all commands: those of others are refused here. */
static int check_options(const struct command_row *command, const struct server_options *options)
{
    for (size_t i = 0; i < ARRAY_LEN(option_rows); i++)
        if (option_is_given(options, &option_rows[i]) && !command_takes(command, &option_rows[i]))
            return command_fail(EXIT_STATUS_USAGE, "%s: --%s is no option of it; see %s %s --help",
                command->name, option_rows[i].name, SERVER_PROGRAM, command->name);
    return EXIT_STATUS_DONE;
}

/* They stand in every checkpoint, so that a wrong one is told before anything is made. */
static int check_names(const struct server_config *config, const char *path)
{
    char origin[ORIGIN_BYTES_MAX];
    const struct uuid nil = {{0}};
    const char *authority = config->authority ? config->authority : "",
               *tenant = config->tenant ? config->tenant : "";

    if (origin_format(authority, tenant, &nil, origin) < 0)
        return command_fail(EXIT_STATUS_USAGE,
            "%s: authority and tenant: write one word for each, without blanks, slashes and plus signs",
            path);
    return EXIT_STATUS_DONE;
}

static int read_config(struct command_run *run)
{
    const char *path = run->options.config ? run->options.config : SERVER_CONFIG_PATH;
    _cleanup_free_ char *error = NULL;
    int r = config_read(config_rows, ARRAY_LEN(config_rows), path, &run->config, &error);

    if (r == -ENOENT && !run->options.config)
        r = 0;
    if (r < 0)
        return command_fail(r == -ENOMEM ? EXIT_STATUS_FAILED : EXIT_STATUS_USAGE, "%s%s%s",
            error ? "" : path, error ? "" : ": ", error ? error : strerror(-r));
    const char *metrics = run->config.metrics;
    if (!metrics ||
        (strcmp(metrics, "loopback") != 0 && strcmp(metrics, "all") != 0 && strcmp(metrics, "off") != 0))
        return command_fail(EXIT_STATUS_USAGE, "%s: metrics: write loopback, all or off", path);

    const char *variable = getenv(SERVER_DATA_VARIABLE);
    run->directory = run->options.data       ? run->options.data
                     : variable && *variable ? variable
                     : run->config.data      ? run->config.data
                                             : SERVER_DATA_PATH;
    if (!*run->directory)
        return command_fail(EXIT_STATUS_USAGE, "data: empty; name a directory");
    return check_names(&run->config, path);
}

static int run_command(const struct command_row *command, struct command_run *run)
{
    if (run->argument_count > command->arguments_max)
        return command_fail(EXIT_STATUS_USAGE, "%s: one argument too many: %s; see %s %s --help",
            command->name, run->arguments[command->arguments_max], SERVER_PROGRAM, command->name);
    int status = check_options(command, &run->options);
    if (status != EXIT_STATUS_DONE)
        return status;
    status = config_set_defaults(config_rows, ARRAY_LEN(config_rows), &run->config) < 0
                 ? command_fail(EXIT_STATUS_FAILED, "out of memory")
                 : read_config(run);
    if (status == EXIT_STATUS_DONE)
        status = command->run(run);
    config_free(config_rows, ARRAY_LEN(config_rows), &run->config);
    return status;
}

int main(int argc, char **argv)
{
    struct command_run run = {0};
    const char *words[COMMAND_ARGUMENTS_MAX + 1];
    size_t count;

    log_start(SERVER_PROGRAM);
    if (command_line_parse(SERVER_PROGRAM, option_rows, ARRAY_LEN(option_rows), argc, argv, &run.options,
            words, ARRAY_LEN(words), &count) < 0)
        return EXIT_STATUS_USAGE;
    if (run.options.version) {
        printf("%s %s\n", SERVER_PROGRAM, GRIDPATROL_VERSION);
        return printed();
    }
    if (count == 0)
        return run.options.help
                   ? help_all()
                   : command_fail(EXIT_STATUS_USAGE, "say which command; see %s --help", SERVER_PROGRAM);
    const struct command_row *command = find_command(words[0]);
    if (!command)
        return command_fail(
            EXIT_STATUS_USAGE, "%s: no such command; see %s --help", words[0], SERVER_PROGRAM);
    if (run.options.help)
        return help_command(command);
    run.argument_count = count - 1;
    memcpy(run.arguments, words + 1, run.argument_count * sizeof(words[0]));
    if (sodium_init() < 0)
        return command_fail(EXIT_STATUS_FAILED, "the crypto library did not start");
    return run_command(command, &run);
}
