/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices of the reference VMM, on a double of a serial card: what the guest sees of PCI,
 * interrupts, and what it notices when a migration loses something of a device. On each
 * accelerator; where there is no KVM its tests are skipped, said aloud.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <errno.h>
#include "base/buffer.h"
#include "base/clock.h"
#include "tests/fake-serial.h"
#include "vmm/accel.h"

#define MEMORY      (16ull << 20)
#define PATIENCE_NS (60 * NS_PER_SEC)
#define ENABLE      0x80000000u

static char said[4096]; /* what VMs logged */
static pthread_mutex_t said_lock = PTHREAD_MUTEX_INITIALIZER;

static void on_log(void *opaque, enum vfm_log_level level, const char *line)
{
	size_t used;

	pthread_mutex_lock(&said_lock);
	used = strlen(said);
	snprintf(said + used, sizeof(said) - used, "%s\n", line);
	pthread_mutex_unlock(&said_lock);
}

/* ---- VMs ---- */

static struct vmm_config configure(const char *accel, unsigned first, unsigned count,
				   enum vmm_irq_choice irq)
{
	static char address[FAKE_CARDS][16];
	struct vmm_config config = {.memory = MEMORY, .working_set = 1 << 20,
				    .dirty_rate = 4 << 20, .cpus = 1, .accel = accel,
				    .log = on_log, .devices = count};
	unsigned i;

	for (i = 0; i < count; i++) {
		struct vmm_device_config *d = &config.device[i];

		snprintf(address[first + i], sizeof(address[0]), "%u", first + i);
		snprintf(d->name, sizeof(d->name), "dev%u", i);
		d->attach = &fake_serial_ops;
		d->address = address[first + i];
		d->irq = irq;
	}
	return config;
}

static struct vmm *make(const struct vmm_config *config)
{
	char why[VMM_WHY_MAX] = "";
	struct vmm *vm = NULL;
	int ret = vmm_new(config, &vm, why);

	if (ret == -ENODEV || ret == -EACCES) {
		print_message("[  SKIPPED ] %s\n", why);
		return NULL;
	}
	if (ret < 0)
		fail_msg("%s", why);
	return vm;
}

/* A running VM with @count cards from number 0 on, whose guest has got bytes back. */
static struct vmm *start(const char *accel, unsigned count, enum vmm_irq_choice irq);

/* One that waits, with the cards behind those. */
static struct vmm *expect(const char *accel, unsigned count, enum vmm_irq_choice irq)
{
	struct vmm_config config = configure(accel, count, count, irq);

	config.incoming = true;
	return make(&config);
}

static uint64_t look(const struct vmm *vm, unsigned device, size_t member)
{
	const char *d = (const char *)&vmm_shared(vm)->device[device];

	return __atomic_load_n((const uint64_t *)(d + member), __ATOMIC_ACQUIRE);
}

#define LOOK(vm, device, member) look(vm, device, offsetof(struct guest_shared_device, member))

static void nap(void)
{
	struct timespec ms = {0, 1000000};

	nanosleep(&ms, NULL);
}

static void give_up(const struct vmm *vm, unsigned device, const char *what, uint64_t first)
{
	const struct guest_shared_device *d = &vmm_shared(vm)->device[device];

	fail_msg("device %u: %s stay at %llu; sent %llu, received %llu, interrupts %llu, "
		 "heart %llu, card masked %d, in it %u", device, what, (unsigned long long)first,
		 (unsigned long long)d->sent, (unsigned long long)d->received,
		 (unsigned long long)d->irqs,
		 (unsigned long long)vmm_shared(vm)->cpu[0].heartbeat,
		 fake_card[device].masked, fake_card[device].port.count);
}

/* The member goes up by @more, or the guest has failed. */
static void await_more(const struct vmm *vm, unsigned device, const char *what, size_t member,
		       uint64_t more)
{
	uint64_t end = clock_ns() + PATIENCE_NS, first = look(vm, device, member);

	while (look(vm, device, member) < first + more && !vmm_shared(vm)->failure.kind &&
	       clock_ns() < end)
		nap();
	if (!vmm_shared(vm)->failure.kind && look(vm, device, member) < first + more)
		give_up(vm, device, what, first);
}

