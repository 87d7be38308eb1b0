/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/parse.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SHOWN_MAX     64 /* bytes of a wrong value that are repeated */
#define BOUND_MAX     32

struct unit {
	const char *name; /* matched without regard to case */
	uint64_t factor;
	uint64_t divisor;
};

static const struct unit size_units[] = {
	{"", 1, 1},
	{"B", 1, 1},
	{"K", UINT64_C(1) << 10, 1},
	{"KiB", UINT64_C(1) << 10, 1},
	{"M", UINT64_C(1) << 20, 1},
	{"MiB", UINT64_C(1) << 20, 1},
	{"G", UINT64_C(1) << 30, 1},
	{"GiB", UINT64_C(1) << 30, 1},
	{"T", UINT64_C(1) << 40, 1},
	{"TiB", UINT64_C(1) << 40, 1},
	{NULL, 0, 0},
};

static const struct unit duration_units[] = {
	{"", 1, 1}, {"ms", 1, 1}, {"us", 1, 1000}, {"s", 1000, 1}, {"m", 60000, 1}, {NULL, 0, 0},
};

/* What a kind of value is called, and how it is spelt. */
struct kind {
	const char *name;
	const char *form;
	const struct unit *units;
};

static const struct kind size_kind = {
	"a size", "bytes with an optional K, M, G or T (powers of 1024), as in 64M", size_units};
static const struct kind rate_kind = {
	"a rate", "a number per second with an optional K, M, G or T (powers of 1024), as in 64M",
	size_units};
static const struct kind duration_kind = {
	"a duration", "milliseconds, or a number with us, ms, s or m, as in 300ms", duration_units};

static PRINTF(3, 4) int refuse(char *why, int err, const char *fmt, ...)
{
	va_list ap;

	if (why) {
		va_start(ap, fmt);
		vsnprintf(why, PARSE_WHY_MAX, fmt, ap);
		va_end(ap);
	}
	return err;
}

/* The value as it is repeated to the user: short, on one line, and it moves no cursor. */
static const char *shown(const char *text, char buffer[SHOWN_MAX])
{
	char *c;

	snprintf(buffer, SHOWN_MAX, "%s", text);
	for (c = buffer; *c; c++)
		if (iscntrl((unsigned char)*c))
			*c = '?';
	return buffer;
}

static int refuse_form(const char *option, const char *text, const char *name, const char *form,
		       char *why)
{
	char buffer[SHOWN_MAX];

	return refuse(why, -EINVAL, "%s: \"%s\" is not %s: %s", option, shown(text, buffer), name,
		      form);
}

/* A bound as it could be given: exact, in the largest unit that keeps it whole. */
static const char *bound(const struct kind *kind, uint64_t value, char buffer[BOUND_MAX])
{
	static const char units[] = "KMGT";
	unsigned i = 0;

	if (kind == &size_kind || kind == &rate_kind)
		for (; units[i] && value && value % 1024 == 0; i++)
			value /= 1024;
	snprintf(buffer, BOUND_MAX, "%" PRIu64 "%.*s%s", value, i ? 1 : 0, i ? &units[i - 1] : "",
		 kind == &duration_kind ? "ms" : "");
	return buffer;
}

/* @kind: NULL for plain numbers. */
static int check_range(const struct kind *kind, const char *option, const char *text,
		       uint64_t value, uint64_t min, uint64_t max, char *why)
{
	char buffer[SHOWN_MAX], low[BOUND_MAX], high[BOUND_MAX];

	if (value >= min && value <= max)
		return 0;
	if (max == UINT64_MAX)
		return refuse(why, -ERANGE, "%s: \"%s\" is too small: at least %s", option,
			      shown(text, buffer), bound(kind, min, low));
	return refuse(why, -ERANGE, "%s: \"%s\" is out of range: %s to %s", option,
		      shown(text, buffer), bound(kind, min, low), bound(kind, max, high));
}

/* Digits after the point as a number of billionths. */
static const char *read_fraction(const char *text, uint64_t *billionths)
{
	uint64_t place = 1000000000;

	*billionths = 0;
	for (; isdigit((unsigned char)*text); text++) {
		place /= 10;
		*billionths += place * (uint64_t)(*text - '0');
	}
	return text;
}

