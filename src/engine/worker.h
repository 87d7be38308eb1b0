/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * worker: one thread per device. It alone calls the device while a session runs.
 *
 * The steering thread posts one job at a time to a worker (a transition, a query, a dirty log
 * report) and waits for all of them: that is the barrier between two phases. Between jobs the
 * worker moves data: on the source from the device into blocks that the sender takes, on the
 * destination from blocks that the receiver filled into the device. A job waits for at most one
 * block.
 *
 *	source:       free ──read()──> filled ──sender──> free        stops at `window` in flight
 *	destination:  free ──receiver──> filled ──write()──> free     and credit goes back
 *
 * Blocks are made once, of one size, and never grow: that bounds the memory of a session.
 *
 * The thread ends when told to (worker.quit), never by itself: after a failure it stays, idle, for
 * the jobs of the undoing.
 */
#ifndef ENGINE_WORKER_H
#define ENGINE_WORKER_H

#include "base/queue.h"
#include "device/device.h"
#include "engine/growth.h"
#include "engine/session.h"

struct block {
	struct queue_node node;
	uint32_t size;
	bool last;
	bool initial;    /* initial bytes end here */
	uint64_t offset; /* in the device's stream */
	uint64_t digest;
	uint8_t *data;   /* session.device_chunk bytes */
};

typedef int worker_job(struct worker *w);

struct worker {
	struct session *s;
	struct vfm_device *device;
	unsigned index;            /* ours */
	unsigned wire_index;       /* the source's: the number in frames */
	struct thread thread;

	/* Under session.lock. */
	pthread_cond_t wake;
	worker_job *job;
	int result;
	bool quit;
	bool pumping;              /* move data between jobs */
	bool in_device;            /* a call into the device is under way */
	bool moving;               /* a block is under way, inside such a call or about to be */
	struct queue free, filled;
	bool finished;             /* source: the last block is filled; destination: it is written */
	bool last_sent;
	bool credit_due;           /* destination: the sender tells the peer of `consumed` */
	uint64_t credited;         /* consumed_frames when credit was last due */
	uint64_t served;           /* for fairness among streams, bytes */
	uint64_t window;           /* source: frames in flight at most */
	uint64_t moved, moved_frames;       /* source: sent; destination: received */
	uint64_t consumed, consumed_frames; /* by the destination's device */
	uint64_t load_ns;          /* time that took */
	uint64_t bulk_bytes, bulk_ns; /* source: of these, what went in full blocks */
	uint64_t precopy_bytes, stopcopy_bytes;
	struct device_precopy precopy; /* as last told */
	/* Acks. Source: asked - acked is what the switchover waits for; flagged of those asked have
	 * had their initial bytes read to the end. Destination: acks that the sender has to tell. */
	unsigned asked, flagged, acked, acks_due;
	unsigned reinits;          /* seen in this session */
	bool peer_precopy;         /* destination: the source's device has PRE_COPY */
	bool initial_loaded;       /* destination, legacy: this one is done */
	uint64_t stop_copy_size;   /* as last told */
	struct growth growth;      /* source: of what was told and read */

	/* Arguments and results of jobs: the steering thread's while no job runs. */
	enum vfm_state target;
	struct vfm_error error;
	int recovered;             /* job_recover: 1 after a reset, -errno: in vain */
	bool log_on;               /* the device's own dirty log runs */
	bool log_lost;             /* a report failed: told once */
	uint64_t log_page_size;
	uint64_t arc_ns[VFM_STATE_COUNT][VFM_STATE_COUNT]; /* under lock: as last measured, 0: not yet */
	struct wire_stop_arcs twin; /* source: what stopping the destination's device took, or 0 */

	/* The worker's own. */
	struct block *blocks;
	uint8_t *memory;
	uint64_t *bitmap;          /* for reports, WORKER_LOG_PAGES bits */
	uint64_t offset;
	uint64_t initial_left;     /* to be read before the flag */
	uint64_t idle_until_ns;
	uint64_t idle_ns;
};

int worker_new(struct session *s, struct vfm_device *device, struct worker **worker);
int worker_start(struct worker *w); /* makes the blocks and the thread */
void worker_free(struct worker *w); /* ends the thread */

/* Post @job to every device and wait for all. The first failure, by number of the device, becomes
 * the session's, unless SESSION_WAIT_UNDO is in @flags. */
int workers_run(struct session *s, worker_job *job, unsigned flags);
/* The two halves, for work of the steering thread in between. */
void workers_post(struct session *s, worker_job *job);
int workers_wait(struct session *s, unsigned flags);

/* How long a step takes in which every device is asked something and has nothing to do. For workers
 * that do not move data. 0, or the failure of the session. */
int workers_measure_step(struct session *s, uint64_t *ns);

/* Tell all devices to go to @target, in parallel. */
int workers_transition(struct session *s, enum vfm_state target);
/* An event for each device, with the state that it is in. */
void workers_tell(struct session *s);

/* The source's devices stop giving data (for a change of phase) until their next job says go. */
void workers_pause(struct session *s);
/* Data moves: on the source out of devices in PRE_COPY, on the destination into all. */
void workers_pump(struct session *s);
/* Source: how many frames of each device's stream the peer is ready to hold. */
void workers_set_window(struct session *s, uint64_t window);
/* Stop data for good and interrupt calls that hang; every worker is idle on return. */
void workers_halt(struct session *s);

/* Jobs. */
worker_job job_transition;    /* to w->target */
worker_job job_late_query;    /* in PRE_COPY, for a REINIT at the last moment */
worker_job job_stop_p2p;      /* to the P2P state that follows the present one, if there is one */
worker_job job_stop_copy;     /* to STOP_COPY, data moves at once */
worker_job job_resuming;      /* to RESUMING, from whatever state a last user left */
worker_job job_check_owned;   /* EPERM: it does not run here */
worker_job job_precopy;       /* to PRE_COPY if the device can, data moves */
worker_job job_run_p2p;       /* to RUNNING_P2P, if the device can */
worker_job job_recover;       /* to w->target, by reset if need be; ERROR: by reset in any case */
worker_job job_recover_p2p;   /* the same, for a stopped device that has P2P states */
worker_job job_query;         /* precopy, stop_copy_size */
worker_job job_log_start;
worker_job job_log_stop;
worker_job job_log_sync;      /* OR the device's report into the session's memory */

/* With the lock held. */
void worker_wake(struct worker *w);

#endif
