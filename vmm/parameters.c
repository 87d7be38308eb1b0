/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * No limit: QEMU has no word for it. downtime-limit also takes "unlimited", and the largest number
 * of its type stands for it; max-bandwidth takes 0 as QEMU does, "unlimited", and the largest
 * number.
 */
#include "vmm/parameters.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/clock.h"
#include "base/compiler.h"
#include "cli/parse.h"

#define KEY_BASE    0x1000 /* above those of `vm` itself */
#define NS_MAX_MS   (UINT64_MAX / NS_PER_MSEC / 2)
#define NUMBER_MAX  ((uint64_t)INT64_MAX - 1) /* the largest that JSON tells apart from "none" */
#define CHUNK_UNIT  4096
#define OURS        "x-vfm-"

_Static_assert(PARAMETERS_WHY_MAX >= PARSE_WHY_MAX, "a line of parse.h fits");

enum kind {
	MS,      /* uint64_t, ns, told in ms */
	BYTES,   /* uint64_t */
	RATE,    /* uint64_t, bytes per second */
	COUNT,   /* uint64_t */
	COUNT32, /* uint32_t */
	CHUNK,   /* uint32_t, bytes, a multiple of CHUNK_UNIT */
	WORD,    /* an enum: the place among words */
	PROFILE, /* enum vfm_profile, by name or number */
	SERIAL,  /* int, told the other way round: "on" is 0 */
};

static const char *const ack_words[] = {
	[VFM_ACK_PER_DEVICE] = "per-device", [VFM_ACK_LEGACY] = "legacy", [VFM_ACK_OFF] = "off"};

static const struct parameter {
	const char *name; /* as QMP has it */
	enum kind kind;
	size_t offset;    /* of the member of struct vfm_options */
	uint64_t min, max; /* as told */
	bool can_be_none;
	bool zero_is_none; /* in QMP: QEMU's way to say no limit */
	const char *value, *help;
} parameters[] = {
#define ROW(name, kind, member) name, kind, offsetof(struct vfm_options, member)
	{ROW("downtime-limit", MS, downtime_limit_ns), 1, NS_MAX_MS, true, false, "MS",
	 "longest downtime to accept, or unlimited (300)"},
	{ROW("max-bandwidth", RATE, max_bandwidth), 1, NUMBER_MAX, true, true, "BYTES/S",
	 "most that is sent per second, or unlimited (unlimited)"},
	{ROW(OURS "max-rounds", COUNT, max_rounds), 1, NUMBER_MAX, true, true, "N",
	 "rounds of pre-copy after which the migration fails, or unlimited (unlimited)"},
	{ROW(OURS "timeout", MS, timeout_ns), 1, NS_MAX_MS, true, true, "MS",
	 "time after which the migration fails unless it has switched over, or unlimited (unlimited)"},
	{ROW(OURS "peer-timeout", MS, peer_timeout_ns), 1, NS_MAX_MS, false, false, "MS",
	 "longest silence of a peer that owes an answer (30s)"},
	{ROW(OURS "standstill-timeout", MS, standstill_timeout_ns), 1, NS_MAX_MS, true, false, "MS",
	 "longest time that the guest may stand still before it is given away, or unlimited (5s)"},
	{ROW(OURS "doubt-timeout", MS, doubt_timeout_ns), 1, NS_MAX_MS, false, false, "MS",
	 "how long a source in doubt asks, and a destination stays to be asked (60s)"},
	{ROW(OURS "unknown-stop-copy-size", BYTES, unknown_stop_copy_size), 0, NUMBER_MAX, false,
	 false, "SIZE", "what a device counts for that cannot tell its stop-copy size (1G)"},
	{ROW(OURS "device-chunk", CHUNK, device_chunk), CHUNK_UNIT, 1 << 20, false, false, "SIZE",
	 "device data read and sent at a time, 4K to 1M (256K)"},
	{ROW(OURS "switchover-ack", WORD, switchover_ack), 0, 0, false, false, "WORD",
	 "wait before the switchover until initial bytes are loaded: per-device, legacy (once, for "
	 "all), or off (per-device)"},
	{ROW(OURS "profile", PROFILE, profile), VFM_PROFILE_LEGACY, VFM_PROFILE_ARCS, false,
	 false, "NAME|N", "what to offer the peer: 1 (legacy), 2 (reinit), 3 (costs) or "
	 "4 (arcs) (the newest)"},
	{ROW(OURS "max-switchover-attempts", COUNT32, max_switchover_attempts), 1, UINT32_MAX,
	 false, false, "N",
	 "times that new initial bytes of a device may take a switchover back (5)"},
	{ROW(OURS "transition-estimate", MS, transition_estimate_ns), 0, NS_MAX_MS, false, false,
	 "MS", "what a device's transition counts for that was not measured yet (1)"},
	{ROW(OURS "parallel-transitions", SERIAL, serial_transitions), 0, 0, false, false,
	 "on|off", "off: devices change their state one by one, in a fixed order (on)"},
#undef ROW
};

