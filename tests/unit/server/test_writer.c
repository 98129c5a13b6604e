/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of server/http/writer.h over a service of the test's own, whose commits wait at a gate: what is
 * committed together, what is held, what is refused, what a stop leaves behind. No time is waited for but a
 * thread's.
 */
#include "tests/unit/unit.h"

#include "server/http/writer.h"

#include <errno.h>
#include <pthread.h>

struct service_job {
    struct writer_item item;
    struct uuid log;
    unsigned commits;
    bool is_ahead, is_held_by_shell, is_released;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static struct {
    bool is_gate_closed;
    unsigned commits_begun, commits_ended;
    size_t last_group;
    int commit_result;
    unsigned blobs_stored;
    bool is_house_never_done;
    unsigned index_looks;
    unsigned house_steps, house_steps_at_commit; /* the latter: as the last commit began */
    struct service_job *ends_ahead;              /* this job is no longer ahead when a commit has been made */
} fake;

/* ---- the service, as the writer sees it ---- */

int service_commit(struct service *service, struct service_job *const *jobs, size_t count)
{
    pthread_mutex_lock(&mutex);
    fake.commits_begun++;
    fake.last_group = count;
    fake.house_steps_at_commit = fake.house_steps;
    pthread_cond_broadcast(&changed);
    while (fake.is_gate_closed)
        pthread_cond_wait(&changed, &mutex);
    for (size_t i = 0; i < count; i++)
        if (++jobs[i]->commits > 1 && jobs[i] == fake.ends_ahead)
            jobs[i]->is_ahead = false;
    fake.commits_ended++;
    int r = fake.commit_result;
    pthread_mutex_unlock(&mutex);
    return r;
}

bool service_job_is_ahead(const struct service_job *job, struct uuid *ret_log)
{
    *ret_log = job->log;
    return job->is_ahead;
}

int service_blob_stored(struct service *service, const struct sha256 *sha256, uint64_t size)
{
    pthread_mutex_lock(&mutex);
    fake.blobs_stored++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    return size == 7 ? 0 : -EIO;
}

int service_housekeeping(struct service *service)
{
    pthread_mutex_lock(&mutex);
    fake.house_steps++;
    bool is_more = fake.is_house_never_done;
    pthread_mutex_unlock(&mutex);
    return is_more;
}

int service_index_ids(struct service *service)
{
    pthread_mutex_lock(&mutex);
    fake.index_looks++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
    return 0;
}

/* ---- the shell ---- */

static struct service_job *job_of(struct writer_item *item)
{
    return (struct service_job *)(void *)((char *)item - offsetof(struct service_job, item));
}

static void hold(struct writer_item *item)
{
    job_of(item)->is_held_by_shell = true;
}

static void release(struct writer_item *item)
{
    pthread_mutex_lock(&mutex);
    job_of(item)->is_released = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

static struct service_job job_for(uint8_t log)
{
    return (struct service_job){.log = {{log}}, .item = {.hold = hold, .release = release}};
}

static int submit(struct writer *writer, struct service_job *job)
{
    job->item.job = job;
    return writer_submit(writer, &job->item);
}

static void set_gate(bool is_closed)
{
    pthread_mutex_lock(&mutex);
    fake.is_gate_closed = is_closed;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

#define AWAIT(condition)                                                                                     \
    do {                                                                                                     \
        pthread_mutex_lock(&mutex);                                                                          \
        while (!(condition))                                                                                 \
            pthread_cond_wait(&changed, &mutex);                                                             \
        pthread_mutex_unlock(&mutex);                                                                        \
    } while (0)

static int start_writer(void **state)
{
    struct writer *writer;
    alarm(60); /* what is awaited in vain ends the test */
    *state = NULL;
    if (writer_start(NULL, &writer) < 0)
        return -1;
    *state = writer;
    return 0;
}

static int set_up(void **state)
{
    memset(&fake, 0, sizeof(fake));
    return start_writer(state);
}

static int set_up_endless_housekeeping(void **state)
{
    memset(&fake, 0, sizeof(fake));
    fake.is_house_never_done = true;
    return start_writer(state);
}

static int tear_down(void **state)
{
    set_gate(false);
    writer_free(*state);
    return 0;
}

/* ---- the tests ---- */

static void what_waits_during_a_commit_is_committed_together(void **state)
{
    struct writer *writer = *state;
    struct service_job first = job_for(1), others[9];

    set_gate(true);
    assert_int_equal(submit(writer, &first), 0);
    assert_true(first.is_held_by_shell);
    AWAIT(fake.commits_begun == 1);
    for (size_t i = 0; i < 9; i++) {
        others[i] = job_for((uint8_t)(2 + i));
        assert_int_equal(submit(writer, &others[i]), 0);
    }
    pthread_mutex_lock(&mutex);
    assert_false(first.is_released); /* never before its commit has returned */
    pthread_mutex_unlock(&mutex);
    set_gate(false);
    for (size_t i = 0; i < 9; i++)
        AWAIT(others[i].is_released);
    assert_int_equal(fake.commits_ended, 2);
    assert_int_equal(fake.last_group, 9);
    assert_true(first.is_released);
}

static void group_is_bounded(void **state)
{
    struct writer *writer = *state;
    static struct service_job jobs[SERVICE_GROUP_MAX + 10];

    set_gate(true);
    for (size_t i = 0; i < SERVICE_GROUP_MAX + 10; i++) {
        jobs[i] = job_for((uint8_t)i);
        assert_int_equal(submit(writer, &jobs[i]), 0);
        if (i == 0)
            AWAIT(fake.commits_begun == 1);
    }
    set_gate(false);
    AWAIT(jobs[SERVICE_GROUP_MAX + 9].is_released);
    assert_int_equal(fake.commits_ended, 3); /* 1, then 64, then 9 */
    assert_int_equal(fake.last_group, 9);
}

static void public_ids_are_looked_for_after_each_commit(void **state)
{
    struct writer *writer = *state;
    struct service_job first = job_for(1), second = job_for(2);

    assert_int_equal(submit(writer, &first), 0);
    AWAIT(fake.index_looks == 1);
    assert_true(first.is_released); /* its answer did not wait for that */
    assert_int_equal(submit(writer, &second), 0);
    AWAIT(fake.index_looks == 2);
}

static void full_queue_refuses_and_takes_nothing(void **state)
{
    struct writer *writer = *state;
    static struct service_job jobs[WRITER_QUEUE_MAX + 1];
    struct service_job over = job_for(9);
    uint64_t queued, held;

    set_gate(true);
    for (size_t i = 0; i < WRITER_QUEUE_MAX + 1; i++) {
        jobs[i] = job_for(1);
        assert_int_equal(submit(writer, &jobs[i]), 0);
        if (i == 0)
            AWAIT(fake.commits_begun == 1); /* this one is off the queue */
    }
    assert_int_equal(submit(writer, &over), -EBUSY);
    assert_false(over.is_held_by_shell);
    writer_counts(writer, &queued, &held);
    assert_int64_equal(queued, WRITER_QUEUE_MAX);
    set_gate(false);
    AWAIT(jobs[WRITER_QUEUE_MAX].is_released);
    assert_false(over.is_released);
}

static void job_that_is_ahead_is_held_until_its_own_log_grows(void **state)
{
    struct writer *writer = *state;
    struct service_job ahead = job_for(1), of_another_log = job_for(2), before = job_for(1);

    ahead.is_ahead = true;
    fake.ends_ahead = &ahead;
    assert_int_equal(submit(writer, &ahead), 0);
    AWAIT(ahead.commits == 1);
    assert_int_equal(submit(writer, &of_another_log), 0);
    AWAIT(of_another_log.is_released);
    pthread_mutex_lock(&mutex);
    assert_false(ahead.is_released);
    assert_int_equal(ahead.commits, 1); /* another log's commit is no reason to try again */
    pthread_mutex_unlock(&mutex);
    assert_int_equal(submit(writer, &before), 0);
    AWAIT(ahead.is_released);
    assert_true(before.is_released);
    assert_int_equal(ahead.commits, 2);
    assert_int_equal(ahead.item.result, 0);
}

static void job_of_no_log_is_no_reason_to_try_again(void **state)
{
    struct writer *writer = *state;
    struct service_job ahead = job_for(1), of_no_log = job_for(0), behind = job_for(2), before = job_for(1);

    ahead.is_ahead = true;
    fake.ends_ahead = &ahead;
    assert_int_equal(submit(writer, &ahead), 0);
    AWAIT(ahead.commits == 1);
    assert_int_equal(submit(writer, &of_no_log), 0);
    AWAIT(of_no_log.is_released);
    assert_int_equal(submit(writer, &behind), 0); /* what is tried again comes before it */
    AWAIT(behind.is_released);
    pthread_mutex_lock(&mutex);
    unsigned tries = ahead.commits;
    pthread_mutex_unlock(&mutex);
    assert_int_equal(submit(writer, &before), 0);
    AWAIT(ahead.is_released && before.is_released);
    assert_int_equal(tries, 1);
}

static void nothing_is_held_once_the_server_stops(void **state)
{
    struct writer *writer = *state;
    struct service_job ahead = job_for(1), later = job_for(2);

    ahead.is_ahead = later.is_ahead = true;
    assert_int_equal(submit(writer, &ahead), 0);
    AWAIT(ahead.commits == 1);
    writer_hold_no_more(writer);
    AWAIT(ahead.is_released);
    assert_int_equal(submit(writer, &later), 0);
    AWAIT(later.is_released);
    assert_int_equal(later.commits, 1);
}

static void failed_commit_is_told_to_every_job_and_to_the_health_check(void **state)
{
    struct writer *writer = *state;
    struct service_job failed = job_for(1), good = job_for(1);

    assert_true(writer_is_well(writer));
    fake.commit_result = -EIO;
    assert_int_equal(submit(writer, &failed), 0);
    AWAIT(failed.is_released);
    assert_int_equal(failed.item.result, -EIO);
    assert_false(writer_is_well(writer));
    pthread_mutex_lock(&mutex);
    fake.commit_result = 0;
    pthread_mutex_unlock(&mutex);
    assert_int_equal(submit(writer, &good), 0);
    AWAIT(good.is_released);
    assert_int_equal(good.item.result, 0);
    assert_true(writer_is_well(writer));
}

static void stored_blobs_are_entered_with_and_without_somebody_who_waits(void **state)
{
    struct writer *writer = *state;
    struct service_job good = job_for(0), bad = job_for(0);
    const struct sha256 hash = {{1}};

    good.item.size = 7;
    bad.item.size = 8;
    assert_int_equal(writer_submit(writer, &good.item), 0);
    assert_int_equal(writer_submit(writer, &bad.item), 0);
    writer_submit_stored(writer, &hash, 7);
    AWAIT(good.is_released && bad.is_released && fake.blobs_stored == 3);
    assert_int_equal(good.item.result, 0);
    assert_int_equal(bad.item.result, -EIO);
}

static void a_photo_that_cannot_be_entered_fails_no_request_behind_it(void **state)
{
    struct writer *writer = *state;
    struct service_job first = job_for(1), bad = job_for(0), behind = job_for(3), ahead = job_for(4);
    struct service_job before_it = job_for(4);

    ahead.is_ahead = true;
    fake.ends_ahead = &ahead;
    bad.item.size = 8;
    set_gate(true);
    assert_int_equal(submit(writer, &first), 0);
    AWAIT(fake.commits_begun == 1);
    assert_int_equal(writer_submit(writer, &bad.item), 0);
    assert_int_equal(submit(writer, &behind), 0);
    assert_int_equal(submit(writer, &ahead), 0);
    set_gate(false);
    AWAIT(bad.is_released && behind.is_released);
    assert_int_equal(bad.item.result, -EIO);
    assert_int_equal(behind.item.result, 0);
    assert_int_equal(submit(writer, &before_it), 0);
    AWAIT(ahead.is_released);
    assert_int_equal(ahead.commits, 2); /* it was held until then */
}

static void house_is_kept_while_there_is_always_work(void **state)
{
    struct writer *writer = *state;
    static struct service_job jobs[2 * SERVICE_GROUP_MAX];
    unsigned before, after;

    set_gate(true);
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        jobs[i] = job_for((uint8_t)i);
        assert_int_equal(submit(writer, &jobs[i]), 0);
        if (i == 0)
            AWAIT(fake.commits_begun == 1);
    }
    pthread_mutex_lock(&mutex);
    before = fake.house_steps;
    pthread_mutex_unlock(&mutex);
    set_gate(false);
    AWAIT(jobs[ARRAY_LEN(jobs) - 1].is_released);
    pthread_mutex_lock(&mutex);
    after = fake.house_steps_at_commit;
    pthread_mutex_unlock(&mutex);
    assert_true(after > before);
}

static void stop_commits_what_is_queued_and_takes_no_more(void **state)
{
    struct writer *writer = *state;
    struct service_job jobs[3], ahead = job_for(1), late = job_for(1);

    ahead.is_ahead = true;
    set_gate(true);
    for (size_t i = 0; i < 3; i++) {
        jobs[i] = job_for((uint8_t)i);
        assert_int_equal(submit(writer, &jobs[i]), 0);
    }
    assert_int_equal(submit(writer, &ahead), 0);
    set_gate(false);
    writer_stop(writer);
    for (size_t i = 0; i < 3; i++)
        assert_true(jobs[i].is_released && jobs[i].commits == 1);
    assert_true(ahead.is_released);
    assert_int_equal(submit(writer, &late), -ESHUTDOWN);
    assert_false(late.is_held_by_shell);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_waits_during_a_commit_is_committed_together, set_up, tear_down),
        cmocka_unit_test_setup_teardown(group_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(public_ids_are_looked_for_after_each_commit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(full_queue_refuses_and_takes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(job_that_is_ahead_is_held_until_its_own_log_grows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(job_of_no_log_is_no_reason_to_try_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_held_once_the_server_stops, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            failed_commit_is_told_to_every_job_and_to_the_health_check, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            stored_blobs_are_entered_with_and_without_somebody_who_waits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_photo_that_cannot_be_entered_fails_no_request_behind_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            house_is_kept_while_there_is_always_work, set_up_endless_housekeeping, tear_down),
        cmocka_unit_test_setup_teardown(stop_commits_what_is_queued_and_takes_no_more, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
