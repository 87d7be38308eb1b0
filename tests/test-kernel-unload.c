/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated device's driver is not unloaded under its users, and nothing of it stays when it is: with
 * an open device, with a data session whose device was closed, with a mapping alone; and a device that is
 * removed while somebody has it open waits for that user, whoever asks it to go.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "sim/regs.h"
#include "tests/kernel-user.h"
#include "tests/mdev.h"

#define UUID   "60000000-0000-0000-0000-000000000001"
#define DEVICE "/sys/bus/mdev/devices/" UUID
#define WAIT_S 60

static int unload(void)
{
	return syscall(SYS_delete_module, USER_DRIVER, O_NONBLOCK) ? -errno : 0;
}

/* A reference may be held by what ends on its own, work or a closing file: not for long. */
static void expect_unload(void)
{
	int ret = unload();

	for (unsigned n = 0; ret && n < WAIT_S * 100; n++) {
		usleep(10000);
		ret = unload();
	}
	if (ret)
		fail_msg("the module stays: %s", strerror(-ret));
	assert_int_not_equal(access("/sys/module/" USER_DRIVER, F_OK), 0);
	assert_int_not_equal(access("/sys/bus/mdev/drivers/" USER_DRIVER, F_OK), 0);
	assert_int_not_equal(access("/sys/class/" USER_DRIVER, F_OK), 0);
	assert_int_not_equal(access("/sys/kernel/debug/" USER_DRIVER, F_OK), 0);
	assert_int_not_equal(access(DEVICE, F_OK), 0);
}

static void load(void)
{
	assert_int_equal(system("modprobe " USER_DRIVER), 0);
	assert_int_equal(access("/sys/module/" USER_DRIVER, F_OK), 0);
}

static int again(void **state)
{
	if (access("/sys/module/" USER_DRIVER, F_OK))
		load();
	if (!access(DEVICE, F_OK))
		user_remove(UUID);
	return 0;
}

static void make(void)
{
	mdev_make(USER_DRIVER, USER_TYPE, UUID);
	user_attribute(UUID, "state_size", "64K");
}

static void begin(struct user *u)
{
	make();
	user_open(u, UUID);
}

/* ---- unloading ---- */

static void nobody_uses_it(void **state)
{
	for (unsigned n = 0; n < 3; n++) {
		expect_unload();
		load();
	}
}

/* A device that nobody has open goes with its driver. */
static void a_device_that_nobody_has_open(void **state)
{
	struct user u;

	begin(&u);
	user_close(&u);
	expect_unload();
	load();
	begin(&u);
	user_close(&u);
	user_expect_works(UUID);
}

static void an_open_device(void **state)
{
	struct user u;

	begin(&u);
	assert_true(unload() < 0);
	assert_int_equal(user_reset(&u), 0);
	user_close(&u);
	user_expect_works(UUID);
	expect_unload();
}

static void session_alone(uint32_t to)
{
	uint8_t byte = 0;
	struct user u;
	int fd;

	again(NULL);
	begin(&u);
	assert_int_equal(user_set(&u, to, &fd), 0);
	assert_true(fd >= 0);
	user_close(&u);
	assert_true(unload() < 0);
	if (to == VFM_STATE_RESUMING)
		assert_int_equal(write(fd, &byte, 1), -1);
	else
		assert_int_equal(read(fd, &byte, 1), -1);
	assert_int_equal(errno, ENODEV);
	/* Its device may go, and come again: it is another one. */
	mdev_remove(UUID);
	assert_int_not_equal(access(DEVICE, F_OK), 0);
	assert_true(unload() < 0);
	make();
	assert_true(read(fd, &byte, 1) < 0 && write(fd, &byte, 1) < 0);
	user_expect_works(UUID);
	close(fd);
	expect_unload();
}

static void a_session_whose_device_was_closed(void **state)
{
	session_alone(VFM_STATE_STOP_COPY);
	session_alone(VFM_STATE_PRE_COPY);
	session_alone(VFM_STATE_RESUMING);
}

static void a_mapping_alone(void **state)
{
	struct vfm_vfio_region region = {.size = sizeof(region)};
	volatile uint8_t *mailbox;
	struct user u;
	int null;

	begin(&u);
	assert_int_equal(vfm_vfio_get_region(u.vfio, SIM_BAR_MAILBOX, &region), 0);
	mailbox = mmap(NULL, SIM_BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, u.fd,
		       (off_t)region.offset);
	assert_true(mailbox != MAP_FAILED);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(dup2(null, u.fd), u.fd); /* it is closed, but for the mapping */
	close(null);
	assert_true(unload() < 0);
	mailbox[8] = 0x5a;
	assert_int_equal(mailbox[8], 0x5a);
	munmap((void *)mailbox, SIM_BAR_SIZE);
	user_close(&u);
	expect_unload();
}

/* ---- removing ---- */

/* Somebody removes the device; the end of @done tells that it is over. */
static pid_t remove_aside(int *done)
{
	int pipe_fds[2];
	pid_t pid;

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		int fd = open(DEVICE "/remove", O_WRONLY);

		for (int other = 3; other < 64; other++)
			if (other != fd && other != pipe_fds[1])
				close(other);
		_exit(fd < 0 || write(fd, "1", 1) != 1);
	}
	close(pipe_fds[1]);
	*done = pipe_fds[0];
	return pid;
}

/* It waits, and the user is asked to let go if he can be; what he does meanwhile works. */
static void a_device_is_removed_while_it_is_open(void **state)
{
	uint8_t stream[4096];
	struct pollfd over;
	struct user u;
	int done, fd, status;
	pid_t pid;

	begin(&u);
	assert_int_equal(user_set(&u, VFM_STATE_PRE_COPY, &fd), 0);
	pid = remove_aside(&done);
	over = (struct pollfd){.fd = done, .events = POLLIN};
	assert_int_equal(poll(&over, 1, 500), 0);
	assert_true(read(fd, stream, sizeof(stream)) > 0);
	assert_int_equal(user_set(&u, VFM_STATE_STOP_COPY, NULL), 0);
	assert_true(unload() < 0);
	user_close(&u);
	assert_int_equal(poll(&over, 1, WAIT_S * 1000), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_not_equal(access(DEVICE, F_OK), 0);
	assert_int_equal(read(fd, stream, sizeof(stream)), -1);
	assert_int_equal(errno, ENODEV);
	close(fd);
	close(done);
	expect_unload();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(nobody_uses_it, again),
		cmocka_unit_test_teardown(a_device_that_nobody_has_open, again),
		cmocka_unit_test_teardown(an_open_device, again),
		cmocka_unit_test_teardown(a_session_whose_device_was_closed, again),
		cmocka_unit_test_teardown(a_mapping_alone, again),
		cmocka_unit_test_teardown(a_device_is_removed_while_it_is_open, again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
