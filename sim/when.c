/* SPDX-License-Identifier: BSD-3-Clause */
/* Triggers on the command line: after=MS, bytes=SIZE, info=N or late. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sim/options.h"

static int parse_after(const char *name, const char *text, uint64_t *out, char *why)
{
	return parse_duration_ms(name, text, 1, SIM_LATENCY_MAX_MS, out, why);
}

static int parse_bytes(const char *name, const char *text, uint64_t *out, char *why)
{
	return parse_size(name, text, 1, SIM_WHEN_MAX, out, why);
}

static int parse_count(const char *name, const char *text, uint64_t *out, char *why)
{
	return parse_u64(name, text, 1, UINT32_MAX, out, why);
}

static const struct {
	const char *word;
	enum sim_when when;
	int (*parse)(const char *name, const char *text, uint64_t *out, char *why);
} words[] = {
	{"after=", SIM_WHEN_AFTER, parse_after},
	{"bytes=", SIM_WHEN_BYTES, parse_bytes},
	{"info=", SIM_WHEN_INFO, parse_count},
	{"late", SIM_WHEN_LATE, NULL},
};

static int take_word(const char *name, const char *text, unsigned i, struct sim_trigger *trigger,
		     char *why)
{
	const char *value = text + strlen(words[i].word);

	trigger->when = words[i].when;
	if (words[i].parse)
		return words[i].parse(name, value, &trigger->value, why);
	return *value ? -EINVAL : 0;
}

int sim_when_parse(const char *name, char *text, struct sim_trigger *trigger, char **rest,
		   char *why)
{
	unsigned i;

	*rest = strchr(text, ',');
	if (*rest)
		*(*rest)++ = '\0';
	*trigger = (struct sim_trigger){.times = 1};
	snprintf(why, PARSE_WHY_MAX,
		 "%s: \"%.64s\" is no moment: after=MS, bytes=SIZE, info=N or late", name, text);
	for (i = 0; i < ARRAY_SIZE(words); i++)
		if (!strncmp(text, words[i].word, strlen(words[i].word)))
			return take_word(name, text, i, trigger, why);
	return -EINVAL;
}
