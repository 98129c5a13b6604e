/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appending: one log without gaps, told of opening and boot, whoever appends.
 */
#include "tests/unit/store/fixture.h"

#include <signal.h>
#include <sys/wait.h>

static void first_append_opens_a_log_and_tells_the_boot(void **state)
{
    struct here *here = *state;
    struct store_appended appended = {0};
    struct buffer bytes = {0};
    struct store_record row = {0};
    struct arena arena;
    struct record record;

    assert_int_equal(append_note(here->store, "first", &appended), 0);
    assert_int_equal(appended.at.seq, 2);

    struct position_in_log at = {.log = appended.at.log, .seq = 0};
    assert_int_equal(store_read(here->store, &at, &bytes, &row), 0);
    record = decode(row.record, &arena);
    assert_int_equal(record.kind, RECORD_OPENED);
    assert_int_equal(record.opened.reason, OPEN_NEW);
    assert_true(uuid_is_nil(&record.opened.predecessor));
    assert_true(bytes_equal(record.inspector, author.inspector));

    buffer_clear(&bytes);
    at.seq = 1;
    assert_int_equal(store_read(here->store, &at, &bytes, &row), 0);
    arena_done(&arena);
    record = decode(row.record, &arena);
    assert_int_equal(record.kind, RECORD_DEVICE_EVENT);
    uint8_t boot_id[BOOT_ID_BYTES];
    world_posix()->verbs->boot_id(NULL, boot_id);
    assert_memory_equal(record.device_event.boot_id.b, boot_id, sizeof(boot_id));

    assert_int_equal(append_note(here->store, "second", &appended), 0);
    assert_int_equal(appended.at.seq, 3);
    arena_done(&arena);
    buffer_done(&bytes);
}

static uint8_t fake_boot;

static void fake_boot_id(void *context, uint8_t ret[BOOT_ID_BYTES])
{
    memset(ret, fake_boot, BOOT_ID_BYTES);
}

static void a_boot_is_told_once_in_each_log(void **state)
{
    struct here *here = *state;
    struct own_world own;
    struct store_appended appended = {0};

    own_world_init(&own, NULL);
    own.verbs.boot_id = fake_boot_id;
    for (unsigned boot = 1; boot <= 3; boot++) {
        struct store *store;

        fake_boot = (uint8_t)boot;
        for (unsigned process = 0; process < 2; process++) {
            assert_int_equal(store_open(&own.world, here->directory, STORE_COLLECTOR, &store, NULL), 0);
            assert_int_equal(append_note(store, "x", &appended), 0);
            store_free(store);
        }
        /* opened; then for each boot an event and two findings */
        assert_int_equal(appended.at.seq, 3 * boot);
    }
}

static void batch_gets_consecutive_positions_and_derivable_ids(void **state)
{
    struct here *here = *state;
    struct buffer buffers[5] = {0};
    struct store_entry entries[5] = {0};
    struct store_appended appended[5] = {0};

    for (size_t i = 0; i < 5; i++) {
        entries[i].kind = RECORD_FINDING;
        entries[i].record = encode_finding(&buffers[i], "batch", (int64_t)i);
    }
    assert_int_equal(store_append(here->store, &author, entries, 5, appended), 0);
    for (size_t i = 0; i < 5; i++) {
        struct sha256 leaf = merkle_leaf(entries[i].record);
        struct uuid id = record_public_id(&appended[i].at.log, 2 + i, &leaf);
        struct buffer bytes = {0};
        struct store_record row = {0};

        assert_int_equal(appended[i].at.seq, 2 + i);
        assert_memory_equal(&appended[i].id, &id, sizeof(id));
        assert_int_equal(store_find(here->store, &id, &bytes, &row), 0);
        assert_true(bytes_equal(row.record, entries[i].record));
        assert_int_equal(row.at.seq, 2 + i);
        assert_int_equal(row.state, RECORD_QUEUED);
        buffer_done(&bytes);
        buffer_done(&buffers[i]);
    }
}

