/* SPDX-License-Identifier: Apache-2.0 */
/* One helper process, from start to reaping; see helper_process.h. */
#include "collector/sources/helper_process.h"

#include "base/helper_program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
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
    int r = helper_program_start(path, "patrol-photo", input_fd, output, &pid);
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
