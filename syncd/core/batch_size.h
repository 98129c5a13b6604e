/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many records go into one exchange: about batch_target_ms of measured goodput, from one record to what
 * the protocol allows. Inside of the engine; used by the text lane. Pure.
 */
#pragma once

#include "syncd/core/engine_state.h"

struct batch_limit {
    uint32_t records, bytes;
};

struct batch_limit batch_limit(const struct text_lane *text);
/* An exchange was made: learns how well records compress. */
void batch_built(struct text_lane *text, const struct slot *slot);
/* An exchange was answered: learns the goodput. Called before the log's receipt is moved. */
void batch_answered(struct engine *engine, const struct slot *slot);
/* The link is another one: what failed before says nothing about it. */
void batch_begin(struct engine *engine);
/* An exchange failed: from now on half of what it carried. False when it carried one record, or none. */
bool batch_halve(struct text_lane *text, const struct slot *slot);
