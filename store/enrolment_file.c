/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns the files of an enrolment: enrolment.conf and device.key. Called by the daemon, and by the collector
 * for who this handheld is and where it reports. Must not know the database: these files survive its loss.
 */
#include "store/enrolment_file.h"

#include "base/config.h"
#include "base/files.h"
#include "proto/base64.h"

#include <errno.h>
#include <sodium.h>

#define ENROLMENT_NAME "enrolment.conf"
#define KEY_NAME "device.key"
#define NEXT_KEY_NAME "device-next.key"
#define TRUST_NAME "trust"
#define CERTIFICATES_NAME "certificates"
#define CERTIFICATES_BYTES_MAX (DEVICE_KEYS_MAX * (4u + ENROLMENT_BYTES_MAX))
#define SECTION "enrolment"
#define ENROLMENT_FILE_BYTES_MAX (128u * 1024u)
#define CERTIFICATE_TEXT_MAX (96u * 1024u)
#define KEY_FILE_BYTES_MAX 256u
#define SEED_TEXT_LEN ((size_t)2 * SIGN_SEED_BYTES)

/* ---- enrolment.conf ---- */

/* The file's texts, before they are taken apart. */
struct enrolment_texts {
    char *server_url, *authority, *tenant, *device, *receipt_key, *certificate, *name, *inspector;
};

#define TEXT_ROW(field, max_len, what)                                                                       \
    {                                                                                                        \
        SECTION, #field, CONFIG_TEXT, offsetof(struct enrolment_texts, field), 0, (max_len), NULL, (what)    \
    }

static const struct config_row enrolment_rows[] = {
    TEXT_ROW(server_url, URL_BYTES_MAX, "Where records go."),
    TEXT_ROW(authority, KEY_NAME_MAX, "The centre's name in checkpoints."),
    TEXT_ROW(tenant, KEY_NAME_MAX, "Whose handheld it is there."),
    TEXT_ROW(device, UUID_TEXT_LEN, "This handheld's id."),
    TEXT_ROW(receipt_key, VERIFIER_KEY_TEXT_MAX, "The key that signs the centre's receipts."),
    TEXT_ROW(certificate, CERTIFICATE_TEXT_MAX, "The device certificate, base64."),
    TEXT_ROW(name, 0, "What the centre calls this handheld."),
    TEXT_ROW(inspector, INSPECTOR_BYTES_MAX, "Who records when nobody is named."),
};

static void texts_done(struct enrolment_texts *texts)
{
    config_free(enrolment_rows, ARRAY_LEN(enrolment_rows), texts);
}

static int refuse(char **ret_error, const char *path, const char *what)
{
    if (asprintf(ret_error, "%s: %s; run `patrol enroll` again", path, what) < 0)
        *ret_error = NULL;
    return -EBADMSG;
}

static char *text_or_empty(char **text)
{
    return *text ? take_ptr(*text) : strdup("");
}

static int take_certificate(const char *text, struct enrolment *enrolment)
{
    size_t len = strlen(text);

    enrolment->certificate = malloc(len + 1);
    if (!enrolment->certificate)
        return -ENOMEM;
    return base64_decode(
        bytes_of_text(text), BASE64_STANDARD, enrolment->certificate, len, &enrolment->certificate_len);
}

static int take_texts(
    struct enrolment_texts *texts, const char *path, struct enrolment *enrolment, char **ret_error)
{
    if (!texts->server_url || !texts->authority || !texts->tenant || !texts->device || !texts->receipt_key ||
        !texts->certificate)
        return refuse(ret_error, path, "a line is missing");
    if (text_parse_uuid(texts->device, enrolment->device.b) < 0)
        return refuse(ret_error, path, "device: this is no device id");
    if (verify_key_parse(texts->receipt_key, &enrolment->receipt_key) < 0)
        return refuse(ret_error, path, "receipt_key: this is no verifier key");
    int r = take_certificate(texts->certificate, enrolment);
    if (r < 0)
        return r == -ENOMEM ? r : refuse(ret_error, path, "certificate: this is not base64");
    enrolment->server_url = take_ptr(texts->server_url);
    enrolment->authority = take_ptr(texts->authority);
    enrolment->tenant = take_ptr(texts->tenant);
    enrolment->name = text_or_empty(&texts->name);
    enrolment->inspector = text_or_empty(&texts->inspector);
    return enrolment->name && enrolment->inspector ? 0 : -ENOMEM;
}

