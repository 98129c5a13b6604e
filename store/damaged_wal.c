/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads the frames of a WAL that may be damaged: which pages were committed, and whether something committed
 * stands behind a damaged frame. https://www.sqlite.org/fileformat2.html#the_write_ahead_log
 *
 * Each frame keeps the running checksum up to itself. A frame is whole when its own follows from the one
 * before it, as that one is written; so damage in one frame does not hide whether those behind it are whole.
 *
 * A power cut may tear the last transaction, and leaves at most one commit behind the tear, as each
 * transaction is on the disk before the next one is begun. More than that is damage: of a frame that ends a
 * transaction one commit behind it is enough, of any other it takes two.
 */
#include "store/damaged_wal.h"

#include "store/internal.h"

#define WAL_MAGIC 0x377f0682u /* the lowest bit: checksums over big-endian words */

struct checksum {
    uint32_t a, b;
};

struct frame {
    uint32_t page;
    uint32_t size_after; /* not 0: the last frame of a transaction */
    uint32_t salt[2];
    struct checksum checksum; /* running, as written */
    struct checksum content;  /* of the page alone; of now, from the first frame that is not whole on */
};

#define FRAMES_AT_ONCE 16u

struct wal_reader {
    const struct world *world;
    int file;
    uint64_t size;
    bool has_read; /* the disk has given anything of it */
    bool big_endian;
    bool is_behind; /* a frame that is not whole */
    uint32_t salt[2];
    /* Every start of a short-lived program reads the WAL: in few pieces. */
    uint64_t first_frame;
    size_t frame_count;
    uint8_t frames[FRAMES_AT_ONCE][WAL_FRAME_BYTES];
};

