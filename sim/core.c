/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device as a whole: its life, its time, its states.
 *
 * A state change walks the arcs of src/fsm one by one. Each arc first takes its latency, in which
 * the device goes on doing what the old state says, then happens at once:
 *
 *	fault option or hook says no ──> that errno, the state is the arc's start
 *	leaving RESUMING             ──> the loaded stream is checked: ERROR if it is bad
 *	sessions are closed, opened  ──> the new state holds
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/trace.h"
#include "fsm/fsm.h"
#include "sim/device.h"
#include "sim/platform.h"

/* More time than this between two ticks is not made up for: the device was held up. */
#define TICK_MAX_NS NS_PER_SEC
/* Work of one tick, so that requests never wait long behind it. */
#define TICK_CHANGE_MAX  (16u << 20) /* bytes */
#define TICK_RECORDS_MAX 65536u

void sim_options_init_as(struct sim_options *options, const struct sim_personality *who)
{
	if (!who)
		who = sim_personality_at(0);
	*options = (struct sim_options){
		.personality = who,
		.seed = 1,
		.state_size = who->state_size,
		.initial_size = MIN(who->initial_size, who->state_size),
		.vectors = SIM_MSIX_VECTORS,
		.mig_flags = who->mig_flags,
		.dma_logging = who->dma_logging,
		.load_at = who->load_at,
		.size_permille = SIM_EXACT,
		.reinit_size = SIM_NEVER,
		.corrupt_at = SIM_NEVER,
		.die_after_bytes = SIM_NEVER,
		.die_in = VFM_STATE_ERROR,
	};
}

static bool trigger_valid(const struct sim_trigger *t)
{
	return t->when == SIM_WHEN_NEVER || t->when == SIM_WHEN_LATE ||
	       (t->value && t->value <= SIM_WHEN_MAX && t->times <= SIM_TIMES_MAX);
}

static bool personal_valid(const struct sim_options *o)
{
	const struct sim_personality *who = o->personality;

	return who && (who->dma_logging || !o->dma_logging) &&
	       (!who->no_dma || !(o->dma_rate || o->p2p_rate)) &&
	       (who->saves_on_query || !o->fail_call[SIM_CALL_SAVE].error);
}

static bool sizes_valid(const struct sim_options *o)
{
	return o->state_size >= SIM_STATE_SIZE_MIN && o->state_size <= SIM_STATE_SIZE_MAX &&
	       is_aligned(o->state_size, SIM_STATE_SIZE_MIN) &&
	       o->initial_size <= o->state_size &&
	       (o->reinit_size <= o->state_size || o->reinit_size == SIM_NEVER) &&
	       o->size_permille && o->size_permille <= SIM_SIZE_ERROR_MAX;
}

static bool options_valid(const struct sim_options *o)
{
	return personal_valid(o) && sizes_valid(o) && trigger_valid(&o->reinit) &&
	       trigger_valid(&o->upset) && o->alloc_cost_ms <= SIM_LATENCY_MAX_MS &&
	       o->dirty_rate <= SIM_RATE_MAX && o->dma_rate <= SIM_DMA_RATE_MAX &&
	       o->p2p_rate <= SIM_DMA_RATE_MAX && o->vectors >= 1 &&
	       o->vectors <= SIM_MSIX_VECTORS_MAX &&
	       (!o->mig_flags || fsm_caps_valid(o->mig_flags)) &&
	       (unsigned)o->die_in < VFM_STATE_COUNT;
}

int sim_create(const struct sim_options *options, const struct sim_host_ops *ops, void *opaque,
	       struct sim **out)
{
	struct sim *sim;
	int ret;

	if (!options_valid(options))
		return -EINVAL;
	sim = calloc(1, sizeof(*sim));
	if (!sim)
		return -ENOMEM;
	sim->opts = *options;
	sim->who = options->personality;
	sim->ops = ops;
	sim->opaque = opaque;
	sim->known_flags = UINT32_MAX;
	ret = platform_create_mailbox(&sim->mailbox);
	if (!ret)
		ret = memory_create(&sim->memory, options->state_size);
	if (!ret)
		ret = save_create(&sim->save);
	if (!ret)
		ret = load_create(sim);
	if (ret) {
		sim_destroy(sim);
		return ret;
	}
	sim_reset(sim);
	*out = sim;
	return 0;
}

void sim_destroy(struct sim *sim)
{
	if (!sim)
		return;
	log_free(&sim->log);
	load_destroy(&sim->load);
	save_destroy(&sim->save);
	memory_destroy(&sim->memory);
	platform_destroy_mailbox(&sim->mailbox);
	free(sim);
}

