/* SPDX-License-Identifier: BSD-3-Clause */
/* Running the program vfio-migrate, named by the environment's VFIO_MIGRATE, and looking at what it
 * said. Failures end the test. */
#ifndef TESTS_PROGRAM_H
#define TESTS_PROGRAM_H

#include <stddef.h>

#define PROGRAM_OUTPUT_MAX 65536

struct program_run {
	int status;                      /* exit status; 1000 + signal if one killed it */
	char output[PROGRAM_OUTPUT_MAX]; /* standard output and error */
};

/* Run with @args, words split at blanks, for at most @timeout_ms. */
void program_run(struct program_run *run, const char *args, int timeout_ms);

#endif
