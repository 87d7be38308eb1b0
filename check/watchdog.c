/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/watchdog.h"

#include <errno.h>
#include <time.h>

#include "base/clock.h"

/* Until it is told something, or @end_ns. True: that was reached. Holds the lock. */
static bool sleep_until(struct watchdog *dog, uint64_t end_ns)
{
	struct timespec end = {(time_t)(end_ns / NS_PER_SEC), (long)(end_ns % NS_PER_SEC)};

	if (!end_ns)
		pthread_cond_wait(&dog->wake, &dog->lock);
	else
		pthread_cond_timedwait(&dog->wake, &dog->lock, &end);
	return dog->end_ns && clock_ns() >= dog->end_ns;
}

/* Ends when it is told to, or has barked. */
static void watch(void *arg)
{
	struct watchdog *dog = arg;

	pthread_mutex_lock(&dog->lock);
	while (!dog->over) {
		if (!sleep_until(dog, dog->end_ns) || dog->over)
			continue;
		dog->end_ns = 0;
		dog->bark(dog->opaque);
		break;
	}
	pthread_mutex_unlock(&dog->lock);
}

int watchdog_start(struct watchdog *dog, void (*bark)(void *opaque), void *opaque)
{
	pthread_condattr_t attr;
	int ret;

	*dog = (struct watchdog){.bark = bark, .opaque = opaque};
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&dog->lock, NULL);
	pthread_cond_init(&dog->wake, &attr);
	pthread_condattr_destroy(&attr);
	ret = thread_start(&dog->thread, NULL, "watchdog", watch, dog);
	if (!ret)
		return 0;
	pthread_cond_destroy(&dog->wake);
	pthread_mutex_destroy(&dog->lock);
	return ret;
}

static void tell(struct watchdog *dog, uint64_t end_ns, bool over)
{
	pthread_mutex_lock(&dog->lock);
	dog->end_ns = end_ns;
	dog->over |= over;
	pthread_cond_signal(&dog->wake);
	pthread_mutex_unlock(&dog->lock);
}

void watchdog_watch(struct watchdog *dog, uint64_t ns)
{
	tell(dog, clock_after(ns), false);
}

void watchdog_rest(struct watchdog *dog)
{
	tell(dog, 0, false);
}

void watchdog_stop(struct watchdog *dog)
{
	tell(dog, 0, true);
	thread_join(&dog->thread);
	pthread_cond_destroy(&dog->wake);
	pthread_mutex_destroy(&dog->lock);
}
