/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What somebody who has taken over the connection would answer to an exchange: that all of it is stored,
 * photos too. He can read requests and knows every public key, but has signed with a key of his own.
 */
#include "tests/sim/sim.h"

#include "proto/envelope.h"

#define STORED_MAX EXCHANGE_ASKED_BLOBS_MAX

struct forger {
    struct sign_key device, key;
    struct arena arena;
    struct exchange_request request;
    struct buffer plain, receipt, answer;
};

static void forger_done(struct forger *forger)
{
    arena_done(&forger->arena);
    buffer_done(&forger->plain);
    buffer_done(&forger->receipt);
    buffer_done(&forger->answer);
}

static bool read_request(struct sim *sim, const struct sim_request *request, struct forger *forger)
{
    struct envelope envelope;

    sign_key_from_seed("device", sim->handhelds[request->handheld].device_seed, &forger->device);
    if (strcmp(request->path, "/v1/exchange") != 0 ||
        envelope_parse(buffer_bytes(&request->body), &envelope) < 0 ||
        envelope_open(&envelope, PAYLOAD_EXCHANGE_REQUEST, forger->device.public.public_key,
            EXCHANGE_INFLATED_BYTES_MAX, &forger->plain) < 0)
        return false;
    arena_init(&forger->arena, arena_budget_for(forger->plain.len));
    return exchange_request_decode(buffer_bytes(&forger->plain), &forger->arena, &forger->request) >= 0;
}

/* He has read which photos the records name, and claims the newest of them, asked for or not. */
static size_t claim_photos(
    const struct sim *sim, const struct sim_request *request, struct blob_stored ret[STORED_MAX])
{
    size_t count = 0;

    for (size_t i = sim->finding_count; i-- > 0 && count < STORED_MAX;) {
        const struct sim_finding *finding = &sim->findings[i];

        if (finding->handheld != request->handheld)
            continue;
        for (size_t k = 0; k < finding->photo_count && count < STORED_MAX; k++)
            ret[count++] = (struct blob_stored){.sha256 = finding->photos[k].sha256, .backed_up = true};
    }
    return count;
}

bool forge_answer(struct sim *sim, const struct sim_request *request, struct buffer *ret)
{
    _cleanup_(forger_done) struct forger forger = {0};
    struct blob_stored stored[STORED_MAX];
    uint8_t seed[SIGN_SEED_BYTES];
    struct exchange_answer answer = {.outcome = EXCHANGE_STORED, .stored_blobs = stored};
    struct envelope envelope;

    if (!read_request(sim, request, &forger) || envelope_parse(buffer_bytes(&request->body), &envelope) < 0)
        return false;
    for (size_t i = 0; i < sizeof(seed); i++)
        seed[i] = (uint8_t)sim_below(sim, 256);
    sign_key_from_seed(sim->server.receipt_key.name, seed, &forger.key);
    forger.key.public = sim->server.receipt_key; /* the ids of keys are no secret */
    if (forger.request.checkpoint.len > 0 &&
        receipt_cosign(forger.request.checkpoint, &forger.key, 1790000000, &forger.receipt) < 0)
        return false;
    answer.request_sha256 = envelope_payload_sha256(&envelope);
    answer.size = forger.request.first_seq + forger.request.record_count;
    answer.receipt = buffer_bytes(&forger.receipt);
    answer.incarnation = uuid_from_random(seed);
    answer.server_time_ms = INT64_C(1790000000000);
    answer.stored_blob_count = claim_photos(sim, request, stored);
    if (sim_chance(sim, 50))
        answer.receipt = bytes_of(NULL, 0);
    return exchange_answer_encode(&answer, &forger.answer) >= 0 &&
           envelope_seal(PAYLOAD_EXCHANGE_ANSWER, buffer_bytes(&forger.answer), 6, 0, &envelope.device,
               &forger.key, ret, NULL) >= 0;
}
