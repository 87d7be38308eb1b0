/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel driver of the simulated device: what data fds are when they are old, buffers that cannot
 * be reached, a device that is closed and a caller that is killed in the middle of a call. And one
 * stream for the driver and for the device in user space.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include <vfio-migrate/uapi.h>
#include <vfio-migrate/vfio.h>
#include "sim/core.h"
#include "tests/mdev.h"

#define DRIVER    "vfm_sim"
#define UUID      "31000000-0000-0000-0000-000000000001"
#define IOVA      UINT64_C(0x100000)
#define MEMORY    ((size_t)1 << 20)
#define STREAM    ((size_t)4 << 20)

static struct vfm_vfio_space *space;
static uint8_t *memory; /* at IOVA */
static uint8_t stream[STREAM];

/* ---- a device ---- */

static struct vfm_vfio *open_device(void)
{
	char why[VFM_VFIO_WHY_MAX] = "";
	struct vfm_vfio *vfio;

	if (vfm_vfio_open(space, UUID, &vfio, why, sizeof(why)))
		fail_msg("%s", why);
	return vfio;
}

struct state_request {
	struct vfm_feature head;
	struct vfm_feature_mig_state state;
};

/* The data fd or -1 in @fd; 0 or -errno. */
static int set_state(int device, uint32_t state, int *fd)
{
	struct state_request request = {
		.head = {sizeof(request), VFM_FEATURE_MIG_DEVICE_STATE | VFM_FEATURE_SET},
		.state = {state, -1},
	};
	int ret = ioctl(device, VFM_IOCTL_DEVICE_FEATURE, &request) ? -errno : 0;

	*fd = ret ? -1 : request.state.data_fd;
	return ret;
}

static int go(int device, uint32_t state)
{
	int fd;

	if (set_state(device, state, &fd))
		fail_msg("to state %u: %s", state, strerror(errno));
	return fd;
}

static uint32_t get_state(int device)
{
	struct state_request request = {
		.head = {sizeof(request), VFM_FEATURE_MIG_DEVICE_STATE | VFM_FEATURE_GET},
	};

	assert_int_equal(ioctl(device, VFM_IOCTL_DEVICE_FEATURE, &request), 0);
	return request.state.device_state;
}

static size_t read_all(int fd)
{
	size_t size = 0;
	ssize_t n;

	while ((n = read(fd, stream + size, STREAM - size)) > 0)
		size += (size_t)n;
	assert_int_equal(n, 0);
	return size;
}

static void write_all(int fd, size_t size)
{
	size_t done;
	ssize_t n;

	for (done = 0; done < size; done += (size_t)n) {
		n = write(fd, stream + done, size - done);
		assert_true(n > 0);
	}
}

static size_t save(int device)
{
	int fd = go(device, VFM_STATE_STOP_COPY);
	size_t size = read_all(fd);

	close(fd);
	return size;
}

static void load(int device, size_t size)
{
	int fd = go(device, VFM_STATE_RESUMING);

	write_all(fd, size);
	go(device, VFM_STATE_STOP);
	close(fd);
}

static void assert_dead(int fd)
{
	struct vfm_precopy_info info = {.argsz = sizeof(info)};
	char byte;

	assert_int_equal(read(fd, &byte, 1), -1);
	assert_int_equal(errno, ENODEV);
	assert_int_equal(ioctl(fd, VFM_IOCTL_MIG_GET_PRECOPY_INFO, &info), -1);
	assert_int_equal(errno, ENODEV);
}

/* ---- data fds ---- */

static void old_fds_stay_dead(void **state)
{
	struct vfm_vfio *vfio;
	int device, first, second, third;

	mdev_make(DRIVER, DRIVER "-generic", UUID);
	mdev_set(UUID, "vfm_sim/state_size", "64K");
	vfio = open_device();
	device = vfm_vfio_fd(vfio);
	first = go(device, VFM_STATE_PRE_COPY);
	assert_int_equal(go(device, VFM_STATE_RUNNING), -1);
	assert_dead(first);
	second = go(device, VFM_STATE_PRE_COPY);
	assert_true(read(second, stream, 7) == 7);
	assert_dead(first);
	assert_int_equal(lseek(second, 0, SEEK_SET), -1);
	assert_int_equal(errno, ESPIPE);
	assert_int_equal(pread(second, stream, 1, 0), -1);
	assert_int_equal(write(second, stream, 1), -1);
	assert_int_equal(go(device, VFM_STATE_STOP_COPY), -1); /* the session goes on */
	assert_true(read(second, stream, 7) == 7);
	assert_int_equal(ioctl(device, VFM_IOCTL_DEVICE_RESET), 0);
	assert_dead(second);
	third = go(device, VFM_STATE_STOP_COPY);
	vfm_vfio_close(vfio);
	assert_dead(third);
	vfio = open_device();
	assert_int_equal(get_state(vfm_vfio_fd(vfio)), VFM_STATE_STOP_COPY);
	assert_dead(third);
	vfm_vfio_close(vfio);
	close(first);
	close(second);
	/* Without its device a data fd still keeps the module. */
	mdev_remove(UUID);
	assert_dead(third);
	assert_int_equal(syscall(SYS_delete_module, DRIVER, O_NONBLOCK), -1);
	assert_int_equal(errno, EAGAIN);
	assert_dead(third);
	close(third);
}