const struct sim_personality *sim_who(const struct sim *sim)
{
	return sim->who;
}

static void enter(struct sim *sim, enum vfm_state state)
{
	VFM_TRACE(sim_state, sim, sim->state, state);
	p2p_look(sim);
	sim->state = state;
}

static void end_sessions(struct sim *sim)
{
	save_close(sim);
	load_abort(sim);
}

void sim_enter_error(struct sim *sim)
{
	end_sessions(sim);
	enter(sim, VFM_STATE_ERROR);
}

void core_reset(struct sim *sim)
{
	end_sessions(sim);
	p2p_look(sim);
	regs_reset(sim);
	config_reset(sim);
	memory_fill(&sim->memory, sim->opts.seed);
	sim->hash_value = 0;
	sim->dma_credit = 0;
	sim->dirty_credit = 0;
	p2p_reset(sim);
	enter(sim, VFM_STATE_RUNNING);
}

/* ---- time ---- */

bool core_does_dma(const struct sim *sim)
{
	return sim->state == VFM_STATE_RUNNING || sim->state == VFM_STATE_PRE_COPY;
}

bool sim_runs(const struct sim *sim)
{
	bool p2p = sim->state == VFM_STATE_RUNNING_P2P || sim->state == VFM_STATE_PRE_COPY_P2P;

	return sim_does_dma(sim) || (p2p && sim->who->runs_in_p2p);
}

bool sim_needs_ticks(const struct sim *sim)
{
	const struct regs *regs = &sim->regs;
	bool ring = regs->control & SIM_CONTROL_DMA && regs->dma_rate;
	bool p2p = regs->p2p_target && regs->p2p_rate;

	return (sim_does_dma(sim) && ring) || (sim_does_p2p(sim) && p2p) ||
	       (sim_runs(sim) && sim->opts.dirty_rate) ||
	       (sim->save.open && sim->who->ask_period_ms) || fault_needs_ticks(sim);
}

void sim_clock_start(struct sim *sim, uint64_t now_ns)
{
	sim->last_ns = now_ns;
}

uint64_t sim_due(uint64_t *credit, uint64_t rate, uint64_t ns, uint64_t unit, uint64_t max)
{
	uint64_t things;

	*credit += rate * ns;
	things = *credit / (unit * NS_PER_SEC);
	*credit %= unit * NS_PER_SEC;
	return MIN(things, max);
}

/* What a device that runs does in @ns. */
static void run(struct sim *sim, uint64_t ns)
{
	uint64_t pages, records;

	sim->regs.uptime_ns += ns;
	pages = sim_due(&sim->dirty_credit, sim->opts.dirty_rate, ns, SIM_PAGE_SIZE,
		    TICK_CHANGE_MAX / SIM_PAGE_SIZE);
	memory_change(sim, pages);
	if (!sim_does_dma(sim) || !(sim->regs.control & SIM_CONTROL_DMA))
		return;
	records = sim_due(&sim->dma_credit, sim->regs.dma_rate, ns, 1, TICK_RECORDS_MAX);
	if (records)
		ring_run(sim, records);
}

void sim_tick(struct sim *sim, uint64_t now_ns)
{
	uint64_t ns = now_ns > sim->last_ns ? now_ns - sim->last_ns : 0;

	sim->last_ns = now_ns;
	ns = MIN(ns, TICK_MAX_NS);
	sim->session.ns += ns;
	fault_upset(sim);
	p2p_tick(sim, ns);
	if (sim_runs(sim))
		run(sim, ns);
}

/* ---- states ---- */

void sim_limit_flags(struct sim *sim, uint32_t known)
{
	mutant_meet(sim);
	sim->known_flags = known;
	sim->infov2 = false;
}

uint32_t sim_mig_flags(const struct sim *sim)
{
	return sim->opts.mig_flags & sim->known_flags;
}

enum vfm_state sim_state(const struct sim *sim)
{
	return sim->state;
}

bool sim_in_session(const struct sim *sim)
{
	return sim->save.open || sim->load.open;
}

uint64_t sim_session(const struct sim *sim)
{
	return sim_in_session(sim) ? sim->session.number : 0;
}

int sim_no_session(const struct sim *sim)
{
	return sim->state == VFM_STATE_ERROR ? -sim->who->error_errno : -sim->who->closed_errno;
}

/* What an arc has to get past before it happens. */
static int admit_arc(struct sim *sim, enum vfm_state from, enum vfm_state to)
{
	const struct sim_fail *fail = &sim->opts.fail[from][to];
	uint32_t latency = sim->opts.latency_ms[from][to];
	unsigned nth = ++sim->arc_count[from][to];

	if (latency)
		sim->ops->delay(sim->opaque, latency * NS_PER_MSEC);
	return fail->error && (!fail->nth || fail->nth == nth) ? -fail->error : 0;
}

