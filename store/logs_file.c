/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns DATA/logs.txt: one line for every log ever opened here, so that a new database beside it knows that
 * there was one before. Called when a log is opened, and by recovery. Lines are only added; one that was cut
 * off by a crash is passed over.
 *
 *   1 6fa1c2d4-0000-4000-8000-000000000000 0 1764000000000 5d3c9a10      number, log id, reason, wall clock
 * ms, mark
 */
#include "store/internal.h"

#define LOGS_FILE_BYTES_MAX (4u * 1024u * 1024u)
#define LINE_BYTES_MAX 128u

/* "number id ..." of one line. */
static bool parse_line(const char *line, int64_t *ret_number, struct uuid *ret_id)
{
    char number_text[8];
    char id_text[UUID_TEXT_LEN + 1];
    uint64_t number;
    uint8_t mark[4];
    size_t digits = strspn(line, "0123456789");
    const char *mark_text = strrchr(line, ' ');

    if (digits == 0 || digits >= sizeof(number_text) || line[digits] != ' ' ||
        strlen(line + digits + 1) < UUID_TEXT_LEN || line[digits + 1 + UUID_TEXT_LEN] != ' ')
        return false;
    memcpy(number_text, line, digits);
    number_text[digits] = '\0';
    memcpy(id_text, line + digits + 1, UUID_TEXT_LEN);
    id_text[UUID_TEXT_LEN] = '\0';
    if (text_parse_u64(number_text, &number) < 0 || number < 1 || number > LOG_NUMBER_MAX ||
        text_parse_uuid(id_text, ret_id->b) < 0 ||
        text_parse_hex(mark_text + 1, strlen(mark_text + 1), mark, sizeof(mark)) < 0)
        return false;
    *ret_number = (int64_t)number;
    struct cursor cursor = cursor_of(bytes_of(mark, sizeof(mark)));
    return cursor_u32be(&cursor) == log_mark(*ret_number, ret_id);
}

int logs_file_each(
    struct store *store, int (*each)(void *user, int64_t number, const struct uuid *id), void *user)
{
    _cleanup_free_ char *path = store_path(store, LOGS_NAME);
    _cleanup_buffer_ struct buffer content = {0};
    struct cursor cursor;

    if (!path)
        return -ENOMEM;
    int r = files_read(store->world, path, LOGS_FILE_BYTES_MAX, &content);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    cursor = cursor_of(buffer_bytes(&content));
    for (;;) {
        char line[LINE_BYTES_MAX];
        struct uuid id;
        int64_t number;
        struct bytes taken = cursor_take_until(&cursor, '\n');

        if (cursor.failed)
            return 0;
        if (taken.len == 0 || taken.len >= sizeof(line))
            continue;
        memcpy(line, taken.data, taken.len);
        line[taken.len] = '\0';
        if (!parse_line(line, &number, &id))
            continue;
        r = each(user, number, &id);
        if (r != 0)
            return r;
    }
}

static int note_last(void *user, int64_t number, const struct uuid *id)
{
    struct logs_file_last *last = user;

    last->lines++;
    last->id = *id;
    if (number > last->number_max)
        last->number_max = number;
    return 0;
}

int logs_file_read(struct store *store, struct logs_file_last *ret)
{
    struct logs_file_last last = {0};

    int r = logs_file_each(store, note_last, &last);
    if (r < 0)
        return r;
    *ret = last;
    return 0;
}

static int add_line(const struct world *world, int file, const char *line)
{
    uint64_t size;

    int r = world->verbs->size(world->context, file, &size);
    if (r >= 0)
        r = world->verbs->write(world->context, file, line, strlen(line), size);
    return r < 0 ? r : world->verbs->sync(world->context, file);
}

int logs_file_add(struct store *store, const struct log_row *log, enum open_reason reason)
{
    const struct world *world = store->world;
    _cleanup_free_ char *path = store_path(store, LOGS_NAME);
    char id[UUID_TEXT_LEN + 1], line[LINE_BYTES_MAX];

    if (!path)
        return -ENOMEM;
    text_uuid(log->id.b, id);
    /* The line break before it ends a line that a crash cut off; empty lines are passed over. */
    snprintf(line, sizeof(line), "\n%lld %s %d %lld %08x\n", (long long)log->number, id, (int)reason,
        (long long)world->verbs->wall_ms(world->context), log_mark(log->number, &log->id));
    int file = world->verbs->open(world->context, path, WORLD_WRITE, false);
    if (file < 0)
        return file;
    int r = add_line(world, file, line);
    int closed = world->verbs->close(world->context, file);
    if (r >= 0)
        r = closed;
    return r < 0 ? r : world->verbs->sync_directory(world->context, store->directory);
}
