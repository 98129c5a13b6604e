/* SPDX-License-Identifier: Apache-2.0 */
#include "base/write_mark.h"

#define MARK_SET '1'
#define MARK_CLEAR '0'

int write_mark_open(struct write_mark *mark, const struct world *world, const char *path)
{
    if (mark->file >= 0)
        return 0;
    int file = world->verbs->open(world->context, path, WORLD_WRITE, false);
    if (file < 0)
        return file;
    mark->file = file;
    return 0;
}

void write_mark_close(struct write_mark *mark, const struct world *world)
{
    if (mark->file >= 0)
        (void)world->verbs->close(world->context, mark->file);
    mark->file = -1;
}

int write_mark_read(struct write_mark *mark, const struct world *world)
{
    char byte = MARK_CLEAR;

    if (mark->is_set || mark->file < 0)
        return mark->is_set;
    ssize_t n = world->verbs->read(world->context, mark->file, &byte, 1, 0);
    return n < 0 ? (int)n : n == 1 && byte == MARK_SET;
}

int write_mark_put(struct write_mark *mark, const struct world *world, bool is_set)
{
    const char byte = is_set ? MARK_SET : MARK_CLEAR;

    mark->is_set = is_set;
    return mark->file < 0 ? 0 : world->verbs->write(world->context, mark->file, &byte, 1, 0);
}
