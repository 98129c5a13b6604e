/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of tests/lab/link_model.h: when packets arrive and which do not, in made-up time. */
#include "tests/unit/unit.h"

#include "tests/lab/link_model.h"

#include <errno.h>
#include <math.h>

#define MS UINT64_C(1000000)
#define S (1000 * MS)

/* 1000 bytes take a second. */
static const struct link_shape slow = {.rate_bps = 8000, .delay_ns = 150 * MS, .queue_bytes = 3000};

static struct link_model *model_of(struct link_shape shape, uint64_t seed)
{
    struct link_model *model = NULL;

    assert_int_equal(link_model_new(&shape, seed, &model), 0);
    return model;
}

/* Offers a packet of `len` bytes whose first one is `mark`. */
static void offer(struct link_model *model, uint64_t now_ns, uint8_t mark, size_t len)
{
    uint8_t packet[2000] = {mark};

    assert_int_equal(link_model_offer(model, now_ns, bytes_of(packet, len)), 0);
}

/* The mark of the packet that has arrived by now, -1 when there is none. */
static int arrived(struct link_model *model, uint64_t now_ns)
{
    struct bytes packet;
    int mark;

    if (!link_model_arrived(model, now_ns, &packet))
        return -1;
    mark = packet.data[0];
    link_model_pass(model, true);
    return mark;
}

static void assert_adds_up(const struct link_model *model)
{
    struct link_counters c = link_model_counters(model);

    assert_int64_equal(c.offered.packets,
        c.carried.packets + c.lost.packets + c.overflowed.packets + c.cut.packets + c.waiting.packets);
    assert_int64_equal(
        c.offered.bytes, c.carried.bytes + c.lost.bytes + c.overflowed.bytes + c.cut.bytes + c.waiting.bytes);
}

static void packet_arrives_after_sending_time_and_delay(void **state)
{
    struct link_model *model = model_of(slow, 1);

    offer(model, 5 * S, 'a', 1000);
    assert_int64_equal(link_model_next_ns(model), 6 * S);
    assert_int_equal(arrived(model, 6 * S + 150 * MS - 1), -1);
    assert_int64_equal(link_model_next_ns(model), 6 * S + 150 * MS);
    assert_int_equal(arrived(model, 6 * S + 150 * MS), 'a');
    assert_int64_equal(link_model_next_ns(model), LINK_NEVER);
    assert_adds_up(model);
    link_model_free(model);
}

static void packets_follow_each_other_at_the_rate_however_late_we_look(void **state)
{
    struct link_model *model = model_of(slow, 1);

    offer(model, 0, 'a', 1000);
    offer(model, 0, 'b', 500);
    offer(model, 1200 * MS, 'c', 1000); /* b is being sent until 1.5 s */
    assert_int_equal(arrived(model, 2650 * MS - 1), 'a');
    assert_int_equal(arrived(model, 2650 * MS - 1), 'b');
    assert_int_equal(arrived(model, 2650 * MS - 1), -1);
    assert_int_equal(arrived(model, 2650 * MS), 'c');
    link_model_free(model);
}

static void idle_time_is_not_saved_up(void **state)
{
    struct link_model *model = model_of(slow, 1);

    offer(model, 0, 'a', 1000);
    offer(model, 100 * S, 'b', 1000);
    assert_int_equal(arrived(model, 101 * S + 150 * MS - 1), 'a');
    assert_int_equal(arrived(model, 101 * S + 150 * MS - 1), -1);
    assert_int_equal(arrived(model, 101 * S + 150 * MS), 'b');
    link_model_free(model);
}

static void no_rate_means_no_sending_time(void **state)
{
    struct link_model *model = model_of((struct link_shape){.delay_ns = 7, .queue_bytes = 1}, 1);

    offer(model, 10, 'a', 1500);
    offer(model, 10, 'b', 1500);
    assert_int_equal(arrived(model, 16), -1);
    assert_int_equal(arrived(model, 17), 'a');
    assert_int_equal(arrived(model, 17), 'b');
    assert_int64_equal(link_model_counters(model).overflowed.packets, 0);
    link_model_free(model);
}

