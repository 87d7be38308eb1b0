/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mediated devices of the test machine's kernel, through sysfs. Functions end the test if the kernel
 * does not do what it is asked.
 */
#ifndef TESTS_MDEV_H
#define TESTS_MDEV_H

#include <stdbool.h>

#define MDEV_UUID_MAX 40

/* A device of @driver's type @type ("mtty", "mtty-1"), by the name @uuid. */
void mdev_make(const char *driver, const char *type, const char *uuid);

/* Waits until nobody has it open. "" is no device. */
void mdev_remove(const char *uuid);

/* Write @value to the device's file @name, which is under its directory ("vfm_sim/state_size"). */
void mdev_set(const char *uuid, const char *name, const char *value);

/* The migration state, as the kernel tells it in debugfs; true as well where the kernel does not. */
bool mdev_is_in(const char *uuid, const char *state);

#endif
