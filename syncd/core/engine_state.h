/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's inside, shared by its files and nobody else:
 *
 *   engine.c       events to lanes, deadlines, the one timer, actions out
 *   contact.c      may anything be sent now: backoff, Retry-After, signed refusals, pause
 *   lanes.c        may this lane send now: link-up waits, the day's budgets
 *   text_lane.c    slots 0 and 1: exchanges, their batch size, asking
 *   media_lane.c   slot 2: blob uploads
 *   resync_lane.c  slot 3: audit and repair
 *   report.c       what status says
 *
 * Every feed ends in a plan: each lane starts what may start. A plan depends on the state alone, so it does
 * not matter which event made something possible, and none can be missed.
 */
#pragma once

#include "syncd/core/engine.h"

#define TEXT_SLOTS EXCHANGES_IN_FLIGHT_MAX
#define MEDIA_SLOT 2u
#define RESYNC_SLOT 3u
_Static_assert(TEXT_SLOTS == 2 && ENGINE_SLOTS_MAX == 4, "lanes and slots do not fit");

#define RETRY_AFTER_MIN_MS UINT64_C(1000)
#define RETRY_AFTER_MAX_MS UINT64_C(3600000)
#define REFUSAL_FIRST_HOUR_MS UINT64_C(3600000)
#define REFUSAL_FIRST_HOUR_REQUESTS 2u
#define REFUSAL_FIRST_PROBE_MS UINT64_C(1800000)
#define REFUSAL_PROBE_MS (UINT64_C(6) * 3600000)
#define REFUSED_NETWORK_RETRY_MS UINT64_C(300000) /* a probe that no network carried, tried again */
#define LINK_GRACE_MS UINT64_C(4000) /* what was in flight when the link changed must end within this */
#define LINK_JITTER_MS                                                                                       \
    UINT64_C(5000) /* a link that comes up is used within this: it came up for others too */
#define OUTAGE_LONG_MS UINT64_C(600000) /* after a longer one, lanes wait when the link is back: at most */
#define LINK_UP_URGENT_MS UINT64_C(5000)
#define LINK_UP_TEXT_MS UINT64_C(20000)
#define LINK_UP_PHOTOS_MS UINT64_C(40000) /* previews too */
#define LINK_UP_SHARES 65536u             /* a draw is a whole number of these shares of the longest wait */
#define BUDGET_DAY_MS UINT64_C(86400000)
#define BUDGET_KEEP_EVERY_MS                                                                                 \
    UINT64_C(900000) /* so that a day goes on over reboots although nothing is sent */
#define NOTHING_HOLD_MS UINT64_C(1000)
#define LEAVE_RETRY_MS UINT64_C(10000)
#define ASK_AGAIN_MIN_MS UINT64_C(2000)
#define ASK_AGAIN_MAX_MS UINT64_C(1800000)
#define BLOB_HOLD_MIN_MS UINT64_C(600000)
#define BLOB_LOCAL_HOLD_MIN_MS UINT64_C(5000) /* its file could not be read: it may be a moment only */
#define BLOB_HOLD_MAX_MS (UINT64_C(6) * 3600000)
#define BLOB_HOLDS_MAX 64u
#define BLOB_CORRECTIONS_MAX 8u  /* 404, 409 on one blob without progress */
#define BLOB_WRONG_HASHES_MAX 3u /* a photo that came whole and was another: sent again so often */
#define BLOB_BUSY_MAX 8u         /* 503 in a row on one photo: then the next one has its turn first */
#define BLOB_BUSY_REST_MS UINT64_C(60000)
#define CHUNK_YIELD_MS UINT64_C(6000) /* text beside a chunk: a connection and an exchange on a poor link */
#define STALLS_FOR_ALARM 5u
#define ROOT_MISMATCHES_MAX 3u
#define RESYNC_FAILURES_MAX 8u
#define RESYNC_CHECKS_MAX 3u
#define RESYNC_MENDING_BLOBS_MAX 1024u /* the next window waits while so many are being sent again */
#define RESYNC_COMMANDS_KEPT 4u
#define RESYNC_WORDS_MAX 8u
#define RESYNC_COMMAND_RETRY_MS UINT64_C(600000) /* a command whose resync failed is not taken up before */
#define REPAIR_BYTES_FIRST (1024u * 1024u)
#define REPAIR_BYTES_MIN (16u * 1024u)
#define SELF_AUDIT_FIRST_SHARE                                                                               \
    4u /* of its period, the first comes within: not all handhelds stay on for a day */
