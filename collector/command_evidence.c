/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `patrol export --evidence` and `patrol verify`: one finding with all that proves it, in a file that is
 * checked offline.
 */
#include "base/output_file.h"
#include "base/rfc3339.h"
#include "collector/commands.h"
#include "collector/kept_photo.h"
#include "proto/evidence.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sodium.h>
#include <sys/stat.h>

#define COPY_CHUNK 65536u
#define EVIDENCE_HEAD_MAX (4u * RECORD_BYTES_MAX)
#define KEY_FILE_MAX 4096u

/* ---- export ---- */

struct export
{
    struct program *program;
    struct store *store;
    struct store_record stored;
    struct buffer bytes, receipt, trust;
    struct evidence evidence;
    struct sha256 proof[MERKLE_DEPTH_MAX];
    struct sha256 blobs[2 * FINDING_PHOTOS_MAX];
    uint64_t blob_sizes[2 * FINDING_PHOTOS_MAX];
};

static void export_done(struct export *export)
{
    buffer_done(&export->bytes);
    buffer_done(&export->receipt);
    buffer_done(&export->trust);
}

static void add_blob(struct export *export, const struct sha256 *sha256, uint64_t size)
{
    for (size_t i = 0; i < export->evidence.blob_count; i++)
        if (sha256_equal(&export->blobs[i], sha256))
            return;
    export->blobs[export->evidence.blob_count] = *sha256;
    export->blob_sizes[export->evidence.blob_count] = size;
    export->evidence.blob_count++;
}

static enum exit_status list_blobs(struct export *export)
{
    _cleanup_arena_ struct arena arena;
    arena_init(&arena, arena_budget_for(export->stored.recorded.len));
    struct record record;
    const char *reason = "it cannot be read";
    int r = record_decode(export->stored.recorded, &arena, &record, &reason);
    if (r == -ENOMEM)
        return complain_store(export->program, r, "read the record");
    if (r < 0)
        return complain(EXIT_STATUS_FAILED, "this record cannot be exported: %s", reason);
    const struct finding *finding = record_finding(&record);
    if (!finding && record.kind != RECORD_WITHDRAWAL)
        return complain(
            EXIT_STATUS_REFUSED, "evidence: this is no finding; give the id that patrol record printed");
    for (size_t i = 0; finding && i < finding->photo_count; i++) {
        add_blob(export, &finding->photos[i].sha256, finding->photos[i].size);
        if (finding->photos[i].preview_size > 0)
            add_blob(export, &finding->photos[i].preview_sha256, finding->photos[i].preview_size);
    }
    return EXIT_STATUS_DONE;
}

/* Whoever checks may have pinned an older key of the centre than the receipt's; and the receipt may be by an
 * older key of this handheld. */
static enum exit_status name_keys(struct export *export)
{
    _cleanup_arena_ struct arena arena;
    struct trust trust;
    arena_init(&arena, arena_budget_for(TRUST_LIST_BYTES_MAX));
    if (enrolment_trust(&export->program->enrolment, &arena, &trust) < 0 ||
        trust_list_encode(&trust, 0, TRUST_KEYS, &export->trust) < 0 ||
        enrolment_certificate_of(&export->program->enrolment, &trust, buffer_bytes(&export->receipt),
            &export->evidence.certificate) < 0)
        return complain(EXIT_STATUS_FAILED, "out of memory");
    export->evidence.trust = buffer_bytes(&export->trust);
    return EXIT_STATUS_DONE;
}

static enum exit_status prove(struct export *export)
{
    struct program *program = export->program;
    const struct position_in_log *at = &export->stored.at;
    uint64_t size = 0;
    int r = store_receipt(export->store, &at->log, &size, &export->receipt);
    if (r == -ENOENT || (r >= 0 && size <= at->seq))
        return complain(EXIT_STATUS_FAILED,
            "evidence: this finding has no receipt of the centre yet; run: patrol sync --wait 60");
    struct merkle_source source;
    if (r >= 0)
        r = store_merkle_source(export->store, &at->log, &source);
    if (r >= 0)
        r = merkle_prove_inclusion(&source, at->seq, size, export->proof, &export->evidence.proof_count);
    if (r < 0)
        return complain_store(program, r, "prove the finding");
    export->evidence.log = at->log;
    export->evidence.seq = at->seq;
    export->evidence.record = export->stored.record;
    export->evidence.proof = export->proof;
    export->evidence.receipt = buffer_bytes(&export->receipt);
    export->evidence.blobs = export->blobs;
    export->evidence.blob_sizes = export->blob_sizes;
    return name_keys(export);
}

