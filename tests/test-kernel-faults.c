/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated device's driver when memory runs out: each call on it is made again and again, and the
 * kernel lets the first allocation in it fail, then the second, until none is left that could. The call may
 * fail or not; the device, reset, has to work. The same with copying from and to the user's memory. Needs a
 * kernel with faults on demand; what was lost on the way is for leaks.sh to find.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/compiler.h"
#include "tests/kernel-user.h"
#include "tests/mdev.h"

#define UUID  "80000000-0000-0000-0000-000000000001"
#define OTHER "80000000-0000-0000-0000-000000000002"
#define SMALL "vfm_sim-mtty" /* a type whose state is small from the beginning */
#define NTH   "/proc/thread-self/fail-nth"
#define DEBUG "/sys/kernel/debug/"

enum { STREAM = 1 << 18, FAULTS_MAX = 1500 };

static uint8_t stream[STREAM];
static size_t stream_size;
static struct user user;

/* ---- faults ---- */

static void set(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		fail_msg("%s: %s", path, strerror(errno));
	close(fd);
}

static const char *const kinds[] = {"failslab", "fail_page_alloc", "fail_usercopy"};

static void set_for_all(const char *name, const char *value)
{
	char path[128];

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		snprintf(path, sizeof(path), DEBUG "%s/%s", kinds[i], name);
		set(path, value);
	}
}

/* Nothing fails in a function of the kernel, nor in what it calls. */
static void spare(const char *function)
{
	FILE *file = fopen("/proc/kallsyms", "re");
	unsigned long start = 0, at;
	char name[128], text[32];

	assert_non_null(file);
	while (fscanf(file, "%lx %*c %127s%*[^\n]", &at, name) == 2 && !(start && at > start))
		if (!strcmp(name, function))
			start = at;
	fclose(file);
	assert_true(start && at > start);
	snprintf(text, sizeof(text), "%#lx", at);
	set_for_all("reject-end", text);
	snprintf(text, sizeof(text), "%#lx", start);
	set_for_all("reject-start", text);
}

static int nth_fd;

/* From now on the @nth place that could fail does, once; 0: none. Which may hit this, too. */
static void fail_nth(unsigned nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", nth);

	if (pwrite(nth_fd, text, (size_t)len, 0) != len)
		assert_int_equal(pwrite(nth_fd, text, (size_t)len, 0), len);
}

/* Whether it had come to that before this, which may be what it hits. */
static bool has_failed(void)
{
	char text[16] = "";

	return pread(nth_fd, text, sizeof(text) - 1, 0) > 0 && atoi(text) == 0;
}

/* ---- calls ---- */

/* What goes before a call is not disturbed. */
struct call {
	const char *name;
	int (*before)(void);
	void (*call)(void);
};

static int data_fd = -1;

static int be_closed(void)
{
	return 0;
}

static int be_open(void)
{
	int ret = user_try_open(&user, UUID, VFM_VFIO_ANY);

	return ret ? ret : user_reset(&user);
}

static int be_in(uint32_t state)
{
	int ret = be_open();

	return ret ? ret : user_set(&user, state, &data_fd);
}

static int be_running_p2p(void)
{
	return be_in(VFM_STATE_RUNNING_P2P);
}

static int be_in_pre_copy(void)
{
	return be_in(VFM_STATE_PRE_COPY);
}

static int be_in_stop_copy(void)
{
	return be_in(VFM_STATE_STOP_COPY);
}

static int be_in_resuming(void)
{
	return be_in(VFM_STATE_RESUMING);
}

static int be_loaded(void)
{
	int ret = be_in(VFM_STATE_RESUMING);

	return ret ? ret : user_write_all(data_fd, stream, stream_size);
}

static void create(void)
{
	int fd = open("/sys/devices/virtual/" USER_DRIVER "/" USER_DRIVER "/mdev_supported_types/"
		      SMALL "/create", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, OTHER, strlen(OTHER)) < 0)
		assert_true(errno == ENOMEM || errno == EFAULT);
	if (fd >= 0)
		close(fd);
}

static void open_device(void)
{
	user_try_open(&user, UUID, VFM_VFIO_ANY);
}

static void change_option(void)
{
	user_try_attribute(UUID, "seed", "99");
	user_try_attribute(UUID, "state_size", "16K");
}

static void go(uint32_t state)
{
	int fd;

	if (!user_set(&user, state, &fd) && fd >= 0)
		close(fd);
}

static void to_stop(void)
{
	go(VFM_STATE_STOP);
}

static void to_running(void)
{
	go(VFM_STATE_RUNNING);
}

static void to_stop_copy(void)
{
	go(VFM_STATE_STOP_COPY);
}

static void to_pre_copy(void)
{
	go(VFM_STATE_PRE_COPY);
}

static void to_resuming(void)
{
	go(VFM_STATE_RESUMING);
}

static void read_some(void)
{
	static uint8_t buf[70000];

	if (read(data_fd, buf, sizeof(buf)) < 0)
		return;
}

static void write_some(void)
{
	if (write(data_fd, stream, stream_size) < 0)
		return;
}

static void ask_size(void)
{
	uint64_t size;

	user_feature(user.fd, VFM_FEATURE_MIG_DATA_SIZE | VFM_FEATURE_GET, &size, sizeof(size));
}

