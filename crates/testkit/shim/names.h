/* Names and their journal, for interpose.c. All but names_path are called between names_begin and names_end. */
#ifndef RINGFORT_SHIM_NAMES_H
#define RINGFORT_SHIM_NAMES_H

#include "shim.h"

#define NAMES_PATH_MAX 4096

void names_begin(void);
void names_end(void);

/* The absolute path of a name under our directory; 0 where it is none of ours, or names are not followed. */
int names_path(int dir, const char *path, char *out);
int names_exists(const char *path);

/* Keeps the file under another name, which is put into `saved`. */
void names_save(const char *path, char *saved);
void names_forget(const char *saved);

/* What has happened. */
void names_created(const char *path);
void names_renamed(const char *from, const char *to, const char *saved);
void names_unlinked(const char *path, const char *saved);
void names_synced(void);

#endif
