/* SPDX-License-Identifier: Apache-2.0 */
/* The table of preset dictionaries: see dictionaries.h. */
#include "proto/dictionary/dictionaries.h"

size_t dictionaries_known(const uint32_t **ret_names, const struct bytes **ret_contents)
{
    *ret_names = NULL;
    *ret_contents = NULL;
    return 0;
}
