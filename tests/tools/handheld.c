/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A handheld in one program without memory, for tests of the server: everything follows from a seed. It
 * writes the bodies of requests and reads those of answers; sending them, twice or cut or out of order, is
 * the test's part.
 *
 *   handheld --seed 7 id                                        device=... log=...
 *   handheld --seed 7 enrol TOKEN-URL                     > body of POST /v1/enrol
 *   handheld --seed 7 exchange --first 0 --count 10       > body of POST /v1/exchange
 *   handheld --seed 7 audit --level records               > body of POST /v1/audit
 *   handheld --seed 7 repair --first 3 --count 2 --size 10 > body of POST /v1/repair
 *   handheld --seed 7 answer REQUEST-BODY KEY < body      one JSON object; status 1 when it is not genuine
 *
 * Record 0 opens the log, the others are findings whose text names seed and position.
 */
#include "base/command_line.h"
#include "base/files.h"
#include "base/json_text.h"
#include "proto/compression.h"
#include "proto/enrolment.h"
#include "proto/merkle.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>

#define RECORDED_MS INT64_C(1795430000000)
#define RECORD_EVERY_MS 150000
#define BODY_BYTES_MAX (4u * 1024u * 1024u)
#define RECORDS_MAX 20000u

struct options {
    const char *seed, *log, *first, *count, *size, *level, *variant, *authority, *tenant, *certificate;
    struct option_list photos, garbage, asked;
    bool wrong_root, wrong_signature;
};

#define OPTION(name, kind, field)                                                                            \
    {                                                                                                        \
        name, 0, kind, offsetof(struct options, field), "VALUE", NULL                                        \
    }
static const struct option_row option_rows[] = {
    OPTION("seed", OPTION_TEXT, seed),
    OPTION("log", OPTION_TEXT, log),         /* which of the device's logs, a number */
    OPTION("first", OPTION_TEXT, first),     /* first record of the batch */
    OPTION("count", OPTION_TEXT, count),     /* records in it */
    OPTION("size", OPTION_TEXT, size),       /* of the whole log; default first + count */
    OPTION("level", OPTION_TEXT, level),     /* of an audit */
    OPTION("variant", OPTION_TEXT, variant), /* other bytes from this record on: a clone's log */
    OPTION("authority", OPTION_TEXT, authority),
    OPTION("tenant", OPTION_TEXT, tenant),
    OPTION("certificate", OPTION_TEXT, certificate), /* file with the answer to the enrolment */
    OPTION("photo", OPTION_REPEATED, photos),        /* SEQ:HASH:SIZE */
    OPTION("garbage", OPTION_REPEATED, garbage),     /* SEQ: a record that nobody can read */
    OPTION("asked", OPTION_REPEATED, asked),         /* HASH: is this blob stored? */
    OPTION("wrong-root", OPTION_FLAG, wrong_root),
    OPTION("wrong-signature", OPTION_FLAG, wrong_signature),
};

struct handheld {
    const struct options *options;
    uint64_t seed, log_number;
    struct sign_key key;
    struct uuid device, log;
    const char *authority, *tenant;
};

static void fail(const char *what, int error)
{
    fprintf(stderr, "handheld: %s: %s\n", what, strerror(-error));
    exit(EXIT_FAILURE);
}

static void check(const char *what, int r)
{
    if (r < 0)
        fail(what, r);
}

static uint64_t number_of(const char *name, const char *text, uint64_t standard)
{
    uint64_t value = standard;
    if (text)
        check(name, text_parse_u64(text, &value));
    return value;
}

/* 32 bytes that follow from the seed and a purpose. */
static struct sha256 derive(uint64_t seed, const char *purpose, uint64_t number)
{
    _cleanup_buffer_ struct buffer text = {0};
    buffer_printf(&text, "%" PRIu64 "/%s/%" PRIu64, seed, purpose, number);
    return sha256_of(buffer_bytes(&text));
}

static void handheld_init(const struct options *options, struct handheld *ret)
{
    ret->options = options;
    ret->seed = number_of("seed", options->seed, 0);
    ret->log_number = number_of("log", options->log, 0);
    ret->authority = options->authority ? options->authority : "gridpatrol";
    ret->tenant = options->tenant ? options->tenant : "default";
    ret->device = uuid_from_random(derive(ret->seed, "device", 0).b);
    ret->log = uuid_from_random(derive(ret->seed, "log", ret->log_number).b);
    char name[KEY_NAME_MAX + 1];
    check("device", device_key_name(ret->authority, ret->tenant, &ret->device, name));
    sign_key_from_seed(name, derive(ret->seed, "key", 0).b, &ret->key);
}

