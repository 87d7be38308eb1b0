/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The loading data session: takes a stream (stream.h) in pieces of any size.
 *
 * Memory is put in place while it comes; registers are kept until the end. So the device is not
 * to be used before load_finish() has said that the whole stream was right; if it was not, only a
 * reset helps, which is what ERROR asks for. What the session holds does not depend on how much
 * is sent. A stream that is found bad early goes on being swallowed: the verdict is given once,
 * where the protocol has a place for it, when RESUMING is left.
 *
 * Nothing of the stream is believed before it was checked: see the functions named take_*.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bitmap.h"
#include "base/checked.h"
#include "base/clock.h"
#include "sim/device.h"

#define PAY_MIN_NS (250 * NS_PER_USEC) /* load cost is paid in portions that are worth a sleep */

int load_create(struct sim *sim)
{
	struct load *load = &sim->load;

	load->hash = XXH64_createState();
	load->regs = calloc(1, sizeof(*load->regs));
	load->seen = calloc(bitmap_words(sim->memory.pages), sizeof(*load->seen));
	return load->hash && load->regs && load->seen ? 0 : -ENOMEM;
}

void load_destroy(struct load *load)
{
	XXH64_freeState(load->hash);
	free(load->regs);
	free(load->seen);
}

static void expect(struct load *load, enum load_at at, uint64_t bytes)
{
	load->at = at;
	load->need = bytes;
	load->got = 0;
}

int load_open(struct sim *sim)
{
	struct load *load = &sim->load;

	load->open = true;
	load->bad = false;
	load->mismatch = false;
	load->error = 0;
	load->complete = false;
	load->have_regs = false;
	load->taken = 0;
	load->unpaid = 0;
	load->at_end = 0;
	XXH64_reset(load->hash, 0);
	bitmap_clear_range(load->seen, 0, sim->memory.pages);
	expect(load, LOAD_HEADER, sim->who->header_size);
	return 0;
}

void load_abort(struct sim *sim)
{
	sim->load.open = false;
}

/* ---- what arrived as a whole ---- */

/* Initial bytes begin: a device may have to make room for them. */
static void begin_initial(struct sim *sim)
{
	if (sim->opts.alloc_cost_ms)
		sim->ops->delay(sim->opaque, sim->opts.alloc_cost_ms * NS_PER_MSEC);
}

static bool take_header(struct sim *sim)
{
	struct stream_header want;

	stream_make_header(sim, &want);
	sim->load.mismatch = memcmp(&want, sim->load.stage, sim->who->header_size) != 0;
	if (sim->load.mismatch)
		return false;
	begin_initial(sim);
	expect(&sim->load, LOAD_RECORD, sizeof(struct stream_record));
	return true;
}

static bool take_memory_record(struct sim *sim, uint64_t offset, uint32_t length)
{
	struct load *load = &sim->load;

	if (load->have_regs || !length || length > STREAM_RECORD_MAX ||
	    !is_aligned(offset, SIM_PAGE_SIZE) || !range_within(offset, length, sim->memory.size))
		return false;
	if (!is_aligned(length, SIM_PAGE_SIZE) && offset + length != sim->memory.size)
		return false;
	load->body = offset;
	expect(load, LOAD_MEMORY, length);
	return true;
}

static bool take_record(struct sim *sim)
{
	struct load *load = &sim->load;
	struct stream_record in;
	uint32_t length;

	memcpy(&in, load->stage, sizeof(in));
	length = get_le32(in.length);
	if (get_le32(in.type) == STREAM_MEMORY)
		return take_memory_record(sim, get_le64(in.offset), length);
	if (get_le64(in.offset))
		return false;
	if (get_le32(in.type) == STREAM_RENEW && !load->have_regs && !length) {
		begin_initial(sim);
		expect(load, LOAD_RECORD, sizeof(in));
		return true;
	}
	if (get_le32(in.type) == STREAM_REGS && !load->have_regs &&
	    length == sizeof(struct stream_regs)) {
		expect(load, LOAD_REGS, length);
		return true;
	}
	if (get_le32(in.type) == STREAM_END && load->have_regs &&
	    length == sizeof(struct stream_end)) {
		expect(load, LOAD_END, length);
		return true;
	}
	return false;
}

static bool take_memory(struct sim *sim)
{
	struct load *load = &sim->load;

	bitmap_set_range(load->seen, load->body / SIM_PAGE_SIZE,
			 div_round_up(load->need, SIM_PAGE_SIZE));
	expect(load, LOAD_RECORD, sizeof(struct stream_record));
	return true;
}

static bool take_regs(struct sim *sim)
{
	struct load *load = &sim->load;
	const struct stream_regs *in = (const void *)load->stage;

	if (stream_unpack_regs(in, sim->regs.config, load->regs) ||
	    (sim->who->no_dma && (load->regs->dma_rate || load->regs->p2p_rate)))
		return false;
	memcpy(load->mailbox, in->mailbox, sizeof(load->mailbox));
	load->have_regs = true;
	expect(load, LOAD_RECORD, sizeof(struct stream_record));
	return true;
}

