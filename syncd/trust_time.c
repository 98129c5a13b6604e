/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/trust_time.h"

#include "base/text.h"

#include <errno.h>

/* Set by the build to the commit's time, so that the same source gives the same program. */
#ifndef GRIDPATROL_BUILD_S
#error "the build must define GRIDPATROL_BUILD_S"
#endif

/* "<server time ms> <boot clock ms> <boot id in hex>", as memory_take_server_time (syncd/agent) wrote it. */
static int read_server_time(struct store *store, struct tls_floor_input *input)
{
    _cleanup_buffer_ struct buffer text = {0};
    int r = store_setting(store, STORE_SETTING_SERVER_TIME, &text);
    if (r < 0)
        return r;
    char *line = (char *)(uintptr_t)buffer_text(&text), *rest = NULL;
    if (!line)
        return -ENOMEM;
    const char *server = strtok_r(line, " ", &rest), *boot = strtok_r(NULL, " ", &rest),
               *id_text = strtok_r(NULL, " ", &rest);
    uint64_t server_ms, boot_ms;
    uint8_t id[BOOT_ID_BYTES];
    if (!server || !boot || !id_text || text_parse_u64(server, &server_ms) < 0 || server_ms > INT64_MAX ||
        text_parse_u64(boot, &boot_ms) < 0)
        return -EBADMSG;
    r = text_parse_hex(id_text, strlen(id_text), id, sizeof(id));
    if (r < 0)
        return r;
    input->server_time_ms = (int64_t)server_ms;
    input->server_boot_ms = boot_ms;
    memcpy(input->server_boot_id, id, sizeof(id));
    return 0;
}

struct tls_time trust_time_now(const struct world *world, struct store *store)
{
    struct tls_floor_input input = {
        .build_ms = (int64_t)GRIDPATROL_BUILD_S * 1000,
        .boot_ms = world->verbs->boot_ms(world->context),
        .wall_ms = world->verbs->wall_ms(world->context),
    };
    world->verbs->boot_id(world->context, input.boot_id);
    if (store)
        (void)read_server_time(store, &input); /* without one the build time is the floor */
    return tls_time_for(&input);
}
