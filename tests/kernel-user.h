/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A user of a kernel device who makes his system calls himself, and may do so wrongly. For the tests of
 * what the simulated device's driver bears. What returns int returns 0 or -errno; the others end the
 * test if they do not find what they want.
 */
#ifndef TESTS_KERNEL_USER_H
#define TESTS_KERNEL_USER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <vfio-migrate/uapi.h>
#include <vfio-migrate/vfio.h>

#define USER_DRIVER "vfm_sim"
#define USER_TYPE   "vfm_sim-generic"

/* Guest memory that the device reaches. */
#define USER_MEMORY_IOVA UINT64_C(0x100000)
#define USER_MEMORY_SIZE (UINT64_C(1) << 20)

struct user {
	struct vfm_vfio_space *space;
	struct vfm_vfio *vfio;
	int fd; /* of the device */
	uint8_t *memory;
};

/* Open the device @uuid, with memory mapped. @u stays where it is until it is closed. */
int user_try_open(struct user *u, const char *uuid, enum vfm_vfio_way way);
void user_open(struct user *u, const char *uuid);
void user_close(struct user *u);

/* After a test, failed or not: close what it left open, and remove the device, which would wait for it. */
void user_remove(const char *uuid);

/* DEVICE_FEATURE with @flags (index and what to do) and a payload of @size bytes. */
int user_feature(int fd, uint32_t flags, void *payload, size_t size);

/* Go to @state; a new data session's fd goes to @data_fd (may be NULL: it is closed), else -1. */
int user_set(struct user *u, uint32_t state, int *data_fd);
int user_state(struct user *u, uint32_t *state);
int user_reset(struct user *u);

/* Read the data session @fd to what is its end at present: the bytes, or -errno. */
ssize_t user_read_all(int fd, uint8_t *buf, size_t room);
int user_write_all(int fd, const uint8_t *buf, size_t size);

/* The device's state by stop-copy; it runs again then. */
size_t user_save(struct user *u, uint8_t *buf, size_t room);

/* The device, which anything may have happened to, is as good as new after a reset: its registers, its
 * way to memory, a state saved from it that it takes again. */
void user_expect_works(const char *uuid);

/* An attribute of the device in sysfs: -errno where the driver does not take the value. */
int user_try_attribute(const char *uuid, const char *name, const char *value);
void user_attribute(const char *uuid, const char *name, const char *value);

/* A number in a file, -errno if there is none. */
long user_number_in(const char *path);

#endif
