/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exchange answer: see messages.h; proto/README.md, "Exchange".
 */
#include "proto/answer_lists.h"
#include "proto/capabilities.h"
#include "proto/erasures.h"
#include "proto/positions.h"

#include <errno.h>

static bool lists_within_limits(const struct exchange_answer *answer)
{
    if (!quarantined_within_limits(answer->quarantined, answer->quarantined_count) ||
        answer->wanted_blob_count > EXCHANGE_WANTED_BLOBS_MAX ||
        answer->stored_blob_count > EXCHANGE_ASKED_BLOBS_MAX ||
        answer->reference_change_count > EXCHANGE_REFERENCE_CHANGES_MAX ||
        answer->command_count > EXCHANGE_COMMANDS_MAX ||
        !positions_within_limits(answer->released, answer->released_count) ||
        !erasures_within_limits(answer->erasures, answer->erasure_count))
        return false;
    for (size_t i = 0; i < answer->wanted_blob_count; i++)
        if (answer->wanted_blobs[i].have > BLOB_BYTES_MAX)
            return false;
    for (size_t i = 0; i < answer->reference_change_count; i++)
        if (answer->reference_changes[i].len > RECORD_BYTES_MAX)
            return false;
    return true;
}

static bool within_limits(const struct exchange_answer *answer)
{
    return lists_within_limits(answer) && answer->size <= LOG_SIZE_MAX && answer->fork_seq < LOG_SIZE_MAX &&
           answer->receipt.len <= NOTE_TEXT_BYTES_MAX && answer->upload_token.len <= SEALED_TOKEN_BYTES_MAX &&
           answer->trust.len <= TRUST_LIST_BYTES_MAX && answer->next_certificate.len <= ENROLMENT_BYTES_MAX &&
           answer->backed_up_log.size <= LOG_SIZE_MAX &&
           (!answer->has_capabilities || capabilities_within_limits(&answer->capabilities));
}

static void fill_lists(const struct exchange_answer *answer, struct arena *scratch, Wire__ExchangeAnswer *ret)
{
    Wire__BlobHave *wanted =
        wire_list_of_messages(scratch, answer->wanted_blob_count, sizeof(*wanted), &ret->wanted_blobs);

    for (size_t i = 0; wanted && i < answer->wanted_blob_count; i++) {
        wire__blob_have__init(&wanted[i]);
        wanted[i].sha256 = wire_of_sha256(&answer->wanted_blobs[i].sha256);
        wanted[i].have = answer->wanted_blobs[i].have;
    }
    ret->n_wanted_blobs = answer->wanted_blob_count;
    ret->wanted_more = answer->wanted_more;
    ret->n_stored_blobs = answer->stored_blob_count;
    ret->stored_blobs = stored_blobs_fill(answer->stored_blobs, answer->stored_blob_count, scratch);
    ret->n_quarantined = answer->quarantined_count;
    ret->quarantined = quarantined_fill(answer->quarantined, answer->quarantined_count, scratch);
    ret->n_erasures = answer->erasure_count;
    ret->erasures = erasures_fill(answer->erasures, answer->erasure_count, scratch);
}

static void fill_commands(
    const struct exchange_answer *answer, struct arena *scratch, Wire__ExchangeAnswer *ret)
{
    Wire__Command *wire =
        wire_list_of_messages(scratch, answer->command_count, sizeof(*wire), &ret->commands);

    for (size_t i = 0; wire && i < answer->command_count; i++) {
        const struct command *command = &answer->commands[i];

        wire__command__init(&wire[i]);
        wire[i].id = wire_of(bytes_of(command->id, COMMAND_ID_BYTES));
        if (command->has_resync) {
            wire[i].what_case = WIRE__COMMAND__WHAT_RESYNC_LEVEL;
            wire[i].resync_level = (uint32_t)command->resync_level + 1;
        }
    }
    ret->n_commands = answer->command_count;
}

