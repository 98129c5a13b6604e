/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `patrol-server key`: what whoever verifies evidence is given to trust this server by, and how its receipt
 * keys and CAs are changed (docs/operating.md, "Changing keys").
 */
#include "base/output_file.h"
#include "base/rfc3339.h"
#include "server/commands.h"
#include "server/http/tls.h"

#include <errno.h>
#include <inttypes.h>

/* So that every handheld that is used at all has heard of it, and a backup has it. */
#define NEXT_KEY_DEFAULT_MS (UINT64_C(14) * 24 * 3600 * 1000)

/* ---- key -o FILE ---- */

struct wanted_key {
    uint64_t number;
    bool found;
    struct verify_key key;
};

static int find_key(void *user, const struct service_key *key)
{
    struct wanted_key *wanted = user;

    if (key->number == wanted->number) {
        wanted->found = true;
        wanted->key = *key->key;
    }
    return 0;
}

static int write_key(const struct command_run *run, const struct verify_key *key)
{
    _cleanup_(output_file_done) struct output_file file = {.fd = -1};
    char line[VERIFIER_KEY_TEXT_MAX], text[VERIFIER_KEY_TEXT_MAX + 1];

    verify_key_format(key, true, line);
    snprintf(text, sizeof(text), "%s\n", line);
    int r = output_file_open(run->options.output, &file);
    if (r >= 0)
        r = output_file_write(&file, text, strlen(text));
    if (r >= 0)
        r = output_file_finish(&file);
    if (r < 0)
        return command_fail(command_status_of(r), "output: %s: %s", run->options.output, strerror(-r));
    return EXIT_STATUS_DONE;
}

/* The first key leads to all its successors. */
static int key_write(const struct command_run *run)
{
    _cleanup_(service_free_cleanup) struct service *service = NULL;
    struct wanted_key wanted = {.number = 1};

    if (!run->options.output)
        return command_fail(EXIT_STATUS_USAGE,
            "key: say what: key list, key next, key ca FILE, or key -o FILE (-o - for standard output)");
    if (run->options.number && text_parse_u64(run->options.number, &wanted.number) < 0)
        return command_fail(EXIT_STATUS_REFUSED, "number: %.40s: write one of those that %s key list shows",
            run->options.number, SERVER_PROGRAM);
    int status = command_open(run, COMMAND_READS, (struct bytes){0}, &service);
    if (status != EXIT_STATUS_DONE)
        return status;
    int r = service_each_key(service, find_key, &wanted, NULL);
    if (r < 0)
        return command_fail(command_status_of(r), "the keys could not be read: %s", strerror(-r));
    if (!wanted.found)
        return command_fail(EXIT_STATUS_REFUSED, "number: no key %" PRIu64 "; %s key list shows them",
            wanted.number, SERVER_PROGRAM);
    return write_key(run, &wanted.key);
}

/* ---- key list ---- */

static const char *state_of(const struct service_key *key)
{
    return key->is_current ? "signs" : key->is_retired ? "retired" : "waits";
}

static void format_id(const struct service_key *key, char ret[17])
{
    uint8_t id[8];

    key_id_of(key->key->public_key, id);
    text_hex(id, sizeof(id), ret);
}

static int print_key(void *user, const struct service_key *key)
{
    char id[17], from[RFC3339_LEN + 1] = "the start";

    format_id(key, id);
    if (key->valid_from_ms != 0)
        rfc3339_format(key->valid_from_ms / 1000 * 1000, 0, from);
    int n = printf("%2zu  %s  %-7s  from %-20s  handhelds that know none newer: %" PRIu64 "\n", key->number,
        id, state_of(key), from, key->handhelds);
    return n < 0 ? -EIO : 0;
}

static int print_key_json(void *user, const struct service_key *key)
{
    char id[17], from[RFC3339_LEN + 3] = "null", time[RFC3339_LEN + 1];

    format_id(key, id);
    if (key->valid_from_ms != 0) {
        rfc3339_format(key->valid_from_ms, 0, time);
        snprintf(from, sizeof(from), "\"%s\"", time);
    }
    int n = printf("{\"number\":%zu,\"id\":\"%s\",\"state\":\"%s\",\"from\":%s,\"handhelds\":%" PRIu64 "}\n",
        key->number, id, state_of(key), from, key->handhelds);
    return n < 0 ? -EIO : 0;
}

