/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line for each request: who asked what, what came of it, how much and how long. No contents, no tokens.
 */
#pragma once

#include "server/http/request.h"

void request_log(const struct request *request, bool complete, uint64_t bytes_in, uint64_t duration_us);
/* Bytes of the request that came, its headers included. */
uint64_t request_bytes_in(const struct request *request);
