/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Revoked devices. They live in a file of their own, DATA/revocations, so that a restored database does not
 * let back in whom an admin has locked out. A line for each decision, the last one for a device counts:
 *
 *   revoke 6fa1... 2026-11-23T16:33:53Z
 *   restore 6fa1... 2026-11-24T08:00:00Z
 *
 * Lines are only added; the file is replaced as a whole and made durable before a decision is reported. What
 * an admin command writes is seen by a running `serve` with the next request.
 */
#include "server/service_internal.h"

#include "base/files.h"
#include "base/rfc3339.h"

static int find_device(const struct revocations *revocations, const struct uuid *device, size_t *ret_index)
{
    for (size_t i = 0; i < revocations->count; i++) {
        if (uuid_equal(&revocations->devices[i], device)) {
            *ret_index = i;
            return 1;
        }
    }
    return 0;
}

static int note_decision(struct revocations *revocations, const struct uuid *device, bool revoked)
{
    size_t index = 0;
    bool is_there = find_device(revocations, device, &index);
    struct uuid *grown;

    if (is_there && !revoked) {
        revocations->devices[index] = revocations->devices[--revocations->count];
        return 0;
    }
    if (is_there || !revoked)
        return 0;
    grown = reallocarray(revocations->devices, revocations->count + 1, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    revocations->devices = grown;
    revocations->devices[revocations->count++] = *device;
    return 0;
}

/* A line that cannot be read is passed over: nobody but an editor can have made it. */
static int parse_line(struct revocations *revocations, struct bytes line)
{
    static const char revoke[] = "revoke ", restore[] = "restore ";
    char text[UUID_TEXT_LEN + 1];
    bool revoked = line.len > strlen(revoke) && memcmp(line.data, revoke, strlen(revoke)) == 0;
    bool restored = line.len > strlen(restore) && memcmp(line.data, restore, strlen(restore)) == 0;
    size_t start = revoked ? strlen(revoke) : strlen(restore);
    struct uuid device;

    if ((!revoked && !restored) || line.len < start + UUID_TEXT_LEN)
        return 0;
    memcpy(text, line.data + start, UUID_TEXT_LEN);
    text[UUID_TEXT_LEN] = 0;
    return text_parse_uuid(text, device.b) < 0 ? 0 : note_decision(revocations, &device, revoked);
}

static int parse(struct revocations *revocations, struct bytes content)
{
    struct cursor cursor = cursor_of(content);

    revocations->count = 0;
    while (cursor_left(&cursor) > 0) {
        struct cursor at_line = cursor;
        struct bytes line = cursor_take_until(&cursor, '\n');
        int r;

        if (cursor.failed) {
            cursor = at_line;
            line = cursor_take(&cursor, cursor_left(&cursor));
        }
        r = parse_line(revocations, line);
        if (r < 0)
            return r;
    }
    return 0;
}

/* Reads the file when it is not the one that was read last. With the mutex. */
static int refresh(
    struct service *service, const char *path, struct buffer *content /* or NULL: if changed */)
{
    const struct world *world = service->world;
    struct revocations *revocations = &service->revocations;
    _cleanup_buffer_ struct buffer own = {0};
    uint64_t size = 0;
    int64_t modified_ms = 0;
    int r = world->verbs->stat(world->context, path, &size, &modified_ms);

    if (r < 0 && r != -ENOENT)
        return r;
    if (!content && revocations->is_read && size == revocations->file_size &&
        modified_ms == revocations->file_modified_ms)
        return 0;
    if (!content)
        content = &own;
    r = r == -ENOENT ? 0 : files_read(world, path, REVOCATIONS_BYTES_MAX, content);
    if (r >= 0)
        r = parse(revocations, buffer_bytes(content));
    if (r < 0) {
        revocations->is_read = false;
        return r;
    }
    revocations->is_read = true;
    revocations->file_size = size;
    revocations->file_modified_ms = modified_ms;
    return 0;
}

int revocations_has(struct service *service, const struct uuid *device, bool *ret)
{
    struct revocations *revocations = &service->revocations;
    _cleanup_free_ char *path = files_join(service->directory, REVOCATIONS_NAME);
    size_t index;
    int r;

    if (!path)
        return -ENOMEM;
    pthread_mutex_lock(&revocations->mutex);
    r = refresh(service, path, NULL);
    if (r >= 0)
        *ret = find_device(revocations, device, &index) == 1;
    pthread_mutex_unlock(&revocations->mutex);
    return r;
}

int revocations_open(struct service *service)
{
    struct uuid nobody = {{0}};
    bool revoked;

    return revocations_has(service, &nobody, &revoked);
}

void revocations_done(struct service *service)
{
    pthread_mutex_destroy(&service->revocations.mutex);
    free(service->revocations.devices);
}

static int append_decision(struct service *service, const char *path, const struct uuid *device, bool revoked)
{
    _cleanup_buffer_ struct buffer content = {0};
    char text[UUID_TEXT_LEN + 1], time[RFC3339_LEN + 1];
    int r = refresh(service, path, &content);

    if (r < 0)
        return r;
    text_uuid(device->b, text);
    rfc3339_format(service_now_ms(service) / 1000 * 1000, 0, time);
    if (content.len > 0 && content.data[content.len - 1] != '\n')
        buffer_put_u8(&content, '\n');
    buffer_printf(&content, "%s %s %s\n", revoked ? "revoke" : "restore", text, time);
    r = buffer_finish(&content);
    /* With a file that nobody could read any more everybody would be shut out. */
    if (r >= 0 && content.len > REVOCATIONS_BYTES_MAX)
        r = -EFBIG;
    if (r >= 0)
        r = files_replace(service->world, path, buffer_bytes(&content), false);
    /* Read again by the next request, also when the clock's step is too coarse to tell the files apart. */
    service->revocations.is_read = false;
    return r;
}

/* A stolen one that a restored database does not know must be shut out before it shows its certificate, and
 * let back in before that. To let in one that was never shut out is a slip. 0, or -ENOENT. */
static int may_decide(
    struct service *service, struct storage *storage, const struct uuid *device, bool revoked)
{
    struct stored_device stored;
    bool is_revoked = false;
    int r;

    if (revoked)
        return 0;
    r = storage->verbs->device_find(storage, device, &stored);
    if (r == -ENOENT) {
        r = revocations_has(service, device, &is_revoked);
        return r < 0 || is_revoked ? r : -ENOENT;
    }
    return r;
}

int service_revoke(struct service *service, const struct uuid *device, bool revoked)
{
    _cleanup_free_ char *path = files_join(service->directory, REVOCATIONS_NAME);
    struct transaction transaction;
    int r;

    if (!path)
        return -ENOMEM;
    /* The storage's lock keeps two admin commands from losing each other's line. */
    r = transaction_begin(service, &transaction);
    if (r < 0)
        return r;
    r = may_decide(service, transaction.storage, device, revoked);
    if (r >= 0) {
        pthread_mutex_lock(&service->revocations.mutex);
        r = append_decision(service, path, device, revoked);
        pthread_mutex_unlock(&service->revocations.mutex);
    }
    transaction_rollback(&transaction);
    return r;
}
