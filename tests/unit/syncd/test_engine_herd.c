/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Herds: many real engines on one virtual clock, a network that only has a round trip and a rate, and a
 * centre that answers what it is asked. What is measured is when requests come.
 *
 *   bucket   1 s (idle contacts: 10 s)
 *   window   from the instant at which the link is back until the last request of the backlog
 */
#include "tests/unit/unit.h"

#include "server/core/pace.h"
#include "syncd/core/engine.h"

#define SECOND_MS UINT64_C(1000)
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS (60 * MINUTE_MS)
#define DEVICES_MAX 10000u
#define BUCKETS_MAX 14400u
#define LINK_BYTES_A_SECOND UINT64_C(64000)
#define PREVIEW_BYTES UINT64_C(20000)
#define TOKEN_S 900u

struct device {
    struct engine *engine;
    uint64_t timer_ms;
    struct engine_outbox outbox;
    uint64_t photos_left, previews_left, blob_number, not_before_ms;
    struct engine_action slots[ENGINE_SLOTS_MAX];
    uint64_t serial[ENGINE_SLOTS_MAX], records[ENGINE_SLOTS_MAX];
    bool failing[ENGINE_SLOTS_MAX];
    bool busy[ENGINE_SLOTS_MAX], is_done;
};

struct happening {
    uint64_t at_ms, order;
    uint32_t device, slot;
    uint64_t serial; /* 0: the timer */
};

struct herd {
    struct device *devices;
    uint32_t count;
    uint64_t now_ms, random, order;
    struct happening *heap;
    size_t heap_count, heap_capacity;
    bool link_is_up;
    uint64_t served_a_second, second, served; /* a busy centre serves so many, others are told to wait */
    uint32_t retry_after_s;
    uint64_t paced_a_second; /* 0: the centre does not say when to come again */
    struct pace pace;
    uint64_t refused, told_later, alarms;
    uint64_t counted_from_ms;
    uint32_t buckets[BUCKETS_MAX];
};

static uint64_t draw(struct herd *herd, uint64_t bound)
{
    uint64_t z = herd->random += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % bound;
}

/* ---- what happens when ---- */

static bool is_before(const struct happening *a, const struct happening *b)
{
    return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->order < b->order);
}

static void swap(struct happening *a, struct happening *b)
{
    struct happening kept = *a;

    *a = *b;
    *b = kept;
}

static void plan(struct herd *herd, uint64_t at_ms, uint32_t device, uint32_t slot, uint64_t serial)
{
    size_t at = herd->heap_count;

    if (at == herd->heap_capacity) {
        herd->heap_capacity = at ? 2 * at : 4096;
        herd->heap = reallocarray(herd->heap, herd->heap_capacity, sizeof(*herd->heap));
        assert_non_null(herd->heap);
    }
    herd->heap[herd->heap_count++] = (struct happening){
        .at_ms = at_ms, .order = herd->order++, .device = device, .slot = slot, .serial = serial};
    for (; at > 0 && is_before(&herd->heap[at], &herd->heap[(at - 1) / 2]); at = (at - 1) / 2)
        swap(&herd->heap[at], &herd->heap[(at - 1) / 2]);
}

static struct happening take_first(struct herd *herd)
{
    struct happening first = herd->heap[0];
    size_t at = 0;

    herd->heap[0] = herd->heap[--herd->heap_count];
    for (;;) {
        size_t left = 2 * at + 1, least = at;

        if (left < herd->heap_count && is_before(&herd->heap[left], &herd->heap[least]))
            least = left;
        if (left + 1 < herd->heap_count && is_before(&herd->heap[left + 1], &herd->heap[least]))
            least = left + 1;
        if (least == at)
            return first;
        swap(&herd->heap[at], &herd->heap[least]);
        at = least;
    }
}

/* ---- a device ---- */

static struct uuid log_of(uint32_t device)
{
    return (struct uuid){.b = {1, (uint8_t)(device >> 8), (uint8_t)device}};
}