static enum exit_status complain_output(const struct export *export, int r)
{
    const char *path = export->program->options.output;
    if (r == -ENOSPC || r == -EDQUOT)
        return complain(EXIT_STATUS_NO_SPACE, "output: %s: the disk is full; nothing was written", path);
    return complain(EXIT_STATUS_FAILED, "output: %s: %s; nothing was written", path, strerror(-r));
}

/* What kept_photo_read() said instead of the next chunk. */
static enum exit_status complain_photo(const struct export *export, const struct sha256 *sha256, ssize_t n)
{
    uint64_t erased_by = 0;
    int r = n == 0 || n == -ENOENT ? store_blob_erased_by(export->store, sha256, &erased_by) : (int)n;

    if (r < 0)
        return complain_store(export->program, r, "read a photo of this finding");
    if (erased_by > 0)
        return complain(EXIT_STATUS_REFUSED,
            "evidence: a photo of this finding was erased by order %llu of the centre; nothing was written",
            (unsigned long long)erased_by);
    return complain(EXIT_STATUS_FAILED,
        "evidence: a photo of this finding is damaged or no longer on this handheld; nothing was written");
}

static enum exit_status write_blob(struct export *export, struct output_file *file, size_t index)
{
    uint8_t chunk[COPY_CHUNK];
    struct kept_photo photo;

    kept_photo_start(export->store, &export->blobs[index], export->blob_sizes[index], &photo);
    while (photo.at < photo.size) {
        ssize_t n = kept_photo_read(&photo, chunk, sizeof(chunk));
        if (n <= 0)
            return complain_photo(export, &photo.sha256, n);
        int r = output_file_write(file, chunk, (size_t)n);
        if (r < 0)
            return complain_output(export, r);
    }
    return EXIT_STATUS_DONE;
}

static enum exit_status write_output(struct export *export)
{
    _cleanup_(output_file_done) struct output_file file = {.fd = -1};
    _cleanup_buffer_ struct buffer head = {0};
    int r = evidence_head_encode(&export->evidence, &head);
    if (r < 0)
        return complain(EXIT_STATUS_FAILED, "this record cannot be exported: %s", strerror(-r));
    r = output_file_open(export->program->options.output, &file);
    if (r >= 0)
        r = output_file_write(&file, head.data, head.len);
    if (r < 0)
        return complain_output(export, r);
    enum exit_status status = EXIT_STATUS_DONE;
    for (size_t i = 0; status == EXIT_STATUS_DONE && i < export->evidence.blob_count; i++)
        status = write_blob(export, &file, i);
    if (status != EXIT_STATUS_DONE)
        return status;
    r = output_file_finish(&file);
    return r < 0 ? complain_output(export, r) : EXIT_STATUS_DONE;
}

enum exit_status command_export(struct program *program, const char *const *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    const struct patrol_options *options = &program->options;
    if (options->bundle && !options->evidence && !options->output)
        return command_export_bundle(program);
    if (!options->evidence || !options->output || options->bundle || options->all || options->json)
        return complain(EXIT_STATUS_USAGE,
            "export needs --evidence ID and -o FILE, or --bundle FILE; see patrol export --help");
    struct uuid id;
    if (text_parse_uuid(options->evidence, id.b) < 0)
        return complain(EXIT_STATUS_REFUSED, "evidence: \"%.60s\" is no record id; patrol list shows them",
            options->evidence);
    enum exit_status status = program_need_enrolment(program, EXIT_STATUS_FAILED);
    if (status != EXIT_STATUS_DONE)
        return status;
    _cleanup_store_ struct store *store = NULL;
    if (program_open_store(program, STORE_COLLECTOR, &store, &status) < 0)
        return status;
    _cleanup_(export_done) struct export export = {.program = program, .store = store};
    int r = store_find(store, &id, &export.bytes, &export.stored);
    if (r == -ENOENT)
        return complain_no_record(store, "evidence", options->evidence);
    if (r < 0)
        return complain_store(program, r, "read the record");
    if (export.stored.is_erased) {
        char order[ORDER_TEXT_MAX];
        order_text(export.stored.erased_by, order);
        return complain(EXIT_STATUS_REFUSED,
            "evidence: %s was erased by %s: its bytes and photos are gone, here and there", options->evidence,
            order);
    }
    status = list_blobs(&export);
    if (status == EXIT_STATUS_DONE)
        status = prove(&export);
    return status == EXIT_STATUS_DONE ? write_output(&export) : status;
}

