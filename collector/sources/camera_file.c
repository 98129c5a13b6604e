/* SPDX-License-Identifier: Apache-2.0 */
/* A photo file and what patrol-photo says of it; see camera_file.h. */
#include "collector/sources/camera_file.h"

#include "collector/sources/helper_process.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* What the helper may write in all. */
#define HELPER_ANSWER_BYTES_MAX (PHOTO_ANSWER_LINE_MAX + PREVIEW_BYTES_MAX)

static const char *verdict_reason(enum photo_verdict verdict)
{
    switch (verdict) {
    case PHOTO_GOOD:
        break;
    case PHOTO_EMPTY:
        return "photo is empty: take it again";
    case PHOTO_TOO_LARGE:
        return "photo is over 64 MiB: make it smaller";
    case PHOTO_NOT_AN_IMAGE:
        return "not a JPEG or PNG: save it as one of these";
    case PHOTO_TRUNCATED:
        return "photo is truncated: copy it or take it again";
    case PHOTO_DAMAGED:
        return "photo is damaged: copy it or take it again";
    case PHOTO_UNSUPPORTED:
        return "photo is a JPEG of a kind that is not supported: save it as an ordinary JPEG";
    case PHOTO_TOO_MANY_PIXELS:
        return "photo has too many pixels (120 megapixels at most, progressive JPEGs less): make it smaller";
    }
    return "photo could not be decoded: take it again";
}

static const char *errno_reason(int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
        return "no such file: check the path";
    case EACCES:
    case EPERM:
        return "file may not be read: check its permissions";
    case EISDIR:
        return "is a directory: name a photo file in it";
    case EINVAL:
        return "not a regular file: name a photo file";
    case ENOMEM:
        return "out of memory: try again";
    case EMFILE:
    case ENFILE:
        return "too many open files: try again";
    default:
        return "file could not be read: copy it or take it again";
    }
}

static int fail(int error, const char **ret_reason)
{
    *ret_reason = errno_reason(error);
    return -error;
}

int camera_file_open(const char *path, int *ret_fd, const char **ret_reason)
{
    /* O_NONBLOCK: a FIFO must not hang us before fstat() can tell what it is. It means nothing for regular
     * files. */
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return fail(errno == EINVAL ? EIO : errno, ret_reason);
    struct stat status;
    if (fstat(fd, &status) < 0)
        return fail(errno, ret_reason);
    if (!S_ISREG(status.st_mode))
        return fail(S_ISDIR(status.st_mode) ? EISDIR : EINVAL, ret_reason);
    *ret_fd = take_fd(&fd);
    return 0;
}

/* The whole answer at once: a line, and exactly the bytes that it announces. */
static int take_answer(
    const uint8_t *answer, size_t len, struct photo_facts *ret_facts, uint8_t **ret_preview)
{
    const uint8_t *newline = memchr(answer, '\n', len < PHOTO_ANSWER_LINE_MAX ? len : PHOTO_ANSWER_LINE_MAX);
    if (!newline)
        return -EBADMSG;
    size_t line_len = (size_t)(newline - answer) + 1;
    struct photo_facts facts;
    int r = photo_answer_parse((const char *)answer, line_len, &facts);
    if (r < 0)
        return r;
    const uint8_t *preview = answer + line_len;
    size_t preview_len = len - line_len;
    if (preview_len != facts.preview_len)
        return -EBADMSG;
    if (facts.verdict == PHOTO_GOOD) {
        bool framed = preview_len >= 4 && preview[0] == 0xff && preview[1] == 0xd8 &&
                      preview[preview_len - 2] == 0xff && preview[preview_len - 1] == 0xd9;
        if (!framed)
            return -EBADMSG;
        uint8_t *copy = malloc(preview_len);
        if (!copy)
            return -ENOMEM;
        memcpy(copy, preview, preview_len);
        *ret_preview = copy;
    }
    *ret_facts = facts;
    return 0;
}

static int ask_helper(int fd, const struct camera_helper *helper, struct photo_facts *ret_facts,
    uint8_t **ret_preview, const char **ret_reason)
{
    _cleanup_free_ uint8_t *answer = malloc(HELPER_ANSWER_BYTES_MAX);
    size_t len = 0;
    if (!answer)
        return fail(ENOMEM, ret_reason);
    int r = helper_process_run(helper->path, fd, helper->deadline_ms, answer, HELPER_ANSWER_BYTES_MAX, &len);
    if (r == -ENOEXEC) {
        *ret_reason = "patrol-photo cannot be started: install gridpatrol completely";
        return -ENOPKG;
    }
    struct photo_facts facts = {0};
    if (r >= 0)
        r = take_answer(answer, len, &facts, ret_preview);
    if (r < 0 && r != -EBADMSG && r != -ETIMEDOUT)
        return fail(-r, ret_reason);
    if (r < 0 || facts.verdict != PHOTO_GOOD) {
        *ret_reason = verdict_reason(r < 0 ? PHOTO_GOOD : facts.verdict);
        return -EBADMSG;
    }
    *ret_facts = facts;
    return 0;
}

static int refuse_size(const struct stat *status, const char **ret_reason)
{
    if (status->st_size > 0 && status->st_size <= (off_t)BLOB_BYTES_MAX)
        return 0;
    *ret_reason = verdict_reason(status->st_size > 0 ? PHOTO_TOO_LARGE : PHOTO_EMPTY);
    return -EBADMSG;
}

int camera_file_read(
    int fd, const struct camera_helper *helper, struct camera_photo *ret, const char **ret_reason)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return fail(errno, ret_reason);
    int r = refuse_size(&status, ret_reason);
    if (r < 0)
        return r;
    /* The helper reads through the same open file, so it moves this descriptor's offset too. */
    if (lseek(fd, 0, SEEK_SET) < 0)
        return fail(errno, ret_reason);
    _cleanup_(camera_photo_done) struct camera_photo photo = {
        .size = (uint64_t)status.st_size,
        .modified = status.st_mtim,
    };
    r = ask_helper(fd, helper, &photo.facts, &photo.preview, ret_reason);
    if (r < 0)
        return r;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return fail(errno, ret_reason);
    r = camera_file_check_unchanged(fd, &photo, ret_reason);
    if (r < 0)
        return r;
    photo.mime = photo.facts.format == PHOTO_PNG ? "image/png" : "image/jpeg";
    *ret = photo;
    photo.preview = NULL;
    return 0;
}

void camera_photo_done(struct camera_photo *photo)
{
    free(photo->preview);
    *photo = (struct camera_photo){0};
}

int camera_file_check_unchanged(int fd, const struct camera_photo *photo, const char **ret_reason)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return fail(errno, ret_reason);
    if (status.st_size < 0 || (uint64_t)status.st_size != photo->size ||
        status.st_mtim.tv_sec != photo->modified.tv_sec ||
        status.st_mtim.tv_nsec != photo->modified.tv_nsec) {
        *ret_reason = "file changed while it was read: try again when it is complete";
        return -ESTALE;
    }
    return 0;
}
