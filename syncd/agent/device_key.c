/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The device key, and the one that is to take its place. proto/README.md, "A device's next key". The
 * shell owns the files: here the record is made that announces a key, and the certificate checked that comes
 * back.
 */
#include "syncd/agent/agent_internal.h"

#include "base/log.h"
#include "proto/key_rotation.h"

#include <errno.h>
#include <sodium.h>

#define ANNOUNCED_TEXT_MAX (KEY_NAME_MAX + 1 + 2 * SIGN_PUBLIC_BYTES + 1)

static int verify_certificate(
    const struct agent *agent, struct bytes envelope, uint8_t ret_public_key[SIGN_PUBLIC_BYTES])
{
    _cleanup_arena_ struct arena arena;
    struct device_certificate certificate;
    int r;

    arena_init(&arena, arena_budget_for(ENROLMENT_BYTES_MAX));
    r = trust_verify_certificate(&agent->trust, envelope, &arena, &certificate);
    if (r < 0)
        return r;
    if (!uuid_equal(&certificate.device, &agent->device) ||
        !bytes_equal(certificate.authority, bytes_of_text(agent->authority)) ||
        !bytes_equal(certificate.tenant, bytes_of_text(agent->tenant)))
        return -EBADMSG;
    memcpy(ret_public_key, certificate.public_key, SIGN_PUBLIC_BYTES);
    return 0;
}

int device_key_load_former(struct agent *agent, const struct enrolment *enrolment)
{
    struct cursor cursor = cursor_of(bytes_of(enrolment->certificates, enrolment->certificates_len));
    struct bytes envelope;

    agent->former_key_count = 0;
    while (enrolment_certificate_next(&cursor, &envelope)) {
        struct verify_key key;
        int r = verify_certificate(agent, envelope, key.public_key);

        if (r == -ENOMEM)
            return r;
        if (r < 0)
            continue; /* made under another enrolment */
        memcpy(key.name, agent->key.public.name, sizeof(key.name));
        /* The newest count: the receipts of the others are over newer ones. */
        if (agent->former_key_count == DEVICE_KEYS_MAX)
            memmove(agent->former_keys, agent->former_keys + 1,
                --agent->former_key_count * sizeof(agent->former_keys[0]));
        agent->former_keys[agent->former_key_count++] = key;
    }
    return 0;
}

/* ---- announcing ---- */

static int append_rotation(struct agent *agent, const struct sign_key *next)
{
    const struct world *world = agent->world;
    struct store_author author = agent_author(agent);
    struct record record = {.kind = RECORD_KEY_ROTATION, .inspector = author.inspector};
    _cleanup_buffer_ struct buffer bytes = {0};
    struct store_appended appended;
    int r;

    record.wall_ms = world->verbs->wall_ms(world->context);
    record.utc_offset_min = world->verbs->utc_offset_min(world->context, record.wall_ms);
    record.boot_ms = world->verbs->boot_ms(world->context);
    key_rotation_sign(&agent->device, agent->key.public.public_key, next, &record.key_rotation);
    r = record_encode(&record, &bytes);
    if (r < 0)
        return r;
    const struct store_entry entry = {.record = buffer_bytes(&bytes), .kind = record.kind};
    return store_append(agent->store, &author, &entry, 1, &appended);
}

/* Which key was announced, and where: another centre has not heard of it. A death between the record and this
 * note costs a second record, which says the same. */
static int announce(struct agent *agent, const struct sign_key *next)
{
    _cleanup_buffer_ struct buffer held = {0};
    char text[ANNOUNCED_TEXT_MAX], key[2 * SIGN_PUBLIC_BYTES + 1];
    int r = store_setting(agent->store, SETTING_ANNOUNCED, &held);

    if (r < 0 && r != -ENOENT)
        return r;
    text_hex(next->public.public_key, SIGN_PUBLIC_BYTES, key);
    snprintf(text, sizeof(text), "%s %s", agent->authority, key);
    if (r >= 0 && bytes_equal(buffer_bytes(&held), bytes_of_text(text)))
        return 0;
    r = append_rotation(agent, next);
    return r < 0 ? r : store_set_setting(agent->store, SETTING_ANNOUNCED, bytes_of_text(text));
}

int agent_announce_key(struct agent *agent, const uint8_t seed[SIGN_SEED_BYTES])
{
    struct sign_key next;
    int r;

    if (!agent->enrolled)
        return -ENOTCONN;
    sign_key_from_seed(agent->key.public.name, seed, &next);
    r = announce(agent, &next);
    sodium_memzero(&next, sizeof(next));
    if (r >= 0)
        agent_store_changed(agent);
    return r;
}

/* ---- the certificate ---- */

void device_key_take_certificate(struct agent *agent, struct bytes envelope)
{
    uint8_t public_key[SIGN_PUBLIC_BYTES];
    int r;

    if (envelope.len == 0 || !agent->listener.certificate)
        return;
    r = verify_certificate(agent, envelope, public_key);
    if (r >= 0 && memcmp(public_key, agent->taken_key, sizeof(public_key)) == 0)
        return;
    if (r >= 0)
        r = agent->listener.certificate(agent->listener.context, envelope, public_key);
    if (r > 0) {
        memcpy(agent->taken_key, public_key, sizeof(public_key));
        agent_note(
            agent, LOG_LEVEL_INFO, "the centre has taken this handheld's new key: it signs from now on");
    } else if (r == 0) {
        agent_note(agent, LOG_LEVEL_WARNING,
            "the centre names a new key of this handheld that is not here: the one in force stays");
    } else {
        agent_note(agent, LOG_LEVEL_WARNING,
            "the certificate of this handheld's new key was not taken (%s): the centre tells it again",
            strerror(-r));
    }
}
