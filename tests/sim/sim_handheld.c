/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A handheld's machine: power, and the daemon, which is the real agent on the real store with this file as
 * its shell: timers, slow poll, doorbell, restarts by a supervisor.
 */
#include "tests/sim/sim.h"

#include "base/files.h"
#include "proto/envelope.h"

#include <errno.h>

#define SWEEP_AGE_MS HOUR_MS
#define START_RETRY_MS (5 * SECOND_MS)
#define IDLE_CONTACT_MS (10 * MINUTE_MS)
#define TOKEN_VALID_S 3600u
#define RECORDS_AGE_MS MINUTE_MS

/* ---- the daemon's shell ---- */

static void run_timer(struct sim *sim, void *object, uint64_t number)
{
    struct handheld *handheld = object;

    if (!handheld->agent || number != handheld->timer_number)
        return;
    agent_timer(handheld->agent);
    daemon_after(sim, handheld);
}

static void timer_follow(struct sim *sim, struct handheld *handheld)
{
    uint64_t at_ms = agent_next_timer_ms(handheld->agent), now_ms = handheld->machine.clock.boot_ms;

    handheld->timer_number++;
    if (at_ms > 0)
        sim_at(sim, at_ms > now_ms ? at_ms - now_ms : 0, run_timer, handheld, handheld->timer_number);
}

static void run_poll(struct sim *sim, void *object, uint64_t life)
{
    struct handheld *handheld = object;

    if (!handheld->agent || handheld->life != life)
        return;
    if (handheld->photo_age_ms > 0)
        backup_poll(sim, handheld);
    else
        agent_store_changed(handheld->agent);
    daemon_after(sim, handheld);
    if (handheld->agent && handheld->life == life)
        sim_at(sim, engine_config_default().slow_poll_ms, run_poll, handheld, life);
}

static void run_doorbell(struct sim *sim, void *object, uint64_t life)
{
    struct handheld *handheld = object;

    if (!handheld->agent || handheld->life != life)
        return;
    agent_store_changed(handheld->agent);
    daemon_after(sim, handheld);
}

void daemon_doorbell(struct sim *sim, struct handheld *handheld)
{
    if (handheld->agent)
        sim_at(sim, sim_below(sim, 20), run_doorbell, handheld, handheld->life);
}

/* ---- what the agent tells ---- */

static void on_resync_done(void *context, const struct resync_report *report)
{
    struct handheld *handheld = context;

    handheld->resync_done = true;
    handheld->resync_ok = report->ok;
    handheld->resync = *report;
    sim_trace(handheld->sim,
        "handheld %u: resync done: ok %d, %llu checked, %llu missing, %llu damaged, %llu gone",
        handheld->number, report->ok, (unsigned long long)report->records_checked,
        (unsigned long long)report->records_missing, (unsigned long long)report->records_damaged,
        (unsigned long long)report->records_gone);
    if (report->blobs_missing > 0)
        sim_cover(handheld->sim, COVER_AUDIT_BLOB);
    if (report->records_missing > 0)
        sim_cover(handheld->sim, COVER_AUDIT_MISSING);
    if (report->records_damaged > 0)
        sim_cover(handheld->sim, COVER_AUDIT_DAMAGED);
    if (report->records_sent_again > 0)
        sim_cover(handheld->sim, COVER_REPAIRED);
}

static void on_alarm(void *context, const char *text)
{
    struct handheld *handheld = context;

    sim_trace(handheld->sim, "handheld %u: alarm: %s", handheld->number, text);
    if (strstr(text, "the centre was set back"))
        sim_cover(handheld->sim, COVER_WENT_BACK);
    handheld->told_gone |= strstr(text, "can only come from that backup") != NULL;
}

static void on_note(void *context, int level, const char *text)
{
    struct handheld *handheld = context;

    (void)level;
    sim_trace(handheld->sim, "handheld %u: %s", handheld->number, text);
    if (strstr(text, "carried over"))
        sim_cover(handheld->sim, COVER_REHOMED);
    if (strstr(text, "budget_day could not be kept"))
        handheld->budget_is_uncertain = true;
}

static void on_store_damaged(void *context)
{
    struct handheld *handheld = context;

    handheld->store_is_damaged = true;
}

/* ---- life ---- */

static void run_start(struct sim *sim, void *object, uint64_t life)
{
    struct handheld *handheld = object;

    if (!handheld->agent && handheld->life == life)
        daemon_start(sim, handheld);
}

void daemon_start_later(struct sim *sim, struct handheld *handheld, uint64_t delay_ms)
{
    sim_at(sim, delay_ms, run_start, handheld, handheld->life);
}

static bool is_broken_off(const struct handheld *handheld)
{
    return sim_disk_is_dead(handheld->machine.disk) || sim_disk_is_stopped(handheld->machine.disk);
}

