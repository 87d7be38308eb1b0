/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client's bytes on the socket of the simulated device's server, which runs as it always does:
 * sim_server_run() on a connected socket, until the bytes are used up.
 *
 * The first byte of an input chooses: even, the rest is sent as it is; odd, it is a row of
 *	command (1 byte), flags (1), payload length (2, little endian), payload
 * that get right heads, behind a right version exchange, so that mutations reach the handlers.
 * Replies are read and thrown away.
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vfio-migrate/vfio-user-protocol.h>
#include "sim/server.h"

#define INPUT_MAX 8192u
#define HELLO                                                                                      \
	"{\"capabilities\":{\"vfio_migrate\":{\"version\":1,\"p2p\":true,\"data_size\":true,"            \
	"\"precopy_info\":true,\"reinit\":true}}}"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct bytes {
	uint8_t data[8 * INPUT_MAX];
	size_t size;
};

static void put(struct bytes *out, const void *data, size_t size)
{
	if (size > sizeof(out->data) - out->size)
		return;
	memcpy(out->data + out->size, data, size);
	out->size += size;
}

static void put_request(struct bytes *out, uint8_t command, uint8_t flags, const void *payload,
			size_t size)
{
	struct vfm_vfio_user_header head = {
		.id = 1,
		.command = command,
		.size = (uint32_t)(sizeof(head) + size),
		.flags = flags,
	};

	put(out, &head, sizeof(head));
	put(out, payload, size);
}

static void put_hello(struct bytes *out)
{
	uint8_t payload[sizeof(struct vfm_vfio_user_version) + sizeof(HELLO)] = {0};

	memcpy(payload + sizeof(struct vfm_vfio_user_version), HELLO, sizeof(HELLO));
	put_request(out, VFM_VFIO_USER_VERSION, 0, payload, sizeof(payload));
}

static void put_rows(struct bytes *out, const uint8_t *data, size_t size)
{
	size_t length;

	put_hello(out);
	while (size >= 4) {
		length = data[2] | (size_t)data[3] << 8;
		length = length < size - 4 ? length : size - 4;
		put_request(out, data[0], data[1], data + 4, length);
		data += 4 + length;
		size -= 4 + length;
	}
}

/* The client: sends all, then reads until the server hangs up. */
struct peer {
	int fd;
	struct bytes bytes;
};

static void *send_bytes(void *arg)
{
	const struct peer *peer = arg;
	size_t at = 0;
	ssize_t sent;

	while (at < peer->bytes.size) {
		sent = send(peer->fd, peer->bytes.data + at, peer->bytes.size - at, MSG_NOSIGNAL);
		if (sent <= 0)
			break;
		at += (size_t)sent;
	}
	shutdown(peer->fd, SHUT_WR);
	return NULL;
}

static void *drop_replies(void *arg)
{
	const struct peer *peer = arg;
	uint8_t sink[65536];

	while (recv(peer->fd, sink, sizeof(sink), 0) > 0)
		;
	return NULL;
}

static void serve(int fd)
{
	struct sim_server_options options;
	struct sim_options device;
	char why[SIM_WHY_MAX];

	sim_options_init(&device);
	device.state_size = 2 * SIM_PAGE_SIZE;
	device.initial_size = SIM_PAGE_SIZE;
	sim_server_options_init(&options);
	options.fd = fd;
	options.max_transfer = VFM_VFIO_USER_XFER_MIN;
	if (sim_server_run(&device, &options, why))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct peer peer;
	pthread_t sender, reader;
	int fds[2];

	if (size < 1 || size > INPUT_MAX)
		return 0;
	signal(SIGPIPE, SIG_IGN);
	peer.bytes.size = 0;
	if (data[0] & 1)
		put_rows(&peer.bytes, data + 1, size - 1);
	else
		put(&peer.bytes, data + 1, size - 1);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		abort();
	peer.fd = fds[0];
	if (pthread_create(&sender, NULL, send_bytes, &peer) ||
	    pthread_create(&reader, NULL, drop_replies, &peer))
		abort();
	serve(fds[1]);
	pthread_join(sender, NULL);
	pthread_join(reader, NULL);
	close(fds[0]);
	return 0;
}
