/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent: carries out the engine's actions on store, keys and a transport, and turns answers into events.
 * It knows what HTTP requests look like, but owns no socket, no loop and no clock but the world's: the
 * daemon's shell gives it libcurl and sd-event, the simulator gives it a fake network. No policy here: that
 * is the engine's.
 *
 * Every answer is checked before anything is done with it: signature by the pinned receipt key, hash of the
 * outstanding request, direction by type. What fails is a network fault.
 */
#pragma once

#include "store/enrolment_file.h"
#include "store/store.h"
#include "syncd/core/engine.h"

struct agent;

struct http_header {
    const char *name; /* lower case */
    const char *value;
};

#define HTTP_HEADERS_MAX 12u
#define HTTP_LOCATION_MAX 1024u

struct http_request {
    const char *method;
    const char *path; /* under the server URL, or an absolute URL (a tus Location) */
    struct http_header headers[HTTP_HEADERS_MAX];
    size_t header_count;
    struct bytes body;    /* valid until `send` returns: the transport copies or sends it */
    uint64_t deadline_ms; /* longest time for the whole request; 0: the transport's default */
};

struct http_response {
    unsigned status;
    struct bytes body;
    uint64_t bytes_sent, bytes_received; /* bodies */
    /* Only what the agent uses; NULL when absent. */
    const char *location, *upload_offset, *upload_expires, *retry_after;
    /* End of the server certificate that vouched for this answer, Unix ms; 0: none (plain HTTP). */
    int64_t certificate_not_after_ms;
};

struct transport {
    /* Starts a request under a slot; its end is told by agent_response or agent_failed, never from inside
     * `send`. */
    int (*send)(void *context, uint32_t slot, const struct http_request *request);
    void (*cancel)(void *context, uint32_t slot);
    void *context;
};

/* One report of a finished manual resync, in plain words and numbers. */
struct resync_report {
    bool finished, ok, failed; /* failed: it could not be carried to its end */
    enum resync_cause cause;
    enum audit_level level;
    uint64_t records_checked, records_missing, records_damaged, records_sent_again,
        records_gone; /* gone: in neither place */
    uint64_t records_erased, records_lost, records_quarantined;
    uint64_t blobs_checked, blobs_missing, blobs_sent_again, blobs_gone;
    uint64_t round_trips;
    const char *problem; /* static; why it failed, or NULL */
};

struct agent_listener {
    /* The state seen by status has changed (cheap to call often). */
    void (*changed)(void *context);
    void (*sync_done)(void *context, bool ok);
    void (*resync_done)(void *context, const struct resync_report *report);
    void (*alarm)(void *context, const char *text);
    /* Records that were never sent are damaged on this disk: the store has to be opened again, which recovers
     * them. The program ends, and is started again by its supervisor. May be NULL. */
    void (*store_damaged)(void *context);
    /* For log lines: level as in base/log.h. */
    void (*note)(void *context, int level, const char *text);
    void *context;
};

struct agent_options {
    const struct world *world;
    struct store *store;
    const struct enrolment *enrolment; /* NULL: not enrolled; the agent idles until agent_set_enrolment */
    const uint8_t *device_seed;
    struct engine_config engine;
    /* Uploads go to this tus server (an absolute URL) instead of the centre's own, with no more than core tus
     * 1.0.0 and creation: no checksum, no token. NULL: the centre's. */
    const char *uploads_url;
    struct transport transport;
    struct agent_listener listener;
};

/* Texts of the options are copied; world, store and the contexts are borrowed. */
int agent_new(const struct agent_options *options, struct agent **ret);
void agent_free(struct agent *agent);
DEFINE_CLEANUP(struct agent, agent_free);

/* Events from the shell. Each runs the engine until it has nothing more to do. */
int agent_start(struct agent *agent);
void agent_store_changed(struct agent *agent); /* doorbell, or the slow poll */
void agent_timer(struct agent *agent);         /* agent_next_timer_ms has passed */
void agent_link(struct agent *agent, bool up);
/* A hint from elsewhere: the network leads somewhere again. */
void agent_online(struct agent *agent);
/* What kind of network there is, and whether the server is on this machine: it stays so until told again. */
void agent_network(struct agent *agent, enum engine_network kind, bool is_loopback);
void agent_sync_now(struct agent *agent);
/* -EBUSY when a person's resync is running already; -ENOTCONN not enrolled. One that the centre or the agent
 * itself had started gives way. */
int agent_resync(struct agent *agent, enum audit_level level);
void agent_pause(struct agent *agent, bool paused);
void agent_response(struct agent *agent, uint32_t slot, const struct http_response *response);
void agent_failed(struct agent *agent, uint32_t slot, enum engine_failure failure);
int agent_set_enrolment(
    struct agent *agent, const struct enrolment *enrolment, const uint8_t device_seed[SIGN_SEED_BYTES]);

/* Boot clock ms of the next wanted agent_timer, 0: none. */
uint64_t agent_next_timer_ms(const struct agent *agent);

struct agent_status {
    struct engine_report engine;
    struct store_status store;
    bool enrolled;
    int64_t last_server_time_ms; /* from the last signed answer, 0: never */
    int64_t last_answer_wall_ms;
    const char *last_failure; /* static text or NULL */
    uint64_t exchanges, bytes_up, bytes_down;
    bool all_acknowledged;       /* every record has a receipt, every blob is on a signed stored-list */
    struct resync_report resync; /* the running or last one */
};
int agent_status(struct agent *agent, struct agent_status *ret);
