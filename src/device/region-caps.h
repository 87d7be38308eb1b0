/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * region-caps: what a device says of a region beside its size. The kernel and a vfio-user server
 * answer in one layout, and neither is believed.
 */
#ifndef DEVICE_REGION_CAPS_H
#define DEVICE_REGION_CAPS_H

#include <stddef.h>
#include <stdint.h>
#include <vfio-migrate/uapi.h>

struct region_caps {
	uint32_t type; /* of a device-specific region; 0: not told */
	uint32_t subtype;
	int msix_mappable;
	int has_sparse; /* only the areas may be mapped */
	uint32_t area_count;
	struct vfm_region_sparse_area *areas; /* malloc'ed, the caller's; inside of the region */
};

/*
 * Read the capabilities of the @size bytes of answer at @answer, at least a struct
 * vfm_uapi_region_info; there was room for @room. Fills @caps; nothing is to be freed after a
 * failure. -EPROTO: it makes no sense, or it wants more room, and what is missing may be what must
 * not be mapped. -ENOMEM.
 */
int region_caps_read(struct region_caps *caps, const unsigned char *answer, size_t size,
		     uint32_t room);

#endif