/* ---- verify ---- */

static int read_start(int fd, size_t len_max, struct buffer *ret)
{
    while (ret->len < len_max) {
        uint8_t *room = buffer_extend(ret, COPY_CHUNK);
        if (!room)
            return -ENOMEM;
        ssize_t n = read(fd, room, COPY_CHUNK);
        ret->len -= COPY_CHUNK - (n > 0 ? (size_t)n : 0);
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
    }
    return 0;
}

static enum exit_status read_server_key(const char *path, struct verify_key *ret)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    _cleanup_buffer_ struct buffer text = {0};
    int r = fd < 0 ? -errno : read_start(fd, KEY_FILE_MAX, &text);
    if (r < 0)
        return complain(EXIT_STATUS_REFUSED, "server-key: %s: %s", path, strerror(-r));
    while (text.len > 0 && (text.data[text.len - 1] == '\n' || text.data[text.len - 1] == '\r'))
        text.len--;
    const char *line = buffer_text(&text);
    if (!line || verify_key_parse(line, ret) < 0)
        return complain(EXIT_STATUS_REFUSED,
            "server-key: %s holds no key; write one with: patrol-server key -o FILE", path);
    return EXIT_STATUS_DONE;
}

/* Hashes each photo behind the head; the file must end with the last one. */
static int check_blobs(int fd, const struct evidence *evidence, size_t offset, enum evidence_verdict *verdict)
{
    uint8_t chunk[COPY_CHUNK];
    uint64_t at = offset;
    for (size_t i = 0; i < evidence->blob_count; i++) {
        crypto_hash_sha256_state state;
        crypto_hash_sha256_init(&state);
        uint64_t left = evidence->blob_sizes[i];
        while (left > 0) {
            size_t wanted = left < sizeof(chunk) ? (size_t)left : sizeof(chunk);
            ssize_t n = pread(fd, chunk, wanted, (off_t)at);
            if (n < 0)
                return -errno;
            if (n == 0)
                break;
            crypto_hash_sha256_update(&state, chunk, (unsigned long long)n);
            at += (uint64_t)n;
            left -= (uint64_t)n;
        }
        struct sha256 hash;
        crypto_hash_sha256_final(&state, hash.b);
        if (left > 0 || !sha256_equal(&hash, &evidence->blobs[i])) {
            *verdict = EVIDENCE_PHOTO_ALTERED;
            return 0;
        }
    }
    if (pread(fd, chunk, 1, (off_t)at) > 0)
        *verdict = EVIDENCE_PHOTO_ALTERED; /* bytes that nothing vouches for */
    return 0;
}

static json_t *text_of(struct bytes bytes)
{
    return json_stringn((const char *)bytes.data ? (const char *)bytes.data : "", bytes.len);
}

static json_t *instant_of(int64_t unix_ms, int32_t offset_min)
{
    char text[RFC3339_LEN + 1];
    rfc3339_format(unix_ms, offset_min, text);
    return json_string(text);
}

static json_t *uuid_of(const struct uuid *uuid)
{
    char text[UUID_TEXT_LEN + 1];
    text_uuid(uuid->b, text);
    return json_string(text);
}

