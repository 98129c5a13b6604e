/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of an enrolment, and the doorbell.
 */
#include "tests/unit/failing_malloc.h"
#include "tests/unit/store/fixture.h"

#include "store/enrolment_file.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static int directory_up(void **state)
{
    *state = unit_directory_make();
    return 0;
}

static int directory_down(void **state)
{
    unit_directory_remove(*state);
    return 0;
}

static struct enrolment example(void)
{
    struct sign_key key;
    static const uint8_t seed[SIGN_SEED_BYTES] = {1, 2, 3};

    sign_key_from_seed("centre.example/receipt", seed, &key);
    struct enrolment enrolment = {
        .server_url = strdup("https://centre.example:8443/a"),
        .authority = strdup("centre.example"),
        .tenant = strdup("default"),
        .device = {{1, 2, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16}},
        .receipt_key = key.public,
        .certificate = malloc(700),
        .certificate_len = 700,
        .name = strdup("手持机 7 # \"x\"; = y"),
        .inspector = strdup(""),
    };
    for (size_t i = 0; i < 700; i++)
        enrolment.certificate[i] = (uint8_t)(i * 7);
    return enrolment;
}

static void assert_same(const struct enrolment *a, const struct enrolment *b)
{
    assert_string_equal(a->server_url, b->server_url);
    assert_string_equal(a->authority, b->authority);
    assert_string_equal(a->tenant, b->tenant);
    assert_memory_equal(&a->device, &b->device, sizeof(a->device));
    assert_string_equal(a->receipt_key.name, b->receipt_key.name);
    assert_memory_equal(a->receipt_key.public_key, b->receipt_key.public_key, SIGN_PUBLIC_BYTES);
    assert_int_equal(a->certificate_len, b->certificate_len);
    assert_memory_equal(a->certificate, b->certificate, a->certificate_len);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->inspector, b->inspector);
}

static void enrolment_is_read_as_it_was_written(void **state)
{
    const char *directory = *state;
    struct enrolment written = example(), back;
    char *error = NULL;

    assert_int_equal(enrolment_read(world_posix(), directory, &back, &error), -ENOENT);
    assert_null(error);
    assert_int_equal(enrolment_write(world_posix(), directory, &written), 0);
    assert_int_equal(enrolment_read(world_posix(), directory, &back, &error), 0);
    assert_same(&written, &back);
    enrolment_done(&back);
    /* The server moved. */
    free(written.server_url);
    written.server_url = strdup("http://10.0.0.1:8080");
    assert_int_equal(enrolment_write(world_posix(), directory, &written), 0);
    assert_int_equal(enrolment_read(world_posix(), directory, &back, &error), 0);
    assert_same(&written, &back);
    enrolment_done(&back);
    enrolment_done(&written);
    enrolment_done(&written);
}

static void line_break_in_a_name_starts_no_line(void **state)
{
    const char *directory = *state;
    struct enrolment written = example(), back;
    char *error = NULL;

    free(written.name);
    written.name = strdup("x\nserver_url = http://evil.example");
    assert_int_equal(enrolment_write(world_posix(), directory, &written), 0);
    assert_int_equal(enrolment_read(world_posix(), directory, &back, &error), 0);
    assert_string_equal(back.server_url, "https://centre.example:8443/a");
    assert_string_equal(back.name, "x server_url = http://evil.example");
    enrolment_done(&back);
    enrolment_done(&written);
}

/* Writes the file anew with another line for a key. */
static void replace_line(const char *directory, const char *key, const char *line)
{
    struct buffer content = read_whole(directory, "enrolment.conf"), changed = {0};
    struct cursor cursor = cursor_of(buffer_bytes(&content));

    for (;;) {
        struct bytes old = cursor_take_until(&cursor, '\n');

        if (cursor.failed)
            break;
        if (old.len > strlen(key) && memcmp(old.data, key, strlen(key)) == 0 && old.data[strlen(key)] == ' ')
            buffer_put_text(&changed, line);
        else
            buffer_put_bytes(&changed, old);
        buffer_put_u8(&changed, '\n');
    }
    remove_file(directory, "enrolment.conf");
    write_over(directory, "enrolment.conf", 0, buffer_bytes(&changed));
    buffer_done(&content);
    buffer_done(&changed);
}

