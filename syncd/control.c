/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/control.h"

#include "base/rfc3339.h"
#include "proto/base64.h"

#include <errno.h>
#include <grp.h>
#include <sodium.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#define GROUPS_MAX 256u
#define NOT_ENROLLED_TEXT "this handheld is not enrolled: run patrol enroll TOKEN-URL"

enum client_waits { WAITS_FOR_NOTHING, WAITS_FOR_SYNC, WAITS_FOR_RESYNC };

struct client {
    struct control *control;
    int fd;
    sd_event_source *source;
    struct buffer in, out;
    enum client_waits waits;
    bool more;
    bool ended; /* freed when the event handler returns */
};

struct control {
    sd_event *event;
    sd_event_source *listening, *tell_timer;
    int fd;
    char *path;
    struct control_listener listener;
    struct client *clients[CONTROL_CLIENTS_MAX];
};

/* ---- who may speak ---- */

static bool peer_is_in_group(int fd, gid_t primary, gid_t wanted)
{
    if (primary == wanted)
        return true;
    gid_t groups[GROUPS_MAX];
    socklen_t len = sizeof(groups);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
        return false;
    for (size_t i = 0; i < len / sizeof(gid_t); i++)
        if (groups[i] == wanted)
            return true;
    return false;
}

static bool peer_may_speak(int fd)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return false;
    if (peer.uid == 0 || peer.uid == geteuid())
        return true;
    /* cppcheck-suppress getgrnamCalled ; this program has one thread */
    const struct group *group = getgrnam(CONTROL_GROUP);
    return group && peer_is_in_group(fd, peer.gid, group->gr_gid);
}

/* ---- one client ---- */

static void client_free(struct client *client)
{
    if (!client)
        return;
    sd_event_source_disable_unref(client->source);
    if (client->fd >= 0)
        close(client->fd);
    buffer_done(&client->in);
    buffer_done(&client->out);
    free(client);
}

static void control_bury(struct control *control)
{
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        if (control->clients[i] && control->clients[i]->ended) {
            client_free(control->clients[i]);
            control->clients[i] = NULL;
        }
    }
}

