/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blob uploads, one at a time, when no text waits: urgent previews, previews, urgent photos, photos; a class
 * whose lane may not send is passed over. Pure.
 *
 *   CREATE -> offset -> CHUNK -> offset -> CHUNK ... -> all bytes there: unconfirmed, until a signed
 *   stored-list names it
 *
 *   409 -> OFFSET     404, 410, 460 -> CREATE     401, 403 -> new token, then CREATE     503 -> wait, OFFSET
 *
 * A chunk is long, so that a link of long round trips does not idle, and it is no unit of anything: what has
 * come of one that breaks off is kept by the centre, and the whole hash decides. So one that is in the way of
 * text for more than CHUNK_YIELD_MS is broken off.
 *
 * The answers to uploads are not signed: they steer, they never count. A blob that the server will not take
 * is held back for a while and the next one goes on.
 */
#include "syncd/core/engine_state.h"

#define TOKEN_MARGIN_MS UINT64_C(30000)

static struct blob_hold *find_hold(struct media_lane *media, const struct sha256 *blob)
{
    for (size_t i = 0; i < BLOB_HOLDS_MAX; i++)
        if (media->holds[i].failures > 0 && sha256_equal(&media->holds[i].blob, blob))
            return &media->holds[i];
    return NULL;
}

bool engine_blob_is_held(const struct engine *engine, const struct sha256 *blob, uint64_t now_ms)
{
    for (size_t i = 0; i < BLOB_HOLDS_MAX; i++) {
        const struct blob_hold *hold = &engine->media.holds[i];

        if (hold->failures > 0 && sha256_equal(&hold->blob, blob))
            return now_ms < hold->until_ms;
    }
    return false;
}

/* The first class with a blob that may go now, and how many bytes may; NULL: none. */
static const struct engine_blobs *best_class(
    const struct engine *engine, enum engine_lane *ret_lane, uint64_t *ret_left)
{
    for (size_t i = 0; i < ENGINE_BLOB_CLASSES; i++) {
        const struct engine_blobs *blobs = &engine->outbox.blobs[i];
        enum engine_blob_class class = (enum engine_blob_class)i;

        *ret_lane = lane_of_blobs(class);
        if (blobs->has_next && lane_is_open(engine, *ret_lane, blobs_are_urgent(class)) &&
            !engine_blob_is_held(engine, &blobs->next, engine->now_ms)) {
            *ret_left = lane_budget_left(engine, *ret_lane, blobs_are_urgent(class));
            return blobs;
        }
    }
    return NULL;
}

/* Until the agent names the next one. */
static void forget_next(struct engine *engine, const struct sha256 *blob)
{
    for (size_t i = 0; i < ENGINE_BLOB_CLASSES; i++)
        if (sha256_equal(&engine->outbox.blobs[i].next, blob))
            engine->outbox.blobs[i].has_next = false;
}

static void forget_current(struct media_lane *media)
{
    media->has_current = false;
    media->corrections = media->wrong_hashes = media->busy = 0;
}

/* A free place in the table of held blobs; when it is full, the one that would be free soonest gives way. */
static struct blob_hold *new_hold(struct media_lane *media)
{
    struct blob_hold *soonest = &media->holds[0];

    for (size_t i = 0; i < BLOB_HOLDS_MAX; i++) {
        if (media->holds[i].failures == 0)
            return &media->holds[i];
        if (media->holds[i].until_ms < soonest->until_ms)
            soonest = &media->holds[i];
    }
    return soonest;
}

static void hold_blob(struct engine *engine, const struct sha256 *blob, uint64_t min_ms)
{
    struct media_lane *media = &engine->media;
    struct blob_hold *hold = find_hold(media, blob);

    if (!hold) {
        hold = new_hold(media);
        *hold = (struct blob_hold){.blob = *blob};
    }
    hold->until_ms = engine_later(engine, engine_backoff(engine, min_ms, BLOB_HOLD_MAX_MS, hold->failures));
    hold->failures++;
    if (media->has_current && sha256_equal(&media->current, blob))
        forget_current(media);
}

/* It has done nothing wrong: another one has its turn first. */
static void rest_blob(struct engine *engine, const struct sha256 *blob, uint64_t rest_ms)
{
    struct blob_hold *hold = find_hold(&engine->media, blob);

    if (!hold) {
        hold = new_hold(&engine->media);
        *hold = (struct blob_hold){.blob = *blob, .failures = 1};
    }
    hold->until_ms = engine_later(engine, rest_ms);
}

