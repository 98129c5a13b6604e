/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `patrol list` and `patrol show`: what was recorded here and how far it has come.
 */
#include "base/rfc3339.h"
#include "collector/commands.h"
#include "collector/finding_json.h"

#include <errno.h>
#include <string.h>

struct listing {
    struct program *program;
    struct store *store;
    struct arena arena;
    bool any;
};

/* States of photos come from the store; a photo it no longer knows was never acknowledged. */
static int photo_state(struct store *store, const struct sha256 *sha256, const char **ret, bool *complete)
{
    struct store_blob blob;
    int r = store_blob_find(store, sha256, &blob);
    if (r < 0 && r != -ENOENT)
        return r;
    enum blob_state state = r == -ENOENT ? BLOB_PENDING : blob.state;
    uint64_t erased_by = 0;
    if (state == BLOB_FREED && (r = store_blob_erased_by(store, sha256, &erased_by)) < 0)
        return r;
    *ret = erased_by > 0 ? "erased" : blob_state_name(state);
    if (state == BLOB_PENDING || state == BLOB_STATE_LOST)
        *complete = false;
    return 0;
}

static int state_of(struct listing *listing, const struct store_record *stored, const struct record *record,
    struct finding_state *ret)
{
    struct program *program = listing->program;
    struct finding_state state = {
        .id = stored->id,
        .at = stored->at,
        .has_device = program->enrolled,
        .state = record_state_name(stored->state),
        .reason = stored->reason,
        .complete = stored->state != RECORD_QUEUED,
    };
    if (program->enrolled)
        state.device = program->enrolment.device;
    const struct finding *finding = record_finding(record);
    for (size_t i = 0; finding && i < finding->photo_count; i++) {
        int r =
            photo_state(listing->store, &finding->photos[i].sha256, &state.photo_states[i], &state.complete);
        if (r >= 0 && finding->photos[i].preview_size > 0)
            r = photo_state(listing->store, &finding->photos[i].preview_sha256, &state.preview_states[i],
                &state.complete);
        if (r < 0)
            return r;
    }
    *ret = state;
    return 0;
}

/* Standard output took no more: main says so, and nothing further is read for it. */
#define OUTPUT_ENDED 1

static int print_json(const struct record *record, const struct finding_state *state)
{
    _cleanup_buffer_ struct buffer line = {0};
    finding_put_object(record, state, &line);
    buffer_put_u8(&line, '\n');
    if (buffer_finish(&line) < 0)
        return -ENOMEM;
    return fwrite(line.data, 1, line.len, stdout) == line.len ? 0 : OUTPUT_ENDED;
}

static unsigned photos_arrived(const struct finding *finding, const struct finding_state *state)
{
    unsigned arrived = 0;
    for (size_t i = 0; i < finding->photo_count; i++)
        arrived += strcmp(state->photo_states[i], blob_state_name(BLOB_PENDING)) != 0 &&
                   strcmp(state->photo_states[i], blob_state_name(BLOB_STATE_LOST)) != 0;
    return arrived;
}

static int print_row(struct listing *listing, const struct record *record, const struct finding_state *state)
{
    char id[UUID_TEXT_LEN + 1], time[RFC3339_LEN + 1], photos[32] = "";
    text_uuid(state->id.b, id);
    rfc3339_format(record->wall_ms / 1000 * 1000, record->utc_offset_min, time);
    time[19] = '\0';
    if (time[10] == 'T')
        time[10] = ' ';
    if (!listing->any)
        printf("%-36s  %-19s  %-11s  %-8s  %-11s  %-7s  %s\n", "id", "recorded", "state", "severity", "kind",
            "photos", "category");
    listing->any = true;
    const struct finding *finding = record_finding(record);
    const char *category = "";
    char code[CODE_BYTES_MAX + 1] = "";
    if (finding) {
        memcpy(code, finding->category.code.data, finding->category.code.len);
        code[finding->category.code.len] = '\0';
        const struct directory *directory = program_categories(listing->program);
        const struct directory_entry *entry = NULL;

        if (bytes_equal(finding->category.scheme, bytes_of_text(directory->scheme)))
            entry = directory_find(directory, CATEGORY_MATTER, code);
        category = entry ? directory_name(entry, false) : "";
        if (finding->photo_count > 0)
            snprintf(
                photos, sizeof(photos), "%u of %zu", photos_arrived(finding, state), finding->photo_count);
    }
    return printf("%s  %s  %-11s  %-8s  %-11s  %-7s  %s %s\n", id, time, state->state,
               finding ? severity_name(finding->severity) : "", record_kind_name(record->kind), photos, code,
               category) < 0
               ? OUTPUT_ENDED
               : 0;
}

/* Of a record that was erased only its place and its id are left. */
static int print_erased(struct listing *listing, const struct store_record *stored)
{
    char id[UUID_TEXT_LEN + 1], log[UUID_TEXT_LEN + 1];
    const char *kind = record_kind_name(stored->recorded_kind);
    text_uuid(stored->id.b, id);
    text_uuid(stored->at.log.b, log);
    if (listing->program->options.json)
        return printf("{\"id\":\"%s\",\"log\":\"%s\",\"seq\":%llu,\"kind\":\"%s\",\"state\":\"erased\","
                      "\"erased_by\":%llu}\n",
                   id, log, (unsigned long long)stored->at.seq, kind,
                   (unsigned long long)stored->erased_by) < 0
                   ? OUTPUT_ENDED
                   : 0;
    char order[ORDER_TEXT_MAX];
    order_text(stored->erased_by, order);
    return printf("%s  %-19s  %-11s  by %s (%s)\n", id, "", "erased", order, kind) < 0 ? OUTPUT_ENDED : 0;
}

