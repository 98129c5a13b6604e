/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a server takes, as a part of exchange and enrolment answers. proto/README.md, "Exchange". Pure; for
 * proto/ only.
 */
#pragma once

#include "proto/messages.h"
#include "proto/wire_pack.h"
#include "proto/wire_reader.h"

bool capabilities_within_limits(const struct capabilities *capabilities);
/* Points into `capabilities` and `ret_values`, which both must stay until the message is packed. */
struct capability_values {
    uint32_t protocol_version, encodings[2];
};
void capabilities_fill(
    const struct capabilities *capabilities, struct capability_values *ret_values, Wire__Capabilities *ret);
/* Reads the current field. */
void capabilities_read(struct wire_reader *outer, struct capabilities *ret);
