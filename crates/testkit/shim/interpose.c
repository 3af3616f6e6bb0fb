/*
 * The functions of libc that reach files. Each asks whether the descriptor is ours, and else makes the plain system call:
 * there is no need to look up what libc would have done.
 */
#define _GNU_SOURCE
#define _LARGEFILE64_SOURCE
/* Our definitions take plain types; libc's headers would alias or check some of these names. */
#undef _FORTIFY_SOURCE
#include "names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define IS_FILE(fd) (tracked_kind(fd) == TRACKED_FILE)

/* ---- names ---- */

static int open_at(int dir, const char *path, int flags, mode_t mode) {
    char name[NAMES_PATH_MAX];
    int named = (flags & O_CREAT) && names_path(dir, path, name);
    if (named) names_begin();
    int is_new = named && !names_exists(name);
    int fd = (int)syscall(SYS_openat, dir, path, flags, mode);
    if (is_new && fd >= 0) names_created(name);
    if (named) names_end();
    tracked_add(fd, flags & O_TRUNC);
    return fd;
}

static mode_t mode_of(int flags, va_list rest) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name)                                                   \
    int name(const char *path, int flags, ...) {                     \
        va_list rest;                                                \
        va_start(rest, flags);                                       \
        mode_t mode = mode_of(flags, rest);                          \
        va_end(rest);                                                \
        return open_at(AT_FDCWD, path, flags, mode);                 \
    }