/* ---- records ---- */

static size_t photos_of(const struct handheld *handheld, uint64_t seq, struct photo *ret)
{
    const struct option_list *list = &handheld->options->photos;
    size_t count = 0;

    for (size_t i = 0; i < list->count && count < FINDING_PHOTOS_MAX; i++) {
        char hash[SHA256_TEXT_LEN + 1];
        uint64_t at, size;
        if (sscanf(list->values[i], "%" SCNu64 ":%64[0-9a-f]:%" SCNu64, &at, hash, &size) != 3)
            fail("photo", -EINVAL);
        if (at != seq)
            continue;
        ret[count] = (struct photo){.size = size, .format = PHOTO_JPEG};
        check("photo", text_parse_hex(hash, strlen(hash), ret[count].sha256.b, SHA256_BYTES));
        count++;
    }
    return count;
}

static bool is_garbage(const struct handheld *handheld, uint64_t seq)
{
    const struct option_list *list = &handheld->options->garbage;
    for (size_t i = 0; i < list->count; i++)
        if (number_of("garbage", list->values[i], 0) == seq)
            return true;
    return false;
}

static void put_record(const struct handheld *handheld, uint64_t seq, struct buffer *ret)
{
    struct photo photos[FINDING_PHOTOS_MAX];
    char note[128];
    uint64_t variant_from = number_of("variant", handheld->options->variant, UINT64_MAX);
    struct record record = {
        .kind = seq == 0 ? RECORD_OPENED : RECORD_FINDING,
        .wall_ms = RECORDED_MS + (int64_t)seq * RECORD_EVERY_MS,
        .utc_offset_min = 480,
        .boot_ms = 1000 + seq * RECORD_EVERY_MS,
        .inspector = bytes_of_text("inspector-1"),
    };

    if (is_garbage(handheld, seq)) {
        buffer_put_text(ret, "\xff\xff garbage that no program reads");
        return;
    }
    if (seq > 0) {
        snprintf(note, sizeof(note), "record %" PRIu64 " of handheld %" PRIu64 "%s", seq, handheld->seed,
            seq >= variant_from ? ", as the clone has it" : "");
        record.finding = (struct finding){
            .category = {bytes_of_text("GB/T 47678.5"), bytes_of_text("2026"), bytes_of_text("06010"), {0}},
            .severity = SEVERITY_NORMAL,
            .note = bytes_of_text(note),
            .has_position = true,
            .position = {.lat_e7 = 399000000 + (int32_t)(seq % 100000u),
                .lon_e7 = 1163000000,
                .accuracy_dm = 35},
            .photos = photos,
            .photo_count = photos_of(handheld, seq, photos),
        };
    }
    check("record", record_encode(&record, ret));
}

/* Records first .. first + count - 1, and the root of the log of `size`. */
struct batch {
    struct buffer bytes;
    struct bytes records[RECORDS_MAX];
    struct sha256 leaves[RECORDS_MAX];
    size_t count;
    struct sha256 root;
};

static struct batch *batch_make(
    const struct handheld *handheld, uint64_t first, uint64_t count, uint64_t size)
{
    struct batch *batch = calloc(1, sizeof(*batch));
    struct merkle_frontier frontier;
    size_t offsets[RECORDS_MAX + 1];

    if (!batch || first > RECORDS_MAX || count > RECORDS_MAX || size > RECORDS_MAX)
        fail("count", -E2BIG);
    merkle_frontier_init(&frontier);
    for (uint64_t seq = 0; seq < size; seq++) {
        _cleanup_buffer_ struct buffer one = {0};
        put_record(handheld, seq, &one);
        batch->leaves[seq] = merkle_leaf(buffer_bytes(&one));
        check("leaf", merkle_append(&frontier, &batch->leaves[seq]));
        if (seq < first || seq >= first + count)
            continue;
        offsets[batch->count++] = batch->bytes.len;
        buffer_put_bytes(&batch->bytes, buffer_bytes(&one));
    }
    check("records", buffer_finish(&batch->bytes));
    offsets[batch->count] = batch->bytes.len;
    for (size_t i = 0; i < batch->count; i++)
        batch->records[i] = bytes_of(batch->bytes.data + offsets[i], offsets[i + 1] - offsets[i]);
    batch->root = merkle_root(&frontier);
    return batch;
}

