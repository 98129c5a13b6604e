/* SPDX-License-Identifier: Apache-2.0 */
/*
 * May anything be sent now? One state for the way to the server as a whole, shared by all lanes. Pure.
 *
 *   UNPROVEN, FAILING, TOLD_TO_WAIT   one request at a time, not before hold_until_ms
 *   PROVEN                            every lane may send
 *   REFUSED                           one exchange, very rarely: only a signed answer to one ends it
 */
#include "syncd/core/engine_state.h"

#include <assert.h>

static const struct {
    const char *name;
    unsigned next; /* bit set of states */
} contact_states[] = {
#define TO(state) (1u << (state))
    [CONTACT_UNPROVEN] = {"unproven", TO(CONTACT_UNPROVEN) | TO(CONTACT_PROVEN) | TO(CONTACT_FAILING) |
                                          TO(CONTACT_TOLD_TO_WAIT) | TO(CONTACT_REFUSED)},
    [CONTACT_PROVEN] = {"proven", TO(CONTACT_UNPROVEN) | TO(CONTACT_PROVEN) | TO(CONTACT_FAILING) |
                                      TO(CONTACT_TOLD_TO_WAIT) | TO(CONTACT_REFUSED)},
    [CONTACT_FAILING] = {"failing", TO(CONTACT_UNPROVEN) | TO(CONTACT_PROVEN) | TO(CONTACT_FAILING) |
                                        TO(CONTACT_TOLD_TO_WAIT) | TO(CONTACT_REFUSED)},
    [CONTACT_TOLD_TO_WAIT] = {"told to wait", TO(CONTACT_UNPROVEN) | TO(CONTACT_PROVEN) |
                                                  TO(CONTACT_FAILING) | TO(CONTACT_TOLD_TO_WAIT) |
                                                  TO(CONTACT_REFUSED)},
    /* Nothing but a signed answer leads out. */
    [CONTACT_REFUSED] = {"refused", TO(CONTACT_PROVEN) | TO(CONTACT_REFUSED)},
#undef TO
};

static void contact_enter(struct contact *contact, enum contact_state state, uint64_t hold_until_ms)
{
    assert(contact_states[contact->state].next & (1u << state));
    contact->state = state;
    contact->hold_until_ms = hold_until_ms;
    contact->told_cause = BUSY_LOAD;
}

bool contact_open(const struct engine *engine)
{
    const struct contact *contact = &engine->contact;

    if (!engine->started || !engine->outbox_known)
        return false;
    if (contact->paused && !contact->urged)
        return false;
    if (engine->now_ms < contact->hold_until_ms)
        return false;
    return contact->state == CONTACT_PROVEN || !engine_any_busy(engine);
}

bool contact_needs_exchange(const struct engine *engine)
{
    return engine->contact.state == CONTACT_REFUSED || engine->contact.certificate_wanted;
}

uint64_t contact_retry_after_ms(struct engine *engine, uint32_t retry_after_s)
{
    uint64_t wait_ms = (uint64_t)retry_after_s * 1000;

    if (wait_ms < RETRY_AFTER_MIN_MS)
        wait_ms = RETRY_AFTER_MIN_MS;
    if (wait_ms > RETRY_AFTER_MAX_MS)
        wait_ms = RETRY_AFTER_MAX_MS;
    /* As much again: handhelds that were all told the same come back spread out. */
    return wait_ms + engine_random(engine, wait_ms + 1);
}

void contact_answered(struct engine *engine, const struct slot *slot, bool is_signed)
{
    struct contact *contact = &engine->contact;
    bool is_older = slot->epoch != contact->epoch;

    way_answered(engine);
    if (contact->state == CONTACT_REFUSED && (!is_signed || is_older))
        return;
    if (contact->state == CONTACT_TOLD_TO_WAIT && is_older)
        return;
    contact->failures = 0;
    if (slot->use == SLOT_EXCHANGE) {
        contact->certificate_wanted = false;
        contact->certificate_refused = false;
    }
    contact_enter(contact, CONTACT_PROVEN, 0);
}

void contact_told_to_wait(struct engine *engine, uint64_t wait_ms, uint32_t cause)
{
    if (engine->contact.state == CONTACT_REFUSED)
        return;
    engine->contact.epoch++;
    contact_enter(&engine->contact, CONTACT_TOLD_TO_WAIT, engine_later(engine, wait_ms));
    engine->contact.told_cause = cause;
}

