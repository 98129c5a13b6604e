/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bundles: proto/README.md, "Bundles".
 *
 *   agent ──► patrol ──► data carrier ──► centre
 *   requests, signed as for the network         records and photos taken as from the network
 *
 *   agent ◄── patrol ◄── data carrier ◄──
 *   receipts, applied as those of an answer
 *
 * An answer is believed because its request is outstanding; receipts, because their bundle is known here, and
 * as long as the centre has said nothing newer: neither that it lacks what it had signed for, nor other
 * receipts for the same bundle.
 */
#include "syncd/agent/agent_internal.h"

#include "proto/envelope.h"

#include <errno.h>

#define SETTING_BUNDLES "bundles"
#define BUNDLES_KEPT_MAX 256u /* the newest: an older one is exported again */
#define RELEASED_AT_ONCE_MAX 256u

/* ---- which bundles were made here ---- */

/* As it stands in the setting, one behind the other, the oldest first: id, server's time of the newest
 * receipts that were taken for it. */
struct kept_bundle {
    uint8_t id[REQUEST_ID_BYTES];
    int64_t taken_ms; /* 0: none yet */
};

struct kept_bundles {
    struct kept_bundle bundles[BUNDLES_KEPT_MAX];
    size_t count;
};

static int read_kept(struct agent *agent, struct kept_bundles *ret)
{
    _cleanup_buffer_ struct buffer value = {0};
    struct cursor cursor;
    int r = store_setting(agent->store, SETTING_BUNDLES, &value);

    ret->count = 0;
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    cursor = cursor_of(buffer_bytes(&value));
    while (ret->count < BUNDLES_KEPT_MAX) {
        struct kept_bundle *bundle = &ret->bundles[ret->count];
        struct bytes id = cursor_take(&cursor, REQUEST_ID_BYTES);

        bundle->taken_ms = (int64_t)cursor_u64be(&cursor);
        if (cursor.failed)
            break;
        memcpy(bundle->id, id.data, REQUEST_ID_BYTES);
        ret->count++;
    }
    return 0;
}

static int write_kept(struct agent *agent, const struct kept_bundles *kept)
{
    _cleanup_buffer_ struct buffer value = {0};
    int r;

    for (size_t i = 0; i < kept->count; i++) {
        buffer_put(&value, kept->bundles[i].id, REQUEST_ID_BYTES);
        buffer_put_u64be(&value, (uint64_t)kept->bundles[i].taken_ms);
    }
    r = buffer_finish(&value);
    return r < 0 ? r : store_set_setting(agent->store, SETTING_BUNDLES, buffer_bytes(&value));
}

static struct kept_bundle *find_kept(struct kept_bundles *kept, const uint8_t id[REQUEST_ID_BYTES])
{
    for (size_t i = 0; i < kept->count; i++)
        if (memcmp(kept->bundles[i].id, id, REQUEST_ID_BYTES) == 0)
            return &kept->bundles[i];
    return NULL;
}

static int keep_new(struct agent *agent, const uint8_t id[REQUEST_ID_BYTES])
{
    struct kept_bundles kept;
    int r = read_kept(agent, &kept);

    if (r < 0)
        return r;
    if (kept.count == BUNDLES_KEPT_MAX)
        memmove(kept.bundles, kept.bundles + 1, --kept.count * sizeof(kept.bundles[0]));
    kept.bundles[kept.count] = (struct kept_bundle){0};
    memcpy(kept.bundles[kept.count++].id, id, REQUEST_ID_BYTES);
    return write_kept(agent, &kept);
}

static int keep_taken(struct agent *agent, const uint8_t id[REQUEST_ID_BYTES], int64_t server_time_ms)
{
    struct kept_bundles kept;
    struct kept_bundle *bundle;
    int r = read_kept(agent, &kept);

    bundle = r >= 0 ? find_kept(&kept, id) : NULL;
    if (!bundle || bundle->taken_ms == server_time_ms)
        return r;
    bundle->taken_ms = server_time_ms;
    return write_kept(agent, &kept);
}

/* ---- requests ---- */

/* It carries no records but the certificate, so that a centre which does not know this device (any more) can
 * take it in before the records come; and its id is the bundle's, so that this device has signed for it. */
int agent_bundle_begin(struct agent *agent, uint8_t ret_bundle[REQUEST_ID_BYTES], struct buffer *ret_envelope)
{
    struct engine_action action = {.kind = ENGINE_SEND_EXCHANGE, .exchange.with_certificate = true};
    _cleanup_free_ struct store_log *logs = NULL;
    uint8_t bundle[REQUEST_ID_BYTES];
    size_t count;
    uint64_t end;
    int r;

    if (!agent->enrolled)
        return -ENOTCONN;
    r = outbox_all_logs(agent, &logs, &count);
    if (r < 0)
        return r;
    if (count == 0)
        return -ENODATA;
    action.exchange.log = logs[count - 1].id;
    signed_request_id(agent, bundle);
    r = exchange_seal(agent, &action, bundle, ret_envelope, &end);
    if (r >= 0)
        r = keep_new(agent, bundle);
    if (r >= 0)
        memcpy(ret_bundle, bundle, REQUEST_ID_BYTES);
    return r;
}

