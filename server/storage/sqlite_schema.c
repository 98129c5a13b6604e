/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SQLite storage's schema and every statement that it runs. Nothing else of the folder has SQL text, but
 * for transactions and pragmas.
 *
 * `key` is a record's log number << 40 | seq everywhere. What is derived from the records stands after them;
 * `check --rebuild` makes it again.
 */
#include "server/storage/sqlite_internal.h"

/* In the order of arrival, as it is listed: so a batch is written at the end of the table. Databases of
 * before have the same columns by `key` and an index by arrival; `check --rebuild` gives them this shape. */
#define FINDINGS_TABLE                                                                                       \
    "CREATE TABLE findings("                                                                                 \
    " arrival INTEGER PRIMARY KEY, key INTEGER NOT NULL UNIQUE, root INTEGER NOT NULL,"                      \
    " state INTEGER NOT NULL, kind INTEGER NOT NULL, first_id BLOB, parent_id BLOB,"                         \
    " recorded_ms INTEGER NOT NULL, utc_offset_min INTEGER NOT NULL, inspector TEXT, scheme TEXT,"           \
    " version TEXT, code TEXT, component TEXT, severity INTEGER NOT NULL, note TEXT, lat_e7 INTEGER,"        \
    " lon_e7 INTEGER, accuracy_dm INTEGER, fix_ms INTEGER, no_fix TEXT, observed_ms INTEGER NOT NULL,"       \
    " photos BLOB) STRICT;"

const char sqlite_schema_text[] =
    "CREATE TABLE state("
    " one INTEGER PRIMARY KEY CHECK (one = 1), schema INTEGER NOT NULL, oldest_schema INTEGER NOT NULL,"
    " incarnation BLOB NOT NULL, commits INTEGER NOT NULL, next_arrival INTEGER NOT NULL,"
    " indexed_arrival INTEGER NOT NULL) STRICT;"
    "CREATE TABLE devices("
    " number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, public_key BLOB NOT NULL, name TEXT NOT NULL,"
    " inspector TEXT NOT NULL, certificate BLOB NOT NULL, enrolled_ms INTEGER NOT NULL,"
    " seen_ms INTEGER NOT NULL) STRICT;"
    "CREATE TABLE resyncs("
    " device INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, level INTEGER NOT NULL, first_log INTEGER NOT NULL,"
    " checked INTEGER NOT NULL, missing INTEGER NOT NULL, damaged INTEGER NOT NULL, erased INTEGER NOT NULL,"
    " lost INTEGER NOT NULL, mended INTEGER NOT NULL, blobs_checked INTEGER NOT NULL,"
    " blobs_bad INTEGER NOT NULL) STRICT;"
    "CREATE TABLE tokens("
    " sha256 BLOB PRIMARY KEY, name TEXT NOT NULL, inspector TEXT NOT NULL, expires_ms INTEGER NOT NULL,"
    " device BLOB, public_key BLOB) STRICT, WITHOUT ROWID;"
    "CREATE TABLE commands("
    " number INTEGER PRIMARY KEY, device INTEGER NOT NULL, id BLOB NOT NULL, level INTEGER NOT NULL) STRICT;"
    "CREATE INDEX commands_device ON commands(device);"
    "CREATE TABLE alarms("
    " number INTEGER PRIMARY KEY, kind INTEGER NOT NULL, device INTEGER NOT NULL, key INTEGER NOT NULL,"
    " raised_ms INTEGER NOT NULL, text TEXT NOT NULL, UNIQUE (device, kind, key)) STRICT;"
    "CREATE TABLE logs("
    " number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, device INTEGER NOT NULL, kind INTEGER NOT NULL,"
    " closed INTEGER NOT NULL, rehomed INTEGER NOT NULL, size INTEGER NOT NULL, frontier BLOB NOT NULL,"
    " note BLOB) STRICT;"
    "CREATE INDEX logs_device ON logs(device);"
    /* In the order in which they came: rows amid others would have their neighbours' pages written anew. */
    "CREATE TABLE records("
    " key INTEGER NOT NULL UNIQUE, arrival INTEGER NOT NULL, received_ms INTEGER NOT NULL,"
    " state INTEGER NOT NULL, leaf BLOB, bytes BLOB) STRICT;"
    "CREATE TABLE tiles(key INTEGER PRIMARY KEY, root BLOB NOT NULL) STRICT;"
    "CREATE TABLE blobs("
    " number INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, state INTEGER NOT NULL, size INTEGER NOT NULL,"
    " backed_up INTEGER NOT NULL) STRICT;"
    /* Derived from the records. */
    FINDINGS_TABLE
    "CREATE TABLE versions(root INTEGER, key INTEGER, PRIMARY KEY (root, key)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE quarantined(key INTEGER PRIMARY KEY, reason TEXT NOT NULL) STRICT;"
    "CREATE TABLE awaited("
    " log BLOB, seq INTEGER, key INTEGER, PRIMARY KEY (log, seq, key)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE rehomed("
    " log BLOB, seq INTEGER, id BLOB, key INTEGER NOT NULL, PRIMARY KEY (log, seq, id)) STRICT, WITHOUT ROWID;"
    /* Those that came one by one; the others are in segments. */
    "CREATE TABLE finding_ids(id BLOB PRIMARY KEY, key INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE blob_names("
    " device INTEGER, blob INTEGER, key INTEGER NOT NULL, PRIMARY KEY (device, blob)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX blob_names_blob ON blob_names(blob);"
    "CREATE TABLE blob_wanted("
    " device INTEGER, blob INTEGER, PRIMARY KEY (device, blob)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX blob_wanted_blob ON blob_wanted(blob);";

