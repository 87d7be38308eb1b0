/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated device without any way to attach it: no sockets, no clock, no sleeping.
 *
 *	front end ──> sim_*() ──> the device ──> struct sim_host_ops ──> front end
 *	(vfio-user server, ...)                  guest memory, interrupts, time that passes
 *
 * A front end hands in what software does to the device (register accesses, state changes, the
 * migration stream, the passing of time) and serves what the device does to the world. The device
 * moves only inside these calls. So quiescence is exact: once sim_set_state() has returned for a
 * state without DMA, nothing is written to guest memory until a later call changes the state.
 *
 * One thread at a time per device. All functions return 0 or -errno unless said otherwise; none
 * of them trusts its arguments where the text says that they may come from a peer.
 */
#ifndef SIM_CORE_H
#define SIM_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <vfio-migrate/uapi.h>
#include "base/compiler.h"
#include "sim/regs.h"

#define SIM_PAGE_SIZE       4096u
#define SIM_STATE_SIZE_MIN  8u
#define SIM_STATE_SIZE_MAX  (UINT64_C(64) << 30)
#define SIM_RATE_MAX        (UINT64_C(1) << 33) /* bytes per second */
#define SIM_DMA_RATE_MAX    10000000u
#define SIM_LATENCY_MAX_MS  600000u
#define SIM_LOG_RANGES_MAX  4096u
#define SIM_CONFIG_SIZE     256u
#define SIM_READ_IOV        1000 /* pieces that one sim_mig_read() gives at most */
#define SIM_TIMES_MAX       1000u
#define SIM_WHEN_MAX        (UINT64_C(1) << 50) /* of a trigger's value */
#define SIM_EXACT           1000u               /* size_permille of one who tells the truth */
#define SIM_SIZE_ERROR_MAX  1000000u            /* permille */
#define SIM_NEVER           UINT64_MAX

struct sim;
struct sim_mutant;

/* What the device needs from whoever attaches it. Addresses are IOVAs. */
struct sim_host_ops {
	/* All of @len bytes or -errno (-EFAULT: not mapped so). */
	int (*dma_read)(void *opaque, uint64_t iova, void *buf, size_t len);
	int (*dma_write)(void *opaque, uint64_t iova, const void *buf, size_t len);

	/* One aligned 64-bit word, as one access. A store comes after all earlier writes for whoever
	 * sees it, a load before all later ones. */
	int (*dma_load)(void *opaque, uint64_t iova, uint64_t *value);
	int (*dma_store)(void *opaque, uint64_t iova, uint64_t value);

	/* Raise an MSI-X vector. Nothing happens if nobody listens. */
	void (*irq)(void *opaque, unsigned vector);

	/* Let @ns of time pass: the device is busy. sim_tick() may be called meanwhile. */
	void (*delay)(void *opaque, uint64_t ns);

	/* Die at once, as if killed (fault options). Does not return. */
	void (*die)(void *opaque);
};

/* One arc or call that fails on purpose. */
struct sim_fail {
	int error;    /* positive errno, 0: none */
	unsigned nth; /* which time, from 1; 0: every time */
};

/* What can be made to fail, besides arcs. */
enum sim_call {
	SIM_CALL_READ,       /* reading the stream */
	SIM_CALL_WRITE,      /* writing it */
	SIM_CALL_INFO,       /* the precopy info query */
	SIM_CALL_SIZE,       /* the stop-copy size query */
	SIM_CALL_LOG_START,
	SIM_CALL_LOG_REPORT,
	SIM_CALL_SAVE,       /* the device's own save of a personality that saves when asked */
	SIM_CALL_COUNT,
};

/* When the device does something of its own accord, within a data session. The measure starts
 * with the session; with times > 1 it happens again each time @value more is reached. */
struct sim_trigger {
	enum sim_when {
		SIM_WHEN_NEVER,
		SIM_WHEN_AFTER, /* @value ms of the session */
		SIM_WHEN_BYTES, /* @value bytes of its stream */
		SIM_WHEN_INFO,  /* its @value-th precopy info query */
		SIM_WHEN_LATE,  /* the first query since which the doorbell has fallen silent: it
				 * was rung between the two before, and not since the last */
	} when;
	uint64_t value;  /* from 1 */
	uint32_t times;  /* at most so often, up to SIM_TIMES_MAX */
};

