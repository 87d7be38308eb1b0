/* SPDX-License-Identifier: BSD-3-Clause */
#include "victim.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "check/check.h"

#define WAIT_MS 60000u

static int wait_for_word(struct victim *victim)
{
	uint64_t deadline = clock_after(WAIT_MS * NS_PER_MSEC);
	int ret;

	while (!process_said(&victim->process, CHECK_HOLDS)) {
		if (clock_ns() >= deadline)
			return -ETIMEDOUT;
		ret = process_wait(&victim->process, 2);
		if (ret != -ETIMEDOUT)
			return ret ? ret : -ECHILD;
	}
	return 0;
}

int victim_start(struct victim *victim, const char *device, const char *what)
{
	char log[64], hold[64], place[512];
	char *argv[] = {(char[]){"/proc/self/exe"}, (char[]){"check"}, (char[]){"--yes"}, hold,
			place, NULL};
	int ret;

	*victim = (struct victim){.log = memfd_create("victim", MFD_CLOEXEC)};
	if (victim->log < 0)
		return -errno;
	snprintf(log, sizeof(log), "/proc/%ld/fd/%d", (long)getpid(), victim->log);
	snprintf(hold, sizeof(hold), "--hold=%s", what);
	if ((size_t)snprintf(place, sizeof(place), "%s", device) >= sizeof(place))
		ret = -ENAMETOOLONG;
	else
		ret = process_spawn(&victim->process, "the victim", log, argv);
	if (!ret)
		ret = wait_for_word(victim);
	if (ret)
		victim_kill(victim);
	return ret;
}

void victim_kill(struct victim *victim)
{
	process_kill(&victim->process);
	close(victim->log);
}
