/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A centre on a directory of its own and handhelds that talk to it, for the service's tests: requests are
 * made and answers are checked with proto/, as the real ends do. Used by tests only.
 */
#pragma once

#include "tests/unit/unit.h"

#include "base/files.h"
#include "proto/compression.h"
#include "proto/envelope.h"
#include "proto/merkle.h"
#include "server/service.h"

#include <errno.h>
#include <sqlite3.h>

/* ---- the centre ---- */

struct centre {
    char *directory;
    struct service *service;
    struct world world;
    struct world_verbs verbs;
    int64_t wall_shift_ms; /* added to the real wall clock */
};

static inline int64_t centre_wall_ms(void *context)
{
    const struct centre *centre = context;

    return world_posix()->verbs->wall_ms(NULL) + centre->wall_shift_ms;
}

static inline void centre_start(struct centre *centre)
{
    struct service_options options = {.world = &centre->world, .directory = centre->directory};
    char *error = NULL;

    if (service_open(&options, &centre->service, &error) < 0)
        fail_msg("%s", error);
}

static inline void centre_stop(struct centre *centre)
{
    service_free(centre->service);
    centre->service = NULL;
}

static inline void centre_restart(struct centre *centre)
{
    centre_stop(centre);
    centre_start(centre);
}

static inline struct centre *centre_new(void)
{
    struct centre *centre = calloc(1, sizeof(*centre));

    assert_non_null(centre);
    centre->directory = unit_directory_make();
    centre->verbs = *world_posix()->verbs;
    centre->verbs.wall_ms = centre_wall_ms;
    centre->world = (struct world){.verbs = &centre->verbs, .context = centre};
    centre_start(centre);
    return centre;
}

static inline void centre_free(struct centre *centre)
{
    centre_stop(centre);
    unit_directory_remove(centre->directory);
    free(centre);
}

/* Runs SQL in the centre's database behind its back, as damage does. Returns the number that it yields. */
static inline int64_t centre_sql(struct centre *centre, const char *sql)
{
    char *path = files_join(centre->directory, "centre.db");
    sqlite3_stmt *statement = NULL;
    sqlite3 *db = NULL;
    int64_t value = 0;
    int code;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    code = sqlite3_step(statement);
    if (code == SQLITE_ROW)
        value = sqlite3_column_int64(statement, 0);
    else if (code != SQLITE_DONE)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    sqlite3_finalize(statement);
    sqlite3_close(db);
    free(path);
    return value;
}

/* Runs a shell command in the centre's directory. */
static inline void centre_shell(struct centre *centre, const char *command)
{
    char *line = NULL;

    assert_true(asprintf(&line, "cd '%s' && %s", centre->directory, command) >= 0);
    assert_int_equal(
        system(line), 0); /* NOLINT(cert-env33-c): a test's own words in a test's own directory */
    free(line);
}

/* ---- a handheld ---- */

#define HANDHELD_RECORDS_MAX 70000u

struct handheld {
    struct uuid device;
    struct sign_key key;
    struct verify_key server_key;
    struct buffer certificate;
    struct uuid log;
    struct bytes *records; /* each its own allocation */
    struct sha256 *leaves;
    size_t count;
};

static inline struct uuid random_uuid(void)
{
    uint8_t random[UUID_BYTES];

    world_posix()->verbs->random(NULL, random, sizeof(random));
    return uuid_from_random(random);
}

static inline struct handheld *handheld_new(void)
{
    struct handheld *handheld = calloc(1, sizeof(*handheld));
    char name[KEY_NAME_MAX + 1];
    uint8_t seed[SIGN_SEED_BYTES];

    assert_non_null(handheld);
    handheld->device = random_uuid();
    handheld->log = random_uuid();
    handheld->records = calloc(HANDHELD_RECORDS_MAX, sizeof(*handheld->records));
    handheld->leaves = calloc(HANDHELD_RECORDS_MAX, sizeof(*handheld->leaves));
    assert_int_equal(device_key_name("gridpatrol", "default", &handheld->device, name), 0);
    world_posix()->verbs->random(NULL, seed, sizeof(seed));
    sign_key_from_seed(name, seed, &handheld->key);
    return handheld;
}

static inline void bytes_free(struct bytes bytes)
{
    union {
        const uint8_t *borrowed;
        uint8_t *owned;
    } data = {.borrowed = bytes.data};

    free(data.owned);
}

