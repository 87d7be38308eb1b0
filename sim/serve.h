/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of the vfio-user front end.
 *
 *	server.c    sockets, the loop, the client's coming and going
 *	serve.c     one request: the table of commands, sizes, replies
 *	serve-*.c   what the commands do
 *	host.c      what the device asks of its host
 *
 * One thread does it all. The device moves between requests (a timer) and inside of them, never
 * beside them: when the reply to a state change leaves, the device is what the reply says.
 */
#ifndef SIM_SERVE_H
#define SIM_SERVE_H

#include "sim/conn.h"
#include "sim/core.h"
#include "sim/dma-map.h"
#include "sim/server.h"

#define SERVE_REPLY_IOV   (SIM_READ_IOV + 3)
#define SERVE_PAYLOAD_MAX                                                                          \
	(sizeof(struct vfm_vfio_user_feature) + sizeof(struct vfm_vfio_user_logging_control) +     \
	 SIM_LOG_RANGES_MAX * sizeof(struct vfm_vfio_user_logging_range))

struct server {
	const struct sim_server_options *opts;
	struct sim *sim;
	int listen_fd; /* -1: there is only the one client that was handed over */
	int timer_fd;
	bool ticking;  /* the timer is armed */

	/* The client. */
	struct conn conn;
	bool negotiated;
	uint32_t client_transfer; /* bytes of data in one transfer that it takes */
	uint32_t extension;       /* in use with it */
	struct dma_map dma;
	int irq_fds[SIM_MSIX_VECTORS_MAX]; /* -1: not connected */

	/* The request under way. */
	struct msg msg;
	union {
		uint8_t payload[SERVE_PAYLOAD_MAX];
		uint64_t align;
	};
	uint32_t size;            /* bytes of payload that were read */
	struct iovec iov[SERVE_REPLY_IOV]; /* [0] is for the header */
	int iov_count;
	int reply_fd;             /* that goes with the reply, borrowed; -1: none */
	union {
		uint8_t fixed[2048]; /* the small parts of a reply */
		uint64_t fixed_align;
	};
	size_t fixed_used;
	uint8_t data[SIM_BAR_SIZE]; /* of a region read */
	uint64_t *bitmap; /* of a log report, of max_transfer bytes */
};

/* serve.c: read one request and answer it. Not 0: the client is to be dropped. */
int serve_request(struct server *s);

/* Room for @len bytes of the reply, which the caller fills; never NULL: replies are bounded. */
void *serve_reply(struct server *s, size_t len);
/* Bytes of somebody else's, valid until the reply is sent. */
void serve_reply_bytes(struct server *s, const void *data, size_t len);

/* Handlers: 0, or -errno for an error reply. The payload is in s->payload, validated. */
int serve_version(struct server *s);

int serve_dma_map_validate(struct server *s);
int serve_dma_map(struct server *s);
int serve_dma_unmap_validate(struct server *s);
int serve_dma_unmap(struct server *s);

int serve_device_info(struct server *s);
int serve_region_info(struct server *s);
int serve_region_io_fds(struct server *s);
int serve_irq_info(struct server *s);
int serve_set_irqs_validate(struct server *s);
int serve_set_irqs(struct server *s);
int serve_region_validate(struct server *s);
int serve_region_read(struct server *s);
int serve_region_write(struct server *s);
int serve_write_multi_validate(struct server *s);
int serve_write_multi(struct server *s);
int serve_reset(struct server *s);

int serve_feature_validate(struct server *s);
int serve_feature(struct server *s);
int serve_mig_read_validate(struct server *s);
int serve_mig_read(struct server *s);
int serve_mig_write_validate(struct server *s);
int serve_mig_write(struct server *s);

void serve_irqs_clear(struct server *s);

/* host.c */
extern const struct sim_host_ops host_ops;

#endif