/* Everything that is not a list of messages. */
static void fill_answer(
    const struct exchange_answer *answer, struct arena *scratch, Wire__ExchangeAnswer *ret)
{
    ret->request_sha256 = wire_of_sha256(&answer->request_sha256);
    ret->incarnation = wire_of_uuid(&answer->incarnation);
    ret->outcome = (Wire__ExchangeOutcome)answer->outcome;
    ret->size = answer->size;
    ret->receipt = wire_of(answer->receipt);
    ret->upload_token = wire_of(answer->upload_token);
    ret->upload_token_s = answer->upload_token_s;
    ret->server_time_ms = answer->server_time_ms;
    ret->reference_cursor = answer->reference_cursor;
    ret->n_reference_changes = answer->reference_change_count;
    ret->reference_changes =
        wire_list_of_bytes(scratch, answer->reference_changes, answer->reference_change_count);
    ret->next_contact_s = answer->next_contact_s;
    ret->no_upload = answer->no_upload;
    ret->n_released = answer->released_count;
    ret->released = positions_fill(answer->released, answer->released_count, scratch);
    ret->trust = wire_of(answer->trust);
    ret->next_certificate = wire_of(answer->next_certificate);
    if (answer->outcome == EXCHANGE_FORK) {
        ret->fork_leaf = wire_of_sha256(&answer->fork_leaf);
        ret->fork_seq = answer->fork_seq;
    }
}

int exchange_answer_encode(const struct exchange_answer *answer, struct buffer *ret)
{
    Wire__ExchangeAnswer wire = WIRE__EXCHANGE_ANSWER__INIT;
    Wire__BackedUpLog backed_up_log = WIRE__BACKED_UP_LOG__INIT;
    _cleanup_arena_ struct arena scratch = {0};
    struct capability_values values;
    Wire__Capabilities capabilities;

    if (!within_limits(answer))
        return -EMSGSIZE;
    arena_init(&scratch, WIRE_SCRATCH_BUDGET);
    fill_answer(answer, &scratch, &wire);
    fill_lists(answer, &scratch, &wire);
    fill_commands(answer, &scratch, &wire);
    if (answer->has_capabilities) {
        capabilities_fill(&answer->capabilities, &values, &capabilities);
        wire.capabilities = &capabilities;
    }
    if (answer->has_backed_up_log) {
        backed_up_log.size = answer->backed_up_log.size;
        backed_up_log.root = wire_of_sha256(&answer->backed_up_log.root);
        wire.backed_up_log = &backed_up_log;
    }
    return wire_pack(&wire.base, &scratch, EXCHANGE_INFLATED_BYTES_MAX, ret);
}

static void read_wanted_blob(struct wire_reader *outer, struct wire_items *items)
{
    struct wire_reader reader = wire_item_message(outer);
    struct blob_have *item = wire_item(outer, items, sizeof(*item), EXCHANGE_WANTED_BLOBS_MAX);

    if (!item)
        return;
    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            wire_exact(&reader, item->sha256.b, SHA256_BYTES);
            break;
        case 2:
            item->have = wire_u64(&reader);
            break;
        }
    wire_demand(&reader, WIRE_FIELD(1));
    wire_end(outer, &reader);
}

/* A command, or a level, that this program does not know asks for nothing: it is a newer server's. */
static void read_command(struct wire_reader *outer, struct wire_items *items)
{
    struct wire_reader reader = wire_item_message(outer);
    struct command *item = wire_item(outer, items, sizeof(*item), EXCHANGE_COMMANDS_MAX);
    uint32_t level = 0;

    if (!item)
        return;
    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            wire_exact(&reader, item->id, COMMAND_ID_BYTES);
            break;
        case 2:
            level = wire_u32(&reader);
            break;
        }
    if (level > 0 && level - 1 <= AUDIT_MEDIA) {
        item->has_resync = true;
        item->resync_level = (enum audit_level)(level - 1);
    }
    wire_demand(&reader, WIRE_FIELD(1));
    wire_end(outer, &reader);
}

/* The lists of an answer while they are read. */
struct lists {
    struct wire_items quarantined, wanted_blobs, stored_blobs, reference_changes, commands, released,
        erasures;
};

static void read_list_item(struct wire_reader *reader, struct lists *lists)
{
    switch (reader->field) {
    case 6:
        quarantined_read_item(reader, &lists->quarantined);
        break;
    case 7:
        read_wanted_blob(reader, &lists->wanted_blobs);
        break;
    case 8:
        stored_blobs_read_item(reader, &lists->stored_blobs, EXCHANGE_ASKED_BLOBS_MAX);
        break;
    case 13:
        wire_item_bytes(reader, &lists->reference_changes, EXCHANGE_REFERENCE_CHANGES_MAX, RECORD_BYTES_MAX);
        break;
    case 14:
        read_command(reader, &lists->commands);
        break;
    case 20:
        positions_read_item(reader, &lists->released);
        break;
    case 21:
        erasures_read_item(reader, &lists->erasures);
        break;
    }
}

