/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdarg.h>
#include <stdio.h>
#include "base/log.h"
#include "base/text.h"

void log_line(const struct log_sink *sink, enum vfm_log_level level, const char *fmt, ...)
{
	char line[LOG_LINE_MAX] = "";
	va_list args;

	if (!sink || !sink->fn)
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	text_make_printable(line);
	sink->fn(sink->opaque, level, line);
}
