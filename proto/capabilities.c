/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capabilities: see capabilities.h.
 */
#include "proto/capabilities.h"

#define PROTOCOL_VERSION 1u
#define ENCODING_ZLIB 1u
#define ENCODING_COLUMNS 2u

bool capabilities_within_limits(const struct capabilities *capabilities)
{
    return capabilities->dictionary_count <= CAPABILITY_VALUES_MAX;
}

void capabilities_fill(
    const struct capabilities *capabilities, struct capability_values *ret_values, Wire__Capabilities *ret)
{
    *ret_values = (struct capability_values){
        .protocol_version = PROTOCOL_VERSION, .encodings = {ENCODING_ZLIB, ENCODING_COLUMNS}};
    wire__capabilities__init(ret);
    ret->n_protocol_versions = 1;
    ret->protocol_versions = &ret_values->protocol_version;
    ret->n_encodings = capabilities->takes_columns ? 2 : 1;
    ret->encodings = ret_values->encodings;
    ret->n_dictionaries = capabilities->dictionary_count;
    ret->dictionaries = (uint32_t *)(uintptr_t)capabilities->dictionaries;
    ret->record_bytes_max = capabilities->record_bytes_max;
    ret->exchange_bytes_max = capabilities->exchange_bytes_max;
    ret->blob_bytes_max = capabilities->blob_bytes_max;
}

static bool has_value(const struct wire_items *values, uint64_t wanted)
{
    const uint64_t *items = values->items;

    for (size_t i = 0; i < values->count; i++)
        if (items[i] == wanted)
            return true;
    return false;
}

/* Versions are read and forgotten: the first is always taken, and this program knows no other. */
void capabilities_read(struct wire_reader *outer, struct capabilities *ret)
{
    struct wire_reader reader = wire_message(outer);
    struct wire_items dictionaries = {0}, encodings = {0}, forgotten;

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            wire_packed_u64(&reader, &forgotten, CAPABILITY_VALUES_MAX);
            break;
        case 3:
            wire_packed_u64(&reader, &encodings, CAPABILITY_VALUES_MAX);
            break;
        case 2:
            wire_packed_fixed32(&reader, &dictionaries, CAPABILITY_VALUES_MAX);
            break;
        case 4:
            ret->record_bytes_max = wire_u32(&reader);
            break;
        case 5:
            ret->exchange_bytes_max = wire_u32(&reader);
            break;
        case 6:
            ret->blob_bytes_max = wire_u64(&reader);
            break;
        }
    ret->dictionaries = dictionaries.items;
    ret->dictionary_count = dictionaries.count;
    ret->takes_columns = has_value(&encodings, ENCODING_COLUMNS);
    wire_end(outer, &reader);
}