#define AWAIT(vm, device, member, more)                                                            \
	await_more(vm, device, #member, offsetof(struct guest_shared_device, member), more)

static void assert_healthy(const struct vmm *vm)
{
	const struct guest_failure *f = &vmm_shared(vm)->failure;

	if (f->kind)
		fail_msg("guest failed: kind %u at 0x%llx expected 0x%llx found 0x%llx", f->kind,
			 (unsigned long long)f->address, (unsigned long long)f->expected,
			 (unsigned long long)f->found);
}

static void assert_counts(const struct vmm *vm, unsigned device, uint64_t lost, uint64_t doubled)
{
	assert_healthy(vm);
	assert_int_equal(LOOK(vm, device, lost), lost);
	assert_int_equal(LOOK(vm, device, doubled), doubled);
}

static struct vmm *start(const char *accel, unsigned count, enum vmm_irq_choice irq)
{
	struct vmm_config config = configure(accel, 0, count, irq);
	struct vmm *vm = make(&config);
	unsigned i;

	if (!vm)
		return NULL;
	assert_int_equal(vmm_release(vm, VMM_HOLD_USER), 0);
	for (i = 0; i < count; i++)
		AWAIT(vm, i, received, 16);
	return vm;
}

#define MAKE(vm, make)                                                                             \
	struct vmm *vm = make;                                                                     \
	if (!vm)                                                                                   \
	skip()

static void stop(struct vmm *vm)
{
	assert_int_equal(vmm_ops.stop(vm), 0);
}

static int load(struct vmm *to, struct vmm *from)
{
	struct vfm_buffer blob;
	int ret;

	buffer_init(&blob, VFM_VM_STATE_MAX);
	assert_int_equal(vmm_ops.save(from, &blob), 0);
	memcpy(to->memory.base, from->memory.base, MEMORY);
	ret = vmm_ops.load(to, buffer_data(&blob), buffer_size(&blob));
	buffer_free(&blob);
	return ret;
}

/* What a card's migration would carry. */
static void move_cards(unsigned count)
{
	unsigned i;

	for (i = 0; i < count; i++)
		fake_card[count + i].port = fake_card[i].port;
}

static void go_on(struct vmm *to)
{
	vmm_ops.owned(to);
	assert_int_equal(vmm_ops.run(to), 0);
}

static struct vmm *move(struct vmm *from, unsigned count, enum vmm_irq_choice irq)
{
	struct vmm *to = expect(from->accel->name, count, irq);

	stop(from);
	move_cards(count);
	assert_int_equal(load(to, from), 0);
	vmm_free(from);
	return to;
}

static const char *accel_of(void **state)
{
	return *state;
}

/* ---- bytes ---- */

static void test_talks(void **state)
{
	MAKE(vm, start(accel_of(state), 2, VMM_IRQ_BEST));
	AWAIT(vm, 0, received, 40);
	AWAIT(vm, 1, received, 40);
	assert_counts(vm, 0, 0, 0);
	assert_counts(vm, 1, 0, 0);
	vmm_free(vm);
}

/* Stopped between two bursts, so that there is something to lose. */
static void stop_with_bytes(struct vmm *vm, unsigned at_least)
{
	unsigned i;

	stop(vm);
	for (i = 0; i < 1000 && fake_card[0].port.count < at_least; i++) {
		assert_int_equal(vmm_ops.run(vm), 0);
		nap();
		stop(vm);
	}
	assert_true(fake_card[0].port.count >= at_least);
}

static void test_moves_with_bytes_in_flight(void **state)
{
	unsigned i;

	MAKE(vm, start(accel_of(state), 3, VMM_IRQ_BEST));
	stop_with_bytes(vm, 8);
	vm = move(vm, 3, VMM_IRQ_BEST);
	assert_in_range(fake_card[3].port.count, 8, FAKE_FIFO);
	go_on(vm);
	for (i = 0; i < 3; i++) {
		AWAIT(vm, i, received, 40);
		assert_counts(vm, i, 0, 0);
	}
	vmm_free(vm);
}

static void test_counts_what_is_lost(void **state)
{
	MAKE(vm, start(accel_of(state), 1, VMM_IRQ_BEST));
	stop_with_bytes(vm, 8);
	fake_serial_drop(&fake_card[0]);
	fake_serial_drop(&fake_card[0]);
	vmm_ops.run(vm);
	AWAIT(vm, 0, received, 24);
	assert_counts(vm, 0, 2, 0);
	stop_with_bytes(vm, 8);
	fake_card[0].port.count = 0; /* all of them: nothing comes behind */
	vmm_ops.run(vm);
	AWAIT(vm, 0, received, 24);
	assert_healthy(vm);
	assert_in_range(LOOK(vm, 0, lost), 9, 10);
	assert_int_equal(LOOK(vm, 0, doubled), 0);
	vmm_free(vm);
}

static void test_counts_what_is_doubled(void **state)
{
	MAKE(vm, start(accel_of(state), 1, VMM_IRQ_BEST));
	stop_with_bytes(vm, 8);
	fake_serial_repeat(&fake_card[0]);
	vmm_ops.run(vm);
	AWAIT(vm, 0, received, 24);
	assert_counts(vm, 0, 0, 1);
	vmm_free(vm);
}

/* Again until the guest sees it: it may have been stopped where it was about to write the register,
 * and then puts it right. */
static void spoil_until_noticed(struct vmm *vm, uint8_t *reg)
{
	unsigned i;

	for (i = 0; i < 1000 && !vmm_shared(vm)->failure.kind; i++) {
		stop(vm);
		*reg ^= 1;
		assert_int_equal(vmm_ops.run(vm), 0);
		AWAIT(vm, 0, received, 24);
	}
}

static void test_notices_a_lost_register(void **state)
{
	MAKE(vm, start(accel_of(state), 1, VMM_IRQ_BEST));
	spoil_until_noticed(vm, &fake_card[0].port.reg[7]);
	assert_int_equal(vmm_shared(vm)->failure.kind, GUEST_FAIL_UART);
	vmm_free(vm);
}

/* ---- interrupts ---- */

static void test_interrupts(void **state)
{
	static const enum vmm_irq_choice choices[] = {VMM_IRQ_BEST, VMM_IRQ_MSI, VMM_IRQ_INTX};
	static const unsigned index[] = {VFM_PCI_MSI_IRQ, VFM_PCI_MSI_IRQ, VFM_PCI_INTX_IRQ};
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(choices); i++) {
		MAKE(vm, start(accel_of(state), 1, choices[i]));
		assert_int_equal(vm->device[0].irq.index, index[i]);
		AWAIT(vm, 0, irqs, 3);
		assert_healthy(vm);
		assert_true(choices[i] != VMM_IRQ_INTX || fake_serial_unmasks(&fake_card[0]) >= 2);
		vmm_free(vm);
	}
}

