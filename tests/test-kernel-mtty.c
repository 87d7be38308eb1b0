/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel back end over a real kernel: in the test machine, on devices of the kernel's sample
 * driver mtty, by group and, where the kernel has that, by character device. Tests of the rules of
 * docs/kernel-vfio.md are named by their numbers.
 */
#include <errno.h>
#include <fcntl.h>
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
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "device/vfio.h"
#include "tests/rig.h"

#define TYPES "/sys/devices/virtual/mtty/mtty/mdev_supported_types"
#define MDEVS "/sys/bus/mdev/devices/"
#define ONE   "20000000-0000-0000-0000-000000000001"
#define TWO   "20000000-0000-0000-0000-000000000002"
#define WIDE  "20000000-0000-0000-0000-000000000003" /* with two ports */

enum { STATE_BYTES = 60, EARLY_BYTES = 24, UART_IER = 1, UART_SCR = 7, BAR = VFM_PCI_BAR0_REGION };

/* ---- devices ---- */

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return done;
}

static void make_mtty(const char *uuid, unsigned ports)
{
	char path[128];

	snprintf(path, sizeof(path), TYPES "/mtty-%u/create", ports);
	if (!write_file(path, uuid))
		fail_msg("%s: %s", path, strerror(errno));
}

static void remove_mtty(const char *uuid)
{
	char path[128];

	snprintf(path, sizeof(path), MDEVS "%s/remove", uuid);
	write_file(path, "1");
}

static bool has_cdev(void)
{
	return access("/dev/iommu", F_OK) == 0;
}

/* Where the kernel answers REPORT: without iommufd it does not. */
static bool has_report(void)
{
	return has_cdev();
}

/* An open device, with a state as it is after a reset. */
struct unit {
	struct vfm_vfio_space *space;
	struct vfm_vfio *vfio;
	struct vfm_device *dev;
};

/* Those of the present test: one that fails must not leave a device busy for the next. */
static struct unit *open_units[4];

static void note_unit(struct unit *u, struct unit *was)
{
	for (unsigned i = 0; i < ARRAY_SIZE(open_units); i++)
		if (open_units[i] == was) {
			open_units[i] = u;
			return;
		}
	fail_msg("too many devices");
}

static void open_as_it_is(struct unit *u, const char *uuid, enum vfm_vfio_way way)
{
	char why[VFM_VFIO_WHY_MAX] = "";

	assert_int_equal(vfm_vfio_space_new(way, &u->space), 0);
	if (vfm_vfio_open(u->space, uuid, &u->vfio, why, sizeof(why)))
		fail_msg("%s", why);
	assert_int_equal(vfm_device_new_vfio(u->vfio, "tty0", &u->dev), 0);
	note_unit(u, NULL);
}

static void open_unit(struct unit *u, const char *uuid, enum vfm_vfio_way way)
{
	open_as_it_is(u, uuid, way);
	assert_int_equal(vfm_device_reset(u->dev), 0);
}

static void close_unit(struct unit *u)
{
	note_unit(NULL, u);
	vfm_device_free(u->dev);
	vfm_vfio_close(u->vfio);
	vfm_vfio_space_free(u->space);
}

static int close_left(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(open_units); i++)
		if (open_units[i])
			close_unit(open_units[i]);
	return 0;
}

/* A test over each way of attachment that there is. */
static void for_ways(void (*test)(enum vfm_vfio_way way))
{
	test(VFM_VFIO_GROUP);
	if (has_cdev())
		test(VFM_VFIO_CDEV);
}

/* ---- states ---- */

/* As debugfs tells it, on a kernel that does. */
static void assert_kernel_says(const char *uuid, enum vfm_state state)
{
	char path[128], text[64] = "";
	FILE *file;

	snprintf(path, sizeof(path), "/sys/kernel/debug/vfio/%s/migration/state", uuid);
	file = fopen(path, "r");
	if (!file && !has_cdev())
		return;
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof(text), file));
	fclose(file);
	text[strcspn(text, "\n")] = 0;
	assert_string_equal(text, vfm_state_name(state));
}

static void go(struct unit *u, enum vfm_state state)
{
	struct vfm_error error = {0};

	if (device_transition(u->dev, state, NULL, NULL, &error))
		fail_msg("to %s: %s: %s", vfm_state_name(state), strerror(error.code), error.text);
}

static enum vfm_state state_of(struct unit *u)
{
	enum vfm_state state;

	assert_int_equal(vfm_device_get_state(u->dev, &state), 0);
	return state;
}

