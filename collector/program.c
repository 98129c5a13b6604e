/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/program.h"

#include "base/files.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

const struct config_row patrol_config_rows[] = {
    {"patrol", "data", CONFIG_TEXT, offsetof(struct patrol_settings, data), 0, 0, NULL,
        "The handheld's data directory; --data and GRIDPATROL_DATA come before it."},
    {"patrol", "inspector", CONFIG_TEXT, offsetof(struct patrol_settings, inspector), 0, INSPECTOR_BYTES_MAX,
        NULL, "Who records when --inspector is not given."},
    {"patrol", "photo-helper", CONFIG_TEXT, offsetof(struct patrol_settings, photo_helper), 0, 0, NULL,
        "Path of patrol-photo, when it is not where it was installed."},
    {"patrol", "daemon", CONFIG_TEXT, offsetof(struct patrol_settings, daemon), 0, 0, NULL,
        "Path of patrol-syncd, when it is neither beside patrol nor in PATH."},
};
const size_t patrol_config_row_count = ARRAY_LEN(patrol_config_rows);

enum exit_status complain(enum exit_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    command_line_complain("patrol", format, arguments);
    va_end(arguments);
    return status;
}

void print_one_line(const char *text)
{
    for (const char *at = text ? text : ""; *at; at++) {
        uint8_t byte = (uint8_t)*at, next = (uint8_t)at[1];
        bool upper_control = byte == 0xc2 && next >= 0x80 && next < 0xa0; /* U+0080 to U+009F */

        if (byte == '\n')
            fputs("\\n", stdout);
        else if (byte < 0x20 || byte == 0x7f)
            printf("\\x%02x", byte);
        else if (upper_control)
            printf("\\x%02x", (uint8_t) * ++at);
        else
            putchar(byte);
    }
    putchar('\n');
}

enum exit_status print_json_object(json_t *object)
{
    if (!object)
        return complain(EXIT_STATUS_FAILED, "out of memory");
    json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(10));
    putchar('\n');
    json_decref(object);
    return EXIT_STATUS_DONE;
}

void program_instant_text(const struct program *program, int64_t unix_ms, char ret[RFC3339_LEN + 1])
{
    const struct world *world = program->world;
    rfc3339_format(unix_ms / 1000 * 1000, world->verbs->utc_offset_min(world->context, unix_ms), ret);
}

void program_moment_text(const struct program *program, int64_t unix_ms, char ret[RFC3339_LEN + 1])
{
    const struct world *world = program->world;
    char now[RFC3339_LEN + 1], text[RFC3339_LEN + 1];
    program_instant_text(program, world->verbs->wall_ms(world->context), now);
    program_instant_text(program, unix_ms, text);
    bool today = memcmp(now, text, strlen("2026-11-23")) == 0;
    strcpy(ret, today ? text + strlen("2026-11-23T") : text);
    if (today)
        ret[strlen("16:30:00")] = '\0';
}

void order_text(uint64_t number, char ret[ORDER_TEXT_MAX])
{
    if (number > 0)
        snprintf(ret, ORDER_TEXT_MAX, "order %llu of the centre", (unsigned long long)number);
    else
        snprintf(ret, ORDER_TEXT_MAX, "an order of the centre");
}

enum exit_status complain_store(const struct program *program, int r, const char *doing)
{
    switch (r) {
    case -ENOSPC:
        return complain(EXIT_STATUS_NO_SPACE,
            "cannot %s: the disk of %s is full; free some space, nothing was half-written", doing,
            program->directory);
    case -EBUSY:
        return complain(EXIT_STATUS_FAILED,
            "cannot %s: another program held the database for too long; try again", doing);
    case -EUCLEAN:
        return complain(EXIT_STATUS_FAILED,
            "cannot %s: the database in %s is damaged; patrol record or a restart of patrol-syncd recovers it",
            doing, program->directory);
    case -EPROTONOSUPPORT:
        return complain(EXIT_STATUS_FAILED,
            "cannot %s: the database in %s was made by a newer gridpatrol; install that version", doing,
            program->directory);
    case -EACCES:
    case -EPERM:
        return complain(EXIT_STATUS_FAILED,
            "cannot %s: no right to use %s; run as a member of group patrol, or give another --data", doing,
            program->directory);
    case -EROFS:
        return complain(EXIT_STATUS_FAILED,
            "cannot %s: %s may only be read; run as a member of group patrol, or give another --data", doing,
            program->directory);
    case -ENOPKG:
        return complain(EXIT_STATUS_FAILED,
            "cannot %s: the program patrol-photo cannot be started; install gridpatrol again, or set photo-helper in the configuration",
            doing);
    case -EIDRM:
        return complain(EXIT_STATUS_REFUSED,
            "cannot %s: records that it takes were removed from this handheld, as the centre has them in a backup; ask the centre",
            doing);
    case -ENOENT:
        return complain(
            EXIT_STATUS_FAILED, "cannot %s: nothing was recorded in %s yet", doing, program->directory);
    default:
        return complain(EXIT_STATUS_FAILED, "cannot %s: %s (in %s)", doing, strerror(-r), program->directory);
    }
}