static void test_works_without_interrupts(void **state)
{
	MAKE(vm, start(accel_of(state), 1, VMM_IRQ_NONE));
	AWAIT(vm, 0, received, 40);
	assert_counts(vm, 0, 0, 0);
	assert_int_equal(LOOK(vm, 0, irqs), 0);
	vmm_free(vm);
}

static void test_refuses_an_interrupt_that_is_not_there(void **state)
{
	struct vmm_config config = configure(accel_of(state), 0, 1, VMM_IRQ_MSIX);
	char why[VMM_WHY_MAX] = "";
	struct vmm *vm;
	int ret = vmm_new(&config, &vm, why);

	assert_true(ret < 0);
	assert_true(strstr(why, "irq=") || strstr(why, "KVM"));
}

/* Nine cards on eight pins: two share one, and both go on interrupting. */
static void test_pins_are_shared(void **state)
{
	MAKE(vm, start(accel_of(state), 9, VMM_IRQ_INTX));
	assert_int_equal(vm->params.device[0].pin, vm->params.device[8].pin);
	assert_int_not_equal(vm->params.device[0].pin, vm->params.device[1].pin);
	AWAIT(vm, 0, irqs, 5);
	AWAIT(vm, 8, irqs, 5);
	assert_healthy(vm);
	vmm_free(vm);
}

/* An interrupt that was under way as the VM stopped, of a card that has masked itself. */
static void test_an_interrupt_lost_underway_does_not_silence(void **state)
{
	MAKE(vm, start(accel_of(state), 1, VMM_IRQ_INTX));
	vm = move(vm, 1, VMM_IRQ_INTX);
	fake_serial_mask(&fake_card[1]);
	go_on(vm);
	AWAIT(vm, 0, irqs, 4);
	assert_counts(vm, 0, 0, 0);
	vmm_free(vm);
}

/* The same where the VM runs on after a migration that failed. */
static void test_a_failed_migration_does_not_silence(void **state)
{
	MAKE(vm, start(accel_of(state), 1, VMM_IRQ_INTX));
	stop(vm);
	fake_serial_mask(&fake_card[0]);
	assert_int_equal(vmm_ops.run(vm), 0);
	AWAIT(vm, 0, irqs, 4);
	assert_counts(vm, 0, 0, 0);
	vmm_free(vm);
}