static void set_outbox(struct device *device)
{
    struct engine_outbox *outbox = &device->outbox;

    for (size_t i = 0; i < ENGINE_BLOB_CLASSES; i++)
        outbox->blobs[i] = (struct engine_blobs){0};
    if (device->previews_left > 0)
        outbox->blobs[BLOBS_PREVIEWS] = (struct engine_blobs){.pending = device->previews_left,
            .has_next = true,
            .next = {.b = {1, (uint8_t)device->previews_left}},
            .next_size = PREVIEW_BYTES};
    if (device->photos_left > 0)
        outbox->blobs[BLOBS_PHOTOS] = (struct engine_blobs){.pending = device->photos_left,
            .has_next = true,
            .next = {.b = {2, (uint8_t)device->photos_left}},
            .next_size = 10 * PREVIEW_BYTES};
    outbox->blobs_pending = device->previews_left + device->photos_left;
    if (outbox->logs[0].receipt_size == outbox->logs[0].size)
        outbox->urgent_text = false;
}

static void count_request(struct herd *herd)
{
    uint64_t bucket = (herd->now_ms - herd->counted_from_ms) / SECOND_MS;

    if (herd->counted_from_ms > 0 && herd->now_ms >= herd->counted_from_ms && bucket < BUCKETS_MAX)
        herd->buckets[bucket]++;
}

/* A request leaves: when it ends, and whether it fails, is known from now on. */
static void start(struct herd *herd, uint32_t number, const struct engine_action *action)
{
    struct device *device = &herd->devices[number];
    uint64_t bytes = action->kind == ENGINE_SEND_UPLOAD ? action->upload.bytes_max : 1000;
    uint64_t took_ms = 200 + draw(herd, 600) + bytes * 1000 / LINK_BYTES_A_SECOND;
    uint32_t slot = action->slot;

    assert_true(herd->now_ms >= device->not_before_ms); /* Retry-After is obeyed */
    device->slots[slot] = *action;
    device->busy[slot] = true;
    device->failing[slot] = !herd->link_is_up;
    if (herd->link_is_up)
        count_request(herd);
    else
        took_ms = draw(herd, 2) == 0 ? 1 : 20 * SECOND_MS;
    plan(herd, herd->now_ms + took_ms, number, slot, ++device->serial[slot]);
}

static void feed(struct herd *herd, uint32_t number, struct engine_event event);

static void build(struct herd *herd, uint32_t number, const struct engine_action *action)
{
    struct device *device = &herd->devices[number];
    uint64_t left = device->outbox.logs[0].size - action->exchange.first_seq;

    device->records[action->slot] = left < action->exchange.records_max ? left : action->exchange.records_max;
    engine_feed(device->engine,
        &(struct engine_event){.kind = ENGINE_BUILT,
            .slot = action->slot,
            .built = {.records = device->records[action->slot], .plain_bytes = 300, .wire_bytes = 1000}},
        herd->now_ms, draw(herd, UINT64_MAX));
}

static void feed(struct herd *herd, uint32_t number, struct engine_event event)
{
    struct device *device = &herd->devices[number];
    struct engine_action action;

    engine_feed(device->engine, &event, herd->now_ms, draw(herd, UINT64_MAX));
    while (engine_next(device->engine, &action)) {
        switch (action.kind) {
        case ENGINE_SEND_EXCHANGE:
            build(herd, number, &action);
            start(herd, number, &action);
            break;
        case ENGINE_SEND_UPLOAD:
            start(herd, number, &action);
            break;
        case ENGINE_CANCEL:
            device->busy[action.slot] = false;
            device->serial[action.slot]++;
            break;
        case ENGINE_SET_TIMER:
            device->timer_ms = action.timer.at_ms;
            plan(herd, action.timer.at_ms, number, 0, 0);
            break;
        case ENGINE_ALARM: /* a photo that a busy centre did not take in ten tries rests a while */
            herd->alarms++;
            break;
        case ENGINE_SYNC_DONE:
        case ENGINE_KEEP_BUDGET:
            break;
        case ENGINE_SEND_AUDIT:
        case ENGINE_SEND_REPAIR:
        case ENGINE_LEAVE_LOG:
        case ENGINE_RESYNC_STARTED:
        case ENGINE_RESYNC_DONE:
            fail_msg("an action that nothing here gives reason for");
        }
    }
}

static void tell_outbox(struct herd *herd, uint32_t number)
{
    set_outbox(&herd->devices[number]);
    feed(herd, number, (struct engine_event){.kind = ENGINE_OUTBOX, .outbox = herd->devices[number].outbox});
}

/* ---- the centre ---- */

static bool has_more(const struct device *device)
{
    const struct engine_log *log = &device->outbox.logs[0];

    return log->receipt_size < log->size || device->outbox.blobs_pending > 0;
}