static ssize_t read_all(struct unit *u, uint8_t *buf, size_t room)
{
	size_t size = 0;
	ssize_t got;

	while ((got = u->dev->ops->read(u->dev, buf + size, room - size)) > 0)
		size += (size_t)got;
	return got < 0 ? got : (ssize_t)size;
}

/* The whole state of a device, by stop-copy. */
static size_t save(struct unit *u, uint8_t *buf, size_t room)
{
	ssize_t got;

	go(u, VFM_STATE_STOP_COPY);
	got = read_all(u, buf, room);
	assert_true(got > 0);
	go(u, VFM_STATE_STOP);
	return (size_t)got;
}

static uint8_t scratch(struct unit *u)
{
	uint8_t value;

	assert_int_equal(vfm_vfio_region_read(u->vfio, BAR, UART_SCR, &value, 1), 0);
	return value;
}

static void set_scratch(struct unit *u, uint8_t value)
{
	assert_int_equal(vfm_vfio_region_write(u->vfio, BAR, UART_SCR, &value, 1), 0);
}

/* ---- what it is ---- */

static void identity(enum vfm_vfio_way way)
{
	struct vfm_vfio_place place = {.size = sizeof(place)};
	struct vfm_device_info info = {.size = sizeof(info)};
	static struct unit u;

	open_unit(&u, ONE, way);
	assert_int_equal(vfm_vfio_space_way(u.space), way);
	assert_int_equal(vfm_device_get_info(u.dev, &info), 0);
	assert_string_equal(info.backend, "vfio");
	assert_int_equal(info.mig_flags, ALL_FLAGS);
	assert_int_equal(info.pci_vendor, 0x4348);
	assert_int_equal(info.pci_device, 0x3253);
	assert_int_equal(info.has_dma_logging, 1);
	assert_int_equal(info.tracker, VFM_TRACKER_DEVICE);
	assert_int_equal(info.has_data_size, 1);
	assert_int_equal(info.has_precopy_info, 1);
	assert_int_equal(vfm_vfio_get_place(u.vfio, &place), 0);
	assert_string_equal(place.address, ONE);
	assert_string_equal(place.driver, "mtty");
	assert_true(place.group >= 0);
	assert_int_equal(place.node[0] != 0, has_cdev());
	close_unit(&u);
}

static void tells_what_it_is(void **state)
{
	for_ways(identity);
}

static void regions(enum vfm_vfio_way way)
{
	struct vfm_vfio_region region = {.size = sizeof(region)};
	struct vfm_vfio_device device = {.size = sizeof(device)};
	uint8_t config[256];
	static struct unit u;

	open_unit(&u, ONE, way);
	assert_int_equal(vfm_vfio_get_device(u.vfio, &device), 0);
	assert_true(device.flags & VFM_DEVICE_FLAG_PCI);
	assert_int_equal(device.num_regions, VFM_PCI_NUM_REGIONS);
	assert_int_equal(vfm_vfio_get_region(u.vfio, BAR, &region), 0);
	assert_true(region.bytes >= 8);
	vfm_vfio_region_clear(&region);
	assert_int_equal(vfm_vfio_region_read(u.vfio, VFM_PCI_CONFIG_REGION, 0, config, 64), 0);
	assert_int_equal(config[0] | config[1] << 8, 0x4348);
	assert_int_equal(vfm_vfio_region_read(u.vfio, BAR, region.bytes, config, 1), -EINVAL);
	assert_int_equal(vfm_vfio_region_read(u.vfio, 63, 0, config, 1), -EINVAL);
	set_scratch(&u, 0xa5);
	assert_int_equal(scratch(&u), 0xa5);
	close_unit(&u);
}

static void regions_are_read_and_written(void **state)
{
	for_ways(regions);
}

static void interrupts(enum vfm_vfio_way way)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	uint8_t thri = 2, off = 0;
	uint32_t flags, count;
	static struct unit u;

	open_unit(&u, ONE, way);
	assert_int_equal(vfm_vfio_get_irq(u.vfio, VFM_PCI_INTX_IRQ, &flags, &count), 0);
	assert_true(flags & VFM_IRQ_INFO_EVENTFD);
	assert_int_equal(count, 1);
	assert_int_equal(vfm_vfio_set_irq_fds(u.vfio, VFM_PCI_INTX_IRQ,
					      VFM_IRQ_SET_ACTION_TRIGGER, 0, 1, &fd), 0);
	assert_int_equal(vfm_vfio_region_write(u.vfio, BAR, UART_IER, &thri, 1), 0);
	assert_int_equal(poll(&poll_fd, 1, 10000), 1);
	assert_int_equal(vfm_vfio_region_write(u.vfio, BAR, UART_IER, &off, 1), 0);
	assert_int_equal(vfm_vfio_set_irqs(u.vfio, VFM_PCI_INTX_IRQ,
					   VFM_IRQ_SET_DATA_NONE | VFM_IRQ_SET_ACTION_TRIGGER, 0, 0,
					   NULL), 0);
	close_unit(&u);
	close(fd);
}

