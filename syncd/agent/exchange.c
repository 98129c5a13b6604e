/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The exchange: proto/README.md, "The exchange".
 *
 *   records first_seq .. n - 1, checkpoint over the log at n   ──►
 *                       ◄──   receipt at the size the server has, quarantine, blob states, token, time,
 * commands
 *
 * A record counts as sent when a receipt with both signatures, for this log, whose root is this log's own
 * root at that size, has been stored. Nothing else of an answer, and no status of HTTP, does that.
 */
#include "syncd/agent/agent_internal.h"

#include "base/log.h"
#include "proto/compression.h"

#include <errno.h>

#define LEVEL_BEST 9
#define LEVEL_FAST 6
#define LEVEL_BEST_BYTES_MAX (256u * 1024u) /* above, the processor is slower than the network */

/* ---- request ---- */

struct outgoing {
    uint8_t request_id[REQUEST_ID_BYTES];
    bool is_plain; /* rows, no dictionary: what every server takes, whatever it was set back to */
    struct buffer record_bytes;
    struct bytes *records;
    size_t count;
    struct buffer erased_leaves; /* struct sha256, of the empty records */
    uint64_t orders_done;
    struct sha256 asked[EXCHANGE_ASKED_BLOBS_MAX];
    size_t asked_count, unconfirmed_count;
    struct position_in_log quarantined[EXCHANGE_ASKED_QUARANTINED_MAX];
    size_t quarantined_count;
    bool more_quarantined;
    struct command_result results[RESULTS_KEPT_MAX];
    size_t result_count;
    bool has_asked_log;
    struct uuid asked_log;
    struct device_status status;
    bool has_status;
    uint64_t receipt_size;
    struct buffer body;
    struct sha256 payload_sha256;
    uint64_t plain_bytes;
};

static void outgoing_done(struct outgoing *outgoing)
{
    buffer_done(&outgoing->record_bytes);
    free(outgoing->records);
    buffer_done(&outgoing->erased_leaves);
    buffer_done(&outgoing->body);
}

static int read_records(struct agent *agent, const struct engine_action *action, struct outgoing *outgoing)
{
    if (action->exchange.records_max == 0)
        return 0;
    outgoing->records = calloc(action->exchange.records_max, sizeof(*outgoing->records));
    if (!outgoing->records)
        return -ENOMEM;
    int r = store_outbox_read(agent->store, &action->exchange.log, action->exchange.first_seq,
        action->exchange.records_max, action->exchange.bytes_max, &outgoing->record_bytes, outgoing->records,
        &outgoing->count);
    return r >= 0 && outgoing->count == 0 ? -ENODATA : r;
}

/* A record that was erased by order is empty. The centre, when it was set back to before it had it, takes its
 * leaf. */
static int read_erased_leaves(
    struct agent *agent, const struct engine_action *action, struct outgoing *outgoing)
{
    buffer_clear(&outgoing->erased_leaves);
    for (size_t i = 0; i < outgoing->count; i++) {
        struct sha256 leaf;

        if (outgoing->records[i].len > 0)
            continue;
        int r = store_leaf(agent->store, &action->exchange.log, action->exchange.first_seq + i, &leaf);
        if (r < 0)
            return r;
        buffer_put(&outgoing->erased_leaves, &leaf, sizeof(leaf));
    }
    return buffer_finish(&outgoing->erased_leaves);
}

/* What could not be applied may have been since: asked for in turn, as long as it is held for quarantined. */
static int read_quarantined(struct agent *agent, struct outgoing *outgoing)
{
    size_t max = outgoing->count > 0 ? QUARANTINED_WITH_RECORDS_MAX : EXCHANGE_ASKED_QUARANTINED_MAX;
    bool from_first = agent->asked_quarantined_after == 0;
    int r = store_quarantined(agent->store, &agent->asked_quarantined_after, outgoing->quarantined, max,
        &outgoing->quarantined_count);

    outgoing->more_quarantined = !from_first || outgoing->quarantined_count == max;
    return r;
}