static void queue_drops_what_would_make_it_too_long_and_takes_again_when_there_is_room(void **state)
{
    struct link_model *model = model_of(slow, 1);

    offer(model, 0, 'a', 1000);
    offer(model, 0, 'b', 1000);
    offer(model, 0, 'c', 1000);
    offer(model, 0, 'd', 1); /* 3001 bytes */
    offer(model, S - 1, 'e', 1000);
    offer(model, S, 'f', 1000); /* a was sent */
    assert_int64_equal(link_model_counters(model).overflowed.packets, 2);
    assert_int64_equal(link_model_counters(model).overflowed.bytes, 1001);
    assert_int64_equal(link_model_counters(model).waiting.packets, 4);
    assert_adds_up(model);
    for (const char *mark = "abcf"; *mark; mark++)
        assert_int_equal(arrived(model, 10 * S), *mark);
    assert_int_equal(arrived(model, 10 * S), -1);
    assert_adds_up(model);
    link_model_free(model);
}

static void empty_queue_takes_a_packet_longer_than_itself(void **state)
{
    struct link_model *model = model_of((struct link_shape){.rate_bps = 8000, .queue_bytes = 10}, 1);

    offer(model, 0, 'a', 1000);
    offer(model, 0, 'b', 1);
    assert_int64_equal(link_model_counters(model).overflowed.packets, 1);
    assert_int_equal(arrived(model, S), 'a');
    link_model_free(model);
}

static void number_of_packets_held_has_a_limit_though_bytes_have_room(void **state)
{
    struct link_model *model =
        model_of((struct link_shape){.delay_ns = S, .queue_bytes = LINK_QUEUE_BYTES_MAX}, 1);

    for (unsigned i = 0; i < LINK_PACKETS_MAX; i++)
        offer(model, 0, 'a', 1);
    assert_int64_equal(link_model_counters(model).overflowed.packets, 0);
    offer(model, 0, 'b', 1);
    assert_int64_equal(link_model_counters(model).overflowed.packets, 1);
    assert_adds_up(model);
    link_model_free(model);
}

/* Sends 1000 packets at the loss; which ones arrived, as one byte each. */
static size_t fates(uint64_t seed, double loss, bool ret[1000])
{
    struct link_model *model = model_of((struct link_shape){.loss = loss, .queue_bytes = 3000}, seed);
    size_t total = 0;

    for (size_t i = 0; i < 1000; i++) {
        offer(model, i, 'a', 100);
        ret[i] = arrived(model, i) == 'a';
        total += ret[i];
    }
    assert_adds_up(model);
    assert_int64_equal(link_model_counters(model).lost.bytes, 100 * (1000 - total));
    link_model_free(model);
    return total;
}

static void same_seed_loses_the_same_packets_and_another_does_not(void **state)
{
    bool first[1000], second[1000];
    size_t total = fates(7, 0.1, first);

    assert_in_range(total, 860, 940); /* four standard deviations are 38 */
    fates(7, 0.1, second);
    assert_memory_equal(first, second, sizeof(first));
    fates(8, 0.1, second);
    assert_memory_not_equal(first, second, sizeof(first));
}

static void more_loss_loses_those_of_less_loss_too(void **state)
{
    bool less[1000], more[1000], none[1000];

    fates(3, 0.05, less);
    assert_true(fates(3, 0.3, more) < fates(3, 0.05, less));
    for (size_t i = 0; i < 1000; i++)
        assert_true(less[i] || !more[i]);
    assert_int_equal(fates(3, 0, none), 1000);
    assert_int_equal(fates(3, 1, none), 0);
}

static void lost_packet_has_taken_its_time_to_send(void **state)
{
    struct link_shape shape = slow;
    struct link_model *model;

    shape.loss = 1;
    model = model_of(shape, 1);
    offer(model, 0, 'a', 1000);
    offer(model, 0, 'b', 1000);
    assert_int_equal(arrived(model, S), -1);
    assert_int64_equal(link_model_counters(model).lost.packets, 1);
    shape.loss = 0;
    assert_int_equal(link_model_set(model, S, &shape), 0);
    assert_int_equal(arrived(model, 2150 * MS - 1), -1);
    assert_int_equal(arrived(model, 2150 * MS), 'b');
    link_model_free(model);
}

