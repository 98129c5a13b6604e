/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The storage writer: the one thread that commits. It takes what the HTTP threads have queued, up to
 * SERVICE_GROUP_MAX jobs at a time, commits them together, and lets each go. A job that came ahead of its log
 * is kept until the one before it has been committed, or until its time is over. When nothing is queued it
 * does the service's housekeeping; when there is always work, a step of what is due behind each group. Must
 * not know HTTP.
 *
 *   HTTP thread: prepare, writer_submit ──► writer: commit ──► item->release ──► HTTP thread: answer
 */
#pragma once

#include "server/service.h"

#define WRITER_QUEUE_MAX 4096u
#define WRITER_HELD_MAX 256u

struct writer;

/* Owned by its submitter, and the writer's from the return of writer_submit until `release` is called. */
struct writer_item {
    struct service_job *job; /* NULL: a blob is in place */
    struct sha256 sha256;
    uint64_t size;
    int result; /* of the commit; -errno: nothing was stored */
    /* Called before the item is queued, by the submitting thread, and by the writer at the end. */
    void (*hold)(struct writer_item *item);
    void (*release)(struct writer_item *item);

    /* The writer's own. */
    struct writer_item *next;
    uint64_t hold_until_ms;
    bool is_ahead;
    struct uuid log;
};

int writer_start(struct service *service, struct writer **ret);
/* Accepts nothing more, commits what is queued, lets go what is held, and ends the thread. */
void writer_stop(struct writer *writer);
/* Stops it first. */
void writer_free(struct writer *writer);
DEFINE_CLEANUP(struct writer, writer_free);

/* -EBUSY when the queue is full, -ESHUTDOWN when it stops: the item was not taken, nothing was called. */
int writer_submit(struct writer *writer, struct writer_item *item);
/* A blob that is in place, for whose entry nobody waits. Best effort: what is not entered is found again. */
void writer_submit_stored(struct writer *writer, const struct sha256 *sha256, uint64_t size);
/* From now on nothing is held: what is ahead is answered so. For a stop. */
void writer_hold_no_more(struct writer *writer);
/* False when the last commit failed, or one has been running for too long. */
bool writer_is_well(struct writer *writer);
void writer_counts(struct writer *writer, uint64_t *ret_queued, uint64_t *ret_held);
/* Time spent in commits since the start. */
uint64_t writer_busy_us(const struct writer *writer);
