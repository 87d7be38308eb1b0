/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/bitmap.h"
#include "base/checked.h"
#include "base/clock.h"
#include "sim/device.h"
#include "tests/kernel-double.h"

static struct kernel_double *of(const struct vfio_sys *sys)
{
	return (struct kernel_double *)sys;
}

static int new_fd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void pass_ns(struct kernel_double *kd, uint64_t ns)
{
	kd->now += ns;
	sim_tick(kd->sim, kd->now);
}

void kernel_double_pass(struct kernel_double *kd, unsigned ms)
{
	for (; ms; ms--)
		pass_ns(kd, NS_PER_MSEC);
}

/* ---- what the device does to the world ---- */

static void *ram_at(struct kernel_double *kd, uint64_t iova, size_t len)
{
	return kd->ram && range_within(iova - kd->ram_iova, len, kd->ram_size) ?
		       kd->ram + (iova - kd->ram_iova) : NULL;
}

static int dma_read(void *opaque, uint64_t iova, void *buf, size_t len)
{
	void *at = ram_at(opaque, iova, len);

	if (at)
		memcpy(buf, at, len);
	return at ? 0 : -EFAULT;
}

static int dma_write(void *opaque, uint64_t iova, const void *buf, size_t len)
{
	void *at = ram_at(opaque, iova, len);

	if (at)
		memcpy(at, buf, len);
	return at ? 0 : -EFAULT;
}

static int dma_load(void *opaque, uint64_t iova, uint64_t *value)
{
	return dma_read(opaque, iova, value, sizeof(*value));
}

/* A device stores beside whoever reads the memory: that is no race, but its nature. */
NO_TSAN static int dma_store(void *opaque, uint64_t iova, uint64_t value)
{
	uint64_t *at = ram_at(opaque, iova, sizeof(value));

	if (at)
		__atomic_store_n(at, value, __ATOMIC_RELAXED);
	return at ? 0 : -EFAULT;
}

static void irq(void *opaque UNUSED, unsigned vector UNUSED)
{
}

static void delay(void *opaque, uint64_t ns)
{
	struct kernel_double *kd = opaque;

	kd->now += ns;
}

static void die(void *opaque UNUSED)
{
	fail_msg("the device died");
}

static const struct sim_host_ops host_ops = {
	.dma_read = dma_read,
	.dma_write = dma_write,
	.dma_load = dma_load,
	.dma_store = dma_store,
	.irq = irq,
	.delay = delay,
	.die = die,
};

/* ---- sessions ---- */

static struct kd_session *find_session(struct kernel_double *kd, int fd)
{
	for (unsigned i = 0; i < kd->session_count; i++)
		if (kd->sessions[i].open && kd->sessions[i].fd == fd)
			return &kd->sessions[i];
	return NULL;
}

static void end_sessions(struct kernel_double *kd)
{
	for (unsigned i = 0; i < kd->session_count; i++)
		kd->sessions[i].dead = true;
}

static bool live_session(const struct kernel_double *kd)
{
	for (unsigned i = 0; i < kd->session_count; i++)
		if (!kd->sessions[i].dead)
			return true;
	return false;
}

/* One that is over and closed has room for another. */
static struct kd_session *new_session(struct kernel_double *kd)
{
	for (unsigned i = 0; i < kd->session_count; i++)
		if (kd->sessions[i].dead && !kd->sessions[i].open)
			return &kd->sessions[i];
	assert_true(kd->session_count < KD_SESSIONS);
	return &kd->sessions[kd->session_count++];
}

static int open_session(struct kernel_double *kd, bool loading)
{
	struct kd_session *session = new_session(kd);

	*session = (struct kd_session){.fd = new_fd(), .loading = loading, .open = true};
	return session->fd;
}

static bool is_saving(uint32_t state)
{
	return state == VFM_STATE_PRE_COPY || state == VFM_STATE_PRE_COPY_P2P ||
	       state == VFM_STATE_STOP_COPY;
}

static bool has_session(uint32_t state)
{
	return state == VFM_STATE_RESUMING || is_saving(state);
}

/* Sessions that the device ended by itself. */
static void look_at_state(struct kernel_double *kd)
{
	if (!has_session(sim_state(kd->sim)))
		end_sessions(kd);
}

/* ---- features ---- */

