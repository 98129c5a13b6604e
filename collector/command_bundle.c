/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `patrol export --bundle` and `patrol import-receipts`: what goes to the centre, and what comes back from
 * it, on a data carrier.
 *
 * The daemon signs the requests and applies the receipts, over its control socket: the device's key is its
 * alone. Photos are read from the store here. Nothing is removed, whatever happens to the bundle.
 */
#include "base/output_file.h"
#include "collector/commands.h"
#include "collector/control_client.h"
#include "collector/kept_photo.h"
#include "proto/base64.h"
#include "proto/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#define DAEMON_WAIT_MS 3000u
#define ASK_WAIT_MS UINT64_C(60000) /* the daemon may have to wait for the store's lock */
#define BUNDLE_LOGS_MAX 1024u
#define PHOTOS_PAGE 256u
#define RECEIPTS_FILE_BYTES_MAX (64u * 1024u * 1024u)
#define BASE64 sodium_base64_VARIANT_ORIGINAL

/* ---- asking the daemon ---- */

static uint64_t now_ms(const struct program *program)
{
    return program->world->verbs->boot_ms(program->world->context);
}

/* One call, one reply: a new reference to it in `ret`, an error included. -errno when none came. */
static int ask(const struct program *program, struct control_client *client, const char *method,
    json_t *parameters, json_t **ret)
{
    int r = control_call(client, method, parameters, false);

    return r < 0 ? r : control_reply(client, program->world, now_ms(program) + ASK_WAIT_MS, ret);
}

static const char *error_of(const json_t *reply)
{
    return json_string_value(json_object_get(reply, "error"));
}

static const json_t *parameter(const json_t *reply, const char *name)
{
    return json_object_get(json_object_get(reply, "parameters"), name);
}

static uint64_t number(const json_t *reply, const char *name)
{
    json_int_t value = json_integer_value(parameter(reply, name));

    return value > 0 ? (uint64_t)value : 0;
}

static enum exit_status complain_daemon(int error)
{
    if (error == -ENOMEM)
        return complain(EXIT_STATUS_FAILED, "out of memory");
    if (error == -ETIMEDOUT)
        return complain(EXIT_STATUS_FAILED, "the daemon does not answer; try again");
    return complain(EXIT_STATUS_FAILED, "the daemon ended meanwhile; start it, and try again");
}

static enum exit_status status_of_error(const char *error)
{
    if (strcmp(error, CONTROL_ERROR_NOT_ENROLLED) == 0)
        return EXIT_STATUS_NOT_ENROLLED;
    return strcmp(error, CONTROL_ERROR_REFUSED) == 0 ? EXIT_STATUS_REFUSED : EXIT_STATUS_FAILED;
}

static int envelope_of(const json_t *reply, struct buffer *ret)
{
    const char *text = json_string_value(parameter(reply, "envelope"));

    return text && text[0] ? base64_take(bytes_of_text(text), BASE64_STANDARD, ret) : -EBADMSG;
}

/* ---- export ---- */

struct exporting {
    struct program *program;
    struct store *store;
    struct control_client daemon;
    struct output_file file;
    struct bundle_writer writer;
    struct buffer frame; /* what is written next */
    char id[2 * REQUEST_ID_BYTES + 1];
    int64_t newest_blob;
    uint64_t records, photos, photos_gone, bytes;
    uint64_t records_pruned; /* of logs that were pruned: none of them is in the bundle */
    bool all;                /* also what the centre has signed for */
    bool terminal;
};

static void exporting_done(struct exporting *exporting)
{
    control_client_done(&exporting->daemon);
    output_file_done(&exporting->file);
    sodium_memzero(&exporting->writer, sizeof(exporting->writer));
    buffer_done(&exporting->frame);
}

static void show_progress(const struct exporting *exporting)
{
    if (exporting->terminal)
        fprintf(stderr, "\r\033[K%" PRIu64 " records, %" PRIu64 " photos, %" PRIu64 " MB", exporting->records,
            exporting->photos, exporting->bytes / 1000000);
}

static void end_progress(const struct exporting *exporting)
{
    if (exporting->terminal)
        fputs("\r\033[K", stderr);
}