static void interrupts_arrive(void **state)
{
	for_ways(interrupts);
}

/* ---- attaching ---- */

static void mapping(enum vfm_vfio_way way)
{
	uint8_t *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			       -1, 0);
	struct vfm_vfio *one, *two;
	struct vfm_vfio_space *space;

	assert_true(memory != MAP_FAILED);
	assert_int_equal(vfm_vfio_space_new(way, &space), 0);
	assert_int_equal(vfm_vfio_space_map(space, 0, 1 << 19, memory), 0); /* before any device */
	assert_int_equal(vfm_vfio_space_map(space, 4096, 4096, memory), -EEXIST);
	assert_int_equal(vfm_vfio_space_map(space, 1, 4096, memory), -EINVAL);
	assert_int_equal(vfm_vfio_space_map(space, -4096ull, 8192, memory), -EINVAL);
	assert_int_equal(vfm_vfio_open(space, ONE, &one, NULL, 0), 0);
	assert_int_equal(vfm_vfio_space_map(space, 1 << 30, 1 << 19, memory + (1 << 19)), 0);
	assert_int_equal(vfm_vfio_open(space, TWO, &two, NULL, 0), 0);
	assert_int_equal(vfm_vfio_space_unmap(space, 0, 4096), -ENOENT);
	assert_int_equal(vfm_vfio_space_unmap(space, 0, 1 << 19), 0);
	assert_int_equal(vfm_vfio_space_map(space, 0, 1 << 19, memory), 0);
	vfm_vfio_close(two);
	vfm_vfio_close(one);
	/* No device is there now, and one comes again: it finds the memory. */
	assert_int_equal(vfm_vfio_open(space, ONE, &one, NULL, 0), 0);
	assert_int_equal(vfm_vfio_space_unmap(space, 1 << 30, 1 << 19), 0);
	vfm_vfio_close(one);
	vfm_vfio_space_free(space);
	munmap(memory, 1 << 20);
}

static void memory_is_mapped(void **state)
{
	for_ways(mapping);
}

static void what_cannot_be_opened_is_told(void **state)
{
	char why[VFM_VFIO_WHY_MAX] = "";
	struct vfm_vfio_space *space;
	struct vfm_vfio *vfio;
	static struct unit u;

	assert_int_equal(vfm_vfio_space_new(VFM_VFIO_GROUP, &space), 0);
	assert_int_equal(vfm_vfio_open(space, "nonsense", &vfio, why, sizeof(why)), -EINVAL);
	assert_int_equal(vfm_vfio_open(space, "2" ONE, &vfio, why, sizeof(why)), -EINVAL);
	assert_int_equal(vfm_vfio_open(space, "30000000-0000-0000-0000-000000000001", &vfio, why,
				       sizeof(why)), -ENODEV);
	assert_non_null(strstr(why, "there is no device"));
	assert_int_equal(vfm_vfio_open(space, "fd:0", &vfio, why, sizeof(why)), -ENOTTY);
	/* A device of the machine that VFIO has nothing to do with. */
	assert_int_equal(vfm_vfio_open(space, "/sys/devices/system/cpu/cpu0", &vfio, why,
				       sizeof(why)), -ENXIO);
	assert_non_null(strstr(why, "bind it to vfio-pci"));
	open_unit(&u, ONE, VFM_VFIO_GROUP);
	assert_int_equal(vfm_vfio_open(space, ONE, &vfio, why, sizeof(why)), -EBUSY);
	close_unit(&u);
	vfm_vfio_space_free(space);
	if (has_cdev())
		return;
	assert_int_equal(vfm_vfio_space_new(VFM_VFIO_CDEV, &space), 0);
	assert_int_equal(vfm_vfio_open(space, ONE, &vfio, why, sizeof(why)), -ENXIO);
	assert_non_null(strstr(why, "by group"));
	vfm_vfio_space_free(space);
}

