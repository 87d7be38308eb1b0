/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Child processes of `demo`.
 *
 * A child dies with its parent, however the parent ends (PR_SET_PDEATHSIG), so nothing is left
 * running; it is in a process group of its own, so an interrupt typed at the terminal reaches the
 * parent alone, which then ends things in order. What a child prints goes to a log file, shown
 * when it fails. The parent must spawn from its main thread: the death signal follows the thread.
 */
#ifndef CLI_PROCESS_H
#define CLI_PROCESS_H

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#define PROCESS_NAME_MAX 32

struct process {
	char name[PROCESS_NAME_MAX]; /* for messages: "source VM" */
	char log[PATH_MAX];          /* file with its standard output and error */
	pid_t pid;   /* 0: never started */
	int pidfd;   /* readable when it has ended; valid while it runs */
	int status;  /* as of wait(2); valid when ended */
	bool ended;
};

/* A struct process of zeroes is one that was never started: the functions below take it, too. */

/* Run @argv, NULL-terminated, program at argv[0]. Returns 0 or -errno (also of a failed exec). */
int process_spawn(struct process *process, const char *name, const char *log, char *const argv[]);

/* Wait until it has ended, -ETIMEDOUT otherwise. @timeout_ms 0: look only. */
int process_wait(struct process *process, int timeout_ms);

/* End it: SIGTERM, and SIGKILL if it goes on for @timeout_ms. Fine if it has ended already. */
void process_stop(struct process *process, int timeout_ms);

/* SIGKILL, and wait until it has ended. Fine if it has ended already. */
void process_kill(struct process *process);

/* "exit status 1", "killed by signal 9", "still running". @buffer has @size bytes. */
char *process_describe(const struct process *process, char *buffer, size_t size);

/* Did it print @text, within its last few lines? */
bool process_said(const struct process *process, const char *text);

/* The last @lines lines of its log, each led in by its name. */
void process_show_log(const struct process *process, unsigned lines, FILE *out);

#endif