static enum exit_status complain_output(const struct exporting *exporting, int r)
{
    const char *path = exporting->program->options.bundle;

    end_progress(exporting);
    if (r == -ENOSPC || r == -EDQUOT)
        return complain(EXIT_STATUS_NO_SPACE,
            "bundle: %s: the disk is full; nothing was written, nothing was removed", path);
    if (r == -EFBIG)
        return complain(EXIT_STATUS_NO_SPACE,
            "bundle: %s: this file system takes no file so large (FAT: 4 GiB); use one with exFAT or ext4; nothing "
            "was written",
            path);
    return complain(EXIT_STATUS_FAILED, "bundle: %s: %s; nothing was written", path, strerror(-r));
}

/* Writes the frame that was made, if it was (`r`). */
static enum exit_status put_frame(struct exporting *exporting, int r)
{
    if (r >= 0)
        r = output_file_write(&exporting->file, exporting->frame.data, exporting->frame.len);
    if (r < 0)
        return complain_output(exporting, r);
    exporting->bytes += exporting->frame.len;
    buffer_clear(&exporting->frame);
    return EXIT_STATUS_DONE;
}

/* Asks for an envelope. On success the reply is in `ret`, and the envelope in `ret_envelope`. */
static enum exit_status ask_envelope(struct exporting *exporting, const char *method, json_t *parameters,
    struct buffer *ret_envelope, json_t **ret)
{
    json_t *reply = NULL;
    int r = ask(exporting->program, &exporting->daemon, method, parameters, &reply);
    const char *error = error_of(reply);
    const char *message = json_string_value(parameter(reply, "message"));
    enum exit_status status = EXIT_STATUS_DONE;

    if (r >= 0 && !error)
        r = envelope_of(reply, ret_envelope);
    if (r < 0 || error)
        end_progress(exporting);
    if (error)
        status = complain(status_of_error(error), "%s; nothing was written", message ? message : error);
    else if (r < 0)
        status = complain_daemon(r);
    if (status == EXIT_STATUS_DONE)
        *ret = json_incref(reply);
    json_decref(reply);
    return status;
}

static enum exit_status write_head(struct exporting *exporting, const json_t *reply)
{
    const struct program *program = exporting->program;
    const struct world *world = program->world;
    const char *id = json_string_value(parameter(reply, "bundle"));
    struct bundle_head head = {.device = program->enrolment.device,
        .made_ms = world->verbs->wall_ms(world->context),
        .software = bytes_of_text(SOFTWARE_NAME)};
    struct bundle_secrets secrets;
    _cleanup_arena_ struct arena arena;
    struct trust trust;
    int r;

    arena_init(&arena, arena_budget_for(TRUST_LIST_BYTES_MAX));
    if (enrolment_trust(&program->enrolment, &arena, &trust) < 0)
        return complain(EXIT_STATUS_FAILED, "out of memory");
    if (!id || text_parse_hex(id, strlen(id), head.bundle, REQUEST_ID_BYTES) < 0)
        return complain_daemon(-EBADMSG);
    memcpy(exporting->id, id, sizeof(exporting->id));
    world->verbs->random(world->context, &secrets, sizeof(secrets));
    r = bundle_write_start(
        &exporting->writer, trust_newest(&trust)->key.public_key, &secrets, &exporting->frame);
    sodium_memzero(&secrets, sizeof(secrets));
    if (r >= 0)
        r = bundle_write_head(&exporting->writer, &head, &exporting->frame);
    return put_frame(exporting, r);
}

/* The bundle's name, and the request with which this handheld vouches for it. */
static enum exit_status begin_bundle(struct exporting *exporting)
{
    _cleanup_buffer_ struct buffer envelope = {0};
    json_t *reply = NULL;
    enum exit_status status = ask_envelope(exporting, CONTROL_METHOD_BUNDLE_BEGIN, NULL, &envelope, &reply);
    int r;

    if (status == EXIT_STATUS_DONE) {
        r = output_file_open(exporting->program->options.bundle, &exporting->file);
        status = r < 0 ? complain_output(exporting, r) : write_head(exporting, reply);
    }
    json_decref(reply);
    if (status != EXIT_STATUS_DONE)
        return status;
    return put_frame(
        exporting, bundle_write_exchange(&exporting->writer, buffer_bytes(&envelope), &exporting->frame));
}

