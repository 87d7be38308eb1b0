/* SPDX-License-Identifier: BSD-3-Clause */
#include "interrupt.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/compiler.h"

static volatile sig_atomic_t noted; /* a handler has nothing else to write to */

int interrupt_open(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	sigprocmask(SIG_BLOCK, &set, NULL);
	return fd;
}

int interrupt_take(int fd)
{
	struct signalfd_siginfo info;

	return read(fd, &info, sizeof(info)) == sizeof(info) ? (int)info.ssi_signo : 0;
}

int interrupt_sleep(int fd, int ms)
{
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};

	poll(&pollfd, 1, ms);
	return interrupt_take(fd);
}

static void note(int number UNUSED)
{
	noted = 1;
}

int interrupt_note(void)
{
	static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = note, .sa_flags = (int)SA_RESETHAND}, before;

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		if (sigaction(numbers[i], NULL, &before))
			return -errno;
		if (before.sa_handler != SIG_IGN && sigaction(numbers[i], &action, NULL))
			return -errno;
	}
	return 0;
}

bool interrupt_noted(void)
{
	return noted;
}