/* Tables that came later, each with its name and what follows it. */
const char *const sqlite_schema_additions[] = {
    "clock_marks(key INTEGER PRIMARY KEY, receipt_ms INTEGER NOT NULL) STRICT",
    /* Up to which erasure order each handheld says that it has carried them out. */
    "orders_done(device INTEGER PRIMARY KEY, number INTEGER NOT NULL) STRICT",
    /* What devices have used of their quotas of a day; kept only while there are some. */
    "quota_use(device INTEGER PRIMARY KEY, since_ms INTEGER NOT NULL,"
    " records INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT",
    /* Which of the centre's receipt keys a device, or whoever has a token, knows of: those without a row know
     * the first. */
    "trust_known("
    " who BLOB PRIMARY KEY, enrolled INTEGER NOT NULL, told INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    /* Resyncs that an admin has asked for: how far each has come. */
    "asked_resyncs("
    " device INTEGER, level INTEGER, id BLOB NOT NULL, asked_ms INTEGER NOT NULL, taken_ms INTEGER NOT NULL,"
    " ended_ms INTEGER NOT NULL, outcome INTEGER NOT NULL, problem TEXT NOT NULL,"
    " records_checked INTEGER NOT NULL, records_missing INTEGER NOT NULL, records_damaged INTEGER NOT NULL,"
    " records_sent_again INTEGER NOT NULL, records_erased INTEGER NOT NULL, records_lost INTEGER NOT NULL,"
    " records_gone INTEGER NOT NULL, blobs_checked INTEGER NOT NULL, blobs_missing INTEGER NOT NULL,"
    " blobs_sent_again INTEGER NOT NULL, blobs_gone INTEGER NOT NULL,"
    " blobs_lost INTEGER NOT NULL, PRIMARY KEY (device, level))"
    " STRICT, WITHOUT ROWID",
    /* The keys of devices beside the one in force: the next one, and those that are retired. */
    "device_keys("
    " device INTEGER, public_key BLOB, state INTEGER NOT NULL, at_ms INTEGER NOT NULL,"
    " PRIMARY KEY (device, public_key)) STRICT, WITHOUT ROWID",
    /* What the last finished backup has of closed logs, where they were read again; size 0: not all of it. */
    "logs_backed_up("
    " log INTEGER PRIMARY KEY, size INTEGER NOT NULL, root BLOB NOT NULL) STRICT",
    /* Public ids in the order of their arrival, sorted within a segment: so a batch is written at the end of
     * the table. Ids are random: in one index each batch would write nearly all of its pages. */
    "id_segments("
    " segment INTEGER, id BLOB, key INTEGER NOT NULL, PRIMARY KEY (segment, id)) STRICT, WITHOUT ROWID",
    NULL,
};