static enum exit_status write_log(struct exporting *exporting, const struct store_log *log)
{
    char log_text[UUID_TEXT_LEN + 1];
    enum exit_status status = EXIT_STATUS_DONE;
    uint64_t seq = exporting->all ? 0 : log->receipt_size;

    /* Nobody takes what is left of it without what stood before. */
    if (seq < log->pruned_size) {
        exporting->records_pruned += log->size - seq;
        return EXIT_STATUS_DONE;
    }
    text_uuid(log->id.b, log_text);
    while (status == EXIT_STATUS_DONE && seq < log->size) {
        _cleanup_buffer_ struct buffer envelope = {0};
        json_t *reply = NULL;
        uint64_t next;

        status = ask_envelope(exporting, CONTROL_METHOD_BUNDLE,
            json_pack("{s:s, s:I}", "log", log_text, "from_seq", (json_int_t)seq), &envelope, &reply);
        if (status != EXIT_STATUS_DONE)
            break;
        next = number(reply, "next_seq");
        json_decref(reply);
        if (next <= seq)
            return complain_daemon(-EBADMSG);
        status = put_frame(
            exporting, bundle_write_exchange(&exporting->writer, buffer_bytes(&envelope), &exporting->frame));
        exporting->records += next - seq;
        seq = next;
        show_progress(exporting);
    }
    return status;
}

/* One that turns out to be damaged is left without its end: what was written of it counts for nothing at the
 * centre. */
static enum exit_status write_photo(struct exporting *exporting, const struct store_blob *blob)
{
    uint8_t chunk[BUNDLE_CHUNK_BYTES_MAX];
    struct kept_photo photo;
    enum exit_status status = EXIT_STATUS_DONE;

    kept_photo_start(exporting->store, &blob->sha256, blob->size, &photo);
    while (status == EXIT_STATUS_DONE && photo.at < photo.size) {
        bool is_first = photo.at == 0;
        ssize_t n = kept_photo_read(&photo, chunk, sizeof(chunk));

        if (n == -ENOMEM) { /* it says nothing of the photo */
            end_progress(exporting);
            return complain_store(exporting->program, (int)n, "read a photo");
        }
        if (n <= 0) {
            exporting->photos_gone += blob->state == BLOB_PENDING;
            return EXIT_STATUS_DONE;
        }
        if (is_first)
            status = put_frame(exporting,
                bundle_write_photo(&exporting->writer, &blob->sha256, blob->size, &exporting->frame));
        if (status == EXIT_STATUS_DONE)
            status = put_frame(exporting,
                bundle_write_chunk(&exporting->writer, bytes_of(chunk, (size_t)n), &exporting->frame));
    }
    exporting->photos++;
    show_progress(exporting);
    return status;
}

static enum exit_status write_photos(struct exporting *exporting)
{
    _cleanup_free_ struct store_blob *page = calloc(PHOTOS_PAGE, sizeof(*page));
    enum exit_status status = EXIT_STATUS_DONE;
    struct store_blob after;
    size_t count = PHOTOS_PAGE;
    bool is_first = true;

    if (!page)
        return complain(EXIT_STATUS_FAILED, "out of memory");
    while (status == EXIT_STATUS_DONE && count == PHOTOS_PAGE) {
        int r = store_blobs_to_carry(exporting->store, exporting->all, is_first ? NULL : &after,
            exporting->newest_blob, page, PHOTOS_PAGE, &count);

        if (r < 0) {
            end_progress(exporting);
            return complain_store(exporting->program, r, "list the photos");
        }
        for (size_t i = 0; status == EXIT_STATUS_DONE && i < count; i++)
            status = write_photo(exporting, &page[i]);
        if (count > 0)
            after = page[count - 1];
        is_first = false;
    }
    return status;
}

static enum exit_status print_exported(const struct exporting *exporting, bool written)
{
    const struct program *program = exporting->program;
    const char *path = program->options.bundle;

