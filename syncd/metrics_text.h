/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's state as text for Prometheus (text format 0.0.4). Pure: no I/O, no clock. Called by the daemon
 * for metrics_file.h, with what `patrol status` is told too.
 *
 * The same state is the same text, byte for byte: nothing counts time here, so that an idle daemon has
 * nothing to write. Counts begin again when the daemon starts, but for those that the store keeps.
 */
#pragma once

#include "syncd/agent/agent.h"

struct metrics_state {
    const struct agent_status *status;
    bool link_is_up;
    uint64_t workers_started, workers_lost;
    int64_t started_wall_ms; /* the daemon */
};

void metrics_text(const struct metrics_state *state, struct buffer *ret);
