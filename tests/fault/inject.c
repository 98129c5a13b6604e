/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into a program under test: one call of one kind fails, or all from there on. The environment says
 * which:
 *
 * - FAULT_PROGRAM: the base name of the program that is meant; others that inherit the environment go on
 *   as ever.
 * - FAULT_KIND: memory, read, write, sync, open, rename, truncate or map.
 * - FAULT_AT: the number of the first call that fails, from 1; 0: none does, they are only counted.
 * - FAULT_ON: when set, all later ones fail too.
 * - FAULT_ERRNO: what they fail with, as a number.
 * - FAULT_FILE: holds a `struct tally`, which is shared memory: it outlives the program, however that ends,
 * and may be written where a sandbox allows no system call.
 * - FAULT_TRACE: when set, says on standard error from where the first failing call came.
 *
 * Counted is from main() on, over all threads, and over all processes of that program which share the file.
 * Reads, writes, syncs and truncations count on regular files and directories only, standard error left out:
 * what pipes, sockets and terminals do is the network's business, and has its own tests. What the C library
 * does inside itself (stdio, the resolver) does not come by here.
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))
#define TRACE_FRAMES 24

enum kind {
    KIND_MEMORY,
    KIND_READ,
    KIND_WRITE,
    KIND_SYNC,
    KIND_OPEN,
    KIND_RENAME,
    KIND_TRUNCATE,
    KIND_MAP,
    KIND_COUNT
};

static const char *const kind_names[KIND_COUNT] = {
    "memory", "read", "write", "sync", "open", "rename", "truncate", "map"};

/* tests/fault/faults.py reads it. */
struct tally {
    uint64_t calls;  /* of this kind */
    uint64_t failed; /* of them */
};

static struct {
    struct tally *tally; /* NULL: nothing is counted, nothing fails */
    enum kind kind;
    uint64_t at;
    int error;
    int goes_on, traces;
} plan;

/* glibc's own, behind the names that are taken here. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static void trace(void)
{
    void *frames[TRACE_FRAMES] = {0};

    plan.traces = 0; /* also so that what is allocated for it does not come here again */
    backtrace_symbols_fd(frames, backtrace(frames, TRACE_FRAMES), STDERR_FILENO);
}

/* Counts a call; true, with errno set, when it shall fail. */
static int must_fail(enum kind kind)
{
    if (!plan.tally || kind != plan.kind)
        return 0;
    uint64_t number = __atomic_add_fetch(&plan.tally->calls, 1, __ATOMIC_RELAXED);
    if (plan.at == 0 || number < plan.at || (number > plan.at && !plan.goes_on))
        return 0;
    __atomic_add_fetch(&plan.tally->failed, 1, __ATOMIC_RELAXED);
    if (plan.traces)
        trace();
    errno = plan.error;
    return 1;
}

/* ---- memory ---- */

/* Libraries that crash or abort by themselves when memory runs out: what is asked for from there is not
 * counted. Nobody who calls them could do anything about it. Seen: libtasn1 4.19 ends with SIGSEGV in
 * asn1_der_decoding2, below gnutls_x509_crt_list_import (the subject's other names), while the centre reads
 * its certificate. The others are its callers and what they compute with: of them no crash was seen in some
 * 40 points of the centre, so they are here by assumption. */
static const char *const spared[] = {
    "/libgnutls.", "/libtasn1.", "/libhogweed.", "/libnettle.", "/libgmp.", "/libp11-kit."};

static int memory_must_fail(const void *caller)
{
    Dl_info from;

    if (!plan.tally || plan.kind != KIND_MEMORY)
        return 0;
    if (dladdr(caller, &from) && from.dli_fname)
        for (size_t i = 0; i < sizeof(spared) / sizeof(spared[0]); i++)
            if (strstr(from.dli_fname, spared[i]))
                return 0;
    return must_fail(KIND_MEMORY);
}

