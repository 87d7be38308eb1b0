/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * session: what both ends of a migration have in common, and who runs what.
 *
 *	            vfm_source_* / vfm_destination_*   (any thread)
 *	                            │
 *	      ┌───────────────── steering thread ────────────────┐   source.c, destination.c,
 *	      │ stages in order; all callbacks of the VMM        │   handover.c, stage.c
 *	      └──┬──────────────────────┬────────────────────────┘
 *	     jobs│                frames│
 *	   ┌─────▼─────┐   blocks  ┌────▼────┐        ┌──────────┐
 *	   │ worker 0..├──────────>│ sender  │══════> │ receiver │   worker.c, link.c, sender.c,
 *	   │  (device) │<──────────┤         │ channel│          │   receiver.c
 *	   └───────────┘  credit   └─────────┘        └──────────┘
 *
 * One steering thread, one worker per device, a sender and a receiver per link (connection). All
 * that more than one of them touches is under session.lock; it is a leaf: nothing is called and no
 * I/O done with it held, except waking. Waits of the steering thread are in session_wait alone,
 * which looks for failure and cancellation each time it wakes.
 *
 * Failures: the first one is recorded by session_fail, from any thread, and makes every wait of
 * the steering thread return; that thread alone then undoes. A broken connection is not a failure
 * by itself: behind PREPARED both ends wait for another one (handover.c). So links record their
 * end in link.error, and the stage that waits decides what it means.
 */
#ifndef ENGINE_SESSION_H
#define ENGINE_SESSION_H

#include <pthread.h>
#include <stdbool.h>
#include <vfio-migrate/migrate.h>
#include "base/buffer.h"
#include "base/thread.h"
#include "engine/policy.h"
#include "engine/samples.h"
#include "engine/timeline.h"
#include "memory/memory.h"
#include "wire/wire.h"

enum {
	SESSION_INBOX_MAX = 16,            /* control frames that a peer may have unread */
	SESSION_BLOCKS_MIN = 2,            /* blocks of a device: one on the way, one being filled */
	SESSION_BLOCKS_MAX = 8,
	SESSION_BLOCK_BYTES = 16 << 20,    /* of all devices together, on each side */
	SESSION_FLUSH_MS = 1000,           /* for the last word to a peer */
	SESSION_ATTEMPTS_MAX = 64,         /* that the report has room for */
};

enum session_side { SESSION_SOURCE, SESSION_DESTINATION };

/* An attempt to switch over that a device's new initial bytes ended. */
struct attempt {
	uint64_t stopped_ns; /* the vCPUs stopped */
	uint64_t cost_ns;    /* until they ran again */
	unsigned device;
};

/*
 * What happens with every block and only sometimes interests the steering thread. A condition that
 * fails for want of one sets its bit; session_tell wakes the steering thread if the bit is set, so
 * that it is not woken once per block for nothing.
 */
enum session_watch {
	SESSION_WATCH_REST = 1 << 0,   /* the sender has nothing left to send */
	SESSION_WATCH_LOADED = 1 << 1, /* a device has taken all that came for it */
	SESSION_WATCH_IDLE = 1 << 2,   /* a call into a device has ended */
};

/* A control frame that arrived. */
struct message {
	struct message *next;
	struct wire_header header;
	uint64_t arrived_ns;
	uint8_t head[] __attribute__((aligned(8)));
};

struct link;
struct worker;
struct greeter;

struct session {
	/* Constant after the start. */
	enum session_side side;
	struct vfm_options options;
	struct vfm_thread_hooks hooks;
	struct vfm_vm_ops vm;
	void *vm_opaque;
	struct memory *memory;
	struct worker *workers[VFM_DEVICES_MAX];
	unsigned device_count;
	uint32_t device_chunk;      /* bytes of device data in a frame */
	unsigned device_blocks;     /* blocks of each device */
	uint8_t token[WIRE_TOKEN_SIZE];
	struct vfm_handler handlers[VFM_HANDLERS_MAX]; /* ascending priority */
	unsigned handler_count;
	int wake_fd;                /* eventfd: the steering thread looks again */
	struct thread thread;
	uint64_t start_ns;

	pthread_mutex_t lock;       /* everything from here to the next mark */
	pthread_cond_t ended_cond;
	pthread_cond_t send_cond;   /* the link's sender looks again; signalled without the lock */
	unsigned watch;             /* enum session_watch */
	bool thread_started, ended;
	enum vfm_status status;
	enum vfm_stage stage;
	enum vfm_owner owner;
	struct vfm_error error;     /* the first failure */
	bool failed;                /* error is set: stop what you do */
	bool cancelled;             /* the user asked for the end */
	bool committed;             /* no cancel any more */
	int resolved;               /* an operator's word on a doubt: -1 none yet, 0, 1 */
	struct message *inbox, **inbox_tail;
	unsigned inbox_count;
	unsigned jobs;              /* of workers, not finished yet */
	uint64_t limit_ns;          /* may be changed while it runs */
	uint64_t max_bandwidth;
	struct vfm_progress progress;
	struct timeline timeline;
	struct wire_report *peer_report; /* source: what the destination measured */
	uint64_t features;          /* enum wire_feature in use: one way of acks at most */
	bool legacy_acked;          /* source: the one ack came */
	bool legacy_ack_due;        /* destination: the sender tells */
	struct attempt attempts[SESSION_ATTEMPTS_MAX];
	unsigned attempt_count;
	struct samples samples;