static uint32_t word_at(const uint8_t *data, bool big_endian)
{
    if (big_endian)
        return (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
    return (uint32_t)data[3] << 24 | (uint32_t)data[2] << 16 | (uint32_t)data[1] << 8 | data[0];
}

static struct checksum checksum_over(struct checksum before, const uint8_t *data, size_t len, bool big_endian)
{
    for (size_t i = 0; i + 8 <= len; i += 8) {
        before.a += word_at(data + i, big_endian) + before.b;
        before.b += word_at(data + i + 4, big_endian) + before.a;
    }
    return before;
}

static bool checksum_equal(struct checksum a, struct checksum b)
{
    return a.a == b.a && a.b == b.b;
}

uint64_t damaged_wal_frame_offset(uint64_t frame)
{
    return WAL_HEADER_BYTES + frame * WAL_FRAME_BYTES + WAL_FRAME_HEADER_BYTES;
}

static ssize_t read_at(struct wal_reader *reader, void *ret, size_t len, uint64_t offset)
{
    ssize_t n = reader->world->verbs->read(reader->world->context, reader->file, ret, len, offset);

    if (n > 0)
        reader->has_read = true;
    return n;
}

/* 1 a sound header of ours, 0 not. */
static int read_header(struct wal_reader *reader, struct checksum *ret_checksum)
{
    uint8_t header[WAL_HEADER_BYTES];

    ssize_t n = read_at(reader, header, sizeof(header), 0);
    if (n < 0)
        return n == -EIO ? 0 : (int)n;
    uint32_t magic = word_at(header, true);
    if ((size_t)n < sizeof(header) || (magic & ~1u) != WAL_MAGIC || word_at(header + 8, true) != PAGE_BYTES)
        return 0;
    reader->big_endian = magic & 1;
    reader->salt[0] = word_at(header + 16, true);
    reader->salt[1] = word_at(header + 20, true);
    struct checksum own = {word_at(header + 24, true), word_at(header + 28, true)};
    *ret_checksum = checksum_over((struct checksum){0}, header, 24, reader->big_endian);
    return checksum_equal(*ret_checksum, own);
}

/* Not left over from before the WAL was begun again. */
static bool is_of_now(const struct wal_reader *reader, const struct frame *frame)
{
    return frame->salt[0] == reader->salt[0] && frame->salt[1] == reader->salt[1] && frame->page > 0;
}

/* 1 read, 0 the file ends before. */
static int load_frame(struct wal_reader *reader, uint64_t number, const uint8_t **ret)
{
    uint64_t offset = damaged_wal_frame_offset(number) - WAL_FRAME_HEADER_BYTES;

    if (number < reader->first_frame || number - reader->first_frame >= reader->frame_count) {
        ssize_t n = read_at(reader, reader->frames, sizeof(reader->frames), offset);
        if (n == -EIO)
            n = read_at(reader, reader->frames, WAL_FRAME_BYTES, offset);
        if (n == -EIO && offset >= reader->size)
            n = 0;       /* a disk that fails every read does not say where the file ends */
        if (n == -EIO) { /* a bad sector is a damaged frame */
            memset(reader->frames[0], 0, WAL_FRAME_BYTES);
            n = WAL_FRAME_BYTES;
        }
        if (n < 0)
            return (int)n;
        reader->first_frame = number;
        reader->frame_count = (size_t)n / WAL_FRAME_BYTES;
    }
    *ret = reader->frames[number - reader->first_frame];
    return reader->frame_count > 0;
}

/* 1 read, 0 the file ends before. `ret_is_whole`: it follows from the frame before it. */
static int read_frame(
    struct wal_reader *reader, uint64_t number, struct checksum before, struct frame *ret, bool *ret_is_whole)
{
    const uint8_t *data;

    int r = load_frame(reader, number, &data);
    if (r <= 0)
        return r;
    *ret = (struct frame){
        .page = word_at(data, true),
        .size_after = word_at(data + 4, true),
        .salt = {word_at(data + 8, true), word_at(data + 12, true)},
        .checksum = {word_at(data + 16, true), word_at(data + 20, true)},
    };
    *ret_is_whole = false;
    if (!is_of_now(reader, ret))
        return 1; /* most of a WAL that was begun again: its content says nothing, and is not looked at */
    struct checksum own = checksum_over(before, data, 8, reader->big_endian);
    own = checksum_over(own, data + WAL_FRAME_HEADER_BYTES, PAGE_BYTES, reader->big_endian);
    *ret_is_whole = checksum_equal(own, ret->checksum);
    if (!*ret_is_whole || reader->is_behind)
        ret->content = checksum_over(
            (struct checksum){0}, data + WAL_FRAME_HEADER_BYTES, PAGE_BYTES, reader->big_endian);
    return 1;
}

/* What is behind the first frame that is not whole. */
struct behind {
    unsigned commits; /* in this run of whole frames, and of the damaged one before it */
    struct frame last;
    bool broken;
};

static void look_behind(struct behind *behind, const struct frame *frame, bool is_whole)
{
    bool is_repeated =
        frame->page == behind->last.page && checksum_equal(frame->content, behind->last.content);

    if (!is_whole)
        behind->commits = 0;
    else if (frame->size_after != 0 && !is_repeated && ++behind->commits >= 2)
        behind->broken = true;
    behind->last = *frame;
}

static int add_page(struct buffer *pages, uint32_t page, uint64_t frame)
{
    struct wal_page row = {.page = page, .frame = (uint32_t)frame};

    buffer_put(pages, &row, sizeof(row));
    return buffer_finish(pages);
}

static int compare_pages(const void *a_pointer, const void *b_pointer)
{
    const struct wal_page *a = a_pointer, *b = b_pointer;

    if (a->page != b->page)
        return a->page < b->page ? -1 : 1;
    return a->frame < b->frame ? -1 : a->frame > b->frame;
}

/* `is_sound`: the header was. Else nothing can be said to be committed, and the frames are looked at as if
 * they stood behind damage: with the salts of the first one, and checksums as this machine makes them. A
 * crash in the WAL's first transaction may have lost its header, and leaves one commit at most. */
static int read_frames(struct wal_reader *reader, bool is_sound, struct checksum checksum,
    struct damaged_wal *wal, struct buffer *committed, struct buffer *all)
{
    struct behind behind = {0};
    size_t committed_len = 0;
    struct frame frame;
    bool is_whole;
    int r;

    reader->is_behind = !is_sound;
    while ((r = read_frame(reader, wal->frame_count, checksum, &frame, &is_whole)) > 0) {
        if (wal->frame_count == DAMAGED_WAL_FRAMES_MAX)
            break;
        r = add_page(all, frame.page, wal->frame_count);
        if (r < 0)
            return r;
        if (!is_sound && wal->frame_count == 0)
            memcpy(reader->salt, frame.salt, sizeof(frame.salt));
        if (!reader->is_behind && is_whole) {
            r = add_page(committed, frame.page, wal->frame_count);
            if (r < 0)
                return r;
            if (frame.size_after != 0)
                committed_len = committed->len;
        } else if (!reader->is_behind) {
            reader->is_behind = true;
            behind.last = frame;
            behind.commits = frame.size_after != 0 && is_of_now(reader, &frame);
        } else {
            look_behind(&behind, &frame, is_whole);
        }
        checksum = frame.checksum;
        wal->frame_count++;
    }
    committed->len = committed_len;
    wal->is_broken = behind.broken;
    return r < 0 ? r : 0;
}

static struct wal_pages give_pages(struct buffer *buffer)
{
    struct wal_pages pages = {
        .rows = (struct wal_page *)(void *)buffer->data,
        .count = buffer->len / sizeof(struct wal_page),
    };

    *buffer = (struct buffer){0};
    if (pages.count > 0)
        qsort(pages.rows, pages.count, sizeof(pages.rows[0]), compare_pages);
    return pages;
}

int damaged_wal_read(const struct world *world, int file, struct damaged_wal *ret)
{
    struct wal_reader reader = {.world = world, .file = file};
    _cleanup_buffer_ struct buffer committed = {0}, all = {0};
    struct damaged_wal wal = {0};
    struct checksum checksum = {0};

    int r = world->verbs->size(world->context, file, &reader.size);
    if (r < 0)
        return r;
    int is_sound = read_header(&reader, &checksum);
    if (is_sound < 0)
        return is_sound;
    if (!is_sound)
        reader.big_endian = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
    r = read_frames(&reader, is_sound > 0, checksum, &wal, &committed, &all);
    if (r < 0)
        return r;
    wal.is_unreadable = !reader.has_read && reader.size > 0;
    wal.committed = give_pages(&committed);
    wal.all = give_pages(&all);
    *ret = wal;
    return 0;
}

void damaged_wal_done(struct damaged_wal *wal)
{
    free(wal->committed.rows);
    free(wal->all.rows);
    *wal = (struct damaged_wal){0};
}

bool wal_pages_find(const struct wal_pages *pages, uint32_t page, uint64_t *ret_frame)
{
    size_t first = 0, end = pages->count;

    /* The last row of the page. */
    while (first < end) {
        size_t middle = first + (end - first) / 2;

        if (pages->rows[middle].page <= page)
            first = middle + 1;
        else
            end = middle;
    }
    if (first == 0 || pages->rows[first - 1].page != page)
        return false;
    *ret_frame = pages->rows[first - 1].frame;
    return true;
}