static const char *option_name(const struct parameter *p)
{
	size_t prefix = strlen(OURS);

	return strncmp(p->name, OURS, prefix) ? p->name : p->name + prefix;
}

/* ---- the members ---- */

static bool is_wide(const struct parameter *p)
{
	return p->kind <= COUNT;
}

static uint64_t unit(const struct parameter *p)
{
	return p->kind == MS ? NS_PER_MSEC : 1;
}

static void store(struct vfm_options *options, const struct parameter *p, uint64_t value)
{
	char *member = (char *)options + p->offset;
	uint64_t wide = value == VFM_UNLIMITED && p->can_be_none ? value : value * unit(p);
	uint32_t narrow = (uint32_t)value;

	if (is_wide(p))
		memcpy(member, &wide, sizeof(wide));
	else
		memcpy(member, &narrow, sizeof(narrow));
}

/* As told; VFM_UNLIMITED: none. */
static uint64_t load(const struct vfm_options *options, const struct parameter *p)
{
	const char *member = (const char *)options + p->offset;
	uint64_t wide;
	uint32_t narrow;

	if (is_wide(p)) {
		memcpy(&wide, member, sizeof(wide));
		return wide == VFM_UNLIMITED && p->can_be_none ? wide : wide / unit(p);
	}
	memcpy(&narrow, member, sizeof(narrow));
	return narrow;
}

_Static_assert(sizeof(enum vfm_ack_mode) == sizeof(uint32_t), "store and load");
_Static_assert(sizeof(enum vfm_profile) == sizeof(uint32_t), "store and load");
_Static_assert(sizeof(int) == sizeof(uint32_t), "store and load");

/* ---- words, for both halves ---- */

static PRINTF(2, 3) int refuse(char *why, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, PARAMETERS_WHY_MAX, format, args);
	va_end(args);
	return -EINVAL;
}

static int read_profile(const char *name, const char *text, uint64_t *out, char *why)
{
	unsigned i;

	for (i = VFM_PROFILE_LEGACY; vfm_profile_name((enum vfm_profile)i); i++) {
		if (!strcasecmp(text, vfm_profile_name((enum vfm_profile)i))) {
			*out = i;
			return 0;
		}
	}
	if (!parse_u64(name, text, VFM_PROFILE_LEGACY, i - 1, out, NULL))
		return 0;
	return refuse(why, "%s: \"%.64s\" is not a profile: 1 (legacy), 2 (reinit), 3 "
		      "(costs) or 4 (arcs)", name, text);
}

static int read_words(const struct parameter *p, const char *name, const char *text, uint64_t *out,
		      char *why)
{
	unsigned place = 0;
	int on = 0, ret;

	if (p->kind == PROFILE)
		return read_profile(name, text, out, why);
	if (p->kind == WORD) {
		ret = parse_word(name, text, ack_words, ARRAY_SIZE(ack_words), &place, why);
		*out = place;
		return ret;
	}
	ret = parse_switch(name, text, &on, why);
	*out = !on;
	return ret;
}

/* ---- the command line ---- */

static int read_text(const struct parameter *p, const char *name, const char *text, uint64_t *out,
		     char *why)
{
	if (p->can_be_none && !strcasecmp(text, "unlimited")) {
		*out = VFM_UNLIMITED;
		return 0;
	}
	switch (p->kind) {
	case MS:
		return parse_duration_ms(name, text, p->min, p->max, out, why);
	case BYTES:
	case CHUNK:
		return parse_size(name, text, p->min, p->max, out, why);
	case RATE:
		return parse_rate(name, text, p->min, p->max, out, why);
	case COUNT:
	case COUNT32:
		return parse_u64(name, text, p->min, p->max, out, why);
	default:
		return read_words(p, name, text, out, why);
	}
}

static int check_unit(const struct parameter *p, const char *name, uint64_t value, char *why)
{
	if (p->kind != CHUNK || value % CHUNK_UNIT == 0)
		return 0;
	return refuse(why, "%s: not a multiple of %u", name, CHUNK_UNIT);
}

