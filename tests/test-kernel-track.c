/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dirty tracking by an IOMMU, over a real kernel: mtty is behind none and never writes. A type 1
 * container with the test machine's PCI device, which pins nothing page by page, says that all is
 * dirty. The kernel's own test of iommufd has an IOMMU with dirty bits that can be set from here.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/bitmap.h"
#include "device/vfio-log.h"

#define PCI  "0000:00:02.0"
#define PAGE UINT64_C(4096)
#define SIZE (UINT64_C(1) << 20)
#define IOVA (UINT64_C(1) << 24) /* the least that the test IOMMU maps */

static void *new_memory(void)
{
	void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(memory != MAP_FAILED);
	return memory;
}

static void pci_device(enum vfm_vfio_way way)
{
	struct vfm_vfio_region region = {.size = sizeof(region)};
	struct vfm_vfio_device device = {.size = sizeof(device)};
	char why[VFM_VFIO_WHY_MAX] = "";
	struct vfm_vfio_space *space;
	struct vfm_device *dev;
	struct vfm_vfio *vfio;
	void *memory = new_memory(), *bar;

	assert_int_equal(vfm_vfio_space_new(way, &space), 0);
	assert_int_equal(vfm_vfio_space_map(space, IOVA, SIZE, memory), 0);
	if (vfm_vfio_open(space, PCI, &vfio, why, sizeof(why)))
		fail_msg("%s", why);
	assert_int_equal(vfm_device_new_vfio(vfio, "plain", &dev), 0);
	assert_int_equal(dev->info.mig_flags, 0);
	assert_int_equal(dev->info.pci_vendor, 0x1234);
	assert_int_equal(dev->info.pci_device, 0x11e8);
	vfm_device_free(dev);
	assert_int_equal(vfm_vfio_get_region(vfio, VFM_PCI_BAR0_REGION, &region), 0);
	assert_true(region.flags & VFM_REGION_INFO_MMAP);
	bar = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, vfm_vfio_fd(vfio),
		   (off_t)region.offset);
	assert_true(bar != MAP_FAILED);
	munmap(bar, 4096);
	vfm_vfio_region_clear(&region);
	assert_int_equal(vfm_vfio_get_device(vfio, &device), 0);
	assert_int_equal(vfm_vfio_reset(vfio),
			 device.flags & VFM_DEVICE_FLAG_RESET ? 0 : -EINVAL);
	assert_int_equal(vfm_vfio_space_unmap(space, IOVA, SIZE), 0);
	vfm_vfio_close(vfio);
	vfm_vfio_space_free(space);
	munmap(memory, SIZE);
}

static void a_pci_device_is_attached(void **state)
{
	if (access("/sys/bus/pci/drivers/vfio-pci/" PCI, F_OK))
		skip();
	pci_device(VFM_VFIO_GROUP);
	if (access("/dev/iommu", F_OK) == 0)
		pci_device(VFM_VFIO_CDEV);
}

static void a_container_says_that_all_is_dirty(void **state)
{
	struct vfm_vfio_fds fds = {.size = sizeof(fds), .device = -1, .iommufd = -1};
	const struct device_range range = {IOVA, SIZE};
	uint64_t page = PAGE, bits[4] = {0};
	struct vfm_vfio_space *space;
	struct vfm_vfio *vfio;
	enum vfm_tracker kind;
	struct vfio_log log;
	void *memory;
	int refusal;

	if (access("/sys/bus/pci/drivers/vfio-pci/" PCI, F_OK))
		skip();
	memory = new_memory();
	assert_int_equal(vfm_vfio_space_new(VFM_VFIO_GROUP, &space), 0);
	assert_int_equal(vfm_vfio_space_map(space, IOVA, SIZE, memory), 0);
	assert_int_equal(vfm_vfio_open(space, PCI, &vfio, NULL, 0), 0);
	fds.container = space->container;
	vfio_log_init(&log, &vfio_sys_kernel, &fds);
	assert_int_equal(vfio_log_probe(&log), VFM_TRACKER_CONTAINER);
	assert_int_equal(vfio_log_start(&log, &range, 1, &page, &kind, &refusal), 0);
	assert_int_equal(kind, VFM_TRACKER_CONTAINER);
	for (unsigned i = 0; i < 4; i++) /* in steps, which the kernel itself refuses */
		assert_int_equal(vfio_log_report(&log, IOVA + i * SIZE / 4, SIZE / 4, page,
						 &bits[i]), 0);
	assert_int_equal(bitmap_count(bits, SIZE / PAGE), SIZE / PAGE);
	vfio_log_destroy(&log);
	vfm_vfio_close(vfio);
	vfm_vfio_space_free(space);
	munmap(memory, SIZE);
}

/* ---- the kernel's test IOMMU ---- */

/* Of a kernel with IOMMUFD_TEST. */
struct test_cmd {
	uint32_t size;
	uint32_t op;
	uint32_t id;
	uint32_t reserved;
	union {
		struct {
			uint32_t out_device, out_hwpt, out_idev, reserved;
		} domain;
		struct {
			uint32_t hwpt;
		} replace;
		struct {
			uint32_t flags;
			vfm_aligned_u64 iova, length, page_size, bitmap, out_count;
		} dirty;
	};
	uint32_t last;
};
#define TEST_CMD     VFM_IOMMUFD_IO(32u)
#define TEST_DOMAIN  2u
#define TEST_REPLACE 10u
#define TEST_DIRTY   13u

