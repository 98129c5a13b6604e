/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which blobs records name, and which of them are here, in the SQLite storage. See storage.h.
 *
 * Blobs are numbered as they are first named, so that what a device's records want is read in that order.
 * The list of the wanted ones is kept apart: it stays short however many photos a device has ever taken.
 */
#include "server/storage/sqlite_internal.h"

#include <errno.h>

static void read_blob(sqlite3_stmt *statement, struct stored_blob *ret)
{
    ret->number = sqlite_number(statement, 0);
    (void)sqlite_exact(statement, 1, ret->sha256.b, SHA256_BYTES);
    ret->state = (enum stored_blob_state)sqlite_number(statement, 2);
    ret->size = sqlite_number(statement, 3);
    ret->is_backed_up = sqlite_number(statement, 4) != 0;
}

int sqlite_blob_find(struct storage *storage, const struct sha256 *sha256, struct stored_blob *ret)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_BLOB_FIND, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, sha256_bytes(sha256));
    r = sqlite_step(statement);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    read_blob(statement, ret);
    sqlite3_reset(statement);
    return 0;
}

static int add_blob(
    struct sqlite *sqlite, const struct sha256 *sha256, uint64_t size, struct stored_blob *ret)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite, SQL_BLOB_ADD, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, sha256_bytes(sha256));
    sqlite_bind_number(statement, 2, size);
    r = sqlite_step(statement);
    if (r <= 0)
        return r < 0 ? r : -EIO;
    *ret = (struct stored_blob){
        .number = sqlite_number(statement, 0), .sha256 = *sha256, .state = STORED_BLOB_MISSING};
    sqlite3_reset(statement);
    return 0;
}

/* Runs one of the statements on a blob; the second and third number only where the statement has them. */
static int run_on_blob(struct sqlite *sqlite, enum sqlite_sql which, uint64_t first, uint64_t second)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite, which, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, first);
    if (sqlite3_bind_parameter_count(statement) > 1)
        sqlite_bind_number(statement, 2, second);
    return sqlite_run(statement);
}

int sqlite_blob_name(
    struct storage *storage, const struct sha256 *sha256, uint64_t size, uint64_t device, uint64_t key)
{
    struct sqlite *sqlite = sqlite_of(storage);
    struct stored_blob blob = {0};
    sqlite3_stmt *statement;
    int r = sqlite_blob_find(storage, sha256, &blob);

    if (r == -ENOENT)
        r = add_blob(sqlite, sha256, size, &blob);
    if (r < 0)
        return r;
    statement = sqlite_statement(sqlite, SQL_BLOB_NAME, &r);
    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    sqlite_bind_number(statement, 2, blob.number);
    sqlite_bind_number(statement, 3, key);
    r = sqlite_run(statement);
    if (r < 0 || blob.state != STORED_BLOB_MISSING)
        return r;
    return run_on_blob(sqlite, SQL_BLOB_WANT, device, blob.number);
}

int sqlite_blob_is_named(struct storage *storage, const struct sha256 *sha256, uint64_t device)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_BLOB_IS_NAMED, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, sha256_bytes(sha256));
    sqlite_bind_number(statement, 2, device);
    r = sqlite_step(statement);
    sqlite3_reset(statement);
    return r;
}

int sqlite_blob_given_up(struct storage *storage, const struct sha256 *sha256, uint64_t device)
{
    struct sqlite *sqlite = sqlite_of(storage);
    struct stored_blob blob = {0};
    int r = sqlite_blob_find(storage, sha256, &blob);

    if (r >= 0)
        r = run_on_blob(sqlite, SQL_BLOB_UNWANT_OF, device, blob.number);
    if (r < 0)
        return r;
    sqlite3_stmt *statement = sqlite_statement(sqlite, SQL_BLOB_IS_WANTED, &r);
    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, blob.number);
    r = sqlite_step(statement);
    sqlite3_reset(statement);
    return r;
}

int sqlite_blob_set_state(
    struct storage *storage, const struct sha256 *sha256, enum stored_blob_state state, uint64_t size)
{
    struct sqlite *sqlite = sqlite_of(storage);
    struct stored_blob blob = {0};
    sqlite3_stmt *statement;
    int r = sqlite_blob_find(storage, sha256, &blob);

    if (r < 0)
        return r;
    statement = sqlite_statement(sqlite, SQL_BLOB_STATE, &r);
    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, blob.number);
    sqlite_bind_number(statement, 2, (uint64_t)state);
    sqlite_bind_number(statement, 3, size);
    r = sqlite_run(statement);
    if (r < 0)
        return r;
    return run_on_blob(
        sqlite, state == STORED_BLOB_MISSING ? SQL_BLOB_WANT_AGAIN : SQL_BLOB_UNWANT, blob.number, 0);
}

int sqlite_blob_set_backed_up(struct storage *storage, const struct sha256 *sha256, bool is_backed_up)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_BLOB_BACKED_UP, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, sha256_bytes(sha256));
    sqlite_bind_number(statement, 2, is_backed_up);
    return sqlite_run(statement);
}

int sqlite_blobs_wanted(struct storage *storage, uint64_t device, uint16_t from, struct sha256 *ret,
    size_t max, size_t *ret_count)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_BLOBS_WANTED, &r);
    size_t count = 0;

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    sqlite_bind_number(statement, 2, max);
    sqlite_bind_number(statement, 3, from);
    while (count < max && (r = sqlite_step(statement)) == 1)
        (void)sqlite_exact(statement, 0, ret[count++].b, SHA256_BYTES);
    sqlite3_reset(statement);
    if (r < 0)
        return r;
    *ret_count = count;
    return 0;
}

static int each_blob(
    sqlite3_stmt *statement, int (*each)(void *user, const struct stored_blob *blob), void *user)
{
    int r;

    while ((r = sqlite_step(statement)) == 1) {
        struct stored_blob blob;

        read_blob(statement, &blob);
        r = each(user, &blob);
        if (r != 0) {
            sqlite3_reset(statement);
            return r;
        }
    }
    return r;
}

static void bind_after(sqlite3_stmt *statement, int index, const struct sha256 *after)
{
    if (after)
        sqlite_bind_bytes(statement, index, sha256_bytes(after));
    else
        (void)sqlite3_bind_null(statement, index);
}

int sqlite_blobs_each(struct storage *storage, uint64_t device, uint64_t first_key, uint64_t end_key,
    const struct sha256 *after, size_t max, int (*each)(void *user, const struct stored_blob *blob),
    void *user)
{
    int r = 0;
    sqlite3_stmt *statement =
        sqlite_statement(sqlite_of(storage), device > 0 ? SQL_BLOBS_OF : SQL_BLOBS_ALL, &r);

    if (!statement)
        return r;
    if (device > 0) {
        sqlite_bind_number(statement, 1, device);
        sqlite_bind_number(statement, 2, first_key);
        sqlite_bind_number(statement, 3, end_key);
        bind_after(statement, 4, after);
        sqlite_bind_number(statement, 5, max);
    } else {
        bind_after(statement, 1, after);
        sqlite_bind_number(statement, 2, max);
    }
    return each_blob(statement, each, user);
}
