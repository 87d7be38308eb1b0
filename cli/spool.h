/* SPDX-License-Identifier: BSD-3-Clause */
/* FILE, a saved state, on a command line, "-" being standard input or output. */
#ifndef CLI_SPOOL_H
#define CLI_SPOOL_H

#include <stdint.h>

#define SPOOL_WHY_MAX 256

/*
 * Open @path to read it twice. What can be read once only, a pipe say, is copied into a file
 * without a name, in $TMPDIR, /var/tmp, /tmp or at last in memory, of at most @limit bytes. The fd,
 * or -errno with one line in @why;
 * -EFBIG: it is larger than @limit, or than what is left there. What does not begin as a state does
 * is refused before more of it is copied.
 */
int spool_open(const char *path, uint64_t limit, char why[SPOOL_WHY_MAX]);

/* The same, to read it once: nothing is copied. */
int spool_open_once(const char *path, char why[SPOOL_WHY_MAX]);

#endif
