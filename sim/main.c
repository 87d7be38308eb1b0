/* SPDX-License-Identifier: BSD-3-Clause */
#include "sim/main.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* Readable when somebody asks us to end. A client's pipe must not end us, so no SIGPIPE. */
static int open_stop_fd(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return -errno;
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void say_ready(void *opaque, const char *where)
{
	printf("listening on %s\n", where);
	fflush(stdout);
}

int sim_main(int argc, char **argv)
{
	char why[SIM_WHY_MAX] = "";
	struct sim_config config;
	int stop_fd, ret;

	if (sim_config_parse(&config, argc, argv))
		return EXIT_USAGE;
	stop_fd = open_stop_fd();
	config.server.stop_fd = stop_fd;
	config.server.ready = say_ready;
	ret = sim_server_run(&config.device, &config.server, why);
	if (ret)
		fprintf(stderr, "%s: %s\n", argv[0], why);
	if (stop_fd >= 0)
		close(stop_fd);
	return ret ? EXIT_FAILED : EXIT_DONE;
}
