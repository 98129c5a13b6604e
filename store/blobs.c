/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the rows of photos and previews: which record names them first, how far each has come. Called by
 * append, by re-homing, and by syncd. Must not know what is in the files, which photos.c keeps.
 */
#include "store/internal.h"

#define LOST_AT_ONCE_MAX 256u
#define BLOB_COLUMNS "b.number, b.sha256, b.size, b.role, b.state, b.urgent"

const char *blob_role_name(enum blob_role role)
{
    switch (role) {
    case BLOB_PHOTO:
        return "photo";
    case BLOB_PREVIEW:
        return "preview";
    }
    return "unknown";
}

const char *blob_state_name(enum blob_state state)
{
    switch (state) {
    case BLOB_PENDING:
        return "pending";
    case BLOB_STORED:
        return "stored";
    case BLOB_BACKED_UP:
        return "backed_up";
    case BLOB_FREED:
        return "freed";
    case BLOB_STATE_LOST:
        return "lost";
    }
    return "unknown";
}

/* ---- adding and moving ---- */

static int find_state(struct store *store, const struct sha256 *sha256, enum blob_state *ret)
{
    static const char sql[] = "SELECT state FROM blobs WHERE sha256 = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    bind_bytes(statement, 1, sha256_bytes(sha256));
    r = database_step(store, statement);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    *ret = (enum blob_state)sqlite3_column_int(statement, 0);
    return 0;
}

/* The sweep may have taken a file that nobody had named yet. It holds the lock, and so do we: what is there
 * now stays. */
static int check_in_place(struct store *store, const struct sha256 *sha256, uint64_t size)
{
    char name[PHOTO_NAME_LEN + 1];
    enum blob_state state;
    uint64_t found;

    photo_name(sha256, name);
    int r = store_file_size(store, name, &found);
    if (r >= 0)
        return found == size ? 0 : -ENOENT;
    if (r != -ENOENT)
        return r;
    r = find_state(store, sha256, &state);
    if (r < 0)
        return r;
    switch (state) {
    case BLOB_STORED:
    case BLOB_BACKED_UP:
    case BLOB_FREED:
        return 0; /* the centre has it */
    case BLOB_PENDING:
    case BLOB_STATE_LOST:
        break;
    }
    return -ENOENT;
}

static int insert_blob(struct store *store, const struct sha256 *sha256, uint64_t size, enum blob_role role,
    bool urgent, int64_t key)
{
    /* The same photo in a second record is one blob; one that was lost has come back. */
    static const char sql[] =
        "INSERT INTO blobs(sha256, size, role, state, urgent, record) VALUES(?1, ?2, ?3, 0, ?4, ?5)"
        " ON CONFLICT(sha256) DO UPDATE SET urgent = max(urgent, excluded.urgent),"
        " record = CASE state WHEN 4 THEN excluded.record ELSE record END,"
        " state = CASE state WHEN 4 THEN 0 ELSE state END";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    static_assert(BLOB_PENDING == 0 && BLOB_STATE_LOST == 4, "the statement says the same");
    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    bind_bytes(statement, 1, sha256_bytes(sha256));
    bind_u64(statement, 2, size);
    sqlite3_bind_int64(statement, 3, role);
    sqlite3_bind_int64(statement, 4, urgent);
    sqlite3_bind_int64(statement, 5, key);
    return database_step(store, statement);
}

int blobs_add(struct store *store, const struct store_photo *photos, size_t count, int64_t key)
{
    for (size_t i = 0; i < count; i++) {
        const struct photo *photo = &photos[i].photo;
        bool has_preview = photo->preview_size > 0;

        int r = check_in_place(store, &photo->sha256, photo->size);
        if (r >= 0 && has_preview)
            r = check_in_place(store, &photo->preview_sha256, photo->preview_size);
        if (r >= 0)
            r = insert_blob(store, &photo->sha256, photo->size, BLOB_PHOTO, photos[i].urgent, key);
        if (r >= 0 && has_preview)
            r = insert_blob(
                store, &photo->preview_sha256, photo->preview_size, BLOB_PREVIEW, photos[i].urgent, key);
        if (r < 0)
            return r;
    }
    return 0;
}

