/* SPDX-License-Identifier: Apache-2.0 */
#include "syncd/daemon.h"

#include "base/files.h"
#include "base/log.h"
#include "base/rfc3339.h"
#include "syncd/control.h"
#include "syncd/lanes_object.h"
#include "syncd/link.h"
#include "syncd/metrics_file.h"
#include "syncd/metrics_text.h"
#include "syncd/network_kind.h"
#include "syncd/rotation.h"
#include "syncd/transport_worker.h"
#include "syncd/trust_time.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <sodium.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#define SWEEP_AGE_MS (UINT64_C(3600) * 1000)
#define TIMER_ACCURACY_US UINT64_C(50000)
#define POLL_ACCURACY_US UINT64_C(10000000)
#define ENROLMENT_AGAIN_MS UINT64_C(30000)

struct daemon {
    const struct world *world;
    const char *directory;
    const struct syncd_settings *settings;
    sd_event *event;
    sd_event_source *agent_timer, *poll_timer, *doorbell, *files;
    int lock;
    struct store *store;
    struct enrolment enrolment;
    bool enrolled;
    bool enrolment_is_unread; /* it could not be read: this must not last until its file changes */
    uint8_t seed[SIGN_SEED_BYTES];
    struct transport_worker *transport;
    struct agent *agent;
    struct control *control;
    struct link_watch *link;
    struct network_watch *network;
    struct metrics_file *metrics; /* NULL: none are wanted */
    int64_t started_wall_ms;
    enum network_metered metered;       /* as NetworkManager says */
    bool ca_changed;                    /* the network worker has still to be told */
    bool key_waits, key_is_unannounced; /* the next device key */
    char status_line[160];
};

static uint64_t now_ms(const struct daemon *daemon)
{
    return daemon->world->verbs->boot_ms(daemon->world->context);
}

/* ---- what the agent wants to be woken for ---- */

/* The poll mends what went wrong elsewhere, and nothing mends the poll: so it is never switched off. When it
 * cannot be set it is due at once, and tries again. */
static void poll_follow(struct daemon *daemon)
{
    uint64_t wait_ms = daemon->settings->slow_poll_ms;
    if (daemon->enrolment_is_unread && wait_ms > ENROLMENT_AGAIN_MS)
        wait_ms = ENROLMENT_AGAIN_MS;
    (void)sd_event_source_set_time_relative(daemon->poll_timer, wait_ms * 1000);
}

/* What cannot be set now is set after the next event, at the latest after the poll. */
static void timer_follow(struct daemon *daemon)
{
    uint64_t at = agent_next_timer_ms(daemon->agent);
    if (at == 0) {
        sd_event_source_set_enabled(daemon->agent_timer, SD_EVENT_OFF);
        return;
    }
    uint64_t now = now_ms(daemon);
    uint64_t wait_ms = at > now ? at - now : 0;
    if (sd_event_source_set_time_relative(daemon->agent_timer, wait_ms * 1000) >= 0)
        sd_event_source_set_enabled(daemon->agent_timer, SD_EVENT_ONESHOT);
}

static void status_tell(struct daemon *daemon)
{
    struct agent_status status;
    if (agent_status(daemon->agent, &status) < 0)
        return;
    char line[sizeof(daemon->status_line)];
    snprintf(line, sizeof(line), "STATUS=%llu records and %llu photos to send; %s",
        (unsigned long long)status.store.records_queued, (unsigned long long)status.store.photos_pending,
        status.engine.reason ? status.engine.reason : engine_wait_name(status.engine.wait));
    if (strcmp(line, daemon->status_line) == 0)
        return;
    strcpy(daemon->status_line, line);
    sd_notify(0, line);
}

/* At which certificates are verified. */
static void time_follow(struct daemon *daemon)
{
    transport_worker_set_time(daemon->transport, trust_time_now(daemon->world, daemon->store));
}

/* After every handler: the timer follows the engine; when all is quiet the WAL is moved and memory of the
 * burst is given back. */
static void after_event(struct daemon *daemon)
{
    timer_follow(daemon);
    control_changed(daemon->control);
    metrics_file_changed(daemon->metrics);
    if (transport_worker_busy(daemon->transport) > 0)
        return;
    if (daemon->ca_changed && daemon->enrolled) {
        daemon->ca_changed = false;
        transport_worker_set_server(daemon->transport, daemon->enrolment.server_url);
    }
    status_tell(daemon);
    int r = store_checkpoint_wal(daemon->store, false);
    if (r < 0 && r != -EBUSY)
        log_warning("the WAL could not be moved into the database (%s): tried again after the next change",
            strerror(-r));
}

