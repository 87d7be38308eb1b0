/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * --p2p: devices that write to each other. The mailbox BAR of each device is mapped for all others
 * at the guest address of its window, and the devices are told to write to each other in a ring:
 *
 *	dev0 ──> word 0 of dev1's mailbox
 *	dev1 ──> word 1 of dev2's mailbox
 *	dev2 ──> word 2 of dev0's mailbox
 *
 * What arrives in a device after it was promised quiet is counted by the device. Where a VM comes
 * in, the targets come with the devices' state; the addresses are the same on both sides.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "sim/regs.h"
#include "vmm/attach.h"

static int blame(const struct vmm_device *d, char *why, int error, const char *what)
{
	snprintf(why, VMM_WHY_MAX, "device %s: --p2p: %.100s: %s", d->name, what, strerror(-error));
	return error;
}

static const struct vmm_window *mailbox_of(const struct vmm *vm, unsigned device)
{
	unsigned i;

	for (i = 0; i < vm->windows; i++)
		if (vm->window[i].device == device && vm->window[i].bar == SIM_BAR_MAILBOX)
			return &vm->window[i];
	return NULL;
}

static int map_for_others(struct vmm *vm, unsigned owner, const struct vmm_window *w,
			  const struct attach_region *region)
{
	unsigned i;
	int ret = 0;

	for (i = 0; i < vm->devices && !ret; i++) {
		struct vmm_device *d = &vm->device[i];

		if (i != owner)
			ret = d->attach->map_peer ? d->attach->map_peer(d, w->gpa, w->size,
									region->fd, region->offset)
						  : -EOPNOTSUPP;
	}
	return ret;
}

static int share_mailbox(struct vmm *vm, unsigned i, char *why)
{
	const struct vmm_window *w = mailbox_of(vm, i);
	struct attach_region region;
	struct vmm_device *d = &vm->device[i];
	int ret;

	if (!w)
		return blame(d, why, -ENODEV, "it has no mailbox");
	ret = d->attach->get_region(d, SIM_BAR_MAILBOX, &region);
	if (ret < 0)
		return blame(d, why, ret, "asking for its mailbox");
	ret = region.fd >= 0 ? map_for_others(vm, i, w, &region) : -ENODEV;
	if (region.fd >= 0)
		close(region.fd);
	return ret < 0 ? blame(d, why, ret, "mapping its mailbox for the others") : 0;
}

unsigned peers_target(const struct vmm *vm, unsigned i)
{
	return (i + 1) % vm->devices;
}

static int set_target(struct vmm *vm, unsigned i, char *why)
{
	struct vmm_device *d = &vm->device[i];
	uint64_t target = mailbox_of(vm, peers_target(vm, i))->gpa + i * sizeof(uint64_t);
	int ret = attach_write(d, SIM_BAR_REGS, SIM_REG_P2P_TARGET, &target, sizeof(target));

	return ret < 0 ? blame(d, why, ret, "setting its target") : 0;
}

int peers_connect(struct vmm *vm, char *why)
{
	unsigned i;
	int ret = 0;

	for (i = 0; i < vm->devices && !ret; i++)
		ret = share_mailbox(vm, i, why);
	for (i = 0; i < vm->devices && !ret && !vm->config.incoming; i++)
		ret = set_target(vm, i, why);
	return ret;
}

static int read_reg(struct vmm *vm, unsigned i, unsigned bar, uint64_t offset, uint64_t *out)
{
	return attach_read(&vm->device[i], bar, offset, out, sizeof(*out));
}

int peers_look(struct vmm *vm, unsigned i, struct vmm_peer *out)
{
	int ret = read_reg(vm, i, SIM_BAR_REGS, SIM_REG_P2P_SENT, &out->sent);

	if (!ret)
		ret = read_reg(vm, i, SIM_BAR_REGS, SIM_REG_P2P_SEEN, &out->seen);
	if (!ret)
		ret = read_reg(vm, i, SIM_BAR_REGS, SIM_REG_P2P_LATE, &out->late);
	if (!ret)
		ret = read_reg(vm, peers_target(vm, i), SIM_BAR_MAILBOX, i * sizeof(uint64_t),
			       &out->arrived);
	return ret;
}
