/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The preset dictionaries, kept for ever: see README.md here. Used by compression.c only.
 */
#pragma once

#include "base/bytes.h"

struct dictionary {
    uint32_t name; /* Adler-32 of the bytes */
    struct bytes bytes;
};

/* Newest first. */
size_t dictionaries_known(const struct dictionary **ret);
