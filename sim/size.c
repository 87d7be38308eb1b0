/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the device tells of its stream: how much is left, as far as its personality lets it know.
 * The sizes themselves are exact: what would be read if nothing changed from now on. Then comes
 * the error that the personality or an option puts on them.
 *
 * Asking is not harmless: it takes time, makes some personalities save, and is when a renewal of
 * the initial bytes is found.
 */
#include <errno.h>

#include "base/bitmap.h"
#include "base/checked.h"
#include "base/clock.h"
#include "sim/device.h"

/* ---- the truth ---- */

static uint64_t header_left(const struct sim *sim)
{
	return sim->save.header_sent ? 0 : sim->who->header_size;
}

static uint64_t measure_initial(const struct sim *sim)
{
	const struct save *save = &sim->save;
	uint64_t bytes = save->renewed ? sizeof(struct stream_record) : 0;

	if (!save_in_initial(sim))
		return 0;
	return bytes + save_measure(&sim->memory, save->initial, save->initial_end, FIT_ALL);
}

/* All fit pages but the initial ones that are still to come. */
static uint64_t measure_other(const struct sim *sim, enum fit fit)
{
	const struct memory *memory = &sim->memory;
	uint64_t scan = sim->save.scan;

	if (save_in_initial(sim))
		return save_measure(memory, sim->save.initial_end, memory->pages, fit) +
		       save_measure(memory, 0, sim->save.initial, fit);
	return save_measure(memory, scan, memory->pages, fit) +
	       save_measure(memory, 0, scan, fit);
}

static uint64_t records_of(uint64_t pages)
{
	return (pages + RUN_MAX - 1) / RUN_MAX;
}

/* The size of a whole stream: the runs of initial pages, then those of the others. */
static uint64_t whole_size(const struct sim *sim)
{
	uint64_t initial = div_round_up(sim->opts.initial_size, SIM_PAGE_SIZE);
	uint64_t records = records_of(initial) + records_of(sim->memory.pages - initial);

	return sim->who->header_size + sim->memory.size + records * sizeof(struct stream_record) +
	       STREAM_TAIL_SIZE;
}

uint64_t sim_stop_copy_size(const struct sim *sim)
{
	const struct save *save = &sim->save;
	bool again = sim->who->whole_saves || save->failed;

	if (!save->open)
		return whole_size(sim);
	if (again && sim->state != VFM_STATE_STOP_COPY)
		return save_under_way(save) + header_left(sim) + sim->memory.size +
		       records_of(sim->memory.pages) * sizeof(struct stream_record) +
		       STREAM_TAIL_SIZE;
	return save_under_way(save) + header_left(sim) + measure_initial(sim) +
	       measure_other(sim, FIT_ALL) + (save->ended ? 0 : STREAM_TAIL_SIZE);
}

/* ---- what is told of it ---- */

/* @bytes * @factor / SIM_EXACT^2, rounded up. Of bytes that a stream can have, and factors within
 * their limits, no product is too large. */
static uint64_t scale(uint64_t bytes, uint64_t factor)
{
	uint64_t whole = bytes / (SIM_EXACT * SIM_EXACT), rest = bytes % (SIM_EXACT * SIM_EXACT);

	return whole * factor + div_round_up(rest * factor, SIM_EXACT * SIM_EXACT);
}

/* Something never becomes nothing, nor nothing something. */
static uint64_t estimate(const struct sim *sim, uint64_t bytes)
{
	return scale(bytes, (uint64_t)sim->who->size_permille * sim->opts.size_permille);
}

static void take_time(struct sim *sim)
{
	if (sim->who->query_us)
		sim->ops->delay(sim->opaque, sim->who->query_us * NS_PER_USEC);
}

/* A driver that puts what a function returned into the size, errors and all. */
static bool lies(const struct sim *sim, int error)
{
	return sim->who->size_lie_every &&
	       (error || sim->call_count[SIM_CALL_SIZE] % sim->who->size_lie_every == 0);
}

int size_stop_copy(struct sim *sim, uint64_t *size)
{
	int ret = fault_call(sim, SIM_CALL_SIZE);

	take_time(sim);
	if (sim->state == VFM_STATE_ERROR)
		return sim_no_session(sim);
	if (lies(sim, ret)) {
		*size = (uint64_t)(int64_t)(ret ? ret : -sim->who->size_lie_errno);
		return 0;
	}
	*size = estimate(sim, sim->who->constant_size ? whole_size(sim) : sim_stop_copy_size(sim));
	return ret;
}

/* ---- precopy info ---- */

