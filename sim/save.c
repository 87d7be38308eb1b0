/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The saving data session: the device as a stream (stream.h) that can be read in pieces of any
 * size, while the memory goes on changing.
 *
 * Model. A page is *pending* when its newest contents were not sent, and *early* when pre-copy may
 * send it: the device changed it since the session began. The first initial_size bytes are sent
 * first, in order, then in PRE_COPY states the pages that are pending and early, and in STOP_COPY
 * all that are pending, then the registers and the end.
 *
 *	initial pages   #########>>>>          > not sent yet
 *	others                       ....e..e......ee...      . waits for STOP_COPY, e early
 *	                                    ^ scan: round and round
 *
 * A page stops being pending when its record begins. If it changes while the record is under way,
 * a torn page is on its way and the page is pending again: the later record wins, since the device
 * does not change in STOP_COPY, where the last one of each page is sent.
 *
 * Pieces. Memory is handed out where it lies; everything else is staged. Each byte is hashed when
 * it is handed out, and memory cannot change between that and its sending, because the device only
 * moves inside of calls.
 *
 * The sizes told are exact: what would be read if nothing changed from now on.
 */
#include <errno.h>
#include <string.h>

#include "base/bitmap.h"
#include "sim/device.h"

#define RUN_MAX (STREAM_RECORD_MAX / SIM_PAGE_SIZE) /* pages of one record */

int save_create(struct save *save)
{
	save->hash = XXH3_createState();
	return save->hash ? 0 : -ENOMEM;
}

void save_destroy(struct save *save)
{
	XXH3_freeState(save->hash);
	save->hash = NULL;
}

int save_open(struct sim *sim)
{
	struct memory *memory = &sim->memory;
	XXH3_state_t *hash = sim->save.hash;

	sim->save = (struct save){.open = true, .hash = hash};
	XXH3_64bits_reset(hash);
	bitmap_set_range(memory->pending, 0, memory->pages);
	bitmap_clear_range(memory->early, 0, memory->pages);
	return 0;
}

void save_close(struct sim *sim)
{
	sim->save.open = false;
}

/* ---- runs of pages ---- */

struct run {
	uint64_t start;
	uint64_t pages;
};

/* What may be sent: everything pending, or of that only what is early. */
static uint64_t fit_word(const struct memory *memory, uint64_t word, bool early_only)
{
	return memory->pending[word] & (early_only ? memory->early[word] : UINT64_MAX);
}

/* The first page in [from, end) that is fit (@fit) or is not; @end if there is none. */
static uint64_t find_page(const struct memory *memory, uint64_t from, uint64_t end,
			  bool early_only, bool fit)
{
	uint64_t flip = fit ? 0 : UINT64_MAX, bits, page;

	while (from < end) {
		bits = fit_word(memory, from / BITMAP_WORD_BITS, early_only) ^ flip;
		bits >>= from % BITMAP_WORD_BITS;
		if (bits) {
			page = from + (unsigned)__builtin_ctzll(bits);
			return MIN(page, end);
		}
		from = (from / BITMAP_WORD_BITS + 1) * BITMAP_WORD_BITS;
	}
	return end;
}

static bool find_run(const struct memory *memory, uint64_t from, uint64_t end, bool early_only,
		     struct run *run)
{
	uint64_t limit;

	run->start = find_page(memory, from, end, early_only, true);
	if (run->start >= end)
		return false;
	limit = MIN(end, run->start + RUN_MAX);
	run->pages = find_page(memory, run->start, limit, early_only, false) - run->start;
	return true;
}

/* Bytes of stream for what is fit in [from, end). */
static uint64_t measure(const struct memory *memory, uint64_t from, uint64_t end, bool early_only)
{
	uint64_t bytes = 0;
	struct run run;

	while (find_run(memory, from, end, early_only, &run)) {
		bytes += sizeof(struct stream_record) + run.pages * SIM_PAGE_SIZE;
		from = run.start + run.pages;
	}
	return bytes;
}

/* ---- what comes next ---- */

static void *stage(struct save *save, size_t bytes)
{
	void *at = save->stage + save->stage_end;

	save->stage_end += bytes;
	return at;
}

static size_t staged(const struct save *save)
{
	return save->stage_end - save->stage_at;
}

static uint64_t initial_pages(const struct sim *sim)
{
	return sim->opts.initial_size / SIM_PAGE_SIZE;
}

static bool in_initial(const struct sim *sim)
{
	return sim->save.initial < initial_pages(sim);
}

