/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What TCP is told for the sake of poor links. Called by curl.c; must not know requests.
 *
 * Left alone, TCP fills whatever queue the slowest hop has: all of it is lost and sent again when the link is
 * cut, and stands before anything else that is to go. So on a slow link the kernel is given no more than
 * keeps the link busy, by its own measurements (tcp(7), TCP_INFO): the round trip without a queue, and the
 * rate at which data arrived. And left alone, it waits longer and longer before it tries a link again that
 * may be back since.
 *
 * All of it is a hint: what the kernel does not know or take leaves things as they are.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POOR_LINK_RETRY_MS 2000           /* at least so often a silent link is tried again; Linux 6.15 */
#define POOR_LINK_QUEUE_MS 200u           /* beyond what the link holds by itself */
#define POOR_LINK_BYTES_MIN (16u * 1024u) /* a dozen packets, so that losses are found without a timeout */
#define POOR_LINK_BYTES_MAX                                                                                  \
    (128u * 1024u) /* a link that holds more is not slow: left to the kernel, which knows better */

/* For a new TCP socket. False where the kernel does not know how to try again soon: then the socket is not to
 * be bounded, as a bound makes the pauses longer in which a link that is back goes unused. */
bool poor_link_begin(int fd);
/* How much may be in the kernel at once, in bytes, at that rate in bytes a second and that round trip;
 * 0: no bound. */
size_t poor_link_bytes(uint64_t rate, uint32_t round_trip_us);
/* Applies it to a TCP socket. `*held` is what was applied before, 0 at first. */
void poor_link_fit(int fd, size_t *held);
