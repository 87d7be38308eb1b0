/* SPDX-License-Identifier: BSD-3-Clause */
/* `vfio-migrate migrate`: start, follow, cancel or look at the migration of a VM that somebody
 * else runs, through its control socket. */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <vfio-migrate/connect.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "commands.h"
#include "exit.h"
#include "field.h"
#include "follow.h"
#include "interrupt.h"
#include "options.h"
#include "report.h"
#include "table.h"
#include "units.h"

#define CONNECT_MS  10000
#define APPEAR_MS   5000 /* for a VM that was started together with us */
#define RETRY_NS    (20 * NS_PER_MSEC)
#define BANDWIDTH_MIN 4096 /* a page a second: below it nothing would ever end */

struct migrate_options {
	const char *vm;
	const char *json;
	uint64_t downtime_limit; /* ms; 0: as the VM has it */
	uint64_t bandwidth;      /* likewise */
	bool cancel;
	bool status;
	bool quiet;
	const char *uri[1];
};

#define ROW(name, key, kind, member, min, max, value, help)                                        \
	{name, key, kind, offsetof(struct migrate_options, member), min, max, value, help, NULL}

static const struct option_row rows[] = {
	ROW("vm", 0, OPTION_TEXT, vm, 0, 0, "SOCKET", "the VM's control socket; must be given"),
	ROW("downtime-limit", 0, OPTION_DURATION, downtime_limit, 1, VFM_UNLIMITED, "MS",
	    "longest downtime to accept, or unlimited (as the VM has it: 300)"),
	ROW("bandwidth", 0, OPTION_RATE, bandwidth, BANDWIDTH_MIN, VFM_UNLIMITED, "BYTES/S",
	    "most that is sent per second, or unlimited (as the VM has it: unlimited)"),
	ROW("cancel", 0, OPTION_FLAG, cancel, 0, 0, NULL, "cancel the migration that runs"),
	ROW("status", 0, OPTION_FLAG, status, 0, 0, NULL, "say how it stands, and end"),
	ROW("json", 0, OPTION_TEXT, json, 0, 0, "FILE", "write the report to FILE (- is stdout)"),
	ROW("quiet", 'q', OPTION_FLAG, quiet, 0, 0, NULL, "print nothing but errors"),
};

static const struct options options = {
	.args = "[URI]",
	.doc = "Migrate the VM behind SOCKET to URI and follow it to its end.\v"
	       "URI is tcp:HOST:PORT or unix:PATH, where the destination waits. Without URI the "
	       "migration that runs is followed. An interrupt cancels; a second one leaves.",
	.rows = rows,
	.row_count = ARRAY_SIZE(rows),
	.arg_count = 1,
	.args_offset = offsetof(struct migrate_options, uri),
};