/* As the service does with each request that is carried out. */
static uint32_t pace(struct herd *herd, bool has_more)
{
    return herd->paced_a_second > 0 ? pace_request(&herd->pace, herd->paced_a_second, has_more, herd->now_ms)
                                    : 0;
}

static void answer_exchange(struct herd *herd, uint32_t number, uint32_t slot)
{
    struct device *device = &herd->devices[number];
    const struct engine_action *action = &device->slots[slot];
    struct engine_log *log = &device->outbox.logs[0];
    uint64_t before = log->receipt_size, end = action->exchange.first_seq + device->records[slot];
    uint64_t asked = device->records[slot] == 0 ? device->outbox.blobs_unconfirmed : 0;

    if (end > log->receipt_size)
        log->receipt_size = end;
    device->outbox.blobs_unconfirmed -= asked;
    tell_outbox(herd, number);
    uint32_t next_contact_s = pace(herd, device->records[slot] > 0 && has_more(device));
    if (next_contact_s > 0) {
        herd->told_later++;
        device->not_before_ms = herd->now_ms + next_contact_s * SECOND_MS;
    }
    feed(herd, number,
        (struct engine_event){.kind = ENGINE_EXCHANGED,
            .slot = slot,
            .exchanged = {.outcome = EXCHANGE_STORED,
                .next_contact_s = next_contact_s,
                .size = log->receipt_size,
                .receipt_size_before = before,
                .blobs_asked = asked,
                .blobs_confirmed = asked,
                .has_token = device->outbox.blobs_pending > 0,
                .token_s = TOKEN_S}});
}

static void answer_upload(struct herd *herd, uint32_t number, uint32_t slot)
{
    struct device *device = &herd->devices[number];
    const struct engine_action action = device->slots[slot];
    bool is_preview = action.upload.blob.b[0] == 1;
    uint64_t size = is_preview ? PREVIEW_BYTES : 10 * PREVIEW_BYTES;
    uint64_t offset = action.upload.offset + action.upload.bytes_max;

    (void)pace(herd, false);
    offset = action.upload.step == UPLOAD_CHUNK ? (offset < size ? offset : size) : 0;
    if (offset == size) {
        if (is_preview)
            device->previews_left--;
        else
            device->photos_left--;
        device->outbox.blobs_unconfirmed++;
        tell_outbox(herd, number);
    }
    feed(herd, number,
        (struct engine_event){.kind = ENGINE_UPLOADED,
            .slot = slot,
            .uploaded = {
                .step = action.upload.step, .blob = action.upload.blob, .offset = offset, .size = size}});
}

/* False when it is told to wait. */
static bool is_served(struct herd *herd)
{
    if (herd->served_a_second == 0)
        return true;
    if (herd->now_ms / SECOND_MS != herd->second) {
        herd->second = herd->now_ms / SECOND_MS;
        herd->served = 0;
    }
    return herd->served++ < herd->served_a_second;
}

static void end_request(struct herd *herd, uint32_t number, uint32_t slot)
{
    struct device *device = &herd->devices[number];
    struct engine_event failed = {.kind = ENGINE_FAILED, .slot = slot, .failed.failure = FAILURE_NETWORK};

    device->busy[slot] = false;
    if (device->failing[slot]) {
        feed(herd, number, failed);
    } else if (!is_served(herd)) {
        herd->refused++;
        uint32_t wait_s =
            herd->paced_a_second > 0 ? pace_turned_away(&herd->pace, herd->paced_a_second, herd->now_ms) : 0;

        wait_s = wait_s > herd->retry_after_s ? wait_s : herd->retry_after_s;
        device->not_before_ms = herd->now_ms + wait_s * SECOND_MS;
        failed.failed.failure = FAILURE_BUSY;
        failed.failed.retry_after_s = wait_s;
        feed(herd, number, failed);
    } else if (device->slots[slot].kind == ENGINE_SEND_EXCHANGE) {
        answer_exchange(herd, number, slot);
    } else {
        answer_upload(herd, number, slot);
    }
}

static void run_until(struct herd *herd, uint64_t until_ms)
{
    while (herd->heap_count > 0 && herd->heap[0].at_ms <= until_ms) {
        struct happening first = take_first(herd);
        struct device *device = &herd->devices[first.device];

        if (first.serial == 0 && first.at_ms != device->timer_ms)
            continue; /* another one was set since */
        if (first.serial != 0 && (first.serial != device->serial[first.slot] || !device->busy[first.slot]))
            continue;
        herd->now_ms = first.at_ms;
        if (first.serial == 0)
            feed(herd, first.device, (struct engine_event){.kind = ENGINE_TIMER});
        else
            end_request(herd, first.device, first.slot);
    }
    herd->now_ms = until_ms;
}

