/* SPDX-License-Identifier: Apache-2.0 */
/* Trust statements and the chain of keys that they make: see trust.h; proto/README.md, "Successors". */
#include "proto/trust.h"

#include "proto/compression.h"
#include "proto/wire_pack.h"
#include "proto/wire_reader.h"

#include <assert.h>
#include <errno.h>

#define STATEMENT_LEVEL 9

/* ---- one statement ---- */

int trust_statement_sign(
    const struct trust_statement *statement, const struct sign_key *key, struct buffer *ret)
{
    Wire__TrustStatement wire = WIRE__TRUST_STATEMENT__INIT;
    _cleanup_buffer_ struct buffer plain = {0};
    int r;

    assert(!statement->has_key || statement->ca_pem.len == 0);
    if (statement->authority.len > KEY_NAME_MAX || statement->ca_pem.len > CA_PEM_BYTES_MAX)
        return -EMSGSIZE;
    wire.authority = wire_of(statement->authority);
    wire.generation = statement->generation;
    if (statement->has_key) {
        wire.receipt_key = wire_of(bytes_of(statement->public_key, SIGN_PUBLIC_BYTES));
        wire.valid_from_ms = statement->valid_from_ms;
    }
    wire.ca_pem = wire_of(statement->ca_pem);
    r = wire_pack(&wire.base, NULL, TRUST_STATEMENT_BYTES_MAX, &plain);
    if (r < 0)
        return r;
    return envelope_seal(PAYLOAD_TRUST_STATEMENT, buffer_bytes(&plain), STATEMENT_LEVEL, DICTIONARY_NONE,
        NULL, key, ret, NULL);
}

static int read_statement(struct bytes plain, struct trust_statement *ret)
{
    struct wire_reader reader = wire_reader_of(plain, NULL);
    struct trust_statement statement = {0};

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            statement.authority = wire_text(&reader, KEY_NAME_MAX);
            break;
        case 2:
            statement.generation = wire_u64(&reader);
            break;
        case 3:
            statement.has_key = wire_exact_or_none(&reader, statement.public_key, SIGN_PUBLIC_BYTES);
            break;
        case 4:
            statement.valid_from_ms = wire_s64(&reader);
            break;
        case 5:
            statement.ca_pem = wire_text(&reader, CA_PEM_BYTES_MAX);
            break;
        }
    wire_demand(&reader, WIRE_FIELD(1) | WIRE_FIELD(2));
    if (statement.has_key && statement.ca_pem.len > 0)
        wire_fail(&reader, "a key and CAs in one statement");
    if (!reader.error)
        *ret = statement;
    return wire_finish(&reader, NULL);
}

/* ---- lists ---- */

int trust_list_put(struct bytes envelope, struct buffer *list)
{
    Wire__TrustList wire = WIRE__TRUST_LIST__INIT;
    ProtobufCBinaryData statement = wire_of(envelope);

    /* Lists are joined by standing behind one another, as repeated fields do. */
    wire.n_statements = 1;
    wire.statements = &statement;
    return wire_pack(&wire.base, NULL, SIZE_MAX, list);
}

static int read_list(struct bytes list, struct arena *arena, struct wire_items *ret)
{
    struct wire_reader reader = wire_reader_of(list, arena);

    while (wire_next(&reader))
        if (reader.field == 1)
            wire_item_bytes(&reader, ret, TRUST_STATEMENTS_MAX, TRUST_STATEMENT_BYTES_MAX);
    return wire_finish(&reader, NULL);
}

static const struct trust_item *newest_on_cas(const struct trust *trust)
{
    for (size_t i = trust->item_count; i > 0; i--)
        if (trust->items[i - 1].says_cas)
            return &trust->items[i - 1];
    return NULL;
}

int trust_list_encode(
    const struct trust *trust, uint64_t generation, enum trust_part part, struct buffer *ret)
{
    const struct trust_item *on_cas = newest_on_cas(trust);
    int r = 0;

    for (size_t i = 0; i < trust->item_count && r >= 0; i++) {
        const struct trust_item *item = &trust->items[i];
        /* Those from before the anchor cannot be told apart here; the centre keeps no useless ones. */
        bool is_of_keys = item->names_key || item->generation == 0;
        bool is_newest = item == on_cas || i == trust->item_count - 1;

        if ((item->generation > generation || generation == 0) &&
            (is_of_keys || (part == TRUST_ALL && is_newest)))
            r = trust_list_put(item->envelope, ret);
    }
    return r;
}

/* ---- following the list ---- */

void trust_in(const struct verify_key *anchor, struct trust *ret)
{
    *ret = (struct trust){.key_count = 1};
    ret->keys[0].key = *anchor;
}

/* The bytes outlive the buffer that they were inflated into. -ENOBUFS, -ENOMEM. */
static int keep_ca(struct bytes ca_pem, struct arena *arena, struct trust *trust)
{
    uint8_t *kept;

    if (ca_pem.len == 0)
        return 0;
    kept = arena_alloc(arena, ca_pem.len);
    if (!kept)
        return arena_error(arena);
    memcpy(kept, ca_pem.data, ca_pem.len);
    trust->ca_pem = bytes_of(kept, ca_pem.len);
    return 0;
}

