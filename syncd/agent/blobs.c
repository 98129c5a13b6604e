/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blobs between "all bytes were sent" and "the centre has signed for it", and those that a resync found
 * missing. Both lists live in memory: after a restart an upload finds its bytes there already, and a resync
 * that was cut off is asked for again.
 */
#include "syncd/agent/agent_internal.h"

#include "base/log.h"

#include <errno.h>
#include <sodium.h>

#define HASH_PIECE_BYTES (64u * 1024u)

static struct unconfirmed_blob *find_unconfirmed(struct agent *agent, const struct sha256 *blob)
{
    for (size_t i = 0; i < agent->unconfirmed_count; i++)
        if (sha256_equal(&agent->unconfirmed[i].blob, blob))
            return &agent->unconfirmed[i];
    return NULL;
}

bool blobs_is_unconfirmed(const struct agent *agent, const struct sha256 *blob)
{
    for (size_t i = 0; i < agent->unconfirmed_count; i++)
        if (sha256_equal(&agent->unconfirmed[i].blob, blob))
            return true;
    return false;
}

static void remove_unconfirmed(struct agent *agent, struct unconfirmed_blob *entry)
{
    *entry = agent->unconfirmed[--agent->unconfirmed_count];
}

void blobs_uploaded(struct agent *agent, const struct sha256 *blob)
{
    if (find_unconfirmed(agent, blob) || agent->unconfirmed_count == UNCONFIRMED_MAX)
        return;
    agent->unconfirmed[agent->unconfirmed_count++] =
        (struct unconfirmed_blob){.blob = *blob, .uploaded_at = ++agent->moment};
}

void blobs_gone(struct agent *agent, const struct sha256 *blob)
{
    struct unconfirmed_blob *entry;

    blobs_uploaded(agent, blob);
    entry = find_unconfirmed(agent, blob);
    if (entry)
        entry->is_gone = true;
}

/* Said once, in the log and as a record of its own. */
static int lose(struct agent *agent, const struct sha256 *blob)
{
    struct store_author author = agent_author(agent);
    int r = store_blobs_lost(agent->store, &author, blob, 1);

    if (r < 0)
        return agent_store_error(agent, r);
    if (blobs_mending_end(agent, blob))
        agent->report.blobs_gone++;
    agent_alarm(agent, "a photo is gone or damaged on this device before it was sent: the centre is told");
    return 0;
}

/* ---- asking ---- */

static size_t add_pending(struct agent *agent, struct sha256 *ret, size_t count)
{
    size_t max = agent->unconfirmed_count + ASKED_PENDING_MAX, found, added = 0;
    _cleanup_free_ struct store_blob *blobs = calloc(max, sizeof(*blobs));

    if (!blobs || store_blobs_pending(agent->store, blobs, max, &found) < 0)
        return 0;
    for (size_t i = 0; i < found && added < ASKED_PENDING_MAX && count + added < EXCHANGE_ASKED_BLOBS_MAX;
         i++)
        if (!find_unconfirmed(agent, &blobs[i].sha256))
            ret[count + added++] = blobs[i].sha256;
    return added;
}

/* Photos may go from this disk once the centre says that they are backed up: asked a few at a time. */
static size_t add_stored(struct agent *agent, struct sha256 *ret)
{
    struct store_blob blobs[ASKED_BACKED_UP_MAX];
    size_t count = 0;

    if (store_blobs_stored(agent->store, agent->asked_stored_after, blobs, ASKED_BACKED_UP_MAX, &count) < 0)
        return 0;
    agent->asked_stored_after = count == ASKED_BACKED_UP_MAX ? blobs[count - 1].number : 0;
    for (size_t i = 0; i < count; i++)
        ret[i] = blobs[i].sha256;
    return count;
}

size_t blobs_to_ask(struct agent *agent, struct sha256 ret[EXCHANGE_ASKED_BLOBS_MAX], size_t *ret_unconfirmed)
{
    size_t count = 0;

    for (size_t i = 0; i < agent->unconfirmed_count; i++)
        ret[count++] = agent->unconfirmed[i].blob;
    *ret_unconfirmed = count;
    count += add_pending(agent, ret, count);
    return count > 0 ? count : add_stored(agent, ret);
}

/* ---- what the centre signed ---- */

static void take_state(struct agent *agent, const struct blob_stored *stored, int64_t server_time_ms)
{
    enum blob_state state = stored->backed_up ? BLOB_BACKED_UP : BLOB_STORED;
    struct store_blob known;
    int r = store_blob_find(agent->store, &stored->sha256, &known);

    if (r == -ENOENT || (r >= 0 && (known.state == BLOB_FREED || known.state == state)))
        return;
    if (r >= 0)
        r = store_blob_set_state(agent->store, &stored->sha256, state, server_time_ms);
    if (r < 0)
        agent_store_error(agent, r);
}

/* An answer to what was asked before the upload was finished says nothing about it. */
static bool answer_knows(const struct agent_slot *slot, const struct unconfirmed_blob *entry)
{
    return entry->uploaded_at <= slot->asked_at;
}

static void upload_again(struct agent *agent, struct unconfirmed_blob *entry)
{
    remove_unconfirmed(agent, entry);
    agent_note(agent, LOG_LEVEL_WARNING, "the centre lacks a photo that was uploaded: it is sent again");
}

/* Those that were asked for and are not on the list are not at the centre: they are sent again, or lost when
 * they are gone here too. */
