/* SPDX-License-Identifier: BSD-3-Clause */
/* Ctrl-C and the like as something to poll, instead of something that happens anywhere. */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <stdbool.h>

/* Take SIGINT, SIGTERM and SIGHUP off the process; call before any thread is made. The fd becomes
 * readable with each. The fd or -errno. */
int interrupt_open(void);

/* The next one's signal number, 0: none is waiting. */
int interrupt_take(int fd);

/* Wait for @ms, or for an interrupt: its signal number, which is taken, 0: none came. */
int interrupt_sleep(int fd, int ms);

/*
 * For a command that cannot poll: take note of the first SIGINT, SIGTERM or SIGHUP, which also ends a
 * call into the kernel that sleeps (EINTR). The same one again ends the process. What was ignored, as
 * nohup(1) does, stays so. 0 or -errno.
 */
int interrupt_note(void);
bool interrupt_noted(void);

#endif
