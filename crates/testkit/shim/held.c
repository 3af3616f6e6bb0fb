/*
 * The pages of one file that no sync has covered yet. A page is loaded from the kernel at its first write and is from
 * then on what readers see; a sync writes the held pages, in runs, and lets go of them.
 */
#define _GNU_SOURCE
#include "held.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PAGES_MAX ((size_t)1 << 26) /* 256 GiB */
#define RUN_PAGES_MAX 256

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

struct held_file *held_new(int fd, dev_t dev, ino_t ino) {
    struct held_file *file = calloc(1, sizeof *file);
    if (!file) shim_die("out of memory");
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    file->fd = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDWR | O_CLOEXEC, 0);
    if (file->fd < 0) file->fd = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
    if (file->fd < 0) shim_die("a file cannot be opened a second time");
    file->dev = dev;
    file->ino = ino;
    pthread_mutexattr_t recursive;
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&file->lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    return file;
}

void held_free(struct held_file *file) {
    held_forget(file);
    syscall(SYS_close, file->fd);
    pthread_mutex_destroy(&file->lock);
    free(file->pages);
    free(file);
}

size_t held_pages(struct held_file *file) {
    pthread_mutex_lock(&file->lock);
    size_t pages = file->pages_held + file->pages_lost;
    pthread_mutex_unlock(&file->lock);
    return pages;
}

static void set_state(struct held_file *file, struct page *page, enum page_state state) {
    if (page->state == state) return;
    if (page->state == PAGE_HELD) {
        file->pages_held--;
        atomic_fetch_sub(&shim_stats->held_bytes, PAGE_BYTES);
    } else if (page->state == PAGE_LOST) {
        file->pages_lost--;
    }
    page->state = state;
    if (state == PAGE_HELD) {
        file->pages_held++;
        uint64_t held = atomic_fetch_add(&shim_stats->held_bytes, PAGE_BYTES) + PAGE_BYTES;
        uint64_t most = atomic_load(&shim_stats->held_bytes_max);
        while (held > most && !atomic_compare_exchange_weak(&shim_stats->held_bytes_max, &most, held)) {}
    } else if (state == PAGE_LOST) {
        file->pages_lost++;
    }
}

static void drop_page(struct held_file *file, size_t number) {
    struct page *page = file->pages[number];
    if (!page) return;
    set_state(file, page, 0);
    free(page);
    file->pages[number] = NULL;
}

static void drop_pages_from(struct held_file *file, size_t first) {
    for (size_t number = first; number < file->pages_len; number++) drop_page(file, number);
}

void held_forget(struct held_file *file) {
    pthread_mutex_lock(&file->lock);
    drop_pages_from(file, 0);
    pthread_mutex_unlock(&file->lock);
}

/* The page for a write; loaded from the kernel unless the write covers all of it. NULL: errno says why. */
static struct page *page_for_write(struct held_file *file, size_t number, int covered) {
    if (number >= PAGES_MAX) {
        errno = EFBIG;
        return NULL;
    }
    if (number >= file->pages_len) {
        size_t len = number + 1 + number / 2;
        struct page **pages = realloc(file->pages, len * sizeof *pages);
        if (!pages) shim_die("out of memory");
        memset(pages + file->pages_len, 0, (len - file->pages_len) * sizeof *pages);
        file->pages = pages;
        file->pages_len = len;
    }
    struct page *page = file->pages[number];
    if (!page) {
        page = calloc(1, sizeof *page);
        if (!page) shim_die("out of memory");
        off_t offset = (off_t)(number * PAGE_BYTES);
        if (!covered && syscall(SYS_pread64, file->fd, page->bytes, (size_t)PAGE_BYTES, offset) < 0) {
            free(page);
            return NULL;
        }
        file->pages[number] = page;
    }
    set_state(file, page, PAGE_HELD);
    return page;
}

static off_t size_of(struct held_file *file) {
    struct stat stat;
    return fstat(file->fd, &stat) < 0 ? -1 : stat.st_size;
}

