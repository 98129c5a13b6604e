/* SPDX-License-Identifier: Apache-2.0 */
/* The handheld's side of agent_story.h; the centre is in agent_centre.c. */
#include "tests/unit/syncd/agent_story.h"

#include <sodium.h>

static struct agent_story *story_of(void *context)
{
    return context;
}

static uint64_t story_boot_ms(void *context)
{
    return story_of(context)->boot_ms;
}

static void story_boot_id(void *context, uint8_t ret[BOOT_ID_BYTES])
{
    memset(ret, story_of(context)->boot_id, BOOT_ID_BYTES);
}

static int64_t story_wall_ms(void *context)
{
    return story_of(context)->wall_ms;
}

/* ---- transport ---- */

static int story_send(void *context, uint32_t slot, const struct http_request *request)
{
    struct sent_request *sent = &story_of(context)->sent[slot];

    assert_true(slot < ENGINE_SLOTS_MAX);
    assert_false(sent->busy);
    if (story_of(context)->send_result < 0)
        return story_of(context)->send_result;
    buffer_done(&sent->body);
    *sent = (struct sent_request){.busy = true, .header_count = request->header_count};
    snprintf(sent->method, sizeof(sent->method), "%s", request->method);
    snprintf(sent->path, sizeof(sent->path), "%s", request->path);
    for (size_t i = 0; i < request->header_count; i++)
        snprintf(sent->headers[i], sizeof(sent->headers[i]), "%s: %s", request->headers[i].name,
            request->headers[i].value);
    buffer_put_bytes(&sent->body, request->body);
    return 0;
}

static void story_cancel(void *context, uint32_t slot)
{
    assert_true(story_of(context)->sent[slot].busy);
    story_of(context)->sent[slot].busy = false;
}

const char *sent_header(const struct sent_request *request, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < request->header_count; i++)
        if (strncmp(request->headers[i], name, len) == 0 && request->headers[i][len] == ':')
            return request->headers[i] + len + 2;
    return NULL;
}

/* ---- listener ---- */

static void story_sync_done(void *context, bool ok)
{
    if (ok)
        story_of(context)->syncs_done++;
    else
        story_of(context)->syncs_refused++;
}

static void story_resync_done(void *context, const struct resync_report *report)
{
    story_of(context)->resyncs_done++;
    story_of(context)->report = *report;
}

static void story_alarm(void *context, const char *text)
{
    story_of(context)->alarms++;
    snprintf(story_of(context)->last_alarm, sizeof(story_of(context)->last_alarm), "%s", text);
}

static void story_damaged(void *context)
{
    story_of(context)->damaged++;
}

static int story_trust(void *context, struct bytes list, struct bytes ca_pem)
{
    struct agent_story *story = context;

    if (story->trust_result < 0)
        return story->trust_result;
    buffer_clear(&story->trust);
    buffer_put_bytes(&story->trust, list);
    story->enrolment.trust = story->trust.data;
    story->enrolment.trust_len = story->trust.len;
    story->trusts_kept++;
    return 0;
}

static int story_certificate(
    void *context, struct bytes envelope, const uint8_t public_key[SIGN_PUBLIC_BYTES])
{
    struct agent_story *story = context;

    assert_true(envelope.len > 0);
    story->certificates_told++;
    memcpy(story->last_certified_key, public_key, SIGN_PUBLIC_BYTES);
    return story->certificate_result;
}

static void story_note(void *context, int level, const char *text)
{
    if (getenv("STORY_NOTES"))
        print_message("# %d %s\n", level, text);
}

/* ---- life ---- */

static void start_agent(struct agent_story *story)
{
    struct agent_options options = {
        .world = story->world,
        .store = story->store,
        .enrolment = &story->enrolment,
        .device_seed = story->device_seed,
        .engine = engine_config_default(),
        .uploads_url = story->uploads_url,
        .transport = {.send = story_send, .cancel = story_cancel, .context = story},
        .listener = {.sync_done = story_sync_done,
            .resync_done = story_resync_done,
            .alarm = story_alarm,
            .store_damaged = story_damaged,
            .trust = story_trust,
            .certificate = story_certificate,
            .note = story_note,
            .context = story},
    };

    options.engine.idle_contact_ms = 0;
    options.engine.self_audit_ms = 0; /* its time is drawn at random: it is told in engine stories */
    if (story->photo_budget > 0)
        options.engine.budget_bytes[NETWORK_METERED][LANE_PHOTOS] = story->photo_budget;
    assert_int_equal(agent_new(&options, &story->agent), 0);
    if (story->photo_budget > 0)
        agent_network(story->agent, NETWORK_METERED, false);
    assert_int_equal(agent_start(story->agent), 0);
}

static void enrol(struct agent_story *story)
{
    struct centre *centre = &story->centre;
    uint8_t seed[SIGN_SEED_BYTES];
    char name[KEY_NAME_MAX + 1];
    struct sign_key device_key;

    memset(seed, 0x5e, sizeof(seed));
    memset(story->device_seed, 0xde, sizeof(story->device_seed));
    memset(centre->device.b, 0xd1, UUID_BYTES);
    assert_int_equal(receipt_key_name("centre.example", name), 0);
    sign_key_from_seed(name, seed, &centre->receipt_key);
    assert_int_equal(device_key_name("centre.example", "default", &centre->device, name), 0);
    sign_key_from_seed(name, story->device_seed, &device_key);
    centre->device_key = device_key.public;
    memset(centre->incarnation.b, 0x1c, UUID_BYTES);
    centre->time_ms = INT64_C(1700000000000);
    centre->gives_token = centre->confirms_blobs = true;
    story->enrolment = (struct enrolment){
        .server_url = (char *)(uintptr_t) "https://centre.example:8443/patrol",
        .authority = (char *)(uintptr_t) "centre.example",
        .tenant = (char *)(uintptr_t) "default",
        .device = centre->device,
        .receipt_key = centre->receipt_key.public,
        .certificate = (uint8_t *)(uintptr_t) "certificate",
        .certificate_len = 11,
    };
}

