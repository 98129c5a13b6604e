/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Erasure orders: see orders.h. Pure.
 */
#include "server/core/orders.h"

#include "base/rfc3339.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define WORDS_MAX 4u
#define WORD_BYTES_MAX 80u

void orders_done(struct orders *orders)
{
    buffer_done(&orders->text);
    free(orders->orders);
    free(orders->records);
    free(orders->blobs);
    *orders = (struct orders){0};
}

/* ---- reading ---- */

/* A line in words, each a text of its own; a longer line, or word, has none. */
struct words {
    char words[WORDS_MAX][WORD_BYTES_MAX + 1];
    size_t count;
};

static bool split(struct bytes line, struct words *ret)
{
    struct cursor cursor = cursor_of(line);

    for (ret->count = 0; cursor_left(&cursor) > 0; ret->count++) {
        struct cursor at_word = cursor;
        struct bytes word = cursor_take_until(&cursor, ' ');

        if (cursor.failed) {
            cursor = at_word;
            word = cursor_take(&cursor, cursor_left(&cursor));
        }
        if (ret->count == WORDS_MAX || word.len > WORD_BYTES_MAX)
            return false;
        if (word.len > 0)
            memcpy(ret->words[ret->count], word.data, word.len);
        ret->words[ret->count][word.len] = 0;
    }
    return true;
}

static bool take_prefix(struct bytes *line, const char *prefix)
{
    size_t len = strlen(prefix);

    if (line->len < len || memcmp(line->data, prefix, len) != 0)
        return false;
    *line = bytes_of(line->data + len, line->len - len);
    return true;
}

/* Room for one more item; doubled when full, which powers of two are. */
static void *grow(void *items, size_t count, size_t size)
{
    if ((count & (count - 1)) != 0)
        return items;
    return reallocarray(items, count == 0 ? 1 : 2 * count, size);
}

