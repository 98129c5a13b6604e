/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of devices in the SQLite storage, beside the one in force, which stands in the device's row. See
 * storage.h.
 */
#include "server/storage/sqlite_internal.h"

#include <errno.h>

int sqlite_device_keys(struct storage *storage, uint64_t device,
    struct stored_device_key ret[DEVICE_KEYS_MAX], size_t *ret_count)
{
    size_t count = 0;
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_DEVICE_KEYS, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    while ((r = sqlite_step(statement)) == 1 && count < DEVICE_KEYS_MAX) {
        struct stored_device_key *key = &ret[count++];

        (void)sqlite_exact(statement, 0, key->public_key, SIGN_PUBLIC_BYTES);
        key->state = sqlite_number(statement, 1) == DEVICE_KEY_NEXT ? DEVICE_KEY_NEXT : DEVICE_KEY_RETIRED;
        key->at_ms = sqlite3_column_int64(statement, 2);
    }
    if (r > 0)
        sqlite3_reset(statement);
    if (r < 0)
        return r;
    *ret_count = count;
    return 0;
}

int sqlite_device_key_put(struct storage *storage, uint64_t device, const struct stored_device_key *key)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_DEVICE_KEY_PUT, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    sqlite_bind_bytes(statement, 2, bytes_of(key->public_key, SIGN_PUBLIC_BYTES));
    sqlite_bind_number(statement, 3, key->state);
    sqlite_bind_signed(statement, 4, key->at_ms);
    return sqlite_run(statement);
}

int sqlite_device_key_drop(
    struct storage *storage, uint64_t device, const uint8_t public_key[SIGN_PUBLIC_BYTES])
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_DEVICE_KEY_DROP, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    sqlite_bind_bytes(statement, 2, bytes_of(public_key, SIGN_PUBLIC_BYTES));
    return sqlite_run(statement);
}

int sqlite_device_set_key(struct storage *storage, uint64_t device,
    const uint8_t public_key[SIGN_PUBLIC_BYTES], struct bytes certificate)
{
    int r = 0;
    sqlite3_stmt *statement = sqlite_statement(sqlite_of(storage), SQL_DEVICE_SET_KEY, &r);

    if (!statement)
        return r;
    sqlite_bind_number(statement, 1, device);
    sqlite_bind_bytes(statement, 2, bytes_of(public_key, SIGN_PUBLIC_BYTES));
    sqlite_bind_bytes(statement, 3, certificate);
    return sqlite_run(statement);
}