static int on_agent_timer(sd_event_source *source, uint64_t usec, void *context)
{
    (void)source;
    (void)usec;
    struct daemon *daemon = context;
    agent_timer(daemon->agent);
    after_event(daemon);
    return 0;
}

static int on_doorbell(sd_event_source *source, int fd, uint32_t events, void *context)
{
    (void)source;
    (void)events;
    struct daemon *daemon = context;
    char ring[16];
    while (recv(fd, ring, sizeof(ring), MSG_DONTWAIT) >= 0)
        ;
    agent_store_changed(daemon->agent);
    after_event(daemon);
    return 0;
}

static void on_link(void *context, bool up)
{
    struct daemon *daemon = context;
    transport_worker_network_changed(daemon->transport);
    log_debug("the network changed: %s", up ? "an address is there" : "no address");
    agent_link(daemon->agent, up);
    after_event(daemon);
}

/* What the operator says comes before what NetworkManager says; without either it is not metered. */
static void network_tell(struct daemon *daemon)
{
    bool metered = daemon->settings->network == NETWORK_ALWAYS_METERED ||
                   (daemon->settings->network == NETWORK_AUTO && daemon->metered == METERED_YES);
    bool is_loopback = daemon->enrolled && url_is_loopback(daemon->enrolment.server_url);
    agent_network(daemon->agent, metered ? NETWORK_METERED : NETWORK_UNMETERED, is_loopback);
}

static void on_metered(void *context, enum network_metered metered)
{
    struct daemon *daemon = context;
    daemon->metered = metered;
    log_debug("NetworkManager says whether the network is metered: %s", metered == METERED_YES  ? "yes"
                                                                        : metered == METERED_NO ? "no"
                                                                                                : "nothing");
    network_tell(daemon);
    after_event(daemon);
}

static void on_online(void *context)
{
    struct daemon *daemon = context;
    log_debug("NetworkManager says that the network leads somewhere again");
    agent_online(daemon->agent);
    after_event(daemon);
}

/* ---- enrolment, at start and whenever its file changes ---- */

/* What the centre has said of its CAs takes the place of those that are pinned. What is in flight ends first.
 */
static int ca_write(struct daemon *daemon, struct bytes said)
{
    _cleanup_free_ char *path = files_join(daemon->directory, "ca.pem");
    struct buffer pinned _cleanup_buffer_ = {0};
    if (said.len == 0)
        return 0;
    if (!path)
        return -ENOMEM;
    int r = files_read(daemon->world, path, CA_PEM_BYTES_MAX, &pinned);
    if (r >= 0 && bytes_equal(buffer_bytes(&pinned), said))
        return 0;
    r = files_replace(daemon->world, path, said, false);
    daemon->ca_changed |= r >= 0;
    return r;
}

/* A death between the two is made good at the next start. */
static int on_trust(void *context, struct bytes list, struct bytes ca_pem)
{
    struct daemon *daemon = context;
    int r = enrolment_trust_write(daemon->world, daemon->directory, list);
    return r < 0 ? r : ca_write(daemon, ca_pem);
}

/* The change of enrolment.conf brings enrolment_load. */
static int on_certificate(void *context, struct bytes envelope, const uint8_t public_key[SIGN_PUBLIC_BYTES])
{
    struct daemon *daemon = context;
    return rotation_take(daemon->world, daemon->directory, &daemon->enrolment, envelope, public_key);
}

static void key_go_on(struct daemon *daemon)
{
    int r = rotation_go_on(
        daemon->world, daemon->directory, &daemon->enrolment, daemon->agent, &daemon->key_waits);
    if (r < 0)
        log_err("the next device key cannot be announced (%s): tried again", strerror(-r));
    daemon->key_is_unannounced = r < 0;
}

