/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated device's driver under users who do anything: in the test machine, best on the kernel
 * that watches memory and locks.
 *
 * A round is one process, the user: it opens the device, and its threads make system calls on it at
 * once, made up from what makes sense and what does not: arguments, sizes, pointers, orders. They share
 * what they open, so that one closes what another reads. One thread writes the device's attributes
 * meanwhile. The user ends by itself, by closing in the middle, or is killed. Then the device has to work
 * for an honest user after a reset. The next round has a device of another personality.
 *
 * Each round is made of SEED and its number, which are printed; how threads meet is up to the machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/compiler.h"
#include "sim/regs.h"
#include "tests/kernel-user.h"
#include "tests/mdev.h"

#define UUID "40000000-0000-0000-0000-000000000001"
#define SEED UINT64_C(20261121)

enum {
	ROUNDS = 24,
	THREADS = 4,
	CALLS = 600,      /* of a thread */
	SLOTS = 6,        /* data sessions at hand */
	STREAM = 1 << 18, /* bytes of a saved state, at most */
	BUFFER = 1 << 16,
	END_S = 60,       /* a user that lasts longer hangs */
};

struct fuzz {
	struct user user;
	uint64_t bar; /* where the registers are in the device's fd */
	atomic_int slots[SLOTS];
	uint8_t *stream; /* a saved state */
	size_t stream_size;
	uint8_t *edge;   /* a page with nothing behind it */
	uint8_t *sealed; /* a page that cannot be written to */
};

struct thread {
	struct fuzz *f;
	unsigned number;
	uint64_t rng;
	uint8_t buf[BUFFER];
};

/* ---- made-up values ---- */

static uint64_t any(struct thread *t)
{
	t->rng ^= t->rng << 13;
	t->rng ^= t->rng >> 7;
	t->rng ^= t->rng << 17;
	return t->rng * UINT64_C(0x2545f4914f6cdd1d);
}

static uint64_t below(struct thread *t, uint64_t end)
{
	return (any(t) >> 11) % end;
}

static bool one_in(struct thread *t, unsigned n)
{
	return !below(t, n);
}

static uint64_t any_number(struct thread *t)
{
	static const uint64_t odd[] = {
		0, 1, 7, 8, 4095, 4096, 4097, 1 << 20, INT32_MAX, UINT32_MAX, UINT64_C(1) << 32,
		INT64_MAX, UINT64_MAX, UINT64_MAX - 4095, UINT64_C(1) << 63, USER_MEMORY_IOVA,
		USER_MEMORY_IOVA + USER_MEMORY_SIZE - 1,
	};

	return one_in(t, 3) ? any(t) : odd[below(t, ARRAY_SIZE(odd))] + below(t, 3) - 1;
}

static size_t any_size(struct thread *t)
{
	return one_in(t, 4) ? below(t, BUFFER) : below(t, 200);
}

/* Mostly memory for @size bytes. */
static void *any_pointer(struct thread *t, size_t size)
{
	switch (below(t, 24)) {
	case 0: return NULL;
	case 1: return (void *)(uintptr_t)any_number(t);
	case 2: return t->f->edge + 4096 - below(t, size + 1) % 4096;
	case 3: return t->f->sealed;
	default: return t->buf + (size < BUFFER ? below(t, BUFFER - size) & ~UINT64_C(7) : 0);
	}
}

/* ---- the device's fd ---- */

static void keep_session(struct thread *t, int fd)
{
	int was;

	if (fd < 0)
		return;
	was = atomic_exchange(&t->f->slots[below(t, SLOTS)], fd);
	if (was >= 0)
		close(was);
}

static void set_state(struct thread *t)
{
	uint32_t state = one_in(t, 20) ? (uint32_t)any_number(t) : (uint32_t)below(t, 8);
	int fd;

	if (!user_set(&t->f->user, state, &fd))
		keep_session(t, fd);
}

static void fill_log_start(struct thread *t, uint64_t *payload)
{
	struct vfm_feature_logging_range *ranges = any_pointer(t, 4096);
	struct vfm_feature_logging_control control = {
		.page_size = one_in(t, 3) ? any_number(t) : 4096,
		.num_ranges = (uint32_t)(one_in(t, 4) ? any_number(t) : below(t, 4)),
		.ranges = (uintptr_t)ranges,
	};

	if ((uint8_t *)ranges >= t->buf && (uint8_t *)ranges < t->buf + BUFFER - 4096)
		for (unsigned i = 0; i < 4; i++)
			ranges[i] = (struct vfm_feature_logging_range){
				one_in(t, 3) ? any_number(t) : USER_MEMORY_IOVA + i * 0x40000,
				one_in(t, 3) ? any_number(t) : 0x40000,
			};
	memcpy(payload, &control, sizeof(control));
}

