/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns small values that survive, by key. Called by syncd.
 */
#include "store/internal.h"

int store_setting(struct store *store, const char *key, struct buffer *ret)
{
    static const char sql[] = "SELECT value FROM settings WHERE key = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
    r = database_step(store, statement);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    buffer_put_bytes(ret, column_bytes(statement, 0));
    return buffer_finish(ret);
}

struct setting {
    const char *key;
    struct bytes value;
};

static int set(struct store *store, void *user)
{
    static const char sql[] = "INSERT OR REPLACE INTO settings(key, value) VALUES(?1, ?2)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    const struct setting *setting = user;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_text(statement, 1, setting->key, -1, SQLITE_STATIC);
    bind_bytes(statement, 2, setting->value);
    return database_step(store, statement);
}

int store_set_setting(struct store *store, const char *key, struct bytes value)
{
    struct setting setting = {.key = key, .value = value};

    return store_transact(store, set, &setting);
}
