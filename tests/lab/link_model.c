/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lab/link_model.h"

#include "tests/sim/sim_random.h"

#include <errno.h>

#define NS_PER_S UINT64_C(1000000000)

struct packet {
    struct packet *next;
    uint64_t arrives_ns; /* once it is in flight */
    size_t len;
    uint8_t data[];
};

struct packet_list {
    struct packet *first, **end;
};

struct link_model {
    struct link_shape shape;
    struct sim_random random;
    uint64_t now_ns;
    bool is_cut;
    struct packet_list queue; /* the first one is being sent */
    uint64_t queue_bytes;
    uint64_t sent_ns; /* when the first one of the queue is wholly sent */
    struct packet_list flight;
    uint64_t last_arrival_ns;
    struct link_counters counters;
};

static void list_init(struct packet_list *list)
{
    list->first = NULL;
    list->end = &list->first;
}

static void list_put(struct packet_list *list, struct packet *packet)
{
    packet->next = NULL;
    *list->end = packet;
    list->end = &packet->next;
}

static struct packet *list_take(struct packet_list *list)
{
    struct packet *packet = list->first;

    list->first = packet->next;
    if (!list->first)
        list->end = &list->first;
    return packet;
}

static void count(struct link_count *counter, uint64_t len)
{
    counter->packets++;
    counter->bytes += len;
}

/* The packet's way ends here, for the reason that `counter` counts. */
static void end_packet(struct link_model *model, struct packet *packet, struct link_count *counter)
{
    count(counter, packet->len);
    model->counters.waiting.packets--;
    model->counters.waiting.bytes -= packet->len;
    free(packet);
}

static int shape_check(const struct link_shape *shape)
{
    bool good = shape->rate_bps <= LINK_RATE_BPS_MAX && shape->delay_ns <= LINK_DELAY_NS_MAX &&
                shape->loss >= 0 && shape->loss <= 1 && shape->queue_bytes <= LINK_QUEUE_BYTES_MAX;

    return good ? 0 : -EINVAL;
}

int link_model_new(const struct link_shape *shape, uint64_t seed, struct link_model **ret)
{
    struct link_model *model;

    if (shape_check(shape) < 0)
        return -EINVAL;
    model = calloc(1, sizeof(*model));
    if (!model)
        return -ENOMEM;
    model->shape = *shape;
    model->random.state = seed;
    list_init(&model->queue);
    list_init(&model->flight);
    *ret = model;
    return 0;
}

static void drop_all(struct link_model *model, struct packet_list *list)
{
    while (list->first)
        end_packet(model, list_take(list), &model->counters.cut);
}

void link_model_free(struct link_model *model)
{
    if (!model)
        return;
    drop_all(model, &model->queue);
    drop_all(model, &model->flight);
    free(model);
}

/* The first one of the queue begins to be sent. */
static void begin_sending(struct link_model *model, uint64_t from_ns)
{
    uint64_t bits = model->queue.first->len * 8; /* at most 2^19, so that the product below fits */

    model->sent_ns = from_ns + (model->shape.rate_bps ? bits * NS_PER_S / model->shape.rate_bps : 0);
}

/* One draw a packet, whatever the loss is: so a packet's fate follows from seed, number and loss alone. */
static bool is_lost(struct link_model *model)
{
    double draw = (double)(sim_random_u64(&model->random) >> 11) * 0x1p-53;

    return draw < model->shape.loss;
}

/* The first one of the queue is sent: it is lost, or in flight. */
static void end_sending(struct link_model *model)
{
    struct packet *packet = list_take(&model->queue);
    uint64_t arrives_ns = model->sent_ns + model->shape.delay_ns;

    model->queue_bytes -= packet->len;
    if (is_lost(model)) {
        end_packet(model, packet, &model->counters.lost);
        return;
    }
    /* A delay that was made shorter does not let a packet overtake. */
    if (arrives_ns < model->last_arrival_ns)
        arrives_ns = model->last_arrival_ns;
    packet->arrives_ns = model->last_arrival_ns = arrives_ns;
    list_put(&model->flight, packet);
}

