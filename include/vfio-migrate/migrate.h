/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The two ends of a migration.
 *
 * A VMM makes a session (source or destination), adds its devices, hands over a connected socket
 * and gets callbacks until the session has ended. A session migrates once; make another to try
 * again.
 *
 *	source                                destination
 *	vfm_source_new                        vfm_destination_new
 *	vfm_source_add_device ...             vfm_destination_add_device ...
 *	vfm_source_start(fd)                  vfm_destination_start
 *	                                      vfm_destination_attach(fd)   once per accepted socket
 *	   events, progress                      events
 *	vfm_source_wait                       vfm_destination_wait
 *	vfm_source_get_report                 vfm_destination_get_report
 *	vfm_source_free                       vfm_destination_free
 *
 * Threads: the library makes its own (see vfm_thread_hooks), with every signal blocked. All
 * callbacks of a session, those of vfm_vm_ops among them, come on its steering thread, one at a
 * time; they must not call vfm_*_wait or vfm_*_free. Functions below may be called from any thread
 * unless they say otherwise.
 *
 * Who owns the VM: the source until it has sent COMMIT, the destination from then on. See
 * enum vfm_owner, and docs/protocol.md.
 */
#ifndef VFIO_MIGRATE_MIGRATE_H
#define VFIO_MIGRATE_MIGRATE_H

#include <stddef.h>
#include <stdint.h>
#include <vfio-migrate/device.h>
#include <vfio-migrate/error.h>
#include <vfio-migrate/log.h>
#include <vfio-migrate/thread.h>
#include <vfio-migrate/vm.h>

