/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * link: one connection of a session, with the two threads that serve it.
 *
 * The sender picks what goes next; nobody pushes bytes. In this order: control frames; credit;
 * then, of memory and the devices' streams, the one that was served least, in bytes (so all share
 * the wire fairly, and none waits for a slow one). A device's block is ready only while the
 * peer's window has room for it. Control frames overtake data: whoever sends a mark (ROUND,
 * STOPPED, PREPARE) first waits for what the mark is to follow.
 *
 * The receiver puts memory in place, blocks into the queues of their devices, VMM state into the
 * session's buffer, and control frames into the inbox. It never waits for a device: a frame for
 * which there is no room breaks the window and the protocol.
 *
 * Both end when the channel fails, or the link is stopped. The first reason stays in link.error. A
 * receiver that refuses a frame ends alone (link.deaf): the sender goes on with control frames, or
 * the peer, which may have stopped its guest, would never hear the reason.
 */
#ifndef ENGINE_LINK_H
#define ENGINE_LINK_H

#include "base/queue.h"
#include "channel/channel.h"
#include "engine/session.h"

enum {
	LINK_CONTROL_MAX = 1024, /* control frames queued: more, and the peer does not read */
	LINK_MEMORY_BYTES = 512 << 10, /* pages with content in a MEMORY frame */
	LINK_VM_CHUNK = 256 << 10,
};

/* A frame that somebody put in line. */
struct link_item {
	struct queue_node node;
	struct wire_header header;
	const void *bulk; /* borrowed, until link_flush */
	uint8_t head[];
};

struct link {
	struct session *s;
	struct channel *channel;
	struct thread sender_thread, receiver_thread;
	struct sender *sender;     /* their private memory */
	struct receiver *receiver;

	/* Under session.lock. */
	bool quit;
	int error;                 /* -errno that ended it; 0: alive */
	bool deaf;                 /* it ended by what came: control frames still go out, to say why */
	struct queue control;
	bool sending;              /* the sender has taken something and is not done with it */
	bool pass;                 /* memory_next has more */
	bool live;                 /* the pass is made while the guest runs */
	uint64_t memory_served;    /* for fairness, as worker.served */
	uint64_t served_floor;     /* where a stream begins that had nothing to send for a while */
	uint64_t next_send_ns;     /* bandwidth limit: no bulk before that */
	bool accept_data;          /* destination: MEMORY, DEVICE and VM_STATE may come */
	bool peer_stopped;         /* destination: STOPPED came */
	bool vm_state_last;        /* destination: all of the VMM state is here */
	uint64_t memory_bytes, device_bytes; /* sent */
	uint64_t pages, zero_pages;
	uint64_t round;            /* destination: the peer's last mark */
};

/* Takes @channel, from which @control_frames control frames were read already. Sets s->link. */
int link_start(struct session *s, struct channel *channel, uint64_t control_frames);
/* End both threads, close the channel, free. s->link is NULL then. */
void link_stop(struct session *s);

/* ---- any thread; @locked variants with the session's lock held ---- */

/* Put a control frame in line. Out of memory or line: the session fails. */
void link_control(struct link *link, uint16_t type, const void *head, size_t size);
void link_lost(struct link *link, int error);
/* With the lock held: may frames go out? */
bool link_can_send(const struct link *link);

/* ---- the steering thread ---- */

/* Begin to send what is dirty; link_pass_done tells the end. */
void link_start_pass(struct link *link, bool live);
session_condition link_pass_done;
/* The VMM state as frames; @data stays until link_flushed. */
int link_send_vm_state(struct link *link, const void *data, size_t size);
/* Nothing is in line or in the sender's hands, but for what devices still produce. With the lock
 * held, for conditions: the sender tells when it is so. */
bool link_rests(struct link *link);
session_condition link_flushed;
/* All blocks of all devices, the last ones too, are in the socket. */
session_condition link_devices_sent;
/* Wait until @condition holds. A peer that takes nothing for options.peer_timeout_ns is a failure:
 * a stopped VM must not wait for ever. */
int link_wait_moving(struct session *s, session_condition *condition);
/* Tell the peer why, as well as it can be done, and give it a moment to go out. */
void link_abort(struct session *s);
void link_flush_abort(struct session *s);

/* ---- between link.c, sender.c and receiver.c ---- */
int sender_new(struct sender **sender);
void sender_free(struct sender *sender);
void sender_run(void *link);
int receiver_new(struct receiver **receiver, uint64_t control_frames);
void receiver_free(struct receiver *receiver);
void receiver_run(void *link);

#endif