/* What a VMM does that opens its devices itself. */
static void descriptors_are_enough(void **state)
{
	struct vfm_vfio_fds fds = {.size = sizeof(fds), .iommufd = -1, .container = -1};
	struct vfm_device *dev;
	static struct unit u;
	char name[32];

	open_unit(&u, ONE, VFM_VFIO_ANY);
	fds.device = vfm_vfio_fd(u.vfio);
	assert_int_equal(vfm_device_new_vfio_fds(&fds, "mine", &dev), 0);
	assert_int_equal(vfm_device_set_state(dev, VFM_STATE_STOP_COPY, NULL), 0);
	assert_int_equal(vfm_device_set_state(dev, VFM_STATE_RUNNING, NULL), 0);
	vfm_device_free(dev);
	close_unit(&u);
	/* And one that gives its fd away. */
	open_unit(&u, TWO, VFM_VFIO_GROUP);
	snprintf(name, sizeof(name), "fd:%d", dup(vfm_vfio_fd(u.vfio)));
	{
		struct vfm_vfio_space *space;
		struct vfm_vfio *vfio;

		assert_int_equal(vfm_vfio_space_new(VFM_VFIO_ANY, &space), 0);
		assert_int_equal(vfm_vfio_open(space, name, &vfio, NULL, 0), 0);
		assert_int_equal(vfm_device_new_vfio(vfio, "given", &dev), 0);
		assert_int_equal(dev->info.mig_flags, ALL_FLAGS);
		vfm_device_free(dev);
		vfm_vfio_close(vfio);
		vfm_vfio_space_free(space);
	}
	close_unit(&u);
}

/* ---- arcs ---- */

enum { OK = 0, FD = 1, NO = -EINVAL };

/* One SET as the driver answers it: 0, 1 for a new data fd, -errno. */
static int set(struct unit *u, uint32_t state)
{
	struct vfm_feature_mig_state arg = {.device_state = state, .data_fd = -1};
	int ret = vfio_feature(u->vfio->sys, vfm_vfio_fd(u->vfio),
			       VFM_FEATURE_MIG_DEVICE_STATE | VFM_FEATURE_SET, &arg, sizeof(arg));

	if (arg.data_fd >= 0)
		close(arg.data_fd);
	return ret ? ret : arg.data_fd >= 0;
}

static void every_arc(enum vfm_vfio_way way)
{
	/* From the row's state, which is reached from RUNNING, to the column's. */
	static const struct {
		enum vfm_state from;
		int to[VFM_STATE_COUNT + 1];
	} rows[] = {
		/*                         ERR STOP RUN SC  RES R_P2P PC  PC_P2P 8 */
		{VFM_STATE_STOP,         {NO, OK, OK, FD, FD, OK, FD, FD, NO}},
		{VFM_STATE_RUNNING,      {NO, OK, OK, FD, FD, OK, FD, FD, NO}},
		{VFM_STATE_RUNNING_P2P,  {NO, OK, OK, FD, FD, OK, FD, FD, NO}},
		{VFM_STATE_STOP_COPY,    {NO, OK, OK, OK, FD, OK, NO, NO, NO}},
		{VFM_STATE_RESUMING,     {NO, NO, NO, NO, OK, NO, NO, NO, NO}}, /* nothing loaded */
		{VFM_STATE_PRE_COPY,     {NO, OK, OK, OK, FD, OK, OK, OK, NO}},
		{VFM_STATE_PRE_COPY_P2P, {NO, OK, OK, OK, FD, OK, OK, OK, NO}},
	};
	static struct unit u;

	open_unit(&u, ONE, way);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		for (unsigned to = 0; to <= VFM_STATE_COUNT; to++) {
			assert_int_equal(vfm_vfio_reset(u.vfio), 0);
			assert_true(set(&u, rows[i].from) >= 0);
			assert_int_equal(set(&u, to), rows[i].to[to]);
			assert_int_equal(state_of(&u), rows[i].to[to] < 0 ? rows[i].from : to);
			assert_kernel_says(ONE, state_of(&u));
		}
	assert_int_equal(vfm_device_reset(u.dev), 0);
	close_unit(&u);
}

static void every_arc_is_as_expected(void **state)
{
	for_ways(every_arc);
}

/* The same through the back end: the fsm's paths are the driver's. */
static void every_path(enum vfm_vfio_way way)
{
	static const enum vfm_state states[] = {
		VFM_STATE_STOP, VFM_STATE_RUNNING, VFM_STATE_STOP_COPY, VFM_STATE_RUNNING_P2P,
		VFM_STATE_PRE_COPY, VFM_STATE_PRE_COPY_P2P,
	};
	static struct unit u;

	open_unit(&u, ONE, way);
	for (unsigned i = 0; i < ARRAY_SIZE(states); i++)
		for (unsigned to = 0; to < ARRAY_SIZE(states); to++) {
			assert_int_equal(vfm_device_reset(u.dev), 0);
			go(&u, states[i]);
			if (states[i] == VFM_STATE_STOP_COPY && states[to] >= VFM_STATE_PRE_COPY)
				continue;
			go(&u, states[to]);
			assert_int_equal(state_of(&u), states[to]);
		}
	assert_int_equal(vfm_device_reset(u.dev), 0);
	close_unit(&u);
}

