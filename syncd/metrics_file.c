/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/metrics_file.h"

#include "base/files.h"
#include "base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define SUFFIX ".prom"            /* what collectors of text files look for */
#define LATE_US UINT64_C(1000000) /* the timer may wait for another reason to wake up */

struct metrics_file {
    const struct world *world;
    char *path;
    uint64_t interval_ms, written_ms; /* boot clock */
    int (*compose)(void *context, struct buffer *ret);
    void *context;
    sd_event_source *timer;
    struct buffer written; /* empty: there is no file of ours */
    bool has_failed;
};

static bool is_same_directory(const char *a, const char *b)
{
    struct stat first, second;

    if (strcmp(a, b) == 0) /* it need not be there yet */
        return true;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

const char *metrics_file_problem(const char *path, const char *data_directory)
{
    size_t len = strlen(path), suffix_len = strlen(SUFFIX);
    _cleanup_free_ char *parent = files_parent(path);
    struct stat status;

    if (path[0] != '/')
        return "the path must be absolute";
    if (len <= suffix_len || strcmp(path + len - suffix_len, SUFFIX) != 0 ||
        path[len - suffix_len - 1] == '/')
        return "the name must end with " SUFFIX ", or no collector reads it";
    if (len >= FILES_PATH_MAX / 2)
        return "the path is too long";
    if (lstat(path, &status) == 0 && !S_ISREG(status.st_mode))
        return "what is there is no regular file";
    /* The daemon watches that one: each write would wake it, to write again. */
    if (parent && is_same_directory(parent, data_directory))
        return "it cannot be in the data directory";
    return NULL;
}

static uint64_t now_ms(const struct metrics_file *file)
{
    return file->world->verbs->boot_ms(file->world->context);
}

/* Takes the text over. Also after a failure its time counts: a full disk is not tried at each event. */
static void write_text(struct metrics_file *file, struct buffer *text)
{
    int r = files_replace(file->world, file->path, buffer_bytes(text), false);

    file->written_ms = now_ms(file);
    if (r < 0 && !file->has_failed)
        log_warning("the metrics cannot be written to %s (%s): tried again at every change", file->path,
            strerror(-r));
    else if (r >= 0 && file->has_failed)
        log_info("the metrics are written to %s again", file->path);
    file->has_failed = r < 0;
    if (r < 0)
        return;
    buffer_done(&file->written);
    file->written = *text;
    *text = (struct buffer){0};
}

static bool compose(struct metrics_file *file, struct buffer *ret)
{
    return file->compose(file->context, ret) >= 0 && buffer_finish(ret) >= 0 &&
           !bytes_equal(buffer_bytes(ret), buffer_bytes(&file->written));
}

static int on_timer(sd_event_source *source, uint64_t usec, void *context)
{
    struct metrics_file *file = context;
    _cleanup_buffer_ struct buffer text = {0};

    (void)source;
    (void)usec;
    if (compose(file, &text))
        write_text(file, &text);
    return 0;
}

void metrics_file_changed(struct metrics_file *file)
{
    _cleanup_buffer_ struct buffer text = {0};
    int waits = SD_EVENT_OFF;

    if (!file)
        return;
    sd_event_source_get_enabled(file->timer, &waits);
    if (waits != SD_EVENT_OFF || !compose(file, &text))
        return;
    uint64_t passed_ms = now_ms(file) - file->written_ms;
    if (file->written_ms == 0 || passed_ms >= file->interval_ms)
        write_text(file, &text);
    else if (sd_event_source_set_time_relative(file->timer, (file->interval_ms - passed_ms) * 1000) >= 0)
        sd_event_source_set_enabled(file->timer, SD_EVENT_ONESHOT);
}

int metrics_file_new(sd_event *event, const struct metrics_file_options *options, struct metrics_file **ret)
{
    struct metrics_file *file = calloc(1, sizeof(*file));

    if (!file)
        return -ENOMEM;
    file->world = options->world;
    file->interval_ms = options->interval_ms;
    file->compose = options->compose;
    file->context = options->context;
    file->path = strdup(options->path);
    int r = file->path
                ? sd_event_add_time_relative(event, &file->timer, CLOCK_BOOTTIME, 0, LATE_US, on_timer, file)
                : -ENOMEM;
    if (r >= 0)
        r = sd_event_source_set_enabled(file->timer, SD_EVENT_OFF);
    if (r < 0) {
        metrics_file_free(file);
        return r;
    }
    *ret = file;
    return 0;
}

void metrics_file_free(struct metrics_file *file)
{
    if (!file)
        return;
    sd_event_source_disable_unref(file->timer);
    if (file->written.len > 0)
        (void)file->world->verbs->unlink(file->world->context, file->path);
    buffer_done(&file->written);
    free(file->path);
    free(file);
}