/* Only what stands in its files is mended by enrolling again. */
static void enrolment_complain(struct daemon *daemon, int error, const char *what)
{
    daemon->enrolment_is_unread = error != -EBADMSG && error != -ENOENT;
    if (daemon->enrolment_is_unread)
        log_err("the enrolment in %s cannot be read (%s): records are kept here; tried again",
            daemon->directory, what ? what : strerror(-error));
    else
        log_err("the enrolment in %s cannot be used (%s): records are kept here; run `patrol enroll` again",
            daemon->directory, what ? what : strerror(-error));
    poll_follow(daemon);
}

static void enrolment_load(struct daemon *daemon)
{
    struct enrolment fresh = {0};
    _cleanup_free_ char *error = NULL;
    int r = enrolment_read(daemon->world, daemon->directory, &fresh, &error);
    if (r == -ENOENT) {
        daemon->enrolment_is_unread = false;
        if (!daemon->enrolled)
            log_info("not enrolled yet: records are kept here until `patrol enroll TOKEN-URL` was run");
        return;
    }
    if (r >= 0)
        r = rotation_load(daemon->world, daemon->directory, &fresh, daemon->seed);
    if (r < 0) {
        enrolment_complain(daemon, r, error);
        enrolment_done(&fresh);
        return;
    }
    enrolment_done(&daemon->enrolment);
    daemon->enrolment = fresh;
    daemon->enrolled = true;
    time_follow(daemon);
    transport_worker_set_server(daemon->transport, daemon->enrolment.server_url);
    network_tell(daemon);
    r = agent_set_enrolment(daemon->agent, &daemon->enrolment, daemon->seed);
    daemon->enrolment_is_unread = r < 0;
    poll_follow(daemon);
    if (r < 0)
        log_err("the enrolment cannot be used now (%s): tried again", strerror(-r));
    else
        log_info("records go to %s", daemon->enrolment.server_url);
    r = ca_write(daemon, agent_trusted_cas(daemon->agent));
    if (r < 0)
        log_err("the centre's new CAs cannot be kept (%s): tried again at the next start", strerror(-r));
    key_go_on(daemon);
}

static int on_poll(sd_event_source *source, uint64_t usec, void *context)
{
    (void)source;
    (void)usec;
    struct daemon *daemon = context;
    if (daemon->network)
        network_watch_poll(daemon->network);
    if (daemon->enrolment_is_unread)
        enrolment_load(daemon);
    if (daemon->key_is_unannounced && daemon->enrolled)
        key_go_on(daemon);
    agent_poll(daemon->agent, trust_time_now(daemon->world, daemon->store).server_ms);
    after_event(daemon);
    if (transport_worker_busy(daemon->transport) == 0)
        malloc_trim(0);
    poll_follow(daemon);
    return 0;
}

static bool is_wal_file(const char *name)
{
    return strcmp(name, "queue.db-wal") == 0;
}

static bool is_database_file(const char *name)
{
    return strcmp(name, "queue.db") == 0 || is_wal_file(name) || strcmp(name, "queue.db-shm") == 0;
}

/* Someone deleted the database under us, or `patrol` found it damaged and set it aside: what is recorded now
 * goes into another file than the one that is open here. */
static int on_database_gone(struct daemon *daemon)
{
    log_err(
        "the database in %s was taken away while it was in use: ending, so that the next start opens what is "
        "there now",
        daemon->directory);
    return sd_event_exit(daemon->event, -EUCLEAN);
}

static int on_files(sd_event_source *source, const struct inotify_event *event, void *context)
{
    (void)source;
    struct daemon *daemon = context;
    if (event->len == 0)
        return 0;
    if ((event->mask & (IN_DELETE | IN_MOVED_FROM)) && is_database_file(event->name))
        return on_database_gone(daemon);
    /* Who has recorded rings, unless it was killed before it could: then the kernel closes its files. */
    if ((event->mask & IN_CLOSE_WRITE) && is_wal_file(event->name)) {
        agent_store_changed(daemon->agent);
        after_event(daemon);
        return 0;
    }
    if (!(event->mask & (IN_MOVED_TO | IN_CLOSE_WRITE)) || strcmp(event->name, "enrolment.conf") != 0)
        return 0;
    enrolment_load(daemon);
    agent_sync_now(daemon->agent);
    after_event(daemon);
    return 0;
}

/* ---- answers of the network ---- */

static void on_response(void *context, uint32_t slot, const struct http_response *response)
{
    struct daemon *daemon = context;
    agent_response(daemon->agent, slot, response);
    time_follow(daemon);
    after_event(daemon);
}

