/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The centre's receipt keys and what it says of their successors and of its CAs. proto/README.md,
 * "Successors".
 *
 *   DATA/keys/receipt.key      seed of the first key
 *   DATA/keys/receipt-2.key    of its successor, and so on
 *   DATA/keys/trust            the list of statements: what is not in it was never said
 *
 * A seed is durable before the statement that names its key. Admin commands add to the file beside a running
 * serve, which reads it again before its next commit. Keys are never taken away: a handheld that was away for
 * years is answered with the newest one that it knows of, and told the rest.
 */
#include "server/service_internal.h"

#include "base/files.h"

#include <sodium.h>

void receipt_key_file_name(size_t index, char ret[RECEIPT_KEY_FILE_NAME_MAX])
{
    if (index == 0)
        snprintf(ret, RECEIPT_KEY_FILE_NAME_MAX, "receipt.key");
    else
        snprintf(ret, RECEIPT_KEY_FILE_NAME_MAX, "receipt-%zu.key", index + 1);
}

/* ---- which key for whom ---- */

static size_t key_count(struct own_trust *own)
{
    return atomic_load_explicit(&own->key_count, memory_order_acquire);
}

const struct own_key *trust_key_for(struct service *service, uint64_t known)
{
    struct own_trust *own = &service->trust;
    int64_t now_ms = service_now_ms(service);

    for (size_t i = key_count(own); i > 1; i--) {
        const struct own_key *key = &own->keys[i - 1];

        if (key->generation <= known && key->valid_from_ms <= now_ms)
            return key;
    }
    return &own->keys[0];
}

const struct own_key *trust_key_by_id(struct service *service, const uint8_t key_id[8])
{
    struct own_trust *own = &service->trust;

    for (size_t i = key_count(own); i > 0; i--) {
        uint8_t id[8];

        key_id_of(own->keys[i - 1].key.public.public_key, id);
        if (memcmp(id, key_id, sizeof(id)) == 0)
            return &own->keys[i - 1];
    }
    return NULL;
}

const struct own_key *trust_key_at(struct service *service, size_t index)
{
    return index < key_count(&service->trust) ? &service->trust.keys[index] : NULL;
}

const struct verify_key *service_receipt_key(struct service *service)
{
    return &trust_key_for(service, UINT64_MAX)->key.public;
}

int trust_list_after(struct service *service, uint64_t known, struct buffer *ret)
{
    struct own_trust *own = &service->trust;
    int r = 0;

    if (known >= atomic_load_explicit(&own->generation, memory_order_acquire))
        return 0;
    pthread_mutex_lock(&own->mutex);
    r = trust_list_encode(&own->said, known, TRUST_ALL, ret);
    pthread_mutex_unlock(&own->mutex);
    return r;
}

/* ---- reading ---- */

static int add_own_key(struct service *service, const char *directory, const struct trust_key *said)
{
    struct own_trust *own = &service->trust;
    size_t index = atomic_load_explicit(&own->key_count, memory_order_relaxed);
    struct own_key *key = &own->keys[index];
    char name[RECEIPT_KEY_FILE_NAME_MAX];
    uint8_t seed[SIGN_SEED_BYTES];
    int r;

    receipt_key_file_name(index, name);
    r = secret_read(service->world, directory, name, seed);
    if (r < 0)
        return r == -ENOENT ? -ENOKEY : r;
    sign_key_from_seed(said->key.name, seed, &key->key);
    sodium_memzero(seed, sizeof(seed));
    if (memcmp(key->key.public.public_key, said->key.public_key, SIGN_PUBLIC_BYTES) != 0)
        return -EUCLEAN;
    key->generation = said->generation;
    key->valid_from_ms = said->valid_from_ms;
    /* Whoever sees the count sees the key. */
    atomic_store_explicit(&own->key_count, index + 1, memory_order_release);
    return 0;
}

/* What the list says takes the place of what was said before. With the mutex. */
static int take_list(struct service *service, const char *directory, struct bytes list)
{
    struct own_trust *own = &service->trust;
    struct arena arena;
    struct buffer bytes = {0};
    struct trust said;
    int r;

    arena_init(&arena, arena_budget_for(TRUST_LIST_BYTES_MAX));
    buffer_put_bytes(&bytes, list);
    r = buffer_finish(&bytes);
    if (r >= 0)
        r = trust_follow(buffer_bytes(&bytes), &own->keys[0].key.public, &arena, &said);
    while (r >= 0 && key_count(own) < said.key_count)
        r = add_own_key(service, directory, &said.keys[key_count(own)]);
    if (r < 0) {
        arena_done(&arena);
        buffer_done(&bytes);
        return r == -EKEYREJECTED || r == -EBADMSG ? -EUCLEAN : r;
    }
    arena_done(&own->arena);
    buffer_done(&own->list);
    own->arena = arena;
    own->list = bytes;
    own->said = said;
    atomic_store_explicit(&own->generation, said.generation, memory_order_release);
    return 0;
}

