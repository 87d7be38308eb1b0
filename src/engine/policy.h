/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * policy: when to switch over. A pure function of numbers: no I/O, no clock, no state.
 *
 *	predicted = stop       slowest device's way to STOP_COPY, vCPUs included
 *	          + memory     dirty bytes / bandwidth
 *	          + state      stop-copy bytes of devices and VMM / bandwidth
 *	          + load       what the slowest device still loads when the wire is done, and its
 *	                       way out of RESUMING
 *	          + handover   a round trip, and the slowest device's way to RUNNING
 */
#ifndef ENGINE_POLICY_H
#define ENGINE_POLICY_H

#include <stdbool.h>
#include <vfio-migrate/migrate.h>

struct policy_device {
	uint64_t stop_ns;       /* to STOP_COPY, all arcs */
	uint64_t state_bytes;   /* left to be sent; VFM_SIZE_UNKNOWN */
	uint64_t load_ns_mib;   /* per MiB, on the destination */
	uint64_t check_ns;      /* RESUMING to STOP */
	uint64_t run_ns;        /* STOP to RUNNING */
};

struct policy_input {
	uint64_t limit_ns;      /* VFM_UNLIMITED: any */
	uint64_t bandwidth;     /* bytes per second; 0: not known */
	uint64_t memory_bytes;
	uint64_t vm_state_bytes;
	uint64_t unknown_bytes; /* what an unknown size counts for */
	uint64_t round_trip_ns;
	uint64_t vcpus_stop_ns;
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
