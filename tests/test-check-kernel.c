/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The conformance checker on devices of the kernel, which is a double: each driver's device keeps
 * the musts, and the rules for fds find what breaks them. The mutants are system calls that stand
 * around the double's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "check/check.h"
#include "tests/kernel-double.h"

struct scene {
	struct kernel_double kd;
	struct vfio_sys mutant; /* what the checker is given */
	struct port *port;
	struct check_run run;
};

static struct scene *scene;

/* The double behind the mutant. */
static const struct vfio_sys *real(void)
{
	return &scene->kd.sys;
}

static int pass_ioctl(const struct vfio_sys *sys, int fd, unsigned long request, void *arg)
{
	return real()->ioctl(real(), fd, request, arg);
}

static ssize_t pass_read(const struct vfio_sys *sys, int fd, void *buf, size_t len)
{
	return real()->read(real(), fd, buf, len);
}

static ssize_t pass_write(const struct vfio_sys *sys, int fd, const void *buf, size_t len)
{
	return real()->write(real(), fd, buf, len);
}

static ssize_t pass_pread(const struct vfio_sys *sys, int fd, void *buf, size_t len, uint64_t at)
{
	return real()->pread(real(), fd, buf, len, at);
}

static void pass_close(const struct vfio_sys *sys, int fd)
{
	real()->close(real(), fd);
}

static int begin(void **state)
{
	scene = calloc(1, sizeof(*scene));
	return scene ? 0 : -1;
}

static int end(void **state)
{
	free(scene);
	return 0;
}

/* The user dies, and another one has the same device. */
static int reopen(void *opaque, struct port *port)
{
	port_take_fd(port, -1);
	kernel_double_user_died(&scene->kd);
	port_take_fd(port, scene->kd.device);
	return 0;
}

static void open_device(const char *driver)
{
	struct port_opener opener = {reopen, NULL};

	kernel_double_init(&scene->kd, driver, NULL);
	scene->mutant = (struct vfio_sys){
		.ioctl = pass_ioctl, .read = pass_read, .write = pass_write,
		.pread = pass_pread, .close = pass_close,
	};
	scene->port = port_kernel(&scene->mutant, scene->kd.device, &opener);
	assert_non_null(scene->port);
	scene->run = (struct check_run){.check = {.port = scene->port, .seed = 1}};
}

static void close_device(void)
{
	port_free(scene->port);
	real()->close(real(), scene->kd.device);
	kernel_double_destroy(&scene->kd);
}

static void show(void)
{
	for (unsigned i = 0; i < scene->run.count; i++)
		if (scene->run.results[i].verdict != CHECK_PASS)
			check_print_result(stderr, &scene->run.results[i]);
}

static void check_only(const char *only)
{
	struct check_choice choice = {.only = &only, .only_count = only ? 1 : 0};
	char why[CHECK_WHY_MAX];
	int ret = check_run(&scene->run, &choice, NULL, NULL, why);

	if (ret)
		print_error("%s\n", why);
	assert_int_equal(ret, 0);
}

static void every_driver_keeps_the_musts(void **state)
{
	static const char *const drivers[] = {"generic", "mlx5", "virtio", "hisi_acc",
					      "qat", "pds", "xe", "mtty"};

	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
		open_device(drivers[i]);
		check_only(NULL);
		if (scene->run.musts_failed || scene->run.gone)
			print_error("%s\n", drivers[i]);
		if (scene->run.musts_failed || scene->run.gone)
			show();
		assert_int_equal(scene->run.musts_failed, 0);
		assert_int_equal(scene->run.verdicts[CHECK_UNJUDGED], 0);
		assert_false(scene->run.gone);
		close_device();
	}
}

/* ---- mutants ---- */

static struct vfm_feature_mig_state *as_set(unsigned long request, void *arg)
{
	struct vfm_feature *head = arg;

	return request == VFM_IOCTL_DEVICE_FEATURE &&
			       head->flags == (VFM_FEATURE_MIG_DEVICE_STATE | VFM_FEATURE_SET)
		       ? (struct vfm_feature_mig_state *)(head + 1)
		       : NULL;
}

static int keeps_the_fd(const struct vfio_sys *sys, int fd, unsigned long request, void *arg)
{
	struct vfm_feature_mig_state *set = as_set(request, arg);
	int ret = pass_ioctl(sys, fd, request, arg);

	if (!ret && set && set->device_state == VFM_STATE_RESUMING && set->data_fd >= 0) {
		pass_close(sys, set->data_fd);
		set->data_fd = -1;
	}
	return ret;
}

static int gives_one_more(const struct vfio_sys *sys, int fd, unsigned long request, void *arg)
{
	struct vfm_feature_mig_state *set = as_set(request, arg);
	int ret = pass_ioctl(sys, fd, request, arg);

	if (!ret && set && set->device_state == VFM_STATE_STOP_COPY && set->data_fd < 0)
		set->data_fd = eventfd(0, EFD_CLOEXEC);
	return ret;
}

static int ignores_argsz(const struct vfio_sys *sys, int fd, unsigned long request, void *arg)
{
	if (request == VFM_IOCTL_MIG_GET_PRECOPY_INFO)
		((struct vfm_precopy_info *)arg)->argsz = sizeof(struct vfm_precopy_info);
	return pass_ioctl(sys, fd, request, arg);
}

static ssize_t ignores_offset(const struct vfio_sys *sys, int fd, void *buf, size_t len,
			      uint64_t at)
{
	return pass_read(sys, fd, buf, len);
}

static const struct {
	const char *rule;
	int (*ioctl)(const struct vfio_sys *sys, int fd, unsigned long request, void *arg);
	ssize_t (*pread)(const struct vfio_sys *sys, int fd, void *buf, size_t len, uint64_t at);
} mutants[] = {
	{"fd-given", keeps_the_fd, pass_pread},
	{"fd-none", gives_one_more, pass_pread},
	{"fd-seek", pass_ioctl, ignores_offset},
	{"fd-info-argsz", ignores_argsz, pass_pread},
};

static void try_mutant(size_t i)
{
	open_device("generic");
	scene->mutant.ioctl = mutants[i].ioctl;
	scene->mutant.pread = mutants[i].pread;
	check_only("fd");
	for (unsigned r = 0; r < scene->run.count; r++) {
		const struct check_result *result = &scene->run.results[r];
		bool mine = !strcmp(result->rule->id, mutants[i].rule);

		if ((result->verdict == CHECK_FAIL) != mine)
			print_error("the mutant %s: %s: %s\n", mutants[i].rule, result->rule->id,
				    result->why);
		assert_int_equal(result->verdict == CHECK_FAIL, mine);
	}
	close_device();
}

static bool has_mutant(const char *rule)
{
	for (size_t i = 0; i < ARRAY_SIZE(mutants); i++)
		if (!strcmp(mutants[i].rule, rule))
			return true;
	return false;
}

static void every_rule_for_fds_finds_its_mutant(void **state)
{
	const struct check_family *family;
	const struct check_rule *rule;

	for (unsigned i = 0; (rule = check_rule_at(i, &family)); i++)
		if (rule->needs & NEEDS_FD)
			assert_true(has_mutant(rule->id));
	for (size_t i = 0; i < ARRAY_SIZE(mutants); i++)
		try_mutant(i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_driver_keeps_the_musts, begin, end),
		cmocka_unit_test_setup_teardown(every_rule_for_fds_finds_its_mutant, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