error_t parameters_parse(int key, char *text, struct argp_state *state)
{
	char why[PARAMETERS_WHY_MAX] = "", name[64];
	const struct parameter *p;
	uint64_t value = 0;

	if (key < KEY_BASE || key >= KEY_BASE + (int)ARRAY_SIZE(parameters))
		return ARGP_ERR_UNKNOWN;
	p = &parameters[key - KEY_BASE];
	snprintf(name, sizeof(name), "--%s", option_name(p));
	if (read_text(p, name, text, &value, why) || check_unit(p, name, value, why)) {
		fprintf(stderr, "%s: %s\n", state->name, why);
		return EINVAL;
	}
	store(state->input, p, value);
	return 0;
}

void parameters_fill(struct argp_option out[PARAMETERS_COUNT + 1])
{
	unsigned i;

	_Static_assert(ARRAY_SIZE(parameters) == PARAMETERS_COUNT, "as the header says");
	memset(out, 0, (PARAMETERS_COUNT + 1) * sizeof(*out));
	for (i = 0; i < PARAMETERS_COUNT; i++)
		out[i] = (struct argp_option){
			.name = option_name(&parameters[i]),
			.key = KEY_BASE + (int)i,
			.arg = parameters[i].value,
			.doc = parameters[i].help,
		};
}

/* ---- QMP ---- */

static int out_of_range(const struct parameter *p, char *why)
{
	return refuse(why, "Parameter '%s' expects a number from %llu to %llu%s", p->name,
		      (unsigned long long)p->min, (unsigned long long)p->max,
		      p->can_be_none ? ", or \"unlimited\"" : "");
}

static int read_number(const struct parameter *p, struct json_object *value, uint64_t *out,
		       char *why)
{
	bool is_word = json_object_is_type(value, json_type_string);
	int64_t number;

	if (is_word && p->can_be_none && !strcmp(json_object_get_string(value), "unlimited")) {
		*out = VFM_UNLIMITED;
		return 0;
	}
	if (!json_object_is_type(value, json_type_int))
		return out_of_range(p, why);
	number = json_object_get_int64(value);
	if (p->can_be_none && (number == INT64_MAX || (!number && p->zero_is_none))) {
		*out = VFM_UNLIMITED;
		return 0;
	}
	if (number < 0 || (uint64_t)number < p->min || (uint64_t)number > p->max)
		return out_of_range(p, why);
	if (p->kind == CHUNK && number % CHUNK_UNIT)
		return refuse(why, "Parameter '%s' expects a multiple of %u", p->name, CHUNK_UNIT);
	*out = (uint64_t)number;
	return 0;
}

static int read_json(const struct parameter *p, struct json_object *value, uint64_t *out,
		     char *why)
{
	if (p->kind < WORD)
		return read_number(p, value, out, why);
	/* Words, but a profile may be a number, and a switch a boolean. */
	if (!json_object_is_type(value, json_type_string) &&
	    !(p->kind == PROFILE && json_object_is_type(value, json_type_int)) &&
	    !(p->kind == SERIAL && json_object_is_type(value, json_type_boolean)))
		return refuse(why, "Parameter '%s' expects %s", p->name, p->value);
	return read_words(p, p->name, json_object_get_string(value), out, why);
}

int parameters_from_json(struct vfm_options *options, struct json_object *from, char *why)
{
	struct vfm_options next = *options;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(parameters); i++) {
		struct json_object *value;
		uint64_t number = 0;

		if (!json_object_object_get_ex(from, parameters[i].name, &value))
			continue;
		if (read_json(&parameters[i], value, &number, why) < 0)
			return -EINVAL;
		store(&next, &parameters[i], number);
	}
	*options = next;
	return 0;
}

static struct json_object *to_json(const struct parameter *p, uint64_t value)
{
	if (p->kind == WORD)
		return json_object_new_string(ack_words[value]);
	if (p->kind == PROFILE)
		return json_object_new_string(vfm_profile_name((enum vfm_profile)value));
	if (p->kind == SERIAL)
		return json_object_new_boolean(!value);
	if (value != VFM_UNLIMITED || !p->can_be_none)
		return json_object_new_uint64(value);
	return p->zero_is_none ? json_object_new_int(0) : json_object_new_string("unlimited");
}

void parameters_to_json(const struct vfm_options *options, struct json_object *to)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(parameters); i++)
		json_object_object_add(to, parameters[i].name,
				       to_json(&parameters[i], load(options, &parameters[i])));
}
