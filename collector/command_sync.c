/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `patrol sync` and `patrol resync`: ask the daemon, and say how it goes.
 */
#include "collector/commands.h"
#include "collector/control_client.h"

#include <errno.h>
#include <inttypes.h>

#define DAEMON_START_WAIT_MS 10000u
#define ASK_WAIT_MS 30000u
#define RESYNC_WAIT_MS_DEFAULT (UINT64_C(3600) * 1000)
#define WAIT_SECONDS_MAX (30u * 24u * 3600u)
#define BAR_WIDTH 30u

struct conversation {
    struct program *program;
    struct control_client client;
    uint64_t deadline; /* boot clock ms */
    bool terminal;
    bool shown;
    json_int_t work_at_start;
};

static void conversation_done(struct conversation *conversation)
{
    control_client_done(&conversation->client);
}

static uint64_t now_ms(const struct program *program)
{
    return program->world->verbs->boot_ms(program->world->context);
}

static enum exit_status parse_wait(const struct program *program, uint64_t default_ms, uint64_t *ret_ms)
{
    uint64_t seconds;
    if (!program->options.wait) {
        *ret_ms = default_ms;
        return EXIT_STATUS_DONE;
    }
    if (text_parse_u64(program->options.wait, &seconds) < 0 || seconds > WAIT_SECONDS_MAX)
        return complain(EXIT_STATUS_REFUSED,
            "wait: \"%.40s\" is no number of seconds; give a whole number, at most %u", program->options.wait,
            WAIT_SECONDS_MAX);
    *ret_ms = seconds * 1000;
    return EXIT_STATUS_DONE;
}

static enum exit_status converse(struct program *program, uint64_t wait_ms, struct conversation *ret)
{
    uint64_t start_wait = wait_ms > DAEMON_START_WAIT_MS || wait_ms == 0 ? DAEMON_START_WAIT_MS : wait_ms;
    *ret = (struct conversation){
        .program = program, .client = {.fd = -1}, .terminal = isatty(STDERR_FILENO) == 1};
    ret->deadline = now_ms(program) + wait_ms;
    return control_open(program, start_wait, &ret->client);
}

static json_int_t number(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}

/* A bar on a terminal, one line in place; nothing elsewhere. */
static void show_progress(struct conversation *conversation, const json_t *status)
{
    if (!conversation->terminal)
        return;
    json_int_t records = number(status, "records_queued"), photos = number(status, "photos_pending");
    json_int_t work = number(status, "bytes_pending");
    if (work > conversation->work_at_start)
        conversation->work_at_start = work;
    size_t width = BAR_WIDTH;
    if (conversation->work_at_start > 0)
        width = (size_t)((conversation->work_at_start - work) * (json_int_t)BAR_WIDTH /
                         conversation->work_at_start);
    char bar[BAR_WIDTH + 1];
    memset(bar, '.', BAR_WIDTH);
    memset(bar, '#', width);
    bar[BAR_WIDTH] = '\0';
    const char *reason = json_string_value(json_object_get(status, "reason"));
    fprintf(stderr,
        "\r\033[K[%s] %" JSON_INTEGER_FORMAT " records, %" JSON_INTEGER_FORMAT " photos left%s%.50s", bar,
        records, photos, reason ? "; " : "", reason ? reason : "");
    fflush(stderr);
    conversation->shown = true;
}

static void end_progress(struct conversation *conversation)
{
    if (conversation->shown)
        fputs("\r\033[K", stderr);
    conversation->shown = false;
}

/* Out of time. What was told while it went on may be old: the daemon is asked once more. */
static enum exit_status not_done_yet(const struct program *program, const char *what)
{
    json_t *status = control_ask_status(program);
    const char *reason = json_string_value(json_object_get(status, "reason"));
    int64_t next_ms = control_next_attempt_ms(program, status);
    char next[RFC3339_LEN + 1] = "";
    if (next_ms > 0)
        program_moment_text(program, next_ms, next);
    complain(EXIT_STATUS_FAILED, "%s is not done yet: %s%s%s; it goes on, see: patrol status", what,
        reason ? reason : "the daemon does not say why", next_ms > 0 ? "; next attempt " : "", next);
    json_decref(status);
    return EXIT_STATUS_FAILED;
}

