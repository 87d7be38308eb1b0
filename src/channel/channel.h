/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * channel: how bytes travel. A seam is an ops table; TLS and fault injection wrap another channel.
 *
 *	engine ──> channel_*() ──> [fault.c ──>] fd.c (a connected stream socket: unix or tcp)
 *
 * Blocking calls, at most one sender thread and one receiver thread at a time. channel_shutdown
 * may come from any thread at any time and makes both return -ECANCELED or -ECONNRESET soon; it
 * is how a session is torn down. Nothing raises SIGPIPE; EINTR is not seen by the caller.
 */
#ifndef CHANNEL_CHANNEL_H
#define CHANNEL_CHANNEL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct channel;

struct channel_ops {
	/* Send all of @iov. It may be altered. 0 or -errno; after an error the channel is dead. */
	int (*send)(struct channel *ch, struct iovec *iov, int count);
	/* Receive exactly all of @iov. It may be altered. -ECONNRESET: the peer ended before. */
	int (*recv)(struct channel *ch, struct iovec *iov, int count);
	/* Any thread. The receiver gets what has arrived, and then the end. */
	void (*drain)(struct channel *ch);
	/* Any thread. */
	void (*shutdown)(struct channel *ch);
	/* Free, after both threads are done. */
	void (*close)(struct channel *ch);
};

struct channel {
	const struct channel_ops *ops;
};

/* Takes @fd (also on failure). -ENOTSOCK, -EPROTOTYPE: not a stream socket. */
int channel_new_fd(int fd, struct channel **ch);

int channel_send(struct channel *ch, struct iovec *iov, int count);
int channel_recv(struct channel *ch, struct iovec *iov, int count);
void channel_drain(struct channel *ch);
void channel_shutdown(struct channel *ch);
void channel_close(struct channel *ch); /* NULL is fine */

/*
 * Fault injection, for tests: wraps @inner and owns it, unless this fails. All positions count
 * bytes of one direction from the wrapping on; UINT64_MAX: never.
 */
struct channel_faults {
	uint64_t cut_send_after;    /* then both directions end as if the peer were gone */
	uint64_t cut_recv_after;
	uint64_t corrupt_send_at;   /* this byte is sent with a bit flipped */
	uint64_t corrupt_recv_at;
	uint32_t delay_send_us;     /* before every call */
	uint32_t delay_recv_us;
};
#define CHANNEL_NO_FAULTS                                                                          \
	{                                                                                          \
		UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, 0, 0                               \
	}
int channel_new_fault(struct channel *inner, const struct channel_faults *faults,
		      struct channel **ch);

#endif