static int read_file(struct service *service, bool always)
{
    const struct world *world = service->world;
    struct own_trust *own = &service->trust;
    _cleanup_free_ char *directory = files_join(service->directory, KEYS_DIRECTORY);
    _cleanup_free_ char *path = directory ? files_join(directory, TRUST_NAME) : NULL;
    _cleanup_buffer_ struct buffer content = {0};
    uint64_t size = 0;
    int64_t modified_ms = 0;
    int r;

    if (!path)
        return -ENOMEM;
    r = world->verbs->stat(world->context, path, &size, &modified_ms);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (!always && size == own->file_size && modified_ms == own->file_modified_ms)
        return 0;
    r = files_read(world, path, TRUST_LIST_BYTES_MAX, &content);
    if (r < 0)
        return r;
    pthread_mutex_lock(&own->mutex);
    r = take_list(service, directory, buffer_bytes(&content));
    pthread_mutex_unlock(&own->mutex);
    if (r < 0)
        return r;
    own->file_size = size;
    own->file_modified_ms = modified_ms;
    return 0;
}

int trust_open(struct service *service, const char *name, const uint8_t seed[SIGN_SEED_BYTES])
{
    struct own_trust *own = &service->trust;

    sign_key_from_seed(name, seed, &own->keys[0].key);
    trust_in(&own->keys[0].key.public, &own->said);
    atomic_store(&own->key_count, 1);
    return read_file(service, true);
}

int trust_refresh(struct service *service)
{
    return read_file(service, false);
}

void trust_done(struct service *service)
{
    struct own_trust *own = &service->trust;

    sodium_memzero(own->keys, sizeof(own->keys));
    arena_done(&own->arena);
    buffer_done(&own->list);
    pthread_mutex_destroy(&own->mutex);
}

/* ---- saying more: admin commands, under the storage's lock ---- */

static int sign_statement(struct service *service, struct trust_statement *statement,
    const struct sign_key *key, struct buffer *list)
{
    _cleanup_buffer_ struct buffer envelope = {0};
    int r;

    statement->authority = bytes_of_text(service->authority);
    r = trust_statement_sign(statement, key, &envelope);
    return r < 0 ? r : trust_list_put(buffer_bytes(&envelope), list);
}

/* Replaces the file by what it says and `more`, without what is no longer true, and takes it. */
static int say(struct service *service, struct bytes more)
{
    struct own_trust *own = &service->trust;
    _cleanup_free_ char *directory = files_join(service->directory, KEYS_DIRECTORY);
    _cleanup_free_ char *path = directory ? files_join(directory, TRUST_NAME) : NULL;
    _cleanup_buffer_ struct buffer all = {0}, kept = {0};
    _cleanup_arena_ struct arena arena;
    struct trust said;
    int r;

    arena_init(&arena, arena_budget_for(TRUST_LIST_BYTES_MAX));
    if (!path)
        return -ENOMEM;
    buffer_put_bytes(&all, buffer_bytes(&own->list));
    buffer_put_bytes(&all, more);
    r = buffer_finish(&all);
    if (r >= 0)
        r = trust_follow(buffer_bytes(&all), &own->keys[0].key.public, &arena, &said);
    if (r >= 0)
        r = trust_list_encode(&said, 0, TRUST_ALL, &kept);
    if (r >= 0 && kept.len > TRUST_LIST_BYTES_MAX)
        r = -EMSGSIZE;
    if (r >= 0)
        r = files_replace(service->world, path, buffer_bytes(&kept), false);
    return r < 0 ? r : read_file(service, true);
}