static void batch_free(struct batch *batch)
{
    buffer_done(&batch->bytes);
    free(batch);
}
DEFINE_CLEANUP(struct batch, batch_free);

/* ---- requests ---- */

static void request_id(uint8_t ret[REQUEST_ID_BYTES])
{
    randombytes_buf(ret, REQUEST_ID_BYTES);
}

static void put_checkpoint(
    const struct handheld *handheld, uint64_t size, struct sha256 root, struct buffer *ret)
{
    struct checkpoint checkpoint = {.size = size, .root = root};

    if (handheld->options->wrong_root)
        checkpoint.root.b[0] ^= 1;
    check("origin", origin_format(handheld->authority, handheld->tenant, &handheld->log, checkpoint.origin));
    check("checkpoint", checkpoint_sign(&checkpoint, &handheld->key, ret));
}

static void write_out(struct bytes bytes)
{
    if (fwrite(bytes.data, 1, bytes.len, stdout) != bytes.len || fflush(stdout) != 0)
        fail("standard output", -EIO);
}

static void seal_and_write(const struct handheld *handheld, enum payload_type type, struct bytes plain)
{
    _cleanup_buffer_ struct buffer envelope = {0};
    const uint32_t *dictionaries;
    size_t count = dictionary_names(&dictionaries);
    struct sign_key key = handheld->key;

    if (handheld->options->wrong_signature)
        sign_key_from_seed(key.public.name, derive(handheld->seed, "other key", 0).b, &key);
    check("envelope", envelope_seal(type, plain, 6, count > 0 ? dictionaries[0] : DICTIONARY_NONE,
                          &handheld->device, &key, &envelope, NULL));
    write_out(buffer_bytes(&envelope));
}

static int command_id(struct handheld *handheld)
{
    char device[UUID_TEXT_LEN + 1], log[UUID_TEXT_LEN + 1];
    text_uuid(handheld->device.b, device);
    text_uuid(handheld->log.b, log);
    printf("{\"device\":\"%s\",\"log\":\"%s\"}\n", device, log);
    return EXIT_SUCCESS;
}

static int command_enrol(struct handheld *handheld, const char *token_url)
{
    _cleanup_buffer_ struct buffer body = {0};
    struct token_url url;
    const char *reason = "";

    if (token_url_parse(token_url, &url, &reason) < 0) {
        fprintf(stderr, "handheld: token URL: %s\n", reason);
        return EXIT_FAILURE;
    }
    struct enrol_request request = {
        .device = handheld->device, .software = bytes_of_text("handheld of tests")};
    memcpy(request.token, url.token, sizeof(request.token));
    memcpy(request.public_key, handheld->key.public.public_key, sizeof(request.public_key));
    check("request", enrol_request_encode(&request, &handheld->key, &body));
    write_out(buffer_bytes(&body));
    return EXIT_SUCCESS;
}

/* The certificate out of an enrolment's answer in a file. */
static struct bytes certificate_of(
    const char *path, struct buffer *file, struct buffer *plain, struct arena *arena)
{
    struct envelope envelope;
    struct enrol_answer answer;

    check(path, files_read(world_posix(), path, BODY_BYTES_MAX, file));
    check(path, envelope_parse(buffer_bytes(file), &envelope));
    check(path, inflate_bytes(envelope.payload, ENROLMENT_ANSWER_BYTES_MAX, plain));
    check(path, enrol_answer_decode(buffer_bytes(plain), arena, &answer));
    return answer.certificate;
}

static int command_exchange(struct handheld *handheld)
{
    const struct options *options = handheld->options;
    uint64_t first = number_of("first", options->first, 0), count = number_of("count", options->count, 0);
    uint64_t size = number_of("size", options->size, first + count);
    _cleanup_(batch_free_cleanup) struct batch *batch = batch_make(handheld, first, count, size);
    _cleanup_buffer_ struct buffer checkpoint = {0}, plain = {0}, file = {0}, answer = {0};
    _cleanup_arena_ struct arena arena;
    struct sha256 asked[OPTION_LIST_MAX];
    struct exchange_request request = {
        .log = handheld->log,
        .first_seq = first,
        .records = batch->records,
        .record_count = batch->count,
        .asked_blobs = asked,
        .asked_blob_count = options->asked.count,
    };

    arena_init(&arena, arena_budget_for(ENROLMENT_ANSWER_BYTES_MAX));
    for (size_t i = 0; i < options->asked.count; i++)
        check("asked", text_parse_hex(options->asked.values[i], strlen(options->asked.values[i]), asked[i].b,
                           SHA256_BYTES));
    request_id(request.request_id);
    if (size > 0)
        put_checkpoint(handheld, size, batch->root, &checkpoint);
    request.checkpoint = buffer_bytes(&checkpoint);
    if (options->certificate)
        request.certificate = certificate_of(options->certificate, &file, &answer, &arena);
    check("request", exchange_request_encode(&request, &plain));
    seal_and_write(handheld, PAYLOAD_EXCHANGE_REQUEST, buffer_bytes(&plain));
    return EXIT_SUCCESS;
}

