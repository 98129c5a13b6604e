/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/trust_time.h"

#include <errno.h>

/* Set by the build to the commit's time, so that the same source gives the same program. */
#ifndef GRIDPATROL_BUILD_S
#error "the build must define GRIDPATROL_BUILD_S"
#endif

/* "<server time ms> <boot clock ms> <boot id in hex>", as agent_apply_time wrote it. */
static int read_server_time(struct store *store, struct tls_floor_input *input)
{
    _cleanup_buffer_ struct buffer text = {0};
    int r = store_setting(store, STORE_SETTING_SERVER_TIME, &text);
    if (r < 0)
        return r;
    const char *line = buffer_text(&text);
    if (!line)
        return -ENOMEM;
    long long server_ms;
    unsigned long long boot_ms;
    char boot_id[2 * BOOT_ID_BYTES + 1];
    if (sscanf(line, "%lld %llu %32s", &server_ms, &boot_ms, boot_id) != 3)
        return -EBADMSG;
    uint8_t id[BOOT_ID_BYTES];
    r = text_parse_hex(boot_id, strlen(boot_id), id, sizeof(id));
    if (r < 0)
        return r;
    input->server_time_ms = server_ms;
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