static void every_path_is_walked(void **state)
{
	for_ways(every_path);
}

/* ---- the rules ---- */

static void precopy(enum vfm_vfio_way way)
{
	uint8_t stream[200];
	struct device_precopy info;
	static struct unit u;
	ssize_t early;

	open_unit(&u, ONE, way);
	go(&u, VFM_STATE_PRE_COPY);
	assert_int_equal(u.dev->ops->precopy_info(u.dev, &info), 0);
	assert_int_equal(info.initial_bytes, EARLY_BYTES);
	assert_int_equal(info.dirty_bytes, 0);
	assert_false(info.reinit);
	early = read_all(&u, stream, sizeof(stream));
	assert_int_equal(early, EARLY_BYTES); /* 0 came, and it was not the end */
	assert_int_equal(read_all(&u, stream + early, sizeof(stream) - (size_t)early), 0);
	go(&u, VFM_STATE_PRE_COPY_P2P);
	assert_int_equal(read_all(&u, stream + early, sizeof(stream) - (size_t)early), 0);
	go(&u, VFM_STATE_STOP_COPY);
	assert_int_equal(read_all(&u, stream + early, sizeof(stream) - (size_t)early),
			 STATE_BYTES - EARLY_BYTES);
	assert_int_equal(read_all(&u, stream, sizeof(stream)), 0); /* now it is */
	go(&u, VFM_STATE_RUNNING);
	close_unit(&u);
}

static void rule_01_an_empty_read_is_not_the_end(void **state)
{
	for_ways(precopy);
}

static void rule_02_poll_lies_once(void **state)
{
	uint8_t buf[200];
	static struct unit u;

	open_unit(&u, ONE, VFM_VFIO_ANY);
	go(&u, VFM_STATE_PRE_COPY);
	assert_int_equal(read_all(&u, buf, sizeof(buf)), EARLY_BYTES);
	assert_int_equal(u.dev->ops->wait(u.dev, 600000), 0); /* ready, it says, at once */
	assert_int_equal(read_all(&u, buf, sizeof(buf)), 0);
	assert_int_equal(u.dev->ops->wait(u.dev, 1), 0); /* the timer */
	u.dev->ops->cancel(u.dev);
	assert_int_equal(u.dev->ops->wait(u.dev, 600000), -ECANCELED);
	go(&u, VFM_STATE_RUNNING);
	close_unit(&u);
}

static void rule_05_precopy_info_in_precopy_alone(void **state)
{
	struct device_precopy info;
	static struct unit u;

	open_unit(&u, ONE, VFM_VFIO_ANY);
	go(&u, VFM_STATE_PRE_COPY_P2P);
	assert_int_equal(u.dev->ops->precopy_info(u.dev, &info), 0);
	go(&u, VFM_STATE_STOP_COPY);
	assert_int_equal(u.dev->ops->precopy_info(u.dev, &info), -EINVAL);
	go(&u, VFM_STATE_RUNNING);
	assert_int_equal(u.dev->ops->precopy_info(u.dev, &info), -EBADF);
	close_unit(&u);
}

/* 6.12 does not know the opt-in. A later kernel that does: it holds for one open. */
static void rule_06_the_opt_in_is_probed(void **state)
{
	static struct unit u;
	bool known;

	open_unit(&u, ONE, VFM_VFIO_ANY);
	known = vfio_feature_probe(u.vfio->sys, vfm_vfio_fd(u.vfio),
				   VFM_FEATURE_MIG_PRECOPY_INFOV2 | VFM_FEATURE_SET);
	assert_int_equal(u.dev->info.has_reinit, known);
	close_unit(&u);
}

static void rule_09_small_pieces_and_no_seeking(void **state)
{
	static struct unit from, to;
	uint8_t byte[1];

	open_unit(&from, ONE, VFM_VFIO_ANY);
	open_unit(&to, TWO, VFM_VFIO_ANY);
	set_scratch(&from, 0x3c);
	go(&from, VFM_STATE_STOP_COPY);
	go(&to, VFM_STATE_RESUMING);
	for (unsigned i = 0; i < STATE_BYTES; i++) {
		assert_int_equal(from.dev->ops->read(from.dev, byte, 1), 1);
		assert_int_equal(to.dev->ops->write(to.dev, byte, 1), 0);
	}
	assert_int_equal(from.dev->ops->read(from.dev, byte, 1), 0);
	go(&to, VFM_STATE_RUNNING);
	assert_int_equal(scratch(&to), 0x3c);
	go(&from, VFM_STATE_RUNNING);
	close_unit(&from);
	close_unit(&to);
}

