/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One simulated run, for sim_main.c: a seed in, a verdict out.
 */
#pragma once

#include "tests/sim/sim_coverage.h"

#include <stdbool.h>

#define SIM_VERDICT_MAX 512u

struct sim_verdict {
    bool passed;
    char failure[SIM_VERDICT_MAX];
    uint8_t trace[32]; /* SHA-256 of all that happened */
};

void sim_run(uint64_t seed, bool prints_trace, struct coverage *coverage, struct sim_verdict *ret);
