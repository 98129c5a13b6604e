/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The centre's own keys, and how it notices that its database was set back.
 *
 *   DATA/keys/receipt.key     seed of the first receipt key (Ed25519), 32 bytes, 0600; service_trust.c has
 *                             its successors
 *   DATA/keys/upload.secret   for upload tokens, 32 bytes, 0600
 *   DATA/incarnation          "<incarnation> <commits>": not below what the database has, unless it is older
 */
#include "server/service_internal.h"

#include "base/files.h"

#include <sodium.h>

#define RECEIPT_KEY_NAME "receipt.key"
#define UPLOAD_SECRET_NAME "upload.secret"
#define INCARNATION_NAME "incarnation"
#define INCARNATION_BYTES_MAX 128u

int secret_read(const struct world *world, const char *directory, const char *name, uint8_t ret[32])
{
    _cleanup_free_ char *path = files_join(directory, name);
    _cleanup_buffer_ struct buffer content = {0};
    int r = path ? files_read(world, path, 32, &content) : -ENOMEM;

    if (r < 0)
        return r == -EFBIG ? -EUCLEAN : r;
    if (content.len != 32)
        return -EUCLEAN;
    memcpy(ret, content.data, content.len);
    sodium_memzero(content.data, content.len);
    return 0;
}

int secret_open(
    struct service *service, const char *directory, const char *name, bool may_make, uint8_t ret[32])
{
    const struct world *world = service->world;
    _cleanup_free_ char *path = files_join(directory, name);
    uint8_t secret[32];
    int r = path ? secret_read(world, directory, name, ret) : -ENOMEM;

    if (r != -ENOENT || service->read_only)
        return r;
    if (!may_make)
        return -ENOKEY;
    world->verbs->random(world->context, secret, sizeof(secret));
    r = files_replace(world, path, bytes_of(secret, sizeof(secret)), true);
    if (r >= 0)
        memcpy(ret, secret, sizeof(secret));
    sodium_memzero(secret, sizeof(secret));
    return r;
}

int keys_exist(const struct service *service)
{
    _cleanup_free_ char *directory = files_join(service->directory, KEYS_DIRECTORY);

    return directory ? service->world->verbs->stat(service->world->context, directory, NULL, NULL) : -ENOMEM;
}

int keys_open(struct service *service, bool may_make)
{
    _cleanup_free_ char *directory = files_join(service->directory, KEYS_DIRECTORY);
    char name[KEY_NAME_MAX + 1];
    uint8_t seed[SIGN_SEED_BYTES];
    int r;

    if (!directory)
        return -ENOMEM;
    r = receipt_key_name(service->authority, name);
    if (r >= 0 && !service->read_only)
        r = files_make_directory(service->world, directory);
    if (r >= 0)
        r = secret_open(service, directory, RECEIPT_KEY_NAME, may_make, seed);
    if (r >= 0)
        r = secret_open(service, directory, UPLOAD_SECRET_NAME, true, service->upload_secret);
    if (r >= 0)
        r = trust_open(service, name, seed);
    sodium_memzero(seed, sizeof(seed));
    return r;
}

/* Copies a file that may be missing. */
static int copy_small(const struct world *world, const char *from_directory, const char *to_directory,
    const char *name, bool secret)
{
    _cleanup_free_ char *from = files_join(from_directory, name), *to = files_join(to_directory, name);
    _cleanup_buffer_ struct buffer content = {0};
    int r;

    if (!from || !to)
        return -ENOMEM;
    r = files_read(world, from, REVOCATIONS_BYTES_MAX, &content);
    if (r == -ENOENT)
        return 0;
    return r < 0 ? r : files_replace(world, to, buffer_bytes(&content), secret);
}

/* 0 when `directory` holds this centre's receipt key, -EEXIST another's, -ENOENT none. */
static int is_of_this_centre(const struct world *world, const char *own, const char *directory)
{
    _cleanup_free_ char *mine = files_join(own, RECEIPT_KEY_NAME);
    _cleanup_free_ char *theirs = files_join(directory, RECEIPT_KEY_NAME);
    _cleanup_buffer_ struct buffer here = {0}, there = {0};
    int r;

    if (!mine || !theirs)
        return -ENOMEM;
    r = files_read(world, theirs, SIGN_SEED_BYTES, &there);
    if (r == -EFBIG)
        return -EEXIST;
    if (r >= 0)
        r = files_read(world, mine, SIGN_SEED_BYTES, &here);
    if (r < 0)
        return r;
    return bytes_equal(buffer_bytes(&here), buffer_bytes(&there)) ? 0 : -EEXIST;
}

/* The statements are read before the seeds are, as a seed is there before the statement that names its key;
 * and written behind them, for the same reason. */
static int back_up_successors(struct service *service, const char *from, const char *to)
{
    const struct world *world = service->world;
    _cleanup_free_ char *said = files_join(from, TRUST_NAME), *kept = files_join(to, TRUST_NAME);
    _cleanup_buffer_ struct buffer list = {0};
    char name[RECEIPT_KEY_FILE_NAME_MAX];
    int r = said && kept ? files_read(world, said, TRUST_LIST_BYTES_MAX, &list) : -ENOMEM;

    if (r < 0)
        return r == -ENOENT ? 0 : r; /* nothing was ever said */
    for (size_t i = 1; r >= 0 && i < TRUST_KEYS_MAX; i++) {
        receipt_key_file_name(i, name);
        r = copy_small(world, from, to, name, true);
    }
    return r < 0 ? r : files_replace(world, kept, buffer_bytes(&list), false);
}

