/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tests of proto/messages.h and of the messages in proto/enrolment.h against tests/vectors/messages.tsv, and
 * against what protobuf-c reads. All types go through the same tests.
 */
#include "tests/unit/failing_malloc.h"
#include "tests/unit/proto/message_samples.h"

#include "proto/merkle.h"

#include <errno.h>

#define VECTORS "tests/vectors/messages.tsv"
#define BUDGET (1024u * 1024u)

/* Room for the largest message's struct, aligned for any. */
union any_message {
    struct exchange_answer exchange_answer;
    struct audit_answer audit_answer;
    struct enrol_answer enrol_answer;
    struct exchange_request exchange_request;
};

static const void *sample_of(const struct message_samples *samples, const struct message_type *type)
{
    return (const uint8_t *)samples + type->sample_offset;
}

/* The message's bytes once more, from what was decoded out of them. */
static int recode(const struct message_type *type, struct bytes bytes, struct buffer *ret)
{
    _cleanup_arena_ struct arena arena;
    union any_message message;
    int r;

    arena_init(&arena, BUDGET);
    r = type->decode(bytes, &arena, &message);
    if (r < 0)
        return r;
    assert_int_equal(type->encode(&message, ret), 0);
    return 0;
}

static void full_messages_are_encoded_as_the_independent_writer_does(void **state)
{
    struct vector_file vectors = vector_open(VECTORS);
    _cleanup_message_samples_ struct message_samples samples;
    size_t checked = 0;

    message_samples_init(&samples);
    while (vector_next(&vectors, "message")) {
        const struct message_type *type = message_type_of(vectors.fields[1]);
        _cleanup_buffer_ struct buffer encoded = {0};

        if (strcmp(vectors.fields[2], "full") != 0)
            continue;
        assert_int_equal(type->encode(sample_of(&samples, type), &encoded), 0);
        assert_bytes_equal(buffer_bytes(&encoded), vector_bytes(&vectors, 3));
        checked++;
    }
    vector_close(&vectors);
    assert_int_equal(checked, ARRAY_LEN(message_types));
}

static void assert_encoded_as(const char *what, const char *name, const void *message)
{
    struct vector_file vectors = vector_open(VECTORS);
    _cleanup_buffer_ struct buffer encoded = {0};

    do
        assert_true(vector_next(&vectors, "message"));
    while (strcmp(vectors.fields[1], what) != 0 || strcmp(vectors.fields[2], name) != 0);
    assert_int_equal(message_type_of(what)->encode(message, &encoded), 0);
    assert_bytes_equal(buffer_bytes(&encoded), vector_bytes(&vectors, 3));
    vector_close(&vectors);
}

/* What is decoded lives in the buffer and the arena. */
static void decode_again(const struct exchange_answer *answer, struct buffer *encoded, struct arena *arena,
    struct exchange_answer *ret)
{
    assert_int_equal(exchange_answer_encode(answer, encoded), 0);
    arena_init(arena, BUDGET);
    assert_int_equal(exchange_answer_decode(buffer_bytes(encoded), arena, ret), 0);
}

static void a_fork_names_the_leaf_that_the_server_holds(void **state)
{
    struct exchange_answer answer = sample_fork_answer(), decoded;
    _cleanup_buffer_ struct buffer encoded = {0};
    _cleanup_arena_ struct arena arena;

    assert_encoded_as("exchange_answer", "fork", &answer);
    decode_again(&answer, &encoded, &arena, &decoded);
    assert_int_equal(decoded.outcome, EXCHANGE_FORK);
    assert_int_equal(decoded.fork_seq, 299);
    assert_true(sha256_equal(&decoded.fork_leaf, &answer.fork_leaf));
}

static void an_answer_says_why_there_is_no_upload_token(void **state)
{
    const struct exchange_answer answer = {.request_sha256 = sample_hash("request"),
        .incarnation = sample_incarnation(),
        .size = 300,
        .receipt = bytes_of_text("a receipt\n"),
        .server_time_ms = SAMPLE_SERVER_TIME_MS,
        .no_upload = NO_UPLOAD_OVER_QUOTA};
    _cleanup_buffer_ struct buffer encoded = {0};
    _cleanup_arena_ struct arena arena;
    struct exchange_answer decoded;

    assert_encoded_as("exchange_answer", "no upload", &answer);
    decode_again(&answer, &encoded, &arena, &decoded);
    assert_int_equal(decoded.no_upload, NO_UPLOAD_OVER_QUOTA);
}

