/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator from inside: the real agent, store and service in one process, on a clock, a network and
 * disks that one seed decides. Shared by tests/sim/sim_*.c; nothing else includes it.
 *
 *   sim_run.c        one seed from birth to verdict
 *   sim_schedule.c   virtual time, the event heap, the trace, failures
 *   sim_network.c    what becomes of each request on its way there and back
 *   sim_link.c       a link that goes and comes back
 *   sim_portal.c     captive portals, which answer in the centre's place for a while
 *   sim_server.c     the centre's machine: power, requests, group commits
 *   sim_uploads.c    tus requests, as server/http maps them
 *   sim_handheld.c   a handheld's machine: power, the daemon and its timers
 *   sim_collector.c  what people record, and what they were told
 *   sim_bundle.c     what is carried by hand, and the receipts that come back
 *   sim_audit.c      audits and repairs while their answers are lost
 *   sim_damage.c     damage to a handheld's own database
 *   sim_faults.c     everything that goes wrong with machines
 *   sim_forge.c      answers that only a thief of the connection would make
 *   sim_backup.c     backups of the centre, and photos that handhelds remove
 *   sim_budget.c     a metered network and the day's budget on it
 *   sim_erase.c      orders of the centre's admin to erase something
 *   sim_rotate.c     another device key, and who is shut out by it
 *   sim_prune.c      records that handhelds remove, and the backup that has them
 *   sim_check.c      what must hold, during the run and at its end
 */
#pragma once

#include "proto/enrolment.h"
#include "proto/messages.h"
#include "server/core/orders.h"
#include "server/service.h"
#include "store/store.h"
#include "syncd/agent/agent.h"
#include "tests/sim/sim_coverage.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_random.h"

#include <sodium.h>

#define BACKUP_DIRECTORY "/backup" /* on the centre's machine */
#define DATA_DIRECTORY "/data"
#define SIM_HANDHELDS_MAX 2u
#define SIM_LOGS_MAX 256u
#define SIM_PATH_MAX 256u
#define SIM_FAILURE_MAX 512u
#define NOTE_PREFIX "finding "

#define SECOND_MS UINT64_C(1000)
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS (60 * MINUTE_MS)
#define DAY_MS (24 * HOUR_MS)

struct sim;

/* ---- machines ---- */

struct machine {
    const char *name;
    struct sim_disk *disk;
    struct sim_clock clock;
    const struct world *world;
    uint64_t clock_at_ms; /* virtual time up to which the clock was moved */
    bool is_on;
    bool kill_planned; /* the planned death is that of a process: its kernel lives */
};

struct sim_request;

enum portal { PORTAL_NONE, PORTAL_EVERYTHING, PORTAL_TEXT, PORTAL_PHOTOS, PORTAL_TLS };

struct server {
    struct machine machine;
    struct service *service; /* NULL: the process is down */
    uint64_t life;           /* counts starts: what belongs to an earlier one is dead */
    struct sim_request *pending[SERVICE_GROUP_MAX];
    size_t pending_count;
    bool commit_scheduled;
    struct sim_request *held; /* ahead of their logs */
    struct sim_disk_image *backup;
    uint64_t backup_findings; /* findings recorded by then */
    bool is_busy;             /* a proxy answers 503 */
    struct verify_key receipt_key;
};

struct handheld {
    struct sim *sim;
    struct machine machine;
    unsigned number;
    struct store *store; /* the daemon's; NULL: it is down */
    struct agent *agent;
    struct enrolment enrolment;
    uint8_t device_seed[SIGN_SEED_BYTES];
    uint64_t life; /* of the daemon */
    uint64_t timer_number;
    struct sim_request *slots[ENGINE_SLOTS_MAX];
    bool link_up;
    enum portal portal;
    uint64_t portal_number; /* of its states: a later one ends by its own event */
    uint64_t photo_age_ms;  /* at which it removes photos that are stored; 0: it never does */
    bool is_metered;        /* then its photos have a budget for the day */
    bool recorded_as_copy, delivered_as_copy; /* since there are two of it */
    bool was_unknown;                         /* the centre did not know it, or not any more */
    uint64_t budgeted_bytes;                  /* of photos that keep to the budget, as they left */
    bool budget_is_uncertain;                 /* the disk did not take what was used */
    bool store_is_damaged;                    /* the agent wants to be started again */
    bool is_shut_out;                         /* at the end: a copy with a key that was replaced */
    struct sim_disk_image *backup;
    uint64_t backup_findings;
    struct buffer carried;   /* receipts on their way back by hand */
    uint64_t carried_number; /* of the newest carrier */
    uint64_t pruned;         /* records that it had removed when the backup was last looked at for them */
    bool told_gone;          /* it has said that such records are in neither place */
    bool resync_done, resync_ok;
    struct resync_report resync;
};

