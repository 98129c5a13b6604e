/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http/request_log.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <inttypes.h>
#include <netinet/in.h>

static void peer_text(struct MHD_Connection *connection, char ret[INET6_ADDRSTRLEN])
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

    snprintf(ret, INET6_ADDRSTRLEN, "-");
    if (!info || !info->client_addr)
        return;
    if (info->client_addr->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)info->client_addr)->sin_addr, ret,
            INET6_ADDRSTRLEN);
    else if (info->client_addr->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)info->client_addr)->sin6_addr, ret,
            INET6_ADDRSTRLEN);
}

/* "none", "TLS1.3", or "TLS1.3,resumed". */
static void tls_text(struct MHD_Connection *connection, char *ret, size_t size)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);

    if (!info || !info->tls_session) {
        snprintf(ret, size, "none");
        return;
    }
    gnutls_session_t session = info->tls_session;
    const char *name = gnutls_protocol_get_name(gnutls_protocol_get_version(session));
    snprintf(
        ret, size, "%s%s", name ? name : "unknown", gnutls_session_is_resumed(session) ? ",resumed" : "");
}

uint64_t request_bytes_in(const struct request *request)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(request->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    return request->received + (info ? info->header_size : 0);
}

void request_log(const struct request *request, bool complete, uint64_t bytes_in, uint64_t duration_us)
{
    char device[UUID_TEXT_LEN + 1] = "-", peer[INET6_ADDRSTRLEN], tls[32];

    if (!uuid_is_nil(&request->device))
        text_uuid(request->device.b, device);
    peer_text(request->connection, peer);
    tls_text(request->connection, tls, sizeof(tls));
    log_info("request method=%.8s route=%s status=%u outcome=%s device=%s records=%" PRIu64
             " bytes_in=%" PRIu64 " bytes_out=%zu ms=%.1f peer=%s tls=%s",
        request->method, request->route ? request->route->name : "none", request->answer.status,
        complete                 ? request->outcome
        : request->answer.status ? "answer_not_taken"
                                 : "broken_off",
        device, request->records, bytes_in, request->answer.body.len, (double)duration_us / 1000.0, peer,
        tls);
}