/* What the centre's list of devices shows; it need not come with every request. */
static void read_status(struct agent *agent, const struct engine_action *action, struct outgoing *outgoing)
{
    struct store_status status;
    uint64_t now_ms = agent_now_ms(agent);

    if (agent->status_told && action->exchange.records_max > 0 &&
        now_ms - agent->status_told_ms < STATUS_EVERY_MS)
        return;
    if (store_status(agent->store, &status) < 0)
        return;
    outgoing->has_status = true;
    outgoing->status = (struct device_status){
        .records_queued = status.records_queued,
        .photos_pending = status.photos_pending,
        .bytes_free = status.free_bytes,
        .software = agent_author(agent).software,
        .wall_ms = agent->world->verbs->wall_ms(agent->world->context),
    };
    agent->status_told = true;
    agent->status_told_ms = now_ms;
}

/* The handheld's word about the log after the last record of this request. */
static int sign_checkpoint(struct agent *agent, const struct uuid *log, uint64_t size, struct buffer *ret)
{
    struct checkpoint checkpoint = {.size = size};
    int r;

    if (size == 0)
        return 0;
    r = store_root_at(agent->store, log, size, &checkpoint.root);
    if (r >= 0)
        r = origin_format(agent->authority, agent->tenant, log, checkpoint.origin);
    return r < 0 ? r : checkpoint_sign(&checkpoint, &agent->key, ret);
}

static int make_body(struct agent *agent, const struct engine_action *action, struct outgoing *outgoing)
{
    _cleanup_buffer_ struct buffer checkpoint = {0}, plain = {0};
    uint64_t size = action->exchange.first_seq + outgoing->count;
    struct exchange_request request = {
        .log = action->exchange.log,
        .first_seq = action->exchange.first_seq,
        .records = outgoing->records,
        .record_count = outgoing->count,
        .as_columns = agent->takes_columns && !outgoing->is_plain,
        .receipt_size = outgoing->receipt_size,
        .has_status = outgoing->has_status,
        .status = outgoing->status,
        .asked_blobs = outgoing->asked,
        .asked_blob_count = outgoing->asked_count,
        .asked_quarantined = outgoing->quarantined,
        .asked_quarantined_count = outgoing->quarantined_count,
        .orders_done = outgoing->orders_done,
        .trust_known = agent->trust.generation + 1,
        .command_results = outgoing->results,
        .command_result_count = outgoing->result_count,
        .has_asked_log = outgoing->has_asked_log,
        .asked_log = outgoing->asked_log,
    };
    int r = read_erased_leaves(agent, action, outgoing);

    if (r < 0)
        return r;
    request.erased_leaves = (const struct sha256 *)(const void *)outgoing->erased_leaves.data;
    request.erased_leaf_count = outgoing->erased_leaves.len / sizeof(struct sha256);
    memcpy(request.request_id, outgoing->request_id, REQUEST_ID_BYTES);
    if (action->exchange.with_certificate)
        request.certificate = bytes_of(agent->certificate, agent->certificate_len);
    r = sign_checkpoint(agent, &action->exchange.log, size, &checkpoint);
    if (r < 0)
        return r;
    request.checkpoint = buffer_bytes(&checkpoint);
    r = exchange_request_encode(&request, &plain);
    if (r < 0)
        return r;
    buffer_clear(&outgoing->body);
    return signed_seal(agent,
        &(struct signed_request){.type = PAYLOAD_EXCHANGE_REQUEST,
            .plain = buffer_bytes(&plain),
            .level = plain.len <= LEVEL_BEST_BYTES_MAX ? LEVEL_BEST : LEVEL_FAST,
            .dictionary = outgoing->is_plain ? DICTIONARY_NONE : agent->dictionary},
        &outgoing->body, &outgoing->payload_sha256);
}

/* Fewer records when they do not fit after all: the next exchange starts where this one ends. */
static int make_fitting_body(
    struct agent *agent, const struct engine_action *action, struct outgoing *outgoing)
{
    for (;;) {
        int r = make_body(agent, action, outgoing);

        if (r != -EMSGSIZE || outgoing->count <= 1)
            return r;
        outgoing->count /= 2;
    }
}

