/* SPDX-License-Identifier: Apache-2.0 */
/*
 * patrol-syncd: the command line of the sync daemon.
 */
#include "base/command_line.h"
#include "base/log.h"
#include "store/store.h"
#include "syncd/daemon.h"
#include "syncd/enrol.h"
#include "syncd/metrics_file.h"

#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

struct options {
    bool help, version, replace;
    const char *data, *config, *enroll;
};

static const struct option_row option_rows[] = {
    {"data", 0, OPTION_TEXT, offsetof(struct options, data), "DIR",
        "the handheld's data directory (default " HANDHELD_DATA_DEFAULT ")"},
    {"config", 0, OPTION_TEXT, offsetof(struct options, config), "FILE",
        "configuration file (default " SYNCD_CONFIG_PATH ")"},
    {"enroll", 0, OPTION_TEXT, offsetof(struct options, enroll), "TOKEN-URL",
        "enrol this handheld, then end"},
    {"replace", 0, OPTION_FLAG, offsetof(struct options, replace), NULL,
        "with --enroll: leave the centre it belongs to now"},
    {"help", 'h', OPTION_FLAG, offsetof(struct options, help), NULL, "show this text"},
    {"version", 0, OPTION_FLAG, offsetof(struct options, version), NULL, "show the version"},
};

static void help(void)
{
    puts(
        "Usage: patrol-syncd [OPTIONS]\n"
        "Delivers what patrol has recorded to the centre whenever it can be reached. Runs in the foreground.\n");
    command_line_help(option_rows, ARRAY_LEN(option_rows), stdout);
    puts("\nManual: man patrol-syncd");
}

static int settings_read(const char *path, struct syncd_settings *settings)
{
    _cleanup_free_ char *error = NULL;
    int r = config_set_defaults(syncd_config_rows, syncd_config_row_count, settings);
    if (r >= 0)
        r = config_read(
            syncd_config_rows, syncd_config_row_count, path ? path : SYNCD_CONFIG_PATH, settings, &error);
    if (r == -ENOENT && !path)
        return 0;
    if (r < 0)
        fprintf(stderr, "patrol-syncd: %s: %s\n",
            error  ? error
            : path ? path
                   : SYNCD_CONFIG_PATH,
            error ? "see man patrol-syncd" : strerror(-r));
    return r;
}

/* Where metrics would do harm or never be found is a mistake of the configuration. */
static bool metrics_path_is_good(const struct syncd_settings *settings, const char *directory)
{
    const char *problem =
        settings->metrics_path ? metrics_file_problem(settings->metrics_path, directory) : NULL;
    if (problem)
        fprintf(stderr, "patrol-syncd: textfile = %s: %s: see man patrol-syncd\n", settings->metrics_path,
            problem);
    return !problem;
}

static const char *data_directory(const struct options *options, const struct syncd_settings *settings)
{
    const char *environment = getenv(HANDHELD_DATA_ENVIRONMENT);
    if (options->data)
        return options->data;
    if (environment && environment[0])
        return environment;
    return settings->data ? settings->data : HANDHELD_DATA_DEFAULT;
}

int main(int argc, char **argv)
{
    struct options options = {0};
    const char *arguments[1];
    size_t argument_count = 0;
    log_start("patrol-syncd");
    if (command_line_parse("patrol-syncd", option_rows, ARRAY_LEN(option_rows), argc, argv, &options,
            arguments, ARRAY_LEN(arguments), &argument_count) < 0)
        return EXIT_STATUS_USAGE;
    if (options.help) {
        help();
        return EXIT_STATUS_DONE;
    }
    if (options.version) {
        puts("patrol-syncd " GRIDPATROL_VERSION);
        return EXIT_STATUS_DONE;
    }
    if (argument_count > 0) {
        fprintf(stderr, "patrol-syncd: unexpected argument \"%s\": see patrol-syncd --help\n", arguments[0]);
        return EXIT_STATUS_USAGE;
    }
    umask(0007);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);  /* whoever ignores it leaves nothing to reap */
    prctl(PR_SET_DUMPABLE, 0); /* the device key must not end in a core file */
    if (sodium_init() < 0) {
        log_err("libsodium could not be started");
        return EXIT_STATUS_FAILED;
    }
    struct syncd_settings settings = {0};
    enum exit_status status = EXIT_STATUS_USAGE;
    int r = settings_read(options.config, &settings);
    if (r == -ENOMEM) {
        status = EXIT_STATUS_FAILED;
    } else if (r >= 0) {
        const char *directory = data_directory(&options, &settings);
        if (options.enroll)
            status = enrol_run(world_posix(), directory, options.enroll, options.replace);
        else if (metrics_path_is_good(&settings, directory))
            status = daemon_run(world_posix(), directory, &settings);
    }
    config_free(syncd_config_rows, syncd_config_row_count, &settings);
    return (int)status;
}
