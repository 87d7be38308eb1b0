/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One vfio-user connection as the server sees it: whole messages in and out.
 *
 * A wait ends when the peer moves, when it has not moved for CONN_STALL_MS, or when the stop fd
 * becomes readable. After any failure the connection is dead: nothing but conn_close() makes
 * sense. Errors are -ECONNRESET (gone), -ETIMEDOUT (stalled), -ECANCELED (stopped), -EPROTO.
 *
 * The server asks the client too (DMA_READ, DMA_WRITE). Requests that arrive while it waits for
 * such a reply are kept, whole and with their fds, and served afterwards in their order.
 */
#ifndef SIM_CONN_H
#define SIM_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <vfio-migrate/vfio-user-protocol.h>
#include "base/queue.h"

#define CONN_STALL_MS     10000
#define CONN_KEPT_MAX     256u         /* requests kept during one wait for a reply */
#define CONN_KEPT_BYTES   (32u << 20)  /* and their bytes */

/* A request under way. */
struct msg {
	struct queue_node node;
	struct vfm_vfio_user_header header;
	int fds[VFM_VFIO_USER_FDS_LIMIT]; /* owned; -1: taken or none */
	unsigned nfds;
	size_t left;        /* bytes of its payload that were not read yet */
	const uint8_t *kept; /* where they are if not on the socket */
	uint8_t *buffer;    /* owned memory behind kept */
};

struct conn {
	int fd;          /* -1: none */
	int stop_fd;     /* readable: give up; -1: never */
	bool dead;
	uint32_t message_max; /* bytes of a whole message that we accept */
	uint16_t next_id;
	struct queue kept;
	size_t kept_bytes;
};

void conn_init(struct conn *conn, int fd, int stop_fd, uint32_t message_max);
void conn_close(struct conn *conn);

/* The head of the next request and its fds. The payload follows with conn_read(). */
int conn_next(struct conn *conn, struct msg *msg);

/* @len (at most msg->left) bytes of the payload. */
int conn_read(struct conn *conn, struct msg *msg, void *buf, size_t len);

/* Throw away what is left of the message, and its fds. */
int conn_finish(struct conn *conn, struct msg *msg);

/* Answer: @iov[0] is left free for the header. @error: 0 or positive errno, then no payload and no
 * fd. @fd goes with the answer and stays the caller's; -1: none. */
int conn_reply(struct conn *conn, const struct msg *msg, int error, struct iovec *iov, int count,
	       int fd);

/*
 * Ask the client and wait for its reply, -errno of an error reply included: @out (the header's
 * place first) is sent; the reply's payload must have @in_len or, if it is shorter than that by
 * no more than @in_slack, fewer bytes, and goes to @in.
 */
int conn_ask(struct conn *conn, uint16_t command, struct iovec *out, int out_count, void *in,
	     size_t in_len, size_t in_slack);

/* A request waits that poll() on the fd would not show. */
static inline bool conn_has_kept(const struct conn *conn)
{
	return !queue_empty(&conn->kept);
}

#endif
