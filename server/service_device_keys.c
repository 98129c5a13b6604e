/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of a device: the one in force, the next one that it has announced, and those that are retired.
 * proto/README.md, "A device's next key".
 *
 *   record KeyRotation      ──►  next            its certificate is told, until it signs with it
 *   first exchange by it    ──►  in force        the one before is retired, for good
 *   later certificate       ──►  in force        this centre was set back to before the rotation
 *
 * The key in force stands in the device's row, as ever; the others in a table of their own.
 */
#include "server/service_internal.h"

#include "proto/key_rotation.h"

struct other_keys {
    struct stored_device_key keys[DEVICE_KEYS_MAX];
    size_t count;
};

static int read_keys(struct storage *storage, uint64_t device, struct other_keys *ret)
{
    return storage->verbs->device_keys(storage, device, ret->keys, &ret->count);
}

static const struct stored_device_key *find_next(const struct other_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++)
        if (keys->keys[i].state == DEVICE_KEY_NEXT)
            return &keys->keys[i];
    return NULL;
}

static const struct stored_device_key *find_key(
    const struct other_keys *keys, const uint8_t public_key[SIGN_PUBLIC_BYTES])
{
    for (size_t i = 0; i < keys->count; i++)
        if (memcmp(keys->keys[i].public_key, public_key, SIGN_PUBLIC_BYTES) == 0)
            return &keys->keys[i];
    return NULL;
}

static bool has_id(const uint8_t public_key[SIGN_PUBLIC_BYTES], const uint8_t key_id[8])
{
    uint8_t id[8];

    key_id_of(public_key, id);
    return memcmp(id, key_id, sizeof(id)) == 0;
}

/* ---- certificates ---- */

int certificate_verify_own(struct service *service, struct bytes certificate, struct arena *arena,
    struct device_certificate *ret, const struct own_key **ret_key)
{
    const struct own_key *key;
    struct envelope envelope;
    int r = envelope_parse(certificate, &envelope);

    if (r < 0)
        return r;
    key = trust_key_by_id(service, envelope.key_id);
    if (!key)
        return -EKEYREJECTED;
    r = device_certificate_verify(certificate, &key->key.public, arena, ret);
    if (r >= 0 && ret_key)
        *ret_key = key;
    return r;
}

/* What the certificate of the key in force says. One that was damaged says nothing of names and times. */
static int read_certificate(struct service *service, struct storage *storage,
    const struct stored_device *device, struct arena *arena, struct device_certificate *ret)
{
    _cleanup_buffer_ struct buffer certificate = {0};
    int r = storage->verbs->device_certificate(storage, device->number, &certificate);

    if (r >= 0)
        r = certificate_verify_own(service, buffer_bytes(&certificate), arena, ret, NULL);
    if (r == -EBADMSG || r == -EKEYREJECTED) {
        *ret = (struct device_certificate){.authority = bytes_of_text(service->authority),
            .tenant = bytes_of_text(service->tenant),
            .device = device->id};
        return 0;
    }
    return r;
}

static int sign_next_certificate(struct service_job *job, struct storage *storage,
    const struct stored_device_key *next, struct buffer *ret)
{
    struct device_certificate certificate;
    _cleanup_arena_ struct arena arena;
    int r;

    arena_init(&arena, arena_budget_for(ENROLMENT_BYTES_MAX));
    r = read_certificate(job->service, storage, &job->device, &arena, &certificate);
    if (r < 0)
        return r;
    memcpy(certificate.public_key, next->public_key, SIGN_PUBLIC_BYTES);
    /* Also when the key in force was certified again meanwhile. */
    certificate.issued_ms = next->at_ms > certificate.issued_ms ? next->at_ms : certificate.issued_ms + 1;
    return device_certificate_sign(&certificate, &job->signer->key, ret);
}

/* ---- which key signs ---- */

int device_keys_choose(struct service_job *job, struct storage *storage, const uint8_t key_id[8])
{
    struct other_keys keys;
    int r;

    job->key_use = KEY_IN_FORCE;
    if (has_id(job->device.public_key, key_id))
        return 0;
    job->key_use = KEY_UNKNOWN;
    r = read_keys(storage, job->device.number, &keys);
    for (size_t i = 0; r >= 0 && i < keys.count; i++) {
        if (!has_id(keys.keys[i].public_key, key_id))
            continue;
        job->key_use = keys.keys[i].state == DEVICE_KEY_NEXT ? KEY_NEXT : KEY_RETIRED;
        memcpy(job->device.public_key, keys.keys[i].public_key, SIGN_PUBLIC_BYTES);
        break;
    }
    return r;
}

static int note_key(const struct service *service, const struct uuid *device,
    const uint8_t public_key[SIGN_PUBLIC_BYTES], struct verify_key *ret)
{
    memcpy(ret->public_key, public_key, SIGN_PUBLIC_BYTES);
    return device_key_name(service->authority, service->tenant, device, ret->name);
}

