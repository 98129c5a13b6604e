/* SPDX-License-Identifier: Apache-2.0 */
/* One helper process, from start to reaping; see helper_process.h. */
#include "collector/sources/helper_process.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct spawn_plan {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
};

static void plan_done(struct spawn_plan *plan)
{
    posix_spawn_file_actions_destroy(&plan->actions);
    posix_spawnattr_destroy(&plan->attributes);
}

/* Returns an errno, as the posix_spawn functions do. */
static int plan_fill(struct spawn_plan *plan, int input_fd, int output_fd)
{
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    /*
     * With standard descriptors closed in the caller, these may be numbers below 3 themselves. Input first is
     * always right: the second end of a pipe is never 0. A descriptor that is copied onto itself loses
     * O_CLOEXEC by that.
     */
    int error = posix_spawn_file_actions_adddup2(&plan->actions, input_fd, STDIN_FILENO);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(&plan->actions, output_fd, STDOUT_FILENO);
    if (error == 0)
        error = posix_spawn_file_actions_addopen(&plan->actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (error == 0)
        error = posix_spawn_file_actions_addclosefrom_np(&plan->actions, STDERR_FILENO + 1);
    if (error == 0)
        error = posix_spawnattr_setsigmask(&plan->attributes, &none);
    if (error == 0)
        error = posix_spawnattr_setsigdefault(&plan->attributes, &all);
    if (error == 0)
        error = posix_spawnattr_setflags(&plan->attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    return error;
}

static int start(const char *path, int input_fd, int output_fd, pid_t *ret_pid)
{
    static char name[] = "patrol-photo";
    static char locale[] = "LC_ALL=C";
    char *const arguments[] = {name, NULL};
    char *const environment[] = {locale, NULL};
    _cleanup_(plan_done) struct spawn_plan plan;
    posix_spawn_file_actions_init(&plan.actions);
    posix_spawnattr_init(&plan.attributes);
    int error = plan_fill(&plan, input_fd, output_fd);
    if (error != 0)
        return -error;
    error = posix_spawn(ret_pid, path, &plan.actions, &plan.attributes, arguments, environment);
    if (error == ENOMEM || error == EAGAIN)
        return -error;
    return error != 0 ? -ENOEXEC : 0;
}

/* 0 when `fd` can be read or has ended, -ETIMEDOUT, other -errno. */
static int wait_readable(int fd, int64_t end_ms)
{
    for (;;) {
        int64_t left_ms = end_ms - now_ms();
        if (left_ms <= 0)
            return -ETIMEDOUT;
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int n = poll(&wait, 1, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return -errno;
    }
}

static int read_to_end(int fd, int64_t end_ms, uint8_t *answer, size_t size, size_t *ret_len)
{
    size_t len = 0;
    for (;;) {
        int r = wait_readable(fd, end_ms);
        if (r < 0)
            return r;
        uint8_t beyond;
        ssize_t n = len < size ? read(fd, answer + len, size - len) : read(fd, &beyond, 1);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            break;
        if (n > 0 && len == size)
            return -EBADMSG;
        if (n > 0)
            len += (size_t)n;
    }
    *ret_len = len;
    return 0;
}

/* A helper that closed its output still has to end. On a kernel without pidfds (before 5.3) its own alarm
 * sees to that. */
static int wait_for_end(pid_t pid, int64_t end_ms)
{
    _cleanup_close_ int fd = pidfd_open(pid, 0);
    return fd < 0 ? 0 : wait_readable(fd, end_ms);
}

/* Returns 0 for an exit with status 0. */
static int reap(pid_t pid)
{
    int status;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return -errno;
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS ? 0 : -EBADMSG;
}

int helper_process_run(
    const char *path, int input_fd, uint32_t deadline_ms, uint8_t *answer, size_t size, size_t *ret_len)
{
    int64_t end_ms = now_ms() + deadline_ms;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    _cleanup_close_ int from_helper = ends[0];
    _cleanup_close_ int output = ends[1];

    pid_t pid = -1;
    int r = start(path, input_fd, output, &pid);
    if (r < 0)
        return r;
    close(take_fd(&output));

    size_t len = 0;
    r = read_to_end(from_helper, end_ms, answer, size, &len);
    if (r >= 0)
        r = wait_for_end(pid, end_ms);
    if (r < 0)
        kill(pid, SIGKILL);
    int ended = reap(pid);
    if (r >= 0)
        r = ended;
    if (r >= 0)
        *ret_len = len;
    return r;
}
