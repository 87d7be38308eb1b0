/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The vfio-user client and its device back end, against a server that can misbehave. Where a test
 * needs an order, the server makes it: it holds an answer back until it has seen what comes next.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>
#include <vfio-migrate/device.h>
#include "device/device.h"
#include "device/vfio-user-client.h"
#include "tests/fake-vfio-user.h"

#define KIB 1024u
#define MIB (1024u * KIB)

/* A server and a client of it, for tests that need no more. */
struct pair {
	struct fake fake;
	struct vfm_vfio_user *client;
};

static struct pair *pair_new(void)
{
	struct pair *pair = calloc(1, sizeof(*pair));

	assert_non_null(pair);
	fake_init(&pair->fake);
	return pair;
}

static void pair_start(struct pair *pair, const struct vfm_vfio_user_options *options)
{
	fake_start(&pair->fake);
	pair->client = fake_client(&pair->fake, options);
}

static void pair_free(struct pair *pair)
{
	vfm_vfio_user_free(pair->client);
	fake_stop(&pair->fake);
	free(pair);
}

static void assert_lost(struct vfm_vfio_user *client, const char *because)
{
	char why[VFM_VFIO_USER_WHY_MAX];
	uint32_t flags;

	assert_int_equal(vfm_vfio_user_lost(client, why, sizeof(why)), 1);
	if (!strstr(why, because))
		fail_msg("lost because \"%s\", not because \"%s\"", why, because);
	assert_int_equal(vfm_vfio_user_get_mig_flags(client, &flags), -ENOTCONN);
}

static void assert_fine(struct vfm_vfio_user *client)
{
	uint32_t flags;

	assert_int_equal(vfm_vfio_user_lost(client, NULL, 0), 0);
	assert_int_equal(vfm_vfio_user_get_mig_flags(client, &flags), 0);
}

static unsigned count_fds(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void wait_seen(struct fake *fake)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	assert_int_equal(sem_timedwait(&fake->seen, &until), 0);
}

/* ---- version exchange ---- */

static void agreed_is_the_smaller(void **state)
{
	struct pair *pair = pair_new();
	struct vfm_vfio_user_options options = {.size = sizeof(options), .max_data_xfer = 128 * KIB};
	struct vfm_vfio_user_agreed agreed = {.size = sizeof(agreed)};

	pair_start(pair, &options);
	assert_int_equal(vfm_vfio_user_get_agreed(pair->client, &agreed), 0);
	assert_int_equal(agreed.max_data_xfer, 128 * KIB);
	assert_int_equal(agreed.data_chunk, 128 * KIB);
	assert_int_equal(agreed.max_msg_fds, 8);
	assert_int_equal(agreed.max_dma_maps, 65535);
	assert_int_equal(agreed.pgsizes, 4096);
	assert_int_equal(agreed.write_multi, 1);
	assert_int_equal(agreed.ext, VFM_VFIO_USER_EXT_ALL);
	agreed.size = 8;
	assert_int_equal(vfm_vfio_user_get_agreed(pair->client, &agreed), -EINVAL);
	pair_free(pair);
}

static void defaults_without_capabilities(void **state)
{
	struct pair *pair = pair_new();
	struct vfm_vfio_user_agreed agreed = {.size = sizeof(agreed)};
	uint32_t flags;
	uint64_t size;
	struct vfm_precopy_info info;

	pair->fake.version = NULL;
	pair_start(pair, NULL);
	assert_int_equal(vfm_vfio_user_get_agreed(pair->client, &agreed), 0);
	assert_int_equal(agreed.max_data_xfer, MIB);
	assert_int_equal(agreed.data_chunk, 256 * KIB);
	assert_int_equal(agreed.max_msg_fds, 1);
	assert_int_equal(agreed.write_multi, 0);
	assert_int_equal(agreed.ext, 0);
	/* Without the extension: no P2P, and unknown is not zero. */
	assert_int_equal(vfm_vfio_user_get_mig_flags(pair->client, &flags), 0);
	assert_int_equal(flags, VFM_MIG_STOP_COPY | VFM_MIG_PRE_COPY);
	assert_int_equal(vfm_vfio_user_get_data_size(pair->client, &size), 0);
	assert_true(size == VFM_SIZE_UNKNOWN);
	assert_int_equal(vfm_vfio_user_get_precopy_info(pair->client, &info), -EOPNOTSUPP);
	assert_int_equal(vfm_vfio_user_optin_precopy_info(pair->client), -EOPNOTSUPP);
	pair_free(pair);
}

static uint32_t ext_with(const char *version, uint32_t ext_off)
{
	struct pair *pair = pair_new();
	struct vfm_vfio_user_options options = {.size = sizeof(options), .ext_off = ext_off};
	struct vfm_vfio_user_agreed agreed = {.size = sizeof(agreed)};

	pair->fake.version = version;
	pair_start(pair, &options);
	assert_int_equal(vfm_vfio_user_get_agreed(pair->client, &agreed), 0);
	pair_free(pair);
	return agreed.ext;
}

#define EXT(members) "{\"capabilities\":{\"vfio_migrate\":{" members "}}}"

static void extension_is_the_and(void **state)
{
	assert_int_equal(ext_with(EXT("\"version\":1,\"p2p\":true"), 0), VFM_VFIO_USER_EXT_P2P);
	assert_int_equal(ext_with(EXT("\"version\":1,\"p2p\":true"), VFM_VFIO_USER_EXT_P2P), 0);
	assert_int_equal(ext_with(EXT("\"version\":1,\"p2p\":false,\"data_size\":true"), 0),
			 VFM_VFIO_USER_EXT_DATA_SIZE);
	/* Another version, and REINIT without the info that it belongs to. */
	assert_int_equal(ext_with(EXT("\"version\":2,\"p2p\":true"), 0), 0);
	assert_int_equal(ext_with(EXT("\"p2p\":true"), 0), 0);
	assert_int_equal(ext_with(EXT("\"version\":1,\"reinit\":true"), 0), 0);
	assert_int_equal(ext_with("{\"capabilities\":{\"vfio_migrate\":7}}", 0), 0);
	assert_int_equal(ext_with("{\"more\":[1,2,{\"a\":null}]}", 0), 0);
}

static int new_with(const char *version, uint16_t major, char *why)
{
	struct pair *pair = pair_new();
	struct vfm_vfio_user *client = NULL;
	int ret;

	pair->fake.version = version;
	pair->fake.major = major;
	fake_start(&pair->fake);
	ret = vfm_vfio_user_new(pair->fake.client_fd, NULL, &client, why, VFM_VFIO_USER_WHY_MAX);
	assert_null(client);
	/* After a failure the fd is still ours. */
	assert_int_equal(close(pair->fake.client_fd), 0);
	fake_stop(&pair->fake);
	free(pair);
	return ret;
}

static void bad_versions_are_refused(void **state)
{
	char why[VFM_VFIO_USER_WHY_MAX];

	assert_int_equal(new_with("{}", 1, why), -EPROTONOSUPPORT);
	assert_non_null(strstr(why, "version 1.1"));
	assert_int_equal(new_with("{\"capabilities\":", 0, why), -EPROTO);
	assert_int_equal(new_with("[]", 0, why), -EPROTO);
	assert_int_equal(new_with("{\"capabilities\":[]}", 0, why), -EPROTO);
	assert_int_equal(new_with("{\"capabilities\":{\"max_data_xfer_size\":1}}", 0, why), -EPROTO);
	assert_int_equal(new_with("{\"capabilities\":{\"max_data_xfer_size\":-5}}", 0, why),
			 -EPROTO);
	assert_int_equal(new_with("{\"capabilities\":{\"max_msg_fds\":\"x\"}}", 0, why), -EPROTO);
	assert_int_equal(new_with("{\"a\":[[[[[[[[[[1]]]]]]]]]]}", 0, why), -EPROTO);
	assert_true(strlen(why) > 0);
}

static void options_are_checked(void **state)
{
	struct vfm_vfio_user *client = NULL;
	struct vfm_vfio_user_options options = {.size = 8};
	char why[VFM_VFIO_USER_WHY_MAX];
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(vfm_vfio_user_new(fds[0], &options, &client, why, sizeof(why)), -EINVAL);
	options = (struct vfm_vfio_user_options){.size = sizeof(options), .data_chunk = 1};
	assert_int_equal(vfm_vfio_user_new(fds[0], &options, &client, NULL, 0), -EINVAL);
	options = (struct vfm_vfio_user_options){.size = sizeof(options), .max_data_xfer = 1u << 30};
	assert_int_equal(vfm_vfio_user_new(fds[0], &options, &client, NULL, 0), -EINVAL);
	close(fds[1]);
	assert_int_equal(vfm_vfio_user_new(fds[0], NULL, &client, why, sizeof(why)), -ENOTCONN);
	close(fds[0]);
	assert_int_equal(vfm_vfio_user_connect_path("/nonexistent/socket", NULL, &client, why,
						    sizeof(why)), -ENOENT);
	assert_non_null(strstr(why, "/nonexistent/socket"));
	vfm_vfio_user_free(NULL);
}