    if (program->options.json)
        return print_json_object(
            json_pack("{s:s?, s:s?, s:I, s:I, s:I, s:I, s:I}", "bundle", written ? exporting->id : NULL,
                "file", written ? path : NULL, "records", (json_int_t)exporting->records, "photos",
                (json_int_t)exporting->photos, "photos_gone", (json_int_t)exporting->photos_gone, "bytes",
                (json_int_t)exporting->bytes, "records_pruned", (json_int_t)exporting->records_pruned));
    if (!written) {
        puts("There is nothing to carry: all that was recorded here is at the centre. No file was written.");
        return EXIT_STATUS_DONE;
    }
    printf("%" PRIu64 " records, %" PRIu64 " photos and previews, %" PRIu64 " bytes are in %s\n",
        exporting->records, exporting->photos, exporting->bytes, path);
    if (exporting->photos_gone > 0)
        printf("%" PRIu64 " photos are damaged or gone on this handheld, and are not in it\n",
            exporting->photos_gone);
    if (exporting->records_pruned > 0)
        printf("%" PRIu64
               " records are not in it: they are of logs from which this handheld has removed what the "
               "centre has in a backup\n",
            exporting->records_pruned);
    puts(
        "At the centre: patrol-server import-bundle FILE -o RECEIPTS; then here: patrol import-receipts RECEIPTS.\n"
        "Everything stays here until the centre's receipts are back.");
    return EXIT_STATUS_DONE;
}

static enum exit_status write_bundle(struct exporting *exporting, const struct store_log *logs, size_t count)
{
    enum exit_status status = begin_bundle(exporting);
    int r;

    for (size_t i = 0; status == EXIT_STATUS_DONE && i < count; i++)
        status = write_log(exporting, &logs[i]);
    if (status == EXIT_STATUS_DONE)
        status = write_photos(exporting);
    if (status == EXIT_STATUS_DONE)
        status = put_frame(exporting, bundle_write_end(&exporting->writer, &exporting->frame));
    if (status != EXIT_STATUS_DONE)
        return status;
    r = output_file_finish(&exporting->file);
    if (r < 0)
        return complain_output(exporting, r);
    end_progress(exporting);
    return print_exported(exporting, true);
}

/* True when there is anything to carry. The newest photo is looked at first: the logs' sizes, read after it,
 * hold every record that names it or an older one. */
static int look(struct exporting *exporting, struct store_log *logs, size_t *ret_count, bool *ret_any)
{
    struct store_blob first;
    size_t count = 0, blobs = 0;
    int r = store_blobs_newest(exporting->store, &exporting->newest_blob);

    if (r >= 0)
        r = store_logs(exporting->store, !exporting->all, logs, BUNDLE_LOGS_MAX, &count);
    if (r >= 0)
        r = store_blobs_to_carry(
            exporting->store, exporting->all, NULL, exporting->newest_blob, &first, 1, &blobs);
    if (r < 0)
        return r;
    *ret_any = blobs > 0;
    for (size_t i = 0; i < count; i++)
        *ret_any = *ret_any || exporting->all || logs[i].receipt_size < logs[i].size;
    *ret_count = count;
    return 0;
}

enum exit_status command_export_bundle(struct program *program)
{
    _cleanup_store_ struct store *store = NULL;
    _cleanup_(exporting_done) struct exporting exporting = {
        .program = program, .daemon = {.fd = -1}, .file = {.fd = -1}, .terminal = isatty(STDERR_FILENO) == 1};
    _cleanup_free_ struct store_log *logs = calloc(BUNDLE_LOGS_MAX, sizeof(*logs));
    enum exit_status status;
    size_t count;
    bool any;
    int r;

    if (!logs)
        return complain(EXIT_STATUS_FAILED, "out of memory");
    if (strcmp(program->options.bundle, "-") == 0)
        return complain(EXIT_STATUS_USAGE, "bundle: name a file; standard output is for the report");
    status = program_need_enrolment(program, EXIT_STATUS_NOT_ENROLLED);
    if (status != EXIT_STATUS_DONE)
        return status;
    if (program_open_store(program, STORE_COLLECTOR, &store, &status) < 0)
        return status;
    exporting.store = store;
    exporting.all = program->options.all;
    r = look(&exporting, logs, &count, &any);
    if (r < 0)
        return complain_store(program, r, "read the queue");
    if (!any)
        return print_exported(&exporting, false);
    status = control_open(program, DAEMON_WAIT_MS, &exporting.daemon);
    return status == EXIT_STATUS_DONE ? write_bundle(&exporting, logs, count) : status;
}

