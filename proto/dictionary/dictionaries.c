/* SPDX-License-Identifier: Apache-2.0 */
/* The table of preset dictionaries: see dictionaries.h. */
#include "proto/dictionary/dictionaries.h"

static const uint32_t names[] = {0x00ff163b};
static const struct bytes *const contents[] = {&dictionary_1};

_Static_assert(ARRAY_LEN(names) == ARRAY_LEN(contents), "a name for each dictionary");

size_t dictionaries_known(const uint32_t **ret_names, const struct bytes *const **ret_contents)
{
    *ret_names = names;
    *ret_contents = contents;
    return ARRAY_LEN(names);
}
