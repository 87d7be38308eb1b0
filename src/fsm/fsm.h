/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The migration state machine of the VFIO uAPI (v2, with P2P and PRE_COPY), as a pure function of
 * states and capability bits. The engine, the simulated device and the checker share it. The
 * picture and the rules are in docs/state-machine.md.
 *
 * An *arc* is one step that a device takes. Any other pair of states is a combination: a path of
 * arcs that the device's driver walks by itself. @caps are enum vfm_mig_flags. All functions are
 * pure, and take any number as a state, since states come from peers.
 */
#ifndef FSM_FSM_H
#define FSM_FSM_H

#include <stdbool.h>
#include <stdint.h>
#include <vfio-migrate/state.h>
#include "base/compiler.h"

/* The longest path, in arcs: RESUMING, STOP, RUNNING_P2P, RUNNING, PRE_COPY. */
#define FSM_PATH_MAX 4

/*
 * Are these flags that a migratable device can have? P2P and PRE_COPY mean nothing without
 * STOP_COPY. Unknown flags are ignored: they announce extensions that nobody here asks for.
 */
bool fsm_caps_valid(uint64_t caps);

/*
 * Can a device with @caps be in @state? ERROR counts: a device may report it, though nobody can
 * ask for it. With flags that are not valid no state is supported.
 */
bool fsm_state_supported(enum vfm_state state, uint64_t caps);

/*
 * The first step from @from on the way to @to: @to itself where an arc leads there, or where the
 * two are equal. -EINVAL: one of them is unsupported, either is ERROR, or there is no allowed way.
 */
MUST_CHECK int fsm_next(enum vfm_state from, enum vfm_state to, uint64_t caps,
			enum vfm_state *next);

/*
 * The whole way: the states entered, the last one being @to; @from is not among them. @len is 0
 * if the two are equal. Errors as for fsm_next.
 */
MUST_CHECK int fsm_path(enum vfm_state from, enum vfm_state to, uint64_t caps,
			enum vfm_state path[FSM_PATH_MAX], unsigned *len);

/* The saving group: states that share one data session. */
bool fsm_is_saving(enum vfm_state state);

/*
 * What the pair does to the data session. They hold for arcs and for combinations, and say
 * nothing on whether the pair is allowed. A move within the saving group keeps its session; one
 * pair can end one session and open another (STOP_COPY to RESUMING).
 */
bool fsm_arc_opens_saving(enum vfm_state from, enum vfm_state to);
bool fsm_arc_opens_resuming(enum vfm_state from, enum vfm_state to);
bool fsm_arc_ends_session(enum vfm_state from, enum vfm_state to);

/*
 * Where to bring a device whose transition @from -> @to failed, from whatever state it then
 * reports. ERROR: nowhere, reset it.
 *
 * The answer does what @from did (runs, runs without P2P, is stopped) with the data session given
 * up. It is never livelier than @from, so that one device's recovery does no DMA to another that
 * is stopped already; the session brings all of them to RUNNING, in order, after that. Where that
 * is the very state that could not be entered, a device that still runs keeps @from, session and
 * all, and one in STOP_COPY needs a reset. RESUMING can only be aborted by a reset.
 */
enum vfm_state fsm_recover_state(enum vfm_state from, enum vfm_state to, uint64_t caps);

#endif
