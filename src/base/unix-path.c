/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/unix-path.h"

#include <errno.h>
#include <sys/stat.h>

bool unix_path_is_other(const char *path)
{
	struct stat st;

	return !stat(path, &st) && !S_ISSOCK(st.st_mode);
}

int unix_path_explain(const char *path, int error)
{
	return error == -ECONNREFUSED && unix_path_is_other(path) ? -ENOTSOCK : error;
}
