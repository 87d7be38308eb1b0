/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * handover: how the VM changes hands, and what happens when the wire breaks meanwhile.
 *
 *	source                                       destination
 *	PREPARE ────────────────────────────────────> devices leave RESUMING; complete?
 *	      <──────────────────────────────────── PREPARED
 *	committed = true   (source_commit: from here on this VM never runs here by our own word)
 *	COMMIT ─────────────────────────────────────> fate = OWNED, from here on it is ours
 *	      <──────────────────────────────────── RUNNING, REPORT
 *	BYE ────────────────────────────────────────> ends
 *
 * Where the connection breaks:
 *	before `committed`         source runs on; destination gives up when told, or, if it is
 *	                           prepared, waits for the same session: the source may be asking
 *	after it                   source is in doubt. It asks, over a new connection with the same
 *	                           token (HELLO, ASK), as long as options.doubt_timeout_ns:
 *	    answer PREPARED        COMMIT never arrived; it is sent again
 *	    answer OWNED           it did; RUNNING comes when the vCPUs run
 *	    answer NEVER           the destination gave the session up and will never run the VM:
 *	                           the source has it again, and everything is undone
 *	    no answer              status in-doubt, the VM stays stopped until an operator says
 *	                           which side has it (vfm_source_resolve)
 * Nobody guesses. A destination that owns the VM and could not start it says so, and keeps it.
 */
#ifndef ENGINE_HANDOVER_H
#define ENGINE_HANDOVER_H

#include "engine/session.h"

/* The source's steering thread, after a commit that did not end in RUNNING: say how it stands, and
 * in doubt stay until resolved or given up. @result: what stages_run returned. */
void handover_end(struct session *s, int result);

/* Any thread: an operator's word. -EINVAL: not in doubt. Returns when it has been acted upon. */
int handover_resolve(struct session *s, int destination_runs);

/* Any thread, before the free: a session in doubt ends as it is, the VM stays stopped. */
void handover_give_up(struct session *s);

#endif