static int key_list(const struct command_run *run)
{
    _cleanup_(service_free_cleanup) struct service *service = NULL;

    int status = command_open(run, COMMAND_READS, (struct bytes){0}, &service);
    if (status != EXIT_STATUS_DONE)
        return status;
    uint64_t behind = 0;
    int r = service_each_key(service, run->options.json ? print_key_json : print_key, NULL, &behind);
    if (r >= 0 && !run->options.json &&
        printf("handhelds that have not heard the newest word on keys and CAs: %" PRIu64 "\n", behind) < 0)
        r = -EIO;
    if (r >= 0 && fflush(stdout) != 0)
        r = -errno;
    if (r < 0)
        return command_fail(EXIT_STATUS_FAILED, "the keys could not be listed: %s", strerror(-r));
    return EXIT_STATUS_DONE;
}

/* ---- key next, key ca ---- */

static int key_next(const struct command_run *run)
{
    _cleanup_(service_free_cleanup) struct service *service = NULL;
    uint64_t in_ms = NEXT_KEY_DEFAULT_MS;
    char from[RFC3339_LEN + 1];

    if (run->options.in && command_parse_duration(run->options.in, 0, &in_ms) < 0)
        return command_fail(EXIT_STATUS_REFUSED,
            "in: %.40s: no duration of at most 366 d; write for example 14d, or 0s for at once",
            run->options.in);
    int status = command_open(run, COMMAND_WRITES, (struct bytes){0}, &service);
    if (status != EXIT_STATUS_DONE)
        return status;
    int64_t from_ms = world_posix()->verbs->wall_ms(NULL) + (int64_t)in_ms;
    int r = service_key_next(service, from_ms);
    if (r == -EMLINK)
        return command_fail(
            EXIT_STATUS_REFUSED, "this centre has had %u keys, and can have no more", TRUST_KEYS_MAX);
    if (r < 0)
        return command_fail(
            command_status_of(r), "no key was made: %s%s", strerror(-r), command_advice_of(r));
    rfc3339_format(from_ms / 1000 * 1000, 0, from);
    printf(
        "a new receipt key signs from %s on; back up now: without %s/keys nobody can be answered any more\n",
        from, run->directory);
    return EXIT_STATUS_DONE;
}

/* What would cut every handheld off is refused. */
static int read_served_ca(const struct command_run *run, struct sha256 *ret, bool *ret_is_known)
{
    _cleanup_(serve_file_done) struct serve_file file = {0};
    _cleanup_free_ char *error = NULL;

    int r = serve_file_read(run->directory, &file, &error);
    *ret_is_known = r >= 0 && file.ca_sha256;
    if (r < 0 && r != -ENOENT)
        return command_fail(EXIT_STATUS_FAILED, "%s", error ? error : strerror(-r));
    if (*ret_is_known && text_parse_hex(file.ca_sha256, strlen(file.ca_sha256), ret->b, SHA256_BYTES) < 0)
        return command_fail(
            EXIT_STATUS_FAILED, "%s/serve.conf: ca_sha256: not 64 hex digits", run->directory);
    return EXIT_STATUS_DONE;
}

static int key_ca(const struct command_run *run)
{
    _cleanup_(service_free_cleanup) struct service *service = NULL;
    _cleanup_free_ char *pem = NULL, *error = NULL;
    struct sha256 served = {{0}};
    bool is_served = false;
    unsigned count = 0;

    int status = read_served_ca(run, &served, &is_served);
    if (status != EXIT_STATUS_DONE)
        return status;
    int r = tls_load_cas(run->arguments[1], is_served ? &served : NULL, &pem, &count, &error);
    if (r < 0)
        return command_fail(EXIT_STATUS_REFUSED, "%s", error ? error : strerror(-r));
    status = command_open(run, COMMAND_WRITES, (struct bytes){0}, &service);
    if (status != EXIT_STATUS_DONE)
        return status;
    r = service_key_ca(service, bytes_of_text(pem));
    if (r < 0)
        return command_fail(
            command_status_of(r), "nothing was changed: %s%s", strerror(-r), command_advice_of(r));
    printf("handhelds trust %u %s from their next exchange on, and no other\n", count,
        count == 1 ? "CA" : "CAs");
    return EXIT_STATUS_DONE;
}

int command_key(const struct command_run *run)
{
    const char *what = run->argument_count > 0 ? run->arguments[0] : "";

    if (run->argument_count == 0)
        return key_write(run);
    if (run->argument_count == 1 && strcmp(what, "list") == 0)
        return key_list(run);
    if (run->argument_count == 1 && strcmp(what, "next") == 0)
        return key_next(run);
    if (run->argument_count == 2 && strcmp(what, "ca") == 0)
        return key_ca(run);
    return command_fail(EXIT_STATUS_USAGE,
        "key: say what: key list, key next, key ca FILE, or key -o FILE (-o - for standard output)");
}
