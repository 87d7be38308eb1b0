/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vfio-user client: what its files share.
 *
 *	callers ──> vfio-user-{region,irq,dma,migration}.c   one function per command
 *	                 │ struct vfio_user_call
 *	                 ▼
 *	            vfio-user-call.c     send, then wait for the reply
 *	                 ║ socket
 *	            vfio-user-reader.c   the one thread that reads; wakes callers, serves the server
 *
 * A call lives on its caller's stack. From vfio_user_call's start it is in client->calls, PENDING.
 * When the reply's header is there, the reader takes it out of the list: RECEIVING, and from then
 * on its buffers belong to the reader until DONE. A caller that gives up (time, cancel) while PENDING
 * takes the call out itself and leaves its id in client->abandoned, so that a late reply is thrown
 * away and the id is not used again before. A caller never leaves while RECEIVING: that lasts at
 * most request_timeout_ms, after which the reader declares the server lost. Thus no reply is ever
 * written into memory that was given back.
 *
 * Locks, in their order:
 *	send_lock  one message at a time goes out. Held while the socket is full, at most
 *	           request_timeout_ms; all other I/O is done without a lock.
 *	lock       everything that is marked so below. A leaf.
 */
#ifndef DEVICE_VFIO_USER_CLIENT_H
#define DEVICE_VFIO_USER_CLIENT_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/uio.h>
#include <vfio-migrate/vfio-user.h>
#include "base/compiler.h"
#include "base/log.h"
#include "base/thread.h"

enum {
	VFIO_USER_OUT_MAX = 2,         /* pieces of a request's payload */
	VFIO_USER_ABANDONED_MAX = 256, /* requests that a server may leave unanswered */
	VFIO_USER_IDS = 65536,
};

enum vfio_user_call_state {
	VFIO_USER_CALL_PENDING,   /* in client->calls; the caller may give up */
	VFIO_USER_CALL_RECEIVING, /* the reader owns the buffers; nobody may give up */
	VFIO_USER_CALL_DONE,      /* the caller owns everything again */
};

/* A request and the places of its reply. Zero what is not needed. */
struct vfio_user_call {
	uint16_t command;
	bool cancellable;    /* by vfm_vfio_user_cancel */
	bool is_stream;      /* migration data: stopped by vfio_user_hold */
	unsigned timeout_ms; /* for the answer, from its sending on; 0: request_timeout_ms */

	struct iovec out[VFIO_USER_OUT_MAX]; /* payload of the request */
	const int *fds;                      /* to send along */
	unsigned fd_count;

	/* The reply's payload fills reply, then data; what is over is thrown away. A payload below
	 * reply_min or above the sum of the three is a breach of the protocol. None of the places
	 * may overlap the request: a server that guesses ids can answer while it is being sent. */
	void *reply;
	size_t reply_min;
	size_t reply_max;
	void *data;
	size_t data_max;
	size_t slack;
	int *reply_fds; /* NULL: none wanted; fds that are not wanted are closed */
	unsigned reply_fds_max;

	/* The answer. */
	size_t reply_size; /* bytes of the payload that came */
	unsigned reply_fd_count;

	/* From here on: of the machinery. */
	struct vfio_user_call *next; /* lock */
	enum vfio_user_call_state state; /* lock */
	bool cancelled;                  /* lock */
	int result;                      /* of the reader, valid when DONE */
	uint16_t id;
	pthread_cond_t wake;
};

/* fds that came with a message and belong to nobody yet. */
struct vfio_user_fds {
	int fds[VFM_VFIO_USER_FDS_LIMIT];
	unsigned count;
};

/* One mapping. The table is sorted by iova and has no overlaps. */
struct vfio_user_map {
	uint64_t iova;
	uint64_t size;
	uint32_t flags; /* VFM_VFIO_USER_DMA_* */
};

