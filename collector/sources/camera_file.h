/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The camera as a source: a photo is a file that something else wrote. This opens it, has it looked at by the
 * helper program patrol-photo (collector/photo/answer.h draws the dialogue), and believes nothing the helper
 * says without checking it.
 *
 * Called by `patrol record`. It links no image library, and knows neither the store nor the record. It starts
 * a process, so it must not be called while the database's file lock is held.
 *
 * The file may change while it is read, here once and by the store again, which copies and hashes it. So that
 * both see one file, open it once, hand the same descriptor to both, and ask at the end whether it is still
 * the file that was looked at:
 *
 *     camera_file_open(path, &fd, &reason);
 *     camera_file_read(fd, &helper, &photo, &reason);       leaves the offset at 0
 *     ... the store copies and hashes from fd ...
 *     camera_file_check_unchanged(fd, &photo, &reason);     before the commit
 */
#pragma once

#include "base/cleanup.h"
#include "collector/photo/answer.h"

#include <sys/types.h>
#include <time.h>

struct camera_helper {
    const char *path;
    uint32_t
        deadline_ms; /* for one photo, from start to exit; PHOTO_DEADLINE_MS unless a test is in a hurry */
};

struct camera_photo {
    struct photo_facts facts; /* verdict is always PHOTO_GOOD */
    const char *mime;         /* "image/jpeg" or "image/png", static */
    uint64_t size;            /* bytes of the file */
    struct timespec modified;
    uint8_t *preview; /* owned; facts.preview_len bytes of JPEG */
};

/*
 * All of these return 0 or -errno and, on failure, set *ret_reason to a static text for a person: what is
 * wrong, and what to do. It does not name the file; the caller does.
 */

/* Opens a regular file for reading. -ENOENT, -EACCES, ...; -EISDIR, -EINVAL when it is no regular file. The
 * caller closes it. */
int camera_file_open(const char *path, int *ret_fd, const char **ret_reason);

/*
 * Reads the photo from the start, whatever fd's offset is, and leaves the offset at the start.
 *   -EBADMSG  the photo is refused: empty, truncated, too large, ... (nothing else about the file will help)
 *   -ENOPKG   the helper program could not be started: the installation is at fault, not the photo
 *   other     the file could not be read, or memory or descriptors ran out
 */
int camera_file_read(
    int fd, const struct camera_helper *helper, struct camera_photo *ret, const char **ret_reason);
void camera_photo_done(struct camera_photo *photo);

/* -ESTALE when size or modification time of the file are no longer those of the photo that was read. */
int camera_file_check_unchanged(int fd, const struct camera_photo *photo, const char **ret_reason);

/*
 * Where patrol-photo is: PATROL_PHOTO_HELPER of the environment; else beside the running program, or where
 * the build tree has it from there; else where it was installed. Returns an allocated path, which may not
 * exist, or NULL when memory ran out.
 */
char *camera_helper_path(void);
