/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns small values that survive, by key, and the one that the store keeps for itself: where the newest
 * record of an urgent finding stands. Called by append, by re-homing, and by syncd.
 */
#include "store/internal.h"

#include "base/text.h"

#define SETTING_URGENT "urgent_record" /* its key, decimal */
#define KEY_TEXT_MAX 24u

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

int setting_put(struct store *store, const char *key, struct bytes value)
{
    static const char sql[] = "INSERT OR REPLACE INTO settings(key, value) VALUES(?1, ?2)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_text(statement, 1, key, -1, SQLITE_STATIC);
    bind_bytes(statement, 2, value);
    return database_step(store, statement);
}

static int set(struct store *store, void *user)
{
    const struct setting *setting = user;

    return setting_put(store, setting->key, setting->value);
}

int store_set_setting(struct store *store, const char *key, struct bytes value)
{
    struct setting setting = {.key = key, .value = value};

    return store_transact(store, set, &setting);
}

/* ---- urgent findings ---- */

int urgent_note(struct store *store, int64_t key)
{
    char text[KEY_TEXT_MAX];

    snprintf(text, sizeof(text), "%lld", (long long)key);
    return setting_put(store, SETTING_URGENT, bytes_of_text(text));
}

/* Whatever stands in the setting, a wrong value costs some seconds of waiting, or saves them. */
int store_urgent_unsent(struct store *store, bool *ret)
{
    _cleanup_buffer_ struct buffer text = {0};
    struct log_row log;
    uint64_t key;

    int r = store_setting(store, SETTING_URGENT, &text);
    if (r >= 0 &&
        (!buffer_text(&text) || text_parse_u64((const char *)text.data, &key) < 0 || key > INT64_MAX))
        r = -ENOENT;
    if (r >= 0)
        r = log_find_number(store, key_log_number((int64_t)key), &log);
    if (r < 0 && r != -ENOENT)
        return r;
    *ret = r >= 0 && key_seq((int64_t)key) >= log.receipt_size && key_seq((int64_t)key) < log.end;
    return 0;
}
