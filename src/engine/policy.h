/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * policy: when to switch over. A pure function of numbers: no I/O, no clock, no state.
 *
 *	predicted = stop       the last question for initial bytes; two steps: slowest arc to a P2P
 *	                       state, slowest arc to STOP_COPY
 *	          + memory     a look at the dirty logs; dirty bytes / bandwidth
 *	          + state      stop-copy bytes of devices and VMM, and what those of devices grow by
 *	                       until they have stopped, / bandwidth
 *	          + load       what the slowest device still loads when the wire is done; a step
 *	                       there: slowest way out of RESUMING
 *	          + handover   PREPARE and PREPARED, COMMIT and RUNNING: two round trips; two steps
 *	                       there: slowest arc to RUNNING_P2P, slowest arc to RUNNING
 *
 * A step is what all devices do at once, with a barrier behind it. Beside the slowest arc it takes
 * step_ns: threads wake, requests go to the devices and come back. Each side measures that with a
 * request that does nothing. Transitions one by one: the sum of the arcs instead of the slowest.
 */
#ifndef ENGINE_POLICY_H
#define ENGINE_POLICY_H

#include <stdbool.h>
#include <vfio-migrate/migrate.h>

struct policy_device {
	uint64_t stop_p2p_ns;   /* to its P2P state; 0: it has none */
	uint64_t stop_ns;       /* to STOP_COPY */
	uint64_t state_bytes;   /* left to be sent; VFM_SIZE_UNKNOWN */
	uint64_t growth_rate;   /* by which it grows as long as the device runs, bytes per second */
	uint64_t growth_max;    /* and how far, bytes */
	uint64_t load_ns_mib;   /* per MiB, on the destination; VFM_SIZE_UNKNOWN: as long as the wire
				 * takes, and not while it works */
	uint64_t check_ns;      /* RESUMING to STOP */
	uint64_t run_p2p_ns;    /* to RUNNING_P2P; 0: it has none */
	uint64_t run_ns;        /* to RUNNING */
};

struct policy_input {
	uint64_t limit_ns;      /* VFM_UNLIMITED: any */
	uint64_t bandwidth;     /* bytes per second; 0: not known */
	uint64_t memory_bytes;
	uint64_t vm_state_bytes;
	uint64_t unknown_bytes; /* what an unknown size counts for */
	uint64_t round_trip_ns;
	uint64_t vcpus_stop_ns;
	uint64_t query_ns;      /* asking all devices for initial bytes; 0: they are not asked */
	uint64_t sync_ns;       /* reading all dirty logs */
	uint64_t step_ns;       /* a step without its arcs, here */
	uint64_t peer_step_ns;  /* on the destination */
	bool serial;            /* transitions one by one */
	unsigned pending_acks;
	unsigned device_count;
	struct policy_device devices[VFM_DEVICES_MAX];
};

enum policy_verdict {
	POLICY_GO,
	POLICY_WAIT_ACKS,      /* a device's initial bytes are not loaded yet */
	POLICY_WAIT_BANDWIDTH, /* nothing measured yet */
	POLICY_WAIT_LIMIT,     /* the prediction is above the limit */
};

struct policy_output {
	enum policy_verdict verdict;
	struct vfm_downtime predicted;
	int device;           /* the one behind the largest term, -1: none */
	const char *term;     /* the largest term: "stop", "memory", "state", "load", "handover" */
};

void policy_decide(const struct policy_input *in, struct policy_output *out);

/* @bytes at @bandwidth, in ns, saturating; bandwidth 0: VFM_UNLIMITED unless there are no bytes. */
uint64_t policy_wire_ns(uint64_t bytes, uint64_t bandwidth);

#endif
