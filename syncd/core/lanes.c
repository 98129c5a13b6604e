/* SPDX-License-Identifier: Apache-2.0 */
/*
 * May a lane send now, when the way to the server is open? Pure.
 *
 * Link-up waits. An outage begins with the first failed attempt, or the hint that the link is gone, since the
 * last answer; an answer of the server ends it. When a link comes back after an outage of over 10 minutes it
 * may have come back for thousands: so each lane waits a share of its longest wait. The share is drawn once
 * for all lanes: then the photos of a handheld come after its own text, and both are spread evenly over all
 * handhelds. A link that comes and goes draws again only 10 minutes later.
 *
 *   link up ──── share × 5 s ─► text, with an urgent finding in it
 *           ──── share × 20 s ─► text
 *           ──── share × 40 s ─► previews, photos
 *
 * Budgets. What the lanes send is counted, over a day of 24 hours that begins with the first byte after the
 * last day. No wall clock comes into it: the day goes on by the boot clock while the program runs, over a
 * reboot it is taken up where it was, and the server's signed time moves it on by what was missed in between.
 * A request is counted in full when it starts, also when it fails: nobody knows how much of it went out. So a
 * lane sends at most its budget and one request more; a chunk of a photo is cut to what is left, but for the
 * smallest.
 */
#include "syncd/core/batch_size.h"

enum engine_lane lane_of_blobs(enum engine_blob_class class)
{
    return class == BLOBS_URGENT_PREVIEWS || class == BLOBS_PREVIEWS ? LANE_PREVIEWS : LANE_PHOTOS;
}

bool blobs_are_urgent(enum engine_blob_class class)
{
    return class == BLOBS_URGENT_PREVIEWS || class == BLOBS_URGENT_PHOTOS;
}

/* ---- the way and its outages ---- */

void way_failed(struct engine *engine)
{
    struct way *way = &engine->way;

    if (way->in_outage)
        return;
    way->in_outage = true;
    way->outage_since_ms = engine->now_ms;
}

void way_answered(struct engine *engine)
{
    engine->way.in_outage = false;
}

bool way_link_up(struct engine *engine)
{
    struct way *way = &engine->way;

    if (!way->in_outage || way->is_loopback || engine->contact.urged ||
        engine->now_ms - way->outage_since_ms <= OUTAGE_LONG_MS)
        return false;
    way->outage_since_ms = engine->now_ms;
    way->link_up_waits = true;
    way->link_up_ms = engine->now_ms;
    way->link_up_share = engine_random(engine, LINK_UP_SHARES);
    batch_begin(engine);
    return true;
}

void way_urge(struct engine *engine)
{
    engine->way.link_up_waits = false;
}

static uint64_t link_up_until(const struct engine *engine, enum engine_lane lane, bool urgent)
{
    static const uint64_t longest_ms[ENGINE_LANES] = {
        [LANE_TEXT] = LINK_UP_TEXT_MS,
        [LANE_PREVIEWS] = LINK_UP_PHOTOS_MS,
        [LANE_PHOTOS] = LINK_UP_PHOTOS_MS,
    };
    const struct way *way = &engine->way;
    uint64_t most_ms = lane == LANE_TEXT && urgent ? LINK_UP_URGENT_MS : longest_ms[lane];

    return way->link_up_waits ? way->link_up_ms + most_ms * way->link_up_share / LINK_UP_SHARES : 0;
}

bool lane_waits_for_link_up(const struct engine *engine, enum engine_lane lane, bool urgent)
{
    return engine->now_ms < link_up_until(engine, lane, urgent);
}

/* ---- budgets ---- */

static uint64_t day_elapsed(const struct engine *engine)
{
    const struct budget *budget = &engine->budget;
    uint64_t since_ms = engine->now_ms - budget->noted_ms;

    return budget->day.elapsed_ms > UINT64_MAX - since_ms ? UINT64_MAX : budget->day.elapsed_ms + since_ms;
}

static void note_elapsed(struct engine *engine, uint64_t elapsed_ms)
{
    engine->budget.day.elapsed_ms = elapsed_ms;
    engine->budget.noted_ms = engine->now_ms;
}

void budget_load(struct engine *engine, const struct engine_budget *kept)
{
    engine->budget = (struct budget){.day = *kept, .noted_ms = engine->now_ms, .kept_ms = engine->now_ms};
}

static bool any_is_limited(const struct engine *engine)
{
    for (size_t network = 0; network < ENGINE_NETWORKS; network++)
        for (size_t lane = 0; lane < ENGINE_LANES; lane++)
            if (engine->config.budget_bytes[network][lane] != BUDGET_UNLIMITED)
                return true;
    return false;
}

void budget_charge(struct engine *engine, enum engine_lane lane, uint64_t bytes)
{
    struct budget *budget = &engine->budget;
    uint64_t *used = &budget->day.used[engine->way.network][lane];

    engine->counts.sent_bytes[engine->way.network][lane] += bytes;
    if (bytes == 0)
        return;
    if (!budget->day.day_open) {
        budget->day = (struct engine_budget){.day_open = true};
        note_elapsed(engine, 0);
    }
    *used = bytes > UINT64_MAX - *used ? UINT64_MAX : *used + bytes;
    /* At once where it decides something: a restart must not give it back. */
    if (engine->config.budget_bytes[engine->way.network][lane] != BUDGET_UNLIMITED)
        budget->keep_wanted = true;
}

