/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `patrol record`, `amend` and `withdraw`: one record, durable before its id is printed.
 */
#include "collector/capture.h"
#include "collector/commands.h"

#include <errno.h>
#include <string.h>

static struct finding_form form_of(const struct patrol_options *options)
{
    struct finding_form form = {
        .category = options->category,
        .component = options->component,
        .severity = options->severity,
        .lat = options->lat,
        .lon = options->lon,
        .accuracy = options->accuracy,
        .fix_time = options->fix_time,
        .no_fix = options->no_fix,
        .observed_at = options->observed_at,
    };
    if (options->note)
        form.note = bytes_of_text(options->note);
    return form;
}

static enum exit_status refused(const struct form_refusal *refusal)
{
    return complain(EXIT_STATUS_REFUSED, "%s", refusal->message);
}

/* Encodes, appends, and only then prints the id. */
static enum exit_status append_and_print(struct program *program, struct store *store,
    const struct record *record, const struct captured_photos *photos, const struct position_in_log *parent)
{
    _cleanup_buffer_ struct buffer bytes = {0};
    int r = record_encode(record, &bytes);
    if (r == -EMSGSIZE || bytes.len > RECORD_CAPTURE_BYTES_MAX)
        return complain(EXIT_STATUS_REFUSED, "note: the whole finding is over %u bytes; shorten it",
            RECORD_CAPTURE_BYTES_MAX);
    if (r < 0)
        return complain_store(program, r, "record");
    const struct finding *finding = record_finding(record);
    struct store_entry entry = {
        .record = buffer_bytes(&bytes),
        .kind = record->kind,
        .is_urgent = finding && finding->severity == SEVERITY_URGENT,
    };
    if (photos) {
        entry.photos = photos->stored;
        entry.photo_count = photos->count;
    }
    if (parent) {
        entry.has_parent = true;
        entry.parent = *parent;
    }
    struct store_author author = author_of(record->inspector);
    struct store_appended appended;
    r = store_append(store, &author, &entry, 1, &appended);
    if (r < 0)
        return complain_store(program, r, "record");
    char id[UUID_TEXT_LEN + 1];
    text_uuid(appended.id.b, id);
    r = puts(id) >= 0 && fflush(stdout) == 0 ? 0 : -errno;
    doorbell_ring(program->directory);
    if (r < 0)
        return complain(
            EXIT_STATUS_FAILED, "recorded as %s, but the id could not be printed: %s", id, strerror(-r));
    return EXIT_STATUS_DONE;
}

static enum exit_status inspector_of(struct program *program, struct bytes *ret)
{
    struct form_refusal refusal;
    if (form_text_take("inspector", program_inspector(program), INSPECTOR_BYTES_MAX, ret, &refusal) < 0)
        return refused(&refusal);
    return EXIT_STATUS_DONE;
}

static bool has_field_beside_from(const struct patrol_options *options)
{
    return options->category || options->component || options->severity || options->note || options->lat ||
           options->lon || options->accuracy || options->fix_time || options->no_fix ||
           options->observed_at || options->photos.count > 0;
}

enum exit_status command_record(struct program *program, const char *const *arguments, size_t count)
{
    (void)arguments;
    (void)count;
    const struct patrol_options *options = &program->options;
    if (options->from && has_field_beside_from(options))
        return complain(EXIT_STATUS_USAGE, "record: with --from, findings come from the file alone; of the "
                                           "fields, only --inspector may be given");
    if (options->from)
        return command_import(program);
    struct finding_form form = form_of(options);
    struct form_refusal refusal;
    struct finding finding;
    if (finding_form_take(&form, program_categories(program), &finding, &refusal) < 0)
        return refused(&refusal);
    struct bytes inspector;
    enum exit_status status = inspector_of(program, &inspector);
    if (status != EXIT_STATUS_DONE)
        return status;

    _cleanup_store_ struct store *store = NULL;
    if (program_open_store(program, STORE_COLLECTOR, &store, &status) < 0)
        return status;
    struct captured_photos photos;
    int r = capture_photos(program, store, options->photos.values, options->photos.count,
        finding.severity == SEVERITY_URGENT, &photos, &refusal);
    if (r == -EINVAL)
        return refused(&refusal);
    if (r < 0)
        return complain_store(program, r, "keep the photo");
    finding.photos = photos.photos;
    finding.photo_count = photos.count;
    struct record record = record_now(program, RECORD_FINDING, inspector);
    record.finding = finding;
    return append_and_print(program, store, &record, &photos, NULL);
}

/* ---- amend and withdraw ---- */

/* A finding as it now is: its newest amendment, or itself. */
struct current {
    struct store_record original; /* the finding that the id names */
    struct uuid id;
    struct buffer original_bytes, bytes;
    struct arena arena;
    struct record record;
};

static void current_done(struct current *current)
{
    buffer_done(&current->original_bytes);
    buffer_done(&current->bytes);
    arena_done(&current->arena);
}

static enum exit_status decode_current(
    const struct program *program, struct current *current, const struct store_record *stored)
{
    arena_init(&current->arena, arena_budget_for(stored->recorded.len));
    const char *reason = "it cannot be read";
    int r = record_decode(stored->recorded, &current->arena, &current->record, &reason);
    if (r == -ENOMEM)
        return complain_store(program, r, "read the record");
    if (r < 0)
        return complain(EXIT_STATUS_REFUSED, "id: this record cannot be changed: %s", reason);
    if (!record_finding(&current->record))
        return complain(
            EXIT_STATUS_REFUSED, "id: this is no finding; give the id that patrol record printed");
    return EXIT_STATUS_DONE;
}