#define SELF_AUDIT_RETRY_MS UINT64_C(3600000)   /* after one that could not be carried to its end */
#define RESYNC_ITSELF_RETRY_MS UINT64_C(600000) /* after one by itself had failed */
#define EXCHANGE_HEADROOM_BYTES (192u * 1024u)  /* framing of the records and all the rest of a request */
#define EXCHANGE_BYTES_FIRST (64u * 1024u)
#define EXCHANGE_BYTES_MIN 1024u
#define SECOND_EXCHANGE_RECORDS_MIN 64u /* a trickle waits for the answer, a backlog does not */

enum engine_alarm {
    ALARM_REFUSED,
    ALARM_LOG_REFUSED,
    ALARM_FORK,
    ALARM_ROLLED_BACK,
    ALARM_ROOT_MISMATCH,
    ALARM_WENT_BACK,
    ALARM_RECORD_TOO_LARGE,
    ALARM_NO_PROGRESS,
    ALARM_BLOB_REFUSED,
    ALARM_COUNT
};

enum slot_use { SLOT_FREE, SLOT_EXCHANGE, SLOT_UPLOAD, SLOT_AUDIT, SLOT_REPAIR };

/* One request, from the plan that wants it until its end. */
struct slot {
    enum slot_use use;
    bool start_wanted;  /* its action was not fetched yet */
    bool cancel_wanted; /* of the request that was here before */
    bool link_shortened;
    bool built;          /* exchange: ENGINE_BUILT has told what it carries */
    bool ask;            /* exchange without records */
    bool way_was_proven; /* when it started, the last answer had been good */
    uint64_t started_ms, deadline_ms;
    uint64_t epoch;        /* of the contact when it started */
    uint64_t check_serial; /* of the wish for an answer that it fulfils */
    uint64_t records, plain_bytes, wire_bytes;
    uint64_t token_serial; /* of the token that an upload was made with */
    enum engine_lane lane; /* whose budget it counts towards */
    struct engine_action action;
};

enum contact_state {
    CONTACT_UNPROVEN,     /* no answer yet: one request at a time */
    CONTACT_PROVEN,       /* the last answer was good */
    CONTACT_FAILING,      /* backoff; then one request at a time */
    CONTACT_TOLD_TO_WAIT, /* the server named a time */
    CONTACT_REFUSED,      /* signed: a slow probe, one exchange at a time */
};

struct contact {
    enum contact_state state;
    uint64_t hold_until_ms; /* nothing starts before this */
    uint64_t epoch;         /* requests of one epoch fail together, and count once */
    uint32_t failures;
    enum engine_failure failure; /* the last one */
    uint64_t failed_ms;
    uint32_t told_cause; /* CONTACT_TOLD_TO_WAIT: enum busy_cause */
    bool paused;
    bool urged; /* `patrol sync` or `patrol resync`: until all is done or something fails */
    bool link_up_seen, link_is_up;
    /* CONTACT_REFUSED */
    enum refusal_reason refusal;
    uint64_t refused_since_ms;
    uint32_t refused_requests; /* in the first hour */
    bool certificate_wanted;   /* the next exchanges carry it */
    bool certificate_refused;  /* it did not help */
};

/* Amounts over time; old samples fade by a quarter with each new one. */
struct rate {
    uint64_t amount, elapsed_ms;
};

