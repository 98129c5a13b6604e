/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/metrics_text.h"

#include <inttypes.h>

#define PREFIX "gridpatrol_syncd_"
#define FREE_SPACE_STEP_BYTES (UINT64_C(1) << 20) /* others write on this disk all the time: no news */

static void head(struct buffer *ret, const char *name, const char *type, const char *help)
{
    buffer_printf(ret, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, help, name, type);
}

static void number(struct buffer *ret, const char *name, const char *type, const char *help, uint64_t value)
{
    head(ret, name, type, help);
    buffer_printf(ret, PREFIX "%s %" PRIu64 "\n", name, value);
}

/* Unix time in seconds. One that is not known is left out: as 0 it would look like 1970. */
static void moment(struct buffer *ret, const char *name, const char *help, int64_t unix_ms)
{
    head(ret, name, "gauge", help);
    if (unix_ms > 0)
        buffer_printf(ret, PREFIX "%s %" PRId64 ".%03d\n", name, unix_ms / 1000, (int)(unix_ms % 1000));
}

/* One of a family whose head is written. Values of labels are words of the program's own: nothing to escape.
 */
static void labelled(
    struct buffer *ret, const char *name, const char *label, const char *value, uint64_t count)
{
    buffer_printf(ret, PREFIX "%s{%s=\"%s\"} %" PRIu64 "\n", name, label, value, count);
}

static void print_daemon(const struct metrics_state *state, struct buffer *ret)
{
    const struct agent_status *status = state->status;

    head(ret, "build_info", "gauge", "Always 1; the version of the daemon.");
    buffer_put_text(ret, PREFIX "build_info{version=\"" GRIDPATROL_VERSION "\"} 1\n");
    moment(ret, "start_time_seconds", "When the daemon started, by the clock of the handheld.",
        state->started_wall_ms);
    number(ret, "enrolled", "gauge", "1 when this handheld belongs to a centre.", status->enrolled);
    number(ret, "link_up", "gauge", "1 when an interface has an address.", state->link_is_up);
    number(ret, "network_metered", "gauge", "1 when the budgets of metered networks count.",
        status->engine.network == NETWORK_METERED);
    number(ret, "workers_started_total", "counter", "Starts of the network worker.", state->workers_started);
    number(ret, "workers_lost_total", "counter",
        "Network workers that died, hung or broke the rules; the next request starts another one.",
        state->workers_lost);
}

static void print_store(const struct store_status *store, struct buffer *ret)
{
    head(ret, "waiting", "gauge", "What is to be sent, by lane: records, previews, photos.");
    labelled(ret, "waiting", "lane", engine_lane_name(LANE_TEXT), store->records_queued);
    labelled(ret, "waiting", "lane", engine_lane_name(LANE_PREVIEWS), store->previews_pending);
    labelled(ret, "waiting", "lane", engine_lane_name(LANE_PHOTOS),
        store->photos_pending - store->previews_pending);
    number(ret, "waiting_bytes", "gauge", "All that is to be sent.", store->bytes_pending);
    moment(ret, "oldest_waiting_timestamp_seconds",
        "When the oldest record that waits was recorded; missing when none waits.",
        store->oldest_queued_at_ms);
    number(ret, "records_sent_total", "counter",
        "Records that people made and that the centre has signed for; kept by the store.",
        store->records_sent);
    number(ret, "records_quarantined", "gauge", "Records that the centre has, but could not apply.",
        store->records_quarantined);
    number(ret, "records_pruned", "gauge",
        "Of those sent, removed here when a backup of the centre had them.", store->records_pruned);
    number(ret, "photos_lost", "gauge", "Photos and previews that are in neither place.", store->blobs_lost);
    moment(ret, "newest_receipt_timestamp_seconds", "Time of the newest receipt, by the centre's clock.",
        store->receipt_time_ms);
    number(ret, "free_bytes", "gauge", "Free space where the store is, in whole MiB.",
        store->free_bytes / FREE_SPACE_STEP_BYTES * FREE_SPACE_STEP_BYTES);
}

static const char *outcome_name(enum exchange_outcome outcome)
{
    switch (outcome) {
    case EXCHANGE_STORED:
        return "stored";
    case EXCHANGE_AHEAD:
        return "ahead";
    case EXCHANGE_FORK:
        return "fork";
    case EXCHANGE_ROOT_MISMATCH:
        return "root mismatch";
    }
    return "unknown";
}