/* It may be missing: then nothing was ever said. Whether it holds is seen by who follows it. */
static int read_list(const struct world *world, const char *directory, const char *name, size_t max,
    uint8_t **ret, size_t *ret_len)
{
    _cleanup_free_ char *path = files_join(directory, name);
    _cleanup_buffer_ struct buffer content = {0};
    int r = path ? files_read(world, path, max, &content) : -ENOMEM;

    if (r < 0)
        return r == -ENOENT || r == -EFBIG ? 0 : r;
    *ret_len = content.len;
    *ret = content.data;
    content = (struct buffer){0};
    return 0;
}

static int read_lists(const struct world *world, const char *directory, struct enrolment *enrolment)
{
    int r = read_list(
        world, directory, TRUST_NAME, TRUST_LIST_BYTES_MAX, &enrolment->trust, &enrolment->trust_len);

    return r < 0 ? r
                 : read_list(world, directory, CERTIFICATES_NAME, CERTIFICATES_BYTES_MAX,
                       &enrolment->certificates, &enrolment->certificates_len);
}

int enrolment_read(const struct world *world, const char *directory, struct enrolment *ret, char **ret_error)
{
    _cleanup_free_ char *path = files_join(directory, ENROLMENT_NAME);
    _cleanup_buffer_ struct buffer content = {0};
    _cleanup_(texts_done) struct enrolment_texts texts = {0};
    _cleanup_(enrolment_done) struct enrolment enrolment = {0};

    if (!path)
        return -ENOMEM;
    int r = files_read(world, path, ENROLMENT_FILE_BYTES_MAX, &content);
    if (r == -EFBIG)
        return refuse(ret_error, path, "too long");
    if (r < 0)
        return r;
    r = config_parse(
        enrolment_rows, ARRAY_LEN(enrolment_rows), path, buffer_bytes(&content), &texts, ret_error);
    if (r < 0)
        return r == -EINVAL ? -EBADMSG : r;
    r = take_texts(&texts, path, &enrolment, ret_error);
    if (r >= 0)
        r = read_lists(world, directory, &enrolment);
    if (r < 0)
        return r;
    *ret = enrolment;
    enrolment = (struct enrolment){0};
    return 0;
}

/* Names come from the centre: a line break in one would start another line of the file. */
static void put_line(struct buffer *buffer, const char *key, const char *value)
{
    if (!value || value[0] == '\0')
        return;
    buffer_put_text(buffer, key);
    buffer_put_text(buffer, " = ");
    for (const char *c = value; *c != '\0'; c++)
        buffer_put_u8(buffer, (uint8_t)*c < 0x20 || *c == 0x7f ? ' ' : (uint8_t)*c);
    buffer_put_u8(buffer, '\n');
}

int enrolment_write(const struct world *world, const char *directory, const struct enrolment *enrolment)
{
    _cleanup_free_ char *path = files_join(directory, ENROLMENT_NAME);
    _cleanup_free_ char *certificate = NULL;
    _cleanup_buffer_ struct buffer content = {0};
    char device[UUID_TEXT_LEN + 1], key[VERIFIER_KEY_TEXT_MAX];
    size_t certificate_text_len =
        sodium_base64_ENCODED_LEN(enrolment->certificate_len, sodium_base64_VARIANT_ORIGINAL);

    if (!path)
        return -ENOMEM;
    if (certificate_text_len > CERTIFICATE_TEXT_MAX)
        return -EMSGSIZE;
    certificate = malloc(certificate_text_len);
    if (!certificate)
        return -ENOMEM;
    sodium_bin2base64(certificate, certificate_text_len, enrolment->certificate, enrolment->certificate_len,
        sodium_base64_VARIANT_ORIGINAL);
    text_uuid(enrolment->device.b, device);
    verify_key_format(&enrolment->receipt_key, true, key);

    buffer_put_text(&content, "# Written by `patrol enroll` and `patrol server-url`.\n[" SECTION "]\n");
    put_line(&content, "server_url", enrolment->server_url);
    put_line(&content, "authority", enrolment->authority);
    put_line(&content, "tenant", enrolment->tenant);
    put_line(&content, "device", device);
    put_line(&content, "receipt_key", key);
    put_line(&content, "certificate", certificate);
    put_line(&content, "name", enrolment->name);
    put_line(&content, "inspector", enrolment->inspector);
    int r = buffer_finish(&content);
    return r < 0 ? r : files_replace(world, path, buffer_bytes(&content), false);
}

void enrolment_done(struct enrolment *enrolment)
{
    if (!enrolment)
        return;
    free(enrolment->server_url);
    free(enrolment->authority);
    free(enrolment->tenant);
    free(enrolment->certificate);
    free(enrolment->name);
    free(enrolment->inspector);
    free(enrolment->trust);
    free(enrolment->certificates);
    *enrolment = (struct enrolment){0};
}