static bool is_network_failure(enum engine_failure failure)
{
    switch (failure) {
    case FAILURE_NETWORK:
    case FAILURE_TLS:
    case FAILURE_UNSIGNED:
    case FAILURE_BUSY:
        return true;
    case FAILURE_TOO_LARGE:
    case FAILURE_UPLOAD_OFFSET:
    case FAILURE_UPLOAD_GONE:
    case FAILURE_UPLOAD_TOKEN:
    case FAILURE_UPLOAD_HASH:
    case FAILURE_UPLOAD_FULL:
    case FAILURE_LOCAL:
        return false;
    }
    return false;
}

/* The failure is counted already, by one that was in flight with it; a time that the server names holds all
 * the same. */
static void told_once_more(struct engine *engine, enum engine_failure failure, uint32_t retry_after_s)
{
    struct contact *contact = &engine->contact;
    uint64_t until_ms;

    if (failure != FAILURE_BUSY || retry_after_s == 0 || contact->state == CONTACT_REFUSED)
        return;
    until_ms = engine_later(engine, contact_retry_after_ms(engine, retry_after_s));
    if (until_ms > contact->hold_until_ms)
        contact_enter(contact, CONTACT_TOLD_TO_WAIT, until_ms);
}

void contact_failed(
    struct engine *engine, const struct slot *slot, enum engine_failure failure, uint32_t retry_after_s)
{
    struct contact *contact = &engine->contact;
    uint64_t wait_ms;

    if (!is_network_failure(failure))
        return;
    contact->urged = false;
    way_failed(engine);
    if (slot->epoch != contact->epoch) {
        told_once_more(engine, failure, retry_after_s);
        return;
    }
    contact->epoch++;
    contact->failure = failure;
    contact->failed_ms = engine->now_ms;
    if (contact->failures < UINT32_MAX)
        contact->failures++;
    wait_ms = engine_backoff(
        engine, engine->config.backoff_min_ms, engine->config.backoff_max_ms, contact->failures);
    if (contact->state == CONTACT_REFUSED) {
        /* Nobody heard this probe; still a refused device does not hurry. */
        if (wait_ms < REFUSED_NETWORK_RETRY_MS)
            wait_ms = REFUSED_NETWORK_RETRY_MS + engine_random(engine, REFUSED_NETWORK_RETRY_MS);
        contact_enter(contact, CONTACT_REFUSED, engine_later(engine, wait_ms));
    } else if (failure == FAILURE_BUSY && retry_after_s > 0) {
        wait_ms = contact_retry_after_ms(engine, retry_after_s);
        contact_enter(contact, CONTACT_TOLD_TO_WAIT, engine_later(engine, wait_ms));
    } else {
        contact_enter(contact, CONTACT_FAILING, engine_later(engine, wait_ms));
    }
}

void contact_cut_by_link(struct engine *engine, const struct slot *slot)
{
    struct contact *contact = &engine->contact;

    if (slot->epoch != contact->epoch || contact->state == CONTACT_REFUSED)
        return;
    contact->epoch++;
    contact_enter(contact, CONTACT_UNPROVEN, 0);
}

void contact_try_soon(struct engine *engine)
{
    struct contact *contact = &engine->contact;
    uint64_t at_ms = engine->now_ms;

    /* When the lanes wait there is no need to wait once more. */
    if (!way_link_up(engine) && !engine->way.is_loopback)
        at_ms = engine_later(engine, engine_random(engine, LINK_JITTER_MS));
    if (contact->state != CONTACT_FAILING)
        return;
    if (at_ms < contact->failed_ms + engine->config.backoff_min_ms)
        at_ms = contact->failed_ms + engine->config.backoff_min_ms;
    if (contact->hold_until_ms > at_ms)
        contact->hold_until_ms = at_ms;
    if (contact->failures > 1)
        contact->failures = 1;
}

