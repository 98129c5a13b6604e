/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store's tests share: a directory with a store in it, and findings to put there. Used by tests
 * only.
 */
#pragma once

#include "tests/unit/unit.h"

#include "store/internal.h"

static const struct store_author author = {
    .inspector = {(const uint8_t *)"wang", 4},
    .software = {(const uint8_t *)"test 1", 6},
};

static inline struct store *store_opened_in(const char *directory, enum store_role role)
{
    struct store *store = NULL;
    struct store_opened opened;

    assert_int_equal(store_open(world_posix(), directory, role, &store, &opened), 0);
    return store;
}

static inline struct finding finding_with_note(const char *note)
{
    return (struct finding){
        .category = {.scheme = bytes_of_text("test"),
            .version = bytes_of_text("1"),
            .code = bytes_of_text("0101")},
        .note = bytes_of_text(note),
        .has_position = true,
        .position = {.lat_e7 = 250000000, .lon_e7 = 1215000000},
    };
}

/* The encoded finding; the buffer is the caller's. */
static inline struct bytes encode_finding(struct buffer *buffer, const char *note, int64_t wall_ms)
{
    struct record record = {
        .kind = RECORD_FINDING, .wall_ms = wall_ms, .boot_ms = 1, .inspector = author.inspector};

    record.finding = finding_with_note(note);
    assert_int_equal(record_encode(&record, buffer), 0);
    return buffer_bytes(buffer);
}

/* Appends one finding without photos. */
static inline int append_note(struct store *store, const char *note, struct store_appended *ret)
{
    _cleanup_buffer_ struct buffer buffer = {0};
    struct store_appended appended;
    struct store_entry entry = {.kind = RECORD_FINDING, .record = encode_finding(&buffer, note, 1000)};

    int r = store_append(store, &author, &entry, 1, &appended);
    if (r >= 0 && ret)
        *ret = appended;
    return r;
}

/* `count` findings with the notes "<first>", "<first + 1>" ..., in batches. */
static inline void append_many(struct store *store, unsigned first, unsigned count)
{
    while (count > 0) {
        unsigned n = count < STORE_APPEND_MAX ? count : STORE_APPEND_MAX;
        struct buffer buffers[STORE_APPEND_MAX] = {0};
        struct store_entry entries[STORE_APPEND_MAX] = {0};
        struct store_appended appended[STORE_APPEND_MAX];

        for (unsigned i = 0; i < n; i++) {
            char note[16];

            snprintf(note, sizeof(note), "%u", first + i);
            entries[i].kind = RECORD_FINDING;
            entries[i].record = encode_finding(&buffers[i], note, 1000 + first + i);
        }
        assert_int_equal(store_append(store, &author, entries, n, appended), 0);
        for (unsigned i = 0; i < n; i++)
            buffer_done(&buffers[i]);
        first += n;
        count -= n;
    }
}

/* A note about `checkpoint` as the handheld signs it; nobody here checks whose signature it is. */
static inline void make_note(struct buffer *buffer, struct checkpoint *checkpoint)
{
    static const uint8_t seed[SIGN_SEED_BYTES] = {1};
    struct sign_key key;

    sign_key_from_seed("test/default/device", seed, &key);
    snprintf(checkpoint->origin, sizeof(checkpoint->origin), "test/default/log");
    assert_int_equal(checkpoint_sign(checkpoint, &key, buffer), 0);
}

/* Applies a receipt at `size`, with records in quarantine. */
static inline int receive_with(struct store *store, const struct uuid *log, uint64_t size,
    const struct quarantined *quarantined, size_t count)
{
    struct checkpoint checkpoint = {.size = size};
    _cleanup_buffer_ struct buffer note = {0};

    assert_int_equal(store_root_at(store, log, size, &checkpoint.root), 0);
    make_note(&note, &checkpoint);
    return store_apply_receipt(store, log, &checkpoint, 1700000000, buffer_bytes(&note), quarantined, count);
}

static inline int receive(struct store *store, const struct uuid *log, uint64_t size)
{
    return receive_with(store, log, size, NULL, 0);
}

static inline bool urgent_waits(struct store *store)
{
    bool waits;

    assert_int_equal(store_urgent_unsent(store, &waits), 0);
    return waits;
}

static inline struct store_status status_of(struct store *store)
{
    struct store_status status;

    assert_int_equal(store_status(store, &status), 0);
    return status;
}

