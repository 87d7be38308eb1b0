/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
/* The options' files: the table and what happens at a write are in attributes.c, how a value is
 * read and written in values.c, what makes the device misbehave in faults.c. */
#ifndef KSIM_ATTRIBUTES_H
#define KSIM_ATTRIBUTES_H

#include <linux/device.h>

#include "sim/kernel/ksim.h"

struct row;

/* Into the configuration, without the line's end: 0, or -EINVAL and something is in it. */
typedef int read_value(struct ksim_config *config, const struct row *row, char *text);
/* Out of it, as sysfs_emit(). */
typedef int write_value(const struct ksim_config *config, const struct row *row, char *out);

struct row {
	struct device_attribute attribute;
	read_value *read;
	write_value *write;
	size_t field; /* in the configuration */
	u64 min, max;
};

/* Digits with K, M or G. */
int parse_within(char *text, u64 min, u64 max, u64 *out);

read_value read_u64, read_u32, read_bool, read_state_size, read_initial_size, read_migration;
read_value read_load_at, read_factor, read_latency, read_mutant;
write_value write_u64, write_u32, write_bool, write_migration, write_load_at, write_factor;
write_value write_latency, write_mutant;

read_value read_reinit, read_never, read_upset, read_fail_arc, read_fail_call;
write_value write_reinit, write_never, write_upset, write_fail_arc, write_fail_call;

#endif
