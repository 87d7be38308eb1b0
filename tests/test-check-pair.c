/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checker's rules for two devices, on doubles of the kernel whose driver has something in common
 * for both: what two simulated devices, a process each, cannot have.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "check/check.h"
#include "tests/kernel-double.h"

struct half {
	struct vfio_sys sys; /* first: what the checker is given */
	struct kernel_double kd;
	struct port *port;
};

static struct {
	struct half half[2];
	struct check_run run;
	/* What the driver has once. */
	_Atomic(struct half *) saver;
	struct half *reader; /* whose state is not read to its end */
} *pair;

static struct half *of(const struct vfio_sys *sys)
{
	return (struct half *)sys;
}

static int pass_ioctl(const struct vfio_sys *sys, int fd, unsigned long request, void *arg)
{
	return of(sys)->kd.sys.ioctl(&of(sys)->kd.sys, fd, request, arg);
}

static ssize_t pass_read(const struct vfio_sys *sys, int fd, void *buf, size_t len)
{
	return of(sys)->kd.sys.read(&of(sys)->kd.sys, fd, buf, len);
}

static ssize_t pass_write(const struct vfio_sys *sys, int fd, const void *buf, size_t len)
{
	return of(sys)->kd.sys.write(&of(sys)->kd.sys, fd, buf, len);
}

static ssize_t pass_pread(const struct vfio_sys *sys, int fd, void *buf, size_t len, uint64_t at)
{
	return of(sys)->kd.sys.pread(&of(sys)->kd.sys, fd, buf, len, at);
}

static void pass_close(const struct vfio_sys *sys, int fd)
{
	of(sys)->kd.sys.close(&of(sys)->kd.sys, fd);
}

static void open_half(struct half *half)
{
	kernel_double_init(&half->kd, "generic", NULL);
	half->sys = (struct vfio_sys){.ioctl = pass_ioctl, .read = pass_read, .write = pass_write,
				      .pread = pass_pread, .close = pass_close};
	half->port = port_kernel(&half->sys, half->kd.device, NULL);
	assert_non_null(half->port);
}

static int begin(void **state)
{
	pair = calloc(1, sizeof(*pair));
	if (!pair)
		return -1;
	open_half(&pair->half[0]);
	open_half(&pair->half[1]);
	pair->run.check = (struct check){.port = pair->half[0].port, .peer = pair->half[1].port,
					 .seed = 1};
	return 0;
}

static int end(void **state)
{
	for (int i = 0; i < 2; i++) {
		port_free(pair->half[i].port);
		kernel_double_destroy(&pair->half[i].kd);
	}
	free(pair);
	return 0;
}

/* ---- what the driver has once ---- */

static const struct vfm_feature_mig_state *as_set(unsigned long request, const void *arg)
{
	const struct vfm_feature *head = arg;

	return request == VFM_IOCTL_DEVICE_FEATURE &&
			       head->flags == (VFM_FEATURE_MIG_DEVICE_STATE | VFM_FEATURE_SET)
		       ? (const struct vfm_feature_mig_state *)(head + 1)
		       : NULL;
}

/* One device at a time can be in PRE_COPY. */
static int one_saver(const struct vfio_sys *sys, int fd, unsigned long request, void *arg)
{
	const struct vfm_feature_mig_state *set = as_set(request, arg);
	struct half *none = NULL, *me = of(sys);

	if (set && set->device_state == VFM_STATE_PRE_COPY &&
	    !atomic_compare_exchange_strong(&pair->saver, &none, me) && none != me)
		return -EBUSY;
	if (set && set->device_state != VFM_STATE_PRE_COPY)
		atomic_compare_exchange_strong(&pair->saver, &me, NULL);
	return pass_ioctl(sys, fd, request, arg);
}

/* One state at a time can be read. */
static ssize_t one_reader(const struct vfio_sys *sys, int fd, void *buf, size_t len)
{
	ssize_t got;

	if (pair->reader && pair->reader != of(sys))
		return -EIO;
	got = pass_read(sys, fd, buf, len);
	pair->reader = got > 0 ? of(sys) : NULL;
	return got;
}

/* ---- rules ---- */

static void check_pair(void)
{
	const char *only = "several";
	struct check_choice choice = {.only = &only, .only_count = 1};
	char why[CHECK_WHY_MAX];

	assert_int_equal(check_run(&pair->run, &choice, NULL, NULL, why), 0);
}

/* "": none. */
static void expect_broken(const char *rule)
{
	bool found = !*rule;

	check_pair();
	for (unsigned i = 0; i < pair->run.count; i++) {
		const struct check_result *result = &pair->run.results[i];
		bool mine = !strcmp(result->rule->id, rule);

		found |= mine;
		if ((result->verdict == CHECK_FAIL) != mine)
			check_print_result(stderr, result);
		assert_int_equal(result->verdict == CHECK_FAIL, mine);
		assert_int_not_equal(result->verdict, CHECK_UNJUDGED);
	}
	assert_true(found);
}

static void two_good_devices_keep_all(void **state)
{
	expect_broken("");
}

static void parallel_finds_what_excludes(void **state)
{
	pair->half[0].sys.ioctl = pair->half[1].sys.ioctl = one_saver;
	expect_broken("peer-parallel");
}

static void interleaved_finds_what_is_shared(void **state)
{
	pair->half[0].sys.read = pair->half[1].sys.read = one_reader;
	expect_broken("peer-interleaved");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(two_good_devices_keep_all, begin, end),
		cmocka_unit_test_setup_teardown(parallel_finds_what_excludes, begin, end),
		cmocka_unit_test_setup_teardown(interleaved_finds_what_is_shared, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