static void *accept_one(void *arg)
{
	struct pair *pair = arg;
	int fd = accept(pair->fake.fd, NULL, NULL);

	close(pair->fake.fd);
	pair->fake.fd = fd;
	fake_start(&pair->fake);
	return NULL;
}

static void connects_by_path(void **state)
{
	struct pair *pair = pair_new();
	char dir[] = "/tmp/vfm-test-XXXXXX", path[64];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	pthread_t thread;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	strcpy(address.sun_path, path);
	close(pair->fake.fd);
	close(pair->fake.client_fd);
	pair->fake.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(pair->fake.fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(pair->fake.fd, 1), 0);
	assert_int_equal(pthread_create(&thread, NULL, accept_one, pair), 0);
	assert_int_equal(vfm_vfio_user_connect_path(path, NULL, &pair->client, NULL, 0), 0);
	pthread_join(thread, NULL);
	assert_fine(pair->client);
	pair_free(pair);
	unlink(path);
	rmdir(dir);
}

/* ---- device, regions, interrupts ---- */

static void tells_device_and_regions(void **state)
{
	unsigned fds = count_fds();
	struct pair *pair = pair_new();
	struct vfm_vfio_user_device device = {.size = sizeof(device)};
	struct vfm_vfio_user_region region = {.size = sizeof(region)};

	pair_start(pair, NULL);
	assert_int_equal(vfm_vfio_user_get_device(pair->client, &device), 0);
	assert_int_equal(device.num_regions, VFM_PCI_NUM_REGIONS);
	assert_int_equal(device.num_irqs, VFM_PCI_NUM_IRQS);
	assert_int_equal(vfm_vfio_user_get_region(pair->client, VFM_PCI_BAR0_REGION, &region), 0);
	assert_int_equal(region.bytes, FAKE_BAR0_SIZE);
	assert_int_equal(region.has_sparse, 1);
	assert_int_equal(region.area_count, 1);
	assert_int_equal(region.areas[0].offset, 4096);
	assert_int_equal(region.areas[0].size, 8192);
	assert_int_equal(region.type, 7);
	assert_int_equal(region.subtype, 9);
	assert_int_equal(region.fd_count, 1);
	assert_true(fcntl(region.fds[0], F_GETFD) & FD_CLOEXEC);
	vfm_vfio_user_region_clear(&region);
	assert_int_equal(vfm_vfio_user_get_region(pair->client, 7, &region), 0);
	assert_int_equal(region.bytes, FAKE_CONFIG_SIZE);
	assert_int_equal(region.fd_count, 0);
	vfm_vfio_user_region_clear(&region);
	assert_int_equal(vfm_vfio_user_get_region(pair->client, 1000, &region), -EINVAL);
	pair_free(pair);
	assert_int_equal(count_fds(), fds);
}

/* Capability chains that loop, run out of the reply, or name areas outside the region. */
static struct __attribute__((packed)) {
	struct vfm_vfio_user_region_info info;
	struct vfm_region_cap_sparse sparse;
	struct vfm_region_sparse_area area;
} bad_region;

static bool send_bad_region(struct fake *fake, struct fake_message *msg)
{
	if (msg->header.command != VFM_VFIO_USER_DEVICE_GET_REGION_INFO)
		return false;
	fake_reply(fake, msg, 0, &bad_region, sizeof(bad_region));
	return true;
}

static void try_bad_region(void)
{
	struct pair *pair = pair_new();
	struct vfm_vfio_user_region region = {.size = sizeof(region)};

	pair->fake.hook = send_bad_region;
	pair_start(pair, NULL);
	assert_int_equal(vfm_vfio_user_get_region(pair->client, 0, &region), -ENOTCONN);
	assert_lost(pair->client, "region 0 makes no sense");
	assert_null(region.areas);
	pair_free(pair);
}

static void bad_regions_are_refused(void **state)
{
	const __typeof__(bad_region) good = {
		{sizeof(good), VFM_REGION_INFO_CAPS, 0, sizeof(good.info), 65536, 0},
		{{VFM_REGION_CAP_SPARSE_MMAP, 1, 0}, 1, 0},
		{0, 4096}};

	bad_region = good;
	bad_region.sparse.cap.next = sizeof(good.info);
	try_bad_region();
	/* The same with a capability that nobody knows: the chain alone must end the walk. */
	bad_region.sparse.cap.id = 99;
	try_bad_region();
	bad_region = good;
	bad_region.info.cap_offset = sizeof(good) - 4;
	try_bad_region();
	bad_region = good;
	bad_region.info.cap_offset = 8;
	try_bad_region();
	bad_region = good;
	bad_region.sparse.nr_areas = 0x10000001;
	try_bad_region();
	bad_region = good;
	bad_region.area.offset = UINT64_MAX - 100;
	try_bad_region();
	bad_region = good;
	bad_region.info.index = 3;
	try_bad_region();
	/* Capabilities that are not told, for want of more room than anybody gives. */
	bad_region = good;
	bad_region.info.argsz = VFM_VFIO_USER_CAPS_MAX + 1;
	bad_region.info.cap_offset = 0;
	try_bad_region();
}

/* Many areas: the first answer tells only how much room the whole one needs. */
static bool send_long_region(struct fake *fake, struct fake_message *msg)
{
	enum { AREAS = 400 };
	struct __attribute__((packed)) {
		struct vfm_vfio_user_region_info info;
		struct vfm_region_cap_sparse sparse;
		struct vfm_region_sparse_area areas[AREAS];
	} all = {{sizeof(all), VFM_REGION_INFO_CAPS, 0, sizeof(all.info), AREAS, 0},
		 {{VFM_REGION_CAP_SPARSE_MMAP, 1, 0}, AREAS, 0}, {{0, 0}}};
	struct vfm_vfio_user_region_info ask;
	int fd;

	if (msg->header.command != VFM_VFIO_USER_DEVICE_GET_REGION_INFO)
		return false;
	memcpy(&ask, msg->payload, sizeof(ask));
	for (unsigned i = 0; i < AREAS; i++)
		all.areas[i] = (struct vfm_region_sparse_area){i, 1};
	fd = eventfd(0, EFD_CLOEXEC);
	fake_reply_fds(fake, msg, &all, ask.argsz < sizeof(all) ? sizeof(all.info) : sizeof(all),
		       &fd, 1);
	close(fd);
	fake->hits++;
	return true;
}

static void long_region_is_asked_for_again(void **state)
{
	unsigned fds = count_fds();
	struct pair *pair = pair_new();
	struct vfm_vfio_user_region region = {.size = sizeof(region)};

	pair->fake.hook = send_long_region;
	pair_start(pair, NULL);
	assert_int_equal(vfm_vfio_user_get_region(pair->client, 0, &region), 0);
	assert_int_equal(region.area_count, 400);
	assert_int_equal(region.areas[399].offset, 399);
	assert_int_equal(region.fd_count, 1);
	vfm_vfio_user_region_clear(&region);
	pair_free(pair);
	assert_int_equal(count_fds(), fds);
}

static bool send_io_fds(struct fake *fake, struct fake_message *msg)
{
	struct __attribute__((packed)) {
		struct vfm_vfio_user_region_io_fds head;
		struct vfm_vfio_user_io_fd entries[2];
	} all = {{sizeof(all), 0, 0, 2},
		 {{0x10, 4, 0, VFM_VFIO_USER_IO_FD_IOEVENTFD, 1, 0, 42},
		  {0x20, 4, (uint32_t)fake->hits, VFM_VFIO_USER_IO_FD_IOEVENTFD, 0, 0, 0}}};
	int fd;

	if (msg->header.command != VFM_VFIO_USER_DEVICE_GET_REGION_IO_FDS)
		return false;
	fd = eventfd(0, EFD_CLOEXEC);
	fake_reply_fds(fake, msg, &all, sizeof(all), &fd, 1);
	close(fd);
	return true;
}

static void io_fds_are_checked(void **state)
{
	unsigned fds = count_fds();
	struct vfm_vfio_user_io_fds io_fds = {.size = sizeof(io_fds)};

	for (int bad = 0; bad < 2; bad++) {
		struct pair *pair = pair_new();

		pair->fake.hook = send_io_fds;
		pair->fake.hits = bad;
		pair_start(pair, NULL);
		assert_int_equal(vfm_vfio_user_get_io_fds(pair->client, 0, &io_fds),
				 bad ? -ENOTCONN : 0);
		assert_int_equal(io_fds.count, bad ? 0 : 2);
		assert_int_equal(io_fds.fd_count, bad ? 0 : 1);
		if (!bad)
			assert_int_equal(io_fds.entries[0].data, 42);
		vfm_vfio_user_io_fds_clear(&io_fds);
		pair_free(pair);
	}
	assert_int_equal(count_fds(), fds);
}

