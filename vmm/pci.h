/* SPDX-License-Identifier: BSD-3-Clause */
/* The PCI bus as the guest sees it. See pci.c. */
#ifndef VMM_PCI_H
#define VMM_PCI_H

#include <stdbool.h>
#include <stdint.h>

#define PCI_CONFIG_SIZE  256u
#define PCI_BARS         6u
#define PCI_ADDRESS_PORT 0xcf8
#define PCI_DATA_PORT    0xcfc
#define PCI_IOAPIC_PINS  8u  /* that INTx lines are spread over */
#define PCI_IOAPIC_FIRST 16u

/* Offsets in config space, and bits there. */
#define PCI_VENDOR       0x00
#define PCI_COMMAND      0x04
#define PCI_STATUS       0x06
#define PCI_CLASS        0x08
#define PCI_CACHE_LINE   0x0c
#define PCI_HEADER       0x0e
#define PCI_BAR0         0x10
#define PCI_SUBSYSTEM    0x2c
#define PCI_ROM          0x30
#define PCI_CAPABILITIES 0x34
#define PCI_IRQ_LINE     0x3c
#define PCI_IRQ_PIN      0x3d

#define PCI_COMMAND_IO     0x001u
#define PCI_COMMAND_MEMORY 0x002u
#define PCI_COMMAND_MASTER 0x004u
#define PCI_COMMAND_KEPT   0x547u /* of what a guest writes: the above, errors, no INTx */

#define PCI_STATUS_CAPS  0x10u
#define PCI_BAR_IO       0x1u
#define PCI_BAR_64       0x4u
#define PCI_BAR_TYPE_IO  0x3u /* bits that are no address */
#define PCI_BAR_TYPE_MEM 0xfu

#define PCI_CAP_MSI      0x05u
#define PCI_CAP_MSIX     0x11u
#define PCI_CAP_MSI_SIZE  10u /* bytes, the least */
#define PCI_CAP_MSIX_SIZE 12u

/* One device's function. */
struct pci_function {
	bool present;
	uint32_t limit;         /* bytes of config space that the device has */
	uint8_t shadow[PCI_CONFIG_SIZE]; /* as read first, and what is ours of it; under pci_lock */
	uint16_t command;       /* atomic: each access to a window looks at it */
	uint32_t size_mask[PCI_BARS]; /* what a BAR reads once it was written with ones; 0: none */
};

#endif
