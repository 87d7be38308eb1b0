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
 * Initial bytes can begin anew (REINIT, an option): a RENEW record, then the first pages again.
 * What was early then waits until they are sent, so that the dirty bytes begin at 0 again.
 *
 * Personalities. One that saves when asked has what changes *held* until a precopy info query has
 * asked for a save; the next read begins it, so that more may come than the query told. One whose
 * saves are whole sends everything again each time. One with set-up data alone has no early pages.
 */
#include <errno.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/checked.h"
#include "base/clock.h"
#include "sim/device.h"

int save_create(struct save *save)
{
	save->hash = XXH64_createState();
	if (!save->hash)
		return -ENOMEM;
	XXH64_reset(save->hash, 0); /* mutants look at it before the first save */
	return 0;
}

void save_destroy(struct save *save)
{
	XXH64_freeState(save->hash);
	save->hash = NULL;
}

int save_open(struct sim *sim)
{
	struct memory *memory = &sim->memory;

	sim->save = (struct save){
		.open = true,
		.hash = sim->save.hash,
		.initial_end = div_round_up(sim->opts.initial_size, SIM_PAGE_SIZE),
		.next_ask_ns = sim->who->ask_period_ms * NS_PER_MSEC,
	};
	XXH64_reset(sim->save.hash, 0);
	bitmap_set_range(memory->pending, 0, memory->pages);
	bitmap_clear_range(memory->early, 0, memory->pages);
	bitmap_clear_range(memory->held, 0, memory->pages);
	return 0;
}

void save_close(struct sim *sim)
{
	sim->save.open = false;
}

void save_stop_copy(struct sim *sim)
{
	if (sim->who->whole_saves || sim->save.failed)
		bitmap_set_range(sim->memory.pending, 0, sim->memory.pages);
}

/* ---- runs of pages ---- */

struct run {
	uint64_t start;
	uint64_t pages;
};

static uint64_t fit_word(const struct memory *memory, uint64_t word, enum fit fit)
{
	switch (fit) {
	case FIT_ALL:
		return memory->pending[word];
	case FIT_EARLY:
		return memory->pending[word] & memory->early[word];
	case FIT_OFFERED:
		return memory->pending[word] & (memory->early[word] | memory->held[word]);
	}
	return 0;
}

/* The first page in [from, end) that is fit (@yes) or is not; @end if there is none. */
static uint64_t find_page(const struct memory *memory, uint64_t from, uint64_t end, enum fit fit,
			  bool yes)
{
	uint64_t flip = yes ? 0 : UINT64_MAX, bits, page;

	while (from < end) {
		bits = fit_word(memory, from / BITMAP_WORD_BITS, fit) ^ flip;
		bits >>= from % BITMAP_WORD_BITS;
		if (bits) {
			page = from + (unsigned)__builtin_ctzll(bits);
			return MIN(page, end);
		}
		from = (from / BITMAP_WORD_BITS + 1) * BITMAP_WORD_BITS;
	}
	return end;
}

static bool find_run(const struct memory *memory, uint64_t from, uint64_t end, enum fit fit,
		     struct run *run)
{
	uint64_t limit;

	run->start = find_page(memory, from, end, fit, true);
	if (run->start >= end)
		return false;
	limit = MIN(end, run->start + RUN_MAX);
	run->pages = find_page(memory, run->start, limit, fit, false) - run->start;
	return true;
}

