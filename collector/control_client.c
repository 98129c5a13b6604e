/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/control_client.h"

#include "base/files.h"

#include <errno.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>

#define CONNECT_LOOK_MS 200u
#define STATUS_WAIT_MS 2000u

static uint64_t now_ms(const struct world *world)
{
    return world->verbs->boot_ms(world->context);
}

static int connect_once(const char *directory)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int len = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", directory, CONTROL_SOCKET_NAME);
    if (len < 0 || (size_t)len >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    return take_fd(&fd);
}

int control_connect(const struct program *program, uint64_t wait_ms, struct control_client *ret)
{
    uint64_t deadline = now_ms(program->world) + wait_ms;
    /* A new socket file shows at once; one that exists but does not listen yet is tried again after a short
     * while. */
    _cleanup_close_ int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch >= 0)
        inotify_add_watch(watch, program->directory, IN_CREATE | IN_ATTRIB);
    for (;;) {
        int fd = connect_once(program->directory);
        if (fd >= 0) {
            *ret = (struct control_client){.fd = fd};
            return 0;
        }
        uint64_t now = now_ms(program->world);
        if ((fd != -ENOENT && fd != -ECONNREFUSED) || now >= deadline)
            return fd;
        uint64_t left = deadline - now;
        struct pollfd changed = {.fd = watch, .events = POLLIN};
        poll(&changed, 1, (int)(left < CONNECT_LOOK_MS ? left : CONNECT_LOOK_MS));
        char events[4096];
        while (watch >= 0 && read(watch, events, sizeof(events)) > 0)
            ;
    }
}

enum exit_status control_open(const struct program *program, uint64_t wait_ms, struct control_client *ret)
{
    int r = control_connect(program, wait_ms, ret);

    if (r == -EACCES || r == -EPERM)
        return complain(EXIT_STATUS_FAILED, "no right to speak to the daemon; run as a member of group %s",
            CONTROL_GROUP);
    if (r < 0)
        return complain(EXIT_STATUS_FAILED,
            "the daemon does not run on %s; start it with: systemctl start patrol-syncd (what was recorded is kept)",
            program->directory);
    return EXIT_STATUS_DONE;
}

void control_client_done(struct control_client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    buffer_done(&client->in);
    client->fd = -1;
}

int control_call(struct control_client *client, const char *method, json_t *parameters, bool more)
{
    json_t *message = json_pack("{s:s, s:o, s:b}", "method", method, "parameters",
        parameters ? parameters : json_object(), "more", (int)more);
    _cleanup_free_ char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
    json_decref(message);
    if (!text)
        return -ENOMEM;
    size_t len = strlen(text) + 1;
    for (size_t sent = 0; sent < len;) {
        ssize_t n = send(client->fd, text + sent, len - sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            sent += (size_t)n;
    }
    return 0;
}

static int take_message(struct control_client *client, json_t **ret)
{
    const uint8_t *end = client->in.len > 0 ? memchr(client->in.data, 0, client->in.len) : NULL;
    if (!end)
        return -EAGAIN;
    size_t len = (size_t)(end - client->in.data);
    json_error_t error = {0};
    json_t *message = json_loadb((const char *)client->in.data, len, JSON_REJECT_DUPLICATES, &error);
    memmove(client->in.data, end + 1, client->in.len - len - 1);
    client->in.len -= len + 1;
    if (!json_is_object(message)) {
        json_decref(message);
        return !message && json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : -EBADMSG;
    }
    *ret = message;
    return 0;
}

int control_reply(struct control_client *client, const struct world *world, uint64_t deadline, json_t **ret)
{
    for (;;) {
        int r = take_message(client, ret);
        if (r != -EAGAIN)
            return r;
        if (client->in.len > CONTROL_MESSAGE_BYTES_MAX)
            return -EBADMSG;
        uint64_t now = now_ms(world);
        if (now >= deadline)
            return -ETIMEDOUT;
        uint64_t left = deadline - now;
        struct pollfd ready = {.fd = client->fd, .events = POLLIN};
        int n = poll(&ready, 1, (int)(left < 60000 ? left : 60000));
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n <= 0)
            continue;
        char chunk[4096];
        ssize_t got = recv(client->fd, chunk, sizeof(chunk), 0);
        if (got <= 0)
            return -ECONNRESET;
        buffer_put(&client->in, chunk, (size_t)got);
        if (buffer_finish(&client->in) < 0)
            return -ENOMEM;
    }
}

json_t *control_ask_status(const struct program *program)
{
    struct control_client client = {.fd = -1};
    json_t *reply = NULL, *parameters = NULL;
    if (control_connect(program, 0, &client) < 0)
        return NULL;
    uint64_t deadline = now_ms(program->world) + STATUS_WAIT_MS;
    if (control_call(&client, CONTROL_METHOD_STATUS, NULL, false) >= 0 &&
        control_reply(&client, program->world, deadline, &reply) >= 0)
        parameters = json_incref(json_object_get(reply, "parameters"));
    json_decref(reply);
    control_client_done(&client);
    return parameters;
}

int64_t control_until_ms(const struct program *program, const json_t *object, const char *name)
{
    const struct world *world = program->world;
    json_int_t in_ms = json_integer_value(json_object_get(object, name));
    return in_ms > 0 ? world->verbs->wall_ms(world->context) + in_ms : 0;
}

int64_t control_next_attempt_ms(const struct program *program, const json_t *status)
{
    return control_until_ms(program, status, "next_attempt_in_ms");
}
