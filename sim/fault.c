/* SPDX-License-Identifier: BSD-3-Clause */
/* What goes wrong because an option says so: calls that fail, and what the device does by itself
 * when a trigger's moment has come. */
#include "base/clock.h"
#include "sim/device.h"

int fault_call(struct sim *sim, enum sim_call call)
{
	const struct sim_fail *fail = &sim->opts.fail_call[call];
	unsigned nth = ++sim->call_count[call];

	return fail->error && (!fail->nth || fail->nth == nth) ? -fail->error : 0;
}

/* Has it happened less than it should by now? */
static bool due(const struct sim *sim, const struct sim_trigger *trigger, uint32_t happened)
{
	uint64_t at = trigger->value * (happened + 1);

	if (happened >= trigger->times)
		return false;
	switch (trigger->when) {
	case SIM_WHEN_NEVER:
		return false;
	case SIM_WHEN_AFTER:
		return sim->session.ns / NS_PER_MSEC >= at;
	case SIM_WHEN_BYTES:
		return sim->session.bytes >= at;
	case SIM_WHEN_INFO:
		return sim->session.infos >= at;
	case SIM_WHEN_LATE:
		return sim->session.late;
	}
	return false;
}

bool fault_reinit_due(const struct sim *sim)
{
	return sim->session.told_to_renew ||
	       due(sim, &sim->opts.reinit, sim->session.reinits);
}

void fault_upset(struct sim *sim)
{
	if (!sim_in_session(sim) || !due(sim, &sim->opts.upset, sim->upsets))
		return;
	sim->upsets++;
	if (sim->opts.upset_resets)
		sim_reset(sim);
	else
		sim_enter_error(sim);
}

void fault_query(struct sim *sim)
{
	struct session *session = &sim->session;
	bool rings = sim->regs.doorbells != session->doorbells;

	session->infos++;
	session->late = session->rang && !rings;
	session->rang = rings;
	session->doorbells = sim->regs.doorbells;
}

static bool waits(const struct sim_trigger *trigger, uint32_t happened)
{
	return trigger->when == SIM_WHEN_AFTER && happened < trigger->times;
}

bool fault_needs_ticks(const struct sim *sim)
{
	return sim_in_session(sim) && (waits(&sim->opts.reinit, sim->session.reinits) ||
				       waits(&sim->opts.upset, sim->upsets));
}
