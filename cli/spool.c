/* SPDX-License-Identifier: BSD-3-Clause */
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vfio-migrate/state-file.h>

#include "base/cleanup.h"
#include "base/compiler.h"

#define PIECE (64u << 10)

static int fail(char *why, int error, const char *what)
{
	snprintf(why, SPOOL_WHY_MAX, "%.150s: %s", what, strerror(error));
	return -error;
}

/* On disk where that can be, in memory where it cannot: not all file systems have nameless files. */
static int make_nameless(char *why)
{
	const char *const dirs[] = {getenv("TMPDIR"), "/var/tmp", "/tmp"};
	int fd = -1;

	for (size_t i = 0; i < ARRAY_SIZE(dirs) && fd < 0; i++)
		if (dirs[i] && *dirs[i])
			fd = open(dirs[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		fd = memfd_create("vfio-migrate", MFD_CLOEXEC);
	return fd < 0 ? fail(why, errno, "a temporary file") : fd;
}

static int write_all(int fd, const char *data, size_t size)
{
	ssize_t n;

	for (; size; data += n, size -= (size_t)n) {
		n = write(fd, data, size);
		if (n < 0 && errno != EINTR)
			return -errno;
		n = n < 0 ? 0 : n;
	}
	return 0;
}

/* Up to a whole piece; fewer bytes: the end. */
static ssize_t read_piece(int from, char *piece)
{
	size_t done = 0;
	ssize_t n;

	while (done < PIECE) {
		n = read(from, piece + done, PIECE - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* Of what is in @to so far: is it the beginning of a state? Whether all of it is right is seen when
 * all of it is there. */
static int check_begin(int to, char *why)
{
	struct vfm_state_file file = {.size = sizeof(file)};
	int ret;

	if (lseek(to, 0, SEEK_SET) < 0)
		return fail(why, errno, "reading");
	ret = vfm_state_file_check(to, &file, why, SPOOL_WHY_MAX);
	if (ret && !file.file_bytes)
		return ret;
	return lseek(to, 0, SEEK_END) < 0 ? fail(why, errno, "reading") : 0;
}

static int copy_piece(int to, const char *piece, size_t size, uint64_t before, char *why)
{
	int ret = write_all(to, piece, size);

	if (ret)
		return fail(why, -ret, "keeping it in a temporary file, see TMPDIR");
	return before ? 0 : check_begin(to, why);
}

static int copy(int from, int to, uint64_t limit, char *why)
{
	CLEANUP(cleanup_free) char *piece = malloc(PIECE);
	uint64_t done = 0;
	ssize_t n;
	int ret;

	if (!piece)
		return fail(why, ENOMEM, "reading");
	while ((n = read_piece(from, piece)) != 0) {
		if (n < 0)
			return fail(why, (int)-n, "reading");
		ret = copy_piece(to, piece, (size_t)n, done, why);
		if (ret)
			return ret;
		done += (uint64_t)n;
		if (done > limit) {
			snprintf(why, SPOOL_WHY_MAX, "it does not end within %llu bytes: see --limit",
				 (unsigned long long)limit);
			return -EFBIG;
		}
	}
	if (lseek(to, 0, SEEK_SET) < 0)
		return fail(why, errno, "reading");
	return 0;
}

static int spool(int fd, uint64_t limit, char *why)
{
	CLEANUP(cleanup_close) int from = fd;
	int to = make_nameless(why), ret;

	if (to < 0)
		return to;
	ret = copy(from, to, limit, why);
	if (!ret)
		return to;
	close(to);
	return ret;
}

static int open_readable(const char *path, struct stat *st)
{
	bool input = !strcmp(path, "-");
	int fd = input ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC);
	int error = errno;

	if (fd < 0)
		return -error;
	error = fstat(fd, st) ? errno : S_ISDIR(st->st_mode) ? EISDIR : 0;
	if (!error)
		return fd;
	close(fd);
	return -error;
}

int spool_open_once(const char *path, char why[SPOOL_WHY_MAX])
{
	struct stat st;
	int fd = open_readable(path, &st);

	if (fd < 0)
		snprintf(why, SPOOL_WHY_MAX, "%s", strerror(-fd));
	return fd;
}

int spool_open(const char *path, uint64_t limit, char why[SPOOL_WHY_MAX])
{
	struct stat st;
	int fd = open_readable(path, &st);

	if (fd < 0)
		snprintf(why, SPOOL_WHY_MAX, "%s", strerror(-fd));
	return fd < 0 || S_ISREG(st.st_mode) ? fd : spool(fd, limit, why);
}
