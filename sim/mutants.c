/* SPDX-License-Identifier: BSD-3-Clause */
/* Each mutant: what it does instead, in the order of the checker's rules. */
#include <errno.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/checked.h"
#include "fsm/fsm.h"
#include "sim/device.h"
#include "sim/mutant.h"

#define INDEX(flags) ((flags) & VFM_FEATURE_MASK)
#define OPS(flags)   ((flags) & (VFM_FEATURE_GET | VFM_FEATURE_SET | VFM_FEATURE_PROBE))
#define KNOWN        (VFM_FEATURE_MASK | VFM_FEATURE_GET | VFM_FEATURE_SET | VFM_FEATURE_PROBE)

/* ---- states ---- */

static int cannot_leave_pre_copy(struct sim *sim, uint32_t state)
{
	bool early = sim->state == VFM_STATE_PRE_COPY && state == VFM_STATE_RUNNING;

	return early ? -EINVAL : core_set_state(sim, state);
}

static int refuses_the_same(struct sim *sim, uint32_t state)
{
	return state == sim->state ? -EINVAL : core_set_state(sim, state);
}

static int goes_back_to_pre_copy(struct sim *sim, uint32_t state)
{
	if (sim->state == VFM_STATE_STOP_COPY && state == VFM_STATE_PRE_COPY) {
		int ret = core_set_state(sim, VFM_STATE_RUNNING);

		if (ret)
			return ret;
	}
	return core_set_state(sim, state);
}

static int ignores_the_unsupported(struct sim *sim, uint32_t state)
{
	bool none = state < VFM_STATE_COUNT && !fsm_state_supported(state, sim_mig_flags(sim));

	return none ? 0 : core_set_state(sim, state);
}

static int cuts_the_number(struct sim *sim, uint32_t state)
{
	return core_set_state(sim, state % VFM_STATE_COUNT);
}

static int enters_error(struct sim *sim, uint32_t state)
{
	if (state != VFM_STATE_ERROR)
		return core_set_state(sim, state);
	sim_enter_error(sim);
	return 0;
}

static int stops_when_it_refuses(struct sim *sim, uint32_t state)
{
	if (state != VFM_STATE_COUNT)
		return core_set_state(sim, state);
	return core_set_state(sim, VFM_STATE_STOP) ? -EIO : -EINVAL;
}

/* ---- features ---- */

static uint32_t forgets_stop_copy(uint32_t flags)
{
	return flags & ~(uint32_t)VFM_MIG_STOP_COPY;
}

static int denies_set_of_state(uint32_t flags, uint32_t argsz, int ret)
{
	bool asks = flags == (VFM_FEATURE_MIG_DEVICE_STATE | VFM_FEATURE_SET | VFM_FEATURE_PROBE);

	return asks ? -EINVAL : ret;
}

static int takes_any_feature(uint32_t flags, uint32_t argsz, int ret)
{
	return ret == -ENOTTY ? 0 : ret;
}

static int sets_what_is_read(uint32_t flags, uint32_t argsz, int ret)
{
	bool asks = INDEX(flags) == VFM_FEATURE_MIGRATION &&
		    (OPS(flags) & ~VFM_FEATURE_PROBE) == VFM_FEATURE_SET;

	return asks ? 0 : ret;
}

static int gets_and_sets(uint32_t flags, uint32_t argsz, int ret)
{
	return OPS(flags) == (VFM_FEATURE_GET | VFM_FEATURE_SET) ? 0 : ret;
}

static int does_without_operation(uint32_t flags, uint32_t argsz, int ret)
{
	return flags == VFM_FEATURE_MIGRATION ? 0 : ret;
}

static int ignores_argsz(uint32_t flags, uint32_t argsz, int ret)
{
	return flags == (VFM_FEATURE_MIGRATION | VFM_FEATURE_GET) && argsz < 16 ? 0 : ret;
}