static int restore_blob(struct store *store, const struct sha256 *sha256, uint64_t size, enum blob_role role,
    bool urgent, int64_t key, bool is_sent)
{
    static const char sql[] =
        "INSERT INTO blobs(sha256, size, role, state, urgent, record) VALUES(?1, ?2, ?3, ?4, ?5, ?6)"
        " ON CONFLICT(sha256) DO UPDATE SET record = excluded.record"
        " WHERE NOT EXISTS (SELECT 1 FROM records WHERE key = blobs.record)";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    char name[PHOTO_NAME_LEN + 1];
    uint64_t found;

    photo_name(sha256, name);
    int r = store_file_size(store, name, &found);
    bool is_there = r != -ENOENT; /* one that cannot be looked at is tried, and found out then */
    if (r != -ENOMEM)
        r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    bind_bytes(statement, 1, sha256_bytes(sha256));
    bind_u64(statement, 2, size);
    sqlite3_bind_int64(statement, 3, role);
    sqlite3_bind_int64(statement, 4, is_sent && !is_there ? BLOB_FREED : BLOB_PENDING);
    sqlite3_bind_int64(statement, 5, urgent);
    sqlite3_bind_int64(statement, 6, key);
    return database_step(store, statement);
}

int blobs_restore(struct store *store, const struct finding *finding, int64_t key, bool is_sent)
{
    bool urgent = finding->severity == SEVERITY_URGENT;

    for (size_t i = 0; i < finding->photo_count; i++) {
        const struct photo *photo = &finding->photos[i];

        int r = restore_blob(store, &photo->sha256, photo->size, BLOB_PHOTO, urgent, key, is_sent);
        if (r >= 0 && photo->preview_size > 0)
            r = restore_blob(
                store, &photo->preview_sha256, photo->preview_size, BLOB_PREVIEW, urgent, key, is_sent);
        if (r < 0)
            return r;
    }
    return 0;
}

static int move_blob(struct store *store, const struct sha256 *sha256, int64_t old_key, int64_t key)
{
    static const char sql[] = "UPDATE blobs SET record = ?3 WHERE sha256 = ?1 AND record = ?2";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    bind_bytes(statement, 1, sha256_bytes(sha256));
    sqlite3_bind_int64(statement, 2, old_key);
    sqlite3_bind_int64(statement, 3, key);
    return database_step(store, statement);
}

int blobs_move(struct store *store, const struct finding *finding, int64_t old_key, int64_t key)
{
    for (size_t i = 0; i < finding->photo_count; i++) {
        const struct photo *photo = &finding->photos[i];

        int r = move_blob(store, &photo->sha256, old_key, key);
        if (r >= 0 && photo->preview_size > 0)
            r = move_blob(store, &photo->preview_sha256, old_key, key);
        if (r < 0)
            return r;
    }
    return 0;
}

int blobs_follow(struct store *store, int64_t old_key, int64_t key)
{
    static const char sql[] = "UPDATE blobs SET record = ?3 WHERE record BETWEEN ?1 AND ?2";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, old_key);
    sqlite3_bind_int64(statement, 2, old_key | (int64_t)SEQ_MAX);
    sqlite3_bind_int64(statement, 3, key);
    return database_step(store, statement);
}

/* ---- reading ---- */