static void on_failed(void *context, uint32_t slot, enum engine_failure failure, const char *detail)
{
    struct daemon *daemon = context;
    log_info("a request did not come through (%s): it is tried again", detail);
    time_follow(daemon);
    agent_failed(daemon->agent, slot, failure);
    after_event(daemon);
}

/* The network worker has ended: from now on as little as possible is kept. */
static void on_rested(void *context)
{
    (void)context;
    malloc_trim(0);
}

static void on_lost(void *context)
{
    metrics_file_changed(((struct daemon *)context)->metrics);
}

static int metrics_compose(void *context, struct buffer *ret)
{
    struct daemon *daemon = context;
    struct transport_worker_counts workers = transport_worker_counted(daemon->transport);
    struct agent_status status;
    int r = agent_status(daemon->agent, &status);
    if (r < 0)
        return r;
    metrics_text(
        &(struct metrics_state){
            .status = &status,
            .link_is_up = daemon->link && link_watch_is_up(daemon->link),
            .workers_started = workers.started,
            .workers_lost = workers.lost,
            .started_wall_ms = daemon->started_wall_ms,
        },
        ret);
    return 0;
}

/* ---- what the agent tells ---- */

static void on_changed(void *context)
{
    struct daemon *daemon = context;
    if (daemon->control)
        control_changed(daemon->control);
}

static void on_sync_done(void *context, bool ok)
{
    struct daemon *daemon = context;
    struct agent_status status = {0};
    bool refused = agent_status(daemon->agent, &status) >= 0 && status.engine.refused;
    if (daemon->control)
        control_sync_done(daemon->control, ok, refused, ok ? NULL : status.engine.reason);
}

static void on_resync_done(void *context, const struct resync_report *report)
{
    struct daemon *daemon = context;
    log_info(
        "resync (%s): %llu records and %llu photos checked, %llu and %llu sent again, %llu and %llu in neither place",
        audit_level_name(report->level), (unsigned long long)report->records_checked,
        (unsigned long long)report->blobs_checked, (unsigned long long)report->records_sent_again,
        (unsigned long long)report->blobs_sent_again, (unsigned long long)report->records_gone,
        (unsigned long long)report->blobs_gone);
    struct agent_status status;
    bool refused = report->failed && agent_status(daemon->agent, &status) >= 0 && status.engine.refused;
    if (daemon->control)
        control_resync_done(daemon->control, report, refused);
}

static void on_alarm(void *context, const char *text)
{
    (void)context;
    log_err("%s", text);
}

/* What was never sent is damaged on this disk: a fresh start opens the store again and recovers it. */
static void on_store_damaged(void *context)
{
    struct daemon *daemon = context;
    log_err("records in %s are damaged: ending, so that the next start recovers them", daemon->directory);
    sd_event_exit(daemon->event, -EUCLEAN);
}

static void on_note(void *context, int level, const char *text)
{
    (void)context;
    log_message((enum log_level)level, "%s", text);
}

/* ---- what the control socket asks ---- */

static json_t *time_or_null(int64_t unix_ms)
{
    if (unix_ms <= 0)
        return json_null();
    char text[RFC3339_LEN + 1];
    rfc3339_format(unix_ms, 0, text);
    return json_string(text);
}

