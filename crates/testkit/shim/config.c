/* Settings from the environment, the counters that outlive the process, and the library's own random stream. */
#define _GNU_SOURCE
#include "shim.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct shim_config shim_config;

static struct shim_stats unread_stats;
struct shim_stats *shim_stats = &unread_stats;

static _Atomic uint64_t random_state;

void shim_die(const char *what) {
    static const char head[] = "ringfort shim: ";
    syscall(SYS_write, 2, head, sizeof head - 1);
    syscall(SYS_write, 2, what, strlen(what));
    syscall(SYS_write, 2, "\n", 1);
    _exit(86);
}

int shim_is_under_directory(const char *path) {
    if (strncmp(path, shim_config.dir, shim_config.dir_len) != 0) return 0;
    return path[shim_config.dir_len] == 0 || path[shim_config.dir_len] == '/';
}

/* SplitMix64 over an atomic counter: threads share one stream. */
uint64_t shim_random(void) {
    uint64_t z = atomic_fetch_add(&random_state, 0x9e3779b97f4a7c15u) + 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t number(const char *name) {
    const char *text = getenv(name);
    if (!text || !*text) return 0;
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (*end) shim_die("a setting is no number");
    return value;
}

static void map_stats(void) {
    const char *path = getenv("RINGFORT_SHIM_STATS");
    if (!path) return;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) shim_die("the file of RINGFORT_SHIM_STATS cannot be opened");
    void *map = (void *)syscall(SYS_mmap, NULL, (size_t)PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)0);
    if (map == MAP_FAILED) shim_die("the file of RINGFORT_SHIM_STATS cannot be mapped");
    syscall(SYS_close, fd);
    shim_stats = map;
    shim_stats->magic = STATS_MAGIC;
}

__attribute__((constructor)) static void configure(void) {
    const char *dir = getenv("RINGFORT_SHIM_DIR");
    if (!dir || !*dir) return;
    if (dir[0] != '/') shim_die("RINGFORT_SHIM_DIR is no absolute path");
    shim_config.dir_len = strlen(dir);
    shim_config.fail_sync = number("RINGFORT_SHIM_FAIL_SYNC");
    shim_config.fail_write = number("RINGFORT_SHIM_FAIL_WRITE");
    shim_config.sync_delay_us = number("RINGFORT_SHIM_SYNC_DELAY_US");
    shim_config.leak_percent = number("RINGFORT_SHIM_LEAK");
    const char *hold = getenv("RINGFORT_SHIM_HOLD_SYNCS");
    shim_config.hold_syncs = hold && *hold ? hold : NULL;
    const char *names = getenv("RINGFORT_SHIM_NAMES");
    shim_config.names = names && *names ? names : NULL;
    random_state = number("RINGFORT_SHIM_SEED");
    map_stats();
    shim_config.dir = dir;
}
