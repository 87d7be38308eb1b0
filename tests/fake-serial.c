/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/fake-serial.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DATA 0
#define IER  1
#define FCR  2
#define LSR  5

struct fake_serial fake_card[FAKE_CARDS];

static struct fake_serial *card_of(const struct vmm_device *d)
{
	return d->handle;
}

/* ---- making ---- */

static void fill_config(uint8_t *config)
{
	static const uint8_t identity[16] = {0x48, 0x43, 0x53, 0x32, 0, 0, 0x10, 0x02,
					     0x10, 0x02, 0x00, 0x07, 0, 0, 0, 0};
	static const uint8_t msix[12] = {PCI_CAP_MSIX, 0, 3, 0, FAKE_BAR, FAKE_TABLE >> 8, 0, 0,
					 FAKE_BAR, (FAKE_TABLE + 0x800) >> 8, 0, 0};

	memcpy(config, identity, sizeof(identity));
	config[PCI_BAR0] = PCI_BAR_IO;
	config[PCI_BAR0 + 4] = PCI_BAR_64;
	config[PCI_SUBSYSTEM] = 0x11;
	config[PCI_CAPABILITIES] = FAKE_MSI_CAP;
	config[PCI_IRQ_PIN] = 1;
	config[FAKE_MSI_CAP] = PCI_CAP_MSI;
	config[FAKE_MSI_CAP + 1] = FAKE_MSIX_CAP;
	memcpy(config + FAKE_MSIX_CAP, msix, sizeof(msix));
}

int fake_serial_init(struct fake_serial *card)
{
	unsigned i;

	memset(card, 0, sizeof(*card));
	pthread_mutex_init(&card->lock, NULL);
	card->state = VFM_STATE_RUNNING;
	for (i = 0; i < VFM_PCI_NUM_IRQS; i++)
		card->irq[i] = -1;
	fill_config(card->config);
	card->bar = memfd_create("bar", MFD_CLOEXEC);
	return card->bar < 0 || ftruncate(card->bar, FAKE_BAR_SIZE) ? -errno : 0;
}

void fake_serial_destroy(struct fake_serial *card)
{
	close(card->bar);
	pthread_mutex_destroy(&card->lock);
}

void fake_serial_mask(struct fake_serial *card)
{
	pthread_mutex_lock(&card->lock);
	card->masked = true;
	pthread_mutex_unlock(&card->lock);
}

unsigned fake_serial_unmasks(struct fake_serial *card)
{
	unsigned unmasks;

	pthread_mutex_lock(&card->lock);
	unmasks = card->unmasks;
	pthread_mutex_unlock(&card->lock);
	return unmasks;
}

void fake_serial_drop(struct fake_serial *card)
{
	card->port.head = (card->port.head + 1) % FAKE_FIFO;
	card->port.count--;
}

void fake_serial_repeat(struct fake_serial *card)
{
	uint8_t oldest = card->port.fifo[card->port.head];

	card->port.head = (card->port.head + FAKE_FIFO - 1) % FAKE_FIFO;
	card->port.fifo[card->port.head] = oldest;
	card->port.count++;
}

/* ---- the port ---- */

static void interrupt(struct fake_serial *card)
{
	uint64_t one = 1;
	unsigned i;

	for (i = 0; i < VFM_PCI_NUM_IRQS; i++) {
		if (card->irq[i] < 0 || (i == VFM_PCI_INTX_IRQ && card->masked))
			continue;
		card->masked = i == VFM_PCI_INTX_IRQ;
		if (write(card->irq[i], &one, sizeof(one)) < 0)
			continue;
	}
}

static void put_byte(struct fake_serial *card, uint8_t value)
{
	struct fake_port *p = &card->port;

	if (p->count == FAKE_FIFO)
		return;
	p->fifo[(p->head + p->count++) % FAKE_FIFO] = value;
	if (p->count == 1 && (p->reg[IER] & 1))
		interrupt(card);
}

static uint8_t get_byte(struct fake_serial *card)
{
	uint8_t value = card->port.fifo[card->port.head];

	if (card->port.count)
		fake_serial_drop(card);
	return value;
}

static void write_port(struct fake_serial *card, unsigned reg, uint8_t value)
{
	if (reg == DATA)
		put_byte(card, value);
	else if (reg == FCR && (value & 6))
		card->port.head = card->port.count = 0;
	else
		card->port.reg[reg & 7] = value;
}

static uint8_t read_port(struct fake_serial *card, unsigned reg)
{
	if (reg == DATA)
		return get_byte(card);
	return reg == LSR ? card->port.count > 0 : card->port.reg[reg & 7];
}

/* ---- the seam ---- */

static int fake_open(struct vmm_device *d, const char *address, char *why)
{
	struct fake_serial *card = &fake_card[atoi(address) % FAKE_CARDS];

	if (card->fail_open)
		return attach_blame(d, why, card->fail_open, "opening it");
	card->opens++;
	d->handle = card;
	return 0;
}

static void fake_close(struct vmm_device *d)
{
	unsigned i;

	for (i = 0; d->handle && i < VFM_PCI_NUM_IRQS; i++)
		card_of(d)->irq[i] = -1;
	d->handle = NULL;
}

static int fake_get_info(struct vmm_device *d, uint32_t *regions, uint32_t *irqs)
{
	*regions = VFM_PCI_NUM_REGIONS;
	*irqs = VFM_PCI_NUM_IRQS;
	return 0;
}

