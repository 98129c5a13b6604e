/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lawful erasure asks of the SQLite storage: forgetting all that was derived from a record, and who has
 * carried out which order. See storage.h.
 */
#include "server/storage/sqlite_internal.h"

#include <errno.h>

/* No index leads from a record to the rows that were derived from it, as nothing else needs one: the tables
 * are gone through. */
int sqlite_record_forget(struct storage *storage, uint64_t key)
{
    int r = 0;

    for (enum sqlite_sql which = SQL_FORGET_FINDING; r == 0 && which <= SQL_FORGET_BLOB_NAMES; which++) {
        sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), which, &r);

        if (!statement)
            return r;
        sqlite_bind_number(statement, 1, key);
        r = sqlite_run(statement);
    }
    return r;
}

int sqlite_blob_namers(struct storage *storage, const struct sha256 *sha256,
    int (*each)(void *user, const struct uuid *device), void *user)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_BLOB_NAMERS, &r);

    if (!statement)
        return r;
    sqlite_bind_bytes(statement, 1, sha256_bytes(sha256));
    while ((r = sqlite_step(statement)) == 1) {
        struct uuid device;

        (void)sqlite_exact(statement, 0, device.b, UUID_BYTES);
        r = each(user, &device);
        if (r != 0) {
            sqlite3_reset(statement);
            return r;
        }
    }
    return r;
}

static int read_one(sqlite3_stmt *statement, uint64_t *ret)
{
    int r = sqlite_step(statement);

    if (r < 0)
        return r;
    *ret = r > 0 ? sqlite_number(statement, 0) : 0;
    sqlite3_reset(statement);
    return 0;
}

int sqlite_orders_done(struct storage *storage, uint64_t device, uint64_t *ret)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_ORDERS_DONE, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    return read_one(statement, ret);
}

int sqlite_set_orders_done(struct storage *storage, uint64_t device, uint64_t number)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_SET_ORDERS_DONE, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    sqlite_bind_number(statement, 2, number);
    return sqlite_run(statement);
}

int sqlite_orders_done_max(struct storage *storage, uint64_t *ret)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_ORDERS_DONE_MAX, &r);

    return statement ? read_one(statement, ret) : r;
}
