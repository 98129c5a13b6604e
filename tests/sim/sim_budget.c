/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Budget days: a handheld on a metered network with a budget for full photos. Its bytes are counted where
 * they leave, by the simulator's own list of what was recorded, and over all lives of the daemon: power cuts,
 * kills, wrong clocks and other networks in between must give nothing back. Some runs last for days, each of
 * which has a budget.
 */
#include "tests/sim/sim.h"

#define PHOTO_BUDGET_BYTES UINT64_C(100000)
#define DAY_MIN_MS (23 * HOUR_MS) /* waits for a lock are time of one machine alone */

void budget_configure(struct engine_config *config)
{
    config->budget_bytes[NETWORK_METERED][LANE_PHOTOS] = PHOTO_BUDGET_BYTES;
}

static bool has_budget(const struct sim *sim, const char *hash)
{
    bool found = false;

    for (size_t i = 0; i < sim->finding_count; i++) {
        for (size_t k = 0; k < sim->findings[i].photo_count; k++) {
            const struct sim_photo *photo = &sim->findings[i].photos[k];
            char text[SHA256_TEXT_LEN + 1];

            text_hex(photo->sha256.b, SHA256_BYTES, text);
            if (strcmp(text, hash) != 0)
                continue;
            if (!photo->has_budget)
                return false;
            found = true;
        }
    }
    return found;
}

void budget_watch(struct sim *sim, struct handheld *handheld, const struct http_request *http)
{
    const char *hash = strrchr(http->path, '/');
    uint64_t days = 1 + sim->now_ms / DAY_MIN_MS;

    if (!handheld->is_metered || strcmp(http->method, "PATCH") != 0 || !hash || !has_budget(sim, hash + 1))
        return;
    handheld->budgeted_bytes += http->body.len;
    /* A copy does not know what the other one has sent; a clock of the centre may end a day. */
    if (handheld->budget_is_uncertain || sim->server_clock_was_set || sim->was_rolled_back ||
        sim->was_cloned || sim->was_damaged)
        return;
    if (handheld->budgeted_bytes > PHOTO_BUDGET_BYTES + UPLOAD_CHUNK_BYTES_MIN)
        sim_cover(sim, COVER_BUDGET_NEXT_DAY);
    if (handheld->budgeted_bytes > days * (PHOTO_BUDGET_BYTES + UPLOAD_CHUNK_BYTES_MIN))
        sim_fail(sim, "handheld %u has sent %llu bytes of photos in %llu days on a budget of %llu",
            handheld->number, (unsigned long long)handheld->budgeted_bytes, (unsigned long long)days,
            (unsigned long long)PHOTO_BUDGET_BYTES);
}

bool budget_other_network(struct sim *sim, struct handheld *handheld)
{
    handheld->is_metered = !handheld->is_metered;
    if (!handheld->agent)
        return true;
    agent_network(handheld->agent, handheld->is_metered ? NETWORK_METERED : NETWORK_UNMETERED, false);
    daemon_after(sim, handheld);
    return true;
}

void budget_end(struct sim *sim, struct handheld *handheld)
{
    struct agent_status status;

    if (handheld->is_metered && handheld->agent && agent_status(handheld->agent, &status) >= 0 &&
        status.engine.lanes[LANE_PHOTOS].wait == LANE_WAITS_FOR_BUDGET)
        sim_cover(sim, COVER_BUDGET_USED_UP);
    handheld->is_metered = false;
    if (!handheld->agent)
        return;
    agent_network(handheld->agent, NETWORK_UNMETERED, false);
    daemon_after(sim, handheld);
}
