/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A PCI serial card in memory, behind the seam by which the VMM attaches devices: a double of the
 * kernel's mtty. Its port gives back what it is given. It has a memory BAR, too, that can be
 * mapped.
 */
#ifndef TESTS_FAKE_SERIAL_H
#define TESTS_FAKE_SERIAL_H

#include <pthread.h>
#include "device/device.h"
#include "vmm/attach.h"

#define FAKE_FIFO     16u
#define FAKE_BAR      1u         /* the memory BAR */
#define FAKE_BAR_SIZE 0x4000u
#define FAKE_MSI_CAP  0x40u
#define FAKE_MSIX_CAP 0x50u
#define FAKE_TABLE    0x1000u    /* of MSI-X, in the memory BAR */

/* What migrates. */
struct fake_port {
	uint8_t reg[8];
	uint8_t fifo[FAKE_FIFO];
	unsigned head, count;
};

struct fake_serial {
	pthread_mutex_t lock;
	struct fake_port port;
	uint8_t config[256];
	int bar;                 /* memfd */
	int irq[VFM_PCI_NUM_IRQS]; /* eventfds, -1: none */
	bool masked;             /* INTx */
	unsigned unmasks, config_writes, opens;
	enum vfm_state state;    /* as the next VMM finds it */
	unsigned resets;
	/* Faults. */
	int fail_open, fail_config, fail_map;
	bool read_only;          /* the memory BAR */
	/* Called before each access to config space, without the card's lock. */
	void (*on_config)(void *opaque);
	void *opaque;
};

/* The cards that VMs are made with: device N's address is "N". */
#define FAKE_CARDS 12u
extern struct fake_serial fake_card[FAKE_CARDS];

int fake_serial_init(struct fake_serial *card);
void fake_serial_destroy(struct fake_serial *card);

/* At any time. */
void fake_serial_mask(struct fake_serial *card);          /* as if it had interrupted by INTx */
unsigned fake_serial_unmasks(struct fake_serial *card);   /* how often that was undone */

/* With the VM stopped. */
void fake_serial_drop(struct fake_serial *card);          /* the oldest byte */
void fake_serial_repeat(struct fake_serial *card);        /* it once more */

extern const struct attach_ops fake_serial_ops;

#endif
