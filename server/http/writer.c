/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http/writer.h"

#include "base/log.h"
#include "server/http/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

#define HOUSEKEEPING_EVERY_MS 60000u
#define COMMIT_MS_MAX 20000u /* a commit that takes longer than this is not well */

struct item_list {
    struct writer_item *first, **end;
    size_t count;
};

struct writer {
    struct service *service;
    pthread_t thread;
    bool running;

    pthread_mutex_t mutex;
    pthread_cond_t work; /* something was queued, or it shall stop */
    struct item_list queue;
    bool stopping, hold_no_more;
    uint64_t commit_since_ms; /* 0: no commit is running */
    bool commit_failed;
    size_t held_count; /* a copy for writer_counts */
    atomic_uint_least64_t busy_us;

    struct item_list held; /* the thread's own */
};

static void list_init(struct item_list *list)
{
    *list = (struct item_list){.end = &list->first};
}

static void list_put(struct item_list *list, struct writer_item *item)
{
    item->next = NULL;
    *list->end = item;
    list->end = &item->next;
    list->count++;
}

static struct writer_item *list_take(struct item_list *list)
{
    struct writer_item *item = list->first;
    if (!item)
        return NULL;
    list->first = item->next;
    if (!list->first)
        list->end = &list->first;
    list->count--;
    return item;
}

static void list_move(struct item_list *from, struct item_list *to)
{
    for (struct writer_item *item; (item = list_take(from));)
        list_put(to, item);
}

/* ---- the thread ---- */

/* Takes a group off the queue; the held ones that `again` marks come before it. Called with the mutex. */
static size_t take_group(struct writer *writer, struct item_list *again, struct writer_item **ret)
{
    size_t count = 0;
    while (count < SERVICE_GROUP_MAX) {
        struct writer_item *item = list_take(again);
        if (!item)
            item = list_take(&writer->queue);
        if (!item)
            break;
        ret[count++] = item;
    }
    return count;
}

static int commit_jobs(struct writer *writer, struct writer_item *const *items, size_t count)
{
    struct service_job *jobs[SERVICE_GROUP_MAX];
    size_t job_count = 0;

    for (size_t i = 0; i < count; i++)
        if (items[i]->job)
            jobs[job_count++] = items[i]->job;
    uint64_t start_us = clock_now_us();
    int r = job_count > 0 ? service_commit(writer->service, jobs, job_count) : 0;
    atomic_fetch_add_explicit(&writer->busy_us, clock_now_us() - start_us, memory_order_relaxed);
    if (r < 0)
        log_err("commit of %zu requests failed: %s; what was not stored the handhelds will send again",
            job_count, strerror(-r));
    return r;
}

static int commit_group(struct writer *writer, struct writer_item *const *items, size_t count)
{
    int r = commit_jobs(writer, items, count), failed = r;

    for (size_t i = 0; i < count; i++) {
        struct writer_item *item = items[i];
        item->result = r;
        item->is_ahead = false;
        item->log = (struct uuid){0};
        if (item->job && r == 0)
            item->is_ahead = service_job_is_ahead(item->job, &item->log);
        if (!item->job) {
            item->result = service_blob_stored(writer->service, &item->sha256, item->size);
            if (item->result < 0) {
                failed = item->result;
                log_err("a photo is in place but could not be entered: %s; it will be found again",
                    strerror(-item->result));
            }
        }
    }
    return failed;
}

/* Moves what may go on now from the held ones to `again`: those whose log has grown. */
static void wake_held(struct writer *writer, const struct uuid *log, struct item_list *again)
{
    struct item_list kept;
    list_init(&kept);
    for (struct writer_item *item; (item = list_take(&writer->held));)
        list_put(uuid_equal(&item->log, log) ? again : &kept, item);
    list_move(&kept, &writer->held);
}

static void settle_group(struct writer *writer, struct writer_item *const *items, size_t count, bool may_hold,
    struct item_list *again)
{
    uint64_t now_ms = clock_now_ms();
    struct writer_item *done[SERVICE_GROUP_MAX];
    size_t done_count = 0;

    for (size_t i = 0; i < count; i++) {
        struct writer_item *item = items[i];
        if (item->is_ahead && may_hold && now_ms < item->hold_until_ms &&
            writer->held.count < WRITER_HELD_MAX)
            list_put(&writer->held, item);
        else
            done[done_count++] = item;
    }
    for (size_t i = 0; i < done_count; i++)
        if (done[i]->job && done[i]->result == 0 && !done[i]->is_ahead && writer->held.count > 0)
            wake_held(writer, &done[i]->log, again);
    for (size_t i = 0; i < done_count; i++)
        done[i]->release(done[i]);
}

/* Lets go whose time is over, and says when the next one's is. */
static uint64_t release_overdue(struct writer *writer, bool all)
{
    uint64_t now_ms = clock_now_ms(), next_ms = UINT64_MAX;
    struct item_list kept;

    list_init(&kept);
    for (struct writer_item *item; (item = list_take(&writer->held));) {
        if (all || item->hold_until_ms <= now_ms) {
            item->release(item);
            continue;
        }
        if (item->hold_until_ms < next_ms)
            next_ms = item->hold_until_ms;
        list_put(&kept, item);
    }
    list_move(&kept, &writer->held);
    return next_ms;
}

/* Waits for work until `until_ms`. Called with the mutex. */
static void wait_for_work(struct writer *writer, uint64_t until_ms)
{
    struct timespec until = clock_timespec(until_ms);
    while (!writer->queue.first && !writer->stopping && !writer->hold_no_more && clock_now_ms() < until_ms)
        if (pthread_cond_timedwait(&writer->work, &writer->mutex, &until) == ETIMEDOUT)
            return;
}