/* Lets some sectors of what was just written reach the kernel, never beyond the end of the file. */
static void leak_sectors(struct held_file *file, struct page *page, size_t number, size_t start, size_t end) {
    for (size_t sector = start / SECTOR_BYTES; sector * SECTOR_BYTES < end; sector++) {
        if (shim_random() % 100 >= shim_config.leak_percent) continue;
        size_t first = sector * SECTOR_BYTES;
        size_t len = least(SECTOR_BYTES, end - first);
        off_t offset = (off_t)(number * PAGE_BYTES + first);
        ssize_t written = syscall(SYS_pwrite64, file->fd, page->bytes + first, len, offset);
        if (written > 0) atomic_fetch_add(&shim_stats->leaked_bytes, (uint64_t)written);
    }
}

ssize_t held_pwrite(struct held_file *file, const void *from, size_t len, off_t offset) {
    if (offset < 0) {
        errno = EINVAL;
        return -1;
    }
    uint64_t count = atomic_fetch_add(&shim_stats->writes, 1) + 1;
    if (count == shim_config.fail_write) {
        atomic_fetch_add(&shim_stats->failures_injected, 1);
        errno = EIO;
        return -1;
    }
    pthread_mutex_lock(&file->lock);
    ssize_t result = -1;
    off_t size = size_of(file), end = offset + (off_t)len;
    if (size < 0 || (end > size && len > 0 && syscall(SYS_ftruncate, file->fd, end) < 0)) goto done;
    for (size_t done = 0; done < len;) {
        size_t at = (size_t)offset + done, number = at / PAGE_BYTES, start = at % PAGE_BYTES;
        size_t part = least(PAGE_BYTES - start, len - done);
        struct page *page = page_for_write(file, number, part == PAGE_BYTES);
        if (!page) goto done;
        memcpy(page->bytes + start, (const char *)from + done, part);
        if (shim_config.leak_percent) leak_sectors(file, page, number, start, start + part);
        done += part;
    }
    atomic_fetch_add(&shim_stats->written_bytes, len);
    result = (ssize_t)len;
done:
    pthread_mutex_unlock(&file->lock);
    return result;
}

ssize_t held_pread(struct held_file *file, void *to, size_t len, off_t offset) {
    pthread_mutex_lock(&file->lock);
    ssize_t got = syscall(SYS_pread64, file->fd, to, len, offset);
    for (size_t done = 0; got > 0 && done < (size_t)got;) {
        size_t at = (size_t)offset + done, number = at / PAGE_BYTES, start = at % PAGE_BYTES;
        size_t part = least(PAGE_BYTES - start, (size_t)got - done);
        if (number < file->pages_len && file->pages[number]) {
            memcpy((char *)to + done, file->pages[number]->bytes + start, part);
        }
        done += part;
    }
    pthread_mutex_unlock(&file->lock);
    return got;
}

/* Reads and writes at the descriptor's own position move it, under the file's lock. */
ssize_t held_read(struct held_file *file, int fd, void *to, size_t len) {
    pthread_mutex_lock(&file->lock);
    ssize_t got = -1;
    off_t offset = lseek(fd, 0, SEEK_CUR);
    if (offset >= 0) got = held_pread(file, to, len, offset);
    if (got > 0) lseek(fd, offset + got, SEEK_SET);
    pthread_mutex_unlock(&file->lock);
    return got;
}

ssize_t held_write(struct held_file *file, int fd, const void *from, size_t len) {
    pthread_mutex_lock(&file->lock);
    ssize_t written = -1;
    long flags = syscall(SYS_fcntl, fd, F_GETFL, 0);
    off_t offset = flags & O_APPEND ? size_of(file) : lseek(fd, 0, SEEK_CUR);
    if (offset >= 0) written = held_pwrite(file, from, len, offset);
    if (written > 0) lseek(fd, offset + written, SEEK_SET);
    pthread_mutex_unlock(&file->lock);
    return written;
}

