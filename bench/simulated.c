/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/simulated.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vfio-migrate/device.h>
#include "bench/bench.h"
#include "sim/server.h"

#define SERVER_END_MS     10000
#define REQUEST_TIMEOUT_MS 60000 /* a hash of a large state takes its time */

struct serving {
	const struct simulated_kind *kind;
	int fd, peer;
};

static void fill(struct sim_options *device, const struct simulated_kind *kind)
{
	if (kind->options) {
		*device = *kind->options;
	} else {
		sim_options_init(device);
		device->state_size = device->initial_size = kind->state_size;
		device->mig_flags = kind->mig_flags;
		device->dirty_rate = 0;
		device->dma_rate = 0;
	}
	device->seed = kind->seed;
}

static int serve(void *arg)
{
	struct serving *serving = arg;
	struct sim_server_options server;
	struct sim_options device;
	char why[SIM_WHY_MAX] = "";
	int r;

	signal(SIGPIPE, SIG_IGN);
	close(serving->peer); /* or the server would never see its client leave */
	fill(&device, serving->kind);
	sim_server_options_init(&server);
	server.fd = serving->fd;
	r = sim_server_run(&device, &server, why);
	if (r)
		fprintf(stderr, "bench: simulated device: %s\n", why);
	return r;
}

int simulated_fork(struct simulated *simulated, const struct simulated_kind *kind)
{
	struct serving serving = {.kind = kind};
	int fds[2], r;

	*simulated = (struct simulated){.fd = -1};
	snprintf(simulated->name, sizeof(simulated->name), "%s", kind->name ? kind->name : "sim0");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return bench_fail(-errno, "a socket pair");
	serving.fd = fds[1];
	serving.peer = fds[0];
	r = child_start(&simulated->server, "bench-sim", serve, &serving);
	close(fds[1]);
	if (r) {
		close(fds[0]);
		return bench_fail(r, "starting a simulated device");
	}
	simulated->fd = fds[0];
	return 0;
}

int simulated_open(struct simulated *simulated, struct meter *meter)
{
	struct vfm_vfio_user_options options = {
		.size = sizeof(options),
		.request_timeout_ms = REQUEST_TIMEOUT_MS,
		.threads = &meter->hooks,
	};
	char why[VFM_VFIO_USER_WHY_MAX] = "";
	int r = vfm_vfio_user_new(simulated->fd, &options, &simulated->client, why, sizeof(why));

	if (r)
		return bench_fail(r, why);
	simulated->fd = -1;
	r = vfm_device_new_vfio_user(simulated->client, simulated->name, &simulated->device);
	return r ? bench_fail(r, "making a device of the simulated one") : 0;
}

int simulated_close(struct simulated *simulated)
{
	vfm_device_free(simulated->device);
	vfm_vfio_user_free(simulated->client);
	/* The other server has a copy of it: closing alone would end nothing. */
	if (simulated->fd >= 0) {
		shutdown(simulated->fd, SHUT_RDWR);
		close(simulated->fd);
	}
	*simulated = (struct simulated){.server = simulated->server, .fd = -1};
	return child_finish(&simulated->server, SERVER_END_MS, NULL);
}

int simulated_hash(struct simulated *simulated, uint64_t *hash)
{
	uint32_t command = SIM_COMMAND_HASH;
	int r = vfm_vfio_user_region_write(simulated->client, SIM_BAR_REGS, SIM_REG_COMMAND,
					   &command, sizeof(command));

	if (r)
		return r;
	return vfm_vfio_user_region_read(simulated->client, SIM_BAR_REGS, SIM_REG_HASH, hash,
					 sizeof(*hash));
}
