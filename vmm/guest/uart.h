/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's driver for serial cards whose ports give back what they are given. See uart.c. */
#ifndef VMM_GUEST_UART_H
#define VMM_GUEST_UART_H

#include "vmm/guest/work.h"

/* By vCPU 0, @c being its memory. 0, or -1: a failure was recorded. */
int uart_start(struct platform *p, struct guest_cpu *c, unsigned device);
int uart_serve(struct platform *p, struct guest_cpu *c, unsigned device);

#endif
