/* SPDX-License-Identifier: Apache-2.0 */
/*
 * patrol-photo: looks at the one photo on its standard input, writes the answer of answer.h to its standard
 * output, and ends.
 *
 * Started by `patrol` (collector/sources/camera_file.c) for each photo. It is a program of its own so that
 * image libraries are neither loaded by every `patrol`, nor able to harm anything when a hostile file gets
 * the better of them. It knows no paths, no database, no configuration.
 */
#include "base/cleanup.h"
#include "collector/photo/photo.h"
#include "collector/photo/sandbox.h"

#include <errno.h>
#include <sys/stat.h>

#define READ_BYTES_STEP ((size_t)1024 * 1024)

/* Room for the whole file and one byte more, by which end of file is found, or a file that grew over the
 * limit. */
static size_t first_capacity(void)
{
    struct stat status;
    if (fstat(STDIN_FILENO, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size < 0)
        return READ_BYTES_STEP;
    return status.st_size >= (off_t)BLOB_BYTES_MAX ? BLOB_BYTES_MAX + 1u : (size_t)status.st_size + 1;
}

/* Reads to end of file, or to one byte more than a photo may have. */
static int read_photo(size_t capacity, uint8_t **ret_data, size_t *ret_len)
{
    size_t len = 0;
    _cleanup_free_ uint8_t *data = malloc(capacity);
    if (!data)
        return -ENOMEM;
    while (len <= BLOB_BYTES_MAX) {
        if (len == capacity) {
            capacity = capacity > BLOB_BYTES_MAX / 2 ? BLOB_BYTES_MAX + 1u : capacity * 2;
            uint8_t *larger = realloc(data, capacity);
            if (!larger)
                return -ENOMEM;
            data = larger;
        }
        ssize_t n = read(STDIN_FILENO, data + len, capacity - len);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            break;
        if (n > 0)
            len += (size_t)n;
    }
    *ret_data = take_ptr(data);
    *ret_len = len;
    return 0;
}

static int write_all(const void *data, size_t len)
{
    const uint8_t *at = data;
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, at, len);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
    return 0;
}

static int answer(const struct photo *photo)
{
    char line[PHOTO_ANSWER_LINE_MAX];
    int len = photo_answer_format(&photo->facts, line, sizeof(line));
    if (len < 0)
        return len;
    int r = write_all(line, (size_t)len);
    return r < 0 ? r : write_all(photo->preview, photo->facts.preview_len);
}

int main(void)
{
    size_t capacity = first_capacity();
    if (sandbox_enter() < 0)
        return EXIT_FAILURE;
    _cleanup_free_ uint8_t *data = NULL;
    size_t len = 0;
    _cleanup_(photo_done) struct photo photo = {0};
    if (read_photo(capacity, &data, &len) < 0 || photo_inspect(bytes_of(data, len), &photo) < 0 ||
        answer(&photo) < 0)
        return EXIT_FAILURE;
    return EXIT_SUCCESS;
}
