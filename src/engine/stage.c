/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/compiler.h"
#include "engine/link.h"
#include "engine/stage.h"
#include "engine/worker.h"

/*
 *                              source                destination              undone by
 * hello, describe              offers, describes     chooses, compares        closing
 * set up                       log on, PRE_COPY      RESUMING                 log off, RUNNING; reset
 * pre-copy .. stop-copy        rounds; stop; rest    loads all of it          RUNNING, vCPUs run
 * prepare                      asks                  RESUMING to STOP         the same
 * commit                       gives                 RUNNING, vCPUs run       nothing
 * release                      STOP, reads report    reports, lingers         nothing
 */
const struct stage_row stage_rows[] = {
	{ VFM_STAGE_HELLO, { source_hello, destination_hello }, { NULL, NULL } },
	{ VFM_STAGE_DESCRIBE, { source_describe, destination_describe }, { NULL, NULL } },
	{ VFM_STAGE_SETUP,
	  { source_setup, destination_setup },
	  { source_undo_setup, destination_undo_setup } },
	{ VFM_STAGE_PRECOPY, { source_precopy, destination_load }, { source_undo_stop, NULL } },
	{ VFM_STAGE_STOP, { source_stop, NULL }, { NULL, NULL } },
	{ VFM_STAGE_STOPCOPY, { source_stopcopy, NULL }, { NULL, NULL } },
	{ VFM_STAGE_PREPARE, { source_prepare, destination_prepare }, { NULL, NULL } },
	{ VFM_STAGE_COMMIT, { source_commit, destination_commit }, { NULL, NULL } },
	{ VFM_STAGE_RELEASE, { source_release, destination_release }, { NULL, NULL } },
};
const unsigned stage_row_count = ARRAY_SIZE(stage_rows);

void stages_undo(struct session *s, unsigned last)
{
	link_abort(s);
	workers_halt(s);
	for (unsigned i = last + 1; i-- > 0;)
		if (stage_rows[i].undo[s->side])
			stage_rows[i].undo[s->side](s);
	link_flush_abort(s);
	link_stop(s);
}

int stages_run(struct session *s)
{
	for (unsigned i = 0; i < stage_row_count; i++) {
		stage_fn *half = stage_rows[i].half[s->side];
		int r;

		if (!half)
			continue;
		session_enter(s, stage_rows[i].stage);
		r = half(s);
		if (!r)
			continue;
		if (!s->committed)
			stages_undo(s, i);
		return r;
	}
	return 0;
}