static void stage_header(struct sim *sim)
{
	struct stream_header *header = stage(&sim->save, sizeof(*header));

	*header = (struct stream_header){
		.magic = put_le64(STREAM_MAGIC),
		.version = put_le32(STREAM_VERSION),
		.size = put_le32(sizeof(*header)),
		.vendor = put_le16(SIM_PCI_VENDOR),
		.device = put_le16(SIM_PCI_DEVICE),
		.subsystem = put_le16(SIM_PCI_SUBSYSTEM),
		.vectors = put_le16((uint16_t)sim->opts.vectors),
		.state_size = put_le64(sim->opts.state_size),
		.page_size = put_le32(SIM_PAGE_SIZE),
		.registers = put_le32(sizeof(struct stream_regs)),
	};
	strncpy(header->personality, sim->who->name, sizeof(header->personality) - 1);
	sim->save.header_sent = true;
}

static void put_record(struct save *save, enum stream_type type, uint64_t offset, size_t length)
{
	struct stream_record *record = stage(save, sizeof(*record));

	record->type = put_le32(type);
	record->length = put_le32((uint32_t)length);
	record->offset = put_le64(offset);
}

static void begin_memory(struct sim *sim, const struct run *run)
{
	struct save *save = &sim->save;

	bitmap_clear_range(sim->memory.pending, run->start, run->pages);
	bitmap_clear_range(sim->memory.early, run->start, run->pages);
	save->body = run->start * SIM_PAGE_SIZE;
	save->body_left = run->pages * SIM_PAGE_SIZE;
	put_record(save, STREAM_MEMORY, save->body, save->body_left);
}

static bool begin_initial(struct sim *sim)
{
	struct save *save = &sim->save;
	struct run run;

	save->in_initial = false;
	if (!in_initial(sim))
		return false;
	if (!find_run(&sim->memory, save->initial, initial_pages(sim), false, &run)) {
		save->initial = initial_pages(sim);
		return false;
	}
	save->in_initial = true;
	save->initial = run.start + run.pages;
	if (!in_initial(sim))
		save->scan = save->initial % sim->memory.pages;
	begin_memory(sim, &run);
	return true;
}

static bool begin_other(struct sim *sim)
{
	bool early_only = sim->state != VFM_STATE_STOP_COPY;
	struct memory *memory = &sim->memory;
	uint64_t scan = sim->save.scan;
	struct run run;

	if (!find_run(memory, scan, memory->pages, early_only, &run) &&
	    !find_run(memory, 0, scan, early_only, &run))
		return false;
	sim->save.scan = (run.start + run.pages) % memory->pages;
	begin_memory(sim, &run);
	return true;
}

/* All that comes after the memory. Everything before was handed out, and so was hashed. */
static void begin_tail(struct sim *sim)
{
	struct save *save = &sim->save;
	size_t start = save->stage_end;
	struct stream_end *end;

	put_record(save, STREAM_REGS, 0, sizeof(struct stream_regs));
	stream_pack_regs(&sim->regs, stage(save, sizeof(struct stream_regs)));
	put_record(save, STREAM_END, 0, sizeof(*end));
	end = stage(save, sizeof(*end));
	end->length = put_le64(save->taken + STREAM_TAIL_SIZE);
	XXH3_64bits_update(save->hash, save->stage + start, STREAM_TAIL_SIZE - sizeof(end->hash));
	end->hash = put_le64(XXH3_64bits_digest(save->hash));
	save->ended = true;
}

/* Take up the next thing; false: there is nothing now. */
static bool begin_next(struct sim *sim)
{
	struct save *save = &sim->save;

	if (STREAM_STAGE_MAX - save->stage_end < STREAM_TAIL_SIZE)
		return false;
	if (!save->header_sent) {
		stage_header(sim);
		return true;
	}
	if (begin_initial(sim) || begin_other(sim))
		return true;
	if (sim->state != VFM_STATE_STOP_COPY || save->ended)
		return false;
	begin_tail(sim);
	return true;
}

/* ---- handing out ---- */

/* The next bytes in one place, at most @max. */
static struct iovec next_bytes(struct sim *sim, size_t max)
{
	struct save *save = &sim->save;
	struct iovec piece;

	if (staged(save)) {
		piece.iov_base = save->stage + save->stage_at;
		piece.iov_len = MIN(staged(save), max);
		save->stage_at += piece.iov_len;
	} else {
		piece.iov_base = sim->memory.data + save->body;
		piece.iov_len = MIN(save->body_left, max);
		save->body += piece.iov_len;
		save->body_left -= piece.iov_len;
	}
	return piece;
}