static void rule_10_a_reset_ends_the_session(void **state)
{
	uint8_t byte;
	static struct unit u;

	open_unit(&u, ONE, VFM_VFIO_ANY);
	go(&u, VFM_STATE_STOP_COPY);
	assert_int_equal(vfm_vfio_reset(u.vfio), 0); /* behind the device's back */
	assert_int_equal(u.dev->ops->read(u.dev, &byte, 1), -ENODEV);
	assert_int_equal(state_of(&u), VFM_STATE_RUNNING);
	go(&u, VFM_STATE_STOP_COPY);
	assert_int_equal(u.dev->ops->read(u.dev, &byte, 1), 1);
	assert_int_equal(vfm_device_reset(u.dev), 0);
	close_unit(&u);
}

static void rule_11_after_a_failure_ask_then_recover(void **state)
{
	struct vfm_error error = {0};
	static struct unit u;

	open_unit(&u, ONE, VFM_VFIO_ANY);
	go(&u, VFM_STATE_RESUMING);
	assert_int_equal(device_transition(u.dev, VFM_STATE_RUNNING, NULL, NULL, &error), -EINVAL);
	assert_int_equal(error.from, VFM_STATE_RESUMING);
	assert_int_equal(u.dev->state, VFM_STATE_RESUMING); /* not ERROR */
	assert_kernel_says(ONE, VFM_STATE_RESUMING);
	assert_int_equal(device_recover(u.dev, VFM_STATE_RUNNING, NULL, NULL), 1);
	assert_kernel_says(ONE, VFM_STATE_RUNNING);
	close_unit(&u);
}