/* ---- receipts ---- */

struct taking {
    struct program *program;
    struct control_client daemon;
    const char *path;
    struct buffer content;
    /* Of all parts. */
    uint64_t parts, records, quarantined, photos, backed_up, logs_left, logs_unknown;
    json_int_t server_time_ms;
    char id[2 * REQUEST_ID_BYTES + 1];
    bool is_last;
};

static void taking_done(struct taking *taking)
{
    control_client_done(&taking->daemon);
    buffer_done(&taking->content);
}

static enum exit_status complain_receipts(const struct taking *taking, const char *what)
{
    return complain(EXIT_STATUS_REFUSED, "%s: %s; nothing was changed", taking->path, what);
}

static enum exit_status read_receipts(struct taking *taking)
{
    struct stat found;
    /* A pipe without a writer must not make it wait. */
    _cleanup_close_ int fd = open(taking->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || fstat(fd, &found) < 0)
        return complain(EXIT_STATUS_REFUSED, "%s: %s", taking->path, strerror(errno));
    if (!S_ISREG(found.st_mode))
        return complain_receipts(taking, "is no regular file; name a file of receipts");
    if (found.st_size > RECEIPTS_FILE_BYTES_MAX)
        return complain_receipts(taking, "is no file of receipts: it is too large");
    for (;;) {
        uint8_t chunk[65536];
        ssize_t n = read(fd, chunk, sizeof(chunk));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return complain(EXIT_STATUS_REFUSED, "%s: %s", taking->path, strerror(errno));
        if (n == 0)
            break;
        buffer_put(&taking->content, chunk, (size_t)n);
        if (taking->content.len > RECEIPTS_FILE_BYTES_MAX)
            return complain_receipts(taking, "is no file of receipts: it is too large");
    }
    return buffer_finish(&taking->content) < 0 ? complain(EXIT_STATUS_FAILED, "out of memory")
                                               : EXIT_STATUS_DONE;
}

/* Each part says where it stands: none is missing, and none is of another file. */
static bool part_fits(struct taking *taking, const json_t *reply)
{
    const char *id = json_string_value(parameter(reply, "bundle"));
    json_int_t server_time_ms = json_integer_value(parameter(reply, "server_time_ms"));

    if (!id || strlen(id) >= sizeof(taking->id) || taking->is_last || number(reply, "part") != taking->parts)
        return false;
    if (taking->parts == 0) {
        strcpy(taking->id, id);
        taking->server_time_ms = server_time_ms;
    }
    taking->is_last = json_is_true(parameter(reply, "last"));
    taking->parts++;
    return strcmp(taking->id, id) == 0 && taking->server_time_ms == server_time_ms;
}

static void add_up(struct taking *taking, const json_t *reply)
{
    const char *log = json_string_value(parameter(reply, "log"));

    taking->records += number(reply, "records_acknowledged");
    taking->quarantined += number(reply, "records_quarantined");
    taking->photos += number(reply, "photos_stored");
    taking->backed_up += number(reply, "photos_backed_up");
    taking->logs_left += log && (strcmp(log, "forked") == 0 || strcmp(log, "set_back") == 0);
    taking->logs_unknown += log && strcmp(log, "unknown") == 0;
}

static enum exit_status take_part(struct taking *taking, struct bytes envelope, bool check_only)
{
    size_t size = sodium_base64_ENCODED_LEN(envelope.len, BASE64);
    _cleanup_free_ char *text = malloc(size);
    enum exit_status status = EXIT_STATUS_DONE;
    json_t *reply = NULL;
    const char *error, *message;
    int r;

