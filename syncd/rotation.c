/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/rotation.h"

#include <errno.h>
#include <sodium.h>

int rotation_load(const struct world *world, const char *directory, const struct enrolment *enrolment,
    uint8_t ret_seed[SIGN_SEED_BYTES])
{
    struct bytes envelope = bytes_of(enrolment->certificate, enrolment->certificate_len);
    _cleanup_arena_ struct arena arena;
    struct device_certificate certificate;
    struct trust trust;
    struct uuid device;
    uint8_t seed[SIGN_SEED_BYTES];
    int r;

    arena_init(&arena, arena_budget_for(TRUST_LIST_BYTES_MAX));
    enrolment_trust(enrolment, &arena, &trust);
    if (trust_verify_certificate(&trust, envelope, &arena, &certificate) < 0)
        r = device_key_read(world, directory, &device, seed);
    else
        r = device_key_settle(world, directory, certificate.public_key, &device, seed);
    if (r >= 0 && !uuid_equal(&device, &enrolment->device))
        r = -EBADMSG;
    if (r >= 0)
        memcpy(ret_seed, seed, sizeof(seed));
    sodium_memzero(seed, sizeof(seed));
    return r;
}

/* 1, or 0 when none waits: there is none of this device, or it is in force already and only the disk has not
 * taken that yet. */
static int read_waiting(const struct world *world, const char *directory, const struct uuid *own,
    const uint8_t in_force[SIGN_SEED_BYTES], uint8_t ret_seed[SIGN_SEED_BYTES])
{
    struct uuid device;
    int r = device_next_key_read(world, directory, &device, ret_seed);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    return uuid_equal(&device, own) && memcmp(ret_seed, in_force, SIGN_SEED_BYTES) != 0;
}

int rotation_go_on(const struct world *world, const char *directory, const struct enrolment *enrolment,
    struct agent *agent, bool *ret_waits)
{
    uint8_t in_force[SIGN_SEED_BYTES], seed[SIGN_SEED_BYTES];
    int r = rotation_load(world, directory, enrolment, in_force);

    if (r >= 0)
        r = read_waiting(world, directory, &enrolment->device, in_force, seed);
    *ret_waits = r > 0;
    if (r > 0)
        r = agent_announce_key(agent, seed);
    sodium_memzero(in_force, sizeof(in_force));
    sodium_memzero(seed, sizeof(seed));
    return r;
}

int rotation_begin(const struct world *world, const char *directory, const struct enrolment *enrolment,
    struct agent *agent, bool *ret_waited)
{
    uint8_t in_force[SIGN_SEED_BYTES], seed[SIGN_SEED_BYTES];
    bool waited = false;
    int r = rotation_load(world, directory, enrolment, in_force);

    if (r >= 0) {
        r = read_waiting(world, directory, &enrolment->device, in_force, seed);
        waited = r > 0;
        if (r == 0 || r == -EBADMSG)
            r = device_next_key_make(world, directory, &enrolment->device, seed);
    }
    if (r >= 0 && memcmp(seed, in_force, sizeof(seed)) == 0)
        r = -EAGAIN;
    if (r >= 0)
        r = agent_announce_key(agent, seed);
    sodium_memzero(in_force, sizeof(in_force));
    sodium_memzero(seed, sizeof(seed));
    if (r >= 0)
        *ret_waited = waited;
    return r;
}

/* The certificate before goes to those of former keys first: nothing is lost if this ends in between. */
static int replace_certificate(const struct world *world, const char *directory,
    const struct enrolment *enrolment, struct bytes envelope)
{
    _cleanup_(enrolment_done) struct enrolment held = {0};
    _cleanup_free_ char *error = NULL;
    uint8_t *certificate;
    int r = enrolment_read(world, directory, &held, &error);

    if (r < 0)
        return r;
    if (!uuid_equal(&held.device, &enrolment->device) || strcmp(held.authority, enrolment->authority) != 0)
        return -ESTALE;
    r = enrolment_former_add(world, directory, bytes_of(held.certificate, held.certificate_len));
    if (r < 0)
        return r;
    certificate = malloc(envelope.len);
    if (!certificate)
        return -ENOMEM;
    memcpy(certificate, envelope.data, envelope.len);
    free(held.certificate);
    held.certificate = certificate;
    held.certificate_len = envelope.len;
    return enrolment_write(world, directory, &held);
}

int rotation_take(const struct world *world, const char *directory, const struct enrolment *enrolment,
    struct bytes envelope, const uint8_t public_key[SIGN_PUBLIC_BYTES])
{
    uint8_t seed[SIGN_SEED_BYTES];
    struct sign_key next;
    struct uuid device;
    bool is_here;
    int r = device_next_key_read(world, directory, &device, seed);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    sign_key_from_seed("device", seed, &next);
    is_here = memcmp(next.public.public_key, public_key, SIGN_PUBLIC_BYTES) == 0;
    sodium_memzero(&next, sizeof(next));
    sodium_memzero(seed, sizeof(seed));
    if (!is_here)
        return 0;
    r = replace_certificate(world, directory, enrolment, envelope);
    return r < 0 ? r : 1;
}