/* Where --load-cost-us-per-mib is paid. */
enum sim_load_at {
	SIM_LOAD_AT_WRITE, /* while the stream is written */
	SIM_LOAD_AT_END,   /* when RESUMING is left */
	SIM_LOAD_AT_BOTH,  /* half and half */
};

/* What the simulated device is told to be. */
struct sim_options {
	const struct sim_personality *personality;
	uint64_t seed;         /* of initial contents and of all changes */
	uint64_t state_size;   /* bytes of internal memory, a multiple of 8 */
	uint64_t initial_size; /* bytes of it that are initial bytes of a pre-copy, in pages */
	uint64_t dirty_rate;   /* bytes of it changed per second while running */
	uint32_t dma_rate;     /* first value of SIM_REG_DMA_RATE */
	uint32_t vectors;      /* MSI-X table size, 1 to SIM_MSIX_VECTORS_MAX */
	uint32_t mig_flags;    /* enum vfm_mig_flags */
	bool dma_logging;      /* it can log its writes */
	uint32_t latency_ms[VFM_STATE_COUNT][VFM_STATE_COUNT]; /* of the arc [from][to] */
	uint32_t load_cost_us_per_mib;
	enum sim_load_at load_at;
	uint32_t alloc_cost_ms; /* on the destination, when initial bytes begin to arrive */
	uint32_t size_permille; /* told sizes are the personality's, times this / 1000 */
	uint64_t p2p_target;    /* first value of SIM_REG_P2P_TARGET */
	uint32_t p2p_rate;      /* and of SIM_REG_P2P_RATE */

	struct sim_trigger reinit; /* a pre-copy's initial bytes begin anew */
	uint64_t reinit_size;      /* with so many bytes of memory; SIM_NEVER: initial_size */
	struct sim_trigger upset;  /* it enters ERROR by itself */
	bool upset_resets;         /* no, it resets itself */

	struct sim_fail fail[VFM_STATE_COUNT][VFM_STATE_COUNT];
	struct sim_fail fail_call[SIM_CALL_COUNT];
	uint64_t corrupt_at;      /* offset of a byte of saved streams to flip, or SIM_NEVER */
	uint64_t die_after_bytes; /* of stream read and written, or SIM_NEVER */
	enum vfm_state die_in;    /* on entering it; VFM_STATE_ERROR: never */
	const struct sim_mutant *mutant; /* one rule of the protocol that it breaks; NULL: none */
};

/* The defaults of a personality: its capabilities and sizes, no faults. NULL: the generic one, with
 * 64 MiB of state. */
void sim_options_init_as(struct sim_options *options, const struct sim_personality *who);
static inline void sim_options_init(struct sim_options *options)
{
	sim_options_init_as(options, NULL);
}

/*
 * Make a device in its reset state. @options are copied, @ops is borrowed. EINVAL: options that
 * contradict each other or the limits above. The device does nothing until ticked.
 */
int sim_create(const struct sim_options *options, const struct sim_host_ops *ops, void *opaque,
	       struct sim **sim);
void sim_destroy(struct sim *sim);

const struct sim_personality *sim_who(const struct sim *sim);

/* RUNNING, with initial contents; from any state, ERROR among them. Logging goes on. */
void sim_reset(struct sim *sim);

/* ---- time ---- */

/*
 * Time is @now_ns: write the records and change the memory that are due since the last call. Time
 * that passed before sim_clock_start(), or in states in which nothing runs, is not made up for.
 */
void sim_tick(struct sim *sim, uint64_t now_ns);
void sim_clock_start(struct sim *sim, uint64_t now_ns);

/* Would ticks do anything now? False: the front end can let its timer rest. */
bool sim_needs_ticks(const struct sim *sim);

/* ---- regions ---- */

/* Bytes of a region (VFM_PCI_*), 0: there is none of that index. */
uint64_t sim_region_size(const struct sim *sim, uint32_t index);

/* -EINVAL: no such region, out of its bounds, or an access that the region does not take. */
int sim_region_read(struct sim *sim, uint32_t index, uint64_t offset, void *buf, size_t len);
int sim_region_write(struct sim *sim, uint32_t index, uint64_t offset, const void *buf,
		     size_t len);

/* The memory behind the mailbox BAR (regs.h), for those who map it: SIM_BAR_SIZE bytes, owned by
 * the device. In user space it is also an fd that cannot be resized. */
