/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the next user of a simulated device finds when the last one was killed: in every state, in the
 * middle of reading, of writing, of an arc or a load that takes long. The device is in the state that it
 * was in, or on the way; its data session is nobody's; a reset makes it as good as new.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/compiler.h"
#include "tests/kernel-user.h"
#include "tests/mdev.h"

#define UUID  "70000000-0000-0000-0000-000000000001"
#define LONG  "120000" /* ms: longer than the test may last */

enum { STREAM = 1 << 20 };

static uint8_t stream[STREAM]; /* what a whole state is */
static size_t stream_size;

/* ---- the one who is killed ---- */

static void tell(int ready)
{
	if (write(ready, "r", 1) != 1)
		_exit(1);
}

static void open_it(struct user *u)
{
	if (user_try_open(u, UUID, VFM_VFIO_ANY) || user_reset(u))
		_exit(1);
}

static void go(struct user *u, uint32_t to, int *fd)
{
	if (user_set(u, to, fd))
		_exit(1);
}

static void be_idle(int ready, uint32_t state)
{
	struct user u;
	int fd;

	open_it(&u);
	go(&u, state, &fd);
	tell(ready);
	pause();
}

static void read_on(int ready, uint32_t state)
{
	static uint8_t buf[4096];
	struct user u;
	int fd;

	open_it(&u);
	go(&u, state, &fd);
	tell(ready);
	for (;;)
		if (read(fd, buf, sizeof(buf)) <= 0 && state == VFM_STATE_STOP_COPY) {
			close(fd);
			go(&u, VFM_STATE_RUNNING, NULL);
			go(&u, state, &fd);
		}
}

static void write_on(int ready, uint32_t state)
{
	struct user u;
	int fd;

	open_it(&u);
	for (bool told = false;; told = true) {
		go(&u, state, &fd);
		if (!told)
			tell(ready);
		for (size_t at = 0; at < stream_size; at += 512)
			if (write(fd, stream + at, stream_size - at < 512 ? stream_size - at : 512) < 0)
				_exit(1);
		close(fd);
		if (user_reset(&u))
			_exit(1);
	}
}

static void change_on(int ready, uint32_t state)
{
	struct user u;

	open_it(&u);
	tell(ready);
	for (;;) {
		go(&u, state, NULL);
		go(&u, VFM_STATE_RUNNING, NULL);
	}
}

/* In an arc that takes long. */
static void wait_in_an_arc(int ready, uint32_t state)
{
	struct user u;

	open_it(&u);
	tell(ready);
	user_set(&u, state, NULL);
	_exit(1);
}

/* In a write that takes long. */
static void wait_in_a_write(int ready, uint32_t state)
{
	struct user u;
	int fd;

	open_it(&u);
	go(&u, state, &fd);
	tell(ready);
	user_write_all(fd, stream, stream_size);
	_exit(1);
}

/* ---- a death ---- */

static void expect_killed(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSIGNALED(status))
		fail_msg("it ended by itself, with status %d", WEXITSTATUS(status));
}

/* Let somebody do that until @later us after it has begun, kill him, and see in which state the device
 * is, for the next user, who resets it. */
static uint32_t found_after(void (*act)(int ready, uint32_t state), uint32_t state, unsigned later)
{
	uint32_t found = 99;
	struct user u;
	int ready[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		close(ready[0]);
		act(ready[1], state);
		_exit(1);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	usleep(later);
	expect_killed(pid);
	user_open(&u, UUID);
	assert_int_equal(user_state(&u, &found), 0);
	assert_in_range(found, VFM_STATE_STOP, VFM_STATE_COUNT - 1);
	assert_int_equal(user_reset(&u), 0);
	user_close(&u);
	return found;
}

static uint32_t kill_in(void (*act)(int ready, uint32_t state), uint32_t state, unsigned later)
{
	uint32_t found = found_after(act, state, later);

	user_expect_works(UUID);
	return found;
}

static void in_every_state(void **state)
{
	for (uint32_t s = VFM_STATE_STOP; s < VFM_STATE_COUNT; s++)
		assert_int_equal(kill_in(be_idle, s, 0), s);
}

static void while_it_reads(void **state)
{
	for (unsigned n = 0; n < 8; n++) {
		kill_in(read_on, VFM_STATE_STOP_COPY, n * 3000);
		assert_int_equal(kill_in(read_on, VFM_STATE_PRE_COPY, n * 3000),
				 VFM_STATE_PRE_COPY);
	}
}

static void while_it_writes(void **state)
{
	for (unsigned n = 0; n < 8; n++)
		kill_in(write_on, VFM_STATE_RESUMING, n * 3000);
}

static void while_it_changes_states(void **state)
{
	for (unsigned n = 0; n < 4; n++) {
		kill_in(change_on, VFM_STATE_STOP_COPY, n * 5000);
		kill_in(change_on, VFM_STATE_PRE_COPY, n * 5000);
	}
}

/* It is not waited for the end, neither by the one who is killed nor by the next one. */
static void while_an_arc_takes_long(void **state)
{
	for (unsigned n = 0; n < 3; n++) {
		user_attribute(UUID, "arc_latency", "RUNNING_P2P:STOP=" LONG);
		found_after(wait_in_an_arc, n % 2 ? VFM_STATE_STOP : VFM_STATE_STOP_COPY, n * 50000);
		user_attribute(UUID, "arc_latency", "RUNNING_P2P:STOP=0");
		user_expect_works(UUID);
	}
}

static void while_a_load_takes_long(void **state)
{
	for (unsigned n = 0; n < 3; n++) {
		user_attribute(UUID, "load_at", "write");
		user_attribute(UUID, "load_cost_us_per_mib", LONG "000");
		assert_int_equal(found_after(wait_in_a_write, VFM_STATE_RESUMING, n * 50000),
				 VFM_STATE_RESUMING);
		user_attribute(UUID, "load_cost_us_per_mib", "0");
		user_expect_works(UUID);
	}
}

/* ---- each on a device of its own ---- */

static int make(void **state)
{
	struct user u;

	mdev_make(USER_DRIVER, USER_TYPE, UUID);
	user_attribute(UUID, "state_size", "128K");
	user_open(&u, UUID);
	stream_size = user_save(&u, stream, STREAM);
	user_close(&u);
	return 0;
}

static int away(void **state)
{
	user_remove(UUID);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(in_every_state, make, away),
		cmocka_unit_test_setup_teardown(while_it_reads, make, away),
		cmocka_unit_test_setup_teardown(while_it_writes, make, away),
		cmocka_unit_test_setup_teardown(while_it_changes_states, make, away),
		cmocka_unit_test_setup_teardown(while_an_arc_takes_long, make, away),
		cmocka_unit_test_setup_teardown(while_a_load_takes_long, make, away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