/* What one log is waiting for; kept while the outbox lists the log. */
struct log_state {
    struct engine_log log;
    uint64_t hold_until_ms;
    uint32_t failures, stalls, root_mismatches;
    const char *hold_reason; /* static */
    bool was_ahead;          /* one at a time until something of it was stored */
    bool leave;              /* to be left, with `leave_reason`; nothing of it is sent any more */
    enum open_reason leave_reason;
    uint64_t leave_at_ms;
    bool leave_wanted; /* its action was not fetched yet */
};

struct text_lane {
    struct log_state logs[ENGINE_LOGS_MAX];
    size_t log_count;
    uint32_t batch_records, batch_bytes;
    struct rate records, wire;
    uint64_t ratio_plain, ratio_wire; /* fading sums: how well records compress */
    uint64_t answered_ms;
    uint64_t check_serial, checked_serial; /* an answer is wanted while they differ */
    uint64_t contact_at_ms;                /* ask then even with nothing to send; 0: never */
    bool ask_first;                        /* before records are sent again */
    uint64_t ask_hold_until_ms;            /* an ask could not be made, or was not even heard */
    uint32_t ask_hold_failures;
    uint32_t ask_failures; /* asks in a row that confirmed no blob */
    uint64_t ask_not_before_ms;
};

/* The way to the server as it was found, and what the lanes wait for because of it: lanes.c. */
struct way {
    enum engine_network network;
    bool is_loopback;
    bool in_outage; /* since then no answer, and a failed attempt or a link that is gone */
    uint64_t outage_since_ms;
    bool link_up_waits; /* drawn: at link_up_ms, so many shares of each lane's longest wait */
    uint64_t link_up_ms, link_up_share;
};

struct budget {
    struct engine_budget day; /* its elapsed_ms as of noted_ms */
    uint64_t noted_ms;
    uint64_t kept_ms;
    bool keep_wanted;
};

struct blob_hold {
    struct sha256 blob;
    uint64_t until_ms;
    uint32_t failures;
};

struct media_lane {
    bool has_current;
    struct sha256 current;
    enum upload_step step;
    uint64_t offset;
    uint32_t corrections, wrong_hashes, busy;
    uint64_t yield_ms; /* the chunk in flight is broken off then; 0: no text waits */
    uint32_t chunk_bytes;
    struct rate bytes;
    uint64_t token_until_ms;
    uint64_t token_serial;
    bool token_fresh; /* no step has gone through with it yet */
    uint32_t token_failures;
    uint64_t hold_until_ms;
    const char *hold_reason;
    struct blob_hold holds[BLOB_HOLDS_MAX];
};

enum resync_phase {
    RESYNC_IDLE,
    RESYNC_AUDITING,
    RESYNC_REPAIRING,
    RESYNC_SETTLING, /* what was found missing goes through the other lanes */
};

struct resync_command {
    bool set;
    uint8_t id[COMMAND_ID_BYTES];
    enum audit_level level;
};

struct resync_lane {
    enum resync_phase phase;
    enum audit_level level;
    enum resync_cause cause;
    struct resync_command command;
    struct uuid log, next_log;
    bool has_next_log;
    bool more_windows;
    uint64_t from_seq;
    bool has_after_blob;
    struct sha256 after_blob;
    bool checking; /* this log was mended: a presence audit must find it whole */
    bool mended;   /* in this pass over the log */
    bool mending;  /* in this window; no longer when the centre has shown that it is whole now */
    uint32_t checks;
    bool incomplete; /* something is in neither place, or a repair was refused */
    bool resend;     /* the server was set back: its records go through the text lane */
    uint32_t repair_bytes;
    uint32_t idle_repairs; /* repairs in a row that mended nothing */
    uint32_t failures;
    uint64_t hold_until_ms, progress_ms;
    struct resync_command queued; /* a command that came while another resync ran */
    struct resync_command done[RESYNC_COMMANDS_KEPT];
    size_t done_next;
    struct resync_command failed; /* not taken up again before failed_until_ms */
    uint64_t failed_until_ms, itself_not_before_ms, self_audit_at_ms;
    struct engine_action words[RESYNC_WORDS_MAX]; /* to be told, oldest first */
    size_t word_count;
};