void *sim_mailbox(const struct sim *sim);
int sim_mailbox_fd(const struct sim *sim);

/* MSI-X vectors. */
unsigned sim_vectors(const struct sim *sim);

/* ---- migration ---- */

/* What it announces: the same, unless it is a mutant. */
uint32_t sim_told_flags(const struct sim *sim);

/* What becomes of a feature request that was found right (@ret 0) or wrong. */
int sim_judge_feature(const struct sim *sim, uint32_t flags, uint32_t argsz, int ret);

/* What the device can do, and what a new user of it knows: flags outside of @known are not used,
 * and the opt-in to PRECOPY_INFOv2 has to be repeated. */
void sim_limit_flags(struct sim *sim, uint32_t known);
uint32_t sim_mig_flags(const struct sim *sim);

enum vfm_state sim_state(const struct sim *sim);

/*
 * Walk to @state, any number. -EINVAL: not from here. After another error the device is somewhere
 * on the way; if the loaded stream was refused (generic: -EFAULT), in ERROR.
 */
int sim_set_state(struct sim *sim, uint32_t state);

/* The data session that is open, 0: none. No two of a device have one number. */
uint64_t sim_session(const struct sim *sim);

/*
 * The next at most @max bytes of the saved stream, as pieces of the device's own memory, in
 * @iov[SIM_READ_IOV], *@count of them. They are valid and unchanged until the next call. Returns
 * how many bytes; 0: the end, in STOP_COPY; -ENOMSG (some personalities: 0): nothing now, in a
 * PRE_COPY state; -EINVAL (other personalities: -ENODEV) in other states. It is fewer than @max
 * before the end if the pieces ran out, from 2 MiB on, or if the personality says so.
 */
int64_t sim_mig_read(struct sim *sim, size_t max, struct iovec *iov, int *count);

/* Would a read say something else than that there is nothing now? */
bool sim_mig_readable(const struct sim *sim);

/*
 * Loading without a copy: each write of the user begins with sim_mig_begin_write(), then *@where
 * is where the next bytes of the stream belong, *@room (never 0) how many fit there.
 * sim_mig_wrote() says how many came, and may let time pass. A stream that turned out bad goes on
 * being taken, and is refused when RESUMING is left; a personality may let the write fail that
 * brought it. As for sim_mig_read() outside of RESUMING.
 */
int sim_mig_begin_write(struct sim *sim);
int sim_mig_space(struct sim *sim, void **where, size_t *room);
int sim_mig_wrote(struct sim *sim, size_t bytes);

/* Bytes that STOP_COPY has left to give, if the device went there now without running on. */
uint64_t sim_stop_copy_size(const struct sim *sim);

/* What the device tells its user of that: an estimate, as good as the personality's. */
int sim_data_size(struct sim *sim, uint64_t *size);

/* The opt-in to PRECOPY_INFOv2. -EINVAL without PRE_COPY. */
int sim_precopy_infov2(struct sim *sim);

/*
 * Only in PRE_COPY states, else -EINVAL. As from a kernel driver: before the opt-in info->flags
 * stay what they were, and no REINIT is told (its bytes count as dirty). A query may make the
 * device save (some personalities) or begin its initial bytes anew (SIM_WHEN_*).
 */
int sim_precopy_info(struct sim *sim, struct vfm_precopy_info *info);

/* ---- the device's log of its own writes ---- */

/*
 * @page_size: a power of two, raised to SIM_PAGE_SIZE if smaller, written back. No ranges: log
 * everything. -EINVAL: on already, empty, unaligned or overlapping ranges; -E2BIG; -ENOMEM;
 * -EOPNOTSUPP: cannot log. All arguments may come from a peer.
 */
int sim_log_start(struct sim *sim, uint64_t *page_size,
		  const struct vfm_feature_logging_range *ranges, uint32_t count);
int sim_log_stop(struct sim *sim);
bool sim_has_logging(const struct sim *sim);

/*
 * Set bit i of @bitmap for each written page of @page_size bytes at @iova + i * @page_size, and
 * forget it. -EINVAL: not on, or bad arguments; -EIO: the log has lost something: all is dirty.
 */
int sim_log_report(struct sim *sim, uint64_t iova, uint64_t length, uint64_t page_size,
		   uint64_t *bitmap);

#endif
