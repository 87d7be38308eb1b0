/* SPDX-License-Identifier: BSD-3-Clause */
/* The vfio-user front end of the simulated device: a server for one client at a time. */
#ifndef SIM_SERVER_H
#define SIM_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "sim/core.h"

#define SIM_TICK_US_MIN 100u
#define SIM_TICK_US_MAX 1000000u
#define SIM_WHY_MAX     256

struct sim_server_options {
	const char *socket_path; /* listen there; NULL: use @fd */
	int fd;                  /* a listening or a connected socket, taken over */
	int stop_fd;             /* borrowed; once it is readable the server returns. -1: never */
	bool once;               /* return when the first client has left */
	bool reset_on_disconnect;
	uint32_t extension;      /* enum vfm_vfio_user_ext: what is announced */
	uint32_t max_transfer;   /* bytes of data in one request, announced */
	uint32_t tick_us;        /* how often the device moves */
	/* Called once, when a client can connect. @where: the path, or "fd N". May be NULL. */
	void (*ready)(void *opaque, const char *where);
	void *opaque;
};

/* No socket, all of the extension, 1 MiB, 1 ms. */
void sim_server_options_init(struct sim_server_options *options);

/*
 * Make the device described by @device and serve it until told to stop. 0: told to stop, or the
 * last client that can come has left. -errno: it could not start; one line is in @why
 * (SIM_WHY_MAX bytes). The device is made inside, since the front end is the host it needs.
 *
 * SIGPIPE must be blocked or ignored: a client may hand over a pipe as its interrupt.
 */
MUST_CHECK int sim_server_run(const struct sim_options *device,
			      const struct sim_server_options *options, char *why);

#endif
