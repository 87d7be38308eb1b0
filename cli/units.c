/* SPDX-License-Identifier: BSD-3-Clause */
#include "units.h"

#include <stdio.h>
#include <string.h>

#include "base/compiler.h"

/* Digits behind the point so that three are shown. */
static int decimals(double value)
{
	if (value < 9.995)
		return 2;
	return value < 99.95 ? 1 : 0;
}

static char *scaled(char *buffer, uint64_t bytes, const char *suffix)
{
	static const char *const names[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double value = (double)bytes / 1024;
	size_t i = 0;

	if (bytes < 1024) {
		snprintf(buffer, UNITS_SIZE, "%u B%s", (unsigned)bytes, suffix);
		return buffer;
	}
	while (value >= 999.5 && i + 1 < ARRAY_SIZE(names)) {
		value /= 1024;
		i++;
	}
	snprintf(buffer, UNITS_SIZE, "%.*f %s%s", decimals(value), value, names[i], suffix);
	return buffer;
}

char *units_bytes(char buffer[UNITS_SIZE], uint64_t bytes)
{
	return scaled(buffer, bytes, "");
}

char *units_rate(char buffer[UNITS_SIZE], uint64_t bytes_per_second)
{
	return scaled(buffer, bytes_per_second, "/s");
}

char *units_ms(char buffer[UNITS_SIZE], double ms)
{
	if (ms < 0)
		snprintf(buffer, UNITS_SIZE, "-");
	else if (ms < 1)
		snprintf(buffer, UNITS_SIZE, "%.3f ms", ms);
	else if (ms < 999.5)
		snprintf(buffer, UNITS_SIZE, "%.*f ms", decimals(ms), ms);
	else
		snprintf(buffer, UNITS_SIZE, "%.*f s", decimals(ms / 1000), ms / 1000);
	return buffer;
}

char *units_count(char buffer[UNITS_SIZE], uint64_t count)
{
	char digits[24];
	size_t length = (size_t)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)count);
	size_t i, out = 0;

	for (i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			buffer[out++] = ',';
		buffer[out++] = digits[i];
	}
	buffer[out] = '\0';
	return buffer;
}