static uint64_t drained(int fd)
{
	uint64_t value = 0;

	return read(fd, &value, sizeof(value)) == sizeof(value) ? value : 0;
}

static void interrupts_arrive(void **state)
{
	unsigned fds_before = count_fds();
	struct pair *pair = pair_new();
	uint32_t flags, count;
	int fds[FAKE_IRQS];

	pair_start(pair, NULL);
	assert_int_equal(vfm_vfio_user_get_irq(pair->client, VFM_PCI_MSIX_IRQ, &flags, &count), 0);
	assert_int_equal(count, FAKE_IRQS);
	for (unsigned i = 0; i < FAKE_IRQS; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* 40 fds, 8 in a message. */
	assert_int_equal(vfm_vfio_user_set_irq_fds(pair->client, VFM_PCI_MSIX_IRQ,
						   VFM_IRQ_SET_ACTION_TRIGGER, 0, FAKE_IRQS, fds), 0);
	assert_int_equal(pair->fake.set_irqs, 5);
	assert_int_equal(vfm_vfio_user_set_irqs(pair->client, VFM_PCI_MSIX_IRQ,
						VFM_IRQ_SET_ACTION_TRIGGER | VFM_IRQ_SET_DATA_NONE, 30,
						2, NULL), 0);
	assert_int_equal(drained(fds[29]), 0);
	assert_int_equal(drained(fds[30]), 1);
	assert_int_equal(drained(fds[31]), 1);
	assert_int_equal(vfm_vfio_user_set_irqs(pair->client, VFM_PCI_MSIX_IRQ,
						VFM_IRQ_SET_ACTION_TRIGGER | VFM_IRQ_SET_DATA_BOOL, 0, 3,
						(const uint8_t[]){0, 1, 0}), 0);
	assert_int_equal(drained(fds[0]), 0);
	assert_int_equal(drained(fds[1]), 1);
	/* A gap in the array disconnects, as does no array. */
	assert_int_equal(vfm_vfio_user_set_irq_fds(pair->client, VFM_PCI_MSIX_IRQ,
						   VFM_IRQ_SET_ACTION_TRIGGER, 0, 3,
						   (const int[]){fds[0], -1, fds[2]}), 0);
	assert_int_equal(pair->fake.irq_fds[1], -1);
	assert_true(pair->fake.irq_fds[2] >= 0);
	assert_int_equal(vfm_vfio_user_set_irq_fds(pair->client, VFM_PCI_MSIX_IRQ,
						   VFM_IRQ_SET_ACTION_TRIGGER, 0, FAKE_IRQS, NULL), 0);
	assert_int_equal(pair->fake.irq_fds[2], -1);
	assert_int_equal(vfm_vfio_user_set_irqs(pair->client, 2, VFM_IRQ_SET_DATA_NONE, 0, 1, NULL),
			 -EINVAL);
	assert_int_equal(vfm_vfio_user_set_irq_fds(pair->client, 2, VFM_IRQ_SET_ACTION_TRIGGER,
						   UINT32_MAX, 2, NULL), -EINVAL);
	for (unsigned i = 0; i < FAKE_IRQS; i++)
		close(fds[i]);
	pair_free(pair);
	assert_int_equal(count_fds(), fds_before);
}

static void regions_are_read_and_written(void **state)
{
	struct pair *pair = pair_new();
	struct vfm_vfio_user_options options = {.size = sizeof(options), .max_data_xfer = 4096};
	unsigned char out[10000], in[10000];
	const struct vfm_vfio_user_write_one writes[] = {{0, 0, 4, 0x11223344}, {6, 0, 2, 0x5566}};

	pair_start(pair, &options);
	for (unsigned i = 0; i < sizeof(out); i++)
		out[i] = (unsigned char)(i * 7);
	/* Three requests each way. */
	assert_int_equal(vfm_vfio_user_region_write(pair->client, 0, 100, out, sizeof(out)), 0);
	assert_int_equal(vfm_vfio_user_region_read(pair->client, 0, 100, in, sizeof(in)), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_int_equal(vfm_vfio_user_region_write_multi(pair->client, writes, 2), 0);
	assert_int_equal(vfm_vfio_user_region_read(pair->client, 0, 0, in, 8), 0);
	assert_memory_equal(in, "\x44\x33\x22\x11\0\0\x66\x55", 8);
	assert_int_equal(vfm_vfio_user_region_read(pair->client, 0, FAKE_BAR0_SIZE - 2, in, 4),
			 -EINVAL);
	assert_fine(pair->client);
	pair_free(pair);
}

/* ---- guest memory ---- */

static unsigned char guest[8192];

static int guest_read(void *opaque, uint64_t iova, void *buf, size_t len)
{
	memcpy(buf, guest + (iova - 0x10000), len);
	return 0;
}

static int guest_write(void *opaque, uint64_t iova, const void *buf, size_t len)
{
	if (iova == 0x10000 + 4096)
		return -EIO;
	memcpy(guest + (iova - 0x10000), buf, len);
	return 0;
}

/* Ask the client for memory and return its answer's header; the data goes to @buf. */
static struct vfm_vfio_user_header dma(struct fake *fake, uint16_t command, uint64_t addr,
				       uint64_t count, void *buf, size_t data)
{
	struct __attribute__((packed)) {
		struct vfm_vfio_user_header header;
		struct vfm_vfio_user_dma_rw rw;
		unsigned char data[64];
	} ask = {{77, command, (uint32_t)(sizeof(ask.header) + sizeof(ask.rw) + data), 0, 0},
		 {addr, count}, {0}};
	struct fake_message answer = {.payload = malloc(FAKE_MESSAGE_MAX)};

	memcpy(ask.data, buf, data);
	fake_send(fake, &ask, ask.header.size);
	if (!fake_receive(fake, &answer))
		memset(&answer.header, 0, sizeof(answer.header));
	else if (answer.len > sizeof(ask.rw))
		memcpy(buf, answer.payload + sizeof(ask.rw), answer.len - sizeof(ask.rw));
	free(answer.payload);
	return answer.header;
}

static uint32_t dma_error(struct fake *fake, uint16_t command, uint64_t addr, uint64_t count,
			  size_t data)
{
	unsigned char buf[64] = {0};
	struct vfm_vfio_user_header header = dma(fake, command, addr, count, buf, data);

	if (header.id != 77 || header.command != command)
		return 0xffff;
	return header.flags & VFM_VFIO_USER_FLAG_ERROR ? header.error : 0;
}

/* While it owes the answer to a reset, the device does its DMA. The outcome is left in bar0. */
static bool dma_in_reset(struct fake *fake, struct fake_message *msg)
{
	uint32_t errors[8];
	unsigned char buf[64] = "written by the device";

	if (msg->header.command != VFM_VFIO_USER_DEVICE_RESET)
		return false;
	errors[0] = dma_error(fake, VFM_VFIO_USER_DMA_READ, 0x10000, 64, 0);
	errors[1] = dma_error(fake, VFM_VFIO_USER_DMA_READ, 0x10000 + 8190, 4, 0);
	errors[2] = dma_error(fake, VFM_VFIO_USER_DMA_READ, 0x50000, 4, 0);
	errors[3] = dma_error(fake, VFM_VFIO_USER_DMA_READ, UINT64_MAX - 1, 4, 0);
	errors[4] = dma_error(fake, VFM_VFIO_USER_DMA_WRITE, 0x20000, 4, 4);
	errors[5] = dma_error(fake, VFM_VFIO_USER_DMA_WRITE, 0x10000 + 4096, 4, 4);
	errors[6] = dma_error(fake, VFM_VFIO_USER_DMA_READ, 0x10000, 64 * MIB, 0);
	errors[7] = dma_error(fake, 99, 0x10000, 4, 0);
	memcpy(fake->bar0, errors, sizeof(errors));
	dma(fake, VFM_VFIO_USER_DMA_WRITE, 0x10000 + 500, 32, buf, 32);
	dma(fake, VFM_VFIO_USER_DMA_READ, 0x10000 + 496, 64, buf, 0);
	memcpy(fake->bar0 + 100, buf, sizeof(buf));
	fake_reply(fake, msg, 0, NULL, 0);
	return true;
}

static void server_reads_and_writes_memory(void **state)
{
	struct pair *pair = pair_new();
	struct vfm_vfio_user_options options = {
		.size = sizeof(options), .dma_read = guest_read, .dma_write = guest_write};
	const uint32_t expected[8] = {0, EFAULT, EFAULT, EFAULT, EFAULT, EIO, EINVAL, EOPNOTSUPP};

	memset(guest, 0x5a, sizeof(guest));
	pair->fake.hook = dma_in_reset;
	pair_start(pair, &options);
	assert_int_equal(vfm_vfio_user_dma_map(pair->client, 0x10000, sizeof(guest), 3, -1, 0), 0);
	/* Readable only. */
	assert_int_equal(vfm_vfio_user_dma_map(pair->client, 0x20000, 4096, 1, -1, 0), 0);
	assert_int_equal(vfm_vfio_user_reset(pair->client), 0);
	assert_memory_equal(pair->fake.bar0, expected, sizeof(expected));
	assert_string_equal((char *)guest + 500, "written by the device");
	assert_memory_equal(pair->fake.bar0 + 100, guest + 496, 64);
	assert_fine(pair->client);
	pair_free(pair);
}

/* The count of a DMA_WRITE does not fit its message. */
static bool lying_dma(struct fake *fake, struct fake_message *msg)
{
	unsigned char buf[64] = {0};

	if (msg->header.command != VFM_VFIO_USER_DEVICE_RESET)
		return false;
	dma(fake, VFM_VFIO_USER_DMA_WRITE, 0x10000, 8, buf, 4);
	return true;
}

static void lying_dma_loses_the_server(void **state)
{
	struct pair *pair = pair_new();
	struct vfm_vfio_user_options options = {
		.size = sizeof(options), .dma_read = guest_read, .dma_write = guest_write};

	pair->fake.hook = lying_dma;
	pair_start(pair, &options);
	assert_int_equal(vfm_vfio_user_reset(pair->client), -ENOTCONN);
	assert_lost(pair->client, "for 8 bytes with 4 bytes");
	pair_free(pair);
}

static void maps_are_kept_apart(void **state)
{
	struct pair *pair = pair_new();
	int fd = memfd_create("guest", MFD_CLOEXEC);

	pair->fake.version = "{\"capabilities\":{\"max_dma_maps\":3}}";
	pair->fake.strict_stop = true;
	pair_start(pair, NULL);
	assert_int_equal(vfm_vfio_user_dma_map(pair->client, 0x10000, 0x1000, 3, fd, 0), 0);
	assert_int_equal(vfm_vfio_user_dma_map(pair->client, 0x12000, 0x1000, 3, fd, 0x1000), 0);
	assert_int_equal(vfm_vfio_user_dma_map(pair->client, 0xf000, 0x1001, 3, fd, 0), -EEXIST);
	assert_int_equal(vfm_vfio_user_dma_map(pair->client, 0x12fff, 0x1000, 3, fd, 0), -EEXIST);
	assert_int_equal(vfm_vfio_user_dma_map(pair->client, 0x11000, 0x1000, 3, -1, 0), 0);
	assert_int_equal(vfm_vfio_user_dma_map(pair->client, 0x20000, 0x1000, 3, -1, 0), -ENOSPC);
	assert_int_equal(vfm_vfio_user_dma_map(pair->client, 0x20000, 0, 3, -1, 0), -EINVAL);
	assert_int_equal(vfm_vfio_user_dma_map(pair->client, UINT64_MAX, 2, 3, -1, 0), -EINVAL);
	assert_int_equal(vfm_vfio_user_dma_unmap(pair->client, 0x11000, 0x800), -ENOENT);
	assert_int_equal(vfm_vfio_user_dma_unmap(pair->client, 0x11000, 0x1000), 0);
	assert_int_equal(vfm_vfio_user_dma_unmap(pair->client, 0x11000, 0x1000), -ENOENT);
	assert_int_equal(vfm_vfio_user_dma_map(pair->client, 0x20000, 0x1000, 3, -1, 0), 0);
	assert_int_equal(pair->fake.map_count, 3);
	/* A mapping that the server refused is none. */
	assert_int_equal(vfm_vfio_user_dma_unmap(pair->client, 0x20000, 0x1000), 0);
	assert_int_equal(vfm_vfio_user_set_mig_state(pair->client, VFM_STATE_STOP), 0);
	assert_int_equal(vfm_vfio_user_dma_map(pair->client, 0x20000, 0x1000, 3, -1, 0), -EINVAL);
	assert_int_equal(vfm_vfio_user_set_mig_state(pair->client, VFM_STATE_RUNNING), 0);
	assert_int_equal(vfm_vfio_user_dma_map(pair->client, 0x20000, 0x1000, 3, -1, 0), 0);
	close(fd);
	pair_free(pair);
}

/* ---- migration ---- */

static void stream_is_read_to_size_0(void **state)
{
	for (int pad = 0; pad < 2; pad++) {
		struct pair *pair = pair_new();
		unsigned char *buf = malloc(MIB);
		size_t total = 0;
		ssize_t got;

		pair->fake.pad = pad;
		pair->fake.stream_len = MIB + 12345;
		pair_start(pair, NULL);
		assert_int_equal(vfm_vfio_user_set_mig_state(pair->client, VFM_STATE_STOP_COPY), 0);
		while ((got = vfm_vfio_user_mig_data_read(pair->client, buf, MIB)) > 0) {
			assert_true(got <= 256 * KIB);
			for (ssize_t i = 0; i < got; i++)
				if (buf[i] != fake_stream_byte(total + (size_t)i))
					fail_msg("byte %zu is wrong", total + (size_t)i);
			total += (size_t)got;
		}
		assert_int_equal(got, 0);
		assert_int_equal(total, MIB + 12345);
		free(buf);
		pair_free(pair);
	}
}

static void stream_is_written(void **state)
{
	struct pair *pair = pair_new();
	unsigned char *buf = malloc(MIB);

	pair_start(pair, NULL);
	for (size_t i = 0; i < MIB; i++)
		buf[i] = fake_stream_byte(i);
	assert_int_equal(vfm_vfio_user_set_mig_state(pair->client, VFM_STATE_RESUMING), 0);
	assert_int_equal(vfm_vfio_user_mig_data_write(pair->client, buf, MIB - 1), 0);
	assert_int_equal(pair->fake.sink_len, MIB - 1);
	assert_memory_equal(pair->fake.sink, buf, MIB - 1);
	free(buf);
	pair_free(pair);
}

static void sizes_and_reinit(void **state)
{
	struct pair *pair = pair_new();
	struct vfm_precopy_info info;
	uint64_t size;

	pair->fake.precopy_flags = VFM_PRECOPY_INFO_REINIT;
	pair_start(pair, NULL);
	assert_int_equal(vfm_vfio_user_get_data_size(pair->client, &size), 0);
	assert_int_equal(size, 12345);
	assert_int_equal(vfm_vfio_user_get_precopy_info(pair->client, &info), -EINVAL);
	assert_int_equal(vfm_vfio_user_set_mig_state(pair->client, VFM_STATE_PRE_COPY), 0);
	/* Flags before the opt-in mean nothing. */
	assert_int_equal(vfm_vfio_user_get_precopy_info(pair->client, &info), 0);
	assert_int_equal(info.flags, 0);
	assert_int_equal(info.initial_bytes, 1000);
	assert_int_equal(info.dirty_bytes, 2000);
	assert_int_equal(vfm_vfio_user_optin_precopy_info(pair->client), 0);
	assert_int_equal(vfm_vfio_user_get_precopy_info(pair->client, &info), 0);
	assert_int_equal(info.flags, VFM_PRECOPY_INFO_REINIT);
	pair_free(pair);
}

static void disguised_size_is_an_error(void **state)
{
	struct pair *pair = pair_new();
	uint64_t size;

	pair->fake.data_size = (uint64_t)-EIO;
	pair_start(pair, NULL);
	assert_int_equal(vfm_vfio_user_get_data_size(pair->client, &size), -EIO);
	assert_true(size == VFM_SIZE_UNKNOWN);
	pair_free(pair);
}

static bool test_bit(const uint64_t *bitmap, uint64_t bit)
{
	return bitmap[bit / 64] >> (bit % 64) & 1;
}

/* The server knows no range that is not inside one mapping: reports are cut to the mappings. */
static void dirty_log_is_clipped_to_maps(void **state)
{
	struct pair *pair = pair_new();
	struct vfm_vfio_user_options options = {.size = sizeof(options), .max_data_xfer = 4096};
	uint64_t page_size = 65536, first = 0x100, pages = 40000;
	uint64_t *bitmap = calloc(pages / 64 + 1, 8);
	bool mapped, expected;

	pair->fake.log_page_size = 4096;
	pair_start(pair, &options);
	/* The second is larger than one report can carry, and starts inside a word. */
	assert_int_equal(vfm_vfio_user_dma_map(pair->client, 0x100000, 0x25000, 3, -1, 0), 0);
	assert_int_equal(vfm_vfio_user_dma_map(pair->client, 0x130000, 30001ull << 12, 3, -1, 0), 0);
	assert_int_equal(vfm_vfio_user_log_start(pair->client, NULL, 0, &page_size), 0);
	assert_int_equal(page_size, 4096);
	bitmap[0] = 1ull << 50;
	assert_int_equal(vfm_vfio_user_log_report(pair->client, first << 12, pages << 12, page_size,
						  bitmap), 0);
	for (uint64_t i = 0; i < pages; i++) {
		mapped = i < 0x25 || (i >= 0x30 && i < 0x30 + 30001);
		expected = (mapped && (first + i) % 3 == 0) || i == 50;
		if (test_bit(bitmap, i) != expected)
			fail_msg("page %llu", (unsigned long long)i);
	}
	assert_int_equal(vfm_vfio_user_log_report(pair->client, 0x100000, 0x1000, 3000, bitmap),
			 -EINVAL);
	assert_int_equal(vfm_vfio_user_log_report(pair->client, 0x100000, 0x20000, 0x10000, bitmap),
			 0);
	assert_int_equal(vfm_vfio_user_log_report(pair->client, 0x120000, 0x10000, 0x10000, bitmap),
			 -EINVAL);
	assert_int_equal(vfm_vfio_user_log_stop(pair->client), 0);
	assert_int_equal(vfm_vfio_user_log_report(pair->client, 0x100000, 0x1000, 4096, bitmap),
			 -ENOENT);
	free(bitmap);
	pair_free(pair);
}

/* ---- a server that breaks the protocol ---- */

/* The answer to a reset is replaced by these bytes; 0 bytes: the server closes. */
static struct vfm_vfio_user_header bad_header;
static size_t bad_len;

static bool send_bad_header(struct fake *fake, struct fake_message *msg)
{
	if (msg->header.command != VFM_VFIO_USER_DEVICE_RESET)
		return false;
	if (bad_header.id == 0)
		bad_header.id = msg->header.id;
	fake_send(fake, &bad_header, bad_len);
	if (bad_len < sizeof(bad_header))
		fake_die(fake);
	return true;
}

static void try_bad_header(struct vfm_vfio_user_header header, size_t len, const char *because)
{
	struct pair *pair = pair_new();

	bad_header = header;
	bad_len = len;
	pair->fake.hook = send_bad_header;
	pair_start(pair, NULL);
	assert_int_equal(vfm_vfio_user_reset(pair->client), -ENOTCONN);
	assert_lost(pair->client, because);
	pair_free(pair);
}

static void broken_messages_lose_the_server(void **state)
{
	const uint16_t reset = VFM_VFIO_USER_DEVICE_RESET;
	const struct vfm_vfio_user_header good = {0, reset, 16, VFM_VFIO_USER_TYPE_REPLY, 0};
	struct vfm_vfio_user_header bad;

	try_bad_header(good, 0, "closed the connection");
	try_bad_header(good, 7, "closed the connection inside a message");
	bad = good, bad.size = 15;
	try_bad_header(bad, 16, "a message of 15 bytes");
	bad = good, bad.size = UINT32_MAX;
	try_bad_header(bad, 16, "a message of 4294967295 bytes");
	bad = good, bad.size = 20;
	try_bad_header(bad, 16, "a reply to command 13 with 4 bytes");
	bad = good, bad.flags = 7;
	try_bad_header(bad, 16, "unknown type 7");
	bad = good, bad.command = VFM_VFIO_USER_REGION_READ;
	try_bad_header(bad, 16, "a reply to command 9 for a request 13");
	bad = good, bad.id = 0x7777;
	try_bad_header(bad, 16, "which nobody waits for");
	memset(&bad, 0xa5, sizeof(bad));
	try_bad_header(bad, 16, "a message of");
}

/* A read's reply: too short for its head, too short for its data, too long, or cut off. */
static bool send_bad_read(struct fake *fake, struct fake_message *msg)
{
	unsigned char buf[64] = {0};
	struct vfm_vfio_user_header header = {msg->header.id, msg->header.command, 16 + 16 + 8,
					      VFM_VFIO_USER_TYPE_REPLY, 0};

	if (msg->header.command != VFM_VFIO_USER_REGION_READ)
		return false;
	memcpy(buf, msg->payload, sizeof(struct vfm_vfio_user_region_rw));
	switch (fake->hits) {
	case 0:
		fake_reply(fake, msg, 0, buf, 12);
		return true;
	case 1:
		fake_reply(fake, msg, 0, buf, 16 + 3);
		return true;
	case 2:
		fake_reply(fake, msg, 0, buf, 16 + 9);
		return true;
	case 3:
		fake_send(fake, &header, sizeof(header));
		fake_send(fake, buf, 18);
		fake_die(fake);
		return true;
	default: /* The rest never comes. */
		fake_send(fake, &header, sizeof(header));
		fake_send(fake, buf, 18);
		return true;
	}
}

static void broken_reads_lose_the_server(void **state)
{
	const char *because[] = {"a reply to command 9 with 12 bytes", "without its data",
				 "a reply to command 9 with 25 bytes", "inside a message",
				 "stopped inside a message"};
	/* Waited out in the last case; patience enough for all else on a busy machine. */
	struct vfm_vfio_user_options options = {.size = sizeof(options), .request_timeout_ms = 1500};
	char buf[8];

	for (int i = 0; i < 5; i++) {
		struct pair *pair = pair_new();

		pair->fake.hook = send_bad_read;
		pair->fake.hits = i;
		pair_start(pair, &options);
		assert_int_equal(vfm_vfio_user_region_read(pair->client, 0, 0, buf, 8), -ENOTCONN);
		assert_lost(pair->client, because[i]);
		pair_free(pair);
	}
}

/* More data announced than sent, or than asked for. */
static bool send_bad_data(struct fake *fake, struct fake_message *msg)
{
	struct vfm_vfio_user_mig_data head = {24, 17};
	char buf[24] = {0};

	if (msg->header.command != VFM_VFIO_USER_MIG_DATA_READ)
		return false;
	if (fake->hits)
		head.size = UINT32_MAX;
	memcpy(buf, &head, sizeof(head));
	fake_reply(fake, msg, 0, buf, sizeof(buf));
	return true;
}

static void bad_data_loses_the_server(void **state)
{
	char buf[64];

	for (int i = 0; i < 2; i++) {
		struct pair *pair = pair_new();

		pair->fake.hook = send_bad_data;
		pair->fake.hits = i;
		pair_start(pair, NULL);
		assert_int_equal(vfm_vfio_user_mig_data_read(pair->client, buf, 64), -ENOTCONN);
		assert_lost(pair->client, "announced");
		pair_free(pair);
	}
}

static bool send_error(struct fake *fake, struct fake_message *msg)
{
	struct vfm_vfio_user_header header = {msg->header.id, msg->header.command, 16,
					      VFM_VFIO_USER_TYPE_REPLY | VFM_VFIO_USER_FLAG_ERROR,
					      0};

	if (msg->header.command != VFM_VFIO_USER_DEVICE_RESET)
		return false;
	header.error = (uint32_t[]){EBUSY, 0, 100000, ENOTCONN, ETIMEDOUT, ECANCELED}[fake->hits++];
	fake_send(fake, &header, sizeof(header));
	return true;
}

/* The errnos that say something about the connection come from the client alone. */
static void errors_are_told(void **state)
{
	struct pair *pair = pair_new();

	pair->fake.hook = send_error;
	pair_start(pair, NULL);
	assert_int_equal(vfm_vfio_user_reset(pair->client), -EBUSY);
	for (int i = 0; i < 5; i++)
		assert_int_equal(vfm_vfio_user_reset(pair->client), -EIO);
	assert_fine(pair->client);
	pair_free(pair);
}

static bool send_fds(struct fake *fake, struct fake_message *msg)
{
	int fds[4];

	if (msg->header.command != VFM_VFIO_USER_DEVICE_RESET)
		return false;
	for (int i = 0; i < 4; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	fake_reply_fds(fake, msg, NULL, 0, fds, 4);
	for (int i = 0; i < 4; i++)
		close(fds[i]);
	return true;
}

static void unexpected_fds_are_closed(void **state)
{
	struct pair *pair = pair_new();
	unsigned fds;

	pair->fake.hook = send_fds;
	pair_start(pair, NULL);
	fds = count_fds();
	assert_int_equal(vfm_vfio_user_reset(pair->client), 0);
	/* The reader closes them before it reads the next message. */
	assert_fine(pair->client);
	assert_int_equal(count_fds(), fds);
	pair_free(pair);
}

/* ---- silence ---- */

/* Requests of these tests that stay without an answer are those with the long timeout, made short;
 * everything else keeps its patience. */
static struct vfm_vfio_user_options impatient(unsigned ms)
{
	return (struct vfm_vfio_user_options){.size = sizeof(struct vfm_vfio_user_options),
					      .transition_timeout_ms = ms};
}

/* The request for data is answered when a region is read, before that. */
static bool answer_late(struct fake *fake, struct fake_message *msg)
{
	if (msg->header.command == VFM_VFIO_USER_MIG_DATA_READ) {
		fake_keep(fake, msg);
		return true;
	}
	if (msg->header.command == VFM_VFIO_USER_REGION_READ)
		fake_serve(fake, &fake->kept);
	return false;
}

static void late_reply_is_thrown_away(void **state)
{
	struct pair *pair = pair_new();
	struct vfm_vfio_user_options options = impatient(50);
	char *late = malloc(4096), config[4];

	pair->fake.hook = answer_late;
	pair->fake.stream_len = 4096;
	pair_start(pair, &options);
	assert_int_equal(vfm_vfio_user_mig_data_read(pair->client, late, 4096), -ETIMEDOUT);
	/* A sanitizer would see a write into it. */
	free(late);
	assert_int_equal(vfm_vfio_user_region_read(pair->client, 7, 0, config, 4), 0);
	assert_memory_equal(config, "\x34\x12\x78\x56", 4);
	assert_int_equal(pair->fake.stream_pos, 4096);
	assert_int_equal(vfm_vfio_user_lost(pair->client, NULL, 0), 0);
	pair_free(pair);
}

static bool never_answer(struct fake *fake, struct fake_message *msg)
{
	return msg->header.command == VFM_VFIO_USER_DEVICE_RESET;
}

static void silence_has_a_limit(void **state)
{
	struct pair *pair = pair_new();
	struct vfm_vfio_user_options options = impatient(5);
	int ret = -ETIMEDOUT, count = 0;

	pair->fake.hook = never_answer;
	pair_start(pair, &options);
	while (ret == -ETIMEDOUT && count++ < 1000)
		ret = vfm_vfio_user_reset(pair->client);
	assert_int_equal(ret, -ENOTCONN);
	assert_lost(pair->client, "without an answer");
	pair_free(pair);
}

/* Stop reading from the first reset on, until the test lets go. */
static sem_t go_on;

static bool stop_reading(struct fake *fake, struct fake_message *msg)
{
	if (msg->header.command != VFM_VFIO_USER_DEVICE_RESET)
		return false;
	sem_post(&fake->seen);
	sem_wait(&go_on);
	fake_die(fake);
	return true;
}

/* @client and a server that reads no more, and owes the answer to a reset. */
static void make_deaf(struct pair *pair, const struct vfm_vfio_user_options *options)
{
	assert_int_equal(sem_init(&go_on, 0, 0), 0);
	pair->fake.hook = stop_reading;
	pair_start(pair, options);
	assert_int_equal(vfm_vfio_user_reset(pair->client), -ETIMEDOUT);
	wait_seen(&pair->fake);
}

static void full_socket_in_a_message_loses_the_server(void **state)
{
	struct vfm_vfio_user_options options = impatient(50);
	struct pair *pair = pair_new();
	unsigned char *buf = calloc(1, MIB);
	int small = 64 << 10;

	options.request_timeout_ms = 1500;
	options.data_chunk = MIB;
	make_deaf(pair, &options);
	/* The client has made room for a whole request. */
	assert_int_equal(setsockopt(pair->fake.client_fd, SOL_SOCKET, SO_SNDBUF, &small,
				    sizeof(small)), 0);
	assert_int_equal(vfm_vfio_user_mig_data_write(pair->client, buf, MIB), -ENOTCONN);
	assert_lost(pair->client, "took a part of a message");
	sem_post(&go_on);
	free(buf);
	pair_free(pair);
}

struct deaf {
	struct vfm_vfio_user *client;
	int ret;
	atomic_bool done;
};

static void *write_to_deaf(void *arg)
{
	struct deaf *deaf = arg;

	deaf->ret = vfm_vfio_user_mig_data_write(deaf->client, "data", 4);
	deaf->done = true;
	return NULL;
}

/* The socket is full before the first byte: the call can go without harm to the connection. */
static void full_socket_before_a_message_is_harmless(void **state)
{
	struct vfm_vfio_user_options options = impatient(50);
	struct pair *pair = pair_new();
	struct deaf deaf = {0};
	char junk[4096] = {0};
	pthread_t thread;
	uint32_t byte;

	options.request_timeout_ms = 1500;
	make_deaf(pair, &options);
	while (send(pair->fake.client_fd, junk, sizeof(junk), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(vfm_vfio_user_region_read(pair->client, 0, 0, &byte, 4), -ETIMEDOUT);
	assert_int_equal(vfm_vfio_user_lost(pair->client, NULL, 0), 0);
	deaf.client = pair->client;
	assert_int_equal(pthread_create(&thread, NULL, write_to_deaf, &deaf), 0);
	while (!deaf.done) {
		vfm_vfio_user_cancel(pair->client);
		sched_yield();
	}
	pthread_join(thread, NULL);
	assert_int_equal(deaf.ret, -ECANCELED);
	assert_int_equal(vfm_vfio_user_lost(pair->client, NULL, 0), 0);
	sem_post(&go_on);
	pair_free(pair);
}

static atomic_int lost_calls;
static char lost_why[VFM_VFIO_USER_WHY_MAX];

static void on_lost(void *opaque, const char *why)
{
	snprintf(lost_why, sizeof(lost_why), "%s", why);
	lost_calls++;
}

static bool die(struct fake *fake, struct fake_message *msg)
{
	if (msg->header.command == VFM_VFIO_USER_VERSION)
		return false;
	fake_die(fake);
	return true;
}

static void loss_is_told_once(void **state)
{
	struct vfm_vfio_user_options options = {.size = sizeof(options), .lost = on_lost};
	struct pair *pair = pair_new();

	lost_calls = 0;
	pair->fake.hook = die;
	pair_start(pair, &options);
	assert_int_equal(vfm_vfio_user_reset(pair->client), -ENOTCONN);
	assert_int_equal(vfm_vfio_user_reset(pair->client), -ENOTCONN);
	pair_free(pair);
	/* The client's thread has ended: whatever it told, it told. */
	assert_int_equal(lost_calls, 1);
	assert_string_equal(lost_why, "the server closed the connection");

	pair = pair_new();
	pair_start(pair, &options);
	vfm_vfio_user_shutdown(pair->client);
	assert_lost(pair->client, "shut down by its owner");
	pair_free(pair);
	assert_int_equal(lost_calls, 1);
}

/* ---- several threads ---- */

struct job {
	struct vfm_vfio_user *client;
	ssize_t ret;
	unsigned index;
	char buf[64];
};

static void *read_data(void *arg)
{
	struct job *job = arg;

	job->ret = vfm_vfio_user_mig_data_read(job->client, job->buf, sizeof(job->buf));
	return NULL;
}

/* Data requests are kept, and answered after the next access to a region. */
static bool hold_data(struct fake *fake, struct fake_message *msg)
{
	if (msg->header.command == VFM_VFIO_USER_MIG_DATA_READ && fake->hits) {
		fake_keep(fake, msg);
		sem_post(&fake->seen);
		return true;
	}
	if (msg->header.command == VFM_VFIO_USER_REGION_READ && fake->has_kept) {
		fake_serve(fake, msg);
		fake_serve(fake, &fake->kept);
		fake->has_kept = false;
		return true;
	}
	return false;
}

static void one_data_request_at_a_time(void **state)
{
	struct pair *pair = pair_new();
	struct job job;
	pthread_t thread;
	char buf[64];

	pair->fake.hook = hold_data;
	pair->fake.hits = 1;
	pair->fake.stream_len = 5000;
	pair_start(pair, NULL);
	job.client = pair->client;
	assert_int_equal(pthread_create(&thread, NULL, read_data, &job), 0);
	wait_seen(&pair->fake);
	assert_int_equal(vfm_vfio_user_mig_data_read(pair->client, buf, 64), -EBUSY);
	assert_int_equal(vfm_vfio_user_mig_data_write(pair->client, buf, 64), -EBUSY);
	/* The answers come in another order than the requests. */
	assert_int_equal(vfm_vfio_user_region_read(pair->client, 0, 0, buf, 64), 0);
	pthread_join(thread, NULL);
	assert_int_equal(job.ret, 64);
	assert_int_equal((unsigned char)job.buf[63], fake_stream_byte(63));
	pair_free(pair);
}

static void cancel_wakes_data_but_not_mmio(void **state)
{
	struct pair *pair = pair_new();
	struct job job;
	pthread_t thread;
	char buf[64];

	pair->fake.hook = hold_data;
	pair->fake.hits = 1;
	pair->fake.stream_len = 5000;
	pair_start(pair, NULL);
	job.client = pair->client;
	assert_int_equal(pthread_create(&thread, NULL, read_data, &job), 0);
	wait_seen(&pair->fake);
	vfm_vfio_user_cancel(pair->client);
	pthread_join(thread, NULL);
	assert_int_equal(job.ret, -ECANCELED);
	/* Here the answer to the cancelled request comes too, and bothers nobody. */
	assert_int_equal(vfm_vfio_user_region_read(pair->client, 0, 0, buf, 64), 0);
	assert_fine(pair->client);
	pair_free(pair);
}

/* A thread that is anywhere in its loop of reads is stopped, until it is let go. */
static void hold_stops_data(void **state)
{
	struct pair *pair = pair_new();
	struct job job;
	pthread_t thread;
	char buf[64];

	pair->fake.hook = hold_data;
	pair->fake.hits = 1;
	pair->fake.stream_len = 5000;
	pair_start(pair, NULL);
	job.client = pair->client;
	assert_int_equal(pthread_create(&thread, NULL, read_data, &job), 0);
	wait_seen(&pair->fake);
	vfio_user_hold(pair->client, true);
	pthread_join(thread, NULL);
	assert_int_equal(job.ret, -ECANCELED);
	assert_int_equal(vfm_vfio_user_mig_data_read(pair->client, buf, 64), -ECANCELED);
	assert_int_equal(vfm_vfio_user_region_read(pair->client, 0, 0, buf, 64), 0);
	vfio_user_hold(pair->client, false);
	assert_fine(pair->client);
	pair_free(pair);
}

static void shutdown_wakes_everybody(void **state)
{
	struct pair *pair = pair_new();
	struct job job;
	pthread_t thread;

	pair->fake.hook = hold_data;
	pair->fake.hits = 1;
	pair_start(pair, NULL);
	job.client = pair->client;
	assert_int_equal(pthread_create(&thread, NULL, read_data, &job), 0);
	wait_seen(&pair->fake);
	vfm_vfio_user_shutdown(pair->client);
	pthread_join(thread, NULL);
	assert_int_equal(job.ret, -ENOTCONN);
	pair_free(pair);
}

static void *use_mmio(void *arg)
{
	struct job *job = arg;
	uint64_t value, got;

	for (unsigned i = 0; i < 300 && !job->ret; i++) {
		value = (uint64_t)job->index << 32 | i;
		job->ret = vfm_vfio_user_region_write(job->client, 0, job->index * 8, &value, 8);
		if (!job->ret)
			job->ret = vfm_vfio_user_region_read(job->client, 0, job->index * 8, &got, 8);
		if (!job->ret && got != value)
			job->ret = -EBADMSG;
	}
	return NULL;
}

static void mmio_goes_on_beside_data(void **state)
{
	struct pair *pair = pair_new();
	struct vfm_vfio_user_options options = {.size = sizeof(options), .data_chunk = 64 * KIB};
	struct job jobs[2] = {0};
	pthread_t threads[2];
	unsigned char *buf = malloc(MIB);
	size_t total = 0;
	ssize_t got;

	pair->fake.stream_len = 3 * MIB;
	pair_start(pair, &options);
	for (unsigned i = 0; i < 2; i++) {
		jobs[i] = (struct job){.client = pair->client, .index = i};
		assert_int_equal(pthread_create(&threads[i], NULL, use_mmio, &jobs[i]), 0);
	}
	while ((got = vfm_vfio_user_mig_data_read(pair->client, buf, MIB)) > 0) {
		assert_true(got <= 64 * KIB);
		assert_int_equal(buf[got - 1], fake_stream_byte(total + (size_t)got - 1));
		total += (size_t)got;
	}
	assert_int_equal(vfm_vfio_user_set_mig_state(pair->client, VFM_STATE_RESUMING), 0);
	for (size_t i = 0; i < MIB; i++)
		buf[i] = fake_stream_byte(i);
	assert_int_equal(vfm_vfio_user_mig_data_write(pair->client, buf, MIB), 0);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(jobs[i].ret, 0);
	}
	assert_int_equal(got, 0);
	assert_int_equal(total, 3 * MIB);
	assert_memory_equal(pair->fake.sink, buf, MIB);
	free(buf);
	pair_free(pair);
}

/* ---- the device back end ---- */

static struct vfm_device *device_of(struct pair *pair)
{
	struct vfm_device *dev = NULL;

	assert_int_equal(vfm_device_new_vfio_user(pair->client, "nic0", &dev), 0);
	return dev;
}

static void device_tells_what_it_is(void **state)
{
	struct pair *pair = pair_new();
	struct vfm_device_info info = {.size = sizeof(info)};
	struct vfm_device *dev;

	pair_start(pair, NULL);
	assert_int_equal(vfm_device_new_vfio_user(pair->client, "", &dev), -EINVAL);
	dev = device_of(pair);
	assert_int_equal(vfm_device_get_info(dev, &info), 0);
	assert_string_equal(info.name, "nic0");
	assert_string_equal(info.backend, "vfio-user");
	assert_int_equal(info.mig_flags, 7);
	assert_int_equal(info.pci_vendor, 0x1234);
	assert_int_equal(info.pci_device, 0x5678);
	assert_int_equal(info.pci_subsystem_vendor, 0x1af4);
	assert_int_equal(info.pci_subsystem, 0x1101);
	assert_int_equal(info.has_dma_logging, 1);
	assert_int_equal(info.has_data_size, 1);
	assert_int_equal(info.has_precopy_info, 1);
	assert_int_equal(info.has_reinit, 1);
	info.size = 4;
	assert_int_equal(vfm_device_get_info(dev, &info), -EINVAL);
	vfm_device_free(dev);
	pair_free(pair);
}

static void device_tells_reinit(void **state)
{
	struct pair *pair = pair_new();
	struct device_precopy precopy;
	struct vfm_device *dev;
	uint64_t size;

	pair->fake.precopy_flags = VFM_PRECOPY_INFO_REINIT;
	pair_start(pair, NULL);
	dev = device_of(pair);
	assert_int_equal(dev->ops->precopy_info(dev, &precopy), -EINVAL);
	assert_int_equal(vfm_device_set_state(dev, VFM_STATE_PRE_COPY, NULL), 0);
	assert_int_equal(dev->ops->precopy_info(dev, &precopy), 0);
	assert_int_equal(precopy.initial_bytes, 1000);
	assert_int_equal(precopy.dirty_bytes, 2000);
	assert_true(precopy.reinit);
	assert_int_equal(dev->ops->stop_copy_size(dev, &size), 0);
	assert_int_equal(size, 12345);
	vfm_device_free(dev);
	pair_free(pair);
}

static bool refuse_config(struct fake *fake, struct fake_message *msg)
{
	if (msg->header.command != VFM_VFIO_USER_REGION_READ)
		return false;
	fake_reply(fake, msg, EINVAL, NULL, 0);
	return true;
}

static void device_without_identity(void **state)
{
	struct pair *pair = pair_new();
	struct vfm_device *dev;

	pair->fake.hook = refuse_config;
	pair_start(pair, NULL);
	dev = device_of(pair);
	assert_int_equal(dev->info.pci_vendor, 0xffff);
	assert_int_equal(dev->info.pci_subsystem, 0xffff);
	assert_int_equal(dev->info.mig_flags, 7);
	vfm_device_free(dev);
	pair_free(pair);
}

static void impossible_state_is_refused(void **state)
{
	struct pair *pair = pair_new();
	enum vfm_state seen;
	struct vfm_device *dev;

	pair->fake.state = VFM_STATE_COUNT;
	pair_start(pair, NULL);
	assert_int_equal(vfm_vfio_user_get_mig_state(pair->client, &seen), -EPROTO);
	assert_int_equal(vfm_device_new_vfio_user(pair->client, "nic0", &dev), -EPROTO);
	pair_free(pair);
}

static void device_degrades(void **state)
{
	struct pair *pair = pair_new();
	struct vfm_device_info info = {.size = sizeof(info)};
	struct device_precopy precopy;
	struct vfm_device *dev;
	uint64_t size;

	pair->fake.version = NULL;
	pair->fake.no_logging = true;
	pair_start(pair, NULL);
	dev = device_of(pair);
	assert_int_equal(vfm_device_get_info(dev, &info), 0);
	assert_int_equal(info.mig_flags, VFM_MIG_STOP_COPY | VFM_MIG_PRE_COPY);
	assert_int_equal(info.has_dma_logging | info.has_data_size | info.has_precopy_info |
				 info.has_reinit, 0);
	assert_int_equal(dev->ops->precopy_info(dev, &precopy), 0);
	assert_true(precopy.initial_bytes == VFM_SIZE_UNKNOWN);
	assert_true(precopy.dirty_bytes == VFM_SIZE_UNKNOWN);
	assert_int_equal(dev->ops->stop_copy_size(dev, &size), 0);
	assert_true(size == VFM_SIZE_UNKNOWN);
	vfm_device_free(dev);
	pair_free(pair);
}

static void device_without_migration_is_still_one(void **state)
{
	struct pair *pair = pair_new();
	struct vfm_device_info info = {.size = sizeof(info)};
	struct vfm_device *dev;

	pair->fake.mig_flags = 0;
	pair_start(pair, NULL);
	dev = device_of(pair);
	assert_int_equal(vfm_device_get_info(dev, &info), 0);
	assert_int_equal(info.mig_flags, 0);
	assert_int_equal(vfm_device_set_state(dev, VFM_STATE_STOP, NULL), -EINVAL);
	vfm_device_free(dev);
	pair_free(pair);
}

/* A client died in STOP; its successor finds the device there, and everything refused. */
static void device_found_in_stop(void **state)
{
	struct pair *pair = pair_new();
	struct vfm_device_info info = {.size = sizeof(info)};
	struct vfm_vfio_user_device device = {.size = sizeof(device)};
	struct vfm_device *dev;

	pair->fake.state = VFM_STATE_STOP;
	pair->fake.strict_stop = true;
	pair_start(pair, NULL);
	assert_int_equal(vfm_vfio_user_get_device(pair->client, &device), -EINVAL);
	assert_int_equal(vfm_vfio_user_reset(pair->client), -EINVAL);
	dev = device_of(pair);
	assert_int_equal(dev->state, VFM_STATE_STOP);
	assert_int_equal(vfm_device_get_info(dev, &info), 0);
	assert_int_equal(info.pci_vendor, 0x1234);
	assert_int_equal(vfm_device_reset(dev), 0);
	assert_int_equal(dev->state, VFM_STATE_RUNNING);
	assert_int_equal(pair->fake.resets, 1);
	assert_int_equal(vfm_device_set_state(dev, VFM_STATE_STOP_COPY, NULL), 0);
	assert_int_equal(vfm_device_reset(dev), 0);
	assert_int_equal(pair->fake.resets, 2);
	vfm_device_free(dev);
	pair_free(pair);
}

/* PRE_COPY is advertised and has no data: that is "nothing now", not an error. */
static void precopy_without_data(void **state)
{
	struct pair *pair = pair_new();
	struct vfm_device *dev;
	char buf[64];

	pair_start(pair, NULL);
	dev = device_of(pair);
	assert_int_equal(vfm_device_set_state(dev, VFM_STATE_PRE_COPY, NULL), 0);
	assert_int_equal(dev->ops->read(dev, buf, sizeof(buf)), 0);
	assert_int_equal(vfm_device_set_state(dev, VFM_STATE_RUNNING, NULL), 0);
	vfm_device_free(dev);
	pair_free(pair);
}

/* RESUMING to STOP fails, and the device says ERROR: a reset brings it back. */
static bool refuse_to_load(struct fake *fake, struct fake_message *msg)
{
	struct vfm_vfio_user_feature head;

	memcpy(&head, msg->payload, sizeof(head));
	if (msg->header.command != VFM_VFIO_USER_DEVICE_FEATURE ||
	    head.flags != (VFM_FEATURE_MIG_DEVICE_STATE | VFM_FEATURE_SET) ||
	    fake->state != VFM_STATE_RESUMING)
		return false;
	fake->state = VFM_STATE_ERROR;
	fake_reply(fake, msg, EBADMSG, NULL, 0);
	return true;
}

static void failed_load_ends_in_a_reset(void **state)
{
	struct pair *pair = pair_new();
	struct vfm_error error = {0};
	struct vfm_device *dev;

	pair->fake.hook = refuse_to_load;
	pair_start(pair, NULL);
	dev = device_of(pair);
	assert_int_equal(vfm_device_set_state(dev, VFM_STATE_RESUMING, &error), 0);
	assert_int_equal(vfm_device_set_state(dev, VFM_STATE_RUNNING, &error), -EBADMSG);
	assert_int_equal(error.code, EBADMSG);
	assert_int_equal(error.has_arc, 1);
	assert_int_equal(error.from, VFM_STATE_RESUMING);
	assert_int_equal(error.to, VFM_STATE_STOP);
	assert_string_equal(error.device, "nic0");
	assert_int_equal(pair->fake.resets, 1);
	assert_int_equal(dev->state, VFM_STATE_RUNNING);
	vfm_device_free(dev);
	pair_free(pair);
}

static void cancelled_device_stays_cancelled(void **state)
{
	struct pair *pair = pair_new();
	struct vfm_device *dev;
	char buf[64];

	pair->fake.stream_len = 5000;
	pair_start(pair, NULL);
	dev = device_of(pair);
	assert_int_equal(vfm_device_set_state(dev, VFM_STATE_STOP_COPY, NULL), 0);
	assert_int_equal(dev->ops->read(dev, buf, sizeof(buf)), sizeof(buf));
	dev->ops->cancel(dev);
	assert_int_equal(dev->ops->read(dev, buf, sizeof(buf)), -ECANCELED);
	assert_int_equal(dev->ops->write(dev, buf, sizeof(buf)), -ECANCELED);
	assert_int_equal(vfm_device_set_state(dev, VFM_STATE_RUNNING, NULL), 0);
	assert_int_equal(vfm_device_set_state(dev, VFM_STATE_STOP_COPY, NULL), 0);
	assert_int_equal(dev->ops->read(dev, buf, sizeof(buf)), sizeof(buf));
	vfm_device_free(dev);
	pair_free(pair);
}

static void device_logs_writes(void **state)
{
	struct pair *pair = pair_new();
	struct vfm_device *dev;
	const struct device_range ranges[] = {{0x100000, 0x40000}, {0x200000, 0x1000}};
	uint64_t page_size = 4096, bitmap = 0;

	pair_start(pair, NULL);
	assert_int_equal(vfm_vfio_user_dma_map(pair->client, 0x100000, 0x4000, 3, -1, 0), 0);
	assert_int_equal(vfm_vfio_user_dma_map(pair->client, 0x108000, 0x4000, 3, -1, 0), 0);
	dev = device_of(pair);
	assert_true(device_has_log(dev));
	assert_int_equal(dev->ops->log_start(dev, ranges, 2, &page_size), 0);
	assert_int_equal(dev->ops->log_report(dev, 0x100000, 0x40000, 4096, &bitmap), 0);
	assert_int_equal(bitmap, 0x904); /* pages 2, (5), 8, 11 of which 5 is not mapped */
	assert_int_equal(dev->ops->log_stop(dev), 0);
	vfm_device_free(dev);
	pair_free(pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agreed_is_the_smaller),
		cmocka_unit_test(defaults_without_capabilities),
		cmocka_unit_test(extension_is_the_and),
		cmocka_unit_test(bad_versions_are_refused),
		cmocka_unit_test(options_are_checked),
		cmocka_unit_test(connects_by_path),
		cmocka_unit_test(tells_device_and_regions),
		cmocka_unit_test(bad_regions_are_refused),
		cmocka_unit_test(long_region_is_asked_for_again),
		cmocka_unit_test(io_fds_are_checked),
		cmocka_unit_test(interrupts_arrive),
		cmocka_unit_test(regions_are_read_and_written),
		cmocka_unit_test(server_reads_and_writes_memory),
		cmocka_unit_test(lying_dma_loses_the_server),
		cmocka_unit_test(maps_are_kept_apart),
		cmocka_unit_test(stream_is_read_to_size_0),
		cmocka_unit_test(stream_is_written),
		cmocka_unit_test(sizes_and_reinit),
		cmocka_unit_test(disguised_size_is_an_error),
		cmocka_unit_test(dirty_log_is_clipped_to_maps),
		cmocka_unit_test(broken_messages_lose_the_server),
		cmocka_unit_test(broken_reads_lose_the_server),
		cmocka_unit_test(bad_data_loses_the_server),
		cmocka_unit_test(errors_are_told),
		cmocka_unit_test(unexpected_fds_are_closed),
		cmocka_unit_test(late_reply_is_thrown_away),
		cmocka_unit_test(silence_has_a_limit),
		cmocka_unit_test(full_socket_before_a_message_is_harmless),
		cmocka_unit_test(full_socket_in_a_message_loses_the_server),
		cmocka_unit_test(loss_is_told_once),
		cmocka_unit_test(one_data_request_at_a_time),
		cmocka_unit_test(cancel_wakes_data_but_not_mmio),
		cmocka_unit_test(hold_stops_data),
		cmocka_unit_test(shutdown_wakes_everybody),
		cmocka_unit_test(mmio_goes_on_beside_data),
		cmocka_unit_test(device_tells_what_it_is),
		cmocka_unit_test(impossible_state_is_refused),
		cmocka_unit_test(device_without_identity),
		cmocka_unit_test(device_tells_reinit),
		cmocka_unit_test(device_degrades),
		cmocka_unit_test(device_without_migration_is_still_one),
		cmocka_unit_test(device_found_in_stop),
		cmocka_unit_test(precopy_without_data),
		cmocka_unit_test(failed_load_ends_in_a_reset),
		cmocka_unit_test(cancelled_device_stays_cancelled),
		cmocka_unit_test(device_logs_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
