/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all lanes do with the engine's state: draw at random, wait, raise an alarm, take a slot and give it
 * back, measure a rate. Pure.
 */
#include "syncd/core/engine_state.h"

#include <assert.h>

/* One step of SplitMix64: several draws out of the bits of one feed. */
static uint64_t random_step(struct engine *engine)
{
    uint64_t z = engine->random += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t engine_random(struct engine *engine, uint64_t bound)
{
    assert(bound > 0);
    return random_step(engine) % bound;
}

uint64_t engine_later(const struct engine *engine, uint64_t delay_ms)
{
    return delay_ms > UINT64_MAX - engine->now_ms ? UINT64_MAX : engine->now_ms + delay_ms;
}

uint64_t engine_backoff(struct engine *engine, uint64_t min_ms, uint64_t max_ms, uint32_t exponent)
{
    uint64_t top_ms = min_ms;

    for (uint32_t i = 0; i < exponent && top_ms < max_ms; i++)
        top_ms = top_ms > max_ms / 2 ? max_ms : top_ms * 2;
    if (top_ms > max_ms)
        top_ms = max_ms;
    return top_ms <= min_ms ? top_ms : min_ms + engine_random(engine, top_ms - min_ms + 1);
}

void engine_alarm(struct engine *engine, enum engine_alarm alarm)
{
    engine->alarms[alarm] = true;
}

bool engine_any_busy(const struct engine *engine)
{
    for (size_t i = 0; i < ENGINE_SLOTS_MAX; i++)
        if (engine->slots[i].use != SLOT_FREE)
            return true;
    return false;
}

struct slot *engine_start(struct engine *engine, uint32_t index, enum slot_use use)
{
    struct slot *slot = &engine->slots[index];

    assert(slot->use == SLOT_FREE);
    *slot = (struct slot){
        .use = use,
        .start_wanted = true,
        .way_was_proven = engine->contact.state == CONTACT_PROVEN,
        .cancel_wanted = slot->cancel_wanted,
        .started_ms = engine->now_ms,
        .deadline_ms = engine_later(engine, engine->config.answer_deadline_ms),
        .epoch = engine->contact.epoch,
        .check_serial = engine->text.check_serial,
        .action.slot = index,
    };
    return slot;
}

void engine_free_slot(struct slot *slot)
{
    *slot = (struct slot){.cancel_wanted = slot->cancel_wanted};
}

void engine_cancel(struct engine *engine, uint32_t index)
{
    struct slot *slot = &engine->slots[index];

    if (slot->use == SLOT_FREE)
        return;
    if (!slot->start_wanted)
        slot->cancel_wanted = true;
    engine_free_slot(slot);
}

void rate_add(struct rate *rate, uint64_t amount, uint64_t elapsed_ms)
{
    rate->amount = rate->amount - rate->amount / 4 + amount;
    rate->elapsed_ms = rate->elapsed_ms - rate->elapsed_ms / 4 + (elapsed_ms > 0 ? elapsed_ms : 1);
}

uint64_t rate_over(const struct rate *rate, uint64_t time_ms)
{
    return rate->elapsed_ms == 0 ? 0 : rate->amount * time_ms / rate->elapsed_ms;
}
