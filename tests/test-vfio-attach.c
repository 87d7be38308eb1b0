/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Attaching kernel devices, and whole migrations of them by the engine, over the kernel double:
 * every driver, every tracker.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "tests/kernel-double.h"
#include "tests/rig.h"

static const char *const drivers[] = {"mlx5", "virtio", "hisi_acc", "qat", "pds", "xe", "mtty"};

/* ---- attaching ---- */

/* A double without an open device. */
static void closed_double(struct kernel_double *kd)
{
	kernel_double_init(kd, "mlx5", NULL);
	kd->sys.close(&kd->sys, kd->device);
}

static void assert_closed(struct kernel_double *kd)
{
	assert_int_equal(kd->device, -1);
	assert_int_equal(kd->group, -1);
	assert_int_equal(kd->container, -1);
	assert_int_equal(kd->iommufd, -1);
	kernel_double_destroy(kd);
}

static int try_open(struct kernel_double *kd, enum vfm_vfio_way way, const char *address,
		    char why[VFM_VFIO_WHY_MAX])
{
	struct vfm_vfio_space *space;
	struct vfm_vfio *vfio;
	int ret;

	why[0] = 0;
	assert_int_equal(vfio_space_new(&kd->sys, way, &space), 0);
	ret = vfio_open(space, address, &vfio, why, VFM_VFIO_WHY_MAX);
	if (!ret)
		vfm_vfio_close(vfio);
	vfm_vfio_space_free(space);
	assert_int_equal(ret == 0, why[0] == 0);
	return ret;
}

static void by_group_and_container(void **state)
{
	static const char *const names[] = {KD_ADDRESS, "3a:00.1", KD_SYSFS};
	static char memory[3 * 4096] __attribute__((aligned(4096)));
	struct vfm_vfio_space *space;
	struct vfm_vfio *vfio;
	struct kernel_double kd;
	struct vfm_device *dev;
	char why[VFM_VFIO_WHY_MAX] = "";

	closed_double(&kd);
	assert_int_equal(vfio_space_new(&kd.sys, VFM_VFIO_GROUP, &space), 0);
	assert_int_equal(vfm_vfio_space_map(space, 0x1000, 0x1000, memory), 0);
	assert_int_equal(kd.map_count, 0); /* nobody is there to take it */
	if (vfio_open(space, KD_ADDRESS, &vfio, why, sizeof(why)))
		fail_msg("%s", why);
	assert_int_equal(kd.map_count, 1);
	assert_int_equal(vfm_vfio_space_map(space, 0x4000, 0x2000, memory + 4096), 0);
	assert_int_equal(kd.map_count, 2);
	assert_int_equal(vfm_vfio_space_map(space, 0x3000, 0x2000, memory), -EEXIST);
	assert_int_equal(vfm_vfio_space_map(space, 0, 0x2000, memory), -EEXIST);
	assert_int_equal(vfm_vfio_space_unmap(space, 0x4000, 0x1000), -ENOENT);
	assert_int_equal(vfm_vfio_space_unmap(space, 0x1000, 0x1000), 0);
	assert_int_equal(vfm_device_new_vfio(vfio, "nic", &dev), 0);
	assert_int_equal(dev->info.tracker, VFM_TRACKER_DEVICE);
	vfm_device_free(dev);
	vfm_vfio_close(vfio);
	assert_int_equal(kd.map_count, 0); /* the last group left */
	assert_int_equal(vfio_open(space, "3a:00.1", &vfio, NULL, 0), 0);
	assert_int_equal(kd.map_count, 1);
	vfm_vfio_close(vfio);
	vfm_vfio_space_free(space);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		assert_int_equal(try_open(&kd, VFM_VFIO_GROUP, names[i], why), 0);
	assert_closed(&kd);
}