/* Housekeeping in small steps; returns when the next one is due. */
static uint64_t keep_house(struct writer *writer)
{
    int r = service_housekeeping(writer->service);
    if (r < 0)
        log_warning("housekeeping failed: %s; tried again in a minute", strerror(-r));
    return r > 0 ? 0 : clock_now_ms() + HOUSEKEEPING_EVERY_MS;
}

static void *writer_run(void *argument)
{
    struct writer *writer = argument;
    struct item_list again;
    uint64_t housekeeping_ms = 0;

    list_init(&again);
    for (;;) {
        struct writer_item *items[SERVICE_GROUP_MAX];

        pthread_mutex_lock(&writer->mutex);
        bool release_all = writer->stopping || writer->hold_no_more;
        writer->held_count = writer->held.count;
        size_t count = take_group(writer, &again, items);
        writer->commit_since_ms = count > 0 ? clock_now_ms() : 0;
        bool stop = writer->stopping && count == 0;
        pthread_mutex_unlock(&writer->mutex);

        uint64_t next_ms = release_overdue(writer, release_all);
        if (stop)
            return NULL;
        if (count > 0) {
            int r = commit_group(writer, items, count);
            pthread_mutex_lock(&writer->mutex);
            writer->commit_since_ms = 0;
            writer->commit_failed = r < 0;
            pthread_mutex_unlock(&writer->mutex);
            settle_group(writer, items, count, !release_all, &again);
            if (r >= 0 && !release_all)
                (void)service_index_ids(writer->service); /* what fails is told by the housekeeping */
        }
        if (!release_all && clock_now_ms() >= housekeeping_ms) {
            housekeeping_ms = keep_house(writer);
            continue;
        }
        if (count > 0)
            continue;
        if (release_all || housekeeping_ms < next_ms)
            next_ms = housekeeping_ms;
        pthread_mutex_lock(&writer->mutex);
        if (release_all && !writer->stopping) {
            struct timespec until = clock_timespec(clock_now_ms() + 50);
            if (!writer->queue.first)
                pthread_cond_timedwait(&writer->work, &writer->mutex, &until);
        } else {
            wait_for_work(writer, next_ms);
        }
        pthread_mutex_unlock(&writer->mutex);
    }
}

/* ---- the other threads ---- */

int writer_start(struct service *service, struct writer **ret)
{
    struct writer *writer = calloc(1, sizeof(*writer));
    pthread_condattr_t attributes;

    if (!writer)
        return -ENOMEM;
    writer->service = service;
    list_init(&writer->queue);
    list_init(&writer->held);
    pthread_mutex_init(&writer->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&writer->work, &attributes);
    pthread_condattr_destroy(&attributes);

    int r = -pthread_create(&writer->thread, NULL, writer_run, writer);
    writer->running = r == 0;
    if (r < 0) {
        writer_free(writer);
        return r;
    }
    *ret = writer;
    return 0;
}

void writer_stop(struct writer *writer)
{
    if (!writer->running)
        return;
    pthread_mutex_lock(&writer->mutex);
    writer->stopping = true;
    pthread_cond_signal(&writer->work);
    pthread_mutex_unlock(&writer->mutex);
    pthread_join(writer->thread, NULL);
    writer->running = false;
}

void writer_free(struct writer *writer)
{
    if (!writer)
        return;
    writer_stop(writer);
    pthread_cond_destroy(&writer->work);
    pthread_mutex_destroy(&writer->mutex);
    free(writer);
}

int writer_submit(struct writer *writer, struct writer_item *item)
{
    int r = 0;

    item->hold_until_ms = clock_now_ms() + EXCHANGE_HOLD_MS;
    pthread_mutex_lock(&writer->mutex);
    if (writer->stopping)
        r = -ESHUTDOWN;
    else if (writer->queue.count >= WRITER_QUEUE_MAX)
        r = -EBUSY;
    if (r == 0) {
        item->hold(item);
        list_put(&writer->queue, item);
        pthread_cond_signal(&writer->work);
    }
    pthread_mutex_unlock(&writer->mutex);
    return r;
}

static void hold_nothing(struct writer_item *item)
{
}

static void free_item(struct writer_item *item)
{
    free(item);
}

void writer_submit_stored(struct writer *writer, const struct sha256 *sha256, uint64_t size)
{
    struct writer_item *item = calloc(1, sizeof(*item));

    if (!item)
        return;
    *item = (struct writer_item){.sha256 = *sha256, .size = size, .hold = hold_nothing, .release = free_item};
    if (writer_submit(writer, item) < 0)
        free(item);
}

void writer_hold_no_more(struct writer *writer)
{
    pthread_mutex_lock(&writer->mutex);
    writer->hold_no_more = true;
    pthread_cond_signal(&writer->work);
    pthread_mutex_unlock(&writer->mutex);
}

bool writer_is_well(struct writer *writer)
{
    pthread_mutex_lock(&writer->mutex);
    bool is_stuck = writer->commit_since_ms > 0 && clock_now_ms() > writer->commit_since_ms + COMMIT_MS_MAX;
    bool is_well = !writer->commit_failed && !is_stuck;
    pthread_mutex_unlock(&writer->mutex);
    return is_well;
}

uint64_t writer_busy_us(const struct writer *writer)
{
    return atomic_load_explicit(&writer->busy_us, memory_order_relaxed);
}

void writer_counts(struct writer *writer, uint64_t *ret_queued, uint64_t *ret_held)
{
    pthread_mutex_lock(&writer->mutex);
    *ret_queued = writer->queue.count;
    *ret_held = writer->held_count;
    pthread_mutex_unlock(&writer->mutex);
}
