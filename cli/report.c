/* SPDX-License-Identifier: BSD-3-Clause */
#include "report.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define FORMAT (JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE)

static int write_stream(FILE *out, const char *text)
{
	if (fputs(text, out) < 0 || fputc('\n', out) < 0 || fflush(out))
		return errno ? -errno : -EIO;
	return 0;
}

static int write_file(const char *path, const char *text)
{
	FILE *out = fopen(path, "we");
	int rc;

	if (!out)
		return -errno;
	rc = write_stream(out, text);
	if (fclose(out) && !rc)
		rc = -errno;
	return rc;
}

/* What is no regular file, like a pipe or /dev/stdout, cannot be replaced: it is written to. */
static bool can_replace(const char *path)
{
	struct stat st;

	return lstat(path, &st) ? errno == ENOENT : S_ISREG(st.st_mode);
}

int report_write(const char *path, struct json_object *report)
{
	const char *text = json_object_to_json_string_ext(report, FORMAT);
	char beside[PATH_MAX];
	int rc;

	if (!text)
		return -ENOMEM;
	if (!strcmp(path, "-"))
		return write_stream(stdout, text);
	if (!can_replace(path))
		return write_file(path, text);
	if (snprintf(beside, sizeof(beside), "%s.part", path) >= (int)sizeof(beside))
		return -ENAMETOOLONG;
	rc = write_file(beside, text);
	if (!rc && rename(beside, path))
		rc = -errno;
	if (rc)
		unlink(beside);
	return rc;
}

/* What is no regular file is not opened, since a pipe would wait for its reader. */
static int check_other(const char *path)
{
	struct stat st;

	if (!stat(path, &st) && S_ISDIR(st.st_mode))
		return -EISDIR;
	return access(path, W_OK) ? -errno : 0;
}

int report_check(const char *path)
{
	char beside[PATH_MAX];
	int fd;

	if (!path || !strcmp(path, "-"))
		return 0;
	if (!can_replace(path))
		return check_other(path);
	if (snprintf(beside, sizeof(beside), "%s.part", path) >= (int)sizeof(beside))
		return -ENAMETOOLONG;
	fd = open(beside, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	close(fd);
	unlink(beside);
	return 0;
}

/* @shape: x is a hexadecimal digit, anything else itself. */
static bool has_shape(const char *text, const char *shape)
{
	for (; *shape && *text; text++, shape++)
		if (*shape == 'x' ? !isxdigit((unsigned char)*text) : *text != *shape)
			return false;
	return !*shape && !*text;
}

/* Null, full and their like, and terminals, which take text. */
static bool takes_text(dev_t device)
{
	unsigned type = major(device);

	return type == 1 || type == 4 || type == 5 || (type >= 136 && type <= 143);
}

const char *report_is_device(const char *path)
{
	struct stat st;

	if (has_shape(path, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"))
		return "looks like a device's UUID";
	if (has_shape(path, "xxxx:xx:xx.x") || has_shape(path, "xx:xx.x"))
		return "looks like a PCI address";
	if (stat(path, &st))
		return NULL;
	if (S_ISSOCK(st.st_mode))
		return "is a socket";
	if (S_ISBLK(st.st_mode) || (S_ISCHR(st.st_mode) && !takes_text(st.st_rdev)))
		return "is a device node";
	return NULL;
}

FILE *report_text_out(const char *path, bool quiet)
{
	if (quiet)
		return NULL;
	return path && !strcmp(path, "-") ? stderr : stdout;
}
