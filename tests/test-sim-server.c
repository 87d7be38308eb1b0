/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated device's server, spoken to in raw messages: what a client may do, and what a
 * hostile one may try. The server runs in a child process, so that its death would be seen.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <xxhash.h>

#include <vfio-migrate/vfio-user-protocol.h>
#include "base/bitmap.h"
#include "sim/main.h"
#include "sim/server.h"

#define WAIT_MS    20000 /* bound of every wait; reaching it is a failure */
#define PAYLOAD    (2u << 20)
#define RAM_SIZE   (1u << 20)
#define RAM_IOVA   UINT64_C(0x40000000)
#define RING_AT    0x10000u
#define INDEX_AT   0x8000u
#define ENTRIES    256u

struct server {
	char dir[64];
	char path[96];
	pid_t pid;
	int stop; /* a byte written here stops the server */
};

struct client {
	int fd;
	uint16_t id;
	uint8_t *in; /* payload of the last reply */
	size_t in_size;
};

/* ---- the server ---- */

static void tell_ready(void *opaque, const char *where)
{
	int *fd = opaque;

	assert_int_equal(write(*fd, "r", 1), 1);
}

static void serve(struct server *s, const struct sim_options *device,
		  const struct sim_server_options *options, int ready, int stop)
{
	struct sim_server_options o = *options;
	char why[SIM_WHY_MAX];

	signal(SIGPIPE, SIG_IGN);
	o.socket_path = s->path;
	o.stop_fd = stop;
	o.ready = tell_ready;
	o.opaque = &ready;
	exit(sim_server_run(device, &o, why) ? 1 : 0);
}

static void server_start(struct server *s, const struct sim_options *device,
			 const struct sim_server_options *options)
{
	int ready[2], stop[2];
	char c;

	strcpy(s->dir, "/tmp/vfm-sim-test.XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->path, sizeof(s->path), "%s/sock", s->dir);
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(stop), 0);
	fflush(NULL);
	s->pid = fork();
	assert_true(s->pid >= 0);
	if (!s->pid) {
		close(stop[1]);
		close(ready[0]);
		serve(s, device, options, ready[1], stop[0]);
	}
	close(ready[1]);
	close(stop[0]);
	s->stop = stop[1];
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
}

/* It must have lived until now, and end well. */
static void server_end(struct server *s)
{
	int status;

	assert_int_equal(waitpid(s->pid, &status, WNOHANG), 0);
	assert_int_equal(write(s->stop, "s", 1), 1);
	close(s->stop);
	assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(access(s->path, F_OK), -1);
	rmdir(s->dir);
}

static struct sim_options small_device(uint64_t seed)
{
	struct sim_options o;

	sim_options_init(&o);
	o.seed = seed;
	o.state_size = 3 << 20;
	o.initial_size = 1 << 20;
	return o;
}

/* ---- the client ---- */

static void dial(struct client *c, const struct server *s)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = WAIT_MS / 1000};

	memset(c, 0, sizeof(*c));
	strcpy(addr.sun_path, s->path);
	c->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_true(c->fd >= 0);
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	assert_int_equal(connect(c->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	c->in = malloc(PAYLOAD);
	assert_non_null(c->in);
}

static void hang_up(struct client *c)
{
	close(c->fd);
	free(c->in);
}

static void send_fds(struct client *c, const void *data, size_t len, const int *fds, unsigned n)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * 32)];
		struct cmsghdr align;
	} control = {{0}};
	struct iovec iov = {(void *)data, len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t sent;

	if (n) {
		mh.msg_control = control.bytes;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		struct cmsghdr *head = CMSG_FIRSTHDR(&mh);

		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(int) * n);
		memcpy(CMSG_DATA(head), fds, sizeof(int) * n);
	}
	sent = sendmsg(c->fd, &mh, MSG_NOSIGNAL);
	for (size_t done = sent > 0 ? (size_t)sent : 0; sent > 0 && done < len; done += (size_t)sent)
		sent = send(c->fd, (const char *)data + done, len - done, MSG_NOSIGNAL);
}

static void send_request(struct client *c, uint16_t command, uint32_t flags, const void *payload,
			 size_t len, const int *fds, unsigned n)
{
	struct vfm_vfio_user_header h = {.id = ++c->id,
					 .command = command,
					 .size = (uint32_t)(sizeof(h) + len),
					 .flags = flags};
	uint8_t *message = malloc(sizeof(h) + len);

	assert_non_null(message);
	memcpy(message, &h, sizeof(h));
	if (len)
		memcpy(message + sizeof(h), payload, len);
	send_fds(c, message, sizeof(h) + len, fds, n);
	free(message);
}