/* ---- PCI, as a guest would ask. The VM is not running. ---- */

static uint32_t config_read(struct vmm *vm, unsigned devfn, unsigned offset, unsigned len)
{
	uint32_t address = ENABLE | devfn << 8 | (offset & 0xfc), value = 0;

	bus_port_write(vm, PCI_ADDRESS_PORT, &address, 4);
	bus_port_read(vm, (uint16_t)(PCI_DATA_PORT + (offset & 3)), &value, len);
	return value;
}

static void config_write(struct vmm *vm, unsigned devfn, unsigned offset, uint32_t value,
			 unsigned len)
{
	uint32_t address = ENABLE | devfn << 8 | (offset & 0xfc);

	bus_port_write(vm, PCI_ADDRESS_PORT, &address, 4);
	bus_port_write(vm, (uint16_t)(PCI_DATA_PORT + (offset & 3)), &value, len);
}

static struct vmm *make_stopped(unsigned count, bool incoming)
{
	struct vmm_config config = configure("thread", incoming ? count : 0, count, VMM_IRQ_BEST);

	config.incoming = incoming;
	return make(&config);
}

static void test_config_space(void **state)
{
	struct vmm *vm = make_stopped(2, false);
	unsigned one = pci_devfn(0), two = pci_devfn(1);
	uint32_t value = 0;

	assert_int_equal(config_read(vm, 0, PCI_VENDOR, 2), 0x5646);
	assert_int_equal(config_read(vm, 0, PCI_CLASS + 1, 2), 0x0000);
	assert_int_equal(config_read(vm, 0, PCI_CLASS + 3, 1), 0x06);
	assert_int_equal(config_read(vm, one, PCI_VENDOR, 4), 0x32534348);
	assert_int_equal(config_read(vm, two, PCI_VENDOR, 4), 0x32534348);
	assert_int_equal(config_read(vm, two, PCI_VENDOR + 2, 1), 0x53);
	assert_int_equal(config_read(vm, pci_devfn(2), PCI_VENDOR, 4), 0xffffffff);
	assert_int_equal(config_read(vm, 0x100 | one, PCI_VENDOR, 4), 0xffffffff); /* bus 1 */
	assert_int_equal(config_read(vm, one, PCI_COMMAND, 2), 7);
	assert_int_equal(config_read(vm, one, 0xfc, 4), 0); /* one byte is beyond the card's */
	bus_port_read(vm, PCI_ADDRESS_PORT, &value, 4);
	assert_int_equal(value, ENABLE | one << 8 | 0xfc);
	value = one << 8; /* not enabled */
	bus_port_write(vm, PCI_ADDRESS_PORT, &value, 4);
	bus_port_read(vm, PCI_DATA_PORT, &value, 4);
	assert_int_equal(value, 0xffffffff);
	config_read(vm, one, PCI_VENDOR, 4);
	bus_port_read(vm, PCI_DATA_PORT + 2, &value, 4); /* across the end */
	assert_int_equal(value, 0xffffffff);
	vmm_free(vm);
}

static void test_bars(void **state)
{
	struct vmm *vm = make_stopped(2, false);
	unsigned devfn = pci_devfn(1);
	uint32_t port = config_read(vm, devfn, PCI_BAR0, 4);
	uint32_t memory = config_read(vm, devfn, PCI_BAR0 + 4, 4);

	assert_int_equal(port & 3, PCI_BAR_IO);
	assert_int_equal(port & 7, port & 3);
	assert_int_equal(memory & 0xf, PCI_BAR_64);
	assert_int_equal(memory & (FAKE_BAR_SIZE - 1) & ~0xfu, 0);
	assert_int_not_equal(port, config_read(vm, pci_devfn(0), PCI_BAR0, 4));
	config_write(vm, devfn, PCI_BAR0, 0xffffffff, 4);
	assert_int_equal(config_read(vm, devfn, PCI_BAR0, 4), 0xfffffff9);
	config_write(vm, devfn, PCI_BAR0, 0x1001, 4); /* stays where it is */
	assert_int_equal(config_read(vm, devfn, PCI_BAR0, 4), port);
	config_write(vm, devfn, PCI_BAR0 + 4, 0xffffffff, 4);
	config_write(vm, devfn, PCI_BAR0 + 8, 0xffffffff, 4);
	assert_int_equal(config_read(vm, devfn, PCI_BAR0 + 4, 4),
			 (uint32_t)~(FAKE_BAR_SIZE - 1) | PCI_BAR_64);
	assert_int_equal(config_read(vm, devfn, PCI_BAR0 + 8, 4), 0xffffffff);
	config_write(vm, devfn, PCI_BAR0 + 4, memory, 4);
	config_write(vm, devfn, PCI_BAR0 + 8, 0, 4);
	assert_int_equal(config_read(vm, devfn, PCI_BAR0 + 4, 4), memory);
	assert_int_equal(config_read(vm, devfn, PCI_BAR0 + 8, 4), 0);
	config_write(vm, devfn, PCI_BAR0 + 12, 0xffffffff, 4); /* there is none */
	assert_int_equal(config_read(vm, devfn, PCI_BAR0 + 12, 4), 0);
	config_write(vm, devfn, PCI_ROM, 0xffffffff, 4);
	assert_int_equal(config_read(vm, devfn, PCI_ROM, 4), 0);
	vmm_free(vm);
}

