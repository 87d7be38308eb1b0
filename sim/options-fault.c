/* SPDX-License-Identifier: BSD-3-Clause */
/* Options that make the device misbehave. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sim/mutant.h"
#include "sim/options.h"
#include "sim/words.h"

/* ---- what it does by itself ---- */

/* "key=value" items behind a trigger: times=N, and size=BYTES where @size is not NULL. */
static int read_rest(struct reading *r, const char *name, char *rest, struct sim_trigger *trigger,
		     uint64_t *size)
{
	char *item, *save = NULL;
	int ret = 0;

	for (item = rest ? strtok_r(rest, ",", &save) : NULL; item && !ret;
	     item = strtok_r(NULL, ",", &save)) {
		if (!strncmp(item, "times=", 6))
			ret = parse_u32(name, item + 6, 1, SIM_TIMES_MAX, &trigger->times, r->why);
		else if (size && !strncmp(item, "size=", 5))
			ret = parse_size(name, item + 5, 0, SIM_STATE_SIZE_MAX, size, r->why);
		else
			ret = options_refuse(r, "%s: \"%.32s\" is not known: %s", name, item,
					     size ? "size=BYTES or times=N" : "times=N");
	}
	return ret;
}

int options_reinit(struct reading *r, const char *name, const char *text)
{
	struct sim_options *device = &r->config->device;
	char copy[TEXT_MAX], *rest;
	int ret;

	snprintf(copy, sizeof(copy), "%s", text);
	ret = sim_when_parse(name, copy, &device->reinit, &rest, r->why);
	return ret ? ret : read_rest(r, name, rest, &device->reinit, &device->reinit_size);
}

int options_spontaneous(struct reading *r, const char *name, const char *text)
{
	struct sim_options *device = &r->config->device;
	char copy[TEXT_MAX], *comma, *rest;
	int ret;

	snprintf(copy, sizeof(copy), "%s", text);
	comma = strchr(copy, ',');
	if (comma)
		*comma = '\0';
	device->upset_resets = !strcmp(copy, "reset");
	if (!comma || (!device->upset_resets && strcmp(copy, "error")))
		return options_refuse(r, "%s: \"%.64s\" does not begin with error, or reset,", name,
				      text);
	ret = sim_when_parse(name, comma + 1, &device->upset, &rest, r->why);
	if (!ret && device->upset.when == SIM_WHEN_LATE)
		return options_refuse(r, "%s: late is for --reinit: after=MS, bytes=SIZE or info=N",
				      name);
	return ret ? ret : read_rest(r, name, rest, &device->upset, NULL);
}

/* ---- faults ---- */

/* "ERRNO[@N]" */
static int read_failure(struct reading *r, const char *name, const char *text,
			struct sim_fail *out)
{
	size_t len = strcspn(text, "@");
	struct sim_fail fail = {.error = words_find_errno(text, len)};
	int ret = 0;

	if (!fail.error)
		return options_refuse(r, "%s: \"%.32s\" is not a known errno: a name as in EIO",
				      name, text);
	if (text[len] == '@')
		ret = parse_u32(name, text + len + 1, 1, UINT32_MAX, &fail.nth, r->why);
	if (!ret)
		*out = fail;
	return ret;
}

int options_fail(struct reading *r, const char *name, const char *text)
{
	enum vfm_state from, to;
	const char *value = options_read_arc(r, name, text, &from, &to);

	if (!value)
		return -EINVAL;
	return read_failure(r, name, value, &r->config->device.fail[from][to]);
}

int options_fail_call(struct reading *r, const char *name, const char *text)
{
	size_t len = strcspn(text, "=");
	enum sim_call call;

	if (text[len] && !words_find_call(text, len, &call))
		return read_failure(r, name, text + len + 1, &r->config->device.fail_call[call]);
	return options_refuse(
		r,
		"%s: \"%.32s\" does not begin with CALL=: read, write, info, size, log-start, "
		"log-report or save",
		name, text);
}

int options_corrupt(struct reading *r, const char *name, const char *text)
{
	r->config->device.corrupt_at = 4096;
	if (!text)
		return 0;
	return parse_size(name, text, 0, SIM_NEVER - 1, &r->config->device.corrupt_at, r->why);
}

int options_die_after(struct reading *r, const char *name, const char *text)
{
	return parse_size(name, text, 1, SIM_NEVER - 1, &r->config->device.die_after_bytes, r->why);
}

int options_die_in(struct reading *r, const char *name, const char *text)
{
	if (words_find_state(text, strlen(text), &r->config->device.die_in))
		return options_refuse(r, "%s: \"%.32s\" is not a state: one as in STOP_COPY", name,
				      text);
	return 0;
}

int options_mutant(struct reading *r, const char *name, const char *text)
{
	r->config->device.mutant = sim_mutant_find(text);
	if (!r->config->device.mutant)
		return options_refuse(r, "%s: no simulated device breaks \"%.32s\": vfio-migrate check "
					 "--list has the rules; fd-*, poll-*, log-sets, log-mappings, "
					 "peer-parallel and peer-interleaved only a driver can break",
				      name, text);
	return 0;
}
