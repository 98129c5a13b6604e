/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/transport/poor_link.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44 /* of Linux, whose headers may be older than the kernel */
#endif
#define NO_ROUND_TRIP UINT32_MAX /* the kernel's word for "not measured" */

bool poor_link_begin(int fd)
{
    const int retry_ms = POOR_LINK_RETRY_MS;

    return setsockopt(fd, IPPROTO_TCP, TCP_RTO_MAX_MS, &retry_ms, sizeof(retry_ms)) >= 0;
}

size_t poor_link_bytes(uint64_t rate, uint32_t round_trip_us)
{
    uint64_t time_us = (uint64_t)round_trip_us + POOR_LINK_QUEUE_MS * 1000u;
    uint64_t bytes;

    if (rate == 0 || round_trip_us == 0 || round_trip_us == NO_ROUND_TRIP || rate > UINT64_MAX / time_us)
        return 0;
    bytes = rate * time_us / 1000000u;
    if (bytes > POOR_LINK_BYTES_MAX)
        return 0;
    return bytes < POOR_LINK_BYTES_MIN ? POOR_LINK_BYTES_MIN : (size_t)bytes;
}

void poor_link_fit(int fd, size_t *held)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    size_t bytes;
    int value;

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
        return;
    bytes = poor_link_bytes(info.tcpi_delivery_rate, info.tcpi_min_rtt);
    /* A size that was set once is never the kernel's again on this socket. */
    if (bytes == 0 && *held > 0)
        bytes = POOR_LINK_BYTES_MAX;
    if (bytes == *held)
        return;
    /* The kernel doubles it for its own book-keeping. */
    value = (int)bytes;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &value, sizeof(value)) >= 0)
        *held = bytes;
}