static int decode(struct listing *listing, const struct store_record *stored, struct record *ret)
{
    arena_reset(&listing->arena, arena_budget_for(stored->record.len));
    int r = record_decode(stored->record, &listing->arena, ret, NULL);
    if (r < 0 || ret->kind != RECORD_REHOMED)
        return r;
    struct bytes inner = ret->rehomed.record;
    return record_decode(inner, &listing->arena, ret, NULL);
}

static int each(void *user, const struct store_record *stored)
{
    struct listing *listing = user;
    struct record record;
    struct finding_state state;
    if (stored->is_erased)
        return print_erased(listing, stored);
    int r = decode(listing, stored, &record);
    if (r == -ENOMEM)
        return r; /* it says nothing of the record */
    if (r < 0) {
        fprintf(stderr, "patrol: the record at %llu cannot be read; patrol list goes on\n",
            (unsigned long long)stored->at.seq);
        return 0;
    }
    r = state_of(listing, stored, &record, &state);
    if (r < 0)
        return r;
    return listing->program->options.json ? print_json(&record, &state) : print_row(listing, &record, &state);
}

static int filter_of(const char *state, struct store_filter *ret)
{
    ret->findings_only = true;
    if (!state)
        return 0;
    static const enum record_state states[] = {RECORD_QUEUED, RECORD_SENT, RECORD_QUARANTINED};
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        if (strcmp(state, record_state_name(states[i])) == 0) {
            ret->has_state = true;
            ret->state = states[i];
            return 0;
        }
    }
    return -EINVAL;
}

/* A list that is short must say why. */
static void note_pruned(struct store *store)
{
    struct store_status status;

    if (store_status(store, &status) >= 0 && status.records_pruned > 0)
        fprintf(stderr,
            "patrol: %llu records of closed logs are not listed: they were removed here, as the centre has a "
            "backup of them\n",
            (unsigned long long)status.records_pruned);
}

enum exit_status command_list(struct program *program, const char *const *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    struct store_filter filter = {0};
    if (filter_of(program->options.state, &filter) < 0)
        return complain(EXIT_STATUS_REFUSED, "state: unknown \"%.40s\"; use queued, sent or quarantined",
            program->options.state);
    _cleanup_store_ struct store *store = NULL;
    struct store_opened opened;
    int r = store_open(program->world, program->directory, STORE_READER, &store, &opened);
    if (r == -ENOENT)
        return EXIT_STATUS_DONE; /* nothing was recorded yet: an empty list */
    if (r < 0)
        return complain_store(program, r, "list");
    program_read_enrolment(program);
    struct listing listing = {.program = program, .store = store};
    arena_init(&listing.arena, DECODE_BUDGET_BYTES_MIN);
    r = store_each_record(store, &filter, each, &listing);
    arena_done(&listing.arena);
    if (r < 0)
        return complain_store(program, r, "list");
    if (!filter.has_state || filter.state == RECORD_SENT)
        note_pruned(store);
    return EXIT_STATUS_DONE;
}

static enum exit_status print_whole(const struct record *record, const struct finding_state *state)
{
    _cleanup_buffer_ struct buffer line = {0};
    finding_put_object(record, state, &line);
    json_t *object = buffer_finish(&line) < 0 ? NULL : json_loadb((const char *)line.data, line.len, 0, NULL);
    if (!object)
        return complain(EXIT_STATUS_FAILED, "out of memory");
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        if (json_is_null(value))
            continue;
        char *text = json_is_string(value)
                         ? NULL
                         : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(10));
        printf("%-12s ", name);
        print_one_line(text ? text : json_string_value(value));
        free(text);
    }
    json_decref(object);
    return EXIT_STATUS_DONE;
}

static enum exit_status show_record(struct listing *listing, const struct store_record *stored)
{
    struct record record;
    struct finding_state state;
    int r = decode(listing, stored, &record);

    if (r < 0 && r != -ENOMEM)
        return complain(EXIT_STATUS_FAILED, "this record cannot be read by this version of patrol");
    if (r >= 0)
        r = state_of(listing, stored, &record, &state);
    if (r < 0)
        return complain_store(listing->program, r, "read the record");
    if (!listing->program->options.json)
        return print_whole(&record, &state);
    return print_json(&record, &state) < 0 ? EXIT_STATUS_FAILED : EXIT_STATUS_DONE;
}

enum exit_status command_show(struct program *program, const char *const *arguments, size_t count)
{
    (void)count;
    struct uuid id;
    if (text_parse_uuid(arguments[0], id.b) < 0)
        return complain(
            EXIT_STATUS_REFUSED, "id: \"%.60s\" is no record id; patrol list shows them", arguments[0]);
    _cleanup_store_ struct store *store = NULL;
    _cleanup_buffer_ struct buffer bytes = {0};
    struct store_record stored;
    int r = store_open(program->world, program->directory, STORE_READER, &store, NULL);
    if (r >= 0)
        r = store_find(store, &id, &bytes, &stored);
    if (r == -ENOENT)
        return complain_no_record(store, "id", arguments[0]);
    if (r < 0)
        return complain_store(program, r, "read the record");
    program_read_enrolment(program);
    struct listing listing = {.program = program, .store = store};
    if (stored.is_erased)
        return print_erased(&listing, &stored) < 0 ? EXIT_STATUS_FAILED : EXIT_STATUS_DONE;
    arena_init(&listing.arena, DECODE_BUDGET_BYTES_MIN);
    enum exit_status status = show_record(&listing, &stored);
    arena_done(&listing.arena);
    return status;
}
