/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The scene of `demo`: simulated devices for each side, a VM that works with the first ones, and a
 * VM that waits with the others. All of them are processes of this program, in a private directory
 * that goes with them:
 *
 *	source.sim0 ── source.vm ──(tcp, loopback)── destination.vm ── destination.sim0
 *	       sim1 ──┘    └── qmp ── us ── qmp ──────────┘       └──  sim1
 *
 * Functions return 0 or -errno (EINTR: interrupted); then one line is in lab->why.
 */
#ifndef CLI_LAB_H
#define CLI_LAB_H

#include <stdbool.h>
#include <stdint.h>

#include "process.h"
#include "qmp-client.h"

#define LAB_START_MS  30000 /* for each process to come up */
#define LAB_STOP_MS   5000
#define LAB_PATH_MAX  96    /* fits a unix socket's address */
#define LAB_DEVICE    "dev0" /* the first; the others are dev1, dev2, ... */
#define LAB_DEVICES_MAX 64

enum lab_end { LAB_SOURCE, LAB_DESTINATION, LAB_ENDS };

struct lab_config {
	const char *program;       /* vfio-migrate; NULL: this very program */
	uint64_t memory;
	uint64_t dirty_rate;       /* of guest memory, bytes per second */
	uint32_t devices;          /* 0: one */
	const char *const *personality; /* device i gets number i % personalities; NULL: none */
	unsigned personalities;
	/* Addresses of the kernel's devices, words apart by blanks, in place of simulated ones; NULL:
	 * none. */
	const char *vfio[LAB_ENDS];
	uint64_t silent;           /* bit i: device i does no DMA, and so gets no rate */
	uint64_t state_size;       /* of a device, bytes; 0: as its personality has it */
	uint64_t initial_size;     /* UINT64_MAX: likewise */
	uint64_t state_dirty_rate; /* of the device's memory, bytes per second */
	uint32_t dma_rate;         /* records per second */
	uint32_t cpus;
	const char *accel;
	uint64_t other_memory;     /* of the destination, 0: the same */
	const char *other_device;  /* the first device's name there, NULL: the same, "": none */
	/* More options of the devices and of the VMs, words apart by blanks; NULL: none. The last
	 * of an option that is given twice counts. */
	const char *sim_option[LAB_ENDS];
	const char *vm_option[LAB_ENDS];
	const char *spoil;         /* what the destination spoils on purpose, NULL: nothing */
	int interrupts;            /* from interrupt_open */
};

struct lab_side {
	struct process sim[LAB_DEVICES_MAX];
	struct process vm;
	struct qmp_client *qmp;
};

struct lab {
	struct lab_config config;
	char dir[LAB_PATH_MAX];
	char address[128]; /* where the destination waits */
	struct lab_side side[LAB_ENDS];
	char why[QMP_CLIENT_WHY_MAX + 128];
};

int lab_start(struct lab *lab, const struct lab_config *config);

/* Build the command line of device @i, with @name as its argv[0], and hand it to @check, whose
 * result comes back; -E2BIG: it is too long. */
int lab_check_sim(const struct lab_config *config, enum lab_end end, unsigned i, const char *name,
		  int (*check)(int argc, char **argv));

/* How many devices each side has, and the personality of number @i, NULL: none was asked for. */
unsigned lab_devices(const struct lab_config *config);
const char *lab_personality(const struct lab_config *config, unsigned i);

/* A fresh destination or source, devices and VM, in place of the one that was. */
int lab_renew_destination(struct lab *lab);
int lab_renew_source(struct lab *lab);

/* End what runs and remove the directory. Fine at any time, also for a struct of zeroes. */
void lab_stop(struct lab *lab);

/* The processes that have ended, which none should have, with the last lines of their logs. */
void lab_show_casualties(struct lab *lab, FILE *out);

#endif
