/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a small helper program on one open file and collects what it writes, within a deadline. Called by
 * camera_file.c; knows nothing of photos.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * Starts `path` (base/helper_program.h) with `input_fd` as standard input and a pipe as standard output.
 * Waits for its output and its end. Never more than deadline_ms, then it is killed; it is always gone and
 * reaped afterwards.
 *
 * Returns 0 when the helper ended with status 0 and wrote at most `size` bytes, now in answer[*ret_len].
 *   -ENOEXEC    it could not be started
 *   -EBADMSG    it ended otherwise, or wrote more
 *   -ETIMEDOUT  it was killed for being slow
 *   other       pipe(), poll() and the like failed
 */
int helper_process_run(
    const char *path, int input_fd, uint32_t deadline_ms, uint8_t *answer, size_t size, size_t *ret_len);
