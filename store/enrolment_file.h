/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What enrolment left on the handheld, as files beside the database, so that they survive its loss:
 *
 *   DATA/enrolment.conf   server URL, authority, tenant, device, receipt key, certificate    0660, the daemon
 * writes DATA/ca.pem           the CAs that are trusted                                            0660
 *   DATA/trust            the successors of the receipt key, and those CAs, as the centre signed them  0660
 *   DATA/device.key       the device's Ed25519 seed                                           0600, the
 * daemon's alone
 *
 * The collector reads all but the last.
 */
#pragma once

#include "base/world.h"
#include "proto/trust.h"

struct enrolment {
    char *server_url;
    char *authority;
    char *tenant;
    struct uuid device;
    struct verify_key receipt_key;
    uint8_t *certificate; /* envelope bytes */
    size_t certificate_len;
    char *name;      /* may be "" */
    char *inspector; /* default inspector, may be "" */
    uint8_t *trust;  /* the list in DATA/trust as it was read; not written by enrolment_write */
    size_t trust_len;
};

/* -ENOENT not enrolled; -EBADMSG damaged, with a line for people. */
int enrolment_read(const struct world *world, const char *directory, struct enrolment *ret, char **ret_error);
int enrolment_write(const struct world *world, const char *directory, const struct enrolment *enrolment);
void enrolment_done(struct enrolment *enrolment);
/* Replaces DATA/trust; an empty list is one of no successors. */
int enrolment_trust_write(const struct world *world, const char *directory, struct bytes list);
/* The keys of the centre that are trusted: those of a list that does not hold are not. `ret` has views into
 * the enrolment and the arena. -ENOMEM. */
int enrolment_trust(const struct enrolment *enrolment, struct arena *arena, struct trust *ret);
/* The seed file; created by `_make` (an existing one is kept, so that a repeated enrolment is the same
 * device). */
int device_key_read(const struct world *world, const char *directory, struct uuid *ret_device,
    uint8_t ret_seed[SIGN_SEED_BYTES]);
int device_key_make(const struct world *world, const char *directory, struct uuid *ret_device,
    uint8_t ret_seed[SIGN_SEED_BYTES]);

/* Doorbell: wakes the daemon by one datagram on DATA/doorbell.sock; silently does nothing when nobody
 * listens. Real sockets only. */
void doorbell_ring(const char *directory);
