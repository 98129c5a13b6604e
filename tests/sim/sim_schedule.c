/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtual time: the event heap, the machines' clocks, the trace by which a replay is recognised, and the
 * first failure. Knows nothing of what the events do.
 */
#include "tests/sim/sim.h"

#include <stdarg.h>

#define TRACE_LINE_MAX 512u
#define EVENTS_MAX 2000000u /* a run with more is turning in circles */

const char *coverage_name(enum coverage_kind kind)
{
    static const char *const names[COVERAGE_KIND_COUNT] = {
#define COVERAGE_NAME(name, text) [COVER_##name] = (text),
        COVERAGE_KINDS(COVERAGE_NAME)
#undef COVERAGE_NAME
    };

    return names[kind];
}

/* ---- chances ---- */

uint64_t sim_below(struct sim *sim, uint64_t bound)
{
    return sim_random_below(&sim->random, bound);
}

bool sim_chance(struct sim *sim, unsigned percent)
{
    return sim_random_chance(&sim->random, percent);
}

uint64_t sim_between(struct sim *sim, uint64_t low, uint64_t high)
{
    return low + sim_below(sim, high - low + 1);
}

void sim_cover(struct sim *sim, enum coverage_kind kind)
{
    sim->coverage->counts[kind]++;
}

/* ---- trace and failures ---- */

void sim_trace(struct sim *sim, const char *format, ...)
{
    char line[TRACE_LINE_MAX];
    va_list arguments;
    int len;

    va_start(arguments, format);
    len = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (len < 0)
        abort();
    if ((size_t)len >= sizeof(line))
        len = (int)sizeof(line) - 1;
    crypto_hash_sha256_update(&sim->trace, (const uint8_t *)&sim->now_ms, sizeof(sim->now_ms));
    crypto_hash_sha256_update(&sim->trace, (const uint8_t *)line, (unsigned long long)len);
    if (sim->prints_trace)
        printf("%9llu.%03llu %s\n", (unsigned long long)(sim->now_ms / 1000),
            (unsigned long long)(sim->now_ms % 1000), line);
}

void sim_fail(struct sim *sim, const char *format, ...)
{
    va_list arguments;

    if (sim_failed(sim))
        return;
    va_start(arguments, format);
    (void)vsnprintf(sim->failure, sizeof(sim->failure), format, arguments);
    va_end(arguments);
    sim_trace(sim, "FAILED: %s", sim->failure);
}

bool sim_failed(const struct sim *sim)
{
    return sim->failure[0] != 0;
}

/* ---- the heap ---- */

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->order < b->order);
}

static void swap(struct sim_event *a, struct sim_event *b)
{
    struct sim_event kept = *a;

    *a = *b;
    *b = kept;
}

void sim_at(struct sim *sim, uint64_t delay_ms, void (*run)(struct sim *sim, void *object, uint64_t number),
    void *object, uint64_t number)
{
    size_t at = sim->heap_count;

    if (at == sim->heap_capacity) {
        sim->heap_capacity = at ? 2 * at : 256;
        sim->heap = reallocarray(sim->heap, sim->heap_capacity, sizeof(*sim->heap));
        if (!sim->heap)
            abort();
    }
    sim->heap[sim->heap_count++] = (struct sim_event){.at_ms = sim->now_ms + delay_ms,
        .order = sim->next_order++,
        .run = run,
        .object = object,
        .number = number};
    for (; at > 0 && is_before(&sim->heap[at], &sim->heap[(at - 1) / 2]); at = (at - 1) / 2)
        swap(&sim->heap[at], &sim->heap[(at - 1) / 2]);
}

static struct sim_event heap_take(struct sim *sim)
{
    struct sim_event first = sim->heap[0];
    size_t at = 0;

    sim->heap[0] = sim->heap[--sim->heap_count];
    for (;;) {
        size_t left = 2 * at + 1, least = at;

        if (left < sim->heap_count && is_before(&sim->heap[left], &sim->heap[least]))
            least = left;
        if (left + 1 < sim->heap_count && is_before(&sim->heap[left + 1], &sim->heap[least]))
            least = left + 1;
        if (least == at)
            return first;
        swap(&sim->heap[at], &sim->heap[least]);
        at = least;
    }
}

bool sim_step(struct sim *sim, uint64_t until_ms)
{
    struct sim_event event;

    if (sim_failed(sim))
        return false;
    if (sim->heap_count == 0 || sim->heap[0].at_ms > until_ms) {
        sim->now_ms = until_ms;
        return false;
    }
    event = heap_take(sim);
    sim->now_ms = event.at_ms;
    if (++sim->events_run > EVENTS_MAX) {
        sim_fail(sim, "more than %u events: something turns in circles", EVENTS_MAX);
        return false;
    }
    machine_tick(sim, &sim->server.machine);
    for (size_t i = 0; i < sim->handheld_count; i++)
        machine_tick(sim, &sim->handhelds[i].machine);
    event.run(sim, event.object, event.number);
    return !sim_failed(sim);
}

/* ---- machines ---- */

void machine_boot(struct sim *sim, struct machine *machine)
{
    for (size_t i = 0; i < BOOT_ID_BYTES; i++)
        machine->clock.boot_id[i] = (uint8_t)sim_below(sim, 256);
    machine->clock.boot_ms = sim_between(sim, 5 * SECOND_MS, 40 * SECOND_MS);
}

void machine_init(struct sim *sim, struct machine *machine, const char *name)
{
    machine->name = name;
    machine->clock.wall_ms = INT64_C(1790000000000) + (int64_t)sim_below(sim, DAY_MS);
    machine->clock_at_ms = sim->now_ms;
    machine->disk = sim_disk_new(name, sim_random_u64(&sim->random), &machine->clock);
    machine->world = sim_disk_world(machine->disk);
    machine->is_on = true;
    machine_boot(sim, machine);
}

void machine_done(struct machine *machine)
{
    sim_disk_free(machine->disk);
    machine->disk = NULL;
}

/* What a call has waited for by pause_ms is time that was over for this machine alone. */
void machine_tick(struct sim *sim, struct machine *machine)
{
    uint64_t passed_ms = sim->now_ms - machine->clock_at_ms;

    machine->clock_at_ms = sim->now_ms;
    machine->clock.boot_ms += passed_ms;
    machine->clock.wall_ms += (int64_t)passed_ms;
}
