/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the commands of patrol-server share: the options and the configuration of one run, the way to the
 * service, and what a running `serve` has left about itself. Used by server/command_*.c and server/main.c.
 */
#pragma once

#include "base/config.h"
#include "base/exit_status.h"
#include "server/service.h"

#define SERVER_PROGRAM "patrol-server"
#define SERVER_CONFIG_PATH "/etc/gridpatrol/patrol-server.conf"
#define SERVER_DATA_PATH "/var/lib/gridpatrol-server"
#define SERVER_DATA_VARIABLE "GRIDPATROL_SERVER_DATA"

#define COMMAND_ARGUMENTS_MAX 64u

struct server_options {
    const char *config, *data;
    bool help, version;

    const char *listen, *public_url, *tls_cert, *tls_key;
    const char *name, *inspector, *valid;
    bool json, geojson, csv;
    const char *device, *since;
    const char *output;
    bool media, rebuild;
    bool all;
    const char *level;
};

struct server_config {
    char *data;
    char *authority, *tenant;
    char *listen, *public_url, *tls_cert, *tls_key;
    char *metrics;
    uint64_t threads, connections_max, connections_per_address_max, memory_max;
    uint64_t header_timeout_ms, idle_timeout_ms, stall_timeout_ms, body_grace_ms, body_rate_min;
    uint64_t stop_timeout_ms;
    uint64_t token_valid_ms;
};

struct command_run {
    struct server_options options;
    struct server_config config;
    const char *directory; /* DATA */
    const char *arguments[COMMAND_ARGUMENTS_MAX];
    size_t argument_count;
};

/* Each prints what it has to say and returns an exit status. */
int command_serve(const struct command_run *run);
int command_token(const struct command_run *run);
int command_devices(const struct command_run *run);
int command_revoke(const struct command_run *run);
int command_restore(const struct command_run *run);
int command_key(const struct command_run *run);
int command_blob(const struct command_run *run);
int command_backup(const struct command_run *run);
int command_import_bundle(const struct command_run *run);
int command_check(const struct command_run *run);
int command_resync(const struct command_run *run);
int command_findings(const struct command_run *run);

/* ---- shared helpers (command_common.c) ---- */

/* One line on stderr, after the program's name. Returns `status`. */
int command_fail(int status, const char *format, ...) _printf_(2, 3);
/* The exit status for an error of the service. */
int command_status_of(int error);
/* What may help against an error on the data directory: "; do this", or "". */
const char *command_advice_of(int error);
/* What a command does with the data. Only `serve` makes it, as its own user: others may be root's. */
enum command_access { COMMAND_READS, COMMAND_WRITES, COMMAND_SERVES };
/* Opens the service; an exit status, after its message. `ca_pem` is `serve`'s. */
int command_open(
    const struct command_run *run, enum command_access access, struct bytes ca_pem, struct service **ret);
/* A device by its id or the start of it that fits no other. An exit status, after its message. */
int command_find_device(struct service *service, const char *text, struct uuid *ret);

/* ---- what a running serve is reached by (serve_file.c) ---- */

struct serve_file {
    char *url;
    char *ca_sha256; /* hex; NULL on plain HTTP */
    uint64_t pid;
};

/* Replaces DATA/serve.conf. 0 or -errno. */
int serve_file_write(const char *directory, const struct serve_file *file);
/* -ENOENT when there is none; -EINVAL with a line in `ret_error`. */
int serve_file_read(const char *directory, struct serve_file *ret, char **ret_error);
void serve_file_done(struct serve_file *file);
