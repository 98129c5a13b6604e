/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sync engine: every decision of the daemon, and nothing else. Pure: now (boot clock ms) and random bits
 * are arguments; it holds no record, no key, no file. The agent feeds events and carries out actions; so does
 * the simulator.
 *
 *   engine_feed(engine, &event, now_ms, random);
 *   while (engine_next(engine, &action)) ...;
 *
 * Slots number the requests in flight: an action that starts a request names a slot, its result comes back
 * under that slot.
 */
#pragma once

#include "proto/messages.h"

struct engine;

#define ENGINE_SLOTS_MAX 4u
#define ENGINE_LOGS_MAX 16u

struct engine_config {
    uint64_t backoff_min_ms, backoff_max_ms; /* full jitter: 5 s .. 30 min */
    uint64_t slow_poll_ms;                   /* behind the doorbell */
    uint32_t batch_records_first;            /* before anything was measured */
    uint32_t batch_target_ms;                /* sized to about this much of measured goodput */
    uint32_t chunk_bytes_first;
    uint64_t answer_deadline_ms; /* a request without an answer fails after this */
};
struct engine_config engine_config_default(void);

enum engine_event_kind {
    ENGINE_STARTED,
    ENGINE_TIMER,    /* the time asked for by ENGINE_SET_TIMER has come */
    ENGINE_OUTBOX,   /* the store changed, or was read for the first time */
    ENGINE_LINK,     /* a hint: an address or route came or went */
    ENGINE_SYNC_NOW, /* `patrol sync`: whatever backoff or pause says */
    ENGINE_RESYNC,   /* `patrol resync`, or a command of the server */
    ENGINE_PAUSE,
    ENGINE_RESUME,
    ENGINE_EXCHANGED,       /* a signed answer to an exchange */
    ENGINE_UPLOADED,        /* a step of a blob upload went through */
    ENGINE_AUDITED,         /* a signed answer to an audit window */
    ENGINE_REPAIRED,        /* a signed answer to a repair */
    ENGINE_REFUSED,         /* a signed refusal */
    ENGINE_FAILED,          /* anything else: no answer, unsigned answer, wrong answer: a network fault */
    ENGINE_NOTHING_TO_SEND, /* the agent found that the action had become pointless (e.g. blob freed) */
};

struct engine_log {
    struct uuid id;
    uint64_t size, receipt_size;
    uint64_t bytes_queued; /* approximate */
    bool closed;
};

struct engine_outbox {
    struct engine_log logs[ENGINE_LOGS_MAX]; /* unfinished ones, oldest first; sent in this order */
    size_t log_count;
    uint64_t blobs_pending;     /* that may be sent now: their records have receipts */
    uint64_t blobs_unconfirmed; /* uploaded, but not yet on a signed stored-list */
    struct sha256 next_blob;    /* best one to send */
    uint64_t next_blob_size;
};

enum engine_failure {
    FAILURE_NETWORK, /* no connection, reset, resolver, timeout */
    FAILURE_TLS,
    FAILURE_UNSIGNED,      /* an HTTP answer that carries no valid signature: captive portal, proxy */
    FAILURE_BUSY,          /* 429 or 503, maybe unsigned, with or without Retry-After */
    FAILURE_TOO_LARGE,     /* 413 */
    FAILURE_UPLOAD_OFFSET, /* 409: ask for the offset again */
    FAILURE_UPLOAD_GONE,   /* 404 or 410: create again */
    FAILURE_UPLOAD_TOKEN,  /* 401 or 403 on an upload: a new token is needed */
    FAILURE_UPLOAD_HASH,   /* 460: checksum mismatch */
    FAILURE_LOCAL,         /* the store could not give what was to be sent */
};

enum upload_step { UPLOAD_CREATE, UPLOAD_OFFSET, UPLOAD_CHUNK };

