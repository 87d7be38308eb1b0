/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int child_start(struct child *child, const char *name, int (*run)(void *arg), void *arg)
{
	pid_t parent = getpid();

	child->pid = fork();
	if (child->pid < 0) {
		child->pid = 0;
		return -errno;
	}
	if (child->pid)
		return 0;
	/* The second look is for a parent that died before the first call. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		_exit(1);
	prctl(PR_SET_NAME, name);
	_exit(run(arg) ? 1 : 0);
}

/* Poll a pidfd: SIGCHLD stays nobody's business. */
static int wait_for_end(pid_t pid, int timeout_ms)
{
	struct pollfd pfd = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	int ready;

	if (pfd.fd < 0)
		return -errno;
	do
		ready = poll(&pfd, 1, timeout_ms);
	while (ready < 0 && errno == EINTR);
	close(pfd.fd);
	return ready == 1 ? 0 : -ETIMEDOUT;
}

int child_finish(struct child *child, int timeout_ms, double *seconds)
{
	struct rusage used = {0};
	int status = 0, r;

	if (!child->pid)
		return 0;
	r = wait_for_end(child->pid, timeout_ms);
	if (r)
		kill(child->pid, SIGKILL);
	while (wait4(child->pid, &status, 0, &used) < 0 && errno == EINTR)
		;
	child->pid = 0;
	if (seconds)
		*seconds = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
			   (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
	if (!r && (!WIFEXITED(status) || WEXITSTATUS(status)))
		r = -ECHILD;
	return r;
}
