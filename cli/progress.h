/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The progress of a migration while it runs: on a terminal one line that is redrawn, never wider
 * than the terminal; elsewhere a plain line for each new stage, and at most one a second for new
 * rounds, without control codes.
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdio.h>

#include <vfio-migrate/migrate.h>

#define PROGRESS_LINE_MAX 256

struct progress {
	FILE *out; /* NULL: show nothing */
	bool terminal;
	bool drawn; /* a redrawn line is on the screen, and the cursor behind it */
	enum vfm_stage stage; /* of the last plain line, with its round and time */
	uint64_t round;
	uint64_t elapsed_ns;
};

void progress_init(struct progress *progress, FILE *out);
void progress_show(struct progress *progress, const struct vfm_progress *numbers);

/* Leave the redrawn line: what is printed next starts on a line of its own. */
void progress_end(struct progress *progress);

/* The line itself, at most @width columns and PROGRESS_LINE_MAX - 1 bytes: what does not fit is
 * left out, the least telling number first. Returns @line. */
char *progress_format(char line[PROGRESS_LINE_MAX], const struct vfm_progress *numbers,
		      unsigned width);

#endif