static inline void handheld_free(struct handheld *handheld)
{
    for (size_t i = 0; i < handheld->count; i++)
        bytes_free(handheld->records[i]);
    free(handheld->records);
    free(handheld->leaves);
    buffer_done(&handheld->certificate);
    free(handheld);
}

/* Appends bytes to the handheld's log, whatever they are. Returns their position. */
static inline uint64_t append_bytes(struct handheld *handheld, struct bytes bytes)
{
    size_t at = handheld->count++;
    uint8_t *copy = malloc(bytes.len + 1);

    assert_true(at < HANDHELD_RECORDS_MAX && copy);
    memcpy(copy, bytes.data, bytes.len);
    handheld->records[at] = bytes_of(copy, bytes.len);
    handheld->leaves[at] = merkle_leaf(handheld->records[at]);
    return at;
}

static inline uint64_t append_record(struct handheld *handheld, const struct record *record)
{
    _cleanup_buffer_ struct buffer bytes = {0};

    assert_int_equal(record_encode(record, &bytes), 0);
    return append_bytes(handheld, buffer_bytes(&bytes));
}

#define TEST_WALL_MS INT64_C(1700000000000)

static inline uint64_t append_opened(struct handheld *handheld)
{
    const struct record record = {
        .kind = RECORD_OPENED, .wall_ms = TEST_WALL_MS, .opened = {.kind = LOG_FINDINGS}};

    return append_record(handheld, &record);
}

static inline struct sha256 hash_of(const char *text)
{
    return sha256_of(bytes_of_text(text));
}

static inline struct finding finding_of(const char *note)
{
    return (struct finding){.category = {.scheme = bytes_of_text("GB/T 47678.5"),
                                .version = bytes_of_text("2026"),
                                .code = bytes_of_text("01028")},
        .severity = SEVERITY_MINOR,
        .note = bytes_of_text(note),
        .has_position = true,
        .position = {.lat_e7 = 407801253, .lon_e7 = -739530344, .accuracy_dm = 32}};
}

static inline uint64_t append_finding(struct handheld *handheld, const char *note)
{
    const struct record record = {.kind = RECORD_FINDING,
        .wall_ms = TEST_WALL_MS + (int64_t)handheld->count * 1000,
        .utc_offset_min = 480,
        .inspector = bytes_of_text("inspector-1"),
        .finding = finding_of(note)};

    return append_record(handheld, &record);
}

static inline void append_findings(struct handheld *handheld, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char note[64];

        snprintf(note, sizeof(note), "finding %zu of this handheld", handheld->count);
        append_finding(handheld, note);
    }
}

static inline uint64_t append_finding_with_photo(
    struct handheld *handheld, const struct sha256 *photo, uint64_t size, const struct sha256 *preview)
{
    struct photo named = {.sha256 = *photo, .size = size};
    struct record record = {
        .kind = RECORD_FINDING, .wall_ms = TEST_WALL_MS, .finding = finding_of("with a photo")};

    if (preview) {
        named.preview_sha256 = *preview;
        named.preview_size = 100;
    }
    record.finding.photos = &named;
    record.finding.photo_count = 1;
    return append_record(handheld, &record);
}

/* The whole photo, as an upload in one piece brings it. */
static inline void upload_photo(struct centre *centre, const struct handheld *handheld, struct bytes photo)
{
    struct sha256 sha256 = sha256_of(photo);
    struct service_patch *patch = NULL;
    struct service_upload upload;
    bool stored = false;

    assert_int_equal(
        service_upload_create(centre->service, &handheld->device, &sha256, photo.len, &upload), 0);
    assert_int_equal(service_patch_begin(centre->service, &handheld->device, &sha256, 0, NULL, &patch), 0);
    assert_int_equal(service_patch_write(patch, photo.data, photo.len), 0);
    assert_int_equal(service_patch_end(patch, true, &upload, &stored), 0);
    assert_true(stored);
    assert_int_equal(service_blob_stored(centre->service, &sha256, photo.len), 0);
}

static inline struct uuid record_id(const struct handheld *handheld, uint64_t seq)
{
    return record_public_id(&handheld->log, seq, &handheld->leaves[seq]);
}

static inline struct parent parent_of(const struct handheld *handheld, uint64_t seq)
{
    return (struct parent){.log = handheld->log, .seq = seq, .id = record_id(handheld, seq)};
}

static inline uint64_t append_amendment(
    struct handheld *handheld, const struct parent *parent, const char *note)
{
    const struct record record = {.kind = RECORD_AMENDMENT,
        .wall_ms = TEST_WALL_MS,
        .amendment = {.parent = *parent, .finding = finding_of(note)}};

