/* SPDX-License-Identifier: BSD-3-Clause */
#include "complain.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/text.h"

#define LINE_MAX_BYTES 4096

int complain_of(const char *command, int status, const char *format, ...)
{
	char line[LINE_MAX_BYTES];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	text_make_printable(line);
	fprintf(stderr, "vfio-migrate %s: %s\n", command, line);
	return status;
}
