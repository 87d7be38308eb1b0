/* SPDX-License-Identifier: BSD-3-Clause */
#include "alone.h"

#include <errno.h>

#include "base/compiler.h"

static int nothing(void *opaque UNUSED)
{
	return 0;
}

static int no_region(void *opaque UNUSED, unsigned region UNUSED, uint64_t *bitmap UNUSED)
{
	return -EINVAL;
}

static int save_nothing(void *opaque UNUSED, struct vfm_buffer *out UNUSED)
{
	return 0;
}

static int load_nothing(void *opaque UNUSED, const void *data UNUSED, size_t size)
{
	return size ? -EBADMSG : 0;
}

const struct vfm_vm_ops alone_ops = {
	.size = sizeof(alone_ops),
	.stop = nothing,
	.run = nothing,
	.dirty_start = nothing,
	.dirty_stop = nothing,
	.dirty_sync = no_region,
	.save = save_nothing,
	.load = load_nothing,
};
