/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of a rotation: how the next device key takes the place of the one in force, and how that goes on
 * wherever it was broken off. proto/README.md, "A device's next key". Called by the daemon; the agent makes
 * the record and checks the certificate (syncd/agent/device_key.c), store/enrolment_file.h has the files.
 *
 *   rotation_begin      device-next.key is made, and announced by a record
 *   rotation_take       its certificate has come: that it is in DATA/certificates is the switch
 *   rotation_load       device.key and enrolment.conf follow, device-next.key goes
 *   rotation_go_on      after each rotation_load: what is not announced yet is
 */
#pragma once

#include "syncd/agent/agent.h"

/* The seed of the device key in force; its certificate becomes the enrolment's. -EBADMSG it is of another
 * device; as device_key_read. */
int rotation_load(const struct world *world, const char *directory, struct enrolment *enrolment,
    uint8_t ret_seed[SIGN_SEED_BYTES]);
/* `*ret_waits`: a next key waits for its certificate. It is set also on failure. */
int rotation_go_on(const struct world *world, const char *directory, const struct enrolment *enrolment,
    struct agent *agent, bool *ret_waits);
/* Makes and announces a next key; `*ret_waited`: one that waited already, and stays the next. -EAGAIN the
 * disk has not taken yet that the key before is replaced. */
int rotation_begin(const struct world *world, const char *directory, const struct enrolment *enrolment,
    struct agent *agent, bool *ret_waited);
/* For agent_listener.certificate: 1, and enrolment.conf was replaced, which brings rotation_load; 0 it is of
 * no key that is here; on failure the key before goes on, until the next rotation_load at most. -ESTALE the
 * handheld was enrolled elsewhere meanwhile. */
int rotation_take(const struct world *world, const char *directory, const struct enrolment *enrolment,
    struct bytes envelope, const uint8_t public_key[SIGN_PUBLIC_BYTES]);
