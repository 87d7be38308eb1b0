/* SPDX-License-Identifier: BSD-3-Clause */
/* `vfio-migrate send`: devices move alone, without a VM, to where `recv` waits. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <vfio-migrate/connect.h>

#include "alone.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "commands.h"
#include "complain.h"
#include "exit.h"
#include "options.h"
#include "transfer.h"

#define COMMAND       "send"
#define CONNECT_MS    10000
#define APPEAR_NS     (5 * NS_PER_SEC) /* for a recv that was started together with us */
#define RETRY_NS      (20 * NS_PER_MSEC)
#define BANDWIDTH_MIN 4096
#define SIZE_DEFAULT  (UINT64_C(1) << 30)

struct send_options {
	struct transfer_options common;
	const char *arg[VFM_DEVICES_MAX + 2];
};

#define ROW(name, key, kind, member, min, max, value, help)                                        \
	{name, key, kind, offsetof(struct send_options, common.member), min, max, value, help, NULL}

static const struct option_row rows[] = {
	ROW("downtime-limit", 0, OPTION_DURATION, downtime_limit, 1, VFM_UNLIMITED, "MS",
	    "longest time that the devices may stand still, or unlimited (300)"),
	ROW("bandwidth", 0, OPTION_RATE, bandwidth, BANDWIDTH_MIN, VFM_UNLIMITED, "BYTES/S",
	    "most that is sent per second, or unlimited (unlimited)"),
	ROW("timeout", 0, OPTION_DURATION, timeout, 1, VFM_UNLIMITED, "MS",
	    "give up when the limit was not met within that time, or unlimited (unlimited)"),
	ROW("unknown-stop-copy-size", 0, OPTION_SIZE, unknown_size, 0, VFM_UNLIMITED - 1, "SIZE",
	    "what a device that does not tell the size of its state counts for (1G)"),
	{"switchover-ack", 0, OPTION_WORD, offsetof(struct send_options, common.switchover_ack), 0, 0,
	 "WORD", "per-device, legacy or off (per-device)", transfer_ack_words},
	ROW("serial-transitions", 0, OPTION_FLAG, serial, 0, 0, NULL,
	    "one device at a time, for debugging"),
	ROW("json", 0, OPTION_TEXT, json, 0, 0, "FILE", "write the report to FILE (- is stdout)"),
	ROW("quiet", 'q', OPTION_FLAG, quiet, 0, 0, NULL, "print nothing but errors"),
};

static const struct options options = {
	.args = "DEVICE... ADDRESS",
	.doc = "Migrate devices alone, without a VM, to ADDRESS (tcp:HOST:PORT or unix:PATH), where "
	       "`recv` waits with as many, and follow it to its end.\v" CLI_DEVICE_HELP
	       " Both sides name them the same: dev0, dev1, ... in their order unless given "
	       "otherwise. An interrupt cancels; a second one leaves.",
	.rows = rows,
	.row_count = ARRAY_SIZE(rows),
	.arg_count = VFM_DEVICES_MAX + 1,
	.args_offset = offsetof(struct send_options, arg),
};

/* The fd, or -errno after a complaint. */
static int connect_peer(const struct transfer *transfer)
{
	uint64_t deadline = clock_after(APPEAR_NS);
	const struct timespec pause = {.tv_nsec = RETRY_NS};
	char why[256] = "";
	int fd;

	for (;;) {
		fd = vfm_connect(transfer->address, CONNECT_MS, why, sizeof(why));
		if ((fd != -ECONNREFUSED && fd != -ENOENT) || clock_ns() > deadline)
			break;
		nanosleep(&pause, NULL);
	}
	if (fd < 0)
		complain_of(COMMAND, 0, "%s%s", *why ? why : strerror(-fd),
			    fd == -ECONNREFUSED || fd == -ENOENT ? ": does recv wait there?" : "");
	return fd;
}

static int start(struct transfer *transfer, int fd)
{
	char text[2 * VFM_ERROR_TEXT_MAX];
	struct vfm_error error = {.code = 0};
	int ret = vfm_source_start(transfer->source, fd);

	if (!ret)
		return 0;
	vfm_source_get_error(transfer->source, &error);
	return complain_of(COMMAND, CLI_EXIT_FAILED, "%s",
			   error.code ? vfm_error_format(&error, text, sizeof(text))
				      : strerror(-ret));
}

static int make(struct transfer *transfer)
{
	struct cli_devices *devices = &transfer->devices;
	int ret = vfm_source_new(NULL, 0, &alone_ops, NULL, &transfer->options, &transfer->source);

	for (unsigned i = 0; i < devices->count && !ret; i++)
		ret = vfm_source_add_device(transfer->source, devices->device[i].device);
	return ret ? complain_of(COMMAND, CLI_EXIT_FAILED, "%s", strerror(-ret)) : 0;
}

static int send_devices(struct transfer *transfer)
{
	int status = make(transfer), fd;

	if (status)
		return status;
	fd = connect_peer(transfer);
	if (fd < 0)
		return CLI_EXIT_FAILED;
	transfer->met = true;
	status = transfer_begin(transfer);
	if (!status)
		status = start(transfer, fd);
	return status ? status : transfer_finish(transfer);
}

int send_main(int argc, char **argv)
{
	struct send_options chosen = {
		.common = {.downtime_limit = 300, .bandwidth = VFM_UNLIMITED, .timeout = VFM_UNLIMITED,
			   .unknown_size = SIZE_DEFAULT},
	};
	struct transfer transfer;
	int status;

	if (options_parse(&options, argc, argv, &chosen))
		return CLI_EXIT_USAGE;
	status = transfer_open(&transfer, COMMAND, &chosen.common, chosen.arg);
	if (!status)
		status = send_devices(&transfer);
	transfer_close(&transfer);
	return status;
}
