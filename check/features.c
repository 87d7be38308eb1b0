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

/* ---- what it has ---- */

/*
 * The features of migration: bytes of payload of the kernel's and of vfio-user's, where START has its
 * ranges and REPORT its bitmap behind it.
 */
enum has { HAS_STATE, HAS_SIZE, HAS_LOGGING, HAS_REINIT };

static const struct known {
	const char *name;
	uint32_t flags;
	enum has has;
	size_t bytes, user_bytes;
} known[] = {
	{"GET of MIGRATION", VFM_FEATURE_MIGRATION | GET, HAS_STATE, 8, 8},
	{"GET of the state", VFM_FEATURE_MIG_DEVICE_STATE | GET, HAS_STATE, 8, 8},
	{"SET of the state", VFM_FEATURE_MIG_DEVICE_STATE | SET, HAS_STATE, 8, 8},
	{"GET of MIG_DATA_SIZE", VFM_FEATURE_MIG_DATA_SIZE | GET, HAS_SIZE, 8, 8},
	{"SET of DMA_LOGGING_START", VFM_FEATURE_DMA_LOGGING_START | SET, HAS_LOGGING, 24, 32},
	{"SET of DMA_LOGGING_STOP", VFM_FEATURE_DMA_LOGGING_STOP | SET, HAS_LOGGING, 0, 0},
	{"GET of DMA_LOGGING_REPORT", VFM_FEATURE_DMA_LOGGING_REPORT | GET, HAS_LOGGING, 32, 32},
	{"SET of PRECOPY_INFOv2", VFM_FEATURE_MIG_PRECOPY_INFOV2 | SET, HAS_REINIT, 0, 0},
};

#define LOG_IOVA  (UINT64_C(1) << 30)
#define LOG_BYTES (UINT64_C(1) << 20)
#define LOG_PAGE  4096u

static const struct vfm_feature_logging_range log_range = {LOG_IOVA, LOG_BYTES};

static bool log_starts(struct check *check)
{
	uint64_t page = LOG_PAGE;

	port_log_stop(check->port); /* left on by the rule before */
	return !check->port->ops->log_start(check->port, &page, &log_range, 1);
}

/* Found out by doing, where that leaves no trace, and not by probing. */
static bool has(struct check *check, enum has what)
{
	uint64_t size;
	bool logs;

	switch (what) {
	case HAS_STATE:
		return true;
	case HAS_SIZE:
		return !port_size(check->port, &size);
	case HAS_LOGGING:
		logs = log_starts(check);
		port_log_stop(check->port);
		return logs;
	case HAS_REINIT:
		return check->reinit; /* doing it would last until the device is opened anew */
	}
	return false;
}

