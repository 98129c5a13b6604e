/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs that another program of ours starts for itself, as patrol starts patrol-photo: where one is, in
 * a build tree and when it is installed, and how one is started, with nothing of its parent but what it is
 * given. Knows nothing of what they do.
 */
#pragma once

#include "base/cleanup.h"

#include <sys/types.h>

struct helper_program {
    const char *name;
    const char *environment; /* variable that names another path; ignored in a program with privileges */
    /* Where it may be, from the directory of the running program; the first that can be run. NULL ends it. */
    const char *const *places;
    const char *installed; /* directory */
};

/* An allocated path, which may not exist, or NULL when memory ran out. */
char *helper_program_path(const struct helper_program *program);

/*
 * Starts `path` with these two as standard input and output (/dev/null for one below 0), /dev/null as
 * standard error, no other descriptor, no arguments and an all but empty environment (so a hostile LD_PRELOAD
 * or locale stays outside); no signal is blocked or ignored in it. Forks nothing by itself: posix_spawn().
 * The caller reaps it. -ENOMEM, -EAGAIN, or -ENOEXEC when it cannot be started.
 *
 * Built with sanitizers it has the caller's standard error and their options, for what they have to say.
 */
int helper_program_start(const char *path, const char *name, int input_fd, int output_fd, pid_t *ret_pid);