static int read_blob(struct store *store, sqlite3_stmt *statement, struct store_blob *ret)
{
    int64_t role = sqlite3_column_int64(statement, 3), state = sqlite3_column_int64(statement, 4);

    if (sha256_from_bytes(column_bytes(statement, 1), &ret->sha256) < 0 || role < 0 || role > BLOB_PREVIEW ||
        state < 0 || state > BLOB_STATE_LOST)
        return database_error(store, SQLITE_CORRUPT);
    ret->number = sqlite3_column_int64(statement, 0);
    ret->size = (uint64_t)sqlite3_column_int64(statement, 2);
    ret->role = (enum blob_role)role;
    ret->state = (enum blob_state)state;
    ret->urgent = sqlite3_column_int(statement, 5) != 0;
    ret->record_sent = sqlite3_column_int(statement, 6) != 0;
    return 0;
}

int store_blob_find(struct store *store, const struct sha256 *sha256, struct store_blob *ret)
{
    static const char sql[] =
        "SELECT " BLOB_COLUMNS ", (b.record & 1099511627775) < l.receipt_size FROM blobs AS b"
        " LEFT JOIN logs AS l ON l.number = b.record >> 40 WHERE b.sha256 = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    static_assert(SEQ_MAX == 1099511627775 && SEQ_BITS == 40, "the statement says the same");
    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    bind_bytes(statement, 1, sha256_bytes(sha256));
    r = database_step(store, statement);
    if (r <= 0)
        return r < 0 ? r : -ENOENT;
    return read_blob(store, statement, ret);
}

int store_blob_is_pending(struct store *store, const struct sha256 *sha256)
{
    static const char sql[] = "SELECT 1 FROM blobs INDEXED BY blobs_pending"
                              " WHERE state = 0 AND role = ?1 AND urgent = ?2 AND number = ?3";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    struct store_blob blob;

    int r = store_blob_find(store, sha256, &blob);
    if (r < 0 || blob.state != BLOB_PENDING)
        return r == -ENOENT ? 0 : r;
    r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, blob.role);
    sqlite3_bind_int64(statement, 2, blob.urgent);
    sqlite3_bind_int64(statement, 3, blob.number);
    r = database_step(store, statement);
    return r == 0 ? database_error(store, SQLITE_CORRUPT) : r;
}

/* The indexes are copies of what the rows say. A flipped bit in one of them, and a photo would be listed for
 * ever that is never sent, as it is found by its hash in another state, in another row, or not at all. */
#define IS_FOUND_SQL "(SELECT c.number = b.number AND c.state = 0 FROM blobs AS c WHERE c.sha256 = b.sha256)"
#define IS_FOUND_COLUMN 7

static int read_blobs(
    struct store *store, sqlite3_stmt *statement, struct store_blob *ret, size_t max, size_t *ret_count)
{
    size_t n = 0;
    int r = 0;

    while (n < max && (r = database_step(store, statement)) > 0) {
        r = read_blob(store, statement, &ret[n]);
        if (r >= 0 && sqlite3_column_count(statement) > IS_FOUND_COLUMN &&
            !sqlite3_column_int(statement, IS_FOUND_COLUMN))
            r = database_error(store, SQLITE_CORRUPT);
        if (r < 0)
            return r;
        n++;
    }
    if (r < 0)
        return r;
    *ret_count = n;
    return 0;
}

int store_blobs_pending(struct store *store, struct store_blob *ret, size_t max, size_t *ret_count)
{
    /* The index holds what the condition needs, so those of unsent records cost no look at the table. */
    static const char sql[] = "SELECT " BLOB_COLUMNS ", 1, " IS_FOUND_SQL
                              " FROM blobs AS b CROSS JOIN logs AS l ON l.number = b.record >> 40"
                              " WHERE b.state = 0 AND (b.record & 1099511627775) < l.receipt_size"
                              " ORDER BY b.role DESC, b.urgent DESC, b.number";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    return read_blobs(store, statement, ret, max, ret_count);
}