#define OPENAT(name)                                                 \
    int name(int dir, const char *path, int flags, ...) {            \
        va_list rest;                                                \
        va_start(rest, flags);                                       \
        mode_t mode = mode_of(flags, rest);                          \
        va_end(rest);                                                \
        return open_at(dir, path, flags, mode);                      \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

int creat(const char *path, mode_t mode) { return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return creat(path, mode); }

/* What a name stands for before it is taken away, and afterwards: whether that was the inode's last one. */
static int look_up(int dir, const char *path, struct stat *stat) {
    if (!shim_config.dir) return 0;
    int saved_errno = errno;
    int found = fstatat(dir, path, stat, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(stat->st_mode) && stat->st_nlink == 1;
    errno = saved_errno;
    return found;
}

int unlinkat(int dir, const char *path, int flags) {
    struct stat stat;
    char name[NAMES_PATH_MAX], saved[NAMES_PATH_MAX];
    int last = look_up(dir, path, &stat);
    int named = last && names_path(dir, path, name);
    if (named) {
        names_begin();
        names_save(name, saved);
    }
    int result = (int)syscall(SYS_unlinkat, dir, path, flags);
    if (named) {
        if (result == 0) names_unlinked(name, saved);
        else names_forget(saved);
        names_end();
    }
    if (result == 0 && last) tracked_unlinked(stat.st_dev, stat.st_ino);
    return result;
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    struct stat stat, source;
    char from_name[NAMES_PATH_MAX], to_name[NAMES_PATH_MAX], saved[NAMES_PATH_MAX];
    int last = look_up(to_dir, to, &stat);
    int same = last && look_up(from_dir, from, &source) && source.st_dev == stat.st_dev && source.st_ino == stat.st_ino;
    int replaces = last && !same && !(flags & RENAME_EXCHANGE);
    int named = names_path(from_dir, from, from_name) && names_path(to_dir, to, to_name);
    if (named) {
        names_begin();
        if (replaces) names_save(to_name, saved);
    }
    int result = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
    if (named) {
        if (result == 0) names_renamed(from_name, to_name, replaces ? saved : NULL);
        else if (replaces) names_forget(saved);
        names_end();
    }
    if (result == 0 && replaces) tracked_unlinked(stat.st_dev, stat.st_ino);
    return result;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    return renameat2(from_dir, from, to_dir, to, 0);
}

int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

/* ---- descriptors ---- */

int close(int fd) {
    tracked_remove(fd);
    return (int)syscall(SYS_close, fd);
}

int dup3(int from, int to, int flags) {
    int fd = (int)syscall(SYS_dup3, from, to, flags);
    tracked_duplicate(from, fd);
    return fd;
}

int dup2(int from, int to) {
    if (from == to) return syscall(SYS_fcntl, from, F_GETFD) < 0 ? -1 : to;
    return dup3(from, to, 0);
}

int dup(int from) {
    int fd = (int)syscall(SYS_dup, from);
    tracked_duplicate(from, fd);
    return fd;
}

static int fcntl_common(int fd, int command, unsigned long argument) {
    int result = (int)syscall(SYS_fcntl, fd, command, argument);
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) tracked_duplicate(fd, result);
    return result;
}

#define FCNTL(name)                                                  \
    int name(int fd, int command, ...) {                             \
        va_list rest;                                                \
        va_start(rest, command);                                     \
        unsigned long argument = va_arg(rest, unsigned long);        \
        va_end(rest);                                                \
        return fcntl_common(fd, command, argument);                  \
    }
FCNTL(fcntl)
FCNTL(fcntl64)

/* ---- reading and writing ---- */

#define WITH_FILE(fd, type, call)                                    \
    do {                                                             \
        struct held_file *file = held_acquire(fd);                   \
        type result = (call);                                        \
        int saved_errno = errno;                                     \
        held_release(file);                                          \
        errno = saved_errno;                                         \
        return result;                                               \
    } while (0)

ssize_t read(int fd, void *to, size_t len) {
    if (!IS_FILE(fd)) return syscall(SYS_read, fd, to, len);
    WITH_FILE(fd, ssize_t, held_read(file, fd, to, len));
}

ssize_t write(int fd, const void *from, size_t len) {
    if (!IS_FILE(fd)) return syscall(SYS_write, fd, from, len);
    WITH_FILE(fd, ssize_t, held_write(file, fd, from, len));
}

ssize_t pread64(int fd, void *to, size_t len, off_t offset) {
    if (!IS_FILE(fd)) return syscall(SYS_pread64, fd, to, len, offset);
    WITH_FILE(fd, ssize_t, held_pread(file, to, len, offset));
}

ssize_t pwrite64(int fd, const void *from, size_t len, off_t offset) {
    if (!IS_FILE(fd)) return syscall(SYS_pwrite64, fd, from, len, offset);
    WITH_FILE(fd, ssize_t, held_pwrite(file, from, len, offset));
}

ssize_t pread(int fd, void *to, size_t len, off_t offset) { return pread64(fd, to, len, offset); }
ssize_t pwrite(int fd, const void *from, size_t len, off_t offset) { return pwrite64(fd, from, len, offset); }

/* Part by part; like the kernel, it says how much was done when a later part fails. */
#define EACH_PART(one)                                               \
    do {                                                             \
        ssize_t total = 0;                                           \
        for (int i = 0; i < count; i++) {                            \
            ssize_t done = (one);                                    \
            if (done < 0) return total > 0 ? total : -1;             \
            total += done;                                           \
            if ((size_t)done < parts[i].iov_len) break;              \
        }                                                            \
        return total;                                                \
    } while (0)

ssize_t readv(int fd, const struct iovec *parts, int count) {
    if (!IS_FILE(fd)) return syscall(SYS_readv, fd, parts, count);
    EACH_PART(read(fd, parts[i].iov_base, parts[i].iov_len));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!IS_FILE(fd)) return syscall(SYS_writev, fd, parts, count);
    EACH_PART(write(fd, parts[i].iov_base, parts[i].iov_len));
}

ssize_t preadv64(int fd, const struct iovec *parts, int count, off_t offset) {
    if (!IS_FILE(fd)) return syscall(SYS_preadv, fd, parts, count, offset, 0);
    EACH_PART(pread64(fd, parts[i].iov_base, parts[i].iov_len, offset + total));
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) {
    if (!IS_FILE(fd)) return syscall(SYS_pwritev, fd, parts, count, offset, 0);
    EACH_PART(pwrite64(fd, parts[i].iov_base, parts[i].iov_len, offset + total));
}

