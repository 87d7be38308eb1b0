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

static int copy(int from, int to, uint64_t limit, char *why)
{
	CLEANUP(cleanup_free) char *piece = malloc(PIECE);
	uint64_t done = 0;
	ssize_t n;
	int ret;

	if (!piece)
		return fail(why, ENOMEM, "reading");
	while ((n = read(from, piece, PIECE)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail(why, errno, "reading");
		done += (uint64_t)n;
		if (done > limit) {
			snprintf(why, SPOOL_WHY_MAX, "it does not end within %llu bytes: see --limit",
				 (unsigned long long)limit);
			return -EFBIG;
		}
		ret = write_all(to, piece, (size_t)n);
		if (ret)
			return fail(why, -ret, "keeping it in a temporary file, see TMPDIR");
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

int spool_open(const char *path, uint64_t limit, char why[SPOOL_WHY_MAX])
{
	bool input = !strcmp(path, "-");
	int fd = input ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st)) {
		snprintf(why, SPOOL_WHY_MAX, "%s", strerror(errno));
		return -errno;
	}
	if (S_ISDIR(st.st_mode)) {
		close(fd);
		snprintf(why, SPOOL_WHY_MAX, "%s", strerror(EISDIR));
		return -EISDIR;
	}
	return S_ISREG(st.st_mode) ? fd : spool(fd, limit, why);
}
