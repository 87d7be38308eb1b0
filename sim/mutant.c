/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a mutant's functions stand in for the device's own. */
#include "sim/mutant.h"

#include "sim/device.h"

#define HOOK(sim, what) ((sim)->opts.mutant && (sim)->opts.mutant->what)

int sim_set_state(struct sim *sim, uint32_t state)
{
	return HOOK(sim, set_state) ? sim->opts.mutant->set_state(sim, state)
				    : core_set_state(sim, state);
}

void sim_reset(struct sim *sim)
{
	if (HOOK(sim, reset))
		sim->opts.mutant->reset(sim);
	else
		core_reset(sim);
}

bool sim_does_dma(const struct sim *sim)
{
	return HOOK(sim, does_dma) ? sim->opts.mutant->does_dma(sim) : core_does_dma(sim);
}

bool sim_does_p2p(const struct sim *sim)
{
	return HOOK(sim, does_p2p) ? sim->opts.mutant->does_p2p(sim) : core_does_dma(sim);
}

int64_t sim_mig_read(struct sim *sim, size_t max, struct iovec *iov, int *count)
{
	return HOOK(sim, read) ? sim->opts.mutant->read(sim, max, iov, count)
			       : save_read(sim, max, iov, count);
}

int sim_mig_begin_write(struct sim *sim)
{
	return HOOK(sim, begin_write) ? sim->opts.mutant->begin_write(sim) : load_begin_write(sim);
}

int mutant_finish(struct sim *sim)
{
	return HOOK(sim, finish) ? sim->opts.mutant->finish(sim) : load_finish(sim);
}

int sim_precopy_info(struct sim *sim, struct vfm_precopy_info *info)
{
	return HOOK(sim, info) ? sim->opts.mutant->info(sim, info) : size_precopy(sim, info);
}

int sim_precopy_infov2(struct sim *sim)
{
	return HOOK(sim, opt_in) ? sim->opts.mutant->opt_in(sim) : size_opt_in(sim);
}

int sim_data_size(struct sim *sim, uint64_t *size)
{
	return HOOK(sim, size) ? sim->opts.mutant->size(sim, size) : size_stop_copy(sim, size);
}

int sim_log_start(struct sim *sim, uint64_t *page_size,
		  const struct vfm_feature_logging_range *ranges, uint32_t count)
{
	return HOOK(sim, log_start) ? sim->opts.mutant->log_start(sim, page_size, ranges, count)
				    : log_start(sim, page_size, ranges, count);
}

int sim_log_report(struct sim *sim, uint64_t iova, uint64_t length, uint64_t page_size,
		   uint64_t *bitmap)
{
	return HOOK(sim, log_report)
		       ? sim->opts.mutant->log_report(sim, iova, length, page_size, bitmap)
		       : log_report(sim, iova, length, page_size, bitmap);
}

void mutant_meet(struct sim *sim)
{
	if (HOOK(sim, meet))
		sim->opts.mutant->meet(sim);
}

uint32_t sim_told_flags(const struct sim *sim)
{
	uint32_t flags = sim_mig_flags(sim);

	return HOOK(sim, flags) ? sim->opts.mutant->flags(flags) : flags;
}

int sim_judge_feature(const struct sim *sim, uint32_t flags, uint32_t argsz, int ret)
{
	return HOOK(sim, feature) ? sim->opts.mutant->feature(flags, argsz, ret) : ret;
}
