/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's side of the daemon's control socket (store/control_protocol.h).
 */
#pragma once

#include "base/exit_status.h"
#include "collector/program.h"
#include "store/control_protocol.h"

#include <jansson.h>

struct control_client {
    int fd;
    struct buffer in;
};

/* Connects, waiting up to `wait_ms` for a daemon that is just starting. 0; -ENOENT, -ECONNREFUSED no daemon;
 * -EACCES. */
int control_connect(const struct program *program, uint64_t wait_ms, struct control_client *ret);
void control_client_done(struct control_client *client);
/* The same for a command that is nothing without the daemon: says why not. */
enum exit_status control_open(const struct program *program, uint64_t wait_ms, struct control_client *ret);
/* Takes the reference to `parameters` (may be NULL). */
int control_call(struct control_client *client, const char *method, json_t *parameters, bool more);
/* The next reply. 0 with a new reference; -ETIMEDOUT at `deadline_boot_ms`; -ECONNRESET the daemon ended;
 * -EBADMSG. */
int control_reply(
    struct control_client *client, const struct world *world, uint64_t deadline_boot_ms, json_t **ret);

/* The daemon's status object now: a new reference, or NULL when no daemon answers at once. */
json_t *control_ask_status(const struct program *program);
/* When it says that it tries next, by the wall clock; 0: not known. */
int64_t control_next_attempt_ms(const struct program *program, const json_t *status);
/* The same of any such number of milliseconds from now, by name. */
int64_t control_until_ms(const struct program *program, const json_t *object, const char *name);