static int do_set_state(struct kernel_double *kd, struct vfm_feature_mig_state *arg)
{
	enum vfm_state before = sim_state(kd->sim);
	bool same = (is_saving(before) && is_saving(arg->device_state)) ||
		    before == arg->device_state;
	int ret;

	arg->data_fd = -1;
	if (before == VFM_STATE_RESUMING && kd->accepts_after_error && arg->device_state != before) {
		sim_reset(kd->sim);
		ret = sim_set_state(kd->sim, arg->device_state);
	} else {
		ret = sim_set_state(kd->sim, arg->device_state);
	}
	if (!ret && !same) {
		end_sessions(kd);
		if (has_session(arg->device_state))
			arg->data_fd = open_session(kd, arg->device_state == VFM_STATE_RESUMING);
	}
	look_at_state(kd);
	return ret;
}

static int state_feature(struct kernel_double *kd, uint32_t ops, void *payload)
{
	struct vfm_feature_mig_state *arg = payload;
	int error = sim_who(kd->sim)->error_errno;

	if (ops == VFM_FEATURE_SET)
		return do_set_state(kd, arg);
	if (sim_state(kd->sim) == VFM_STATE_ERROR && error == EIO)
		return -EIO;
	arg->device_state = sim_state(kd->sim);
	arg->data_fd = -1;
	return 0;
}

static int migration_feature(struct kernel_double *kd, uint32_t ops UNUSED, void *payload)
{
	((struct vfm_feature_migration *)payload)->flags = sim_mig_flags(kd->sim);
	return 0;
}

static int size_feature(struct kernel_double *kd, uint32_t ops UNUSED, void *payload)
{
	uint64_t size = 0;
	int ret = sim_data_size(kd->sim, &size);

	((struct vfm_feature_mig_data_size *)payload)->stop_copy_length = size;
	return ret;
}

static int infov2_feature(struct kernel_double *kd, uint32_t ops UNUSED, void *payload UNUSED)
{
	kd->optins++;
	return sim_precopy_infov2(kd->sim);
}

static int start_feature(struct kernel_double *kd, uint32_t ops UNUSED, void *payload)
{
	struct vfm_feature_logging_control *arg = payload;
	const void *list = (const void *)(uintptr_t)arg->ranges;
	uint64_t page = arg->page_size;
	int ret;

	kd->log_starts++;
	if (kd->start_errno)
		return -kd->start_errno;
	if (!arg->num_ranges)
		return -EINVAL;
	if (arg->num_ranges > (kd->ranges_max ? kd->ranges_max : 256))
		return -E2BIG;
	ret = sim_log_start(kd->sim, &page, list, arg->num_ranges);
	if (ret)
		return ret;
	memcpy(kd->ranges, list, arg->num_ranges * sizeof(kd->ranges[0]));
	kd->range_count = arg->num_ranges;
	kd->log_page = page;
	arg->page_size = page;
	return 0;
}

static int stop_feature(struct kernel_double *kd, uint32_t ops UNUSED, void *payload UNUSED)
{
	kd->log_stops++;
	return sim_log_stop(kd->sim);
}

static int report_feature(struct kernel_double *kd, uint32_t ops UNUSED, void *payload)
{
	struct vfm_feature_logging_report *arg = payload;

	kd->reports++;
	if (kd->report_errno)
		return -kd->report_errno;
	return sim_log_report(kd->sim, arg->iova, arg->length, arg->page_size,
			      (uint64_t *)(uintptr_t)arg->bitmap);
}

static const struct feature {
	uint32_t index;
	uint32_t ops;
	size_t size;
	size_t off; /* of the flag that takes it away */
	bool logs;
	int (*call)(struct kernel_double *kd, uint32_t ops, void *payload);
} features[] = {
#define GET VFM_FEATURE_GET
#define SET VFM_FEATURE_SET
#define OFF(flag) offsetof(struct kernel_double, flag)
	{VFM_FEATURE_MIGRATION, GET, 8, OFF(no_migration), false, migration_feature},
	{VFM_FEATURE_MIG_DEVICE_STATE, GET | SET, 8, OFF(no_migration), false, state_feature},
	{VFM_FEATURE_DMA_LOGGING_START, SET, 24, OFF(no_logging), true, start_feature},
	{VFM_FEATURE_DMA_LOGGING_STOP, SET, 0, OFF(no_logging), true, stop_feature},
	{VFM_FEATURE_DMA_LOGGING_REPORT, GET, 32, OFF(no_logging), true, report_feature},
	{VFM_FEATURE_MIG_DATA_SIZE, GET, 8, OFF(no_data_size), false, size_feature},
	{VFM_FEATURE_MIG_PRECOPY_INFOV2, SET, 0, OFF(no_infov2), false, infov2_feature},
};

