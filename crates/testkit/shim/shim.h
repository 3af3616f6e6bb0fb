/*
 * A page cache that a kill empties.
 *
 * `kill -9` proves nothing about durability by itself: what a process wrote sits in the kernel's page cache and outlives
 * it. This library, preloaded into a process, stands between it and the kernel for all regular files under one
 * directory. Written bytes stay in memory of the process until a sync of that file returns; only then are they really
 * written and really synced. A kill therefore takes with it exactly what a power loss may take.
 *
 *      process --- write ---> held pages --- fsync, fdatasync ---> kernel and disk
 *         ^                       |
 *         +------ read -----------+   (what is held overlays what the kernel has)
 *
 * Model, and where it differs from a disk:
 *   - A write that extends a file extends it at once, with zeros: sizes are never held back. A power loss may do that.
 *   - A sync of one file covers every write of it that returned before; writes of that file wait while it runs.
 *   - After a sync that fails, what it should have covered stays readable and is never written, as Linux treats such
 *     pages. A later sync that returns 0 does not bring it back.
 *   - With RINGFORT_SHIM_LEAK, some 512-byte sectors reach the kernel early, as from a page cache under pressure: a kill
 *     then leaves torn and partly persisted tails.
 *   - Names (create, rename, unlink) take effect at once and are undone after the kill unless a sync of a directory
 *     covers them: see names.c. Truncations take effect at once and stay.
 *   - Only calls through libc are seen. What cannot be modelled (a shared mapping, copy_file_range, ...) is refused, not
 *     passed on, so that nothing goes round the model unnoticed.
 *
 * Environment:
 *   RINGFORT_SHIM_DIR            real path of the directory; without it the library does nothing
 *   RINGFORT_SHIM_STATS          file of at least 4,096 bytes for the counters below; it outlives the process
 *   RINGFORT_SHIM_NAMES          real path of a directory on the same file system for the journal of names; without it,
 *                                names are not followed
 *   RINGFORT_SHIM_FAIL_SYNC      the n-th sync of a file fails with EIO (1: the first)
 *   RINGFORT_SHIM_FAIL_WRITE     the n-th write to a file fails with EIO
 *   RINGFORT_SHIM_SYNC_DELAY_US  every sync takes this much longer
 *   RINGFORT_SHIM_HOLD_SYNCS     path of a named pipe: every sync first waits until somebody opens it for writing; once it
 *                                is gone, none waits
 *   RINGFORT_SHIM_LEAK           percentage of written sectors that reach the kernel before any sync
 *   RINGFORT_SHIM_SEED           seed of that choice
 */
#ifndef RINGFORT_SHIM_H
#define RINGFORT_SHIM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PAGE_BYTES 4096u
#define SECTOR_BYTES 512u

/* Counters, in the order in which the harness reads them: little-endian 64-bit numbers from the start of the file. */
struct shim_stats {
    uint64_t magic;                     /* STATS_MAGIC once the library is at work */
    _Atomic uint64_t files_opened;      /* descriptors opened on regular files under the directory */
    _Atomic uint64_t writes;
    _Atomic uint64_t written_bytes;
    _Atomic uint64_t syncs;             /* syncs of regular files that really happened */
    _Atomic uint64_t directory_syncs;
    _Atomic uint64_t flushed_bytes;     /* bytes really written by those syncs, whole pages */
    _Atomic uint64_t held_bytes;        /* bytes held back now; after a kill: what it took with it */
    _Atomic uint64_t held_bytes_max;
    _Atomic uint64_t leaked_bytes;
    _Atomic uint64_t failures_injected;
    _Atomic uint64_t syncs_after_failure;
};
#define STATS_MAGIC 0x3130474e49525246u /* "FRRING01" */

struct shim_config {
    const char *dir; /* NULL: not at work */
    size_t dir_len;
    const char *names; /* NULL: names are not followed */
    uint64_t fail_sync;
    uint64_t fail_write;
    uint64_t sync_delay_us;
    const char *hold_syncs; /* NULL: no sync waits */
    uint64_t leak_percent;
};

extern struct shim_config shim_config;
extern struct shim_stats *shim_stats;

/* Whether an absolute path is the directory or lies in it. */
int shim_is_under_directory(const char *path);
void shim_die(const char *what) __attribute__((noreturn));
uint64_t shim_random(void);

/* A tracked file: one for each inode, whatever the number of its descriptors. */
struct held_file;

/* What a descriptor of this process is. */
enum tracked { UNTRACKED, TRACKED_FILE, TRACKED_DIRECTORY };

enum tracked tracked_kind(int fd);
void tracked_add(int fd, int truncated);
void tracked_duplicate(int from, int to);
void tracked_remove(int fd);
/* The last name of an inode is gone. */
void tracked_unlinked(dev_t dev, ino_t ino);

/* Pins the file of a descriptor until held_release. Only for TRACKED_FILE. */
struct held_file *held_acquire(int fd);
void held_release(struct held_file *file);

/* As the system calls of the same names: a result, or -1 with errno. */
ssize_t held_pread(struct held_file *file, void *to, size_t len, off_t offset);
ssize_t held_pwrite(struct held_file *file, const void *from, size_t len, off_t offset);
ssize_t held_read(struct held_file *file, int fd, void *to, size_t len);
ssize_t held_write(struct held_file *file, int fd, const void *from, size_t len);
int held_truncate(struct held_file *file, off_t len);
int held_sync(struct held_file *file);

#endif
