/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lab's link: joins two network namespaces by a TUN device in each, and carries packets between them as
 * two link models say, one for each direction ("up" is from the handheld to the centre).
 *
 *   lab_link --handheld NETNS --centre NETNS [--device NAME] [--seed N]      NETNS: a file of /run/netns
 *
 * Makes both devices, says its state, then answers commands: one line of JSON each on stdin and stdout.
 *
 *   C → L  {"command": "set", "direction": "up", "rate_bps": 256000, "delay_ms": 150, "loss": 0.01,
 *           "queue_bytes": 32768}                           what is not named stays; direction "both" also
 *   C → L  {"command": "outage", "kind": "silent"}          drops everything; "seen": takes the handheld's
 *                                                           interface down too; "none": ends it
 *   C → L  {"command": "schedule", "every_ms": 20000, "for_ms": 5000, "kind": "silent"}      every_ms 0: none
 *   C → L  {"command": "counters"}
 *   L → C  {"now_ns": …, "outage": "none", "outages": …, "up": {…}, "down": {…}}, or {"error": "why"}
 *
 * Ends when stdin does; the devices go with it. Exit status 77 when the system allows no TUN device.
 */
#include "base/command_line.h"
#include "tests/lab/link_model.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <time.h>

#define NS_PER_MS 1000000.0
#define COMMAND_LEN_MAX 4096u
#define PACKETS_A_TURN_MAX 64u
#define EXIT_STATUS_SKIP 77
#define SCHEDULE_MS_MAX 86400000.0

enum end { HANDHELD, CENTRE };
enum outage { OUTAGE_NONE, OUTAGE_SILENT, OUTAGE_SEEN };

static const char *const outage_names[] = {"none", "silent", "seen"};
static const char *const direction_names[] = {"up", "down"};

struct options {
    const char *handheld, *centre, *device, *seed;
};

struct link;

struct side {
    struct link *link;
    int tun, control;         /* the control socket is one of the side's namespace */
    struct link_model *model; /* of what leaves this side */
};

struct link {
    sd_event *event;
    sd_event_source *timer;
    const char *device;
    struct side sides[2];
    struct link_schedule schedule;
    enum outage commanded, schedule_kind, scheduled, outage;
    uint64_t outages, settled_ns;
    char command[COMMAND_LEN_MAX];
    size_t command_len;
};

static void complain(const char *what, int error)
{
    fprintf(stderr, "lab_link: %s: %s\n", what, strerror(error));
}

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- packets ---- */

/* Hands over all that has arrived by then. A far interface that is down does not take it. */
static void deliver(struct side *from, const struct side *to, uint64_t at_ns)
{
    struct bytes packet;

    while (link_model_arrived(from->model, at_ns, &packet))
        link_model_pass(from->model, write(to->tun, packet.data, packet.len) == (ssize_t)packet.len);
}

static void deliver_both(struct link *link, uint64_t at_ns)
{
    deliver(&link->sides[HANDHELD], &link->sides[CENTRE], at_ns);
    deliver(&link->sides[CENTRE], &link->sides[HANDHELD], at_ns);
}

