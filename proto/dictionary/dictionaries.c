/* SPDX-License-Identifier: Apache-2.0 */
/* The table of preset dictionaries: see dictionaries.h. */
#include "proto/dictionary/dictionaries.h"

size_t dictionaries_known(const struct dictionary **ret)
{
    *ret = NULL;
    return 0;
}
