/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `patrol-syncd --enroll TOKEN-URL`: makes this handheld's keys, proves them to the server that the token URL
 * names, and keeps what came back. One shot, in the foreground; a running daemon notices the new files.
 * Repeating it with the same token gives the same result.
 */
#pragma once

#include "base/exit_status.h"
#include "base/world.h"

/* Says on stdout what was done, on stderr what is wrong and how to mend it. */
enum exit_status enrol_run(const struct world *world, const char *directory, const char *text, bool replace);
