/* SPDX-License-Identifier: Apache-2.0 */
/* Look-up and names of category codes. See directory.h. */
#include "collector/core/directory.h"

#include <stdlib.h>
#include <string.h>

const char *category_kind_name(enum category_kind kind)
{
    switch (kind) {
    case CATEGORY_MATTER:
        return "matter";
    case CATEGORY_COMPONENT:
        return "component";
    }
    return "unknown";
}

int directory_entry_compare(const void *a, const void *b)
{
    const struct directory_entry *left = a, *right = b;

    if (left->kind != right->kind)
        return left->kind < right->kind ? -1 : 1;
    return strcmp(left->code, right->code);
}

const struct directory_entry *directory_find(
    const struct directory *directory, enum category_kind kind, const char *code)
{
    const struct directory_entry key = {.kind = kind, .code = code};

    return bsearch(&key, directory->entries, directory->count, sizeof(key), directory_entry_compare);
}

const char *directory_name(const struct directory_entry *entry, bool chinese)
{
    if (chinese || entry->name_en[0] == '\0')
        return entry->name_zh;
    return entry->name_en;
}
