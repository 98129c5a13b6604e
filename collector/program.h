/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all commands of `patrol` share: the data directory, settings, the store (opened when a command needs
 * it), and how failures are worded. Knows nothing of what a command does.
 */
#pragma once

#include "base/command_line.h"
#include "base/config.h"
#include "base/exit_status.h"
#include "base/rfc3339.h"
#include "collector/core/finding_form.h"
#include "store/enrolment_file.h"
#include "store/store.h"

#include <jansson.h>

#define PATROL_CONFIG_PATH "/etc/gridpatrol/patrol.conf"
#define CATEGORIES_FILE                                                                                      \
    "categories.tsv" /* in DATA: reference data, which replaces the built-in directory                       \
                      */
#define SOFTWARE_NAME "gridpatrol " GRIDPATROL_VERSION

/* Every option of every command: one table, so that options may stand before or after the command. Which of
 * them a command takes is in the command's row (collector/commands.c). */
struct patrol_options {
    bool help, version, json, replace, all;
    const char *data, *config;
    const char *category, *component, *severity, *note, *lat, *lon, *accuracy, *fix_time, *no_fix,
        *observed_at, *inspector;
    struct option_list photos;
    const char *from, *reason, *state, *wait, *level, *evidence, *bundle, *output, *server_key, *kind;
};

struct patrol_settings {
    char *data, *inspector, *photo_helper, *daemon;
};
extern const struct config_row patrol_config_rows[];
extern const size_t patrol_config_row_count;

struct program {
    const struct world *world;
    struct patrol_options options;
    struct patrol_settings settings;
    const char *directory;              /* DATA */
    const struct directory *categories; /* NULL before program_categories() */
    struct directory *categories_replaced;
    bool enrolled;
    struct enrolment enrolment;
};

/* One line "patrol: ..." on stderr; returns the status. */
enum exit_status complain(enum exit_status status, const char *format, ...) _printf_(2, 3);
/* `text` (UTF-8, may be NULL) on standard output in one line: control characters as \n and \x1b, so that a
 * note can neither pass for a line of ours nor steer the terminal. */
void print_one_line(const char *text);
/* An instant in local time, in whole seconds. */
void program_instant_text(const struct program *program, int64_t unix_ms, char ret[RFC3339_LEN + 1]);
/* The time of day, with the date when it is another day. */
void program_moment_text(const struct program *program, int64_t unix_ms, char ret[RFC3339_LEN + 1]);
/* "order 7 of the centre", or "an order of the centre" where a recovery has lost its number (0). */
#define ORDER_TEXT_MAX 48u
void order_text(uint64_t number, char ret[ORDER_TEXT_MAX]);
/* `object` (its reference is taken; NULL: memory ran out) on standard output, in one line. Whether that took
 * it is seen at the end of main, for all commands. */
enum exit_status print_json_object(json_t *object);
/* The line and status for what the store's functions return; `doing` continues "cannot ...". */
enum exit_status complain_store(const struct program *program, int r, const char *doing);
/* No record has this id; `store` may be NULL. */
enum exit_status complain_no_record(struct store *store, const char *field, const char *id);

/* Opens the store and says in plain words when it had to recover. On failure the message is out and
 * `*ret_status` set. */
int program_open_store(
    struct program *program, enum store_role role, struct store **ret, enum exit_status *ret_status);
/* Enrolment, read once if it is there. 0, -ENOENT; -EACCES, -ENOTDIR no way to DATA, which whatever comes
 * next tells; other -errno after a line. */
int program_read_enrolment(struct program *program);
/* For a command that is nothing without it: the message is out when it cannot be had, `if_none` when there is
 * none. */
enum exit_status program_need_enrolment(struct program *program, enum exit_status if_none);
/*
 * The category directory: reference data in DATA/categories.tsv where there is such a file, else the one that
 * is compiled in. A file that cannot be used is told in one line, once, and the compiled-in directory stands
 * in for it: recording must go on. Read at the first call; lives until program_done().
 */
const struct directory *program_categories(struct program *program);
/* Who records: option, settings, enrolment, the login name, "unknown". Borrowed. */
const char *program_inspector(struct program *program);
/* Frees what the program holds, but for its settings. */
void program_done(struct program *program);
