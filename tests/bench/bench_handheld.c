/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/bench_handheld.h"

#include "base/text.h"
#include "proto/compression.h"

#include <errno.h>
#include <inttypes.h>

#define RECORDED_MS INT64_C(1700000000000)
#define RECORD_EVERY_MS 150000
#define LEVEL 6

void bench_must(int r, const char *what)
{
    if (r >= 0)
        return;
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(-r));
    exit(1);
}

/* 32 bytes that follow from the number and a purpose. */
static struct sha256 derive(uint64_t number, const char *purpose)
{
    _cleanup_buffer_ struct buffer text = {0};

    buffer_printf(&text, "bench/%s/%" PRIu64, purpose, number);
    bench_must(buffer_finish(&text), "memory");
    return sha256_of(buffer_bytes(&text));
}

void bench_handheld_init(struct bench_handheld *handheld, uint64_t number)
{
    char name[KEY_NAME_MAX + 1];
    const uint32_t *names = NULL;

    *handheld = (struct bench_handheld){.random = UINT64_C(88172645463325252) + number * 2654435761u};
    handheld->device = uuid_from_random(derive(number, "device").b);
    handheld->log = uuid_from_random(derive(number, "log").b);
    bench_must(device_key_name("gridpatrol", "default", &handheld->device, name), "name");
    sign_key_from_seed(name, derive(number, "key").b, &handheld->key);
    handheld->dictionary = dictionary_names(&names) > 0 ? names[0] : DICTIONARY_NONE;
}

static uint64_t draw(struct bench_handheld *handheld)
{
    handheld->random ^= handheld->random << 13;
    handheld->random ^= handheld->random >> 7;
    handheld->random ^= handheld->random << 17;
    return handheld->random;
}

/* A note of some 110 bytes, of words that repeat as people's do. */
static size_t write_note(struct bench_handheld *handheld, char *ret, size_t len_max)
{
    static const char *const words[] = {"pavement", "broken", "hoarding", "torn", "litter", "beside", "the",
        "school", "gate", "street", "light", "dark", "since", "Monday", "cars", "on", "tactile", "paving",
        "cover", "loose", "water", "standing", "after", "rain", "reported", "again", "near", "number", "bus",
        "stop", "corner", "market"};
    int len = snprintf(ret, len_max, "%u ", (unsigned)(draw(handheld) % 900));

    while ((size_t)len < 100)
        len += snprintf(ret + len, len_max - (size_t)len, "%s ",
            words[draw(handheld) % (sizeof(words) / sizeof(*words))]);
    return (size_t)len;
}

void bench_handheld_record(struct bench_handheld *handheld, struct buffer *ret)
{
    size_t start = ret->len;
    char note[256], code[8];
    size_t note_len = write_note(handheld, note, sizeof(note));
    struct record record = {.kind = RECORD_FINDING,
        .wall_ms = RECORDED_MS + (int64_t)handheld->size * RECORD_EVERY_MS,
        .utc_offset_min = 480,
        .boot_ms = handheld->size * RECORD_EVERY_MS,
        .inspector = bytes_of_text("inspector-07"),
        .finding = {.category = {.scheme = bytes_of_text("GB/T 47678.5"), .version = bytes_of_text("2026")},
            .severity = (enum severity)(1 + draw(handheld) % 4),
            .note = bytes_of(note, note_len),
            .has_position = true,
            .position = {.lat_e7 = 407801253 + (int32_t)(draw(handheld) % 1000000),
                .lon_e7 = -739530344 + (int32_t)(draw(handheld) % 1000000),
                .accuracy_dm = 32}}};
    struct sha256 leaf;

    snprintf(code, sizeof(code), "%05u", (unsigned)(draw(handheld) % 250));
    record.finding.category.code = bytes_of_text(code);
    if (handheld->size == 0)
        record = (struct record){.kind = RECORD_OPENED, .wall_ms = RECORDED_MS};
    bench_must(record_encode(&record, ret), "encode a record");
    leaf = merkle_leaf(bytes_of(ret->data + start, ret->len - start));
    bench_must(merkle_append(&handheld->frontier, &leaf), "append");
    handheld->size++;
}

static void seal(struct bench_handheld *handheld, struct exchange_request *request, struct buffer *plain,
    struct buffer *ret_body)
{
    struct checkpoint checkpoint = {
        .size = handheld->frontier.size, .root = merkle_root(&handheld->frontier)};
    _cleanup_buffer_ struct buffer note = {0};

    bench_must(origin_format("gridpatrol", "default", &handheld->log, checkpoint.origin), "origin");
    bench_must(checkpoint_sign(&checkpoint, &handheld->key, &note), "sign");
    request->checkpoint = buffer_bytes(&note);
    bench_must(exchange_request_encode(request, plain), "encode a request");
    bench_must(envelope_seal(PAYLOAD_EXCHANGE_REQUEST, buffer_bytes(plain), LEVEL, handheld->dictionary,
                   &handheld->device, &handheld->key, ret_body, NULL),
        "seal (try a smaller batch)");
}

void bench_handheld_exchange(struct bench_handheld *handheld, size_t count, struct buffer *ret_body)
{
    struct exchange_request request = {.log = handheld->log,
        .first_seq = handheld->size,
        .record_count = count,
        .as_columns = handheld->as_columns};
    _cleanup_free_ struct bytes *records = calloc(count, sizeof(*records));
    _cleanup_free_ size_t *ends = calloc(count, sizeof(*ends));
    _cleanup_buffer_ struct buffer bytes = {0}, plain = {0};

    if (!records || !ends)
        bench_must(-ENOMEM, "an exchange");
    for (size_t i = 0; i < count; i++) {
        bench_handheld_record(handheld, &bytes);
        ends[i] = bytes.len;
    }
    for (size_t i = 0, start = 0; i < count; start = ends[i++])
        records[i] = bytes_of(bytes.data + start, ends[i] - start);
    request.records = records;
    memcpy(request.request_id, &handheld->size, sizeof(handheld->size)); /* another one each time */
    seal(handheld, &request, &plain, ret_body);
}

void bench_handheld_enrolment(
    const struct bench_handheld *handheld, const uint8_t token[ENROL_TOKEN_BYTES], struct buffer *ret_body)
{
    struct enrol_request request = {.device = handheld->device, .software = bytes_of_text("bench")};

    memcpy(request.token, token, ENROL_TOKEN_BYTES);
    memcpy(request.public_key, handheld->key.public.public_key, SIGN_PUBLIC_BYTES);
    bench_must(enrol_request_encode(&request, &handheld->key, ret_body), "enrol");
}