/* value = (whole + billionths / 10^9) * factor / divisor, exact in integers; -ERANGE: too large. */
static int scale(uint64_t whole, uint64_t billionths, const struct unit *unit, uint64_t *out)
{
	unsigned __int128 value = (unsigned __int128)whole * 1000000000 + billionths;

	value = value * unit->factor / unit->divisor / 1000000000;
	if (value > UINT64_MAX - 1)
		return -ERANGE;
	*out = (uint64_t)value;
	return 0;
}

static const struct unit *find_unit(const struct unit *units, const char *text, size_t length)
{
	for (; units->name; units++)
		if (strlen(units->name) == length && !strncasecmp(units->name, text, length))
			return units;
	return NULL;
}

static int read_scaled(const struct kind *kind, const char *text, uint64_t *value)
{
	uint64_t whole, billionths = 0;
	const struct unit *unit;
	size_t length;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	whole = strtoull(text, &end, 10);
	if (errno)
		return -ERANGE;
	text = end;
	if (*text == '.')
		text = read_fraction(text + 1, &billionths);
	length = strlen(text);
	if (kind == &rate_kind && length >= 2 && !strcmp(text + length - 2, "/s"))
		length -= 2;
	unit = find_unit(kind->units, text, length);
	return unit ? scale(whole, billionths, unit, value) : -EINVAL;
}

static int parse_scaled(const struct kind *kind, const char *option, const char *text,
			uint64_t min, uint64_t max, uint64_t *out, char *why)
{
	uint64_t value = 0;
	int ret = read_scaled(kind, text, &value);

	if (ret == -ERANGE)
		value = UINT64_MAX - 1;
	else if (ret)
		return refuse_form(option, text, kind->name, kind->form, why);
	ret = check_range(kind, option, text, value, min, max, why);
	if (!ret)
		*out = value;
	return ret;
}

/* Rates and durations whose range is open know the word. */
static int parse_limit(const struct kind *kind, const char *option, const char *text, uint64_t min,
		       uint64_t max, uint64_t *out, char *why)
{
	if (max == UINT64_MAX && !strcasecmp(text, "unlimited")) {
		*out = UINT64_MAX;
		return 0;
	}
	return parse_scaled(kind, option, text, min, max, out, why);
}

int parse_size(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *out,
	       char *why)
{
	return parse_scaled(&size_kind, option, text, min, max, out, why);
}

int parse_rate(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *out,
	       char *why)
{
	return parse_limit(&rate_kind, option, text, min, max, out, why);
}

int parse_duration_ms(const char *option, const char *text, uint64_t min, uint64_t max,
		      uint64_t *out, char *why)
{
	return parse_limit(&duration_kind, option, text, min, max, out, why);
}

int parse_u64(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *out,
	      char *why)
{
	int hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	uint64_t value;
	char *end;
	int ret;

	errno = 0;
	value = strtoull(text, &end, hex ? 16 : 10);
	if (!isdigit((unsigned char)*text) || end == text || *end)
		return refuse_form(option, text, "a number", "whole, decimal or with 0x", why);
	if (errno)
		value = UINT64_MAX;
	ret = check_range(NULL, option, text, value, min, max, why);
	if (!ret)
		*out = value;
	return ret;
}

int parse_u32(const char *option, const char *text, uint32_t min, uint32_t max, uint32_t *out,
	      char *why)
{
	uint64_t value;
	int ret = parse_u64(option, text, min, max, &value, why);

	if (!ret)
		*out = (uint32_t)value;
	return ret;
}

int parse_word(const char *option, const char *text, const char *const *words, unsigned count,
	       unsigned *out, char *why)
{
	char list[PARSE_WHY_MAX / 2] = "";
	size_t used = 0;
	unsigned i;

	for (i = 0; i < count; i++) {
		if (!strcasecmp(text, words[i])) {
			*out = i;
			return 0;
		}
		if (used < sizeof(list))
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
						 i ? ", " : "", words[i]);
	}
	return refuse_form(option, text, "known here", list, why);
}

int parse_switch(const char *option, const char *text, int *out, char *why)
{
	static const char *const words[] = {"off", "on", "no", "yes", "false", "true", "0", "1"};
	unsigned place;

	if (parse_word(option, text, words, ARRAY_SIZE(words), &place, NULL))
		return refuse_form(option, text, "a switch", "on or off", why);
	*out = place & 1;
	return 0;
}
