/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket (store/control_protocol.h): accepts local clients that may speak to the daemon, turns
 * their messages into calls of the daemon, and tells them how it goes. Malformed input or a full buffer ends
 * that client only.
 */
#pragma once

#include "store/control_protocol.h"
#include "syncd/agent/agent.h"

#include <jansson.h>
#include <systemd/sd-event.h>

struct control;

struct control_listener {
    /* The status object, new; NULL when memory ran out. */
    json_t *(*status)(void *context);
    void (*sync_now)(void *context);
    /* 0, -ENOTCONN not enrolled. */
    int (*resync)(void *context, enum audit_level level);
    void (*pause)(void *context, bool paused);
    /* As the agent's: agent_bundle_begin, agent_bundle_part, agent_take_receipts. */
    int (*bundle_begin)(void *context, uint8_t ret_bundle[REQUEST_ID_BYTES], struct buffer *ret_envelope);
    int (*bundle_part)(void *context, const struct uuid *log, uint64_t first_seq, struct buffer *ret_envelope,
        uint64_t *ret_end);
    int (*receipts)(void *context, struct bytes envelope, bool check_only, struct agent_receipts *ret);
    /* Makes and announces a new key; `*ret_waited`: one that was made before still waits. -ENOTCONN. */
    int (*rotate_key)(void *context, bool *ret_waited);
    bool (*enrolled)(void *context);
    void *context;
};

/* Listens on `path`; a left-over socket is replaced. */
int control_new(
    sd_event *event, const char *path, const struct control_listener *listener, struct control **ret);
void control_free(struct control *control);
DEFINE_CLEANUP(struct control, control_free);
/* Something that waiting clients want to see has changed; they are told at most every CONTROL_TELL_MS. */
void control_changed(struct control *control);
/* Ends every waiting Sync: all acknowledged, or the server refused. */
void control_sync_done(struct control *control, bool done, bool refused, const char *reason);
/* `refused`: it failed because the centre refuses this handheld. */
void control_resync_done(struct control *control, const struct resync_report *report, bool refused);

#define CONTROL_TELL_MS 100u

json_t *control_resync_object(const struct resync_report *report);
