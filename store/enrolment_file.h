/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What enrolment left on the handheld, as files beside the database, so that they survive its loss:
 *
 *   DATA/enrolment.conf   server URL, authority, tenant, device, receipt key, certificate    0660, the daemon
 * writes DATA/ca.pem           the CAs that are trusted                                            0660
 *   DATA/trust            the successors of the receipt key, and those CAs, as the centre signed them  0660
 *   DATA/device.key       the device's Ed25519 seed                                           0600, the
 * daemon's alone
 *   DATA/device-next.key  the one that is to take its place, until its certificate has come   0600
 *   DATA/certificates     once there was a second one: those of all device keys               0660
 *
 * The collector reads all but the keys. Which of two keys signs is what DATA/certificates says: replacing
 * that file is the switch from one to the other (syncd/rotation.h).
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
    uint8_t *certificates; /* DATA/certificates; likewise */
    size_t certificates_len;
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

/* Keeps both: the certificate of the key in force, and at the end that of the key which takes its place.
 * -ENOSPC also when all of them are too long. */
int enrolment_certificates_add(
    const struct world *world, const char *directory, struct bytes before, struct bytes certificate);
/* The next envelope of the list; false at its end, also when it is damaged there. */
bool enrolment_certificate_next(struct cursor *cursor, struct bytes *ret);
/* The certificate of the key that has signed the handheld's part of a receipt: the one in force, if none of
 * the others did. A view into the enrolment. 0 or -ENOMEM. */
int enrolment_certificate_of(
    const struct enrolment *enrolment, const struct trust *trust, struct bytes receipt, struct bytes *ret);
/* The next key; `_make` keeps one that is there. */
int device_next_key_read(const struct world *world, const char *directory, struct uuid *ret_device,
    uint8_t ret_seed[SIGN_SEED_BYTES]);
int device_next_key_make(const struct world *world, const char *directory, const struct uuid *device,
    uint8_t ret_seed[SIGN_SEED_BYTES]);
/* The next key is the device's from now on: the one before is destroyed. Again: makes good what was broken
 * off.
 */
int device_next_key_settle(const struct world *world, const char *directory, const struct uuid *device,
    const uint8_t seed[SIGN_SEED_BYTES]);

/* Doorbell: wakes the daemon by one datagram on DATA/doorbell.sock; silently does nothing when nobody
 * listens. Real sockets only. */
void doorbell_ring(const char *directory);