static int add_key(const struct trust_statement *statement, struct trust *trust)
{
    struct trust_key *added = &trust->keys[trust->key_count];

    if (trust->key_count == TRUST_KEYS_MAX)
        return -EBADMSG;
    /* One that has been a key before would make its retirement undone. */
    for (size_t i = 0; i < trust->key_count; i++)
        if (memcmp(trust->keys[i].key.public_key, statement->public_key, SIGN_PUBLIC_BYTES) == 0)
            return -EBADMSG;
    *added = (struct trust_key){.key = trust->keys[0].key,
        .generation = statement->generation,
        .valid_from_ms = statement->valid_from_ms};
    memcpy(added->key.public_key, statement->public_key, SIGN_PUBLIC_BYTES);
    trust->key_count++;
    return 0;
}

static bool is_of_authority(struct bytes authority, const struct verify_key *key)
{
    char text[KEY_NAME_MAX + 1], name[KEY_NAME_MAX + 1];

    if (authority.len == 0 || authority.len > KEY_NAME_MAX || memchr(authority.data, 0, authority.len))
        return false;
    memcpy(text, authority.data, authority.len);
    text[authority.len] = '\0';
    return receipt_key_name(text, name) == 0 && strcmp(name, key->name) == 0;
}

static int take_statement(
    const struct envelope *envelope, struct arena *arena, struct trust *trust, struct trust_item *item)
{
    _cleanup_buffer_ struct buffer plain = {0};
    struct trust_statement statement = {0};
    int r = envelope_open(envelope, PAYLOAD_TRUST_STATEMENT, trust_newest(trust)->key.public_key,
        TRUST_STATEMENT_BYTES_MAX, &plain);

    if (r == -EFBIG || r == -ENOENT)
        return -EBADMSG;
    if (r >= 0)
        r = read_statement(buffer_bytes(&plain), &statement);
    if (r < 0)
        return r;
    if (statement.generation <= trust->generation ||
        !is_of_authority(statement.authority, &trust->keys[0].key))
        return -EBADMSG;
    r = statement.has_key ? add_key(&statement, trust) : keep_ca(statement.ca_pem, arena, trust);
    if (r < 0)
        return r;
    trust->generation = statement.generation;
    item->generation = statement.generation;
    item->names_key = statement.has_key;
    item->says_cas = statement.ca_pem.len > 0;
    return 0;
}

/* An answer that was asked for before another one came brings the same statements again. */
static bool is_held(const struct trust *trust, struct bytes envelope)
{
    for (size_t i = 0; i < trust->item_count; i++)
        if (bytes_equal(trust->items[i].envelope, envelope))
            return true;
    return false;
}

static int follow_one(
    struct bytes bytes, const uint8_t anchor_id[8], struct arena *arena, struct trust *trust)
{
    struct trust_item item = {.envelope = bytes};
    struct envelope envelope;
    int r = envelope_parse(bytes, &envelope);

    if (r >= 0 && (envelope.type != PAYLOAD_TRUST_STATEMENT || !uuid_is_nil(&envelope.device)))
        r = -EBADMSG;
    if (r >= 0 && (trust->generation > 0 || memcmp(envelope.key_id, anchor_id, 8) == 0))
        r = take_statement(&envelope, arena, trust, &item);
    if (r >= 0)
        trust->items[trust->item_count++] = item;
    return r;
}

int trust_follow(struct bytes list, const struct verify_key *anchor, struct arena *arena, struct trust *ret)
{
    struct wire_items envelopes = {0};
    uint8_t anchor_id[8];
    struct trust trust;
    int r = read_list(list, arena, &envelopes);

    trust_in(anchor, &trust);
    key_id_of(anchor->public_key, anchor_id);
    for (size_t i = 0; r >= 0 && i < envelopes.count; i++) {
        struct bytes envelope = ((const struct bytes *)envelopes.items)[i];

        if (!is_held(&trust, envelope))
            r = follow_one(envelope, anchor_id, arena, &trust);
    }
    if (r >= 0)
        *ret = trust;
    return r;
}

/* ---- using it ---- */

const struct trust_key *trust_newest(const struct trust *trust)
{
    assert(trust->key_count > 0);
    return &trust->keys[trust->key_count - 1];
}

const struct trust_key *trust_find(const struct trust *trust, const uint8_t key_id[8])
{
    for (size_t i = 0; i < trust->key_count; i++) {
        uint8_t id[8];

        key_id_of(trust->keys[i].key.public_key, id);
        if (memcmp(id, key_id, sizeof(id)) == 0)
            return &trust->keys[i];
    }
    return NULL;
}

const struct trust_key *trust_find_current(
    const struct trust *trust, const uint8_t key_id[8], int64_t server_time_ms)
{
    const struct trust_key *found = trust_find(trust, key_id);

    /* A later key may be valid before an earlier one is: then both of those before it are over. */
    for (const struct trust_key *later = found ? found + 1 : NULL;
         later && later < trust->keys + trust->key_count; later++)
        if (later->valid_from_ms <= server_time_ms)
            return NULL;
    return found;
}

int trust_verify_receipt(const struct trust *trust, struct bytes note, const struct verify_key *device,
    struct checkpoint *ret, uint64_t *ret_time_s)
{
    int r = -EKEYREJECTED;

    for (size_t i = trust->key_count; i > 0 && r == -EKEYREJECTED; i--)
        r = receipt_verify(note, device, &trust->keys[i - 1].key, ret, ret_time_s);
    return r;
}

int trust_verify_certificate(
    const struct trust *trust, struct bytes envelope, struct arena *arena, struct device_certificate *ret)
{
    const struct trust_key *key;
    struct envelope parsed;
    int r = envelope_parse(envelope, &parsed);

    if (r < 0)
        return r;
    key = trust_find(trust, parsed.key_id);
    return key ? device_certificate_verify(envelope, &key->key, arena, ret) : -EKEYREJECTED;
}
