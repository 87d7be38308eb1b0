/* SPDX-License-Identifier: BSD-3-Clause */
/* What lies where in the guest. See layout.c; the public half is in vm.h. */
#ifndef VMM_LAYOUT_H
#define VMM_LAYOUT_H

#include "vmm/vm.h"

#define LAYOUT_GDT  (GUEST_TABLES_GPA)
#define LAYOUT_PML4 (GUEST_TABLES_GPA + 0x1000u)
#define LAYOUT_PDPT (GUEST_TABLES_GPA + 0x2000u)
#define LAYOUT_CODE 0x08u /* selectors */
#define LAYOUT_DATA 0x10u

/* The guest program, as the build made it. */
const void *layout_image(size_t *size);

/* Look at a whole page of the working set of a stopped VM. 0: as its tag says; else the number of
 * the first wrong word. */
int layout_check_page(const struct vmm *vm, uint64_t page, uint64_t *tag);

#endif