	/* The steering thread's own. */
	struct link *link;
	uint32_t peer_chunk;        /* destination: device_chunk of the source */
	struct greeter *greeter;    /* destination: connections that have not said hello yet */
	enum wire_fate fate;        /* destination: what it tells a source that asks */
	unsigned handlers_stopped;  /* a prefix of `handlers` */
	bool vcpus_stopped;
	bool tracking;              /* dirty_start succeeded */
	uint64_t stopped_ns;        /* last vCPU stopped */
	uint64_t stand_until_ns;    /* source: longest time for that before COMMIT; UINT64_MAX: none */
	struct vfm_buffer vm_state; /* under lock on the destination while it arrives */
	struct vfm_downtime predicted, measured;
	char (*reasons)[VFM_ERROR_TEXT_MAX]; /* blockers or a refusal, for the report */
	unsigned reason_count;
	uint64_t inspect_ns;
	uint64_t zero_pages, pages;
};

int session_init(struct session *s, enum session_side side, const struct vfm_region *regions,
		 unsigned count, const struct vfm_vm_ops *ops, void *opaque,
		 const struct vfm_options *options);
/* Ask for the end, wait for the steering thread, free everything but @s. */
void session_destroy(struct session *s);

int session_add_device(struct session *s, struct vfm_device *device);
int session_add_handler(struct session *s, const struct vfm_handler *handler);

/* What this side offers (enum wire_feature), by its options. */
uint64_t session_offer(const struct session *s);
/* Of @common, what both offer: all, but one way of acks, the better one. */
uint64_t session_choose(uint64_t common);

/* Do switchovers wait for acks? */
static inline bool session_has_acks(const struct session *s)
{
	return s->features & WIRE_FEATURES_ACK;
}

/* Fix the sizes of blocks and start workers and the steering thread in @run. */
int session_start(struct session *s, void (*run)(void *opaque));

/* ---- any thread ---- */

void session_wake(struct session *s);
/* With the lock held: @what has happened. */
void session_tell(struct session *s, enum session_watch what);

/* Record the first failure and wake the steering thread. Returns -error->code. */
int session_fail(struct session *s, const struct vfm_error *error);
int session_failf(struct session *s, int code, const char *fmt, ...) PRINTF(3, 4);

/* The same for what the peer did wrong. Behind the commit its nonsense ends a link and decides
 * nothing: the destination starts the VM that it owns, and the source asks over another link. */
int session_fail_by_peer(struct session *s, const struct vfm_error *error);

/* 0, or -errno of the failure, -ECANCELED after a cancel that still counts. */
int session_check(struct session *s);

/* A failure that the session has outlived is none: a broken link behind COMMIT that another one
 * replaced, a peer that left before it was let in. Steering thread. */
void session_forgive(struct session *s);

void session_log(struct session *s, int level, const char *fmt, ...) PRINTF(3, 4);

/* ---- the steering thread ---- */

typedef bool session_condition(struct session *s, void *arg); /* called with the lock held */

enum session_wait_flags {
	SESSION_WAIT_NO_LINK = 1 << 0, /* a lost link does not end the wait */
	SESSION_WAIT_UNDO = 1 << 1,    /* nor does failure or cancellation: we are undoing */
};

/*
 * Wait until @condition holds. 0, -ETIMEDOUT at @deadline_ns (UINT64_MAX: never), -ENOTCONN when
 * the link is lost, or as session_check.
 */
int session_wait(struct session *s, session_condition *condition, void *arg, uint64_t deadline_ns,
		 unsigned flags);

/* Do nothing until @until_ns. 0, or what ended it, which is the session's failure. */
int session_rest(struct session *s, uint64_t until_ns);

/* Wait for the next control frame; it must be of @type, else -EPROTO. The caller frees *message.
 * @timeout_ns: VFM_UNLIMITED: as long as it takes. */
int session_expect(struct session *s, uint16_t type, uint64_t timeout_ns, struct message **message);
/* The same for any type. */
int session_receive(struct session *s, uint64_t timeout_ns, unsigned flags,
		    struct message **message);
void session_drop_inbox(struct session *s);

void session_enter(struct session *s, enum vfm_stage stage);
void session_set_owner(struct session *s, enum vfm_owner owner);
void session_event(struct session *s, enum vfm_event_type type, const char *device,
		   enum vfm_state state);
/* The lost link, as the session's failure. Returns -errno. */
int session_link_failed(struct session *s);
/* The outcome: status, last event, ended. */
void session_end(struct session *s, enum vfm_status status);

/* The VMM's handlers of priorities below 0 (@before_devices) or the others, in their order; a
 * failure is the session's. And back, as far as they were stopped. */
int session_stop_handlers(struct session *s, bool before_devices);
int session_start_handlers(struct session *s, bool before_devices);

/* vCPUs, with the events that belong to it. */
int session_stop_vcpus(struct session *s);
int session_run_vcpus(struct session *s);

/* ---- for both APIs ---- */
int session_wait_ended(struct session *s);
void session_get_progress(struct session *s, struct vfm_progress *progress);
char *session_report_json(struct session *s);

#endif