/* The fault option: the byte at corrupt_at goes out flipped, the device's own stays as it is. */
static size_t limit_for_flip(const struct sim *sim, size_t max)
{
	uint64_t at = sim->opts.corrupt_at, taken = sim->save.taken;

	if (at < taken)
		return max;
	return at == taken ? 1 : MIN(max, at - taken);
}

static struct iovec next_piece(struct sim *sim, size_t max)
{
	struct save *save = &sim->save;
	struct iovec piece = next_bytes(sim, limit_for_flip(sim, max));

	if (!save->ended)
		XXH3_64bits_update(save->hash, piece.iov_base, piece.iov_len);
	if (save->taken == sim->opts.corrupt_at) {
		save->flipped = *(uint8_t *)piece.iov_base ^ 0x40;
		piece.iov_base = &save->flipped;
	}
	save->taken += piece.iov_len;
	return piece;
}

/* Earlier pieces are not looked at any more: their room is free. */
static void compact_stage(struct save *save)
{
	memmove(save->stage, save->stage + save->stage_at, staged(save));
	save->stage_end = staged(save);
	save->stage_at = 0;
}

int64_t sim_mig_read(struct sim *sim, size_t max, struct iovec *iov, int *count)
{
	struct save *save = &sim->save;
	size_t bytes = 0;

	*count = 0;
	if (!save->open)
		return -EINVAL;
	compact_stage(save);
	while (bytes < max && *count < SIM_READ_IOV) {
		if (!staged(save) && !save->body_left && !begin_next(sim))
			break;
		iov[*count] = next_piece(sim, max - bytes);
		bytes += iov[(*count)++].iov_len;
	}
	sim_count_stream(sim, bytes);
	if (!bytes && sim->state != VFM_STATE_STOP_COPY)
		return -ENOMSG;
	return (int64_t)bytes;
}

/* ---- sizes ---- */

static uint64_t under_way(const struct save *save)
{
	return staged(save) + save->body_left +
	       (save->header_sent ? 0 : sizeof(struct stream_header));
}

static uint64_t measure_initial(const struct sim *sim)
{
	if (!in_initial(sim))
		return 0;
	return measure(&sim->memory, sim->save.initial, initial_pages(sim), false);
}

/* All fit pages but the initial ones that are still to come. */
static uint64_t measure_other(const struct sim *sim, bool early_only)
{
	const struct memory *memory = &sim->memory;
	uint64_t scan = sim->save.scan;

	if (in_initial(sim))
		return measure(memory, initial_pages(sim), memory->pages, early_only) +
		       measure(memory, 0, sim->save.initial, early_only);
	return measure(memory, scan, memory->pages, early_only) +
	       measure(memory, 0, scan, early_only);
}

/* The size of a whole stream: the runs of initial pages, then those of the others. */
static uint64_t whole_size(const struct sim *sim)
{
	uint64_t initial = initial_pages(sim), other = sim->memory.pages - initial;
	uint64_t records = (initial + RUN_MAX - 1) / RUN_MAX + (other + RUN_MAX - 1) / RUN_MAX;

	return sizeof(struct stream_header) + sim->memory.size +
	       records * sizeof(struct stream_record) + STREAM_TAIL_SIZE;
}

uint64_t sim_stop_copy_size(struct sim *sim)
{
	const struct save *save = &sim->save;
	uint64_t size = whole_size(sim);

	if (save->open)
		size = under_way(save) + measure_initial(sim) + measure_other(sim, false) +
		       (save->ended ? 0 : STREAM_TAIL_SIZE);
	if (sim->who->stop_copy_size)
		sim->who->stop_copy_size(sim, &size);
	return size;
}

int sim_precopy_infov2(struct sim *sim)
{
	if (!(sim_mig_flags(sim) & VFM_MIG_PRE_COPY))
		return -EINVAL;
	sim->infov2 = true;
	return 0;
}

int sim_precopy_info(struct sim *sim, struct vfm_precopy_info *info)
{
	const struct save *save = &sim->save;
	bool initial = save->in_initial || !save->header_sent || in_initial(sim);

	if (sim->state != VFM_STATE_PRE_COPY && sim->state != VFM_STATE_PRE_COPY_P2P)
		return -EINVAL;
	*info = (struct vfm_precopy_info){
		.argsz = sizeof(*info),
		.initial_bytes = measure_initial(sim) + (initial ? under_way(save) : 0),
		.dirty_bytes = measure_other(sim, true) + (initial ? 0 : under_way(save)),
	};
	if (sim->who->precopy_info)
		sim->who->precopy_info(sim, info);
	return 0;
}