static int fake_get_region(struct vmm_device *d, unsigned index, struct attach_region *out)
{
	*out = (struct attach_region){.fd = -1,
				      .flags = VFM_REGION_INFO_READ | VFM_REGION_INFO_WRITE};
	if (index == 0)
		out->bytes = 8;
	else if (index == VFM_PCI_CONFIG_REGION)
		out->bytes = 0xff; /* as mtty says */
	if (index != FAKE_BAR)
		return 0;
	out->bytes = FAKE_BAR_SIZE;
	out->flags |= VFM_REGION_INFO_MMAP;
	if (card_of(d)->read_only)
		out->flags &= ~(uint32_t)VFM_REGION_INFO_WRITE;
	out->areas = 1;
	out->area[0] = (struct vfm_region_sparse_area){0, FAKE_BAR_SIZE};
	out->fd = fcntl(card_of(d)->bar, F_DUPFD_CLOEXEC, 0);
	return out->fd < 0 ? -errno : 0;
}

static int access_config(struct fake_serial *card, uint64_t offset, void *data, size_t len,
			 bool write)
{
	if (card->fail_config)
		return card->fail_config;
	if (offset + len > 0xff)
		return -EINVAL;
	if (!write)
		memcpy(data, card->config + offset, len);
	else
		memcpy(card->config + offset, data, len);
	card->config_writes += write;
	return 0;
}

/* Where it is not mapped. */
static int access_bar(struct fake_serial *card, uint64_t offset, void *data, size_t len, bool write)
{
	ssize_t done;

	if (write && card->read_only)
		return -EINVAL;
	done = write ? pwrite(card->bar, data, len, (off_t)offset)
		     : pread(card->bar, data, len, (off_t)offset);
	return done == (ssize_t)len ? 0 : -EIO;
}

static int touch(struct vmm_device *d, unsigned region, uint64_t offset, void *data, size_t len,
		 bool write)
{
	struct fake_serial *card = card_of(d);
	int ret = 0;

	if (region == VFM_PCI_CONFIG_REGION && card->on_config)
		card->on_config(card->opaque);
	pthread_mutex_lock(&card->lock);
	if (region == VFM_PCI_CONFIG_REGION)
		ret = access_config(card, offset, data, len, write);
	else if (region == FAKE_BAR)
		ret = access_bar(card, offset, data, len, write);
	else if (region || offset >= 8 || len != 1)
		ret = -EINVAL;
	else if (write)
		write_port(card, (unsigned)offset, *(uint8_t *)data);
	else
		*(uint8_t *)data = read_port(card, (unsigned)offset);
	pthread_mutex_unlock(&card->lock);
	return ret;
}

static int fake_read(struct vmm_device *d, unsigned region, uint64_t offset, void *data, size_t len)
{
	return touch(d, region, offset, data, len, false);
}

static int fake_write(struct vmm_device *d, unsigned region, uint64_t offset, const void *data,
		      size_t len)
{
	uint8_t copy[PCI_CONFIG_SIZE];

	memcpy(copy, data, MIN(len, sizeof(copy)));
	return touch(d, region, offset, copy, MIN(len, sizeof(copy)), true);
}

static int fake_get_irq(struct vmm_device *d, unsigned index, uint32_t *flags, uint32_t *count)
{
	*flags = VFM_IRQ_INFO_EVENTFD;
	*count = index == VFM_PCI_INTX_IRQ || index == VFM_PCI_MSI_IRQ;
	return 0;
}

static int fake_set_irq(struct vmm_device *d, unsigned index, int eventfd)
{
	struct fake_serial *card = card_of(d);

	pthread_mutex_lock(&card->lock);
	card->irq[index] = eventfd;
	card->masked = false;
	pthread_mutex_unlock(&card->lock);
	return 0;
}

static int fake_unmask(struct vmm_device *d, unsigned index)
{
	struct fake_serial *card = card_of(d);

	pthread_mutex_lock(&card->lock);
	card->masked = false;
	card->unmasks++;
	pthread_mutex_unlock(&card->lock);
	return 0;
}

static int fake_map_memory(struct vmm_device *d)
{
	return card_of(d)->fail_map;
}

/* ---- its migration: the VMM only asks for the state, and resets ---- */

struct fake_device {
	struct vfm_device dev;
	struct fake_serial *card;
};

static int get_state(struct vfm_device *dev, enum vfm_state *state)
{
	*state = ((struct fake_device *)dev)->card->state;
	return 0;
}

static int set_state(struct vfm_device *dev, enum vfm_state state)
{
	((struct fake_device *)dev)->card->state = state;
	return 0;
}

static int reset(struct vfm_device *dev)
{
	((struct fake_device *)dev)->card->resets++;
	return set_state(dev, VFM_STATE_RUNNING);
}

static void destroy(struct vfm_device *dev)
{
	free(dev);
}

static const struct device_ops device_ops = {
	.backend = "fake",
	.get_state = get_state,
	.set_state = set_state,
	.reset = reset,
	.destroy = destroy,
};

static int fake_new_device(struct vmm_device *d, struct vfm_device **device)
{
	struct fake_device *fake = calloc(1, sizeof(*fake));
	int ret;

	if (!fake)
		return -ENOMEM;
	fake->card = card_of(d);
	fake->dev.info.mig_flags = VFM_MIG_STOP_COPY;
	ret = device_init(&fake->dev, &device_ops, d->name);
	if (ret < 0)
		free(fake);
	else
		*device = &fake->dev;
	return ret;
}

const struct attach_ops fake_serial_ops = {
	.kind = "fake",
	.open = fake_open,
	.close = fake_close,
	.get_info = fake_get_info,
	.get_region = fake_get_region,
	.read = fake_read,
	.write = fake_write,
	.get_irq = fake_get_irq,
	.set_irq = fake_set_irq,
	.unmask = fake_unmask,
	.map_memory = fake_map_memory,
	.new_device = fake_new_device,
};
