/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stage: the protocol, a row per stage: what the source does, what the destination does, and what
 * undoes each half. Stages run in order on the steering thread; when one fails, the undo of it and
 * of all before it run, in reverse. From COMMIT on nothing is undone: the VM has changed hands.
 */
#ifndef ENGINE_STAGE_H
#define ENGINE_STAGE_H

#include "engine/session.h"

typedef int stage_fn(struct session *s);   /* 0, or -errno and the session has failed */
typedef void stage_undo_fn(struct session *s);

struct stage_row {
	enum vfm_stage stage;
	stage_fn *half[2];           /* by enum session_side; NULL: nothing to do */
	stage_undo_fn *undo[2];
};

extern const struct stage_row stage_rows[];
extern const unsigned stage_row_count;

/* Run all. 0: the session is complete. Otherwise it was undone, unless session.committed is set. */
int stages_run(struct session *s);

/* Undo rows @last down to the first: also for a source that got its VM back from a doubt. */
void stages_undo(struct session *s, unsigned last);

stage_fn source_hello, source_describe, source_setup, source_precopy, source_stop, source_stopcopy,
	source_prepare, source_commit, source_release;
stage_undo_fn source_undo_setup, source_undo_stop;

stage_fn destination_hello, destination_describe, destination_setup, destination_load,
	destination_prepare, destination_commit, destination_release;
stage_undo_fn destination_undo_setup;

#endif