void budget_server_time(struct engine *engine, uint64_t server_ms)
{
    struct engine_budget *day = &engine->budget.day;
    uint64_t elapsed_ms = day_elapsed(engine);

    if (!day->day_open || server_ms == 0)
        return;
    if (day->server_start_ms == 0) {
        if (server_ms > elapsed_ms)
            day->server_start_ms = server_ms - elapsed_ms;
        return;
    }
    if (server_ms > day->server_start_ms && server_ms - day->server_start_ms > elapsed_ms)
        note_elapsed(engine, server_ms - day->server_start_ms);
}

void budget_plan(struct engine *engine)
{
    struct budget *budget = &engine->budget;

    if (!budget->day.day_open)
        return;
    if (day_elapsed(engine) >= BUDGET_DAY_MS) {
        budget->day = (struct engine_budget){0};
        budget->keep_wanted = any_is_limited(engine);
    } else if (engine->now_ms - budget->kept_ms >= BUDGET_KEEP_EVERY_MS) {
        budget->kept_ms = engine->now_ms;
        budget->keep_wanted = budget->keep_wanted || any_is_limited(engine);
    }
}

bool budget_next_keep(struct engine *engine, struct engine_action *ret)
{
    struct budget *budget = &engine->budget;

    if (!budget->keep_wanted)
        return false;
    budget->keep_wanted = false;
    budget->kept_ms = engine->now_ms;
    note_elapsed(engine, day_elapsed(engine));
    *ret = (struct engine_action){.kind = ENGINE_KEEP_BUDGET, .budget = budget->day};
    return true;
}

uint64_t budget_day_ends_ms(const struct engine *engine)
{
    uint64_t elapsed_ms = day_elapsed(engine);

    if (!engine->budget.day.day_open)
        return 0;
    return engine_later(engine, elapsed_ms < BUDGET_DAY_MS ? BUDGET_DAY_MS - elapsed_ms : 0);
}

/* What a person asked for goes in text and previews whatever their budgets say: photos are what costs. */
uint64_t lane_budget_left(const struct engine *engine, enum engine_lane lane, bool urgent)
{
    enum engine_network network = engine->way.network;
    uint64_t budget_bytes = engine->config.budget_bytes[network][lane];
    uint64_t used = engine->budget.day.used[network][lane];

    if (urgent || budget_bytes == BUDGET_UNLIMITED || (engine->contact.urged && lane != LANE_PHOTOS))
        return UINT64_MAX;
    return used < budget_bytes ? budget_bytes - used : 0;
}

bool lane_is_over_budget(const struct engine *engine, enum engine_lane lane, bool urgent)
{
    return lane_budget_left(engine, lane, urgent) == 0;
}

/* ---- both ---- */

bool lane_is_open(const struct engine *engine, enum engine_lane lane, bool urgent)
{
    return !lane_waits_for_link_up(engine, lane, urgent) && !lane_is_over_budget(engine, lane, urgent);
}

bool lane_text_is_open(const struct engine *engine)
{
    return lane_is_open(engine, LANE_TEXT, engine->outbox.urgent_text);
}

uint64_t lane_opens_ms(const struct engine *engine, enum engine_lane lane, bool urgent)
{
    uint64_t at_ms = link_up_until(engine, lane, urgent);

    if (lane_is_over_budget(engine, lane, urgent) && budget_day_ends_ms(engine) > at_ms)
        at_ms = budget_day_ends_ms(engine);
    return at_ms > engine->now_ms ? at_ms : 0;
}

bool budget_holds_the_rest(const struct engine *engine)
{
    bool waits = false;

    if (engine_any_busy(engine) || engine->outbox.blobs_unconfirmed > 0)
        return false;
    if (!text_is_done(engine)) {
        if (!lane_is_over_budget(engine, LANE_TEXT, engine->outbox.urgent_text))
            return false;
        waits = true;
    }
    for (size_t i = 0; i < ENGINE_BLOB_CLASSES; i++) {
        enum engine_blob_class class = (enum engine_blob_class)i;

        if (engine->outbox.blobs[i].pending == 0)
            continue;
        if (!lane_is_over_budget(engine, lane_of_blobs(class), blobs_are_urgent(class)))
            return false;
        waits = true;
    }
    return waits;
}

uint64_t lanes_timer(const struct engine *engine)
{
    uint64_t earliest = UINT64_MAX;

    for (size_t lane = 0; lane < ENGINE_LANES; lane++) {
        uint64_t at_ms = link_up_until(engine, (enum engine_lane)lane, engine->outbox.urgent_text);

        if (at_ms > engine->now_ms && at_ms < earliest)
            earliest = at_ms;
    }
    if (!engine->budget.day.day_open || !any_is_limited(engine))
        return earliest;
    if (budget_day_ends_ms(engine) < earliest)
        earliest = budget_day_ends_ms(engine);
    if (engine->budget.kept_ms + BUDGET_KEEP_EVERY_MS < earliest)
        earliest = engine->budget.kept_ms + BUDGET_KEEP_EVERY_MS;
    return earliest;
}