int enrolment_trust_write(const struct world *world, const char *directory, struct bytes list)
{
    _cleanup_free_ char *path = files_join(directory, TRUST_NAME);

    return path ? files_replace(world, path, list, false) : -ENOMEM;
}

int enrolment_trust(const struct enrolment *enrolment, struct arena *arena, struct trust *ret)
{
    int r =
        trust_follow(bytes_of(enrolment->trust, enrolment->trust_len), &enrolment->receipt_key, arena, ret);

    if (r < 0 && r != -ENOMEM)
        trust_in(&enrolment->receipt_key, ret);
    return r == -ENOMEM ? r : 0;
}

/* ---- the certificates of all device keys: each with its length before it, the oldest first ---- */

bool enrolment_certificate_next(struct cursor *cursor, struct bytes *ret)
{
    *ret = cursor_take(cursor, cursor_u32be(cursor));
    return !cursor->failed && ret->len > 0;
}

static void put_certificate(struct buffer *buffer, struct bytes envelope)
{
    buffer_put_u32be(buffer, (uint32_t)envelope.len);
    buffer_put_bytes(buffer, envelope);
}

int enrolment_certificates_add(
    const struct world *world, const char *directory, struct bytes before, struct bytes certificate)
{
    _cleanup_free_ char *path = files_join(directory, CERTIFICATES_NAME);
    _cleanup_free_ uint8_t *held = NULL;
    _cleanup_buffer_ struct buffer content = {0};
    struct bytes envelope;
    struct cursor cursor;
    size_t len = 0;
    int r;

    if (!path)
        return -ENOMEM;
    if (before.len > ENROLMENT_BYTES_MAX || certificate.len > ENROLMENT_BYTES_MAX)
        return -EMSGSIZE;
    r = read_list(world, directory, CERTIFICATES_NAME, CERTIFICATES_BYTES_MAX, &held, &len);
    if (r < 0)
        return r;
    cursor = cursor_of(bytes_of(held, len));
    while (enrolment_certificate_next(&cursor, &envelope))
        if (!bytes_equal(envelope, before) && !bytes_equal(envelope, certificate))
            put_certificate(&content, envelope);
    put_certificate(&content, before);
    put_certificate(&content, certificate);
    r = buffer_finish(&content);
    if (r >= 0 && content.len > CERTIFICATES_BYTES_MAX)
        r = -ENOSPC;
    /* Also when it says that already: whether that is durable nobody knows. */
    return r < 0 ? r : files_replace(world, path, buffer_bytes(&content), false);
}

/* 1, 0 or -ENOMEM. */
static int has_signed(
    const struct enrolment *enrolment, const struct trust *trust, struct bytes envelope, struct bytes receipt)
{
    _cleanup_arena_ struct arena arena;
    struct device_certificate certificate;
    struct checkpoint checkpoint;
    struct verify_key key;
    uint64_t time_s;
    int r;

    arena_init(&arena, arena_budget_for(ENROLMENT_BYTES_MAX));
    r = trust_verify_certificate(trust, envelope, &arena, &certificate);
    if (r >= 0)
        r = device_key_name(enrolment->authority, enrolment->tenant, &enrolment->device, key.name);
    if (r < 0 || !uuid_equal(&certificate.device, &enrolment->device))
        return r == -ENOMEM ? r : 0;
    memcpy(key.public_key, certificate.public_key, SIGN_PUBLIC_BYTES);
    r = trust_verify_receipt(trust, receipt, &key, &checkpoint, &time_s);
    return r == -ENOMEM ? r : r >= 0;
}

int enrolment_certificate_of(
    const struct enrolment *enrolment, const struct trust *trust, struct bytes receipt, struct bytes *ret)
{
    struct bytes own = bytes_of(enrolment->certificate, enrolment->certificate_len), envelope = own;
    struct cursor cursor = cursor_of(bytes_of(enrolment->certificates, enrolment->certificates_len));
    int r = has_signed(enrolment, trust, envelope, receipt);

    while (r == 0 && enrolment_certificate_next(&cursor, &envelope))
        r = has_signed(enrolment, trust, envelope, receipt);
    if (r < 0)
        return r;
    *ret = r > 0 ? envelope : own;
    return 0;
}

/* ---- device.key: "<device id> <seed in hex>\n" ---- */

static int read_key(const struct world *world, const char *directory, const char *name,
    struct uuid *ret_device, uint8_t ret_seed[SIGN_SEED_BYTES])
{
    _cleanup_free_ char *path = files_join(directory, name);
    _cleanup_buffer_ struct buffer content = {0};
    char id[UUID_TEXT_LEN + 1];
    struct uuid device;
    uint8_t seed[SIGN_SEED_BYTES];

