/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A session of devices alone, in this process: what `send` and `recv` have in common. The session's
 * threads do the work and wake the main thread, which shows progress and takes interrupts: the
 * first one cancels, the second one leaves.
 */
#ifndef CLI_TRANSFER_H
#define CLI_TRANSFER_H

#include <stdatomic.h>
#include <stdbool.h>

#include <vfio-migrate/migrate.h>

#include "device.h"
#include "progress.h"

/* What both commands have options for. */
struct transfer_options {
	uint64_t downtime_limit; /* ms */
	uint64_t bandwidth;      /* bytes per second */
	uint64_t timeout;        /* ms */
	uint64_t unknown_size;   /* bytes */
	unsigned switchover_ack; /* enum vfm_ack_mode */
	bool serial;
	bool quiet;
	const char *json;
};

extern const char *const transfer_ack_words[]; /* in the order of enum vfm_ack_mode */

struct transfer {
	const char *command;
	const char *address;
	const struct transfer_options *chosen;
	struct cli_devices devices;
	struct vfm_options options;
	struct vfm_source *source;           /* one of the two */
	struct vfm_destination *destination;
	int listener;                        /* -1: none */
	int wake;                            /* eventfd: something happened */
	int interrupts;
	unsigned interrupted;
	bool met;                            /* somebody connected, or we did */
	atomic_bool ended;
	struct progress progress;
};

/* Read the arguments, ADDRESS behind the DEVICEs, and open the devices. 0 or an exit status. */
int transfer_open(struct transfer *transfer, const char *command,
		  const struct transfer_options *chosen, const char *const *arg);

/* From here on interrupts are taken. 0 or an exit status. */
int transfer_begin(struct transfer *transfer);

/* A running session to its end, its report, and the exit status. */
int transfer_finish(struct transfer *transfer);

/* Frees everything. Fine after any of the above. */
void transfer_close(struct transfer *transfer);

#endif
