/* SPDX-License-Identifier: BSD-3-Clause */
/* `vfio-migrate recv`: wait for devices that `send` moves alone, without a VM. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <vfio-migrate/connect.h>

#include "against.h"
#include "alone.h"
#include "base/compiler.h"
#include "commands.h"
#include "complain.h"
#include "exit.h"
#include "options.h"
#include "transfer.h"

#define COMMAND "recv"

struct recv_options {
	struct transfer_options common;
	const char *arg[VFM_DEVICES_MAX + 2];
};

#define ROW(name, key, kind, member, value, help)                                                  \
	{name, key, kind, offsetof(struct recv_options, common.member), 0, 0, value, help, NULL}

static const struct option_row rows[] = {
	{"switchover-ack", 0, OPTION_WORD, offsetof(struct recv_options, common.switchover_ack), 0, 0,
	 "WORD", "per-device, legacy or off (per-device)", transfer_ack_words},
	ROW("serial-transitions", 0, OPTION_FLAG, serial, NULL,
	    "one device at a time, for debugging"),
	ROW("json", 0, OPTION_TEXT, json, "FILE", "write the report to FILE (- is stdout)"),
	ROW("quiet", 'q', OPTION_FLAG, quiet, NULL, "print nothing but errors"),
};

static const struct options options = {
	.args = "DEVICE... ADDRESS",
	.doc = "Wait at ADDRESS (tcp:HOST:PORT or unix:PATH) for devices that `send` migrates, take "
	       "their state into as many here, and let them run.\v" CLI_DEVICE_HELP
	       " Both sides name them the same: dev0, dev1, ... in their order unless given "
	       "otherwise. An interrupt ends it; a second one leaves.",
	.rows = rows,
	.row_count = ARRAY_SIZE(rows),
	.arg_count = VFM_DEVICES_MAX + 1,
	.args_offset = offsetof(struct recv_options, arg),
};

static int listen_at(struct transfer *transfer)
{
	char why[256] = "", address[512];

	transfer->listener = vfm_listen(transfer->address, why, sizeof(why));
	if (transfer->listener < 0)
		return complain_of(COMMAND, CLI_EXIT_FAILED, "%s",
				   *why ? why : strerror(-transfer->listener));
	if (vfm_listen_address(transfer->listener, address, sizeof(address)) < 0)
		snprintf(address, sizeof(address), "%.500s", transfer->address);
	if (transfer->progress.out) {
		fprintf(transfer->progress.out, "listening on %s\n", address);
		fflush(transfer->progress.out);
	}
	return 0;
}

/* What would be refused once a source has come is said before anybody waits for one. */
static int refuse_blocked(struct transfer *transfer)
{
	struct against against[VFM_DEVICES_MAX];
	int count = against_find(&transfer->devices, against);
	char line[2 * CLI_DEVICE_WHY_MAX];

	if (count < 0)
		return complain_of(COMMAND, CLI_EXIT_FAILED, "%s", strerror(-count));
	for (int i = 0; i < count; i++)
		complain_of(COMMAND, 0, "%s", against_line(&against[i], line, sizeof(line)));
	return count ? CLI_EXIT_FAILED : 0;
}

static int make(struct transfer *transfer)
{
	struct cli_devices *devices = &transfer->devices;
	int ret = vfm_destination_new(NULL, 0, &alone_ops, NULL, &transfer->options,
				      &transfer->destination);

	for (unsigned i = 0; i < devices->count && !ret; i++)
		ret = vfm_destination_add_device(transfer->destination, devices->device[i].device);
	if (!ret)
		ret = vfm_destination_start(transfer->destination);
	return ret ? complain_of(COMMAND, CLI_EXIT_FAILED, "%s", strerror(-ret)) : 0;
}

static int receive(struct transfer *transfer)
{
	int status = transfer_begin(transfer);

	if (!status)
		status = listen_at(transfer);
	if (status)
		return status;
	status = make(transfer);
	if (!status)
		status = transfer_finish(transfer);
	if (!strncmp(transfer->address, "unix:", 5))
		unlink(transfer->address + 5);
	return status;
}

int recv_main(int argc, char **argv)
{
	struct recv_options chosen = {
		.common = {.downtime_limit = VFM_UNLIMITED, .bandwidth = VFM_UNLIMITED,
			   .timeout = VFM_UNLIMITED},
	};
	struct transfer transfer;
	int status;

	if (options_parse(&options, argc, argv, &chosen))
		return CLI_EXIT_USAGE;
	status = transfer_open(&transfer, COMMAND, &chosen.common, chosen.arg);
	if (!status)
		status = refuse_blocked(&transfer);
	if (!status)
		status = receive(&transfer);
	transfer_close(&transfer);
	return status;
}
