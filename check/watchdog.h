/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A call into a device that hangs may never come back, and nothing in this process can wake it: a
 * thread of its own notices, and says so.
 */
#ifndef CHECK_WATCHDOG_H
#define CHECK_WATCHDOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/thread.h"

struct watchdog {
	struct thread thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	uint64_t end_ns; /* it barks then; 0: it sleeps */
	bool over;
	void (*bark)(void *opaque);
	void *opaque;
};

/*
 * @bark is called on the watchdog's thread, once, and watchdog_rest() does not return while it
 * runs: what the stuck thread had in hand stands still, even if it comes back after all. 0 or
 * -errno.
 */
int watchdog_start(struct watchdog *dog, void (*bark)(void *opaque), void *opaque);
void watchdog_stop(struct watchdog *dog);

/* From now on, for so long at most. */
void watchdog_watch(struct watchdog *dog, uint64_t ns);
void watchdog_rest(struct watchdog *dog);

#endif
