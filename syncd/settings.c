/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/settings.h"

#define HOUR_MS (UINT64_C(3600) * 1000)
#define DAY_MS (24 * HOUR_MS)
#define BUDGET(key, network, lane, help)                                                                     \
    {                                                                                                        \
        "budget", key, CONFIG_BUDGET, offsetof(struct syncd_settings, budget_bytes[network][lane]), 0,       \
            BUDGET_UNLIMITED, "unlimited", help, NULL                                                        \
    }

/* In the order of enum network_setting. */
static const char *const networks[] = {"auto", "metered", "unmetered", NULL};

const struct config_row syncd_config_rows[] = {
    {"syncd", "data", CONFIG_TEXT, offsetof(struct syncd_settings, data), 0, 0, NULL,
        "The handheld's data directory; --data and GRIDPATROL_DATA come before it."},
    {"syncd", "slow-poll", CONFIG_DURATION, offsetof(struct syncd_settings, slow_poll_ms), 5000, DAY_MS,
        "120s", "How often the queue is looked at when no doorbell rang."},
    {"syncd", "backoff-min", CONFIG_DURATION, offsetof(struct syncd_settings, backoff_min_ms), 100, DAY_MS,
        "5s", "Longest wait after the first failed attempt; it doubles with each further one."},
    {"syncd", "backoff-max", CONFIG_DURATION, offsetof(struct syncd_settings, backoff_max_ms), 1000, DAY_MS,
        "30min", "Longest wait between attempts."},
    {"syncd", "answer-deadline", CONFIG_DURATION, offsetof(struct syncd_settings, answer_deadline_ms), 1000,
        DAY_MS, "120s", "A request without an answer has failed after this time."},
    {"photos", "free-after", CONFIG_DURATION, offsetof(struct syncd_settings, photo_age_ms), 0, 3650 * DAY_MS,
        "30d", "Photos that the centre has signed for are removed from the handheld after this time."},
    {"sync", "self-audit", CONFIG_INTERVAL, offsetof(struct syncd_settings, self_audit_ms), HOUR_MS,
        30 * DAY_MS, "24h", "How often the handheld has the centre say by itself what it holds."},
    {"sync", "records-age", CONFIG_DURATION, offsetof(struct syncd_settings, records_age_ms), 0,
        3650 * DAY_MS, "90d",
        "Records of a closed log that the centre has in a backup are removed from the handheld after this "
        "time."},
    {"network", "kind", CONFIG_CHOICE, offsetof(struct syncd_settings, network), 0, 0, "auto",
        "What the budgets go by; auto asks NetworkManager, and without one it is unmetered.", networks},
    {"metrics", "textfile", CONFIG_TEXT, offsetof(struct syncd_settings, metrics_path), 0, 0, NULL,
        "Where metrics for Prometheus are written, an absolute path that ends with .prom; none by default."},
    {"metrics", "interval", CONFIG_DURATION, offsetof(struct syncd_settings, metrics_interval_ms), 100,
        HOUR_MS, "15s", "They are written when something has changed, at most this often."},
    BUDGET("metered-text", NETWORK_METERED, LANE_TEXT,
        "Bytes a day for records on a metered network; 0: none go there but those of urgent findings."),
    BUDGET(
        "metered-previews", NETWORK_METERED, LANE_PREVIEWS, "Bytes a day for previews on a metered network."),
    BUDGET(
        "metered-photos", NETWORK_METERED, LANE_PHOTOS, "Bytes a day for full photos on a metered network."),
    BUDGET("unmetered-text", NETWORK_UNMETERED, LANE_TEXT, "Bytes a day for records on any other network."),
    BUDGET("unmetered-previews", NETWORK_UNMETERED, LANE_PREVIEWS,
        "Bytes a day for previews on any other network."),
    BUDGET("unmetered-photos", NETWORK_UNMETERED, LANE_PHOTOS,
        "Bytes a day for full photos on any other network."),
};
const size_t syncd_config_row_count = sizeof(syncd_config_rows) / sizeof(syncd_config_rows[0]);