static json_t *verified_object(const struct evidence *evidence, const struct evidence_facts *facts)
{
    json_t *object = json_pack("{s:b, s:s}", "genuine", (int)(facts->verdict == EVIDENCE_GENUINE), "verdict",
        evidence_verdict_text(facts->verdict));
    if (!object || facts->verdict != EVIDENCE_GENUINE)
        return object;
    const struct record *record = &facts->record;
    const struct finding *finding = record_finding(record);
    json_object_set_new(object, "id", uuid_of(&facts->id));
    json_object_set_new(object, "kind", json_string(record_kind_name(record->kind)));
    json_object_set_new(object, "device", uuid_of(&facts->certificate.device));
    json_object_set_new(object, "device_name", text_of(facts->certificate.name));
    json_object_set_new(object, "authority", text_of(facts->certificate.authority));
    json_object_set_new(object, "tenant", text_of(facts->certificate.tenant));
    json_object_set_new(object, "inspector", text_of(record->inspector));
    json_object_set_new(object, "recorded_at", instant_of(record->wall_ms, record->utc_offset_min));
    json_object_set_new(object, "log", uuid_of(&evidence->log));
    json_object_set_new(object, "seq", json_integer((json_int_t)evidence->seq));
    json_object_set_new(object, "receipt_size", json_integer((json_int_t)facts->receipt_size));
    json_object_set_new(object, "receipt_at", instant_of((int64_t)facts->receipt_time_s * 1000, 0));
    json_object_set_new(object, "photos", json_integer((json_int_t)evidence->blob_count));
    if (finding) {
        json_object_set_new(object, "category", text_of(finding->category.code));
        json_object_set_new(object, "note", text_of(finding->note));
    }
    if (finding && finding->has_position) {
        json_object_set_new(object, "lat", json_real((double)finding->position.lat_e7 / 1e7));
        json_object_set_new(object, "lon", json_real((double)finding->position.lon_e7 / 1e7));
    }
    return object;
}

static enum exit_status print_verdict(const struct program *program, const char *path,
    const struct evidence *evidence, const struct evidence_facts *facts)
{
    bool genuine = facts->verdict == EVIDENCE_GENUINE;
    json_t *object = verified_object(evidence, facts);
    if (!object)
        return complain(EXIT_STATUS_FAILED, "out of memory");
    if (program->options.json) {
        print_json_object(json_incref(object));
    } else if (genuine) {
        const char *name;
        json_t *value;
        printf("%s is genuine\n", path);
        json_object_foreach(object, name, value)
        {
            if (json_is_boolean(value) || strcmp(name, "verdict") == 0)
                continue;
            char *text =
                json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(10));
            printf("  %-12s ", name);
            print_one_line(text ? text : json_string_value(value));
            free(text);
        }
    } else {
        complain(EXIT_STATUS_FAILED, "%s: %s", path, evidence_verdict_text(facts->verdict));
    }
    json_decref(object);
    return genuine ? EXIT_STATUS_DONE : EXIT_STATUS_FAILED;
}

enum exit_status command_verify(struct program *program, const char *const *arguments, size_t count)
{
    (void)count;
    const char *path = arguments[0];
    if (!program->options.server_key)
        return complain(
            EXIT_STATUS_USAGE, "verify needs --server-key FILE, written by: patrol-server key -o FILE");
    struct verify_key key;
    enum exit_status status = read_server_key(program->options.server_key, &key);
    if (status != EXIT_STATUS_DONE)
        return status;
    /* A pipe without a writer must not make it wait. */
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat found;
    if (fd < 0 || fstat(fd, &found) < 0)
        return complain(EXIT_STATUS_REFUSED, "%s: %s", path, strerror(errno));
    if (!S_ISREG(found.st_mode))
        return complain(EXIT_STATUS_REFUSED, "%s: is no regular file; name an evidence file", path);
    _cleanup_buffer_ struct buffer start = {0};
    int r = read_start(fd, EVIDENCE_HEAD_MAX, &start);
    if (r < 0)
        return complain(EXIT_STATUS_REFUSED, "%s: %s", path, strerror(-r));
    _cleanup_arena_ struct arena arena;
    arena_init(&arena, 2 * arena_budget_for(EVIDENCE_HEAD_MAX));
    struct evidence evidence;
    size_t offset;
    if (evidence_head_decode(buffer_bytes(&start), &arena, &evidence, &offset) < 0)
        return complain(
            EXIT_STATUS_REFUSED, "%s is no evidence file of this version, or its head is damaged", path);
    struct evidence_facts facts;
    r = evidence_check(&evidence, &key, &arena, &facts);
    if (r >= 0 && facts.verdict == EVIDENCE_GENUINE)
        r = check_blobs(fd, &evidence, offset, &facts.verdict);
    if (r < 0)
        return complain(EXIT_STATUS_FAILED, "%s cannot be checked: %s", path, strerror(-r));
    return print_verdict(program, path, &evidence, &facts);
}