static bool recv_all(struct client *c, void *buf, size_t len)
{
	return !len || recv(c->fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

/* A whole message of any kind: header, then c->in. */
static void recv_message(struct client *c, struct vfm_vfio_user_header *h)
{
	assert_true(recv_all(c, h, sizeof(*h)));
	assert_in_range(h->size, sizeof(*h), PAYLOAD);
	c->in_size = h->size - sizeof(*h);
	assert_true(recv_all(c, c->in, c->in_size));
}

/* 0 or the positive errno of the error reply. */
static int recv_reply(struct client *c, uint16_t command)
{
	struct vfm_vfio_user_header h;

	recv_message(c, &h);
	assert_int_equal(h.id, c->id);
	assert_int_equal(h.command, command);
	assert_int_equal(h.flags & VFM_VFIO_USER_TYPE_MASK, VFM_VFIO_USER_TYPE_REPLY);
	if (h.flags & VFM_VFIO_USER_FLAG_ERROR) {
		assert_int_equal(c->in_size, 0);
		assert_true(h.error > 0);
		return (int)h.error;
	}
	return 0;
}

static int ask_fds(struct client *c, uint16_t command, const void *payload, size_t len,
		   const int *fds, unsigned n)
{
	send_request(c, command, 0, payload, len, fds, n);
	return recv_reply(c, command);
}

static int ask(struct client *c, uint16_t command, const void *payload, size_t len)
{
	return ask_fds(c, command, payload, len, NULL, 0);
}

static void assert_closed(struct client *c)
{
	char byte;
	ssize_t got = recv(c->fd, &byte, 1, 0);

	assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
}

#define EXT_JSON                                                                                   \
	"{\"capabilities\":{\"max_msg_fds\":8,\"vfio_migrate\":{\"version\":1,\"p2p\":true,"           \
	"\"data_size\":true,\"precopy_info\":true,\"reinit\":true}}}"

static int hello(struct client *c, const char *json)
{
	uint8_t buf[8192] = {0};
	struct vfm_vfio_user_version v = {0, 1};
	size_t len = json ? strlen(json) + 1 : 0;

	memcpy(buf, &v, sizeof(v));
	if (json)
		memcpy(buf + sizeof(v), json, len);
	return ask(c, VFM_VFIO_USER_VERSION, buf, sizeof(v) + len);
}

static void join(struct client *c, const struct server *s, const char *json)
{
	dial(c, s);
	assert_int_equal(hello(c, json), 0);
}

/* ---- requests ---- */

static int feature(struct client *c, uint32_t flags, const void *payload, size_t len,
		   uint32_t argsz)
{
	uint8_t buf[4096];
	struct vfm_vfio_user_feature f = {argsz, flags};

	memcpy(buf, &f, sizeof(f));
	if (len)
		memcpy(buf + sizeof(f), payload, len);
	return ask(c, VFM_VFIO_USER_DEVICE_FEATURE, buf, sizeof(f) + len);
}

static int set_state(struct client *c, uint32_t state)
{
	struct vfm_vfio_user_mig_state m = {state, 0};

	return feature(c, VFM_FEATURE_SET | VFM_FEATURE_MIG_DEVICE_STATE, &m, sizeof(m), 16);
}

static uint32_t get_state(struct client *c)
{
	struct vfm_vfio_user_mig_state m;

	assert_int_equal(
		feature(c, VFM_FEATURE_GET | VFM_FEATURE_MIG_DEVICE_STATE, NULL, 0, 16), 0);
	assert_int_equal(c->in_size, 16);
	memcpy(&m, c->in + 8, sizeof(m));
	return m.device_state;
}

static int region_read(struct client *c, uint32_t region, uint64_t offset, void *out,
		       uint32_t len)
{
	struct vfm_vfio_user_region_rw r = {offset, region, len};
	int ret = ask(c, VFM_VFIO_USER_REGION_READ, &r, sizeof(r));

	if (!ret) {
		assert_int_equal(c->in_size, sizeof(r) + len);
		memcpy(out, c->in + sizeof(r), len);
	}
	return ret;
}

static int region_write(struct client *c, uint32_t region, uint64_t offset, const void *data,
			uint32_t len)
{
	uint8_t buf[8192];
	struct vfm_vfio_user_region_rw r = {offset, region, len};

	memcpy(buf, &r, sizeof(r));
	memcpy(buf + sizeof(r), data, len);
	return ask(c, VFM_VFIO_USER_REGION_WRITE, buf, sizeof(r) + len);
}

static uint64_t reg64(struct client *c, uint64_t offset)
{
	uint64_t value;

	assert_int_equal(region_read(c, SIM_BAR_REGS, offset, &value, 8), 0);
	return value;
}

static uint32_t reg32(struct client *c, uint64_t offset)
{
	uint32_t value;

	assert_int_equal(region_read(c, SIM_BAR_REGS, offset, &value, 4), 0);
	return value;
}

static void set32(struct client *c, uint64_t offset, uint32_t value)
{
	assert_int_equal(region_write(c, SIM_BAR_REGS, offset, &value, 4), 0);
}

static void set64(struct client *c, uint64_t offset, uint64_t value)
{
	assert_int_equal(region_write(c, SIM_BAR_REGS, offset, &value, 8), 0);
}

static uint64_t memory_hash(struct client *c)
{
	set32(c, SIM_REG_COMMAND, SIM_COMMAND_HASH);
	return reg64(c, SIM_REG_HASH);
}

static int map_ram(struct client *c, int fd, uint64_t offset, uint64_t iova, uint64_t size)
{
	struct vfm_vfio_user_dma_map m = {sizeof(m), 3, offset, iova, size};

	return ask_fds(c, VFM_VFIO_USER_DMA_MAP, &m, sizeof(m), &fd, fd >= 0);
}

static uint8_t *new_ram(int *fd)
{
	uint8_t *ram;

	*fd = memfd_create("ram", MFD_CLOEXEC);
	assert_true(*fd >= 0);
	assert_int_equal(ftruncate(*fd, RAM_SIZE), 0);
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	assert_true(ram != MAP_FAILED);
	return ram;
}

static void start_ring(struct client *c, uint32_t rate)
{
	set64(c, SIM_REG_RING_BASE, RAM_IOVA + RING_AT);
	set64(c, SIM_REG_RING_INDEX, RAM_IOVA + INDEX_AT);
	set32(c, SIM_REG_RING_ENTRIES, ENTRIES);
	set32(c, SIM_REG_DMA_RATE, rate);
	set32(c, SIM_REG_CONTROL, SIM_CONTROL_DMA | SIM_CONTROL_IRQ);
}

static int connect_irq(struct client *c, int fd)
{
	struct vfm_vfio_user_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFM_IRQ_SET_DATA_EVENTFD | VFM_IRQ_SET_ACTION_TRIGGER,
		.index = VFM_PCI_MSIX_IRQ,
		.count = 1,
	};

	return ask_fds(c, VFM_VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set), &fd, 1);
}

static void wait_irq(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t count;

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
}

/* Check and free all new records; returns how many there are in all. */
static uint64_t consume(uint8_t *ram)
{
	struct sim_record *ring = (struct sim_record *)(ram + RING_AT);
	struct sim_ring_index *index = (struct sim_ring_index *)(ram + INDEX_AT);
	uint64_t producer = __atomic_load_n(&index->producer, __ATOMIC_ACQUIRE), n;

	for (n = index->consumer; n < producer; n++) {
		assert_int_equal(ring[n % ENTRIES].sequence, n);
		assert_int_equal(ring[n % ENTRIES].checksum,
				 sim_record_checksum(&ring[n % ENTRIES]));
	}
	__atomic_store_n(&index->consumer, producer, __ATOMIC_RELEASE);
	return producer;
}

static int mig_read(struct client *c, uint32_t size, uint32_t *got)
{
	struct vfm_vfio_user_mig_data m = {(uint32_t)sizeof(m) + size, size};
	int ret = ask(c, VFM_VFIO_USER_MIG_DATA_READ, &m, sizeof(m));

	if (!ret) {
		memcpy(&m, c->in, sizeof(m));
		assert_int_equal(c->in_size, sizeof(m) + m.size);
		*got = m.size;
	}
	return ret;
}

static int mig_write(struct client *c, const void *data, uint32_t size)
{
	uint8_t *buf = malloc(8 + size);
	struct vfm_vfio_user_mig_data m = {8 + size, size};
	int ret;

	assert_non_null(buf);
	memcpy(buf, &m, sizeof(m));
	memcpy(buf + 8, data, size);
	ret = ask(c, VFM_VFIO_USER_MIG_DATA_WRITE, buf, 8 + size);
	free(buf);
	return ret;
}

/* All of the stream up to a read of nothing, to @out; returns its size. */
static size_t save_stream(struct client *c, uint8_t *out, size_t room, uint32_t step)
{
	size_t size = 0;
	uint32_t got = 1;

	while (got) {
		assert_int_equal(mig_read(c, step, &got), 0);
		assert_true(size + got <= room);
		memcpy(out + size, c->in + 8, got);
		size += got;
	}
	return size;
}

/* ---- tests ---- */

