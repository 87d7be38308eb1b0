/* SPDX-License-Identifier: BSD-3-Clause */
/* The numbers in comments are those of the rules in docs/simulator.md. */
#include "sim/personality.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "sim/stream.h"

#define STOP_COPY VFM_MIG_STOP_COPY
#define P2P       VFM_MIG_P2P
#define PRE_COPY  VFM_MIG_PRE_COPY

#define ALL       SIM_NEVER
#define NO_MEMORY 0 /* the header alone is initial: set-up or match data */
#define FULL_HEAD sizeof(struct stream_header)

/* One page of ranges. */
#define KERNEL_RANGES 256

/* Internal memory with which the whole stream has @total bytes. */
#define MEMORY_FOR(total)                                                                          \
	((total)-FULL_HEAD - sizeof(struct stream_record) - STREAM_TAIL_SIZE)

/* A device that keeps every rule and tells exact sizes. */
static const struct sim_personality generic = {
	.name = "generic",
	.subsystem = SIM_PCI_SUBSYSTEM,
	.about = "keeps every rule of the protocol, tells exact sizes",
	.mig_flags = STOP_COPY | P2P | PRE_COPY,
	.runs_in_p2p = true,
	.state_size = 64u << 20,
	.initial_size = ALL,
	.header_size = FULL_HEAD,
	.empty_read = ENOMSG,
	.closed_errno = EINVAL,
	.error_errno = EINVAL,
	.size_permille = SIM_EXACT,
	.mismatch_errno = EFAULT,
	.refuse_errno = EFAULT,
	.dma_logging = true,
	.log_page_size = SIM_PAGE_SIZE,
	.log_ranges_max = SIM_LOG_RANGES_MAX,
};

static const struct sim_personality mlx5 = {
	.name = "mlx5",
	.subsystem = 0x0002,
	.about = "saves when asked, tells too little, gives short reads",
	.mig_flags = STOP_COPY | P2P | PRE_COPY,
	.runs_in_p2p = true, /* 16: the initiator stops, then the responder */
	.state_size = 256u << 20,
	.initial_size = ALL,
	.header_size = FULL_HEAD,
	.empty_read = ENOMSG,
	.empty_is_error = true,
	.polls = true,
	.read_max = 512u << 10, /* 9 */
	.saves_on_query = true, /* 3 */
	.closed_errno = ENODEV, /* 10 */
	.error_errno = EINVAL,
	.size_permille = 900, /* 8 */
	.query_us = 500,      /* 15: the firmware is asked */
	.no_reinit_in_p2p = true, /* 5 */
	.load_at = SIM_LOAD_AT_WRITE,
	.mismatch_errno = EOPNOTSUPP, /* 14 */
	.mismatch_in_write = true,
	.refuse_errno = EINVAL,
	.excess_errno = ENOMEM,
	.dma_logging = true,
	.log_page_size = SIM_PAGE_SIZE,
	.log_ranges_max = KERNEL_RANGES,
};

static const struct sim_personality virtio = {
	.name = "virtio",
	.subsystem = 0x0003,
	.about = "a save is the whole state, at most one a second",
	.mig_flags = STOP_COPY | P2P | PRE_COPY,
	.state_size = 1u << 20,
	.initial_size = ALL,
	.header_size = FULL_HEAD,
	.empty_read = ENOMSG,
	.empty_is_error = true,
	.saves_on_query = true, /* 3 */
	.whole_saves = true,    /* 4 */
	.ask_period_ms = 1000,  /* 4 */
	.closed_errno = ENODEV,
	.error_errno = EINVAL,
	.size_permille = SIM_EXACT,
	.load_at = SIM_LOAD_AT_WRITE,
	.mismatch_errno = EINVAL,
	.mismatch_in_write = true,
	.refuse_errno = EINVAL,
	.excess_errno = ENOMEM,
};

