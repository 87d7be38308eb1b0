/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Saving and restoring with doubles for devices. What every test of a refusal asks is whether the
 * device was touched; what every test of a failure asks is what became of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <vfio-migrate/state-file.h>

#include "base/compiler.h"
#include "file/format.h"
#include "tests/double.h"

#define ALL_FLAGS (VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY)

static struct double_device *from, *to;
static struct vfm_error error;
static enum vfm_device_end end;

static void make(size_t size, uint32_t flags)
{
	assert_int_equal(double_device_new("from", size, flags, 1, &from), 0);
	assert_int_equal(double_device_new("to", size, flags, 100, &to), 0);
}

static int destroy(void **state)
{
	if (!from)
		return 0; /* the test did it */
	double_device_free(from);
	double_device_free(to);
	from = to = NULL;
	return 0;
}

static int new_file(void)
{
	int fd = memfd_create("state", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static int save_to(int fd)
{
	return vfm_state_save(&from->dev, NULL, fd, NULL, &end, &error);
}

static int restore_from(int fd)
{
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return vfm_state_restore(&to->dev, NULL, fd, NULL, &end, &error);
}

static void assert_untouched(const struct double_device *d)
{
	assert_int_equal(end, VFM_DEVICE_UNTOUCHED);
	assert_int_equal(d->transitions, 0);
	assert_int_equal(d->resets, 0);
	assert_int_equal(d->writes, 0);
	assert_int_equal(d->dev.state, VFM_STATE_RUNNING);
}

/* ---- there and back ---- */

static void a_state_comes_back(void **state)
{
	static const size_t sizes[] = {1, 20000, FILE_CHUNK_MAX, FILE_CHUNK_MAX + 1,
				       3 * FILE_CHUNK_MAX - 7};
	static const uint32_t flags[] = {VFM_MIG_STOP_COPY, VFM_MIG_STOP_COPY | VFM_MIG_P2P,
					 ALL_FLAGS};

	for (size_t i = 0; i < 5; i++) {
		struct vfm_state_file file = {.size = sizeof(file)};
		int fd = new_file();

		make(sizes[i], flags[i % 3]);
		assert_int_equal(save_to(fd), 0);
		assert_int_equal(end, VFM_DEVICE_UNTOUCHED);
		assert_int_equal(from->dev.state, VFM_STATE_RUNNING);
		assert_int_equal(from->resets, 0);
		lseek(fd, 0, SEEK_SET);
		assert_int_equal(vfm_state_file_check(fd, &file, NULL, 0), 0);
		assert_int_equal(file.bytes, sizes[i]);
		assert_int_equal(file.file_bytes, lseek(fd, 0, SEEK_END));
		assert_string_equal(file.identity.name, "from");
		assert_int_equal(file.identity.mig_flags, flags[i % 3]);
		assert_int_equal(restore_from(fd), 0);
		assert_int_equal(end, VFM_DEVICE_RESTORED);
		assert_int_equal(to->dev.state, VFM_STATE_RUNNING);
		assert_memory_equal(to->state, from->state, sizes[i]);
		close(fd);
		destroy(NULL);
	}
}

/* Where a caller stands in a file of his own is where it begins. */
static void a_file_begins_where_the_fd_stands(void **state)
{
	struct vfm_state_options options = {.size = sizeof(options), .stay_stopped = 1};
	int fd = new_file();

	make(5000, ALL_FLAGS);
	assert_int_equal(write(fd, "mine", 4), 4);
	assert_int_equal(save_to(fd), 0);
	assert_int_equal(lseek(fd, 4, SEEK_SET), 4);
	assert_int_equal(vfm_state_restore(&to->dev, NULL, fd, &options, &end, &error), 0);
	assert_int_equal(to->dev.state, VFM_STATE_STOP);
	assert_memory_equal(to->state, from->state, 5000);
	close(fd);
}

static void a_device_is_put_back_to_what_it_was(void **state)
{
	static const struct {
		enum vfm_state before, after;
	} cases[] = {
		{VFM_STATE_STOP, VFM_STATE_STOP},
		{VFM_STATE_RUNNING_P2P, VFM_STATE_RUNNING_P2P},
		{VFM_STATE_PRE_COPY, VFM_STATE_RUNNING},
		{VFM_STATE_PRE_COPY_P2P, VFM_STATE_RUNNING_P2P},
		{VFM_STATE_STOP_COPY, VFM_STATE_STOP},
	};

	for (size_t i = 0; i < 5; i++) {
		int fd = new_file();

		make(3000, ALL_FLAGS);
		assert_int_equal(vfm_device_set_state(&from->dev, cases[i].before, NULL), 0);
		assert_int_equal(save_to(fd), 0);
		assert_int_equal(from->dev.state, cases[i].after);
		assert_int_equal(end, VFM_DEVICE_UNTOUCHED);
		assert_int_equal(restore_from(fd), 0);
		assert_memory_equal(to->state, from->state, 3000);
		close(fd);
		destroy(NULL);
	}
}

/* ---- refused ---- */

static void a_device_without_a_state_is_not_saved(void **state)
{
	int fd = new_file();

	make(3000, ALL_FLAGS);
	assert_int_equal(vfm_device_set_state(&from->dev, VFM_STATE_RESUMING, NULL), 0);
	assert_int_equal(save_to(fd), -EBUSY);
	assert_int_equal(from->dev.state, VFM_STATE_RESUMING);
	assert_int_equal(lseek(fd, 0, SEEK_END), 0);
	destroy(NULL);
	make(3000, 0);
	assert_int_equal(save_to(fd), -EOPNOTSUPP);
	assert_int_equal(lseek(fd, 0, SEEK_END), 0);
	close(fd);
}

/* Cut behind every byte, and lengthened by one. */
static void a_cut_file_touches_nothing(void **state)
{
	struct vfm_state_file file = {.size = sizeof(file)};
	int fd = new_file();
	off_t size;

	make(700, ALL_FLAGS);
	assert_int_equal(save_to(fd), 0);
	size = lseek(fd, 0, SEEK_END);
	assert_int_equal(write(fd, "", 1), 1);
	assert_int_equal(restore_from(fd), -EBADMSG);
	for (off_t cut = size - 1; cut >= 0; cut--) {
		char why[128] = "";

		assert_int_equal(ftruncate(fd, cut), 0);
		assert_int_equal(restore_from(fd), cut < 8 ? -EINVAL : -EBADMSG);
		lseek(fd, 0, SEEK_SET);
		assert_true(vfm_state_file_check(fd, &file, why, sizeof(why)) < 0);
		assert_int_not_equal(strlen(why), 0);
	}
	assert_untouched(to);
	close(fd);
}

static void an_altered_file_touches_nothing(void **state)
{
	int fd = new_file();
	off_t size;

	make(300, ALL_FLAGS);
	assert_int_equal(save_to(fd), 0);
	size = lseek(fd, 0, SEEK_END);
	for (off_t at = 0; at < size; at++) {
		unsigned char byte;

		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		assert_true(restore_from(fd) < 0);
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	}
	assert_untouched(to);
	assert_int_equal(restore_from(fd), 0);
	close(fd);
}

/* Two files of the same device: the chunks of one do not fit behind the header of the other. */
static void a_mixed_file_touches_nothing(void **state)
{
	struct vfm_identity identity = {.size = sizeof(identity)};
	char header[sizeof(struct file_header)];
	int fd = new_file(), other = new_file();

	make(300, ALL_FLAGS);
	vfm_identity_init(&identity, &from->dev);
	identity.page_size = 4096;
	assert_int_equal(save_to(fd), 0);
	assert_int_equal(vfm_state_save(&from->dev, &identity, other, NULL, &end, &error), 0);
	assert_int_equal(pread(other, header, sizeof(header), 0), sizeof(header));
	assert_int_equal(pwrite(fd, header, sizeof(header), 0), sizeof(header));
	assert_int_equal(restore_from(fd), -EBADMSG);
	assert_untouched(to);
	close(fd);
	close(other);
}

static void another_devices_file_touches_nothing(void **state)
{
	struct vfm_identity identity = {.size = sizeof(identity)};
	int fd = new_file();

	make(3000, ALL_FLAGS);
	to->dev.info.pci_device = 0x1234;
	assert_int_equal(save_to(fd), 0);
	assert_int_equal(restore_from(fd), -EINVAL);
	assert_non_null(strstr(error.text, "the file is another device's: a "));
	assert_untouched(to);
	/* What the caller alone knows counts, too. */
	to->dev.info.pci_device = from->dev.info.pci_device;
	vfm_identity_init(&identity, &from->dev);
	strcpy(identity.type, "serial-1");
	lseek(fd, 0, SEEK_SET);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(vfm_state_save(&from->dev, &identity, fd, NULL, &end, &error), 0);
	strcpy(identity.type, "serial-2");
	lseek(fd, 0, SEEK_SET);
	assert_int_equal(vfm_state_restore(&to->dev, &identity, fd, NULL, &end, &error), -EINVAL);
	assert_non_null(strstr(error.text, "type serial-1 in the file, serial-2 here"));
	assert_untouched(to);
	close(fd);
}

static void what_cannot_be_read_twice_is_told(void **state)
{
	int fds[2];

	make(3000, ALL_FLAGS);
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(vfm_state_restore(&to->dev, NULL, fds[0], NULL, &end, &error), -ESPIPE);
	assert_untouched(to);
	close(fds[0]);
	close(fds[1]);
}

/* ---- failures on the way ---- */

static void a_file_that_cannot_be_written_puts_the_device_back(void **state)
{
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC), fds[2];

	assert_true(full >= 0);
	make(3 * FILE_CHUNK_MAX, ALL_FLAGS);
	assert_int_equal(save_to(full), -ENOSPC);
	assert_untouched(from);
	/* Nobody reads: an error, and no signal. */
	assert_int_equal(pipe(fds), 0);
	close(fds[0]);
	assert_int_equal(save_to(fds[1]), -EPIPE);
	assert_untouched(from);
	close(full);
	close(fds[1]);
}

/* The same, with the device stopped already. */
static void a_disk_that_fills_up_puts_the_device_back(void **state)
{
	int fd = memfd_create("state", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, FILE_CHUNK_MAX), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
	make(3 * FILE_CHUNK_MAX, ALL_FLAGS);
	assert_int_equal(save_to(fd), -EPERM);
	assert_int_equal(end, VFM_DEVICE_UNTOUCHED);
	assert_true(from->transitions > 0);
	assert_int_equal(from->resets, 0);
	assert_int_equal(from->dev.state, VFM_STATE_RUNNING);
	assert_int_equal(restore_from(fd), -EBADMSG);
	assert_untouched(to);
	close(fd);
}

static void a_device_that_cannot_be_read_is_put_back(void **state)
{
	int fd = new_file();

	make(3000, ALL_FLAGS);
	from->read_errno = EIO;
	assert_int_equal(save_to(fd), -EIO);
	assert_string_equal(error.device, "from");
	assert_int_equal(end, VFM_DEVICE_UNTOUCHED);
	assert_int_equal(from->dev.state, VFM_STATE_RUNNING);
	assert_int_equal(restore_from(fd), -EBADMSG);
	assert_untouched(to);
	close(fd);
}

/* Every arc of both ways fails once: the device is as it was, or was reset, and is told so. */
static void an_arc_that_fails_is_named(void **state)
{
	for (unsigned n = 1; n <= 6; n++) {
		int fd = new_file(), ret;

		make(3000, ALL_FLAGS);
		from->fail_transition = n;
		from->fail_errno = EIO;
		ret = save_to(fd);
		if (n <= 3)
			assert_true(ret == -EIO && error.has_arc);
		assert_int_equal(from->dev.state, VFM_STATE_RUNNING);
		if (!from->resets)
			assert_int_equal(end, VFM_DEVICE_UNTOUCHED);
		else
			assert_int_equal(end, n <= 3 ? VFM_DEVICE_RESET : VFM_DEVICE_SAVED_RESET);
		close(fd);
		destroy(NULL);
	}
	for (unsigned n = 1; n <= 5; n++) {
		int fd = new_file();

		make(3000, ALL_FLAGS);
		assert_int_equal(save_to(fd), 0);
		to->fail_transition = n;
		to->fail_errno = EIO;
		assert_int_equal(restore_from(fd), -EIO);
		assert_true(error.has_arc);
		assert_int_equal(end, VFM_DEVICE_RESET);
		assert_int_equal(to->dev.state, VFM_STATE_RUNNING);
		assert_int_equal(to->resets, 1);
		close(fd);
		destroy(NULL);
	}
}

/* The file has all of it, and nothing else has. */
static void a_whole_file_of_a_lost_device_is_told(void **state)
{
	int fd = new_file();

	make(3000, VFM_MIG_STOP_COPY);
	from->stay_in = VFM_STATE_STOP_COPY;
	assert_int_equal(save_to(fd), -EIO);
	assert_int_equal(end, VFM_DEVICE_SAVED_RESET);
	assert_int_equal(from->resets, 1);
	assert_int_equal(restore_from(fd), 0);
	assert_memory_equal(to->state, from->state, 3000);
	close(fd);
}

/* The driver's own check, at the end. */
static void a_refused_state_resets(void **state)
{
	int fd = new_file();

	make(3000, ALL_FLAGS);
	to->refuse_state = true;
	assert_int_equal(save_to(fd), 0);
	assert_int_equal(restore_from(fd), -EINVAL);
	assert_int_equal(end, VFM_DEVICE_RESET);
	assert_int_equal(to->resets, 1);
	assert_true(error.has_arc && error.from == VFM_STATE_RESUMING);
	close(fd);
}

/* What a killed process left behind is no obstacle. */
static void a_left_session_is_reset_first(void **state)
{
	int fd = new_file();

	make(3000, ALL_FLAGS);
	assert_int_equal(save_to(fd), 0);
	assert_int_equal(vfm_device_set_state(&to->dev, VFM_STATE_RESUMING, NULL), 0);
	assert_int_equal(restore_from(fd), 0);
	assert_int_equal(end, VFM_DEVICE_RESTORED);
	assert_int_equal(to->resets, 1);
	assert_memory_equal(to->state, from->state, 3000);
	close(fd);
}

/* A copy of the fd's file over itself, when the check is through: as a save onto it would do. */
struct change {
	unsigned calls, at;
	int fd, other;
};

static int change_file(void *opaque, uint64_t bytes, uint64_t total)
{
	struct change *change = opaque;
	static char data[8192];
	ssize_t size;

	if (++change->calls != change->at)
		return 0;
	size = pread(change->other, data, sizeof(data), 0);
	return size < 0 || pwrite(change->fd, data, (size_t)size, 0) != size;
}

/* Whole and of the same size, but of another device's: it was never compared. */
static void a_file_that_changes_behind_the_check_is_refused(void **state)
{
	struct vfm_identity identity = {.size = sizeof(identity)};
	struct change change = {.at = 3, .fd = new_file(), .other = new_file()};
	struct vfm_state_options options = {
		.size = sizeof(options), .opaque = &change, .progress = change_file};

	make(3000, ALL_FLAGS);
	assert_int_equal(save_to(change.fd), 0);
	vfm_identity_init(&identity, &from->dev);
	identity.pci_device = 0x4321;
	assert_int_equal(vfm_state_save(&from->dev, &identity, change.other, NULL, &end, &error),
			 0);
	lseek(change.fd, 0, SEEK_SET);
	assert_int_equal(vfm_state_restore(&to->dev, NULL, change.fd, &options, &end, &error),
			 -EBADMSG);
	assert_untouched(to);
	/* The same header before other data. */
	from->state[7] ^= 1;
	assert_int_equal(ftruncate(change.fd, 0), 0);
	assert_int_equal(ftruncate(change.other, 0), 0);
	lseek(change.fd, 0, SEEK_SET);
	lseek(change.other, 0, SEEK_SET);
	assert_int_equal(save_to(change.fd), 0);
	from->state[7] ^= 1;
	assert_int_equal(save_to(change.other), 0);
	lseek(change.fd, 0, SEEK_SET);
	change.calls = 0;
	assert_int_equal(vfm_state_restore(&to->dev, NULL, change.fd, &options, &end, &error),
			 -EBADMSG);
	assert_int_equal(end, VFM_DEVICE_RESET);
	close(change.fd);
	close(change.other);
}

static int stop_when_it_loads(void *opaque, uint64_t bytes, uint64_t total)
{
	return bytes != 0;
}

/* Called so often: in the check, between it and the device. */
static void a_cancelled_check_touches_nothing(void **state)
{
	static const unsigned at[] = {1, 4, 5};
	struct change change = {.fd = new_file(), .other = -1};
	struct vfm_state_options options = {
		.size = sizeof(options), .opaque = &change, .progress = change_file};

	make(3 * FILE_CHUNK_MAX, ALL_FLAGS);
	assert_int_equal(save_to(change.fd), 0);
	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		change.calls = 0;
		change.at = at[i];
		lseek(change.fd, 0, SEEK_SET);
		assert_int_equal(
			vfm_state_restore(&to->dev, NULL, change.fd, &options, &end, &error),
			-ECANCELED);
		assert_untouched(to);
	}
	close(change.fd);
}