/* 1, 0 when this key has not signed the note, or -errno. */
static int has_signed(const struct service *service, const struct uuid *device,
    const uint8_t public_key[SIGN_PUBLIC_BYTES], struct bytes note, struct checkpoint *ret)
{
    struct verify_key key;
    int r = note_key(service, device, public_key, &key);

    return r < 0 ? r : checkpoint_verify(note, &key, ret) >= 0;
}

int device_checkpoint_verify(struct service *service, struct storage *storage,
    const struct stored_device *device, struct bytes note, struct checkpoint *ret)
{
    struct stored_device held;
    struct other_keys keys;
    int r = has_signed(service, &device->id, device->public_key, note, ret);

    if (r != 0)
        return r < 0 ? r : 0;
    /* `device` may be a request's, which the next key or a retired one has signed. */
    r = storage->verbs->device_at(storage, device->number, &held);
    if (r >= 0)
        r = has_signed(service, &device->id, held.public_key, note, ret);
    if (r != 0)
        return r < 0 ? r : 0;
    r = read_keys(storage, device->number, &keys);
    for (size_t i = 0; r == 0 && i < keys.count; i++)
        r = has_signed(service, &device->id, keys.keys[i].public_key, note, ret);
    return r < 0 ? r : r > 0 ? 0 : -ENOENT;
}

/* ---- changing it ---- */

/* It is charged to where it came from: whoever has such a key must not use up what the device may send. */
static int refuse_key(struct service_job *job, const char *text)
{
    job->is_proven = false;
    return job_refuse(job, REFUSAL_UNKNOWN_DEVICE, text);
}

/* What is next was announced in the place of the key that ends here. When it is not the one that follows, it
 * has ended with it: a certificate that was given for it must not bring it back. */
static int end_next(struct transaction *transaction, uint64_t device, const struct other_keys *keys,
    const uint8_t following[SIGN_PUBLIC_BYTES])
{
    const struct storage_verbs *verbs = transaction->storage->verbs;
    const struct stored_device_key *next = find_next(keys);
    struct stored_device_key ended;

    if (!next)
        return 0;
    if (memcmp(next->public_key, following, SIGN_PUBLIC_BYTES) == 0)
        return verbs->device_key_drop(transaction->storage, device, next->public_key);
    ended = *next;
    ended.state = DEVICE_KEY_RETIRED;
    ended.at_ms = transaction->now_ms;
    return verbs->device_key_put(transaction->storage, device, &ended);
}

static int put_into_force(struct service_job *job, struct transaction *transaction,
    const struct stored_device *held, const struct other_keys *keys,
    const uint8_t public_key[SIGN_PUBLIC_BYTES], struct bytes certificate)
{
    const struct storage_verbs *verbs = transaction->storage->verbs;
    struct stored_device_key retired = {.state = DEVICE_KEY_RETIRED, .at_ms = transaction->now_ms};
    int r;

    memcpy(retired.public_key, held->public_key, SIGN_PUBLIC_BYTES);
    transaction->has_changed = true;
    r = end_next(transaction, held->number, keys, public_key);
    if (r >= 0)
        r = verbs->device_key_put(transaction->storage, held->number, &retired);
    if (r >= 0)
        r = verbs->device_set_key(transaction->storage, held->number, public_key, certificate);
    memcpy(job->device.public_key, public_key, SIGN_PUBLIC_BYTES);
    return r;
}

/* A request may have been made ready before another one has changed the keys: what counts is what stands in
 * the transaction. */
int device_keys_put_next_into_force(struct service_job *job, struct transaction *transaction)
{
    struct storage *storage = transaction->storage;
    _cleanup_buffer_ struct buffer certificate = {0};
    const struct stored_device_key *key;
    struct stored_device held;
    struct other_keys keys;
    int r = storage->verbs->device_find(storage, &job->device_id, &held);

    if (r < 0 || memcmp(held.public_key, job->device.public_key, SIGN_PUBLIC_BYTES) == 0)
        return r;
    r = read_keys(storage, held.number, &keys);
    if (r < 0)
        return r;
    key = find_key(&keys, job->device.public_key);
    if (!key || key->state != DEVICE_KEY_NEXT)
        return refuse_key(job, "this device has announced another key since");
    r = sign_next_certificate(job, storage, key, &certificate);
    return r < 0 ? r
                 : put_into_force(
                       job, transaction, &held, &keys, job->device.public_key, buffer_bytes(&certificate));
}

int device_keys_is_next(
    struct storage *storage, uint64_t device_number, const uint8_t public_key[SIGN_PUBLIC_BYTES])
{
    const struct stored_device_key *key;
    struct other_keys keys;
    int r = read_keys(storage, device_number, &keys);

    if (r < 0)
        return r;
    key = find_key(&keys, public_key);
    return key && key->state == DEVICE_KEY_NEXT;
}

int device_keys_put_enrolled_into_force(struct service_job *job, struct transaction *transaction,
    const struct stored_device *held, const uint8_t public_key[SIGN_PUBLIC_BYTES], struct bytes certificate)
{
    struct other_keys keys;
    int r = read_keys(transaction->storage, held->number, &keys);

    return r < 0 ? r : put_into_force(job, transaction, held, &keys, public_key, certificate);
}