static const struct sim_personality hisi_acc = {
	.name = "hisi_acc",
	.subsystem = 0x0004,
	.about = "tiny, pre-copy carries 40 bytes, no P2P, loads at the end",
	.mig_flags = STOP_COPY | PRE_COPY,
	.runs_in_p2p = true,
	.state_size = 136,
	.initial_size = NO_MEMORY,
	.header_size = STREAM_MATCH_SIZE,
	.setup_only = true, /* 4 */
	.closed_errno = ENODEV,
	.error_errno = EINVAL,
	.size_permille = SIM_EXACT,
	.constant_size = true, /* 15 */
	.no_info_in_p2p = true, /* 5 */
	.load_at = SIM_LOAD_AT_END, /* 13 */
	.mismatch_errno = EFAULT, /* 14 */
	.mismatch_in_write = true,
	.refuse_errno = EFAULT,
	.excess_errno = ENOMEM,
};

static const struct sim_personality qat = {
	.name = "qat",
	.subsystem = 0x0005,
	.about = "pre-copy carries set-up data alone, loads at the end",
	.mig_flags = STOP_COPY | P2P | PRE_COPY,
	.state_size = 256u << 10,
	.initial_size = NO_MEMORY,
	.header_size = FULL_HEAD,
	.setup_only = true,
	.closed_errno = ENODEV,
	.error_errno = EINVAL,
	.size_permille = SIM_EXACT,
	.constant_size = true,
	.load_at = SIM_LOAD_AT_END,
	.mismatch_errno = EINVAL, /* 14: yet another one */
	.mismatch_in_write = true,
	.refuse_errno = EINVAL,
	.excess_errno = ENOMEM,
};

static const struct sim_personality pds = {
	.name = "pds",
	.subsystem = 0x0006,
	.about = "64 KiB, no pre-copy, logs pages of 64 KiB, strict reports",
	.mig_flags = STOP_COPY | P2P,
	.runs_in_p2p = true,
	.state_size = MEMORY_FOR(64u << 10),
	.initial_size = ALL,
	.header_size = FULL_HEAD,
	.closed_errno = ENODEV,
	.error_errno = EIO, /* 11 */
	.size_permille = SIM_EXACT,
	.constant_size = true,
	.load_at = SIM_LOAD_AT_END,
	.mismatch_errno = EIO,
	.refuse_errno = EIO,
	.excess_errno = EINVAL, /* 14 */
	.dma_logging = true,
	.log_page_size = 64u << 10, /* 17 */
	.log_ranges_max = KERNEL_RANGES,
	.log_whole_words = true, /* 18 */
};

static const struct sim_personality xe = {
	.name = "xe",
	.subsystem = 0x0007,
	.about = "large, no pre-copy, some sizes are a negative errno",
	.mig_flags = STOP_COPY | P2P,
	.state_size = 128u << 20,
	.initial_size = ALL,
	.header_size = FULL_HEAD,
	.closed_errno = ENODEV,
	.error_errno = EINVAL,
	.size_permille = SIM_EXACT,
	.size_lie_every = 4, /* 15 */
	.size_lie_errno = EAGAIN,
	.load_at = SIM_LOAD_AT_BOTH, /* 13: it finishes at the end */
	.mismatch_errno = EINVAL,
	.refuse_errno = EINVAL,
	.excess_errno = ENOMEM,
};

static const struct sim_personality mtty = {
	.name = "mtty",
	.subsystem = 0x0008,
	.about = "tiny, pre-copy carries a header alone, does no DMA",
	.mig_flags = STOP_COPY | P2P | PRE_COPY,
	.no_dma = true, /* its log says that nothing is ever dirty */
	.runs_in_p2p = true,
	.state_size = 128,
	.initial_size = NO_MEMORY,
	.header_size = FULL_HEAD,
	.setup_only = true,
	.closed_errno = ENODEV,
	.error_errno = EINVAL,
	.size_permille = SIM_EXACT,
	.load_at = SIM_LOAD_AT_END,
	.mismatch_errno = EFAULT, /* 14 */
	.refuse_errno = EFAULT,
	.excess_errno = ENOMEM,
	.dma_logging = true,
	.log_page_size = SIM_PAGE_SIZE,
	.log_ranges_max = KERNEL_RANGES,
};

static const struct sim_personality *const table[] = {
	&generic, &mlx5, &virtio, &hisi_acc, &qat, &pds, &xe, &mtty,
};

const struct sim_personality *sim_personality_at(unsigned i)
{
	return i < ARRAY_SIZE(table) ? table[i] : NULL;
}

const struct sim_personality *sim_personality_find(const char *name)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(table); i++)
		if (!strcmp(table[i]->name, name))
			return table[i];
	return NULL;
}
