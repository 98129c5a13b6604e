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
 * under that slot. Events of a slot that has no request in flight, or one of another kind, change nothing:
 * they are late.
 *
 *   exchange   ENGINE_SEND_EXCHANGE -> ENGINE_BUILT -> ENGINE_EXCHANGED | ENGINE_REFUSED | ENGINE_FAILED
 *   upload     ENGINE_SEND_UPLOAD                   -> ENGINE_UPLOADED  | ENGINE_FAILED
 *   audit      ENGINE_SEND_AUDIT                    -> ENGINE_AUDITED   | ENGINE_REFUSED | ENGINE_FAILED
 *   repair     ENGINE_SEND_REPAIR                   -> ENGINE_REPAIRED  | ENGINE_REFUSED | ENGINE_FAILED
 *
 * and any of them -> ENGINE_BUILT first, which tells what it carries and counts towards the budget of its
 * lane; and any of them -> ENGINE_NOTHING_TO_SEND. Whoever applies an answer reads the outbox again and feeds
 * it (ENGINE_OUTBOX) before the answer's own event.
 */
#pragma once

#include "proto/messages.h"

struct engine;

/* Text: records, all asking, and audits with their repairs. */
enum engine_lane { LANE_TEXT, LANE_PREVIEWS, LANE_PHOTOS, ENGINE_LANES };
enum engine_network { NETWORK_UNMETERED, NETWORK_METERED, ENGINE_NETWORKS };
#define BUDGET_UNLIMITED UINT64_MAX

#define ENGINE_SLOTS_MAX 4u
#define ENGINE_LOGS_MAX 16u

struct engine_config {
    uint64_t backoff_min_ms, backoff_max_ms; /* full jitter: 5 s .. 30 min */
    uint64_t slow_poll_ms;                   /* behind the doorbell: how often the agent looks at the store */
    uint64_t idle_contact_ms;     /* with nothing to send, ask the centre this often (commands); 0: never */
    uint32_t batch_records_first; /* before anything was measured */
    uint32_t batch_target_ms;     /* sized to about this much of measured goodput */
    uint32_t chunk_bytes_first;
    uint32_t chunk_target_ms;
    uint32_t ask_after_uploads;  /* so many unconfirmed blobs are asked for before more are sent */
    uint64_t answer_deadline_ms; /* a request without an answer fails after this */
    uint64_t resync_stall_ms;    /* a resync without any progress fails after this */
    uint64_t self_audit_ms;      /* audit the logs for presence this often without being asked; 0: never */
    uint64_t budget_bytes[ENGINE_NETWORKS][ENGINE_LANES]; /* a day, see lanes.c; 0: nothing at all */
};
struct engine_config engine_config_default(void);

enum engine_event_kind {
    ENGINE_STARTED,
    ENGINE_TIMER,    /* the time asked for by ENGINE_SET_TIMER has come */
    ENGINE_OUTBOX,   /* the store changed, or was read for the first time */
    ENGINE_LINK,     /* a hint: an address or route came or went */
    ENGINE_ONLINE,   /* a hint: somebody else has found that the network leads somewhere again */
    ENGINE_NETWORK,  /* what kind of network it is; until told: unmetered, and not the loopback */
    ENGINE_BUDGET,   /* before ENGINE_STARTED: what ENGINE_KEEP_BUDGET had told the last time */
    ENGINE_SYNC_NOW, /* `patrol sync`: whatever backoff or pause says */
    ENGINE_RESYNC,   /* `patrol resync`, or a command of the server */
    ENGINE_MISFIT,   /* a receipt that came by hand shows that a log cannot go on */
    ENGINE_PAUSE,
    ENGINE_RESUME,
    ENGINE_BUILT,           /* the request of this slot is on its way: what it carries */
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
    bool closed;
};

