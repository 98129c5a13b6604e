/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/transport/sandbox.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#ifndef TRANSPORT_SANDBOX_LIGHT

/* ---- files, where the kernel has Landlock ---- */

#define READING ((uint64_t)(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR))
/* All that the first version of Landlock knows; the bits after it are newer. */
#define EVERYTHING ((uint64_t)((LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1))

/* Libraries and their settings, name service and its sources. A file is named by itself where it is often a
 * link that leads elsewhere. */
static const char *const readable[] = {
    "/etc",
    "/lib",
    "/lib64",
    "/run",
    "/usr",
    "/dev/urandom",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
};

static int let_read(int rules, const char *path)
{
    _cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        return errno == ENOENT ? 0 : -errno;
    const struct landlock_path_beneath_attr rule = {
        .allowed_access = S_ISDIR(status.st_mode) ? READING : (uint64_t)LANDLOCK_ACCESS_FS_READ_FILE,
        .parent_fd = fd,
    };
    return syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;
}

/* -EOPNOTSUPP and the like on a kernel without it. */
static int lock_files(void)
{
    const struct landlock_ruleset_attr wanted = {.handled_access_fs = EVERYTHING};
    _cleanup_close_ int rules = (int)syscall(SYS_landlock_create_ruleset, &wanted, sizeof(wanted), 0);
    if (rules < 0)
        return -errno;
    for (size_t i = 0; i < ARRAY_LEN(readable); i++) {
        int r = let_read(rules, readable[i]);
        if (r < 0)
            return r;
    }
    return syscall(SYS_landlock_restrict_self, rules, 0) < 0 ? -errno : 0;
}

/* ---- system calls ---- */

static const int refused_calls[] = {
    /* other programs and processes */
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(kill),
    SCMP_SYS(tkill),
    SCMP_SYS(rt_sigqueueinfo),
    SCMP_SYS(rt_tgsigqueueinfo),
    SCMP_SYS(pidfd_open),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(pidfd_send_signal),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(process_madvise),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(setpriority),
    SCMP_SYS(ioprio_set),
    SCMP_SYS(sched_setaffinity),
    SCMP_SYS(sched_setattr),
    SCMP_SYS(sched_setparam),
    SCMP_SYS(sched_setscheduler),
    /* names and contents of files; opening for writing is below */
    SCMP_SYS(creat),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(truncate),
    SCMP_SYS(rename),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(link),
    SCMP_SYS(linkat),
    SCMP_SYS(symlink),
    SCMP_SYS(symlinkat),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(mkdir),
    SCMP_SYS(mkdirat),
    SCMP_SYS(rmdir),
    SCMP_SYS(mknod),
    SCMP_SYS(mknodat),
    SCMP_SYS(chmod),
    SCMP_SYS(fchmod),
    SCMP_SYS(fchmodat),
    SCMP_SYS(chown),
    SCMP_SYS(fchown),
    SCMP_SYS(fchownat),
    SCMP_SYS(lchown),
    SCMP_SYS(utime),
    SCMP_SYS(utimes),
    SCMP_SYS(utimensat),
    SCMP_SYS(futimesat),
    SCMP_SYS(setxattr),
    SCMP_SYS(lsetxattr),
    SCMP_SYS(fsetxattr),
    SCMP_SYS(removexattr),
    SCMP_SYS(lremovexattr),
    SCMP_SYS(fremovexattr),
    /* the rest of the machine, and ways round all this */
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(chroot),
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(bpf),
    SCMP_SYS(keyctl),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_uring_register),
};

static int refuse(scmp_filter_ctx filter, int error, int call)
{
    return seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint32_t)error), call, 0);
}

static int refuse_if(scmp_filter_ctx filter, int error, int call, struct scmp_arg_cmp condition)
{
    return seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint32_t)error), call, 1, condition);
}

/* What these are told stands in memory, where no filter sees it: libraries take the older calls instead. */
static int refuse_newer(scmp_filter_ctx filter)
{
    int r = refuse(filter, ENOSYS, SCMP_SYS(clone3));
    return r < 0 ? r : refuse(filter, ENOSYS, SCMP_SYS(openat2));
}

/* A thread is made by clone, too. */
static int refuse_processes(scmp_filter_ctx filter)
{
    int r = refuse_if(filter, EPERM, SCMP_SYS(clone), SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
    if (r >= 0) /* abort() signals itself */
        r = refuse_if(filter, EPERM, SCMP_SYS(tgkill), SCMP_A0_32(SCMP_CMP_NE, (uint32_t)getpid()));
    if (r >= 0)
        r = refuse_if(filter, EPERM, SCMP_SYS(prlimit64), SCMP_A0_32(SCMP_CMP_NE, 0));
    return r;
}

static int refuse_writing(scmp_filter_ctx filter)
{
    static const uint32_t ways[][2] = {
        {O_ACCMODE, O_WRONLY}, {O_ACCMODE, O_RDWR}, {O_CREAT, O_CREAT}, {O_TRUNC, O_TRUNC}};
    int r = 0;
    for (size_t i = 0; r >= 0 && i < ARRAY_LEN(ways); i++) {
        r = refuse_if(filter, EACCES, SCMP_SYS(open), SCMP_A1_32(SCMP_CMP_MASKED_EQ, ways[i][0], ways[i][1]));
        if (r >= 0)
            r = refuse_if(
                filter, EACCES, SCMP_SYS(openat), SCMP_A2_32(SCMP_CMP_MASKED_EQ, ways[i][0], ways[i][1]));
    }
    return r;
}

/* Netlink: the C library asks it which addresses this machine has. */
static int refuse_sockets(scmp_filter_ctx filter)
{
    int r = 0;
    for (uint32_t family = 0; r >= 0 && family < AF_MAX; family++)
        if (family != AF_INET && family != AF_INET6 && family != AF_NETLINK)
            r = refuse_if(filter, EAFNOSUPPORT, SCMP_SYS(socket), SCMP_A0_32(SCMP_CMP_EQ, family));
    return r;
}

static void release_filter(scmp_filter_ctx *filter)
{
    if (*filter)
        seccomp_release(*filter);
}

static int filter_system_calls(void)
{
    _cleanup_(release_filter) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!filter)
        return -ENOMEM;
    int r = 0;
    for (size_t i = 0; r >= 0 && i < ARRAY_LEN(refused_calls); i++)
        r = refuse(filter, EPERM, refused_calls[i]);
    if (r >= 0)
        r = refuse_newer(filter);
    if (r >= 0)
        r = refuse_processes(filter);
    if (r >= 0)
        r = refuse_writing(filter);
    if (r >= 0)
        r = refuse_sockets(filter);
    return r < 0 ? r : seccomp_load(filter);
}

static int give_up(void)
{
    if (prctl(PR_SET_DUMPABLE, 0) < 0) /* no core file, and nobody of the same user looks in */
        return -errno;
    (void)lock_files();
    return filter_system_calls();
}

#else

static int give_up(void)
{
    return 0;
}

#endif

int sandbox_enter(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return give_up();
}