static void outage_drops_what_waits_what_flies_and_what_comes(void **state)
{
    struct link_model *model = model_of(slow, 1);

    offer(model, 0, 'a', 1000);
    offer(model, 0, 'b', 1000);
    offer(model, 0, 'c', 1000);
    link_model_cut(model, 1100 * MS, true); /* a flies, b is being sent, c waits */
    assert_int64_equal(link_model_counters(model).cut.packets, 3);
    assert_int64_equal(link_model_next_ns(model), LINK_NEVER);
    offer(model, 1500 * MS, 'd', 1000);
    assert_int64_equal(link_model_counters(model).cut.bytes, 4000);
    link_model_cut(model, 5 * S, false);
    for (const char *mark = "efg"; *mark; mark++)
        offer(model, 5 * S, (uint8_t)*mark, 1000); /* the whole queue is free again */
    assert_int_equal(arrived(model, 6150 * MS - 1), -1);
    assert_int_equal(arrived(model, 6150 * MS), 'e');
    assert_int64_equal(link_model_counters(model).overflowed.packets, 0);
    assert_adds_up(model);
    link_model_free(model);
}

static void new_rate_holds_from_the_next_packet_and_new_delay_at_once(void **state)
{
    struct link_model *model = model_of(slow, 1);
    struct link_shape fast = {.rate_bps = 80000, .delay_ns = 10 * MS, .queue_bytes = 3000};

    offer(model, 0, 'a', 1000);
    offer(model, 0, 'b', 1000);
    assert_int_equal(link_model_set(model, 500 * MS, &fast), 0);
    assert_int_equal(arrived(model, 1010 * MS - 1), -1);
    assert_int_equal(arrived(model, 1010 * MS), 'a');
    assert_int_equal(arrived(model, 1110 * MS - 1), -1);
    assert_int_equal(arrived(model, 1110 * MS), 'b');
    link_model_free(model);
}

static void shorter_delay_lets_no_packet_overtake(void **state)
{
    struct link_model *model = model_of((struct link_shape){.delay_ns = S, .queue_bytes = 3000}, 1);
    struct link_shape near = {.queue_bytes = 3000};

    offer(model, 0, 'a', 100);
    assert_int_equal(link_model_set(model, 1, &near), 0);
    offer(model, 2, 'b', 100);
    assert_int_equal(arrived(model, S - 1), -1);
    assert_int_equal(arrived(model, S), 'a');
    assert_int_equal(arrived(model, S), 'b');
    link_model_free(model);
}

static void packet_that_an_outage_dropped_holds_nobody_back(void **state)
{
    struct link_model *model = model_of((struct link_shape){.delay_ns = S, .queue_bytes = 3000}, 1);
    struct link_shape near = {.queue_bytes = 3000};

    offer(model, 0, 'a', 100);
    assert_int_equal(arrived(model, 0), -1); /* it flies */
    link_model_cut(model, 1, true);
    link_model_cut(model, 2, false);
    assert_int_equal(link_model_set(model, 2, &near), 0);
    offer(model, 3, 'b', 100);
    assert_int_equal(arrived(model, 3), 'b');
    link_model_free(model);
}

static void packet_that_the_far_interface_did_not_take_is_not_carried(void **state)
{
    struct link_model *model = model_of((struct link_shape){.queue_bytes = 3000}, 1);
    struct bytes packet;

    offer(model, 0, 'a', 100);
    assert_true(link_model_arrived(model, 0, &packet));
    link_model_pass(model, false);
    assert_int64_equal(link_model_counters(model).carried.packets, 0);
    assert_int64_equal(link_model_counters(model).cut.bytes, 100);
    assert_adds_up(model);
    link_model_free(model);
}