static void fill_log_report(struct thread *t, uint64_t *payload)
{
	struct vfm_feature_logging_report report = {
		.iova = one_in(t, 3) ? any_number(t) : USER_MEMORY_IOVA + below(t, 256) * 4096,
		.length = one_in(t, 3) ? any_number(t) : (1 + below(t, 256)) * 4096,
		.page_size = one_in(t, 3) ? any_number(t) : 4096,
		.bitmap = (uintptr_t)any_pointer(t, 4096),
	};

	/* What a bad length takes as long as it is long. */
	if (report.length > UINT64_C(1) << 40)
		report.length >>= 30;
	memcpy(payload, &report, sizeof(report));
}

static void feature(struct thread *t)
{
	static const uint32_t ops[] = {
		VFM_FEATURE_GET, VFM_FEATURE_SET, VFM_FEATURE_PROBE, VFM_FEATURE_GET, VFM_FEATURE_SET,
		VFM_FEATURE_PROBE | VFM_FEATURE_SET, VFM_FEATURE_PROBE | VFM_FEATURE_GET,
		VFM_FEATURE_GET | VFM_FEATURE_SET, 0,
	};
	uint32_t index = (uint32_t)below(t, 14);
	_Alignas(8) uint64_t call[17];
	struct vfm_feature *head = (struct vfm_feature *)call;

	for (unsigned i = 0; i < ARRAY_SIZE(call); i++)
		call[i] = any_number(t);
	head->flags = index | ops[below(t, ARRAY_SIZE(ops))];
	if (one_in(t, 16))
		head->flags |= (uint32_t)any(t);
	head->argsz = (uint32_t)(one_in(t, 4) ? any_number(t) : 8 + 8 * below(t, 8));
	if (index == VFM_FEATURE_MIG_DEVICE_STATE)
		return set_state(t);
	if (index == VFM_FEATURE_DMA_LOGGING_START)
		fill_log_start(t, call + 1);
	if (index == VFM_FEATURE_DMA_LOGGING_REPORT)
		fill_log_report(t, call + 1);
	if (head->argsz <= sizeof(call))
		ioctl(t->f->user.fd, VFM_IOCTL_DEVICE_FEATURE, call);
	ioctl(t->f->user.fd, VFM_IOCTL_DEVICE_FEATURE, one_in(t, 8) ? any_pointer(t, 64) : call);
}

static void info(struct thread *t)
{
	static const unsigned long requests[] = {
		VFM_IOCTL_DEVICE_GET_INFO, VFM_IOCTL_DEVICE_GET_REGION_INFO,
		VFM_IOCTL_DEVICE_GET_IRQ_INFO,
	};
	uint32_t call[32];

	for (unsigned i = 0; i < ARRAY_SIZE(call); i++)
		call[i] = (uint32_t)any_number(t);
	if (!one_in(t, 4))
		call[0] = (uint32_t)below(t, sizeof(call) + 1);
	if (!one_in(t, 4))
		call[2] = (uint32_t)below(t, 12);
	ioctl(t->f->user.fd, requests[below(t, ARRAY_SIZE(requests))],
	      one_in(t, 8) ? any_pointer(t, sizeof(call)) : (void *)call);
}

static void interrupts(struct thread *t)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct {
		struct vfm_uapi_irq_set set;
		int32_t data[8];
	} call = {.set = {
		.argsz = (uint32_t)(one_in(t, 4) ? any_number(t) : sizeof(call)),
		.flags = one_in(t, 4) ? (uint32_t)any(t)
			 : (1u << below(t, 3)) | (8u << below(t, 3)),
		.index = (uint32_t)(one_in(t, 4) ? any_number(t) : below(t, 5)),
		.start = (uint32_t)(one_in(t, 4) ? any_number(t) : below(t, 4)),
		.count = (uint32_t)(one_in(t, 4) ? any_number(t) : below(t, 5)),
	}};

	for (unsigned i = 0; i < ARRAY_SIZE(call.data); i++)
		call.data[i] = one_in(t, 3) ? (int32_t)any(t) : one_in(t, 3) ? -1 : fd;
	ioctl(t->f->user.fd, VFM_IOCTL_DEVICE_SET_IRQS, &call);
	if (fd >= 0)
		close(fd);
}