/* Closes what the daemon had open; on a dead disk that changes nothing. */
static void process_end(struct sim *sim, struct handheld *handheld)
{
    network_forget_daemon(sim, handheld);
    agent_free(handheld->agent);
    handheld->agent = NULL;
    store_free(handheld->store);
    handheld->store = NULL;
    handheld->store_is_damaged = false;
    handheld->life++;
}

static int agent_begin(struct handheld *handheld)
{
    struct agent_options options = {.world = handheld->machine.world,
        .store = handheld->store,
        .enrolment = &handheld->enrolment,
        .device_seed = handheld->device_seed,
        .engine = engine_config_default(),
        .photo_age_ms = handheld->photo_age_ms,
        .records_age_ms = RECORDS_AGE_MS,
        .transport = network_transport(handheld),
        .listener = {.resync_done = on_resync_done,
            .alarm = on_alarm,
            .note = on_note,
            .store_damaged = on_store_damaged,
            .certificate = rotate_take,
            .context = handheld}};
    bool waits;
    int r;

    options.engine.idle_contact_ms = IDLE_CONTACT_MS;
    budget_configure(&options.engine);
    r = agent_new(&options, &handheld->agent);
    if (r < 0)
        return r;
    agent_network(handheld->agent, handheld->is_metered ? NETWORK_METERED : NETWORK_UNMETERED, false);
    waits = rotate_go_on(handheld);
    r = agent_start(handheld->agent);
    if (r >= 0 && waits)
        agent_sync_now(handheld->agent);
    return r;
}

static int process_begin(struct sim *sim, struct handheld *handheld)
{
    struct store_opened opened = {0};
    uint64_t removed = 0;
    int r = store_open(handheld->machine.world, DATA_DIRECTORY, STORE_DAEMON, &handheld->store, &opened);

    if (r < 0)
        return r;
    if (opened.recovered) {
        sim_cover(sim, COVER_HANDHELD_RECOVERED);
        sim_trace(sim, "handheld %u: store recovered, %llu records saved", handheld->number,
            (unsigned long long)opened.records_salvaged);
        if (!sim->was_damaged)
            sim_fail(sim, "the store of handheld %u had to be recovered though nothing was damaged",
                handheld->number);
    }
    (void)store_sweep(handheld->store, SWEEP_AGE_MS, &removed);
    r = rotate_load(handheld);
    return r < 0 ? r : agent_begin(handheld);
}

void daemon_start(struct sim *sim, struct handheld *handheld)
{
    uint64_t life;
    int r;

    handheld->life++;
    life = handheld->life;
    r = process_begin(sim, handheld);
    if (r < 0) {
        sim_trace(sim, "handheld %u: daemon does not start: %s", handheld->number, strerror(-r));
        if (!is_broken_off(handheld) && r != -ENOSPC && r != -EIO)
            sim_fail(sim, "the daemon of handheld %u does not start: %s", handheld->number, strerror(-r));
        process_end(sim, handheld);
        if (is_broken_off(handheld))
            daemon_after(sim, handheld);
        else
            daemon_start_later(sim, handheld, START_RETRY_MS);
        return;
    }
    sim_trace(sim, "handheld %u: daemon up", handheld->number);
    if (!is_broken_off(handheld))
        check_store_start(sim, handheld);
    agent_link(handheld->agent, handheld->link_up);
    link_check_no_wait(sim, handheld, "at the start of the daemon");
    daemon_after(sim, handheld);
    if (handheld->agent && handheld->life == life)
        sim_at(sim, engine_config_default().slow_poll_ms, run_poll, handheld, life);
}

void daemon_stop(struct sim *sim, struct handheld *handheld)
{
    process_end(sim, handheld);
    daemon_after(sim, handheld);
}

void handheld_power_cut(struct sim *sim, struct handheld *handheld)
{
    sim_disk_die(handheld->machine.disk);
    process_end(sim, handheld);
    sim_disk_crash(handheld->machine.disk);
    machine_boot(sim, &handheld->machine);
    sim_trace(sim, "handheld %u: power cut", handheld->number);
}

static void keep_wal_short(struct handheld *handheld)
{
    if (handheld->store && network_in_flight(handheld) == 0)
        (void)store_checkpoint_wal(handheld->store, false);
}