    if (!text)
        return complain(EXIT_STATUS_FAILED, "out of memory");
    sodium_bin2base64(text, size, envelope.data, envelope.len, BASE64);
    r = ask(taking->program, &taking->daemon, CONTROL_METHOD_RECEIPTS,
        json_pack("{s:s, s:b}", "envelope", text, "check", (int)check_only), &reply);
    error = error_of(reply);
    message = json_string_value(parameter(reply, "message"));
    if (r < 0)
        status = complain_daemon(r);
    else if (error)
        status = complain(status_of_error(error), "%s: %s%s", taking->path, message ? message : error,
            check_only ? "; nothing was changed" : "");
    else if (!part_fits(taking, reply))
        status = complain_receipts(taking, "its parts do not belong together; copy it from the centre again");
    else
        add_up(taking, reply);
    json_decref(reply);
    return status;
}

/* All parts in their order. */
static enum exit_status take_parts(struct taking *taking, bool check_only)
{
    struct cursor file = cursor_of(buffer_bytes(&taking->content));
    enum exit_status status = EXIT_STATUS_DONE;
    struct bytes envelope;
    int r = bundle_receipts_open(&file);

    if (r == -EPROTONOSUPPORT)
        return complain_receipts(taking, "was made by another version of gridpatrol");
    if (r < 0)
        return complain_receipts(taking, "is no file of receipts");
    taking->parts = taking->records = taking->quarantined = taking->photos = taking->backed_up = 0;
    taking->logs_left = taking->logs_unknown = 0;
    taking->is_last = false;
    while (status == EXIT_STATUS_DONE && (r = bundle_receipts_next(&file, &envelope)) > 0)
        status = take_part(taking, envelope, check_only);
    if (status == EXIT_STATUS_DONE && (r < 0 || !taking->is_last))
        return complain_receipts(taking, "is cut or damaged; copy it from the centre again");
    return status;
}

static enum exit_status print_taken(const struct taking *taking)
{
    char made[RFC3339_LEN + 1];

    if (taking->program->options.json) {
        rfc3339_format(taking->server_time_ms, 0, made);
        return print_json_object(json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:b}", "bundle", taking->id,
            "made_at", made, "records_acknowledged", (json_int_t)taking->records, "records_quarantined",
            (json_int_t)taking->quarantined, "photos_stored", (json_int_t)taking->photos, "photos_backed_up",
            (json_int_t)taking->backed_up, "ok", (int)(taking->logs_left == 0 && taking->logs_unknown == 0)));
    }
    program_instant_text(taking->program, taking->server_time_ms, made);
    printf("The centre's word of %s:\n%10" PRIu64
           "  records are acknowledged that were not before\n%10" PRIu64
           "  of the log's records are in quarantine there\n%10" PRIu64
           "  photos and previews are stored there, %" PRIu64 " of them in a backup\n",
        made, taking->records, taking->quarantined, taking->photos, taking->backed_up);
    return EXIT_STATUS_DONE;
}

enum exit_status command_import_receipts(struct program *program, const char *const *arguments, size_t count)
{
    (void)count;
    _cleanup_(taking_done) struct taking taking = {
        .program = program, .daemon = {.fd = -1}, .path = arguments[0]};
    enum exit_status status = program_need_enrolment(program, EXIT_STATUS_NOT_ENROLLED);

    if (status == EXIT_STATUS_DONE)
        status = read_receipts(&taking);
    if (status == EXIT_STATUS_DONE)
        status = control_open(program, DAEMON_WAIT_MS, &taking.daemon);
    /* Looked at as a whole before any of it counts. */
    if (status == EXIT_STATUS_DONE)
        status = take_parts(&taking, true);
    if (status == EXIT_STATUS_DONE)
        status = take_parts(&taking, false);
    if (status == EXIT_STATUS_DONE)
        status = print_taken(&taking);
    if (status == EXIT_STATUS_DONE && taking.logs_left > 0)
        status = complain(EXIT_STATUS_FAILED,
            "the centre holds a log otherwise than this handheld: two copies of it are in use, or it was set back; what "
            "was recorded here goes on in a new log: export a bundle again, or sync");
    else if (status == EXIT_STATUS_DONE && taking.logs_unknown > 0)
        status = complain(EXIT_STATUS_FAILED,
            "the centre holds a log that this handheld does not have any more: patrol sync settles it when there is a "
            "network");
    return status;
}
