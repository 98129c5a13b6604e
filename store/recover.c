/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owns recovery: what happens when the database was found damaged or missing. Called when the store is
 * opened, with the lock held. Nothing is deleted: the damaged files are moved aside, and stay there for
 * people.
 *
 *   1. queue.recovering says "moving <directory>"     the files go into DATA/damaged-<UTC time>/
 *   2. queue.recovering says "building <directory>"   one transaction makes the new database, all of it or
 * nothing
 *   3. queue.recovering goes
 *
 * Whoever is killed in between is followed by the next open, which goes on from the step it finds.
 */
#include "store/salvage.h"

#include "base/rfc3339.h"

#define MARK_BYTES_MAX 256u
#define SET_ASIDE_TRIES_MAX 100u
#define FILE_SAMPLES 16u

enum recovery_step { RECOVERY_NONE, RECOVERY_MOVING, RECOVERY_BUILDING };

struct recovery {
    enum recovery_step step;
    char directory[64]; /* name under DATA */
};

static const char *step_word(enum recovery_step step)
{
    switch (step) {
    case RECOVERY_MOVING:
        return "moving ";
    case RECOVERY_BUILDING:
        return "building ";
    case RECOVERY_NONE:
        break;
    }
    return "";
}

/* ---- the mark ---- */

static bool parse_mark(const char *text, enum recovery_step step, struct recovery *ret)
{
    const char *word = step_word(step);
    size_t len;

    if (strncmp(text, word, strlen(word)) != 0)
        return false;
    text += strlen(word);
    len = strcspn(text, "\n");
    if (len == 0 || len >= sizeof(ret->directory) ||
        strncmp(text, SET_ASIDE_PREFIX, strlen(SET_ASIDE_PREFIX)) != 0 || memchr(text, '/', len))
        return false;
    ret->step = step;
    memcpy(ret->directory, text, len);
    ret->directory[len] = '\0';
    return true;
}

/* A mark that cannot be read is as good as none: the files are where they are, and are set aside (again). */
static int read_mark(struct store *store, struct recovery *ret)
{
    _cleanup_free_ char *path = store_path(store, RECOVERY_MARK_NAME);
    _cleanup_buffer_ struct buffer content = {0};

    *ret = (struct recovery){0};
    if (!path)
        return -ENOMEM;
    int r = files_read(store->world, path, MARK_BYTES_MAX, &content);
    if (r < 0)
        return r == -ENOENT || r == -EFBIG ? 0 : r;
    const char *text = buffer_text(&content);
    if (!text)
        return -ENOMEM;
    if (!parse_mark(text, RECOVERY_MOVING, ret))
        (void)parse_mark(text, RECOVERY_BUILDING, ret);
    return 0;
}

static int write_mark(struct store *store, struct recovery *recovery, enum recovery_step step)
{
    _cleanup_free_ char *path = store_path(store, RECOVERY_MARK_NAME);
    char text[sizeof(recovery->directory) + 16];

    if (!path)
        return -ENOMEM;
    snprintf(text, sizeof(text), "%s%s\n", step_word(step), recovery->directory);
    int r = files_replace(store->world, path, bytes_of_text(text), false);
    if (r == -ENOSPC && ballast_release(store) > 0)
        r = files_replace(store->world, path, bytes_of_text(text), false);
    if (r >= 0)
        recovery->step = step;
    return r;
}

static int remove_name(struct store *store, const char *name)
{
    _cleanup_free_ char *path = store_path(store, name);

    if (!path)
        return -ENOMEM;
    int r = store->world->verbs->unlink(store->world->context, path);
    return r == -ENOENT ? 0 : r;
}

/* ---- 1. setting aside ---- */

/* "damaged-20261123T163353Z", with a number behind it when there is one of that name. */
static int make_directory(struct store *store, struct recovery *recovery)
{
    const struct world *world = store->world;
    char instant[RFC3339_LEN + 1], stamp[RFC3339_LEN + 1];
    size_t len = 0;

    rfc3339_format(world->verbs->wall_ms(world->context), 0, instant);
    for (const char *c = instant; *c != '\0' && *c != '.' && *c != 'Z'; c++)
        if (*c != '-' && *c != ':')
            stamp[len++] = *c;
    stamp[len] = '\0';
    for (unsigned i = 1; i <= SET_ASIDE_TRIES_MAX; i++) {
        int n = i == 1 ? snprintf(recovery->directory, sizeof(recovery->directory), SET_ASIDE_PREFIX "%.24sZ",
                             stamp)
                       : snprintf(recovery->directory, sizeof(recovery->directory),
                             SET_ASIDE_PREFIX "%.24sZ-%u", stamp, i);
        _cleanup_free_ char *path = n > 0 ? store_path(store, recovery->directory) : NULL;
        if (!path)
            return -ENOMEM;
        int r = world->verbs->make_directory(world->context, path);
        if (r != -EEXIST)
            return r < 0 ? r : world->verbs->sync_directory(world->context, store->directory);
    }
    return -EEXIST;
}

