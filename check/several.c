/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two devices that write to each other. Each stores a count to a word in the other's mailbox
 * (sim/regs.h), which that one counts as late if it comes where nobody may write. So both go to
 * RUNNING_P2P, and then one after the other to STOP, as the devices of a VM do:
 *
 *	DEVICE  RUNNING --> RUNNING_P2P ------------------------> STOP
 *	PEER    RUNNING --------------> RUNNING_P2P --> STOP             late must stay 0
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

/* One device writes to the mailbox of another. */
struct lane {
	struct port *from, *to;
	uint64_t iova; /* of the mailbox, for the writer */
	struct port_memory mailbox;
	bool shared, mapped;
};

static int lane_open(struct lane *lane, struct port *from, struct port *to, uint64_t iova)
{
	uint32_t region = VFM_PCI_BAR0_REGION + SIM_BAR_MAILBOX;
	int ret;

	*lane = (struct lane){.from = from, .to = to, .iova = iova};
	ret = to->ops->share(to, region, SIM_BAR_SIZE, &lane->mailbox);
	lane->shared = !ret;
	if (!ret)
		ret = from->ops->map(from, iova, SIM_BAR_SIZE, &lane->mailbox);
	lane->mapped = !ret;
	return ret;
}

static void lane_close(struct lane *lane)
{
	if (lane->mapped) {
		check_bring_back(lane->from);
		aim(lane->from, 0, 0);
		lane->from->ops->unmap(lane->from, lane->iova, SIM_BAR_SIZE);
	}
	if (lane->shared)
		lane->to->ops->unshare(lane->to, SIM_BAR_SIZE, &lane->mailbox);
}

static int lane_go(struct lane *lane)
{
	int ret = aim(lane->from, lane->iova, RATE);

	return ret ? ret : wait_for_writes(lane->to);
}

static int stop_in_order(struct check *check)
{
	int ret = port_set_state(check->port, VFM_STATE_RUNNING_P2P);

	if (!ret)
		ret = port_set_state(check->peer, VFM_STATE_RUNNING_P2P);
	return ret ? ret : port_set_state(check->peer, VFM_STATE_STOP);
}

/* What came too late, once what is due by now is written: before the writer answers. */
static int count_late(struct lane *lane, uint64_t *late)
{
	uint32_t state;
	int ret;

	poll(NULL, 0, 10);
	ret = port_get_state(lane->from, &state);
	return ret ? ret : reg_read(lane->to, SIM_REG_P2P_LATE, late);
}

static enum check_verdict try_quiet(struct check *check, struct lane *there, struct lane *back)
{
	uint64_t late = 0, late_back = 0;
	int ret = lane_go(there);

	if (!ret)
		ret = lane_go(back);
	if (!ret)
		ret = stop_in_order(check);
	if (!ret)
		ret = count_late(there, &late);
	if (!ret)
		ret = port_set_state(check->port, VFM_STATE_STOP);
	if (!ret)
		ret = count_late(back, &late_back);
	if (ret)
		return check_unjudged(check, "the writer: %s", strerror(-ret));
	if (late)
		return check_fail(check, "PEER was in STOP, and it wrote to it");
	if (late_back)
		return check_fail(check, "it was in STOP, and PEER wrote to it");
	return CHECK_PASS;
}

static enum check_verdict with_lane_back(struct check *check, struct lane *there)
{
	enum check_verdict verdict;
	struct lane back;
	int ret = lane_open(&back, check->peer, check->port, MAILBOX_IOVA * 2);

	verdict = ret ? check_unjudged(check, "DEVICE's mailbox: %s", strerror(-ret))
		      : try_quiet(check, there, &back);
	lane_close(&back);
	return verdict;
}

static enum check_verdict quiet(struct check *check)
{
	enum check_verdict verdict;
	struct lane there;
	int ret = port_reset(check->peer); /* what came late before is forgotten */

	if (!ret)
		ret = port_reset(check->port);
	if (ret)
		return check_unjudged(check, "no reset: %s", strerror(-ret));
	ret = lane_open(&there, check->port, check->peer, MAILBOX_IOVA);
	if (ret == -ENOTSUP)
		verdict = check_na(check, "PEER has no mailbox that can be mapped");
	else if (ret)
		verdict = check_unjudged(check, "PEER's mailbox: %s", strerror(-ret));
	else
		verdict = with_lane_back(check, &there);
	lane_close(&there);
	return verdict;
}

static const struct check_rule rules[] = {
	{"peer-load",
	 "A device takes the state of another of its kind, both ways, and runs with it.",
	 CHECK_MUST, NEEDS_PEER, DOES_WIPE, check_load_both_ways},
	{"peer-quiet", "In RUNNING_P2P a device writes to no other device.", CHECK_MUST,
	 NEEDS_PEER | NEEDS_P2P | NEEDS_WRITER, DOES_WIPE, quiet},
	{"peer-parallel", "Two devices change their states at the same time.", CHECK_MUST,
	 NEEDS_PEER, DOES_WIPE, check_parallel},
	{"peer-interleaved", "The states of two devices are read, and written, by turns.",
	 CHECK_MUST, NEEDS_PEER, DOES_WIPE, check_interleaved},
};

const struct check_family check_several = {"several", rules, ARRAY_SIZE(rules)};
