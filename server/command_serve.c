/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `patrol-server serve`: the server's whole life, in the order of its start.
 *
 *   signals blocked, options checked, certificate read
 *   DATA made and locked (flock on the directory itself: it needs no file and ends with the process)
 *   address bound: now the real port is known; storage opened; DATA/serve.conf written
 *   only now it listens, so that whoever can connect can also have a token
 *   ... until SIGTERM or SIGINT: accepts no more, answers what is in flight, commits what is queued
 */
#include "base/files.h"
#include "base/log.h"
#include "server/commands.h"
#include "server/http/clock.h"
#include "server/http/listener.h"
#include "server/listen_address.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#define SWEEP_EVERY_MS 1000u
#define LISTEN_BACKLOG 1024
#define THREADS_MAX 16u
#define DESCRIPTORS_BESIDE_CONNECTIONS 256u

struct serving {
    const struct command_run *run;
    int data_fd;   /* holds the lock */
    int listen_fd; /* -1 once the listener has it */
    char url[URL_BYTES_MAX];
    bool has_tls;
    struct tls tls;
    struct service *service;
    struct writer *writer;
    struct listener *listener;
};

static void serving_done(struct serving *serving)
{
    listener_free(serving->listener);
    writer_free(serving->writer);
    service_free(serving->service);
    tls_done(&serving->tls);
    cleanup_close(&serving->listen_fd);
    cleanup_close(&serving->data_fd);
}

static const char *first_of(const char *option, const char *configured)
{
    return option ? option : configured;
}

/* ---- the steps of the start; each returns an exit status after its message ---- */

static int load_tls(struct serving *serving, const struct listen_address *address)
{
    const struct command_run *run = serving->run;
    const char *cert = first_of(run->options.tls_cert, run->config.tls_cert);
    const char *key = first_of(run->options.tls_key, run->config.tls_key);
    _cleanup_free_ char *error = NULL;

    if (!cert != !key)
        return command_fail(EXIT_STATUS_USAGE,
            "%s is given without %s: give both, or neither on a loopback address",
            cert ? "--tls-cert" : "--tls-key", cert ? "--tls-key" : "--tls-cert");
    if (!cert) {
        if (!listen_address_is_loopback(address))
            return command_fail(EXIT_STATUS_USAGE,
                "listen: without a certificate only a loopback address is served; give --tls-cert FILE and "
                "--tls-key FILE, or --listen 127.0.0.1:PORT");
        return EXIT_STATUS_DONE;
    }
    int r = tls_load(cert, key, &serving->tls, &error);
    if (r < 0)
        return command_fail(
            r == -EINVAL ? EXIT_STATUS_USAGE : EXIT_STATUS_FAILED, "%s", error ? error : strerror(-r));
    serving->has_tls = true;
    if (serving->tls.expires_ms < world_posix()->verbs->wall_ms(NULL))
        log_warning(
            "the server's certificate has expired: handhelds that have been in contact since will refuse "
            "it; put a new one into %s",
            cert);
    return EXIT_STATUS_DONE;
}

static int lock_data(struct serving *serving)
{
    const char *directory = serving->run->directory;

    int r = files_make_directory(world_posix(), directory);
    if (r < 0)
        return command_fail(command_status_of(r), "%s: %s%s", directory, strerror(-r), command_advice_of(r));
    serving->data_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (serving->data_fd < 0)
        return command_fail(EXIT_STATUS_FAILED, "%s: %s", directory, strerror(errno));
    if (flock(serving->data_fd, LOCK_EX | LOCK_NB) == 0)
        return EXIT_STATUS_DONE;
    return command_fail(EXIT_STATUS_FAILED,
        "%s: another patrol-server serve uses it; stop that one, or give --data", directory);
}

/* What may help when an address cannot be bound. */
static const char *bind_advice(int error)
{
    switch (error) {
    case EADDRINUSE:
        return "; another program listens there: stop it, or choose another port";
    case EADDRNOTAVAIL:
        return "; give an address of this machine";
    case EACCES:
        return "; ports below 1024 need root or CAP_NET_BIND_SERVICE: choose another port";
    }
    return "";
}

