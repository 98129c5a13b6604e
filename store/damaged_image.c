/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads rows off the pages of a database that may be damaged: see damaged_image.h.
 */
#include "store/damaged_image.h"

#include "store/damaged_wal.h"
#include "store/internal.h"

#define FILE_HEADER_BYTES 100u
#define PAGE_TABLE_LEAF 0x0d
#define PAGE_INDEX_LEAF 0x0a
#define PAGE_HEADER_BYTES 8u
#define PAYLOAD_BYTES_MAX (RECORD_BYTES_MAX + 4096u)
#define OVERFLOW_BYTES (PAGE_BYTES - 4u)
/* How much of a payload stands on a leaf: "B-tree Cell Format" of the file format. */
#define TABLE_LOCAL_MAX (PAGE_BYTES - 35u)
#define INDEX_LOCAL_MAX ((PAGE_BYTES - 12u) * 64u / 255u - 23u)
#define LOCAL_MIN ((PAGE_BYTES - 12u) * 32u / 255u - 23u)

/* Where a page is looked for. */
enum image_view {
    VIEW_COMMITTED, /* in the committed frames, then in the database */
    VIEW_FRAMES,    /* in any frame, then in the database */
    VIEW_DATABASE,  /* there only */
};

struct damaged_image {
    const struct world *world;
    int database, wal_file; /* -1: missing */
    uint64_t database_pages;
    struct damaged_wal wal;
    enum image_view view;
    uint8_t page[PAGE_BYTES];
    uint8_t overflow[PAGE_BYTES];
    uint8_t payload[PAYLOAD_BYTES_MAX];
};

/* ---- files ---- */

static int open_if_there(const struct world *world, const char *path, int *ret)
{
    *ret = -1;
    if (!path)
        return 0;
    int file = world->verbs->open(world->context, path, WORLD_READ, false);
    if (file < 0)
        return file == -ENOENT ? 0 : file;
    *ret = file;
    return 0;
}

int damaged_image_open(
    const struct world *world, const char *database_path, const char *wal_path, struct damaged_image **ret)
{
    _cleanup_damaged_image_ struct damaged_image *image = calloc(1, sizeof(*image));
    uint64_t size = 0;

    if (!image)
        return -ENOMEM;
    image->world = world;
    image->database = image->wal_file = -1;
    int r = open_if_there(world, database_path, &image->database);
    if (r >= 0)
        r = open_if_there(world, wal_path, &image->wal_file);
    if (r >= 0 && image->database >= 0)
        r = world->verbs->size(world->context, image->database, &size);
    if (r >= 0 && image->wal_file >= 0)
        r = damaged_wal_read(world, image->wal_file, &image->wal);
    if (r < 0)
        return r;
    image->database_pages = size / PAGE_BYTES;
    *ret = take_ptr(image);
    return 0;
}

void damaged_image_free(struct damaged_image *image)
{
    if (!image)
        return;
    if (image->database >= 0)
        (void)image->world->verbs->close(image->world->context, image->database);
    if (image->wal_file >= 0)
        (void)image->world->verbs->close(image->world->context, image->wal_file);
    damaged_wal_done(&image->wal);
    free(image);
}

bool damaged_image_wal_is_unreadable(const struct damaged_image *image)
{
    return image->wal.is_unreadable;
}

bool damaged_image_wal_is_broken(const struct damaged_image *image)
{
    return image->wal.is_broken;
}

static bool read_page_at(struct damaged_image *image, int file, uint64_t offset, uint8_t ret[PAGE_BYTES])
{
    return file >= 0 && image->world->verbs->read(image->world->context, file, ret, PAGE_BYTES, offset) ==
                            (ssize_t)PAGE_BYTES;
}

static bool find_frame(const struct damaged_image *image, uint64_t number, uint64_t *ret_frame)
{
    switch (image->view) {
    case VIEW_COMMITTED:
        return wal_pages_find(&image->wal.committed, (uint32_t)number, ret_frame);
    case VIEW_FRAMES:
        return wal_pages_find(&image->wal.all, (uint32_t)number, ret_frame);
    case VIEW_DATABASE:
        break;
    }
    return false;
}

