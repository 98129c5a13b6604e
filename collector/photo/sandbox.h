/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What patrol-photo takes from itself before it touches a stranger's bytes: time, memory, files, privileges,
 * and nearly all system calls. Left are reading fd 0, writing fd 1, memory and the end.
 *
 * Built with PHOTO_SANDBOX_LIGHT (sanitizers, coverage), the limits on addresses and descriptors, the refusal
 * to be traced and the system call filter are left out, because such builds need these for themselves.
 */
#pragma once

/* Returns 0, or -errno when a limit could not be set: then nothing must be read. */
int sandbox_enter(void);
