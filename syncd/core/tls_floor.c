/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/core/tls_floor.h"

static int64_t server_time_passed(const struct tls_floor_input *input)
{
    int64_t seen_ms = input->server_time_ms > 0 ? input->server_time_ms : 0;
    bool same_boot = memcmp(input->server_boot_id, input->boot_id, UUID_BYTES) == 0;

    if (seen_ms > 0 && same_boot && input->boot_ms > input->server_boot_ms) {
        uint64_t elapsed_ms = input->boot_ms - input->server_boot_ms;
        if (elapsed_ms < (uint64_t)(INT64_MAX - seen_ms))
            seen_ms += (int64_t)elapsed_ms;
    }
    return seen_ms;
}

struct tls_time tls_time_for(const struct tls_floor_input *input)
{
    int64_t server_ms = server_time_passed(input);
    int64_t floor_ms = server_ms > input->build_ms ? server_ms : input->build_ms;
    struct tls_time time = {.floor_ms = floor_ms, .server_ms = server_ms};
    bool believed = input->wall_ms >= floor_ms && input->wall_ms - floor_ms <= TLS_FLOOR_TRUST_MS;
    time.verify_at_ms = believed ? input->wall_ms : floor_ms;
    time.ignore_not_before = !believed;
    return time;
}

bool tls_floor_takes(int64_t server_time_ms, int64_t certificate_not_after_ms)
{
    return server_time_ms <= certificate_not_after_ms;
}