enum exit_status complain_no_record(struct store *store, const char *field, const char *id)
{
    struct store_status status = {0};
    if (store && store_status(store, &status) >= 0 && status.records_pruned > 0)
        return complain(EXIT_STATUS_REFUSED,
            "%s: no record %s on this handheld; %llu of closed logs were removed here, as the centre has them in a backup: ask there",
            field, id, (unsigned long long)status.records_pruned);
    return complain(
        EXIT_STATUS_REFUSED, "%s: no record %s on this handheld; patrol list shows them", field, id);
}

int program_open_store(
    struct program *program, enum store_role role, struct store **ret, enum exit_status *ret_status)
{
    struct store_opened opened = {0};
    int r = store_open(program->world, program->directory, role, ret, &opened);
    if (r == -ENOENT && role != STORE_READER) {
        *ret_status = complain(EXIT_STATUS_FAILED,
            "cannot make %s: its parent directory is not there; make it, or give another --data",
            program->directory);
        return r;
    }
    if (r < 0) {
        *ret_status = complain_store(program, r, "open the store");
        return r;
    }
    if (opened.recovered)
        fprintf(stderr,
            "patrol: the database was damaged or gone; recording goes on in a new log, %llu records were saved from the old one%s%s\n",
            (unsigned long long)opened.records_salvaged,
            opened.set_aside[0] ? "; the damaged files are in " : "", opened.set_aside);
    return 0;
}

int program_read_enrolment(struct program *program)
{
    if (program->enrolled)
        return 0;
    _cleanup_free_ char *error = NULL;
    int r = enrolment_read(program->world, program->directory, &program->enrolment, &error);
    program->enrolled = r >= 0;
    if (r == -ENOMEM) /* it says nothing of the enrolment */
        complain(EXIT_STATUS_FAILED, "the enrolment was not read: out of memory; recording goes on");
    else if (r < 0 && r != -ENOENT && r != -EACCES && r != -ENOTDIR)
        complain(EXIT_STATUS_FAILED,
            "the enrolment cannot be read (%s); recording goes on, run patrol enroll again",
            error ? error : strerror(-r));
    return r;
}

enum exit_status program_need_enrolment(struct program *program, enum exit_status if_none)
{
    int r = program_read_enrolment(program);
    if (r >= 0)
        return EXIT_STATUS_DONE;
    if (r == -ENOENT)
        return complain(if_none, "this handheld is not enrolled; run: patrol enroll TOKEN-URL");
    if (r == -EACCES || r == -ENOTDIR)
        return complain_store(program, r, "read the enrolment");
    return EXIT_STATUS_FAILED; /* told where it was read */
}

static const char *categories_fault(int r)
{
    switch (r) {
    case -EILSEQ:
        return "not UTF-8, or a control character";
    case -EINVAL:
        return "not the form that patrol(1) describes";
    case -EEXIST:
        return "this code stands there twice";
    case -E2BIG:
        return "over a limit";
    default:
        return strerror(-r);
    }
}

static int read_categories(struct program *program, size_t *ret_line)
{
    _cleanup_buffer_ struct buffer text = {0};
    char path[PATH_MAX];
    int r = snprintf(path, sizeof(path), "%s/" CATEGORIES_FILE, program->directory);

    if (r < 0 || (size_t)r >= sizeof(path))
        return -ENAMETOOLONG;
    /* Where there is no way to DATA at all, whatever comes next tells. */
    if (program->world->verbs->stat(program->world->context, path, NULL, NULL) < 0)
        return -ENOENT;
    r = files_read(program->world, path, DIRECTORY_BYTES_MAX, &text);
    if (r < 0)
        return r;
    return directory_parse((const char *)text.data, text.len, &program->categories_replaced, ret_line);
}

const struct directory *program_categories(struct program *program)
{
    size_t line = 0;
    char where[32] = "";
    int r;

    if (program->categories)
        return program->categories;
    r = read_categories(program, &line);
    if (line > 0)
        snprintf(where, sizeof(where), ":%zu", line);
    if (r < 0 && r != -ENOENT)
        complain(EXIT_STATUS_DONE, "%s/%s%s: %s; the built-in directory is used", program->directory,
            CATEGORIES_FILE, where, categories_fault(r));
    program->categories = r < 0 ? directory_built_in() : program->categories_replaced;
    return program->categories;
}

const char *program_inspector(struct program *program)
{
    if (program->options.inspector)
        return program->options.inspector;
    if (program->settings.inspector && program->settings.inspector[0])
        return program->settings.inspector;
    program_read_enrolment(program);
    if (program->enrolled && program->enrolment.inspector && program->enrolment.inspector[0])
        return program->enrolment.inspector;
    const char *login = getenv("USER");
    return login && login[0] && strlen(login) <= INSPECTOR_BYTES_MAX ? login : "unknown";
}

void program_done(struct program *program)
{
    enrolment_done(&program->enrolment);
    directory_free(program->categories_replaced);
}