/* Reads replies until the last one. `*ret` is a new reference to its parameters. */
static enum exit_status last_reply(struct conversation *conversation, const char *what, json_t **ret)
{
    for (;;) {
        json_t *reply = NULL;
        int r = control_reply(
            &conversation->client, conversation->program->world, conversation->deadline, &reply);
        if (r < 0) {
            end_progress(conversation);
            if (r == -ENOMEM)
                return complain(EXIT_STATUS_FAILED, "out of memory; %s goes on, see: patrol status", what);
            if (r == -ETIMEDOUT)
                return not_done_yet(conversation->program, what);
            return complain(
                EXIT_STATUS_FAILED, "the daemon ended before %s was done; what was recorded is kept", what);
        }
        const char *error = json_string_value(json_object_get(reply, "error"));
        json_t *parameters = json_object_get(reply, "parameters");
        if (error) {
            end_progress(conversation);
            const char *message = json_string_value(json_object_get(parameters, "message"));
            enum exit_status status = strcmp(error, CONTROL_ERROR_NOT_ENROLLED) == 0
                                          ? EXIT_STATUS_NOT_ENROLLED
                                          : EXIT_STATUS_FAILED;
            complain(status, "%s", message ? message : error);
            json_decref(reply);
            return status;
        }
        if (!json_is_true(json_object_get(reply, "continues"))) {
            end_progress(conversation);
            *ret = json_incref(parameters);
            json_decref(reply);
            return EXIT_STATUS_DONE;
        }
        show_progress(conversation, parameters);
        json_decref(reply);
    }
}

enum exit_status command_sync(struct program *program, const char *const *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    uint64_t wait_ms = 0;
    enum exit_status status = parse_wait(program, 0, &wait_ms);
    if (status != EXIT_STATUS_DONE)
        return status;
    bool wait = wait_ms > 0;
    _cleanup_(conversation_done) struct conversation conversation = {.client = {.fd = -1}};
    status = converse(program, wait_ms, &conversation);
    if (status != EXIT_STATUS_DONE)
        return status;
    if (!wait)
        conversation.deadline = now_ms(program) + ASK_WAIT_MS;
    if (control_call(&conversation.client, CONTROL_METHOD_SYNC, json_pack("{s:b}", "wait", (int)wait), wait) <
        0)
        return complain(EXIT_STATUS_FAILED, "the daemon ended; what was recorded is kept");
    json_t *reply = NULL;
    status = last_reply(&conversation, "the sync", &reply);
    if (status == EXIT_STATUS_DONE && wait) {
        const char *reason = json_string_value(json_object_get(reply, "reason"));
        if (json_is_true(json_object_get(reply, "refused")))
            status = complain(
                EXIT_STATUS_NOT_ENROLLED, "the centre refused: %s", reason ? reason : "see patrol status");
        else if (!json_is_true(json_object_get(reply, "done")))
            status = complain(EXIT_STATUS_FAILED, "not everything has reached the centre: %s",
                reason ? reason : "see patrol status");
        else
            puts("Everything recorded here is at the centre, photos included.");
    } else if (status == EXIT_STATUS_DONE) {
        puts("The daemon tries now; see: patrol status");
    }
    json_decref(reply);
    return status;
}

/* ---- rotate-key ---- */

enum exit_status command_rotate_key(struct program *program, const char *const *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    _cleanup_(conversation_done) struct conversation conversation = {.client = {.fd = -1}};
    enum exit_status status = converse(program, 0, &conversation);
    if (status != EXIT_STATUS_DONE)
        return status;
    conversation.deadline = now_ms(program) + ASK_WAIT_MS;
    if (control_call(&conversation.client, CONTROL_METHOD_ROTATE_KEY, NULL, false) < 0)
        return complain(EXIT_STATUS_FAILED, "the daemon ended; run it again, it goes on where it was");
    json_t *reply = NULL;
    status = last_reply(&conversation, "the new key", &reply);
    if (status == EXIT_STATUS_DONE)
        puts(json_is_true(json_object_get(reply, "waited"))
                 ? "A new key waits already for the centre to take it; see: patrol status"
                 : "A new key was made; it signs as soon as the centre has taken it; see: patrol status");
    json_decref(reply);
    return status;
}