static int set_interface(const struct link *link, bool up)
{
    struct ifreq request = {0};
    int control = link->sides[HANDHELD].control;

    strcpy(request.ifr_name, link->device);
    if (ioctl(control, SIOCGIFFLAGS, &request) < 0)
        return -errno;
    request.ifr_flags = (short)(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    return ioctl(control, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

/* The one door for outages: commanded and scheduled ones overlap, and the more visible one wins. */
static int enter_outage(struct link *link, uint64_t at_ns)
{
    enum outage old = link->outage;
    enum outage new = link->commanded > link->scheduled ? link->commanded : link->scheduled;
    int r = 0;

    link->outage = new;
    if (old == OUTAGE_NONE && new != OUTAGE_NONE)
        link->outages++;
    for (enum end end = HANDHELD; end <= CENTRE; end++)
        link_model_cut(link->sides[end].model, at_ns, new != OUTAGE_NONE);
    if ((old == OUTAGE_SEEN) != (new == OUTAGE_SEEN))
        r = set_interface(link, new != OUTAGE_SEEN);
    if (r < 0)
        complain(link->device, -r);
    return r;
}

/* All that was to happen by now happens, in its order: arrivals, and outages that begin or end. */
static int settle(struct link *link, uint64_t at_ns)
{
    uint64_t edge_ns;

    while ((edge_ns = link_schedule_next_ns(&link->schedule, link->settled_ns)) <= at_ns) {
        deliver_both(link, edge_ns);
        link->settled_ns = edge_ns;
        link->scheduled = link_schedule_is_cut(&link->schedule, edge_ns) ? link->schedule_kind : OUTAGE_NONE;
        int r = enter_outage(link, edge_ns);
        if (r < 0)
            return r;
    }
    deliver_both(link, at_ns);
    link->settled_ns = at_ns;
    return 0;
}

static int timer_follow(struct link *link)
{
    uint64_t next_ns = link_schedule_next_ns(&link->schedule, link->settled_ns);
    int r;

    for (enum end end = HANDHELD; end <= CENTRE; end++) {
        uint64_t model_ns = link_model_next_ns(link->sides[end].model);
        next_ns = model_ns < next_ns ? model_ns : next_ns;
    }
    if (next_ns == LINK_NEVER)
        return sd_event_source_set_enabled(link->timer, SD_EVENT_OFF);
    r = sd_event_source_set_time(link->timer, (next_ns + 999) / 1000);
    return r < 0 ? r : sd_event_source_set_enabled(link->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *context)
{
    struct link *link = context;

    (void)source;
    (void)usec;
    int r = settle(link, now_ns());
    return r < 0 ? r : timer_follow(link);
}

static int on_packets(sd_event_source *source, int fd, uint32_t events, void *context)
{
    struct side *side = context;
    uint8_t packet[LINK_PACKET_LEN_MAX];

    (void)source;
    (void)events;
    int r = settle(side->link, now_ns());
    for (unsigned i = 0; r >= 0 && i < PACKETS_A_TURN_MAX; i++) {
        ssize_t len = read(fd, packet, sizeof(packet));
        if (len < 0 && errno == EAGAIN)
            break;
        r = len < 0 ? -errno : link_model_offer(side->model, now_ns(), bytes_of(packet, (size_t)len));
    }
    if (r < 0) {
        complain("a packet", -r);
        return r;
    }
    r = settle(side->link, now_ns());
    return r < 0 ? r : timer_follow(side->link);
}

/* ---- commands ---- */

static void say(json_t *answer)
{
    _cleanup_free_ char *text = json_dumps(answer, JSON_COMPACT);

    json_decref(answer);
    puts(text ? text : "{\"error\":\"out of memory\"}");
    fflush(stdout);
}

static json_t *count_json(const struct link_count *count)
{
    return json_pack("{s:I, s:I}", "packets", (json_int_t)count->packets, "bytes", (json_int_t)count->bytes);
}

static json_t *direction_json(const struct link_model *model)
{
    struct link_shape shape = link_model_shape(model);
    struct link_counters counters = link_model_counters(model);

    return json_pack("{s:I, s:f, s:f, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "rate_bps",
        (json_int_t)shape.rate_bps, "delay_ms", (double)shape.delay_ns / NS_PER_MS, "loss", shape.loss,
        "queue_bytes", (json_int_t)shape.queue_bytes, "offered", count_json(&counters.offered), "carried",
        count_json(&counters.carried), "lost", count_json(&counters.lost), "overflowed",
        count_json(&counters.overflowed), "cut", count_json(&counters.cut), "waiting",
        count_json(&counters.waiting));
}

static void say_state(const struct link *link)
{
    say(json_pack("{s:I, s:s, s:I, s:o, s:o}", "now_ns", (json_int_t)link->settled_ns, "outage",
        outage_names[link->outage], "outages", (json_int_t)link->outages, direction_names[HANDHELD],
        direction_json(link->sides[HANDHELD].model), direction_names[CENTRE],
        direction_json(link->sides[CENTRE].model)));
}

/* The number `name` of a command, 0 … max, into `value`, which stays as it is when the command has none. */
static bool take_number(const json_t *command, const char *name, double max, double *value)
{
    const json_t *member = json_object_get(command, name);
    double number = json_number_value(member);

    if (!member)
        return true;
    if (!json_is_number(member) || !(number >= 0 && number <= max))
        return false;
    *value = number;
    return true;
}

static uint64_t ns_of(double ms)
{
    return (uint64_t)(ms * NS_PER_MS + 0.5);
}

static const char *set_side(struct side *side, const json_t *command)
{
    struct link_shape shape = link_model_shape(side->model);
    double rate_bps = (double)shape.rate_bps, delay_ms = (double)shape.delay_ns / NS_PER_MS;
    double queue_bytes = (double)shape.queue_bytes;

    if (!take_number(command, "rate_bps", (double)LINK_RATE_BPS_MAX, &rate_bps) ||
        !take_number(command, "delay_ms", (double)LINK_DELAY_NS_MAX / NS_PER_MS, &delay_ms) ||
        !take_number(command, "loss", 1, &shape.loss) ||
        !take_number(command, "queue_bytes", (double)LINK_QUEUE_BYTES_MAX, &queue_bytes))
        return "rate_bps, delay_ms, loss or queue_bytes is out of its range";
    shape.rate_bps = (uint64_t)rate_bps;
    shape.delay_ns = ns_of(delay_ms);
    shape.queue_bytes = (uint64_t)queue_bytes;
    return link_model_set(side->model, side->link->settled_ns, &shape) < 0 ? "the shape is wrong" : NULL;
}

static const char *command_set(struct link *link, const json_t *command)
{
    const char *direction = json_string_value(json_object_get(command, "direction"));
    const char *error = NULL;
    bool known = false;

    for (enum end end = HANDHELD; direction && !error && end <= CENTRE; end++) {
        if (strcmp(direction, direction_names[end]) != 0 && strcmp(direction, "both") != 0)
            continue;
        known = true;
        error = set_side(&link->sides[end], command);
    }
    return known ? error : "direction: write up, down or both";
}

static const char *take_kind(const json_t *command, enum outage *ret)
{
    const char *kind = json_string_value(json_object_get(command, "kind"));

    for (enum outage outage = OUTAGE_NONE; kind && outage <= OUTAGE_SEEN; outage++) {
        if (strcmp(kind, outage_names[outage]) == 0) {
            *ret = outage;
            return NULL;
        }
    }
    return "kind: write none, silent or seen";
}

static const char *command_outage(struct link *link, const json_t *command)
{
    const char *error = take_kind(command, &link->commanded);

    if (error)
        return error;
    return enter_outage(link, link->settled_ns) < 0 ? "the interface does not follow" : NULL;
}

static const char *command_schedule(struct link *link, const json_t *command)
{
    double every_ms = 0, for_ms = 0;
    enum outage kind = OUTAGE_NONE;
    const char *error = take_kind(command, &kind);

    if (error)
        return error;
    if (!take_number(command, "every_ms", SCHEDULE_MS_MAX, &every_ms) ||
        !take_number(command, "for_ms", SCHEDULE_MS_MAX, &for_ms))
        return "every_ms or for_ms is out of its range";
    const struct link_schedule schedule = {
        .from_ns = link->settled_ns, .every_ns = ns_of(every_ms), .for_ns = ns_of(for_ms)};
    if (link_schedule_check(&schedule) < 0)
        return "for_ms must be more than 0 and less than every_ms";
    link->schedule = schedule;
    link->schedule_kind = kind;
    link->scheduled = OUTAGE_NONE;
    return enter_outage(link, link->settled_ns) < 0 ? "the interface does not follow" : NULL;
}

static const char *command_counters(struct link *link, const json_t *command)
{
    (void)link;
    (void)command;
    return NULL;
}

static const struct {
    const char *name;
    const char *(*carry_out)(struct link *link, const json_t *command); /* NULL, or why not */
} commands[] = {
    {"set", command_set},
    {"outage", command_outage},
    {"schedule", command_schedule},
    {"counters", command_counters},
};

static void carry_out(struct link *link, const char *text, size_t len)
{
    json_t *command = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    const char *name = json_string_value(json_object_get(command, "command"));
    const char *error = "command: write set, outage, schedule or counters";

    for (size_t i = 0; name && i < ARRAY_LEN(commands); i++) {
        if (strcmp(name, commands[i].name) == 0)
            error = commands[i].carry_out(link, command);
    }
    json_decref(command);
    if (error)
        say(json_pack("{s:s}", "error", error));
    else
        say_state(link);
}

static int on_commands(sd_event_source *source, int fd, uint32_t events, void *context)
{
    struct link *link = context;
    ssize_t got = read(fd, link->command + link->command_len, sizeof(link->command) - link->command_len);
    const char *end;

    (void)events;
    if (got <= 0 || link->command_len + (size_t)got == sizeof(link->command))
        return sd_event_exit(sd_event_source_get_event(source), got == 0 ? 0 : EXIT_FAILURE);
    link->command_len += (size_t)got;
    int r = settle(link, now_ns());
    while (r >= 0 && (end = memchr(link->command, '\n', link->command_len))) {
        size_t len = (size_t)(end - link->command);
        carry_out(link, link->command, len);
        link->command_len -= len + 1;
        memmove(link->command, end + 1, link->command_len);
    }
    return r < 0 ? r : timer_follow(link);
}

/* ---- start ---- */

/* A device of that name in the namespace, and a socket that can command it. The process stays there. */
static int side_open(struct side *side, const char *netns, const char *device)
{
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    _cleanup_close_ int space = open(netns, O_RDONLY | O_CLOEXEC);

    if (space < 0 || setns(space, CLONE_NEWNET) < 0) {
        complain(netns, errno);
        return -errno;
    }
    strcpy(request.ifr_name, device);
    side->tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (side->tun < 0 || ioctl(side->tun, TUNSETIFF, &request) < 0) {
        complain("/dev/net/tun", errno);
        return -errno;
    }
    side->control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return side->control < 0 ? -errno : 0;
}

static int link_open(struct link *link, const struct options *options, uint64_t seed)
{
    const char *const spaces[] = {options->handheld, options->centre};
    const struct link_shape shape = {.queue_bytes = 1048576};

    link->device = options->device;
    for (enum end end = HANDHELD; end <= CENTRE; end++) {
        struct side *side = &link->sides[end];
        side->link = link;
        /* Each direction has losses of its own. */
        int r = link_model_new(&shape, seed * 2 + end, &side->model);
        if (r >= 0)
            r = side_open(side, spaces[end], options->device);
        if (r < 0)
            return r;
    }
    return 0;
}

static int link_watch(struct link *link)
{
    int r = sd_event_default(&link->event);

    if (r >= 0)
        r = sd_event_add_io(link->event, NULL, STDIN_FILENO, EPOLLIN, on_commands, link);
    for (enum end end = HANDHELD; r >= 0 && end <= CENTRE; end++)
        r = sd_event_add_io(link->event, NULL, link->sides[end].tun, EPOLLIN, on_packets, &link->sides[end]);
    if (r >= 0)
        r = sd_event_add_time(link->event, &link->timer, CLOCK_MONOTONIC, 0, 1, on_timer, link);
    if (r >= 0)
        r = sd_event_source_set_enabled(link->timer, SD_EVENT_OFF);
    return r;
}

static void link_done(struct link *link)
{
    sd_event_source_disable_unref(link->timer);
    sd_event_unref(link->event);
    for (enum end end = HANDHELD; end <= CENTRE; end++) {
        link_model_free(link->sides[end].model);
        cleanup_close(&link->sides[end].tun);
        cleanup_close(&link->sides[end].control);
    }
}

static int link_run(const struct options *options, uint64_t seed)
{
    struct link link _cleanup_(link_done) = {
        .sides = {{.tun = -1, .control = -1}, {.tun = -1, .control = -1}}};
    const struct sched_param first = {.sched_priority = 1};
    int r = link_open(&link, options, seed);

    if (r == -EPERM || r == -EACCES || r == -ENOENT || r == -ENODEV || r == -ENXIO)
        return EXIT_STATUS_SKIP;
    if (r >= 0)
        r = link_watch(&link);
    if (r < 0)
        return EXIT_FAILURE;
    /* The link's clock is not to depend on what else the machine does; where this is not allowed it may. */
    sched_setscheduler(0, SCHED_RR, &first);
    link.settled_ns = now_ns();
    say_state(&link);
    return sd_event_loop(link.event) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static const struct option_row rows[] = {
    {"handheld", 0, OPTION_TEXT, offsetof(struct options, handheld), "NETNS", "the handheld's namespace"},
    {"centre", 0, OPTION_TEXT, offsetof(struct options, centre), "NETNS", "the centre's namespace"},
    {"device", 0, OPTION_TEXT, offsetof(struct options, device), "NAME", "both devices' name; lab0"},
    {"seed", 0, OPTION_TEXT, offsetof(struct options, seed), "N", "decides which packets are lost; 1"},
};

int main(int argc, char **argv)
{
    struct options options = {.device = "lab0", .seed = "1"};
    const char *rest[1];
    size_t rest_count;

    if (command_line_parse(
            "lab_link", rows, ARRAY_LEN(rows), argc, argv, &options, rest, ARRAY_LEN(rest), &rest_count) < 0)
        return 2;
    if (!options.handheld || !options.centre || rest_count > 0 || strlen(options.device) >= IFNAMSIZ) {
        fprintf(stderr, "usage: lab_link [options]\n");
        command_line_help(rows, ARRAY_LEN(rows), stderr);
        return 2;
    }
    return link_run(&options, strtoull(options.seed, NULL, 10));
}