static int bind_address(struct serving *serving, struct listen_address *address)
{
    const char *text = first_of(serving->run->options.listen, serving->run->config.listen);
    int yes = 1;

    serving->listen_fd = socket(address->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (serving->listen_fd < 0 ||
        setsockopt(serving->listen_fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ||
        bind(serving->listen_fd, (const struct sockaddr *)&address->socket, address->socket_len) < 0)
        return command_fail(
            EXIT_STATUS_FAILED, "listen: %s: %s%s", text, strerror(errno), bind_advice(errno));
    address->socket_len = sizeof(address->socket);
    if (getsockname(serving->listen_fd, (struct sockaddr *)&address->socket, &address->socket_len) < 0)
        return command_fail(EXIT_STATUS_FAILED, "listen: %s: %s", text, strerror(errno));
    return EXIT_STATUS_DONE;
}

static int check_public_url(struct serving *serving)
{
    const char *given = first_of(serving->run->options.public_url, serving->run->config.public_url);
    const char *reason;

    if (given && server_url_parse(given, serving->url, &reason) < 0)
        return command_fail(EXIT_STATUS_USAGE, "public-url: %s: %s", given, reason);
    return EXIT_STATUS_DONE;
}

/* Only once the port is known. */
static int decide_url(struct serving *serving, const struct listen_address *address)
{
    _cleanup_free_ char *own = NULL;
    const char *reason;

    if (serving->url[0])
        return EXIT_STATUS_DONE;
    if (listen_address_url(address, serving->has_tls, &own) < 0)
        return command_fail(EXIT_STATUS_FAILED, "out of memory");
    if (listen_address_is_any(address))
        log_warning("no --public-url: tokens will name this machine as %s", own);
    if (server_url_parse(own, serving->url, &reason) < 0)
        return command_fail(EXIT_STATUS_USAGE, "public-url: %s: %s; give one", own, reason);
    return EXIT_STATUS_DONE;
}

/* What handhelds were told to trust has to vouch for what they are shown. */
static void check_ca_is_said(const struct serving *serving)
{
    struct bytes said = service_cas_said(serving->service);
    const char *own = serving->tls.ca_pem;

    if (!own || said.len == 0 || memmem(said.data, said.len, own, strlen(own)))
        return;
    log_warning(
        "handhelds trust other CAs than the one of this certificate, and will refuse it: use a certificate "
        "of one of those, or say the new one with: " SERVER_PROGRAM " key ca FILE");
}

static int listen_and_tell_url(struct serving *serving)
{
    char ca[SHA256_TEXT_LEN + 1];
    const struct serve_file file = {
        .url = serving->url,
        .ca_sha256 = serving->has_tls ? ca : NULL,
        .pid = (uint64_t)getpid(),
    };

    /* Whoever knows the URL may come at once: what comes before the threads run waits in the backlog. */
    if (listen(serving->listen_fd, LISTEN_BACKLOG) < 0)
        return command_fail(EXIT_STATUS_FAILED, "listen: %s", strerror(errno));
    text_hex(serving->tls.ca_sha256.b, SHA256_BYTES, ca);
    int r = serve_file_write(serving->run->directory, &file);
    if (r < 0)
        return command_fail(command_status_of(r), "%s/serve.conf: %s", serving->run->directory, strerror(-r));
    return EXIT_STATUS_DONE;
}

static unsigned thread_count(const struct server_config *config)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t wanted = config->threads;
    if (wanted == 0)
        wanted = processors < 2 ? 2 : (uint64_t)processors;
    return (unsigned)(wanted > THREADS_MAX ? THREADS_MAX : wanted);
}

/* One address, whatever it does, leaves connections to the others. */
static unsigned connections_per_address(const struct server_config *config)
{
    uint64_t wanted = config->connections_per_address_max;
    return (unsigned)(wanted > 0 ? wanted : config->connections_max / 2);
}

/* As many descriptors as connections may be open, as far as the hard limit allows. */
static void raise_descriptor_limit(uint64_t connections_max)
{
    struct rlimit limit;
    rlim_t wanted = connections_max + DESCRIPTORS_BESIDE_CONNECTIONS;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
        return;
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur < wanted)
        log_warning("only %" PRIu64 " descriptors are allowed: fewer connections than configured",
            (uint64_t)limit.rlim_cur);
}

static int start_listening(struct serving *serving)
{
    const struct server_config *config = &serving->run->config;
    unsigned threads = thread_count(config);

    raise_descriptor_limit(config->connections_max);
    service_limit_audits(serving->service, threads - 1); /* of one thread the audit has it */
    service_set_limits(serving->service, &config->quota, config->requests_per_second);
    int r = writer_start(serving->service, &serving->writer);
    if (r < 0)
        return command_fail(EXIT_STATUS_FAILED, "the writer did not start: %s", strerror(-r));
    const struct listener_options options = {
        .service = serving->service,
        .writer = serving->writer,
        .fd = serving->listen_fd,
        .tls = serving->has_tls ? &serving->tls : NULL,
        .threads = threads,
        .connections_max = (unsigned)config->connections_max,
        .connections_per_address_max = connections_per_address(config),
        .limits =
            {
                .header_ms = config->header_timeout_ms,
                .idle_ms = config->idle_timeout_ms,
                .stall_ms = config->stall_timeout_ms,
                .grace_ms = config->body_grace_ms,
                .rate_bytes_min = config->body_rate_min,
            },
        .rates =
            {
                .device_requests = config->device_requests_per_minute,
                .device_bytes = config->device_bytes_per_minute,
                .address_unproven = config->unproven_requests_per_minute,
            },
        .memory_bytes_max = config->memory_max,
        .metrics_off = strcmp(config->metrics, "off") == 0,
        .metrics_to_all = strcmp(config->metrics, "all") == 0,
    };
    r = listener_start(&options, &serving->listener);
    if (r < 0)
        return command_fail(
            EXIT_STATUS_FAILED, "the HTTP server did not start: GRIDPATROL_LOG=debug says why");
    serving->listen_fd = -1;
    return EXIT_STATUS_DONE;
}

