/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Model: one table of first steps for a device that has every state. A device that lacks an
 * optional state walks the same ways and skips it: without P2P a state stands for its P2P twin
 * too, and PRE_COPY or PRE_COPY_P2P lie on no way between states outside the saving group.
 *
 * Invariant: following the table from any state reaches the target or a forbidden cell in at most
 * FSM_PATH_MAX steps. tests/test-fsm.c derives every path from the prose of linux/vfio.h, without
 * this table, and compares.
 */
#include <assert.h>
#include <errno.h>
#include "fsm/fsm.h"

#define STOP         VFM_STATE_STOP
#define RUNNING      VFM_STATE_RUNNING
#define STOP_COPY    VFM_STATE_STOP_COPY
#define RESUMING     VFM_STATE_RESUMING
#define RUNNING_P2P  VFM_STATE_RUNNING_P2P
#define PRE_COPY     VFM_STATE_PRE_COPY
#define PRE_COPY_P2P VFM_STATE_PRE_COPY_P2P

/* A cell that is not written is ERROR, the number 0: forbidden. */
static_assert(VFM_STATE_ERROR == 0, "an empty cell forbids");

/* The first step on the way [from][to]. */
static const uint8_t first_step[VFM_STATE_COUNT][VFM_STATE_COUNT] = {
	[STOP] = {
		[STOP] = STOP,
		[RUNNING] = RUNNING_P2P,
		[STOP_COPY] = STOP_COPY,
		[RESUMING] = RESUMING,
		[RUNNING_P2P] = RUNNING_P2P,
		[PRE_COPY] = RUNNING_P2P,
		[PRE_COPY_P2P] = RUNNING_P2P,
	},
	[RUNNING] = {
		[STOP] = RUNNING_P2P,
		[RUNNING] = RUNNING,
		[STOP_COPY] = RUNNING_P2P,
		[RESUMING] = RUNNING_P2P,
		[RUNNING_P2P] = RUNNING_P2P,
		[PRE_COPY] = PRE_COPY,
		[PRE_COPY_P2P] = RUNNING_P2P,
	},
	[STOP_COPY] = {
		[STOP] = STOP,
		[RUNNING] = STOP,
		[STOP_COPY] = STOP_COPY,
		[RESUMING] = STOP,
		[RUNNING_P2P] = STOP,
	},
	[RESUMING] = {
		[STOP] = STOP,
		[RUNNING] = STOP,
		[STOP_COPY] = STOP,
		[RESUMING] = RESUMING,
		[RUNNING_P2P] = STOP,
		[PRE_COPY] = STOP,
		[PRE_COPY_P2P] = STOP,
	},
	[RUNNING_P2P] = {
		[STOP] = STOP,
		[RUNNING] = RUNNING,
		[STOP_COPY] = STOP,
		[RESUMING] = STOP,
		[RUNNING_P2P] = RUNNING_P2P,
		[PRE_COPY] = RUNNING,
		[PRE_COPY_P2P] = PRE_COPY_P2P,
	},
	[PRE_COPY] = {
		[STOP] = RUNNING,
		[RUNNING] = RUNNING,
		[STOP_COPY] = PRE_COPY_P2P,
		[RESUMING] = RUNNING,
		[RUNNING_P2P] = RUNNING,
		[PRE_COPY] = PRE_COPY,
		[PRE_COPY_P2P] = PRE_COPY_P2P,
	},
	[PRE_COPY_P2P] = {
		[STOP] = RUNNING_P2P,
		[RUNNING] = RUNNING_P2P,
		[STOP_COPY] = STOP_COPY,
		[RESUMING] = RUNNING_P2P,
		[RUNNING_P2P] = RUNNING_P2P,
		[PRE_COPY] = PRE_COPY,
		[PRE_COPY_P2P] = PRE_COPY_P2P,
	},
};

enum session {
	SESSION_NONE,
	SESSION_SAVING,
	SESSION_RESUMING,
};

struct state_info {
	uint8_t needs;   /* capability bits without which the state does not exist */
	uint8_t session; /* the data session that is open in it */
	uint8_t plain;   /* the state that operates alike and has no session; ERROR: none */
	bool runs;       /* the device works for its guest */
};

