/* SPDX-License-Identifier: BSD-3-Clause */
/* A simulated device in a process of its own, with the client and the device that use it. */
#ifndef BENCH_SIMULATED_H
#define BENCH_SIMULATED_H

#include <vfio-migrate/vfio-user.h>
#include "bench/child.h"
#include "bench/meter.h"
#include "sim/core.h"

struct simulated {
	struct child server;
	int fd; /* to the server, until there is a client; -1: none */
	struct vfm_vfio_user *client;
	struct vfm_device *device;
	char name[16]; /* of the device */
};

/* What the server shall be. */
struct simulated_kind {
	uint64_t state_size;
	uint64_t seed;
	uint32_t mig_flags;
	const char *name;                  /* NULL: "sim0" */
	const struct sim_options *options; /* instead of size and flags; NULL: none */
};

/* First the processes, while this one has no threads; then, for each, client and device, whose
 * thread is made through @meter. 0, or -errno after a line on standard error. */
int simulated_fork(struct simulated *simulated, const struct simulated_kind *kind);
int simulated_open(struct simulated *simulated, struct meter *meter);

/* End all of it. Returns 0, or -errno if the server did not end well. */
int simulated_close(struct simulated *simulated);

/* The hash of the internal memory, as the device has it. 0 or -errno. */
int simulated_hash(struct simulated *simulated, uint64_t *hash);

#endif