static int always(void *opaque)
{
	return 1;
}

/* Nobody reads, nothing is non-blocking: the caller ends it, and the device is put back. */
static void a_save_into_a_full_pipe_can_be_cancelled(void **state)
{
	struct vfm_state_options options = {.size = sizeof(options), .cancelled = always};
	int fds[2];

	for (int sockets = 0; sockets < 2; sockets++) {
		make(3 * FILE_CHUNK_MAX, ALL_FLAGS);
		assert_int_equal(sockets ? socketpair(AF_UNIX, SOCK_STREAM, 0, fds) : pipe(fds), 0);
		assert_int_equal(vfm_state_save(&from->dev, NULL, fds[1], &options, &end, &error),
				 -ECANCELED);
		assert_int_equal(end, VFM_DEVICE_UNTOUCHED);
		assert_int_equal(from->resets, 0);
		assert_int_equal(from->dev.state, VFM_STATE_RUNNING);
		close(fds[0]);
		close(fds[1]);
		destroy(NULL);
	}
}

/* A device that has nothing, and says so for ever. */
static void a_silent_device_can_be_cancelled(void **state)
{
	struct vfm_state_options options = {.size = sizeof(options), .cancelled = always};
	int fd = new_file();

	make(3000, ALL_FLAGS);
	from->read_errno = EAGAIN;
	assert_int_equal(vfm_state_save(&from->dev, NULL, fd, &options, &end, &error), -ECANCELED);
	assert_int_equal(end, VFM_DEVICE_UNTOUCHED);
	assert_int_equal(from->dev.state, VFM_STATE_RUNNING);
	close(fd);
}