/* ---- what people recorded ---- */

enum finding_truth {
    TRUTH_CERTAIN,   /* the id was told to the user: it must not be lost */
    TRUTH_UNCERTAIN, /* the collector died or failed: there or not, but not twice */
};

struct sim_photo {
    struct sha256 sha256;
    uint64_t size;
    bool has_budget;                 /* a full photo of no urgent finding */
    bool freed_old, freed_backed_up; /* removed from a handheld, and why */
    bool is_in_backup;               /* as it stood before the last slow poll */
};

struct sim_finding {
    uint64_t number; /* its note says it */
    unsigned handheld;
    enum finding_truth truth;
    enum record_kind kind;
    struct uuid id;
    struct position_in_log at;
    struct sim_photo photos[4];
    size_t photo_count;
    unsigned seen;    /* while checking */
    bool is_complete; /* as the centre says, likewise */
};

/* Receipts that left the centre. */
struct issued {
    struct uuid log;
    uint64_t ever; /* the largest size ever signed */
    uint64_t held; /* what the centre must still hold: less after a restore */
};

/* ---- events ---- */

struct sim_event {
    uint64_t at_ms, order;
    void (*run)(struct sim *sim, void *object, uint64_t number);
    void *object;
    uint64_t number;
};

struct sim {
    uint64_t seed;
    struct sim_random random;
    uint64_t now_ms;
    struct sim_event *heap;
    size_t heap_count, heap_capacity;
    uint64_t next_order, events_run;
    crypto_hash_sha256_state trace;
    bool prints_trace;
    char failure[SIM_FAILURE_MAX]; /* "": all is well */

    bool is_chaos; /* faults may happen */
    uint32_t network_faults_percent;
    uint32_t audit_faults_percent; /* of answers to audits and repairs that are lost, late, cut or doubled */
    uint64_t audit_faults_number;  /* of the periods in which they are */
    struct server server;
    struct handheld handhelds[SIM_HANDHELDS_MAX];
    size_t handheld_count;
    struct sim_request *requests; /* all that live */
    uint64_t next_request;
    struct buffer old_answer; /* a genuine one, to be replayed */

    struct sim_finding *findings;
    size_t finding_count, finding_capacity;
    struct issued issued[SIM_LOGS_MAX];
    size_t issued_count;

    struct orders orders;    /* to erase something, as the centre's file says */
    bool erase_is_uncertain; /* it could not be read since the last one */
    size_t backup_orders;    /* of the centre's copy */

    /* What was done to this run, which decides what may be asked of it at the end. */
    bool was_restored, was_rolled_back, was_cloned, was_damaged, was_forked;
    bool was_handheld_damaged; /* and not the centre */
    bool server_clock_was_set;
    bool was_set_back_wholly; /* the centre, with its backups */
    bool was_rotated;         /* a device key, or it was begun */
    bool had_season;          /* a log was closed that may be pruned */
    struct coverage *coverage;
};

/* ---- sim_schedule.c ---- */

void sim_at(struct sim *sim, uint64_t delay_ms, void (*run)(struct sim *sim, void *object, uint64_t number),
    void *object, uint64_t number);
/* Runs the next event; false when there is none before `until_ms` or the run has failed. */
bool sim_step(struct sim *sim, uint64_t until_ms);
void sim_trace(struct sim *sim, const char *format, ...) _printf_(2, 3);
/* The first failure counts and ends the run. */
void sim_fail(struct sim *sim, const char *format, ...) _printf_(2, 3);
bool sim_failed(const struct sim *sim);
uint64_t sim_below(struct sim *sim, uint64_t bound);
bool sim_chance(struct sim *sim, unsigned percent);
/* low .. high */
uint64_t sim_between(struct sim *sim, uint64_t low, uint64_t high);
void sim_cover(struct sim *sim, enum coverage_kind kind);

