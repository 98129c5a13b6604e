/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator's disk: files in memory, each with what was written and what is durable, a directory tree
 * likewise, and a SQLite VFS over the same files. A crash forgets at one instant everything that was not made
 * durable, of database, photo files and locks alike, and keeps a random part of what was under way (whole
 * 512-byte sectors of unsynced writes, unsynced directory entries), as real disks do.
 *
 * One disk per simulated machine; single-threaded; no real file is touched.
 */
#pragma once

#include "base/world.h"

struct sim_disk;

/* `clock` gives the wall and boot clocks of the machine; `random_state` is the seed of this disk's chances.
 */
struct sim_clock {
    int64_t wall_ms;
    uint64_t boot_ms;
    uint8_t boot_id[BOOT_ID_BYTES];
};

struct sim_disk *sim_disk_new(const char *name, uint64_t seed, struct sim_clock *clock);
void sim_disk_free(struct sim_disk *disk);
DEFINE_CLEANUP(struct sim_disk, sim_disk_free);

/* The world whose files, locks and database VFS are on this disk. Valid as long as the disk. */
const struct world *sim_disk_world(struct sim_disk *disk);

/* Power cut: volatile state is lost, every handle is dead, locks are free. Whoever had files open must have
 * closed them (handles of a dead machine may still be closed, nothing else works on them) before or after;
 * the disk counts generations. */
void sim_disk_crash(struct sim_disk *disk);
/* The machine dies at the n-th write, sync, rename or unlink from now: from then on every verb fails with
 * -EIO and changes nothing, until sim_disk_crash brings the durable state back. 0 takes the plan back. */
void sim_disk_plan_crash(struct sim_disk *disk, uint64_t operations);
bool sim_disk_is_dead(const struct sim_disk *disk);
/* The same at once. */
void sim_disk_die(struct sim_disk *disk);
/* Processes die but the kernel lives (kill -9): handles and locks go, all that was written stays. */
void sim_disk_kill(struct sim_disk *disk);
/* One process of several is killed at the n-th operation from now: from then on every change fails with -EIO,
 * while its locks can be released and its files closed, as the kernel does for the dead. That done,
 * sim_disk_end_stop lets the others go on. 0 takes the plan back. */
void sim_disk_plan_stop(struct sim_disk *disk, uint64_t operations);
void sim_disk_stop(struct sim_disk *disk);
bool sim_disk_is_stopped(const struct sim_disk *disk);
void sim_disk_end_stop(struct sim_disk *disk);

/* Disk size in bytes: writes over it fail with -ENOSPC. 0: no limit. */
void sim_disk_set_capacity(struct sim_disk *disk, uint64_t bytes);
uint64_t sim_disk_used(const struct sim_disk *disk);
/* The next `count` syncs fail with -EIO. As on Linux that is told once: the pages are taken for clean
 * although they are not on the disk, reading shows what was written, and only writing to them again makes a
 * later sync take them along. */
void sim_disk_fail_syncs(struct sim_disk *disk, unsigned count);
/* As above, but `after` syncs from now go well first. */
void sim_disk_plan_failing_syncs(struct sim_disk *disk, unsigned after, unsigned count);

/* A copy of the durable state (a backup), and its return (a restore: handles must be closed). */
struct sim_disk_image *sim_disk_snapshot(const struct sim_disk *disk);
void sim_disk_restore(struct sim_disk *disk, const struct sim_disk_image *image);
void sim_disk_image_free(struct sim_disk_image *image);
/* What is under the directory `from` stands under `to` as well, in the place of what was there. */
void sim_disk_image_copy(struct sim_disk_image *image, const char *from, const char *to);

/* Damage: removes a file, or flips one bit of it, behind everybody's back. -ENOENT, -EINVAL. */
int sim_disk_remove(struct sim_disk *disk, const char *path);
int sim_disk_flip_bit(struct sim_disk *disk, const char *path, uint64_t bit);

struct sim_disk_counts {
    uint64_t writes, syncs, directory_syncs, crashes;
};
struct sim_disk_counts sim_disk_counts(const struct sim_disk *disk);