static void test_command_switches_windows(void **state)
{
	struct vmm *vm = make_stopped(1, false);
	unsigned devfn = pci_devfn(0), writes = fake_card[0].config_writes;
	uint16_t port = (uint16_t)(config_read(vm, devfn, PCI_BAR0, 4) & ~3u);
	uint8_t value = 0x5a;

	bus_port_write(vm, port + 7, &value, 1);
	assert_int_equal(fake_card[0].port.reg[7], 0x5a);
	config_write(vm, devfn, PCI_COMMAND, 0xf802, 2); /* bits that nobody has are not kept */
	assert_int_equal(config_read(vm, devfn, PCI_COMMAND, 2), 2);
	assert_int_equal(fake_card[0].config[PCI_COMMAND], 2);
	assert_int_equal(fake_card[0].config_writes, writes + 1);
	bus_port_read(vm, port + 7, &value, 1);
	assert_int_equal(value, 0xff);
	config_write(vm, devfn, PCI_COMMAND, 1, 2);
	bus_port_read(vm, port + 7, &value, 1);
	assert_int_equal(value, 0x5a);
	config_write(vm, devfn, PCI_STATUS, 0xffff, 2);
	config_write(vm, devfn, FAKE_MSI_CAP + 2, 1, 2);
	assert_int_equal(config_read(vm, devfn, FAKE_MSI_CAP + 2, 2), 0);
	assert_int_equal(fake_card[0].config_writes, writes + 2);
	vmm_free(vm);
}

struct look {
	struct vmm *vm;
	unsigned calls, locked;
};

static void look_at_lock(void *opaque)
{
	struct look *look = opaque;
	int ret = pthread_mutex_trylock(&look->vm->pci_lock);

	look->calls++;
	look->locked += ret != 0;
	if (!ret)
		pthread_mutex_unlock(&look->vm->pci_lock);
}

/* A device that takes its time holds up nobody's access to another one. */
static void test_no_lock_over_config_space(void **state)
{
	struct look look = {.vm = make_stopped(1, false)};
	unsigned devfn = pci_devfn(0);

	fake_card[0].opaque = &look;
	fake_card[0].on_config = look_at_lock;
	assert_int_equal(config_read(look.vm, devfn, PCI_VENDOR, 4), 0x32534348);
	config_write(look.vm, devfn, PCI_COMMAND, 2, 2);
	assert_int_equal(config_read(look.vm, devfn, PCI_COMMAND, 2), 2);
	fake_card[0].on_config = NULL;
	assert_int_equal(look.calls, 3);
	assert_int_equal(look.locked, 0);
	vmm_free(look.vm);
}

/* Its last bytes would be behind the end of config space. */
static void test_a_capability_that_does_not_fit_is_none(void **state)
{
	struct vmm *vm;

	fake_card[0].config[FAKE_MSI_CAP + 1] = 0xfc;
	fake_card[0].config[0xfc] = PCI_CAP_MSIX;
	vm = make_stopped(1, false);
	assert_int_equal(pci_find_cap(&vm->device[0], PCI_CAP_MSI, PCI_CAP_MSI_SIZE), FAKE_MSI_CAP);
	assert_int_equal(pci_find_cap(&vm->device[0], PCI_CAP_MSIX, 4), 0xfc);
	assert_int_equal(pci_find_cap(&vm->device[0], PCI_CAP_MSIX, PCI_CAP_MSIX_SIZE), 0);
	assert_int_equal(vm->mappings, 1); /* all of the BAR: there is no table */
	vmm_free(vm);
}

