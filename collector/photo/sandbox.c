/* SPDX-License-Identifier: Apache-2.0 */
/* The limits and the system call filter of patrol-photo; see sandbox.h. */
#include "collector/photo/sandbox.h"

#include "base/cleanup.h"
#include "collector/photo/answer.h"

#include <errno.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define ADDRESS_SPACE_BYTES_MAX ((rlim_t)512 * 1024 * 1024)
#define STANDARD_FDS 3u

static int limit(int resource, rlim_t value)
{
    struct rlimit both = {.rlim_cur = value, .rlim_max = value};
    return setrlimit((__rlimit_resource_t)resource, &both) < 0 ? -errno : 0;
}

static int limit_resources(void)
{
    static const struct {
        int resource;
        rlim_t value;
    } limits[] = {
        {RLIMIT_CPU, PHOTO_CPU_SECONDS_MAX},
        {RLIMIT_FSIZE, 0},
        {RLIMIT_CORE, 0},
#ifndef PHOTO_SANDBOX_LIGHT
        {RLIMIT_NOFILE, STANDARD_FDS},
        {RLIMIT_AS, ADDRESS_SPACE_BYTES_MAX},
#endif
    };
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        int r = limit(limits[i].resource, limits[i].value);
        if (r < 0)
            return r;
    }
#ifndef PHOTO_SANDBOX_LIGHT
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return -errno;
#endif
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

#ifndef PHOTO_SANDBOX_LIGHT

/* System calls that malloc(), exit() and a returning signal handler may make, on any architecture. */
static const int plain_calls[] = {
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(getrandom),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

/* New memory, but none that could hold code. */
static const int mapping_calls[] = {
    SCMP_SYS(mmap),
    SCMP_SYS(mmap2),
    SCMP_SYS(mprotect),
};

static int add_rules(scmp_filter_ctx filter)
{
    int r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(read), 1, SCMP_A0_32(SCMP_CMP_EQ, 0));
    if (r >= 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(write), 1, SCMP_A0_32(SCMP_CMP_EQ, 1));
    for (size_t i = 0; r >= 0 && i < ARRAY_LEN(plain_calls); i++)
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, plain_calls[i], 0);
    for (size_t i = 0; r >= 0 && i < ARRAY_LEN(mapping_calls); i++)
        r = seccomp_rule_add(
            filter, SCMP_ACT_ALLOW, mapping_calls[i], 1, SCMP_A2_32(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    return r;
}

static void release_filter(scmp_filter_ctx *filter)
{
    if (*filter)
        seccomp_release(*filter);
}

static int filter_system_calls(void)
{
    _cleanup_(release_filter) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter)
        return -ENOMEM;
    int r = add_rules(filter);
    return r < 0 ? r : seccomp_load(filter);
}

#else

static int filter_system_calls(void)
{
    return 0;
}

#endif

int sandbox_enter(void)
{
    alarm(PHOTO_ALARM_SECONDS);
    int r = limit_resources();
    return r < 0 ? r : filter_system_calls();
}