static int start(struct serving *serving)
{
    const struct command_run *run = serving->run;
    const char *listen_text = first_of(run->options.listen, run->config.listen);
    struct listen_address address;
    const char *reason;

    if (!listen_text)
        return command_fail(EXIT_STATUS_USAGE, "serve: say where: --listen ADDRESS:PORT");
    if (listen_address_parse(listen_text, &address, &reason) < 0)
        return command_fail(EXIT_STATUS_USAGE, "listen: %s: %s", listen_text, reason);

    int status = check_public_url(serving);
    if (status == EXIT_STATUS_DONE)
        status = load_tls(serving, &address);
    if (status == EXIT_STATUS_DONE)
        status = lock_data(serving);
    if (status == EXIT_STATUS_DONE)
        status = bind_address(serving, &address);
    if (status == EXIT_STATUS_DONE)
        status = decide_url(serving, &address);
    if (status == EXIT_STATUS_DONE)
        status = command_open(run, COMMAND_SERVES, bytes_of_text(serving->tls.ca_pem), &serving->service);
    if (status == EXIT_STATUS_DONE)
        check_ca_is_said(serving);
    if (status == EXIT_STATUS_DONE)
        status = listen_and_tell_url(serving);
    if (status == EXIT_STATUS_DONE)
        status = start_listening(serving);
    return status;
}

/* ---- running and stopping ---- */

static void run_until_told(struct serving *serving, const sigset_t *signals)
{
    const struct timespec sweep = {
        .tv_sec = SWEEP_EVERY_MS / 1000u, .tv_nsec = SWEEP_EVERY_MS % 1000u * 1000000};

    for (;;) {
        int number = sigtimedwait(signals, NULL, &sweep);
        if (number > 0) {
            log_info("%s: stopping", number == SIGTERM ? "SIGTERM" : "SIGINT");
            return;
        }
        listener_sweep(serving->listener);
    }
}

/* Lets requests in flight end, for a bounded time; a second signal ends the patience. */
static void stop(struct serving *serving, const sigset_t *signals)
{
    const struct timespec look = {.tv_nsec = 10 * 1000000};
    uint64_t until_ms = clock_now_ms() + serving->run->config.stop_timeout_ms;

    listener_quiesce(serving->listener);
    writer_hold_no_more(serving->writer);
    while (listener_requests_in_flight(serving->listener) > 0 && clock_now_ms() < until_ms) {
        if (sigtimedwait(signals, NULL, &look) > 0)
            break;
        listener_sweep(serving->listener);
    }
    uint64_t left = listener_requests_in_flight(serving->listener);
    if (left > 0)
        log_warning("%" PRIu64 " requests were still in flight and are cut: they will be sent again", left);
    writer_stop(serving->writer);
}

int command_serve(const struct command_run *run)
{
    _cleanup_(serving_done) struct serving serving = {.run = run, .data_fd = -1, .listen_fd = -1};
    sigset_t signals;

    if (run->argument_count > 0)
        return command_fail(EXIT_STATUS_USAGE, "serve: takes no argument; see %s --help", SERVER_PROGRAM);
    signal(SIGPIPE, SIG_IGN);
    umask(0007);
    prctl(PR_SET_DUMPABLE, 0); /* keys are in memory */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    /* Before any thread is made: all inherit it, and only this one waits for them. */
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    int status = start(&serving);
    if (status != EXIT_STATUS_DONE)
        return status;
    log_info("serving %s at %s%s", run->directory, serving.url, serving.has_tls ? "" : " (plain HTTP)");
    sd_notifyf(0, "READY=1\nSTATUS=Serving at %s", serving.url);
    run_until_told(&serving, &signals);
    sd_notify(0, "STOPPING=1\nSTATUS=Finishing requests in flight");
    stop(&serving, &signals);
    log_info("stopped");
    return EXIT_STATUS_DONE;
}