static int add_order(struct orders *orders, const struct words *words)
{
    struct order order = {0};
    struct order *grown;
    int32_t offset_min;

    if (words->count != 2 || text_parse_u64(words->words[0], &order.number) < 0 ||
        order.number <= orders_last(orders) || order.number > INT64_MAX ||
        rfc3339_parse(words->words[1], &order.time_ms, &offset_min) < 0)
        return 0;
    grown = grow(orders->orders, orders->count, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    orders->orders = grown;
    orders->orders[orders->count++] = order;
    return 0;
}

static int add_record(struct orders *orders, const struct words *words)
{
    struct order_record entry = {.order = orders_last(orders)};
    struct order_record *grown;

    if (words->count != 4 || text_parse_uuid(words->words[0], entry.device.b) < 0 ||
        text_parse_uuid(words->words[1], entry.record.at.log.b) < 0 ||
        text_parse_u64(words->words[2], &entry.record.at.seq) < 0 || entry.record.at.seq >= LOG_SIZE_MAX ||
        text_parse_hex(words->words[3], strlen(words->words[3]), entry.record.leaf.b, SHA256_BYTES) < 0)
        return 0;
    grown = grow(orders->records, orders->record_count, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    orders->records = grown;
    orders->records[orders->record_count++] = entry;
    return 0;
}

static int add_blob(struct orders *orders, const struct words *words)
{
    struct order_blob entry = {.order = orders_last(orders)};
    struct order_blob *grown;

    if (words->count != 2 || text_parse_uuid(words->words[0], entry.device.b) < 0 ||
        text_parse_hex(words->words[1], strlen(words->words[1]), entry.sha256.b, SHA256_BYTES) < 0)
        return 0;
    grown = grow(orders->blobs, orders->blob_count, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    orders->blobs = grown;
    orders->blobs[orders->blob_count++] = entry;
    return 0;
}

static int parse_line(struct orders *orders, struct bytes line)
{
    struct order *order;
    struct words words;

    if (take_prefix(&line, "order "))
        return split(line, &words) ? add_order(orders, &words) : 0;
    if (orders->count == 0)
        return 0;
    order = &orders->orders[orders->count - 1];
    if (take_prefix(&line, "by "))
        order->by = line;
    else if (take_prefix(&line, "reason "))
        order->reason = line;
    else if (take_prefix(&line, "record "))
        return split(line, &words) ? add_record(orders, &words) : 0;
    else if (take_prefix(&line, "photo "))
        return split(line, &words) ? add_blob(orders, &words) : 0;
    return 0;
}

static int compare_positions(const struct position_in_log *a, const struct position_in_log *b)
{
    int by_log = memcmp(a->log.b, b->log.b, UUID_BYTES);

    return by_log != 0 ? by_log : (a->seq > b->seq) - (a->seq < b->seq);
}

static int compare_records(const void *a, const void *b)
{
    const struct order_record *x = a, *y = b;
    int by_position = compare_positions(&x->record.at, &y->record.at);

    return by_position != 0 ? by_position : memcmp(x->record.leaf.b, y->record.leaf.b, SHA256_BYTES);
}

static int compare_blobs(const void *a, const void *b)
{
    const struct order_blob *x = a, *y = b;

    return memcmp(x->sha256.b, y->sha256.b, SHA256_BYTES);
}

int orders_parse(struct bytes text, struct orders *ret)
{
    struct orders orders = {0};
    struct cursor cursor;
    int r;

    buffer_put_bytes(&orders.text, text);
    r = buffer_finish(&orders.text);
    cursor = cursor_of(buffer_bytes(&orders.text));
    while (r >= 0 && cursor_left(&cursor) > 0) {
        struct cursor at_line = cursor;
        struct bytes line = cursor_take_until(&cursor, '\n');

        if (cursor.failed) {
            cursor = at_line;
            line = cursor_take(&cursor, cursor_left(&cursor));
        }
        r = parse_line(&orders, line);
    }
    if (r < 0) {
        orders_done(&orders);
        return r;
    }
    if (orders.record_count > 0)
        qsort(orders.records, orders.record_count, sizeof(*orders.records), compare_records);
    if (orders.blob_count > 0)
        qsort(orders.blobs, orders.blob_count, sizeof(*orders.blobs), compare_blobs);
    *ret = orders;
    return 0;
}

/* ---- writing ---- */

int order_format(const struct order *order, const struct order_record *records, size_t record_count,
    const struct order_blob *blobs, size_t blob_count, struct buffer *ret)
{
    char time[RFC3339_LEN + 1], device[UUID_TEXT_LEN + 1], log[UUID_TEXT_LEN + 1], hash[SHA256_TEXT_LEN + 1];

    rfc3339_format(order->time_ms, 0, time);
    buffer_printf(ret, "order %" PRIu64 " %s\nby ", order->number, time);
    buffer_put_bytes(ret, order->by);
    buffer_put_text(ret, "\nreason ");
    buffer_put_bytes(ret, order->reason);
    buffer_put_u8(ret, '\n');
    for (size_t i = 0; i < record_count; i++) {
        text_uuid(records[i].device.b, device);
        text_uuid(records[i].record.at.log.b, log);
        text_hex(records[i].record.leaf.b, SHA256_BYTES, hash);
        buffer_printf(ret, "record %s %s %" PRIu64 " %s\n", device, log, records[i].record.at.seq, hash);
    }
    for (size_t i = 0; i < blob_count; i++) {
        text_uuid(blobs[i].device.b, device);
        text_hex(blobs[i].sha256.b, SHA256_BYTES, hash);
        buffer_printf(ret, "photo %s %s\n", device, hash);
    }
    return buffer_finish(ret);
}

/* ---- looking up ---- */

uint64_t orders_last(const struct orders *orders)
{
    return orders->count > 0 ? orders->orders[orders->count - 1].number : 0;
}

uint64_t orders_find_record(
    const struct orders *orders, const struct position_in_log *at, const struct sha256 *leaf)
{
    const struct order_record wanted = {.record = {.at = *at, .leaf = *leaf}};
    const struct order_record *found;

    if (orders->record_count == 0)
        return 0;
    found = bsearch(&wanted, orders->records, orders->record_count, sizeof(wanted), compare_records);
    return found ? found->order : 0;
}

uint64_t orders_find_id(const struct orders *orders, const struct position_in_log *at, const struct uuid *id)
{
    size_t first = 0, end = orders->record_count;

    /* The first of the entries at this position: there is one for each leaf. */
    while (first < end) {
        size_t middle = first + (end - first) / 2;

        if (compare_positions(&orders->records[middle].record.at, at) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    for (size_t i = first; i < orders->record_count; i++) {
        const struct erased_record *record = &orders->records[i].record;
        struct uuid found = record_public_id(&at->log, at->seq, &record->leaf);

        if (compare_positions(&record->at, at) != 0)
            break;
        if (uuid_equal(&found, id))
            return orders->records[i].order;
    }
    return 0;
}

uint64_t orders_find_blob(const struct orders *orders, const struct sha256 *sha256)
{
    const struct order_blob wanted = {.sha256 = *sha256};
    const struct order_blob *found;

    if (orders->blob_count == 0)
        return 0;
    found = bsearch(&wanted, orders->blobs, orders->blob_count, sizeof(wanted), compare_blobs);
    return found ? found->order : 0;
}
