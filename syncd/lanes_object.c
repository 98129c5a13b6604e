/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/lanes_object.h"

#define REASON_MAX 160u
#define SIZE_TEXT_MAX 32u

static uint64_t waiting(const struct store_status *store, enum engine_lane lane)
{
    switch (lane) {
    case LANE_TEXT:
        return store->records_queued;
    case LANE_PREVIEWS:
        return store->previews_pending;
    case LANE_PHOTOS:
        return store->photos_pending - store->previews_pending;
    case ENGINE_LANES:
        break;
    }
    return 0;
}

/* As a configuration file would say it. */
static void size_text(uint64_t bytes, char ret[SIZE_TEXT_MAX])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB"};
    size_t unit = 0;

    for (; bytes > 0 && bytes % 1024 == 0 && unit + 1 < ARRAY_LEN(units); unit++)
        bytes /= 1024;
    snprintf(ret, SIZE_TEXT_MAX, "%llu %s", (unsigned long long)bytes, units[unit]);
}

static const char *reason_of(
    const struct agent_status *status, enum engine_lane which, uint64_t count, char text[REASON_MAX])
{
    const struct engine_lane_report *lane = &status->engine.lanes[which];
    const char *network = engine_network_name(status->engine.network);
    char size[SIZE_TEXT_MAX];

    if (lane->wait == LANE_WAITS_FOR_BUDGET && lane->budget_bytes == 0) {
        snprintf(text, REASON_MAX, "the budget on the %s network is 0: none of it goes there", network);
        return text;
    }
    if (lane->wait == LANE_WAITS_FOR_BUDGET) {
        size_text(lane->budget_bytes, size);
        snprintf(text, REASON_MAX, "the day's budget of %s on the %s network is used up", size, network);
        return text;
    }
    if (lane->reason || count == 0)
        return lane->reason;
    if (!status->enrolled)
        return "this handheld is not enrolled";
    /* Photos that the engine does not see yet. */
    return which != LANE_TEXT && status->store.records_queued > 0 ? "the records that name them go first"
                                                                  : status->engine.reason;
}

json_t *lanes_object(const struct agent_status *status, uint64_t now_ms)
{
    json_t *lanes = json_array();

    for (size_t i = 0; i < ENGINE_LANES && lanes; i++) {
        const struct engine_lane_report *lane = &status->engine.lanes[i];
        uint64_t count = waiting(&status->store, (enum engine_lane)i);
        bool is_limited = lane->budget_bytes != BUDGET_UNLIMITED;
        char text[REASON_MAX];
        json_t *object = json_pack("{s:s, s:I, s:s, s:s?, s:I, s:I, s:o}", "lane",
            engine_lane_name((enum engine_lane)i), "waiting", (json_int_t)count, "wait",
            engine_lane_wait_name(lane->wait), "reason", reason_of(status, (enum engine_lane)i, count, text),
            "until_in_ms", (json_int_t)(lane->until_ms > now_ms ? lane->until_ms - now_ms : 0), "used_bytes",
            (json_int_t)lane->used, "budget_bytes",
            is_limited ? json_integer((json_int_t)lane->budget_bytes) : json_null());

        if (!object || json_array_append_new(lanes, object) < 0) {
            json_decref(lanes);
            return NULL;
        }
    }
    return lanes;
}