/* ---- machines (sim_schedule.c) ---- */

void machine_init(struct sim *sim, struct machine *machine, const char *name);
void machine_done(struct machine *machine);
void machine_tick(struct sim *sim, struct machine *machine);
/* New boot id, boot clock near 0. */
void machine_boot(struct sim *sim, struct machine *machine);

/* ---- sim_server.c ---- */

void server_init(struct sim *sim);
void server_done(struct sim *sim);
/* Starts the process; tries again later when the disk does not let it. */
void server_start(struct sim *sim);
/* The process ends: by SIGTERM, or without a word. */
void server_stop(struct sim *sim);
void server_kill(struct sim *sim);
void server_power_cut(struct sim *sim);
void server_start_later(struct sim *sim, uint64_t delay_ms);
/* After whatever touched its disk: carries out a planned death. */
void server_after(struct sim *sim);
/* A request has arrived; the server answers by network_answer, or never. Takes the request's body only. */
void server_receive(struct sim *sim, struct sim_request *request);

/* ---- sim_uploads.c ---- */

void uploads_receive(struct sim *sim, struct sim_request *request);

/* ---- sim_network.c ---- */

struct sim_reply {
    unsigned status;
    struct buffer body;
    char location[SIM_PATH_MAX], upload_offset[24], retry_after[24];
};

/* What becomes of a request. */
enum sim_fate {
    FATE_GOOD = COVER_NET_GOOD,
    FATE_REQUEST_LOST = COVER_NET_REQUEST_LOST,
    FATE_RESET_BEFORE = COVER_NET_RESET_BEFORE,
    FATE_BODY_CUT = COVER_NET_BODY_CUT,
    FATE_RESET_AFTER = COVER_NET_RESET_AFTER,
    FATE_ANSWER_LOST = COVER_NET_ANSWER_LOST,
    FATE_ANSWER_CUT = COVER_NET_ANSWER_CUT,
    FATE_ANSWER_DAMAGED = COVER_NET_ANSWER_DAMAGED,
    FATE_ANSWER_LATE = COVER_NET_ANSWER_LATE,
    FATE_ANSWER_OLD = COVER_NET_ANSWER_OLD,
    FATE_DUPLICATE = COVER_NET_DUPLICATE,
    FATE_FORGED = COVER_NET_FORGED,
    FATE_CAPTIVE = COVER_NET_CAPTIVE,
    FATE_TLS = COVER_NET_TLS,
    FATE_BUSY = COVER_NET_BUSY,
    FATE_LINK_DOWN = COVER_NET_LINK_DOWN,
};

struct sim_request {
    struct sim_request *next;
    uint64_t number;
    unsigned handheld;
    uint64_t daemon_life;
    uint32_t slot;
    bool is_ghost; /* a duplicate: nobody waits for its answer */
    bool is_over;  /* the handheld has had its end */
    enum sim_fate fate;
    char method[8], path[SIM_PATH_MAX];
    char tus_version[8], authorization[UPLOAD_TOKEN_TEXT_MAX + 16], upload_length[24], upload_metadata[160],
        upload_offset[24], upload_checksum[80];
    struct buffer body;
    size_t body_arrived; /* fewer than body.len: broken off */
    struct sim_reply reply;
    bool is_answered;

    /* The server's. */
    unsigned references;
    uint64_t server_life;
    struct service_job *job;
    struct sim_request *next_held;
    uint64_t hold_until_ms;
    struct uuid log;
};

struct transport network_transport(struct handheld *handheld);
void network_hold(struct sim_request *request);
void network_release(struct sim *sim, struct sim_request *request);
/* The server's answer goes out, if it is still alive to send it. */
void network_answer(struct sim *sim, struct sim_request *request);
/* All requests of a daemon that is no more. */
void network_forget_daemon(struct sim *sim, struct handheld *handheld);
void network_done(struct sim *sim);
unsigned network_in_flight(const struct handheld *handheld);