static int command_audit(struct handheld *handheld)
{
    _cleanup_buffer_ struct buffer plain = {0};
    struct audit_request request = {
        .log = handheld->log, .from_seq = number_of("first", handheld->options->first, 0)};

    request_id(request.request_id);
    if (handheld->options->level)
        check("level", audit_level_from_name(handheld->options->level, &request.level));
    check("request", audit_request_encode(&request, &plain));
    seal_and_write(handheld, PAYLOAD_AUDIT_REQUEST, buffer_bytes(&plain));
    return EXIT_SUCCESS;
}

static int leaves_of(void *context, uint64_t first, size_t count, struct sha256 *ret)
{
    const struct batch *batch = context;
    memcpy(ret, batch->leaves + first, count * sizeof(*ret));
    return 0;
}

static int tiles_of(void *context, uint64_t first, size_t count, struct sha256 *ret)
{
    const struct batch *batch = context;
    for (size_t i = 0; i < count; i++)
        ret[i] = merkle_root_of(batch->leaves + (first + i) * TILE_LEAVES, TILE_LEAVES);
    return 0;
}

static int command_repair(struct handheld *handheld)
{
    const struct options *options = handheld->options;
    uint64_t first = number_of("first", options->first, 0), count = number_of("count", options->count, 1);
    uint64_t size = number_of("size", options->size, first + count);
    _cleanup_(batch_free_cleanup) struct batch *batch = batch_make(handheld, first, count, size);
    _cleanup_buffer_ struct buffer plain = {0};
    struct sha256 proof[MERKLE_PROOF_MAX];
    const struct merkle_source source = {leaves_of, tiles_of, batch};
    struct repair_run run = {
        .first_seq = first, .records = batch->records, .record_count = batch->count, .proof = proof};
    struct repair_request request = {.log = handheld->log, .size = size, .runs = &run, .run_count = 1};

    request_id(request.request_id);
    check("proof", merkle_prove_range(&source, first, batch->count, size, proof, &run.proof_count));
    check("request", repair_request_encode(&request, &plain));
    seal_and_write(handheld, PAYLOAD_REPAIR_REQUEST, buffer_bytes(&plain));
    return EXIT_SUCCESS;
}

/* ---- answers ---- */

static void put_hash(struct buffer *line, const struct sha256 *hash)
{
    char text[SHA256_TEXT_LEN + 1];
    text_hex(hash->b, SHA256_BYTES, text);
    buffer_printf(line, "\"%s\"", text);
}

