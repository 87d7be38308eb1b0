/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated device's driver, with a user whose memory is not there when it is copied to or from, and
 * does not come (userfaultfd). His thread waits for ever; nobody else may wait with it: the others' calls
 * on the device return, and it can be closed, opened and removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>
#include "sim/regs.h"
#include "tests/kernel-user.h"
#include "tests/mdev.h"

#define UUID "90000000-0000-0000-0000-000000000001"
#define PAGE ((size_t)4096)

enum {
	STALL_S = 60, /* until a fault must have come */
	HANG_S = 120, /* more than all of a test takes: it hangs */
};

/* ---- memory that does not come ---- */

struct gap {
	int fd; /* userfaultfd */
	uint8_t *page;
};

static void open_gap(struct gap *gap)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register whole = {.mode = UFFDIO_REGISTER_MODE_MISSING};

	gap->fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (gap->fd < 0)
		skip(); /* a kernel without */
	assert_int_equal(ioctl(gap->fd, UFFDIO_API, &api), 0);
	gap->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(gap->page != MAP_FAILED);
	whole.range = (struct uffdio_range){(uintptr_t)gap->page, PAGE};
	assert_int_equal(ioctl(gap->fd, UFFDIO_REGISTER, &whole), 0);
}

static void wait_for_fault(struct gap *gap)
{
	struct pollfd fault = {.fd = gap->fd, .events = POLLIN};

	assert_int_equal(poll(&fault, 1, STALL_S * 1000), 1);
}

/* The page comes after all. */
static void fill_gap(struct gap *gap)
{
	struct uffdio_zeropage zero = {.range = {(uintptr_t)gap->page, PAGE}};

	assert_int_equal(ioctl(gap->fd, UFFDIO_ZEROPAGE, &zero), 0);
}

static void close_gap(struct gap *gap)
{
	munmap(gap->page, PAGE);
	close(gap->fd);
}

/* ---- a call that waits for it ---- */

struct call {
	struct gap gap;
	int fd;
	ssize_t (*make)(struct call *call);
	ssize_t ret;
	pthread_t thread;
};

static void *make_call(void *arg)
{
	struct call *call = arg;

	call->ret = call->make(call);
	return NULL;
}

static void stall(struct call *call)
{
	open_gap(&call->gap);
	assert_int_equal(pthread_create(&call->thread, NULL, make_call, call), 0);
	wait_for_fault(&call->gap);
}

static void go_on(struct call *call)
{
	fill_gap(&call->gap);
	pthread_join(call->thread, NULL);
	close_gap(&call->gap);
}

static ssize_t read_gap(struct call *call)
{
	return read(call->fd, call->gap.page, PAGE);
}

static ssize_t write_gap(struct call *call)
{
	return write(call->fd, call->gap.page, PAGE);
}

static ssize_t report_gap(struct call *call)
{
	struct vfm_feature_logging_report report = {
		.iova = USER_MEMORY_IOVA, .length = USER_MEMORY_SIZE, .page_size = PAGE,
		.bitmap = (uintptr_t)call->gap.page,
	};

	return user_feature(call->fd, VFM_FEATURE_DMA_LOGGING_REPORT | VFM_FEATURE_GET, &report,
			    sizeof(report));
}

/* ---- tests ---- */

static void expect_state(struct user *u, uint32_t state)
{
	uint32_t is;

	assert_int_equal(user_state(u, &is), 0);
	assert_int_equal(is, state);
}

/* While a data session's call waits, it ends; the device is closed, and works for the next one. */
static void beside_a_session(uint32_t state, ssize_t (*make)(struct call *call))
{
	struct call call = {.make = make};
	struct user u;

	user_open(&u, UUID);
	assert_int_equal(user_reset(&u), 0);
	assert_int_equal(user_set(&u, state, &call.fd), 0);
	stall(&call);
	expect_state(&u, state);
	assert_int_equal(user_reset(&u), 0);
	expect_state(&u, VFM_STATE_RUNNING);
	user_close(&u);
	user_attribute(UUID, "seed", "7");
	user_expect_works(UUID);
	go_on(&call);
	close(call.fd);
}

static void beside_a_read(void **state)
{
	beside_a_session(VFM_STATE_STOP_COPY, read_gap);
}

static void beside_a_write(void **state)
{
	beside_a_session(VFM_STATE_RESUMING, write_gap);
}

/* Of what the device wrote: a report of nothing needs no memory. */
static void start_log(struct user *u)
{
	struct vfm_feature_logging_range range = {USER_MEMORY_IOVA, USER_MEMORY_SIZE};
	struct vfm_feature_logging_control control = {
		.page_size = PAGE, .num_ranges = 1, .ranges = (uintptr_t)&range};

	assert_int_equal(user_feature(u->fd, VFM_FEATURE_DMA_LOGGING_START | VFM_FEATURE_SET,
				      &control, sizeof(control)), 0);
}

static bool can_report(struct user *u)
{
	uint64_t bits[USER_MEMORY_SIZE / PAGE / 64] = {0};
	struct vfm_feature_logging_report report = {
		.iova = USER_MEMORY_IOVA, .length = USER_MEMORY_SIZE, .page_size = PAGE,
		.bitmap = (uintptr_t)bits,
	};

	return user_feature(u->fd, VFM_FEATURE_DMA_LOGGING_REPORT | VFM_FEATURE_GET, &report,
			    sizeof(report)) != -EOPNOTSUPP;
}

static void store(struct user *u, uint64_t reg, uint64_t value, size_t size)
{
	assert_int_equal(vfm_vfio_region_write(u->vfio, SIM_BAR_REGS, reg, &value, size), 0);
}

/* The device counts to a word of memory, until it was seen to. */
static void let_it_write(struct user *u)
{
	volatile uint64_t *word = (volatile uint64_t *)u->memory;
	struct pollfd none = {.fd = -1};

	*word = 0;
	store(u, SIM_REG_P2P_TARGET, USER_MEMORY_IOVA, 8);
	store(u, SIM_REG_P2P_RATE, 1000, 4);
	for (unsigned ms = 0; !*word && ms < STALL_S * 1000; ms++)
		poll(&none, 1, 1);
	assert_true(*word);
}

static void beside_a_report(void **state)
{
	struct call call = {.make = report_gap};
	struct user u;

	user_open(&u, UUID);
	assert_int_equal(user_reset(&u), 0);
	start_log(&u);
	if (can_report(&u)) {
		let_it_write(&u);
		call.fd = u.fd;
		stall(&call);
		assert_int_equal(user_set(&u, VFM_STATE_STOP, NULL), 0);
		expect_state(&u, VFM_STATE_STOP);
		assert_int_equal(user_reset(&u), 0);
		go_on(&call);
		assert_int_equal(call.ret, 0);
	}
	user_close(&u);
	user_expect_works(UUID);
}

static int set_up(void **state)
{
	alarm(HANG_S);
	mdev_make(USER_DRIVER, USER_TYPE, UUID);
	user_attribute(UUID, "state_size", "64K");
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
		cmocka_unit_test_setup_teardown(beside_a_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(beside_a_write, set_up, tear_down),
		cmocka_unit_test_setup_teardown(beside_a_report, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
