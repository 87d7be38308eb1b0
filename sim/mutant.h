/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mutants: simulated devices that break one rule of the protocol each, so that a checker can be
 * seen to find it. A mutant is a row of functions that stand in for the device's own (core.h); what
 * is NULL is done as always. It is named after the rule of `vfio-migrate check` that it breaks.
 */
#ifndef SIM_MUTANT_H
#define SIM_MUTANT_H

#include <stdbool.h>

#include "sim/core.h"

struct sim_mutant {
	const char *name;
	int (*set_state)(struct sim *sim, uint32_t state);
	void (*reset)(struct sim *sim);
	bool (*does_dma)(const struct sim *sim);
	bool (*does_p2p)(const struct sim *sim);
	int64_t (*read)(struct sim *sim, size_t max, struct iovec *iov, int *count);
	int (*begin_write)(struct sim *sim);
	int (*finish)(struct sim *sim); /* what was loaded */
	int (*info)(struct sim *sim, struct vfm_precopy_info *info);
	int (*opt_in)(struct sim *sim); /* to PRECOPY_INFOv2 */
	int (*size)(struct sim *sim, uint64_t *size);
	int (*log_start)(struct sim *sim, uint64_t *page_size,
			 const struct vfm_feature_logging_range *ranges, uint32_t count);
	int (*log_report)(struct sim *sim, uint64_t iova, uint64_t length, uint64_t page_size,
			  uint64_t *bitmap);
	void (*meet)(struct sim *sim); /* a new user came */
	uint32_t (*flags)(uint32_t flags);
	int (*feature)(uint32_t flags, uint32_t argsz, int ret);
};

/* The one that breaks that rule, NULL: there is none. */
const struct sim_mutant *sim_mutant_find(const char *name);

#endif