static void put_exchange(struct handheld *handheld, const struct exchange_answer *answer,
    const struct verify_key *server, struct buffer *line)
{
    static const char *const outcomes[] = {"stored", "ahead", "fork", "root_mismatch"};
    _cleanup_buffer_ struct buffer token = {0};
    struct checkpoint receipt = {0};
    uint64_t receipt_s = 0;

    buffer_printf(line, "\"type\":\"exchange\",\"outcome\":\"%s\",\"size\":%" PRIu64,
        outcomes[answer->outcome], answer->size);
    if (answer->receipt.len > 0)
        check(
            "receipt", receipt_verify(answer->receipt, &handheld->key.public, server, &receipt, &receipt_s));
    buffer_printf(line, ",\"receipt_size\":%" PRIu64 ",\"receipt_s\":%" PRIu64 ",\"quarantined\":[",
        receipt.size, receipt_s);
    for (size_t i = 0; i < answer->quarantined_count; i++) {
        buffer_printf(
            line, "%s{\"seq\":%" PRIu64 ",\"reason\":", i > 0 ? "," : "", answer->quarantined[i].seq);
        json_put_text(line, answer->quarantined[i].reason);
        buffer_put_u8(line, '}');
    }
    buffer_put_text(line, "],\"wanted\":[");
    for (size_t i = 0; i < answer->wanted_blob_count; i++) {
        buffer_put_text(line, i > 0 ? ",{\"sha256\":" : "{\"sha256\":");
        put_hash(line, &answer->wanted_blobs[i].sha256);
        buffer_printf(line, ",\"have\":%" PRIu64 "}", answer->wanted_blobs[i].have);
    }
    buffer_put_text(line, "],\"stored\":[");
    for (size_t i = 0; i < answer->stored_blob_count; i++) {
        buffer_put_text(line, i > 0 ? "," : "");
        put_hash(line, &answer->stored_blobs[i].sha256);
    }
    buffer_put_text(line, "],\"token\":");
    if (answer->upload_token.len > 0) {
        check("token", unseal_by_device(answer->upload_token, &handheld->key, &token));
        json_put_text(line, buffer_bytes(&token));
    } else {
        buffer_put_text(line, "null");
    }
    buffer_printf(line, ",\"token_s\":%u,\"next_contact_s\":%u,\"commands\":[", answer->upload_token_s,
        answer->next_contact_s);
    for (size_t i = 0; i < answer->command_count; i++)
        buffer_printf(line, "%s\"%s\"", i > 0 ? "," : "",
            answer->commands[i].has_resync ? audit_level_name(answer->commands[i].resync_level) : "unknown");
    buffer_put_u8(line, ']');
}

static void put_runs(struct buffer *line, const char *name, const struct run *runs, size_t count)
{
    buffer_printf(line, ",\"%s\":[", name);
    for (size_t i = 0; i < count; i++)
        buffer_printf(line, "%s[%" PRIu64 ",%" PRIu64 "]", i > 0 ? "," : "", runs[i].first, runs[i].count);
    buffer_put_u8(line, ']');
}

static void put_audit(const struct audit_answer *answer, struct buffer *line)
{
    static const char *const conditions[] = {"missing", "damaged", "erased", "lost"};

    buffer_printf(line,
        "\"type\":\"audit\",\"size\":%" PRIu64 ",\"counted\":%" PRIu64 ",\"next_seq\":%" PRIu64
        ",\"blobs_checked\":%" PRIu64,
        answer->size, answer->counted, answer->next_seq, answer->blobs_checked);
    put_runs(line, "missing", answer->missing, answer->missing_count);
    put_runs(line, "damaged", answer->damaged, answer->damaged_count);
    put_runs(line, "erased", answer->erased, answer->erased_count);
    put_runs(line, "lost", answer->lost, answer->lost_count);
    buffer_put_text(line, ",\"blobs\":[");
    for (size_t i = 0; i < answer->blob_count; i++) {
        buffer_put_text(line, i > 0 ? ",{\"sha256\":" : "{\"sha256\":");
        put_hash(line, &answer->blobs[i].sha256);
        buffer_printf(line, ",\"condition\":\"%s\"}", conditions[answer->blobs[i].condition]);
    }
    buffer_put_u8(line, ']');
}

/* Decodes by type. The hash of the request that the answer names. */
static struct sha256 put_answer(struct handheld *handheld, enum payload_type type, struct bytes plain,
    struct arena *arena, const struct verify_key *server, struct buffer *line)
{
    union {
        struct exchange_answer exchange;
        struct audit_answer audit;
        struct repair_answer repair;
        struct refusal refusal;
        struct enrol_answer enrol;
    } answer;