/* False when it cannot be read. */
static bool read_page(struct damaged_image *image, uint64_t number, uint8_t ret[PAGE_BYTES])
{
    uint64_t frame;

    if (number == 0 || number > UINT32_MAX)
        return false;
    if (find_frame(image, number, &frame))
        return read_page_at(image, image->wal_file, damaged_wal_frame_offset(frame), ret);
    return read_page_at(image, image->database, (number - 1) * PAGE_BYTES, ret);
}

/* ---- cells ---- */

/* SQLite's varint: big-endian, seven bits a byte, all eight of the ninth. */
static uint64_t take_varint(struct cursor *cursor)
{
    uint64_t value = 0;

    for (int i = 0; i < 8; i++) {
        uint8_t byte = cursor_u8(cursor);

        value = value << 7 | (byte & 0x7f);
        if (!(byte & 0x80))
            return value;
    }
    return value << 8 | cursor_u8(cursor);
}

static size_t local_len(size_t payload_len, size_t local_max)
{
    if (payload_len <= local_max)
        return payload_len;
    size_t len = LOCAL_MIN + (payload_len - LOCAL_MIN) % OVERFLOW_BYTES;
    return len <= local_max ? len : LOCAL_MIN;
}

/* Follows the chain of overflow pages. */
static bool collect_overflow(struct damaged_image *image, uint32_t page, size_t len, size_t payload_len)
{
    while (len < payload_len) {
        if (!read_page(image, page, image->overflow))
            return false;
        struct cursor cursor = cursor_of(bytes_of(image->overflow, PAGE_BYTES));
        size_t part = payload_len - len < OVERFLOW_BYTES ? payload_len - len : OVERFLOW_BYTES;

        page = cursor_u32be(&cursor);
        memcpy(image->payload + len, image->overflow + 4, part);
        len += part;
    }
    return true;
}

static int64_t take_integer(struct cursor *cursor, size_t len)
{
    uint64_t value = 0;

    for (size_t i = 0; i < len; i++) {
        uint8_t byte = cursor_u8(cursor);

        if (i == 0 && (byte & 0x80))
            value = UINT64_MAX;
        value = value << 8 | byte;
    }
    return (int64_t)value;
}

/* "Record Format", serial types. */
static struct column take_column(struct cursor *body, uint64_t type)
{
    static const uint8_t integer_len[] = {0, 1, 2, 3, 4, 6, 8};
    struct column column = {.type = COLUMN_NULL};

    if (type >= 12) {
        column.type = type & 1 ? COLUMN_TEXT : COLUMN_BLOB;
        column.bytes = cursor_take(body, (size_t)((type - 12) / 2));
    } else if (type >= 1 && type <= 6) {
        column.type = COLUMN_INTEGER;
        column.integer = take_integer(body, integer_len[type]);
    } else if (type == 8 || type == 9) {
        column.type = COLUMN_INTEGER;
        column.integer = (int64_t)type - 8;
    } else if (type != 0) {
        column.type = COLUMN_OTHER;
        (void)cursor_take(body, type == 7 ? 8 : 0);
    }
    return column;
}

static bool parse_payload(struct bytes payload, struct cell *ret)
{
    struct cursor start = cursor_of(payload);
    uint64_t header_len = take_varint(&start);
    size_t varint_len = payload.len - cursor_left(&start);

    if (start.failed || header_len < varint_len || header_len > payload.len)
        return false;
    struct cursor types = cursor_of(bytes_of(payload.data + varint_len, (size_t)header_len - varint_len));
    struct cursor body = cursor_of(bytes_of(payload.data + header_len, payload.len - (size_t)header_len));
    ret->column_count = 0;
    while (cursor_left(&types) > 0 && ret->column_count < CELL_COLUMNS_MAX) {
        ret->columns[ret->column_count] = take_column(&body, take_varint(&types));
        if (types.failed || body.failed)
            return false;
        ret->column_count++;
    }
    return true;
}

static bool parse_cell(
    struct damaged_image *image, const uint8_t *page, size_t at, bool is_table, struct cell *ret)
{
    struct cursor cursor = cursor_of(bytes_of(page + at, PAGE_BYTES - at));
    uint64_t payload_len = take_varint(&cursor);

