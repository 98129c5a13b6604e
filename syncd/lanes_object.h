/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What waits in each lane and why, as the status object tells it (store/control_protocol.h). Called by the
 * daemon's shell only.
 */
#pragma once

#include "syncd/agent/agent.h"

#include <jansson.h>

/* An array of one object a lane; a new reference, NULL when memory ran out. */
json_t *lanes_object(const struct agent_status *status, uint64_t now_ms);