struct engine {
    struct engine_config config;
    bool started, outbox_known;
    uint64_t now_ms;
    uint64_t random; /* of this feed */
    struct slot slots[ENGINE_SLOTS_MAX];
    struct contact contact;
    struct way way;
    struct budget budget;
    struct text_lane text;
    struct media_lane media;
    struct resync_lane resync;
    struct engine_outbox outbox; /* its logs are in text.logs */
    uint64_t poll_at_ms;
    uint64_t timer_ms; /* as last told; 0: to be told */
    bool timer_wanted;
    bool sync_announced, sync_done_wanted, sync_refused_wanted, sync_held_wanted;
    bool sync_asked; /* by `patrol sync`, and not told its end yet */
    bool alarms[ALARM_COUNT];
    struct engine_counts counts;
};

/* ---- engine.c ---- */

/* Random number below `bound` (bound > 0), from this feed's bits. */
uint64_t engine_random(struct engine *engine, uint64_t bound);
uint64_t engine_later(const struct engine *engine, uint64_t delay_ms);
/* Uniform between `min` and min * 2^exponent, at most `max`. */
uint64_t engine_backoff(struct engine *engine, uint64_t min_ms, uint64_t max_ms, uint32_t exponent);
void engine_alarm(struct engine *engine, enum engine_alarm alarm);
struct slot *engine_start(struct engine *engine, uint32_t index, enum slot_use use);
/* Forgets a request; its later result is late. Tells the agent when it had already begun. */
void engine_cancel(struct engine *engine, uint32_t index);
bool engine_any_busy(const struct engine *engine);
void rate_add(struct rate *rate, uint64_t amount, uint64_t elapsed_ms);
/* How much goes through in so much time; 0 when nothing was measured. */
uint64_t rate_over(const struct rate *rate, uint64_t time_ms);

/* ---- contact.c ---- */

bool contact_open(const struct engine *engine);
/* Only an exchange can lead on: nothing else is to be sent. */
bool contact_needs_exchange(const struct engine *engine);
/* An answer came; `is_signed` ones alone end a refusal. */
void contact_answered(struct engine *engine, const struct slot *slot, bool is_signed);
void contact_failed(
    struct engine *engine, const struct slot *slot, enum engine_failure failure, uint32_t retry_after_s);
/* A request that was ended because the link had changed: tried again at once. */
void contact_cut_by_link(struct engine *engine, const struct slot *slot);
/* A refusal that is about the device as a whole. */
void contact_refused(struct engine *engine, const struct slot *slot, enum refusal_reason reason);
void contact_told_to_wait(struct engine *engine, uint64_t wait_ms, uint32_t cause);
void contact_link(struct engine *engine, bool up);
/* The network leads somewhere again: an attempt that waits is made soon. */
void contact_try_soon(struct engine *engine);
void contact_urge(struct engine *engine);
/* A request of any lane was started: counts towards what a refused device may send. */
void contact_started_request(struct engine *engine);
uint64_t contact_retry_after_ms(struct engine *engine, uint32_t retry_after_s);
bool refusal_is_about_device(enum refusal_reason reason);

/* ---- lanes.c ---- */

/* May this lane start a request, as far as link-up waits and budgets go? `urgent`: for an urgent finding. */
bool lane_is_open(const struct engine *engine, enum engine_lane lane, bool urgent);
bool lane_waits_for_link_up(const struct engine *engine, enum engine_lane lane, bool urgent);
bool lane_is_over_budget(const struct engine *engine, enum engine_lane lane, bool urgent);
/* UINT64_MAX: no limit. */
uint64_t lane_budget_left(const struct engine *engine, enum engine_lane lane, bool urgent);
/* Records, and what is asked on their behalf. */
bool lane_text_is_open(const struct engine *engine);
/* When it is open for sure, if nothing else changes; 0: now. */
uint64_t lane_opens_ms(const struct engine *engine, enum engine_lane lane, bool urgent);
void way_failed(struct engine *engine);
void way_answered(struct engine *engine);
/* The link is back: true when the lanes wait now, after a long outage. */
bool way_link_up(struct engine *engine);
void way_urge(struct engine *engine);
void budget_load(struct engine *engine, const struct engine_budget *kept);
void budget_charge(struct engine *engine, enum engine_lane lane, uint64_t bytes);
void budget_server_time(struct engine *engine, uint64_t server_ms);
/* Ends the day when it is over, and says when to keep it. */
void budget_plan(struct engine *engine);
bool budget_next_keep(struct engine *engine, struct engine_action *ret);
uint64_t budget_day_ends_ms(const struct engine *engine);
/* True when something is left to send, and all of it waits for its budget. */
bool budget_holds_the_rest(const struct engine *engine);
uint64_t lanes_timer(const struct engine *engine);

