/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of syncd/transport/sandbox.h: what a process that has entered it can still do, and what not. Each try
 * is made in a child.
 */
#include "tests/unit/unit.h"

#include "base/cleanup.h"
#include "syncd/transport/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

struct place {
    char *directory;
    char *file;   /* a file of the daemon's, as the device key is */
    char *socket; /* a local socket, as the control socket is */
    int listener;
};

static int begin(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    place->directory = unit_directory_make();
    assert_true(asprintf(&place->file, "%s/device.key", place->directory) > 0);
    assert_true(asprintf(&place->socket, "%s/control.sock", place->directory) > 0);
    _cleanup_fclose_ FILE *file = fopen(place->file, "we");
    assert_non_null(file);
    fputs("secret", file);
    place->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", place->socket);
    assert_int_equal(bind(place->listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(place->listener, 1), 0);
    *state = place;
    return 0;
}

static int end(void **state)
{
    struct place *place = *state;

    close(place->listener);
    unit_directory_remove(place->directory);
    free(place->file);
    free(place->socket);
    free(place);
    return 0;
}

/* What `deed` returns (0 to 100) in a child that has entered the sandbox, or has not. */
static int outcome(struct place *place, int (*deed)(struct place *place), bool inside)
{
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0)
        _exit(inside && sandbox_enter() < 0 ? 101 : deed(place));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

#define DONE 0
#define NOT_DONE 1

static int result(long r)
{
    return r < 0 ? NOT_DONE : DONE;
}

static int starts_a_process(struct place *place)
{
    (void)place;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    return result(child);
}

static int starts_a_program(struct place *place)
{
    char *const arguments[] = {(char *)(uintptr_t) "true", NULL};
    (void)place;
    execv("/bin/true", arguments); /* which returns DONE */
    return NOT_DONE;
}

static int signals_its_parent(struct place *place)
{
    (void)place;
    return result(kill(getppid(), 0));
}

static int looks_into_its_parent(struct place *place)
{
    (void)place;
    if (ptrace(PTRACE_SEIZE, getppid(), NULL, NULL) < 0)
        return NOT_DONE;
    return DONE;
}

static int lowers_a_limit_of_its_parent(struct place *place)
{
    struct rlimit limit;
    (void)place;
    return result(prlimit(getppid(), RLIMIT_NOFILE, NULL, &limit));
}

static int writes_a_file(struct place *place)
{
    return result(open(place->file, O_WRONLY | O_CLOEXEC));
}

static int reads_and_writes_a_file(struct place *place)
{
    return result(open(place->file, O_RDWR | O_CLOEXEC));
}

static int empties_a_file(struct place *place)
{
    return result(open(place->file, O_RDONLY | O_TRUNC | O_CLOEXEC));
}

static int makes_a_file(struct place *place)
{
    char path[512];
    snprintf(path, sizeof(path), "%s.new", place->file);
    return result(open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600));
}

static int deletes_a_file(struct place *place)
{
    return result(unlink(place->socket));
}

static int renames_a_file(struct place *place)
{
    char path[512];
    snprintf(path, sizeof(path), "%s.old", place->file);
    return result(rename(place->file, path));
}

static int changes_who_may_read(struct place *place)
{
    return result(chmod(place->file, 0666));
}

static int opens_a_local_socket(struct place *place)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", place->socket);
    return result(connect(fd, (struct sockaddr *)&address, sizeof(address)));
}

static int reads_a_file_of_the_daemon(struct place *place)
{
    return result(open(place->file, O_RDONLY | O_CLOEXEC));
}

static int reads_a_file_of_the_system(struct place *place)
{
    (void)place;
    return result(open("/etc/passwd", O_RDONLY | O_CLOEXEC));
}

static void *find_name(void *context)
{
    struct addrinfo *found = NULL;
    if (getaddrinfo("localhost", "443", NULL, &found) == 0) {
        *(bool *)context = true;
        freeaddrinfo(found);
    }
    return NULL;
}

static int finds_a_name_in_a_thread(struct place *place)
{
    bool found = false;
    pthread_t thread;
    (void)place;
    if (pthread_create(&thread, NULL, find_name, &found) != 0 || pthread_join(thread, NULL) != 0)
        return NOT_DONE;
    return found ? DONE : NOT_DONE;
}

static int opens_sockets_of_the_internet(struct place *place)
{
    (void)place;
    int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
        tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return udp < 0 || tcp < 0 ? NOT_DONE : DONE;
}

struct
try {
    const char *what;
    int (*deed)(struct place * place);
};
#define TRY(deed)                                                                                            \
    {                                                                                                        \
#deed, deed                                                                                          \
    }

#ifndef TRANSPORT_SANDBOX_LIGHT
static void what_could_harm_the_daemon_is_refused(void **state)
{
    static const struct try tries[] = {
        TRY(starts_a_process),
        TRY(starts_a_program),
        TRY(signals_its_parent),
        TRY(lowers_a_limit_of_its_parent),
        TRY(writes_a_file),
        TRY(reads_and_writes_a_file),
        TRY(makes_a_file),
        TRY(changes_who_may_read),
        TRY(opens_a_local_socket),
        TRY(looks_into_its_parent),
        /* These change the place, so they come last. */
        TRY(empties_a_file),
        TRY(renames_a_file),
        TRY(deletes_a_file),
    };

    for (size_t i = 0; i < ARRAY_LEN(tries); i++)
        if (outcome(*state, tries[i].deed, true) != NOT_DONE)
            fail_msg("in the sandbox it %s", tries[i].what);
    /* Outside each of them works, but what another security module forbids everyone. */
    for (size_t i = 0; i < ARRAY_LEN(tries); i++) {
        if (tries[i].deed == looks_into_its_parent)
            continue;
        if (outcome(*state, tries[i].deed, false) != DONE)
            fail_msg("outside of the sandbox it does not: %s", tries[i].what);
    }
}

static void where_the_kernel_has_landlock_the_files_of_the_daemon_are_not_read(void **state)
{
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) < 1)
        skip();
    assert_int_equal(outcome(*state, reads_a_file_of_the_daemon, false), DONE);
    assert_int_equal(outcome(*state, reads_a_file_of_the_daemon, true), NOT_DONE);
}
#endif

static void what_a_request_needs_works(void **state)
{
    static const struct try tries[] = {
        TRY(reads_a_file_of_the_system),
        TRY(finds_a_name_in_a_thread),
        TRY(opens_sockets_of_the_internet),
    };

    for (size_t i = 0; i < ARRAY_LEN(tries); i++)
        if (outcome(*state, tries[i].deed, true) != DONE)
            fail_msg("in the sandbox it does not: %s", tries[i].what);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#ifndef TRANSPORT_SANDBOX_LIGHT
        cmocka_unit_test_setup_teardown(what_could_harm_the_daemon_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(
            where_the_kernel_has_landlock_the_files_of_the_daemon_are_not_read, begin, end),
#endif
        cmocka_unit_test_setup_teardown(what_a_request_needs_works, begin, end),
    };

    return cmocka_run_group_tests_name("transport_sandbox", tests, NULL, NULL);
}