/* What could not be copied out is not lost. */
static void a_bad_buffer_loses_nothing(void **state)
{
	struct vfm_vfio *vfio;
	size_t size, again;
	uint8_t *two;
	int fd;

	mdev_make(DRIVER, DRIVER "-generic", UUID);
	mdev_set(UUID, "vfm_sim/state_size", "64K");
	vfio = open_device();
	two = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(two != MAP_FAILED);
	assert_int_equal(mprotect(two + 4096, 4096, PROT_NONE), 0);
	fd = go(vfm_vfio_fd(vfio), VFM_STATE_STOP_COPY);
	assert_int_equal(read(fd, two + 4096, 100), -1);
	assert_int_equal(errno, EFAULT);
	assert_int_equal(read(fd, two + 4000, 4096), 96);
	memcpy(stream, two + 4000, 96);
	again = 96;
	again += (size_t)read(fd, stream + again, STREAM - again);
	size = again;
	while (size < STREAM && (again = (size_t)read(fd, stream + size, STREAM - size)))
		size += again;
	close(fd);
	load(vfm_vfio_fd(vfio), size);
	fd = go(vfm_vfio_fd(vfio), VFM_STATE_RESUMING);
	assert_int_equal(write(fd, two + 4096, 100), -1);
	assert_int_equal(errno, EFAULT);
	write_all(fd, size);
	go(vfm_vfio_fd(vfio), VFM_STATE_RUNNING);
	close(fd);
	munmap(two, 8192);
	vfm_vfio_close(vfio);
	mdev_remove(UUID);
}

/* ---- calls that take their time ---- */

static void *write_slowly(void *fd)
{
	(void)!write(*(int *)fd, stream, 8192);
	return NULL;
}

/* Ten minutes are what the options allow; the test machine waits a fraction of that. */
static void closing_ends_a_slow_write(void **state)
{
	struct pollfd none = {.fd = -1};
	struct vfm_vfio *vfio;
	pthread_t thread;
	size_t size;
	int fd;

	mdev_make(DRIVER, DRIVER "-generic", UUID);
	mdev_set(UUID, "vfm_sim/state_size", "64K");
	vfio = open_device();
	size = save(vfm_vfio_fd(vfio));
	assert_true(size > 8192);
	vfm_vfio_close(vfio);
	mdev_set(UUID, "vfm_sim/load_at", "write");
	mdev_set(UUID, "vfm_sim/load_cost_us_per_mib", "600000000");
	vfio = open_device();
	fd = go(vfm_vfio_fd(vfio), VFM_STATE_RESUMING);
	assert_int_equal(pthread_create(&thread, NULL, write_slowly, &fd), 0);
	poll(&none, 0, 50); /* so that it is likely in the call; if not, no harm */
	vfm_vfio_close(vfio);
	pthread_join(thread, NULL);
	close(fd);
	mdev_remove(UUID);
}

static void killing_ends_a_slow_arc(void **state)
{
	struct pollfd none = {.fd = -1};
	struct vfm_vfio *vfio;
	int status, fd;
	pid_t child;

	mdev_make(DRIVER, DRIVER "-generic", UUID);
	mdev_set(UUID, "vfm_sim/arc_latency", "RUNNING:RUNNING_P2P=600000");
	vfio = open_device();
	child = fork();
	if (!child) {
		set_state(vfm_vfio_fd(vfio), VFM_STATE_STOP, &fd);
		_exit(0);
	}
	assert_true(child > 0);
	poll(&none, 0, 50);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(ioctl(vfm_vfio_fd(vfio), VFM_IOCTL_DEVICE_RESET), 0);
	assert_int_equal(get_state(vfm_vfio_fd(vfio)), VFM_STATE_RUNNING);
	vfm_vfio_close(vfio);
	mdev_remove(UUID);
}

/* ---- one stream for both ---- */