static void take_unlisted(struct agent *agent, const struct agent_slot *slot)
{
    for (size_t i = agent->unconfirmed_count; i > 0; i--) {
        struct unconfirmed_blob *entry = &agent->unconfirmed[i - 1];

        if (!answer_knows(slot, entry))
            continue;
        if (!entry->is_gone)
            upload_again(agent, entry);
        else if (lose(agent, &entry->blob) >= 0)
            remove_unconfirmed(agent, entry);
    }
}

size_t blobs_take_stored(
    struct agent *agent, const struct agent_slot *slot, const struct exchange_answer *answer)
{
    size_t confirmed = 0;

    /* It may have been made before the centre knew that it lacks a blob: what was asked for is asked for
     * again. */
    if (slot->asked_at < agent->doubted_at)
        return 0;
    for (size_t i = 0; i < answer->stored_blob_count; i++) {
        struct unconfirmed_blob *entry = find_unconfirmed(agent, &answer->stored_blobs[i].sha256);

        take_state(agent, &answer->stored_blobs[i], answer->server_time_ms);
        if (entry) {
            remove_unconfirmed(agent, entry);
            confirmed++;
        }
        if (blobs_mending_end(agent, &answer->stored_blobs[i].sha256))
            agent->report.blobs_sent_again++;
    }
    if (slot->blobs_asked > 0)
        take_unlisted(agent, slot);
    return confirmed;
}

/* 1 when at least the file's first byte can be read: enough to try; 0 when there is none; -errno when the
 * disk does not tell. */
static int file_is_there(struct agent *agent, const struct sha256 *blob)
{
    uint8_t byte;
    ssize_t n = store_blob_read(agent->store, blob, 0, &byte, 1);

    if (n == -ENOENT)
        return 0;
    return n < 0 ? (int)n : n == 1;
}

/* 1 when it is to be sent now, 0 when there is nothing here to send. What counts is the file: its row may
 * have gone with a damaged database, or say that it was freed by a program that was killed before the file
 * was. */
static int send_again(struct agent *agent, const struct sha256 *blob)
{
    struct store_blob known;
    int r = store_blob_find(agent->store, blob, &known);

    if (r == -ENOENT || (r >= 0 && known.state == BLOB_STATE_LOST))
        return store_blob_adopt(agent->store, blob);
    if (r >= 0)
        r = file_is_there(agent, blob);
    if (r <= 0)
        return r;
    r = store_blob_set_state(agent->store, blob, BLOB_PENDING, 0);
    return r < 0 ? r : 1;
}

void blobs_take_wanted(
    struct agent *agent, const struct agent_slot *slot, const struct exchange_answer *answer)
{
    for (size_t i = 0; i < answer->wanted_blob_count; i++) {
        const struct sha256 *blob = &answer->wanted_blobs[i].sha256;
        struct unconfirmed_blob *entry = find_unconfirmed(agent, blob);

        if (entry && !entry->is_gone && answer_knows(slot, entry)) {
            upload_again(agent, entry);
        } else {
            if (entry)
                continue;
            int r = store_blob_is_pending(agent->store, blob);
            if (r > 0)
                continue;
            if (r == 0)
                r = send_again(agent, blob);
            if (r < 0)
                agent_store_error(agent, r);
            if (r <= 0)
                continue;
            agent_note(agent, LOG_LEVEL_WARNING,
                "the centre lacks a photo that does not count as waiting here: it is sent (again)");
        }
        agent_doubt(agent);
    }
}

/* ---- what a resync found missing ---- */

static struct sha256 *find_mending(struct agent *agent, const struct sha256 *blob)
{
    for (size_t i = 0; i < agent->mending_count; i++)
        if (sha256_equal(&agent->mending[i], blob))
            return &agent->mending[i];
    return NULL;
}

bool blobs_mending_end(struct agent *agent, const struct sha256 *blob)
{
    struct sha256 *entry = find_mending(agent, blob);

    if (!entry)
        return false;
    *entry = agent->mending[--agent->mending_count];
    return true;
}

bool blobs_uploaded_since(struct agent *agent, const struct agent_slot *slot, const struct sha256 *blob)
{
    const struct unconfirmed_blob *entry = find_unconfirmed(agent, blob);

    return entry && !entry->is_gone && !answer_knows(slot, entry);
}

int blobs_mend(struct agent *agent, const struct sha256 *blob)
{
    struct unconfirmed_blob *entry = find_unconfirmed(agent, blob);
    int r = send_again(agent, blob);

    if (r <= 0)
        return r;
    agent_doubt(agent);
    if (entry)
        remove_unconfirmed(agent, entry); /* the audit has looked later than the upload */
    if (!find_mending(agent, blob) && agent->mending_count < MENDING_MAX)
        agent->mending[agent->mending_count++] = *blob;
    return 1;
}

/* ---- the file ---- */

int blobs_file_is_whole(struct agent *agent, const struct store_blob *blob)
{
    _cleanup_free_ uint8_t *piece = malloc(HASH_PIECE_BYTES);
    crypto_hash_sha256_state state;
    struct sha256 hash;
    uint64_t offset = 0;

    if (!piece)
        return -ENOMEM;
    crypto_hash_sha256_init(&state);
    for (;;) {
        ssize_t n = store_blob_read(agent->store, &blob->sha256, offset, piece, HASH_PIECE_BYTES);

        if (n == -ENOENT)
            return 0;
        if (n < 0)
            return (int)n;
        if (n == 0)
            break;
        crypto_hash_sha256_update(&state, piece, (size_t)n);
        offset += (uint64_t)n;
        if (offset > blob->size)
            return 0;
    }
    crypto_hash_sha256_final(&state, hash.b);
    return offset == blob->size && sha256_equal(&hash, &blob->sha256);
}