static void client_flush(struct client *client)
{
    while (client->out.len > 0) {
        ssize_t n = send(client->fd, client->out.data, client->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) {
            if (errno != EAGAIN)
                client->ended = true;
            break;
        }
        memmove(client->out.data, client->out.data + n, client->out.len - (size_t)n);
        client->out.len -= (size_t)n;
    }
    if (!client->ended)
        sd_event_source_set_io_events(client->source, client->out.len > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* Takes the reference to `message`. */
static void client_send(struct client *client, json_t *message)
{
    char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
    json_decref(message);
    if (!text) {
        client->ended = true;
        return;
    }
    size_t len = strlen(text) + 1;
    if (client->out.len + len > CONTROL_MESSAGE_BYTES_MAX)
        client->ended = true; /* it does not read what it asked for */
    else
        buffer_put(&client->out, text, len);
    free(text);
    if (!client->ended)
        client_flush(client);
}

static void client_reply(struct client *client, json_t *parameters, bool continues)
{
    json_t *message = json_pack("{s:o}", "parameters", parameters ? parameters : json_object());
    if (message && continues)
        json_object_set_new(message, "continues", json_true());
    client_send(client, message);
}

static void client_error(struct client *client, const char *name, const char *text)
{
    client_send(client, json_pack("{s:s, s:{s:s}}", "error", name, "parameters", "message", text));
}

static void call_sync(struct client *client, const json_t *parameters)
{
    struct control *control = client->control;
    if (!control->listener.enrolled(control->listener.context)) {
        client_error(client, CONTROL_ERROR_NOT_ENROLLED, NOT_ENROLLED_TEXT);
        return;
    }
    bool wait = json_is_true(json_object_get(parameters, "wait"));
    if (wait)
        client->waits = WAITS_FOR_SYNC;
    else
        client_reply(client, json_pack("{s:b}", "started", 1), false);
    control->listener.sync_now(control->listener.context);
    control_changed(control);
}

static void call_resync(struct client *client, const json_t *parameters)
{
    struct control *control = client->control;
    const char *name = json_string_value(json_object_get(parameters, "level"));
    enum audit_level level = AUDIT_PRESENCE;
    if (name && audit_level_from_name(name, &level) < 0) {
        client_error(client, CONTROL_ERROR_PARAMETER, "level: use presence, records or media");
        return;
    }
    client->waits = WAITS_FOR_RESYNC;
    int r = control->listener.resync(control->listener.context, level);
    if (r >= 0)
        return;
    client->waits = WAITS_FOR_NOTHING;
    if (r == -ENOTCONN)
        client_error(client, CONTROL_ERROR_NOT_ENROLLED, NOT_ENROLLED_TEXT);
    else
        client_error(client, CONTROL_ERROR_FAILED, strerror(-r));
}

/* ---- bundles ---- */

#define BASE64 sodium_base64_VARIANT_ORIGINAL
#define ENVELOPE_TEXT_MAX (CONTROL_MESSAGE_BYTES_MAX - 4096u) /* beside the rest of a message */

/* NULL when memory ran out: then json_pack gives NULL too, and the client is hung up on. */
static json_t *base64_of(struct bytes bytes)
{
    size_t size = sodium_base64_ENCODED_LEN(bytes.len, BASE64);
    _cleanup_free_ char *text = malloc(size);

    return text ? json_string(sodium_bin2base64(text, size, bytes.data, bytes.len, BASE64)) : NULL;
}

static int base64_to(const char *text, struct buffer *ret)
{
    size_t len = text ? strlen(text) : 0;

    if (len == 0 || len > ENVELOPE_TEXT_MAX)
        return -EBADMSG;
    return base64_take(bytes_of_text(text), BASE64_STANDARD, ret);
}

static void bundle_error(struct client *client, int error)
{
    switch (error) {
    case -ENOTCONN:
        client_error(client, CONTROL_ERROR_NOT_ENROLLED, NOT_ENROLLED_TEXT);
        break;
    case -ENODATA:
        client_error(client, CONTROL_ERROR_NOTHING, "no such record is here");
        break;
    case -EBADMSG:
        client_error(client, CONTROL_ERROR_REFUSED, "it is damaged; copy it from the centre again");
        break;
    case -EKEYREJECTED:
        client_error(client, CONTROL_ERROR_REFUSED,
            "it is not signed by the centre that this handheld belongs to, or was altered");
        break;
    case -EXDEV:
        client_error(client, CONTROL_ERROR_REFUSED, "it is for another handheld");
        break;
    case -ENOENT:
        client_error(client, CONTROL_ERROR_REFUSED,
            "it answers no bundle that this handheld remembers; export again, and take the receipts of that");
        break;
    case -ESTALE:
        client_error(client, CONTROL_ERROR_REFUSED,
            "it is older than what the centre has said since; export again, and take the receipts of that");
        break;
    case -EBUSY:
        client_error(client, CONTROL_ERROR_BUSY,
            "another program reads the database, so what the centre has ordered to be erased could not be; "
            "take them again");
        break;
    case -EUCLEAN:
        client_error(client, CONTROL_ERROR_FAILED,
            "records in the database are damaged; the daemon recovers them when it is started again");
        break;
    default:
        client_error(client, CONTROL_ERROR_FAILED, strerror(-error));
        break;
    }
}

static void call_bundle_begin(struct client *client)
{
    const struct control_listener *listener = &client->control->listener;
    _cleanup_buffer_ struct buffer envelope = {0};
    char bundle_text[2 * REQUEST_ID_BYTES + 1];
    uint8_t bundle[REQUEST_ID_BYTES];
    int r = listener->bundle_begin(listener->context, bundle, &envelope);

    if (r < 0) {
        bundle_error(client, r);
        return;
    }
    text_hex(bundle, sizeof(bundle), bundle_text);
    client_reply(client,
        json_pack("{s:s, s:o}", "bundle", bundle_text, "envelope", base64_of(buffer_bytes(&envelope))),
        false);
}

static void call_bundle(struct client *client, const json_t *parameters)
{
    const struct control_listener *listener = &client->control->listener;
    const char *log_text = json_string_value(json_object_get(parameters, "log"));
    json_int_t from_seq = json_integer_value(json_object_get(parameters, "from_seq"));
    _cleanup_buffer_ struct buffer envelope = {0};
    struct uuid log;
    uint64_t end = 0;
    int r;

    if (!log_text || text_parse_uuid(log_text, log.b) < 0 || from_seq < 0) {
        client_error(client, CONTROL_ERROR_PARAMETER, "log: a UUID; from_seq: a position");
        return;
    }
    r = listener->bundle_part(listener->context, &log, (uint64_t)from_seq, &envelope, &end);
    if (r < 0)
        bundle_error(client, r);
    else
        client_reply(client,
            json_pack(
                "{s:o, s:I}", "envelope", base64_of(buffer_bytes(&envelope)), "next_seq", (json_int_t)end),
            false);
}

static const char *receipts_log_name(enum agent_receipts_log log)
{
    switch (log) {
    case RECEIPTS_LOG_NONE:
        return "none";
    case RECEIPTS_LOG_TAKEN:
        return "taken";
    case RECEIPTS_LOG_UNKNOWN:
        return "unknown";
    case RECEIPTS_LOG_SET_BACK:
        return "set_back";
    case RECEIPTS_LOG_FORKED:
        return "forked";
    }
    return "none";
}

static void call_receipts(struct client *client, const json_t *parameters)
{
    const struct control_listener *listener = &client->control->listener;
    bool check_only = json_is_true(json_object_get(parameters, "check"));
    _cleanup_buffer_ struct buffer envelope = {0};
    char bundle_text[2 * REQUEST_ID_BYTES + 1];
    struct agent_receipts receipts;
    int r = base64_to(json_string_value(json_object_get(parameters, "envelope")), &envelope);

    if (r >= 0)
        r = listener->receipts(listener->context, buffer_bytes(&envelope), check_only, &receipts);
    if (r < 0) {
        bundle_error(client, r);
        return;
    }
    text_hex(receipts.bundle, sizeof(receipts.bundle), bundle_text);
    client_reply(client,
        json_pack("{s:s, s:I, s:I, s:b, s:s, s:I, s:I, s:I, s:I}", "bundle", bundle_text, "server_time_ms",
            (json_int_t)receipts.server_time_ms, "part", (json_int_t)receipts.part, "last",
            (int)receipts.is_last, "log", receipts_log_name(receipts.log), "records_acknowledged",
            (json_int_t)receipts.records_acknowledged, "records_quarantined",
            (json_int_t)receipts.records_quarantined, "photos_stored", (json_int_t)receipts.photos_stored,
            "photos_backed_up", (json_int_t)receipts.photos_backed_up),
        false);
}

static void call_rotate_key(struct client *client)
{
    const struct control_listener *listener = &client->control->listener;
    bool waited = false;
    int r = listener->rotate_key(listener->context, &waited);

    if (r == -ENOTCONN)
        client_error(client, CONTROL_ERROR_NOT_ENROLLED, NOT_ENROLLED_TEXT);
    else if (r < 0)
        client_error(client, CONTROL_ERROR_FAILED, strerror(-r));
    else
        client_reply(client, json_pack("{s:b}", "waited", (int)waited), false);
}

static void client_call(struct client *client, const json_t *message)
{
    struct control *control = client->control;
    const char *method = json_string_value(json_object_get(message, "method"));
    const json_t *parameters = json_object_get(message, "parameters");
    client->more = json_is_true(json_object_get(message, "more"));
    if (!method || client->waits != WAITS_FOR_NOTHING) {
        client->ended = true;
    } else if (strcmp(method, CONTROL_METHOD_STATUS) == 0) {
        client_reply(client, control->listener.status(control->listener.context), false);
    } else if (strcmp(method, CONTROL_METHOD_SYNC) == 0) {
        call_sync(client, parameters);
    } else if (strcmp(method, CONTROL_METHOD_RESYNC) == 0) {
        call_resync(client, parameters);
    } else if (strcmp(method, CONTROL_METHOD_PAUSE) == 0) {
        control->listener.pause(
            control->listener.context, json_is_true(json_object_get(parameters, "paused")));
        client_reply(client, NULL, false);
    } else if (strcmp(method, CONTROL_METHOD_BUNDLE_BEGIN) == 0) {
        call_bundle_begin(client);
    } else if (strcmp(method, CONTROL_METHOD_BUNDLE) == 0) {
        call_bundle(client, parameters);
    } else if (strcmp(method, CONTROL_METHOD_RECEIPTS) == 0) {
        call_receipts(client, parameters);
    } else if (strcmp(method, CONTROL_METHOD_ROTATE_KEY) == 0) {
        call_rotate_key(client);
    } else {
        client_error(client, CONTROL_ERROR_METHOD, "no such method");
    }
}

static void client_take_messages(struct client *client)
{
    const uint8_t *end;
    while (!client->ended && client->in.len > 0 && (end = memchr(client->in.data, 0, client->in.len))) {
        size_t len = (size_t)(end - client->in.data);
        json_t *message = json_loadb((const char *)client->in.data, len, JSON_REJECT_DUPLICATES, NULL);
        memmove(client->in.data, end + 1, client->in.len - len - 1);
        client->in.len -= len + 1;
        if (json_is_object(message))
            client_call(client, message);
        else
            client->ended = true;
        json_decref(message);
    }
}

static int on_client(sd_event_source *source, int fd, uint32_t events, void *context)
{
    (void)source;
    struct client *client = context;
    struct control *control = client->control;
    if (events & EPOLLOUT)
        client_flush(client);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        char chunk[4096];
        ssize_t n = recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            client->ended = true;
        if (n > 0) {
            buffer_put(&client->in, chunk, (size_t)n);
            if (buffer_finish(&client->in) < 0)
                client->ended = true;
            else
                client_take_messages(client);
            if (client->in.len > CONTROL_MESSAGE_BYTES_MAX)
                client->ended = true;
        }
    }
    control_bury(control);
    return 0;
}

static int on_listening(sd_event_source *source, int fd, uint32_t events, void *context)
{
    (void)source;
    (void)events;
    struct control *control = context;
    /* cppcheck-suppress nullPointer ; the address is not wanted, and accept4 allows NULL */
    _cleanup_close_ int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (peer < 0 || !peer_may_speak(peer))
        return 0;
    size_t index = 0;
    while (index < CONTROL_CLIENTS_MAX && control->clients[index])
        index++;
    if (index == CONTROL_CLIENTS_MAX)
        return 0;
    struct client *client = calloc(1, sizeof(*client));
    if (!client)
        return 0;
    client->control = control;
    client->fd = take_fd(&peer);
    if (sd_event_add_io(control->event, &client->source, client->fd, EPOLLIN, on_client, client) < 0) {
        client_free(client);
        return 0;
    }
    control->clients[index] = client;
    return 0;
}

/* ---- telling ---- */

static int on_tell(sd_event_source *source, uint64_t usec, void *context)
{
    (void)source;
    (void)usec;
    struct control *control = context;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct client *client = control->clients[i];
        if (client && client->waits != WAITS_FOR_NOTHING && client->more)
            client_reply(client, control->listener.status(control->listener.context), true);
    }
    control_bury(control);
    return 0;
}

