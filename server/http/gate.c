/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http/gate.h"

#include "base/world.h"
#include "server/core/rate.h"
#include "server/http/clock.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>

_Static_assert(RATE_KEY_BYTES == UUID_BYTES, "a device's id is its key");

struct gate {
    pthread_mutex_t mutex;
    struct rate_table *devices, *addresses;
};

int gate_new(const struct gate_limits *limits, struct gate **ret)
{
    const uint64_t device[RATE_KINDS] = {
        [RATE_REQUESTS] = limits->device_requests, [RATE_BYTES] = limits->device_bytes};
    const uint64_t address[RATE_KINDS] = {[RATE_REQUESTS] = limits->address_unproven};
    uint8_t seeds[2][RATE_SEED_BYTES];
    struct gate *gate = calloc(1, sizeof(*gate));

    if (!gate)
        return -ENOMEM;
    pthread_mutex_init(&gate->mutex, NULL);
    world_posix()->verbs->random(NULL, (uint8_t *)seeds, sizeof(seeds));
    int r = rate_table_new(device, seeds[0], &gate->devices);
    if (r >= 0)
        r = rate_table_new(address, seeds[1], &gate->addresses);
    if (r < 0) {
        gate_free(gate);
        return r;
    }
    *ret = gate;
    return 0;
}

void gate_free(struct gate *gate)
{
    if (!gate)
        return;
    rate_table_free(gate->devices);
    rate_table_free(gate->addresses);
    pthread_mutex_destroy(&gate->mutex);
    free(gate);
}

static struct rate_key key_of_device(const struct uuid *device)
{
    struct rate_key key;

    memcpy(key.b, device->b, RATE_KEY_BYTES);
    return key;
}

/* An IPv4 address in its mapped form; of an IPv6 address its first 64 bits, as whoever has one has all of
 * them. */
static bool key_of_address(const struct sockaddr *address, struct rate_key *ret)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct rate_key key = {{0}};

    if (address && address->sa_family == AF_INET) {
        const struct sockaddr_in *peer = (const struct sockaddr_in *)(const void *)address;
        memcpy(key.b, mapped, sizeof(mapped));
        memcpy(key.b + sizeof(mapped), &peer->sin_addr, sizeof(peer->sin_addr));
    } else if (address && address->sa_family == AF_INET6) {
        const struct in6_addr *peer = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        memcpy(key.b, peer, IN6_IS_ADDR_V4MAPPED(peer) ? sizeof(key.b) : sizeof(key.b) / 2);
    } else {
        return false;
    }
    *ret = key;
    return true;
}

uint32_t gate_wait_s(
    struct gate *gate, const struct uuid *device, const struct sockaddr *address, const char **ret_outcome)
{
    struct rate_key device_key = device ? key_of_device(device) : (struct rate_key){{0}}, address_key;
    bool has_address = key_of_address(address, &address_key);
    const char *outcome = "device_rate";
    uint64_t now_ms = clock_now_ms();
    uint32_t wait_s = 0;

    pthread_mutex_lock(&gate->mutex);
    if (device)
        wait_s = rate_table_wait_s(gate->devices, &device_key, now_ms);
    if (wait_s == 0 && has_address &&
        !(device && rate_table_is_from(gate->devices, &device_key, &address_key))) {
        outcome = "address_rate";
        wait_s = rate_table_wait_s(gate->addresses, &address_key, now_ms);
    }
    pthread_mutex_unlock(&gate->mutex);
    if (wait_s > 0)
        *ret_outcome = outcome;
    return wait_s;
}

static void charge(struct rate_table *table, pthread_mutex_t *mutex, const struct rate_key *key,
    const struct rate_key *from, uint64_t requests, uint64_t bytes)
{
    const uint64_t amount[RATE_KINDS] = {[RATE_REQUESTS] = requests, [RATE_BYTES] = bytes};
    uint64_t now_ms = clock_now_ms();

    pthread_mutex_lock(mutex);
    rate_table_charge(table, key, from, amount, now_ms);
    pthread_mutex_unlock(mutex);
}

static void charge_device(struct gate *gate, const struct uuid *device, const struct sockaddr *address,
    uint64_t requests, uint64_t bytes)
{
    struct rate_key key = key_of_device(device), from = {{0}};

    (void)key_of_address(address, &from);
    charge(gate->devices, &gate->mutex, &key, &from, requests, bytes);
}

void gate_charge_device(
    struct gate *gate, const struct uuid *device, const struct sockaddr *address, uint64_t bytes)
{
    charge_device(gate, device, address, 1, bytes);
}

void gate_charge_bytes(
    struct gate *gate, const struct uuid *device, const struct sockaddr *address, uint64_t bytes)
{
    charge_device(gate, device, address, 0, bytes);
}

void gate_charge_unproven(struct gate *gate, const struct sockaddr *address)
{
    struct rate_key key;

    if (key_of_address(address, &key))
        charge(gate->addresses, &gate->mutex, &key, &key, 1, 0);
}