static int move_file(struct store *store, const char *directory, const char *name)
{
    const struct world *world = store->world;
    _cleanup_free_ char *from = store_path(store, name);
    _cleanup_free_ char *to = files_join(directory, name);

    if (!from || !to)
        return -ENOMEM;
    int r = world->verbs->rename(world->context, from, to);
    return r == -ENOENT ? 0 : r;
}

static int set_aside(struct store *store, struct recovery *recovery)
{
    static const char *const names[] = {DATABASE_NAME, WAL_NAME, SHM_NAME, DAMAGE_MARK_NAME};
    const struct world *world = store->world;
    _cleanup_free_ char *directory = store_path(store, recovery->directory);
    int r = 0;

    if (!directory)
        return -ENOMEM;
    for (size_t i = 0; r >= 0 && i < ARRAY_LEN(names); i++)
        r = move_file(store, directory, names[i]);
    if (r >= 0)
        r = world->verbs->sync_directory(world->context, directory);
    if (r >= 0)
        r = world->verbs->sync_directory(world->context, store->directory);
    return r < 0 ? r : write_mark(store, recovery, RECOVERY_BUILDING);
}

/* ---- 2. building ---- */

/* Of a file with bad sectors the disk gives something, of a disk that is gone nothing. -EIO: nothing. */
static int check_file_reads(const struct world *world, const char *path)
{
    uint64_t size = 0;
    uint8_t byte;
    ssize_t n = 0;

    int file = world->verbs->open(world->context, path, WORLD_READ, false);
    if (file < 0)
        return file == -ENOENT ? 0 : file;
    int r = world->verbs->size(world->context, file, &size);
    for (uint64_t i = 0; r >= 0 && i < FILE_SAMPLES && size > 0; i++) {
        n = world->verbs->read(world->context, file, &byte, 1, size / FILE_SAMPLES * i);
        if (n != -EIO)
            break;
    }
    (void)world->verbs->close(world->context, file);
    return r < 0 ? r : n < 0 ? (int)n : 0;
}

/* A bad sector is damage, and recording goes on without it. A disk that gives nothing of WAL and database is
 * none: it is told, and what is there stays as it is until it can be read. -EIO. */
static int check_disk_reads(struct store *store, const struct damaged_image *image, const char *database_path)
{
    return damaged_image_wal_is_unreadable(image) ? check_file_reads(store->world, database_path) : 0;
}

static int open_image(struct store *store, const char *directory_name, struct damaged_image **ret)
{
    _cleanup_free_ char *directory = store_path(store, directory_name);
    _cleanup_free_ char *database = directory ? files_join(directory, DATABASE_NAME) : NULL;
    _cleanup_free_ char *wal = directory ? files_join(directory, WAL_NAME) : NULL;

    if (!database || !wal)
        return -ENOMEM;
    _cleanup_damaged_image_ struct damaged_image *image = NULL;
    int r = damaged_image_open(store->world, database, wal, &image);
    if (r >= 0)
        r = check_disk_reads(store, image, database);
    if (r < 0)
        return r;
    *ret = take_ptr(image);
    return 0;
}

struct building {
    struct damaged_image *image;
    uint64_t salvaged;
};

static int build(struct store *store, void *user)
{
    struct building *building = user;

    int r = schema_migrate(store);
    return r < 0 ? r : salvage(store, building->image, &building->salvaged);
}

/* A connection to a database that this recovery, begun earlier, has finished already: 1. */
static int open_finished(struct store *store)
{
    uint64_t size;

    int r = store_file_size(store, DATABASE_NAME, &size);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    r = database_open(store);
    if (r >= 0)
        r = schema_look(store);
    if (r == 0)
        return 1;
    database_close(store);
    return r < 0 && r != -EUCLEAN ? r : 0;
}

