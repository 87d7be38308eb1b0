/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's work, in steps. See work.c. */
#ifndef VMM_GUEST_WORK_H
#define VMM_GUEST_WORK_H

#include "vmm/guest/platform.h"

enum work_result {
	WORK_IDLE,   /* nothing to do before the next tick or interrupt */
	WORK_BUSY,   /* call again at once */
	WORK_HALTED, /* something was wrong; never call again */
};

/* One bounded step of vCPU @cpu: some pages, some records, a beat. */
enum work_result work_step(struct platform *p, unsigned cpu);

/* An interrupt of a device: what has to be done at once. On vCPU 0, between two steps. */
void work_interrupt(struct platform *p, unsigned device);

/* Stop with a failure record, as step() does it by itself. For traps. */
void work_fail(struct platform *p, unsigned cpu, enum guest_failure_kind kind, uint64_t address,
	       uint64_t expected, uint64_t found);

#endif
