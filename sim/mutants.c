/* SPDX-License-Identifier: BSD-3-Clause */
/* Each mutant: what it does instead, in the order of the checker's rules. */
#include <errno.h>
#include <string.h>

#include "fsm/fsm.h"
#include "sim/device.h"
#include "sim/mutant.h"

#define INDEX(flags) ((flags) & VFM_FEATURE_MASK)
#define OPS(flags)   ((flags) & (VFM_FEATURE_GET | VFM_FEATURE_SET | VFM_FEATURE_PROBE))
#define KNOWN        (VFM_FEATURE_MASK | VFM_FEATURE_GET | VFM_FEATURE_SET | VFM_FEATURE_PROBE)

/* ---- states ---- */

static int cannot_leave_pre_copy(struct sim *sim, uint32_t state)
{
	bool early = sim->state == VFM_STATE_PRE_COPY && state == VFM_STATE_RUNNING;

	return early ? -EINVAL : core_set_state(sim, state);
}

static int refuses_the_same(struct sim *sim, uint32_t state)
{
	return state == sim->state ? -EINVAL : core_set_state(sim, state);
}

static int goes_back_to_pre_copy(struct sim *sim, uint32_t state)
{
	if (sim->state == VFM_STATE_STOP_COPY && state == VFM_STATE_PRE_COPY) {
		int ret = core_set_state(sim, VFM_STATE_RUNNING);

		if (ret)
			return ret;
	}
	return core_set_state(sim, state);
}

static int ignores_the_unsupported(struct sim *sim, uint32_t state)
{
	bool none = state < VFM_STATE_COUNT && !fsm_state_supported(state, sim_mig_flags(sim));

	return none ? 0 : core_set_state(sim, state);
}

static int cuts_the_number(struct sim *sim, uint32_t state)
{
	return core_set_state(sim, state % VFM_STATE_COUNT);
}

static int enters_error(struct sim *sim, uint32_t state)
{
	if (state != VFM_STATE_ERROR)
		return core_set_state(sim, state);
	sim_enter_error(sim);
	return 0;
}

static int stops_when_it_refuses(struct sim *sim, uint32_t state)
{
	if (state != VFM_STATE_COUNT)
		return core_set_state(sim, state);
	return core_set_state(sim, VFM_STATE_STOP) ? -EIO : -EINVAL;
}

/* ---- features ---- */

static uint32_t forgets_stop_copy(uint32_t flags)
{
	return flags & ~(uint32_t)VFM_MIG_STOP_COPY;
}

static int denies_set_of_state(uint32_t flags, uint32_t argsz, int ret)
{
	bool asks = flags == (VFM_FEATURE_MIG_DEVICE_STATE | VFM_FEATURE_SET | VFM_FEATURE_PROBE);

	return asks ? -EINVAL : ret;
}

static int takes_any_feature(uint32_t flags, uint32_t argsz, int ret)
{
	return ret == -ENOTTY ? 0 : ret;
}

static int sets_what_is_read(uint32_t flags, uint32_t argsz, int ret)
{
	bool asks = INDEX(flags) == VFM_FEATURE_MIGRATION &&
		    (OPS(flags) & ~VFM_FEATURE_PROBE) == VFM_FEATURE_SET;

	return asks ? 0 : ret;
}

static int gets_and_sets(uint32_t flags, uint32_t argsz, int ret)
{
	return OPS(flags) == (VFM_FEATURE_GET | VFM_FEATURE_SET) ? 0 : ret;
}

static int does_without_operation(uint32_t flags, uint32_t argsz, int ret)
{
	return flags == VFM_FEATURE_MIGRATION ? 0 : ret;
}

static int ignores_argsz(uint32_t flags, uint32_t argsz, int ret)
{
	return flags == (VFM_FEATURE_MIGRATION | VFM_FEATURE_GET) && argsz < 16 ? 0 : ret;
}

static int wants_exact_argsz(uint32_t flags, uint32_t argsz, int ret)
{
	return flags == (VFM_FEATURE_MIGRATION | VFM_FEATURE_GET) && argsz > 16 ? -EINVAL : ret;
}

static int ignores_flags(uint32_t flags, uint32_t argsz, int ret)
{
	return flags & ~KNOWN ? 0 : ret;
}

/* ---- the table ---- */

static const struct sim_mutant mutants[] = {
	{.name = "state-allowed", .set_state = cannot_leave_pre_copy},
	{.name = "state-same", .set_state = refuses_the_same},
	{.name = "state-forbidden", .set_state = goes_back_to_pre_copy},
	{.name = "state-unsupported", .set_state = ignores_the_unsupported},
	{.name = "state-range", .set_state = cuts_the_number},
	{.name = "state-error", .set_state = enters_error},
	{.name = "state-kept", .set_state = stops_when_it_refuses},
	{.name = "feature-flags-valid", .flags = forgets_stop_copy},
	{.name = "feature-probe", .feature = denies_set_of_state},
	{.name = "feature-unknown", .feature = takes_any_feature},
	{.name = "feature-direction", .feature = sets_what_is_read},
	{.name = "feature-both", .feature = gets_and_sets},
	{.name = "feature-none", .feature = does_without_operation},
	{.name = "feature-argsz-small", .feature = ignores_argsz},
	{.name = "feature-argsz-large", .feature = wants_exact_argsz},
	{.name = "feature-unknown-flags", .feature = ignores_flags},
};

const struct sim_mutant *sim_mutant_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(mutants); i++)
		if (!strcmp(mutants[i].name, name))
			return &mutants[i];
	return NULL;
}