    return append_record(handheld, &record);
}

static inline uint64_t append_withdrawal(struct handheld *handheld, const struct parent *parent)
{
    const struct record record = {.kind = RECORD_WITHDRAWAL,
        .wall_ms = TEST_WALL_MS,
        .withdrawal = {.parent = *parent, .reason = bytes_of_text("recorded twice")}};

    return append_record(handheld, &record);
}

static inline uint64_t append_rehomed(
    struct handheld *handheld, const struct uuid *log, uint64_t seq, struct bytes bytes)
{
    const struct record record = {.kind = RECORD_REHOMED,
        .wall_ms = TEST_WALL_MS,
        .rehomed = {.log = *log, .seq = seq, .record = bytes}};

    return append_record(handheld, &record);
}

/* The signed note over the first `size` records. */
static inline void sign_checkpoint(const struct handheld *handheld, uint64_t size, struct buffer *ret)
{
    struct checkpoint checkpoint = {.size = size, .root = merkle_root_of(handheld->leaves, size)};

    assert_int_equal(origin_format("gridpatrol", "default", &handheld->log, checkpoint.origin), 0);
    assert_int_equal(checkpoint_sign(&checkpoint, &handheld->key, ret), 0);
}

/* ---- requests and answers ---- */

struct answered {
    unsigned status;
    uint32_t retry_after_s;
    bool is_refused;
    struct refusal refusal;
    struct exchange_answer exchange;
    struct audit_answer audit;
    struct repair_answer repair;
    struct enrol_answer enrol;
    struct arena arena;
    struct buffer body, plain;
    size_t signer; /* number of the receipt key */
};

static inline void answered_done(struct answered *answered)
{
    arena_done(&answered->arena);
    buffer_done(&answered->body);
    buffer_done(&answered->plain);
}
#define _cleanup_answered_ _cleanup_(answered_done)

struct signer {
    const uint8_t *key_id;
    size_t number;
    struct verify_key key;
};

static inline int compare_signer(void *user, const struct service_key *key)
{
    struct signer *signer = user;
    uint8_t id[8];

    key_id_of(key->key->public_key, id);
    if (memcmp(id, signer->key_id, sizeof(id)) == 0) {
        signer->number = key->number;
        signer->key = *key->key;
    }
    return 0;
}

/* Checks signature and request hash, and decodes whatever kind of answer it is. */
static inline void read_answer(
    struct centre *centre, const struct sha256 *request_sha256, struct answered *ret)
{
    struct envelope envelope;
    struct signer signer = {.key_id = envelope.key_id};
    struct sha256 named = {{0}};

    arena_init(&ret->arena, DECODE_BUDGET_BYTES_MAX);
    assert_int_equal(envelope_parse(buffer_bytes(&ret->body), &envelope), 0);
    assert_true(service_each_key(centre->service, compare_signer, &signer, NULL) >= 0);
    ret->signer = signer.number;
    assert_int_equal(envelope_open(&envelope, envelope.type, signer.key.public_key,
                         EXCHANGE_INFLATED_BYTES_MAX, &ret->plain),
        0);
    if (envelope.type == PAYLOAD_REFUSAL) {
        ret->is_refused = true;
        assert_int_equal(refusal_decode(buffer_bytes(&ret->plain), &ret->arena, &ret->refusal), 0);
        named = ret->refusal.request_sha256;
    } else if (envelope.type == PAYLOAD_EXCHANGE_ANSWER) {
        assert_int_equal(exchange_answer_decode(buffer_bytes(&ret->plain), &ret->arena, &ret->exchange), 0);
        named = ret->exchange.request_sha256;
    } else if (envelope.type == PAYLOAD_AUDIT_ANSWER) {
        assert_int_equal(audit_answer_decode(buffer_bytes(&ret->plain), &ret->arena, &ret->audit), 0);
        named = ret->audit.request_sha256;
    } else if (envelope.type == PAYLOAD_REPAIR_ANSWER) {
        assert_int_equal(repair_answer_decode(buffer_bytes(&ret->plain), &ret->arena, &ret->repair), 0);
        named = ret->repair.request_sha256;
    } else if (envelope.type == PAYLOAD_ENROL_ANSWER) {
        assert_int_equal(enrol_answer_decode(buffer_bytes(&ret->plain), &ret->arena, &ret->enrol), 0);
        named = ret->enrol.request_sha256;
    } else {
        fail_msg("an answer of type %s", payload_type_name(envelope.type));
    }
    assert_memory_equal(named.b, request_sha256->b, SHA256_BYTES);
}

