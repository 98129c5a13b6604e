/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's shell: one sd-event loop around the agent. Handlers translate what happened outside (doorbell,
 * control socket, network, signals, timers) into calls of the agent; every decision is the engine's.
 */
#pragma once

#include "base/exit_status.h"
#include "base/world.h"
#include "syncd/settings.h"

/* Runs until SIGTERM or SIGINT. Order of start-up: lock, store, enrolment, trust, transport, agent, doorbell,
 * control socket, link, READY. */
enum exit_status daemon_run(
    const struct world *world, const char *directory, const struct syncd_settings *settings);