static const struct feature *find_feature(struct kernel_double *kd, uint32_t index)
{
	for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
		const struct feature *f = &features[i];

		if (f->index == index && !*((const bool *)kd + f->off) &&
		    (!f->logs || sim_has_logging(kd->sim)))
			return f;
	}
	return NULL;
}

static int feature_ioctl(struct kernel_double *kd, struct vfm_feature *arg)
{
	const uint32_t known = VFM_FEATURE_MASK | GET | SET | VFM_FEATURE_PROBE;
	uint32_t ops = arg->flags & (GET | SET);
	const struct feature *f = find_feature(kd, arg->flags & VFM_FEATURE_MASK);

	if (arg->argsz < sizeof(*arg) || arg->flags & ~known ||
	    (ops == (GET | SET) && !(arg->flags & VFM_FEATURE_PROBE)))
		return -EINVAL;
	if (!f)
		return -ENOTTY;
	if (ops & ~f->ops)
		return -EINVAL;
	if (arg->flags & VFM_FEATURE_PROBE)
		return 0;
	if (!ops || arg->argsz < sizeof(*arg) + f->size)
		return -EINVAL;
	return f->call(kd, ops, arg + 1);
}

/* ---- the device fd ---- */

static uint64_t region_offset(uint32_t index)
{
	return (uint64_t)index << 40;
}

static int region_ioctl(struct kernel_double *kd, struct vfm_uapi_region_info *arg)
{
	if (arg->argsz < sizeof(*arg) || arg->index >= VFM_PCI_NUM_REGIONS)
		return -EINVAL;
	arg->argsz = kd->region_argsz ? kd->region_argsz : sizeof(*arg);
	arg->size = sim_region_size(kd->sim, arg->index);
	arg->flags = arg->size ? VFM_REGION_INFO_READ | VFM_REGION_INFO_WRITE : 0;
	arg->offset = region_offset(arg->index);
	return 0;
}

static int bind_ioctl(struct kernel_double *kd, struct vfm_bind_iommufd *arg)
{
	if (kd->bind_errno)
		return -kd->bind_errno;
	if (!kd->by_cdev || kd->bound || arg->argsz != sizeof(*arg) || arg->iommufd != kd->iommufd)
		return -EINVAL;
	kd->bound = true;
	arg->out_devid = 9;
	return 0;
}

static int attach_ioctl(struct kernel_double *kd, struct vfm_attach_pt *arg)
{
	if (!kd->bound || (arg->pt_id != KD_IOAS && (kd->no_hwpt || arg->pt_id != KD_HWPT)))
		return -EINVAL;
	if (kd->attach_errno)
		return -kd->attach_errno;
	kd->attached = arg->pt_id;
	return 0;
}

static int detach_ioctl(struct kernel_double *kd, const struct vfm_detach_pt *arg)
{
	if (!kd->bound || arg->argsz != sizeof(*arg) || arg->flags)
		return -EINVAL;
	kd->attached = 0;
	return 0;
}

static int reset_ioctl(struct kernel_double *kd)
{
	if (kd->no_reset)
		return -ENOTTY;
	kd->resets++;
	sim_reset(kd->sim);
	end_sessions(kd);
	return 0;
}

static int device_ioctl(struct kernel_double *kd, unsigned long request, void *arg)
{
	struct vfm_uapi_device_info *info = arg;

	if (request == VFM_IOCTL_DEVICE_BIND_IOMMUFD)
		return bind_ioctl(kd, arg);
	if (kd->by_cdev && !kd->bound)
		return -EINVAL;
	switch (request) {
	case VFM_IOCTL_DEVICE_ATTACH_PT:
		return attach_ioctl(kd, arg);
	case VFM_IOCTL_DEVICE_DETACH_PT:
		return detach_ioctl(kd, arg);
	case VFM_IOCTL_DEVICE_FEATURE:
		return feature_ioctl(kd, arg);
	case VFM_IOCTL_DEVICE_RESET:
		return reset_ioctl(kd);
	case VFM_IOCTL_DEVICE_GET_REGION_INFO:
		return region_ioctl(kd, arg);
	case VFM_IOCTL_DEVICE_GET_INFO:
		if (kd->bound && kd->info_errno)
			return -kd->info_errno;
		info->flags = (kd->no_pci ? 0 : VFM_DEVICE_FLAG_PCI) | VFM_DEVICE_FLAG_RESET;
		info->num_regions = VFM_PCI_NUM_REGIONS;
		info->num_irqs = VFM_PCI_NUM_IRQS;
		return 0;
	default:
		return -ENOTTY;
	}
}