/* Everything up to now happens at its own time, however late we are told: lateness does not add up. */
static void advance(struct link_model *model, uint64_t now_ns)
{
    if (now_ns > model->now_ns)
        model->now_ns = now_ns;
    while (model->queue.first && model->sent_ns <= model->now_ns) {
        uint64_t sent_ns = model->sent_ns;
        end_sending(model);
        if (model->queue.first)
            begin_sending(model, sent_ns);
    }
}

int link_model_set(struct link_model *model, uint64_t now_ns, const struct link_shape *shape)
{
    if (shape_check(shape) < 0)
        return -EINVAL;
    advance(model, now_ns);
    model->shape = *shape;
    return 0;
}

struct link_shape link_model_shape(const struct link_model *model)
{
    return model->shape;
}

void link_model_cut(struct link_model *model, uint64_t now_ns, bool is_cut)
{
    advance(model, now_ns);
    model->is_cut = is_cut;
    if (!is_cut)
        return;
    drop_all(model, &model->queue);
    drop_all(model, &model->flight);
    model->queue_bytes = 0;
    model->last_arrival_ns = 0; /* nobody is left to be overtaken */
}

int link_model_offer(struct link_model *model, uint64_t now_ns, struct bytes packet)
{
    struct link_counters *counters = &model->counters;
    struct packet *held;

    if (packet.len == 0 || packet.len > LINK_PACKET_LEN_MAX)
        return -EMSGSIZE;
    advance(model, now_ns);
    if (model->is_cut) {
        count(&counters->offered, packet.len);
        count(&counters->cut, packet.len);
        return 0;
    }
    if ((model->queue_bytes > 0 && model->queue_bytes + packet.len > model->shape.queue_bytes) ||
        counters->waiting.packets >= LINK_PACKETS_MAX) {
        count(&counters->offered, packet.len);
        count(&counters->overflowed, packet.len);
        return 0;
    }
    held = malloc(sizeof(*held) + packet.len);
    if (!held)
        return -ENOMEM;
    held->len = packet.len;
    memcpy(held->data, packet.data, packet.len);
    count(&counters->offered, packet.len);
    count(&counters->waiting, packet.len);
    list_put(&model->queue, held);
    model->queue_bytes += packet.len;
    if (model->queue.first == held)
        begin_sending(model, model->now_ns);
    return 0;
}

bool link_model_arrived(struct link_model *model, uint64_t now_ns, struct bytes *ret)
{
    const struct packet *first;

    advance(model, now_ns);
    first = model->flight.first;
    if (!first || first->arrives_ns > model->now_ns)
        return false;
    *ret = bytes_of(first->data, first->len);
    return true;
}

void link_model_pass(struct link_model *model, bool taken)
{
    end_packet(model, list_take(&model->flight), taken ? &model->counters.carried : &model->counters.cut);
}

uint64_t link_model_next_ns(const struct link_model *model)
{
    uint64_t next_ns = model->queue.first ? model->sent_ns : LINK_NEVER;

    if (model->flight.first && model->flight.first->arrives_ns < next_ns)
        next_ns = model->flight.first->arrives_ns;
    return next_ns;
}

struct link_counters link_model_counters(const struct link_model *model)
{
    return model->counters;
}

int link_schedule_check(const struct link_schedule *schedule)
{
    bool good = schedule->every_ns == 0 || (schedule->for_ns > 0 && schedule->for_ns < schedule->every_ns);

    return good ? 0 : -EINVAL;
}

bool link_schedule_is_cut(const struct link_schedule *schedule, uint64_t now_ns)
{
    if (schedule->every_ns == 0 || now_ns < schedule->from_ns)
        return false;
    return (now_ns - schedule->from_ns) % schedule->every_ns >= schedule->every_ns - schedule->for_ns;
}

uint64_t link_schedule_next_ns(const struct link_schedule *schedule, uint64_t now_ns)
{
    uint64_t whole_ns, cut_ns;

    if (schedule->every_ns == 0)
        return LINK_NEVER;
    if (now_ns < schedule->from_ns)
        now_ns = schedule->from_ns;
    whole_ns = now_ns - (now_ns - schedule->from_ns) % schedule->every_ns;
    cut_ns = whole_ns + schedule->every_ns - schedule->for_ns;
    return now_ns < cut_ns ? cut_ns : whole_ns + schedule->every_ns;
}
