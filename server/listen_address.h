/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where to listen, as text and as a socket address. Numbers only: a server does not ask a resolver where it
 * is.
 */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>

struct listen_address {
    struct sockaddr_storage socket;
    socklen_t socket_len;
};

/* "127.0.0.1:8443", "[::1]:8443", "*:8443" (every IPv4 address), "localhost:0". 0 or -EINVAL with a static
 * reason. */
int listen_address_parse(const char *text, struct listen_address *ret, const char **ret_reason);
bool listen_address_is_loopback(const struct listen_address *address);
/* 0.0.0.0 or ::, which no client can use as a name. */
bool listen_address_is_any(const struct listen_address *address);
/* The URL by which this machine's clients would reach it, allocated; of an any-address with the host's name.
 */
int listen_address_url(const struct listen_address *address, bool tls, char **ret);
