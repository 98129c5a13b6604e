/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appends what `patrol` never would to a handheld's store, as a newer or a faulty program could; and writes
 * and moves the WAL as fast as it can, beside others.
 *
 *   append DIR raw          appends stdin, whatever it is, as one record; prints its id
 *   append DIR hammer N     N times: appends a finding, then moves the WAL into the database; prints the ids
 */
#include "store/store.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

static void must(int r, const char *what)
{
    if (r >= 0)
        return;
    fprintf(stderr, "append: %s: %s\n", what, strerror(-r));
    exit(1);
}

static void append(struct store *store, struct bytes record)
{
    const struct store_author author = {
        .inspector = bytes_of_text("inspector-1"), .software = bytes_of_text("append")};
    struct store_entry entry = {.record = record, .kind = RECORD_FINDING};
    struct store_appended appended;
    char text[UUID_TEXT_LEN + 1];

    must(store_append(store, &author, &entry, 1, &appended), "append");
    text_uuid(appended.id.b, text);
    puts(text);
    fflush(stdout);
}

static void append_raw(struct store *store)
{
    uint8_t record[RECORD_BYTES_MAX];
    size_t len = fread(record, 1, sizeof(record), stdin);

    append(store, bytes_of(record, len));
}

static void encode_finding(const struct world *world, unsigned long number, struct buffer *ret)
{
    char note[64];
    int len = snprintf(note, sizeof(note), "hammered %lu", number);
    const struct record record = {
        .kind = RECORD_FINDING,
        .wall_ms = world->verbs->wall_ms(world->context),
        .utc_offset_min = 480,
        .boot_ms = world->verbs->boot_ms(world->context),
        .inspector = bytes_of_text("inspector-1"),
        .finding = {.category = {.scheme = bytes_of_text("GB/T 47678.5"),
                        .version = bytes_of_text("2026"),
                        .code = bytes_of_text("06010")},
            .severity = SEVERITY_NORMAL,
            .note = bytes_of(note, (size_t)len),
            .has_position = true,
            .position = {.lat_e7 = 312304000, .lon_e7 = 1214737000}},
    };
    must(record_encode(&record, ret), "encode");
}

static void hammer(struct store *store, unsigned long count)
{
    struct buffer bytes = {0};

    for (unsigned long i = 0; i < count; i++) {
        buffer_clear(&bytes);
        encode_finding(world_posix(), i, &bytes);
        append(store, buffer_bytes(&bytes));
        int r = store_checkpoint_wal(store, true);
        must(r == -EBUSY ? 0 : r, "checkpoint");
    }
    buffer_done(&bytes);
}

int main(int argc, char **argv)
{
    struct store_opened opened;
    struct store *store;

    if (argc < 3 || sodium_init() < 0) {
        fprintf(stderr, "append: DIR raw, or DIR hammer N\n");
        return 2;
    }
    must(store_open(world_posix(), argv[1], STORE_DAEMON, &store, &opened), argv[1]);
    if (strcmp(argv[2], "raw") == 0)
        append_raw(store);
    else
        hammer(store, argc > 3 ? strtoul(argv[3], NULL, 10) : 1);
    store_free(store);
    return 0;
}
