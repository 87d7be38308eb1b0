/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's driver for QEMU's educational PCI device. See edu.c. */
#ifndef VMM_GUEST_EDU_H
#define VMM_GUEST_EDU_H

#include "vmm/guest/work.h"

#define EDU_PCI_ID 0x11e81234u /* device and vendor */

/* By vCPU 0, @c being its memory. 0, or -1: a failure was recorded. */
int edu_start(struct platform *p, struct guest_cpu *c, unsigned device);
int edu_serve(struct platform *p, struct guest_cpu *c, unsigned device);

/* In its interrupt: it asks for no more. */
void edu_acknowledge(struct platform *p, unsigned device);

#endif
