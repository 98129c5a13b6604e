/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stories about the engine: simulated time, a handheld with logs and blobs, a centre that answers as the test
 * says. Used by test_engine_*.c only.
 *
 * The story carries out every action the engine hands out, and after each event checks what must always hold:
 * a slot has one request at a time, a cancel ends a request that is there, a timer is set and lies ahead.
 */
#pragma once

#include "tests/unit/unit.h"

#include "syncd/core/engine.h"

#define RECORD_PLAIN_BYTES 250u
#define RECORD_WIRE_BYTES 60u

struct story_slot {
    bool busy;
    struct engine_action action;
    uint64_t records;        /* exchange: what it carries */
    uint64_t receipt_before; /* exchange: held when it was made */
    uint64_t started_ms;
};

struct story {
    struct engine *engine;
    struct engine_config config;
    uint64_t now_ms, random, timer_ms;
    struct story_slot slots[ENGINE_SLOTS_MAX];
    struct engine_outbox outbox;
    size_t requests; /* started in all */
    size_t sync_done, sync_refused, resync_started, resync_done, alarms, cancels, leaves;
    struct engine_action resync_end, leave;
    size_t kept; /* how often the budget was given to be kept, and what last */
    struct engine_budget budget;
    const char *alarm;
    bool token_with_answers;
};

/* A started engine that has nothing; idle contact and self-audit off, so that what happens is what the test
 * says. */
void story_begin(struct story *story);
void story_begin_with(struct story *story, const struct engine_config *config);
/* The same with other random bits. */
void story_begin_drawn(struct story *story, const struct engine_config *config, uint64_t random);
void story_end(struct story *story);
struct engine_config story_config(void);

struct uuid story_log_id(size_t number);
struct sha256 story_blob_id(size_t number);
/* Sets a log of the outbox, or adds it as the last one; told to the engine by story_tell. */
void story_log(struct story *story, size_t index, uint64_t size, uint64_t receipt_size);
/* The best pending blob, of so many. */
void story_blobs(struct story *story, size_t next, uint64_t size, uint64_t pending, uint64_t unconfirmed);
void story_tell(struct story *story);
void story_event(struct story *story, enum engine_event_kind kind);
void story_feed(struct story *story, struct engine_event event);
void story_link(struct story *story, bool up);
void story_resync(struct story *story, enum audit_level level, enum resync_cause cause, uint8_t command);
/* Lets time pass; timers fire when they are due. */
void story_wait(struct story *story, uint64_t ms);
/* Lets time pass until a request is in flight; a day without one fails the test. Returns how long it took. */
uint64_t story_wait_for_request(struct story *story);

/* Answers. `stored`: everything below the end of this exchange is stored; it moves the log's receipt. */
void story_stored(struct story *story, uint32_t slot);
/* Answers exchange after exchange so, in order, until the engine says that all is done. */
void story_drain(struct story *story);
/* What a centre that holds `size` records answers. */
struct engine_event story_exchanged(
    const struct story *story, uint32_t slot, enum exchange_outcome outcome, uint64_t size);
void story_uploaded(struct story *story, uint64_t offset, uint64_t size);
void story_fail(struct story *story, uint32_t slot, enum engine_failure failure);
void story_refuse(struct story *story, uint32_t slot, enum refusal_reason reason);
/* A clean audit window, to be changed before it is fed. */
struct engine_event story_audited(uint64_t size);
void story_repaired(struct story *story, uint64_t mended, uint64_t refused, uint64_t left);

size_t story_busy(const struct story *story);
struct engine_report story_report(const struct story *story);
