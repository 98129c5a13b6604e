/* SPDX-License-Identifier: Apache-2.0 */
#include "base/helper_program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>

/* ---- where ---- */

static char *beside_program(const char *const *places)
{
    char program[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (len <= 0)
        return NULL;
    program[len] = '\0';
    char *slash = strrchr(program, '/');
    if (!slash)
        return NULL;
    slash[1] = '\0';
    for (size_t i = 0; places[i]; i++) {
        char *path;
        if (asprintf(&path, "%s%s", program, places[i]) < 0)
            return NULL;
        if (access(path, X_OK) == 0)
            return path;
        free(path);
    }
    return NULL;
}

char *helper_program_path(const struct helper_program *program)
{
    const char *chosen = secure_getenv(program->environment);
    if (chosen && chosen[0] != '\0')
        return strdup(chosen);
    char *path = beside_program(program->places);
    if (path)
        return path;
    return asprintf(&path, "%s/%s", program->installed, program->name) < 0 ? NULL : path;
}

/* ---- start ---- */

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
static int plan_descriptor(struct spawn_plan *plan, int fd, int standard_fd, int flags)
{
    return fd >= 0 ? posix_spawn_file_actions_adddup2(&plan->actions, fd, standard_fd)
                   : posix_spawn_file_actions_addopen(&plan->actions, standard_fd, "/dev/null", flags, 0);
}

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
    int error = plan_descriptor(plan, input_fd, STDIN_FILENO, O_RDONLY);
    if (error == 0)
        error = plan_descriptor(plan, output_fd, STDOUT_FILENO, O_WRONLY);
#ifndef HELPER_IS_SANITIZED
    if (error == 0)
        error = plan_descriptor(plan, -1, STDERR_FILENO, O_WRONLY);
#endif
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

/* The whole environment of a helper, the first of `ret` being taken. */
static void add_sanitizer_options(char *ret[], size_t capacity)
{
#ifdef HELPER_IS_SANITIZED
    size_t count = 1;
    for (char **each = environ; *each && count + 1 < capacity; each++)
        if (strncmp(*each, "ASAN_OPTIONS=", 13) == 0 || strncmp(*each, "UBSAN_OPTIONS=", 14) == 0)
            ret[count++] = *each;
#else
    (void)ret;
    (void)capacity;
#endif
}

int helper_program_start(const char *path, const char *name, int input_fd, int output_fd, pid_t *ret_pid)
{
    static char locale[] = "LC_ALL=C";
    _cleanup_free_ char *own_name = strdup(name);
    if (!own_name)
        return -ENOMEM;
    char *const arguments[] = {own_name, NULL};
    char *environment[4] = {locale};
    add_sanitizer_options(environment, ARRAY_LEN(environment));
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