/* ---- text_lane.c ---- */

void text_outbox(struct engine *engine, const struct engine_outbox *outbox);
void text_built(struct engine *engine, struct slot *slot, const struct engine_event *event);
void text_exchanged(struct engine *engine, const struct slot *slot, const struct engine_event *event);
void text_failed(struct engine *engine, const struct slot *slot, enum engine_failure failure);
void text_refused(struct engine *engine, const struct slot *slot, const struct engine_event *event);
void text_nothing(struct engine *engine, const struct slot *slot);
void text_misfit(struct engine *engine, const struct engine_event *event);
void text_urge(struct engine *engine);
/* One more answer is wanted, to an exchange that starts from now on. */
void text_want_answer(struct engine *engine);
void text_plan(struct engine *engine);
bool text_next_leave(struct engine *engine, struct engine_action *ret);
/* True when a record could go now, or is on its way: everything else waits for that. */
bool text_is_busy(const struct engine *engine);
bool text_is_in_flight(const struct engine *engine);
bool text_is_done(const struct engine *engine);
/* Records of this log are on their way. */
bool text_log_is_in_flight(const struct engine *engine, const struct uuid *log);
uint64_t text_timer(const struct engine *engine);

/* ---- media_lane.c ---- */

void media_token(struct engine *engine, bool has_token, uint32_t token_s, uint32_t no_upload);
void media_uploaded(struct engine *engine, const struct slot *slot, const struct engine_event *event);
void media_failed(struct engine *engine, const struct slot *slot, enum engine_failure failure);
void media_nothing(struct engine *engine, const struct slot *slot);
void media_urge(struct engine *engine);
void media_plan(struct engine *engine);
/* What the media lane wants an exchange for. */
bool media_wants_token(const struct engine *engine, enum engine_lane *ret_lane);
bool media_wants_states(const struct engine *engine);
uint64_t media_timer(const struct engine *engine);

/* ---- resync_lane.c ---- */

void resync_ask(
    struct engine *engine, enum audit_level level, enum resync_cause cause, const uint8_t *command_id);
void resync_audited(struct engine *engine, const struct engine_event *event);
void resync_repaired(struct engine *engine, const struct engine_event *event);
void resync_failed(struct engine *engine, const struct slot *slot, enum engine_failure failure);
void resync_refused(struct engine *engine, enum refusal_reason reason, uint32_t retry_after_s);
void resync_nothing(struct engine *engine, const struct slot *slot);
void resync_progress(struct engine *engine);
/* Draws when the first self-audit is due. */
void resync_started(struct engine *engine);
void resync_device_refused(struct engine *engine);
/* Ends a resync that has nothing left to do, and begins the next: before the other lanes plan, as the server
 * is told how its command has ended. */
void resync_settle(struct engine *engine);
void resync_plan(struct engine *engine);
uint64_t resync_timer(const struct engine *engine);
/* Start and end of a resync, in order. */
bool resync_next_word(struct engine *engine, struct engine_action *ret);
/* No new records of this log while it is being repaired: the proofs are for the tree the server has now. */
bool resync_holds_log(const struct engine *engine, const struct uuid *log);

/* ---- report.c ---- */

const char *failure_text(enum engine_failure failure);
const char *refusal_text(enum refusal_reason reason);
const char *alarm_text(enum engine_alarm alarm, enum refusal_reason refusal);