static int run(int fd, unsigned long request, void *arg)
{
	return vfio_sys_kernel.ioctl(&vfio_sys_kernel, fd, request, arg);
}

/* A device of the test driver, behind a page table with dirty tracking that maps @memory. False:
 * none can be made, as in a 6.12 kernel on a machine that has an IOMMU of its own, whose driver
 * is asked instead of the test's. */
static bool make_test_iommu(struct vfm_vfio_fds *fds, void *memory)
{
	struct vfm_ioas_alloc ioas = {.size = sizeof(ioas)};
	struct test_cmd domain = {.size = sizeof(domain), .op = TEST_DOMAIN};
	struct test_cmd replace = {.size = sizeof(replace), .op = TEST_REPLACE};
	struct vfm_hwpt_alloc hwpt = {.size = sizeof(hwpt),
				      .flags = VFM_HWPT_ALLOC_DIRTY_TRACKING};
	struct vfm_ioas_map map = {
		.size = sizeof(map), .user_va = (uintptr_t)memory, .length = SIZE, .iova = IOVA,
		.flags = VFM_IOAS_MAP_FIXED_IOVA | VFM_IOAS_MAP_WRITEABLE | VFM_IOAS_MAP_READABLE,
	};

	assert_int_equal(run(fds->iommufd, VFM_IOCTL_IOMMU_IOAS_ALLOC, &ioas), 0);
	domain.id = map.ioas_id = hwpt.pt_id = ioas.out_ioas_id;
	if (run(fds->iommufd, TEST_CMD, &domain) == -EINVAL)
		return false;
	hwpt.dev_id = domain.domain.out_idev;
	assert_int_equal(run(fds->iommufd, VFM_IOCTL_IOMMU_HWPT_ALLOC, &hwpt), 0);
	replace.id = domain.domain.out_device;
	replace.replace.hwpt = hwpt.out_hwpt_id;
	assert_int_equal(run(fds->iommufd, TEST_CMD, &replace), 0);
	assert_int_equal(run(fds->iommufd, VFM_IOCTL_IOMMU_IOAS_MAP, &map), 0);
	fds->hwpt = hwpt.out_hwpt_id;
	return true;
}

/* The device wrote to the pages of @bits. The test IOMMU has half pages. */
static void device_writes(const struct vfm_vfio_fds *fds, const uint64_t bits[4])
{
	uint64_t halves[8] = {0};
	struct test_cmd cmd = {
		.size = sizeof(cmd), .op = TEST_DIRTY, .id = fds->hwpt,
		.dirty = {.iova = IOVA, .length = SIZE, .page_size = PAGE / 2,
			  .bitmap = (uintptr_t)halves},
	};

	for (uint64_t i = 0; i < SIZE / PAGE; i++)
		if (bitmap_test(bits, i))
			bitmap_set(halves, 2 * i + 1);
	assert_int_equal(run(fds->iommufd, TEST_CMD, &cmd), 0);
}

static void an_iommufd_page_table_is_read(void **state)
{
	struct vfm_vfio_fds fds = {.size = sizeof(fds), .device = -1, .container = -1};
	const struct device_range range = {IOVA, SIZE};
	uint64_t page = PAGE, bits[4] = {0}, wrote[4] = {1, 0, 0x100, UINT64_C(1) << 63};
	struct test_cmd probe = {.size = sizeof(probe), .op = 0xffff};
	enum vfm_tracker kind;
	struct vfio_log log;
	void *memory;
	int refusal;

	fds.iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	if (fds.iommufd < 0 ||
	    run(fds.iommufd, TEST_CMD, &probe) == -ENOTTY)
		skip();
	memory = new_memory();
	if (!make_test_iommu(&fds, memory))
		skip();
	vfio_log_init(&log, &vfio_sys_kernel, &fds);
	assert_int_equal(vfio_log_probe(&log), VFM_TRACKER_IOMMUFD);
	assert_int_equal(vfio_log_start(&log, &range, 1, &page, &kind, &refusal), 0);
	assert_int_equal(kind, VFM_TRACKER_IOMMUFD);
	assert_int_equal(vfio_log_report(&log, IOVA, SIZE, page, bits), 0);
	assert_int_equal(bitmap_count(bits, SIZE / PAGE), 0);
	device_writes(&fds, wrote);
	assert_int_equal(vfio_log_report(&log, IOVA, SIZE / 2, page, bits), 0);
	assert_true(bits[0] == 1 && !bits[1] && !bits[2] && !bits[3]);
	assert_int_equal(vfio_log_report(&log, IOVA, SIZE, page, bits), 0);
	assert_memory_equal(bits, wrote, sizeof(bits));
	memset(bits, 0, sizeof(bits));
	assert_int_equal(vfio_log_report(&log, IOVA, SIZE, page, bits), 0);
	assert_int_equal(bitmap_count(bits, SIZE / PAGE), 0); /* they were cleared */
	assert_int_equal(vfio_log_stop(&log), 0);
	vfio_log_destroy(&log);
	close(fds.iommufd);
	munmap(memory, SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pci_device_is_attached),
		cmocka_unit_test(a_container_says_that_all_is_dirty),
		cmocka_unit_test(an_iommufd_page_table_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