/* ---- sim_link.c ---- */

void link_set(struct sim *sim, struct handheld *handheld, bool up);
/* Nothing may wait as after an outage: at the daemon's start, and when somebody has asked for a sync. */
void link_check_no_wait(struct sim *sim, struct handheld *handheld, const char *when);
/* Faults; each ends by itself. */
bool link_flap(struct sim *sim, struct handheld *handheld);
bool link_outage(struct sim *sim, struct handheld *handheld);
bool link_flap_burst(struct sim *sim, struct handheld *handheld);

/* ---- sim_portal.c ---- */

void portal_begin(struct sim *sim, struct handheld *handheld);
void portal_end(struct handheld *handheld);
/* True when a portal takes what is sent to this path. */
bool portal_meets(struct sim *sim, const struct handheld *handheld, const char *path, enum sim_fate *ret);
/* What it says to it. */
void portal_answer(struct sim *sim, struct sim_request *request);

/* ---- sim_audit.c ---- */

/* Faults: a resync while answers are lost; damage, and such a resync after it. */
bool audit_under_loss(struct sim *sim, struct handheld *handheld);
bool audit_after_damage(struct sim *sim, struct handheld *handheld);
void audit_losses_begin(struct sim *sim, uint32_t percent);
void audit_losses_end(struct sim *sim);
/* True when what is sent to this path meets such a loss. */
bool audit_meets_loss(struct sim *sim, struct handheld *handheld, const char *path, enum sim_fate *ret);

/* ---- sim_forge.c ---- */

/* An answer without the centre's signature that claims everything was stored: records, and photos that were
 * not sent yet. False when there is nothing to claim. */
bool forge_answer(struct sim *sim, const struct sim_request *request, struct buffer *ret);

/* ---- sim_handheld.c ---- */

void handheld_init(struct sim *sim, struct handheld *handheld, unsigned number);
void handheld_done(struct sim *sim, struct handheld *handheld);
void handheld_enrol(struct sim *sim, struct handheld *handheld);
void daemon_start(struct sim *sim, struct handheld *handheld);
void daemon_stop(struct sim *sim, struct handheld *handheld);
void daemon_start_later(struct sim *sim, struct handheld *handheld, uint64_t delay_ms);
void handheld_power_cut(struct sim *sim, struct handheld *handheld);
/* After whatever the daemon did: planned deaths, timers, WAL. */
void daemon_after(struct sim *sim, struct handheld *handheld);
void daemon_doorbell(struct sim *sim, struct handheld *handheld);

/* ---- sim_collector.c ---- */

/* Somebody records, amends or withdraws something; or imports a few. */
void collector_act(struct sim *sim, struct handheld *handheld);
/* One plain finding that must be recorded. */
void collector_record_one(struct sim *sim, struct handheld *handheld);
/* So many findings without photos in a log of their own, which is left in order. */
void collector_season(struct sim *sim, struct handheld *handheld, size_t records);
uint64_t finding_number_of(struct bytes note); /* UINT64_MAX: not one of ours */

/* ---- sim_bundle.c ---- */

/* False: nothing could be carried now. */
bool bundle_carry(struct sim *sim, struct handheld *handheld);

/* ---- sim_faults.c ---- */

/* Something is damaged behind the centre's back, if it may be. */
bool faults_damage_centre(struct sim *sim);

void faults_plan(struct sim *sim, uint64_t chaos_ms);
/* Ends all faults: everything is up and well. */
void faults_end(struct sim *sim);
/* The centre's disk is copied, if it was not yet; and set back to that copy. */
bool faults_copy_server(struct sim *sim, struct handheld *handheld);
bool faults_restore_server(struct sim *sim, struct handheld *handheld);

/* ---- sim_backup.c ---- */

/* Faults, though a backup is none. */
bool backup_make(struct sim *sim, struct handheld *handheld);
bool backup_restore(struct sim *sim, struct handheld *handheld);
/* Notes what was removed in a poll that was cut off. */
void backup_note_freed(struct sim *sim);
/* What the daemon does with every slow poll. */
void backup_poll(struct sim *sim, struct handheld *handheld);
/* The only copy may have been at the centre, which was damaged or set back. */
bool backup_may_lack(const struct sim *sim, const struct sim_photo *photo);
bool backup_may_lack_of(const struct sim *sim, const struct sim_finding *finding);
bool backup_may_lack_any(const struct sim *sim);

