/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of `vfio-migrate sim`, between the files that read it. */
#ifndef SIM_OPTIONS_H
#define SIM_OPTIONS_H

#include "cli/parse.h"
#include "sim/main.h"

#define TEXT_MAX 128 /* bytes of a value that is taken apart */

struct reading {
	struct sim_config *config;
	const char *program;
	bool migration_set;
	bool load_at_set;
	char why[PARSE_WHY_MAX];
};

/* Read @text, which is NULL for an option without a value. 0, or -errno with reading->why. */
typedef int read_fn(struct reading *r, const char *name, const char *text);

/* Put one line into reading->why; returns -EINVAL. */
PRINTF(2, 3) int options_refuse(struct reading *r, const char *fmt, ...);

/* "FROM:TO=VALUE": the states, and where the value begins; NULL: refused. */
const char *options_read_arc(struct reading *r, const char *name, const char *text,
			     enum vfm_state *from, enum vfm_state *to);

/* when.c: a trigger as options spell it, at the front of @text, which is changed; what follows its comma
 * is left in *@rest, NULL if there is none. 0, or -errno with one line in @why (PARSE_WHY_MAX). */
int sim_when_parse(const char *name, char *text, struct sim_trigger *trigger, char **rest,
		   char *why);

/* options-fault.c */
read_fn options_reinit;
read_fn options_spontaneous;
read_fn options_fail;
read_fn options_fail_call;
read_fn options_corrupt;
read_fn options_die_after;
read_fn options_die_in;
read_fn options_mutant;

#endif
