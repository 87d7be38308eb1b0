/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * --verify: what a stopped VM looks like, so that source and destination can be compared. Memory is
 * hashed here; each simulated device hashes its own memory on command, through its registers as
 * any driver would. Of a UART what can be read without changing it is hashed here. The library
 * measures the time that this takes and leaves it out of the downtime.
 */
#include <errno.h>
#include <string.h>
#include <xxhash.h>
#include "base/clock.h"
#include "sim/regs.h"
#include "vmm/attach.h"

#define UART_REGISTERS 8u

static uint64_t hash_memory(const struct vmm *vm)
{
	XXH3_state_t *state = XXH3_createState();
	uint64_t hash = 0;
	unsigned i;

	if (!state)
		return 0;
	XXH3_64bits_reset(state);
	for (i = 0; i < vm->memory.count; i++)
		XXH3_64bits_update(state, vm->memory.region[i].host, vm->memory.region[i].size);
	hash = XXH3_64bits_digest(state);
	XXH3_freeState(state);
	return hash;
}

/* The records that the ring shows: the number in its last one, and one more. */
static uint64_t ring_end(const struct vmm *vm, unsigned i)
{
	const struct guest_params_device *d = &vm->params.device[i];
	const struct sim_ring_index *index = ram_at(&vm->memory, d->index, sizeof(*index));
	const struct sim_record *ring = ram_at(&vm->memory, d->ring,
					       (uint64_t)d->entries * sizeof(*ring));
	uint64_t producer = index ? __atomic_load_n(&index->producer, __ATOMIC_ACQUIRE) : 0;

	return ring && producer ? ring[(producer - 1) % d->entries].sequence + 1 : 0;
}

static int hash_sim(struct vmm *vm, unsigned i, struct vmm_inspection *in)
{
	struct vmm_device *d = &vm->device[i];
	uint32_t command = SIM_COMMAND_HASH;
	int ret;

	in->device[i].ring = ring_end(vm, i);
	ret = attach_write(d, SIM_BAR_REGS, SIM_REG_COMMAND, &command, sizeof(command));
	if (!ret)
		ret = attach_read(d, SIM_BAR_REGS, SIM_REG_HASH, &in->device[i].hash,
				  sizeof(uint64_t));
	if (!ret)
		ret = attach_read(d, SIM_BAR_REGS, SIM_REG_PRODUCER, &in->device[i].records,
				  sizeof(uint64_t));
	if (!ret && vm->config.p2p)
		ret = peers_look(vm, i, &in->device[i].peer);
	return ret;
}

/* Register 0 would give a byte away. */
static int read_uart(struct vmm_device *d, unsigned bar, uint8_t *to)
{
	unsigned reg;
	int ret = 0;

	for (reg = 1; reg < UART_REGISTERS && !ret; reg++)
		ret = attach_read(d, bar, reg, to + reg, 1);
	return ret;
}

static int hash_uart(struct vmm *vm, unsigned i, struct vmm_inspection *in)
{
	uint8_t seen[PCI_CONFIG_SIZE + GUEST_UARTS_MAX * UART_REGISTERS] = {0};
	int ret = pci_read_function(&vm->device[i], 0, seen, PCI_CONFIG_SIZE);
	uint8_t *ports = seen + PCI_CONFIG_SIZE;
	unsigned w;

	for (w = 0; w < vm->windows && !ret; w++)
		if (vm->window[w].device == i && vm->window[w].bar < GUEST_UARTS_MAX)
			ret = read_uart(&vm->device[i], vm->window[w].bar,
					ports + vm->window[w].bar * UART_REGISTERS);
	if (!ret)
		in->device[i].hash = XXH3_64bits(seen, sizeof(seen));
	return ret;
}

static int hash_device(struct vmm *vm, unsigned i, struct vmm_inspection *in)
{
	switch (vm->params.device[i].driver) {
	case GUEST_DRIVER_SIM:
		return hash_sim(vm, i, in);
	case GUEST_DRIVER_UART:
		return hash_uart(vm, i, in);
	default:
		return -ENODEV;
	}
}

/* A device that cannot be asked is noted, and does not end the migration: the VM may have been
 * given away already. */
int inspect_vm(struct vmm *vm)
{
	struct vmm_inspection in = {.taken = true};
	uint64_t start = clock_ns();
	unsigned i;

	in.memory = hash_memory(vm);
	for (i = 0; i < vm->devices; i++)
		in.device[i].result = hash_device(vm, i, &in);
	for (i = 0; i < vm->config.cpus; i++)
		in.heartbeat[i] = __atomic_load_n(&vmm_shared(vm)->cpu[i].heartbeat,
						  __ATOMIC_ACQUIRE);
	in.took_ns = clock_ns() - start;
	pthread_mutex_lock(&vm->lock);
	vm->inspection = in;
	pthread_mutex_unlock(&vm->lock);
	return 0;
}