static json_t *control_status(void *context)
{
    struct daemon *daemon = context;
    struct agent_status status;
    if (agent_status(daemon->agent, &status) < 0)
        return NULL;
    char device[UUID_TEXT_LEN + 1] = "";
    if (daemon->enrolled)
        text_uuid(daemon->enrolment.device.b, device);
    uint64_t now = now_ms(daemon), next = status.engine.next_attempt_ms;
    json_t *resync = status.resync.finished || status.engine.resync_running
                         ? control_resync_object(&status.resync)
                         : json_null();
    return json_pack(
        "{s:b, s:s, s:s?, s:b, s:s, s:s?, s:I, s:I, s:b, s:s?, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, "
        "s:I, s:o, s:s, s:o, s:b}",
        "enrolled", (int)daemon->enrolled, "device", device, "server_url",
        daemon->enrolled ? daemon->enrolment.server_url : NULL, "link",
        (int)(daemon->link ? link_watch_is_up(daemon->link) : false), "wait",
        engine_wait_name(status.engine.wait), "reason", status.engine.reason, "next_attempt_in_ms",
        (json_int_t)(next > now ? next - now : 0), "failures", (json_int_t)status.engine.failures_in_row,
        "refused", (int)status.engine.refused, "last_failure", status.last_failure, "last_answer_at",
        time_or_null(status.last_answer_wall_ms), "last_server_time",
        time_or_null(status.last_server_time_ms), "records_queued", (json_int_t)status.store.records_queued,
        "records_sent", (json_int_t)status.store.records_sent, "records_quarantined",
        (json_int_t)status.store.records_quarantined, "photos_pending",
        (json_int_t)status.store.photos_pending, "bytes_pending", (json_int_t)status.store.bytes_pending,
        "all_acknowledged", (int)status.all_acknowledged, "exchanges", (json_int_t)status.exchanges,
        "bytes_up", (json_int_t)status.bytes_up, "bytes_down", (json_int_t)status.bytes_down, "resync",
        resync, "network", engine_network_name(status.engine.network), "lanes", lanes_object(&status, now),
        "key_waits", (int)daemon->key_waits);
}

static void control_sync_now(void *context)
{
    struct daemon *daemon = context;
    agent_sync_now(daemon->agent);
    after_event(daemon);
}

static int control_resync(void *context, enum audit_level level)
{
    struct daemon *daemon = context;
    if (!daemon->enrolled)
        return -ENOTCONN;
    int r = agent_resync(daemon->agent, level);
    after_event(daemon);
    return r;
}

static void control_pause(void *context, bool paused)
{
    struct daemon *daemon = context;
    agent_pause(daemon->agent, paused);
    after_event(daemon);
}

static int control_bundle_begin(
    void *context, uint8_t ret_bundle[REQUEST_ID_BYTES], struct buffer *ret_envelope)
{
    return agent_bundle_begin(((struct daemon *)context)->agent, ret_bundle, ret_envelope);
}

static int control_bundle_part(
    void *context, const struct uuid *log, uint64_t first_seq, struct buffer *ret_envelope, uint64_t *ret_end)
{
    return agent_bundle_part(((struct daemon *)context)->agent, log, first_seq, ret_envelope, ret_end);
}

static int control_receipts(void *context, struct bytes envelope, bool check_only, struct agent_receipts *ret)
{
    struct daemon *daemon = context;
    int r = agent_take_receipts(daemon->agent, envelope, check_only, ret);
    after_event(daemon);
    return r;
}

static int control_rotate_key(void *context, bool *ret_waited)
{
    struct daemon *daemon = context;
    if (!daemon->enrolled)
        return -ENOTCONN;
    int r = rotation_begin(daemon->world, daemon->directory, &daemon->enrolment, daemon->agent, ret_waited);
    daemon->key_is_unannounced = r < 0; /* its file may be there */
    if (r < 0)
        return r;
    daemon->key_waits = true;
    control_sync_now(daemon);
    return 0;
}

static bool control_enrolled(void *context)
{
    return ((struct daemon *)context)->enrolled;
}

/* ---- start-up, in order ---- */

static int lock_take(struct daemon *daemon)
{
    const struct world_verbs *verbs = daemon->world->verbs;
    _cleanup_free_ char *path = files_join(daemon->directory, "syncd.lock");
    if (!path)
        return -ENOMEM;
    daemon->lock = verbs->lock_open(daemon->world->context, path);
    return daemon->lock < 0 ? daemon->lock : verbs->try_lock(daemon->world->context, daemon->lock);
}

static int store_start(struct daemon *daemon)
{
    struct store_opened opened;
    int r = store_open(daemon->world, daemon->directory, STORE_DAEMON, &daemon->store, &opened);
    if (r < 0)
        return r;
    if (opened.recovered)
        log_err(
            "the database was damaged or gone: it was set aside in %s, %llu records were saved into a new log",
            opened.set_aside[0] ? opened.set_aside : "(nothing was left)",
            (unsigned long long)opened.records_salvaged);
    uint64_t removed = 0;
    r = store_sweep(daemon->store, SWEEP_AGE_MS, &removed);
    if (r < 0)
        log_warning("left-over photo files could not be swept (%s)", strerror(-r));
    else if (removed > 0)
        log_info("%llu left-over photo files were removed", (unsigned long long)removed);
    return 0;
}

