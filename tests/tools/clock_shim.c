/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a program under test: its wall clock is CLOCK_SHIM_OFFSET_S seconds away from the machine's.
 * Other clocks stay as they are. The file CLOCK_SHIM_BOOT_ID, if named, tells it which boot this is.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t offset_s(void)
{
    const char *text = getenv("CLOCK_SHIM_OFFSET_S");
    return text ? (time_t)strtoll(text, NULL, 10) : 0;
}

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *ret)
{
    int r = (int)syscall(SYS_clock_gettime, clock, ret);
    if (r == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        ret->tv_sec += offset_s();
    return r;
}

__attribute__((visibility("default"))) int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now) < 0)
        return -1;
    ret->tv_sec = now.tv_sec;
    ret->tv_usec = now.tv_nsec / 1000;
    return 0;
}

__attribute__((visibility("default"))) int open64(const char *path, int flags, ...)
{
    const char *boot_id = getenv("CLOCK_SHIM_BOOT_ID");
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    if (boot_id && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
        path = boot_id;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

__attribute__((visibility("default"))) time_t time(time_t *ret)
{
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) < 0)
        return -1;
    if (ret)
        *ret = now.tv_sec;
    return now.tv_sec;
}
