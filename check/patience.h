/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A driver may sleep where it should not, and the checker with it. While somebody is patient, and
 * once the time is over, SIGALRM comes again and again, so that a system call which can be
 * interrupted ends with EINTR, whenever it began to sleep. One that cannot be is beyond help from
 * here: the kernel's log will tell of a hung task.
 *
 * One at a time in a process: the interval timer and the signal are the process's. Where two threads
 * are patient at once the second has no bound of its own; the watchdog (watchdog.h) has.
 */
#ifndef CHECK_PATIENCE_H
#define CHECK_PATIENCE_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct patience {
	bool first; /* nobody else was at it */
	uint64_t end_ns;
	struct sigaction before;
};

void patience_begin(struct patience *patience, unsigned ms);
/* @ret, what the call said in between; -ETIMEDOUT: it was interrupted, and that was us. */
ssize_t patience_end(struct patience *patience, ssize_t ret);

#endif