static int wants_exact_argsz(uint32_t flags, uint32_t argsz, int ret)
{
	return flags == (VFM_FEATURE_MIGRATION | VFM_FEATURE_GET) && argsz > 16 ? -EINVAL : ret;
}

static int ignores_flags(uint32_t flags, uint32_t argsz, int ret)
{
	return flags & ~KNOWN ? 0 : ret;
}

/* ---- sessions ---- */

static int64_t reads_nothing_in_stop(struct sim *sim, size_t max, struct iovec *iov, int *count)
{
	int64_t ret = save_read(sim, max, iov, count);

	return ret < 0 && sim->state == VFM_STATE_STOP ? 0 : ret;
}

static int64_t reads_what_loads(struct sim *sim, size_t max, struct iovec *iov, int *count)
{
	int64_t ret = save_read(sim, max, iov, count);

	return ret < 0 && sim->state == VFM_STATE_RESUMING ? 0 : ret;
}

static int swallows_what_is_written(struct sim *sim)
{
	int ret = load_begin_write(sim);

	if (!ret || sim->state != VFM_STATE_STOP_COPY)
		return ret;
	load_open(sim);
	sim->load.bad = true;
	return 0;
}

/* ---- the end of data ---- */

static int64_t says_again(struct sim *sim, size_t max, struct iovec *iov, int *count)
{
	int64_t ret = save_read(sim, max, iov, count);

	return ret == -ENOMSG ? -EAGAIN : ret;
}

/* Of a personality whose ENOMSG is told to a vfio-user client. */
static int64_t never_ends(struct sim *sim, size_t max, struct iovec *iov, int *count)
{
	int64_t ret = save_read(sim, max, iov, count);

	return !ret && sim->state == VFM_STATE_STOP_COPY ? -ENOMSG : ret;
}

static int64_t begins_again(struct sim *sim, size_t max, struct iovec *iov, int *count)
{
	int64_t ret = save_read(sim, max, iov, count);

	if (ret || sim->state != VFM_STATE_STOP_COPY)
		return ret;
	save_open(sim);
	save_stop_copy(sim);
	return 0;
}

/* A byte is read and lost. */
static int64_t rounds_down(struct sim *sim, size_t max, struct iovec *iov, int *count)
{
	int64_t ret;

	if (max == 7) {
		ret = save_read(sim, 1, iov, count);
		if (ret <= 0)
			return ret;
	}
	return save_read(sim, max, iov, count);
}

/* ---- loading ---- */

static int refuses_its_own(struct sim *sim)
{
	int ret = load_finish(sim);

	return ret ? ret : -EFAULT;
}

static int wants_a_whole_header(struct sim *sim)
{
	if (sim->load.open && sim->load.taken && sim->load.taken < sim->who->header_size)
		return -EINVAL;
	return load_begin_write(sim);
}

static int begins_in_stop_copy(struct sim *sim, uint32_t state)
{
	bool early = sim->state == VFM_STATE_PRE_COPY || sim->state == VFM_STATE_PRE_COPY_P2P;
	int ret = core_set_state(sim, state);

	if (ret || !early || state != VFM_STATE_STOP_COPY)
		return ret;
	save_open(sim);
	save_stop_copy(sim);
	return 0;
}

/* The header was sent in the session before, which was given up. */
static int goes_on_where_it_was(struct sim *sim, uint32_t state)
{
	bool read = sim->state == VFM_STATE_PRE_COPY && sim->save.taken;
	int ret = core_set_state(sim, state);

	if (!ret && state == VFM_STATE_RUNNING && read)
		sim->mutant_data = 1;
	else if (!ret && state == VFM_STATE_STOP)
		sim->mutant_data = 0;
	else if (!ret && state == VFM_STATE_PRE_COPY && sim->mutant_data)
		sim->save.header_sent = true;
	return ret;
}

static int64_t counts_saves(struct sim *sim, size_t max, struct iovec *iov, int *count)
{
	if (sim->save.open && !sim->save.taken)
		sim->regs.uptime_ns++;
	return save_read(sim, max, iov, count);
}