static void damaged_enrolment_is_told_in_one_line_that_names_the_fix(void **state)
{
    const char *directory = *state;
    static const char *const damage[][2] = {{"device", "device = 123"},
        {"receipt_key", "receipt_key = x+y+z"}, {"certificate", "certificate = ****"}, {"tenant", ""},
        {"authority", "authority ="}, {"name", "nome = x"}};

    for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
        struct enrolment written = example(), back = {0};
        char *error = NULL;

        assert_int_equal(enrolment_write(world_posix(), directory, &written), 0);
        replace_line(directory, damage[i][0], damage[i][1]);
        assert_int_equal(enrolment_read(world_posix(), directory, &back, &error), -EBADMSG);
        assert_non_null(error);
        assert_non_null(strstr(error, "enrolment.conf"));
        assert_null(strchr(error, '\n'));
        assert_null(back.server_url);
        free(error);
        enrolment_done(&written);
    }
}

static void device_key_is_made_once_and_kept_secret(void **state)
{
    const char *directory = *state;
    struct uuid device, again;
    uint8_t seed[SIGN_SEED_BYTES], seed_again[SIGN_SEED_BYTES], zeros[SIGN_SEED_BYTES] = {0};
    char *path = files_join(directory, "device.key");
    struct stat status;

    assert_int_equal(device_key_read(world_posix(), directory, &device, seed), -ENOENT);
    assert_int_equal(device_key_make(world_posix(), directory, &device, seed), 0);
    assert_memory_not_equal(seed, zeros, sizeof(seed));
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    assert_int_equal(device_key_make(world_posix(), directory, &again, seed_again), 0);
    assert_memory_equal(&device, &again, sizeof(device));
    assert_memory_equal(seed, seed_again, sizeof(seed));
    assert_int_equal(device_key_read(world_posix(), directory, &again, seed_again), 0);
    assert_memory_equal(seed, seed_again, sizeof(seed));

    assert_int_equal(truncate(path, 40), 0);
    assert_int_equal(device_key_read(world_posix(), directory, &again, seed_again), -EBADMSG);
    assert_int_equal(device_key_make(world_posix(), directory, &again, seed_again), -EBADMSG);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_size, 40); /* not written over */
    free(path);
}

