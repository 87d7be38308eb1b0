/* SPDX-License-Identifier: BSD-3-Clause */
/* Names of states and stages. They are here, below the state machine, since errors use them. */
#include <assert.h>
#include <vfio-migrate/error.h>
#include <vfio-migrate/state.h>
#include "base/compiler.h"

static const char *const state_names[] = {
	[VFM_STATE_ERROR] = "ERROR",
	[VFM_STATE_STOP] = "STOP",
	[VFM_STATE_RUNNING] = "RUNNING",
	[VFM_STATE_STOP_COPY] = "STOP_COPY",
	[VFM_STATE_RESUMING] = "RESUMING",
	[VFM_STATE_RUNNING_P2P] = "RUNNING_P2P",
	[VFM_STATE_PRE_COPY] = "PRE_COPY",
	[VFM_STATE_PRE_COPY_P2P] = "PRE_COPY_P2P",
};
static_assert(ARRAY_SIZE(state_names) == VFM_STATE_COUNT, "each state has a name");

static const char *const stage_names[] = {
	[VFM_STAGE_NONE] = "none",
	[VFM_STAGE_HELLO] = "hello",
	[VFM_STAGE_DESCRIBE] = "describe",
	[VFM_STAGE_SETUP] = "set-up",
	[VFM_STAGE_PRECOPY] = "pre-copy",
	[VFM_STAGE_STOP] = "stop",
	[VFM_STAGE_STOPCOPY] = "stop-copy",
	[VFM_STAGE_PREPARE] = "prepare",
	[VFM_STAGE_COMMIT] = "commit",
	[VFM_STAGE_RELEASE] = "release",
	[VFM_STAGE_DONE] = "done",
};
static_assert(ARRAY_SIZE(stage_names) == VFM_STAGE_COUNT, "each stage has a name");

VFM_API const char *vfm_state_name(enum vfm_state state)
{
	if ((unsigned)state >= ARRAY_SIZE(state_names))
		return "invalid";
	return state_names[state];
}

VFM_API const char *vfm_stage_name(enum vfm_stage stage)
{
	if ((unsigned)stage >= ARRAY_SIZE(stage_names))
		return "invalid";
	return stage_names[stage];
}