/* ---- stories ---- */

/* Devices that were switched on over half an hour, and have nothing to send. */
static void herd_begin(struct herd *herd, uint32_t count)
{
    const struct engine_config config = engine_config_default();

    *herd = (struct herd){.count = count, .link_is_up = true, .random = 11, .now_ms = MINUTE_MS};
    herd->devices = calloc(count, sizeof(*herd->devices));
    assert_non_null(herd->devices);
    for (uint32_t i = 0; i < count; i++) {
        struct device *device = &herd->devices[i];

        run_until(herd, MINUTE_MS + i * (30 * MINUTE_MS) / count);
        assert_int_equal(engine_new(&config, &device->engine), 0);
        device->outbox.log_count = 1;
        device->outbox.logs[0] = (struct engine_log){.id = log_of(i), .size = 2};
        tell_outbox(herd, i);
        feed(herd, i, (struct engine_event){.kind = ENGINE_STARTED});
    }
    run_until(herd, HOUR_MS);
}

static void herd_end(struct herd *herd)
{
    for (uint32_t i = 0; i < herd->count; i++)
        engine_free(herd->devices[i].engine);
    free(herd->devices);
    free(herd->heap);
}

static void set_link(struct herd *herd, bool up)
{
    herd->link_is_up = up;
    for (uint32_t i = 0; i < herd->count; i++)
        feed(herd, i, (struct engine_event){.kind = ENGINE_LINK, .link.up = up});
}

/* People go on recording: each makes 1 to 20 records, up to 3 photos, one in twenty something urgent. */
static void pass_outage(struct herd *herd, uint64_t outage_ms)
{
    uint64_t start_ms = herd->now_ms;

    set_link(herd, false);
    for (uint32_t i = 0; i < herd->count; i++) {
        struct device *device = &herd->devices[i];

        run_until(herd, start_ms + i * (outage_ms - MINUTE_MS) / herd->count);
        device->outbox.logs[0].size += 1 + draw(herd, 20);
        device->outbox.urgent_text = draw(herd, 20) == 0;
        device->photos_left = device->previews_left = draw(herd, 4);
        tell_outbox(herd, i);
    }
    run_until(herd, start_ms + outage_ms);
}

static size_t undone(struct herd *herd)
{
    size_t count = 0;

    for (uint32_t i = 0; i < herd->count; i++) {
        const struct engine_outbox *outbox = &herd->devices[i].outbox;

        count += outbox->logs[0].receipt_size < outbox->logs[0].size || outbox->blobs_pending > 0 ||
                 outbox->blobs_unconfirmed > 0;
    }
    return count;
}

struct rates {
    uint64_t total, seconds;
    double peak, mean;
};

/* Requests in buckets of so many seconds, from second `from` to the last one that has any, before `end`. */
static struct rates rates_of(const struct herd *herd, size_t from, size_t end, size_t width)
{
    struct rates rates = {0};
    size_t last = from;

    for (size_t i = from; i < end; i++)
        if (herd->buckets[i] > 0)
            last = i;
    for (size_t i = from; i <= last; i += width) {
        uint64_t sum = 0;

        for (size_t k = i; k < i + width && k <= last; k++)
            sum += herd->buckets[k];
        rates.total += sum;
        if ((double)sum / (double)width > rates.peak)
            rates.peak = (double)sum / (double)width;
    }
    rates.seconds = last - from + 1;
    rates.mean = (double)rates.total / (double)rates.seconds;
    return rates;
}