int agent_bundle_part(struct agent *agent, const struct uuid *log, uint64_t first_seq,
    struct buffer *ret_envelope, uint64_t *ret_end)
{
    const struct engine_action action = {
        .kind = ENGINE_SEND_EXCHANGE,
        .exchange = {.log = *log,
            .first_seq = first_seq,
            .records_max = AGENT_BUNDLE_RECORDS_MAX,
            .bytes_max = AGENT_BUNDLE_PLAIN_BYTES_MAX},
    };
    uint8_t request_id[REQUEST_ID_BYTES];
    int r;

    if (!agent->enrolled)
        return -ENOTCONN;
    signed_request_id(agent, request_id);
    r = exchange_seal(agent, &action, request_id, ret_envelope, ret_end);
    if (r == -EUCLEAN)
        return agent_store_error(agent, r);
    return r == -ENOENT ? -ENODATA : r;
}

/* ---- receipts ---- */

static int open_receipts(struct agent *agent, struct bytes bytes, struct buffer *plain, struct arena *arena,
    struct bundle_receipts *ret)
{
    const struct trust_key *key;
    struct envelope envelope;
    int r;

    if (envelope_parse(bytes, &envelope) < 0 || envelope.type != PAYLOAD_BUNDLE_RECEIPTS)
        return -EBADMSG;
    if (!uuid_equal(&envelope.device, &agent->device))
        return -EXDEV;
    key = trust_find_current(&agent->trust, envelope.key_id, agent->known_server_time_ms);
    if (!key)
        return -EKEYREJECTED;
    r = envelope_open(&envelope, PAYLOAD_BUNDLE_RECEIPTS, key->key.public_key, ANSWER_INFLATED_MAX, plain);
    if (r < 0)
        return r == -EKEYREJECTED || r == -ENOMEM ? r : -EBADMSG;
    arena_init(arena, arena_budget_for(plain->len));
    r = bundle_receipts_decode(buffer_bytes(plain), arena, ret);
    if (r < 0)
        return r == -ENOMEM ? r : -EBADMSG;
    return uuid_equal(&ret->device, &agent->device) ? 0 : -EXDEV;
}

static int check_age(struct agent *agent, const struct bundle_receipts *receipts)
{
    struct kept_bundles kept;
    const struct kept_bundle *bundle;
    int r = read_kept(agent, &kept);

    if (r < 0)
        return r;
    bundle = find_kept(&kept, receipts->bundle);
    if (!bundle)
        return -ENOENT;
    return receipts->server_time_ms < bundle->taken_ms ||
                   receipts->server_time_ms <= agent->doubt_server_time_ms
               ? -ESTALE
               : 0;
}

/* The receipt that is held for a log. */
struct held_receipt {
    uint64_t size;   /* 0: none */
    uint64_t time_s; /* 0: of another enrolment */
};

static int read_held(struct agent *agent, const struct uuid *log, struct held_receipt *ret)
{
    _cleanup_buffer_ struct buffer note = {0};
    struct checkpoint checkpoint;
    int r = store_receipt(agent->store, log, &ret->size, &note);

    if (r == -ENOENT)
        return 0;
    if (r >= 0 && signed_receipt(agent, log, buffer_bytes(&note), &checkpoint, &ret->time_s) < 0)
        ret->time_s = 0;
    return r;
}

static bool is_listed(const struct bundle_receipts *receipts, uint64_t seq)
{
    for (size_t i = 0; i < receipts->quarantined_count; i++)
        if (receipts->quarantined[i].seq == seq)
            return true;
    return false;
}

/* The list is whole: what is held for quarantined below the receipt's size, and is not on it, was applied. */
static int release_unlisted(struct agent *agent, const struct bundle_receipts *receipts, uint64_t size)
{
    struct position_in_log positions[RELEASED_AT_ONCE_MAX];
    int64_t cursor = 0;
    int r;

    do {
        size_t count, released = 0;

        r = store_quarantined(agent->store, &cursor, positions, RELEASED_AT_ONCE_MAX, &count);
        for (size_t i = 0; r >= 0 && i < count; i++)
            if (uuid_equal(&positions[i].log, &receipts->log) && positions[i].seq < size &&
                !is_listed(receipts, positions[i].seq))
                positions[released++] = positions[i];
        if (r >= 0 && released > 0)
            r = store_release(agent->store, positions, released);
    } while (r >= 0 && cursor != 0);
    return r;
}

/* What came over the network later has said all that this one says, and more. */
static bool is_newer(const struct checkpoint *checkpoint, uint64_t time_s, const struct held_receipt *held)
{
    return checkpoint->size > held->size || (checkpoint->size == held->size && time_s > held->time_s);
}

