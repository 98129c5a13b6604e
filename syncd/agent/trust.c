/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this handheld trusts of the centre: the receipt key that it enrolled with and the successors that it
 * was told of. proto/README.md, "Successors". What is new is kept by the shell, durably, before it counts.
 */
#include "syncd/agent/agent_internal.h"

#include "base/log.h"

#include <errno.h>

/* Takes a list in the place of what is trusted. What was is left as it is on an error. */
static int take_list(struct agent *agent, struct bytes list, const struct verify_key *anchor)
{
    struct buffer bytes = {0};
    struct arena arena;
    struct trust trust;
    int r;

    arena_init(&arena, arena_budget_for(TRUST_LIST_BYTES_MAX));
    buffer_put_bytes(&bytes, list);
    r = buffer_finish(&bytes);
    if (r >= 0)
        r = trust_follow(buffer_bytes(&bytes), anchor, &arena, &trust);
    if (r < 0) {
        arena_done(&arena);
        buffer_done(&bytes);
        return r;
    }
    trust_forget(agent);
    agent->trust_list = bytes;
    agent->trust_arena = arena;
    agent->trust = trust;
    return 0;
}

void trust_forget(struct agent *agent)
{
    arena_done(&agent->trust_arena);
    buffer_done(&agent->trust_list);
    agent->trust_list = (struct buffer){0};
    agent->trust_arena = (struct arena){0};
    agent->trust = (struct trust){0};
}

int trust_load(struct agent *agent, const struct enrolment *enrolment)
{
    int r = take_list(agent, bytes_of(enrolment->trust, enrolment->trust_len), &enrolment->receipt_key);

    if (r >= 0 || r == -ENOMEM)
        return r;
    /* The centre says it again, as long as it still has the key that this handheld enrolled with. */
    agent_note(agent, LOG_LEVEL_WARNING,
        "what the centre said of its new keys cannot be read here any more (%s): it is asked again",
        strerror(-r));
    trust_in(&enrolment->receipt_key, &agent->trust);
    return 0;
}

/* 0, also when it says nothing new. */
static int take(struct agent *agent, struct bytes more)
{
    _cleanup_buffer_ struct buffer joined = {0}, kept = {0};
    _cleanup_arena_ struct arena arena;
    const struct verify_key anchor = agent->trust.keys[0].key;
    struct trust fresh = {0};
    int r;

    arena_init(&arena, arena_budget_for(2 * TRUST_LIST_BYTES_MAX));
    buffer_put_bytes(&joined, buffer_bytes(&agent->trust_list));
    buffer_put_bytes(&joined, more);
    r = buffer_finish(&joined);
    if (r >= 0)
        r = trust_follow(buffer_bytes(&joined), &anchor, &arena, &fresh);
    if (r < 0 || fresh.generation == agent->trust.generation)
        return r;
    r = trust_list_encode(&fresh, 0, TRUST_ALL, &kept);
    if (r >= 0 && agent->listener.trust)
        r = agent->listener.trust(agent->listener.context, buffer_bytes(&kept), fresh.ca_pem);
    return r < 0 ? r : take_list(agent, buffer_bytes(&kept), &anchor);
}

void trust_take(struct agent *agent, struct bytes more)
{
    size_t keys = agent->trust.key_count;
    int r = more.len > 0 ? take(agent, more) : 0;

    if (r < 0)
        agent_note(agent, LOG_LEVEL_WARNING,
            "what the centre says of its new keys was not taken (%s): it says so again",
            r == -EBADMSG || r == -EKEYREJECTED ? "not signed by a key that is trusted" : strerror(-r));
    else if (agent->trust.key_count > keys)
        agent_note(agent, LOG_LEVEL_INFO, "the centre's receipt key has a successor, which is trusted now");
}

struct bytes agent_trusted_cas(const struct agent *agent)
{
    return agent->trust.ca_pem;
}