static void record_over_the_limit_is_refused_and_nothing_stored(void **state)
{
    struct here *here = *state;
    struct buffer small = {0};
    _cleanup_free_ uint8_t *large = calloc(1, RECORD_BYTES_MAX);
    struct store_appended appended[2] = {0};
    struct store_entry entries[2] = {
        {.kind = RECORD_FINDING, .record = encode_finding(&small, "small", 1)},
        {.kind = RECORD_FINDING, .record = bytes_of(large, RECORD_CAPTURE_BYTES_MAX + 1)},
    };

    assert_int_equal(store_append(here->store, &author, entries, 2, appended), -EMSGSIZE);
    assert_int_equal(status_of(here->store).records_queued, 0);
    entries[1].record.len = RECORD_CAPTURE_BYTES_MAX;
    assert_int_equal(store_append(here->store, &author, entries, 2, appended), 0);
    assert_int_equal(status_of(here->store).records_queued, 2);
    buffer_done(&small);
}

static void roots_at_every_size_are_those_of_the_records(void **state)
{
    struct here *here = *state;
    struct merkle_frontier frontier;
    struct store_log log;
    size_t count;

    append_many(here->store, 0, 1200);
    assert_int_equal(store_logs(here->store, true, &log, 1, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(log.size, 1202);
    merkle_frontier_init(&frontier);
    for (uint64_t seq = 0; seq < log.size; seq++) {
        struct buffer bytes = {0};
        struct bytes record;
        struct sha256 leaf, root, expected;

        assert_int_equal(
            store_outbox_read(here->store, &log.id, seq, 1, SIZE_MAX, &bytes, &record, &count), 0);
        assert_int_equal(count, 1);
        leaf = merkle_leaf(record);
        assert_int_equal(merkle_append(&frontier, &leaf), 0);
        expected = merkle_root(&frontier);
        assert_int_equal(store_root_at(here->store, &log.id, seq + 1, &root), 0);
        assert_memory_equal(&root, &expected, sizeof(root));
        buffer_done(&bytes);
    }
    struct merkle_source source;
    struct sha256 by_source, root;
    assert_int_equal(store_merkle_source(here->store, &log.id, &source), 0);
    for (uint64_t size = 0; size <= log.size; size += 67) {
        assert_int_equal(merkle_root_at(&source, size, &by_source), 0);
        assert_int_equal(store_root_at(here->store, &log.id, size, &root), 0);
        assert_memory_equal(&by_source, &root, sizeof(root));
    }
    assert_int_equal(store_root_at(here->store, &log.id, log.size + 1, &root), -ERANGE);
}

#define CHILDREN 4
#define APPENDS_EACH 60

/* Moves the WAL again and again, which is what SQLite before 3.51.3 cannot bear beside a writer without the
 * lock. */
static pid_t start_checkpointing(const char *directory)
{
    pid_t child = fork();

    if (child != 0)
        return child;
    struct store *store;
    if (store_open(world_posix(), directory, STORE_DAEMON, &store, NULL) < 0)
        _exit(1);
    for (;;)
        if (store_checkpoint_wal(store, true) < 0)
            _exit(2);
}

static void several_processes_append_one_log_without_gaps(void **state)
{
    struct here *here = *state;
    pid_t children[CHILDREN];
    bool sound = false;

    /* They make the store as well, all at once. */
    store_free(here->store);
    unit_directory_remove(here->directory);
    here->directory = unit_directory_make();
    here->store = NULL;
    pid_t checkpointer = start_checkpointing(here->directory);
    for (int child = 0; child < CHILDREN; child++) {
        children[child] = fork();
        assert_true(children[child] >= 0);
        if (children[child] > 0)
            continue;
        struct store *store;
        if (store_open(world_posix(), here->directory, STORE_COLLECTOR, &store, NULL) < 0)
            _exit(1);
        for (int i = 0; i < APPENDS_EACH; i++) {
            char note[32];

            snprintf(note, sizeof(note), "%d/%d", child, i);
            if (append_note(store, note, NULL) < 0)
                _exit(2);
        }
        store_free(store);
        _exit(0);
    }
    for (int child = 0; child < CHILDREN; child++) {
        int status;

        assert_int_equal(waitpid(children[child], &status, 0), children[child]);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    assert_int_equal(waitpid(checkpointer, NULL, WNOHANG), 0); /* still at it */
    assert_int_equal(kill(checkpointer, SIGKILL), 0);
    assert_int_equal(waitpid(checkpointer, NULL, 0), checkpointer);
    here->store = store_opened_in(here->directory, STORE_COLLECTOR);
    assert_int_equal(database_is_sound(here->store, &sound), 0);
    assert_true(sound);
    struct store_status found = status_of(here->store);
    assert_int_equal(found.logs, 1);
    assert_int_equal(found.log_size, CHILDREN * APPENDS_EACH + 2);
    assert_int_equal(found.records_queued, CHILDREN * APPENDS_EACH);

    /* Each child's records stand in its own order. */
    struct notes notes = list_notes(here->store, &findings);
    int next[CHILDREN] = {0}, child, i, used;
    for (const char *text = (const char *)notes.text.data; *text; text += used) {
        assert_int_equal(sscanf(text, "%d/%d %n", &child, &i, &used), 2);
        assert_int_equal(i, next[child]++);
    }
    buffer_done(&notes.text);
}

static void full_log_is_closed_and_the_next_one_names_it(void **state)
{
    struct here *here = *state;
    struct store_log logs[4];
    size_t count;
    struct arena arena;
    struct buffer bytes = {0};
    struct store_record row = {0};

    here->store->rotate_records = 5;
    for (int i = 0; i < 6; i++)
        assert_int_equal(append_note(here->store, "x", NULL), 0);
    /* opened, boot, x, x, x, closed | opened, boot, x, x, x */
    assert_int_equal(store_logs(here->store, true, logs, 4, &count), 0);
    assert_int_equal(count, 2);
    assert_true(logs[0].closed);
    assert_false(logs[1].closed);
    assert_int_equal(logs[0].size, 6);
    assert_int_equal(logs[1].size, 5);
    assert_int_equal(status_of(here->store).records_queued, 6);

    struct position_in_log at = {.log = logs[0].id, .seq = 5};
    assert_int_equal(store_read(here->store, &at, &bytes, &row), 0);
    assert_int_equal(row.kind, RECORD_CLOSED);
    buffer_clear(&bytes);
    at = (struct position_in_log){.log = logs[1].id, .seq = 0};
    assert_int_equal(store_read(here->store, &at, &bytes, &row), 0);
    struct record record = decode(row.record, &arena);
    struct sha256 root;
    assert_int_equal(record.opened.reason, OPEN_ROTATED);
    assert_memory_equal(&record.opened.predecessor, &logs[0].id, sizeof(struct uuid));
    assert_int_equal(record.opened.predecessor_size, 6);
    assert_int_equal(store_root_at(here->store, &logs[0].id, 6, &root), 0);
    assert_true(record.opened.has_predecessor_root);
    assert_memory_equal(&record.opened.predecessor_root, &root, sizeof(root));
    arena_done(&arena);
    buffer_done(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(first_append_opens_a_log_and_tells_the_boot),
        store_test(a_boot_is_told_once_in_each_log),
        store_test(batch_gets_consecutive_positions_and_derivable_ids),
        store_test(record_over_the_limit_is_refused_and_nothing_stored),
        store_test(roots_at_every_size_are_those_of_the_records),
        store_test(several_processes_append_one_log_without_gaps),
        store_test(full_log_is_closed_and_the_next_one_names_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