static int data_ioctl(struct kernel_double *kd, struct kd_session *session, unsigned long request,
		      struct vfm_precopy_info *arg)
{
	int ret;

	if (request != VFM_IOCTL_MIG_GET_PRECOPY_INFO || session->loading)
		return -ENOTTY;
	if (arg->argsz < sizeof(*arg))
		return -EINVAL;
	if (session->dead)
		return -ENODEV;
	kd->queries++;
	ret = sim_precopy_info(kd->sim, arg);
	if (kd->echo_flags && kd->no_infov2)
		arg->flags |= VFM_PRECOPY_INFO_REINIT;
	return ret;
}

/* ---- IOMMUs ---- */

void kernel_double_dirty(struct kd_dirty *dirty, uint64_t iova)
{
	assert_true(dirty->count < KD_PAGES);
	if (dirty->on)
		dirty->pages[dirty->count++] = align_down(iova, 4096);
}

static void take_dirty(struct kd_dirty *dirty, uint64_t iova, uint64_t size, uint64_t page_size,
		       uint64_t *bitmap)
{
	unsigned kept = 0;

	dirty->gets++;
	for (unsigned i = 0; i < dirty->count; i++)
		if (dirty->pages[i] - iova < size)
			bitmap_set(bitmap, (dirty->pages[i] - iova) / page_size);
		else
			dirty->pages[kept++] = dirty->pages[i];
	dirty->count = kept;
}

/* May a range begin, or end, there? */
static bool bisects(const struct kernel_double *kd, uint64_t at)
{
	for (unsigned i = 0; i < kd->map_count; i++)
		if (at > kd->maps[i].iova && at - kd->maps[i].iova < kd->maps[i].size)
			return true;
	return false;
}

static int dirty_pages_ioctl(struct kernel_double *kd, struct vfm_dirty_pages *arg)
{
	struct kd_dirty *dirty = &kd->by_container;
	uint64_t bytes;

	if (!kd->type1 || arg->argsz < VFM_DIRTY_PAGES_HEAD || !is_power_of_two(arg->flags))
		return -EINVAL;
	if (arg->flags != VFM_DIRTY_PAGES_GET) {
		dirty->on = arg->flags == VFM_DIRTY_PAGES_START;
		dirty->starts += dirty->on;
		dirty->stops += !dirty->on;
		return 0;
	}
	bytes = bitmap_words(arg->size / 4096) * 8;
	if (!dirty->on || arg->argsz < sizeof(*arg) || arg->page_size != 4096 || !arg->size ||
	    arg->bitmap_size < bytes || bisects(kd, arg->iova) ||
	    bisects(kd, arg->iova + arg->size))
		return -EINVAL;
	memset((void *)(uintptr_t)arg->bitmap, 0, bytes); /* written over, not ORed */
	take_dirty(dirty, arg->iova, arg->size, 4096, (uint64_t *)(uintptr_t)arg->bitmap);
	return 0;
}

static int iommu_info_ioctl(struct kernel_double *kd, unsigned char *buf)
{
	const uint32_t head[6] = {24 + 32, kd->no_container_cap ? 1 : 3, 0x1000, 0, 24, 0};
	const uint16_t cap[16] = {2, 1, 0, 0, 0, 0, 0, 0, 0x1000, 0, 0, 0, 0, 0x1000, 0, 0};

	if (!kd->type1)
		return -EINVAL;
	memcpy(buf, head, sizeof(head));
	memcpy(buf + 24, cap, sizeof(cap));
	return 0;
}

static int add_map(struct kernel_double *kd, uint64_t iova, uint64_t size, uint64_t vaddr)
{
	if (kd->map_count == KD_MAPS)
		return -ENOSPC;
	kd->maps[kd->map_count++] = (struct vfm_dma_map){
		.iova = iova, .size = size, .vaddr = vaddr};
	return 0;
}

