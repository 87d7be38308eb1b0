/* SPDX-License-Identifier: BSD-3-Clause */
/* Paths of unix sockets: what the kernel tells too little of. */
#ifndef BASE_UNIX_PATH_H
#define BASE_UNIX_PATH_H

#include <stdbool.h>

/* Is there something at @path, and it is no socket? */
bool unix_path_is_other(const char *path);

/* @error, a -errno of connecting to @path, or -ENOTSOCK: a file that is no socket refuses in the
 * words of a server that is gone, and no waiting will help. */
int unix_path_explain(const char *path, int error);

#endif