void agent_story_begin(struct agent_story *story)
{
    *story = (struct agent_story){.boot_ms = 5000, .wall_ms = INT64_C(1700000000000), .boot_id = 0xb0};
    assert_true(sodium_init() >= 0);
    story->directory = unit_directory_make();
    /* The real world but for its clocks; nothing in it looks at the context. */
    story->world = own_world_init(&story->own, story);
    story->own.verbs.boot_ms = story_boot_ms;
    story->own.verbs.wall_ms = story_wall_ms;
    story->own.verbs.boot_id = story_boot_id;
    struct store_opened opened;
    assert_int_equal(store_open(story->world, story->directory, STORE_DAEMON, &story->store, &opened), 0);
    enrol(story);
    start_agent(story);
    story->syncs_done = 0; /* an empty store is done at once */
}

void agent_story_restart(struct agent_story *story)
{
    agent_free(story->agent);
    for (size_t i = 0; i < ENGINE_SLOTS_MAX; i++)
        story->sent[i].busy = false;
    start_agent(story);
}

void agent_story_end(struct agent_story *story)
{
    buffer_done(&story->trust);
    buffer_done(&story->centre.trust);
    buffer_done(&story->centre.next_certificate);
    agent_free(story->agent);
    store_free(story->store);
    unit_directory_remove(story->directory);
    for (size_t i = 0; i < ENGINE_SLOTS_MAX; i++)
        buffer_done(&story->sent[i].body);
    for (size_t i = 0; i < story->centre.log_count; i++) {
        free(story->centre.logs[i].leaves);
        buffer_done(&story->centre.logs[i].note);
    }
    for (size_t i = 0; i < story->centre.blob_count; i++)
        buffer_done(&story->centre.blobs[i].bytes);
}

/* ---- what people do ---- */

void agent_story_record(struct agent_story *story, unsigned first, unsigned count)
{
    append_many(story->store, first, count);
    agent_store_changed(story->agent);
}

struct sha256 agent_story_photo(struct agent_story *story, const char *note, const char *content)
{
    _cleanup_buffer_ struct buffer buffer = {0};
    struct store_photo photo = {.photo = {.size = strlen(content)}};
    struct record record = {
        .kind = RECORD_FINDING, .wall_ms = 1000, .boot_ms = 1, .inspector = author.inspector};
    struct store_appended appended;
    struct store_entry entry = {.kind = RECORD_FINDING, .photos = &photo, .photo_count = 1};

    assert_int_equal(store_photo_put_bytes(story->store, bytes_of_text(content), &photo.photo.sha256), 0);
    record.finding = finding_with_note(note);
    record.finding.photos = &photo.photo;
    record.finding.photo_count = 1;
    assert_int_equal(record_encode(&record, &buffer), 0);
    entry.record = buffer_bytes(&buffer);
    assert_int_equal(store_append(story->store, &author, &entry, 1, &appended), 0);
    agent_store_changed(story->agent);
    return photo.photo.sha256;
}

void agent_story_wait(struct agent_story *story, uint64_t ms)
{
    uint64_t end_ms = story->boot_ms + ms;

    while (agent_next_timer_ms(story->agent) <= end_ms) {
        story->wall_ms += (int64_t)(agent_next_timer_ms(story->agent) - story->boot_ms);
        story->boot_ms = agent_next_timer_ms(story->agent);
        agent_timer(story->agent);
    }
    story->wall_ms += (int64_t)(end_ms - story->boot_ms);
    story->boot_ms = end_ms;
}

struct store_status agent_story_status(struct agent_story *story)
{
    return status_of(story->store);
}

/* ---- answers ---- */

void agent_story_deliver(struct agent_story *story, uint32_t slot, const struct http_response *response)
{
    assert_true(story->sent[slot].busy);
    story->sent[slot].busy = false;
    agent_response(story->agent, slot, response);
}

void agent_story_answer(struct agent_story *story, uint32_t slot)
{
    _cleanup_(centre_reply_done) struct centre_reply reply = {0};

    centre_answer(story, slot, &reply);
    agent_story_deliver(story, slot, &reply.response);
}

void agent_story_settle(struct agent_story *story)
{
    for (size_t steps = 0; steps < 1000; steps++) {
        uint32_t slot = 0;

        while (slot < ENGINE_SLOTS_MAX && !story->sent[slot].busy)
            slot++;
        if (slot == ENGINE_SLOTS_MAX)
            return;
        story->boot_ms += 10;
        story->wall_ms += 10;
        agent_story_answer(story, slot);
    }
    fail_msg("it never comes to rest");
}

void agent_story_fail(struct agent_story *story, uint32_t slot, enum engine_failure failure)
{
    assert_true(story->sent[slot].busy);
    story->sent[slot].busy = false;
    agent_failed(story->agent, slot, failure);
}
