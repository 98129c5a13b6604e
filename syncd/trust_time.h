/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads what the TLS floor needs (build time, clocks, the last signed server time kept in the store's
 * settings) and asks the pure rule (syncd/core/tls_floor.h) at which time certificates are verified.
 */
#pragma once

#include "store/store.h"
#include "syncd/core/tls_floor.h"

/* `store` may be NULL: then only the build time counts. */
struct tls_time trust_time_now(const struct world *world, struct store *store);
