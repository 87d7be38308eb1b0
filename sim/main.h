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

/* A trigger as options spell it, at the front of @text, which is changed; what follows its comma is
 * left in *@rest, NULL if there is none. 0, or -errno with one line in @why (PARSE_WHY_MAX bytes). */
int sim_when_parse(const char *name, char *text, struct sim_trigger *trigger, char **rest,
		   char *why);

/* 0, or -EINVAL after one line on standard error. --help prints and ends the process. */
int sim_config_parse(struct sim_config *config, int argc, char **argv);

#endif