static int agent_begin(struct daemon *daemon)
{
    const struct transport_worker_listener network = {.response = on_response,
        .failed = on_failed,
        .rested = on_rested,
        .lost = on_lost,
        .context = daemon};
    _cleanup_free_ char *ca_path = files_join(daemon->directory, "ca.pem");
    if (!ca_path)
        return -ENOMEM;
    const struct transport_worker_options worker = {.world = daemon->world, .ca_path = ca_path};
    int r = transport_worker_new(daemon->event, &worker, &network, &daemon->transport);
    if (r < 0)
        return r;
    struct agent_options options = {
        .world = daemon->world,
        .store = daemon->store,
        .engine = engine_config_default(),
        .photo_age_ms = daemon->settings->photo_age_ms,
        .records_age_ms = daemon->settings->records_age_ms,
        .transport = transport_worker_verbs(daemon->transport),
        .listener = {.changed = on_changed,
            .sync_done = on_sync_done,
            .resync_done = on_resync_done,
            .alarm = on_alarm,
            .store_damaged = on_store_damaged,
            .trust = on_trust,
            .certificate = on_certificate,
            .note = on_note,
            .context = daemon},
    };
    options.engine.backoff_min_ms = daemon->settings->backoff_min_ms;
    options.engine.backoff_max_ms = daemon->settings->backoff_max_ms;
    options.engine.slow_poll_ms = daemon->settings->slow_poll_ms;
    options.engine.answer_deadline_ms = daemon->settings->answer_deadline_ms;
    options.engine.self_audit_ms = daemon->settings->self_audit_ms;
    memcpy(options.engine.budget_bytes, daemon->settings->budget_bytes, sizeof(options.engine.budget_bytes));
    r = agent_new(&options, &daemon->agent);
    if (r < 0)
        return r;
    r = sd_event_add_time_relative(
        daemon->event, &daemon->agent_timer, CLOCK_BOOTTIME, 0, TIMER_ACCURACY_US, on_agent_timer, daemon);
    if (r < 0)
        return r;
    return sd_event_source_set_enabled(daemon->agent_timer, SD_EVENT_OFF);
}

static int doorbell_listen(struct daemon *daemon)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int len = snprintf(address.sun_path, sizeof(address.sun_path), "%s/doorbell.sock", daemon->directory);
    if (len < 0 || (size_t)len >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    unlink(address.sun_path);
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || chmod(address.sun_path, 0660) < 0)
        return -errno;
    int r = sd_event_add_io(daemon->event, &daemon->doorbell, fd, EPOLLIN, on_doorbell, daemon);
    if (r < 0)
        return r;
    sd_event_source_set_io_fd_own(daemon->doorbell, 1);
    take_fd(&fd);
    return 0;
}

static int metrics_begin(struct daemon *daemon)
{
    const struct metrics_file_options options = {
        .world = daemon->world,
        .path = daemon->settings->metrics_path,
        .interval_ms = daemon->settings->metrics_interval_ms,
        .compose = metrics_compose,
        .context = daemon,
    };
    daemon->started_wall_ms = daemon->world->verbs->wall_ms(daemon->world->context);
    return options.path ? metrics_file_new(daemon->event, &options, &daemon->metrics) : 0;
}

static int ears_open(struct daemon *daemon)
{
    int r = doorbell_listen(daemon);
    if (r < 0)
        return r;
    const struct control_listener listener = {
        .status = control_status,
        .sync_now = control_sync_now,
        .resync = control_resync,
        .pause = control_pause,
        .bundle_begin = control_bundle_begin,
        .bundle_part = control_bundle_part,
        .receipts = control_receipts,
        .rotate_key = control_rotate_key,
        .enrolled = control_enrolled,
        .context = daemon,
    };
    _cleanup_free_ char *path = files_join(daemon->directory, CONTROL_SOCKET_NAME);
    r = path ? control_new(daemon->event, path, &listener, &daemon->control) : -ENOMEM;
    if (r < 0)
        return r;
    r = sd_event_add_inotify(daemon->event, &daemon->files, daemon->directory,
        IN_MOVED_TO | IN_CLOSE_WRITE | IN_MOVED_FROM | IN_DELETE, on_files, daemon);
    if (r < 0)
        return r;
    r = link_watch_new(daemon->event, on_link, daemon, &daemon->link);
    if (r < 0)
        log_warning("the network cannot be watched (%s): attempts go by time alone", strerror(-r));
    else if (!link_watch_is_up(daemon->link))
        agent_link(daemon->agent, false);
    const struct network_listener network = {.metered = on_metered, .online = on_online, .context = daemon};
    r = network_watch_new(daemon->event, &network, &daemon->network);
    if (r < 0)
        return r;
    r = metrics_begin(daemon);
    if (r < 0)
        return r;
    r = sd_event_add_time_relative(daemon->event, &daemon->poll_timer, CLOCK_BOOTTIME,
        daemon->settings->slow_poll_ms * 1000, POLL_ACCURACY_US, on_poll, daemon);
    return r < 0 ? r : sd_event_source_set_enabled(daemon->poll_timer, SD_EVENT_ON);
}

