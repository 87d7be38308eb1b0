/* SPDX-License-Identifier: BSD-3-Clause */
/* The VM around devices that move alone: it has no vCPUs, no memory and no state, so that there is
 * nothing to stop, to track or to save. */
#ifndef CLI_ALONE_H
#define CLI_ALONE_H

#include <vfio-migrate/vm.h>

extern const struct vfm_vm_ops alone_ops;

#endif