static void by_cdev_and_iommufd(void **state)
{
	static char memory[4096] __attribute__((aligned(4096)));
	struct vfm_vfio_space *space;
	struct vfm_vfio *vfio, *second;
	int first;
	struct kernel_double kd;

	closed_double(&kd);
	assert_int_equal(vfio_space_new(&kd.sys, VFM_VFIO_ANY, &space), 0);
	assert_int_equal(vfm_vfio_space_map(space, 0x1000, 0x1000, memory), 0);
	assert_int_equal(vfio_open(space, "/dev/vfio/devices/vfio3", &vfio, NULL, 0), 0);
	assert_int_equal(vfm_vfio_space_way(space), VFM_VFIO_CDEV);
	assert_int_equal(kd.attached, KD_HWPT); /* with dirty tracking */
	assert_int_equal(vfio->hwpt, KD_HWPT);
	assert_int_equal(kd.hwpts, 1);
	assert_int_equal(kd.map_count, 1);
	/* A second device shares the page table, and the last one takes it away. */
	first = kd.device;
	assert_int_equal(vfio_open(space, KD_ADDRESS, &second, NULL, 0), 0);
	assert_int_equal(second->hwpt, KD_HWPT);
	assert_int_equal(kd.hwpts, 1);
	vfm_vfio_close(second);
	assert_int_equal(kd.hwpts, 1);
	kd.device = first;
	vfm_vfio_close(vfio);
	assert_int_equal(kd.hwpts, 0);
	kd.no_hwpt = true; /* an IOMMU without it */
	assert_int_equal(vfio_open(space, KD_ADDRESS, &vfio, NULL, 0), 0);
	assert_int_equal(kd.attached, KD_IOAS);
	assert_int_equal(vfio->hwpt, 0);
	vfm_vfio_close(vfio);
	vfm_vfio_space_free(space);
	assert_closed(&kd);
}

/* What Debian's kernels have. */
static void without_iommufd_the_group_is_taken(void **state)
{
	struct vfm_vfio_space *space;
	struct vfm_vfio *vfio;
	struct kernel_double kd;

	closed_double(&kd);
	kd.no_cdev = kd.no_iommufd_node = true;
	assert_int_equal(vfio_space_new(&kd.sys, VFM_VFIO_ANY, &space), 0);
	assert_int_equal(vfio_open(space, KD_ADDRESS, &vfio, NULL, 0), 0);
	assert_int_equal(vfm_vfio_space_way(space), VFM_VFIO_GROUP);
	vfm_vfio_close(vfio);
	vfm_vfio_space_free(space);
	assert_closed(&kd);
}

/* The first device does not come by cdev, the next one has none: the memory is all in one place. */
static void a_space_is_of_one_way(void **state)
{
	static char memory[2 * 4096] __attribute__((aligned(4096)));
	struct vfm_vfio_space *space;
	struct vfm_vfio *vfio;
	struct kernel_double kd;

	closed_double(&kd);
	kd.bind_errno = EBUSY;
	assert_int_equal(vfio_space_new(&kd.sys, VFM_VFIO_ANY, &space), 0);
	assert_int_equal(vfm_vfio_space_unmap(space, 0x1000, 0x1000), -ENOENT);
	assert_int_equal(vfm_vfio_space_map(space, 0x1000, 0x1000, memory), 0);
	assert_int_equal(vfio_open(space, KD_ADDRESS, &vfio, NULL, 0), -EBUSY);
	assert_int_equal(kd.iommufd, -1);
	kd.bind_errno = 0;
	kd.no_cdev = true;
	assert_int_equal(vfio_open(space, KD_ADDRESS, &vfio, NULL, 0), 0);
	assert_int_equal(vfm_vfio_space_way(space), VFM_VFIO_GROUP);
	assert_int_equal(kd.map_count, 1);
	assert_int_equal(vfm_vfio_space_map(space, 0x4000, 0x1000, memory + 4096), 0);
	assert_int_equal(kd.map_count, 2);
	vfm_vfio_close(vfio);
	assert_int_equal(kd.map_count, 0); /* all of it was the container's */
	vfm_vfio_space_free(space);
	assert_closed(&kd);
}

static void what_is_wrong_is_told(void **state)
{
	char why[VFM_VFIO_WHY_MAX];
	struct kernel_double kd;

	closed_double(&kd);
	assert_int_equal(try_open(&kd, VFM_VFIO_ANY, "0000:3a:00.2", why), -ENODEV);
	assert_int_equal(try_open(&kd, VFM_VFIO_ANY, "eth0", why), -EINVAL);
	assert_int_equal(try_open(&kd, VFM_VFIO_ANY, "fd:x", why), -EINVAL);
	assert_int_equal(try_open(&kd, VFM_VFIO_ANY, "fd:12345", why), -EBADF);
	kd.bind_errno = EINVAL;
	assert_int_equal(try_open(&kd, VFM_VFIO_CDEV, KD_ADDRESS, why), -EINVAL);
	assert_non_null(strstr(why, "somebody else"));
	kd.bind_errno = 0;
	kd.group_errno = EBUSY;
	assert_int_equal(try_open(&kd, VFM_VFIO_GROUP, KD_ADDRESS, why), -EBUSY);
	assert_non_null(strstr(why, "another process"));
	kd.group_errno = 0;
	kd.not_viable = true;
	assert_int_equal(try_open(&kd, VFM_VFIO_GROUP, KD_ADDRESS, why), -EPERM);
	assert_non_null(strstr(why, "bind all"));
	kd.not_viable = false;
	kd.no_cdev = true;
	assert_int_equal(try_open(&kd, VFM_VFIO_CDEV, KD_ADDRESS, why), -ENXIO);
	assert_non_null(strstr(why, "by group"));
	kd.no_vfio_driver = true;
	assert_int_equal(try_open(&kd, VFM_VFIO_ANY, KD_ADDRESS, why), -ENXIO);
	assert_non_null(strstr(why, "no VFIO driver"));
	kd.driver[0] = 0;
	assert_int_equal(try_open(&kd, VFM_VFIO_ANY, KD_ADDRESS, why), -ENXIO);
	assert_non_null(strstr(why, "no driver"));
	assert_closed(&kd);
}