const char sqlite_backups_forget_text[] =
    "UPDATE blobs SET backed_up = 0 WHERE backed_up = 1; DELETE FROM logs_backed_up;";

const char sqlite_derived_clear_text[] =
    "DROP TABLE findings;" FINDINGS_TABLE "DELETE FROM versions; DELETE FROM quarantined;"
    "DELETE FROM awaited; DELETE FROM rehomed; DELETE FROM finding_ids; DELETE FROM id_segments;"
    "DELETE FROM blob_names; DELETE FROM blob_wanted; DELETE FROM clock_marks;"
    "UPDATE logs SET rehomed = 0, closed = 0;"
    "UPDATE state SET indexed_arrival = 0;";

#define ASKED_RESYNC_COLUMNS                                                                                 \
    "level, id, asked_ms, taken_ms, ended_ms, outcome, problem, records_checked, records_missing,"           \
    " records_damaged, records_sent_again, records_erased, records_lost, records_gone, blobs_checked,"       \
    " blobs_missing, blobs_sent_again, blobs_gone, blobs_lost"
#define LOG_COLUMNS "number, id, device, kind, closed, rehomed, size, frontier"
#define DEVICE_COLUMNS "number, id, public_key, enrolled_ms, seen_ms"
#define BLOB_COLUMNS "b.number, b.sha256, b.state, b.size, b.backed_up"
#define FINDING_COLUMNS                                                                                      \
    "key, arrival, root, state, kind, first_id, parent_id, recorded_ms, utc_offset_min, inspector, scheme,"  \
    " version, code, component, severity, note, lat_e7, lon_e7, accuracy_dm, fix_ms, no_fix, observed_ms,"   \
    " photos"
#define FINDING_VALUES                                                                                       \
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,"     \
    " ?21, ?22, ?23)"
#define FINDINGS_SELECT                                                                                      \
    "SELECT f.key, f.arrival, f.root, f.state, f.kind, f.first_id, f.parent_id, f.recorded_ms,"              \
    " f.utc_offset_min, f.inspector, f.scheme, f.version, f.code, f.component, f.severity, f.note,"          \
    " f.lat_e7, f.lon_e7, f.accuracy_dm, f.fix_ms, f.no_fix, f.observed_ms, f.photos,"                       \
    " d.id, l.id, r.received_ms, r.leaf, q.reason"                                                           \
    " FROM findings f JOIN logs l ON l.number = f.key >> 40 JOIN devices d ON d.number = l.device"           \
    " LEFT JOIN records r ON r.key = f.key LEFT JOIN quarantined q ON q.key = f.key"