static void test_hello_and_info(void **state)
{
	struct vfm_vfio_user_device_info info = {sizeof(info), 0, 0, 0};
	struct vfm_vfio_user_region_info region = {.argsz = sizeof(region), .index = 7};
	struct vfm_vfio_user_irq_info irq = {.argsz = sizeof(irq), .index = VFM_PCI_MSIX_IRQ};
	struct sim_options device = small_device(1);
	struct sim_server_options options;
	struct server s;
	struct client c;
	struct stat st;
	uint16_t id[2];

	sim_server_options_init(&options);
	server_start(&s, &device, &options);
	assert_int_equal(stat(s.path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	join(&c, &s, EXT_JSON);
	assert_non_null(strstr((char *)c.in + 4, "\"p2p\":true"));
	assert_int_equal(c.in[c.in_size - 1], 0);
	assert_int_equal(ask(&c, VFM_VFIO_USER_DEVICE_GET_INFO, &info, sizeof(info)), 0);
	memcpy(&info, c.in, sizeof(info));
	assert_int_equal(info.num_regions, 9);
	assert_int_equal(info.num_irqs, 5);
	assert_int_equal(ask(&c, VFM_VFIO_USER_DEVICE_GET_REGION_INFO, &region, sizeof(region)), 0);
	memcpy(&region, c.in, sizeof(region));
	assert_int_equal(region.size, 256);
	assert_int_equal(ask(&c, VFM_VFIO_USER_DEVICE_GET_IRQ_INFO, &irq, sizeof(irq)), 0);
	memcpy(&irq, c.in, sizeof(irq));
	assert_int_equal(irq.count, SIM_MSIX_VECTORS);
	assert_int_equal(region_read(&c, 7, 0, id, 4), 0);
	assert_int_equal(id[0], SIM_PCI_VENDOR);
	assert_int_equal(id[1], SIM_PCI_DEVICE);
	assert_int_equal(reg32(&c, SIM_REG_MAGIC), SIM_MAGIC);
	assert_int_equal(hello(&c, EXT_JSON), EINVAL); /* once is enough */
	hang_up(&c);
	server_end(&s);
}

static void test_records_and_interrupts(void **state)
{
	struct sim_options device = small_device(1);
	struct sim_server_options options;
	uint64_t last = 0, now;
	struct server s;
	struct client c;
	int fd, irq = eventfd(0, 0), i;
	uint8_t *ram = new_ram(&fd);

	sim_server_options_init(&options);
	server_start(&s, &device, &options);
	join(&c, &s, EXT_JSON);
	assert_int_equal(map_ram(&c, fd, 0, RAM_IOVA, RAM_SIZE), 0);
	assert_int_equal(connect_irq(&c, irq), 0);
	start_ring(&c, 50000);
	for (i = 0; i < 20; i++) {
		wait_irq(irq);
		now = consume(ram);
		assert_true(now >= last);
		last = now;
	}
	assert_true(last > 0);
	/* Quiet from the reply on. */
	assert_int_equal(set_state(&c, VFM_STATE_RUNNING_P2P), 0);
	now = consume(ram);
	assert_int_equal(reg64(&c, SIM_REG_PRODUCER), now);
	for (i = 0; i < 50; i++)
		assert_int_equal(get_state(&c), VFM_STATE_RUNNING_P2P);
	assert_int_equal(consume(ram), now);
	assert_int_equal(set_state(&c, VFM_STATE_RUNNING), 0);
	while (consume(ram) == now)
		wait_irq(irq);
	hang_up(&c);
	server_end(&s);
	munmap(ram, RAM_SIZE);
	close(fd);
	close(irq);
}

/* The next request of the server, answered from @ram. Replies to us are counted. */
static void serve_one(struct client *c, uint8_t *ram, unsigned *replies)
{
	struct vfm_vfio_user_header h;
	struct vfm_vfio_user_dma_rw rw;
	uint8_t out[65536];
	size_t len = sizeof(h) + sizeof(rw);

	recv_message(c, &h);
	if ((h.flags & VFM_VFIO_USER_TYPE_MASK) == VFM_VFIO_USER_TYPE_REPLY) {
		assert_int_equal(h.flags & VFM_VFIO_USER_FLAG_ERROR, 0);
		(*replies)++;
		return;
	}
	memcpy(&rw, c->in, sizeof(rw));
	assert_in_range(rw.addr, RAM_IOVA, RAM_IOVA + RAM_SIZE - rw.count);
	assert_in_range(rw.count, 1, 60000);
	if (h.command == VFM_VFIO_USER_DMA_WRITE) {
		memcpy(ram + (rw.addr - RAM_IOVA), c->in + sizeof(rw), rw.count);
	} else {
		memcpy(out + len, ram + (rw.addr - RAM_IOVA), rw.count);
		len += rw.count;
	}
	h.flags = VFM_VFIO_USER_TYPE_REPLY;
	h.size = (uint32_t)len;
	memcpy(out, &h, sizeof(h));
	memcpy(out + sizeof(h), &rw, sizeof(rw));
	assert_int_equal(send(c->fd, out, len, MSG_NOSIGNAL), len);
}

/* Memory without an fd is asked for, while requests of ours come in between. */
static void test_dma_by_message(void **state)
{
	struct vfm_vfio_user_region_rw peek = {SIM_REG_PRODUCER, SIM_BAR_REGS, 8};
	struct sim_options device = small_device(1);
	struct sim_server_options options;
	unsigned replies = 0, asked;
	struct server s;
	struct client c;
	int fd;
	uint8_t *ram = new_ram(&fd);

	sim_server_options_init(&options);
	server_start(&s, &device, &options);
	join(&c, &s, EXT_JSON);
	assert_int_equal(map_ram(&c, -1, 0, RAM_IOVA, RAM_SIZE), 0);
	set64(&c, SIM_REG_RING_BASE, RAM_IOVA + RING_AT);
	set64(&c, SIM_REG_RING_INDEX, RAM_IOVA + INDEX_AT);
	set32(&c, SIM_REG_RING_ENTRIES, ENTRIES);
	set32(&c, SIM_REG_DMA_RATE, 20000);
	{
		uint8_t buf[20];
		struct vfm_vfio_user_region_rw w = {SIM_REG_CONTROL, SIM_BAR_REGS, 4};
		uint32_t value = SIM_CONTROL_DMA;

		memcpy(buf, &w, sizeof(w));
		memcpy(buf + sizeof(w), &value, 4);
		send_request(&c, VFM_VFIO_USER_REGION_WRITE, 0, buf, sizeof(buf), NULL, 0);
	}
	for (asked = 1; asked < 40; asked++)
		send_request(&c, VFM_VFIO_USER_REGION_READ, 0, &peek, sizeof(peek), NULL, 0);
	while (replies < asked || consume(ram) < 2 * ENTRIES)
		serve_one(&c, ram, &replies);
	hang_up(&c);
	server_end(&s);
	munmap(ram, RAM_SIZE);
	close(fd);
}

static void test_migration(void **state)
{
	struct sim_options da = small_device(1), db = small_device(2);
	struct sim_server_options options;
	struct server sa, sb;
	struct client a, b;
	size_t room = 16 << 20, size, at;
	uint8_t *stream = malloc(room);
	uint32_t got, step;
	uint64_t hash;

	assert_non_null(stream);
	da.dirty_rate = 32 << 20;
	sim_server_options_init(&options);
	server_start(&sa, &da, &options);
	server_start(&sb, &db, &options);
	join(&a, &sa, EXT_JSON);
	join(&b, &sb, EXT_JSON);
	set64(&a, SIM_REG_SCRATCH, 0x1234);
	assert_int_equal(set_state(&a, VFM_STATE_PRE_COPY), 0);
	for (size = 0, got = 0; size < 2 << 20; size += got) {
		assert_int_equal(mig_read(&a, 100000, &got), 0);
		memcpy(stream + size, a.in + 8, got);
	}
	assert_int_equal(set_state(&a, VFM_STATE_PRE_COPY_P2P), 0);
	assert_int_equal(set_state(&a, VFM_STATE_STOP_COPY), 0);
	{
		uint64_t left;
		size_t rest;

		assert_int_equal(
			feature(&a, VFM_FEATURE_GET | VFM_FEATURE_MIG_DATA_SIZE, NULL, 0, 16), 0);
		memcpy(&left, a.in + 8, 8);
		rest = save_stream(&a, stream + size, room - size, 1 << 20);
		assert_int_equal(rest, left);
		size += rest;
	}
	hash = memory_hash(&a);
	assert_int_not_equal(memory_hash(&b), hash);
	assert_int_equal(set_state(&b, VFM_STATE_RESUMING), 0);
	for (at = 0, step = 1; at < size; at += step, step = step * 3 + 1) {
		step = MIN(step, 1u << 20);
		step = (uint32_t)MIN(step, size - at);
		assert_int_equal(mig_write(&b, stream + at, step), 0);
	}
	assert_int_equal(set_state(&b, VFM_STATE_STOP), 0);
	assert_int_equal(memory_hash(&b), hash);
	assert_int_equal(reg64(&b, SIM_REG_SCRATCH), 0x1234);
	assert_int_equal(set_state(&b, VFM_STATE_RUNNING), 0);

	/* Once more into the same device, spoilt: refused, ERROR, and reset leads out. */
	stream[size / 2] ^= 1;
	assert_int_equal(set_state(&b, VFM_STATE_RESUMING), 0);
	for (at = 0; at < size; at += step) {
		step = (uint32_t)MIN((size_t)1 << 20, size - at);
		assert_int_equal(mig_write(&b, stream + at, step), 0);
	}
	assert_int_equal(set_state(&b, VFM_STATE_STOP), EFAULT);
	assert_int_equal(get_state(&b), VFM_STATE_ERROR);
	assert_int_equal(set_state(&b, VFM_STATE_RUNNING), EINVAL);
	assert_int_equal(ask(&b, VFM_VFIO_USER_DEVICE_RESET, NULL, 0), 0);
	assert_int_equal(get_state(&b), VFM_STATE_RUNNING);
	free(stream);
	hang_up(&a);
	hang_up(&b);
	server_end(&sa);
	server_end(&sb);
}

static void test_next_client_finds_the_state(void **state)
{
	struct sim_options device = small_device(1);
	struct sim_server_options options;
	struct server s;
	struct client c;

	sim_server_options_init(&options);
	server_start(&s, &device, &options);
	join(&c, &s, EXT_JSON);
	assert_int_equal(set_state(&c, VFM_STATE_STOP), 0);
	hang_up(&c);
	join(&c, &s, NULL);
	assert_int_equal(get_state(&c), VFM_STATE_STOP);
	hang_up(&c);
	server_end(&s);

	options.reset_on_disconnect = true;
	server_start(&s, &device, &options);
	join(&c, &s, EXT_JSON);
	assert_int_equal(set_state(&c, VFM_STATE_STOP), 0);
	hang_up(&c);
	join(&c, &s, EXT_JSON);
	assert_int_equal(get_state(&c), VFM_STATE_RUNNING);
	hang_up(&c);
	server_end(&s);
}

static void check_extension(const char *json, uint32_t offered, bool expected)
{
	uint32_t info = VFM_FEATURE_GET | VFM_VFIO_USER_FEATURE_PRECOPY_INFO;
	struct sim_options device = small_device(1);
	struct sim_server_options options;
	struct vfm_vfio_user_migration mig;
	struct server s;
	struct client c;

	sim_server_options_init(&options);
	options.extension = offered;
	server_start(&s, &device, &options);
	join(&c, &s, json);
	assert_int_equal(!!strstr((char *)c.in + 4, VFM_VFIO_USER_EXT_KEY), expected);
	assert_int_equal(feature(&c, VFM_FEATURE_GET | VFM_FEATURE_MIGRATION, NULL, 0, 16), 0);
	memcpy(&mig, c.in + 8, sizeof(mig));
	assert_int_equal(mig.flags, expected ? 7 : 5);
	assert_int_equal(set_state(&c, VFM_STATE_RUNNING_P2P), expected ? 0 : EINVAL);
	assert_int_equal(set_state(&c, VFM_STATE_RUNNING), 0);
	assert_int_equal(feature(&c, VFM_FEATURE_GET | VFM_FEATURE_MIG_DATA_SIZE, NULL, 0, 16),
			 expected ? 0 : ENOTTY);
	assert_int_equal(feature(&c, VFM_FEATURE_SET | VFM_FEATURE_MIG_PRECOPY_INFOV2, NULL, 0, 8),
			 expected ? 0 : ENOTTY);
	assert_int_equal(feature(&c, info, NULL, 0, 32), expected ? EINVAL : ENOTTY);
	assert_int_equal(set_state(&c, VFM_STATE_PRE_COPY), 0);
	assert_int_equal(feature(&c, info, NULL, 0, 32), expected ? 0 : ENOTTY);
	hang_up(&c);
	server_end(&s);
}

static void test_extension(void **state)
{
	check_extension(EXT_JSON, VFM_VFIO_USER_EXT_ALL, true);
	check_extension(EXT_JSON, 0, false);
	check_extension(NULL, VFM_VFIO_USER_EXT_ALL, false);
	check_extension("{\"capabilities\":{\"vfio_migrate\":{\"version\":2,\"p2p\":true}}}",
			VFM_VFIO_USER_EXT_ALL, false);
}

static void test_dma_logging(void **state)
{
	struct {
		struct vfm_vfio_user_logging_control control;
		struct vfm_vfio_user_logging_range range[2];
	} start = {{4096, 1, 0}, {{RAM_IOVA, RAM_SIZE}, {0, 0}}};
	struct vfm_vfio_user_logging_report report = {RAM_IOVA, RAM_SIZE, 4096};
	uint32_t get = VFM_FEATURE_GET | VFM_FEATURE_DMA_LOGGING_REPORT;
	uint32_t set = VFM_FEATURE_SET | VFM_FEATURE_DMA_LOGGING_START;
	uint32_t bytes = RAM_SIZE / 4096 / 8, argsz = 8 + sizeof(report) + bytes;
	uint64_t bits[RAM_SIZE / 4096 / 64];
	struct sim_options device = small_device(1);
	struct sim_server_options options;
	struct server s;
	struct client c;
	int fd, irq = eventfd(0, 0);
	uint8_t *ram = new_ram(&fd);
	unsigned i;

	sim_server_options_init(&options);
	server_start(&s, &device, &options);
	join(&c, &s, EXT_JSON);
	assert_int_equal(map_ram(&c, fd, 0, RAM_IOVA, RAM_SIZE), 0);
	assert_int_equal(connect_irq(&c, irq), 0);
	assert_int_equal(feature(&c, get, &report, sizeof(report), argsz), EINVAL);
	assert_int_equal(feature(&c, set, &start, 16, 24), EINVAL); /* a range is missing */
	start.control.num_ranges = 0xffffffff;
	assert_int_equal(feature(&c, set, &start, 32, 40), E2BIG);
	start.control.num_ranges = 2;
	start.range[1] = start.range[0];
	assert_int_equal(feature(&c, set, &start, 48, 56), EINVAL); /* overlap */
	start.control.num_ranges = 1;
	assert_int_equal(feature(&c, set, &start, 32, 40), 0);
	assert_int_equal(feature(&c, set, &start, 32, 40), EINVAL);
	start_ring(&c, 100000);
	wait_irq(irq);
	assert_int_equal(set_state(&c, VFM_STATE_STOP), 0);
	assert_int_equal(feature(&c, get, &report, sizeof(report), argsz - 1), EINVAL);
	assert_int_equal(feature(&c, get, &report, sizeof(report), argsz), 0);
	assert_int_equal(c.in_size, argsz);
	memcpy(bits, c.in + 8 + sizeof(report), sizeof(bits));
	for (i = 0; i < RAM_SIZE / 4096; i++) {
		uint64_t done = MIN(consume(ram), (uint64_t)ENTRIES);
		bool ring = i * 4096 >= RING_AT && i * 4096 < RING_AT + done * 64;

		assert_int_equal(bitmap_test(bits, i), ring || i == INDEX_AT / 4096);
	}
	assert_int_equal(feature(&c, get, &report, sizeof(report), argsz), 0);
	memcpy(bits, c.in + 8 + sizeof(report), sizeof(bits));
	assert_int_equal(bitmap_count(bits, RAM_SIZE / 4096), 0);
	report.length = UINT64_MAX - 4095;
	report.iova = 0;
	assert_int_equal(feature(&c, get, &report, sizeof(report), UINT32_MAX), E2BIG);
	assert_int_equal(
		feature(&c, VFM_FEATURE_SET | VFM_FEATURE_DMA_LOGGING_STOP, NULL, 0, 8), 0);
	hang_up(&c);
	server_end(&s);
	munmap(ram, RAM_SIZE);
	close(fd);
	close(irq);
}

static void test_wrong_features(void **state)
{
	struct vfm_vfio_user_mig_state m = {VFM_STATE_STOP, 0};
	struct sim_options device = small_device(1);
	struct sim_server_options options;
	uint32_t both = VFM_FEATURE_GET | VFM_FEATURE_SET;
	struct server s;
	struct client c;
	uint32_t i;

	sim_server_options_init(&options);
	server_start(&s, &device, &options);
	join(&c, &s, EXT_JSON);
	assert_int_equal(feature(&c, VFM_FEATURE_GET | 99, NULL, 0, 64), ENOTTY);
	assert_int_equal(feature(&c, both | VFM_FEATURE_MIG_DEVICE_STATE, &m, 8, 16), EINVAL);
	assert_int_equal(feature(&c, VFM_FEATURE_MIG_DEVICE_STATE, &m, 8, 16), EINVAL);
	assert_int_equal(feature(&c, VFM_FEATURE_SET | VFM_FEATURE_MIGRATION, &m, 8, 16), EINVAL);
	assert_int_equal(feature(&c, 1u << 30 | VFM_FEATURE_GET | 1, NULL, 0, 16), EINVAL);
	assert_int_equal(feature(&c, VFM_FEATURE_SET | 2, &m, 8, 15), EINVAL);
	assert_int_equal(feature(&c, VFM_FEATURE_SET | 2, &m, 4, 16), EINVAL);
	assert_int_equal(feature(&c, VFM_FEATURE_GET | 1, NULL, 0, 8), EINVAL);
	assert_int_equal(
		feature(&c, VFM_FEATURE_PROBE | both | VFM_FEATURE_MIG_DEVICE_STATE, NULL, 0, 8),
		0);
	assert_int_equal(c.in_size, 8);
	assert_int_equal(feature(&c, VFM_FEATURE_PROBE | VFM_FEATURE_SET | 1, NULL, 0, 8), EINVAL);
	for (i = 8; i < 100; i++)
		assert_int_equal(set_state(&c, i), EINVAL);
	assert_int_equal(set_state(&c, UINT32_MAX), EINVAL);
	assert_int_equal(get_state(&c), VFM_STATE_RUNNING);
	hang_up(&c);
	server_end(&s);
}

static void test_wrong_dma(void **state)
{
	struct vfm_vfio_user_dma_unmap u = {sizeof(u), 0, RAM_IOVA, RAM_SIZE};
	struct sim_options device = small_device(1);
	struct sim_server_options options;
	int fd, two[2], irq = eventfd(0, 0);
	uint8_t *ram = new_ram(&fd);
	struct server s;
	struct client c;

	sim_server_options_init(&options);
	server_start(&s, &device, &options);
	join(&c, &s, EXT_JSON);
	assert_int_equal(map_ram(&c, fd, 0, RAM_IOVA, RAM_SIZE * 2), EINVAL); /* past the file */
	assert_int_equal(map_ram(&c, fd, 4096, RAM_IOVA, RAM_SIZE), EINVAL);
	assert_int_equal(map_ram(&c, fd, UINT64_MAX - 4095, RAM_IOVA, 4096), EINVAL);
	assert_int_equal(map_ram(&c, fd, 0, RAM_IOVA + 1, 4096), EINVAL);
	assert_int_equal(map_ram(&c, fd, 0, RAM_IOVA, 0), EINVAL);
	assert_int_equal(map_ram(&c, fd, 0, UINT64_MAX - 4095, 8192), EINVAL);
	assert_int_equal(map_ram(&c, -1, 4096, RAM_IOVA, 4096), EINVAL);
	assert_int_equal(map_ram(&c, irq, 0, RAM_IOVA, 4096), EINVAL); /* no memory */
	assert_int_equal(map_ram(&c, fd, 0, RAM_IOVA, RAM_SIZE), 0);
	assert_int_equal(map_ram(&c, fd, 0, RAM_IOVA + 4096, 4096), EEXIST);
	assert_int_equal(map_ram(&c, fd, 0, RAM_IOVA - 4096, 8192), EEXIST);
	u.size = 4096;
	assert_int_equal(ask(&c, VFM_VFIO_USER_DMA_UNMAP, &u, sizeof(u)), ENOENT);
	u.size = RAM_SIZE;
	u.argsz = 4;
	assert_int_equal(ask(&c, VFM_VFIO_USER_DMA_UNMAP, &u, sizeof(u)), EINVAL);
	/* Unmapped under a running engine: a fault of the device, not of the server. */
	start_ring(&c, 1000);
	u.argsz = sizeof(u);
	assert_int_equal(ask(&c, VFM_VFIO_USER_DMA_UNMAP, &u, sizeof(u)), 0);
	while (!(reg32(&c, SIM_REG_STATUS) & SIM_STATUS_FAULT))
		;
	assert_int_equal(reg32(&c, SIM_REG_CONTROL) & SIM_CONTROL_DMA, 0);
	two[0] = two[1] = fd;
	{
		struct vfm_vfio_user_dma_map m = {sizeof(m), 3, 0, RAM_IOVA, RAM_SIZE};

		assert_int_equal(ask_fds(&c, VFM_VFIO_USER_DMA_MAP, &m, sizeof(m), two, 2), EINVAL);
		m.flags = 0x10;
		assert_int_equal(ask_fds(&c, VFM_VFIO_USER_DMA_MAP, &m, sizeof(m), two, 1), EINVAL);
		m.flags = 3;
		m.argsz = 31;
		assert_int_equal(ask_fds(&c, VFM_VFIO_USER_DMA_MAP, &m, sizeof(m), two, 1), EINVAL);
	}
	hang_up(&c);
	server_end(&s);
	munmap(ram, RAM_SIZE);
	close(fd);
	close(irq);
}

static int irq_request(struct client *c, uint32_t flags, uint32_t index, uint32_t start,
		       uint32_t count, uint32_t argsz)
{
	struct vfm_vfio_user_irq_set set = {argsz, flags, index, start, count};

	return ask(c, VFM_VFIO_USER_DEVICE_SET_IRQS, &set, sizeof(set));
}

static void test_wrong_interrupts(void **state)
{
	uint32_t none = VFM_IRQ_SET_DATA_NONE | VFM_IRQ_SET_ACTION_TRIGGER;
	struct sim_options device = small_device(1);
	struct sim_server_options options;
	struct server s;
	struct client c;
	int ends[2], irq = eventfd(0, 0);

	sim_server_options_init(&options);
	server_start(&s, &device, &options);
	join(&c, &s, EXT_JSON);
	assert_int_equal(irq_request(&c, none, 9, 0, 1, 20), EINVAL);
	assert_int_equal(irq_request(&c, none, 2, 4, 1, 20), EINVAL);
	assert_int_equal(irq_request(&c, none, 2, 0xffffffff, 2, 20), EINVAL);
	assert_int_equal(irq_request(&c, none, 2, 1, 0, 20), EINVAL);
	assert_int_equal(irq_request(&c, none, 2, 0, 1, 19), EINVAL);
	assert_int_equal(irq_request(&c, none | VFM_IRQ_SET_DATA_BOOL, 2, 0, 1, 20), EINVAL);
	assert_int_equal(irq_request(&c, VFM_IRQ_SET_DATA_NONE, 2, 0, 1, 20), EINVAL);
	assert_int_equal(irq_request(&c, VFM_IRQ_SET_DATA_BOOL | VFM_IRQ_SET_ACTION_TRIGGER, 2, 0,
				     4, 24), EINVAL); /* without its data */
	assert_int_equal(irq_request(&c, none, 0, 0, 1, 20), EINVAL); /* no INTx */
	assert_int_equal(irq_request(&c, none, 2, 0, 0, 20), 0);
	assert_int_equal(connect_irq(&c, irq), 0);
	assert_int_equal(irq_request(&c, none, 2, 0, 1, 20), 0); /* trigger it by hand */
	wait_irq(irq);
	/* A pipe that nobody reads is no eventfd; it must not end the server. */
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(connect_irq(&c, ends[1]), 0);
	close(ends[0]);
	close(ends[1]);
	assert_int_equal(irq_request(&c, none, 2, 0, 1, 20), 0);
	assert_int_equal(get_state(&c), VFM_STATE_RUNNING);
	hang_up(&c);
	server_end(&s);
	close(irq);
}

static void test_wrong_regions_and_data(void **state)
{
	struct vfm_vfio_user_region_rw r = {0, 0, 4};
	struct vfm_vfio_user_mig_data m = {8, 4096};
	struct sim_options device = small_device(1);
	struct sim_server_options options;
	struct server s;
	struct client c;
	uint64_t value = 0;
	uint32_t got;
	uint8_t big[12] = {0};

	sim_server_options_init(&options);
	server_start(&s, &device, &options);
	join(&c, &s, EXT_JSON);
	assert_int_equal(region_read(&c, 0, 4096, &value, 4), EINVAL);
	assert_int_equal(region_read(&c, 0, UINT64_MAX - 3, &value, 4), EINVAL);
	assert_int_equal(region_read(&c, 0, 1, &value, 4), EINVAL);
	assert_int_equal(region_read(&c, 5, 0, &value, 4), EINVAL);
	r.count = 0xffffffff;
	assert_int_equal(ask(&c, VFM_VFIO_USER_REGION_READ, &r, sizeof(r)), EINVAL);
	r.count = 4;
	assert_int_equal(ask(&c, VFM_VFIO_USER_REGION_WRITE, &r, sizeof(r)), EINVAL); /* no data */
	assert_int_equal(ask(&c, VFM_VFIO_USER_REGION_READ, &r, 5), EINVAL);
	assert_int_equal(mig_read(&c, 4096, &got), EINVAL); /* not in RUNNING */
	assert_int_equal(mig_write(&c, big, 12), EINVAL);
	assert_int_equal(set_state(&c, VFM_STATE_STOP_COPY), 0);
	assert_int_equal(mig_read(&c, 0, &got), EINVAL);
	assert_int_equal(mig_read(&c, (1u << 20) + 1, &got), EINVAL);
	assert_int_equal(ask(&c, VFM_VFIO_USER_MIG_DATA_READ, &m, sizeof(m)), EINVAL); /* argsz */
	assert_int_equal(mig_read(&c, 64, &got), 0);
	assert_int_equal(got, 64);
	assert_int_equal(set_state(&c, VFM_STATE_RESUMING), 0);
	m = (struct vfm_vfio_user_mig_data){12, 8}; /* says 8 bytes, has 4 */
	memcpy(big, &m, 8);
	assert_int_equal(ask(&c, VFM_VFIO_USER_MIG_DATA_WRITE, big, 12), EINVAL);
	m = (struct vfm_vfio_user_mig_data){0xffffffff, 0xfffffff7};
	memcpy(big, &m, 8);
	assert_int_equal(ask(&c, VFM_VFIO_USER_MIG_DATA_WRITE, big, 12), EINVAL);
	assert_int_equal(ask(&c, 14, NULL, 0), ENOTSUP);
	assert_int_equal(ask(&c, 999, NULL, 0), ENOTSUP);
	hang_up(&c);
	server_end(&s);
}

static void test_write_multi(void **state)
{
	struct {
		struct vfm_vfio_user_write_multi head;
		struct vfm_vfio_user_write_one one[3];
	} m = {{3},
	       {{SIM_REG_SCRATCH, 0, 8, 11}, {SIM_REG_SCRATCH + 8, 0, 4, 22}, {9999, 0, 4, 0}}};
	struct sim_options device = small_device(1);
	struct sim_server_options options;
	struct server s;
	struct client c;
	uint64_t count;

	sim_server_options_init(&options);
	server_start(&s, &device, &options);
	join(&c, &s, EXT_JSON);
	assert_int_equal(ask(&c, VFM_VFIO_USER_REGION_WRITE_MULTI, &m, sizeof(m)), 0);
	memcpy(&count, c.in, 8);
	assert_int_equal(count, 2);
	assert_int_equal(reg64(&c, SIM_REG_SCRATCH), 11);
	assert_int_equal(reg64(&c, SIM_REG_SCRATCH + 8), 22);
	m.head.count = UINT64_MAX;
	assert_int_equal(ask(&c, VFM_VFIO_USER_REGION_WRITE_MULTI, &m, sizeof(m)), EINVAL);
	m.one[0].count = 9;
	m.head.count = 1;
	assert_int_equal(ask(&c, VFM_VFIO_USER_REGION_WRITE_MULTI, &m, 32), 0);
	memcpy(&count, c.in, 8);
	assert_int_equal(count, 0);
	hang_up(&c);
	server_end(&s);
}

/* A write that wants no reply gets none. */
static void test_no_reply(void **state)
{
	struct sim_options device = small_device(1);
	struct sim_server_options options;
	struct server s;
	struct client c;
	uint8_t buf[20];
	struct vfm_vfio_user_region_rw w = {SIM_REG_DOORBELL, SIM_BAR_REGS, 4};

	sim_server_options_init(&options);
	server_start(&s, &device, &options);
	join(&c, &s, EXT_JSON);
	memset(buf, 0, sizeof(buf));
	memcpy(buf, &w, sizeof(w));
	send_request(&c, VFM_VFIO_USER_REGION_WRITE, VFM_VFIO_USER_FLAG_NO_REPLY, buf, sizeof(buf),
		     NULL, 0);
	send_request(&c, VFM_VFIO_USER_REGION_WRITE, VFM_VFIO_USER_FLAG_NO_REPLY, buf, sizeof(buf),
		     NULL, 0);
	assert_int_equal(reg64(&c, SIM_REG_DOORBELLS), 2);
	hang_up(&c);
	server_end(&s);
}

/* Each of these costs the connection, and only that. */
static void test_broken_framing(void **state)
{
	static const struct vfm_vfio_user_header bad[] = {
		{1, VFM_VFIO_USER_VERSION, 15, 0, 0},         /* shorter than itself */
		{1, VFM_VFIO_USER_VERSION, 0, 0, 0},
		{1, VFM_VFIO_USER_VERSION, 0xffffffff, 0, 0}, /* longer than anything */
		{1, VFM_VFIO_USER_VERSION, 20, 1, 0},         /* an answer to nothing */
		{1, VFM_VFIO_USER_VERSION, 16, 0, 0},         /* no version in it */
		{1, VFM_VFIO_USER_DEVICE_GET_INFO, 32, 0, 0}, /* before the version */
	};
	static const char *const json[] = {"{", "[]", "\"x\"", "{\"capabilities\":3}",
					   "{\"capabilities\":{\"max_data_xfer_size\":1}}",
					   "{\"capabilities\":{\"max_data_xfer_size\":\"x\"}}",
					   "[[[[[[[[[[[[[[[["};
	struct sim_options device = small_device(1);
	struct sim_server_options options;
	int fds[20];
	struct server s;
	struct client c;
	uint8_t noise[4096];
	unsigned i, j;

	sim_server_options_init(&options);
	server_start(&s, &device, &options);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		uint8_t message[64] = {0};

		memcpy(message, &bad[i], sizeof(bad[i]));
		dial(&c, &s);
		send_fds(&c, message, sizeof(message), NULL, 0);
		assert_closed(&c);
		hang_up(&c);
	}
	for (i = 0; i < ARRAY_SIZE(json); i++) {
		struct vfm_vfio_user_version v = {0, 1};
		uint8_t message[256] = {0};

		memcpy(message, &v, sizeof(v));
		strcpy((char *)message + sizeof(v), json[i]);
		dial(&c, &s);
		send_request(&c, VFM_VFIO_USER_VERSION, 0, message,
			     sizeof(v) + strlen(json[i]) + 1, NULL, 0);
		assert_closed(&c);
		hang_up(&c);
	}
	for (i = 0; i < 30; i++) {
		for (j = 0; j < sizeof(noise); j++)
			noise[j] = (uint8_t)rand();
		dial(&c, &s);
		send_fds(&c, noise, sizeof(noise), NULL, 0);
		assert_closed(&c);
		hang_up(&c);
	}
	dial(&c, &s); /* cut in the middle of a message */
	send_fds(&c, "\1\0\1\0\100", 5, NULL, 0);
	hang_up(&c);
	for (i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = 0;
	dial(&c, &s); /* more fds than a message may bring */
	send_fds(&c, noise, 16, fds, ARRAY_SIZE(fds));
	assert_closed(&c);
	hang_up(&c);
	join(&c, &s, EXT_JSON);
	assert_int_equal(get_state(&c), VFM_STATE_RUNNING);
	hang_up(&c);
	server_end(&s);
}

/* Random payloads behind right heads: never a hang, never the end of the server. */
static void test_random_requests(void **state)
{
	struct sim_options device = small_device(1);
	struct sim_server_options options;
	struct server s;
	struct client c;
	uint8_t payload[256];
	unsigned i, j;

	sim_server_options_init(&options);
	server_start(&s, &device, &options);
	join(&c, &s, EXT_JSON);
	for (i = 0; i < 3000; i++) {
		for (j = 0; j < sizeof(payload); j++)
			payload[j] = rand() % 3 ? 0 : (uint8_t)(rand() % 64);
		ask(&c, (uint16_t)(2 + rand() % 17), payload, (size_t)rand() % sizeof(payload));
	}
	assert_int_equal(ask(&c, VFM_VFIO_USER_DEVICE_RESET, NULL, 0), 0);
	assert_int_equal(get_state(&c), VFM_STATE_RUNNING);
	hang_up(&c);
	server_end(&s);
}

static void test_once(void **state)
{
	struct sim_options device = small_device(1);
	struct sim_server_options options;
	struct server s;
	struct client c;
	int status;

	sim_server_options_init(&options);
	options.once = true;
	server_start(&s, &device, &options);
	join(&c, &s, EXT_JSON);
	hang_up(&c);
	assert_int_equal(waitpid(s.pid, &status, 0), s.pid);
	assert_int_equal(status, 0);
	close(s.stop);
	rmdir(s.dir);
}

static void test_dies_in_state(void **state)
{
	struct sim_options device = small_device(1);
	struct sim_server_options options;
	struct server s;
	struct client c;
	int status;
	struct vfm_vfio_user_mig_state m = {VFM_STATE_STOP_COPY, 0};
	uint8_t buf[16];
	struct vfm_vfio_user_feature f = {16, VFM_FEATURE_SET | VFM_FEATURE_MIG_DEVICE_STATE};

	device.die_in = VFM_STATE_STOP_COPY;
	sim_server_options_init(&options);
	server_start(&s, &device, &options);
	join(&c, &s, EXT_JSON);
	memcpy(buf, &f, sizeof(f));
	memcpy(buf + 8, &m, sizeof(m));
	send_request(&c, VFM_VFIO_USER_DEVICE_FEATURE, 0, buf, sizeof(buf), NULL, 0);
	assert_closed(&c);
	assert_int_equal(waitpid(s.pid, &status, 0), s.pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 99);
	hang_up(&c);
	close(s.stop);
	unlink(s.path);
	rmdir(s.dir);
}

/* A socket file that a dead server left is replaced; one in use is not. */
static void test_stale_socket(void **state)
{
	struct sim_options device = small_device(1);
	struct sim_server_options options;
	char why[SIM_WHY_MAX] = "";
	struct server s;
	struct client c;
	int status;

	sim_server_options_init(&options);
	server_start(&s, &device, &options);
	options.socket_path = s.path;
	assert_int_equal(sim_server_run(&device, &options, why), -EADDRINUSE);
	assert_non_null(strstr(why, s.path));
	assert_int_equal(kill(s.pid, SIGKILL), 0);
	assert_int_equal(waitpid(s.pid, &status, 0), s.pid);
	assert_int_equal(access(s.path, F_OK), 0);
	{
		struct server again = s;
		int ready[2], stop[2];
		char byte;

		assert_int_equal(pipe(ready), 0);
		assert_int_equal(pipe(stop), 0);
		again.pid = fork();
		assert_true(again.pid >= 0);
		if (!again.pid) {
			close(stop[1]);
			serve(&again, &device, &options, ready[1], stop[0]);
		}
		close(stop[0]);
		close(ready[1]);
		assert_int_equal(read(ready[0], &byte, 1), 1);
		close(ready[0]);
		join(&c, &again, EXT_JSON);
		hang_up(&c);
		close(s.stop);
		again.stop = stop[1];
		server_end(&again);
	}
}

/* What the command line says on standard error about @argv, in @text. */
static int parse_line(struct sim_config *config, const char *const *argv, char *text, size_t room)
{
	char *copy[16] = {NULL};
	FILE *file = tmpfile();
	int saved, ret, argc;
	size_t got;

	assert_non_null(file);
	for (argc = 0; argv[argc]; argc++)
		copy[argc] = (char *)argv[argc];
	fflush(stderr);
	saved = dup(2);
	dup2(fileno(file), 2);
	ret = sim_config_parse(config, argc, copy);
	fflush(stderr);
	dup2(saved, 2);
	close(saved);
	rewind(file);
	got = fread(text, 1, room - 1, file);
	text[got] = '\0';
	fclose(file);
	return ret;
}

static void test_wrong_command_lines(void **state)
{
	static const char *const lines[][4] = {
		{"sim"},
		{"sim", "--socket=x", "--fd=3"},
		{"sim", "--socket=x", "--state-size=12Q"},
		{"sim", "--socket=x", "--state-size=65G"},
		{"sim", "--socket=x", "--state-size=0"},
		{"sim", "--socket=x", "--initial-size=1G"},
		{"sim", "--socket=x", "--dirty-rate=-1"},
		{"sim", "--socket=x", "--dma-rate=10000001"},
		{"sim", "--socket=x", "--vectors=65"},
		{"sim", "--socket=x", "--max-transfer=1"},
		{"sim", "--socket=x", "--tick-us=1"},
		{"sim", "--socket=x", "--personality=mlx9"},
		{"sim", "--socket=x", "--migration=p2p"},
		{"sim", "--socket=x", "--migration="},
		{"sim", "--socket=x", "--arc-latency=RUNNING"},
		{"sim", "--socket=x", "--arc-latency=RUNNING:RUNNING=1"},
		{"sim", "--socket=x", "--arc-latency=RUNNING:STOP=x"},
		{"sim", "--socket=x", "--fail-arc=RUNNING:STOP=EFOO"},
		{"sim", "--socket=x", "--fail-arc=RUNNING:STOP=EIO@0"},
		{"sim", "--socket=x", "--die-in=ERROR"},
		{"sim", "--socket=x", "--die-after-bytes=0"},
		{"sim", "--socket=x", "--load-at=noon"},
		{"sim", "--socket=x", "--corrupt-stream=x"},
		{"sim", "--socket=x", "--bogus"},
		{"sim", "--socket=x", "argument"},
	};
	struct sim_config config;
	char text[1024], *newline;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(lines); i++) {
		assert_int_equal(parse_line(&config, lines[i], text, sizeof(text)), -EINVAL);
		newline = strchr(text, '\n');
		assert_non_null(newline);
		assert_string_equal(newline, "\n"); /* one line, and there it ends */
	}
}

static void test_right_command_line(void **state)
{
	static const char *const line[] = {"sim",
				     "--socket=/x",
				     "--state-size=10000",
				     "--migration=stop-copy,pre-copy",
				     "--arc-latency=RUNNING:STOP=20",
				     "--arc-latency=stop:STOP_COPY=1s",
				     "--fail-arc=RESUMING:STOP=EIO@2",
				     "--corrupt-stream",
				     "--no-extension",
				     "--seed=5",
				     NULL};
	struct sim_config config;
	char text[1024];

	assert_int_equal(parse_line(&config, line, text, sizeof(text)), 0);
	assert_string_equal(text, "");
	assert_string_equal(config.server.socket_path, "/x");
	assert_int_equal(config.device.state_size, 12288); /* whole pages */
	assert_int_equal(config.device.initial_size, 12288);
	assert_int_equal(config.device.mig_flags, VFM_MIG_STOP_COPY | VFM_MIG_PRE_COPY);
	assert_int_equal(config.device.latency_ms[VFM_STATE_RUNNING][VFM_STATE_STOP], 20);
	assert_int_equal(config.device.latency_ms[VFM_STATE_STOP][VFM_STATE_STOP_COPY], 1000);
	assert_int_equal(config.device.fail[VFM_STATE_RESUMING][VFM_STATE_STOP].error, EIO);
	assert_int_equal(config.device.fail[VFM_STATE_RESUMING][VFM_STATE_STOP].nth, 2);
	assert_int_equal(config.device.corrupt_at, 4096);
	assert_int_equal(config.device.seed, 5);
	assert_int_equal(config.server.extension, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrong_command_lines),
		cmocka_unit_test(test_right_command_line),
		cmocka_unit_test(test_hello_and_info),
		cmocka_unit_test(test_records_and_interrupts),
		cmocka_unit_test(test_dma_by_message),
		cmocka_unit_test(test_migration),
		cmocka_unit_test(test_next_client_finds_the_state),
		cmocka_unit_test(test_extension),
		cmocka_unit_test(test_dma_logging),
		cmocka_unit_test(test_wrong_features),
		cmocka_unit_test(test_wrong_dma),
		cmocka_unit_test(test_wrong_interrupts),
		cmocka_unit_test(test_wrong_regions_and_data),
		cmocka_unit_test(test_write_multi),
		cmocka_unit_test(test_no_reply),
		cmocka_unit_test(test_broken_framing),
		cmocka_unit_test(test_random_requests),
		cmocka_unit_test(test_once),
		cmocka_unit_test(test_dies_in_state),
		cmocka_unit_test(test_stale_socket),
	};

	srand(1);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
