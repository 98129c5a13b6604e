/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The preset dictionaries, kept for ever: see README.md here. Used by compression.c only.
 */
#pragma once

#include "base/bytes.h"

/* Their names (the Adler-32 of each) and contents, newest first. Returns how many there are. */
size_t dictionaries_known(const uint32_t **ret_names, const struct bytes *const **ret_contents);

/* dictionary_<number>.bin. */
extern const struct bytes dictionary_1;
