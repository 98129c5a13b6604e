/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's configuration file, as a table (base/config.h).
 */
#pragma once

#include "base/config.h"
#include "syncd/core/engine.h"

#define SYNCD_CONFIG_PATH "/etc/gridpatrol/patrol-syncd.conf"

enum network_setting { NETWORK_AUTO, NETWORK_ALWAYS_METERED, NETWORK_NEVER_METERED };

struct syncd_settings {
    char *data;
    uint64_t slow_poll_ms;
    uint64_t backoff_min_ms, backoff_max_ms;
    uint64_t answer_deadline_ms;
    uint64_t photo_age_ms, records_age_ms;
    uint64_t self_audit_ms; /* 0: off */
    uint64_t network;       /* enum network_setting */
    char *metrics_path;     /* NULL: none are written */
    uint64_t metrics_interval_ms;
    uint64_t budget_bytes[ENGINE_NETWORKS][ENGINE_LANES];
};

extern const struct config_row syncd_config_rows[];
extern const size_t syncd_config_row_count;