struct engine_event {
    enum engine_event_kind kind;
    uint32_t slot;
    union {
        struct engine_outbox outbox;
        struct {
            bool up;
        } link;
        struct {
            enum audit_level level;
            bool from_server;
            uint8_t command_id[COMMAND_ID_BYTES];
        } resync;
        struct {
            enum exchange_outcome outcome;
            uint64_t sent_records;
            uint64_t sent_bytes;          /* on the wire, body */
            uint64_t size;                /* what the server has */
            uint64_t receipt_size_before; /* held when the request was made */
            uint32_t next_contact_s;
            bool has_token; /* an upload token came, good for token_s */
            uint32_t token_s;
            bool went_back;  /* decided by engine_went_back(), applied by the agent */
            bool has_resync; /* a command */
            enum audit_level resync_level;
            uint8_t command_id[COMMAND_ID_BYTES];
        } exchanged;
        struct {
            enum upload_step step;
            struct sha256 blob;
            uint64_t offset; /* confirmed by the server now */
            uint64_t size;
            uint64_t sent_bytes;
        } uploaded;
        struct {
            uint64_t next_seq; /* 0: last window */
            bool has_next_blob;
            struct sha256 next_blob;
            uint64_t to_mend_records; /* found missing or damaged in this window, and we have them */
            uint64_t to_mend_blobs;
            uint64_t gone_records; /* in neither place */
            uint64_t gone_blobs;
        } audited;
        struct {
            uint64_t mended, refused, left; /* left: still to be repaired from the same window */
        } repaired;
        struct {
            enum refusal_reason reason;
            uint32_t retry_after_s;
        } refused;
        struct {
            enum engine_failure failure;
            uint32_t retry_after_s; /* 0: none given */
        } failed;
    };
};

enum engine_action_kind {
    ENGINE_SEND_EXCHANGE,
    ENGINE_SEND_UPLOAD,
    ENGINE_SEND_AUDIT,
    ENGINE_SEND_REPAIR, /* the runs the agent noted from the last audit window */
    ENGINE_CANCEL,      /* end the request of this slot; no event follows */
    ENGINE_SET_TIMER,   /* replaces the one set before */
    ENGINE_SYNC_DONE,   /* nothing is left to send, all acknowledged: wakes those who wait */
    ENGINE_RESYNC_DONE, /* ok: all that was missing was mended; else something is in neither place */
    ENGINE_ALARM,       /* for the log and status: text is static */
};

struct engine_action {
    enum engine_action_kind kind;
    uint32_t slot;
    union {
        struct {
            struct uuid log;
            uint64_t first_seq;
            uint32_t records_max; /* 0: only ask (blob states, token) */
            uint32_t bytes_max;   /* inflated */
            bool with_certificate;
        } exchange;
        struct {
            enum upload_step step;
            struct sha256 blob;
            uint64_t offset;
            uint32_t bytes_max;
        } upload;
        struct {
            struct uuid log;
            enum audit_level level;
            uint64_t from_seq;
            bool has_after_blob;
            struct sha256 after_blob;
        } audit;
        struct {
            uint64_t at_ms;
        } timer;
        struct {
            bool ok;
        } resync_done;
        struct {
            const char *text;
        } alarm;
    };
};

enum engine_wait {
    ENGINE_WAIT_NOTHING, /* nothing to send */
    ENGINE_WAIT_WORKING, /* a request is in flight */
    ENGINE_WAIT_BACKOFF, /* the last attempts failed */
    ENGINE_WAIT_SERVER,  /* Retry-After, or next contact */
    ENGINE_WAIT_REFUSED, /* signed refusal: slow probe */
    ENGINE_WAIT_PAUSED,
};

struct engine_report {
    enum engine_wait wait;
    const char *reason;       /* static text for people, e.g. "the server could not be reached" */
    uint64_t next_attempt_ms; /* boot clock; 0: none planned */
    uint32_t failures_in_row;
    bool refused;
    enum refusal_reason refusal;
    bool resync_running;
    enum audit_level resync_level;
};

int engine_new(const struct engine_config *config, struct engine **ret);
void engine_free(struct engine *engine);
DEFINE_CLEANUP(struct engine, engine_free);
/* `random` is fresh for every call; the engine draws its jitter from it. */
void engine_feed(struct engine *engine, const struct engine_event *event, uint64_t now_ms, uint64_t random);
bool engine_next(struct engine *engine, struct engine_action *ret);
void engine_report(const struct engine *engine, struct engine_report *ret);
/* True when an answer shows that the server was set back: it has less than the receipt that was held when the
 * request was made. */
bool engine_went_back(uint64_t receipt_size_before, uint64_t server_size);
const char *engine_wait_name(enum engine_wait wait);