/* The notes of a list, each followed by a space. */
struct notes {
    struct buffer text;
    unsigned count;
};

static inline int collect_note(void *user, const struct store_record *record)
{
    struct notes *notes = user;
    struct arena arena;
    struct record decoded;

    if (record->is_erased) {
        buffer_put_text(&notes->text, "? ");
        notes->count++;
        return 0;
    }
    arena_init(&arena, 262144);
    assert_int_equal(record_decode(record->recorded, &arena, &decoded, NULL), 0);
    const struct finding *finding = record_finding(&decoded);
    if (finding) {
        buffer_put_bytes(&notes->text, finding->note);
        buffer_put_u8(&notes->text, ' ');
    }
    notes->count++;
    arena_done(&arena);
    return 0;
}

static inline struct notes list_notes(struct store *store, const struct store_filter *filter)
{
    struct notes notes = {0};

    assert_int_equal(store_each_record(store, filter, collect_note, &notes), 0);
    buffer_put_u8(&notes.text, 0);
    return notes;
}

static const struct store_filter findings = {.findings_only = true};
static const struct store_filter queued_findings = {
    .findings_only = true, .has_state = true, .state = RECORD_QUEUED};
static const struct store_filter sent_findings = {
    .findings_only = true, .has_state = true, .state = RECORD_SENT};
static const struct store_filter quarantined_findings = {
    .findings_only = true, .has_state = true, .state = RECORD_QUARANTINED};

static inline void assert_notes(struct store *store, const struct store_filter *filter, const char *expected)
{
    struct notes notes = list_notes(store, filter);

    assert_string_equal((const char *)notes.text.data, expected);
    buffer_done(&notes.text);
}

/* A world whose verbs are the real ones but for those that a test replaces. `context` is the test's own. */
struct own_world {
    struct world_verbs verbs;
    struct world world;
};

static inline struct world *own_world_init(struct own_world *own, void *context)
{
    own->verbs = *world_posix()->verbs;
    own->world = (struct world){.verbs = &own->verbs, .context = context};
    return &own->world;
}

static inline void remove_file(const char *directory, const char *name)
{
    char *path = files_join(directory, name);

    assert_int_equal(unlink(path), 0);
    free(path);
}

/* Puts a photo of `len` bytes, all `fill`, into the photo directory. */
static inline struct store_photo put_photo(struct store *store, uint8_t fill, size_t len, bool urgent)
{
    struct store_photo photo = {.urgent = urgent, .photo = {.size = len}};
    uint8_t *bytes = malloc(len);

    memset(bytes, fill, len);
    assert_int_equal(store_photo_put_bytes(store, bytes_of(bytes, len), &photo.photo.sha256), 0);
    free(bytes);
    return photo;
}

/* The same with a preview of half the length. */
static inline struct store_photo put_photo_and_preview(
    struct store *store, uint8_t fill, size_t len, bool urgent)
{
    struct store_photo photo = put_photo(store, fill, len, urgent);
    struct store_photo preview = put_photo(store, (uint8_t)(fill + 128), len / 2, urgent);

    photo.photo.preview_sha256 = preview.photo.sha256;
    photo.photo.preview_size = (uint32_t)(len / 2);
    return photo;
}

static inline int append_with_photos(struct store *store, const char *note, const struct store_photo *photos,
    size_t count, struct store_appended *ret)
{
    struct buffer buffer = {0};
    struct photo named[FINDING_PHOTOS_MAX];
    struct store_appended appended;
    struct record record = {.kind = RECORD_FINDING, .wall_ms = 1000, .finding = finding_with_note(note)};
    struct store_entry entry = {.kind = RECORD_FINDING, .photos = photos, .photo_count = count};

    for (size_t i = 0; i < count; i++) {
        named[i] = photos[i].photo;
        entry.is_urgent = entry.is_urgent || photos[i].urgent;
    }
    record.finding.severity = entry.is_urgent ? SEVERITY_URGENT : record.finding.severity;
    record.finding.photos = named;
    record.finding.photo_count = count;
    assert_int_equal(record_encode(&record, &buffer), 0);
    entry.record = buffer_bytes(&buffer);
    int r = store_append(store, &author, &entry, 1, &appended);
    if (r >= 0 && ret)
        *ret = appended;
    buffer_done(&buffer);
    return r;
}