static void print_requests(const struct agent_status *status, struct buffer *ret)
{
    const struct engine_counts *counts = &status->engine.counts;

    head(ret, "state", "gauge", "1 for what the daemon does or waits for.");
    for (size_t i = ENGINE_WAIT_NOTHING; i <= ENGINE_WAIT_BUDGET; i++)
        labelled(ret, "state", "state", engine_wait_name((enum engine_wait)i), status->engine.wait == i);
    moment(ret, "last_answer_timestamp_seconds",
        "When the last signed answer came, by the clock of the handheld; missing when none has since the start.",
        status->last_answer_wall_ms);
    head(ret, "exchanges_total", "counter", "Signed answers to exchanges, by outcome.");
    for (size_t i = 0; i < ARRAY_LEN(counts->exchanges); i++)
        labelled(
            ret, "exchanges_total", "outcome", outcome_name((enum exchange_outcome)i), counts->exchanges[i]);
    head(ret, "refusals_total", "counter", "Signed refusals, by reason.");
    for (size_t i = 1; i < ARRAY_LEN(counts->refusals); i++)
        labelled(ret, "refusals_total", "reason", refusal_reason_name((enum refusal_reason)i),
            counts->refusals[i]);
    head(ret, "failures_total", "counter", "Requests of any kind that failed, by kind of failure.");
    for (size_t i = 0; i < ARRAY_LEN(counts->failures); i++)
        labelled(
            ret, "failures_total", "kind", engine_failure_name((enum engine_failure)i), counts->failures[i]);
    number(ret, "failures_in_row", "gauge", "Attempts that failed since the last that did not.",
        status->engine.failures_in_row);
    number(ret, "refused", "gauge", "1 while the centre refuses this handheld.", status->engine.refused);
    number(ret, "photos_confirmed_total", "counter",
        "Photos and previews that were sent and that the centre has signed for.", counts->blobs_confirmed);
    number(ret, "alarms_total", "counter", "Alarms: each is a line of level err in the log.", status->alarms);
}

/* The head, and a value for each lane on each kind of network; what is unlimited is infinite. */
static void print_lanes(struct buffer *ret, const char *name, const char *type, const char *help,
    const uint64_t values[ENGINE_NETWORKS][ENGINE_LANES])
{
    head(ret, name, type, help);
    for (size_t network = 0; network < ENGINE_NETWORKS; network++) {
        for (size_t lane = 0; lane < ENGINE_LANES; lane++) {
            buffer_printf(ret, PREFIX "%s{lane=\"%s\",network=\"%s\"} ", name,
                engine_lane_name((enum engine_lane)lane), engine_network_name((enum engine_network)network));
            if (values[network][lane] == BUDGET_UNLIMITED)
                buffer_put_text(ret, "+Inf\n");
            else
                buffer_printf(ret, "%" PRIu64 "\n", values[network][lane]);
        }
    }
}

static void print_bytes(const struct agent_status *status, struct buffer *ret)
{
    print_lanes(ret, "sent_bytes_total", "counter",
        "Bodies of requests, by lane and kind of network, also of those that failed.",
        status->engine.counts.sent_bytes);
    number(ret, "received_bytes_total", "counter", "Bodies of answers.", status->bytes_down);
    print_lanes(
        ret, "budget_used_bytes", "gauge", "What of the day's budget is used.", status->engine.used_bytes);
    print_lanes(ret, "budget_limit_bytes", "gauge", "The day's budget; +Inf: unlimited.",
        status->engine.budget_bytes);
}

/* The last one that came to its end: by itself, the centre's or a person's. */
static void print_resync(const struct resync_report *resync, struct buffer *ret)
{
    static const char when[] = "last_resync_timestamp_seconds", ok[] = "last_resync_ok",
                      missing[] = "last_resync_missing", gone[] = "last_resync_gone",
                      lost[] = "last_resync_lost";

    head(ret, when, "gauge", "When the last resync or self-audit ended, by the clock of the handheld.");
    if (resync->finished && resync->finished_ms > 0)
        buffer_printf(ret, PREFIX "%s{cause=\"%s\",level=\"%s\"} %" PRId64 ".%03d\n", when,
            resync_cause_name(resync->cause), audit_level_name(resync->level), resync->finished_ms / 1000,
            (int)(resync->finished_ms % 1000));
    head(ret, ok, "gauge", "1 when it came to its end and found nothing more to be in neither place.");
    if (resync->finished)
        buffer_printf(ret, PREFIX "%s %d\n", ok, resync->ok && !resync->failed);
    head(ret, missing, "gauge", "What it found the centre to lack.");
    if (resync->finished) {
        labelled(ret, missing, "what", "records", resync->records_missing + resync->records_damaged);
        labelled(ret, missing, "what", "photos", resync->blobs_missing);
    }
    head(ret, gone, "gauge", "What it found to be in neither place, for the first time.");
    if (resync->finished) {
        labelled(ret, gone, "what", "records", resync->records_gone);
        labelled(ret, gone, "what", "photos", resync->blobs_gone);
    }
    head(ret, lost, "gauge", "What was found to be in neither place before.");
    if (resync->finished) {
        labelled(ret, lost, "what", "records", resync->records_lost);
        labelled(ret, lost, "what", "photos", resync->blobs_lost);
    }
}

void metrics_text(const struct metrics_state *state, struct buffer *ret)
{
    print_daemon(state, ret);
    print_store(&state->status->store, ret);
    print_requests(state->status, ret);
    print_bytes(state->status, ret);
    print_resync(&state->status->resync, ret);
}