void control_changed(struct control *control)
{
    int enabled = SD_EVENT_OFF;
    sd_event_source_get_enabled(control->tell_timer, &enabled);
    if (enabled != SD_EVENT_OFF)
        return;
    bool wanted = false;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        wanted = wanted || (control->clients[i] && control->clients[i]->waits != WAITS_FOR_NOTHING);
    if (!wanted)
        return;
    if (sd_event_source_set_time_relative(control->tell_timer, CONTROL_TELL_MS * 1000) >= 0)
        sd_event_source_set_enabled(control->tell_timer, SD_EVENT_ONESHOT);
}

static void end_waiting(struct control *control, enum client_waits waits, json_t *parameters)
{
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct client *client = control->clients[i];
        if (!client || client->waits != waits)
            continue;
        client->waits = WAITS_FOR_NOTHING;
        client_reply(client, json_incref(parameters), false);
    }
    json_decref(parameters);
    /* Clients that ended here are buried by the next event of the loop: this may be called from inside one of
     * theirs. */
}

void control_sync_done(struct control *control, bool done, bool refused, const char *reason)
{
    end_waiting(control, WAITS_FOR_SYNC,
        json_pack("{s:b, s:b, s:s?}", "done", (int)done, "refused", (int)refused, "reason", reason));
}

