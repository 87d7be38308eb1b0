/* SPDX-License-Identifier: BSD-3-Clause */
/* `vfio-migrate sim`. */
#ifndef SIM_MAIN_H
#define SIM_MAIN_H

#include "sim/server.h"

/* Runs until a signal says stop. Returns the exit status: 0, 1 if it could not start, 2 for a wrong
 * command line. */
int sim_main(int argc, char **argv);

/* What a command line says. */
struct sim_config {
	struct sim_options device;
	struct sim_server_options server;
};

/* 0, or -EINVAL after one line on standard error. --help prints and ends the process. */
int sim_config_parse(struct sim_config *config, int argc, char **argv);

#endif