static inline int append_about(struct store *store, enum record_kind kind, const char *text,
    const struct store_appended *parent, struct store_appended *ret)
{
    struct buffer buffer = {0};
    struct store_appended appended;
    struct parent named = {.log = parent->at.log, .seq = parent->at.seq, .id = parent->id};
    struct record record = {.kind = kind, .wall_ms = 1000};
    struct store_entry entry = {.kind = kind, .has_parent = true, .parent = parent->at};

    if (kind == RECORD_AMENDMENT)
        record.amendment = (struct amendment){.parent = named, .finding = finding_with_note(text)};
    else
        record.withdrawal = (struct withdrawal){.parent = named, .reason = bytes_of_text(text)};
    assert_int_equal(record_encode(&record, &buffer), 0);
    entry.record = buffer_bytes(&buffer);
    int r = store_append(store, &author, &entry, 1, &appended);
    if (r >= 0 && ret)
        *ret = appended;
    buffer_done(&buffer);
    return r;
}

/* ---- one store in a directory of its own for each test ---- */

struct here {
    char *directory;
    struct store *store;
};

static inline int set_up_as(void **state, enum store_role role)
{
    struct here *here = calloc(1, sizeof(*here));

    here->directory = unit_directory_make();
    here->store = store_opened_in(here->directory, role);
    *state = here;
    return 0;
}

static inline int set_up(void **state)
{
    return set_up_as(state, STORE_DAEMON);
}

static inline int tear_down(void **state)
{
    struct here *here = *state;

    store_free(here->store);
    unit_directory_remove(here->directory);
    free(here);
    return 0;
}

#define store_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* Decodes a record that the store gave. The arena is the caller's. */
static inline struct record decode(struct bytes bytes, struct arena *arena)
{
    struct record record;

    arena_init(arena, 262144);
    assert_int_equal(record_decode(bytes, arena, &record, NULL), 0);
    return record;
}

/* ---- orders of the centre ---- */

#define MARKER "Mrs-Abernathy-at-the-window"

static inline struct erased_record leaf_at(struct store *store, const struct uuid *log, uint64_t seq)
{
    struct erased_record record = {.at = {.log = *log, .seq = seq}};

    assert_int_equal(store_leaf(store, log, seq, &record.leaf), 0);
    return record;
}

static inline int erase_one(struct here *here, uint64_t number, const struct erased_record *record)
{
    const struct erasure_order order = {
        .number = number, .time_ms = 1700000000000, .records = record, .record_count = 1};

    return store_erase(here->store, &order, 1);
}

static inline bool is_anywhere(const char *directory, const char *marker)
{
    char command[512];

    snprintf(command, sizeof(command), "grep -rqaF '%s' '%s'", marker, directory);
    return system(command) == 0; /* NOLINT(cert-env33-c): a test's own words in a test's own directory */
}

/* ---- files behind the store's back ---- */

static inline struct buffer read_whole(const char *directory, const char *name)
{
    struct buffer content = {0};
    char *path = files_join(directory, name);

    assert_int_equal(files_read(world_posix(), path, 64u << 20, &content), 0);
    free(path);
    return content;
}

/* Writes over the start of a file, which may be new; it keeps what is behind. */
static inline void write_over(const char *directory, const char *name, uint64_t offset, struct bytes content)
{
    const struct world *world = world_posix();
    char *path = files_join(directory, name);
    int file = world->verbs->open(NULL, path, WORLD_WRITE, false);

    assert_true(file >= 0);
    assert_int_equal(world->verbs->write(NULL, file, content.data, content.len, offset), 0);
    assert_int_equal(world->verbs->close(NULL, file), 0);
    free(path);
}

/* Replaces every occurrence of a text by one of the same length; says how many there were. */
static inline unsigned replace_in(const char *directory, const char *name, const char *from, const char *to)
{
    struct buffer content = read_whole(directory, name);
    size_t len = strlen(from);
    unsigned count = 0;

    assert_int_equal(len, strlen(to));
    for (uint8_t *at = content.data;
         (at = memmem(at, content.len - (size_t)(at - content.data), from, len)) != NULL; at += len) {
        write_over(directory, name, (uint64_t)(at - content.data), bytes_of_text(to));
        count++;
    }
    buffer_done(&content);
    return count;
}

/* xorshift64: the same numbers on every machine. */
static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}