/* One request through all three stages, alone in its group. */
static inline void send_body(struct centre *centre, enum service_route route, struct bytes body,
    const struct sha256 *request_sha256, struct answered *ret)
{
    struct service_job *job = NULL;
    struct service_reply reply = {0};

    assert_int_equal(service_prepare(centre->service, route, body, &job), 0);
    if (service_job_needs_commit(job))
        (void)service_commit(centre->service, &job, 1);
    service_answer(centre->service, job, &reply);
    service_job_free(job);
    *ret =
        (struct answered){.status = reply.status, .retry_after_s = reply.retry_after_s, .body = reply.body};
    read_answer(centre, request_sha256, ret);
}

static inline void enrol_with(struct centre *centre, struct handheld *handheld,
    const uint8_t token[ENROL_TOKEN_BYTES], struct answered *ret)
{
    struct enrol_request request = {.device = handheld->device, .software = bytes_of_text("test")};
    _cleanup_buffer_ struct buffer body = {0};
    struct sha256 sha256;

    memcpy(request.token, token, ENROL_TOKEN_BYTES);
    memcpy(request.public_key, handheld->key.public.public_key, SIGN_PUBLIC_BYTES);
    assert_int_equal(enrol_request_encode(&request, &handheld->key, &body), 0);
    sha256 = sha256_of(buffer_bytes(&body));
    send_body(centre, SERVICE_ENROL, buffer_bytes(&body), &sha256, ret);
}

/* The same device and key with another log, as after a fork or a rotation. */
static inline struct handheld *next_log(const struct handheld *handheld)
{
    struct handheld *next = handheld_new();

    next->device = handheld->device;
    next->key = handheld->key;
    next->server_key = handheld->server_key;
    return next;
}

static inline struct handheld *handheld_enrolled(struct centre *centre)
{
    struct handheld *handheld = handheld_new();
    uint8_t token[ENROL_TOKEN_BYTES];
    _cleanup_answered_ struct answered answered = {0};

    assert_int_equal(service_token_make(centre->service, "pole 7", "inspector-1", 3600, token), 0);
    enrol_with(centre, handheld, token, &answered);
    assert_false(answered.is_refused);
    buffer_put_bytes(&handheld->certificate, answered.enrol.certificate);
    handheld->server_key = *service_receipt_key(centre->service);
    return handheld;
}

static inline void request_id(uint8_t ret[REQUEST_ID_BYTES])
{
    world_posix()->verbs->random(NULL, ret, REQUEST_ID_BYTES);
}

static inline void seal_request(const struct handheld *handheld, enum payload_type type, struct bytes plain,
    struct buffer *ret_body, struct sha256 *ret_sha256)
{
    const uint32_t *names = NULL;
    uint32_t dictionary = dictionary_names(&names) > 0 ? names[0] : DICTIONARY_NONE;

    assert_int_equal(
        envelope_seal(type, plain, 6, dictionary, &handheld->device, &handheld->key, ret_body, ret_sha256),
        0);
}

/* The request for records first .. first + count - 1, with a checkpoint over the log behind them. */
static inline void make_exchange(const struct handheld *handheld, uint64_t first, size_t count,
    const struct exchange_request *more, struct buffer *ret_body, struct sha256 *ret_sha256)
{
    struct exchange_request request = more ? *more : (struct exchange_request){0};
    _cleanup_buffer_ struct buffer note = {0}, plain = {0};

    request_id(request.request_id);
    request.log = handheld->log;
    request.first_seq = first;
    request.records = handheld->records + first;
    request.record_count = count;
    if (first + count > 0) {
        sign_checkpoint(handheld, first + count, &note);
        request.checkpoint = buffer_bytes(&note);
    }
    assert_int_equal(exchange_request_encode(&request, &plain), 0);
    seal_request(handheld, PAYLOAD_EXCHANGE_REQUEST, buffer_bytes(&plain), ret_body, ret_sha256);
}

static inline void exchange_with(struct centre *centre, const struct handheld *handheld, uint64_t first,
    size_t count, const struct exchange_request *more, struct answered *ret)
{
    _cleanup_buffer_ struct buffer body = {0};
    struct sha256 sha256;

    make_exchange(handheld, first, count, more, &body, &sha256);
    send_body(centre, SERVICE_EXCHANGE, buffer_bytes(&body), &sha256, ret);
}