static enum exit_status find_current(
    struct program *program, struct store *store, const char *text, struct current *ret)
{
    if (text_parse_uuid(text, ret->id.b) < 0)
        return complain(EXIT_STATUS_REFUSED, "id: \"%.60s\" is no record id; patrol list shows them", text);
    int r = store_find(store, &ret->id, &ret->original_bytes, &ret->original);
    if (r == -ENOENT)
        return complain_no_record(store, "id", text);
    if (r < 0)
        return complain_store(program, r, "find the record");
    if (ret->original.is_erased) {
        char order[ORDER_TEXT_MAX];
        order_text(ret->original.erased_by, order);
        return complain(EXIT_STATUS_REFUSED, "id: this finding was erased by %s", order);
    }
    if (ret->original.recorded_kind == RECORD_AMENDMENT || ret->original.recorded_kind == RECORD_WITHDRAWAL)
        return complain(EXIT_STATUS_REFUSED, "id: this is the id of %s; give the id of the finding itself",
            ret->original.recorded_kind == RECORD_AMENDMENT ? "an amendment" : "a withdrawal");
    bool amended = false, withdrawn = false;
    struct position_in_log amendment;
    r = store_later_versions(store, &ret->original.at, &amended, &amendment, &withdrawn);
    if (r < 0)
        return complain_store(program, r, "find the record");
    if (withdrawn)
        return complain(EXIT_STATUS_REFUSED, "id: this finding was withdrawn; record a new one");
    if (!amended)
        return decode_current(program, ret, &ret->original);
    struct store_record newest;
    r = store_read(store, &amendment, &ret->bytes, &newest);
    if (r < 0)
        return complain_store(program, r, "read the record");
    return decode_current(program, ret, &newest);
}

/* Named by where it was recorded first: so centre and store know it, in whatever log it stands now. */
static struct parent parent_of(const struct current *current)
{
    const struct store_record *original = &current->original;

    return (struct parent){
        .log = original->recorded_at.log, .seq = original->recorded_at.seq, .id = original->id};
}

static enum exit_status amend_current(
    struct program *program, struct store *store, const struct current *current, struct bytes inspector)
{
    const struct patrol_options *options = &program->options;
    struct finding_form form = form_of(options);
    const struct finding *before = record_finding(&current->record);
    struct form_refusal refusal;
    struct finding finding;
    if (finding_form_amend(
            &form, program_categories(program), before, options->photos.count > 0, &finding, &refusal) < 0)
        return refused(&refusal);
    if (before->photo_count + options->photos.count > FINDING_PHOTOS_MAX)
        return complain(EXIT_STATUS_REFUSED,
            "photo: %zu photos with those it has, at most %u are taken; leave some out",
            before->photo_count + options->photos.count, FINDING_PHOTOS_MAX);
    struct captured_photos added;
    int r = capture_photos(program, store, options->photos.values, options->photos.count,
        finding.severity == SEVERITY_URGENT, &added, &refusal);
    if (r == -EINVAL)
        return refused(&refusal);
    if (r < 0)
        return complain_store(program, r, "keep the photo");
    struct photo photos[FINDING_PHOTOS_MAX];
    if (before->photo_count > 0)
        memcpy(photos, before->photos, before->photo_count * sizeof(*photos));
    if (added.count > 0)
        memcpy(photos + before->photo_count, added.photos, added.count * sizeof(*photos));
    finding.photos = photos;
    finding.photo_count = before->photo_count + added.count;
    /* A changed finding keeps the time at which it was seen. */
    if (finding.observed_ms == 0)
        finding.observed_ms = current->record.wall_ms;
    struct record record = record_now(program, RECORD_AMENDMENT, inspector);
    record.amendment = (struct amendment){.parent = parent_of(current), .finding = finding};
    return append_and_print(program, store, &record, &added, &current->original.recorded_at);
}

static enum exit_status withdraw_current(
    struct program *program, struct store *store, const struct current *current, struct bytes inspector)
{
    struct record record = record_now(program, RECORD_WITHDRAWAL, inspector);
    record.withdrawal.parent = parent_of(current);
    struct form_refusal refusal;
    if (form_text_take(
            "reason", program->options.reason, REASON_BYTES_MAX, &record.withdrawal.reason, &refusal) < 0)
        return refused(&refusal);
    return append_and_print(program, store, &record, NULL, &current->original.recorded_at);
}

static enum exit_status change(struct program *program, const char *id,
    enum exit_status (*function)(
        struct program *program, struct store *store, const struct current *current, struct bytes inspector))
{
    struct bytes inspector;
    enum exit_status status = inspector_of(program, &inspector);
    if (status != EXIT_STATUS_DONE)
        return status;
    _cleanup_store_ struct store *store = NULL;
    if (program_open_store(program, STORE_COLLECTOR, &store, &status) < 0)
        return status;
    _cleanup_(current_done) struct current current = {0};
    status = find_current(program, store, id, &current);
    return status == EXIT_STATUS_DONE ? function(program, store, &current, inspector) : status;
}

enum exit_status command_amend(struct program *program, const char *const *arguments, size_t count)
{
    (void)count;
    return change(program, arguments[0], amend_current);
}

enum exit_status command_withdraw(struct program *program, const char *const *arguments, size_t count)
{
    (void)count;
    struct bytes reason;
    struct form_refusal refusal;
    if (form_text_take("reason", program->options.reason, REASON_BYTES_MAX, &reason, &refusal) < 0)
        return complain(EXIT_STATUS_REFUSED, "%s (--reason TEXT)", refusal.message);
    return change(program, arguments[0], withdraw_current);
}
