/* SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include "base/compiler.h"
#include "base/error.h"
#include <vfio-migrate/migrate.h>

VFM_API const char *vfm_status_name(enum vfm_status status)
{
	static const char *const names[] = {
		[VFM_STATUS_NONE] = "none",           [VFM_STATUS_ACTIVE] = "active",
		[VFM_STATUS_COMPLETED] = "completed", [VFM_STATUS_FAILED] = "failed",
		[VFM_STATUS_CANCELLED] = "cancelled", [VFM_STATUS_IN_DOUBT] = "in-doubt",
	};
	static_assert(ARRAY_SIZE(names) == VFM_STATUS_IN_DOUBT + 1, "a name for each status");

	return (unsigned)status < ARRAY_SIZE(names) ? names[status] : "invalid";
}

VFM_API char *vfm_error_format(const struct vfm_error *error, char *buffer, size_t size)
{
	error_format(error, buffer, size);
	return buffer;
}