/* ---- sim_damage.c ---- */

/* A fault. */
bool damage_handheld(struct sim *sim, struct handheld *handheld);

/* ---- sim_budget.c ---- */

void budget_configure(struct engine_config *config);
/* A fault: the handheld comes to another kind of network. */
bool budget_other_network(struct sim *sim, struct handheld *handheld);
/* A request leaves: what it carries must be within the budget. */
void budget_watch(struct sim *sim, struct handheld *handheld, const struct http_request *http);
/* All is well again: the network is not metered any more. */
void budget_end(struct sim *sim, struct handheld *handheld);

/* ---- sim_erase.c ---- */

bool erase_something(struct sim *sim, struct handheld *handheld);
/* Reads the orders again: after one, and when the centre has started. */
void erase_refresh(struct sim *sim);
bool erase_has_id(const struct sim *sim, const struct uuid *id);
bool erase_has_photo(const struct sim *sim, const struct sha256 *sha256);
/* The handheld has carried out all orders: all handhelds of a run are one device, or its copies. */
bool erase_is_done(const struct sim *sim, const struct handheld *handheld);
/* All is quiet: nothing that was erased stands in a database file or a photo directory. */
void erase_check(struct sim *sim);

/* ---- sim_rotate.c ---- */

/* What the handheld is enrolled with, as its disk has it. */
int rotate_load(struct handheld *handheld);
/* Goes on with a rotation that was broken off; true while a next key waits. */
bool rotate_go_on(struct handheld *handheld);
/* For agent_listener.certificate. */
int rotate_take(void *context, struct bytes envelope, const uint8_t public_key[SIGN_PUBLIC_BYTES]);
/* A fault, though it is none. */
bool rotate_key(struct sim *sim, struct handheld *handheld);
/* It is refused for good, and may be: it is a copy, and another one goes on. */
bool rotate_is_shut_out(struct sim *sim, const struct handheld *handheld);
/* All is quiet: who is shut out now is asked for nothing more. */
void rotate_note_shut_out(struct sim *sim);

/* ---- sim_prune.c ---- */

/* A long log that is closed, and a backup of the centre some time after. */
bool prune_season(struct sim *sim, struct handheld *handheld);
/* All is well again: time for what is to be removed, and after it perhaps the centre is set back: true when
 * it was. */
bool prune_aftermath(struct sim *sim);
/* What this handheld has removed is in the backup: looked at when it is more than before, and at the end. */
void prune_check(struct sim *sim, struct handheld *handheld, bool is_end);
/* True when the record at this place was removed. */
bool prune_has(const struct handheld *handheld, const struct position_in_log *at);
/* It may be in neither place, and the handheld has said so. */
bool prune_is_told(struct sim *sim, const struct sim_finding *finding);

/* ---- sim_check.c ---- */

/* A reply is about to leave: what it promises must be durable. */
void check_promise(struct sim *sim, const struct sim_request *request);
/* Receipts for a bundle leave the centre: the same. */
void check_carried(struct sim *sim, struct bytes receipts);
/* The server's process has started: it must hold what it signed. */
void check_server_start(struct sim *sim);
/* It was set back on purpose: what it signed since need not be there. */
void check_server_restored(struct sim *sim);
/* True when the centre has signed for this position, and must have it. */
bool check_is_held(struct sim *sim, const struct position_in_log *at);
/* The handheld has taken an answer. */
void check_receipts(struct sim *sim, struct handheld *handheld);
/* What is queued at the handheld before an answer that nobody signed, and after it: nothing may count. */
void check_nothing_counts(struct sim *sim, struct handheld *handheld, const struct store_status *before);
/* Photos that count as stored are stored. */
void check_stored_photos(struct sim *sim, struct handheld *handheld);
/* The handheld's store was opened: what people were told is there. */
void check_store_start(struct sim *sim, struct handheld *handheld);
/* All is quiet and everything was acknowledged. */
void check_end(struct sim *sim);