/* A mapping lets the guest write, too. */
static void test_a_bar_to_read_is_not_mapped(void **state)
{
	struct vmm *vm;

	fake_card[0].read_only = true;
	vm = make_stopped(1, false);
	assert_int_equal(vm->mappings, 0);
	vmm_free(vm);
}

/* The guest's mistake; the device is as well as before. */
static void test_a_store_to_what_can_only_be_read_is_ignored(void **state)
{
	uint8_t value = 0x5a;
	struct vmm *vm;
	uint64_t base;

	fake_card[0].read_only = true;
	assert_int_equal(pwrite(fake_card[0].bar, "\x77", 1, 16), 1);
	vm = make_stopped(1, false);
	base = config_read(vm, pci_devfn(0), PCI_BAR0 + 4, 4) & ~0xfu;
	bus_write(vm, base + 16, &value, 1);
	assert_false(vm->device[0].lost);
	bus_read(vm, base + 16, &value, 1);
	assert_int_equal(value, 0x77);
	vmm_free(vm);
}

/* The MSI-X table is not mapped. */
static void test_maps_what_is_offered(void **state)
{
	struct vmm_config config = configure(accel_of(state), 0, 1, VMM_IRQ_BEST);
	const struct vmm_mapping *m;
	uint64_t base;
	char seen[4];

	MAKE(vm, make(&config));
	base = config_read(vm, pci_devfn(0), PCI_BAR0 + 4, 4) & ~0xfu;
	m = vm->mapping;
	assert_int_equal(vm->mappings, 2);
	assert_int_equal(m[0].gpa, base);
	assert_int_equal(m[0].size, FAKE_TABLE);
	assert_int_equal(m[1].gpa, base + FAKE_TABLE + GUEST_PAGE);
	assert_int_equal(m[1].size, FAKE_BAR_SIZE - FAKE_TABLE - GUEST_PAGE);
	memcpy((char *)m[1].host + 16, "mapd", 4);
	assert_int_equal(pread(fake_card[0].bar, seen, 4, FAKE_TABLE + GUEST_PAGE + 16), 4);
	assert_memory_equal(seen, "mapd", 4);
	vmm_free(vm);
}

/* ---- what of it migrates ---- */

static void test_config_space_moves(void **state)
{
	struct vmm *from = make_stopped(2, false), *to = make_stopped(2, true);
	unsigned devfn = pci_devfn(1);
	uint32_t port = config_read(from, devfn, PCI_BAR0, 4);

	config_write(from, devfn, PCI_COMMAND, 0x405, 2);
	config_write(from, devfn, PCI_CACHE_LINE, 0x77, 1);
	config_write(from, devfn, PCI_IRQ_LINE, 0x13, 1);
	config_write(from, devfn, PCI_BAR0, 0xffffffff, 4); /* stopped as it asked for the size */
	fake_card[3].config_writes = 0;
	assert_int_equal(load(to, from), 0);
	bus_port_read(to, PCI_DATA_PORT, &port, 4); /* where it was about to read */
	assert_int_equal(port, 0xfffffff9);
	assert_int_equal(fake_card[3].config[PCI_COMMAND], 0x05);
	assert_int_equal(fake_card[3].config[PCI_COMMAND + 1], 0x04);
	assert_int_equal(fake_card[3].config_writes, 1);
	assert_int_equal(config_read(to, devfn, PCI_COMMAND, 2), 0x405);
	assert_int_equal(config_read(to, devfn, PCI_CACHE_LINE, 1), 0x77);
	assert_int_equal(config_read(to, devfn, PCI_IRQ_LINE, 1), 0x13);
	vmm_free(from);
	vmm_free(to);
}

static void test_notices_lost_config_space(void **state)
{
	MAKE(vm, start(accel_of(state), 1, VMM_IRQ_BEST));
	vm = move(vm, 1, VMM_IRQ_BEST);
	go_on(vm);
	spoil_until_noticed(vm, &vm->device[0].pci.shadow[PCI_CACHE_LINE]);
	assert_int_equal(vmm_shared(vm)->failure.kind, GUEST_FAIL_CONFIG);
	vmm_free(vm);
}