static void an_answer_has_the_certificate_of_the_next_key(void **state)
{
    struct exchange_answer answer = {.request_sha256 = sample_hash("request"),
        .incarnation = sample_incarnation(),
        .size = 300,
        .receipt = bytes_of_text("a receipt\n"),
        .server_time_ms = SAMPLE_SERVER_TIME_MS,
        .next_certificate = bytes_of_text("a certificate")};
    static const uint8_t too_long[ENROLMENT_BYTES_MAX + 1];
    _cleanup_buffer_ struct buffer encoded = {0};
    _cleanup_arena_ struct arena arena;
    struct exchange_answer decoded;

    assert_encoded_as("exchange_answer", "next key", &answer);
    decode_again(&answer, &encoded, &arena, &decoded);
    assert_bytes_equal(decoded.next_certificate, answer.next_certificate);
    answer.next_certificate = bytes_of(too_long, sizeof(too_long));
    assert_true(exchange_answer_encode(&answer, &encoded) < 0);
}

static void a_request_asks_for_a_log_and_the_answer_says_what_a_backup_has_of_it(void **state)
{
    const struct exchange_answer answer = {.request_sha256 = sample_hash("request"),
        .incarnation = sample_incarnation(),
        .has_backed_up_log = true,
        .backed_up_log = {.size = 700, .root = merkle_leaf(bytes_of_text("root"))}};
    struct exchange_request request = {
        .log = sample_log, .has_asked_log = true, .asked_log = sample_other_log};
    _cleanup_buffer_ struct buffer asked = {0}, told = {0};
    _cleanup_arena_ struct arena arena;
    struct exchange_answer decoded;
    struct exchange_request decoded_request;

    sample_count_up(request.request_id, REQUEST_ID_BYTES, 0x10);
    assert_encoded_as("exchange_request", "asked log", &request);
    assert_encoded_as("exchange_answer", "backed up log", &answer);
    assert_int_equal(exchange_request_encode(&request, &asked), 0);
    assert_int_equal(exchange_answer_encode(&answer, &told), 0);
    arena_init(&arena, BUDGET);
    assert_int_equal(exchange_request_decode(buffer_bytes(&asked), &arena, &decoded_request), 0);
    assert_true(decoded_request.has_asked_log);
    assert_true(uuid_equal(&decoded_request.asked_log, &sample_other_log));
    assert_int_equal(exchange_answer_decode(buffer_bytes(&told), &arena, &decoded), 0);
    assert_true(decoded.has_backed_up_log);
    assert_int_equal(decoded.backed_up_log.size, 700);
    assert_true(sha256_equal(&decoded.backed_up_log.root, &answer.backed_up_log.root));
}

static void a_busy_refusal_says_why_and_a_cause_that_is_not_known_is_no_error(void **state)
{
    const struct refusal refusal = {.request_sha256 = sample_hash("request"),
        .reason = REFUSAL_BUSY,
        .message = bytes_of_text("the centre's disk is full"),
        .retry_after_s = 10,
        .server_time_ms = SAMPLE_SERVER_TIME_MS,
        .busy_cause = BUSY_FULL};
    _cleanup_buffer_ struct buffer encoded = {0};
    _cleanup_arena_ struct arena arena;
    struct refusal decoded;

    assert_encoded_as("refusal", "busy", &refusal);
    assert_int_equal(refusal_encode(&refusal, &encoded), 0);
    arena_init(&arena, BUDGET);
    assert_int_equal(refusal_decode(buffer_bytes(&encoded), &arena, &decoded), 0);
    assert_int_equal(decoded.busy_cause, BUSY_FULL);
    encoded.data[encoded.len - 1] = 99;
    assert_int_equal(refusal_decode(buffer_bytes(&encoded), &arena, &decoded), 0);
    assert_int_equal(decoded.reason, REFUSAL_BUSY);
    assert_int_equal(decoded.busy_cause, 99);
}

/* With the test before: encoding is right, and this is its inverse. */
static void decoded_messages_are_encoded_to_the_same_bytes(void **state)
{
    struct vector_file vectors = vector_open(VECTORS);
    size_t checked = 0;

    while (vector_next(&vectors, "message")) {
        const struct message_type *type = message_type_of(vectors.fields[1]);
        _cleanup_buffer_ struct buffer encoded = {0};
        struct bytes bytes = vector_bytes(&vectors, 3);

        assert_int_equal(recode(type, bytes, &encoded), 0);
        assert_bytes_equal(buffer_bytes(&encoded), bytes);
        checked++;
    }
    vector_close(&vectors);
    assert_true(checked > ARRAY_LEN(message_types));
}