static int remove_map(struct kernel_double *kd, uint64_t iova, uint64_t size)
{
	for (unsigned i = 0; i < kd->map_count; i++)
		if (kd->maps[i].iova == iova && kd->maps[i].size == size) {
			kd->maps[i] = kd->maps[--kd->map_count];
			return 0;
		}
	return -ENOENT;
}

static int container_ioctl(struct kernel_double *kd, unsigned long request, void *arg)
{
	const struct vfm_dma_map *map = arg;
	const struct vfm_dma_unmap *unmap = arg;

	switch (request) {
	case VFM_IOCTL_GET_API_VERSION:
		return VFM_VFIO_API_VERSION;
	case VFM_IOCTL_CHECK_EXTENSION:
		return (uintptr_t)arg == VFM_VFIO_TYPE1V2;
	case VFM_IOCTL_SET_IOMMU:
		if (kd->group < 0 || kd->type1)
			return -EINVAL;
		kd->type1 = true;
		return 0;
	case VFM_IOCTL_IOMMU_MAP_DMA:
		return kd->type1 ? add_map(kd, map->iova, map->size, map->vaddr) : -EINVAL;
	case VFM_IOCTL_IOMMU_UNMAP_DMA:
		return kd->type1 ? remove_map(kd, unmap->iova, unmap->size) : -EINVAL;
	case VFM_IOCTL_IOMMU_GET_INFO:
		return iommu_info_ioctl(kd, arg);
	case VFM_IOCTL_IOMMU_DIRTY_PAGES:
		return dirty_pages_ioctl(kd, arg);
	default:
		return -ENOTTY;
	}
}

static int hwpt_dirty_ioctl(struct kernel_double *kd, const struct vfm_hwpt_get_dirty *arg)
{
	if (!kd->by_iommufd.on || arg->hwpt_id != KD_HWPT || arg->size != sizeof(*arg) ||
	    !is_aligned(arg->iova | arg->length, arg->page_size))
		return -EINVAL;
	take_dirty(&kd->by_iommufd, arg->iova, arg->length, arg->page_size,
		   (uint64_t *)(uintptr_t)arg->bitmap);
	return 0;
}

static int set_dirty_ioctl(struct kernel_double *kd, const struct vfm_hwpt_set_dirty *arg)
{
	if (arg->hwpt_id != KD_HWPT || kd->no_hwpt)
		return -ENOENT;
	kd->by_iommufd.on = arg->flags & VFM_HWPT_DIRTY_ENABLE;
	kd->by_iommufd.starts += kd->by_iommufd.on;
	kd->by_iommufd.stops += !kd->by_iommufd.on;
	return 0;
}

static int iommufd_ioctl(struct kernel_double *kd, unsigned long request, void *arg)
{
	const struct vfm_ioas_unmap *unmap = arg;
	const struct vfm_ioas_map *map = arg;

	switch (request) {
	case VFM_IOCTL_IOMMU_IOAS_ALLOC:
		((struct vfm_ioas_alloc *)arg)->out_ioas_id = KD_IOAS;
		return 0;
	case VFM_IOCTL_IOMMU_IOAS_MAP:
		return map->ioas_id == KD_IOAS ? add_map(kd, map->iova, map->length, map->user_va)
					       : -ENOENT;
	case VFM_IOCTL_IOMMU_IOAS_UNMAP:
		return remove_map(kd, unmap->iova, unmap->length);
	case VFM_IOCTL_IOMMU_HWPT_ALLOC:
		((struct vfm_hwpt_alloc *)arg)->out_hwpt_id = KD_HWPT;
		kd->hwpts += !kd->no_hwpt;
		return kd->no_hwpt ? -EOPNOTSUPP : 0;
	case VFM_IOCTL_IOMMU_HWPT_SET_DIRTY:
		return set_dirty_ioctl(kd, arg);
	case VFM_IOCTL_IOMMU_HWPT_GET_DIRTY:
		return hwpt_dirty_ioctl(kd, arg);
	case VFM_IOCTL_IOMMU_DESTROY:
		if (kd->device >= 0 && kd->attached == KD_HWPT)
			return -EBUSY;
		kd->hwpts--;
		return 0;
	default:
		return -ENOTTY;
	}
}

