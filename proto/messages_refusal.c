/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The signed refusal: see messages.h; proto/README.md, "Refusals".
 */
#include "proto/messages.h"
#include "proto/wire_pack.h"
#include "proto/wire_reader.h"

#include <errno.h>

const char *refusal_reason_name(enum refusal_reason reason)
{
    switch (reason) {
    case REFUSAL_UNKNOWN_DEVICE:
        return "unknown device";
    case REFUSAL_REVOKED:
        return "revoked";
    case REFUSAL_OVER_QUOTA:
        return "over quota";
    case REFUSAL_TOO_LARGE:
        return "too large";
    case REFUSAL_BAD_REQUEST:
        return "bad request";
    case REFUSAL_BUSY:
        return "busy";
    case REFUSAL_TOKEN_UNKNOWN:
        return "token unknown";
    case REFUSAL_TOKEN_USED:
        return "token used";
    case REFUSAL_TOKEN_EXPIRED:
        return "token expired";
    case REFUSAL_LOG_OF_OTHER_DEVICE:
        return "log of another device";
    }
    return "unknown reason";
}

int refusal_encode(const struct refusal *refusal, struct buffer *ret)
{
    Wire__Refusal wire = WIRE__REFUSAL__INIT;

    if (refusal->message.len > REASON_BYTES_MAX)
        return -EMSGSIZE;
    wire.request_sha256 = wire_of_sha256(&refusal->request_sha256);
    wire.reason = (Wire__RefusalReason)refusal->reason;
    wire.message = wire_of(refusal->message);
    wire.retry_after_s = refusal->retry_after_s;
    wire.server_time_ms = refusal->server_time_ms;
    wire.busy_cause = refusal->busy_cause;
    return wire_pack(&wire.base, NULL, ANSWER_BYTES_MAX, ret);
}

int refusal_decode(struct bytes bytes, struct arena *arena, struct refusal *ret)
{
    struct wire_reader reader = wire_reader_of(bytes, arena);
    struct refusal refusal = {0};

    while (wire_next(&reader))
        switch (reader.field) {
        case 1:
            wire_exact(&reader, refusal.request_sha256.b, SHA256_BYTES);
            break;
        case 2:
            refusal.reason = (enum refusal_reason)wire_enum(
                &reader, REFUSAL_LOG_OF_OTHER_DEVICE, "unknown reason of a refusal");
            break;
        case 3:
            refusal.message = wire_text(&reader, REASON_BYTES_MAX);
            break;
        case 4:
            refusal.retry_after_s = wire_u32(&reader);
            break;
        case 5:
            refusal.server_time_ms = wire_s64(&reader);
            break;
        case 6:
            refusal.busy_cause = wire_u32(&reader);
            break;
        }
    wire_demand(&reader, WIRE_FIELD(1) | WIRE_FIELD(2));
    if (!reader.error && refusal.reason == 0)
        wire_fail(&reader, "unknown reason of a refusal");
    if (!reader.error)
        *ret = refusal;
    return wire_finish(&reader, NULL);
}