void control_resync_done(struct control *control, const struct resync_report *report, bool refused)
{
    json_t *object = control_resync_object(report);

    if (object)
        (void)json_object_set_new(object, "refused", json_boolean(refused));
    end_waiting(control, WAITS_FOR_RESYNC, object);
}

json_t *control_resync_object(const struct resync_report *report)
{
    char finished_at[RFC3339_LEN + 1];

    rfc3339_format(report->finished_ms, 0, finished_at);
    return json_pack(
        "{s:b, s:b, s:b, s:s?, s:s, s:s, s:s?, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
        "finished", (int)report->finished, "ok", (int)report->ok, "failed", (int)report->failed, "problem",
        report->problem, "level", audit_level_name(report->level), "cause", resync_cause_name(report->cause),
        "finished_at", report->finished ? finished_at : NULL, "records_checked",
        (json_int_t)report->records_checked, "records_missing", (json_int_t)report->records_missing,
        "records_damaged", (json_int_t)report->records_damaged, "records_sent_again",
        (json_int_t)report->records_sent_again, "records_gone", (json_int_t)report->records_gone,
        "records_erased", (json_int_t)report->records_erased, "records_lost",
        (json_int_t)report->records_lost, "blobs_checked", (json_int_t)report->blobs_checked, "blobs_missing",
        (json_int_t)report->blobs_missing, "blobs_sent_again", (json_int_t)report->blobs_sent_again,
        "blobs_gone", (json_int_t)report->blobs_gone, "blobs_lost", (json_int_t)report->blobs_lost,
        "round_trips", (json_int_t)report->round_trips, "records_quarantined",
        (json_int_t)report->records_quarantined);
}