static void fields_of_a_newer_sender_are_passed_over(void **state)
{
    struct vector_file newer = vector_open(VECTORS), plain = vector_open(VECTORS);
    size_t checked = 0;

    while (vector_next(&newer, "newer")) {
        const struct message_type *type = message_type_of(newer.fields[1]);
        _cleanup_buffer_ struct buffer encoded = {0};

        do
            assert_true(vector_next(&plain, "message"));
        while (strcmp(plain.fields[1], type->name) != 0);
        assert_int_equal(recode(type, vector_bytes(&newer, 2), &encoded), 0);
        assert_bytes_equal(buffer_bytes(&encoded), vector_bytes(&plain, 3));
        checked++;
    }
    vector_close(&newer);
    vector_close(&plain);
    assert_int_equal(checked, ARRAY_LEN(message_types));
}

static void broken_messages_are_refused(void **state)
{
    struct vector_file vectors = vector_open(VECTORS);
    size_t checked = 0;

    while (vector_next(&vectors, "refused")) {
        const struct message_type *type = message_type_of(vectors.fields[1]);
        _cleanup_arena_ struct arena arena;
        union any_message message;
        uint8_t untouched[sizeof(message)];

        memset(&message, 0x5a, sizeof(message));
        memset(untouched, 0x5a, sizeof(untouched));
        arena_init(&arena, BUDGET);
        if (type->decode(vector_bytes(&vectors, 3), &arena, &message) != -EBADMSG)
            fail_msg("%s: %s was taken", type->name, vectors.fields[2]);
        assert_memory_equal(&message, untouched, sizeof(untouched));
        checked++;
    }
    vector_close(&vectors);
    assert_true(checked > 50);
}

/* Fields stand in the order of their numbers, so a cut message either lacks whole fields at its end or is
 * refused. */
static void a_cut_message_is_refused_or_means_just_what_is_left(void **state)
{
    _cleanup_message_samples_ struct message_samples samples;

    message_samples_init(&samples);
    for (size_t i = 0; i < ARRAY_LEN(message_types); i++) {
        const struct message_type *type = &message_types[i];
        _cleanup_buffer_ struct buffer encoded = {0};

        assert_int_equal(type->encode(sample_of(&samples, type), &encoded), 0);
        for (size_t len = 0; len < encoded.len; len++) {
            _cleanup_buffer_ struct buffer again = {0};
            /* A copy of exactly this length, so that a sanitizer sees a read behind it. */
            uint8_t *cut = malloc(len > 0 ? len : 1);
            int r;

            assert_non_null(cut);
            memcpy(cut, encoded.data, len);
            r = recode(type, bytes_of(cut, len), &again);
            assert_true(r == -EBADMSG || bytes_equal(buffer_bytes(&again), bytes_of(cut, len)));
            free(cut);
        }
    }
}

static void a_budget_that_is_too_small_is_said_so(void **state)
{
    _cleanup_message_samples_ struct message_samples samples;

    message_samples_init(&samples);
    for (size_t i = 0; i < ARRAY_LEN(message_types); i++) {
        const struct message_type *type = &message_types[i];
        _cleanup_buffer_ struct buffer encoded = {0};
        int r = -ENOBUFS;

        assert_int_equal(type->encode(sample_of(&samples, type), &encoded), 0);
        for (size_t budget = 0; r < 0; budget++) {
            _cleanup_arena_ struct arena arena;
            union any_message message;

            arena_init(&arena, budget);
            r = type->decode(buffer_bytes(&encoded), &arena, &message);
            assert_true(r == 0 || r == -ENOBUFS);
            assert_true(budget <= arena_budget_for(encoded.len));
        }
    }
}

/* Takes away what a newer sender added, which protobuf-c keeps: ours are compared without it. */
static void drop_unknown_fields(ProtobufCMessage *message)
{
    for (unsigned i = 0; i < message->n_unknown_fields; i++)
        free(message->unknown_fields[i].data);
    free(message->unknown_fields);
    message->unknown_fields = NULL;
    message->n_unknown_fields = 0;
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        uint8_t *member = (uint8_t *)message + field->offset;

        if (field->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t count = *(size_t *)(void *)((uint8_t *)message + field->quantifier_offset);

            for (size_t j = 0; j < count; j++)
                drop_unknown_fields((*(ProtobufCMessage ***)(void *)member)[j]);
        } else if (*(ProtobufCMessage **)(void *)member) {
            drop_unknown_fields(*(ProtobufCMessage **)(void *)member);
        }
    }
}

/* What this program leaves away on purpose: versions it does not know of, and commands of a level it does not
 * know. */
static void drop_what_is_not_read(ProtobufCMessage *message)
{
    Wire__ExchangeAnswer *answer = (Wire__ExchangeAnswer *)(void *)message;
    Wire__EnrolAnswer *enrol = (Wire__EnrolAnswer *)(void *)message;
    Wire__Capabilities *capabilities = NULL;

    if (message->descriptor == &wire__exchange_answer__descriptor) {
        capabilities = answer->capabilities;
        for (size_t i = 0; i < answer->n_commands; i++)
            if (answer->commands[i]->resync_level == 0 || answer->commands[i]->resync_level > AUDIT_MEDIA + 1)
                answer->commands[i]->what_case = WIRE__COMMAND__WHAT__NOT_SET;
    } else if (message->descriptor == &wire__enrol_answer__descriptor) {
        capabilities = enrol->capabilities;
    }
    if (capabilities) {
        capabilities->n_protocol_versions = 0;
        capabilities->n_encodings = 0;
    }
}

