/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `patrol record --from FILE|-`: findings as NDJSON. What has arrived is committed, at most IMPORT_BATCH
 * lines at a time, and its ids are printed; a line that comes alone is committed at once. A bad line is
 * reported with its number and the rest goes on.
 */
#include "collector/capture.h"
#include "collector/commands.h"
#include "collector/finding_json.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#define IMPORT_BATCH STORE_APPEND_MAX
#define READ_CHUNK 65536u

struct pending {
    struct buffer bytes; /* the encoded records of the batch, one behind the other */
    size_t offsets[IMPORT_BATCH], lens[IMPORT_BATCH];
    struct store_photo *photos[IMPORT_BATCH];
    size_t photo_counts[IMPORT_BATCH];
    bool is_urgent[IMPORT_BATCH];
    size_t count;
};

struct import {
    struct program *program;
    struct store *store;
    const char *name;
    struct bytes inspector;
    struct pending pending;
    uint64_t line_number, refused;
    enum exit_status status;
};

static volatile sig_atomic_t stop_wanted;

static void on_stop(int signal_number)
{
    (void)signal_number;
    stop_wanted = 1;
}

static void pending_clear(struct pending *pending)
{
    for (size_t i = 0; i < pending->count; i++)
        free(pending->photos[i]);
    pending->count = 0;
    buffer_clear(&pending->bytes);
}

static void refuse_line(struct import *import, const char *message)
{
    import->refused++;
    complain(EXIT_STATUS_REFUSED, "%s: line %llu: %s", import->name, (unsigned long long)import->line_number,
        message);
}

/* Ids are printed after the commit, all of them or, when nobody reads them any more, none: the records stay.
 */
static int print_ids(const struct store_appended *appended, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char id[UUID_TEXT_LEN + 2];
        text_uuid(appended[i].id.b, id);
        id[UUID_TEXT_LEN] = '\n';
        if (fwrite(id, 1, UUID_TEXT_LEN + 1, stdout) != UUID_TEXT_LEN + 1)
            return -errno;
    }
    return fflush(stdout) == 0 ? 0 : -errno;
}

static int commit(struct import *import)
{
    struct pending *pending = &import->pending;
    if (pending->count == 0)
        return 0;
    struct store_entry entries[IMPORT_BATCH];
    struct store_appended appended[IMPORT_BATCH];
    for (size_t i = 0; i < pending->count; i++)
        entries[i] = (struct store_entry){
            .record = bytes_of(pending->bytes.data + pending->offsets[i], pending->lens[i]),
            .kind = RECORD_FINDING,
            .photos = pending->photos[i],
            .photo_count = pending->photo_counts[i],
            .is_urgent = pending->is_urgent[i],
        };
    struct store_author author = author_of(import->inspector);
    int r = store_append(import->store, &author, entries, pending->count, appended);
    if (r < 0) {
        import->status = complain_store(import->program, r, "record");
        return r;
    }
    size_t count = pending->count;
    pending_clear(pending);
    r = print_ids(appended, count);
    if (r < 0)
        import->status = complain(
            EXIT_STATUS_FAILED, "the ids cannot be printed: %s; what was recorded stays", strerror(-r));
    doorbell_ring(import->program->directory);
    return r;
}

static int keep_photos(struct import *import, const struct captured_photos *photos)
{
    struct pending *pending = &import->pending;
    pending->photos[pending->count] = NULL;
    pending->photo_counts[pending->count] = photos->count;
    if (photos->count == 0)
        return 0;
    size_t size = photos->count * sizeof(struct store_photo);
    pending->photos[pending->count] = malloc(size);
    if (!pending->photos[pending->count])
        return -ENOMEM;
    memcpy(pending->photos[pending->count], photos->stored, size);
    return 0;
}

static int queue_record(
    struct import *import, const struct record *record, const struct captured_photos *photos)
{
    struct pending *pending = &import->pending;
    size_t offset = pending->bytes.len;
    int r = record_encode(record, &pending->bytes);
    size_t len = pending->bytes.len - offset;
    if (r == -EMSGSIZE || (r >= 0 && len > RECORD_CAPTURE_BYTES_MAX)) {
        pending->bytes.len = offset;
        refuse_line(import, "note: the whole finding is too large; shorten it");
        return 0;
    }
    if (r >= 0)
        r = keep_photos(import, photos);
    if (r < 0)
        return r;
    pending->offsets[pending->count] = offset;
    pending->lens[pending->count] = len;
    pending->is_urgent[pending->count] = record->finding.severity == SEVERITY_URGENT;
    pending->count++;
    return pending->count == IMPORT_BATCH ? commit(import) : 0;
}

/* 0, also when the line was refused; -errno when the import cannot go on. */
static int take_finding(struct import *import, const struct finding_line *line)
{
    struct form_refusal refusal;
    struct finding finding;
    struct bytes inspector = import->inspector;
    if (finding_form_take(&line->form, program_categories(import->program), &finding, &refusal) < 0 ||
        (line->inspector &&
            form_text_take("inspector", line->inspector, INSPECTOR_BYTES_MAX, &inspector, &refusal) < 0)) {
        refuse_line(import, refusal.message);
        return 0;
    }
    struct captured_photos photos;
    int r = capture_photos(import->program, import->store, line->photos, line->photo_count,
        finding.severity == SEVERITY_URGENT, &photos, &refusal);
    if (r == -EINVAL) {
        refuse_line(import, refusal.message);
        return 0;
    }
    if (r < 0) {
        import->status = complain_store(import->program, r, "keep a photo");
        return r;
    }
    finding.photos = photos.photos;
    finding.photo_count = photos.count;
    struct record record = record_now(import->program, RECORD_FINDING, inspector);
    record.finding = finding;
    return queue_record(import, &record, &photos);
}