static void other_ioctl(struct thread *t)
{
	unsigned long request = one_in(t, 2) ? VFM_VFIO_IO(below(t, 32)) : (unsigned long)any(t);

	/* What fuzz calls by itself: bindings and attachments stay, lest the round ends at once. */
	if (request != VFM_IOCTL_DEVICE_DETACH_PT)
		ioctl(t->f->user.fd, request, any_pointer(t, 256));
}

static void reset(struct thread *t)
{
	user_reset(&t->f->user);
}

/* ---- regions ---- */

static uint64_t any_place(struct thread *t)
{
	uint64_t region = one_in(t, 8) ? any_number(t) % 64 : below(t, 9);

	if (one_in(t, 16))
		return any_number(t);
	return region << 40 | (one_in(t, 8) ? any_number(t) & 0xffffffffff : below(t, 0x110));
}

static void region_access(struct thread *t)
{
	static const size_t sizes[] = {1, 2, 4, 8};
	size_t size = one_in(t, 4) ? any_size(t) : sizes[below(t, 4)];
	off_t at = (off_t)any_place(t);
	void *buf = any_pointer(t, size);

	if (size >= 4 && buf == t->buf)
		memcpy(buf, &t->rng, 4);
	if (one_in(t, 2)) {
		if (pread(t->f->user.fd, buf, size, at) < 0)
			return;
	} else if (pwrite(t->f->user.fd, buf, size, at) < 0) {
		return;
	}
}

static void store(struct thread *t, uint32_t reg, uint64_t value, size_t size)
{
	if (pwrite(t->f->user.fd, &value, size, (off_t)(t->f->bar + reg)) < 0)
		return;
}

/* A ring that is almost right, and DMA on. */
static void ring(struct thread *t)
{
	uint64_t base = USER_MEMORY_IOVA + below(t, 240) * 4096;

	store(t, SIM_REG_CONTROL, 0, 4);
	store(t, SIM_REG_RING_BASE, one_in(t, 6) ? any_number(t) : base, 8);
	store(t, SIM_REG_RING_INDEX, one_in(t, 6) ? any_number(t) : base + 0x8000, 8);
	store(t, SIM_REG_RING_ENTRIES, one_in(t, 6) ? any_number(t) : 64, 4);
	store(t, SIM_REG_DMA_RATE, one_in(t, 6) ? any_number(t) : 2000, 4);
	store(t, SIM_REG_P2P_TARGET, one_in(t, 2) ? any_number(t) : base + 0x9000, 8);
	store(t, SIM_REG_P2P_RATE, one_in(t, 6) ? any_number(t) : 500, 4);
	store(t, SIM_REG_CONTROL, SIM_CONTROL_DMA | SIM_CONTROL_IRQ, 4);
}

static void command(struct thread *t)
{
	store(t, SIM_REG_COMMAND, below(t, 6), 4);
}

static void map(struct thread *t)
{
	size_t size = (1 + below(t, 3)) * 4096;
	uint8_t *at = mmap(NULL, size, one_in(t, 3) ? PROT_READ : PROT_READ | PROT_WRITE,
			   one_in(t, 8) ? MAP_PRIVATE : MAP_SHARED, t->f->user.fd,
			   (off_t)(any_place(t) & ~UINT64_C(4095)));

	if (at == MAP_FAILED)
		at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, t->f->user.fd,
			  (off_t)SIM_BAR_MAILBOX << 40), size = 4096;
	if (at == MAP_FAILED)
		return;
	*(volatile uint8_t *)at;
	if (one_in(t, 2))
		user_reset(&t->f->user);
	munmap(at, size);
}

/* The memory goes away under the device, and comes back. A space is for one thread at a time. */
static void remap(struct thread *t)
{
	struct user *u = &t->f->user;

	if (!t->number && !vfm_vfio_space_unmap(u->space, USER_MEMORY_IOVA, USER_MEMORY_SIZE))
		vfm_vfio_space_map(u->space, USER_MEMORY_IOVA, USER_MEMORY_SIZE, u->memory);
}

/* ---- data sessions ---- */

static int any_session(struct thread *t)
{
	return atomic_load(&t->f->slots[below(t, SLOTS)]);
}

static void read_session(struct thread *t)
{
	size_t size = any_size(t);

	if (read(any_session(t), any_pointer(t, size), size) < 0)
		return;
}