static void rule_13_a_byte_is_missing(void **state)
{
	uint8_t stream[200];
	static struct unit from, to;
	size_t size;

	open_unit(&from, ONE, VFM_VFIO_ANY);
	open_unit(&to, TWO, VFM_VFIO_ANY);
	set_scratch(&from, 0x5a);
	size = save(&from, stream, sizeof(stream));
	assert_int_equal(size, STATE_BYTES);
	go(&to, VFM_STATE_RESUMING);
	assert_int_equal(to.dev->ops->write(to.dev, stream, size - 1), 0);
	assert_int_equal(device_transition(to.dev, VFM_STATE_STOP, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(state_of(&to), VFM_STATE_RESUMING);
	assert_int_equal(to.dev->ops->write(to.dev, stream + size - 1, 1), 0);
	go(&to, VFM_STATE_STOP);
	go(&to, VFM_STATE_RUNNING);
	assert_int_equal(scratch(&to), 0x5a);
	go(&from, VFM_STATE_RUNNING);
	close_unit(&from);
	close_unit(&to);
}

/* mtty forgets that it refused the header: it counts the bytes, and would let the device run. */
static void rule_14_a_failed_write_is_fatal(void **state)
{
	uint8_t stream[200];
	static struct unit from, to;
	size_t size;

	open_unit(&from, ONE, VFM_VFIO_ANY);
	open_unit(&to, TWO, VFM_VFIO_ANY);
	size = save(&from, stream, sizeof(stream));
	stream[0] ^= 1;
	go(&to, VFM_STATE_RESUMING);
	assert_int_equal(to.dev->ops->write(to.dev, stream, size), -EFAULT);
	assert_int_equal(device_transition(to.dev, VFM_STATE_STOP, NULL, NULL, NULL), -EFAULT);
	assert_int_equal(state_of(&to), VFM_STATE_RESUMING);
	assert_int_equal(device_recover(to.dev, VFM_STATE_RUNNING, NULL, NULL), 1);
	close_unit(&to);
	/* Of a device with another number of ports. */
	open_unit(&to, WIDE, VFM_VFIO_ANY);
	stream[0] ^= 1;
	go(&to, VFM_STATE_RESUMING);
	assert_int_equal(to.dev->ops->write(to.dev, stream, size), -EFAULT);
	assert_int_equal(device_recover(to.dev, VFM_STATE_RUNNING, NULL, NULL), 1);
	close_unit(&to);
	/* A byte too many. */
	open_unit(&to, TWO, VFM_VFIO_ANY);
	go(&to, VFM_STATE_RESUMING);
	assert_int_equal(to.dev->ops->write(to.dev, stream, size + 1), -ENOMEM);
	assert_int_equal(device_transition(to.dev, VFM_STATE_STOP, NULL, NULL, NULL), -ENOMEM);
	assert_int_equal(device_recover(to.dev, VFM_STATE_RUNNING, NULL, NULL), 1);
	assert_int_equal(vfm_device_reset(from.dev), 0);
	close_unit(&from);
	close_unit(&to);
}

static void rule_15_the_size_is_told(void **state)
{
	static struct unit u;
	uint64_t size;

	open_unit(&u, ONE, VFM_VFIO_ANY);
	assert_int_equal(u.dev->ops->stop_copy_size(u.dev, &size), 0);
	assert_int_equal(size, STATE_BYTES);
	close_unit(&u);
}

/* A process dies in RESUMING; the next one finds the device there, with a session that is none. */
static void left_in_resuming(enum vfm_vfio_way way)
{
	int ready[2], status;
	static struct unit u;
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		open_unit(&u, ONE, way);
		go(&u, VFM_STATE_RESUMING);
		assert_int_equal(u.dev->ops->write(u.dev, "half of it", 4), 0);
		if (write(ready[1], "r", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	open_as_it_is(&u, ONE, way);
	assert_int_equal(u.dev->state, VFM_STATE_RESUMING);
	assert_kernel_says(ONE, VFM_STATE_RESUMING);
	assert_int_equal(device_recover(u.dev, VFM_STATE_RUNNING, NULL, NULL), 1);
	assert_int_equal(state_of(&u), VFM_STATE_RUNNING);
	go(&u, VFM_STATE_RESUMING);
	assert_int_equal(vfm_device_reset(u.dev), 0);
	close_unit(&u);
}

static void rule_12_a_dead_processs_session_is_none(void **state)
{
	for_ways(left_in_resuming);
}

/* ---- who tracks ---- */

static void tracking(enum vfm_vfio_way way)
{
	uint8_t *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			       -1, 0);
	const struct device_range range = {0, 1 << 20};
	uint64_t page = 4096, bits[4] = {0};
	static struct unit u;

	open_unit(&u, ONE, way);
	assert_int_equal(vfm_vfio_space_map(u.space, 0, 1 << 20, memory), 0);
	assert_int_equal(u.dev->info.tracker, VFM_TRACKER_DEVICE); /* PROBE promises it */
	assert_int_equal(u.dev->ops->log_start(u.dev, &range, 1, &page), 0);
	if (has_report()) {
		assert_int_equal(u.dev->info.tracker, VFM_TRACKER_DEVICE);
		assert_int_equal(u.dev->log_refusal, 0);
	} else {
		assert_int_equal(u.dev->info.tracker, VFM_TRACKER_CONTAINER);
		assert_int_equal(u.dev->log_refusal, -EOPNOTSUPP);
	}
	assert_int_equal(page, 4096);
	for (unsigned i = 0; i < 4; i++) /* and in steps, of which a container knows nothing */
		assert_int_equal(u.dev->ops->log_report(u.dev, i << 18, 1 << 18, page, &bits[i]), 0);
	assert_int_equal(bits[0] | bits[1] | bits[2] | bits[3], 0); /* it never writes */
	assert_int_equal(u.dev->ops->log_report(u.dev, 1 << 20, 4096, page, bits), -ERANGE);
	assert_int_equal(u.dev->ops->log_stop(u.dev), 0);
	/* And again. */
	assert_int_equal(u.dev->ops->log_start(u.dev, &range, 1, &page), 0);
	assert_int_equal(u.dev->ops->log_stop(u.dev), 0);
	close_unit(&u);
	munmap(memory, 1 << 20);
}

static void rule_18_a_report_that_is_refused_has_a_fallback(void **state)
{
	for_ways(tracking);
}

static void rule_17_many_ranges(void **state)
{
	struct device_range ranges[256];
	static struct unit u;
	uint64_t page = 4096;

	if (!has_report())
		skip();
	for (unsigned i = 0; i < 256; i++)
		ranges[255 - i] = (struct device_range){(uint64_t)i << 20, 0x8000};
	open_unit(&u, ONE, VFM_VFIO_ANY);
	assert_int_equal(u.dev->ops->log_start(u.dev, ranges, 256, &page), 0);
	assert_int_equal(u.dev->info.tracker, VFM_TRACKER_DEVICE);
	assert_int_equal(u.dev->ops->log_stop(u.dev), 0);
	close_unit(&u);
}

/* ---- a whole migration ---- */

static void engine_moves(enum vfm_vfio_way way)
{
	struct vfm_error error;
	static struct unit from, to;
	struct rig rig;
	int ret;

	open_unit(&from, ONE, way);
	open_as_it_is(&to, TWO, way);
	go(&to, VFM_STATE_RESUMING); /* somebody left it there */
	vfm_device_free(to.dev);
	assert_int_equal(vfm_device_new_vfio(to.vfio, "tty0", &to.dev), 0);
	set_scratch(&from, 0x96);
	rig_init(&rig, 0);
	rig_make(&rig);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(vfm_vfio_space_map(from.space, rig.vm[0].regions[i].gpa,
						    rig.vm[0].regions[i].size,
						    rig.vm[0].regions[i].host), 0);
	vfm_source_add_device(rig.source, from.dev);
	vfm_destination_add_device(rig.destination, to.dev);
	assert_int_equal(rig_start(&rig), 0);
	ret = rig_finish(&rig);
	vfm_source_get_error(rig.source, &error);
	if (ret)
		fail_msg("%d: %s: %s", ret, error.device, error.text);
	assert_moved(&rig);
	rig_down(&rig);
	assert_int_equal(scratch(&to), 0x96);
	assert_int_equal(state_of(&from), VFM_STATE_STOP);
	assert_int_equal(state_of(&to), VFM_STATE_RUNNING);
	assert_kernel_says(ONE, VFM_STATE_STOP);
	assert_kernel_says(TWO, VFM_STATE_RUNNING);
	close_unit(&from);
	close_unit(&to);
}

static void the_engine_moves_a_device(void **state)
{
	for_ways(engine_moves);
}

/* A device with another number of ports is as good as ours until it sees the data. */
static void engine_is_refused(enum vfm_vfio_way way)
{
	static struct unit from, to;
	struct rig rig;

	open_unit(&from, ONE, way);
	open_unit(&to, WIDE, way);
	set_scratch(&from, 0x69);
	rig_init(&rig, 0);
	rig_make(&rig);
	vfm_source_add_device(rig.source, from.dev);
	vfm_destination_add_device(rig.destination, to.dev);
	assert_int_equal(rig_start(&rig), 0);
	assert_true(rig_finish(&rig) < 0);
	assert_stayed(&rig);
	rig_down(&rig);
	assert_int_equal(scratch(&from), 0x69);
	assert_int_equal(state_of(&from), VFM_STATE_RUNNING);
	assert_int_equal(state_of(&to), VFM_STATE_RUNNING); /* reset */
	close_unit(&from);
	close_unit(&to);
}

static void a_refused_device_stays(void **state)
{
	for_ways(engine_is_refused);
}

static int set_up(void **state)
{
	make_mtty(ONE, 1);
	make_mtty(TWO, 1);
	make_mtty(WIDE, 2);
	return 0;
}

static int tear_down(void **state)
{
	remove_mtty(ONE);
	remove_mtty(TWO);
	remove_mtty(WIDE);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(tells_what_it_is, close_left),
		cmocka_unit_test_teardown(regions_are_read_and_written, close_left),
		cmocka_unit_test_teardown(interrupts_arrive, close_left),
		cmocka_unit_test_teardown(memory_is_mapped, close_left),
		cmocka_unit_test_teardown(what_cannot_be_opened_is_told, close_left),
		cmocka_unit_test_teardown(descriptors_are_enough, close_left),
		cmocka_unit_test_teardown(every_arc_is_as_expected, close_left),
		cmocka_unit_test_teardown(every_path_is_walked, close_left),
		cmocka_unit_test_teardown(rule_01_an_empty_read_is_not_the_end, close_left),
		cmocka_unit_test_teardown(rule_02_poll_lies_once, close_left),
		cmocka_unit_test_teardown(rule_05_precopy_info_in_precopy_alone, close_left),
		cmocka_unit_test_teardown(rule_06_the_opt_in_is_probed, close_left),
		cmocka_unit_test_teardown(rule_09_small_pieces_and_no_seeking, close_left),
		cmocka_unit_test_teardown(rule_10_a_reset_ends_the_session, close_left),
		cmocka_unit_test_teardown(rule_11_after_a_failure_ask_then_recover, close_left),
		cmocka_unit_test_teardown(rule_12_a_dead_processs_session_is_none, close_left),
		cmocka_unit_test_teardown(rule_13_a_byte_is_missing, close_left),
		cmocka_unit_test_teardown(rule_14_a_failed_write_is_fatal, close_left),
		cmocka_unit_test_teardown(rule_15_the_size_is_told, close_left),
		cmocka_unit_test_teardown(rule_17_many_ranges, close_left),
		cmocka_unit_test_teardown(rule_18_a_report_that_is_refused_has_a_fallback, close_left),
		cmocka_unit_test_teardown(the_engine_moves_a_device, close_left),
		cmocka_unit_test_teardown(a_refused_device_stays, close_left),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
