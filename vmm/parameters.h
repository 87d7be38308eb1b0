/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What can be set of a migration: a row per parameter, which is an option of `vm` and a member of
 * QMP's migrate-set-parameters at once. QMP's names are QEMU's where the meaning is the same, else
 * they begin with "x-vfm-", which the command line leaves out.
 */
#ifndef VMM_PARAMETERS_H
#define VMM_PARAMETERS_H

#include <argp.h>
#include <json-c/json.h>
#include <vfio-migrate/migrate.h>

#define PARAMETERS_WHY_MAX 256 /* one line, with its NUL */

#define PARAMETERS_COUNT 14u

/* The command line's half, for argp: the options, and what reads them, state->input being a struct
 * vfm_options. A wrong value is one line on standard error and EINVAL. */
void parameters_fill(struct argp_option out[PARAMETERS_COUNT + 1]);
error_t parameters_parse(int key, char *text, struct argp_state *state);

/*
 * QMP's half. Read all members of @from into @options, or none of them: -EINVAL with one line in
 * @why. Those that are no parameter are left to the caller.
 */
int parameters_from_json(struct vfm_options *options, struct json_object *from, char *why);

/* All of them as members of @to. What has no limit is told as what would set it. */
void parameters_to_json(const struct vfm_options *options, struct json_object *to);

#endif