/* An fd that its opener did not attach, and one that it did. */
static void an_fd_is_taken_over(void **state)
{
	char address[16], why[VFM_VFIO_WHY_MAX];
	struct vfm_vfio_space *space;
	struct vfm_vfio *vfio;
	struct kernel_double kd;

	closed_double(&kd);
	snprintf(address, sizeof(address), "fd:%d",
		 kd.sys.open(&kd.sys, "/dev/vfio/devices/vfio3", 0));
	assert_int_equal(vfio_space_new(&kd.sys, VFM_VFIO_CDEV, &space), 0);
	assert_int_equal(vfio_open(space, address, &vfio, why, sizeof(why)), 0);
	assert_true(kd.bound);
	vfm_vfio_close(vfio);
	assert_int_equal(kd.device, -1); /* closed for its giver */
	vfm_vfio_space_free(space);
	/* After a failure it is still the caller's. */
	snprintf(address, sizeof(address), "fd:%d",
		 kd.sys.open(&kd.sys, "/dev/vfio/devices/vfio3", 0));
	assert_int_equal(try_open(&kd, VFM_VFIO_GROUP, address, why), -EINVAL);
	assert_true(kd.device >= 0);
	kd.sys.close(&kd.sys, kd.device);
	assert_closed(&kd);
}

/* A failure leaves it as it came, as far as the kernel lets: bound, and at nobody's memory. */
static void an_fd_that_fails_is_given_back(void **state)
{
	char address[16], why[VFM_VFIO_WHY_MAX];
	struct kernel_double kd;

	closed_double(&kd);
	kd.info_errno = EIO;
	snprintf(address, sizeof(address), "fd:%d",
		 kd.sys.open(&kd.sys, "/dev/vfio/devices/vfio3", 0));
	assert_int_equal(try_open(&kd, VFM_VFIO_CDEV, address, why), -EIO);
	assert_true(kd.device >= 0);
	assert_int_equal(kd.attached, 0);
	assert_int_equal(kd.hwpts, 0); /* its page table did not stay behind */
	assert_non_null(strstr(why, "stays bound"));
	kd.sys.close(&kd.sys, kd.device);
	kd.info_errno = 0;
	kd.attach_errno = ENOSPC;
	snprintf(address, sizeof(address), "fd:%d",
		 kd.sys.open(&kd.sys, "/dev/vfio/devices/vfio3", 0));
	assert_int_equal(try_open(&kd, VFM_VFIO_CDEV, address, why), -ENOSPC);
	assert_non_null(strstr(why, "stays bound"));
	kd.sys.close(&kd.sys, kd.device);
	kd.bind_errno = EINVAL;
	snprintf(address, sizeof(address), "fd:%d",
		 kd.sys.open(&kd.sys, "/dev/vfio/devices/vfio3", 0));
	assert_int_equal(try_open(&kd, VFM_VFIO_CDEV, address, why), -EINVAL);
	assert_null(strstr(why, "stays bound"));
	kd.sys.close(&kd.sys, kd.device);
	assert_closed(&kd);
}

static void whose_memory_a_device_reaches_is_told(void **state)
{
	struct vfm_vfio_space *space;
	struct vfm_vfio *vfio;
	struct kernel_double kd;
	char address[16];

	kernel_double_init(&kd, "mlx5", NULL); /* its device is open, and attached by nobody's space */
	snprintf(address, sizeof(address), "fd:%d", kd.device);
	assert_int_equal(vfio_space_new(&kd.sys, VFM_VFIO_ANY, &space), 0);
	assert_int_equal(vfio_open(space, address, &vfio, NULL, 0), 0);
	assert_false(vfm_vfio_in_space(vfio));
	vfm_vfio_close(vfio);
	assert_int_equal(vfio_open(space, KD_ADDRESS, &vfio, NULL, 0), 0);
	assert_true(vfm_vfio_in_space(vfio));
	vfm_vfio_close(vfio);
	vfm_vfio_space_free(space);
	assert_int_equal(vfio_space_new(&kd.sys, VFM_VFIO_GROUP, &space), 0);
	assert_int_equal(vfio_open(space, KD_ADDRESS, &vfio, NULL, 0), 0);
	assert_true(vfm_vfio_in_space(vfio));
	vfm_vfio_close(vfio);
	vfm_vfio_space_free(space);
	assert_closed(&kd);
}