static int signals_take(struct daemon *daemon)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -errno;
    int r = sd_event_add_signal(daemon->event, NULL, SIGTERM, NULL, NULL);
    return r < 0 ? r : sd_event_add_signal(daemon->event, NULL, SIGINT, NULL, NULL);
}

static enum exit_status cannot_start(const struct daemon *daemon, int r)
{
    if (r == -EWOULDBLOCK)
        log_err("another patrol-syncd works on %s already: stop it first", daemon->directory);
    else if (r == -EPROTONOSUPPORT)
        log_err("the database in %s was made by a newer gridpatrol: install that version", daemon->directory);
    else if (r == -ENAMETOOLONG)
        log_err(
            "the path %s is too long for its sockets (107 bytes): use a shorter --data", daemon->directory);
    else
        log_err("cannot start on %s: %s", daemon->directory, strerror(-r));
    return r == -ENOSPC ? EXIT_STATUS_NO_SPACE : EXIT_STATUS_FAILED;
}

static int start(struct daemon *daemon)
{
    int r = files_make_directory(daemon->world, daemon->directory);
    if (r < 0 && r != -EEXIST)
        return r;
    if ((r = lock_take(daemon)) < 0 || (r = store_start(daemon)) < 0 ||
        (r = sd_event_new(&daemon->event)) < 0 || (r = signals_take(daemon)) < 0 ||
        (r = agent_begin(daemon)) < 0 || (r = ears_open(daemon)) < 0)
        return r;
    time_follow(daemon);
    enrolment_load(daemon);
    (void)sd_event_set_watchdog(daemon->event, 1);
    r = agent_start(daemon->agent);
    if (r < 0)
        return r;
    /* All may have been sent and its answer be lost: then nothing but this would bring the certificate. */
    if (daemon->key_waits)
        agent_sync_now(daemon->agent);
    after_event(daemon);
    return 0;
}

static void stop(struct daemon *daemon)
{
    metrics_file_free(daemon->metrics);
    network_watch_free(daemon->network);
    link_watch_free(daemon->link);
    control_free(daemon->control);
    sd_event_source_disable_unref(daemon->files);
    sd_event_source_disable_unref(daemon->doorbell);
    sd_event_source_disable_unref(daemon->poll_timer);
    sd_event_source_disable_unref(daemon->agent_timer);
    agent_free(daemon->agent);
    transport_worker_free(daemon->transport);
    store_free(daemon->store);
    enrolment_done(&daemon->enrolment);
    sodium_memzero(daemon->seed, sizeof(daemon->seed));
    if (daemon->lock >= 0)
        daemon->world->verbs->lock_close(daemon->world->context, daemon->lock);
    sd_event_unref(daemon->event);
}

enum exit_status daemon_run(
    const struct world *world, const char *directory, const struct syncd_settings *settings)
{
    struct daemon daemon = {.world = world, .directory = directory, .settings = settings, .lock = -1};
    int r = start(&daemon);
    enum exit_status status = EXIT_STATUS_DONE;
    if (r < 0) {
        status = cannot_start(&daemon, r);
    } else {
        sd_notify(0, "READY=1");
        r = sd_event_loop(daemon.event);
        sd_notify(0, "STOPPING=1");
        if (r < 0) {
            status = EXIT_STATUS_FAILED;
            if (r != -EUCLEAN) /* that one was told where it was found */
                log_err("the event loop failed (%s): what was recorded stays queued", strerror(-r));
        }
    }
    stop(&daemon);
    return status;
}