int held_truncate(struct held_file *file, off_t len) {
    pthread_mutex_lock(&file->lock);
    int result = (int)syscall(SYS_ftruncate, file->fd, len);
    if (result == 0) {
        size_t whole = (size_t)len / PAGE_BYTES, rest = (size_t)len % PAGE_BYTES;
        drop_pages_from(file, whole + (rest > 0));
        if (rest > 0 && whole < file->pages_len && file->pages[whole]) {
            memset(file->pages[whole]->bytes + rest, 0, PAGE_BYTES - rest);
        }
    }
    pthread_mutex_unlock(&file->lock);
    return result;
}

/* Really writes `count` held pages from `first` on; the last one no further than the end of the file. */
static int write_run(struct held_file *file, size_t first, size_t count, off_t size) {
    struct iovec parts[RUN_PAGES_MAX];
    size_t start = first * PAGE_BYTES, total = 0;
    for (size_t i = 0; i < count; i++) {
        size_t left = (size_t)size > start + total ? (size_t)size - start - total : 0;
        parts[i].iov_base = file->pages[first + i]->bytes;
        parts[i].iov_len = least(PAGE_BYTES, left);
        total += parts[i].iov_len;
    }
    for (size_t done = 0, i = 0; done < total;) {
        ssize_t written = syscall(SYS_pwritev, file->fd, parts + i, count - i, (off_t)(start + done), 0);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return -1;
        done += (size_t)written;
        size_t skip = (size_t)written;
        while (i < count && skip >= parts[i].iov_len) skip -= parts[i++].iov_len;
        if (i < count) {
            parts[i].iov_base = (char *)parts[i].iov_base + skip;
            parts[i].iov_len -= skip;
        }
    }
    atomic_fetch_add(&shim_stats->flushed_bytes, total);
    return 0;
}

static int write_held(struct held_file *file) {
    off_t size = size_of(file);
    if (size < 0) return -1;
    for (size_t number = 0; number < file->pages_len;) {
        size_t count = 0;
        while (count < RUN_PAGES_MAX && number + count < file->pages_len && file->pages[number + count] &&
               file->pages[number + count]->state == PAGE_HELD) {
            count++;
        }
        if (count > 0 && write_run(file, number, count, size) < 0) return -1;
        number += count > 0 ? count : 1;
    }
    return 0;
}

static void end_sync(struct held_file *file, int failed) {
    if (file->pages_held == 0) return;
    for (size_t number = 0; number < file->pages_len; number++) {
        struct page *page = file->pages[number];
        if (!page || page->state != PAGE_HELD) continue;
        if (failed) {
            set_state(file, page, PAGE_LOST);
        } else {
            drop_page(file, number);
        }
    }
}

static void delay(void) {
    uint64_t us = shim_config.sync_delay_us;
    struct timespec left = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
    while (us > 0 && nanosleep(&left, &left) < 0 && errno == EINTR) {}
}

/* To open a named pipe for reading is to wait for somebody who writes. */
static void hold(void) {
    int fd = -1;
    if (!shim_config.hold_syncs) return;
    do {
        fd = (int)syscall(SYS_openat, AT_FDCWD, shim_config.hold_syncs, O_RDONLY | O_CLOEXEC, 0);
    } while (fd < 0 && errno == EINTR);
    if (fd >= 0) syscall(SYS_close, fd);
}

int held_sync(struct held_file *file) {
    static _Atomic uint64_t syncs_asked;
    uint64_t count = atomic_fetch_add(&syncs_asked, 1) + 1;
    hold();
    delay();
    if (shim_config.fail_sync && count > shim_config.fail_sync) atomic_fetch_add(&shim_stats->syncs_after_failure, 1);
    pthread_mutex_lock(&file->lock);
    int result;
    if (count == shim_config.fail_sync) {
        atomic_fetch_add(&shim_stats->failures_injected, 1);
        errno = EIO;
        result = -1;
    } else {
        result = write_held(file);
        if (result == 0) result = (int)syscall(SYS_fdatasync, file->fd);
    }
    int saved_errno = errno;
    end_sync(file, result < 0);
    pthread_mutex_unlock(&file->lock);
    if (result == 0) atomic_fetch_add(&shim_stats->syncs, 1);
    errno = saved_errno;
    return result;
}
