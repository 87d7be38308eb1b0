/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Did the guest arrive as it left? Looks at both VMs (started with --verify) through their control
 * sockets, outside the downtime:
 *
 *	            stopped (taken by the VM in the switchover)     live (asked for here)
 *	source      memory, devices, ring, hearts              <=>  hearts stand still since
 *	               == compared with ==
 *	destination memory, devices, ring, hearts              <=>  hearts, work and ring go on
 *
 * Of a device that is a serial card the bytes that the guest has in flight in it stand for the ring.
 *
 * A check holds only if there was something to check: a heart that never beat, a ring without a
 * record or a hash that was not taken fails it.
 */
#ifndef CLI_VERIFY_H
#define CLI_VERIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "qmp-client.h"

#define VERIFY_CPUS_MAX    16
#define VERIFY_DEVICES_MAX 64
#define VERIFY_HASH_MAX    32
#define VERIFY_WHY_MAX     256
#define VERIFY_WAIT_MS     30000 /* for a guest to get work done */

/* Devices that write to each other (verify->p2p). */
struct verify_peer {
	bool known;
	uint64_t sent;    /* writes to the next device */
	uint64_t arrived; /* of them, as the next device's memory shows */
	uint64_t seen;    /* writes of others that came while they were allowed */
	uint64_t late;    /* and after all had promised to be quiet */
};

/* A serial card that gives back what it is given, in bytes. */
struct verify_uart {
	bool known;
	uint64_t sent;
	uint64_t received; /* of them, and those that were given up as lost */
	uint64_t lost;
	uint64_t doubled;
};

struct verify_device {
	char name[64];
	char hash[VERIFY_HASH_MAX]; /* "" : it could not be asked */
	uint64_t counter;           /* records, says the device */
	uint64_t ring;              /* records, says the last record in the ring: its number + 1 */
	struct verify_peer peer;
};

/* A VM as its switchover found it, vCPUs and devices stopped. */
struct verify_stopped {
	bool taken;
	char memory[VERIFY_HASH_MAX];
	unsigned cpus;
	unsigned devices;
	uint64_t heartbeat[VERIFY_CPUS_MAX];
	struct verify_device device[VERIFY_DEVICES_MAX];
};

/* A VM as it is now. */
struct verify_live {
	char accel[16];
	bool running; /* the VMM says so */
	unsigned cpus;
	unsigned devices;
	uint64_t failures;
	char failure[128];
	uint64_t heartbeat[VERIFY_CPUS_MAX];
	uint64_t pages[VERIFY_CPUS_MAX];      /* of the working set, checked and rewritten */
	uint64_t records[VERIFY_DEVICES_MAX]; /* of the ring, checked */
	uint64_t doorbells[VERIFY_DEVICES_MAX]; /* that the guest rang, and the device counted */
	struct verify_peer peer[VERIFY_DEVICES_MAX];
	struct verify_uart uart[VERIFY_DEVICES_MAX];
};

struct verify_seen {
	struct verify_stopped stopped;
	struct verify_live live;
};

enum verify_check {
	VERIFY_MEMORY,
	VERIFY_DEVICE,
	VERIFY_RING,
	VERIFY_GUEST,
	VERIFY_HEARTBEAT,
	VERIFY_P2P,
	VERIFY_UART,
	VERIFY_CHECKS,
};

struct verify_result {
	bool known; /* it could be looked at */
	bool held;
	char text[VERIFY_WHY_MAX]; /* what was seen, one line */
};

struct verify {
	uint64_t silent; /* bit i: device i does no DMA; its doorbells stand for its ring */
	bool p2p;        /* devices write to each other; else that check is not made */
	struct verify_seen source;
	struct verify_seen destination;
	struct verify_result result[VERIFY_CHECKS];
	char why[VERIFY_WHY_MAX]; /* of the last failure of verify_wait_until_busy */
};

/* Wait until every heart beat, every vCPU changed memory and every device wrote a record. 0,
 * -ETIMEDOUT, -EINTR, -EBADMSG (the guest stopped with a failure), or as qmp_client_execute. */
int verify_wait_until_busy(struct verify *verify, struct qmp_client *source, int interrupts);

/* Look at both VMs and judge. @completed: the migration did; else there is nothing to know. */
void verify_look(struct verify *verify, bool completed, struct qmp_client *source,
		 struct qmp_client *destination);

/* The check belongs to what these devices are. */
bool verify_asks(const struct verify *verify, enum verify_check check);

/* The judging alone, of what is in @verify. */
void verify_judge(struct verify *verify);

bool verify_held(const struct verify *verify);

/* The member `verified` of a report. */
void verify_add_to(const struct verify *verify, struct json_object *report);

void verify_print(const struct verify *verify, FILE *out);

#endif
