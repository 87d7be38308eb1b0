/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Personalities: in what a simulated device differs from another, as data and a few hooks. The
 * device itself exists once; a personality never copies it.
 */
#ifndef SIM_PERSONALITY_H
#define SIM_PERSONALITY_H

#include <stdbool.h>
#include <stdint.h>
#include <vfio-migrate/uapi.h>

struct sim;

struct sim_personality {
	const char *name;       /* as --personality spells it */
	const char *about;      /* one line for --help */
	uint32_t mig_flags;     /* enum vfm_mig_flags, the default */
	bool dma_logging;       /* can log its writes */
	bool runs_in_p2p;       /* the internal memory goes on changing in the P2P states */
	int refuse_errno;       /* positive: what a bad stream gets when RESUMING is left */
	uint64_t log_page_size; /* the smallest that its log takes */

	/* Hooks; NULL: what the core does without one. Called with the exact answer filled in. */
	void (*precopy_info)(struct sim *sim, struct vfm_precopy_info *info);
	void (*stop_copy_size)(struct sim *sim, uint64_t *size);
	/* A step of a transition, before the core takes it. Not 0: it fails so, nothing happens. */
	int (*arc)(struct sim *sim, enum vfm_state from, enum vfm_state to);
};

/* The personality of that name, NULL if there is none. */
const struct sim_personality *sim_personality_find(const char *name);

/* Number @i from 0 on, NULL past the last. */
const struct sim_personality *sim_personality_at(unsigned i);

#endif
