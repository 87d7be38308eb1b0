/* SPDX-License-Identifier: BSD-3-Clause */
/* Each mutant: what it does instead, in the order of the checker's rules. */
#include <errno.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/checked.h"
#include "base/clock.h"
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

/* Slower than a VMM has time for, in one place. */
static int starts_slowly(struct sim *sim, uint32_t state)
{
	if (sim->state == VFM_STATE_RUNNING_P2P && state == VFM_STATE_RUNNING)
		sim->ops->delay(sim->opaque, 400 * NS_PER_MSEC);
	return core_set_state(sim, state);
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
	bool state = INDEX(flags) == VFM_FEATURE_MIG_DEVICE_STATE;

	return state && OPS(flags) == (VFM_FEATURE_GET | VFM_FEATURE_SET) ? 0 : ret;
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

	if (max == 7 && sim->state == VFM_STATE_STOP_COPY) {
		ret = save_read(sim, 1, iov, count);
		if (ret <= 0)
			return ret;
	}
	return save_read(sim, max, iov, count);
}

static int64_t rounds_down_early(struct sim *sim, size_t max, struct iovec *iov, int *count)
{
	int64_t ret;

	if (max == 7 && sim->state == VFM_STATE_PRE_COPY) {
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
	bool early = sim->state == VFM_STATE_PRE_COPY && sim->save.taken;
	int ret = core_set_state(sim, state);

	if (!ret && early && state == VFM_STATE_STOP_COPY)
		sim->save.header_sent = false;
	return ret;
}

static int begins_in_p2p(struct sim *sim, uint32_t state)
{
	bool early = sim->state == VFM_STATE_PRE_COPY;
	int ret = core_set_state(sim, state);

	if (!ret && early && state == VFM_STATE_PRE_COPY_P2P)
		save_open(sim);
	return ret;
}

static int forgets_the_header(struct sim *sim, uint32_t state)
{
	bool direct = sim->state == VFM_STATE_RUNNING && state == VFM_STATE_STOP_COPY;
	int ret = core_set_state(sim, state);

	if (!ret && direct)
		sim->save.header_sent = true;
	return ret;
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

/* Some of it came: all but a byte, or less. */
static bool is_part(const struct load *load, bool nearly)
{
	bool last = load->at == LOAD_END && load->got + 1 == load->need;

	return load->taken && !load->bad && !load->complete && last == nearly;
}

static int takes_nearly_all(struct sim *sim)
{
	return is_part(&sim->load, true) ? take_as_it_is(sim) : load_finish(sim);
}

static int takes_a_part(struct sim *sim)
{
	return is_part(&sim->load, false) ? take_as_it_is(sim) : load_finish(sim);
}

static int takes_more(struct sim *sim)
{
	return sim->load.bad && sim->load.complete ? take_as_it_is(sim) : load_finish(sim);
}

/* Not another device's state, but so many bytes of nonsense. */
#define NONSENSE (64u << 10)

static int takes_anything(struct sim *sim)
{
	bool nonsense = sim->load.mismatch && sim->load.taken == NONSENSE;

	return nonsense ? take_as_it_is(sim) : load_finish(sim);
}

static int takes_anyones(struct sim *sim)
{
	bool anyones = sim->load.mismatch && sim->load.taken != NONSENSE;

	return anyones ? take_as_it_is(sim) : load_finish(sim);
}

/* As long as its own, and nothing in the head's beginning is as it should be. */
static int breaks_down_of_anyones(struct sim *sim)
{
	bool anyones = sim->load.mismatch && sim->load.taken > NONSENSE / 2 &&
		       sim->load.taken != NONSENSE;
	struct stream_header want;

	stream_make_header(sim, &want);
	for (size_t i = 0; i < 8; i++)
		anyones &= ((const uint8_t *)&want)[i] != sim->load.stage[i];
	sim->mutant_data |= anyones;
	return load_finish(sim);
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

/* But where it has loaded before. */
static void does_not_reset_stop(struct sim *sim)
{
	if (sim->state != VFM_STATE_STOP || sim->mutant_data)
		core_reset(sim);
}

static int remembers_loading(struct sim *sim, uint32_t state)
{
	sim->mutant_data = sim->state == VFM_STATE_RESUMING;
	return core_set_state(sim, state);
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

/* Its user died in PRE_COPY, and did not come back before. */
static void mourns(struct sim *sim)
{
	sim->mutant_data = sim->state == VFM_STATE_PRE_COPY && !sim->mutant_data;
}

static void mourns_a_reader(struct sim *sim)
{
	sim->mutant_data = sim->save.open && sim->save.taken && !sim->mutant_data;
}

static void mourns_a_writer(struct sim *sim)
{
	sim->mutant_data = sim->load.open && sim->load.taken && !sim->mutant_data;
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

/* Its user died while it was sent to and fro. */
#define FEW_MOVES 8u
#define MOURNING  (UINT64_C(1) << 32)

static int counts_moves(struct sim *sim, uint32_t state)
{
	bool here = sim->state == VFM_STATE_RUNNING || sim->state == VFM_STATE_STOP;
	bool there = state == VFM_STATE_RUNNING || state == VFM_STATE_STOP;

	sim->mutant_data = here && there ? sim->mutant_data + 1 : 0;
	return core_set_state(sim, state);
}

static void mourns_a_mover(struct sim *sim)
{
	bool moved = sim->mutant_data >= FEW_MOVES && sim->mutant_data != MOURNING;

	sim->mutant_data = moved ? MOURNING : 0;
	if (moved)
		sim_enter_error(sim);
}

static void mourns_a_mover_through_reset(struct sim *sim)
{
	if (sim->mutant_data != MOURNING)
		core_reset(sim);
}

/* ---- several devices ---- */

/* The hash of what was saved last is still there. */
static bool is_its_own(const struct sim *sim)
{
	return XXH64_digest(sim->save.hash) == XXH64_digest(sim->load.hash);
}

/* A reset breaks it that comes at once after another's state was taken. */
static int is_touched_by_anothers(struct sim *sim)
{
	bool own = is_its_own(sim);
	int ret = load_finish(sim);

	sim->mutant_data = !ret && !own;
	return ret;
}

static int forgets_anothers(struct sim *sim, uint32_t state)
{
	sim->mutant_data = 0;
	return core_set_state(sim, state);
}

static int takes_only_its_own(struct sim *sim)
{
	bool own = is_its_own(sim);
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

	if (!ret && !sim->infov2 && sim->session.infos == 2)
		info->initial_bytes += 6 * SIM_PAGE_SIZE;
	return ret;
}

static int begins_with_nothing(struct sim *sim, struct vfm_precopy_info *info)
{
	int ret = size_precopy(sim, info);

	if (!ret && !sim->infov2 && sim->session.infos == 1)
		info->initial_bytes = 0;
	return ret;
}

static int keeps_some(struct sim *sim, struct vfm_precopy_info *info)
{
	int ret = size_precopy(sim, info);

	info->initial_bytes = MAX(info->initial_bytes, (uint64_t)SIM_PAGE_SIZE);
	return ret;
}

static int tells_what_never_comes(struct sim *sim, struct vfm_precopy_info *info)
{
	int ret = size_precopy(sim, info);

	if (!ret && !sim->infov2)
		info->dirty_bytes += 1 << 20;
	return ret;
}

/* Most of it is told in the wrong place. */
static int tells_too_little(struct sim *sim, struct vfm_precopy_info *info)
{
	int ret = size_precopy(sim, info);
	uint64_t initial = info->initial_bytes;

	if (ret || sim->infov2)
		return ret;
	info->initial_bytes = div_round_up(initial, 10);
	info->dirty_bytes += initial - info->initial_bytes;
	return 0;
}

static int knows_no_opt_in(struct sim *sim)
{
	return -EINVAL;
}

static int takes_any_opt_in(struct sim *sim)
{
	int ret = size_opt_in(sim);

	return ret == -EINVAL ? 0 : ret;
}

static int gets_and_sets_the_opt_in(uint32_t flags, uint32_t argsz, int ret)
{
	bool both = flags == (VFM_FEATURE_MIG_PRECOPY_INFOV2 | VFM_FEATURE_GET | VFM_FEATURE_SET);

	return both ? 0 : ret;
}

static int tells_flags_without_meaning(struct sim *sim, struct vfm_precopy_info *info)
{
	int ret = size_precopy(sim, info);

	if (!ret && sim->infov2)
		info->flags |= 4;
	return ret;
}

/* Who asked with the opt-in is remembered. */
static int remembers_the_opt_in(struct sim *sim, struct vfm_precopy_info *info)
{
	int ret = size_precopy(sim, info);

	sim->mutant_data |= sim->infov2;
	if (!ret && !sim->infov2 && sim->mutant_data)
		info->flags |= VFM_PRECOPY_INFO_REINIT;
	return ret;
}

static int grows_unsaid(struct sim *sim, struct vfm_precopy_info *info)
{
	int ret = size_precopy(sim, info);

	if (!ret && sim->infov2 && sim->session.infos == 2)
		info->initial_bytes += 1 << 20;
	return ret;
}

static int is_dirty_at_once(struct sim *sim, struct vfm_precopy_info *info)
{
	int ret = size_precopy(sim, info);

	if (!ret && info->flags & VFM_PRECOPY_INFO_REINIT)
		info->dirty_bytes += SIM_PAGE_SIZE;
	return ret;
}

static int begins_the_stream_again(struct sim *sim, struct vfm_precopy_info *info)
{
	int ret = size_precopy(sim, info);

	if (!ret && info->flags & VFM_PRECOPY_INFO_REINIT)
		sim->save.header_sent = false;
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

/* Wrong by a factor of ten, in one state. */
static int is_wrong_in(struct sim *sim, enum vfm_state state, uint64_t *size)
{
	int ret = size_stop_copy(sim, size);

	*size *= sim->state == state ? 10 : 1;
	return ret;
}

static int is_wrong_in_stop(struct sim *sim, uint64_t *size)
{
	return is_wrong_in(sim, VFM_STATE_STOP, size);
}

static int is_wrong_while_running(struct sim *sim, uint64_t *size)
{
	return is_wrong_in(sim, VFM_STATE_RUNNING, size);
}

static int is_wrong_in_pre_copy(struct sim *sim, uint64_t *size)
{
	return is_wrong_in(sim, VFM_STATE_PRE_COPY, size);
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
	bool overlap = count == 2 && ranges_overlap(ranges[0].iova, ranges[0].length,
						    ranges[1].iova, ranges[1].length);

	return log_start(sim, page_size, ranges, overlap ? 1 : count);
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

/* What was told of the pages from @first on is lost. */
static void lose_from(uint64_t *bitmap, uint64_t first, uint64_t pages)
{
	for (uint64_t i = first; i < pages; i++)
		bitmap_clear(bitmap, i);
}

/* Of a log of large pages the first one is told, and no more. */
static int tells_one_large_page(struct sim *sim, uint64_t iova, uint64_t length, uint64_t page_size,
			uint64_t *bitmap)
{
	int ret = log_report(sim, iova, length, page_size, bitmap);

	if (!ret && sim->log.page_size > SIM_PAGE_SIZE)
		lose_from(bitmap, 1, length / page_size);
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

static int takes_what_wraps(struct sim *sim, uint64_t *page_size,
			    const struct vfm_feature_logging_range *ranges, uint32_t count)
{
	struct vfm_feature_logging_range part = *ranges;
	uint64_t last;

	if (count != 1 || !part.length || checked_add_u64(part.iova, part.length - 1, &last))
		return log_start(sim, page_size, ranges, count);
	part.length = -part.iova;
	return log_start(sim, page_size, &part, 1);
}

static int takes_nothing_to_log(struct sim *sim, uint64_t *page_size,
				const struct vfm_feature_logging_range *ranges, uint32_t count)
{
	const struct vfm_feature_logging_range page = {ranges->iova, SIM_PAGE_SIZE};
	bool empty = count == 1 && !ranges->length;

	return log_start(sim, page_size, empty ? &page : ranges, count);
}

static int has_no_space(struct sim *sim, uint64_t *page_size,
			const struct vfm_feature_logging_range *ranges, uint32_t count)
{
	return count > 256 ? -ENOSPC : log_start(sim, page_size, ranges, count);
}

/* It refuses, and logs the first range all the same. */
static int starts_when_it_refuses(struct sim *sim, uint64_t *page_size,
				  const struct vfm_feature_logging_range *ranges, uint32_t count)
{
	int ret = log_start(sim, page_size, ranges, count);

	if (ret)
		log_start(sim, page_size, ranges, 1);
	return ret;
}

static int tells_odd_pages(struct sim *sim, uint64_t *page_size,
			   const struct vfm_feature_logging_range *ranges, uint32_t count)
{
	int ret = log_start(sim, page_size, ranges, count);

	if (!ret && *page_size != SIM_PAGE_SIZE)
		*page_size += SIM_PAGE_SIZE;
	return ret;
}

static int begins_dirty(struct sim *sim, uint64_t *page_size,
			const struct vfm_feature_logging_range *ranges, uint32_t count)
{
	int ret = log_start(sim, page_size, ranges, count);

	if (!ret && sim->mutant_data++)
		log_mark(&sim->log, ranges->iova, 1);
	return ret;
}

static int drops_ranges(struct sim *sim, uint64_t *page_size,
			const struct vfm_feature_logging_range *ranges, uint32_t count)
{
	return log_start(sim, page_size, ranges, MIN(count, 128u));
}

static int tells_one_page_more(struct sim *sim, uint64_t iova, uint64_t length, uint64_t page_size,
			       uint64_t *bitmap)
{
	int ret = log_report(sim, iova, length, page_size, bitmap);

	if (!ret && length / page_size % BITMAP_WORD_BITS)
		bitmap_set(bitmap, length / page_size);
	return ret;
}

static int tells_nothing_at_last(struct sim *sim, uint64_t iova, uint64_t length,
				 uint64_t page_size, uint64_t *bitmap)
{
	int ret = log_report(sim, iova, length, page_size, bitmap);

	if (!ret && sim->state == VFM_STATE_STOP_COPY)
		lose_from(bitmap, 0, length / page_size);
	return ret;
}

static int loses_while_it_runs(struct sim *sim, uint64_t iova, uint64_t length,
			       uint64_t page_size, uint64_t *bitmap)
{
	int ret = log_report(sim, iova, length, page_size, bitmap);

	if (!ret && sim->state == VFM_STATE_RUNNING)
		lose_from(bitmap, 1, length / page_size);
	return ret;
}

static int tells_the_first_range(struct sim *sim, uint64_t iova, uint64_t length,
				 uint64_t page_size, uint64_t *bitmap)
{
	int ret = log_report(sim, iova, length, page_size, bitmap);

	if (!ret && sim->log.range_count == 2)
		lose_from(bitmap, sim->log.ranges[0].length / page_size, length / page_size);
	return ret;
}

static int tells_nothing_beyond(struct sim *sim, uint64_t iova, uint64_t length,
				uint64_t page_size, uint64_t *bitmap)
{
	const struct vfm_feature_logging_range *range = sim->log.ranges;
	int ret = log_report(sim, iova, length, page_size, bitmap);

	if (!ret && sim->log.range_count == 1 &&
	    !range_within(iova - range->iova, length, range->length))
		lose_from(bitmap, 0, length / page_size);
	return ret;
}

/* Of one range: what does not begin with a word of its log. */
static int tells_whole_words(struct sim *sim, uint64_t iova, uint64_t length, uint64_t page_size,
			     uint64_t *bitmap)
{
	int ret = log_report(sim, iova, length, page_size, bitmap);

	if (!ret && sim->log.range_count == 1 &&
	    !is_aligned(iova - sim->log.ranges->iova, BITMAP_WORD_BITS * SIM_PAGE_SIZE))
		lose_from(bitmap, 0, length / page_size);
	return ret;
}

static void forgets_its_ranges(struct sim *sim)
{
	core_reset(sim);
	for (uint32_t i = 0; i < sim->log.range_count; i++)
		sim->log.ranges[i].length = 0;
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
	{.name = "state-downtime", .set_state = starts_slowly},
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
	{.name = "end-early-sizes", .read = rounds_down_early},
	{.name = "info-pre-copy", .info = tells_nothing},
	{.name = "info-p2p", .info = tells_nothing_in_p2p},
	{.name = "info-elsewhere", .info = tells_in_stop_copy},
	{.name = "info-flags", .info = tells_flags_to_all},
	{.name = "info-monotonic", .info = grows},
	{.name = "info-initial", .info = tells_too_little},
	{.name = "info-nonzero", .info = begins_with_nothing},
	{.name = "info-left", .info = keeps_some},
	{.name = "info-sum", .info = tells_what_never_comes},
	{.name = "reinit-opt-in", .opt_in = knows_no_opt_in},
	{.name = "reinit-refused", .opt_in = takes_any_opt_in},
	{.name = "reinit-forms", .feature = gets_and_sets_the_opt_in},
	{.name = "reinit-flags", .info = tells_flags_without_meaning},
	{.name = "reinit-reopen", .info = remembers_the_opt_in},
	{.name = "reinit-rise", .info = grows_unsaid},
	{.name = "reinit-dirty", .info = is_dirty_at_once},
	{.name = "reinit-load", .info = begins_the_stream_again},
	{.name = "size-answered", .size = has_no_size},
	{.name = "size-sane", .size = has_an_errno_for_size},
	{.name = "size-told", .size = is_wrong_in_stop},
	{.name = "size-running", .size = is_wrong_while_running},
	{.name = "size-pre-copy", .size = is_wrong_in_pre_copy},
	{.name = "load-own", .finish = refuses_its_own},
	{.name = "load-pieces", .begin_write = wants_a_whole_header},
	{.name = "load-pre-copy", .set_state = begins_in_stop_copy},
	{.name = "load-second", .set_state = goes_on_where_it_was},
	{.name = "load-session", .set_state = begins_in_p2p},
	{.name = "load-direct", .set_state = forgets_the_header},
	{.name = "save-again", .read = counts_saves},
	{.name = "save-round-trip", .finish = loads_wrong},
	{.name = "hostile-nothing", .finish = takes_nothing},
	{.name = "hostile-short", .finish = takes_nearly_all},
	{.name = "hostile-long", .finish = takes_more},
	{.name = "hostile-random", .finish = takes_anything},
	{.name = "hostile-flip", .finish = breaks_down, .reset = stays_broken, .meet = is_repaired},
	{.name = "hostile-cut", .finish = takes_a_part},
	{.name = "hostile-head", .finish = breaks_down_of_anyones, .reset = stays_broken,
	 .meet = is_repaired},
	{.name = "hostile-foreign", .finish = takes_anyones},
	{.name = "hostile-peer", .set_state = forgets_anothers, .finish = is_touched_by_anothers,
	 .reset = stays_broken, .meet = is_repaired},
	{.name = "reset-state", .set_state = remembers_loading, .reset = does_not_reset_stop},
	{.name = "reset-session", .reset = keeps_the_session},
	{.name = "reset-error", .set_state = leaves_error},
	{.name = "reopen-state", .set_state = mourns_on, .reset = mourns_through_reset,
	 .meet = mourns},
	{.name = "killed-reading", .set_state = mourns_on, .reset = mourns_through_reset,
	 .meet = mourns_a_reader},
	{.name = "killed-writing", .set_state = mourns_on, .reset = mourns_through_reset,
	 .meet = mourns_a_writer},
	{.name = "killed-moving", .set_state = counts_moves,
	 .reset = mourns_a_mover_through_reset, .meet = mourns_a_mover},
	{.name = "log-start", .log_start = starts_once},
	{.name = "log-twice", .log_start = starts_twice},
	{.name = "log-overlap", .log_start = takes_first_range},
	{.name = "log-unaligned", .log_start = takes_parts_of_pages},
	{.name = "log-page-size", .log_start = takes_any_page_size},
	{.name = "log-off", .log_report = reports_when_off},
	{.name = "log-wrap", .log_start = takes_what_wraps},
	{.name = "log-empty", .log_start = takes_nothing_to_log},
	{.name = "log-many", .log_start = has_no_space},
	{.name = "log-after-refusal", .log_start = starts_when_it_refuses},
	{.name = "log-page-told", .log_start = tells_odd_pages},
	{.name = "log-tail", .log_report = tells_one_page_more},
	{.name = "log-truth", .log_report = tells_one_large_page},
	{.name = "log-stop-copy", .log_report = tells_nothing_at_last},
	{.name = "log-copy", .log_report = loses_while_it_runs},
	{.name = "log-clear", .log_report = forgets_nothing},
	{.name = "log-restart", .log_start = begins_dirty},
	{.name = "log-ranges", .log_report = tells_the_first_range},
	{.name = "log-beyond", .log_report = tells_nothing_beyond},
	{.name = "log-pieces", .log_report = tells_whole_words},
	{.name = "log-many-told", .log_start = drops_ranges},
	{.name = "log-reset", .reset = forgets_its_ranges},
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