static void take_lists(const struct lists *lists, struct exchange_answer *ret)
{
    ret->quarantined = lists->quarantined.items;
    ret->quarantined_count = lists->quarantined.count;
    ret->wanted_blobs = lists->wanted_blobs.items;
    ret->wanted_blob_count = lists->wanted_blobs.count;
    ret->stored_blobs = lists->stored_blobs.items;
    ret->stored_blob_count = lists->stored_blobs.count;
    ret->reference_changes = lists->reference_changes.items;
    ret->reference_change_count = lists->reference_changes.count;
    ret->commands = lists->commands.items;
    ret->command_count = lists->commands.count;
    ret->released = lists->released.items;
    ret->released_count = lists->released.count;
    ret->erasures = lists->erasures.items;
    ret->erasure_count = lists->erasures.count;
}

static void read_backed_up_log(struct wire_reader *outer, struct log_backed_up *ret)
{
    struct wire_reader reader = wire_message(outer);

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            ret->size = wire_u64(&reader);
            break;
        case 2:
            wire_exact(&reader, ret->root.b, SHA256_BYTES);
            break;
        }
    wire_demand(&reader, WIRE_FIELD(1) | WIRE_FIELD(2));
    wire_end(outer, &reader);
}

static void read_field(struct wire_reader *reader, struct exchange_answer *ret)
{
    switch (reader->field) {
    case 1:
        wire_exact(reader, ret->request_sha256.b, SHA256_BYTES);
        break;
    case 2:
        wire_uuid(reader, &ret->incarnation);
        break;
    case 3:
        ret->outcome = (enum exchange_outcome)wire_enum(
            reader, EXCHANGE_ROOT_MISMATCH, "unknown outcome of an exchange");
        break;
    case 4:
        ret->size = wire_u64(reader);
        break;
    case 5:
        ret->receipt = wire_bytes(reader, NOTE_TEXT_BYTES_MAX);
        break;
    case 9:
        ret->upload_token = wire_bytes(reader, SEALED_TOKEN_BYTES_MAX);
        break;
    case 10:
        ret->upload_token_s = wire_u32(reader);
        break;
    case 11:
        ret->server_time_ms = wire_s64(reader);
        break;
    case 12:
        ret->reference_cursor = wire_u64(reader);
        break;
    case 15:
        ret->next_contact_s = wire_u32(reader);
        break;
    case 16:
        capabilities_read(reader, &ret->capabilities);
        ret->has_capabilities = true;
        break;
    case 17:
        wire_exact(reader, ret->fork_leaf.b, SHA256_BYTES);
        break;
    case 18:
        ret->fork_seq = wire_u64(reader);
        break;
    case 19:
        ret->wanted_more = wire_bool(reader);
        break;
    case 22:
        ret->trust = wire_bytes(reader, TRUST_LIST_BYTES_MAX);
        break;
    case 23:
        ret->next_certificate = wire_bytes(reader, ENROLMENT_BYTES_MAX);
        break;
    case 24:
        ret->no_upload = wire_u32(reader);
        break;
    case 25:
        read_backed_up_log(reader, &ret->backed_up_log);
        ret->has_backed_up_log = true;
        break;
    }
}

int exchange_answer_decode(struct bytes bytes, struct arena *arena, struct exchange_answer *ret)
{
    struct wire_reader reader = wire_reader_of(bytes, arena);
    struct exchange_answer answer = {0};
    struct lists lists = {0};

    while (wire_next(&reader)) {
        read_field(&reader, &answer);
        read_list_item(&reader, &lists);
    }
    take_lists(&lists, &answer);
    wire_demand(&reader, WIRE_FIELD(1) | WIRE_FIELD(2));
    if (answer.outcome == EXCHANGE_FORK)
        wire_demand(&reader, WIRE_FIELD(17));
    else if (reader.seen & (WIRE_FIELD(17) | WIRE_FIELD(18)))
        wire_fail(&reader, "a forked leaf without a fork");
    if (!reader.error && !within_limits(&answer))
        wire_fail(&reader, "a number is out of range");
    if (!reader.error)
        *ret = answer;
    return wire_finish(&reader, NULL);
}