ssize_t preadv(int fd, const struct iovec *parts, int count, off_t offset) { return preadv64(fd, parts, count, offset); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return pwritev64(fd, parts, count, offset); }

/* ---- syncs and lengths ---- */

static int sync_directory(int fd, long number) {
    names_begin();
    int result = (int)syscall(number, fd);
    if (result == 0) {
        names_synced();
        atomic_fetch_add(&shim_stats->directory_syncs, 1);
    }
    names_end();
    return result;
}

static int sync_file(int fd, long number) {
    enum tracked kind = tracked_kind(fd);
    if (kind == TRACKED_FILE) WITH_FILE(fd, int, held_sync(file));
    if (kind == TRACKED_DIRECTORY) return sync_directory(fd, number);
    return (int)syscall(number, fd);
}

int fsync(int fd) { return sync_file(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_file(fd, SYS_fdatasync); }

int ftruncate64(int fd, off_t len) {
    if (!IS_FILE(fd)) return (int)syscall(SYS_ftruncate, fd, len);
    WITH_FILE(fd, int, held_truncate(file, len));
}

int ftruncate(int fd, off_t len) { return ftruncate64(fd, len); }

int truncate64(const char *path, off_t len) {
    int fd = open_at(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0) return -1;
    int result = ftruncate64(fd, len), saved_errno = errno;
    close(fd);
    errno = saved_errno;
    return result;
}

int truncate(const char *path, off_t len) { return truncate64(path, len); }

/* Plain allocation changes no content; the other modes do, and are refused for our files. */
int fallocate64(int fd, int mode, off_t offset, off_t len) {
    if (IS_FILE(fd) && (mode & ~FALLOC_FL_KEEP_SIZE) != 0) {
        errno = EOPNOTSUPP;
        return -1;
    }
    return (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

int fallocate(int fd, int mode, off_t offset, off_t len) { return fallocate64(fd, mode, offset, len); }

/* ---- what would go round the model ---- */

void *mmap64(void *address, size_t len, int protection, int flags, int fd, off_t offset) {
    if (fd >= 0 && IS_FILE(fd)) {
        errno = ENODEV;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, address, len, protection, flags, fd, offset);
}

void *mmap(void *address, size_t len, int protection, int flags, int fd, off_t offset) {
    return mmap64(address, len, protection, flags, fd, offset);
}

ssize_t copy_file_range(int from, off_t *from_offset, int to, off_t *to_offset, size_t len, unsigned flags) {
    if (IS_FILE(from) || IS_FILE(to)) {
        errno = ENOSYS;
        return -1;
    }
    return syscall(SYS_copy_file_range, from, from_offset, to, to_offset, len, flags);
}

ssize_t sendfile64(int to, int from, off_t *offset, size_t len) {
    if (IS_FILE(from) || IS_FILE(to)) {
        errno = ENOSYS;
        return -1;
    }
    return syscall(SYS_sendfile, to, from, offset, len);
}

ssize_t sendfile(int to, int from, off_t *offset, size_t len) { return sendfile64(to, from, offset, len); }

ssize_t splice(int from, off_t *from_offset, int to, off_t *to_offset, size_t len, unsigned flags) {
    if (IS_FILE(from) || IS_FILE(to)) {
        errno = EINVAL;
        return -1;
    }
    return syscall(SYS_splice, from, from_offset, to, to_offset, len, flags);
}

ssize_t preadv64v2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    if (!IS_FILE(fd)) return syscall(SYS_preadv2, fd, parts, count, offset, 0, flags);
    errno = EOPNOTSUPP;
    return -1;
}

ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    if (!IS_FILE(fd)) return syscall(SYS_pwritev2, fd, parts, count, offset, 0, flags);
    errno = EOPNOTSUPP;
    return -1;
}

ssize_t preadv2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    return preadv64v2(fd, parts, count, offset, flags);
}

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags) {
    return pwritev64v2(fd, parts, count, offset, flags);
}