/* UTF-16 and UTF-32, with or without a mark: nothing in such a file can be read, so that one message for all
 * of it does. */
static bool is_wide_text(struct bytes text)
{
    static const uint8_t marks[][2] = {{0xff, 0xfe}, {0xfe, 0xff}};
    if (text.len < 2)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(marks); i++)
        if (memcmp(text.data, marks[i], 2) == 0)
            return true;
    return text.data[0] == 0 || text.data[1] == 0;
}

/* The mark that editors put before UTF-8 text; in the middle where files were joined. */
static struct bytes without_mark(struct bytes text)
{
    bool marked = text.len >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0;
    return marked ? bytes_of(text.data + 3, text.len - 3) : text;
}

static int take_line(struct import *import, struct bytes text)
{
    import->line_number++;
    if (import->line_number == 1 && is_wide_text(text)) {
        import->status = complain(EXIT_STATUS_REFUSED,
            "%s: UTF-16 or UTF-32 text, or no text at all; convert it, for example with: iconv -f UTF-16 -t UTF-8",
            import->name);
        return -EINVAL;
    }
    text = without_mark(text);
    if (text.len > 0 && text.data[text.len - 1] == '\r')
        text.len--;
    bool blank = true;
    for (size_t i = 0; i < text.len && blank; i++)
        blank = text.data[i] == ' ' || text.data[i] == '\t';
    if (blank)
        return 0;
    struct finding_line line;
    struct form_refusal refusal;
    if (finding_line_parse(text, &line, &refusal) < 0) {
        refuse_line(import, refusal.message);
        return 0;
    }
    int r = take_finding(import, &line);
    finding_line_done(&line);
    return r;
}

static bool more_is_there(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    return poll(&ready, 1, 0) > 0 && (ready.revents & (POLLIN | POLLHUP));
}

/* Splits the input into lines; an over-long line is refused once and skipped to its end. */
static int read_all(struct import *import, int fd)
{
    _cleanup_buffer_ struct buffer input = {0};
    bool skipping = false;
    for (;;) {
        if (import->pending.count > 0 && !more_is_there(fd)) {
            int r = commit(import);
            if (r < 0)
                return r;
        }
        uint8_t *room = buffer_extend(&input, READ_CHUNK);
        if (!room)
            return -ENOMEM;
        ssize_t n = read(fd, room, READ_CHUNK);
        int error = errno;
        input.len -= READ_CHUNK - (n > 0 ? (size_t)n : 0);
        if (n < 0 && error != EINTR)
            return -error;
        if (stop_wanted)
            return 0;
        if (n < 0)
            continue;
        size_t start = 0;
        const uint8_t *end;
        while ((end = memchr(input.data + start, '\n', input.len - start))) {
            size_t len = (size_t)(end - (input.data + start));
            int r = skipping ? 0 : take_line(import, bytes_of(input.data + start, len));
            skipping = false;
            start += len + 1;
            if (r < 0)
                return r;
        }
        memmove(input.data, input.data + start, input.len - start);
        input.len -= start;
        if (n == 0) /* the end: a last line may lack its newline */
            return input.len > 0 && !skipping ? take_line(import, buffer_bytes(&input)) : 0;
        if (input.len > NDJSON_LINE_BYTES_MAX) {
            if (!skipping) {
                import->line_number++;
                refuse_line(import, "line: too long; shorten it");
            }
            skipping = true;
            buffer_clear(&input);
        }
    }
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_stop}; /* no SA_RESTART: a read that waits shall end */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

enum exit_status command_import(struct program *program)
{
    const char *from = program->options.from;
    bool standard = strcmp(from, "-") == 0;
    struct import import = {.program = program, .name = standard ? "standard input" : from};
    _cleanup_close_ int file = standard ? -1 : open(from, O_RDONLY | O_CLOEXEC);
    if (!standard && file < 0)
        return complain(EXIT_STATUS_REFUSED, "from: %s: %s", from, strerror(errno));
    int input = standard ? STDIN_FILENO : file;
    struct stat status_of_file;
    if (fstat(input, &status_of_file) == 0 && S_ISDIR(status_of_file.st_mode))
        return complain(EXIT_STATUS_REFUSED, "from: %s: is a directory; name a file", import.name);
    struct form_refusal refusal;
    if (form_text_take(
            "inspector", program_inspector(program), INSPECTOR_BYTES_MAX, &import.inspector, &refusal) < 0)
        return complain(EXIT_STATUS_REFUSED, "%s", refusal.message);
    _cleanup_store_ struct store *store = NULL;
    enum exit_status status;
    if (program_open_store(program, STORE_COLLECTOR, &store, &status) < 0)
        return status;
    import.store = store;
    catch_signals();
    int r = read_all(&import, input);
    if (r < 0 && import.status == EXIT_STATUS_DONE)
        import.status = complain(EXIT_STATUS_FAILED, "%s: line %llu: %s; what has an id is recorded",
            import.name, (unsigned long long)import.line_number, strerror(-r));
    if (r >= 0)
        commit(&import);
    pending_clear(&import.pending);
    buffer_done(&import.pending.bytes);
    if (import.status != EXIT_STATUS_DONE)
        return import.status;
    if (import.refused > 0)
        return complain(EXIT_STATUS_REFUSED, "%llu line%s refused, see above; the others are recorded",
            (unsigned long long)import.refused, import.refused == 1 ? " was" : "s were");
    if (stop_wanted)
        return complain(EXIT_STATUS_FAILED, "stopped at line %llu; what has an id is recorded",
            (unsigned long long)import.line_number);
    return EXIT_STATUS_DONE;
}