static int stop_at_once(void *opaque, uint64_t bytes, uint64_t total)
{
	unsigned *calls = opaque;

	return ++*calls == 2;
}

static void either_way_can_be_cancelled(void **state)
{
	unsigned calls = 0;
	struct vfm_state_options options = {
		.size = sizeof(options), .opaque = &calls, .progress = stop_at_once};
	int fd = new_file();

	make(3 * FILE_CHUNK_MAX, ALL_FLAGS);
	assert_int_equal(vfm_state_save(&from->dev, NULL, fd, &options, &end, &error), -ECANCELED);
	assert_int_equal(end, VFM_DEVICE_UNTOUCHED);
	assert_int_equal(from->dev.state, VFM_STATE_RUNNING);
	lseek(fd, 0, SEEK_SET);
	assert_int_equal(save_to(fd), 0);
	lseek(fd, 0, SEEK_SET);
	options.progress = stop_when_it_loads;
	assert_int_equal(vfm_state_restore(&to->dev, NULL, fd, &options, &end, &error), -ECANCELED);
	assert_int_equal(end, VFM_DEVICE_RESET);
	assert_int_equal(to->dev.state, VFM_STATE_RUNNING);
	options.size--;
	assert_int_equal(vfm_state_save(&from->dev, NULL, fd, &options, &end, &error), -EINVAL);
	close(fd);
}

#define TEST(name) cmocka_unit_test_teardown(name, destroy)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_state_comes_back),
		TEST(a_file_begins_where_the_fd_stands),
		TEST(a_device_is_put_back_to_what_it_was),
		TEST(a_device_without_a_state_is_not_saved),
		TEST(a_cut_file_touches_nothing),
		TEST(an_altered_file_touches_nothing),
		TEST(a_mixed_file_touches_nothing),
		TEST(another_devices_file_touches_nothing),
		TEST(what_cannot_be_read_twice_is_told),
		TEST(a_file_that_cannot_be_written_puts_the_device_back),
		TEST(a_disk_that_fills_up_puts_the_device_back),
		TEST(a_device_that_cannot_be_read_is_put_back),
		TEST(an_arc_that_fails_is_named),
		TEST(a_whole_file_of_a_lost_device_is_told),
		TEST(a_refused_state_resets),
		TEST(a_left_session_is_reset_first),
		TEST(a_file_that_changes_behind_the_check_is_refused),
		TEST(a_cancelled_check_touches_nothing),
		TEST(a_save_into_a_full_pipe_can_be_cancelled),
		TEST(a_silent_device_can_be_cancelled),
		TEST(either_way_can_be_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