static void hold_lane(struct engine *engine, uint32_t exponent, const char *reason)
{
    engine->media.hold_until_ms = engine_later(engine,
        engine_backoff(engine, engine->config.backoff_min_ms, engine->config.backoff_max_ms, exponent));
    engine->media.hold_reason = reason;
}

/* ---- what happened ---- */

static const char *no_upload_text(uint32_t reason)
{
    return reason == NO_UPLOAD_OVER_QUOTA ? "this device is over its quota of photos at the centre"
                                          : "the centre gave no permission to upload";
}

void media_token(struct engine *engine, bool has_token, uint32_t token_s, uint32_t no_upload)
{
    struct media_lane *media = &engine->media;
    uint64_t good_ms = (uint64_t)token_s * 1000;
    enum engine_lane lane;

    if (has_token && good_ms > TOKEN_MARGIN_MS) {
        media->token_until_ms = engine_later(engine, good_ms - TOKEN_MARGIN_MS);
        media->token_serial++;
        media->token_fresh = true;
        return;
    }
    if (!media_wants_token(engine, &lane))
        return;
    media->token_failures++;
    hold_lane(engine, media->token_failures, no_upload_text(no_upload));
}

static uint32_t chunk_for(const struct engine *engine)
{
    uint32_t limit = engine->media.chunk_bytes;
    uint64_t affordable = rate_over(&engine->media.bytes, engine->config.chunk_target_ms);

    if (affordable > (uint64_t)limit * 4)
        affordable = (uint64_t)limit * 4;
    if (affordable < limit / 2)
        affordable = limit / 2;
    if (affordable < UPLOAD_CHUNK_BYTES_MIN)
        return UPLOAD_CHUNK_BYTES_MIN;
    return affordable > UPLOAD_CHUNK_BYTES_MAX ? UPLOAD_CHUNK_BYTES_MAX : (uint32_t)affordable;
}

static void measure_chunk(struct engine *engine, const struct slot *slot, uint64_t sent)
{
    struct media_lane *media = &engine->media;
    uint64_t took_ms = engine->now_ms - slot->started_ms;
    bool was_full = sent == media->chunk_bytes;

    rate_add(&media->bytes, sent, took_ms);
    if (was_full || took_ms > engine->config.chunk_target_ms)
        media->chunk_bytes = chunk_for(engine);
}

/* Another step for the same blob; too many without progress, and it gives way to others. */
static void correct(struct engine *engine, const struct slot *slot, enum upload_step step)
{
    struct media_lane *media = &engine->media;

    media->step = step;
    if (++media->corrections <= BLOB_CORRECTIONS_MAX)
        return;
    engine_alarm(engine, ALARM_BLOB_REFUSED);
    hold_blob(engine, &slot->action.upload.blob, BLOB_HOLD_MIN_MS);
}

void media_uploaded(struct engine *engine, const struct slot *slot, const struct engine_event *event)
{
    struct media_lane *media = &engine->media;
    uint64_t offset = event->uploaded.offset;
    bool is_current = media->has_current && sha256_equal(&media->current, &event->uploaded.blob);
    /* The agent may have had to learn the offset first. */
    bool is_chunk = slot->action.upload.step == UPLOAD_CHUNK && event->uploaded.step == UPLOAD_CHUNK;

    bool has_moved = is_chunk && offset > slot->action.upload.offset;

    media->token_fresh = false;
    media->busy = 0;
    resync_progress(engine);
    if (has_moved)
        measure_chunk(engine, slot, offset - slot->action.upload.offset);
    /* A centre that is full answers the other steps, too. */
    if (has_moved || offset >= event->uploaded.size)
        media->token_failures = 0;
    if (!is_current)
        return;
    if (offset >= event->uploaded.size) {
        struct blob_hold *hold = find_hold(media, &media->current);

        if (hold)
            *hold = (struct blob_hold){0};
        forget_next(engine, &media->current);
        forget_current(media);
        return;
    }
    if (is_chunk && !has_moved) {
        correct(engine, slot, UPLOAD_OFFSET); /* taken, but not moved: as good as a wrong offset */
        return;
    }
    /* Also when the chunk that brought it broke off. */
    if (is_chunk || offset > media->offset)
        media->corrections = 0;
    media->offset = offset;
    media->step = UPLOAD_CHUNK;
}

/* When nothing has come through since the failure before, it is not this photo that breaks the connection. */
static void broken_off(struct engine *engine, const struct slot *slot)
{
    if (slot->way_was_proven)
        correct(engine, slot, UPLOAD_OFFSET);
    else
        engine->media.step = UPLOAD_OFFSET;
}

