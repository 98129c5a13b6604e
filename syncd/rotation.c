/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/rotation.h"

#include <errno.h>
#include <sodium.h>

/* ---- which key signs ---- */

/* 1, 0 or -ENOMEM, as find_certificate. */
static int names_key(const struct enrolment *enrolment, const struct trust *trust, struct bytes envelope,
    const uint8_t public_key[SIGN_PUBLIC_BYTES])
{
    _cleanup_arena_ struct arena arena;
    struct device_certificate certificate;
    int r;

    arena_init(&arena, arena_budget_for(ENROLMENT_BYTES_MAX));
    r = trust_verify_certificate(trust, envelope, &arena, &certificate);
    if (r < 0)
        return r == -ENOMEM ? r : 0;
    return uuid_equal(&certificate.device, &enrolment->device) &&
           bytes_equal(certificate.authority, bytes_of_text(enrolment->authority)) &&
           bytes_equal(certificate.tenant, bytes_of_text(enrolment->tenant)) &&
           memcmp(certificate.public_key, public_key, SIGN_PUBLIC_BYTES) == 0;
}

/* The certificate of the key that comes from a seed: the one in enrolment.conf, or the newest that is kept.
 */
static int find_certificate(
    const struct enrolment *enrolment, const uint8_t seed[SIGN_SEED_BYTES], struct bytes *ret)
{
    struct cursor cursor = cursor_of(bytes_of(enrolment->certificates, enrolment->certificates_len));
    struct bytes envelope = bytes_of(enrolment->certificate, enrolment->certificate_len);
    _cleanup_arena_ struct arena arena;
    struct sign_key key;
    struct trust trust;
    int r;

    arena_init(&arena, arena_budget_for(TRUST_LIST_BYTES_MAX));
    r = enrolment_trust(enrolment, &arena, &trust);
    if (r < 0)
        return r;
    sign_key_from_seed("device", seed, &key);
    r = names_key(enrolment, &trust, envelope, key.public.public_key);
    while (r == 0 && enrolment_certificate_next(&cursor, &envelope))
        r = names_key(enrolment, &trust, envelope, key.public.public_key);
    sodium_memzero(&key, sizeof(key));
    if (r > 0)
        *ret = envelope;
    return r;
}

/* The next key is in force as soon as its certificate is kept here. */
static int read_in_force(const struct world *world, const char *directory, const struct enrolment *enrolment,
    uint8_t ret_seed[SIGN_SEED_BYTES])
{
    uint8_t seed[SIGN_SEED_BYTES];
    struct bytes certificate = {0};
    struct uuid device;
    int r = device_next_key_read(world, directory, &device, seed), is_kept = 0;

    if (r < 0 && r != -ENOENT && r != -EBADMSG)
        return r; /* it may be the one that signs */
    if (r >= 0 && uuid_equal(&device, &enrolment->device))
        is_kept = find_certificate(enrolment, seed, &certificate);
    if (is_kept > 0)
        /* It signs, whether or not the disk takes that now: the next start does the rest. */
        (void)device_next_key_settle(world, directory, &device, seed);
    else
        r = is_kept < 0 ? is_kept : device_key_read(world, directory, &device, seed);
    if (r >= 0 && !uuid_equal(&device, &enrolment->device))
        r = -EBADMSG;
    if (r >= 0)
        memcpy(ret_seed, seed, sizeof(seed));
    sodium_memzero(seed, sizeof(seed));
    return r;
}

static int set_certificate(struct enrolment *enrolment, struct bytes envelope)
{
    uint8_t *certificate = malloc(envelope.len > 0 ? envelope.len : 1);

    if (!certificate)
        return -ENOMEM;
    memcpy(certificate, envelope.data, envelope.len);
    free(enrolment->certificate);
    enrolment->certificate = certificate;
    enrolment->certificate_len = envelope.len;
    return 0;
}

int rotation_load(const struct world *world, const char *directory, struct enrolment *enrolment,
    uint8_t ret_seed[SIGN_SEED_BYTES])
{
    uint8_t seed[SIGN_SEED_BYTES];
    struct bytes certificate = {0};
    int r = read_in_force(world, directory, enrolment, seed);

    if (r >= 0)
        r = find_certificate(enrolment, seed, &certificate);
    /* What enrolment.conf says was broken off, or written over by who had read it before. */
    if (r > 0 && certificate.data != enrolment->certificate) {
        r = set_certificate(enrolment, certificate);
        if (r >= 0)
            (void)enrolment_write(world, directory, enrolment); /* or at the next start */
    }
    if (r >= 0)
        memcpy(ret_seed, seed, sizeof(seed));
    sodium_memzero(seed, sizeof(seed));
    return r < 0 ? r : 0;
}

/* ---- making and announcing one ---- */

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
    int r = read_in_force(world, directory, enrolment, in_force);

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
    int r = read_in_force(world, directory, enrolment, in_force);

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

/* ---- its certificate has come ---- */

/* As it is on the disk; -ESTALE it is another one by now. */
static int read_held(const struct world *world, const char *directory, const struct enrolment *enrolment,
    struct enrolment *ret)
{
    _cleanup_free_ char *error = NULL;
    int r;

    enrolment_done(ret);
    *ret = (struct enrolment){0};
    r = enrolment_read(world, directory, ret, &error);
    if (r < 0)
        return r;
    return uuid_equal(&ret->device, &enrolment->device) && strcmp(ret->authority, enrolment->authority) == 0
               ? 0
               : -ESTALE;
}

static int take(const struct world *world, const char *directory, const struct enrolment *enrolment,
    struct bytes envelope)
{
    _cleanup_(enrolment_done) struct enrolment held = {0};
    int r = read_held(world, directory, enrolment, &held);

    if (r >= 0)
        r = enrolment_certificates_add(
            world, directory, bytes_of(held.certificate, held.certificate_len), envelope);
    /* A person may have written it meanwhile (`patrol server-url`): that took until the disk had it. */
    if (r >= 0)
        r = read_held(world, directory, enrolment, &held);
    if (r >= 0)
        r = set_certificate(&held, envelope);
    return r < 0 ? r : enrolment_write(world, directory, &held);
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
    r = take(world, directory, enrolment, envelope);
    return r < 0 ? r : 1;
}
