/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/kernel-user.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "sim/regs.h"
#include "tests/mdev.h"

#define STREAM_MAX  (UINT32_C(1) << 22)
#define PAYLOAD_MAX 256
#define USERS_MAX   4

/* ---- open and close ---- */

/* The fds of those who are there, for user_remove(): what a failed test had on its stack is gone. */
static struct user users[USERS_MAX];

static void note(const struct user *u, const struct user *was)
{
	for (unsigned i = 0; i < USERS_MAX; i++)
		if (users[i].vfio == (was ? was->vfio : NULL)) {
			users[i] = u ? *u : (struct user){.fd = -1};
			return;
		}
}

int user_try_open(struct user *u, const char *uuid, enum vfm_vfio_way way)
{
	int ret;

	memset(u, 0, sizeof(*u));
	u->fd = -1;
	u->memory = mmap(NULL, USER_MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	if (u->memory == MAP_FAILED) {
		u->memory = NULL;
		return -ENOMEM;
	}
	ret = vfm_vfio_space_new(way, &u->space);
	if (!ret)
		ret = vfm_vfio_space_map(u->space, USER_MEMORY_IOVA, USER_MEMORY_SIZE, u->memory);
	if (!ret)
		ret = vfm_vfio_open(u->space, uuid, &u->vfio, NULL, 0);
	if (ret) {
		user_close(u);
		return ret;
	}
	u->fd = vfm_vfio_fd(u->vfio);
	note(u, NULL);
	return 0;
}

void user_open(struct user *u, const char *uuid)
{
	int ret = user_try_open(u, uuid, VFM_VFIO_ANY);

	if (ret)
		fail_msg("%s is not opened: %s", uuid, strerror(-ret));
}

void user_close(struct user *u)
{
	if (u->vfio)
		note(NULL, u);
	vfm_vfio_close(u->vfio);
	vfm_vfio_space_free(u->space);
	if (u->memory)
		munmap(u->memory, USER_MEMORY_SIZE);
	memset(u, 0, sizeof(*u));
	u->fd = -1;
}

void user_remove(const char *uuid)
{
	for (unsigned i = 0; i < USERS_MAX; i++)
		if (users[i].vfio) {
			struct user left = users[i];

			user_close(&left);
		}
	mdev_remove(uuid);
}

/* ---- states ---- */

int user_feature(int fd, uint32_t flags, void *payload, size_t size)
{
	_Alignas(8) uint8_t buf[sizeof(struct vfm_feature) + PAYLOAD_MAX];
	struct vfm_feature *head = (struct vfm_feature *)buf;
	int ret;

	assert_true(size <= PAYLOAD_MAX);
	head->argsz = (uint32_t)(sizeof(*head) + size);
	head->flags = flags;
	if (size)
		memcpy(head + 1, payload, size);
	ret = ioctl(fd, VFM_IOCTL_DEVICE_FEATURE, buf) ? -errno : 0;
	if (size)
		memcpy(payload, head + 1, size);
	return ret;
}

int user_set(struct user *u, uint32_t state, int *data_fd)
{
	struct vfm_feature_mig_state arg = {.device_state = state, .data_fd = -1};
	int ret = user_feature(u->fd, VFM_FEATURE_MIG_DEVICE_STATE | VFM_FEATURE_SET, &arg,
			       sizeof(arg));

	if (data_fd)
		*data_fd = ret ? -1 : arg.data_fd;
	else if (!ret && arg.data_fd >= 0)
		close(arg.data_fd);
	return ret;
}

int user_state(struct user *u, uint32_t *state)
{
	struct vfm_feature_mig_state arg = {.data_fd = -1};
	int ret = user_feature(u->fd, VFM_FEATURE_MIG_DEVICE_STATE | VFM_FEATURE_GET, &arg,
			       sizeof(arg));

	*state = arg.device_state;
	return ret;
}

int user_reset(struct user *u)
{
	return ioctl(u->fd, VFM_IOCTL_DEVICE_RESET) ? -errno : 0;
}

/* ---- data ---- */

ssize_t user_read_all(int fd, uint8_t *buf, size_t room)
{
	size_t size = 0;
	ssize_t got;

	while (size < room) {
		got = read(fd, buf + size, room - size);
		if (got < 0 && errno == ENOMSG)
			break;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		size += (size_t)got;
	}
	return (ssize_t)size;
}

int user_write_all(int fd, const uint8_t *buf, size_t size)
{
	ssize_t put;

	for (size_t done = 0; done < size; done += (size_t)put) {
		put = write(fd, buf + done, size - done);
		if (put <= 0)
			return put ? -errno : -EIO;
	}
	return 0;
}

size_t user_save(struct user *u, uint8_t *buf, size_t room)
{
	ssize_t size;
	int fd;

	assert_int_equal(user_set(u, VFM_STATE_STOP_COPY, &fd), 0);
	assert_true(fd >= 0);
	size = user_read_all(fd, buf, room);
	close(fd);
	assert_in_range(size, 1, room - 1);
	assert_int_equal(user_set(u, VFM_STATE_RUNNING, NULL), 0);
	return (size_t)size;
}

/* ---- whether it works ---- */

static void expect_registers(struct user *u)
{
	uint64_t scratch = 0x0123456789abcdef, seen = 0;
	uint32_t magic = 0;

	assert_int_equal(vfm_vfio_region_read(u->vfio, SIM_BAR_REGS, SIM_REG_MAGIC, &magic, 4), 0);
	assert_int_equal(magic, SIM_MAGIC);
	assert_int_equal(vfm_vfio_region_write(u->vfio, SIM_BAR_REGS, SIM_REG_SCRATCH, &scratch, 8), 0);
	assert_int_equal(vfm_vfio_region_read(u->vfio, SIM_BAR_REGS, SIM_REG_SCRATCH, &seen, 8), 0);
	assert_int_equal(seen, scratch);
}

static void expect_round_trip(struct user *u)
{
	uint8_t *stream = malloc(STREAM_MAX);
	size_t size;
	int fd;

	assert_non_null(stream);
	size = user_save(u, stream, STREAM_MAX);
	assert_int_equal(user_set(u, VFM_STATE_RESUMING, &fd), 0);
	assert_true(fd >= 0);
	assert_int_equal(user_write_all(fd, stream, size), 0);
	assert_int_equal(user_set(u, VFM_STATE_RUNNING, NULL), 0);
	close(fd);
	free(stream);
}

void user_expect_works(const char *uuid)
{
	uint32_t state;
	struct user u;

	user_open(&u, uuid);
	assert_int_equal(user_reset(&u), 0);
	assert_int_equal(user_state(&u, &state), 0);
	assert_int_equal(state, VFM_STATE_RUNNING);
	expect_registers(&u);
	expect_round_trip(&u);
	expect_registers(&u);
	user_close(&u);
}

/* ---- sysfs ---- */

int user_try_attribute(const char *uuid, const char *name, const char *value)
{
	char path[256];
	int fd, ret;

	snprintf(path, sizeof(path), "/sys/bus/mdev/devices/%s/" USER_DRIVER "/%s", uuid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = write(fd, value, strlen(value)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

void user_attribute(const char *uuid, const char *name, const char *value)
{
	int ret = user_try_attribute(uuid, name, value);

	if (ret)
		fail_msg("%s is not set to %s: %s", name, value, strerror(-ret));
}

long user_number_in(const char *path)
{
	FILE *file = fopen(path, "re");
	long value;
	int n;

	if (!file)
		return -errno;
	n = fscanf(file, "%ld", &value);
	fclose(file);
	return n == 1 ? value : -EINVAL;
}