int device_keys_adopt(struct service_job *job, struct transaction *transaction)
{
    struct storage *storage = transaction->storage;
    const struct stored_device held = job->device;
    struct device_certificate known;
    _cleanup_arena_ struct arena arena;
    struct other_keys keys;
    const struct stored_device_key *key;
    int r;

    arena_init(&arena, arena_budget_for(ENROLMENT_BYTES_MAX));
    r = read_certificate(job->service, storage, &held, &arena, &known);
    if (r >= 0)
        r = read_keys(storage, held.number, &keys);
    if (r < 0)
        return r;
    key = find_key(&keys, job->certificate.public_key);
    if (job->certificate.issued_ms <= known.issued_ms || (key && key->state == DEVICE_KEY_RETIRED) ||
        keys.count + 1 >= DEVICE_KEYS_MAX)
        return refuse_key(job, "this device has another key now");
    r = put_into_force(
        job, transaction, &held, &keys, job->certificate.public_key, job->exchange.request.certificate);
    if (r < 0)
        return r;
    /* No record of the rotation has come yet, or comes again: the certificate's time tells one from others.
     */
    return transaction_alarm(transaction, ALARM_DEVICE_KEY, held.number, (uint64_t)job->certificate.issued_ms,
        "this handheld came with a later certificate of this centre and another key, as after a restore");
}

/* ---- announcing the next one ---- */

static const char *judge(
    const struct stored_device *device, const struct other_keys *keys, const struct key_rotation *rotation)
{
    const struct stored_device_key *key = find_key(keys, rotation->new_key);

    if (key_rotation_verify(rotation, &device->id) < 0)
        return "the new key has not signed that it is to be this device's";
    if (key && key->state == DEVICE_KEY_RETIRED)
        return "the new key was this device's before";
    /* With the one in force; another that is next makes room. */
    if (!find_next(keys) && keys->count + 1 >= DEVICE_KEYS_MAX)
        return "this device has had too many keys";
    return NULL;
}

static int put_next(struct transaction *transaction, const struct stored_device *device,
    const struct stored_device_key *before, const uint8_t public_key[SIGN_PUBLIC_BYTES])
{
    const struct storage_verbs *verbs = transaction->storage->verbs;
    struct stored_device_key next = {.state = DEVICE_KEY_NEXT, .at_ms = transaction->now_ms};
    struct device_certificate known;
    _cleanup_arena_ struct arena arena;
    int r;

    arena_init(&arena, arena_budget_for(ENROLMENT_BYTES_MAX));
    r = read_certificate(transaction->service, transaction->storage, device, &arena, &known);
    if (r < 0)
        return r;
    /* Later certificates are told by this time, also when the clock went back. */
    if (next.at_ms <= known.issued_ms)
        next.at_ms = known.issued_ms + 1;
    if (before && next.at_ms <= before->at_ms)
        next.at_ms = before->at_ms + 1;
    memcpy(next.public_key, public_key, SIGN_PUBLIC_BYTES);
    transaction->has_changed = true;
    r = before ? verbs->device_key_drop(transaction->storage, device->number, before->public_key) : 0;
    return r < 0 ? r : verbs->device_key_put(transaction->storage, device->number, &next);
}

int device_keys_announce(struct transaction *transaction, uint64_t device_number, uint64_t key,
    const struct key_rotation *rotation, const char **ret_reason)
{
    struct storage *storage = transaction->storage;
    const struct stored_device_key *next;
    struct stored_device device;
    struct other_keys keys;
    int r = storage->verbs->device_at(storage, device_number, &device);

    *ret_reason = NULL;
    if (r < 0 || memcmp(rotation->old_key, device.public_key, SIGN_PUBLIC_BYTES) != 0)
        return r; /* it speaks of earlier times */
    r = read_keys(storage, device_number, &keys);
    if (r < 0)
        return r;
    *ret_reason = judge(&device, &keys, rotation);
    next = find_next(&keys);
    if (*ret_reason || (next && memcmp(next->public_key, rotation->new_key, SIGN_PUBLIC_BYTES) == 0))
        return 0;
    r = put_next(transaction, &device, next, rotation->new_key);
    return r < 0 ? r
                 : transaction_alarm(transaction, ALARM_DEVICE_KEY, device_number, key,
                       "this handheld has announced another key of its own; if nobody has asked it to, "
                       "somebody else has its key: revoke it");
}

int device_keys_tell(struct service_job *job, struct storage *storage, struct buffer *ret)
{
    const struct stored_device_key *next;
    struct other_keys keys;
    int r;

    if (job->key_use != KEY_IN_FORCE)
        return 0;
    r = read_keys(storage, job->device.number, &keys);
    next = r >= 0 ? find_next(&keys) : NULL;
    return next ? sign_next_certificate(job, storage, next, ret) : r;
}
