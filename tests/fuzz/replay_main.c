/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz harness without a fuzzing engine: over every file of the directories and every file that are
 * its arguments, in order of their names, so that a corpus is also a plain test. A directory without files is
 * an error: it would test nothing.
 *
 * Links with any one harness, a file that defines LLVMFuzzerTestOneInput().
 */
#include "base/bytes.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    if (!file)
        return -errno;
    size_t len = 0;
    size_t capacity = 4096;
    _cleanup_free_ uint8_t *data = malloc(capacity);
    while (data) {
        len += fread(data + len, 1, capacity - len, file);
        if (len < capacity)
            break;
        capacity *= 2;
        uint8_t *larger = realloc(data, capacity);
        if (!larger)
            return -ENOMEM;
        data = larger;
    }
    if (!data || ferror(file))
        return data ? -EIO : -ENOMEM;

    /* A block of exactly the right size, so that a sanitizer sees every read beyond it. */
    _cleanup_free_ uint8_t *exact = malloc(len);
    if (!exact && len > 0)
        return -ENOMEM;
    if (len > 0)
        memcpy(exact, data, len);
    LLVMFuzzerTestOneInput(exact, len);
    return 0;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Returns how many files were run, or -errno. */
static int replay(const char *path)
{
    struct stat status;
    if (stat(path, &status) < 0)
        return -errno;
    if (!S_ISDIR(status.st_mode)) {
        int r = replay_file(path);
        return r < 0 ? r : 1;
    }
    struct dirent **entries;
    int entry_count = scandir(path, &entries, is_visible, alphasort);
    if (entry_count < 0)
        return -errno;
    int result = 0;
    for (int i = 0; i < entry_count; i++) {
        _cleanup_free_ char *inner = NULL;
        int r = asprintf(&inner, "%s/%s", path, entries[i]->d_name) < 0 ? -ENOMEM : replay(inner);
        if (r < 0 && result >= 0)
            fprintf(stderr, "%s/%s: %s\n", path, entries[i]->d_name, strerror(-r));
        if (result >= 0)
            result = r < 0 ? r : result + r;
        free(entries[i]);
    }
    free(entries);
    return result == 0 ? -ENOENT : result;
}

int main(int argc, char **argv)
{
    int total = 0;
    for (int i = 1; i < argc; i++) {
        int r = replay(argv[i]);
        if (r < 0) {
            fprintf(stderr, "%s: %s\n", argv[i], strerror(-r));
            return EXIT_FAILURE;
        }
        total += r;
    }
    printf("%d inputs\n", total);
    return total > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