/* ---- moves by the engine ---- */

/* What the devices of a move write to: the source's word in a page of the VM's "high" memory. */
#define TARGET (UINT64_C(1) << 30)

struct move {
	struct kernel_double from, to;
	struct vfm_device *devices[2];
	struct rig rig;
	bool untouched; /* no data may move */
};

static void busy(struct sim_options *o)
{
	bool dma = !o->personality->no_dma;

	o->dirty_rate = 200000;
	o->p2p_target = dma ? TARGET + 0x5008 : 0;
	o->p2p_rate = dma ? 100000 : 0;
}

static void move_up(struct move *m, const char *driver)
{
	rig_init(&m->rig, 0);
	m->rig.vm[0].dirty_each_sync = 3;
	kernel_double_init(&m->from, driver, busy);
	kernel_double_init(&m->to, driver, NULL);
	m->from.ram = m->rig.vm[0].regions[1].host;
	m->from.ram_iova = TARGET;
	m->from.ram_size = m->rig.vm[0].regions[1].size;
	m->from.step_ns = 100000;
}

static int move_run(struct move *m)
{
	m->devices[0] = kernel_double_device(&m->from);
	m->devices[1] = kernel_double_device(&m->to);
	rig_make(&m->rig);
	vfm_source_add_device(m->rig.source, m->devices[0]);
	vfm_destination_add_device(m->rig.destination, m->devices[1]);
	assert_int_equal(rig_start(&m->rig), 0);
	return rig_finish(&m->rig);
}

static void move_down(struct move *m)
{
	rig_down(&m->rig);
	vfm_device_free(m->devices[0]);
	vfm_device_free(m->devices[1]);
	/* Data moves on threads that no signal can interrupt (rule 19). */
	assert_int_equal(m->from.unblocked + m->to.unblocked, 0);
	assert_int_equal(m->from.reads + m->to.writes > 0, !m->untouched);
	kernel_double_destroy(&m->from);
	kernel_double_destroy(&m->to);
}

static void assert_arrived(struct move *m, int ret)
{
	struct vfm_error error;
	const void *there, *here;
	size_t size;

	vfm_source_get_error(m->rig.source, &error);
	if (ret)
		fail_msg("%s: %d: %s: %s", sim_who(m->from.sim)->name, ret, error.device, error.text);
	assert_moved(&m->rig);
	there = kernel_double_memory(&m->from, &size);
	here = kernel_double_memory(&m->to, &size);
	assert_memory_equal(there, here, size);
	assert_int_equal(sim_state(m->from.sim), VFM_STATE_STOP);
	assert_int_equal(sim_state(m->to.sim), VFM_STATE_RUNNING);
}

static bool was_logged(struct move *m, const char *text)
{
	for (unsigned i = 0; i < ARRAY_SIZE(m->rig.vm[0].log); i++)
		if (strstr(m->rig.vm[0].log[i], text))
			return true;
	return false;
}

static void the_engine_moves_every_driver(void **state)
{
	static struct move m;

	for (unsigned i = 0; i < ARRAY_SIZE(drivers); i++) {
		memset(&m, 0, sizeof(m));
		move_up(&m, drivers[i]);
		assert_arrived(&m, move_run(&m));
		if (!sim_who(m.from.sim)->no_dma)
			assert_true(kernel_double_written(&m.from) > 0);
		if (sim_has_logging(m.from.sim)) {
			assert_int_equal(m.devices[0]->info.tracker, VFM_TRACKER_DEVICE);
			assert_true(m.from.reports > 1);
			assert_false(kernel_double_logs(&m.from)); /* stopped at the end */
		} else {
			assert_true(was_logged(&m, "does not track its writes"));
		}
		move_down(&m);
	}
}

/* As on Debian's kernels: the log starts, and does not report. All memory is dirty then, and the
 * VM arrives all the same; with an IOMMU's tracking in reserve, that is used and told. */