static void token_refused(struct engine *engine, const struct slot *slot)
{
    struct media_lane *media = &engine->media;

    if (slot->token_serial != media->token_serial) {
        correct(engine, slot, UPLOAD_CREATE); /* a newer one has come meanwhile */
        return;
    }
    media->token_until_ms = 0;
    media->step = UPLOAD_CREATE;
    if (!media->token_fresh)
        return; /* it had become old: a new one is asked for */
    /* A token just given is refused: this blob is not wanted from us, or all uploads are closed to us. */
    media->token_fresh = false;
    media->token_failures++;
    engine_alarm(engine, ALARM_BLOB_REFUSED);
    hold_blob(engine, &slot->action.upload.blob, BLOB_HOLD_MIN_MS);
    hold_lane(engine, media->token_failures, "the centre does not permit an upload");
}

static void halve_chunk(struct media_lane *media)
{
    media->chunk_bytes /= 2;
    if (media->chunk_bytes < UPLOAD_CHUNK_BYTES_MIN)
        media->chunk_bytes = UPLOAD_CHUNK_BYTES_MIN;
}

static void upload_too_large(struct engine *engine, const struct slot *slot)
{
    struct media_lane *media = &engine->media;

    if (slot->action.upload.step == UPLOAD_CHUNK && media->chunk_bytes > UPLOAD_CHUNK_BYTES_MIN) {
        halve_chunk(media);
        media->step = UPLOAD_OFFSET;
        return;
    }
    if (!media->token_fresh) {
        media->token_until_ms = 0; /* should the centre go by the token's quota, a new one helps */
        correct(engine, slot, UPLOAD_CREATE);
        return;
    }
    engine_alarm(engine, ALARM_BLOB_REFUSED);
    hold_blob(engine, &slot->action.upload.blob, BLOB_HOLD_MAX_MS);
}

/* Waiting is the contact's. But what is busy may be this photo's place alone, so others are tried as well. */
static void server_busy(struct engine *engine, const struct slot *slot)
{
    struct media_lane *media = &engine->media;

    media->step = UPLOAD_OFFSET;
    if (++media->busy <= BLOB_BUSY_MAX)
        return;
    media->busy = 0;
    rest_blob(engine, &slot->action.upload.blob, BLOB_BUSY_REST_MS);
}

/* All of it came and was something else: the centre has removed it. Here the file is read and hashed before
 * it is offered again. */
static void wrong_hash(struct engine *engine, const struct slot *slot)
{
    struct media_lane *media = &engine->media;

    media->step = UPLOAD_CREATE;
    if (++media->wrong_hashes <= BLOB_WRONG_HASHES_MAX)
        return;
    engine_alarm(engine, ALARM_BLOB_REFUSED);
    hold_blob(engine, &slot->action.upload.blob, BLOB_HOLD_MIN_MS);
}

void media_failed(struct engine *engine, const struct slot *slot, enum engine_failure failure)
{
    struct media_lane *media = &engine->media;

    switch (failure) {
    case FAILURE_NETWORK:
        if (slot->action.upload.step == UPLOAD_CHUNK)
            halve_chunk(media);
        broken_off(engine, slot);
        break;
    case FAILURE_TLS:
    case FAILURE_UNSIGNED:
        broken_off(engine, slot);
        break;
    case FAILURE_TOO_LARGE:
        upload_too_large(engine, slot);
        break;
    case FAILURE_BUSY:
        server_busy(engine, slot);
        break;
    case FAILURE_UPLOAD_OFFSET:
        correct(engine, slot, UPLOAD_OFFSET);
        break;
    case FAILURE_UPLOAD_FULL:
        /* It says nothing about this photo, nor about records: uploads wait, and only they. */
        media->token_failures++;
        media->step = UPLOAD_OFFSET;
        hold_lane(engine, media->token_failures, failure_text(failure));
        break;
    case FAILURE_UPLOAD_GONE:
        correct(engine, slot, UPLOAD_CREATE);
        break;
    case FAILURE_UPLOAD_TOKEN:
        token_refused(engine, slot);
        break;
    case FAILURE_UPLOAD_HASH:
        wrong_hash(engine, slot);
        break;
    case FAILURE_LOCAL:
        hold_blob(engine, &slot->action.upload.blob, BLOB_LOCAL_HOLD_MIN_MS);
        break;
    }
}

void media_nothing(struct engine *engine, const struct slot *slot)
{
    /* The agent feeds an outbox without it; should it not, the blob rests a little and nothing spins. */
    hold_blob(engine, &slot->action.upload.blob, REFUSED_NETWORK_RETRY_MS / 5);
    forget_next(engine, &slot->action.upload.blob);
}