int keys_back_up(struct service *service, const char *target)
{
    const struct world *world = service->world;
    _cleanup_free_ char *from = files_join(service->directory, KEYS_DIRECTORY);
    _cleanup_free_ char *to = files_join(target, KEYS_DIRECTORY);
    int r;

    if (!from || !to)
        return -ENOMEM;
    r = is_of_this_centre(world, from, to);
    if (r < 0 && r != -ENOENT)
        return r;
    r = files_make_directory(world, to);
    if (r >= 0)
        r = copy_small(world, from, to, RECEIPT_KEY_NAME, true);
    if (r >= 0)
        r = back_up_successors(service, from, to);
    if (r >= 0)
        r = copy_small(world, from, to, UPLOAD_SECRET_NAME, true);
    if (r >= 0)
        r = copy_small(world, service->directory, target, REVOCATIONS_NAME, false);
    return r;
}

/* ---- the incarnation ---- */

struct incarnation {
    struct uuid id;
    uint64_t commits;
};

static int incarnation_read(struct service *service, const char *path, struct incarnation *ret)
{
    _cleanup_buffer_ struct buffer content = {0};
    const char *text;
    int r = files_read(service->world, path, INCARNATION_BYTES_MAX, &content);

    if (r < 0)
        return r == -EFBIG ? -EUCLEAN : r;
    while (content.len > 0 && content.data[content.len - 1] == '\n')
        content.len--;
    if (!buffer_text(&content))
        return -ENOMEM;
    text = (const char *)content.data;
    if (content.len < UUID_TEXT_LEN + 2 || text[UUID_TEXT_LEN] != ' ')
        return -EUCLEAN;
    content.data[UUID_TEXT_LEN] = 0;
    if (text_parse_uuid(text, ret->id.b) < 0 || text_parse_u64(text + UUID_TEXT_LEN + 1, &ret->commits) < 0)
        return -EUCLEAN;
    return 0;
}

static int incarnation_write(struct service *service, const char *path, uint64_t commits)
{
    char text[UUID_TEXT_LEN + 1];
    _cleanup_buffer_ struct buffer content = {0};
    int r;

    text_uuid(service->incarnation.b, text);
    buffer_printf(&content, "%s %llu\n", text, (unsigned long long)commits);
    r = buffer_finish(&content);
    if (r >= 0)
        r = files_replace(service->world, path, buffer_bytes(&content), false);
    if (r >= 0)
        service->commits_noted = commits;
    return r;
}

/* The database is older than the file says: it was restored from a backup. A new incarnation tells every
 * handheld that what it knows of the centre is no longer so. */
static int incarnation_renew(struct service *service, const struct incarnation *noted)
{
    const struct world *world = service->world;
    struct transaction transaction;
    uint8_t random[UUID_BYTES];
    int r = transaction_begin(service, &transaction);

    if (r < 0)
        return r;
    world->verbs->random(world->context, random, sizeof(random));
    transaction.state.incarnation = uuid_from_random(random);
    if (transaction.state.commits < noted->commits)
        transaction.state.commits = noted->commits;
    transaction.has_changed = true;
    /* What it says to be in a backup was so of another copy: this one may be that backup. */
    r = transaction.storage->verbs->backups_forget(transaction.storage);
    if (r < 0) {
        transaction_rollback(&transaction);
        return r;
    }
    r = transaction_commit(&transaction);
    if (r >= 0)
        service->incarnation = transaction.state.incarnation;
    return r;
}

int incarnation_write_ahead(
    const struct service *service, const char *directory, const struct storage_state *state)
{
    _cleanup_free_ char *path = files_join(directory, INCARNATION_NAME);
    char text[UUID_TEXT_LEN + 1];
    _cleanup_buffer_ struct buffer content = {0};
    int r;

    if (!path)
        return -ENOMEM;
    text_uuid(state->incarnation.b, text);
    buffer_printf(&content, "%s %llu\n", text, (unsigned long long)state->commits + 1);
    r = buffer_finish(&content);
    return r < 0 ? r : files_replace(service->world, path, buffer_bytes(&content), false);
}

int incarnation_open(struct service *service)
{
    _cleanup_free_ char *path = files_join(service->directory, INCARNATION_NAME);
    struct incarnation noted = {0};
    struct storage_state state = {0};
    bool is_noted;
    int r;

    if (!path)
        return -ENOMEM;
    /* The file before the database: another process may commit and note it between the two. */
    r = incarnation_read(service, path, &noted);
    if (r < 0 && r != -ENOENT && r != -EUCLEAN)
        return r;
    is_noted = r >= 0;

    if (!service->writer) {
        _cleanup_reader_ struct reader reader = {0};

        r = reader_take(service, &reader);
        if (r >= 0)
            r = reader.storage->verbs->state(reader.storage, &state);
        if (r >= 0)
            service->incarnation = state.incarnation;
        return r;
    }
    r = service->writer->verbs->state(service->writer, &state);
    if (r < 0)
        return r;
    service->incarnation = state.incarnation;
    service->commits = state.commits;
    if (is_noted && (state.commits < noted.commits || !uuid_equal(&state.incarnation, &noted.id))) {
        r = incarnation_renew(service, &noted);
        if (r < 0)
            return r;
        is_noted = false;
    }
    service->commits_noted = noted.commits;
    return is_noted ? 0 : incarnation_write(service, path, service->commits);
}

int incarnation_note(struct service *service)
{
    _cleanup_free_ char *path = files_join(service->directory, INCARNATION_NAME);

    if (service->commits <= service->commits_noted)
        return 0;
    return path ? incarnation_write(service, path, service->commits) : -ENOMEM;
}