EXPORTED void *malloc(size_t size)
{
    return memory_must_fail(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

EXPORTED void *calloc(size_t count, size_t size)
{
    return memory_must_fail(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

EXPORTED void *realloc(void *old, size_t size)
{
    return memory_must_fail(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}

EXPORTED void *reallocarray(void *old, size_t count, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(count, size, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return memory_must_fail(__builtin_return_address(0)) ? NULL : __libc_realloc(old, total);
}

EXPORTED void *aligned_alloc(size_t alignment, size_t size)
{
    return memory_must_fail(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
}

EXPORTED int posix_memalign(void **ret, size_t alignment, size_t size)
{
    int before = errno;
    void *made = memory_must_fail(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);

    errno = before;
    if (!made)
        return ENOMEM;
    *ret = made;
    return 0;
}

/* ---- files; both names of each, and those that _FORTIFY_SOURCE calls ---- */

static int is_on_disk(int fd)
{
    struct stat status;
    int before = errno;
    int yes = fstat(fd, &status) == 0 && (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode));

    errno = before;
    return yes;
}

static int must_fail_on(enum kind kind, int fd)
{
    return plan.tally && kind == plan.kind && fd != STDERR_FILENO && is_on_disk(fd) && must_fail(kind);
}

EXPORTED ssize_t read(int fd, void *ret, size_t len)
{
    return must_fail_on(KIND_READ, fd) ? -1 : syscall(SYS_read, fd, ret, len);
}

EXPORTED ssize_t __read_chk(int fd, void *ret, size_t len, size_t room)
{
    if (len > room)
        abort();
    return read(fd, ret, len);
}

EXPORTED ssize_t pread64(int fd, void *ret, size_t len, off64_t offset)
{
    return must_fail_on(KIND_READ, fd) ? -1 : syscall(SYS_pread64, fd, ret, len, offset);
}

EXPORTED ssize_t __pread64_chk(int fd, void *ret, size_t len, off64_t offset, size_t room)
{
    if (len > room)
        abort();
    return pread64(fd, ret, len, offset);
}

EXPORTED ssize_t write(int fd, const void *data, size_t len)
{
    return must_fail_on(KIND_WRITE, fd) ? -1 : syscall(SYS_write, fd, data, len);
}

EXPORTED ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
    return must_fail_on(KIND_WRITE, fd) ? -1 : syscall(SYS_pwrite64, fd, data, len, offset);
}

EXPORTED ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return must_fail_on(KIND_WRITE, fd) ? -1 : syscall(SYS_writev, fd, parts, count);
}

EXPORTED int fsync(int fd)
{
    return must_fail_on(KIND_SYNC, fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

EXPORTED int fdatasync(int fd)
{
    return must_fail_on(KIND_SYNC, fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

EXPORTED int ftruncate64(int fd, off64_t len)
{
    return must_fail_on(KIND_TRUNCATE, fd) ? -1 : (int)syscall(SYS_ftruncate, fd, len);
}

EXPORTED int posix_fallocate64(int fd, off64_t offset, off64_t len)
{
    int before = errno;
    int error = must_fail_on(KIND_TRUNCATE, fd) || syscall(SYS_fallocate, fd, 0, offset, len) < 0 ? errno : 0;

    errno = before;
    return error;
}

EXPORTED int rename(const char *from, const char *to)
{
    return must_fail(KIND_RENAME) ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static int open_at(int directory, const char *path, int flags, mode_t mode)
{
    return must_fail(KIND_OPEN) ? -1 : (int)syscall(SYS_openat, directory, path, flags, mode);
}

static mode_t mode_of(int flags, va_list arguments)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
}

EXPORTED int open64(const char *path, int flags, ...)
{
    va_list arguments;

    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return open_at(AT_FDCWD, path, flags, mode);
}

EXPORTED int openat64(int directory, const char *path, int flags, ...)
{
    va_list arguments;

    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return open_at(directory, path, flags, mode);
}

EXPORTED int __open64_2(const char *path, int flags)
{
    return open_at(AT_FDCWD, path, flags, 0);
}

EXPORTED int __openat64_2(int directory, const char *path, int flags)
{
    return open_at(directory, path, flags, 0);
}

/* What libraries that were built without large files call. */
EXPORTED int plain_open(const char *path, int flags, ...) __asm__("open");
EXPORTED int plain_open(const char *path, int flags, ...)
{
    va_list arguments;

    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return open_at(AT_FDCWD, path, flags, mode);
}

EXPORTED int __open_2(const char *path, int flags)
{
    return open_at(AT_FDCWD, path, flags, 0);
}

EXPORTED void *mmap64(void *address, size_t len, int protection, int flags, int fd, off64_t offset)
{
    if (must_fail(KIND_MAP))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, address, len, protection, flags, fd, offset);
}

/* ---- start ---- */

static int is_meant(const char *name)
{
    const char *meant = getenv("FAULT_PROGRAM");
    const char *slash = strrchr(name, '/');

    return meant && strcmp(slash ? slash + 1 : name, meant) == 0;
}

/* A plan that cannot be read is no test that passes: the program does not start. */
static void plan_read(void)
{
    const char *kind = getenv("FAULT_KIND"), *at = getenv("FAULT_AT"), *error = getenv("FAULT_ERRNO"),
               *file = getenv("FAULT_FILE");
    void *frame;

    for (plan.kind = 0; kind && plan.kind < KIND_COUNT && strcmp(kind, kind_names[plan.kind]) != 0;
         plan.kind++)
        ;
    int fd = file ? (int)syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC, 0) : -1;
    if (!kind || plan.kind == KIND_COUNT || !at || !error || fd < 0)
        abort();
    plan.at = strtoull(at, NULL, 10);
    plan.error = (int)strtol(error, NULL, 10);
    plan.goes_on = getenv("FAULT_ON") != NULL;
    plan.traces = getenv("FAULT_TRACE") != NULL;
    if (plan.traces)
        backtrace(&frame, 1); /* the first use loads a library */
    void *shared = (void *)syscall(
        SYS_mmap, NULL, sizeof(*plan.tally), PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)0);
    close(fd);
    if (shared == MAP_FAILED)
        abort();
    plan.tally = shared;
}

static int (*real_main)(int argc, char **argv, char **environment);

static int counted_main(int argc, char **argv, char **environment)
{
    if (is_meant(argv[0]))
        plan_read();
    return real_main(argc, argv, environment);
}

EXPORTED int __libc_start_main(int (*program_main)(int, char **, char **), int argc, char **argv,
    void (*init)(void), void (*fini)(void), void (*loader_fini)(void), void *stack_end)
{
    int (*start)(
        int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void), void (*)(void), void *);
    void *found = dlsym(RTLD_NEXT, "__libc_start_main");

    memcpy(&start, &found, sizeof(start));
    real_main = program_main;
    return start(counted_main, argc, argv, init, fini, loader_fini, stack_end);
}
