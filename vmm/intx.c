/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * INTx: a level. The device signals its eventfd and masks itself; the accelerator raises the line,
 * and when the guest says that it has dealt with the interrupt, lowers it and signals irq.done. A
 * thread then unmasks the device, which signals again if there still is something.
 *
 *	device ── irq.fd ──> accel ──> guest ── end of interrupt ──> accel ── irq.done ──> thread
 *	   ^──────────────────────────────── unmask ─────────────────────────────────────────┘
 *
 * A signal that is under way while the VM stops may miss what is saved, and whether the device has
 * masked itself is nobody's state. So each line is raised once when vCPUs start after a switchover:
 * drivers of shared lines bear interrupts that are none, and its end unmasks the device.
 *
 * The thread ends when intx_quit is signalled.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "vmm/attach.h"

static void signal_fd(int fd)
{
	uint64_t one = 1;
	ssize_t n = write(fd, &one, sizeof(one));

	(void)n; /* full: it is signalled all the same */
}

static void unmask(struct vmm_device *d)
{
	uint64_t n;
	int ret;

	if (read(d->irq.done, &n, sizeof(n)) != sizeof(n))
		return;
	ret = d->attach->unmask(d, VFM_PCI_INTX_IRQ);
	if (ret < 0 && !__atomic_load_n(&d->lost, __ATOMIC_RELAXED))
		vmm_log(d->vm, VFM_LOG_WARN, "device %s: its interrupt cannot be unmasked: %s",
			d->name, strerror(-ret));
}

static void intx_thread(void *arg)
{
	struct vmm *vm = arg;
	struct pollfd fds[1 + VMM_DEVICES_MAX] = {{.fd = vm->intx_quit, .events = POLLIN}};
	unsigned i;

	for (i = 0; i < vm->devices; i++)
		fds[1 + i] = (struct pollfd){.fd = vm->device[i].irq.done, .events = POLLIN};
	while (!(fds[0].revents & POLLIN)) {
		if (poll(fds, 1 + vm->devices, -1) < 0)
			continue;
		for (i = 0; i < vm->devices; i++)
			if (fds[1 + i].revents & POLLIN)
				unmask(&vm->device[i]);
	}
}

int intx_start(struct vmm *vm, char *why)
{
	unsigned i;
	int ret = 0;

	for (i = 0; i < vm->devices && vm->device[i].irq.done < 0; i++)
		;
	if (i == vm->devices)
		return 0;
	vm->intx_quit = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vm->intx_quit < 0)
		ret = -errno;
	if (!ret)
		ret = thread_start(&vm->intx, NULL, "intx", intx_thread, vm);
	if (ret < 0)
		snprintf(why, VMM_WHY_MAX, "a thread for interrupts: %s", strerror(-ret));
	return ret;
}

void intx_stop(struct vmm *vm)
{
	if (vm->intx_quit < 0)
		return;
	signal_fd(vm->intx_quit);
	thread_join(&vm->intx);
	close(vm->intx_quit);
	vm->intx_quit = -1;
}

void intx_kick(struct vmm *vm)
{
	unsigned i;

	for (i = 0; i < vm->devices; i++)
		if (vm->device[i].irq.done >= 0)
			signal_fd(vm->device[i].irq.fd);
}
