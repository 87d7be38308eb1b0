/* SPDX-License-Identifier: BSD-3-Clause */
/* Where log lines go. It calls on the calling thread, so workers leave speaking to the session. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <vfio-migrate/log.h>
#include "base/compiler.h"

#define LOG_LINE_MAX 1024 /* bytes of a line with its NUL; longer ones are cut */

struct log_sink {
	vfm_log_fn *fn; /* NULL: nobody listens */
	void *opaque;
};

/* Format one line and hand it over. @sink may be NULL. Control characters become '?'. */
void log_line(const struct log_sink *sink, enum vfm_log_level level, const char *fmt, ...)
	PRINTF(3, 4);

#endif
