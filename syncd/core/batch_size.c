/* SPDX-License-Identifier: Apache-2.0 */
/* See batch_size.h. Pure. */
#include "syncd/core/batch_size.h"

#define GROWTH_MAX 4u

static const uint32_t plain_bytes_max = EXCHANGE_INFLATED_BYTES_MAX - EXCHANGE_HEADROOM_BYTES;
static const uint32_t wire_bytes_max = EXCHANGE_COMPRESSED_BYTES_MAX - EXCHANGE_COMPRESSED_BYTES_MAX / 10;

static uint32_t between(uint64_t value, uint32_t min, uint32_t max)
{
    if (value < min)
        return min;
    return value > max ? max : (uint32_t)value;
}

struct batch_limit batch_limit(const struct text_lane *text)
{
    struct batch_limit limit = {.records = text->batch_records, .bytes = text->batch_bytes};
    uint64_t bytes;

    if (text->ratio_wire == 0)
        return limit;
    bytes = wire_bytes_max * text->ratio_plain / text->ratio_wire;
    if (bytes < limit.bytes)
        limit.bytes = between(bytes, EXCHANGE_BYTES_MIN, plain_bytes_max);
    return limit;
}

void batch_begin(struct engine *engine)
{
    struct text_lane *text = &engine->text;
    uint32_t first = engine->config.batch_records_first > 0 ? engine->config.batch_records_first : 1;

    if (text->batch_records < first)
        text->batch_records = first;
    if (text->batch_bytes < EXCHANGE_BYTES_FIRST)
        text->batch_bytes = EXCHANGE_BYTES_FIRST;
}

void batch_built(struct text_lane *text, const struct slot *slot)
{
    if (slot->records == 0)
        return;
    text->ratio_plain = text->ratio_plain - text->ratio_plain / 4 + slot->plain_bytes;
    text->ratio_wire = text->ratio_wire - text->ratio_wire / 4 + slot->wire_bytes;
}

/* One limit after an answer: grows while there is time left in the target, shrinks when it took longer. A
 * batch that was not full says nothing about what a full one could do. */
static uint32_t adapt(
    uint32_t limit, uint64_t affordable, bool was_slow, bool was_full, uint32_t min, uint32_t max)
{
    if (was_slow && affordable < limit)
        return between(affordable > limit / 2 ? affordable : limit / 2, min, max);
    if (!was_slow && was_full && affordable > limit)
        return between(
            affordable < (uint64_t)limit * GROWTH_MAX ? affordable : (uint64_t)limit * GROWTH_MAX, min, max);
    return limit;
}

void batch_answered(struct engine *engine, const struct slot *slot)
{
    struct text_lane *text = &engine->text;
    uint32_t target_ms = engine->config.batch_target_ms;
    /* Two in flight share the link: what came since the last answer is what this one took. */
    uint64_t since_ms = slot->started_ms > text->answered_ms ? slot->started_ms : text->answered_ms;
    bool was_slow = engine->now_ms - slot->started_ms > target_ms;
    bool was_full = slot->records * 2 > text->batch_records || slot->plain_bytes * 2 > text->batch_bytes;
    uint64_t plain_affordable;

    rate_add(&text->records, slot->records, engine->now_ms - since_ms);
    rate_add(&text->wire, slot->wire_bytes, engine->now_ms - since_ms);
    text->answered_ms = engine->now_ms;
    plain_affordable = rate_over(&text->wire, target_ms);
    if (text->ratio_wire > 0)
        plain_affordable = plain_affordable * text->ratio_plain / text->ratio_wire;
    text->batch_records = adapt(text->batch_records, rate_over(&text->records, target_ms), was_slow, was_full,
        1, EXCHANGE_RECORDS_MAX);
    text->batch_bytes =
        adapt(text->batch_bytes, plain_affordable, was_slow, was_full, EXCHANGE_BYTES_MIN, plain_bytes_max);
}

bool batch_halve(struct text_lane *text, const struct slot *slot)
{
    uint32_t records = between(slot->records / 2, 1, EXCHANGE_RECORDS_MAX);
    uint32_t bytes = between(slot->plain_bytes / 2, EXCHANGE_BYTES_MIN, plain_bytes_max);

    if (slot->records == 0)
        return false;
    /* Half of what this one carried: two that fail together halve once. */
    if (records < text->batch_records)
        text->batch_records = records;
    if (bytes < text->batch_bytes)
        text->batch_bytes = bytes;
    return slot->records > 1;
}