static void a_log_without_reports_is_no_obstacle(void **state)
{
	static struct move m;

	memset(&m, 0, sizeof(m));
	move_up(&m, "mlx5");
	m.from.report_errno = EOPNOTSUPP;
	assert_arrived(&m, move_run(&m));
	assert_int_equal(m.devices[0]->info.tracker, VFM_TRACKER_NONE);
	assert_true(was_logged(&m, "was to track its writes, and does not (Operation not"));
	move_down(&m);

	memset(&m, 0, sizeof(m));
	move_up(&m, "mtty"); /* it writes nowhere, and its IOMMU finds nothing */
	m.from.report_errno = EOPNOTSUPP;
	m.from.container = m.from.sys.open(&m.from.sys, "/dev/vfio/vfio", 0);
	m.from.type1 = true;
	assert_arrived(&m, move_run(&m));
	assert_int_equal(m.devices[0]->info.tracker, VFM_TRACKER_CONTAINER);
	assert_true(was_logged(&m, "was refused (Operation not supported): container tracks"));
	assert_true(m.from.by_container.gets > 1);
	assert_int_equal(m.from.by_container.stops, m.from.by_container.starts);
	m.from.sys.close(&m.from.sys, m.from.container);
	move_down(&m);
}

/* The report fails later on: everything is dirty once more, and nothing is lost. */
static void a_lost_log_loses_no_page(void **state)
{
	static struct move m;

	for (unsigned nth = 2; nth < 5; nth++) {
		memset(&m, 0, sizeof(m));
		move_up(&m, "mlx5");
		kernel_double_options(&m.from)->fail_call[SIM_CALL_LOG_REPORT] =
			(struct sim_fail){EIO, nth};
		assert_arrived(&m, move_run(&m));
		assert_int_equal(m.devices[0]->info.tracker, VFM_TRACKER_DEVICE);
		move_down(&m);
	}
}

/* The last user died in pre-copy: the device ran, and its session is gone. */
static void a_source_left_in_precopy_moves(void **state)
{
	static struct move m;

	memset(&m, 0, sizeof(m));
	move_up(&m, "virtio");
	assert_int_equal(sim_set_state(m.from.sim, VFM_STATE_PRE_COPY), 0);
	assert_int_equal(sim_set_state(m.to.sim, VFM_STATE_RESUMING), 0);
	assert_arrived(&m, move_run(&m));
	assert_int_equal(m.to.resets, 1);
	move_down(&m);
}

/* What was stopped may have been given away: it stays as it is. */
static void a_source_that_does_not_run_stays(void **state)
{
	static const enum vfm_state left[] = {VFM_STATE_STOP, VFM_STATE_STOP_COPY,
					      VFM_STATE_RUNNING_P2P, VFM_STATE_PRE_COPY_P2P};
	static struct move m;

	for (unsigned i = 0; i < ARRAY_SIZE(left); i++) {
		memset(&m, 0, sizeof(m));
		move_up(&m, "virtio");
		assert_int_equal(sim_set_state(m.from.sim, left[i]), 0);
		assert_int_equal(move_run(&m), -EPERM);
		assert_int_equal(sim_state(m.from.sim), left[i]);
		assert_int_equal(m.from.resets, 0);
		m.untouched = true;
		move_down(&m);
	}
}

static void a_refusal_leaves_the_source_running(void **state)
{
	static struct move m;

	for (unsigned i = 0; i < ARRAY_SIZE(drivers); i++) {
		memset(&m, 0, sizeof(m));
		move_up(&m, drivers[i]);
		kernel_double_options(&m.to)->state_size += 8; /* another device, by its stream */
		m.to.accepts_after_error = sim_who(m.to.sim)->mismatch_in_write;
		assert_true(move_run(&m) < 0);
		assert_stayed(&m.rig);
		assert_int_equal(sim_state(m.from.sim), VFM_STATE_RUNNING);
		assert_int_equal(sim_state(m.to.sim), VFM_STATE_RUNNING);
		assert_true(m.to.resets > 0);
		move_down(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_group_and_container),
		cmocka_unit_test(by_cdev_and_iommufd),
		cmocka_unit_test(without_iommufd_the_group_is_taken),
		cmocka_unit_test(a_space_is_of_one_way),
		cmocka_unit_test(what_is_wrong_is_told),
		cmocka_unit_test(an_fd_is_taken_over),
		cmocka_unit_test(an_fd_that_fails_is_given_back),
		cmocka_unit_test(whose_memory_a_device_reaches_is_told),
		cmocka_unit_test(the_engine_moves_every_driver),
		cmocka_unit_test(a_log_without_reports_is_no_obstacle),
		cmocka_unit_test(a_lost_log_loses_no_page),
		cmocka_unit_test(a_source_left_in_precopy_moves),
		cmocka_unit_test(a_source_that_does_not_run_stays),
		cmocka_unit_test(a_refusal_leaves_the_source_running),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