static enum check_verdict probe(struct check *check)
{
	uint32_t state = VFM_FEATURE_MIG_DEVICE_STATE | GET | SET;

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (has(check, known[i].has) && !port_probe(check->port, known[i].flags))
			return check_fail(check, "probing %s says no, and it has it",
					  known[i].name);
	if (!port_probe(check->port, state))
		return check_fail(check, "probing GET and SET of the state says no");
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
		{VFM_FEATURE_DMA_LOGGING_START | GET, 32},
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

/* ---- argsz, flags ---- */

/* What a request carries: right in all but its size. */
union payload {
	struct vfm_feature_mig_state state;
	struct vfm_feature_logging_control start;
	struct vfm_feature_logging_report report;
	struct {
		struct vfm_vfio_user_logging_control control;
		struct vfm_vfio_user_logging_range range;
	} user_start;
	struct vfm_vfio_user_logging_report user_report;
	uint8_t bytes[64];
};

static void fill(const struct check *check, const struct known *k, union payload *payload,
		 uint64_t *bitmap)
{
	bool user = check->port->client != NULL;
	uint32_t index = k->flags & VFM_FEATURE_MASK;

	memset(payload, 0, sizeof(*payload));
	if (index == VFM_FEATURE_MIG_DEVICE_STATE)
		payload->state = (struct vfm_feature_mig_state){VFM_STATE_RUNNING, -1};
	else if (index == VFM_FEATURE_DMA_LOGGING_START && user)
		payload->user_start.control = (struct vfm_vfio_user_logging_control){
			.page_size = LOG_PAGE, .num_ranges = 1};
	else if (index == VFM_FEATURE_DMA_LOGGING_START)
		payload->start = (struct vfm_feature_logging_control){
			.page_size = LOG_PAGE, .num_ranges = 1, .ranges = (uintptr_t)&log_range};
	else if (index == VFM_FEATURE_DMA_LOGGING_REPORT && user)
		payload->user_report = (struct vfm_vfio_user_logging_report){
			LOG_IOVA, 64 * LOG_PAGE, LOG_PAGE};
	else if (index == VFM_FEATURE_DMA_LOGGING_REPORT)
		payload->report = (struct vfm_feature_logging_report){
			LOG_IOVA, 64 * LOG_PAGE, LOG_PAGE, (uintptr_t)bitmap};
	if (index == VFM_FEATURE_DMA_LOGGING_START && user)
		payload->user_start.range =
			(struct vfm_vfio_user_logging_range){LOG_IOVA, LOG_BYTES};
}

/* The request with @room bytes in argsz; reports need a log that is on. */
static int ask_known(struct check *check, const struct known *k, size_t room)
{
	uint32_t index = k->flags & VFM_FEATURE_MASK;
	bool reads = index == VFM_FEATURE_DMA_LOGGING_REPORT;
	size_t bytes = check->port->client ? k->user_bytes : k->bytes;
	size_t in = k->flags & SET || reads ? MIN(bytes, room) : 0;
	union payload payload;
	uint64_t bitmap = 0;
	int ret;

	fill(check, k, &payload, &bitmap);
	if (reads && check->port->client)
		in = MIN(in, sizeof(payload.user_report));
	if (reads && !log_starts(check))
		return -ENOTSUP;
	ret = check->port->ops->feature(check->port, k->flags, &payload, in, room);
	if (k->has == HAS_LOGGING)
		port_log_stop(check->port);
	return ret;
}

static enum check_verdict small(struct check *check)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		size_t bytes = check->port->client ? known[i].user_bytes : known[i].bytes;

		if (!bytes || !has(check, known[i].has))
			continue;
		if (!ask_known(check, &known[i], bytes - 1))
			return check_fail(check, "%s with %zu bytes for %zu was taken",
					  known[i].name, bytes - 1, bytes);
	}
	return CHECK_PASS;
}

/* A vfio-user request has a size of its own beside argsz, with which a SET has to agree. */
static enum check_verdict large(struct check *check)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		size_t bytes = check->port->client ? known[i].user_bytes : known[i].bytes;
		int ret;

		if ((check->port->client && known[i].flags & SET) || !has(check, known[i].has))
			continue;
		if (!bytes)
			continue;
		ret = ask_known(check, &known[i], bytes + 16);
		/* A kernel may lack what a report needs, whatever the room. */
		if (ret && !ask_known(check, &known[i], bytes))
			return check_fail(check, "%s with %zu bytes for %zu: %s", known[i].name,
					  bytes + 16, bytes, strerror(-ret));
	}
	return CHECK_PASS;
}

static enum check_verdict unknown_flags(struct check *check)
{
	for (unsigned bit = 19; bit < 32; bit++) {
		if (!ask(check, VFM_FEATURE_MIGRATION | GET | 1u << bit, 0, 8))
			return check_fail(check, "flag bit %u has no meaning and was taken", bit);
		for (size_t i = 0; i < ARRAY_SIZE(known); i++)
			if (port_probe(check->port, known[i].flags | 1u << bit))
				return check_fail(check, "probing %s with flag bit %u says yes",
						  known[i].name, bit);
	}
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
