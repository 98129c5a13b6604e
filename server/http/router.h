/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which handler a method and a path lead to: one table, looked through from its first row. Called by the
 * listener. Must not know what a handler does, nor anything of connections. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct route_handler;

struct route {
    const char *method;
    const char *path;
    const char *name; /* for log lines and metrics */
    uint64_t body_bytes_max;
    const struct route_handler *handler;
    unsigned kind; /* the handler's own number: which of its requests this is */
    bool has_tail; /* the path is followed by "/" and one segment, which is handed on */
};

enum route_match {
    ROUTE_FOUND,
    ROUTE_NO_PATH,      /* 404 */
    ROUTE_OTHER_METHOD, /* 405: the path is known, with other methods */
};

/* `ret_index` names the row when found. `ret_tail` is the segment after the path, borrowed from `path`, or
 * "". */
enum route_match router_find(const struct route *routes, size_t count, const char *method, const char *path,
    size_t *ret_index, const char **ret_tail);
/* The methods of a known path as the value of an Allow header, cut when `size` is too small. */
void router_methods(const struct route *routes, size_t count, const char *path, char *ret, size_t size);