static void next_key_waits_beside_the_one_in_force_until_it_takes_its_place(void **state)
{
    const char *directory = *state;
    struct uuid device, read, stranger = {{9, 9, 9, 9, 9, 9, 0x49, 9, 0x89, 9}};
    uint8_t old_seed[SIGN_SEED_BYTES], seed[SIGN_SEED_BYTES], again[SIGN_SEED_BYTES];
    char *own = files_join(directory, "device.key"), *next = files_join(directory, "device-next.key");
    struct stat status;

    assert_int_equal(device_key_make(world_posix(), directory, &device, old_seed), 0);
    assert_int_equal(device_next_key_read(world_posix(), directory, &read, seed), -ENOENT);
    assert_int_equal(device_next_key_make(world_posix(), directory, &stranger, seed), 0);
    /* One of another device was left over: nothing was signed with it. */
    assert_int_equal(device_next_key_make(world_posix(), directory, &device, again), 0);
    assert_memory_not_equal(seed, again, sizeof(seed));
    assert_int_equal(device_next_key_make(world_posix(), directory, &device, seed), 0);
    assert_memory_equal(seed, again, sizeof(seed));
    assert_int_equal(stat(next, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);

    assert_int_equal(device_key_read(world_posix(), directory, &read, again), 0);
    assert_memory_equal(again, old_seed, sizeof(again));
    assert_int_equal(device_next_key_settle(world_posix(), directory, &device, seed), 0);
    assert_int_equal(access(next, F_OK), -1);
    assert_int_equal(device_key_read(world_posix(), directory, &read, again), 0);
    assert_memory_equal(again, seed, sizeof(again));
    assert_int_equal(stat(own, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    free(own);
    free(next);
}

static void assert_certificates(const char *directory, const char *const *expected, size_t count)
{
    struct enrolment read;
    struct cursor cursor;
    struct bytes envelope;
    char *error = NULL;

    assert_int_equal(enrolment_read(world_posix(), directory, &read, &error), 0);
    cursor = cursor_of(bytes_of(read.certificates, read.certificates_len));
    for (size_t i = 0; i < count; i++) {
        assert_true(enrolment_certificate_next(&cursor, &envelope));
        assert_true(bytes_equal(envelope, bytes_of_text(expected[i])));
    }
    assert_false(enrolment_certificate_next(&cursor, &envelope));
    enrolment_done(&read);
}

static void certificates_are_kept_once_each_the_newest_last_and_damage_ends_the_list(void **state)
{
    const char *directory = *state, *const all[] = {"the first", "the second", "the third"};
    const struct bytes first = bytes_of_text(all[0]), second = bytes_of_text(all[1]),
                       third = bytes_of_text(all[2]);
    struct enrolment enrolment = example();
    char *path = files_join(directory, "certificates");

    assert_int_equal(enrolment_write(world_posix(), directory, &enrolment), 0);
    assert_int_equal(enrolment_certificates_add(world_posix(), directory, first, second), 0);
    assert_int_equal(enrolment_certificates_add(world_posix(), directory, first, second), 0);
    assert_int_equal(enrolment_certificates_add(world_posix(), directory, second, third), 0);
    assert_certificates(directory, all, 3);
    assert_int_equal(truncate(path, 4 + 9 + 10), 0); /* cut in the second */
    assert_certificates(directory, all, 1);
    assert_int_equal(enrolment_certificates_add(world_posix(), directory, second, third), 0);
    assert_certificates(directory, all, 3);
    enrolment_done(&enrolment);
    free(path);
}

static void doorbell_wakes_who_listens_however_long_the_path(void **state)
{
    char *deep =
        files_join(*state, "a-directory-whose-name-is-long-enough-that-no-socket-address-can-hold-its-path"
                           "-because-that-has-room-for-108-bytes-only");
    char byte[8], address_path[64];
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    assert_int_equal(mkdir(deep, 0700), 0);
    doorbell_ring(deep); /* nobody there: nothing happens */
    doorbell_ring("/nowhere");
    int listener = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int directory = open(deep, O_PATH | O_CLOEXEC);
    snprintf(address_path, sizeof(address_path), "/proc/self/fd/%d/doorbell.sock", directory);
    memcpy(address.sun_path, address_path, strlen(address_path) + 1);
    assert_int_equal(bind(listener, (const struct sockaddr *)&address, sizeof(address)), 0);
    doorbell_ring(deep);
    assert_int_equal(recv(listener, byte, sizeof(byte), 0), 1);
    /* A bell that nobody answers any more does not block. */
    for (int i = 0; i < 1000; i++)
        doorbell_ring(deep);
    close(directory);
    close(listener);
    doorbell_ring(deep);
    free(deep);
}

static void put_successor(const struct sign_key *from, const struct sign_key *to, struct buffer *list)
{
    struct trust_statement statement = {
        .authority = bytes_of_text("centre.example"), .generation = 1, .has_key = true};
    _cleanup_buffer_ struct buffer envelope = {0};

    memcpy(statement.public_key, to->public.public_key, SIGN_PUBLIC_BYTES);
    assert_int_equal(trust_statement_sign(&statement, from, &envelope), 0);
    assert_int_equal(trust_list_put(buffer_bytes(&envelope), list), 0);
}

static void a_list_for_which_memory_is_short_is_not_taken_for_one_that_does_not_hold(void **state)
{
    static const uint8_t seeds[2][SIGN_SEED_BYTES] = {{1}, {2}};
    struct sign_key first, second;
    _cleanup_buffer_ struct buffer list = {0};
    struct trust trust;
    int r = -ENOMEM;

    (void)state;
    sign_key_from_seed("centre.example/receipt", seeds[0], &first);
    sign_key_from_seed("centre.example/receipt", seeds[1], &second);
    put_successor(&first, &second, &list);
    struct enrolment enrolment = {.receipt_key = first.public, .trust = list.data, .trust_len = list.len - 1};
    struct arena arena _cleanup_arena_;
    arena_init(&arena, arena_budget_for(TRUST_LIST_BYTES_MAX));
    assert_int_equal(enrolment_trust(&enrolment, &arena, &trust), 0);
    assert_int_equal(trust.key_count, 1); /* it is cut off */
    enrolment.trust_len = list.len;
    for (size_t left = 0; r < 0; left++) {
        arena_done(&arena);
        arena_init(&arena, arena_budget_for(TRUST_LIST_BYTES_MAX));
        allocations_left = left;
        r = enrolment_trust(&enrolment, &arena, &trust);
        allocations_left = SIZE_MAX;
        assert_true(r == 0 || r == -ENOMEM);
    }
    assert_int_equal(trust.key_count, 2);
}

#define directory_test(name) cmocka_unit_test_setup_teardown(name, directory_up, directory_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        directory_test(enrolment_is_read_as_it_was_written),
        directory_test(line_break_in_a_name_starts_no_line),
        directory_test(damaged_enrolment_is_told_in_one_line_that_names_the_fix),
        directory_test(device_key_is_made_once_and_kept_secret),
        directory_test(next_key_waits_beside_the_one_in_force_until_it_takes_its_place),
        directory_test(certificates_are_kept_once_each_the_newest_last_and_damage_ends_the_list),
        cmocka_unit_test(a_list_for_which_memory_is_short_is_not_taken_for_one_that_does_not_hold),
        directory_test(doorbell_wakes_who_listens_however_long_the_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
