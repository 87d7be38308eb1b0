/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vfio-user server for tests of the client: a well-behaved little device on a socketpair, with a
 * hook that sees each request first and may misbehave in its place. It shares nothing with the
 * simulator but the protocol header, so that the two cannot agree on the same mistake.
 *
 * The server is one thread; hooks run on it. What a test reads of struct fake while the server runs
 * is an atomic, or was ordered by a reply.
 */
#ifndef TESTS_FAKE_VFIO_USER_H
#define TESTS_FAKE_VFIO_USER_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <vfio-migrate/vfio-user.h>

enum {
	FAKE_BAR0_SIZE = 65536,
	FAKE_CONFIG_SIZE = 256,
	FAKE_IRQS = 40,
	FAKE_MAPS = 16,
	FAKE_MESSAGE_MAX = 2 << 20,
	FAKE_STREAM_MAX = 4 << 20,
};

struct fake_message {
	struct vfm_vfio_user_header header;
	unsigned char *payload;
	size_t len;
	int fds[VFM_VFIO_USER_FDS_LIMIT];
	unsigned fd_count;
};

struct fake;

/* True: the request was dealt with, or is to be left unanswered. */
typedef bool fake_hook(struct fake *fake, struct fake_message *msg);

struct fake {
	/* Set before fake_start. */
	const char *version;     /* the JSON of the answer; NULL: no version data */
	uint16_t major;
	fake_hook *hook;         /* may be NULL */
	bool pad;                /* MIG_DATA_READ replies as long as what was asked for */
	bool strict_stop;        /* in STOP and STOP_COPY only what the protocol needs there */
	uint64_t mig_flags;
	uint32_t state;
	uint32_t precopy_flags;
	uint64_t data_size;
	size_t stream_len;       /* of the saving stream; byte i is fake_stream_byte(i) */
	uint64_t log_page_size;  /* what LOGGING_START takes; 0: what was wanted */
	bool no_logging;

	int client_fd;           /* the end for the client */
	int fd;                  /* the server's own */
	pthread_t thread;
	sem_t seen;              /* posted by hooks for the test */
	int hits;                /* of the hook, for its own use */
	struct fake_message kept; /* by fake_keep */
	bool has_kept;

	/* The device. */
	unsigned char bar0[FAKE_BAR0_SIZE];
	unsigned char config[FAKE_CONFIG_SIZE];
	size_t stream_pos;
	unsigned char *sink;     /* what was written in RESUMING */
	size_t sink_len;
	int irq_fds[FAKE_IRQS];
	struct vfm_vfio_user_dma_map maps[FAKE_MAPS];
	unsigned map_count;
	bool logging;
	bool optin;
	atomic_uint requests;
	atomic_uint set_irqs;    /* messages */
	atomic_uint resets;
};

unsigned char fake_stream_byte(size_t at);

/* Fill with defaults; then change what the test is about; then start. */
void fake_init(struct fake *fake);
void fake_start(struct fake *fake);

/* Wait for the server's end (its socket must be closed from one side) and free. */
void fake_stop(struct fake *fake);

/* A client of it, with short timeouts unless @options says otherwise. Fails the test if it cannot. */
struct vfm_vfio_user *fake_client(struct fake *fake, const struct vfm_vfio_user_options *options);

/* For hooks. */
void fake_reply(struct fake *fake, const struct fake_message *msg, int error, const void *payload,
		size_t len);
void fake_reply_fds(struct fake *fake, const struct fake_message *msg, const void *payload,
		    size_t len, const int *fds, unsigned count);
void fake_send(struct fake *fake, const void *bytes, size_t len); /* raw */
void fake_serve(struct fake *fake, struct fake_message *msg);     /* what it does without a hook */
void fake_keep(struct fake *fake, const struct fake_message *msg); /* to answer later */
bool fake_receive(struct fake *fake, struct fake_message *msg);   /* false: the client closed */
void fake_die(struct fake *fake);                                 /* close the socket */

#endif