static int prepare(struct agent *agent, const struct engine_action *action, struct outgoing *outgoing)
{
    int r = outbox_receipt(agent, &action->exchange.log, &outgoing->receipt_size);

    signed_request_id(agent, outgoing->request_id);
    if (r >= 0)
        r = store_orders_done(agent->store, &outgoing->orders_done);
    if (r >= 0)
        r = read_records(agent, action, outgoing);
    if (r >= 0)
        r = read_quarantined(agent, outgoing);
    if (r < 0)
        return r;
    if (action->exchange.records_max == 0)
        outgoing->asked_count = blobs_to_ask(agent, outgoing->asked, &outgoing->unconfirmed_count);
    outgoing->has_asked_log = agent->has_prunable;
    outgoing->asked_log = agent->prunable;
    read_status(agent, action, outgoing);
    for (size_t i = 0; i < agent->result_count; i++)
        outgoing->results[outgoing->result_count++] = agent->results[i].result;
    r = make_fitting_body(agent, action, outgoing);
    for (size_t i = 0; i < outgoing->count; i++)
        outgoing->plain_bytes += outgoing->records[i].len;
    return r;
}

int exchange_send(struct agent *agent, const struct engine_action *action)
{
    _cleanup_(outgoing_done) struct outgoing outgoing = {0};
    struct agent_slot *slot = &agent->slots[action->slot];
    int r = prepare(agent, action, &outgoing);

    if (r < 0)
        return r;
    *slot = (struct agent_slot){
        .use = AGENT_EXCHANGE,
        .request_sha256 = outgoing.payload_sha256,
        .log = action->exchange.log,
        .receipt_before = outgoing.receipt_size,
        .first_seq = action->exchange.first_seq,
        .records = outgoing.count,
        .blobs_asked = outgoing.unconfirmed_count,
        .more_quarantined = outgoing.more_quarantined,
        .has_asked_log = outgoing.has_asked_log,
        .asked_log = outgoing.asked_log,
        .asked_at = agent->moment,
        .used_dictionary = agent->dictionary != 0 || agent->takes_columns,
    };
    agent_feed(agent, &(struct engine_event){.kind = ENGINE_BUILT,
                          .slot = action->slot,
                          .built = {.records = outgoing.count,
                              .plain_bytes = outgoing.plain_bytes,
                              .wire_bytes = outgoing.body.len}});
    agent->exchanges++;
    return signed_send(agent, action->slot, "/v1/exchange", buffer_bytes(&outgoing.body));
}

int exchange_seal(struct agent *agent, const struct engine_action *action,
    const uint8_t request_id[REQUEST_ID_BYTES], struct buffer *ret_envelope, uint64_t *ret_end)
{
    _cleanup_(outgoing_done) struct outgoing outgoing = {.is_plain = true};
    int r = outbox_receipt(agent, &action->exchange.log, &outgoing.receipt_size);

    memcpy(outgoing.request_id, request_id, REQUEST_ID_BYTES);
    if (r >= 0)
        r = store_orders_done(agent->store, &outgoing.orders_done);
    if (r >= 0)
        r = read_records(agent, action, &outgoing);
    if (r >= 0)
        r = make_fitting_body(agent, action, &outgoing);
    if (r < 0)
        return r;
    buffer_put_bytes(ret_envelope, buffer_bytes(&outgoing.body));
    *ret_end = action->exchange.first_seq + outgoing.count;
    return buffer_finish(ret_envelope);
}

/* ---- answer ---- */

/* What an answer did to the log it is about. */
struct effect {
    enum exchange_outcome outcome;
    uint64_t size;
    bool went_back, rolled_back;
};

/* A late answer may speak of records whose receipt is held already: their quarantine is noted under it. */
static int note_late_quarantine(
    struct agent *agent, const struct agent_slot *slot, const struct exchange_answer *answer)
{
    _cleanup_buffer_ struct buffer note = {0};
    struct checkpoint held;
    uint64_t held_size, time_s;
    int r = store_receipt(agent->store, &slot->log, &held_size, &note);

    if (r < 0)
        return r;
    r = signed_receipt(agent, &slot->log, buffer_bytes(&note), &held, &time_s);
    if (r < 0)
        return 0; /* made under another enrolment */
    return store_apply_receipt(agent->store, &slot->log, &held, time_s, buffer_bytes(&note),
        answer->quarantined, answer->quarantined_count);
}

int exchange_compare_root(struct agent *agent, const struct uuid *log, const struct checkpoint *checkpoint)
{
    struct sha256 root;
    int r = store_root_at(agent->store, log, checkpoint->size, &root);

    if (r == -EIDRM)
        return 0; /* it ends among records that were pruned: its signatures must do */
    if (r < 0)
        return r;
    return sha256_equal(&root, &checkpoint->root) ? 0 : -EBADMSG;
}

