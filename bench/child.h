/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Child processes that run a function of ours. A child dies with its parent, however that ends,
 * and a parent that waits in vain kills it. Only while no other thread runs.
 */
#ifndef BENCH_CHILD_H
#define BENCH_CHILD_H

#include <sys/types.h>

struct child {
	pid_t pid; /* 0: none */
};

/* Run @run(@arg) in a process of its own, called @name (15 bytes are seen), whose exit status is 0
 * if that returns 0. 0 or -errno. */
int child_start(struct child *child, const char *name, int (*run)(void *arg), void *arg);

/* Wait for its end, @timeout_ms at most, then kill it. 0; -ECHILD: it ended badly; -ETIMEDOUT.
 * @seconds (may be NULL): the processor time that it used. Does nothing if there is none. */
int child_finish(struct child *child, int timeout_ms, double *seconds);

#endif
