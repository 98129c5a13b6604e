/* SPDX-License-Identifier: Apache-2.0 */
#include "server/listen_address.h"

#include "base/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>

#define HOST_NAME_MAX_LEN 255u

static struct sockaddr_in *as_v4(const struct listen_address *address)
{
    return (struct sockaddr_in *)(uintptr_t)&address->socket;
}

static struct sockaddr_in6 *as_v6(const struct listen_address *address)
{
    return (struct sockaddr_in6 *)(uintptr_t)&address->socket;
}

static int parse_port(const char *text, uint16_t *ret)
{
    uint64_t port;
    if (text_parse_u64(text, &port) < 0 || port > UINT16_MAX)
        return -EINVAL;
    *ret = htons((uint16_t)port);
    return 0;
}

int listen_address_parse(const char *text, struct listen_address *ret, const char **ret_reason)
{
    struct listen_address address = {0};
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 1] = "";
    uint16_t port;

    *ret_reason = "write ADDRESS:PORT, for example 127.0.0.1:8443, [::1]:8443 or 0.0.0.0:8443";
    if (!colon || parse_port(colon + 1, &port) < 0)
        return -EINVAL;
    size_t host_len = (size_t)(colon - text);
    bool is_v6 = host_len >= 2 && text[0] == '[' && colon[-1] == ']';
    if (is_v6) {
        text++;
        host_len -= 2;
    }
    if (host_len >= sizeof(host))
        return -EINVAL;
    memcpy(host, text, host_len);
    if (is_v6) {
        as_v6(&address)->sin6_family = AF_INET6;
        as_v6(&address)->sin6_port = port;
        address.socket_len = sizeof(struct sockaddr_in6);
        if (inet_pton(AF_INET6, host, &as_v6(&address)->sin6_addr) != 1)
            return -EINVAL;
    } else {
        const char *numbers = strcmp(host, "*") == 0           ? "0.0.0.0"
                              : strcmp(host, "localhost") == 0 ? "127.0.0.1"
                                                               : host;
        as_v4(&address)->sin_family = AF_INET;
        as_v4(&address)->sin_port = port;
        address.socket_len = sizeof(struct sockaddr_in);
        if (inet_pton(AF_INET, numbers, &as_v4(&address)->sin_addr) != 1)
            return -EINVAL;
    }
    *ret = address;
    return 0;
}

bool listen_address_is_loopback(const struct listen_address *address)
{
    if (address->socket.ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&as_v6(address)->sin6_addr);
    return ntohl(as_v4(address)->sin_addr.s_addr) >> 24 == 127;
}

bool listen_address_is_any(const struct listen_address *address)
{
    if (address->socket.ss_family == AF_INET6)
        return IN6_IS_ADDR_UNSPECIFIED(&as_v6(address)->sin6_addr);
    return as_v4(address)->sin_addr.s_addr == htonl(INADDR_ANY);
}

int listen_address_url(const struct listen_address *address, bool tls, char **ret)
{
    bool is_v6 = address->socket.ss_family == AF_INET6;
    uint16_t port = ntohs(is_v6 ? as_v6(address)->sin6_port : as_v4(address)->sin_port);
    char host[HOST_NAME_MAX_LEN + 3] = "";

    if (listen_address_is_any(address)) {
        if (gethostname(host, HOST_NAME_MAX_LEN) < 0)
            return -errno;
    } else if (is_v6) {
        char numbers[INET6_ADDRSTRLEN];
        inet_ntop(AF_INET6, &as_v6(address)->sin6_addr, numbers, sizeof(numbers));
        snprintf(host, sizeof(host), "[%s]", numbers);
    } else {
        inet_ntop(AF_INET, &as_v4(address)->sin_addr, host, sizeof(host));
    }
    return asprintf(ret, "%s://%s:%u", tls ? "https" : "http", host, port) < 0 ? -ENOMEM : 0;
}