/* What may be uploaded, the best class first. */
enum engine_blob_class {
    BLOBS_URGENT_PREVIEWS,
    BLOBS_PREVIEWS,
    BLOBS_URGENT_PHOTOS,
    BLOBS_PHOTOS,
    ENGINE_BLOB_CLASSES
};
enum engine_lane lane_of_blobs(enum engine_blob_class class);
bool blobs_are_urgent(enum engine_blob_class class);

struct engine_blobs {
    uint64_t pending; /* that may be sent now: their records have receipts */
    /* The oldest of them that engine_blob_is_held does not hold back. */
    bool has_next;
    struct sha256 next;
    uint64_t next_size;
};

/* What went through a day's budget, to be kept over a restart. */
struct engine_budget {
    bool day_open;
    uint64_t elapsed_ms;      /* of the day, when this was told */
    uint64_t server_start_ms; /* the server's clock at the day's start, Unix ms; 0: not known */
    uint64_t used[ENGINE_NETWORKS][ENGINE_LANES];
};

struct engine_outbox {
    /* Unfinished ones, oldest first; sent in this order. The last one, which is appended to, is here even
     * when all of it has a receipt. */
    struct engine_log logs[ENGINE_LOGS_MAX];
    size_t log_count;
    bool has_receipt_log; /* the oldest log that has a receipt, or of which something was pruned: where a
                             resync starts */
    struct uuid receipt_log;
    bool urgent_text;           /* among what is to be sent is the record of an urgent finding */
    uint64_t blobs_pending;     /* of all classes */
    uint64_t blobs_unconfirmed; /* uploaded, but not yet on a signed stored-list; not counted as pending */
    uint64_t blobs_mending;     /* of either, those a running resync has found missing */
    struct engine_blobs blobs[ENGINE_BLOB_CLASSES];
};

enum engine_failure {
    FAILURE_NETWORK, /* no connection, reset, resolver, timeout */
    FAILURE_TLS,
    FAILURE_UNSIGNED,      /* an HTTP answer that carries no valid signature: captive portal, proxy */
    FAILURE_BUSY,          /* 429 or 503, maybe unsigned, with or without Retry-After */
    FAILURE_TOO_LARGE,     /* 413, or it came out over the limit here */
    FAILURE_UPLOAD_OFFSET, /* 409: ask for the offset again */
    FAILURE_UPLOAD_GONE,   /* 404 or 410: create again */
    FAILURE_UPLOAD_TOKEN,  /* 401 or 403 on an upload: a new token is needed */
    FAILURE_UPLOAD_HASH,   /* 460: all of it came, and it has another hash */
    FAILURE_UPLOAD_FULL,   /* 507: no room for photos; records may well be taken */
    FAILURE_LOCAL,         /* the store could not give what was to be sent */
};

#define ENGINE_FAILURES (FAILURE_LOCAL + 1u)

/* CREATE finds or makes the upload and tells its offset; the agent may answer it by asking for the offset
 * when it still knows where the upload is. */
enum upload_step { UPLOAD_CREATE, UPLOAD_OFFSET, UPLOAD_CHUNK };

enum resync_cause {
    RESYNC_BY_ITSELF, /* the server was set back, or could not follow */
    RESYNC_BY_SERVER,
    RESYNC_BY_USER,    /* takes the place of any other, but for a person's own that looks at as much */
    RESYNC_SELF_AUDIT, /* once a day, whatever happens */
};