static int loads_wrong(struct sim *sim)
{
	int ret = load_finish(sim);

	if (!ret)
		sim->memory.data[0] ^= 1;
	return ret;
}

/* ---- hostile states ---- */

static int take_as_it_is(struct sim *sim)
{
	load_abort(sim);
	return 0;
}

static int takes_nothing(struct sim *sim)
{
	return sim->load.taken ? load_finish(sim) : take_as_it_is(sim);
}

static int takes_a_part(struct sim *sim)
{
	const struct load *load = &sim->load;
	bool part = load->taken && !load->bad && !load->complete;

	return part ? take_as_it_is(sim) : load_finish(sim);
}

static int takes_more(struct sim *sim)
{
	return sim->load.bad && sim->load.complete ? take_as_it_is(sim) : load_finish(sim);
}

static int takes_anything(struct sim *sim)
{
	return sim->load.mismatch ? take_as_it_is(sim) : load_finish(sim);
}

/* A state that is wrong inside: not too short, not too long, and not another device's. */
static int breaks_down(struct sim *sim)
{
	const struct load *load = &sim->load;
	bool inside = load->bad && !load->complete && !load->mismatch;
	int ret = load_finish(sim);

	sim->mutant_data |= ret && inside;
	return ret;
}

static void stays_broken(struct sim *sim)
{
	if (sim->mutant_data)
		sim_enter_error(sim);
	else
		core_reset(sim);
}

static void is_repaired(struct sim *sim)
{
	sim->mutant_data = 0;
}

/* ---- reset ---- */

static void does_not_reset_stop(struct sim *sim)
{
	if (sim->state != VFM_STATE_STOP)
		core_reset(sim);
}

static void keeps_the_session(struct sim *sim)
{
	bool open = sim->save.open;

	core_reset(sim);
	if (open)
		save_open(sim);
}

static int leaves_error(struct sim *sim, uint32_t state)
{
	if (sim->state == VFM_STATE_ERROR && state == VFM_STATE_STOP)
		core_reset(sim);
	return core_set_state(sim, state);
}

/* Its user died while it loaded, and did not come back before. */
static void mourns(struct sim *sim)
{
	sim->mutant_data = sim->state == VFM_STATE_RESUMING && !sim->mutant_data;
}

static int mourns_on(struct sim *sim, uint32_t state)
{
	return sim->mutant_data ? -EIO : core_set_state(sim, state);
}

static void mourns_through_reset(struct sim *sim)
{
	if (!sim->mutant_data)
		core_reset(sim);
}

/* ---- several devices ---- */

/* The hash of what was saved last is still there. */
static int takes_only_its_own(struct sim *sim)
{
	bool own = XXH64_digest(sim->save.hash) == XXH64_digest(sim->load.hash);
	int ret = load_finish(sim);

	return !ret && !own ? -EFAULT : ret;
}

/* ---- precopy info, sizes ---- */

static int tells_nothing(struct sim *sim, struct vfm_precopy_info *info)
{
	return sim->state == VFM_STATE_PRE_COPY ? -EINVAL : size_precopy(sim, info);
}

static int tells_nothing_in_p2p(struct sim *sim, struct vfm_precopy_info *info)
{
	return sim->state == VFM_STATE_PRE_COPY_P2P ? -EINVAL : size_precopy(sim, info);
}

static int tells_in_stop_copy(struct sim *sim, struct vfm_precopy_info *info)
{
	return sim->state == VFM_STATE_STOP_COPY ? 0 : size_precopy(sim, info);
}

static int tells_flags_to_all(struct sim *sim, struct vfm_precopy_info *info)
{
	bool told = sim->infov2;
	int ret = size_precopy(sim, info);

	if (!ret && !told)
		info->flags |= 4;
	return ret;
}

static int grows(struct sim *sim, struct vfm_precopy_info *info)
{
	int ret = size_precopy(sim, info);

	if (!ret && sim->session.infos == 2)
		info->initial_bytes += 1 << 20;
	return ret;
}