/* ---- life ---- */

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (unlink(path) < 0 && errno != ENOENT)
        return -errno;
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    if (chmod(path, 0660) < 0 || listen(fd, (int)CONTROL_CLIENTS_MAX) < 0)
        return -errno;
    return take_fd(&fd);
}

int control_new(
    sd_event *event, const char *path, const struct control_listener *listener, struct control **ret)
{
    struct control *control = calloc(1, sizeof(*control));
    if (!control)
        return -ENOMEM;
    control->event = sd_event_ref(event);
    control->listener = *listener;
    control->path = strdup(path);
    control->fd = control->path ? listen_at(path) : -ENOMEM;
    int r = control->fd;
    if (r >= 0)
        r = sd_event_add_io(event, &control->listening, control->fd, EPOLLIN, on_listening, control);
    if (r >= 0)
        r = sd_event_add_time_relative(
            event, &control->tell_timer, CLOCK_MONOTONIC, 0, 10000, on_tell, control);
    if (r >= 0)
        r = sd_event_source_set_enabled(control->tell_timer, SD_EVENT_OFF);
    if (r < 0) {
        control_free(control);
        return r;
    }
    *ret = control;
    return 0;
}

void control_free(struct control *control)
{
    if (!control)
        return;
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        client_free(control->clients[i]);
    sd_event_source_disable_unref(control->listening);
    sd_event_source_disable_unref(control->tell_timer);
    if (control->fd >= 0) {
        close(control->fd);
        unlink(control->path);
    }
    free(control->path);
    sd_event_unref(control->event);
    free(control);
}
