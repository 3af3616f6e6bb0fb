/*
 * Names that no sync of their directory has covered yet.
 *
 * A create, rename or unlink takes effect at once, and what it would take to undo it is written to a journal, which
 * outlives the process; a file that loses its name keeps another one in the journal's directory. A sync of a directory
 * empties the journal. After a kill, whoever started the process undoes what is left, last first: see `shim.rs`.
 *
 *      C <path>                      created
 *      R <from> <to> <saved or ->    renamed; what had the name `to` is kept as `saved`
 *      U <path> <saved>              unlinked; kept as `saved`
 *
 * Fields are separated by tabs. Names of directories themselves are not followed.
 */
#define _GNU_SOURCE
#include "names.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static pthread_mutex_t names_lock = PTHREAD_MUTEX_INITIALIZER;
static int journal = -1;
static unsigned long saved_count;
static unsigned long names_saved_from;

void names_begin(void) { pthread_mutex_lock(&names_lock); }
void names_end(void) { pthread_mutex_unlock(&names_lock); }

int names_path(int dir, const char *path, char *out) {
    const char *slash = strrchr(path, '/');
    const char *last = slash ? slash + 1 : path;
    char parent[PATH_MAX];
    size_t parent_len = slash ? (size_t)(slash - path) : 0;
    if (!shim_config.names || parent_len >= sizeof parent || !*last) return 0;
    memcpy(parent, path, parent_len);
    parent[parent_len] = 0;
    const char *open_as = slash ? (parent_len ? parent : "/") : ".";
    int saved_errno = errno, found = 0;
    int fd = (int)syscall(SYS_openat, dir, open_as, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd >= 0) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t len = readlink(link, out, NAMES_PATH_MAX - 1);
        syscall(SYS_close, fd);
        size_t last_len = strlen(last);
        if (len > 0 && (size_t)len + last_len + 2 < NAMES_PATH_MAX) {
            out[len] = '/';
            memcpy(out + len + 1, last, last_len + 1);
            found = shim_is_under_directory(out);
        }
    }
    errno = saved_errno;
    return found;
}

static void open_journal(void) {
    if (journal >= 0) return;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/journal", shim_config.names);
    journal = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0) shim_die("the journal of names cannot be opened");
}

static void write_line(const char *line, size_t len) {
    open_journal();
    if (syscall(SYS_write, journal, line, len) != (long)len) shim_die("the journal of names cannot be written");
}

int names_exists(const char *path) {
    struct stat stat;
    int saved_errno = errno;
    int exists = fstatat(AT_FDCWD, path, &stat, AT_SYMLINK_NOFOLLOW) == 0;
    errno = saved_errno;
    return exists;
}

void names_save(const char *path, char *saved) {
    snprintf(saved, NAMES_PATH_MAX, "%s/%d-%lu", shim_config.names, getpid(), saved_count++);
    if (syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, saved, 0) < 0) shim_die("a file cannot be kept under another name");
}

void names_forget(const char *saved) { syscall(SYS_unlinkat, AT_FDCWD, saved, 0); }

void names_created(const char *path) {
    char line[2 * NAMES_PATH_MAX];
    write_line(line, (size_t)snprintf(line, sizeof line, "C\t%s\n", path));
}

void names_renamed(const char *from, const char *to, const char *saved) {
    char line[4 * NAMES_PATH_MAX];
    write_line(line, (size_t)snprintf(line, sizeof line, "R\t%s\t%s\t%s\n", from, to, saved ? saved : "-"));
}

void names_unlinked(const char *path, const char *saved) {
    char line[4 * NAMES_PATH_MAX];
    write_line(line, (size_t)snprintf(line, sizeof line, "U\t%s\t%s\n", path, saved));
}

void names_synced(void) {
    if (!shim_config.names) return;
    open_journal();
    if (syscall(SYS_ftruncate, journal, (off_t)0) < 0) shim_die("the journal of names cannot be emptied");
    /* The kept files of earlier lines are of no use any more; those that stay behind are removed with the directory. */
    for (; names_saved_from < saved_count; names_saved_from++) {
        char saved[NAMES_PATH_MAX];
        snprintf(saved, sizeof saved, "%s/%d-%lu", shim_config.names, getpid(), names_saved_from);
        names_forget(saved);
    }
}