/* ---- resync ---- */

static void print_report(const json_t *report)
{
    static const struct {
        const char *name, *text;
        bool always;
    } lines[] = {
        {"records_checked", "records checked at the centre", true},
        {"records_missing", "records were missing there", true},
        {"records_damaged", "records were damaged there", true},
        {"records_sent_again", "records were sent again", true},
        {"records_erased", "records are erased by order", false},
        {"records_lost", "records are marked lost", false},
        {"records_gone", "records are in neither place", false},
        {"blobs_checked", "photos and previews checked", false},
        {"blobs_missing", "photos and previews were missing or damaged there", false},
        {"blobs_sent_again", "photos and previews were sent again", false},
        {"blobs_gone", "photos and previews are in neither place", false},
        {"blobs_lost", "photos and previews are marked lost", false},
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        json_int_t value = number(report, lines[i].name);
        if (value > 0 || lines[i].always)
            printf("%10" JSON_INTEGER_FORMAT "  %s\n", value, lines[i].text);
    }
    const char *problem = json_string_value(json_object_get(report, "problem"));
    if (json_is_true(json_object_get(report, "failed")))
        printf("The resync could not be carried to its end: %s\n", problem ? problem : "see patrol status");
    else if (json_is_true(json_object_get(report, "ok")) && number(report, "records_checked") == 0)
        puts(
            "The centre has not acknowledged any record yet: there was nothing to compare; see: patrol status");
    else if (json_is_true(json_object_get(report, "ok")))
        printf("The centre holds everything that this handheld has recorded and sent%s.\n",
            number(report, "records_lost") + number(report, "blobs_lost") > 0
                ? ", but for what is marked lost: that is in neither place"
                : "");
    else
        printf("Not everything could be mended: %s\n", problem ? problem : "something is in neither place");
}

enum exit_status command_resync(struct program *program, const char *const *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    const char *level = program->options.level ? program->options.level : audit_level_name(AUDIT_RECORDS);
    enum audit_level checked;
    if (audit_level_from_name(level, &checked) < 0)
        return complain(
            EXIT_STATUS_REFUSED, "level: unknown \"%.40s\"; use presence, records or media", level);
    uint64_t wait_ms = 0;
    enum exit_status status = parse_wait(program, RESYNC_WAIT_MS_DEFAULT, &wait_ms);
    if (status != EXIT_STATUS_DONE)
        return status;
    _cleanup_(conversation_done) struct conversation conversation = {.client = {.fd = -1}};
    status = converse(program, wait_ms, &conversation);
    if (status != EXIT_STATUS_DONE)
        return status;
    if (control_call(&conversation.client, CONTROL_METHOD_RESYNC, json_pack("{s:s}", "level", level), true) <
        0)
        return complain(EXIT_STATUS_FAILED, "the daemon ended; what was recorded is kept");
    json_t *report = NULL;
    status = last_reply(&conversation, "the resync", &report);
    if (status == EXIT_STATUS_DONE) {
        bool refused = json_is_true(json_object_get(report, "refused"));
        const char *problem = json_string_value(json_object_get(report, "problem"));
        if (program->options.json) {
            print_json_object(json_incref(report));
        } else if (!refused) {
            print_report(report);
        }
        if (refused)
            status = complain(
                EXIT_STATUS_NOT_ENROLLED, "the centre refused: %s", problem ? problem : "see patrol status");
        else if (!json_is_true(json_object_get(report, "ok")))
            status = EXIT_STATUS_FAILED;
    }
    json_decref(report);
    return status;
}