static void shapes_and_packets_out_of_range_are_refused(void **state)
{
    static const struct link_shape wrong[] = {
        {.rate_bps = LINK_RATE_BPS_MAX + 1},
        {.delay_ns = LINK_DELAY_NS_MAX + 1},
        {.queue_bytes = LINK_QUEUE_BYTES_MAX + 1},
        {.loss = -0.1},
        {.loss = 1.1},
        {.loss = (double)NAN},
    };
    struct link_model *model = NULL;

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_int_equal(link_model_new(&wrong[i], 1, &model), -EINVAL);
    assert_null(model);
    model = model_of(slow, 1);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
        assert_int_equal(link_model_set(model, 0, &wrong[i]), -EINVAL);
    assert_int64_equal(link_model_shape(model).rate_bps, 8000);
    assert_int_equal(link_model_offer(model, 0, bytes_of("", 0)), -EMSGSIZE);
    assert_int64_equal(link_model_counters(model).offered.packets, 0);
    link_model_free(model);
    link_model_free(NULL);
}

static void schedule_cuts_the_last_part_of_each_period(void **state)
{
    const struct link_schedule schedule = {.from_ns = 3 * S, .every_ns = 20 * S, .for_ns = 5 * S};
    const struct link_schedule never = {0};

    assert_false(link_schedule_is_cut(&schedule, 0));
    assert_false(link_schedule_is_cut(&schedule, 18 * S - 1));
    assert_true(link_schedule_is_cut(&schedule, 18 * S));
    assert_true(link_schedule_is_cut(&schedule, 23 * S - 1));
    assert_false(link_schedule_is_cut(&schedule, 23 * S));
    assert_true(link_schedule_is_cut(&schedule, 3 * S + 1015 * S));
    assert_int64_equal(link_schedule_next_ns(&schedule, 0), 18 * S);
    assert_int64_equal(link_schedule_next_ns(&schedule, 18 * S - 1), 18 * S);
    assert_int64_equal(link_schedule_next_ns(&schedule, 18 * S), 23 * S);
    assert_int64_equal(link_schedule_next_ns(&schedule, 23 * S), 38 * S);
    assert_false(link_schedule_is_cut(&never, 5));
    assert_int64_equal(link_schedule_next_ns(&never, 5), LINK_NEVER);
}

static void schedule_that_is_never_up_or_never_cut_is_refused(void **state)
{
    assert_int_equal(link_schedule_check(&(struct link_schedule){0, 0, 0}), 0);
    assert_int_equal(link_schedule_check(&(struct link_schedule){0, 2, 1}), 0);
    assert_int_equal(link_schedule_check(&(struct link_schedule){0, 2, 2}), -EINVAL);
    assert_int_equal(link_schedule_check(&(struct link_schedule){0, 2, 0}), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packet_arrives_after_sending_time_and_delay),
        cmocka_unit_test(packets_follow_each_other_at_the_rate_however_late_we_look),
        cmocka_unit_test(idle_time_is_not_saved_up),
        cmocka_unit_test(no_rate_means_no_sending_time),
        cmocka_unit_test(queue_drops_what_would_make_it_too_long_and_takes_again_when_there_is_room),
        cmocka_unit_test(empty_queue_takes_a_packet_longer_than_itself),
        cmocka_unit_test(number_of_packets_held_has_a_limit_though_bytes_have_room),
        cmocka_unit_test(same_seed_loses_the_same_packets_and_another_does_not),
        cmocka_unit_test(more_loss_loses_those_of_less_loss_too),
        cmocka_unit_test(lost_packet_has_taken_its_time_to_send),
        cmocka_unit_test(outage_drops_what_waits_what_flies_and_what_comes),
        cmocka_unit_test(new_rate_holds_from_the_next_packet_and_new_delay_at_once),
        cmocka_unit_test(shorter_delay_lets_no_packet_overtake),
        cmocka_unit_test(packet_that_an_outage_dropped_holds_nobody_back),
        cmocka_unit_test(packet_that_the_far_interface_did_not_take_is_not_carried),
        cmocka_unit_test(shapes_and_packets_out_of_range_are_refused),
        cmocka_unit_test(schedule_cuts_the_last_part_of_each_period),
        cmocka_unit_test(schedule_that_is_never_up_or_never_cut_is_refused),
    };

    return cmocka_run_group_tests_name("lab link_model", tests, NULL, NULL);
}
