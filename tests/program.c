/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/process.h"
#include "tests/program.h"

#define ARGS_MAX 32

static void split(char *text, char **argv)
{
	char *save = NULL, *word;
	unsigned count = 1;

	for (word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		assert_true(count < ARGS_MAX);
		argv[count++] = word;
	}
	argv[count] = NULL;
}

static void read_output(struct program_run *run, const char *log)
{
	FILE *in = fopen(log, "r");

	assert_non_null(in);
	run->output[fread(run->output, 1, sizeof(run->output) - 1, in)] = '\0';
	fclose(in);
	unlink(log);
}

void program_run(struct program_run *run, const char *args, int timeout_ms)
{
	char *program = getenv("VFIO_MIGRATE"), *argv[ARGS_MAX + 1] = {program};
	char *copy = strdup(args), log[] = "/tmp/test-program-XXXXXX";
	struct process process = {.pid = 0};
	int fd = mkstemp(log), rc;

	assert_non_null(program);
	assert_non_null(copy);
	assert_true(fd >= 0);
	close(fd);
	split(copy, argv);
	assert_int_equal(process_spawn(&process, "program", log, argv), 0);
	rc = process_wait(&process, timeout_ms);
	process_stop(&process, 0);
	read_output(run, log);
	if (rc)
		print_error("not ended in time: %s\n%s", args, run->output);
	assert_int_equal(rc, 0);
	run->status = WIFEXITED(process.status) ? WEXITSTATUS(process.status)
						: 1000 + WTERMSIG(process.status);
	free(copy);
}
