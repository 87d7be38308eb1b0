/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/patience.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/time.h>

#include "base/clock.h"
#include "base/compiler.h"

#define AGAIN_US 20000 /* a signal that came before the call began to sleep is followed by others */

static atomic_flag taken = ATOMIC_FLAG_INIT;

static void interrupt(int number UNUSED)
{
}

static void set_timer(unsigned ms)
{
	struct itimerval timer = {
		.it_value = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000},
		.it_interval = {.tv_usec = ms ? AGAIN_US : 0},
	};

	setitimer(ITIMER_REAL, &timer, NULL);
}

void patience_begin(struct patience *patience, unsigned ms)
{
	struct sigaction action = {.sa_handler = interrupt}; /* no SA_RESTART */

	patience->first = !atomic_flag_test_and_set(&taken);
	if (!patience->first)
		return;
	sigemptyset(&action.sa_mask);
	sigaction(SIGALRM, &action, &patience->before);
	patience->end_ns = clock_after(ms * NS_PER_MSEC);
	set_timer(ms);
}

ssize_t patience_end(struct patience *patience, ssize_t ret)
{
	if (!patience->first)
		return ret;
	set_timer(0);
	sigaction(SIGALRM, &patience->before, NULL);
	atomic_flag_clear(&taken);
	return ret == -EINTR && clock_ns() >= patience->end_ns ? -ETIMEDOUT : ret;
}