#define CARRIED_SQL(states)                                                                                  \
    "SELECT " BLOB_COLUMNS ", (b.record & 1099511627775) < l.receipt_size FROM blobs AS b"                   \
    " CROSS JOIN logs AS l ON l.number = b.record >> 40 WHERE b.state " states " AND b.number <= ?1"         \
    " AND (b.role < ?2 OR (b.role = ?2 AND (b.urgent < ?3 OR (b.urgent = ?3 AND b.number > ?4))))"           \
    " ORDER BY b.role DESC, b.urgent DESC, b.number LIMIT ?5"

int store_blobs_to_carry(struct store *store, bool all, const struct store_blob *after, int64_t number_max,
    struct store_blob *ret, size_t max, size_t *ret_count)
{
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    static_assert(BLOB_PENDING == 0 && BLOB_BACKED_UP == 2, "the statements say the same");
    int r = database_prepare(store, all ? CARRIED_SQL("<= 2") : CARRIED_SQL("= 0"), &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, number_max);
    sqlite3_bind_int64(statement, 2, after ? (int64_t)after->role : INT64_MAX);
    sqlite3_bind_int64(statement, 3, after ? after->urgent : 0);
    sqlite3_bind_int64(statement, 4, after ? after->number : 0);
    bind_u64(statement, 5, max);
    return read_blobs(store, statement, ret, max, ret_count);
}

int store_blobs_newest(struct store *store, int64_t *ret)
{
    int64_t number = 0;

    int r = database_read_number(store, "SELECT coalesce(max(number), 0) FROM blobs", NULL, 0, &number);
    if (r >= 0)
        *ret = number;
    return r < 0 ? r : 0;
}

int store_blobs_pending_of(struct store *store, enum blob_role role, bool urgent, struct store_blob *ret,
    size_t max, size_t *ret_count)
{
    static const char sql[] = "SELECT " BLOB_COLUMNS ", 1, " IS_FOUND_SQL
                              " FROM blobs AS b CROSS JOIN logs AS l ON l.number = b.record >> 40"
                              " WHERE b.state = 0 AND b.role = ?1 AND b.urgent = ?2"
                              " AND (b.record & 1099511627775) < l.receipt_size ORDER BY b.number";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, role);
    sqlite3_bind_int64(statement, 2, urgent);
    return read_blobs(store, statement, ret, max, ret_count);
}

int store_blobs_stored(
    struct store *store, int64_t after, struct store_blob *ret, size_t max, size_t *ret_count)
{
    static const char sql[] =
        "SELECT " BLOB_COLUMNS ", 1 FROM blobs AS b WHERE b.state = 1 AND b.number > ?1 ORDER BY b.number";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    sqlite3_bind_int64(statement, 1, after);
    return read_blobs(store, statement, ret, max, ret_count);
}

/* ---- states ---- */

struct setting_state {
    const struct sha256 *sha256;
    enum blob_state state;
    int64_t at_ms;
};

int blob_set_state(struct store *store, const struct sha256 *sha256, enum blob_state state, int64_t at_ms)
{
    static const char sql[] =
        "UPDATE blobs SET state = ?2, stored_ms = coalesce(?3, stored_ms) WHERE sha256 = ?1";
    _cleanup_statement_ sqlite3_stmt *statement = NULL;

    int r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    bind_bytes(statement, 1, sha256_bytes(sha256));
    sqlite3_bind_int64(statement, 2, state);
    if (state == BLOB_STORED)
        sqlite3_bind_int64(statement, 3, at_ms);
    return database_step(store, statement);
}

static int set_state_body(struct store *store, void *user)
{
    const struct setting_state *setting = user;
    enum blob_state before;

    int r = find_state(store, setting->sha256, &before);
    if (r < 0 || before == setting->state)
        return r;
    return blob_set_state(store, setting->sha256, setting->state, setting->at_ms);
}

int store_blob_set_state(
    struct store *store, const struct sha256 *sha256, enum blob_state state, int64_t at_ms)
{
    struct setting_state setting = {.sha256 = sha256, .state = state, .at_ms = at_ms};
    enum blob_state before;