static int take_receipt(struct agent *agent, const struct agent_slot *slot,
    const struct exchange_answer *answer, const struct checkpoint *checkpoint, uint64_t time_s,
    struct effect *effect)
{
    uint64_t held_size;
    int r = outbox_receipt(agent, &slot->log, &held_size);

    if (r >= 0)
        r = exchange_compare_root(agent, &slot->log, checkpoint);
    if (r == -ERANGE || r == -EBADMSG) {
        effect->rolled_back = r == -ERANGE;
        effect->outcome = r == -ERANGE ? effect->outcome : EXCHANGE_FORK;
        return 0;
    }
    if (r < 0)
        return r;
    effect->went_back = engine_went_back(slot->receipt_before, checkpoint->size);
    if (effect->went_back || checkpoint->size > held_size ||
        (checkpoint->size == held_size && answer->quarantined_count > 0))
        return store_apply_receipt(agent->store, &slot->log, checkpoint, time_s, answer->receipt,
            answer->quarantined, answer->quarantined_count);
    return answer->quarantined_count > 0 ? note_late_quarantine(agent, slot, answer) : 0;
}

/* 0; -EBADMSG the answer is not what it must be; other errors: the store could not take it, nothing is
 * acknowledged. */
static int take_log(struct agent *agent, const struct agent_slot *slot, const struct exchange_answer *answer,
    struct effect *effect)
{
    struct checkpoint checkpoint;
    uint64_t time_s;
    int r;

    *effect = (struct effect){.outcome = answer->outcome, .size = answer->size};
    if (answer->outcome == EXCHANGE_FORK)
        return 0;
    if (answer->receipt.len > 0) {
        r = signed_receipt(agent, &slot->log, answer->receipt, &checkpoint, &time_s);
        if (r >= 0 && checkpoint.size != answer->size)
            r = -EBADMSG;
        return r < 0 ? -EBADMSG : take_receipt(agent, slot, answer, &checkpoint, time_s, effect);
    }
    if (!engine_went_back(slot->receipt_before, answer->size))
        return 0;
    /* Set back to where it holds no note of ours: all is offered again, and it skips what it has. */
    effect->went_back = true;
    effect->size = 0;
    return store_drop_receipt(agent->store, &slot->log);
}

/* True when the centre has applied some, and others were not asked for yet. */
static bool take_released(
    struct agent *agent, const struct agent_slot *slot, const struct exchange_answer *answer)
{
    int r;

    if (answer->released_count == 0 || slot->asked_at < agent->doubted_at)
        return false;
    r = store_release(agent->store, answer->released, answer->released_count);
    if (r < 0)
        agent_store_error(agent, r); /* it is asked again */
    return r >= 0 && slot->more_quarantined;
}

int exchange_take_erasures(struct agent *agent, const struct erasure_order *orders, size_t count)
{
    bool has_set_aside = false;

    if (count == 0)
        return 0;
    int r = store_erase(agent->store, orders, count);
    if (r == -EBUSY)
        return r; /* somebody reads */
    if (r < 0)
        return agent_store_error(agent, r);
    agent_note(agent, LOG_LEVEL_INFO, "erased by order %llu of the centre",
        (unsigned long long)orders[count - 1].number);
    if (store_has_set_aside(agent->store, &has_set_aside) >= 0 && has_set_aside)
        agent_alarm(agent, "a damaged database is set aside (damaged-*): it may hold what an order of the "
                           "centre has erased; delete it when it is not needed any more");
    return 1;
}

static bool take_token(struct agent *agent, const struct exchange_answer *answer)
{
    _cleanup_buffer_ struct buffer token = {0};

    if (answer->upload_token.len == 0 || unseal_by_device(answer->upload_token, &agent->key, &token) < 0 ||
        token.len == 0 || token.len >= sizeof(agent->upload_token))
        return false;
    for (size_t i = 0; i < token.len; i++)
        if (token.data[i] <= ' ' || token.data[i] >= 0x7f)
            return false; /* it will stand in a header */
    memcpy(agent->upload_token, token.data, token.len);
    agent->upload_token[token.len] = 0;
    return true;
}

/* The centre has heard what was noted before it was asked. */
static void drop_told_results(struct agent *agent, const struct agent_slot *slot)
{
    size_t kept = 0;

    for (size_t i = 0; i < agent->result_count; i++)
        if (agent->results[i].noted_at > slot->asked_at)
            agent->results[kept++] = agent->results[i];
    agent->result_count = kept;
}