void media_urge(struct engine *engine)
{
    struct media_lane *media = &engine->media;

    media->hold_until_ms = 0;
    for (size_t i = 0; i < BLOB_HOLDS_MAX; i++)
        media->holds[i].until_ms = 0;
}

/* ---- what to do next ---- */

static bool has_token(const struct engine *engine)
{
    return engine->now_ms < engine->media.token_until_ms;
}

/* What to upload now, if anything may be uploaded. */
static const struct engine_blobs *to_upload(
    const struct engine *engine, enum engine_lane *ret_lane, uint64_t *ret_left)
{
    return engine->now_ms >= engine->media.hold_until_ms ? best_class(engine, ret_lane, ret_left) : NULL;
}

bool media_wants_token(const struct engine *engine, enum engine_lane *ret_lane)
{
    enum engine_lane lane;
    uint64_t left;

    if (has_token(engine) || !to_upload(engine, &lane, &left))
        return false;
    *ret_lane = lane;
    return true;
}

bool media_wants_states(const struct engine *engine)
{
    const struct engine_outbox *outbox = &engine->outbox;
    enum engine_lane lane;
    uint64_t left;

    if (outbox->blobs_unconfirmed == 0 || lane_waits_for_link_up(engine, LANE_PHOTOS, false))
        return false;
    /* When enough have been uploaded, or nothing else can be done. */
    return outbox->blobs_unconfirmed >= engine->config.ask_after_uploads || !to_upload(engine, &lane, &left);
}

static uint32_t chunk_within(uint32_t chunk_bytes, uint64_t left)
{
    if (left >= chunk_bytes)
        return chunk_bytes;
    return left > UPLOAD_CHUNK_BYTES_MIN ? (uint32_t)left : UPLOAD_CHUNK_BYTES_MIN;
}

/* Text goes at once, beside a chunk in flight, and a finding or two are through in a few round trips; for
 * more of it the link is cleared. Beginning again costs a connection, and asking for the offset. */
static void yield_to_text(struct engine *engine)
{
    struct media_lane *media = &engine->media;
    const struct slot *slot = &engine->slots[MEDIA_SLOT];

    if (slot->use == SLOT_FREE || slot->action.upload.step != UPLOAD_CHUNK || !text_is_in_flight(engine)) {
        media->yield_ms = 0;
        return;
    }
    if (media->yield_ms == 0)
        media->yield_ms = engine_later(engine, CHUNK_YIELD_MS);
    if (engine->now_ms < media->yield_ms)
        return;
    media->yield_ms = 0;
    media->step = UPLOAD_OFFSET;
    engine_cancel(engine, MEDIA_SLOT);
}

void media_plan(struct engine *engine)
{
    struct media_lane *media = &engine->media;
    const struct engine_blobs *blobs;
    enum engine_lane lane = LANE_PHOTOS;
    uint64_t left = UINT64_MAX;
    struct slot *slot;

    yield_to_text(engine);
    if (engine->slots[MEDIA_SLOT].use != SLOT_FREE || contact_needs_exchange(engine) ||
        text_is_busy(engine) || !has_token(engine) || !contact_open(engine))
        return;
    blobs = to_upload(engine, &lane, &left);
    if (!blobs)
        return;
    if (!media->has_current || !sha256_equal(&media->current, &blobs->next)) {
        forget_current(media);
        media->has_current = true;
        media->current = blobs->next;
        media->step = UPLOAD_CREATE;
        media->offset = 0;
    }
    slot = engine_start(engine, MEDIA_SLOT, SLOT_UPLOAD);
    slot->token_serial = media->token_serial;
    slot->lane = lane;
    slot->action.kind = ENGINE_SEND_UPLOAD;
    slot->action.upload.step = media->step;
    slot->action.upload.blob = media->current;
    slot->action.upload.offset = media->step == UPLOAD_CHUNK ? media->offset : 0;
    slot->action.upload.bytes_max = media->step == UPLOAD_CHUNK ? chunk_within(media->chunk_bytes, left) : 0;
}

uint64_t media_timer(const struct engine *engine)
{
    const struct media_lane *media = &engine->media;
    uint64_t earliest = UINT64_MAX;

    if (media->yield_ms > engine->now_ms)
        earliest = media->yield_ms;
    if (engine->outbox.blobs_pending == 0)
        return earliest;
    if (media->hold_until_ms > engine->now_ms && media->hold_until_ms < earliest)
        earliest = media->hold_until_ms;
    for (size_t i = 0; i < BLOB_HOLDS_MAX; i++)
        if (media->holds[i].failures > 0 && media->holds[i].until_ms > engine->now_ms &&
            media->holds[i].until_ms < earliest)
            earliest = media->holds[i].until_ms;
    return earliest;
}