void daemon_after(struct sim *sim, struct handheld *handheld)
{
    struct sim_disk *disk = handheld->machine.disk;

    if (handheld->agent && !is_broken_off(handheld))
        keep_wal_short(handheld);
    if (sim_disk_is_dead(disk)) {
        sim_cover(sim, COVER_HANDHELD_POWER_CUT_AT_OPERATION);
        handheld_power_cut(sim, handheld);
        daemon_start_later(sim, handheld, sim_between(sim, SECOND_MS, 20 * MINUTE_MS));
    } else if (sim_disk_is_stopped(disk)) {
        sim_cover(sim, COVER_DAEMON_KILLED_AT_OPERATION);
        sim_trace(sim, "handheld %u: daemon killed", handheld->number);
        process_end(sim, handheld);
        sim_disk_end_stop(disk);
        daemon_start_later(sim, handheld, sim_between(sim, SECOND_MS, MINUTE_MS));
    } else if (handheld->store_is_damaged) {
        process_end(sim, handheld);
        daemon_start_later(sim, handheld, SECOND_MS);
    } else if (handheld->agent) {
        timer_follow(sim, handheld);
    }
}

/* ---- enrolment: on a good day, before the run begins ---- */

static void enrol_by_service(struct sim *sim, const struct enrol_request *request, const struct sign_key *key,
    struct buffer *ret_reply)
{
    struct service *service = sim->server.service;
    _cleanup_buffer_ struct buffer body = {0};
    struct service_reply reply = {0};
    struct service_job *job;

    if (enrol_request_encode(request, key, &body) < 0 ||
        service_prepare(service, SERVICE_ENROL, buffer_bytes(&body), &job) < 0)
        abort();
    if (service_commit(service, &job, 1) < 0)
        abort();
    service_answer(service, job, &reply);
    service_job_free(job);
    buffer_put_bytes(ret_reply, buffer_bytes(&reply.body));
    service_reply_done(&reply);
}

static void take_enrolment(struct handheld *handheld, const struct enrol_answer *answer)
{
    struct enrolment *enrolment = &handheld->enrolment;

    enrolment->server_url = strdup("http://centre.example");
    enrolment->authority = strdup("gridpatrol");
    enrolment->tenant = strdup("default");
    enrolment->name = strdup("");
    enrolment->inspector = strdup("");
    enrolment->certificate_len = answer->certificate.len;
    enrolment->certificate = malloc(answer->certificate.len);
    if (!enrolment->certificate)
        abort();
    memcpy(enrolment->certificate, answer->certificate.data, answer->certificate.len);
}

void handheld_enrol(struct sim *sim, struct handheld *handheld)
{
    const struct world *world = handheld->machine.world;
    struct enrol_request request = {.software = bytes_of_text("sim")};
    _cleanup_buffer_ struct buffer reply = {0}, plain = {0};
    _cleanup_arena_ struct arena arena = {0};
    struct enrol_answer answer;
    struct envelope envelope;
    char name[KEY_NAME_MAX + 1];
    struct sign_key key;

    if (files_make_directory(world, DATA_DIRECTORY) < 0 ||
        device_key_make(world, DATA_DIRECTORY, &request.device, handheld->device_seed) < 0 ||
        device_key_name("gridpatrol", "default", &request.device, name) < 0 ||
        service_token_make(sim->server.service, NULL, NULL, TOKEN_VALID_S, request.token) < 0)
        abort();
    sign_key_from_seed(name, handheld->device_seed, &key);
    memcpy(request.public_key, key.public.public_key, SIGN_PUBLIC_BYTES);
    enrol_by_service(sim, &request, &key, &reply);
    handheld->enrolment.device = request.device;
    handheld->enrolment.receipt_key = sim->server.receipt_key;
    if (envelope_parse(buffer_bytes(&reply), &envelope) < 0 ||
        envelope_open(&envelope, PAYLOAD_ENROL_ANSWER, sim->server.receipt_key.public_key,
            ENROLMENT_ANSWER_BYTES_MAX, &plain) < 0)
        abort();
    arena_init(&arena, arena_budget_for(plain.len));
    if (enrol_answer_decode(buffer_bytes(&plain), &arena, &answer) < 0)
        abort();
    take_enrolment(handheld, &answer);
    if (enrolment_write(world, DATA_DIRECTORY, &handheld->enrolment) < 0)
        abort();
}

/* ---- birth and death ---- */

void handheld_init(struct sim *sim, struct handheld *handheld, unsigned number)
{
    handheld->sim = sim;
    handheld->number = number;
    handheld->link_up = true;
    machine_init(sim, &handheld->machine, number == 0 ? "handheld" : "clone");
    handheld->is_metered = sim_chance(sim, 25);
    handheld->photo_age_ms = sim_chance(sim, 40) ? sim_between(sim, 10 * MINUTE_MS, 6 * HOUR_MS) : 0;
}

void handheld_done(struct sim *sim, struct handheld *handheld)
{
    if (!handheld->machine.disk)
        return;
    process_end(sim, handheld);
    enrolment_done(&handheld->enrolment);
    buffer_done(&handheld->carried);
    sim_disk_image_free(handheld->backup);
    machine_done(&handheld->machine);
}