static void test_another_device_is_refused(void **state)
{
	static const unsigned offsets[] = {PCI_VENDOR, PCI_VENDOR + 2, PCI_CLASS + 1, PCI_SUBSYSTEM,
					   PCI_IRQ_PIN};
	struct vmm *from = make_stopped(1, false), *to;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(offsets); i++) {
		fake_card[1].config[offsets[i]] ^= 2;
		to = make_stopped(1, true);
		said[0] = '\0';
		assert_int_equal(load(to, from), -EINVAL);
		assert_non_null(strstr(said, "dev0: its PCI config space does not fit"));
		fake_card[1].config[offsets[i]] ^= 2;
		vmm_free(to);
	}
	config_write(from, pci_devfn(0), PCI_COMMAND, 1, 2); /* something to tell the device */
	to = make_stopped(1, true);
	fake_card[1].fail_config = -EIO;
	assert_int_equal(load(to, from), -EIO);
	fake_card[1].fail_config = 0;
	vmm_free(to);
	to = make_stopped(1, true);
	assert_int_equal(load(to, from), 0);
	vmm_free(to);
	vmm_free(from);
}

/* ---- attaching ---- */

static void test_a_device_left_behind_is_reset(void **state)
{
	struct vmm *vm;

	fake_card[0].state = VFM_STATE_RESUMING;
	fake_card[1].state = VFM_STATE_RUNNING;
	said[0] = '\0';
	vm = make_stopped(2, false);
	assert_int_equal(fake_card[0].state, VFM_STATE_RUNNING);
	assert_int_equal(fake_card[0].resets, 1);
	assert_int_equal(fake_card[1].resets, 0);
	assert_non_null(strstr(said, "dev0: found in RESUMING"));
	vmm_free(vm);
}

static void test_attaching_fails(void **state)
{
	struct vmm_config config = configure("thread", 0, 2, VMM_IRQ_BEST);
	int *const faults[] = {&fake_card[1].fail_open, &fake_card[1].fail_config,
			       &fake_card[1].fail_map};
	char why[VMM_WHY_MAX];
	struct vmm *vm;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(faults); i++) {
		*faults[i] = -EPERM;
		why[0] = '\0';
		assert_int_equal(vmm_new(&config, &vm, why), -EPERM);
		assert_non_null(strstr(why, "device dev1: "));
		*faults[i] = 0;
	}
}

static int set_up(void **state)
{
	unsigned i;
	int ret = 0;

	for (i = 0; i < FAKE_CARDS && !ret; i++)
		ret = fake_serial_init(&fake_card[i]);
	return ret;
}

static int tear_down(void **state)
{
	unsigned i;

	for (i = 0; i < FAKE_CARDS; i++)
		fake_serial_destroy(&fake_card[i]);
	return 0;
}

#define ON(test, accel)                                                                            \
	{                                                                                          \
		.name = #test "/" accel, .test_func = test, .setup_func = set_up,                  \
		.teardown_func = tear_down, .initial_state = (void *)(uintptr_t)accel              \
	}
#define BOTH(test) ON(test, "kvm"), ON(test, "thread")
#define ONCE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

/* An argument is a filter: test_moves* */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		BOTH(test_talks),
		BOTH(test_moves_with_bytes_in_flight),
		BOTH(test_counts_what_is_lost),
		BOTH(test_counts_what_is_doubled),
		BOTH(test_notices_a_lost_register),
		BOTH(test_interrupts),
		BOTH(test_works_without_interrupts),
		BOTH(test_refuses_an_interrupt_that_is_not_there),
		BOTH(test_pins_are_shared),
		BOTH(test_an_interrupt_lost_underway_does_not_silence),
		BOTH(test_a_failed_migration_does_not_silence),
		ONCE(test_config_space),
		ONCE(test_bars),
		ONCE(test_command_switches_windows),
		ONCE(test_no_lock_over_config_space),
		ONCE(test_a_capability_that_does_not_fit_is_none),
		ONCE(test_a_bar_to_read_is_not_mapped),
		ONCE(test_a_store_to_what_can_only_be_read_is_ignored),
		BOTH(test_maps_what_is_offered),
		ONCE(test_config_space_moves),
		BOTH(test_notices_lost_config_space),
		ONCE(test_another_device_is_refused),
		ONCE(test_a_device_left_behind_is_reset),
		ONCE(test_attaching_fails),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