static int make_successor(struct service *service, int64_t valid_from_ms)
{
    struct own_trust *own = &service->trust;
    size_t count = key_count(own);
    _cleanup_free_ char *directory = files_join(service->directory, KEYS_DIRECTORY);
    _cleanup_buffer_ struct buffer more = {0};
    char name[RECEIPT_KEY_FILE_NAME_MAX];
    uint8_t seed[SIGN_SEED_BYTES];
    struct sign_key successor;
    struct trust_statement names = {
        .generation = own->said.generation + 1, .has_key = true, .valid_from_ms = valid_from_ms};
    struct trust_statement goes_on = {.generation = own->said.generation + 2, .ca_pem = own->said.ca_pem};
    int r;

    if (!directory)
        return -ENOMEM;
    if (count == TRUST_KEYS_MAX)
        return -EMLINK;
    receipt_key_file_name(count, name);
    /* One that is there was made for a statement that was never written: it is as good as a new one. */
    r = secret_open(service, directory, name, true, seed);
    if (r < 0)
        return r;
    sign_key_from_seed(own->keys[0].key.public.name, seed, &successor);
    sodium_memzero(seed, sizeof(seed));
    memcpy(names.public_key, successor.public.public_key, SIGN_PUBLIC_BYTES);
    r = sign_statement(service, &names, &own->keys[count - 1].key, &more);
    /* The successor's own first word, so that whoever pins it has a generation and the CAs, too. */
    if (r >= 0)
        r = sign_statement(service, &goes_on, &successor, &more);
    if (r >= 0)
        r = say(service, buffer_bytes(&more));
    sodium_memzero(&successor, sizeof(successor));
    return r;
}

static int say_cas(struct service *service, struct bytes ca_pem)
{
    struct own_trust *own = &service->trust;
    _cleanup_buffer_ struct buffer more = {0};
    struct trust_statement statement = {.generation = own->said.generation + 1, .ca_pem = ca_pem};
    int r = sign_statement(service, &statement, &own->keys[key_count(own) - 1].key, &more);

    return r < 0 ? r : say(service, buffer_bytes(&more));
}

/* The storage's lock keeps two admin commands from losing each other's word. */
static int begin_saying(struct service *service, struct transaction *ret)
{
    int r = transaction_begin(service, ret);

    if (r < 0)
        return r;
    r = read_file(service, true);
    if (r < 0)
        transaction_rollback(ret);
    return r;
}

int service_key_next(struct service *service, int64_t valid_from_ms)
{
    struct transaction transaction;
    int r = begin_saying(service, &transaction);

    if (r < 0)
        return r;
    r = make_successor(service, valid_from_ms);
    transaction_rollback(&transaction);
    return r;
}

int service_key_ca(struct service *service, struct bytes ca_pem)
{
    struct transaction transaction;
    int r;

    if (ca_pem.len == 0 || ca_pem.len > CA_PEM_BYTES_MAX)
        return -EINVAL;
    r = begin_saying(service, &transaction);
    if (r < 0)
        return r;
    r = say_cas(service, ca_pem);
    transaction_rollback(&transaction);
    return r;
}

/* ---- what an admin sees ---- */

struct known_counts {
    struct service *service;
    uint64_t counts[TRUST_KEYS_MAX];
    uint64_t behind;
};

/* Of each handheld the newest key that it is known to know. */
static int count_known(void *user, uint64_t known, uint64_t devices)
{
    struct known_counts *counts = user;
    struct own_trust *own = &counts->service->trust;
    size_t newest = 0;

    for (size_t i = 1; i < key_count(own); i++)
        if (own->keys[i].generation <= known)
            newest = i;
    counts->counts[newest] += devices;
    if (known < own->said.generation)
        counts->behind += devices;
    return 0;
}

int service_each_key(struct service *service, int (*each)(void *user, const struct service_key *key),
    void *user, uint64_t *ret_behind)
{
    struct own_trust *own = &service->trust;
    struct known_counts counts = {.service = service};
    _cleanup_reader_ struct reader reader = {0};
    const struct own_key *current = trust_key_for(service, UINT64_MAX);
    int r = ret_behind ? reader_take(service, &reader) : 0;

    if (r >= 0 && ret_behind)
        r = reader.storage->verbs->trust_each(reader.storage, count_known, &counts);
    for (size_t i = 0; r >= 0 && i < key_count(own); i++) {
        const struct own_key *key = &own->keys[i];

        r = each(user, &(struct service_key){.number = i + 1,
                           .key = &key->key.public,
                           .valid_from_ms = key->valid_from_ms,
                           .is_current = key == current,
                           .is_retired = key < current,
                           .handhelds = counts.counts[i]});
    }
    if (r >= 0 && ret_behind)
        *ret_behind = counts.behind;
    return r < 0 ? r : 0;
}

struct bytes service_cas_said(const struct service *service)
{
    return service->trust.said.ca_pem;
}