static int take_log(
    struct agent *agent, const struct bundle_receipts *receipts, bool check_only, struct agent_receipts *ret)
{
    struct held_receipt held = {0};
    struct checkpoint checkpoint;
    uint64_t time_s;
    int r;

    if (uuid_is_nil(&receipts->log))
        return 0;
    if (signed_receipt(agent, &receipts->log, receipts->receipt, &checkpoint, &time_s) < 0)
        return -EBADMSG;
    r = exchange_compare_root(agent, &receipts->log, &checkpoint);
    if (r == -EUCLEAN) {
        int holed = outbox_is_holed(agent, &receipts->log);

        if (holed != 0)
            return holed < 0 ? holed
                             : 0; /* what the receipt might be for was carried over into another log */
    }
    if (r == -ENOENT || r == -ERANGE || r == -EBADMSG) {
        /* Nothing of it is taken; a log that is here cannot go on (leave_misfit). */
        ret->log = r == -ENOENT   ? RECEIPTS_LOG_UNKNOWN
                   : r == -ERANGE ? RECEIPTS_LOG_SET_BACK
                                  : RECEIPTS_LOG_FORKED;
        return 0;
    }
    if (r >= 0)
        r = read_held(agent, &receipts->log, &held);
    if (r < 0)
        return r;
    ret->log = RECEIPTS_LOG_TAKEN;
    ret->records_quarantined = receipts->quarantined_count;
    if (checkpoint.size > held.size)
        ret->records_acknowledged = checkpoint.size - held.size;
    if (check_only || !is_newer(&checkpoint, time_s, &held))
        return 0;
    r = store_apply_receipt(agent->store, &receipts->log, &checkpoint, time_s, receipts->receipt,
        receipts->quarantined, receipts->quarantined_count);
    return r >= 0 && receipts->quarantined_all ? release_unlisted(agent, receipts, checkpoint.size) : r;
}

/* Only forwards: an answer over the network may have said more since. */
static int take_blob(struct agent *agent, const struct blob_stored *stored, int64_t server_time_ms,
    bool check_only, struct agent_receipts *ret)
{
    enum blob_state state = stored->backed_up ? BLOB_BACKED_UP : BLOB_STORED;
    struct store_blob known;
    int r = store_blob_find(agent->store, &stored->sha256, &known);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    ret->photos_stored++;
    ret->photos_backed_up += stored->backed_up;
    if (check_only || known.state == BLOB_FREED || known.state == BLOB_BACKED_UP || known.state == state)
        return 0;
    return store_blob_set_state(agent->store, &stored->sha256, state, server_time_ms);
}

static int take_part(
    struct agent *agent, const struct bundle_receipts *receipts, bool check_only, struct agent_receipts *ret)
{
    int r = take_log(agent, receipts, check_only, ret);

    for (size_t i = 0; r >= 0 && i < receipts->stored_blob_count; i++)
        r = take_blob(agent, &receipts->stored_blobs[i], receipts->server_time_ms, check_only, ret);
    if (r >= 0 && !check_only)
        r = exchange_take_erasures(agent, receipts->erasures, receipts->erasure_count);
    if (r > 0)
        r = 0; /* that it is done is told with the next bundle */
    if (r >= 0 && receipts->is_last && !check_only)
        r = keep_taken(agent, receipts->bundle, receipts->server_time_ms);
    return r;
}

/* As after an answer that shows the same: a handheld that never has a network has no other way to learn of
 * it. What the centre said before may hold no longer, as it may have been set back; this is what it says now.
 */
static void leave_misfit(struct agent *agent, const struct bundle_receipts *receipts, bool rolled_back)
{
    memory_keep_doubt(agent, receipts->server_time_ms - 1);
    outbox_feed(agent);
    agent_feed(agent, &(struct engine_event){.kind = ENGINE_MISFIT,
                          .misfit = {.log = receipts->log, .rolled_back = rolled_back}});
}

int agent_take_receipts(
    struct agent *agent, struct bytes envelope, bool check_only, struct agent_receipts *ret)
{
    _cleanup_buffer_ struct buffer plain = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct bundle_receipts receipts;
    struct agent_receipts taken = {0};
    int r;

    if (!agent->enrolled)
        return -ENOTCONN;
    r = open_receipts(agent, envelope, &plain, &arena, &receipts);
    if (r >= 0)
        r = check_age(agent, &receipts);
    if (r < 0)
        return r;
    memcpy(taken.bundle, receipts.bundle, REQUEST_ID_BYTES);
    taken.server_time_ms = receipts.server_time_ms;
    taken.part = receipts.part;
    taken.is_last = receipts.is_last;
    r = take_part(agent, &receipts, check_only, &taken);
    if (!check_only && (taken.log == RECEIPTS_LOG_FORKED || taken.log == RECEIPTS_LOG_SET_BACK))
        leave_misfit(agent, &receipts, taken.log == RECEIPTS_LOG_SET_BACK);
    if (!check_only)
        agent_store_changed(agent);
    if (r >= 0)
        *ret = taken;
    return r;
}
