/* The inside of a tracked file, for tracked.c and held.c only. */
#ifndef RINGFORT_SHIM_HELD_H
#define RINGFORT_SHIM_HELD_H

#include "shim.h"

#include <pthread.h>

enum page_state {
    PAGE_HELD = 1, /* written, not synced */
    PAGE_LOST,     /* its sync failed: readable, never to be written unless written to again */
};

struct page {
    enum page_state state;
    unsigned char bytes[PAGE_BYTES]; /* the whole page as readers see it */
};

struct held_file {
    struct held_file *next;
    dev_t dev;
    ino_t ino;
    int fd;       /* our own descriptor, readable and writable */
    int users;    /* descriptors of the process and calls under way; under the table's lock */
    int unlinked; /* under the table's lock */
    pthread_mutex_t lock;
    struct page **pages; /* by page number; NULL: as the kernel has it */
    size_t pages_len;
    size_t pages_held;
    size_t pages_lost;
};

struct held_file *held_new(int fd, dev_t dev, ino_t ino);
void held_free(struct held_file *file);
/* Pages held or lost. */
size_t held_pages(struct held_file *file);
/* The kernel has truncated the file to nothing. */
void held_forget(struct held_file *file);

#endif
