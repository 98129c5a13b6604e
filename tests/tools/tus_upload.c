/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's agent and transport, with uploads that go to another tus server than the centre:
 *
 *   tus_upload DIR UPLOADS-URL
 *
 * DIR is the data directory of an enrolled handheld. Records go to its centre, as ever, for only photos of
 * acknowledged records are sent. Runs until SIGTERM: the centre never sees these photos, so there is no end.
 */
#include "base/files.h"
#include "base/log.h"
#include "syncd/transport_worker.h"
#include "syncd/trust_time.h"

#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <time.h>

#define BACKOFF_MIN_MS 50u
#define BACKOFF_MAX_MS 400u

struct uploader {
    sd_event *event;
    sd_event_source *timer;
    struct store *store;
    struct transport_worker *transport;
    struct agent *agent;
};

static void must(int r, const char *what)
{
    if (r >= 0)
        return;
    fprintf(stderr, "tus_upload: %s: %s\n", what, strerror(-r));
    exit(1);
}

static void timer_follow(struct uploader *uploader)
{
    const struct world *world = world_posix();
    uint64_t at_ms = agent_next_timer_ms(uploader->agent), now_ms = world->verbs->boot_ms(world->context);

    if (at_ms == 0) {
        sd_event_source_set_enabled(uploader->timer, SD_EVENT_OFF);
        return;
    }
    must(sd_event_source_set_time_relative(uploader->timer, at_ms > now_ms ? (at_ms - now_ms) * 1000 : 0),
        "timer");
    sd_event_source_set_enabled(uploader->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *context)
{
    struct uploader *uploader = context;

    (void)source;
    (void)usec;
    agent_timer(uploader->agent);
    timer_follow(uploader);
    return 0;
}

static void on_response(void *context, uint32_t slot, const struct http_response *response)
{
    struct uploader *uploader = context;

    agent_response(uploader->agent, slot, response);
    timer_follow(uploader);
}

static void on_failed(void *context, uint32_t slot, enum engine_failure failure, const char *detail)
{
    struct uploader *uploader = context;

    log_info("a request did not come through (%s)", detail);
    agent_failed(uploader->agent, slot, failure);
    timer_follow(uploader);
}

static void nothing(void *context)
{
    (void)context;
}

static void on_sync_done(void *context, bool ok)
{
    (void)context;
    (void)ok;
}

static void on_resync_done(void *context, const struct resync_report *report)
{
    (void)context;
    (void)report;
}

static void on_alarm(void *context, const char *text)
{
    (void)context;
    log_err("%s", text);
}

static void on_note(void *context, int level, const char *text)
{
    (void)context;
    log_message((enum log_level)level, "%s", text);
}

static void begin(struct uploader *uploader, const char *directory, const char *uploads_url)
{
    const struct world *world = world_posix();
    const struct transport_worker_listener network = {
        .response = on_response, .failed = on_failed, .context = uploader};
    struct enrolment enrolment _cleanup_(enrolment_done) = {0};
    _cleanup_free_ char *error = NULL;
    struct store_opened opened;
    uint8_t seed[SIGN_SEED_BYTES];
    struct uuid device;

    must(store_open(world, directory, STORE_DAEMON, &uploader->store, &opened), directory);
    must(enrolment_read(world, directory, &enrolment, &error), error ? error : "enrolment");
    must(device_key_read(world, directory, &device, seed), "device key");
    _cleanup_free_ char *ca_path = files_join(directory, "ca.pem");
    const struct transport_worker_options worker = {.world = world, .ca_path = ca_path};
    must(sd_event_default(&uploader->event), "event loop");
    must(transport_worker_new(uploader->event, &worker, &network, &uploader->transport), "transport");
    must(transport_worker_set_server(uploader->transport, enrolment.server_url), "server");
    transport_worker_set_time(uploader->transport, trust_time_now(world, uploader->store));
    struct agent_options options = {
        .world = world,
        .store = uploader->store,
        .enrolment = &enrolment,
        .device_seed = seed,
        .engine = engine_config_default(),
        .uploads_url = uploads_url,
        .transport = transport_worker_verbs(uploader->transport),
        .listener = {.changed = nothing,
            .sync_done = on_sync_done,
            .resync_done = on_resync_done,
            .alarm = on_alarm,
            .note = on_note,
            .context = uploader},
    };
    options.engine.backoff_min_ms = BACKOFF_MIN_MS;
    options.engine.backoff_max_ms = BACKOFF_MAX_MS;
    must(agent_new(&options, &uploader->agent), "agent");
    must(sd_event_add_time_relative(
             uploader->event, &uploader->timer, CLOCK_BOOTTIME, 0, 1000, on_timer, uploader),
        "timer");
    must(agent_start(uploader->agent), "start");
    timer_follow(uploader);
}

int main(int argc, char **argv)
{
    struct uploader uploader = {0};
    sigset_t set;

    if (argc != 3 || sodium_init() < 0) {
        fprintf(stderr, "tus_upload: DIR UPLOADS-URL\n");
        return 2;
    }
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    begin(&uploader, argv[1], argv[2]);
    must(sd_event_add_signal(uploader.event, NULL, SIGTERM, NULL, NULL), "signal");
    must(sd_event_loop(uploader.event), "loop");
    agent_free(uploader.agent);
    transport_worker_free(uploader.transport);
    store_free(uploader.store);
    sd_event_source_unref(uploader.timer);
    sd_event_unref(uploader.event);
    return 0;
}