static const struct state_info states[] = {
	[VFM_STATE_ERROR] = {.needs = VFM_MIG_STOP_COPY, .plain = VFM_STATE_ERROR},
	[STOP] = {.needs = VFM_MIG_STOP_COPY, .plain = STOP},
	[RUNNING] = {.needs = VFM_MIG_STOP_COPY, .plain = RUNNING, .runs = true},
	[STOP_COPY] = {
		.needs = VFM_MIG_STOP_COPY,
		.session = SESSION_SAVING,
		.plain = STOP,
	},
	[RESUMING] = {
		.needs = VFM_MIG_STOP_COPY,
		.session = SESSION_RESUMING,
		.plain = VFM_STATE_ERROR,
	},
	[RUNNING_P2P] = {
		.needs = VFM_MIG_STOP_COPY | VFM_MIG_P2P,
		.plain = RUNNING_P2P,
		.runs = true,
	},
	[PRE_COPY] = {
		.needs = VFM_MIG_STOP_COPY | VFM_MIG_PRE_COPY,
		.session = SESSION_SAVING,
		.plain = RUNNING,
		.runs = true,
	},
	[PRE_COPY_P2P] = {
		.needs = VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY,
		.session = SESSION_SAVING,
		.plain = RUNNING_P2P,
		.runs = true,
	},
};
static_assert(ARRAY_SIZE(states) == VFM_STATE_COUNT, "each state is described");
static_assert(ARRAY_SIZE(first_step) == VFM_STATE_COUNT, "each state has a row");

static bool is_state(enum vfm_state state)
{
	return (unsigned)state < VFM_STATE_COUNT;
}

bool fsm_caps_valid(uint64_t caps)
{
	return caps & VFM_MIG_STOP_COPY;
}

bool fsm_state_supported(enum vfm_state state, uint64_t caps)
{
	return is_state(state) && (states[state].needs & caps) == states[state].needs;
}

int fsm_next(enum vfm_state from, enum vfm_state to, uint64_t caps, enum vfm_state *next)
{
	enum vfm_state step;

	if (!fsm_state_supported(from, caps) || !fsm_state_supported(to, caps))
		return -EINVAL;
	/* Ends: ERROR is supported, and every other unsupported state is a step nearer to @to. */
	for (step = first_step[from][to]; !fsm_state_supported(step, caps);)
		step = first_step[step][to];
	if (step == VFM_STATE_ERROR)
		return -EINVAL;
	*next = step;
	return 0;
}

int fsm_path(enum vfm_state from, enum vfm_state to, uint64_t caps,
	     enum vfm_state path[FSM_PATH_MAX], unsigned *len)
{
	enum vfm_state state = from;
	unsigned steps = 0;
	int ret;

	do {
		ret = fsm_next(state, to, caps, &state);
		if (ret < 0)
			return ret;
		if (from == to)
			break;
		path[steps++] = state;
	} while (state != to && steps < FSM_PATH_MAX);
	*len = steps;
	return state == to ? 0 : -EINVAL;
}

static enum session session_of(enum vfm_state state)
{
	return is_state(state) ? (enum session)states[state].session : SESSION_NONE;
}

/* Does the pair enter a session of this kind that was not open? */
static bool opens(enum vfm_state from, enum vfm_state to, enum session session)
{
	return session_of(to) == session && session_of(from) != session;
}

bool fsm_is_saving(enum vfm_state state)
{
	return session_of(state) == SESSION_SAVING;
}

bool fsm_arc_opens_saving(enum vfm_state from, enum vfm_state to)
{
	return opens(from, to, SESSION_SAVING);
}

bool fsm_arc_opens_resuming(enum vfm_state from, enum vfm_state to)
{
	return opens(from, to, SESSION_RESUMING);
}

bool fsm_arc_ends_session(enum vfm_state from, enum vfm_state to)
{
	return session_of(from) != SESSION_NONE && session_of(to) != session_of(from);
}

enum vfm_state fsm_recover_state(enum vfm_state from, enum vfm_state to, uint64_t caps)
{
	enum vfm_state plain;

	if (!fsm_state_supported(from, caps))
		return VFM_STATE_ERROR;
	plain = states[from].plain;
	if (plain != to || from == to)
		return plain;
	return states[from].runs ? from : VFM_STATE_ERROR;
}
