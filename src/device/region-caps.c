/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/region-caps.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <vfio-migrate/vfio-user-protocol.h>
#include "base/checked.h"
#include "base/compiler.h"

_Static_assert(sizeof(struct vfm_uapi_region_info) == sizeof(struct vfm_vfio_user_region_info) &&
		       offsetof(struct vfm_uapi_region_info, cap_offset) ==
			       offsetof(struct vfm_vfio_user_region_info, cap_offset) &&
		       offsetof(struct vfm_uapi_region_info, size) ==
			       offsetof(struct vfm_vfio_user_region_info, size),
	       "one layout");

/* Of a capability, @left bytes up to the end of the answer. */
static int take_sparse(struct region_caps *caps, const unsigned char *cap, size_t left)
{
	struct vfm_region_cap_sparse sparse;

	if (left < sizeof(sparse) || caps->has_sparse)
		return -EPROTO;
	memcpy(&sparse, cap, sizeof(sparse));
	if (sparse.nr_areas > (left - sizeof(sparse)) / sizeof(*caps->areas))
		return -EPROTO;
	caps->has_sparse = 1;
	if (!sparse.nr_areas)
		return 0;
	caps->areas = calloc(sparse.nr_areas, sizeof(*caps->areas));
	if (!caps->areas)
		return -ENOMEM;
	memcpy(caps->areas, cap + sizeof(sparse), sparse.nr_areas * sizeof(*caps->areas));
	caps->area_count = sparse.nr_areas;
	return 0;
}

static int take_type(struct region_caps *caps, const unsigned char *cap, size_t left)
{
	struct vfm_region_cap_type type;

	if (left < sizeof(type))
		return -EPROTO;
	memcpy(&type, cap, sizeof(type));
	caps->type = type.type;
	caps->subtype = type.subtype;
	return 0;
}

static int take_cap(struct region_caps *caps, uint16_t id, const unsigned char *cap, size_t left)
{
	switch (id) {
	case VFM_REGION_CAP_SPARSE_MMAP:
		return take_sparse(caps, cap, left);
	case VFM_REGION_CAP_TYPE:
		return take_type(caps, cap, left);
	case VFM_REGION_CAP_MSIX_MAPPABLE:
		caps->msix_mappable = 1;
		return 0;
	default:
		return 0;
	}
}

/* Walk the chain. It may only lead forwards, so that it has an end. */
static int take_caps(struct region_caps *caps, const unsigned char *answer, size_t size,
		     uint32_t offset)
{
	uint32_t least = sizeof(struct vfm_uapi_region_info);
	struct vfm_info_cap cap;
	int ret;

	while (offset) {
		if (offset < least || !range_within(offset, sizeof(cap), size))
			return -EPROTO;
		memcpy(&cap, answer + offset, sizeof(cap));
		ret = take_cap(caps, cap.id, answer + offset, size - offset);
		if (ret < 0)
			return ret;
		least = offset + (uint32_t)sizeof(cap);
		offset = cap.next;
	}
	return 0;
}

static int check_areas(const struct region_caps *caps, uint64_t bytes)
{
	for (uint32_t i = 0; i < caps->area_count; i++)
		if (!range_within(caps->areas[i].offset, caps->areas[i].size, bytes))
			return -EPROTO;
	return 0;
}

int region_caps_read(struct region_caps *caps, const unsigned char *answer, size_t size,
		     uint32_t room)
{
	struct vfm_uapi_region_info info;
	int ret;

	*caps = (struct region_caps){0};
	memcpy(&info, answer, sizeof(info));
	if (info.argsz > room)
		return -EPROTO;
	if (!(info.flags & VFM_REGION_INFO_CAPS))
		return 0;
	ret = take_caps(caps, answer, MIN(size, (size_t)info.argsz), info.cap_offset);
	if (!ret)
		ret = check_areas(caps, info.size);
	if (ret < 0) {
		free(caps->areas);
		*caps = (struct region_caps){0};
	}
	return ret;
}
