/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/mdev.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH_MAX_TEXT 256

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));

	if (fd >= 0)
		close(fd);
	if (n != (ssize_t)strlen(text))
		fail_msg("writing %s to %s", text, path);
}

void mdev_make(const char *driver, const char *type, const char *uuid)
{
	char path[PATH_MAX_TEXT];

	snprintf(path, sizeof(path), "/sys/devices/virtual/%s/%s/mdev_supported_types/%s/create",
		 driver, driver, type);
	write_text(path, uuid);
}

void mdev_remove(const char *uuid)
{
	if (*uuid)
		mdev_set(uuid, "remove", "1");
}

void mdev_set(const char *uuid, const char *name, const char *value)
{
	char path[PATH_MAX_TEXT];

	snprintf(path, sizeof(path), "/sys/bus/mdev/devices/%s/%s", uuid, name);
	write_text(path, value);
}

bool mdev_is_in(const char *uuid, const char *state)
{
	char path[PATH_MAX_TEXT], seen[32] = "";
	FILE *in;

	snprintf(path, sizeof(path), "/sys/kernel/debug/vfio/%s/migration/state", uuid);
	in = fopen(path, "re");
	if (!in)
		return true;
	if (!fgets(seen, sizeof(seen), in))
		seen[0] = '\0';
	fclose(in);
	seen[strcspn(seen, "\n")] = '\0';
	if (strcmp(seen, state))
		print_error("%s is in %s, not in %s\n", uuid, seen, state);
	return !strcmp(seen, state);
}
