/* SPDX-License-Identifier: BSD-3-Clause */
#include "transfer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <json-c/json.h>
#include <vfio-migrate/connect.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "complain.h"
#include "exit.h"
#include "follow.h"
#include "interrupt.h"
#include "report.h"
#include "table.h"

#define REDRAW_MS    100
#define RECONNECT_MS 3000

const char *const transfer_ack_words[] = {
	[VFM_ACK_PER_DEVICE] = "per-device",
	[VFM_ACK_LEGACY] = "legacy",
	[VFM_ACK_OFF] = "off",
	NULL,
};

/* ---- on the session's threads ---- */

static void on_event(void *opaque, const struct vfm_event *event)
{
	struct transfer *transfer = opaque;
	uint64_t one = 1;

	if (event->type == VFM_EVENT_ENDED)
		atomic_store(&transfer->ended, true);
	/* A counter that is full has woken us already. */
	if (write(transfer->wake, &one, sizeof(one)) < 0)
		return;
}

static void on_log(void *opaque, enum vfm_log_level level, const char *line)
{
	struct transfer *transfer = opaque;

	if (level <= VFM_LOG_WARN)
		complain_of(transfer->command, 0, "%s", line);
}

static int on_reconnect(void *opaque)
{
	struct transfer *transfer = opaque;

	return vfm_connect(transfer->address, RECONNECT_MS, NULL, 0);
}

/* ---- opening ---- */

static uint64_t in_ns(uint64_t ms)
{
	return ms > UINT64_MAX / NS_PER_MSEC ? VFM_UNLIMITED : ms * NS_PER_MSEC;
}

static void set_options(struct transfer *transfer)
{
	const struct transfer_options *chosen = transfer->chosen;
	struct vfm_options *options = &transfer->options;

	vfm_options_init(options);
	options->downtime_limit_ns = in_ns(chosen->downtime_limit);
	options->max_bandwidth = chosen->bandwidth;
	options->timeout_ns = in_ns(chosen->timeout);
	options->unknown_stop_copy_size = chosen->unknown_size;
	options->switchover_ack = (enum vfm_ack_mode)chosen->switchover_ack;
	options->serial_transitions = chosen->serial;
	options->opaque = transfer;
	options->event = on_event;
	options->log = on_log;
	options->reconnect = on_reconnect;
}

static int read_arguments(struct transfer *transfer, const char *const *arg)
{
	char why[256];
	unsigned count = 0;
	int rc;

	while (count <= VFM_DEVICES_MAX && arg[count])
		count++;
	if (count < 2)
		return complain_of(transfer->command, CLI_EXIT_USAGE,
				   "%s is missing; see --help", count ? "ADDRESS" : "DEVICE");
	transfer->address = arg[count - 1];
	if (vfm_address_check(transfer->address, why, sizeof(why)))
		return complain_of(transfer->command, CLI_EXIT_USAGE, "%s", why);
	rc = report_check(transfer->chosen->json);
	if (rc)
		return complain_of(transfer->command, CLI_EXIT_USAGE, "--json: %s: %s",
				   transfer->chosen->json, strerror(-rc));
	return cli_devices_read(&transfer->devices, transfer->command, arg, count - 1,
				CLI_DEVICE_BY_NUMBER);
}

int transfer_open(struct transfer *transfer, const char *command,
		  const struct transfer_options *chosen, const char *const *arg)
{
	int status;

	memset(transfer, 0, sizeof(*transfer));
	transfer->command = command;
	transfer->chosen = chosen;
	transfer->listener = transfer->wake = transfer->interrupts = -1;
	progress_init(&transfer->progress, report_text_out(chosen->json, chosen->quiet));
	status = read_arguments(transfer, arg);
	if (status)
		return status;
	transfer->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (transfer->wake < 0)
		return complain_of(command, CLI_EXIT_FAILED, "eventfd: %s", strerror(errno));
	set_options(transfer);
	return cli_devices_open_or_complain(&transfer->devices, command);
}

int transfer_begin(struct transfer *transfer)
{
	transfer->interrupts = interrupt_open();
	if (transfer->interrupts >= 0)
		return 0;
	return complain_of(transfer->command, CLI_EXIT_FAILED, "signalfd: %s",
			   strerror(-transfer->interrupts));
}

/* ---- running ---- */