    /* Asked first without the lock: mostly the answer says what was known. */
    int r = find_state(store, sha256, &before);
    if (r < 0 || before == state)
        return r;
    return store_transact(store, set_state_body, &setting);
}

struct adopting {
    const struct sha256 *sha256;
    uint64_t size;
    bool is_adopted;
};

static int adopt(struct store *store, void *user)
{
    /* It is sent when the record that names it has a receipt; in that one's place stands the first of the
     * newest log that has one. */
    static const char log_sql[] = "SELECT max(number) FROM logs WHERE receipt_size > 0";
    static const char sql[] =
        "INSERT INTO blobs(sha256, size, role, state, urgent, record) VALUES(?1, ?2, ?3, 0, 0, ?4)"
        " ON CONFLICT(sha256) DO UPDATE SET state = 0, record = excluded.record WHERE state = 4";
    struct adopting *adopting = user;
    _cleanup_statement_ sqlite3_stmt *statement = NULL;
    int64_t log;

    static_assert(BLOB_PENDING == 0 && BLOB_STATE_LOST == 4, "the statement says the same");
    int r = database_read_number(store, log_sql, NULL, 0, &log);
    if (r <= 0)
        return r;
    r = database_prepare(store, sql, &statement);
    if (r < 0)
        return r;
    bind_bytes(statement, 1, sha256_bytes(adopting->sha256));
    bind_u64(statement, 2, adopting->size);
    sqlite3_bind_int64(statement, 3, BLOB_PHOTO);
    sqlite3_bind_int64(statement, 4, record_key(log, 0));
    r = database_step(store, statement);
    adopting->is_adopted = r >= 0 && sqlite3_changes(store->database) > 0;
    return r;
}

int store_blob_adopt(struct store *store, const struct sha256 *sha256)
{
    struct adopting adopting = {.sha256 = sha256};
    enum blob_state state;
    bool is_whole;

    int r = find_state(store, sha256, &state);
    if (r >= 0 && state != BLOB_STATE_LOST)
        return 0;
    if (r >= 0 || r == -ENOENT)
        r = photo_read_whole(store, sha256, &adopting.size, &is_whole);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (!is_whole)
        return 0;
    r = store_transact(store, adopt, &adopting);
    return r < 0 ? r : adopting.is_adopted;
}

struct losing {
    const struct store_author *author;
    const struct sha256 *lost;
    size_t count;
};

static int lose(struct store *store, void *user)
{
    const struct losing *losing = user;
    struct record record = {.kind = RECORD_DEVICE_EVENT};
    struct sha256 lost[LOST_AT_ONCE_MAX];
    struct log_row log;
    size_t n = 0;
    int r = 0;

    /* Only what was still to be sent is lost. */
    for (size_t i = 0; i < losing->count; i++) {
        enum blob_state state;

        r = find_state(store, &losing->lost[i], &state);
        if (r == -ENOENT || (r >= 0 && state != BLOB_PENDING))
            continue;
        if (r >= 0)
            r = blob_set_state(store, &losing->lost[i], BLOB_STATE_LOST, 0);
        if (r < 0)
            return r;
        lost[n++] = losing->lost[i];
    }
    if (n == 0)
        return 0;
    r = log_for_append(store, losing->author, &log);
    if (r < 0)
        return r;
    record.device_event.software = losing->author->software;
    record.device_event.lost_blobs = lost;
    record.device_event.lost_blob_count = n;
    return append_own(store, &log, losing->author, &record, 0);
}

int store_blobs_lost(
    struct store *store, const struct store_author *author, const struct sha256 *lost, size_t count)
{
    for (size_t done = 0; done < count; done += LOST_AT_ONCE_MAX) {
        struct losing losing = {.author = author,
            .lost = lost + done,
            .count = count - done < LOST_AT_ONCE_MAX ? count - done : LOST_AT_ONCE_MAX};

        int r = store_transact(store, lose, &losing);
        if (r < 0)
            return r;
    }
    return 0;
}