    ret->has_rowid = is_table;
    ret->rowid = is_table ? (int64_t)take_varint(&cursor) : 0;
    if (cursor.failed || payload_len == 0 || payload_len > PAYLOAD_BYTES_MAX)
        return false;
    size_t local = local_len((size_t)payload_len, is_table ? TABLE_LOCAL_MAX : INDEX_LOCAL_MAX);
    struct bytes part = cursor_take(&cursor, local);
    if (cursor.failed)
        return false;
    memcpy(image->payload, part.data, part.len);
    if (local < payload_len) {
        uint32_t next = cursor_u32be(&cursor);
        if (cursor.failed || !collect_overflow(image, next, local, (size_t)payload_len))
            return false;
    }
    return parse_payload(bytes_of(image->payload, (size_t)payload_len), ret);
}

/* The cells of a page, if it is a leaf. `start` is 100 on page 1, whose first bytes are the file's header. */
static int each_cell(struct damaged_image *image, const uint8_t *page, size_t start,
    int (*each)(void *user, const struct cell *cell), void *user)
{
    bool is_table = page[start] == PAGE_TABLE_LEAF;
    struct cell cell;

    if (!is_table && page[start] != PAGE_INDEX_LEAF)
        return 0;
    size_t count = (size_t)page[start + 3] << 8 | page[start + 4];
    size_t pointers = start + PAGE_HEADER_BYTES;
    for (size_t i = 0; i < count && pointers + 2 * i + 2 <= PAGE_BYTES; i++) {
        size_t at = (size_t)page[pointers + 2 * i] << 8 | page[pointers + 2 * i + 1];

        if (at < pointers || at >= PAGE_BYTES || !parse_cell(image, page, at, is_table, &cell))
            continue;
        int r = each(user, &cell);
        if (r < 0)
            return r;
    }
    return 0;
}

static int each_cell_of_page(struct damaged_image *image, uint64_t number,
    int (*each)(void *user, const struct cell *cell), void *user)
{
    if (!read_page(image, number, image->page))
        return 0;
    return each_cell(image, image->page, number == 1 ? FILE_HEADER_BYTES : 0, each, user);
}

int damaged_image_each(
    struct damaged_image *image, int (*each)(void *user, const struct cell *cell), void *user)
{
    const struct wal_pages *committed = &image->wal.committed;
    uint64_t count = image->database_pages;

    if (committed->count > 0 && committed->rows[committed->count - 1].page > count)
        count = committed->rows[committed->count - 1].page;
    image->view = VIEW_COMMITTED;
    for (uint64_t number = 1; number <= count; number++) {
        int r = each_cell_of_page(image, number, each, user);
        if (r < 0)
            return r;
    }
    return 0;
}

static int each_frame(
    struct damaged_image *image, int (*each)(void *user, const struct cell *cell), void *user)
{
    image->view = VIEW_FRAMES;
    for (uint64_t frame = 0; frame < image->wal.frame_count; frame++) {
        if (!read_page_at(image, image->wal_file, damaged_wal_frame_offset(frame), image->page))
            continue;
        int r = each_cell(image, image->page, 0, each, user);
        if (r < 0)
            return r;
    }
    return 0;
}

/* When the WAL had been moved into the database before it was damaged, the database is the newer of the two.
 */
static int each_page_underneath(
    struct damaged_image *image, int (*each)(void *user, const struct cell *cell), void *user)
{
    uint64_t frame;

    for (uint64_t number = 1; number <= image->database_pages; number++) {
        image->view = VIEW_COMMITTED;
        if (!find_frame(image, number, &frame))
            continue;
        image->view = VIEW_DATABASE;
        int r = each_cell_of_page(image, number, each, user);
        if (r < 0)
            return r;
    }
    return 0;
}

int damaged_image_each_other(
    struct damaged_image *image, int (*each)(void *user, const struct cell *cell), void *user)
{
    int r = each_frame(image, each, user);

    return r < 0 ? r : each_page_underneath(image, each, user);
}