static int tells_too_much(struct sim *sim, struct vfm_precopy_info *info)
{
	int ret = size_precopy(sim, info);

	info->initial_bytes *= 10;
	return ret;
}

static int has_no_size(struct sim *sim, uint64_t *size)
{
	return sim->state == VFM_STATE_RUNNING ? -EINVAL : size_stop_copy(sim, size);
}

static int has_an_errno_for_size(struct sim *sim, uint64_t *size)
{
	int ret = size_stop_copy(sim, size);

	if (++sim->mutant_data % 4 == 0)
		*size = (uint64_t)-EAGAIN;
	return ret;
}

static int is_ten_times_as_large(struct sim *sim, uint64_t *size)
{
	int ret = size_stop_copy(sim, size);

	*size /= 10;
	return ret;
}

/* ---- DMA logging ---- */

/* The first start works. */
static int starts_once(struct sim *sim, uint64_t *page_size,
		       const struct vfm_feature_logging_range *ranges, uint32_t count)
{
	int ret = sim->mutant_data ? -EBUSY : log_start(sim, page_size, ranges, count);

	sim->mutant_data |= !ret;
	return ret;
}

static int starts_twice(struct sim *sim, uint64_t *page_size,
			const struct vfm_feature_logging_range *ranges, uint32_t count)
{
	sim_log_stop(sim);
	return log_start(sim, page_size, ranges, count);
}

static int takes_first_range(struct sim *sim, uint64_t *page_size,
			     const struct vfm_feature_logging_range *ranges, uint32_t count)
{
	return log_start(sim, page_size, ranges, MIN(count, 1u));
}

static int takes_parts_of_pages(struct sim *sim, uint64_t *page_size,
				const struct vfm_feature_logging_range *ranges, uint32_t count)
{
	struct vfm_feature_logging_range whole;

	if (count != 1)
		return log_start(sim, page_size, ranges, count);
	whole.iova = align_down(ranges->iova, SIM_PAGE_SIZE);
	whole.length = align_down(ranges->length, SIM_PAGE_SIZE);
	return log_start(sim, page_size, &whole, 1);
}

static int takes_any_page_size(struct sim *sim, uint64_t *page_size,
			       const struct vfm_feature_logging_range *ranges, uint32_t count)
{
	if (!is_power_of_two(*page_size))
		*page_size = SIM_PAGE_SIZE;
	return log_start(sim, page_size, ranges, count);
}

static int reports_when_off(struct sim *sim, uint64_t iova, uint64_t length, uint64_t page_size,
			    uint64_t *bitmap)
{
	return sim->log.on ? log_report(sim, iova, length, page_size, bitmap) : 0;
}

/* One page of eight is missed. */
static int misses_pages(struct sim *sim, uint64_t iova, uint64_t length, uint64_t page_size,
			uint64_t *bitmap)
{
	int ret = log_report(sim, iova, length, page_size, bitmap);

	for (uint64_t i = 5; !ret && i < length / page_size; i += 8)
		bitmap_clear(bitmap, i);
	return ret;
}

static int forgets_nothing(struct sim *sim, uint64_t iova, uint64_t length, uint64_t page_size,
			   uint64_t *bitmap)
{
	int ret = log_report(sim, iova, length, page_size, bitmap);

	for (uint64_t i = 0; !ret && i < length / page_size; i++)
		if (bitmap_test(bitmap, i))
			log_mark(&sim->log, iova + i * page_size, page_size);
	return ret;
}

static bool writes_in_stop(const struct sim *sim)
{
	return core_does_dma(sim) || sim->state == VFM_STATE_STOP;
}

static bool writes_in_p2p(const struct sim *sim)
{
	return core_does_dma(sim) || sim->state == VFM_STATE_RUNNING_P2P;
}

/* ---- the table ---- */