static inline void exchange(struct centre *centre, const struct handheld *handheld, uint64_t first,
    size_t count, struct answered *ret)
{
    exchange_with(centre, handheld, first, count, NULL, ret);
}

static inline void audit_with(struct centre *centre, const struct handheld *handheld,
    const struct audit_request *asked, struct answered *ret)
{
    struct audit_request request = *asked;
    _cleanup_buffer_ struct buffer plain = {0}, body = {0};
    struct sha256 sha256;

    request_id(request.request_id);
    request.log = handheld->log;
    assert_int_equal(audit_request_encode(&request, &plain), 0);
    seal_request(handheld, PAYLOAD_AUDIT_REQUEST, buffer_bytes(&plain), &body, &sha256);
    send_body(centre, SERVICE_AUDIT, buffer_bytes(&body), &sha256, ret);
}

/* Sends all that the log has, and expects it to be stored. */
static inline void deliver(struct centre *centre, const struct handheld *handheld)
{
    for (size_t first = 0; first < handheld->count;) {
        _cleanup_answered_ struct answered answered = {0};
        size_t left = handheld->count - first, count = left < 8192 ? left : 8192;

        exchange(centre, handheld, first, count, &answered);
        assert_false(answered.is_refused);
        assert_int_equal(answered.exchange.outcome, EXCHANGE_STORED);
        assert_int64_equal(answered.exchange.size, first + count);
        first += count;
    }
}

/* The receipt in the answer, checked with both keys. */
static inline struct checkpoint read_receipt(const struct handheld *handheld, struct bytes receipt)
{
    struct checkpoint checkpoint;
    uint64_t time_s = 0;

    assert_int_equal(
        receipt_verify(receipt, &handheld->key.public, &handheld->server_key, &checkpoint, &time_s), 0);
    assert_true(time_s > 0);
    return checkpoint;
}

/* ---- what the centre shows ---- */

struct listed {
    struct uuid id, parent, log, device;
    uint64_t seq, arrival;
    enum record_kind kind;
    char state[16], reason[128], note[128];
    bool complete;
    unsigned time_flags;
};

struct listing {
    struct listed rows[2048];
    size_t count;
};

static inline int list_row(void *user, const struct service_finding *finding)
{
    struct listing *listing = user;
    struct listed *row = &listing->rows[listing->count];

    if (listing->count == ARRAY_LEN(listing->rows))
        return 1;
    listing->count++;
    *row = (struct listed){.id = finding->id,
        .parent = finding->parent,
        .log = finding->log,
        .device = finding->device,
        .seq = finding->seq,
        .arrival = finding->arrival,
        .kind = finding->kind,
        .complete = finding->complete,
        .time_flags = finding->time_flags};
    snprintf(row->state, sizeof(row->state), "%s", finding->state);
    snprintf(row->reason, sizeof(row->reason), "%s", finding->reason ? finding->reason : "");
    snprintf(row->note, sizeof(row->note), "%.*s", (int)finding->finding.note.len,
        (const char *)finding->finding.note.data);
    return 0;
}

/* All rows; allocated. */
static inline struct listing *list_findings(struct centre *centre)
{
    const struct service_finding_filter filter = {0};
    struct listing *listing = calloc(1, sizeof(*listing));

    assert_non_null(listing);
    assert_true(service_each_finding(centre->service, &filter, list_row, listing) >= 0);
    return listing;
}

static inline const struct listed *listed_at(
    const struct listing *listing, const struct uuid *log, uint64_t seq)
{
    for (size_t i = 0; i < listing->count; i++) {
        if (listing->rows[i].seq == seq && uuid_equal(&listing->rows[i].log, log))
            return &listing->rows[i];
    }
    return NULL;
}

static inline const struct listed *must_list(
    const struct listing *listing, const struct uuid *log, uint64_t seq)
{
    const struct listed *row = listed_at(listing, log, seq);

    assert_non_null(row);
    return row;
}

static inline size_t count_state(const struct listing *listing, const char *state)
{
    size_t count = 0;

    for (size_t i = 0; i < listing->count; i++)
        count += strcmp(listing->rows[i].state, state) == 0;
    return count;
}

static inline int keep_device(void *user, const struct service_device *device)
{
    struct service_device *kept = user;

    *kept = *device;
    return 0;
}

/* Counts of the last device; its texts are not valid. */
static inline struct service_device last_device(struct centre *centre)
{
    struct service_device device = {0};

    assert_int_equal(service_each_device(centre->service, keep_device, &device), 0);
    return device;
}