static int leave_session(struct sim *sim, enum vfm_state from, enum vfm_state to)
{
	if (!fsm_arc_ends_session(from, to))
		return 0;
	if (from == VFM_STATE_RESUMING)
		return mutant_finish(sim);
	save_close(sim);
	return 0;
}

static void begin_session(struct sim *sim)
{
	sim->session = (struct session){
		.number = sim->session.number + 1,
		.doorbells = sim->regs.doorbells,
	};
}

static int open_session(struct sim *sim, enum vfm_state from, enum vfm_state to)
{
	if (fsm_arc_opens_saving(from, to) || fsm_arc_opens_resuming(from, to))
		begin_session(sim);
	if (fsm_arc_opens_saving(from, to))
		return save_open(sim);
	return fsm_arc_opens_resuming(from, to) ? load_open(sim) : 0;
}

static int take_arc(struct sim *sim, enum vfm_state to)
{
	enum vfm_state from = sim->state;
	int ret = admit_arc(sim, from, to);

	if (ret)
		return ret;
	/* The device may leave the state by itself while the arc takes its time. */
	if (sim->state != from)
		return sim_no_session(sim);
	ret = leave_session(sim, from, to);
	if (sim->state != from)
		return sim_no_session(sim);
	if (ret) {
		sim_enter_error(sim);
		return ret;
	}
	ret = open_session(sim, from, to);
	if (ret)
		return ret;
	if (to == VFM_STATE_STOP_COPY)
		save_stop_copy(sim);
	enter(sim, to);
	if (sim->opts.die_in == to)
		sim->ops->die(sim->opaque);
	return 0;
}

int core_set_state(struct sim *sim, uint32_t state)
{
	enum vfm_state path[FSM_PATH_MAX];
	unsigned len, i;
	int ret;

	fault_upset(sim);
	if (state >= VFM_STATE_COUNT)
		return -EINVAL;
	if (sim->state == VFM_STATE_ERROR)
		return -sim->who->error_errno;
	ret = fsm_path(sim->state, state, sim_mig_flags(sim), path, &len);
	for (i = 0; !ret && i < len; i++)
		ret = take_arc(sim, path[i]);
	return ret;
}

/* Bytes of stream went by, in or out: the fault option may end us here. */
void sim_count_stream(struct sim *sim, uint64_t bytes)
{
	sim->stream_bytes += bytes;
	sim->session.bytes += bytes;
	if (sim->stream_bytes >= sim->opts.die_after_bytes)
		sim->ops->die(sim->opaque);
}

/* ---- regions ---- */

uint64_t sim_region_size(const struct sim *sim, uint32_t index)
{
	switch (index) {
	case VFM_PCI_BAR0_REGION + SIM_BAR_REGS:
	case VFM_PCI_BAR0_REGION + SIM_BAR_MSIX:
	case VFM_PCI_BAR0_REGION + SIM_BAR_MAILBOX:
		return SIM_BAR_SIZE;
	case VFM_PCI_CONFIG_REGION:
		return SIM_CONFIG_SIZE;
	default:
		return 0;
	}
}

int sim_region_read(struct sim *sim, uint32_t index, uint64_t offset, void *buf, size_t len)
{
	if (!len || !range_within(offset, len, sim_region_size(sim, index)))
		return -EINVAL;
	if (index == VFM_PCI_CONFIG_REGION)
		return config_read(sim, offset, buf, len);
	if (index == VFM_PCI_BAR0_REGION + SIM_BAR_REGS)
		return regs_read(sim, offset, buf, len);
	if (index == VFM_PCI_BAR0_REGION + SIM_BAR_MAILBOX)
		p2p_read(sim, offset, buf, len);
	else
		memcpy(buf, sim->regs.msix + offset, len);
	return 0;
}

int sim_region_write(struct sim *sim, uint32_t index, uint64_t offset, const void *buf, size_t len)
{
	if (!len || !range_within(offset, len, sim_region_size(sim, index)))
		return -EINVAL;
	if (index == VFM_PCI_CONFIG_REGION)
		return config_write(sim, offset, buf, len);
	if (index == VFM_PCI_BAR0_REGION + SIM_BAR_REGS)
		return regs_write(sim, offset, buf, len);
	if (index == VFM_PCI_BAR0_REGION + SIM_BAR_MAILBOX)
		p2p_write(sim, offset, buf, len);
	else
		memcpy(sim->regs.msix + offset, buf, len);
	return 0;
}

unsigned sim_vectors(const struct sim *sim)
{
	return sim->opts.vectors;
}