static const struct sim_mutant mutants[] = {
	{.name = "state-allowed", .set_state = cannot_leave_pre_copy},
	{.name = "state-same", .set_state = refuses_the_same},
	{.name = "state-forbidden", .set_state = goes_back_to_pre_copy},
	{.name = "state-unsupported", .set_state = ignores_the_unsupported},
	{.name = "state-range", .set_state = cuts_the_number},
	{.name = "state-error", .set_state = enters_error},
	{.name = "state-kept", .set_state = stops_when_it_refuses},
	{.name = "feature-flags-valid", .flags = forgets_stop_copy},
	{.name = "feature-probe", .feature = denies_set_of_state},
	{.name = "feature-unknown", .feature = takes_any_feature},
	{.name = "feature-direction", .feature = sets_what_is_read},
	{.name = "feature-both", .feature = gets_and_sets},
	{.name = "feature-none", .feature = does_without_operation},
	{.name = "feature-argsz-small", .feature = ignores_argsz},
	{.name = "feature-argsz-large", .feature = wants_exact_argsz},
	{.name = "feature-unknown-flags", .feature = ignores_flags},
	{.name = "session-ended", .read = reads_nothing_in_stop},
	{.name = "session-read-loading", .read = reads_what_loads},
	{.name = "session-write-saving", .begin_write = swallows_what_is_written},
	{.name = "end-temporary", .read = says_again},
	{.name = "end-zero", .read = never_ends},
	{.name = "end-permanent", .read = begins_again},
	{.name = "end-read-sizes", .read = rounds_down},
	{.name = "info-pre-copy", .info = tells_nothing},
	{.name = "info-p2p", .info = tells_nothing_in_p2p},
	{.name = "info-elsewhere", .info = tells_in_stop_copy},
	{.name = "info-flags", .info = tells_flags_to_all},
	{.name = "info-monotonic", .info = grows},
	{.name = "info-initial", .info = tells_too_much},
	{.name = "size-answered", .size = has_no_size},
	{.name = "size-sane", .size = has_an_errno_for_size},
	{.name = "size-told", .size = is_ten_times_as_large},
	{.name = "load-own", .finish = refuses_its_own},
	{.name = "load-pieces", .begin_write = wants_a_whole_header},
	{.name = "load-pre-copy", .set_state = begins_in_stop_copy},
	{.name = "load-second", .set_state = goes_on_where_it_was},
	{.name = "save-again", .read = counts_saves},
	{.name = "save-round-trip", .finish = loads_wrong},
	{.name = "hostile-nothing", .finish = takes_nothing},
	{.name = "hostile-short", .finish = takes_a_part},
	{.name = "hostile-long", .finish = takes_more},
	{.name = "hostile-random", .finish = takes_anything},
	{.name = "hostile-flip", .finish = breaks_down, .reset = stays_broken, .meet = is_repaired},
	{.name = "reset-state", .reset = does_not_reset_stop},
	{.name = "reset-session", .reset = keeps_the_session},
	{.name = "reset-error", .set_state = leaves_error},
	{.name = "reopen-state", .set_state = mourns_on, .reset = mourns_through_reset,
	 .meet = mourns},
	{.name = "log-start", .log_start = starts_once},
	{.name = "log-twice", .log_start = starts_twice},
	{.name = "log-overlap", .log_start = takes_first_range},
	{.name = "log-unaligned", .log_start = takes_parts_of_pages},
	{.name = "log-page-size", .log_start = takes_any_page_size},
	{.name = "log-off", .log_report = reports_when_off},
	{.name = "log-truth", .log_report = misses_pages},
	{.name = "log-clear", .log_report = forgets_nothing},
	{.name = "quiet-stop", .does_dma = writes_in_stop},
	{.name = "quiet-p2p", .does_dma = writes_in_p2p},
	{.name = "peer-load", .finish = takes_only_its_own},
	{.name = "peer-quiet", .does_p2p = writes_in_p2p},
};

const struct sim_mutant *sim_mutant_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(mutants); i++)
		if (!strcmp(mutants[i].name, name))
			return &mutants[i];
	return NULL;
}