const char *const sqlite_sql_texts[SQL_COUNT] = {
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_STATE] = "SELECT incarnation, commits, next_arrival, indexed_arrival FROM state",
    [SQL_SET_STATE] =
        "UPDATE state SET incarnation = ?1, commits = ?2, next_arrival = ?3, indexed_arrival = ?4",

    [SQL_DEVICE_FIND] = "SELECT " DEVICE_COLUMNS ", t.enrolled, t.told"
                        " FROM devices LEFT JOIN trust_known t ON t.who = id WHERE id = ?1",
    [SQL_DEVICE_AT] = "SELECT " DEVICE_COLUMNS " FROM devices WHERE number = ?1",
    [SQL_DEVICE_CERTIFICATE] = "SELECT certificate FROM devices WHERE number = ?1",
    [SQL_DEVICE_PUT] =
        "INSERT INTO devices(id, public_key, name, inspector, certificate, enrolled_ms, seen_ms)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (id) DO UPDATE SET"
        " name = ?3, inspector = ?4, certificate = ?5 RETURNING number",
    [SQL_DEVICE_SEEN] = "UPDATE devices SET seen_ms = ?2 WHERE number = ?1",
    [SQL_RESYNC] = "SELECT at_ms, level, first_log, checked, missing, damaged, erased, lost, mended,"
                   " blobs_checked, blobs_bad FROM resyncs WHERE device = ?1",
    [SQL_SET_RESYNC] =
        "INSERT OR REPLACE INTO resyncs(device, at_ms, level, first_log, checked, missing, damaged, erased,"
        " lost, mended, blobs_checked, blobs_bad) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    [SQL_DEVICES] =
        "SELECT " DEVICE_COLUMNS ", name, inspector,"
        " (SELECT count(*) FROM logs l WHERE l.device = d.number AND l.size > 0),"
        " (SELECT coalesce(sum(size), 0) FROM logs l WHERE l.device = d.number),"
        " (SELECT count(*) FROM logs l JOIN quarantined q ON q.key BETWEEN l.number << 40"
        "   AND (l.number + 1 << 40) - 1 WHERE l.device = d.number),"
        " (SELECT count(*) FROM blob_wanted w WHERE w.device = d.number),"
        " (SELECT count(*) FROM alarms a WHERE a.device = d.number),"
        " r.at_ms, r.level, r.first_log, r.checked, r.missing, r.damaged, r.erased, r.lost, r.mended,"
        " r.blobs_checked, r.blobs_bad"
        " FROM devices d LEFT JOIN resyncs r ON r.device = d.number ORDER BY d.number",
    [SQL_TOKEN_PUT] = "INSERT INTO tokens(sha256, name, inspector, expires_ms) VALUES (?1, ?2, ?3, ?4)",
    [SQL_TOKEN_FIND] = "SELECT expires_ms, device, public_key, name, inspector, t.enrolled"
                       " FROM tokens LEFT JOIN trust_known t ON t.who = sha256 WHERE sha256 = ?1",
    [SQL_TOKEN_USE] = "UPDATE tokens SET device = ?2, public_key = ?3 WHERE sha256 = ?1",
    [SQL_TRUST_PUT] = "INSERT OR REPLACE INTO trust_known(who, enrolled, told) VALUES (?1, ?2, ?3)",
    [SQL_TRUST_EACH] = "SELECT max(coalesce(t.enrolled, 0), coalesce(t.told, 0)) AS known, count(*)"
                       " FROM devices LEFT JOIN trust_known t ON t.who = id GROUP BY known",
    [SQL_COMMAND_PUT] = "INSERT INTO commands(device, id, level) VALUES (?1, ?2, ?3)",
    [SQL_COMMAND_DONE] = "DELETE FROM commands WHERE device = ?1 AND id = ?2",
    [SQL_COMMANDS] = "SELECT id, level FROM commands WHERE device = ?1 ORDER BY number LIMIT ?2",
    [SQL_QUOTA_USE] = "SELECT since_ms, records, bytes FROM quota_use WHERE device = ?1",
    [SQL_SET_QUOTA_USE] =
        "INSERT OR REPLACE INTO quota_use(device, since_ms, records, bytes) VALUES (?1, ?2, ?3, ?4)",
    [SQL_PHOTO_BYTES] = "SELECT coalesce(sum(b.size), 0) FROM blob_names n JOIN blobs b ON b.number = n.blob"
                        " WHERE n.device = ?1 AND b.state = 1",
    [SQL_ASKED_RESYNC_PUT] =
        "INSERT OR REPLACE INTO asked_resyncs(device, " ASKED_RESYNC_COLUMNS ")"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,"
        " ?18, ?19, ?20)",
    [SQL_ASKED_RESYNC_FIND] =
        "SELECT " ASKED_RESYNC_COLUMNS " FROM asked_resyncs WHERE device = ?1 AND id = ?2",
    [SQL_ASKED_RESYNCS] = "SELECT " ASKED_RESYNC_COLUMNS
                          " FROM asked_resyncs WHERE device = ?1 ORDER BY asked_ms, level LIMIT ?2",
    [SQL_ALARM_PUT] =
        "INSERT OR IGNORE INTO alarms(kind, device, key, raised_ms, text) VALUES (?1, ?2, ?3, ?4, ?5)",

    [SQL_LOG_FIND] = "SELECT " LOG_COLUMNS " FROM logs WHERE id = ?1",
    [SQL_LOG_AT] = "SELECT " LOG_COLUMNS " FROM logs WHERE number = ?1",
    [SQL_LOG_OPEN] = "INSERT INTO logs(id, device, kind, closed, rehomed, size, frontier)"
                     " VALUES (?1, ?2, ?3, 0, ?4, 0, x'') RETURNING number",
    [SQL_LOG_NOTE] = "SELECT note FROM logs WHERE number = ?1 AND note IS NOT NULL",
    [SQL_LOG_ADVANCE] = "UPDATE logs SET size = ?2, frontier = ?3, note = ?4 WHERE number = ?1",
    [SQL_LOG_FLAGS] = "UPDATE logs SET kind = ?2, closed = ?3, rehomed = ?4 WHERE number = ?1",
    [SQL_LOG_BACKED_UP] = "SELECT size, root FROM logs_backed_up WHERE log = ?1",
    [SQL_SET_LOG_BACKED_UP] = "INSERT OR REPLACE INTO logs_backed_up(log, size, root) VALUES (?1, ?2, ?3)",
    [SQL_LOGS] = "SELECT " LOG_COLUMNS " FROM logs ORDER BY number",

    [SQL_RECORD_PUT] = "INSERT OR REPLACE INTO records(key, arrival, received_ms, state, leaf, bytes)"
                       " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [SQL_RECORD_AT] = "SELECT key, arrival, received_ms, state, leaf, bytes FROM records WHERE key = ?1",
    [SQL_RECORDS] = "SELECT key, arrival, received_ms, state, leaf FROM records"
                    " WHERE key >= ?1 AND key < ?2 ORDER BY key",
    [SQL_RECORDS_BYTES] = "SELECT key, arrival, received_ms, state, leaf, bytes FROM records"
                          " WHERE key >= ?1 AND key < ?2 ORDER BY key",
    [SQL_TILE_PUT] = "INSERT OR REPLACE INTO tiles(key, root) VALUES (?1, ?2)",
    [SQL_TILES] = "SELECT key, root FROM tiles WHERE key >= ?1 AND key < ?2 ORDER BY key",

    [SQL_FINDING_ADD] = "INSERT OR IGNORE INTO findings(" FINDING_COLUMNS ") " FINDING_VALUES,
    [SQL_FINDING_PUT] = "INSERT OR REPLACE INTO findings(" FINDING_COLUMNS ") " FINDING_VALUES,
    [SQL_FINDING_AT] = "SELECT arrival, root, state, kind FROM findings WHERE key = ?1",
    [SQL_FINDING_STATE] = "UPDATE findings SET state = ?2 WHERE key = ?1",
    [SQL_FINDINGS] = FINDINGS_SELECT " WHERE f.arrival > ?1 AND (?2 IS NULL OR d.id = ?2) ORDER BY f.arrival",
    [SQL_FINDING] = FINDINGS_SELECT " WHERE f.key = ?1",
    [SQL_VERSION_PUT] = "INSERT OR IGNORE INTO versions(root, key) VALUES (?1, ?2)",
    [SQL_VERSIONS] = "SELECT key FROM versions WHERE root = ?1 LIMIT ?2",
    [SQL_QUARANTINE] = "INSERT OR REPLACE INTO quarantined(key, reason) VALUES (?1, ?2)",
    [SQL_QUARANTINE_END] = "DELETE FROM quarantined WHERE key = ?1",
    [SQL_QUARANTINED] = "SELECT key, reason FROM quarantined WHERE key >= ?1 AND key < ?2 ORDER BY key",
    [SQL_QUARANTINED_COUNT] = "SELECT count(*) FROM quarantined WHERE key >= ?1 AND key < ?2",
    [SQL_AWAITED_PUT] = "INSERT OR IGNORE INTO awaited(log, seq, key) VALUES (?1, ?2, ?3)",
    [SQL_AWAITED_END] = "DELETE FROM awaited WHERE log = ?1 AND seq = ?2 AND key = ?3",
    [SQL_AWAITED] =
        "SELECT key FROM awaited WHERE log = ?1 AND seq >= ?2 AND seq < ?3 ORDER BY seq, key LIMIT ?4",
    [SQL_REHOMED_PUT] = "INSERT OR REPLACE INTO rehomed(log, seq, id, key) VALUES (?1, ?2, ?3, ?4)",
    [SQL_REHOMED_FIND] = "SELECT key FROM rehomed WHERE log = ?1 AND seq = ?2 AND id = ?3",
    [SQL_REHOMED_ANY] = "SELECT 1 FROM rehomed WHERE log = ?1 LIMIT 1",
    [SQL_CLOCK_MARK_PUT] = "INSERT OR REPLACE INTO clock_marks(key, receipt_ms) VALUES (?1, ?2)",
    [SQL_CLOCK_MARK] = "SELECT receipt_ms FROM clock_marks WHERE key >= ?1 AND key < ?2"
                       " ORDER BY key DESC LIMIT 1",
    [SQL_IDS_NEXT] = "SELECT f.key, f.arrival, f.first_id, l.id, r.leaf FROM findings f"
                     " JOIN logs l ON l.number = f.key >> 40 LEFT JOIN records r ON r.key = f.key"
                     " WHERE f.arrival > ?1 AND f.arrival <= ?2 ORDER BY f.arrival",
    [SQL_ID_PUT] = "INSERT OR REPLACE INTO finding_ids(id, key) VALUES (?1, ?2)",
    [SQL_ID_FIND] = "SELECT key FROM finding_ids WHERE id = ?1",
    [SQL_ID_SEGMENT_PUT] = "INSERT OR REPLACE INTO id_segments(segment, id, key) VALUES (?3, ?1, ?2)",
    [SQL_ID_SEGMENT_BEFORE] =
        "SELECT segment FROM id_segments WHERE segment < ?1 ORDER BY segment DESC LIMIT 1",
    [SQL_ID_SEGMENT_FIND] = "SELECT key FROM id_segments WHERE segment = ?2 AND id = ?1",

    [SQL_BLOB_FIND] = "SELECT " BLOB_COLUMNS " FROM blobs b WHERE b.sha256 = ?1",
    [SQL_BLOB_ADD] =
        "INSERT INTO blobs(sha256, state, size, backed_up) VALUES (?1, 0, ?2, 0) RETURNING number",
    [SQL_BLOB_NAME] = "INSERT OR IGNORE INTO blob_names(device, blob, key) VALUES (?1, ?2, ?3)",
    [SQL_BLOB_WANT] = "INSERT OR IGNORE INTO blob_wanted(device, blob) VALUES (?1, ?2)",
    [SQL_BLOB_WANT_AGAIN] = "INSERT OR IGNORE INTO blob_wanted(device, blob)"
                            " SELECT device, blob FROM blob_names WHERE blob = ?1",
    [SQL_BLOB_UNWANT] = "DELETE FROM blob_wanted WHERE blob = ?1",
    [SQL_BLOB_UNWANT_OF] = "DELETE FROM blob_wanted WHERE device = ?1 AND blob = ?2",
    [SQL_BLOB_IS_WANTED] = "SELECT 1 FROM blob_wanted WHERE blob = ?1 LIMIT 1",
    [SQL_BLOB_IS_NAMED] = "SELECT 1 FROM blobs b JOIN blob_names n ON n.device = ?2 AND n.blob = b.number"
                          " WHERE b.sha256 = ?1",
    [SQL_BLOB_BACKED_UP] = "UPDATE blobs SET backed_up = ?2 WHERE sha256 = ?1",
    /* What is stored again is in no backup yet, whatever was before. */
    [SQL_BLOB_STATE] = "UPDATE blobs SET state = ?2, size = ?3, backed_up = 0 WHERE number = ?1",
    [SQL_BLOBS_WANTED] = "SELECT b.sha256 FROM blob_wanted w JOIN blobs b ON b.number = w.blob"
                         " WHERE w.device = ?1 ORDER BY w.blob LIMIT ?2"
                         " OFFSET (SELECT max(min((count(*) + ?2) * ?3 / 65536 - ?2, count(*) - ?2), 0)"
                         " FROM blob_wanted WHERE device = ?1)",
    [SQL_BLOBS_OF] = "SELECT " BLOB_COLUMNS " FROM blob_names n JOIN blobs b ON b.number = n.blob"
                     " WHERE n.device = ?1 AND n.key >= ?2 AND n.key < ?3 AND (?4 IS NULL OR b.sha256 > ?4)"
                     " ORDER BY b.sha256 LIMIT ?5",
    [SQL_BLOBS_ALL] = "SELECT " BLOB_COLUMNS " FROM blobs b WHERE ?1 IS NULL OR b.sha256 > ?1"
                      " ORDER BY b.sha256 LIMIT ?2",
    [SQL_BLOB_NAMERS] = "SELECT d.id FROM blobs b JOIN blob_names n ON n.blob = b.number"
                        " JOIN devices d ON d.number = n.device WHERE b.sha256 = ?1 ORDER BY d.number",

    [SQL_FORGET_FINDING] = "DELETE FROM findings WHERE key = ?1",
    [SQL_FORGET_VERSIONS] = "DELETE FROM versions WHERE key = ?1 OR root = ?1",
    [SQL_FORGET_QUARANTINED] = "DELETE FROM quarantined WHERE key = ?1",
    [SQL_FORGET_AWAITED] = "DELETE FROM awaited WHERE key = ?1",
    [SQL_FORGET_REHOMED] = "DELETE FROM rehomed WHERE key = ?1",
    [SQL_FORGET_ID] = "DELETE FROM finding_ids WHERE key = ?1",
    [SQL_FORGET_ID_OF_SEGMENT] = "DELETE FROM id_segments WHERE key = ?1",
    [SQL_FORGET_CLOCK_MARK] = "DELETE FROM clock_marks WHERE key = ?1",
    [SQL_FORGET_WANTED] = "DELETE FROM blob_wanted WHERE (device, blob) IN"
                          " (SELECT device, blob FROM blob_names WHERE key = ?1)",
    [SQL_FORGET_BLOB_NAMES] = "DELETE FROM blob_names WHERE key = ?1",
    [SQL_ORDERS_DONE] = "SELECT number FROM orders_done WHERE device = ?1",
    [SQL_SET_ORDERS_DONE] = "INSERT OR REPLACE INTO orders_done(device, number) VALUES (?1, ?2)",
    [SQL_ORDERS_DONE_MAX] = "SELECT coalesce(max(number), 0) FROM orders_done",
    [SQL_DEVICE_KEYS] = "SELECT public_key, state, at_ms FROM device_keys WHERE device = ?1",
    [SQL_DEVICE_KEY_PUT] =
        "INSERT OR REPLACE INTO device_keys(device, public_key, state, at_ms) VALUES (?1, ?2, ?3, ?4)",
    [SQL_DEVICE_KEY_DROP] = "DELETE FROM device_keys WHERE device = ?1 AND public_key = ?2",
    [SQL_DEVICE_SET_KEY] = "UPDATE devices SET public_key = ?2, certificate = ?3 WHERE number = ?1",
};