/* Bytes of stream for what is fit in [from, end). */
uint64_t save_measure(const struct memory *memory, uint64_t from, uint64_t end, enum fit fit)
{
	uint64_t bytes = 0;
	struct run run;

	while (find_run(memory, from, end, fit, &run)) {
		bytes += sizeof(struct stream_record) + memory_bytes(memory, run.start, run.pages);
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

bool save_in_initial(const struct sim *sim)
{
	return sim->save.renewed || sim->save.initial < sim->save.initial_end;
}

static void stage_header(struct sim *sim)
{
	struct stream_header header;

	stream_make_header(sim, &header);
	memcpy(stage(&sim->save, sim->who->header_size), &header, sim->who->header_size);
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
	save->body_left = memory_bytes(&sim->memory, run->start, run->pages);
	put_record(save, STREAM_MEMORY, save->body, save->body_left);
}

static void free_range(uint64_t *to, uint64_t *from, uint64_t pages)
{
	uint64_t i;

	for (i = 0; i < bitmap_words(pages); i++) {
		to[i] |= from[i];
		from[i] = 0;
	}
}

/* The initial bytes are sent: what had to wait for that is as early as anything. */
static void end_initial(struct sim *sim)
{
	struct save *save = &sim->save;

	save->in_initial = false;
	if (save->holding && !sim->who->saves_on_query)
		free_range(sim->memory.early, sim->memory.held, sim->memory.pages);
	save->holding = false;
}

bool save_has_initial(const struct sim *sim)
{
	const struct save *save = &sim->save;

	return !save->header_sent || save_in_initial(sim) ||
	       (save->in_initial && save_under_way(save));
}

void save_settle(struct sim *sim)
{
	if (!save_has_initial(sim))
		end_initial(sim);
}

static bool begin_initial(struct sim *sim)
{
	struct save *save = &sim->save;
	struct run run;

	if (save->renewed) {
		put_record(save, STREAM_RENEW, 0, 0);
		save->renewed = false;
		save->in_initial = true;
		return true;
	}
	if (!save_in_initial(sim) ||
	    !find_run(&sim->memory, save->initial, save->initial_end, FIT_ALL, &run)) {
		save->initial = save->initial_end;
		end_initial(sim);
		return false;
	}
	save->in_initial = true;
	save->initial = run.start + run.pages;
	if (!save_in_initial(sim))
		save->scan = save->initial % sim->memory.pages;
	begin_memory(sim, &run);
	return true;
}

static bool begin_other(struct sim *sim)
{
	enum fit fit = sim->state == VFM_STATE_STOP_COPY ? FIT_ALL : FIT_EARLY;
	struct memory *memory = &sim->memory;
	uint64_t scan = sim->save.scan;
	struct run run;

	if (!find_run(memory, scan, memory->pages, fit, &run) &&
	    !find_run(memory, 0, scan, fit, &run))
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
	struct stream_regs *regs;
	struct stream_end *end;

	put_record(save, STREAM_REGS, 0, sizeof(struct stream_regs));
	p2p_look(sim);
	regs = stage(save, sizeof(*regs));
	stream_pack_regs(&sim->regs, regs);
	memcpy(regs->mailbox, sim->mailbox.known, sizeof(regs->mailbox));
	put_record(save, STREAM_END, 0, sizeof(*end));
	end = stage(save, sizeof(*end));
	end->length = put_le64(save->taken + STREAM_TAIL_SIZE);
	XXH64_update(save->hash, save->stage + start, STREAM_TAIL_SIZE - sizeof(end->hash));
	end->hash = put_le64(XXH64_digest(save->hash));
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
		XXH64_update(save->hash, piece.iov_base, piece.iov_len);
	if (save->taken == sim->opts.corrupt_at) {
		save->flipped = *(uint8_t *)piece.iov_base ^ 0x40;
		piece.iov_base = &save->flipped;
	}
	save->taken += piece.iov_len;
	return piece;
}

/* A save that was asked for begins: with all that has changed by now. */
static void begin_asked(struct sim *sim)
{
	sim->save.asked = false;
	if (fault_call(sim, SIM_CALL_SAVE))
		sim->save.failed = true;
	else
		free_range(sim->memory.early, sim->memory.held, sim->memory.pages);
}

/* Earlier pieces are not looked at any more: their room is free. */
static void compact_stage(struct save *save)
{
	memmove(save->stage, save->stage + save->stage_at, staged(save));
	save->stage_end = staged(save);
	save->stage_at = 0;
}

static size_t read_pieces(struct sim *sim, size_t max, struct iovec *iov, int *count)
{
	struct save *save = &sim->save;
	size_t bytes = 0;

	compact_stage(save);
	while (bytes < max && *count < SIM_READ_IOV) {
		if (!staged(save) && !save->body_left && !begin_next(sim))
			break;
		iov[*count] = next_piece(sim, max - bytes);
		bytes += iov[(*count)++].iov_len;
	}
	return bytes;
}

int64_t save_read(struct sim *sim, size_t max, struct iovec *iov, int *count)
{
	size_t limit = sim->who->read_max ? sim->who->read_max : SIZE_MAX, bytes;
	int ret;

	*count = 0;
	fault_upset(sim);
	if (!sim->save.open)
		return sim_no_session(sim);
	ret = fault_call(sim, SIM_CALL_READ);
	if (ret)
		return ret;
	if (sim->save.asked)
		begin_asked(sim);
	bytes = read_pieces(sim, MIN(max, limit), iov, count);
	sim_count_stream(sim, bytes);
	if (!bytes && sim->state != VFM_STATE_STOP_COPY)
		return -sim->who->empty_read;
	return (int64_t)bytes;
}

bool sim_mig_readable(const struct sim *sim)
{
	const struct save *save = &sim->save;
	struct run run;

	return !save->open || sim->state == VFM_STATE_STOP_COPY || save_has_initial(sim) ||
	       save_under_way(save) || save->asked ||
	       find_run(&sim->memory, 0, sim->memory.pages, FIT_EARLY, &run);
}

uint64_t save_under_way(const struct save *save)
{
	return staged(save) + save->body_left;
}
