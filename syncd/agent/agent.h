/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent: carries out the engine's actions on store, keys and a transport, and turns answers into events.
 * It knows what HTTP requests look like, but owns no socket, no loop and no clock but the world's: the
 * daemon's shell gives it a worker process and sd-event, the simulator gives it a fake network. No policy
 * here: that is the engine's.
 *
 * Every answer is checked before anything is done with it: signature by the pinned receipt key, hash of the
 * outstanding request, direction by type. What fails is a network fault.
 */
#pragma once

#include "store/enrolment_file.h"
#include "store/store.h"
#include "syncd/core/engine.h"
#include "syncd/http.h"

struct agent;

struct transport {
    /* Starts a request under a slot; its end is told by agent_response or agent_failed, never from inside
     * `send`. */
    int (*send)(void *context, uint32_t slot, const struct http_request *request);
    void (*cancel)(void *context, uint32_t slot);
    void *context;
};

/* One report of a finished resync, in plain words and numbers. */
struct resync_report {
    bool finished, ok, failed; /* failed: it could not be carried to its end */
    enum resync_cause cause;
    enum audit_level level;
    int64_t finished_ms; /* wall clock */
    uint64_t records_checked, records_missing, records_damaged, records_sent_again,
        records_gone; /* gone: in neither place */
    uint64_t records_erased, records_lost, records_quarantined;
    uint64_t blobs_checked, blobs_missing, blobs_sent_again, blobs_gone, blobs_lost;
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
    /* The centre has named successors of its keys, or CAs (PEM; empty: the same as before): keeps the list,
     * durably, and with the enrolment that the agent is given at its next start. 0 or -errno: then they do
     * not count. NULL: nothing outlives this agent. */
    int (*trust)(void *context, struct bytes list, struct bytes ca_pem);
    /* The certificate of a next key of this device has come: when it is the one that was announced, keeps it
     * in the place of the one in force, and gives the agent its enrolment anew. 1; 0 it is of no key that is
     * here; -errno: it is told again. NULL: none is ever taken. */
    int (*certificate)(void *context, struct bytes envelope, const uint8_t public_key[SIGN_PUBLIC_BYTES]);
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
    /* How long what the centre has signed for stays here all the same. Photos: unless they are in its backup,
     * then they go at once. Records: of closed logs, and only if they are in its backup. */
    uint64_t photo_age_ms, records_age_ms;
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
void agent_store_changed(struct agent *agent); /* doorbell */
/* The slow poll: looks at the store, and removes what need not be here any more, some of it at a time.
 * `server_ms` (Unix ms) has certainly passed by the server's clock; 0: nothing is known of it. */
void agent_poll(struct agent *agent, int64_t server_ms);
void agent_timer(struct agent *agent); /* agent_next_timer_ms has passed */
void agent_link(struct agent *agent, bool up);
/* A hint from elsewhere: the network leads somewhere again. */
void agent_online(struct agent *agent);
/* What kind of network there is, and whether the server is on this machine: it stays so until told again. */
void agent_network(struct agent *agent, enum engine_network kind, bool is_loopback);
void agent_sync_now(struct agent *agent);
/* Joins a person's resync that is running already; when that looks at less, it begins anew and looks at more.
 * One that the centre or the agent itself had started gives way. -ENOTCONN not enrolled. */
int agent_resync(struct agent *agent, enum audit_level level);
void agent_pause(struct agent *agent, bool paused);
void agent_response(struct agent *agent, uint32_t slot, const struct http_response *response);
void agent_failed(struct agent *agent, uint32_t slot, enum engine_failure failure);
int agent_set_enrolment(
    struct agent *agent, const struct enrolment *enrolment, const uint8_t device_seed[SIGN_SEED_BYTES]);

/* Announces the device's next key (proto/README.md, "A device's next key"), unless that was done before: a
 * record in the findings log. It is used when the certificate for it has come. -ENOTCONN; as the store's. */
int agent_announce_key(struct agent *agent, const uint8_t seed[SIGN_SEED_BYTES]);

/*
 * Bundles: what goes to the centre on a data carrier (proto/README.md, "Bundles"). Only requests that this
 * agent makes of its own store are signed; what is in flight and what the engine plans is not touched.
 *
 *   begin   a new bundle: its id, noted in the store, and its first request, which asks for nothing
 *   part    a request with the records of a log from `first_seq` on; `*ret_end` is behind its last one
 *
 * -ENOTCONN not enrolled; -ENODATA no such record; others as the store's.
 */
#define AGENT_BUNDLE_RECORDS_MAX 4096u
#define AGENT_BUNDLE_PLAIN_BYTES_MAX                                                                         \
    (96u * 1024u) /* so that the envelope fits a message of the control socket */
int agent_bundle_begin(
    struct agent *agent, uint8_t ret_bundle[REQUEST_ID_BYTES], struct buffer *ret_envelope);
int agent_bundle_part(struct agent *agent, const struct uuid *log, uint64_t first_seq,
    struct buffer *ret_envelope, uint64_t *ret_end);

enum agent_receipts_log {
    RECEIPTS_LOG_NONE,
    RECEIPTS_LOG_TAKEN,
    RECEIPTS_LOG_UNKNOWN,
    RECEIPTS_LOG_SET_BACK,
    RECEIPTS_LOG_FORKED
};

/* What a part of the receipts for a bundle says, and what it changed here. */
struct agent_receipts {
    uint8_t bundle[REQUEST_ID_BYTES];
    int64_t server_time_ms;
    uint32_t part;
    bool is_last;
    enum agent_receipts_log log;
    uint64_t records_acknowledged; /* by this part */
    uint64_t records_quarantined;
    uint64_t photos_stored, photos_backed_up;
};
/*
 * Takes a part, or only looks at it (`check_only`): then nothing is changed. 0; -ENOTCONN not enrolled;
 * -EBADMSG damaged; -EKEYREJECTED not signed by this centre; -EXDEV another handheld's; -ENOENT for a bundle
 * that is not known here; -ESTALE older than what was taken of this bundle, or than what the centre has said
 * since; others as the store's.
 */
int agent_take_receipts(
    struct agent *agent, struct bytes envelope, bool check_only, struct agent_receipts *ret);

/* The CAs (PEM) that the centre has said are its own, until the next event; empty: it never said any. */
struct bytes agent_trusted_cas(const struct agent *agent);

/* Boot clock ms of the next wanted agent_timer, 0: none. */
uint64_t agent_next_timer_ms(const struct agent *agent);

struct agent_status {
    struct engine_report engine;
    struct store_status store;
    bool enrolled;
    int64_t last_server_time_ms; /* from the last signed answer, 0: never */
    int64_t last_answer_wall_ms;
    const char *last_failure; /* static text or NULL */
    uint64_t exchanges, bytes_up, bytes_down, alarms;
    bool all_acknowledged;       /* every record has a receipt, every blob is on a signed stored-list */
    struct resync_report resync; /* the running or last one, also from before a restart */
};
int agent_status(struct agent *agent, struct agent_status *ret);
