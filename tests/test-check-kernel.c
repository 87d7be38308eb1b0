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
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/bitmap.h"
#include "base/clock.h"
#include "check/check.h"
#include "tests/kernel-double.h"

struct scene {
	struct kernel_double kd;
	struct vfio_sys mutant; /* what the checker is given */
	struct port *port;
	unsigned mappings;
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

static ssize_t pass_pwrite(const struct vfio_sys *sys, int fd, const void *buf, size_t len,
			   uint64_t at)
{
	return real()->pwrite(real(), fd, buf, len, at);
}

static ssize_t pass_pread(const struct vfio_sys *sys, int fd, void *buf, size_t len, uint64_t at)
{
	return real()->pread(real(), fd, buf, len, at);
}

static void pass_close(const struct vfio_sys *sys, int fd)
{
	real()->close(real(), fd);
}

static int pass_poll(const struct vfio_sys *sys, struct pollfd *fds, unsigned count, int timeout_ms)
{
	return real()->poll(real(), fds, count, timeout_ms);
}

static int pass_set_nonblock(const struct vfio_sys *sys, int fd)
{
	return real()->set_nonblock(real(), fd);
}

static int pass_dup(const struct vfio_sys *sys, int fd)
{
	return real()->dup(real(), fd);
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

/* What mutants of data sessions know of the newest one. */
static struct {
	int fd;       /* -1: there is none */
	bool over;    /* a SET or a reset ended it */
	bool another; /* the device was opened anew */
	bool copied, closed; /* there are two fds of it, and one was closed */
	ssize_t last; /* what the last read said */
} session;

/* The user dies, and another one has the same device. */
static int reopen(void *opaque, struct port *port)
{
	port_take_fd(port, -1);
	kernel_double_user_died(&scene->kd);
	port_take_fd(port, scene->kd.device);
	session.another = true;
	return 0;
}

/* ---- memory for the device: mappings that lie side by side, here and there ---- */

static int map(void *opaque, uint64_t iova, uint64_t size, void *host)
{
	struct kernel_double *kd = opaque;

	if (!kd->ram_size) {
		kd->ram = host;
		kd->ram_iova = iova;
	}
	assert_ptr_equal(host, kd->ram + kd->ram_size);
	assert_int_equal(iova, kd->ram_iova + kd->ram_size);
	kd->ram_size += size;
	scene->mappings++;
	return 0;
}

static int unmap(void *opaque, uint64_t iova, uint64_t size)
{
	struct kernel_double *kd = opaque;

	assert_true(scene->mappings);
	if (!--scene->mappings) {
		kd->ram = NULL;
		kd->ram_size = 0;
	}
	return 0;
}

static void open_device(const char *driver)
{
	struct port_opener opener = {.reopen = reopen};

	kernel_double_init(&scene->kd, driver, NULL);
	scene->kd.step_ns = NS_PER_MSEC;
	scene->mutant = (struct vfio_sys){
		.ioctl = pass_ioctl, .read = pass_read, .write = pass_write,
		.pread = pass_pread, .pwrite = pass_pwrite, .close = pass_close, .poll = pass_poll,
		.set_nonblock = pass_set_nonblock, .dup = pass_dup,
	};
	scene->port = port_kernel(&scene->mutant, scene->kd.device, &opener);
	assert_non_null(scene->port);
	port_set_space(scene->port, &(struct port_space){map, unmap, &scene->kd});
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

static bool has_mutant(const char *rule);

/* All rules, or those that have a mutant here. */
static void check_all(bool mutated)
{
	struct check_choice choice = {.only = NULL};
	const char *names[CHECK_RULES_MAX];
	const struct check_family *family;
	const struct check_rule *rule;
	char why[CHECK_WHY_MAX];
	int ret;

	for (unsigned i = 0; mutated && (rule = check_rule_at(i, &family)); i++)
		if (has_mutant(rule->id))
			names[choice.only_count++] = rule->id;
	choice.only = names;
	ret = check_run(&scene->run, &choice, NULL, NULL, why);

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
		check_all(false);
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

static struct vfm_feature_logging_report *as_report(unsigned long request, void *arg)
{
	struct vfm_feature *head = arg;

	return request == VFM_IOCTL_DEVICE_FEATURE &&
			       head->flags == (VFM_FEATURE_DMA_LOGGING_REPORT | VFM_FEATURE_GET)
		       ? (struct vfm_feature_logging_report *)(head + 1)
		       : NULL;
}

static void clear_bitmap(const struct vfm_feature_logging_report *report)
{
	uint64_t *bitmap = (uint64_t *)(uintptr_t)report->bitmap;

	memset(bitmap, 0, bitmap_words(report->length / report->page_size) * sizeof(*bitmap));
}

static int writes_bitmap_anew(const struct vfio_sys *sys, int fd, unsigned long request, void *arg)
{
	if (as_report(request, arg))
		clear_bitmap(as_report(request, arg));
	return pass_ioctl(sys, fd, request, arg);
}

/* The memory is all of its mappings, and they are equal. */
static int tells_nothing_across(const struct vfio_sys *sys, int fd, unsigned long request,
				void *arg)
{
	const struct vfm_feature_logging_report *report = as_report(request, arg);
	int ret = pass_ioctl(sys, fd, request, arg);

	if (report && scene->mappings && report->length > scene->kd.ram_size / scene->mappings)
		clear_bitmap(report);
	return ret;
}

static ssize_t ignores_offset(const struct vfio_sys *sys, int fd, void *buf, size_t len,
			      uint64_t at)
{
	return pass_read(sys, fd, buf, len);
}

static int wants_exact_argsz(const struct vfio_sys *sys, int fd, unsigned long request, void *arg)
{
	bool asks = request == VFM_IOCTL_MIG_GET_PRECOPY_INFO;

	if (asks && ((struct vfm_precopy_info *)arg)->argsz != sizeof(struct vfm_precopy_info))
		return -EINVAL;
	return pass_ioctl(sys, fd, request, arg);
}

static int watch(const struct vfio_sys *sys, int fd, unsigned long request, void *arg)
{
	struct vfm_feature_mig_state *set = as_set(request, arg);
	int ret = pass_ioctl(sys, fd, request, arg);

	if (request == VFM_IOCTL_DEVICE_RESET || (!ret && set))
		session.over = sim_state(scene->kd.sim) == VFM_STATE_STOP ||
			       sim_state(scene->kd.sim) == VFM_STATE_RUNNING;
	if (!ret && set && set->data_fd >= 0) {
		session.fd = set->data_fd;
		session.last = 1;
		session.copied = session.closed = false;
	}
	return ret;
}

static ssize_t reads_the_newest(const struct vfio_sys *sys, int fd, void *buf, size_t len)
{
	return pass_read(sys, session.over || session.another ? fd : session.fd, buf, len);
}

static ssize_t writes_the_newest(const struct vfio_sys *sys, int fd, const void *buf, size_t len)
{
	return pass_write(sys, session.over ? fd : session.fd, buf, len);
}

/* The end of data, and no error, once nobody has the device open any more. */
static ssize_t ends_in_running(const struct vfio_sys *sys, int fd, void *buf, size_t len)
{
	ssize_t got = pass_read(sys, fd, buf, len);

	return got == -ENODEV && sim_state(scene->kd.sim) == VFM_STATE_RUNNING ? 0 : got;
}

static int notices_copy(const struct vfio_sys *sys, int fd)
{
	session.copied = true;
	return pass_dup(sys, fd);
}

static void ends_with_the_first(const struct vfio_sys *sys, int fd)
{
	session.closed |= session.copied && fd == session.fd;
	pass_close(sys, fd);
}

static ssize_t reads_until_closed(const struct vfio_sys *sys, int fd, void *buf, size_t len)
{
	return session.closed ? -ENODEV : pass_read(sys, fd, buf, len);
}

/* Where there is nothing now it waits for a signal. */
static ssize_t sleeps(const struct vfio_sys *sys, int fd, void *buf, size_t len)
{
	ssize_t got = pass_read(sys, fd, buf, len);

	if (got != -ENOMSG)
		return got;
	poll(NULL, 0, -1);
	return -EINTR;
}

static ssize_t remembers(const struct vfio_sys *sys, int fd, void *buf, size_t len)
{
	return session.last = pass_read(sys, fd, buf, len);
}

static int silent_after_data(const struct vfio_sys *sys, struct pollfd *fds, unsigned count,
			     int timeout_ms)
{
	return session.last > 1 ? 0 : pass_poll(sys, fds, count, timeout_ms);
}

static int silent_at_end(const struct vfio_sys *sys, struct pollfd *fds, unsigned count,
			 int timeout_ms)
{
	return session.last ? pass_poll(sys, fds, count, timeout_ms) : 0;
}

static int silent_when_over(const struct vfio_sys *sys, struct pollfd *fds, unsigned count,
			    int timeout_ms)
{
	return session.over ? 0 : pass_poll(sys, fds, count, timeout_ms);
}

/* What is NULL is as it should be. */
static const struct mutant {
	const char *rule;
	struct vfio_sys sys;
} mutants[] = {
	{"fd-given", {.ioctl = keeps_the_fd}},
	{"fd-none", {.ioctl = gives_one_more}},
	{"fd-seek", {.pread = ignores_offset}},
	{"fd-info-argsz", {.ioctl = ignores_argsz}},
	{"fd-info-room", {.ioctl = wants_exact_argsz}},
	{"fd-old-read", {.ioctl = watch, .read = reads_the_newest}},
	{"fd-old-write", {.ioctl = watch, .write = writes_the_newest}},
	{"fd-closed", {.read = ends_in_running}},
	{"fd-copy", {.ioctl = watch, .dup = notices_copy, .close = ends_with_the_first,
		     .read = reads_until_closed}},
	{"poll-nonblock", {.read = sleeps}},
	{"poll-ready", {.ioctl = watch, .read = remembers, .poll = silent_after_data}},
	{"poll-end", {.ioctl = watch, .read = remembers, .poll = silent_at_end}},
	{"poll-over", {.ioctl = watch, .poll = silent_when_over}},
	{"log-sets", {.ioctl = writes_bitmap_anew}},
	{"log-mappings", {.ioctl = tells_nothing_across}},
};

static bool has_mutant(const char *rule)
{
	for (size_t i = 0; i < ARRAY_SIZE(mutants); i++)
		if (!strcmp(mutants[i].rule, rule))
			return true;
	return false;
}

#define TAKE(call)                                                                                 \
	do {                                                                                       \
		if (mutant->sys.call)                                                              \
			scene->mutant.call = mutant->sys.call;                                     \
	} while (0)

static void become(const struct mutant *mutant)
{
	memset(&session, 0, sizeof(session));
	session.fd = -1;
	TAKE(ioctl);
	TAKE(read);
	TAKE(write);
	TAKE(pread);
	TAKE(poll);
	TAKE(dup);
	TAKE(close);
}

static enum check_verdict verdict_of(const char *rule)
{
	for (unsigned i = 0; i < scene->run.count; i++)
		if (!strcmp(scene->run.results[i].rule->id, rule))
			return scene->run.results[i].verdict;
	return CHECK_UNJUDGED;
}

/* Nobody but the mutant sleeps: how soon that is noticed decides nothing. */
#define PATIENCE_MS 100

static void try_mutant(const struct mutant *mutant)
{
	open_device("generic");
	become(mutant);
	scene->run.check.patience_ms = PATIENCE_MS;
	check_all(true);
	assert_int_equal(verdict_of(mutant->rule), CHECK_FAIL);
	for (unsigned r = 0; r < scene->run.count; r++) {
		const struct check_result *result = &scene->run.results[r];
		bool mine = !strcmp(result->rule->id, mutant->rule);

		if ((result->verdict == CHECK_FAIL) != mine)
			print_error("the mutant %s: %s: %s\n", mutant->rule, result->rule->id,
				    result->why);
		assert_int_equal(result->verdict == CHECK_FAIL, mine);
	}
	close_device();
}

static void every_rule_for_fds_finds_its_mutant(void **state)
{
	const struct check_family *family;
	const struct check_rule *rule;

	for (unsigned i = 0; (rule = check_rule_at(i, &family)); i++)
		if (rule->needs & NEEDS_FD)
			assert_true(has_mutant(rule->id));
	for (size_t i = 0; i < ARRAY_SIZE(mutants); i++)
		try_mutant(&mutants[i]);
}

/* ---- states that are too large to hold ---- */

static void large_states_are_not_held(void **state)
{
	static const char *const kept[] = {"log-truth", "log-copy", "quiet-p2p",
					   "end-zero", "end-permanent", "save-again", "size-told",
					   "size-running", "poll-end"};
	static const char *const held[] = {"load-own", "hostile-flip", "save-round-trip"};

	open_device("generic");
	scene->port->hold_max = 64u << 10;
	check_all(false);
	if (scene->run.verdicts[CHECK_FAIL] || scene->run.verdicts[CHECK_UNJUDGED])
		show();
	assert_int_equal(scene->run.verdicts[CHECK_FAIL], 0);
	assert_int_equal(scene->run.verdicts[CHECK_UNJUDGED], 0);
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
		assert_int_equal(verdict_of(kept[i]), CHECK_PASS);
	for (size_t i = 0; i < ARRAY_SIZE(held); i++)
		assert_int_equal(verdict_of(held[i]), CHECK_NOT_APPLICABLE);
	close_device();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_driver_keeps_the_musts, begin, end),
		cmocka_unit_test_setup_teardown(every_rule_for_fds_finds_its_mutant, begin, end),
		cmocka_unit_test_setup_teardown(large_states_are_not_held, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
