/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signed requests and their answers. Nothing of an answer is believed before its envelope is of the right
 * type, addressed to this device and signed by the pinned receipt key or its successor; and then only if it
 * names the request that is outstanding in its slot.
 */
#include "syncd/agent/agent_internal.h"

#include "base/log.h"
#include "proto/envelope.h"

#include <errno.h>

void signed_request_id(struct agent *agent, uint8_t ret[REQUEST_ID_BYTES])
{
    agent->world->verbs->random(agent->world->context, ret, REQUEST_ID_BYTES);
}

int signed_seal(struct agent *agent, const struct signed_request *request, struct buffer *ret_body,
    struct sha256 *ret_payload_sha256)
{
    return envelope_seal(request->type, request->plain, request->level, request->dictionary, &agent->device,
        &agent->key, ret_body, ret_payload_sha256);
}

int signed_send(struct agent *agent, uint32_t slot, const char *path, struct bytes body)
{
    struct http_request request = {
        .method = "POST",
        .path = path,
        .headers = {{.name = "patrol-device", .value = agent->device_text}},
        .header_count = 1,
        .body = body,
        .deadline_ms = agent->config.answer_deadline_ms + DEADLINE_MARGIN_MS,
    };

    return agent_transport_send(agent, slot, &request);
}

enum signed_answer signed_open(struct agent *agent, enum payload_type type,
    const struct http_response *response, struct buffer *ret_plain)
{
    const struct trust_key *key;
    struct envelope envelope;
    bool is_refusal;
    int r;

    if (response->body.len == 0 || envelope_parse(response->body, &envelope) < 0)
        return ANSWER_INVALID;
    is_refusal = envelope.type == PAYLOAD_REFUSAL;
    if ((!is_refusal && envelope.type != type) || !uuid_equal(&envelope.device, &agent->device))
        return ANSWER_INVALID;
    key = trust_find_current(&agent->trust, envelope.key_id, agent->known_server_time_ms);
    if (!key)
        return ANSWER_INVALID;
    r = envelope_open(
        &envelope, is_refusal ? PAYLOAD_REFUSAL : type, key->key.public_key, ANSWER_INFLATED_MAX, ret_plain);
    if (r < 0)
        return r == -ENOMEM ? ANSWER_NO_MEMORY : ANSWER_INVALID;
    return is_refusal ? ANSWER_REFUSAL : ANSWER_GOOD;
}

uint32_t signed_retry_after(const struct http_response *response)
{
    uint64_t seconds;

    /* A date (RFC 9110, section 10.2.3) is no use to a device whose clock may be wrong. */
    if (!response->retry_after || text_parse_u64(response->retry_after, &seconds) < 0)
        return 0;
    return seconds > UINT32_MAX ? UINT32_MAX : (uint32_t)seconds;
}

void signed_invalid(struct agent *agent, uint32_t slot, const struct http_response *response)
{
    enum engine_failure failure = FAILURE_UNSIGNED;

    if (response->status == 413)
        failure = FAILURE_TOO_LARGE;
    else if (response->status == 429 || response->status >= 500)
        failure = FAILURE_BUSY;
    agent_note(agent, LOG_LEVEL_INFO,
        "an answer with status %u carries no valid signature of the centre: ignored", response->status);
    agent_feed_failed(agent, slot, failure, signed_retry_after(response));
}

void signed_no_memory(struct agent *agent, uint32_t slot)
{
    agent_note(agent, LOG_LEVEL_WARNING, "there is no memory to read an answer with: asked again");
    agent_feed_failed(agent, slot, FAILURE_LOCAL, 0);
}

void signed_note_answer(struct agent *agent, int64_t server_time_ms, const struct http_response *response)
{
    agent->last_answer_wall_ms = agent->world->verbs->wall_ms(agent->world->context);
    memory_take_server_time(agent, server_time_ms, response->certificate_not_after_ms);
}

void signed_refused(
    struct agent *agent, uint32_t slot, const struct http_response *response, const struct buffer *plain)
{
    struct agent_slot *own = &agent->slots[slot];
    struct engine_event event = {.kind = ENGINE_REFUSED, .slot = slot};
    _cleanup_arena_ struct arena arena;
    struct refusal refusal;
    int r;

    arena_init(&arena, arena_budget_for(plain->len));
    r = refusal_decode(buffer_bytes(plain), &arena, &refusal);
    if (r == -ENOMEM) {
        signed_no_memory(agent, slot);
        return;
    }
    if (r < 0 || !sha256_equal(&refusal.request_sha256, &own->request_sha256)) {
        signed_invalid(agent, slot, response);
        return;
    }
    signed_note_answer(agent, refusal.server_time_ms, response);
    agent_note(agent, LOG_LEVEL_WARNING, "the centre refuses a request (%s): %.*s",
        refusal_reason_name(refusal.reason), (int)(refusal.message.len < 200 ? refusal.message.len : 200),
        refusal.message.len > 0 ? (const char *)refusal.message.data : "");
    if (refusal.reason == REFUSAL_BAD_REQUEST && own->used_dictionary) {
        /* A server set back to an older version may not know it: without one it is always understood. */
        memory_drop_capabilities(agent);
        if (own->use == AGENT_EXCHANGE)
            agent_feed_nothing(agent, slot);
        else
            /* "Nothing to send" would end an audit or a repair that nobody has made. */
            agent_feed_failed(agent, slot, FAILURE_LOCAL, 0);
        return;
    }
    own->use = AGENT_FREE;
    event.refused.reason = refusal.reason;
    event.refused.retry_after_s = refusal.retry_after_s;
    event.refused.busy_cause = refusal.busy_cause;
    agent_feed(agent, &event);
}

int signed_receipt(struct agent *agent, const struct uuid *log, struct bytes note, struct checkpoint *ret,
    uint64_t *ret_time_s)
{
    char origin[ORIGIN_BYTES_MAX];
    struct checkpoint checkpoint;
    uint64_t time_s;

    if (origin_format(agent->authority, agent->tenant, log, origin) < 0 ||
        trust_verify_receipt(&agent->trust, note, &agent->key.public, &checkpoint, &time_s) < 0 ||
        strcmp(checkpoint.origin, origin) != 0)
        return -EBADMSG;
    *ret = checkpoint;
    *ret_time_s = time_s;
    return 0;
}
