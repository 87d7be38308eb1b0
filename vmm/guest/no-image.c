/* SPDX-License-Identifier: BSD-3-Clause */
/* On processors for which there is no guest program: --accel thread needs none in memory. */
#include "vmm/layout.h"

const void *layout_image(size_t *size)
{
	*size = 0;
	return "";
}