static void ask_precopy_info(void)
{
	struct vfm_precopy_info info = {.argsz = sizeof(info)};

	if (ioctl(data_fd, VFM_IOCTL_MIG_GET_PRECOPY_INFO, &info))
		return;
}

static void log_dma(void)
{
	struct vfm_feature_logging_range range = {USER_MEMORY_IOVA, USER_MEMORY_SIZE};
	struct vfm_feature_logging_control control = {
		.page_size = 4096, .num_ranges = 1, .ranges = (uintptr_t)&range,
	};
	uint64_t bits[USER_MEMORY_SIZE / 4096 / 64] = {0};
	struct vfm_feature_logging_report report = {
		USER_MEMORY_IOVA, USER_MEMORY_SIZE, 4096, (uintptr_t)bits,
	};

	user_feature(user.fd, VFM_FEATURE_DMA_LOGGING_START | VFM_FEATURE_SET, &control,
		     sizeof(control));
	user_feature(user.fd, VFM_FEATURE_DMA_LOGGING_REPORT | VFM_FEATURE_GET, &report,
		     sizeof(report));
	user_feature(user.fd, VFM_FEATURE_DMA_LOGGING_STOP | VFM_FEATURE_SET, NULL, 0);
}

static void connect_interrupts(void)
{
	struct {
		struct vfm_uapi_irq_set set;
		int32_t fd;
	} call = {
		.set = {.argsz = sizeof(call), .index = VFM_PCI_MSIX_IRQ, .count = 1,
			.flags = VFM_IRQ_SET_DATA_EVENTFD | VFM_IRQ_SET_ACTION_TRIGGER},
		.fd = eventfd(0, EFD_CLOEXEC),
	};

	ioctl(user.fd, VFM_IOCTL_DEVICE_SET_IRQS, &call);
	if (call.fd >= 0)
		close(call.fd);
}

static void touch_registers(void)
{
	uint64_t value = 1;

	vfm_vfio_region_read(user.vfio, VFM_PCI_BAR0_REGION, 0, &value, 8);
	vfm_vfio_region_write(user.vfio, VFM_PCI_BAR0_REGION, 0x100, &value, 8);
	vfm_vfio_region_read(user.vfio, VFM_PCI_CONFIG_REGION, 0, &value, 4);
}

static void reset(void)
{
	user_reset(&user);
}

static const struct call calls[] = {
	{"create", be_closed, create},
	{"an option", be_closed, change_option},
	{"open", be_closed, open_device},
	{"registers", be_open, touch_registers},
	{"interrupts", be_open, connect_interrupts},
	{"DMA logging", be_open, log_dma},
	{"size", be_open, ask_size},
	{"reset", be_in_pre_copy, reset},
	{"RUNNING to STOP", be_open, to_stop},
	{"RUNNING to STOP_COPY", be_open, to_stop_copy},
	{"RUNNING to PRE_COPY", be_open, to_pre_copy},
	{"RUNNING to RESUMING", be_open, to_resuming},
	{"RUNNING_P2P to RUNNING", be_running_p2p, to_running},
	{"PRE_COPY to STOP_COPY", be_in_pre_copy, to_stop_copy},
	{"precopy info", be_in_pre_copy, ask_precopy_info},
	{"read in PRE_COPY", be_in_pre_copy, read_some},
	{"read in STOP_COPY", be_in_stop_copy, read_some},
	{"write", be_in_resuming, write_some},
	{"RESUMING to RUNNING", be_loaded, to_running},
};

/* ---- each of them, with each fault ---- */

static void put_away(void)
{
	if (data_fd >= 0)
		close(data_fd);
	data_fd = -1;
	user_close(&user);
	if (!access("/sys/bus/mdev/devices/" OTHER, F_OK))
		mdev_remove(OTHER);
}

static unsigned faults_in(const struct call *c)
{
	unsigned nth = 1;
	bool failed = true;

	for (; failed && nth < FAULTS_MAX; nth++) {
		if (c->before())
			fail_msg("%s: it does not come to that", c->name);
		fail_nth(nth);
		c->call();
		failed = has_failed();
		fail_nth(0);
		put_away();
	}
	assert_true(nth < FAULTS_MAX);
	user_expect_works(UUID);
	return nth - 2;
}

static void each_call_fails_everywhere(void **state)
{
	unsigned all = 0, here;

	if (access(NTH, F_OK) || access(DEBUG "failslab", F_OK))
		skip();
	set(DEBUG "failslab/ignore-gfp-wait", "N");
	set(DEBUG "fail_page_alloc/ignore-gfp-wait", "N");
	set(DEBUG "fail_page_alloc/min-order", "0");
	set_for_all("verbose", "0");
	/* In 6.12 it warns, and loses an IOMMU group, when its device gets no name. */
	spare("vfio_create_group");
	nth_fd = open(NTH, O_RDWR | O_CLOEXEC);
	assert_true(nth_fd >= 0);
	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++) {
		here = faults_in(&calls[i]);
		print_message("%s: %u faults\n", calls[i].name, here);
		all += here;
	}
	close(nth_fd);
	assert_true(all > 50);
}

static int set_up(void **state)
{
	struct user u;

	mdev_make(USER_DRIVER, USER_TYPE, UUID);
	user_attribute(UUID, "state_size", "16K");
	user_open(&u, UUID);
	stream_size = user_save(&u, stream, STREAM);
	user_close(&u);
	return 0;
}

static int tear_down(void **state)
{
	user_remove(UUID);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_call_fails_everywhere),
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