static int group_ioctl(struct kernel_double *kd, unsigned long request, void *arg)
{
	switch (request) {
	case VFM_IOCTL_GROUP_GET_STATUS:
		((struct vfm_group_status *)arg)->flags = kd->not_viable ? 0 : VFM_GROUP_VIABLE;
		return 0;
	case VFM_IOCTL_GROUP_SET_CONTAINER:
		return *(int *)arg == kd->container ? 0 : -EBADF;
	case VFM_IOCTL_GROUP_GET_DEVICE_FD:
		if (strcmp(arg, KD_ADDRESS) || !kd->type1)
			return -ENODEV;
		kd->by_cdev = false;
		kd->device = kd->device < 0 ? new_fd() : kd->device;
		return kd->device;
	default:
		return -ENOTTY;
	}
}

static int kd_ioctl(const struct vfio_sys *sys, int fd, unsigned long request, void *arg)
{
	struct kernel_double *kd = of(sys);
	struct kd_session *session = find_session(kd, fd);

	pass_ns(kd, kd->step_ns);
	if (session)
		return data_ioctl(kd, session, request, arg);
	if (fd < 0)
		return -EBADF;
	if (fd == kd->device)
		return device_ioctl(kd, request, arg);
	if (fd == kd->container)
		return container_ioctl(kd, request, arg);
	if (fd == kd->iommufd)
		return iommufd_ioctl(kd, request, arg);
	return fd == kd->group ? group_ioctl(kd, request, arg) : -EBADF;
}

/* ---- data ---- */

/* Could a signal come in here? */
static void look_at_signals(struct kernel_double *kd)
{
	sigset_t mask;

	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	kd->unblocked += !sigismember(&mask, SIGINT) || !sigismember(&mask, SIGUSR1);
}

static bool interrupted(struct kernel_double *kd, unsigned number)
{
	look_at_signals(kd);
	return kd->eintr_at && number == kd->eintr_at;
}

/* What one read takes out of the device. */
static ssize_t take_stream(struct kernel_double *kd, void *buf, size_t len)
{
	struct iovec iov[SIM_READ_IOV];
	size_t done = 0;
	int count;
	int64_t got = sim_mig_read(kd->sim, kd->read_max ? MIN(len, (size_t)kd->read_max) : len,
				   iov, &count);

	for (int i = 0; got > 0 && i < count; i++) {
		memcpy((char *)buf + done, iov[i].iov_base, iov[i].iov_len);
		done += iov[i].iov_len;
	}
	return got < 0 ? (ssize_t)got : (ssize_t)done;
}

static ssize_t kd_read(const struct vfio_sys *sys, int fd, void *buf, size_t len)
{
	struct kernel_double *kd = of(sys);
	struct kd_session *session = find_session(kd, fd);
	bool cut = interrupted(kd, ++kd->reads);
	ssize_t got;

	pass_ns(kd, kd->step_ns);
	look_at_state(kd);
	if (!session || session->loading)
		return -EBADF;
	if (session->dead)
		return -ENODEV;
	if (kd->again) {
		kd->again--;
		kd->blocked += !session->nonblock;
		return -EAGAIN;
	}
	if (kd->nomsg_stop && sim_state(kd->sim) == VFM_STATE_STOP_COPY) {
		kd->nomsg_stop--;
		return -ENOMSG;
	}
	got = take_stream(kd, buf, len);
	/* The bytes are gone. */
	return cut ? -EINTR : got;
}

static ssize_t kd_write(const struct vfio_sys *sys, int fd, const void *buf, size_t len)
{
	struct kernel_double *kd = of(sys);
	struct kd_session *session = find_session(kd, fd);
	size_t most = kd->write_max ? MIN(len, (size_t)kd->write_max) : len, done = 0, room;
	void *where;
	int ret;

	if (interrupted(kd, ++kd->writes))
		return -EINTR;
	if (!session || !session->loading)
		return -EBADF;
	if (session->dead)
		return -ENODEV;
	if (kd->write_again) {
		kd->write_again--;
		return -EAGAIN;
	}
	ret = sim_mig_begin_write(kd->sim);
	while (!ret && done < most) {
		ret = sim_mig_space(kd->sim, &where, &room);
		if (ret)
			break;
		room = MIN(room, most - done);
		memcpy(where, (const char *)buf + done, room);
		ret = sim_mig_wrote(kd->sim, room);
		done += room;
	}
	look_at_state(kd);
	return ret ? ret : (ssize_t)done;
}