static void feed_commands(struct agent *agent, const struct exchange_answer *answer)
{
    for (size_t i = 0; i < answer->command_count; i++) {
        struct engine_event event = {.kind = ENGINE_RESYNC, .resync = {.cause = RESYNC_BY_SERVER}};

        if (!answer->commands[i].has_resync)
            continue;
        event.resync.level = answer->commands[i].resync_level;
        memcpy(event.resync.command_id, answer->commands[i].id, COMMAND_ID_BYTES);
        agent_feed(agent, &event);
    }
}

static void take_answer(struct agent *agent, uint32_t number, const struct http_response *response,
    const struct exchange_answer *answer)
{
    struct agent_slot slot = agent->slots[number];
    struct engine_event event = {.kind = ENGINE_EXCHANGED, .slot = number};
    struct effect effect;
    int r = take_log(agent, &slot, answer, &effect);

    if (r == -EUCLEAN && outbox_leave_holed(agent, &slot.log) >= 0) {
        agent_feed_nothing(agent, number);
        outbox_feed(agent);
        return;
    }
    if (r == -EBADMSG) {
        signed_invalid(agent, number, response);
        return;
    }
    if (r < 0) {
        agent_store_error(agent, r);
        agent_feed_failed(agent, number, FAILURE_LOCAL, 0);
        return;
    }
    signed_note_answer(agent, answer->server_time_ms, response);
    trust_take(agent, answer->trust);
    device_key_take_certificate(agent, answer->next_certificate);
    event.exchanged.outcome = effect.outcome;
    event.exchanged.size = effect.size;
    event.exchanged.went_back = effect.went_back;
    event.exchanged.rolled_back = effect.rolled_back;
    event.exchanged.receipt_size_before = slot.receipt_before;
    event.exchanged.blobs_asked = slot.blobs_asked;
    event.exchanged.blobs_confirmed = blobs_take_stored(agent, &slot, answer);
    blobs_take_wanted(agent, &slot, answer);
    /* What was erased is told at once: somebody at the centre waits to see it done. */
    event.exchanged.ask_again = exchange_take_erasures(agent, answer->erasures, answer->erasure_count) > 0;
    event.exchanged.ask_again |= take_released(agent, &slot, answer);
    if (effect.went_back)
        agent_doubt(agent);
    event.exchanged.new_incarnation = memory_take_incarnation(agent, &answer->incarnation);
    keep_take_backed_up(agent, &slot, answer);
    event.exchanged.has_token = take_token(agent, answer);
    event.exchanged.token_s = answer->upload_token_s;
    event.exchanged.no_upload = answer->no_upload;
    event.exchanged.next_contact_s = answer->next_contact_s;
    event.exchanged.server_ms = answer->server_time_ms > 0 ? (uint64_t)answer->server_time_ms : 0;
    if (answer->has_capabilities)
        memory_take_capabilities(agent, &answer->capabilities);
    agent->slots[number].use = AGENT_FREE;
    drop_told_results(agent, &slot);
    outbox_feed(agent);
    agent_feed(agent, &event);
    feed_commands(agent, answer);
}

void exchange_answered(struct agent *agent, uint32_t number, const struct http_response *response)
{
    const struct agent_slot *slot = &agent->slots[number];
    _cleanup_buffer_ struct buffer plain = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct exchange_answer answer;
    int r;

    switch (signed_open(agent, PAYLOAD_EXCHANGE_ANSWER, response, &plain)) {
    case ANSWER_REFUSAL:
        signed_refused(agent, number, response, &plain);
        return;
    case ANSWER_INVALID:
        signed_invalid(agent, number, response);
        return;
    case ANSWER_NO_MEMORY:
        signed_no_memory(agent, number);
        return;
    case ANSWER_GOOD:
        break;
    }
    arena_init(&arena, arena_budget_for(plain.len));
    r = exchange_answer_decode(buffer_bytes(&plain), &arena, &answer);
    if (r == -ENOMEM) {
        signed_no_memory(agent, number);
        return;
    }
    if (r < 0 || !sha256_equal(&answer.request_sha256, &slot->request_sha256)) {
        signed_invalid(agent, number, response);
        return;
    }
    take_answer(agent, number, response, &answer);
}
