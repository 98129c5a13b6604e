/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handlers of the server's routes. Known to the listener's table only.
 */
#pragma once

#include "server/http/request.h"

/* Signed requests; `kind` of the route is an enum service_route. */
extern const struct route_handler exchange_handler;
/* Uploads; `kind` of the route is an enum blob_route. */
extern const struct route_handler blob_handler;
enum blob_route { BLOB_OPTIONS, BLOB_CREATE, BLOB_HEAD, BLOB_PATCH, BLOB_OVERRIDE };
/* /healthz and /metrics. */
extern const struct route_handler health_handler;
extern const struct route_handler metrics_handler;
