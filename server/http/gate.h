/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is kept out for a while, told from the request's head alone: devices that send more than their rate,
 * and addresses from which comes too much that nobody has signed for. Called by the routes, from any thread.
 * Must not know what requests carry.
 *
 * The name in a request's head is not signed: anybody can give another's. So a device is charged only after
 * its signature (or its upload token) held, and what never held is charged to the address that it came from.
 * When an address is over its rate, devices that were last proven to be there go on: many handhelds may stand
 * behind one address.
 */
#pragma once

#include "proto/ids.h"

#include <sys/socket.h>

struct gate;

/* Each a minute; 0: no limit. */
struct gate_limits {
    uint64_t device_requests, device_bytes;
    uint64_t address_unproven; /* requests */
};

int gate_new(const struct gate_limits *limits, struct gate **ret);
void gate_free(struct gate *gate);
DEFINE_CLEANUP(struct gate, gate_free);

/* Seconds that the sender has to wait; 0: it may go on. `device` is NULL for one that is not enrolled, or not
 * named. `ret_outcome` says which limit it is, a static word. An address that is not known (NULL) has none.
 */
uint32_t gate_wait_s(
    struct gate *gate, const struct uuid *device, const struct sockaddr *address, const char **ret_outcome);
void gate_charge_device(
    struct gate *gate, const struct uuid *device, const struct sockaddr *address, uint64_t bytes);
/* What was charged as a request is charged its bytes when they have come. */
void gate_charge_bytes(
    struct gate *gate, const struct uuid *device, const struct sockaddr *address, uint64_t bytes);
void gate_charge_unproven(struct gate *gate, const struct sockaddr *address);
