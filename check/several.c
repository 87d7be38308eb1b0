/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two devices that write to each other. DEVICE stores a count to a word in the mailbox of PEER
 * (sim/regs.h), which PEER counts as late if it comes where nobody may write. So both go to
 * RUNNING_P2P, and then PEER alone to STOP, as the devices of a VM do:
 *
 *	DEVICE  RUNNING ──> RUNNING_P2P ─────────────────
 *	PEER    RUNNING ──────────────> RUNNING_P2P ──> STOP   late must stay 0
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "check/check.h"
#include "sim/regs.h"

#define MAILBOX_IOVA (UINT64_C(8) << 30)
#define RATE         10000u /* writes per second */
#define WAIT_MS      20000

static int reg_write(struct port *port, uint64_t reg, uint64_t value, size_t len)
{
	return port->ops->region_write(port, SIM_BAR_REGS, reg, &value, len);
}

static int reg_read(struct port *port, uint64_t reg, uint64_t *value)
{
	return port->ops->region_read(port, SIM_BAR_REGS, reg, value, sizeof(*value));
}

static int aim(struct port *port, uint64_t target, uint32_t rate)
{
	int ret = reg_write(port, SIM_REG_P2P_TARGET, target, 8);

	return ret ? ret : reg_write(port, SIM_REG_P2P_RATE, rate, 4);
}

static int wait_for_writes(struct port *peer)
{
	uint64_t seen = 0;
	int ret = 0;

	for (int ms = 0; ms < WAIT_MS && !ret && !seen; ms++) {
		ret = reg_read(peer, SIM_REG_P2P_SEEN, &seen);
		poll(NULL, 0, 1);
	}
	return ret || seen ? ret : -ETIMEDOUT;
}

static int stop_in_order(struct check *check)
{
	int ret = port_set_state(check->port, VFM_STATE_RUNNING_P2P);

	if (!ret)
		ret = port_set_state(check->peer, VFM_STATE_RUNNING_P2P);
	return ret ? ret : port_set_state(check->peer, VFM_STATE_STOP);
}

/* DEVICE may write to PEER's mailbox. */
static enum check_verdict try_quiet(struct check *check)
{
	uint64_t late = 0;
	uint32_t state;
	int ret = aim(check->port, MAILBOX_IOVA, RATE);

	if (!ret)
		ret = wait_for_writes(check->peer);
	if (!ret)
		ret = stop_in_order(check);
	/* What is due by now is written before the device answers. */
	poll(NULL, 0, 10);
	if (!ret)
		ret = port_get_state(check->port, &state);
	if (!ret)
		ret = reg_read(check->peer, SIM_REG_P2P_LATE, &late);
	if (ret)
		return check_unjudged(check, "the writer: %s", strerror(-ret));
	if (late)
		return check_fail(check, "PEER was in STOP, and it wrote to it");
	return CHECK_PASS;
}

static enum check_verdict with_mailbox(struct check *check, const struct port_memory *mailbox)
{
	enum check_verdict verdict;
	int ret = port_reset(check->peer);

	if (!ret)
		ret = check->port->ops->map(check->port, MAILBOX_IOVA, SIM_BAR_SIZE, mailbox);
	if (ret)
		return check_unjudged(check, "PEER's mailbox: %s", strerror(-ret));
	verdict = try_quiet(check);
	check_bring_back(check->port);
	aim(check->port, 0, 0);
	check->port->ops->unmap(check->port, MAILBOX_IOVA, SIM_BAR_SIZE);
	return verdict;
}

static enum check_verdict quiet(struct check *check)
{
	struct port *peer = check->peer;
	uint32_t region = VFM_PCI_BAR0_REGION + SIM_BAR_MAILBOX;
	struct port_memory mailbox;
	enum check_verdict verdict;
	int ret = peer->ops->share(peer, region, SIM_BAR_SIZE, &mailbox);

	if (ret == -ENOTSUP)
		return check_na(check, "PEER has no mailbox that can be mapped");
	if (ret)
		return check_unjudged(check, "PEER's mailbox: %s", strerror(-ret));
	verdict = with_mailbox(check, &mailbox);
	peer->ops->unshare(peer, SIM_BAR_SIZE, &mailbox);
	return verdict;
}

static const struct check_rule rules[] = {
	{"peer-load",
	 "A device takes the state of another of its kind, both ways, and runs with it.",
	 CHECK_MUST, NEEDS_PEER, DOES_WIPE, check_load_both_ways},
	{"peer-quiet", "In RUNNING_P2P a device writes to no other device.", CHECK_MUST,
	 NEEDS_PEER | NEEDS_P2P | NEEDS_WRITER, DOES_WIPE, quiet},
};

const struct check_family check_several = {"several", rules, ARRAY_SIZE(rules)};