struct vfm_vfio_user {
	/* Fixed before vfm_vfio_user_new returns. */
	int fd;
	struct vfm_vfio_user_options options; /* defaults filled in; threads is not kept */
	struct vfm_vfio_user_agreed agreed;
	struct log_sink log;
	struct thread reader;

	/* Of the reader alone. */
	uint64_t receive_deadline; /* of the message being received, ns; 0: between messages */
	void *bounce;              /* data of DMA_READ and DMA_WRITE; made when first needed */

	pthread_mutex_t send_lock;
	pthread_mutex_t lock;

	/* All below: lock. */
	struct vfio_user_call *calls;
	uint16_t next_id;
	uint64_t abandoned[VFIO_USER_IDS / 64]; /* bit per id */
	unsigned abandoned_count;
	bool lost;      /* never goes back to false; why is fixed from then on */
	bool shut;      /* lost because the owner wished it */
	bool published; /* vfm_vfio_user_new has succeeded: the owner may be called back */
	bool data_busy; /* a data request is under way */
	bool held;      /* migration data requests fail; see vfio_user_hold */
	bool optin;     /* to the flags of precopy info */
	char why[VFM_VFIO_USER_WHY_MAX];
	struct vfio_user_map *maps;
	size_t map_count;
	size_t map_room;
};

/* ---- vfio-user-client.c ---- */

/* Declare the server lost, for the first reason only, and wake everybody. Any thread, without
 * client->lock. Returns -ENOTCONN. */
int vfio_user_lose(struct vfm_vfio_user *client, const char *fmt, ...) PRINTF(2, 3);

bool vfio_user_is_lost(struct vfm_vfio_user *client);

/* While @hold is true every migration data request, under way or to come, fails with -ECANCELED.
 * vfm_vfio_user_cancel alone would miss a thread that is between two of them. */
void vfio_user_hold(struct vfm_vfio_user *client, bool hold);

/* ---- vfio-user-call.c ---- */

/* Send a request and wait for its reply. 0, or -errno as vfio-user.h has it; after a failure no
 * reply fd is left. */
int vfio_user_call(struct vfm_vfio_user *client, struct vfio_user_call *call);

/* Send one message. @iov is used up. @call (NULL: none) may be cancelled until the first byte is
 * out. A message that breaks off in the middle loses the server. */
int vfio_user_send(struct vfm_vfio_user *client, struct iovec *iov, unsigned count, const int *fds,
		   unsigned fd_count, struct vfio_user_call *call);

/* Milliseconds until @deadline (ns), rounded up, for poll(); 0: it is over. */
int vfio_user_ms_left(uint64_t deadline);

/* Poll @fd for @events. 1: ready, 0: not within @timeout_ms (-1: for ever). */
int vfio_user_poll(int fd, short events, int timeout_ms);

/* ---- vfio-user-reader.c ---- */

/* The client's thread. Ends when the server is lost, for whatever reason. */
void vfio_user_reader(void *arg);

/* Receive exactly what @iov asks for, which is used up; or throw @size bytes away. On the reader's
 * thread. 0, or -ENOTCONN: lost. */
int vfio_user_receive(struct vfm_vfio_user *client, struct iovec *iov, unsigned count,
		      struct vfio_user_fds *fds);
int vfio_user_drain(struct vfm_vfio_user *client, size_t size);

/* ---- vfio-user-version.c ---- */

/* Exchange versions and fill client->agreed. */
int vfio_user_negotiate(struct vfm_vfio_user *client, char *why, size_t why_size);

/* ---- vfio-user-dma.c ---- */

/* Answer a request of the server, on the reader's thread. 0, or -ENOTCONN: lost. */
int vfio_user_serve(struct vfm_vfio_user *client, const struct vfm_vfio_user_header *header);

/* The first piece of [iova, iova + size) that is inside one mapping. False: there is none. */
bool vfio_user_next_mapped(struct vfm_vfio_user *client, uint64_t iova, uint64_t size,
			   struct vfio_user_map *piece);

#endif
