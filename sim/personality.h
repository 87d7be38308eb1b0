/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Personalities: in what a simulated device differs from another, as data that the device looks
 * up where it matters. The device itself exists once; a personality never copies it. What each
 * imitates, and of which driver, is told in docs/simulator.md.
 */
#ifndef SIM_PERSONALITY_H
#define SIM_PERSONALITY_H

#include <stdbool.h>
#include <stdint.h>
#include <vfio-migrate/uapi.h>
#include "sim/core.h"

struct sim_personality {
	const char *name;       /* as --personality spells it; also in the stream */
	const char *about;      /* one line for --help */
	uint16_t subsystem;     /* PCI subsystem number; no other one has it, ever */
	uint32_t mig_flags;     /* enum vfm_mig_flags, the default */
	bool no_dma;            /* it writes to no memory but its own */
	bool runs_in_p2p;       /* the internal memory goes on changing in the P2P states */
	uint64_t state_size;    /* bytes of internal memory, the default */
	uint64_t initial_size;  /* the default; SIM_NEVER: all of it */

	/* Saving. */
	uint32_t header_size;   /* bytes of struct stream_header that it sends */
	int empty_read;         /* positive errno of a read that finds nothing; 0: it reads 0 */
	bool empty_is_error;    /* a vfio-user client gets that errno, else a reply without bytes */
	uint32_t read_max;      /* one read gives at most so many bytes; 0: what was asked for */
	bool polls;             /* its data fd can be waited for (a kernel device's) */
	bool setup_only;        /* pre-copy carries the initial bytes and nothing that is dirty */
	bool saves_on_query;    /* what is dirty is saved when a precopy info query asks for it */
	bool whole_saves;       /* a save is the whole state, and one more in STOP_COPY */
	uint32_t ask_period_ms; /* a query asks at most so often */
	int closed_errno;       /* positive: of a read or write without a data session */
	int error_errno;        /* positive: of everything but a reset while in ERROR */

	/* Telling. */
	uint32_t size_permille; /* told sizes, in thousandths of the true ones */
	bool constant_size;     /* the stop-copy size is the whole state's, always */
	unsigned size_lie_every; /* every so many-th stop-copy size is a negative errno; 0: never */
	int size_lie_errno;     /* positive: which */
	uint32_t query_us;      /* time that a size or info query takes */
	bool no_info_in_p2p;    /* no precopy info in PRE_COPY_P2P */
	bool no_reinit_in_p2p;  /* it cannot find new initial bytes there */

	/* Loading. */
	enum sim_load_at load_at;
	int mismatch_errno;     /* positive: another device's stream */
	bool mismatch_in_write; /* told by the write that brought it, else when RESUMING is left */
	int refuse_errno;       /* positive: a bad stream, when RESUMING is left */
	int excess_errno;       /* positive: a write behind the end; 0: as refuse_errno */

	/* DMA logging. */
	bool dma_logging;       /* it has it */
	uint64_t log_page_size; /* the smallest that it takes */
	uint32_t log_ranges_max;
	bool log_whole_words;   /* a report has to lie inside one range, to begin at a multiple of
				 * 64 pages from its start and to be whole pages long */
};

/* The personality of that name, NULL if there is none. */
const struct sim_personality *sim_personality_find(const char *name);

/* Number @i from 0 on, NULL past the last. */
const struct sim_personality *sim_personality_at(unsigned i);

#endif
