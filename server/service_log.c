/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is held of a log, read for exchanges, audits, repairs and checks: the signed note, tiles of rows, and
 * the roots that were kept of them.
 */
#include "server/service_internal.h"

#define TILES_AT_ONCE 64u

int log_note_checked(struct service *service, struct storage *storage, const struct stored_device *device,
    const struct stored_log *log, struct buffer *ret_note)
{
    char origin[ORIGIN_BYTES_MAX];
    struct checkpoint checkpoint;
    struct sha256 root = merkle_root(&log->frontier);
    _cleanup_buffer_ struct buffer note = {0};
    int r = storage->verbs->log_note(storage, log->number, &note);

    if (r >= 0)
        r = origin_format(service->authority, service->tenant, &log->id, origin);
    if (r >= 0)
        r = device_checkpoint_verify(service, storage, device, buffer_bytes(&note), &checkpoint);
    if (r < 0)
        return r;
    if (strcmp(checkpoint.origin, origin) != 0 || checkpoint.size != log->frontier.size ||
        !sha256_equal(&checkpoint.root, &root))
        return -ENOENT;
    buffer_put_bytes(ret_note, buffer_bytes(&note));
    return buffer_finish(ret_note);
}

size_t log_tile_count(const struct stored_log *log, uint64_t tile)
{
    uint64_t first = tile * TILE_LEAVES;

    if (first >= log->frontier.size)
        return 0;
    return log->frontier.size - first < TILE_LEAVES ? (size_t)(log->frontier.size - first) : TILE_LEAVES;
}

struct tile_reading {
    uint64_t first_key;
    struct audit_row *rows;
};

static int note_row(void *user, const struct stored_record *record)
{
    struct tile_reading *reading = user;
    struct audit_row *row = &reading->rows[record->key - reading->first_key];

    row->has_leaf = record->has_leaf;
    row->leaf = record->leaf;
    switch (record->state) {
    case STORED_RECORD_PRESENT:
        row->state = AUDIT_ROW_PRESENT;
        break;
    case STORED_RECORD_ERASED:
        row->state = AUDIT_ROW_ERASED;
        return 0;
    case STORED_RECORD_LOST:
        row->state = AUDIT_ROW_LOST;
        return 0;
    default: /* a damaged column */
        row->state = AUDIT_ROW_PRESENT;
        row->has_leaf = false;
        break;
    }
    row->has_bytes = record->has_bytes;
    if (record->has_bytes)
        row->bytes_leaf = merkle_leaf(record->bytes);
    return 0;
}

int log_read_tile(struct storage *storage, const struct stored_log *log, uint64_t tile, bool with_bytes,
    struct audit_row *ret)
{
    size_t count = log_tile_count(log, tile);
    struct tile_reading reading = {.first_key = record_key(log->number, tile * TILE_LEAVES), .rows = ret};
    int r;

    for (size_t i = 0; i < count; i++)
        ret[i] = (struct audit_row){.state = AUDIT_ROW_MISSING};
    r = storage->verbs->records_each(
        storage, reading.first_key, reading.first_key + count, with_bytes, note_row, &reading);
    /* Bytes that are gone hash to nothing that was ever signed. */
    for (size_t i = 0; r >= 0 && with_bytes && i < count; i++) {
        if (ret[i].state != AUDIT_ROW_PRESENT || ret[i].has_bytes)
            continue;
        ret[i].has_bytes = true;
        ret[i].bytes_leaf = (struct sha256){{0}};
    }
    return r;
}

int log_kept_root(struct storage *storage, const struct stored_log *log, uint64_t tile, struct sha256 *ret)
{
    bool known = false;
    int r;

    if (log_tile_count(log, tile) < TILE_LEAVES)
        return audit_kept_rest_root(&log->frontier, ret);
    r = storage->verbs->tiles(storage, log->number, tile, 1, ret, &known);
    return r < 0 ? r : known;
}

int log_kept_is_sound(struct storage *storage, const struct stored_log *log)
{
    uint64_t tiles = log->frontier.size / TILE_LEAVES;
    struct merkle_frontier frontier;
    size_t roots;

    merkle_frontier_init(&frontier);
    for (uint64_t next = 0; next < tiles;) {
        struct sha256 read[TILES_AT_ONCE];
        bool known[TILES_AT_ONCE];
        size_t count = tiles - next < TILES_AT_ONCE ? (size_t)(tiles - next) : TILES_AT_ONCE;
        int r = storage->verbs->tiles(storage, log->number, next, count, read, known);

        if (r < 0)
            return r;
        for (size_t i = 0; i < count; i++) {
            if (!known[i])
                return 0;
            (void)merkle_append_tile(&frontier, &read[i]);
        }
        next += count;
    }
    roots = (size_t)__builtin_popcountll(frontier.size);
    return memcmp(frontier.roots, log->frontier.roots, roots * sizeof(frontier.roots[0])) == 0;
}

int log_tile_leaves(struct storage *storage, const struct stored_log *log, uint64_t tile,
    const bool *is_given, struct sha256 *ret)
{
    struct audit_row rows[TILE_LEAVES];
    size_t count = log_tile_count(log, tile);
    int r = log_read_tile(storage, log, tile, false, rows);

    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        if (is_given && is_given[i])
            continue;
        if (rows[i].state == AUDIT_ROW_MISSING || !rows[i].has_leaf)
            return 0;
        ret[i] = rows[i].leaf;
    }
    return 1;
}

int log_leaves_are_kept(
    struct storage *storage, const struct stored_log *log, uint64_t tile, const struct sha256 *leaves)
{
    struct sha256 root = merkle_root_of(leaves, log_tile_count(log, tile)), kept;
    int r = log_kept_root(storage, log, tile, &kept);

    return r <= 0 ? r : sha256_equal(&root, &kept);
}

int log_tile_is_sound(struct storage *storage, const struct stored_log *log, uint64_t tile)
{
    struct sha256 leaves[TILE_LEAVES];
    int r = log_tile_leaves(storage, log, tile, NULL, leaves);

    return r <= 0 ? r : log_leaves_are_kept(storage, log, tile, leaves);
}

int log_record_is_well(struct storage *storage, uint64_t key)
{
    _cleanup_buffer_ struct buffer bytes = {0};
    struct stored_record row;
    struct sha256 leaf;
    int r = storage->verbs->record_at(storage, key, &bytes, &row);

    if (r == -ENOENT)
        return 0;
    if (r < 0 || row.state == STORED_RECORD_ERASED)
        return r < 0 ? r : 1;
    leaf = merkle_leaf(row.bytes);
    return row.state == STORED_RECORD_PRESENT && row.has_leaf && row.has_bytes &&
           sha256_equal(&leaf, &row.leaf);
}