struct engine_event {
    enum engine_event_kind kind;
    uint32_t slot;
    union {
        struct engine_outbox outbox;
        struct {
            bool up;
        } link;
        struct {
            enum engine_network kind;
            bool is_loopback; /* the server is on this machine */
        } network;
        struct engine_budget budget;
        struct {
            enum audit_level level;
            enum resync_cause cause;
            uint8_t command_id[COMMAND_ID_BYTES]; /* with RESYNC_BY_SERVER */
        } resync;
        struct {
            struct uuid log;
            bool rolled_back; /* the receipt is larger than the log; else it has another root */
        } misfit;
        struct {
            uint64_t records; /* of an exchange: from the action's first_seq on, without gaps */
            uint64_t plain_bytes;
            uint64_t wire_bytes; /* body */
        } built;
        struct {
            enum exchange_outcome outcome;
            uint64_t size;                /* what the server has */
            uint64_t receipt_size_before; /* held when the request was made */
            uint64_t blobs_asked, blobs_confirmed;
            uint64_t server_ms;      /* the server's clock, Unix ms; 0: not told */
            uint32_t next_contact_s; /* not before then, and then even with nothing to send; 0: whenever
                                        there is something */
            bool has_token;          /* an upload token came, good for token_s */
            uint32_t token_s;
            uint32_t no_upload;   /* enum no_upload: why none came */
            bool went_back;       /* decided by engine_went_back(), applied by the agent */
            bool rolled_back;     /* the receipt is larger than the handheld's own log */
            bool new_incarnation; /* the server's database is another one than before */
            bool ask_again;       /* there is more to ask or to tell than this exchange did: at once */
        } exchanged;
        struct {
            enum upload_step step;
            struct sha256 blob;
            uint64_t offset; /* confirmed by the server now */
            uint64_t size;
        } uploaded;
        struct {
            uint64_t size;     /* what the server has of this log */
            uint64_t next_seq; /* 0: all records were looked at */
            bool has_next_blob;
            struct sha256 next_blob;
            uint64_t to_mend_records; /* found missing or damaged in this window, and we have them */
            uint64_t to_mend_blobs;   /* made pending again by the agent */
            uint64_t gone_records;    /* in neither place */
            uint64_t gone_blobs;      /* likewise; the next repair tells the centre */
            bool went_back;           /* the server has less than the receipt said; applied by the agent */
            bool has_next_log;
            struct uuid next_log; /* the next one that has a receipt, in order of opening */
        } audited;
        struct {
            uint64_t mended, refused;
            uint64_t left;  /* still to be repaired from the same window */
            uint64_t gone;  /* the handheld turned out not to have them either */
            bool is_proven; /* of the window all was taken, and shown to lead to the signed root */
            bool asks;      /* what waited for these records may be in quarantine no longer */
        } repaired;
        struct {
            enum refusal_reason reason;
            uint32_t retry_after_s;
            uint32_t busy_cause; /* with REFUSAL_BUSY: enum busy_cause */
        } refused;
        struct {
            enum engine_failure failure;
            uint32_t retry_after_s; /* 0: none given */
        } failed;
    };
};

enum engine_action_kind {
    ENGINE_SEND_EXCHANGE, /* followed by ENGINE_BUILT */
    ENGINE_SEND_UPLOAD,
    ENGINE_SEND_AUDIT,
    ENGINE_SEND_REPAIR, /* the runs the agent noted from the last audit window */
    ENGINE_CANCEL,      /* end the request of this slot; no event follows */
    ENGINE_LEAVE_LOG,   /* the log cannot go on: re-home what has no receipt, then feed the outbox */
    ENGINE_SET_TIMER,   /* replaces the one set before */
    ENGINE_SYNC_DONE,   /* ok: nothing is left to send, all acknowledged; else the centre has refused a try
                           that `patrol sync` asked for, or all that is left waits for its budget: wakes
                           those who wait */
    ENGINE_KEEP_BUDGET, /* to be fed by ENGINE_BUDGET after a restart */
    ENGINE_RESYNC_STARTED,
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
            uint32_t bytes_max;   /* of records, inflated; one record is sent even when it is larger */
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
            uint64_t from_seq; /* the server's size when only blobs are left to look at */
            bool has_after_blob;
            struct sha256 after_blob;
            bool is_check; /* after a repair: what was looked at is not counted again */
            bool has_command;
            uint8_t command_id[COMMAND_ID_BYTES];
        } audit;
        struct {
            uint32_t bytes_max; /* of records and proofs */
        } repair;
        struct {
            struct uuid log;
            enum open_reason reason;
        } leave;
        struct {
            uint64_t at_ms;
        } timer;
        struct {
            bool ok;
        } sync_done;
        struct engine_budget budget;
        struct {
            enum audit_level level;
            enum resync_cause cause;
        } resync_started;
        struct {
            bool ok;
            const char *problem; /* static: why it was not carried to its end; NULL: it was */
            enum resync_cause cause;
            bool has_command; /* the server's, to be told how it has ended */
            uint8_t command_id[COMMAND_ID_BYTES];
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
    ENGINE_WAIT_LINK_UP, /* the network is back after a long outage: not all at once */
    ENGINE_WAIT_BUDGET,  /* what is left waits for the day's budget to end */
};