static int build_database(struct store *store, const struct recovery *recovery, uint64_t *ret_salvaged)
{
    static const char *const names[] = {DATABASE_NAME, WAL_NAME, SHM_NAME, DAMAGE_MARK_NAME};
    _cleanup_damaged_image_ struct damaged_image *image = NULL;
    struct building building = {0};

    int r = open_finished(store);
    if (r != 0)
        return r < 0 ? r : 0;
    /* What is there is our own, unfinished, and made anew out of what was set aside. */
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        r = remove_name(store, names[i]);
        if (r < 0)
            return r;
    }
    r = open_image(store, recovery->directory, &image);
    if (r >= 0)
        r = store_make_database_file(store);
    if (r >= 0)
        r = database_open(store);
    if (r >= 0)
        r = schema_prepare(store);
    if (r < 0)
        return r;
    building.image = image;
    r = store_transact_locked(store, build, &building);
    if (r < 0)
        return r;
    *ret_salvaged = building.salvaged;
    return 0;
}

/* ---- all of it ---- */

int wal_is_broken(struct store *store, bool *ret)
{
    _cleanup_damaged_image_ struct damaged_image *image = NULL;
    _cleanup_free_ char *database = store_path(store, DATABASE_NAME);
    _cleanup_free_ char *wal = store_path(store, WAL_NAME);

    assert(!store->database);
    if (!database || !wal)
        return -ENOMEM;
    int r = damaged_image_open(store->world, NULL, wal, &image);
    if (r >= 0)
        r = check_disk_reads(store, image, database);
    if (r < 0)
        return r;
    *ret = damaged_image_wal_is_broken(image);
    return 0;
}

static int look_if_sound(struct store *store, bool *ret_sound)
{
    *ret_sound = false;
    int r = database_open(store);
    if (r >= 0)
        r = schema_look(store);
    bool is_older = r == 1;
    if (r == 0 || is_older)
        r = database_is_sound(store, ret_sound);
    /* Its head may say that it is of a newer form, which SQLite only reads. */
    *ret_sound = *ret_sound && sqlite3_db_readonly(store->database, "main") == 0;
    return r >= 0 && *ret_sound && is_older ? schema_make(store) : r;
}

/* Some program met damage. If all of it is sound all the same (a file system that had a bad moment), it is
 * used as it is: 1, with a connection. Read twice, as SQLite calls damage what the disk did not give once. */
static int open_if_sound(struct store *store)
{
    _cleanup_free_ char *database = store_path(store, DATABASE_NAME);
    uint64_t database_size = 0, wal_size = 0;
    bool broken = true, sound = false;

    if (!database)
        return -ENOMEM;
    if (store_file_size(store, DATABASE_NAME, &database_size) < 0 ||
        store_file_size(store, WAL_NAME, &wal_size) < 0 || database_size == 0 || wal_size == 0)
        return 0;
    int r = wal_is_broken(store, &broken);
    if (r < 0 || broken)
        return r;
    for (int i = 0; i < 2; i++) {
        r = look_if_sound(store, &sound);
        if (r >= 0 && sound) {
            r = remove_name(store, DAMAGE_MARK_NAME);
            store->damage_marked = false;
            return r < 0 ? r : 1;
        }
        database_close(store);
        if (r < 0 && r != -EIO && r != -EUCLEAN)
            return r;
    }
    return check_file_reads(store->world, database);
}

int recover(struct store *store, struct store_opened *opened)
{
    struct recovery recovery;

    int r = read_mark(store, &recovery);
    if (r < 0)
        return r;
    if (recovery.step == RECOVERY_NONE) {
        r = open_if_sound(store);
        if (r != 0)
            return r < 0 ? r : 0;
        r = make_directory(store, &recovery);
        if (r >= 0)
            r = write_mark(store, &recovery, RECOVERY_MOVING);
    }
    if (r >= 0 && recovery.step == RECOVERY_MOVING)
        r = set_aside(store, &recovery);
    if (r >= 0)
        r = build_database(store, &recovery, &opened->records_salvaged);
    if (r >= 0)
        r = remove_name(store, RECOVERY_MARK_NAME);
    if (r >= 0)
        r = store->world->verbs->sync_directory(store->world->context, store->directory);
    if (r < 0)
        return r;
    store->damage_marked = false;
    opened->recovered = true;
    snprintf(opened->set_aside, sizeof(opened->set_aside), "%s", recovery.directory);
    (void)ballast_make(store);
    return 0;
}