/* One line on standard error; returns @status. */
PRINTF(2, 3) static int complain(int status, const char *format, ...)
{
	va_list args;

	fputs("vfio-migrate migrate: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return status;
}

static int check_options(const struct migrate_options *chosen)
{
	const char *uri = chosen->uri[0];
	char why[256];
	int rc;

	if (!chosen->vm)
		return complain(CLI_EXIT_USAGE, "--vm SOCKET is missing: the control socket of the "
						"VM to migrate");
	if (chosen->cancel + chosen->status + !!uri > 1)
		return complain(CLI_EXIT_USAGE, "give one of URI, --cancel and --status");
	if (uri && vfm_address_check(uri, why, sizeof(why)))
		return complain(CLI_EXIT_USAGE, "%s", why);
	if (uri && !strncmp(uri, "fd:", 3))
		return complain(CLI_EXIT_USAGE, "%.64s: the VM is another process and does not "
						"have it: give tcp:HOST:PORT or unix:PATH", uri);
	rc = report_check(chosen->json);
	return rc ? complain(CLI_EXIT_USAGE, "--json: %s: %s", chosen->json, strerror(-rc)) : 0;
}

/* A command failed: the VM said no, or it is gone. */
static int failed(struct follow *follow, int rc)
{
	return complain(rc == -EREMOTEIO ? CLI_EXIT_FAILED : CLI_EXIT_LOST, "%s",
			qmp_client_why(follow->vm));
}

static int finish(struct follow *follow, const struct migrate_options *chosen)
{
	struct json_object *report;
	double limit = -1;
	int rc = follow_get_limit(follow, &limit), status;

	if (!rc)
		rc = follow_get_report(follow, &report);
	if (rc)
		return failed(follow, rc);
	status = follow_exit_status(report);
	if (follow->progress.out)
		table_print(follow->progress.out, report, limit);
	else if (status == CLI_EXIT_FAILED || status == CLI_EXIT_IN_DOUBT)
		complain(status, "%s: %s", field_text(report, "status", "?"),
			 field_text(report, "error.text", "no reason given"));
	rc = chosen->json ? report_write(chosen->json, report) : 0;
	json_object_put(report);
	if (rc)
		complain(status, "writing %s: %s", chosen->json, strerror(-rc));
	return status;
}

static int follow_and_finish(struct follow *follow, const struct migrate_options *chosen)
{
	int rc = follow_to_end(follow);

	if (rc == -EINTR)
		return complain(CLI_EXIT_LEFT, "left; the migration may go on, see --status");
	return rc ? failed(follow, rc) : finish(follow, chosen);
}

static int set_limits(struct follow *follow, const struct migrate_options *chosen)
{
	struct follow_limits limits = {chosen->downtime_limit, chosen->bandwidth};

	return follow_set_limits(follow, &limits);
}

static int start(struct follow *follow, const struct migrate_options *chosen)
{
	int rc = set_limits(follow, chosen);

	if (!rc)
		rc = follow_start(follow, chosen->uri[0]);
	return rc ? failed(follow, rc) : follow_and_finish(follow, chosen);
}

static int cancel(struct follow *follow)
{
	struct vfm_progress before;
	int rc = follow_get_progress(follow, &before);

	if (!rc)
		rc = qmp_client_execute(follow->vm, "migrate_cancel", NULL, FOLLOW_REPLY_MS, NULL);
	if (rc)
		return failed(follow, rc);
	if (before.status != VFM_STATUS_ACTIVE)
		complain(CLI_EXIT_OK, "no migration runs: nothing to cancel");
	return CLI_EXIT_OK;
}

/* A migration that runs is followed; one that has ended has its outcome shown. */
static int attach(struct follow *follow, const struct migrate_options *chosen)
{
	struct vfm_progress numbers;
	int rc = follow_get_progress(follow, &numbers);

	if (!rc)
		rc = set_limits(follow, chosen);
	if (rc)
		return failed(follow, rc);
	if (numbers.status == VFM_STATUS_NONE)
		return complain(CLI_EXIT_USAGE, "no migration runs: give URI to start one");
	return follow_and_finish(follow, chosen);
}

static int tell_status(struct follow *follow)
{
	static const int codes[] = {
		[VFM_STATUS_NONE] = CLI_EXIT_OK,
		[VFM_STATUS_ACTIVE] = CLI_EXIT_OK,
		[VFM_STATUS_COMPLETED] = CLI_EXIT_OK,
		[VFM_STATUS_FAILED] = CLI_EXIT_FAILED,
		[VFM_STATUS_CANCELLED] = CLI_EXIT_CANCELLED,
		[VFM_STATUS_IN_DOUBT] = CLI_EXIT_IN_DOUBT,
	};
	char line[PROGRESS_LINE_MAX], elapsed[UNITS_SIZE];
	struct vfm_progress numbers;
	int rc = follow_get_progress(follow, &numbers);

	if (rc)
		return failed(follow, rc);
	printf("%s", vfm_status_name(numbers.status));
	if (numbers.status == VFM_STATUS_ACTIVE)
		printf("  %s  %s", units_ms(elapsed, (double)numbers.elapsed_ns / NS_PER_MSEC),
		       progress_format(line, &numbers, PROGRESS_LINE_MAX - 1));
	putchar('\n');
	return codes[numbers.status];
}

static int run(struct follow *follow, const struct migrate_options *chosen)
{
	if (chosen->status)
		return tell_status(follow);
	if (chosen->cancel)
		return cancel(follow);
	return chosen->uri[0] ? start(follow, chosen) : attach(follow, chosen);
}

/* A VM makes its control socket some time after it was started. */
static int connect_vm(const char *path, struct qmp_client **vm)
{
	uint64_t deadline = clock_after(APPEAR_MS * NS_PER_MSEC);
	const struct timespec pause = {.tv_nsec = RETRY_NS};
	char why[QMP_CLIENT_WHY_MAX];
	bool absent;
	int rc;

	do {
		rc = qmp_client_connect(path, CONNECT_MS, vm, why);
		absent = rc == -ENOENT || rc == -ECONNREFUSED;
	} while (absent && clock_ns() < deadline && (nanosleep(&pause, NULL), true));
	if (!rc)
		return 0;
	return complain(CLI_EXIT_FAILED, "%s%s", why, absent ? ": does a VM run with that --control?" : "");
}

int migrate_main(int argc, char **argv)
{
	struct migrate_options chosen = {.vm = NULL};
	struct follow follow = {0};
	int status;

	if (options_parse(&options, argc, argv, &chosen))
		return CLI_EXIT_USAGE;
	status = check_options(&chosen);
	if (status)
		return status;
	status = connect_vm(chosen.vm, &follow.vm);
	if (status)
		return status;
	follow.interrupts = interrupt_open();
	if (follow.interrupts < 0) {
		qmp_client_free(follow.vm);
		return complain(CLI_EXIT_FAILED, "signalfd: %s", strerror(-follow.interrupts));
	}
	progress_init(&follow.progress, report_text_out(chosen.json, chosen.quiet));
	status = run(&follow, &chosen);
	close(follow.interrupts);
	qmp_client_free(follow.vm);
	return status;
}