static void write_session(struct thread *t)
{
	size_t at = below(t, t->f->stream_size), size = any_size(t);
	uint8_t *buf = t->buf;

	if (size > t->f->stream_size - at)
		size = t->f->stream_size - at;
	memcpy(buf, t->f->stream + at, size);
	for (unsigned i = 0; i < 3 && size; i++)
		if (one_in(t, 2))
			buf[below(t, size)] ^= (uint8_t)(1 << below(t, 8));
	if (write(any_session(t), one_in(t, 8) ? any_pointer(t, size) : buf, size) < 0)
		return;
}

/* A load from its beginning, with a mistake in it, or cut, or whole, and its end. */
static void load(struct thread *t)
{
	struct fuzz *f = t->f;
	size_t flip = below(t, f->stream_size), cut = f->stream_size, put = 0, part;
	int fd;

	if (one_in(t, 2))
		user_reset(&f->user);
	if (user_set(&f->user, VFM_STATE_RESUMING, &fd) || fd < 0)
		return;
	if (one_in(t, 3))
		cut = below(t, cut + 1);
	for (; put < cut; put += part) {
		part = 1 + below(t, BUFFER - 1);
		if (part > cut - put)
			part = cut - put;
		memcpy(t->buf, f->stream + put, part);
		if (flip >= put && flip < put + part && one_in(t, 2))
			t->buf[flip - put] ^= (uint8_t)(1 << below(t, 8));
		if (write(fd, t->buf, part) != (ssize_t)part)
			break;
	}
	set_state(t);
	keep_session(t, fd);
}

static void session_info(struct thread *t)
{
	struct vfm_precopy_info call = {.argsz = (uint32_t)(one_in(t, 3) ? any_number(t) : sizeof(call))};
	int fd = any_session(t);

	ioctl(fd, VFM_IOCTL_MIG_GET_PRECOPY_INFO, one_in(t, 6) ? any_pointer(t, 64) : &call);
	if (one_in(t, 8))
		ioctl(fd, (unsigned long)any(t), any_pointer(t, 256));
}

static void odd_session(struct thread *t)
{
	struct pollfd pollfd = {.fd = any_session(t), .events = (short)any(t)};
	off_t at = (off_t)any_number(t);

	switch (below(t, 6)) {
	case 0:
		poll(&pollfd, 1, 0);
		break;
	case 1:
		fcntl(pollfd.fd, F_SETFL, one_in(t, 2) ? O_NONBLOCK : 0);
		break;
	case 2:
		lseek(pollfd.fd, at, (int)below(t, 5));
		break;
	case 3:
		if (pread(pollfd.fd, t->buf, 64, at) < 0 || pwrite(pollfd.fd, t->buf, 64, at) < 0)
			break;
		break;
	case 4:
		if (mmap(NULL, 4096, PROT_READ, MAP_SHARED, pollfd.fd, 0) != MAP_FAILED)
			print_message("a data session was mapped\n");
		break;
	default:
		keep_session(t, dup(pollfd.fd));
	}
}

static void close_session(struct thread *t)
{
	int fd = atomic_exchange(&t->f->slots[below(t, SLOTS)], -1);

	if (fd >= 0)
		close(fd);
}

/* One that is in a socket alone for a while. */
static void pass_session(struct thread *t)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {{0}};
	struct iovec iov = {.iov_base = t->buf, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	int pair[2], fd = atomic_exchange(&t->f->slots[below(t, SLOTS)], -1);

	if (fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return;
	control.head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET,
					.cmsg_type = SCM_RIGHTS};
	memcpy(CMSG_DATA(&control.head), &fd, sizeof(fd));
	if (sendmsg(pair[0], &msg, MSG_NOSIGNAL) == 1) {
		close(fd);
		fd = -1;
		if (one_in(t, 2) && recvmsg(pair[1], &msg, MSG_DONTWAIT) == 1 &&
		    msg.msg_controllen)
			memcpy(&fd, CMSG_DATA(&control.head), sizeof(fd));
	}
	close(pair[0]);
	close(pair[1]);
	keep_session(t, fd);
}

/* ---- attributes ---- */

static void attribute(struct thread *t)
{
	static const char *const values[][2] = {
		{"seed", "7"}, {"state_size", "96K"}, {"state_size", "nonsense"}, {"reinit", "bytes=8K"},
		{"dma_rate", "1000"}, {"dirty_rate", "1M"}, {"initial_size", "16K"},
		{"state_size", "99999999999999999999"}, {"arc_latency", "RUNNING:STOP=1"}, {"seed", ""},
	};
	size_t i = below(t, ARRAY_SIZE(values));

	user_try_attribute(UUID, values[i][0], values[i][1]);
}

/* ---- a round ---- */