static bool take_end(struct sim *sim)
{
	struct load *load = &sim->load;
	struct stream_end in;

	memcpy(&in, load->stage, sizeof(in));
	XXH64_update(load->hash, &in, sizeof(in) - sizeof(in.hash));
	if (get_le64(in.length) != load->taken ||
	    get_le64(in.hash) != XXH64_digest(load->hash) ||
	    bitmap_count(load->seen, sim->memory.pages) != sim->memory.pages)
		return false;
	load->complete = true;
	return true;
}

static bool take_whole(struct sim *sim)
{
	switch (sim->load.at) {
	case LOAD_HEADER:
		return take_header(sim);
	case LOAD_RECORD:
		return take_record(sim);
	case LOAD_MEMORY:
		return take_memory(sim);
	case LOAD_REGS:
		return take_regs(sim);
	case LOAD_END:
		return take_end(sim);
	}
	return false;
}

/* ---- taking bytes ---- */

/* Where the next bytes go. */
static uint8_t *place(struct sim *sim)
{
	struct load *load = &sim->load;

	if (load->at == LOAD_MEMORY)
		return sim->memory.data + load->body + load->got;
	return load->stage + load->got;
}

int load_begin_write(struct sim *sim)
{
	fault_upset(sim);
	if (!sim->load.open)
		return sim_no_session(sim);
	return fault_call(sim, SIM_CALL_WRITE);
}

int sim_mig_space(struct sim *sim, void **where, size_t *room)
{
	struct load *load = &sim->load;

	if (!load->open)
		return sim_no_session(sim);
	if (load->complete && sim->who->excess_errno) {
		load->bad = true;
		load->error = sim->who->excess_errno;
	}
	if (load->error)
		return -load->error;
	if (load->bad || load->complete) {
		*where = load->sink;
		*room = sizeof(load->sink);
	} else {
		*where = place(sim);
		*room = load->need - load->got;
	}
	return 0;
}

/* Time that loading @unpaid bytes takes. */
static uint64_t load_cost_ns(const struct sim *sim)
{
	unsigned __int128 cost = (unsigned __int128)sim->load.unpaid *
				 sim->opts.load_cost_us_per_mib * NS_PER_USEC;

	cost >>= 20;
	return cost > SIM_LATENCY_MAX_MS * NS_PER_MSEC ? SIM_LATENCY_MAX_MS * NS_PER_MSEC
						       : (uint64_t)cost;
}

static void pay(struct sim *sim, uint64_t at_least_ns)
{
	uint64_t ns = load_cost_ns(sim);

	if (!ns || ns < at_least_ns)
		return;
	sim->load.unpaid = 0;
	sim->ops->delay(sim->opaque, ns);
}

static void take(struct sim *sim, size_t bytes)
{
	struct load *load = &sim->load;

	if (load->complete)
		load->bad = true;
	if (load->bad)
		return;
	if (load->at != LOAD_END)
		XXH64_update(load->hash, place(sim), bytes);
	load->got += bytes;
	if (load->got == load->need)
		load->bad = !take_whole(sim);
	if (load->mismatch && sim->who->mismatch_in_write)
		load->error = sim->who->mismatch_errno;
}

/* How many of @bytes are paid for at the end. */
static uint64_t pay_later(const struct sim *sim, size_t bytes)
{
	switch (sim->opts.load_at) {
	case SIM_LOAD_AT_WRITE:
		return 0;
	case SIM_LOAD_AT_END:
		return bytes;
	case SIM_LOAD_AT_BOTH:
		return bytes / 2;
	}
	return 0;
}

int sim_mig_wrote(struct sim *sim, size_t bytes)
{
	struct load *load = &sim->load;
	uint64_t later = pay_later(sim, bytes);

	load->taken += bytes;
	load->at_end += later;
	load->unpaid += bytes - later;
	take(sim, bytes);
	pay(sim, PAY_MIN_NS);
	sim_count_stream(sim, bytes);
	return -load->error;
}

static int verdict(const struct sim *sim)
{
	const struct load *load = &sim->load;

	if (load->mismatch)
		return -sim->who->mismatch_errno;
	return load->bad || !load->complete ? -sim->who->refuse_errno : 0;
}

int load_finish(struct sim *sim)
{
	struct load *load = &sim->load;
	int ret = verdict(sim);

	load->unpaid += load->at_end;
	pay(sim, 0);
	if (!load->open)
		return sim_no_session(sim); /* it was upset while it took its time */
	load->open = false;
	if (ret)
		return ret;
	sim->regs = *load->regs;
	p2p_put(sim, load->mailbox);
	sim->dma_credit = 0;
	sim->dirty_credit = 0;
	return 0;
}
