/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of metrics that a collector of text files reads (node_exporter's). Owned by the daemon, on its
 * loop; knows no metric.
 *
 * It is written when its text has changed, at most once in an interval: what changes sooner is written at its
 * end, by a timer that runs only then. Whoever is idle is not woken for it, and a daemon that has ended
 * leaves no file behind. That it cannot be written is told once, and keeps nothing else from going on.
 */
#pragma once

#include "base/world.h"

#include <systemd/sd-event.h>

struct metrics_file;

struct metrics_file_options {
    const struct world *world;
    const char *path; /* copied */
    uint64_t interval_ms;
    /* Appends the text as it is now. 0 or -errno: then there is none this time. */
    int (*compose)(void *context, struct buffer *ret);
    void *context;
};

/* Why a path cannot be used, for people; NULL: it can. Its directory need not be there yet. */
const char *metrics_file_problem(const char *path, const char *data_directory);

int metrics_file_new(sd_event *event, const struct metrics_file_options *options, struct metrics_file **ret);
/* Removes the file. Takes NULL. */
void metrics_file_free(struct metrics_file *file);
/* Something may have changed. Takes NULL. */
void metrics_file_changed(struct metrics_file *file);
