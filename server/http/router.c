/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http/router.h"

#include <stdio.h>
#include <string.h>

static bool path_fits(const struct route *route, const char *path, const char **ret_tail)
{
    size_t len = strlen(route->path);

    if (strncmp(route->path, path, len) != 0)
        return false;
    if (!route->has_tail) {
        *ret_tail = "";
        return path[len] == '\0';
    }
    if (path[len] != '/' || path[len + 1] == '\0' || strchr(path + len + 1, '/'))
        return false;
    *ret_tail = path + len + 1;
    return true;
}

enum route_match router_find(const struct route *routes, size_t count, const char *method, const char *path,
    size_t *ret_index, const char **ret_tail)
{
    enum route_match match = ROUTE_NO_PATH;

    for (size_t i = 0; i < count; i++) {
        const char *tail;
        if (!path_fits(&routes[i], path, &tail))
            continue;
        if (strcmp(routes[i].method, method) == 0) {
            *ret_index = i;
            *ret_tail = tail;
            return ROUTE_FOUND;
        }
        match = ROUTE_OTHER_METHOD;
    }
    return match;
}

void router_methods(const struct route *routes, size_t count, const char *path, char *ret, size_t size)
{
    size_t at = 0;

    ret[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        const char *tail;
        if (!path_fits(&routes[i], path, &tail))
            continue;
        int n = snprintf(ret + at, size - at, "%s%s", at > 0 ? ", " : "", routes[i].method);
        if (n < 0 || (size_t)n >= size - at)
            return;
        at += (size_t)n;
    }
}