static ssize_t kd_pread(const struct vfio_sys *sys, int fd, void *buf, size_t len, uint64_t at)
{
	struct kernel_double *kd = of(sys);
	uint64_t mask = region_offset(1) - 1;
	int ret;

	if (find_session(kd, fd))
		return -ESPIPE;
	if (fd != kd->device)
		return -EBADF;
	ret = sim_region_read(kd->sim, (uint32_t)(at >> 40), at & mask, buf, len);
	return ret ? ret : (ssize_t)len;
}

static ssize_t kd_pwrite(const struct vfio_sys *sys, int fd, const void *buf, size_t len,
			 uint64_t at)
{
	struct kernel_double *kd = of(sys);
	uint64_t mask = region_offset(1) - 1;
	int ret;

	if (find_session(kd, fd))
		return -ESPIPE;
	if (fd != kd->device)
		return -EBADF;
	ret = sim_region_write(kd->sim, (uint32_t)(at >> 40), at & mask, buf, len);
	return ret ? ret : (ssize_t)len;
}

/* A file without poll is always ready; one with it only when it has something. */
static int kd_poll(const struct vfio_sys *sys, struct pollfd *fds, unsigned count, int timeout_ms)
{
	struct kernel_double *kd = of(sys);
	int ret = poll(fds, 1, 0);

	__atomic_fetch_add(&kd->polls, 1, __ATOMIC_RELAXED);
	for (unsigned i = 1; i < count; i++) {
		fds[i].revents = kd->has_poll && (kd->again || kd->write_again) ? 0 : fds[i].events;
		ret += fds[i].revents != 0;
	}
	if (ret || !timeout_ms)
		return ret;
	kd->silent_polls++;
	ret = poll(fds, 1, timeout_ms);
	kernel_double_pass(kd, (unsigned)timeout_ms);
	return ret;
}

static int kd_set_nonblock(const struct vfio_sys *sys, int fd)
{
	struct kd_session *session = find_session(of(sys), fd);

	if (!session)
		return -EBADF;
	session->nonblock = true;
	return 0;
}

static int kd_dup(const struct vfio_sys *sys, int fd)
{
	struct kernel_double *kd = of(sys);
	struct kd_session *session = find_session(kd, fd), *copy;

	if (!session)
		return -EBADF;
	copy = new_session(kd);
	*copy = *session;
	copy->fd = new_fd();
	return copy->fd;
}

/* ---- files ---- */

static int open_node(struct kernel_double *kd, const char *path)
{
	if (!strcmp(path, "/dev/vfio/vfio"))
		return kd->container = new_fd();
	if (!strcmp(path, "/dev/iommu"))
		return kd->no_iommufd_node ? -ENOENT : (kd->iommufd = new_fd());
	if (!strcmp(path, "/dev/vfio/42")) {
		if (kd->group_errno)
			return -kd->group_errno;
		return kd->group >= 0 ? -EBUSY : (kd->group = new_fd());
	}
	if (!strcmp(path, "/dev/vfio/devices/vfio3") && !kd->no_cdev) {
		kd->by_cdev = true;
		kd->bound = false;
		return kd->device = new_fd();
	}
	return -ENOENT;
}

static int kd_open(const struct vfio_sys *sys, const char *path, int flags UNUSED)
{
	return open_node(of(sys), path);
}

static void kd_close(const struct vfio_sys *sys, int fd)
{
	struct kernel_double *kd = of(sys);
	struct kd_session *session = find_session(kd, fd);
	int *known[] = {&kd->device, &kd->container, &kd->iommufd, &kd->group};
	bool last_group = fd == kd->group && fd >= 0;

	if (session)
		session->open = false;
	for (unsigned i = 0; i < ARRAY_SIZE(known) && !session; i++)
		if (*known[i] == fd)
			*known[i] = -1;
	if (last_group || (kd->container < 0 && kd->iommufd < 0)) {
		kd->type1 = false;
		kd->map_count = 0;
	}
	close(fd);
}

static int give(const char *text, char *buf, size_t size)
{
	if (!text)
		return -ENOENT;
	if (strlen(text) >= size)
		return -ENAMETOOLONG;
	strcpy(buf, text);
	return 0;
}