static void pack_what_is_read(const struct message_type *type, struct bytes bytes, struct buffer *ret)
{
    ProtobufCMessage *message = protobuf_c_message_unpack(type->descriptor, NULL, bytes.len, bytes.data);

    assert_non_null(message);
    drop_unknown_fields(message);
    drop_what_is_not_read(message);
    protobuf_c_message_pack(message, buffer_extend(ret, protobuf_c_message_get_packed_size(message)));
    protobuf_c_message_free_unpacked(message, NULL);
}

static void changed_messages_are_read_as_protobuf_c_reads_them(void **state)
{
    _cleanup_message_samples_ struct message_samples samples;

    message_samples_init(&samples);
    for (size_t i = 0; i < ARRAY_LEN(message_types); i++) {
        const struct message_type *type = &message_types[i];
        _cleanup_buffer_ struct buffer encoded = {0};
        size_t taken = 0;

        assert_int_equal(type->encode(sample_of(&samples, type), &encoded), 0);
        for (size_t bit = 0; bit < encoded.len * 8; bit++) {
            _cleanup_buffer_ struct buffer ours = {0}, ours_read = {0}, theirs = {0};

            encoded.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            if (recode(type, buffer_bytes(&encoded), &ours) == 0) {
                pack_what_is_read(type, buffer_bytes(&ours), &ours_read);
                pack_what_is_read(type, buffer_bytes(&encoded), &theirs);
                assert_bytes_equal(buffer_bytes(&ours_read), buffer_bytes(&theirs));
                taken++;
            }
            encoded.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        assert_true(taken > 50);
    }
}

static void an_enrolment_that_was_signed_by_another_key_is_refused(void **state)
{
    _cleanup_message_samples_ struct message_samples samples;
    struct sign_key device = sample_device_key(), other = sample_server_key();
    _cleanup_buffer_ struct buffer encoded = {0};
    _cleanup_arena_ struct arena arena;
    struct enrol_request decoded;

    message_samples_init(&samples);
    arena_init(&arena, BUDGET);
    /* Claims the device's public key, signs with another secret one. */
    memcpy(other.public.public_key, device.public.public_key, SIGN_PUBLIC_BYTES);
    assert_int_equal(enrol_request_encode(&samples.enrol_request, &other, &encoded), 0);
    assert_int_equal(enrol_request_decode(buffer_bytes(&encoded), &arena, &decoded), -EKEYREJECTED);

    buffer_clear(&encoded);
    assert_int_equal(enrol_request_encode(&samples.enrol_request, &device, &encoded), 0);
    assert_int_equal(enrol_request_decode(buffer_bytes(&encoded), &arena, &decoded), 0);
    assert_memory_equal(decoded.public_key, device.public.public_key, SIGN_PUBLIC_BYTES);
}

static void every_bit_of_an_enrolment_but_its_software_is_signed(void **state)
{
    _cleanup_message_samples_ struct message_samples samples;
    _cleanup_buffer_ struct buffer encoded = {0};
    size_t software_len;

    message_samples_init(&samples);
    software_len = samples.enrol_request.software.len;
    assert_int_equal(sample_enrol_request_encode(&samples.enrol_request, &encoded), 0);
    for (size_t bit = 0; bit < (encoded.len - software_len - 2) * 8; bit++) {
        _cleanup_arena_ struct arena arena;
        struct enrol_request decoded;

        arena_init(&arena, BUDGET);
        encoded.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(enrol_request_decode(buffer_bytes(&encoded), &arena, &decoded) < 0);
        encoded.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void an_exchange_of_the_most_records_fits_its_budget(void **state)
{
    static struct bytes records[EXCHANGE_RECORDS_MAX + 1];
    _cleanup_message_samples_ struct message_samples samples;
    struct exchange_request request, decoded;
    _cleanup_buffer_ struct buffer encoded = {0};
    _cleanup_arena_ struct arena arena;

    message_samples_init(&samples);
    for (size_t i = 0; i < ARRAY_LEN(records); i++)
        records[i] = buffer_bytes(&samples.encoded[1]);
    request = samples.exchange_request;
    request.records = records;
    request.record_count = EXCHANGE_RECORDS_MAX;
    assert_int_equal(exchange_request_encode(&request, &encoded), 0);
    arena_init(&arena, arena_budget_for(encoded.len));
    assert_int_equal(exchange_request_decode(buffer_bytes(&encoded), &arena, &decoded), 0);
    assert_int_equal(decoded.record_count, EXCHANGE_RECORDS_MAX);
    assert_bytes_equal(decoded.records[EXCHANGE_RECORDS_MAX - 1], records[0]);

    buffer_clear(&encoded);
    request.record_count++;
    assert_int_equal(exchange_request_encode(&request, &encoded), -EMSGSIZE);
    assert_int_equal(encoded.len, 0);
}

static void one_record_more_than_the_most_is_refused(void **state)
{
    _cleanup_message_samples_ struct message_samples samples;
    struct exchange_request request, decoded;
    _cleanup_buffer_ struct buffer encoded = {0};
    _cleanup_arena_ struct arena arena;

    message_samples_init(&samples);
    request = samples.exchange_request;
    request.record_count = 0;
    assert_int_equal(exchange_request_encode(&request, &encoded), 0);
    for (size_t i = 0; i <= EXCHANGE_RECORDS_MAX; i++)
        buffer_put(&encoded, "\x22\x01x", 3);
    assert_int_equal(buffer_finish(&encoded), 0);
    arena_init(&arena, DECODE_BUDGET_BYTES_MAX);
    assert_int_equal(exchange_request_decode(buffer_bytes(&encoded), &arena, &decoded), -EBADMSG);
}

static void answers_with_the_longest_lists_fit_their_budgets(void **state)
{
    static struct quarantined quarantined[EXCHANGE_QUARANTINED_MAX];
    static struct run runs[AUDIT_RUNS_MAX + 1];
    static struct sha256 tile_roots[4096];
    _cleanup_message_samples_ struct message_samples samples;
    _cleanup_buffer_ struct buffer exchange = {0}, audit = {0};
    _cleanup_arena_ struct arena arena;
    struct exchange_answer exchange_answer;
    struct audit_answer audit_answer;

    message_samples_init(&samples);
    for (size_t i = 0; i < ARRAY_LEN(quarantined); i++)
        quarantined[i] = (struct quarantined){.seq = i, .reason = bytes_of_text("note is not UTF-8")};
    samples.exchange_answer.quarantined = quarantined;
    samples.exchange_answer.quarantined_count = ARRAY_LEN(quarantined);
    assert_int_equal(exchange_answer_encode(&samples.exchange_answer, &exchange), 0);
    arena_init(&arena, arena_budget_for(exchange.len));
    assert_int_equal(exchange_answer_decode(buffer_bytes(&exchange), &arena, &exchange_answer), 0);
    assert_int_equal(exchange_answer.quarantined[1023].seq, 1023);

    for (size_t i = 0; i < ARRAY_LEN(runs); i++)
        runs[i] = (struct run){.first = 2 * i, .count = 1};
    samples.audit_answer.missing = runs;
    samples.audit_answer.missing_count = AUDIT_RUNS_MAX;
    samples.audit_answer.tile_roots = tile_roots;
    samples.audit_answer.tile_root_count = ARRAY_LEN(tile_roots);
    assert_int_equal(audit_answer_encode(&samples.audit_answer, &audit), 0);
    arena_reset(&arena, arena_budget_for(audit.len));
    assert_int_equal(audit_answer_decode(buffer_bytes(&audit), &arena, &audit_answer), 0);
    assert_int_equal(audit_answer.missing[AUDIT_RUNS_MAX - 1].first, 2 * (AUDIT_RUNS_MAX - 1));

    /* In the short form they take a few bytes each, and as much memory as ever. */
    buffer_clear(&audit);
    samples.audit_answer.tile_root_count = 0;
    samples.audit_answer.uses_run_lists = true;
    assert_int_equal(audit_answer_encode(&samples.audit_answer, &audit), 0);
    assert_true(audit.len < 2 * AUDIT_RUNS_MAX + 1024);
    arena_reset(&arena, arena_budget_for(audit.len) + AUDIT_RUNS_MAX * sizeof(struct run));
    assert_int_equal(audit_answer_decode(buffer_bytes(&audit), &arena, &audit_answer), 0);
    assert_int_equal(audit_answer.missing_count, AUDIT_RUNS_MAX);
    for (size_t i = 0; i < AUDIT_RUNS_MAX; i++)
        assert_int_equal(audit_answer.missing[i].first, 2 * i);

    buffer_clear(&audit);
    samples.audit_answer.missing_count++;
    assert_int_equal(audit_answer_encode(&samples.audit_answer, &audit), -EMSGSIZE);
}

static void what_is_over_a_limit_is_not_encoded(void **state)
{
    static char long_text[RECORD_BYTES_MAX + 1];
    _cleanup_message_samples_ struct message_samples samples, good;
    _cleanup_buffer_ struct buffer encoded = {0};
    const struct position_in_log beyond = {.log = sample_log, .seq = LOG_SIZE_MAX};
    struct bytes long_record = bytes_of(long_text, sizeof(long_text));

    message_samples_init(&samples);
    message_samples_init(&good);
#define ASSERT_TOO_LARGE(type, field, value)                                                                 \
    do {                                                                                                     \
        samples.type.field = (value);                                                                        \
        assert_int_equal(generic_##type##_encode(&samples.type, &encoded), -EMSGSIZE);                       \
        samples.type.field = good.type.field;                                                                \
    } while (0)
    ASSERT_TOO_LARGE(exchange_request, records, &long_record);
    ASSERT_TOO_LARGE(exchange_request, first_seq, LOG_SIZE_MAX - 2);
    ASSERT_TOO_LARGE(exchange_request, checkpoint, bytes_of(long_text, NOTE_TEXT_BYTES_MAX + 1));
    ASSERT_TOO_LARGE(exchange_request, certificate, bytes_of(long_text, ENROLMENT_BYTES_MAX + 1));
    ASSERT_TOO_LARGE(exchange_request, asked_blob_count, EXCHANGE_ASKED_BLOBS_MAX + 1);
    ASSERT_TOO_LARGE(exchange_request, asked_quarantined_count, EXCHANGE_ASKED_QUARANTINED_MAX + 1);
    ASSERT_TOO_LARGE(exchange_request, asked_quarantined, &beyond);
    ASSERT_TOO_LARGE(exchange_request, command_result_count, EXCHANGE_COMMAND_RESULTS_MAX + 1);
    ASSERT_TOO_LARGE(exchange_request, status.software, bytes_of(long_text, SOFTWARE_BYTES_MAX + 1));
    ASSERT_TOO_LARGE(exchange_answer, size, LOG_SIZE_MAX + 1);
    ASSERT_TOO_LARGE(exchange_answer, quarantined_count, EXCHANGE_QUARANTINED_MAX + 1);
    ASSERT_TOO_LARGE(exchange_answer, released_count, EXCHANGE_ASKED_QUARANTINED_MAX + 1);
    ASSERT_TOO_LARGE(exchange_answer, released, &beyond);
    ASSERT_TOO_LARGE(exchange_answer, wanted_blob_count, EXCHANGE_WANTED_BLOBS_MAX + 1);
    ASSERT_TOO_LARGE(exchange_answer, stored_blob_count, EXCHANGE_ASKED_BLOBS_MAX + 1);
    ASSERT_TOO_LARGE(exchange_answer, reference_change_count, EXCHANGE_REFERENCE_CHANGES_MAX + 1);
    ASSERT_TOO_LARGE(exchange_answer, command_count, EXCHANGE_COMMANDS_MAX + 1);
    ASSERT_TOO_LARGE(exchange_answer, upload_token, bytes_of(long_text, SEALED_TOKEN_BYTES_MAX + 1));
    ASSERT_TOO_LARGE(exchange_answer, capabilities.dictionary_count, CAPABILITY_VALUES_MAX + 1);
    ASSERT_TOO_LARGE(refusal, message, bytes_of(long_text, REASON_BYTES_MAX + 1));
    ASSERT_TOO_LARGE(audit_request, checkpoint, bytes_of(long_text, NOTE_TEXT_BYTES_MAX + 1));
    ASSERT_TOO_LARGE(audit_answer, tile_root_count, AUDIT_WINDOW_RECORDS_MAX + 1);
    ASSERT_TOO_LARGE(audit_answer, blob_count, AUDIT_WINDOW_BLOBS_MAX + 1);
    ASSERT_TOO_LARGE(repair_request, run_count, REPAIR_RUNS_MAX + 1);
    ASSERT_TOO_LARGE(repair_request, lost_count, REPAIR_LOST_MAX + 1);
    ASSERT_TOO_LARGE(repair_request, bare_run_count, REPAIR_RUNS_MAX + 1);
    ASSERT_TOO_LARGE(repair_request, bare_record_count, REPAIR_RECORDS_MAX + 1);
    ASSERT_TOO_LARGE(repair_request, size, 199);
    ASSERT_TOO_LARGE(repair_answer, size, LOG_SIZE_MAX + 1);
    ASSERT_TOO_LARGE(enrol_request, software, bytes_of(long_text, SOFTWARE_BYTES_MAX + 1));
    ASSERT_TOO_LARGE(enrol_answer, ca_pem, bytes_of(long_text, CA_PEM_BYTES_MAX + 1));
#undef ASSERT_TOO_LARGE
    assert_int_equal(encoded.len, 0);
}

static void a_repair_has_its_most_records_in_all_its_runs_together(void **state)
{
    static struct bytes records[REPAIR_RECORDS_MAX];
    _cleanup_message_samples_ struct message_samples samples;
    _cleanup_buffer_ struct buffer encoded = {0};
    _cleanup_arena_ struct arena arena;
    struct repair_request request, decoded;
    struct repair_run runs[2];

    message_samples_init(&samples);
    for (size_t i = 0; i < ARRAY_LEN(records); i++)
        records[i] = bytes_of_text("a record of some length");
    runs[0] = (struct repair_run){.first_seq = 0, .records = records, .record_count = REPAIR_RECORDS_MAX - 1};
    runs[1] = (struct repair_run){.first_seq = 100000, .records = records, .record_count = 1};
    request = samples.repair_request;
    request.size = 200000;
    request.runs = runs;
    assert_int_equal(repair_request_encode(&request, &encoded), 0);
    arena_init(&arena, arena_budget_for(encoded.len));
    assert_int_equal(repair_request_decode(buffer_bytes(&encoded), &arena, &decoded), 0);
    assert_int_equal(decoded.runs[0].record_count, REPAIR_RECORDS_MAX - 1);

    runs[1].record_count = 2;
    assert_int_equal(repair_request_encode(&request, &encoded), -EMSGSIZE);
}

static void lists_of_runs_and_bare_records_are_encoded_as_the_independent_writer_does(void **state)
{
    _cleanup_message_samples_ struct message_samples samples;
    const struct run bare[2] = {{7, 2}, {199, 1}};
    struct bytes bare_records[3];
    struct audit_answer answer;
    struct repair_request request = {
        .log = sample_log, .size = 200, .bare_runs = bare, .bare_run_count = 2, .bare_records = bare_records};

    message_samples_init(&samples);
    answer = (struct audit_answer){.request_sha256 = samples.audit_answer.request_sha256,
        .incarnation = samples.audit_answer.incarnation,
        .size = 1000000,
        .uses_run_lists = true,
        .missing = samples.missing,
        .missing_count = 3,
        .damaged = samples.damaged,
        .damaged_count = 1,
        .erased = samples.erased,
        .erased_count = 1,
        .lost = samples.lost,
        .lost_count = 1};
    assert_encoded_as("audit_answer", "run_lists", &answer);
    memcpy(request.request_id, samples.repair_request.request_id, REQUEST_ID_BYTES);
    bare_records[0] = samples.mended[0];
    bare_records[1] = samples.mended[1];
    bare_records[2] = samples.scattered[0];
    request.bare_record_count = 3;
    assert_encoded_as("repair_request", "bare", &request);
}

static void records_sent_as_columns_are_the_very_same_records(void **state)
{
    _cleanup_message_samples_ struct message_samples samples;
    _cleanup_buffer_ struct buffer rows = {0}, columns = {0}, again = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct exchange_request decoded;

    message_samples_init(&samples);
    assert_int_equal(exchange_request_encode(&samples.exchange_request, &rows), 0);
    samples.exchange_request.as_columns = true;
    assert_int_equal(exchange_request_encode(&samples.exchange_request, &columns), 0);
    assert_false(bytes_equal(buffer_bytes(&rows), buffer_bytes(&columns)));
    arena_init(&arena, DECODE_BUDGET_BYTES_MAX);
    assert_int_equal(exchange_request_decode(buffer_bytes(&columns), &arena, &decoded), 0);
    assert_true(decoded.as_columns);
    assert_int_equal(decoded.record_count, samples.exchange_request.record_count);
    for (size_t i = 0; i < decoded.record_count; i++)
        assert_true(bytes_equal(decoded.records[i], samples.exchange_request.records[i]));
    decoded.as_columns = false; /* all the rest is alike too */
    assert_int_equal(exchange_request_encode(&decoded, &again), 0);
    assert_true(bytes_equal(buffer_bytes(&rows), buffer_bytes(&again)));
}

static int decode_within(struct bytes bytes, size_t budget)
{
    _cleanup_arena_ struct arena arena = {0};
    struct exchange_request decoded;

    arena_init(&arena, budget);
    return exchange_request_decode(bytes, &arena, &decoded);
}

/* Nor is a request of columns that is larger than what is allowed. */
static void columns_for_which_memory_is_short_are_not_called_malformed(void **state)
{
    _cleanup_message_samples_ struct message_samples samples;
    _cleanup_buffer_ struct buffer columns = {0};
    size_t failed = 0, budget = 0;
    int r = -ENOMEM;

    message_samples_init(&samples);
    samples.exchange_request.as_columns = true;
    samples.exchange_request.asked_blob_count = 0; /* nothing but the columns takes memory */
    samples.exchange_request.asked_quarantined_count = 0;
    samples.exchange_request.command_result_count = 0;
    assert_int_equal(exchange_request_encode(&samples.exchange_request, &columns), 0);
    for (; r < 0; failed++) {
        allocations_left = failed;
        r = decode_within(buffer_bytes(&columns), DECODE_BUDGET_BYTES_MAX);
        allocations_left = SIZE_MAX;
        assert_true(r == 0 || r == -ENOMEM);
    }
    assert_in_range(failed, 2, 200);
    for (r = -ENOBUFS; r < 0; budget += 64) {
        r = decode_within(buffer_bytes(&columns), budget);
        assert_true(r == 0 || r == -ENOBUFS);
    }
    assert_in_range(budget, 128, DECODE_BUDGET_BYTES_MAX);
}

static void records_both_in_rows_and_in_columns_are_refused(void **state)
{
    static const uint8_t no_columns[] = {12 << 3 | 2, 2, 1, 0}, cut_columns[] = {12 << 3 | 2, 2, 1, 3};
    _cleanup_message_samples_ struct message_samples samples;
    _cleanup_buffer_ struct buffer encoded = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct exchange_request decoded;
    size_t len;

    message_samples_init(&samples);
    assert_int_equal(exchange_request_encode(&samples.exchange_request, &encoded), 0);
    buffer_put(&encoded, no_columns, sizeof(no_columns));
    arena_init(&arena, DECODE_BUDGET_BYTES_MAX);
    assert_int_equal(exchange_request_decode(buffer_bytes(&encoded), &arena, &decoded), -EBADMSG);

    buffer_clear(&encoded);
    samples.exchange_request.record_count = 0;
    assert_int_equal(exchange_request_encode(&samples.exchange_request, &encoded), 0);
    len = encoded.len;
    buffer_put(&encoded, no_columns, sizeof(no_columns));
    assert_int_equal(exchange_request_decode(buffer_bytes(&encoded), &arena, &decoded), 0);
    assert_int_equal(decoded.record_count, 0);
    encoded.len = len;
    buffer_put(&encoded, cut_columns, sizeof(cut_columns));
    assert_int_equal(exchange_request_decode(buffer_bytes(&encoded), &arena, &decoded), -EBADMSG);
}

static void names_of_levels_go_there_and_back(void **state)
{
    static const enum audit_level levels[] = {AUDIT_PRESENCE, AUDIT_RECORDS, AUDIT_MEDIA};
    enum audit_level level = AUDIT_PRESENCE;

    for (size_t i = 0; i < ARRAY_LEN(levels); i++) {
        assert_int_equal(audit_level_from_name(audit_level_name(levels[i]), &level), 0);
        assert_int_equal(level, levels[i]);
    }
    assert_int_equal(audit_level_from_name("all", &level), -EINVAL);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_messages_are_encoded_as_the_independent_writer_does),
        cmocka_unit_test(a_fork_names_the_leaf_that_the_server_holds),
        cmocka_unit_test(an_answer_says_why_there_is_no_upload_token),
        cmocka_unit_test(an_answer_has_the_certificate_of_the_next_key),
        cmocka_unit_test(a_request_asks_for_a_log_and_the_answer_says_what_a_backup_has_of_it),
        cmocka_unit_test(a_busy_refusal_says_why_and_a_cause_that_is_not_known_is_no_error),
        cmocka_unit_test(decoded_messages_are_encoded_to_the_same_bytes),
        cmocka_unit_test(fields_of_a_newer_sender_are_passed_over),
        cmocka_unit_test(broken_messages_are_refused),
        cmocka_unit_test(a_cut_message_is_refused_or_means_just_what_is_left),
        cmocka_unit_test(a_budget_that_is_too_small_is_said_so),
        cmocka_unit_test(changed_messages_are_read_as_protobuf_c_reads_them),
        cmocka_unit_test(an_enrolment_that_was_signed_by_another_key_is_refused),
        cmocka_unit_test(every_bit_of_an_enrolment_but_its_software_is_signed),
        cmocka_unit_test(an_exchange_of_the_most_records_fits_its_budget),
        cmocka_unit_test(one_record_more_than_the_most_is_refused),
        cmocka_unit_test(answers_with_the_longest_lists_fit_their_budgets),
        cmocka_unit_test(what_is_over_a_limit_is_not_encoded),
        cmocka_unit_test(lists_of_runs_and_bare_records_are_encoded_as_the_independent_writer_does),
        cmocka_unit_test(a_repair_has_its_most_records_in_all_its_runs_together),
        cmocka_unit_test(records_sent_as_columns_are_the_very_same_records),
        cmocka_unit_test(columns_for_which_memory_is_short_are_not_called_malformed),
        cmocka_unit_test(records_both_in_rows_and_in_columns_are_refused),
        cmocka_unit_test(names_of_levels_go_there_and_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