static const struct {
	void (*call)(struct thread *t);
	unsigned weight;
} calls[] = {
	{set_state, 12}, {feature, 10}, {info, 4}, {interrupts, 4}, {other_ioctl, 2}, {reset, 2},
	{region_access, 10}, {ring, 3}, {command, 2}, {map, 2}, {remap, 1}, {read_session, 12},
	{write_session, 10}, {load, 2}, {session_info, 6}, {odd_session, 3}, {close_session, 2},
	{pass_session, 1}, {attribute, 1},
};

static void *fuzz_thread(void *arg)
{
	struct thread *t = arg;
	unsigned all = 0, i;
	uint64_t ticket;

	for (i = 0; i < ARRAY_SIZE(calls); i++)
		all += calls[i].weight;
	for (unsigned n = 0; n < CALLS; n++) {
		ticket = below(t, all);
		for (i = 0; ticket >= calls[i].weight; i++)
			ticket -= calls[i].weight;
		calls[i].call(t);
	}
	return NULL;
}

static void *page(int protection)
{
	uint8_t *at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(at != MAP_FAILED);
	munmap(at + 4096, 4096);
	mprotect(at, 4096, protection);
	return at;
}

/* The user: a process of its own, which ends here. */
static void be_a_user(uint64_t seed)
{
	struct vfm_vfio_region region = {.size = sizeof(region)};
	static struct thread threads[THREADS];
	static struct fuzz f;
	pthread_t ids[THREADS];

	alarm(END_S);
	for (unsigned i = 0; i < SLOTS; i++)
		atomic_init(&f.slots[i], -1);
	f.stream = malloc(STREAM);
	f.edge = page(PROT_READ | PROT_WRITE);
	f.sealed = page(PROT_READ);
	user_open(&f.user, UUID);
	assert_int_equal(vfm_vfio_get_region(f.user.vfio, SIM_BAR_REGS, &region), 0);
	f.bar = region.offset;
	assert_int_equal(user_reset(&f.user), 0);
	f.stream_size = user_save(&f.user, f.stream, STREAM);
	for (unsigned i = 0; i < THREADS; i++) {
		threads[i].f = &f;
		threads[i].number = i;
		threads[i].rng = sim_mix(seed * THREADS + i) | 1;
		assert_int_equal(pthread_create(&ids[i], NULL, fuzz_thread, &threads[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(ids[i], NULL);
	/* Every second one closes the device first, and its sessions after it. */
	if (seed % 2)
		close(f.user.fd);
	_exit(0);
}

/* What the device is like in this round. Not every personality takes every value. */
static void make_device(uint64_t n)
{
	static const char *const types[] = {
		"vfm_sim-generic", "vfm_sim-mlx5", "vfm_sim-virtio", "vfm_sim-hisi_acc",
		"vfm_sim-qat", "vfm_sim-pds", "vfm_sim-xe", "vfm_sim-mtty",
	};
	static const char *const values[][2] = {
		{"dirty_rate", "64K"}, {"dma_rate", "1000"}, {"reinit", "bytes=8K,times=3"},
		{"arc_latency", "RUNNING_P2P:STOP=3"}, {"initial_size", "16K"}, {"poll", "1"},
	};

	mdev_make(USER_DRIVER, types[n % ARRAY_SIZE(types)], UUID);
	user_attribute(UUID, "state_size", "64K");
	for (unsigned i = 0; i < ARRAY_SIZE(values); i++)
		if (sim_mix(n) >> i & 1)
			user_try_attribute(UUID, values[i][0], values[i][1]);
}

/* One of four rounds is killed while it is at it. */
static void end_user(pid_t pid, uint64_t n)
{
	int status;

	if (n % 4 == 3) {
		usleep((useconds_t)(sim_mix(n) % 400000));
		kill(pid, SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && n % 4 == 3)
		return;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail_msg("round %lu: the user ended with status %#x%s", (unsigned long)n, status,
			 WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? ": it hung" : "");
}

static void users_do_anything(void **state)
{
	pid_t pid;

	print_message("seed %lu\n", (unsigned long)SEED);
	for (uint64_t n = 0; n < ROUNDS; n++) {
		make_device(n);
		pid = fork();
		assert_true(pid >= 0);
		if (!pid)
			be_a_user(SEED + n);
		end_user(pid, n);
		user_expect_works(UUID);
		mdev_remove(UUID);
	}
}

static int tear_down(void **state)
{
	if (!access("/sys/bus/mdev/devices/" UUID, F_OK))
		user_remove(UUID);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(users_do_anything, tear_down),
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
