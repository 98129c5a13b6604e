/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `patrol-server token`: what a handheld is given to trust this server by.
 */
#include "server/commands.h"

#include <errno.h>

#define SERVE_WAIT_MS 3000u
#define SERVE_LOOK_MS 50u

/* A serve that is just starting tells its URL within a moment: `serve & token` in a script shall do. */
static int wait_for_serve_file(const char *directory, struct serve_file *ret, char **ret_error)
{
    const struct world *world = world_posix();
    int r = serve_file_read(directory, ret, ret_error);

    for (unsigned waited_ms = 0; r == -ENOENT && waited_ms < SERVE_WAIT_MS; waited_ms += SERVE_LOOK_MS) {
        free(*ret_error);
        *ret_error = NULL;
        world->verbs->pause_ms(world->context, SERVE_LOOK_MS);
        r = serve_file_read(directory, ret, ret_error);
    }
    return r;
}

static int read_serve_file(const struct command_run *run, struct serve_file *ret)
{
    _cleanup_free_ char *error = NULL;

    int r = wait_for_serve_file(run->directory, ret, &error);
    if (r == -ENOENT)
        return command_fail(EXIT_STATUS_FAILED,
            "%s/serve.conf: not there, so this server's URL is not known; start patrol-server serve first",
            run->directory);
    if (r < 0 && !error)
        return command_fail(
            EXIT_STATUS_FAILED, "%s/serve.conf: %s%s", run->directory, strerror(-r), command_advice_of(r));
    if (r < 0)
        return command_fail(EXIT_STATUS_FAILED, "%s", error);
    return EXIT_STATUS_DONE;
}

static int token_url_of(const struct command_run *run, const struct serve_file *file, struct service *service,
    struct token_url *ret)
{
    const char *reason;

    if (server_url_parse(file->url, ret->server_url, &reason) < 0)
        return command_fail(EXIT_STATUS_FAILED, "%s/serve.conf: url: %s", run->directory, reason);
    ret->receipt_key_sha256 =
        sha256_of(bytes_of(service_receipt_key(service)->public_key, SIGN_PUBLIC_BYTES));
    ret->has_ca = file->ca_sha256 != NULL;
    if (ret->has_ca &&
        text_parse_hex(file->ca_sha256, strlen(file->ca_sha256), ret->ca_sha256.b, SHA256_BYTES) < 0)
        return command_fail(EXIT_STATUS_FAILED,
            "%s/serve.conf: ca_sha256: not 64 hex digits; start patrol-server serve again", run->directory);
    return EXIT_STATUS_DONE;
}

/* A name is shown in lists: one line of text. */
static int check_name(const char *field, const char *text)
{
    bool fits = strlen(text) <= INSPECTOR_BYTES_MAX && text_is_utf8(bytes_of_text(text));

    for (const char *at = text; *at && fits; at++)
        fits = (unsigned char)*at >= 0x20 && *at != 0x7f;
    if (!fits)
        return command_fail(EXIT_STATUS_REFUSED,
            "%s: not one line of UTF-8 text of at most %u bytes; give another", field, INSPECTOR_BYTES_MAX);
    return EXIT_STATUS_DONE;
}

int command_token(const struct command_run *run)
{
    _cleanup_(service_free_cleanup) struct service *service = NULL;
    _cleanup_(serve_file_done) struct serve_file file = {0};
    _cleanup_buffer_ struct buffer text = {0};
    struct token_url url = {0};
    uint64_t valid_ms = run->config.token_valid_ms;
    const char *name = run->options.name ? run->options.name : "";
    const char *inspector = run->options.inspector ? run->options.inspector : "";

    if (run->options.valid && command_parse_duration(run->options.valid, 1000, &valid_ms) < 0)
        return command_fail(EXIT_STATUS_REFUSED,
            "valid: %.40s: no duration from 1 s to 366 d; write for example 30min, 24h or 7d",
            run->options.valid);
    int status = check_name("name", name);
    if (status == EXIT_STATUS_DONE)
        status = check_name("inspector", inspector);
    if (status != EXIT_STATUS_DONE)
        return status;

    /* Before the storage is opened: `serve` makes the data, as its own user, and this command may be root's.
     */
    status = read_serve_file(run, &file);
    if (status == EXIT_STATUS_DONE)
        status = command_open(run, COMMAND_WRITES, (struct bytes){0}, &service);
    if (status == EXIT_STATUS_DONE)
        status = token_url_of(run, &file, service, &url);
    if (status != EXIT_STATUS_DONE)
        return status;
    int r = service_token_make(service, name, inspector, valid_ms / 1000, url.token);
    if (r < 0)
        return command_fail(command_status_of(r), "no token could be made: %s", strerror(-r));
    if (token_url_format(&url, &text) < 0 || !buffer_text(&text))
        return command_fail(EXIT_STATUS_FAILED, "no token could be made: out of memory");
    if (printf("%s\n", buffer_text(&text)) < 0 || fflush(stdout) != 0)
        return command_fail(EXIT_STATUS_FAILED, "standard output: %s", strerror(errno));
    return EXIT_STATUS_DONE;
}