int size_opt_in(struct sim *sim)
{
	if (!(sim_mig_flags(sim) & VFM_MIG_PRE_COPY))
		return -EINVAL;
	sim->infov2 = true;
	return 0;
}

static uint64_t renewed_size(const struct sim *sim)
{
	return sim->opts.reinit_size == SIM_NEVER ? sim->opts.initial_size : sim->opts.reinit_size;
}

/* Initial bytes begin anew. All that is dirty waits behind them. */
static void renew(struct sim *sim)
{
	struct memory *memory = &sim->memory;
	struct save *save = &sim->save;
	uint64_t i;

	sim->session.reinits += !sim->session.told_to_renew;
	sim->session.told_to_renew = false;
	save->initial = 0;
	save->initial_end = div_round_up(renewed_size(sim), SIM_PAGE_SIZE);
	save->renewed = true;
	save->as_dirty = !sim->infov2;
	save->holding = true;
	save->asked = false;
	for (i = 0; i < bitmap_words(memory->pages); i++) {
		memory->held[i] |= memory->early[i];
		memory->early[i] = 0;
	}
	bitmap_set_range(memory->pending, 0, save->initial_end);
	bitmap_clear_range(memory->held, 0, save->initial_end);
}

/* True: they were renewed by this query. */
static bool check_renewal(struct sim *sim)
{
	bool can = sim->state == VFM_STATE_PRE_COPY || !sim->who->no_reinit_in_p2p;

	if (!can || sim->save.failed || save_has_initial(sim) || !fault_reinit_due(sim))
		return false;
	renew(sim);
	return true;
}

/* Ask for a save, if the one before was read and it is time. */
static int ask_for_save(struct sim *sim)
{
	struct memory *memory = &sim->memory;
	struct save *save = &sim->save;
	int ret;

	if (!sim->who->saves_on_query || sim->state != VFM_STATE_PRE_COPY || save->asked ||
	    save->failed || save_has_initial(sim) || save_under_way(save) ||
	    measure_other(sim, FIT_EARLY) || sim->session.ns < save->next_ask_ns)
		return 0;
	save->next_ask_ns = sim->session.ns + sim->who->ask_period_ms * NS_PER_MSEC;
	if (!sim->who->whole_saves) {
		save->asked = true; /* the next read begins it */
		return 0;
	}
	ret = fault_call(sim, SIM_CALL_SAVE);
	if (ret)
		return ret;
	bitmap_set_range(memory->pending, 0, memory->pages);
	bitmap_set_range(memory->early, 0, memory->pages);
	bitmap_clear_range(memory->held, 0, memory->pages);
	return 0;
}

/* What a query would find to be dirty: of whole saves the one at hand. */
static uint64_t dirty_now(const struct sim *sim)
{
	bool grows = sim->who->saves_on_query && !sim->who->whole_saves;

	return measure_other(sim, grows && !sim->save.holding ? FIT_OFFERED : FIT_EARLY);
}

static void measure(const struct sim *sim, struct vfm_precopy_info *info)
{
	uint64_t begun = save_under_way(&sim->save) + header_left(sim);
	uint64_t initial = measure_initial(sim), dirty = dirty_now(sim);

	if (save_has_initial(sim))
		initial += begun;
	else
		dirty += begun;
	if (sim->save.failed)
		initial = dirty = 0;
	if (sim->save.as_dirty) {
		dirty += initial;
		initial = 0;
	}
	info->argsz = sizeof(*info);
	info->initial_bytes = estimate(sim, initial);
	info->dirty_bytes = estimate(sim, dirty);
}

static bool has_info(const struct sim *sim)
{
	return sim->state == VFM_STATE_PRE_COPY ||
	       (sim->state == VFM_STATE_PRE_COPY_P2P && !sim->who->no_info_in_p2p);
}

int size_precopy(struct sim *sim, struct vfm_precopy_info *info)
{
	bool renewed;
	int ret;

	fault_upset(sim);
	if (sim->state == VFM_STATE_ERROR)
		return sim_no_session(sim);
	if (!has_info(sim))
		return -EINVAL;
	fault_query(sim);
	ret = fault_call(sim, SIM_CALL_INFO);
	if (ret)
		return ret;
	take_time(sim);
	if (!has_info(sim))
		return sim_no_session(sim);
	save_settle(sim);
	renewed = check_renewal(sim);
	ret = ask_for_save(sim);
	if (ret)
		return ret;
	measure(sim, info);
	if (sim->infov2)
		info->flags = renewed ? VFM_PRECOPY_INFO_REINIT : 0;
	return 0;
}
