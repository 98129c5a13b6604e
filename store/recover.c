/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery of a damaged database: to come.
 */
#include "store/internal.h"

int recover(struct store *store, struct store_opened *opened)
{
    return -EUCLEAN;
}