static void ten_thousand_that_come_back_at_once_are_spread_out(void **state)
{
    struct herd *herd = calloc(1, sizeof(*herd));
    struct rates rates;
    uint64_t up_ms;

    assert_non_null(herd);
    herd_begin(herd, DEVICES_MAX);
    assert_int_equal(undone(herd), 0);
    pass_outage(herd, 40 * MINUTE_MS);
    assert_int_equal(undone(herd), DEVICES_MAX);
    up_ms = herd->counted_from_ms = herd->now_ms;
    set_link(herd, true);
    run_until(herd, up_ms + 10 * MINUTE_MS);
    assert_int_equal(undone(herd), 0);
    rates = rates_of(herd, 0, 600, 1);
    print_message("# backlog: %llu requests in %llu s, buckets of 1 s: mean %.0f/s, peak %.0f/s\n",
        (unsigned long long)rates.total, (unsigned long long)rates.seconds, rates.mean, rates.peak);
    assert_true(rates.peak <= 2 * rates.mean);
    assert_int_equal(herd->alarms, 0);
    /* And the next time they ask, with nothing to send. */
    run_until(herd, up_ms + 2 * HOUR_MS);
    rates = rates_of(herd, 3590, 4700, 10);
    print_message("# next contacts: %llu requests in %llu s, buckets of 10 s: mean %.1f/s, peak %.1f/s\n",
        (unsigned long long)rates.total, (unsigned long long)rates.seconds, rates.mean, rates.peak);
    assert_true(rates.total >= DEVICES_MAX);
    assert_true(rates.peak <= 2 * rates.mean);
    herd_end(herd);
    free(herd);
}

struct busy_herd {
    uint64_t served_a_second, paced_a_second;
    uint32_t retry_after_s;
    uint64_t refused, seconds; /* what came of it */
};

/* The centre serves so many requests a second and tells all others to come back later, by 503. That no device
 * asks before is asserted with each request. */
static void busy_herd(struct busy_herd *story)
{
    struct herd *herd = calloc(1, sizeof(*herd));
    struct rates rates;
    uint64_t up_ms;

    assert_non_null(herd);
    herd_begin(herd, 1000);
    pass_outage(herd, 5 * MINUTE_MS); /* too short for link-up waits: all come within 5 s */
    up_ms = herd->counted_from_ms = herd->now_ms;
    herd->served_a_second = story->served_a_second;
    herd->retry_after_s = story->retry_after_s;
    herd->paced_a_second = story->paced_a_second;
    set_link(herd, true);
    while (undone(herd) > 0 && herd->now_ms < up_ms + 90 * MINUTE_MS)
        run_until(herd, herd->now_ms + SECOND_MS);
    story->seconds = (herd->now_ms - up_ms) / SECOND_MS;
    story->refused = herd->refused;
    rates = rates_of(herd, 0, 90 * 60, 1);
    print_message(
        "# Retry-After %u s, paced at %llu/s: %llu requests in %llu s, %llu of them told to wait by 503, "
        "%llu by an answer, peak %.0f/s, %llu alarms\n",
        story->retry_after_s, (unsigned long long)story->paced_a_second, (unsigned long long)rates.total,
        (unsigned long long)story->seconds, (unsigned long long)herd->refused,
        (unsigned long long)herd->told_later, rates.peak, (unsigned long long)herd->alarms);
    assert_int_equal(undone(herd), 0);
    assert_true(story->paced_a_second == 0 || herd->told_later > 0);
    herd_end(herd);
    free(herd);
}

static void a_thousand_that_are_told_to_wait_5_s_obey_and_get_through(void **state)
{
    struct busy_herd story = {.served_a_second = 100, .retry_after_s = 5};

    busy_herd(&story);
    assert_true(story.refused > 1000);
}

static void a_thousand_that_are_told_to_wait_30_s_obey_and_get_through(void **state)
{
    struct busy_herd story = {.served_a_second = 100, .retry_after_s = 30};

    busy_herd(&story);
    assert_true(story.refused > 1000);
}

/* A centre that says in its answers and refusals when it has time again has to turn away far fewer. */
static void a_thousand_that_are_paced_are_seldom_turned_away(void **state)
{
    struct busy_herd unpaced = {.served_a_second = 100, .retry_after_s = 5}, paced = unpaced;

    paced.paced_a_second = 80;
    busy_herd(&unpaced);
    busy_herd(&paced);
    assert_true(paced.refused * 2 <= unpaced.refused);
    assert_true(paced.seconds <= 2 * unpaced.seconds); /* the price: 143 s became 180 s */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousand_that_come_back_at_once_are_spread_out),
        cmocka_unit_test(a_thousand_that_are_told_to_wait_5_s_obey_and_get_through),
        cmocka_unit_test(a_thousand_that_are_told_to_wait_30_s_obey_and_get_through),
        cmocka_unit_test(a_thousand_that_are_paced_are_seldom_turned_away),
    };

    return cmocka_run_group_tests_name("engine herd", tests, NULL, NULL);
}