    if (type == PAYLOAD_EXCHANGE_ANSWER) {
        check("answer", exchange_answer_decode(plain, arena, &answer.exchange));
        put_exchange(handheld, &answer.exchange, server, line);
        return answer.exchange.request_sha256;
    }
    if (type == PAYLOAD_AUDIT_ANSWER) {
        check("answer", audit_answer_decode(plain, arena, &answer.audit));
        put_audit(&answer.audit, line);
        return answer.audit.request_sha256;
    }
    if (type == PAYLOAD_REPAIR_ANSWER) {
        check("answer", repair_answer_decode(plain, arena, &answer.repair));
        buffer_printf(line,
            "\"type\":\"repair\",\"mended\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"size\":%" PRIu64,
            answer.repair.records_mended, answer.repair.records_refused, answer.repair.size);
        return answer.repair.request_sha256;
    }
    if (type == PAYLOAD_ENROL_ANSWER) {
        check("answer", enrol_answer_decode(plain, arena, &answer.enrol));
        struct device_certificate certificate;
        check(
            "certificate", device_certificate_verify(answer.enrol.certificate, server, arena, &certificate));
        buffer_put_text(line, "\"type\":\"enrol\",\"name\":");
        json_put_text(line, answer.enrol.name);
        buffer_put_text(line, ",\"inspector\":");
        json_put_text(line, answer.enrol.inspector);
        buffer_put_text(line, ",\"ca_pem\":");
        json_put_text(line, answer.enrol.ca_pem);
        return answer.enrol.request_sha256;
    }
    if (type != PAYLOAD_REFUSAL)
        fail("answer of a strange type", -EBADMSG);
    check("answer", refusal_decode(plain, arena, &answer.refusal));
    buffer_printf(line, "\"type\":\"refusal\",\"reason\":\"%s\",\"retry_after_s\":%u",
        refusal_reason_name(answer.refusal.reason), answer.refusal.retry_after_s);
    return answer.refusal.request_sha256;
}

static void read_all(FILE *file, struct buffer *ret)
{
    uint8_t piece[4096];
    size_t n;
    while ((n = fread(piece, 1, sizeof(piece), file)) > 0 && ret->len < BODY_BYTES_MAX)
        buffer_put(ret, piece, n);
    check("standard input", buffer_finish(ret));
}

/* What an answer must name: the hash of the request's payload, or of the whole body where it is no envelope.
 */
static struct sha256 request_hash(struct bytes request)
{
    struct envelope envelope;
    return envelope_parse(request, &envelope) < 0 ? sha256_of(request) : envelope_payload_sha256(&envelope);
}

static int command_answer(struct handheld *handheld, const char *request_path, const char *key_path)
{
    _cleanup_buffer_ struct buffer body = {0}, request = {0}, key_text = {0}, plain = {0}, line = {0};
    _cleanup_arena_ struct arena arena;
    struct envelope envelope;
    struct verify_key server;

    check(request_path, files_read(world_posix(), request_path, BODY_BYTES_MAX, &request));
    check(key_path, files_read(world_posix(), key_path, VERIFIER_KEY_TEXT_MAX + 1, &key_text));
    while (key_text.len > 0 && key_text.data[key_text.len - 1] == '\n')
        key_text.len--;
    check(key_path, verify_key_parse(buffer_text(&key_text), &server));
    read_all(stdin, &body);
    check("envelope", envelope_parse(buffer_bytes(&body), &envelope));
    check("signature",
        envelope_open(&envelope, envelope.type, server.public_key, EXCHANGE_INFLATED_BYTES_MAX, &plain));
    arena_init(&arena, arena_budget_for(plain.len) + ENROLMENT_ANSWER_BYTES_MAX);
    buffer_put_u8(&line, '{');
    struct sha256 named = put_answer(handheld, envelope.type, buffer_bytes(&plain), &arena, &server, &line);
    struct sha256 wanted = request_hash(buffer_bytes(&request));
    if (!sha256_equal(&named, &wanted))
        fail("the answer is to another request", -EBADMSG);
    buffer_put_text(&line, "}\n");
    write_out(buffer_bytes(&line));
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct options options = {0};
    const char *words[3] = {"", "", ""};
    size_t count;
    struct handheld handheld;

    if (sodium_init() < 0 || command_line_parse("handheld", option_rows, ARRAY_LEN(option_rows), argc, argv,
                                 &options, words, 3, &count) < 0)
        return EXIT_FAILURE;
    handheld_init(&options, &handheld);
    if (count == 1 && strcmp(words[0], "id") == 0)
        return command_id(&handheld);
    if (count == 2 && strcmp(words[0], "enrol") == 0)
        return command_enrol(&handheld, words[1]);
    if (count == 1 && strcmp(words[0], "exchange") == 0)
        return command_exchange(&handheld);
    if (count == 1 && strcmp(words[0], "audit") == 0)
        return command_audit(&handheld);
    if (count == 1 && strcmp(words[0], "repair") == 0)
        return command_repair(&handheld);
    if (count == 3 && strcmp(words[0], "answer") == 0)
        return command_answer(&handheld, words[1], words[2]);
    fprintf(stderr, "handheld: id, enrol TOKEN-URL, exchange, audit, repair, or answer REQUEST-BODY KEY\n");
    return EXIT_FAILURE;
}
