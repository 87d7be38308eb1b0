/* SPDX-License-Identifier: BSD-3-Clause */
/* Making a VM, holding and releasing its vCPUs. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/accel.h"
#include "vmm/vm.h"

void vmm_log(struct vmm *vm, enum vfm_log_level level, const char *fmt, ...)
{
	char line[512];
	va_list args;

	if (!vm->config.log)
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	vm->config.log(vm->config.opaque, level, line);
}

/* The signals that end us are blocked until the main loop takes them. */
static bool told_to_end(void)
{
	sigset_t pending;

	return sigpending(&pending) == 0 &&
	       (sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1 ||
		sigismember(&pending, SIGHUP) == 1);
}

bool vmm_is_ending(const struct vmm *vm)
{
	return __atomic_load_n(&vm->ending, __ATOMIC_RELAXED) || told_to_end();
}

void vmm_end(struct vmm *vm)
{
	__atomic_store_n(&vm->ending, true, __ATOMIC_RELAXED);
}

void vmm_notice(struct vmm *vm, enum vmm_notice notice)
{
	if (vm->config.notice)
		vm->config.notice(vm->config.opaque, notice);
}

/* The accelerators that this build has, the preferred one first. */
static const struct accel_ops *const accels[] = {
#ifdef HAVE_KVM
	&accel_kvm,
#endif
	&accel_thread,
};

/* "auto" takes the first that the machine has, and says what was wrong with those before. */
static int create_accel(struct vmm *vm, char *why)
{
	static const char no_machine[] =
		" (no virtual machine: the guest's work runs on a host thread)";
	bool any = strcmp(vm->config.accel, "auto") == 0;
	int ret = -ENODEV;
	unsigned i;

	snprintf(why, VMM_WHY_MAX, "there is no accelerator %.32s in this build",
		 vm->config.accel);
	for (i = 0; i < ARRAY_SIZE(accels); i++) {
		if (!any && strcmp(vm->config.accel, accels[i]->name) != 0)
			continue;
		vm->accel = accels[i];
		ret = accels[i]->create(vm, why);
		if (!ret || !any)
			break;
		vmm_log(vm, VFM_LOG_WARN, "%s", why);
	}
	if (ret < 0)
		vm->accel = NULL;
	else
		vmm_log(vm, VFM_LOG_INFO, "accelerator: %s%s", vm->accel->name,
			vm->accel == &accel_thread ? no_machine : "");
	return ret;
}

static int build(struct vmm *vm, char *why)
{
	int ret;

	ret = ram_new(&vm->memory, vm->config.memory, why);
	if (!ret)
		ret = serial_new(&vm->serial, vm->config.serial, why);
	if (!ret)
		ret = layout_plan(vm, why);
	if (!ret)
		ret = attach_devices(vm, why);
	if (!ret && vm->config.p2p)
		ret = peers_connect(vm, why);
	if (!ret)
		ret = create_accel(vm, why);
	if (!ret)
		ret = attach_irqs(vm, why);
	if (!ret && !vm->config.incoming)
		layout_load(vm);
	return ret;
}

int vmm_new(const struct vmm_config *config, struct vmm **out, char *why)
{
	struct vmm *vm = calloc(1, sizeof(*vm));
	int ret;

	*out = NULL;
	if (!vm) {
		snprintf(why, VMM_WHY_MAX, "no memory");
		return -ENOMEM;
	}
	vm->config = *config;
	vm->memory.fd = -1;
	vm->serial.fd = -1;
	vm->intx_quit = -1;
	pthread_mutex_init(&vm->lock, NULL);
	pthread_mutex_init(&vm->pci_lock, NULL);
	vm->holds = VMM_HOLD_USER;
	if (config->incoming)
		vm->holds = VMM_HOLD_INCOMING | VMM_HOLD_MIGRATION;
	ret = build(vm, why);
	if (ret < 0) {
		vmm_free(vm);
		return ret;
	}
	*out = vm;
	return 0;
}

/* The vCPUs end first, since they use all the rest. */
void vmm_free(struct vmm *vm)
{
	if (!vm)
		return;
	if (vm->accel)
		vm->accel->destroy(vm);
	attach_free(vm);
	serial_free(&vm->serial);
	ram_free(&vm->memory);
	pthread_mutex_destroy(&vm->pci_lock);
	pthread_mutex_destroy(&vm->lock);
	free(vm);
}

unsigned vmm_holds(struct vmm *vm)
{
	return __atomic_load_n(&vm->holds, __ATOMIC_ACQUIRE);
}

int vmm_hold(struct vmm *vm, enum vmm_hold hold)
{
	int ret = 0;

	pthread_mutex_lock(&vm->lock);
	if (!vm->holds)
		ret = vm->accel->stop(vm);
	__atomic_or_fetch(&vm->holds, hold, __ATOMIC_ACQ_REL);
	pthread_mutex_unlock(&vm->lock);
	return ret;
}

int vmm_release(struct vmm *vm, unsigned holds)
{
	unsigned before;
	int ret = 0;

	pthread_mutex_lock(&vm->lock);
	before = vm->holds;
	__atomic_and_fetch(&vm->holds, ~holds, __ATOMIC_ACQ_REL);
	if (before && !vm->holds)
		ret = vm->accel->run(vm);
	if (ret < 0)
		__atomic_or_fetch(&vm->holds, before, __ATOMIC_ACQ_REL);
	pthread_mutex_unlock(&vm->lock);
	return ret;
}