static void show(struct transfer *transfer)
{
	struct vfm_progress numbers = {.size = sizeof(numbers)};

	if (!transfer->met)
		return;
	if (transfer->source)
		vfm_source_get_progress(transfer->source, &numbers);
	else
		vfm_destination_get_progress(transfer->destination, &numbers);
	progress_show(&transfer->progress, &numbers);
}

static void take_interrupts(struct transfer *transfer)
{
	while (interrupt_take(transfer->interrupts)) {
		progress_end(&transfer->progress);
		/* The session cannot be waited for. What it had open closes with the process. */
		if (transfer->interrupted++)
			_exit(complain_of(transfer->command, CLI_EXIT_LEFT,
					  "left; the devices may be in any state: see info"));
		if (transfer->progress.out)
			fputs("cancelling; once more to leave\n", transfer->progress.out);
		/* An error says that it is too late to cancel, which its end will tell. */
		if (transfer->source)
			vfm_source_cancel(transfer->source);
		else
			vfm_destination_cancel(transfer->destination);
	}
}

static void take_connection(struct transfer *transfer)
{
	int fd = vfm_accept(transfer->listener);

	if (fd < 0)
		return;
	transfer->met = true;
	vfm_destination_attach(transfer->destination, fd);
}

static void wait_for_news(struct transfer *transfer)
{
	struct pollfd polls[] = {
		{.fd = transfer->wake, .events = POLLIN},
		{.fd = transfer->interrupts, .events = POLLIN},
		{.fd = transfer->listener, .events = POLLIN},
	};
	uint64_t count;

	if (poll(polls, ARRAY_SIZE(polls), REDRAW_MS) < 0 && errno != EINTR)
		return;
	if (polls[0].revents && read(transfer->wake, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	if (polls[2].revents)
		take_connection(transfer);
	take_interrupts(transfer);
}

static struct json_object *get_report(struct transfer *transfer)
{
	char *text = transfer->source ? vfm_source_report_json(transfer->source)
				      : vfm_destination_report_json(transfer->destination);
	struct json_object *report = text ? json_tokener_parse(text) : NULL;

	free(text);
	return report;
}

static void tell_failure(struct transfer *transfer)
{
	char text[2 * VFM_ERROR_TEXT_MAX];
	struct vfm_error error;

	if (transfer->source)
		vfm_source_get_error(transfer->source, &error);
	else
		vfm_destination_get_error(transfer->destination, &error);
	if (error.code)
		complain_of(transfer->command, 0, "%s",
			    vfm_error_format(&error, text, sizeof(text)));
}

static void print(struct transfer *transfer, struct json_object *report)
{
	uint64_t limit = transfer->chosen->downtime_limit;
	FILE *out = transfer->progress.out;

	if (transfer->met)
		table_print(out, report,
			    limit == VFM_UNLIMITED || !transfer->source ? -1 : (double)limit);
	else
		fputs("no source came; the devices here are as they were\n", out);
}

static int report(struct transfer *transfer)
{
	struct json_object *o = get_report(transfer);
	int status, rc = 0;

	if (!o)
		return complain_of(transfer->command, CLI_EXIT_FAILED, "no memory for the report");
	status = follow_exit_status(o);
	if (transfer->progress.out)
		print(transfer, o);
	else if (status)
		tell_failure(transfer);
	if (transfer->chosen->json)
		rc = report_write(transfer->chosen->json, o);
	json_object_put(o);
	if (rc)
		complain_of(transfer->command, status, "writing %s: %s", transfer->chosen->json,
			    strerror(-rc));
	return status;
}

int transfer_finish(struct transfer *transfer)
{
	while (!atomic_load(&transfer->ended)) {
		show(transfer);
		wait_for_news(transfer);
	}
	show(transfer);
	progress_end(&transfer->progress);
	if (transfer->source)
		vfm_source_wait(transfer->source);
	else
		vfm_destination_wait(transfer->destination);
	return report(transfer);
}

void transfer_close(struct transfer *transfer)
{
	vfm_source_free(transfer->source);
	vfm_destination_free(transfer->destination);
	cli_devices_close(&transfer->devices);
	if (transfer->wake >= 0)
		close(transfer->wake);
	if (transfer->interrupts >= 0)
		close(transfer->interrupts);
	if (transfer->listener >= 0)
		close(transfer->listener);
}