static int no_read(void *opaque, uint64_t iova, void *buf, size_t len)
{
	return -EFAULT;
}

static int no_write(void *opaque, uint64_t iova, const void *buf, size_t len)
{
	return -EFAULT;
}

static int no_load(void *opaque, uint64_t iova, uint64_t *value)
{
	return -EFAULT;
}

static int no_store(void *opaque, uint64_t iova, uint64_t value)
{
	return -EFAULT;
}

static void no_irq(void *opaque, unsigned vector)
{
}

static void no_delay(void *opaque, uint64_t ns)
{
}

static void no_death(void *opaque)
{
}

static const struct sim_host_ops no_host = {no_read, no_write, no_load, no_store,
					    no_irq,  no_delay, no_death};

static size_t save_here(struct sim *sim)
{
	struct iovec iov[SIM_READ_IOV];
	size_t size = 0;
	int count, i;

	assert_int_equal(sim_set_state(sim, VFM_STATE_STOP_COPY), 0);
	while (sim_mig_read(sim, 65536, iov, &count) > 0)
		for (i = 0; i < count; size += iov[i++].iov_len)
			memcpy(stream + size, iov[i].iov_base, iov[i].iov_len);
	return size;
}

static void load_here(struct sim *sim, size_t size)
{
	size_t done, room;
	void *where;

	assert_int_equal(sim_set_state(sim, VFM_STATE_RESUMING), 0);
	assert_int_equal(sim_mig_begin_write(sim), 0);
	for (done = 0; done < size; done += room) {
		assert_int_equal(sim_mig_space(sim, &where, &room), 0);
		room = room < size - done ? room : size - done;
		memcpy(where, stream + done, room);
		assert_int_equal(sim_mig_wrote(sim, room), 0);
	}
	assert_int_equal(sim_set_state(sim, VFM_STATE_RUNNING), 0);
}

static uint64_t hash_here(struct sim *sim)
{
	uint32_t command = SIM_COMMAND_HASH;
	uint64_t hash;

	assert_int_equal(sim_region_write(sim, 0, SIM_REG_COMMAND, &command, 4), 0);
	assert_int_equal(sim_region_read(sim, 0, SIM_REG_HASH, &hash, 8), 0);
	return hash;
}

static uint64_t hash_there(int device)
{
	uint32_t command = SIM_COMMAND_HASH;
	uint64_t hash;

	assert_int_equal(pwrite(device, &command, 4, SIM_REG_COMMAND), 4);
	assert_int_equal(pread(device, &hash, 8, SIM_REG_HASH), 8);
	return hash;
}

static void a_stream_goes_both_ways(void **state)
{
	struct sim_options options;
	struct vfm_vfio *vfio;
	struct sim *sim;
	uint64_t hash;

	mdev_make(DRIVER, DRIVER "-generic", UUID);
	mdev_set(UUID, "vfm_sim/state_size", "1M");
	mdev_set(UUID, "vfm_sim/seed", "5");
	sim_options_init(&options);
	options.state_size = 1 << 20;
	options.initial_size = 1 << 20;
	options.seed = 6;
	assert_int_equal(sim_create(&options, &no_host, NULL, &sim), 0);
	vfio = open_device();
	hash = hash_here(sim);
	assert_int_not_equal(hash_there(vfm_vfio_fd(vfio)), hash);
	load(vfm_vfio_fd(vfio), save_here(sim));
	assert_int_equal(hash_there(vfm_vfio_fd(vfio)), hash);
	assert_int_equal(ioctl(vfm_vfio_fd(vfio), VFM_IOCTL_DEVICE_RESET), 0);
	hash = hash_there(vfm_vfio_fd(vfio));
	load_here(sim, save(vfm_vfio_fd(vfio)));
	assert_int_equal(hash_here(sim), hash);
	sim_destroy(sim);
	vfm_vfio_close(vfio);
	mdev_remove(UUID);
}

/* ---- before and after ---- */

static int make_space(void **state)
{
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -1;
	return vfm_vfio_space_new(VFM_VFIO_GROUP, &space) ||
	       vfm_vfio_space_map(space, IOVA, MEMORY, memory);
}

static int free_space(void **state)
{
	vfm_vfio_space_free(space);
	return munmap(memory, MEMORY);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(old_fds_stay_dead),
		cmocka_unit_test(a_bad_buffer_loses_nothing),
		cmocka_unit_test(closing_ends_a_slow_write),
		cmocka_unit_test(killing_ends_a_slow_arc),
		cmocka_unit_test(a_stream_goes_both_ways),
	};

	return cmocka_run_group_tests(tests, make_space, free_space);
}
