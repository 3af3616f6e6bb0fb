/*
 * Which descriptors belong to files under the directory: a table from descriptor to file, and a list of files by inode.
 * A file outlives its last descriptor while it holds pages, as in a page cache; it goes with its last name.
 */
#define _GNU_SOURCE
#include "held.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DESCRIPTORS_MAX 65536

/* Changed under `table_lock`; read without it to tell that a descriptor is none of ours. */
static _Atomic(struct held_file *) descriptors[DESCRIPTORS_MAX];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static struct held_file *files;
static struct held_file directory_marker;

static struct held_file *at(int fd) {
    if (fd < 0 || fd >= DESCRIPTORS_MAX) return NULL;
    return atomic_load_explicit(&descriptors[fd], memory_order_acquire);
}

enum tracked tracked_kind(int fd) {
    struct held_file *file = at(fd);
    if (!file) return UNTRACKED;
    return file == &directory_marker ? TRACKED_DIRECTORY : TRACKED_FILE;
}

/* Under `table_lock`. */
static void drop_if_unused(struct held_file *file) {
    if (file->users > 0 || (!file->unlinked && held_pages(file) > 0)) return;
    struct held_file **link = &files;
    while (*link != file) link = &(*link)->next;
    *link = file->next;
    held_free(file);
}

/* Under `table_lock`. */
static void clear(int fd) {
    struct held_file *file = at(fd);
    atomic_store_explicit(&descriptors[fd], NULL, memory_order_release);
    if (!file || file == &directory_marker) return;
    file->users--;
    drop_if_unused(file);
}

/* Under `table_lock`. */
static struct held_file *find_or_open(int fd, const struct stat *stat) {
    for (struct held_file *file = files; file; file = file->next) {
        if (file->dev == stat->st_dev && file->ino == stat->st_ino && !file->unlinked) return file;
    }
    struct held_file *file = held_new(fd, stat->st_dev, stat->st_ino);
    file->next = files;
    files = file;
    return file;
}

static int is_under_directory(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (len < 0) return 0;
    path[len] = 0;
    return shim_is_under_directory(path);
}

void tracked_add(int fd, int truncated) {
    if (!shim_config.dir || fd < 0) return;
    int saved_errno = errno;
    if (at(fd)) { /* closed behind our back */
        pthread_mutex_lock(&table_lock);
        clear(fd);
        pthread_mutex_unlock(&table_lock);
    }
    struct stat stat;
    if (is_under_directory(fd) && fstat(fd, &stat) == 0 && (S_ISREG(stat.st_mode) || S_ISDIR(stat.st_mode))) {
        if (fd >= DESCRIPTORS_MAX) shim_die("a descriptor is beyond the table");
        pthread_mutex_lock(&table_lock);
        struct held_file *file = &directory_marker;
        if (S_ISREG(stat.st_mode)) {
            file = find_or_open(fd, &stat);
            file->users++;
            atomic_fetch_add(&shim_stats->files_opened, 1);
            if (truncated) held_forget(file);
        }
        atomic_store_explicit(&descriptors[fd], file, memory_order_release);
        pthread_mutex_unlock(&table_lock);
    }
    errno = saved_errno;
}

void tracked_duplicate(int from, int to) {
    if (to < 0 || from == to) return;
    struct held_file *file = at(from);
    if (!file && !at(to)) return;
    if (to >= DESCRIPTORS_MAX) shim_die("a descriptor is beyond the table");
    pthread_mutex_lock(&table_lock);
    clear(to);
    if (file && file != &directory_marker) file->users++;
    atomic_store_explicit(&descriptors[to], file, memory_order_release);
    pthread_mutex_unlock(&table_lock);
}

void tracked_remove(int fd) {
    if (!at(fd)) return;
    pthread_mutex_lock(&table_lock);
    clear(fd);
    pthread_mutex_unlock(&table_lock);
}

void tracked_unlinked(dev_t dev, ino_t ino) {
    pthread_mutex_lock(&table_lock);
    for (struct held_file *file = files; file; file = file->next) {
        if (file->dev == dev && file->ino == ino && !file->unlinked) {
            file->unlinked = 1;
            drop_if_unused(file);
            break;
        }
    }
    pthread_mutex_unlock(&table_lock);
}

struct held_file *held_acquire(int fd) {
    pthread_mutex_lock(&table_lock);
    struct held_file *file = at(fd);
    if (!file || file == &directory_marker) shim_die("a descriptor was closed while it was in use");
    file->users++;
    pthread_mutex_unlock(&table_lock);
    return file;
}

void held_release(struct held_file *file) {
    pthread_mutex_lock(&table_lock);
    file->users--;
    drop_if_unused(file);
    pthread_mutex_unlock(&table_lock);
}