#ifdef __cplusplus
extern "C" {
#endif

/** "no limit", for every limit in struct vfm_options. */
#define VFM_UNLIMITED UINT64_MAX

/** How a session stands, or ended. */
enum vfm_status {
	VFM_STATUS_NONE,      /**< not started */
	VFM_STATUS_ACTIVE,    /**< running */
	VFM_STATUS_COMPLETED, /**< the VM runs on the destination */
	VFM_STATUS_FAILED,    /**< ended by an error */
	VFM_STATUS_CANCELLED, /**< ended by the user, before COMMIT */
	VFM_STATUS_IN_DOUBT,  /**< source: COMMIT was sent, no answer came, asking again was in vain.
			       *   The VM stays stopped; vfm_source_resolve ends this. */
};

/** "none", "active", "completed", "failed", "cancelled", "in-doubt". */
const char *vfm_status_name(enum vfm_status status);

/** Who may run the VM, as this side knows it. */
enum vfm_owner {
	VFM_OWNER_SOURCE,
	VFM_OWNER_DESTINATION,
	VFM_OWNER_UNKNOWN, /**< source in doubt; destination prepared, waiting for the source */
};

/** What an event tells. */
enum vfm_event_type {
	VFM_EVENT_STAGE,   /**< the session entered event->stage */
	VFM_EVENT_ROUND,   /**< a round ended; vfm_*_get_progress has new numbers */
	VFM_EVENT_DEVICE,  /**< event->device is in event->state now */
	VFM_EVENT_STOPPED, /**< source: the vCPUs were stopped by the session */
	VFM_EVENT_RUNNING, /**< the vCPUs were started by the session */
	VFM_EVENT_ENDED,   /**< the last event: event->status; the report is complete */
};

struct vfm_event {
	enum vfm_event_type type;
	enum vfm_stage stage;
	enum vfm_status status;
	const char *device; /**< valid during the callback, NULL if no device is meant */
	enum vfm_state state;
};

/**
 * Before it switches over, the source waits until the devices' initial bytes are loaded on the
 * destination, and so until what they need there is allocated.
 */
enum vfm_ack_mode {
	VFM_ACK_PER_DEVICE, /**< each device acks by itself, and is asked again after a REINIT */
	VFM_ACK_LEGACY,     /**< one ack for all devices, once */
	VFM_ACK_OFF,        /**< does not wait */
};

/**
 * What a session offers its peer, by number, so that a fleet can be upgraded host by host: set the
 * older number on the newer end. Numbers are never reused.
 */
enum vfm_profile {
	VFM_PROFILE_NEWEST = 0, /**< all that this library has */
	VFM_PROFILE_LEGACY = 1, /**< "legacy": acks in the legacy way only, no REINIT */
	VFM_PROFILE_REINIT = 2, /**< "reinit": acks per device, and again after a REINIT */
	VFM_PROFILE_COSTS = 3,  /**< "costs": and the destination tells what its steps cost */
	VFM_PROFILE_ARCS = 4,   /**< "arcs": and what its devices' transitions took so far */
};

/** The profile's name ("reinit"), NULL: there is none of that number. */
const char *vfm_profile_name(enum vfm_profile profile);

/** Settings of a session. Start from vfm_options_init and change what you need. */
struct vfm_options {
	size_t size; /**< sizeof(struct vfm_options), set by vfm_options_init */

	/** Longest downtime to be accepted, in ns. VFM_UNLIMITED: any. Default 300 ms. */
	uint64_t downtime_limit_ns;
	/** Most bytes per second that the source sends. VFM_UNLIMITED: as fast as it goes (default). */
	uint64_t max_bandwidth;
	/** Rounds of pre-copy after which the migration fails with the guest running. Default
	 *  VFM_UNLIMITED. */
	uint64_t max_rounds;
	/** The same by time, ns, counted from start to the switchover. Default VFM_UNLIMITED. */
	uint64_t timeout_ns;
	/** Longest silence of a peer that owes an answer, ns. Default 30 s. */
	uint64_t peer_timeout_ns;
	/** Longest time that the VM may stand still before COMMIT, ns: then it runs on at the source,
	 *  and the migration has failed. A peer or a device that hangs is bounded by this. Default 5 s. */
	uint64_t standstill_timeout_ns;
	/** How long a source in doubt goes on asking, ns. Default 60 s. */
	uint64_t doubt_timeout_ns;
	/** What a device whose stop-copy size is unknown counts for, bytes. Default 1 GiB. */
	uint64_t unknown_stop_copy_size;
	/** Bytes of device data read and sent at a time: 4 KiB to 1 MiB, a multiple of 4 KiB. It is
	 *  also how long a data request can hold up other requests to the same device. Default
	 *  256 KiB. */
	uint32_t device_chunk;
	/** Default VFM_ACK_PER_DEVICE. Both ends must have a way in common, else they refuse. */
	enum vfm_ack_mode switchover_ack;
	/** Default VFM_PROFILE_NEWEST. */
	enum vfm_profile profile;
	/** How often vCPUs may be stopped and started again because a device had new initial bytes at
	 *  the last moment, before the migration fails. At least 1, default 5. */
	uint32_t max_switchover_attempts;
	/** What a transition counts for at least whose time was not measured yet, ns. What the device
	 *  on the destination took to stop counts for more. Default 1 ms. */
	uint64_t transition_estimate_ns;
	/** 1: transitions one device at a time, in their order, for debugging. Default 0. */
	int serial_transitions;

	/** Threads by the VMM; NULL: by the library. Copied. */
	const struct vfm_thread_hooks *threads;

	void *opaque; /**< for the three callbacks below */
	void (*event)(void *opaque, const struct vfm_event *event);
	vfm_log_fn *log; /**< one line, no newline */
	/** Source: give a new connection to the same destination, to ask it what became of the VM
	 *  after the first one broke behind COMMIT. Returns an fd (the session owns it) or -errno.
	 *  It should not block longer than a few seconds. NULL: such a session ends in doubt. */
	int (*reconnect)(void *opaque);
};

void vfm_options_init(struct vfm_options *options);

/** Numbers taken at a round's end, and at the end of the session; what is sent and left of memory
 *  is of the moment while data moves. */
struct vfm_progress {
	size_t size; /**< sizeof(struct vfm_progress), set by the caller */
	enum vfm_status status;
	enum vfm_stage stage;
	enum vfm_owner owner;
	uint64_t elapsed_ns;
	uint64_t round;                 /**< the first is 1 */
	uint64_t memory_total;          /**< bytes of guest memory */
	uint64_t memory_left;           /**< dirty bytes not sent yet */
	uint64_t memory_sent;           /**< bytes of pages sent, headers not counted */
	uint64_t device_left;           /**< bytes that devices have told of; unknown ones not counted */
	uint64_t device_sent;
	unsigned device_unknown;        /**< devices whose size is unknown */
	uint64_t bandwidth;             /**< bytes per second, as measured; 0: not known yet */
	uint64_t dirty_rate;            /**< bytes per second of guest memory, last round */
	uint64_t predicted_downtime_ns; /**< VFM_SIZE_UNKNOWN before the first round ended */
	unsigned pending_acks;          /**< that the switchover waits for */
	unsigned switchover_attempts;   /**< vCPUs stopped so far */
	char waiting_for[VFM_ERROR_TEXT_MAX]; /**< why the last round did not switch over, "" */
};

/** Where the downtime goes; all ns. The same terms are predicted and measured. */
struct vfm_downtime {
	uint64_t total_ns;    /**< last vCPU stopped until the destination's report arrived */
	uint64_t stop_ns;     /**< a last question for initial bytes, devices to P2P, then to
			       *   STOP_COPY */
	uint64_t state_ns;    /**< device and VMM state on the wire, as far as it is not memory_ns */
	uint64_t memory_ns;   /**< reading the dirty logs, and the last dirty pages on the wire */
	uint64_t load_ns;     /**< the destination still loading after the last byte had arrived, and
			       *   its devices leaving RESUMING */
	uint64_t handover_ns; /**< PREPARED, COMMIT, devices and vCPUs start, RUNNING */
};

struct vfm_report; /**< opaque; read it with vfm_report_json or the getters */

struct vfm_source;
struct vfm_destination;

/**
 * Make a session for a VM. @regions (@count of them) are copied; the memory itself is borrowed
 * until the session is freed. @count 0: devices move alone, without memory. @ops is copied, @opaque
 * is handed back in every call.
 * Errors: EINVAL (an option, a region that is empty, unaligned or overlaps another), ENOMEM.
 */
int vfm_source_new(const struct vfm_region *regions, unsigned count, const struct vfm_vm_ops *ops,
		   void *opaque, const struct vfm_options *options, struct vfm_source **source);
int vfm_destination_new(const struct vfm_region *regions, unsigned count,
			const struct vfm_vm_ops *ops, void *opaque,
			const struct vfm_options *options, struct vfm_destination **destination);

/**
 * Add a device, borrowed until the session is freed. EEXIST (name), EBUSY (started), ENOSPC.
 * A source's device has to be in RUNNING when the session begins, also when the vCPUs are paused, or
 * in PRE_COPY, which a dead user left: what stands still may have been given away before, and the
 * migration fails with EPERM before it touches the device.
 */
int vfm_source_add_device(struct vfm_source *source, struct vfm_device *device);
int vfm_destination_add_device(struct vfm_destination *destination, struct vfm_device *device);

/**
 * A part of the VMM that has to stop and start in a certain order with the devices: with a negative
 * priority before them, else after them, ascending. Starting goes the other way round. Called on
 * the steering thread with the vCPUs stopped. On the source, start is called only after a failure,
 * for those that were stopped.
 */
struct vfm_handler {
	size_t size; /**< sizeof(struct vfm_handler) */
	int priority;
	void *opaque;
	int (*stop)(void *opaque);  /**< 0 or -errno: the migration fails and the VM goes on */
	int (*start)(void *opaque); /**< 0 or -errno */
	char name[VFM_NAME_MAX];    /**< for errors */
};

#define VFM_HANDLERS_MAX 32u

/** Copied. ENOSPC, EBUSY (started), EINVAL. */
int vfm_source_add_handler(struct vfm_source *source, const struct vfm_handler *handler);
int vfm_destination_add_handler(struct vfm_destination *destination,
				const struct vfm_handler *handler);

/**
 * What stands against a migration now, as one line per reason, at most @max. Returns how many
 * there are, 0 if it can go. @lines may be NULL with @max 0. Before start only.
 */
int vfm_source_blockers(struct vfm_source *source, char (*lines)[VFM_ERROR_TEXT_MAX], unsigned max);

/**
 * Start, with a connected stream socket. The session owns @fd from here on, also if this fails.
 * Returns at once; the outcome comes as VFM_EVENT_ENDED. Errors: EALREADY, EBADF, ENOMEM, EAGAIN
 * (no thread), EPERM (blockers; the report's error names them all).
 */
int vfm_source_start(struct vfm_source *source, int fd);

/** Ask for the end. Before COMMIT: the guest runs on. EALREADY: ended or past the commit. */
int vfm_source_cancel(struct vfm_source *source);

/** Change a limit while it runs; it counts from the next round on. */
int vfm_source_set_downtime_limit(struct vfm_source *source, uint64_t ns);
int vfm_source_set_max_bandwidth(struct vfm_source *source, uint64_t bytes_per_second);

/**
 * End a doubt by an operator's word. @destination_runs 1: the VM is the destination's. 0: the
 * operator vouches that the destination will never run it; the guest runs on here.
 * EINVAL: not in doubt. Call after VFM_EVENT_ENDED, not from a callback.
 */
int vfm_source_resolve(struct vfm_source *source, int destination_runs);

/** Begin to accept. Callbacks start to come. */
int vfm_destination_start(struct vfm_destination *destination);

/**
 * Hand over an accepted socket. The session owns @fd. It waits for a valid hello on at most
 * VFM_STRANGERS_MAX sockets at a time, for a bounded time, closes what is no peer, with a reason
 * in the log, and goes on waiting for the right one. After a lost connection it takes the same
 * source's question here. ESHUTDOWN: the session has ended.
 */
#define VFM_STRANGERS_MAX 16u
int vfm_destination_attach(struct vfm_destination *destination, int fd);

/** Give the VM up, or stop waiting for one. Ends a prepared session that waits for its source by
 *  an operator's word. EALREADY: the VM is committed to this side, or the session has ended. */
int vfm_destination_cancel(struct vfm_destination *destination);

/** Block until the session has ended. Returns 0, or -errno of the recorded error. Not from a
 *  callback. */
int vfm_source_wait(struct vfm_source *source);
int vfm_destination_wait(struct vfm_destination *destination);

int vfm_source_get_progress(struct vfm_source *source, struct vfm_progress *progress);
int vfm_destination_get_progress(struct vfm_destination *destination,
				 struct vfm_progress *progress);

/** The report as JSON text (docs/report.md), malloc'ed: the caller frees it. NULL: no memory.
 *  Complete after VFM_EVENT_ENDED; before that it holds what is known. */
char *vfm_source_report_json(struct vfm_source *source);
char *vfm_destination_report_json(struct vfm_destination *destination);

/** The recorded error; error->code is 0 when nothing went wrong. */
void vfm_source_get_error(struct vfm_source *source, struct vfm_error *error);
void vfm_destination_get_error(struct vfm_destination *destination, struct vfm_error *error);

/** Predicted and measured downtime of the last switchover; zeroes before one. */
void vfm_source_get_downtime(struct vfm_source *source, struct vfm_downtime *predicted,
			     struct vfm_downtime *measured);

/** Cancel if need be, wait, free. NULL is fine. */
void vfm_source_free(struct vfm_source *source);
void vfm_destination_free(struct vfm_destination *destination);

/** One line "stage: device: arc: cause: text" in @buffer. Returns @buffer. */
char *vfm_error_format(const struct vfm_error *error, char *buffer, size_t size);

#ifdef __cplusplus
}
#endif
#endif