enum engine_lane_wait {
    LANE_WAITS_FOR_NOTHING, /* nothing is to be sent */
    LANE_IS_SENDING,
    LANE_WAITS_FOR_CONTACT, /* as the report says for all lanes: backoff, refused, paused ... */
    LANE_WAITS_FOR_TURN,    /* another lane goes first */
    LANE_WAITS_FOR_LINK_UP,
    LANE_WAITS_FOR_BUDGET,
    LANE_IS_HELD, /* the centre did not take something: tried again later */
};

struct engine_lane_report {
    enum engine_lane_wait wait;
    const char *reason;          /* static text for people; NULL when nothing is to be sent */
    uint64_t until_ms;           /* boot clock; 0: not known */
    uint64_t used, budget_bytes; /* of the day, on the kind of network there is now */
};

/* What has become of requests since the engine was made. */
struct engine_counts {
    uint64_t exchanges[EXCHANGE_ROOT_MISMATCH + 1u];     /* by enum exchange_outcome */
    uint64_t refusals[REFUSAL_LOG_OF_OTHER_DEVICE + 1u]; /* by enum refusal_reason */
    uint64_t failures[ENGINE_FAILURES];
    uint64_t blobs_confirmed; /* by signed lists */
    /* As budgets count them: bodies, also of what failed. */
    uint64_t sent_bytes[ENGINE_NETWORKS][ENGINE_LANES];
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
    enum resync_cause resync_cause;
    enum engine_network network;
    uint64_t day_ends_ms; /* of the budget, boot clock; 0: nothing was counted yet */
    struct engine_lane_report lanes[ENGINE_LANES];
    struct engine_counts counts;
    /* Of the day; those of the present network are in the lanes too. */
    uint64_t used_bytes[ENGINE_NETWORKS][ENGINE_LANES], budget_bytes[ENGINE_NETWORKS][ENGINE_LANES];
};

int engine_new(const struct engine_config *config, struct engine **ret);
void engine_free(struct engine *engine);
DEFINE_CLEANUP(struct engine, engine_free);
#define _cleanup_engine_ _cleanup_(engine_free_cleanup)
/* `random` is fresh for every call; the engine draws its jitter from it. `now_ms` never goes back. */
void engine_feed(struct engine *engine, const struct engine_event *event, uint64_t now_ms, uint64_t random);
/* The next action, false when there is none: to be called until then after every feed. Events may be fed
 * between calls. */
bool engine_next(struct engine *engine, struct engine_action *ret);
void engine_report(const struct engine *engine, struct engine_report *ret);
/* True when an answer shows that the server was set back: it has less than the receipt that was held when the
 * request was made. */
bool engine_went_back(uint64_t receipt_size_before, uint64_t server_size);
/* True while this blob waits because the server would not take it; whoever makes the outbox passes over it.
 */
bool engine_blob_is_held(const struct engine *engine, const struct sha256 *blob, uint64_t now_ms);
const char *engine_wait_name(enum engine_wait wait);
const char *engine_lane_name(enum engine_lane lane);
const char *engine_lane_wait_name(enum engine_lane_wait wait);
const char *engine_network_name(enum engine_network network);
const char *engine_failure_name(enum engine_failure failure);
const char *resync_cause_name(enum resync_cause cause);