    if (!path)
        return -ENOMEM;
    int r = files_read(world, path, KEY_FILE_BYTES_MAX, &content);
    if (r < 0)
        return r == -EFBIG ? -EBADMSG : r;
    struct cursor cursor = cursor_of(buffer_bytes(&content));
    struct bytes id_text = cursor_take_until(&cursor, ' ');
    struct bytes seed_text = cursor_take_until(&cursor, '\n');
    if (cursor.failed || id_text.len != UUID_TEXT_LEN || seed_text.len != SEED_TEXT_LEN)
        return -EBADMSG;
    memcpy(id, id_text.data, UUID_TEXT_LEN);
    id[UUID_TEXT_LEN] = '\0';
    if (text_parse_uuid(id, device.b) < 0 ||
        text_parse_hex((const char *)seed_text.data, seed_text.len, seed, sizeof(seed)) < 0)
        return -EBADMSG;
    *ret_device = device;
    memcpy(ret_seed, seed, sizeof(seed));
    sodium_memzero(seed, sizeof(seed));
    sodium_memzero(content.data, content.len);
    return 0;
}

int device_key_read(const struct world *world, const char *directory, struct uuid *ret_device,
    uint8_t ret_seed[SIGN_SEED_BYTES])
{
    return read_key(world, directory, KEY_NAME, ret_device, ret_seed);
}

static int write_key(const struct world *world, const char *directory, const char *name,
    const struct uuid *device, const uint8_t seed[SIGN_SEED_BYTES])
{
    _cleanup_free_ char *path = files_join(directory, name);
    char id[UUID_TEXT_LEN + 1], seed_text[SEED_TEXT_LEN + 1], line[UUID_TEXT_LEN + SEED_TEXT_LEN + 3];
    int r;

    if (!path)
        return -ENOMEM;
    text_uuid(device->b, id);
    text_hex(seed, SIGN_SEED_BYTES, seed_text);
    snprintf(line, sizeof(line), "%s %s\n", id, seed_text);
    r = files_replace(world, path, bytes_of_text(line), true);
    sodium_memzero(seed_text, sizeof(seed_text));
    sodium_memzero(line, sizeof(line));
    return r;
}

int device_key_make(const struct world *world, const char *directory, struct uuid *ret_device,
    uint8_t ret_seed[SIGN_SEED_BYTES])
{
    uint8_t random[UUID_BYTES], seed[SIGN_SEED_BYTES];
    struct uuid device;

    /* One that cannot be read is not written over either: it may be all that is left of the device. */
    int r = device_key_read(world, directory, ret_device, ret_seed);
    if (r != -ENOENT)
        return r;
    world->verbs->random(world->context, random, sizeof(random));
    world->verbs->random(world->context, seed, sizeof(seed));
    device = uuid_from_random(random);
    r = write_key(world, directory, KEY_NAME, &device, seed);
    if (r >= 0) {
        *ret_device = device;
        memcpy(ret_seed, seed, sizeof(seed));
    }
    sodium_memzero(seed, sizeof(seed));
    return r;
}

/* ---- the next one ---- */

int device_next_key_read(const struct world *world, const char *directory, struct uuid *ret_device,
    uint8_t ret_seed[SIGN_SEED_BYTES])
{
    return read_key(world, directory, NEXT_KEY_NAME, ret_device, ret_seed);
}

int device_next_key_make(const struct world *world, const char *directory, const struct uuid *device,
    uint8_t ret_seed[SIGN_SEED_BYTES])
{
    uint8_t seed[SIGN_SEED_BYTES];
    struct uuid of;
    int r = device_next_key_read(world, directory, &of, seed);

    /* Nothing was ever signed with one that is of another device, or damaged: then it is made anew. */
    if (r == -ENOENT || r == -EBADMSG || (r >= 0 && !uuid_equal(&of, device))) {
        world->verbs->random(world->context, seed, sizeof(seed));
        r = write_key(world, directory, NEXT_KEY_NAME, device, seed);
    }
    if (r >= 0)
        memcpy(ret_seed, seed, sizeof(seed));
    sodium_memzero(seed, sizeof(seed));
    return r;
}

int device_next_key_settle(const struct world *world, const char *directory, const struct uuid *device,
    const uint8_t seed[SIGN_SEED_BYTES])
{
    _cleanup_free_ char *next_path = files_join(directory, NEXT_KEY_NAME);
    int r = next_path ? write_key(world, directory, KEY_NAME, device, seed) : -ENOMEM;

    return r < 0 ? r : world->verbs->unlink(world->context, next_path);
}