static int kd_readlink(const struct vfio_sys *sys, const char *path, char *buf, size_t size)
{
	struct kernel_double *kd = of(sys);
	char text[96];

	if (!strcmp(path, KD_SYSFS "/iommu_group"))
		return give("../../kernel/iommu_groups/42", buf, size);
	if (strcmp(path, KD_SYSFS "/driver") || !kd->driver[0])
		return -ENOENT;
	snprintf(text, sizeof(text), "../../../bus/pci/drivers/%s", kd->driver);
	return give(text, buf, size);
}

static int kd_realpath(const struct vfio_sys *sys, const char *path, char *buf, size_t size)
{
	struct kernel_double *kd = of(sys);
	bool known = !strcmp(path, "/sys/bus/pci/devices/" KD_ADDRESS) || !strcmp(path, KD_SYSFS) ||
		     (!strcmp(path, "/sys/class/vfio-dev/vfio3/device") && !kd->no_vfio_driver);

	if (!strcmp(path, "/sys/class/vfio-dev") ||
	    (!strcmp(path, KD_SYSFS "/vfio-dev/vfio3/dev") && !kd->no_cdev))
		return give(path, buf, size);
	return give(known ? KD_SYSFS : NULL, buf, size);
}

static int kd_first_entry(const struct vfio_sys *sys, const char *path, char *buf, size_t size)
{
	bool known = !strcmp(path, KD_SYSFS "/vfio-dev") && !of(sys)->no_vfio_driver;

	return give(known ? "vfio3" : NULL, buf, size);
}

/* ---- making one ---- */

#define SMALL (UINT64_C(256) << 10) /* bytes of state that suit a test */

void kernel_double_init(struct kernel_double *kd, const char *driver,
			void (*tune)(struct sim_options *options))
{
	struct sim_options options;

	memset(kd, 0, sizeof(*kd));
	kd->sys = (struct vfio_sys){
		.open = kd_open, .close = kd_close, .ioctl = kd_ioctl,
		.read = kd_read, .write = kd_write, .pread = kd_pread, .pwrite = kd_pwrite,
		.poll = kd_poll, .set_nonblock = kd_set_nonblock, .dup = kd_dup, .readlink = kd_readlink,
		.realpath = kd_realpath, .first_entry = kd_first_entry,
	};
	sim_options_init_as(&options, sim_personality_find(driver));
	if (options.state_size > SMALL) {
		options.initial_size = options.initial_size == options.state_size ?
					       SMALL : options.initial_size;
		options.state_size = SMALL;
	}
	if (tune)
		tune(&options);
	assert_int_equal(sim_create(&options, &host_ops, kd, &kd->sim), 0);
	sim_clock_start(kd->sim, kd->now);
	kd->has_poll = !strcmp(driver, "mlx5");
	kd->container = kd->iommufd = kd->group = -1;
	kd->device = new_fd();
	snprintf(kd->driver, sizeof(kd->driver), "%.20s_vfio_pci", driver);
}

const void *kernel_double_memory(const struct kernel_double *kd, size_t *size)
{
	*size = kd->sim->memory.size;
	return kd->sim->memory.data;
}

uint64_t kernel_double_written(const struct kernel_double *kd)
{
	return kd->sim->regs.p2p_sent;
}

bool kernel_double_logs(const struct kernel_double *kd)
{
	return kd->sim->log.on;
}

struct sim_options *kernel_double_options(struct kernel_double *kd)
{
	return &kd->sim->opts;
}

void kernel_double_user_died(struct kernel_double *kd)
{
	end_sessions(kd);
	sim_limit_flags(kd->sim, UINT32_MAX);
}

void kernel_double_destroy(struct kernel_double *kd)
{
	for (unsigned i = 0; i < kd->session_count; i++)
		assert_false(kd->sessions[i].open);
	assert_int_equal(kd->blocked, 0);
	assert_false(live_session(kd) && !has_session(sim_state(kd->sim)));
	sim_destroy(kd->sim);
	if (kd->device >= 0)
		close(kd->device);
}

struct vfm_device *kernel_double_device(struct kernel_double *kd)
{
	struct vfm_vfio_fds fds = {.size = sizeof(fds), .device = kd->device, .iommufd = kd->iommufd,
				   .hwpt = kd->iommufd >= 0 ? KD_HWPT : 0,
				   .container = kd->container};
	struct vfm_device *dev;

	assert_int_equal(vfio_device_new(&kd->sys, &fds, "dev0", &dev), 0);
	return dev;
}
