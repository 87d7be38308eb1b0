/* SPDX-License-Identifier: BSD-3-Clause */
/* DEVICE_FEATURE: flags, sizes, and what is not there. */
#include <errno.h>
#include <string.h>

#include "check/check.h"
#include "fsm/fsm.h"

#define GET   VFM_FEATURE_GET
#define SET   VFM_FEATURE_SET
#define PROBE VFM_FEATURE_PROBE

/* No feature has this number. */
#define NO_FEATURE 0xfe00u

static int ask(struct check *check, uint32_t flags, size_t in, size_t room)
{
	uint64_t payload[4] = {0};

	return check->port->ops->feature(check->port, flags, payload, in, room);
}

static enum check_verdict flags_valid(struct check *check)
{
	uint64_t flags;
	int ret = port_get_flags(check->port, &flags);

	if (ret)
		return check_fail(check, "they cannot be read: %s", strerror(-ret));
	if (!fsm_caps_valid(flags))
		return check_fail(check, "0x%llx: P2P or PRE_COPY without STOP_COPY",
				  (unsigned long long)flags);
	return check_pass(check, "0x%llx", (unsigned long long)flags);
}

static enum check_verdict probe(struct check *check)
{
	static const uint32_t there[] = {
		VFM_FEATURE_MIGRATION | GET,
		VFM_FEATURE_MIG_DEVICE_STATE | GET,
		VFM_FEATURE_MIG_DEVICE_STATE | SET,
		VFM_FEATURE_MIG_DEVICE_STATE | GET | SET,
	};

	for (size_t i = 0; i < ARRAY_SIZE(there); i++)
		if (!port_probe(check->port, there[i]))
			return check_fail(check,
					  "probing feature %u for%s%s says no, and it has it",
					  there[i] & VFM_FEATURE_MASK, there[i] & GET ? " GET" : "",
					  there[i] & SET ? " SET" : "");
	return CHECK_PASS;
}

static enum check_verdict unknown(struct check *check)
{
	if (!ask(check, NO_FEATURE | GET, 0, 8) || !ask(check, NO_FEATURE | SET, 8, 8))
		return check_fail(check, "feature 0x%x was taken", NO_FEATURE);
	if (port_probe(check->port, NO_FEATURE | GET))
		return check_fail(check, "probing feature 0x%x says yes", NO_FEATURE);
	return CHECK_PASS;
}

static enum check_verdict direction(struct check *check)
{
	/* Refused by who has the feature, and by who has it not. */
	static const struct {
		uint32_t flags;
		size_t size;
	} wrong[] = {
		{VFM_FEATURE_MIGRATION | SET, 8},
		{VFM_FEATURE_MIG_DATA_SIZE | SET, 8},
		{VFM_FEATURE_MIG_PRECOPY_INFOV2 | GET, 0},
		{VFM_FEATURE_DMA_LOGGING_STOP | GET, 0},
		{VFM_FEATURE_DMA_LOGGING_REPORT | SET, 32},
	};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		const char *op = wrong[i].flags & GET ? "GET" : "SET";
		unsigned index = wrong[i].flags & VFM_FEATURE_MASK;

		if (!ask(check, wrong[i].flags, wrong[i].flags & SET ? wrong[i].size : 0,
			 wrong[i].size))
			return check_fail(check, "%s of feature %u, which has none, was taken", op,
					  index);
		if (port_probe(check->port, wrong[i].flags))
			return check_fail(check, "probing %s of feature %u says yes", op, index);
	}
	return CHECK_PASS;
}

static enum check_verdict both(struct check *check)
{
	struct vfm_feature_mig_state set = {.device_state = VFM_STATE_RUNNING, .data_fd = -1};

	if (!check->port->ops->feature(check->port, VFM_FEATURE_MIG_DEVICE_STATE | GET | SET, &set,
				       sizeof(set), sizeof(set)))
		return check_fail(check, "GET with SET was taken, without PROBE");
	return CHECK_PASS;
}

static enum check_verdict no_operation(struct check *check)
{
	if (!ask(check, VFM_FEATURE_MIGRATION, 0, 8))
		return check_fail(check, "neither GET, SET nor PROBE was taken");
	return CHECK_PASS;
}

static enum check_verdict small(struct check *check)
{
	if (!ask(check, VFM_FEATURE_MIGRATION | GET, 0, 7))
		return check_fail(check, "GET of MIGRATION with 7 bytes for 8 was taken");
	if (!ask(check, VFM_FEATURE_MIG_DEVICE_STATE | GET, 0, 7))
		return check_fail(check, "GET of the state with 7 bytes for 8 was taken");
	if (!ask(check, VFM_FEATURE_MIG_DATA_SIZE | GET, 0, 7))
		return check_fail(check, "GET of MIG_DATA_SIZE with 7 bytes for 8 was taken");
	return CHECK_PASS;
}

static enum check_verdict large(struct check *check)
{
	int ret = ask(check, VFM_FEATURE_MIGRATION | GET, 0, 24);

	if (!ret)
		ret = ask(check, VFM_FEATURE_MIG_DEVICE_STATE | GET, 0, 24);
	if (ret)
		return check_fail(check, "GET with 24 bytes for 8: %s", strerror(-ret));
	return CHECK_PASS;
}

static enum check_verdict unknown_flags(struct check *check)
{
	for (unsigned bit = 19; bit < 32; bit++)
		if (!ask(check, VFM_FEATURE_MIGRATION | GET | 1u << bit, 0, 8))
			return check_fail(check, "flag bit %u has no meaning and was taken", bit);
	return CHECK_PASS;
}

static const struct check_rule rules[] = {
	{"feature-flags-valid", "P2P and PRE_COPY are announced together with STOP_COPY alone.",
	 CHECK_MUST, 0, DOES_LOOK, flags_valid},
	{"feature-probe", "PROBE says yes to the operations that a feature has.", CHECK_MUST, 0,
	 DOES_LOOK, probe},
	{"feature-unknown", "A feature that is not known is refused, for GET, SET and PROBE.",
	 CHECK_MUST, 0, DOES_LOOK, unknown},
	{"feature-direction", "An operation that a feature does not have is refused.", CHECK_MUST,
	 0, DOES_LOOK, direction},
	{"feature-both", "GET and SET exclude each other, unless one only probes.", CHECK_MUST, 0,
	 DOES_LOOK, both},
	{"feature-none", "A request is to GET, to SET or to PROBE.", CHECK_SHOULD, 0, DOES_LOOK,
	 no_operation},
	{"feature-argsz-small", "An argsz that does not hold the payload is refused.", CHECK_MUST,
	 0, DOES_LOOK, small},
	{"feature-argsz-large", "An argsz with room to spare is no error.", CHECK_MUST, 0,
	 DOES_LOOK, large},
	{"feature-unknown-flags", "Flag bits without a meaning are refused.", CHECK_MUST, 0,
	 DOES_LOOK, unknown_flags},
};

const struct check_family check_features = {"features", rules, ARRAY_SIZE(rules)};
