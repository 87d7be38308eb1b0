/* SPDX-License-Identifier: BSD-3-Clause */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define LOG_TAIL_MAX 8192 /* bytes of a log that are looked at */

/* In the child, after fork: only async-signal-safe calls. Says why by writing errno to @report. */
static void become_child(pid_t parent, int log, int report, char *const argv[])
{
	int code, null;
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setpgid(0, 0);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL))
		goto fail;
	if (getppid() != parent) /* it died before the line above */
		_exit(127);
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 ||
	    dup2(log, STDERR_FILENO) < 0)
		goto fail;
	execv(argv[0], argv);
fail:
	code = errno;
	if (write(report, &code, sizeof(code)) != sizeof(code))
		_exit(126);
	_exit(127);
}

/* End of file means that exec went well: the pipe is CLOEXEC. */
static int exec_outcome(int report)
{
	int code = 0;
	ssize_t size;

	do
		size = read(report, &code, sizeof(code));
	while (size < 0 && errno == EINTR);
	return size == sizeof(code) ? -code : 0;
}

static int fork_child(struct process *process, int log, char *const argv[])
{
	CLEANUP(cleanup_close) int receive = -1;
	CLEANUP(cleanup_close) int report = -1;
	pid_t parent = getpid();
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	receive = ends[0];
	report = ends[1];
	process->pid = fork();
	if (process->pid < 0)
		return -errno;
	if (!process->pid)
		become_child(parent, log, report, argv);
	close(take_fd(&report));
	return exec_outcome(receive);
}

static void reap(struct process *process)
{
	pid_t rc;

	do
		rc = waitpid(process->pid, &process->status, 0);
	while (rc < 0 && errno == EINTR);
	process->ended = true;
	if (process->pidfd >= 0)
		close(take_fd(&process->pidfd));
}

static bool running(const struct process *process)
{
	return process->pid > 0 && !process->ended;
}

int process_spawn(struct process *process, const char *name, const char *log, char *const argv[])
{
	CLEANUP(cleanup_close) int fd = -1;
	int rc;

	*process = (struct process){.pidfd = -1};
	snprintf(process->name, sizeof(process->name), "%s", name);
	snprintf(process->log, sizeof(process->log), "%s", log);
	fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	rc = fork_child(process, fd, argv);
	if (!running(process)) {
		process->pid = 0;
		return rc;
	}
	if (!rc) {
		process->pidfd = (int)syscall(SYS_pidfd_open, process->pid, 0);
		if (process->pidfd >= 0)
			return 0;
		rc = -errno;
		kill(process->pid, SIGKILL);
	}
	reap(process);
	return rc;
}

int process_wait(struct process *process, int timeout_ms)
{
	uint64_t deadline = clock_ns() + (uint64_t)timeout_ms * NS_PER_MSEC;
	struct pollfd pollfd = {.fd = process->pidfd, .events = POLLIN};
	uint64_t now;
	int rc;

	if (!running(process))
		return 0;
	do {
		now = clock_ns();
		rc = poll(&pollfd, 1, now < deadline ? (int)((deadline - now) / NS_PER_MSEC) : 0);
	} while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return -errno;
	if (!rc)
		return -ETIMEDOUT;
	reap(process);
	return 0;
}

void process_stop(struct process *process, int timeout_ms)
{
	if (!running(process))
		return;
	syscall(SYS_pidfd_send_signal, process->pidfd, SIGTERM, NULL, 0);
	if (process_wait(process, timeout_ms))
		process_kill(process);
}

void process_kill(struct process *process)
{
	if (!running(process))
		return;
	syscall(SYS_pidfd_send_signal, process->pidfd, SIGKILL, NULL, 0);
	reap(process);
}

char *process_describe(const struct process *process, char *buffer, size_t size)
{
	if (!process->ended)
		snprintf(buffer, size, "still running");
	else if (WIFSIGNALED(process->status))
		snprintf(buffer, size, "killed by signal %d", WTERMSIG(process->status));
	else
		snprintf(buffer, size, "exit status %d", WEXITSTATUS(process->status));
	return buffer;
}

/* The end of the log in @tail, which has LOG_TAIL_MAX + 1 bytes; NULL if it cannot be read. */
static char *read_tail(const struct process *process, char *tail)
{
	CLEANUP(cleanup_close) int fd = open(process->log, O_RDONLY | O_CLOEXEC);
	ssize_t size;
	off_t end;

	if (fd < 0)
		return NULL;
	end = lseek(fd, 0, SEEK_END);
	size = pread(fd, tail, LOG_TAIL_MAX, end > LOG_TAIL_MAX ? end - LOG_TAIL_MAX : 0);
	if (size < 0)
		return NULL;
	while (size && tail[size - 1] == '\n')
		size--;
	tail[size] = '\0';
	return tail;
}

bool process_said(const struct process *process, const char *text)
{
	char buffer[LOG_TAIL_MAX + 1];

	return read_tail(process, buffer) && strstr(buffer, text);
}

void process_show_log(const struct process *process, unsigned lines, FILE *out)
{
	char buffer[LOG_TAIL_MAX + 1];
	char *tail = read_tail(process, buffer), *start, *save = NULL, *line;

	if (!tail || !*tail)
		return;
	for (start = tail + strlen(tail); start > tail; start--)
		if (start[-1] == '\n' && !--lines)
			break;
	for (line = strtok_r(start, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		fprintf(out, "  %s: %s\n", process->name, line);
}
