/* SPDX-License-Identifier: Apache-2.0 */
/*
 * At which time certificates are verified on a handheld whose clock may be wrong. proto/README.md, "Time".
 * Pure.
 *
 * The floor is the latest instant that has certainly passed: when the program was built, or the last signed
 * server time plus what the boot clock counted since, in the same boot. A clock that lies within 400 days
 * after the floor is believed; otherwise certificates are verified at the floor, and one that is not valid
 * yet at the floor is taken all the same, since the floor only says what is past. Verification is never
 * switched off.
 */
#pragma once

#include "proto/ids.h"

#define TLS_FLOOR_TRUST_MS (INT64_C(400) * 24 * 3600 * 1000)

struct tls_floor_input {
    int64_t build_ms;        /* Unix ms */
    int64_t server_time_ms;  /* of the last signed answer, 0: none */
    uint64_t server_boot_ms; /* boot clock when it came */
    uint8_t server_boot_id[UUID_BYTES];
    uint8_t boot_id[UUID_BYTES]; /* now */
    uint64_t boot_ms;
    int64_t wall_ms;
};

struct tls_time {
    int64_t floor_ms;
    int64_t server_ms;      /* that has certainly passed by the server's clock; 0: nothing is known of it */
    int64_t verify_at_ms;   /* certificates are verified at this instant */
    bool ignore_not_before; /* the wall clock is not believed: notBefore says nothing */
};

struct tls_time tls_time_for(const struct tls_floor_input *input);
/* Whether a server time may raise the floor: never beyond the end of the certificate that vouched for it. */
bool tls_floor_takes(int64_t server_time_ms, int64_t certificate_not_after_ms);
