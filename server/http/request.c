/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http/request.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>

const char *request_header(const struct request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

const struct sockaddr *request_address(const struct request *request)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

    return info ? info->client_addr : NULL;
}

bool request_is_from_loopback(const struct request *request)
{
    const struct sockaddr *address = request_address(request);

    if (!address)
        return false;
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *peer = (const struct sockaddr_in *)(const void *)address;
        return ntohl(peer->sin_addr.s_addr) >> 24 == 127;
    }
    if (address->sa_family == AF_INET6) {
        const struct in6_addr *peer = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(peer) || (IN6_IS_ADDR_V4MAPPED(peer) && peer->s6_addr[12] == 127);
    }
    return false;
}

void request_answer(struct request *request, unsigned status, const char *outcome)
{
    if (request->answer.status != 0)
        return;
    request->answer.status = status;
    request->outcome = outcome;
}

void request_answer_text(struct request *request, unsigned status, const char *outcome, const char *text)
{
    if (request->answer.status != 0)
        return;
    request_answer(request, status, outcome);
    request->answer.content_type = "text/plain; charset=utf-8";
    buffer_printf(&request->answer.body, "%s\n", text);
}

void request_answer_header(struct request *request, const char *name, const char *format, ...)
{
    struct answer *answer = &request->answer;
    va_list arguments;

    assert(answer->header_count < ANSWER_HEADERS_MAX);
    struct answer_header *header = &answer->headers[answer->header_count++];
    header->name = name;
    va_start(arguments, format);
    int n = vsnprintf(header->value, sizeof(header->value), format, arguments);
    va_end(arguments);
    assert(n >= 0 && (size_t)n < sizeof(header->value));
}

bool request_is_kept_out(struct request *request, const struct uuid *device, const struct sockaddr *address)
{
    const char *outcome = NULL;
    uint32_t wait_s = gate_wait_s(request->shell->gate, device, address, &outcome);

    if (wait_s == 0)
        return false;
    request_answer_text(request, 429, outcome, "too many requests: try again later");
    request_answer_header(request, "Retry-After", "%u", wait_s);
    return true;
}

void request_answer_busy(struct request *request, const char *outcome, const char *text)
{
    if (request->answer.status != 0)
        return;
    request_answer_text(request, 503, outcome, text);
    request_answer_header(request, "Retry-After", "%u", service_retry_after_s(request->shell->service));
}

/* ---- the writer ---- */

static struct request *request_of(struct writer_item *item)
{
    return (struct request *)(void *)((char *)item - offsetof(struct request, item));
}

static void hold(struct writer_item *item)
{
    struct request *request = request_of(item);
    request->held = true;
    MHD_suspend_connection(request->connection);
}

/* On the writer's thread. The HTTP thread may have answered and freed the request when this returns. */
static void release(struct writer_item *item)
{
    MHD_resume_connection(request_of(item)->connection);
}

void request_submit(struct request *request)
{
    request->item.hold = hold;
    request->item.release = release;
    int r = writer_submit(request->shell->writer, &request->item);
    if (r < 0)
        request_answer_busy(request, r == -EBUSY ? "busy" : "stopping", "busy: try again later");
}
