/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices that write to each other: a mailbox that others may map and write to, and a counter that
 * this device writes to somebody's mailbox.
 *
 * A peer's write is not seen when it happens: it goes to shared memory. It is noticed when the
 * device looks, which it does at every tick, before and after whatever changes its state, and when
 * one of the counters is read. So a change is counted for the state in which it came, exactly, and
 * a word that changed several times between two looks counts once.
 *
 * Who may write: everybody may until all devices have reached their P2P states, and only then the
 * first one goes on to STOP. In STOP, STOP_COPY and RESUMING nobody may.
 */
#include <string.h>

#include "base/checked.h"
#include "sim/device.h"

#define WORDS            (SIM_BAR_SIZE / sizeof(uint64_t))
#define TICK_WRITES_MAX  256u

void *sim_mailbox(const struct sim *sim)
{
	return sim->mailbox.words;
}

/* ---- incoming ---- */

/* How many words are not what they were; now they are known. */
static uint64_t count_changes(struct mailbox *mailbox)
{
	uint64_t word, changes = 0;
	unsigned i;

	for (i = 0; i < WORDS; i++) {
		word = __atomic_load_n(&mailbox->words[i], __ATOMIC_ACQUIRE);
		changes += word != mailbox->known[i];
		mailbox->known[i] = word;
	}
	return changes;
}

static bool nobody_may_write(enum vfm_state state)
{
	return state == VFM_STATE_STOP || state == VFM_STATE_STOP_COPY ||
	       state == VFM_STATE_RESUMING;
}

void p2p_look(struct sim *sim)
{
	uint64_t changes = count_changes(&sim->mailbox);

	if (nobody_may_write(sim->state))
		sim->regs.p2p_late += changes;
	else
		sim->regs.p2p_seen += changes;
}

/* Software's own accesses are no peer's. */
void p2p_read(struct sim *sim, uint64_t offset, void *buf, size_t len)
{
	p2p_look(sim);
	memcpy(buf, (uint8_t *)sim->mailbox.known + offset, len);
}

void p2p_write(struct sim *sim, uint64_t offset, const void *buf, size_t len)
{
	p2p_look(sim);
	memcpy((uint8_t *)sim->mailbox.words + offset, buf, len);
	count_changes(&sim->mailbox);
}

void p2p_put(struct sim *sim, const void *contents)
{
	p2p_write(sim, 0, contents, SIM_BAR_SIZE);
}

void p2p_reset(struct sim *sim)
{
	memset(sim->mailbox.words, 0, SIM_BAR_SIZE);
	count_changes(&sim->mailbox);
	sim->p2p_credit = 0;
}

/* ---- outgoing ---- */

/* The next count to the target. One that cannot be reached is a fault, and is tried again. */
static bool send_one(struct sim *sim)
{
	uint64_t target = align_down(sim->regs.p2p_target, sizeof(uint64_t));

	log_mark(&sim->log, target, sizeof(uint64_t));
	if (sim->ops->dma_store(sim->opaque, target, sim->regs.p2p_sent + 1)) {
		sim->regs.faults++;
		return false;
	}
	sim->regs.p2p_sent++;
	return true;
}

void p2p_tick(struct sim *sim, uint64_t ns)
{
	uint64_t writes;

	p2p_look(sim);
	if (!sim_does_p2p(sim) || !sim->regs.p2p_target)
		return;
	writes = sim_due(&sim->p2p_credit, sim->regs.p2p_rate, ns, 1, TICK_WRITES_MAX);
	while (writes-- && send_one(sim))
		;
}