void contact_link(struct engine *engine, bool up)
{
    struct contact *contact = &engine->contact;
    uint64_t cut_ms = engine_later(engine, LINK_GRACE_MS);

    contact->link_up_seen = true;
    contact->link_is_up = up;
    if (!up) {
        way_failed(engine);
        return;
    }
    /* The connection may have died with the old address: do not wait for it as long as for others. */
    for (size_t i = 0; i < ENGINE_SLOTS_MAX; i++) {
        struct slot *slot = &engine->slots[i];

        if (slot->use == SLOT_FREE || slot->deadline_ms <= cut_ms)
            continue;
        slot->deadline_ms = cut_ms;
        slot->link_shortened = true;
    }
    contact_try_soon(engine);
}

bool refusal_is_about_device(enum refusal_reason reason)
{
    switch (reason) {
    case REFUSAL_UNKNOWN_DEVICE:
    case REFUSAL_REVOKED:
    case REFUSAL_OVER_QUOTA:
        return true;
    case REFUSAL_TOO_LARGE:
    case REFUSAL_BAD_REQUEST:
    case REFUSAL_BUSY:
    case REFUSAL_TOKEN_UNKNOWN:
    case REFUSAL_TOKEN_USED:
    case REFUSAL_TOKEN_EXPIRED:
    case REFUSAL_LOG_OF_OTHER_DEVICE:
        return false;
    }
    return false;
}

/* When a refused device asks next: once more in the first hour if it has not yet asked twice, then every 6 h.
 */
static uint64_t next_probe(struct engine *engine)
{
    struct contact *contact = &engine->contact;
    uint64_t first_ms = REFUSAL_FIRST_PROBE_MS + engine_random(engine, REFUSAL_FIRST_PROBE_MS / 2);

    if (contact->refused_requests < REFUSAL_FIRST_HOUR_REQUESTS &&
        engine->now_ms + first_ms < contact->refused_since_ms + REFUSAL_FIRST_HOUR_MS)
        return engine_later(engine, first_ms);
    return engine_later(engine, REFUSAL_PROBE_MS + engine_random(engine, REFUSAL_PROBE_MS / 10));
}

static uint32_t busy_count(const struct engine *engine)
{
    uint32_t count = 0;

    for (size_t i = 0; i < ENGINE_SLOTS_MAX; i++)
        if (engine->slots[i].use != SLOT_FREE && !engine->slots[i].start_wanted)
            count++;
    return count;
}

/* A server restored from an old copy does not know the device: its certificate is shown once. */
static bool try_certificate(struct engine *engine, const struct slot *slot, enum refusal_reason reason)
{
    struct contact *contact = &engine->contact;
    bool had_certificate = slot->use == SLOT_EXCHANGE && slot->action.exchange.with_certificate;

    if (reason != REFUSAL_UNKNOWN_DEVICE || contact->certificate_refused)
        return false;
    if (had_certificate) {
        contact->certificate_refused = true;
        return false;
    }
    if (!contact->certificate_wanted) {
        contact->certificate_wanted = true;
        contact->epoch++;
        if (contact->state != CONTACT_REFUSED)
            contact_enter(contact, CONTACT_UNPROVEN, 0);
    }
    return true;
}

void contact_refused(struct engine *engine, const struct slot *slot, enum refusal_reason reason)
{
    struct contact *contact = &engine->contact;
    bool was_refused = contact->state == CONTACT_REFUSED;

    way_answered(engine);
    /* The second of two that were in flight when the first was refused: known already. */
    if (was_refused && slot->epoch != contact->epoch)
        return;
    if (try_certificate(engine, slot, reason))
        return;
    if (contact->urged)
        engine->sync_refused_wanted = true;
    contact->urged = false;
    if (!was_refused || contact->refusal != reason)
        engine_alarm(engine, ALARM_REFUSED);
    if (!was_refused) {
        contact->refused_since_ms = slot->started_ms;
        contact->refused_requests = 1 + busy_count(engine) + (contact->certificate_wanted ? 1 : 0);
    }
    contact->certificate_wanted = false;
    contact->refusal = reason;
    contact->epoch++;
    contact_enter(contact, CONTACT_REFUSED, next_probe(engine));
    resync_device_refused(engine);
}

void contact_started_request(struct engine *engine)
{
    struct contact *contact = &engine->contact;

    if (contact->state == CONTACT_REFUSED && contact->refused_requests < UINT32_MAX)
        contact->refused_requests++;
}

void contact_urge(struct engine *engine)
{
    engine->contact.urged = true;
    engine->contact.hold_until_ms = 0;
}
