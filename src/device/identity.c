/* SPDX-License-Identifier: BSD-3-Clause */
#include <vfio-migrate/identity.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/compiler.h"
#include "device/device.h"

VFM_API int vfm_identity_init(struct vfm_identity *identity, struct vfm_device *device)
{
	const struct vfm_device_info *info = &device->info;

	if (identity->size != sizeof(*identity))
		return -EINVAL;
	*identity = (struct vfm_identity){
		.size = sizeof(*identity),
		.mig_flags = info->mig_flags,
		.pci_vendor = info->pci_vendor,
		.pci_device = info->pci_device,
		.pci_subsystem_vendor = info->pci_subsystem_vendor,
		.pci_subsystem = info->pci_subsystem,
	};
	snprintf(identity->name, sizeof(identity->name), "%s", info->name);
	snprintf(identity->backend, sizeof(identity->backend), "%s", info->backend);
	return 0;
}

/* A comparison under way. */
struct comparison {
	const struct vfm_identity *from, *to;
	const char *at_from, *at_to;
	char (*lines)[VFM_ERROR_TEXT_MAX];
	unsigned max, count;
};

PRINTF(2, 3) static void add_line(struct comparison *c, const char *format, ...)
{
	va_list args;

	if (c->count++ >= c->max)
		return;
	va_start(args, format);
	vsnprintf(c->lines[c->count - 1], VFM_ERROR_TEXT_MAX, format, args);
	va_end(args);
}

static void compare_drivers(struct comparison *c)
{
	const struct vfm_identity *from = c->from, *to = c->to;

	if (strcmp(from->backend, to->backend))
		add_line(c, "%s %s, %s %s", from->backend, c->at_from, to->backend, c->at_to);
	else if (*from->driver && *to->driver && strcmp(from->driver, to->driver))
		add_line(c, "driver %s %s, %s %s", from->driver, c->at_from, to->driver, c->at_to);
	if (*from->type && *to->type && strcmp(from->type, to->type))
		add_line(c, "type %s %s, %s %s", from->type, c->at_from, to->type, c->at_to);
}

static void compare_pci(struct comparison *c)
{
	const struct vfm_identity *from = c->from, *to = c->to;

	if (from->pci_vendor != to->pci_vendor || from->pci_device != to->pci_device)
		add_line(c, "a %04x:%04x %s, a %04x:%04x %s", from->pci_vendor, from->pci_device,
			 c->at_from, to->pci_vendor, to->pci_device, c->at_to);
	if (from->pci_subsystem_vendor != to->pci_subsystem_vendor ||
	    from->pci_subsystem != to->pci_subsystem)
		add_line(c, "subsystem %04x:%04x %s, %04x:%04x %s", from->pci_subsystem_vendor,
			 from->pci_subsystem, c->at_from, to->pci_subsystem_vendor,
			 to->pci_subsystem, c->at_to);
}

/* The guest knows the old sizes. */
static void compare_bars(struct comparison *c)
{
	if (!c->from->has_bars || !c->to->has_bars)
		return;
	for (unsigned i = 0; i < VFM_BARS; i++)
		if (c->from->bar[i] != c->to->bar[i])
			add_line(c, "BAR %u has %llu bytes %s, %llu %s", i,
				 (unsigned long long)c->from->bar[i], c->at_from,
				 (unsigned long long)c->to->bar[i], c->at_to);
}

/* Memory that the guest has in small pages cannot be mapped in larger ones; the other way round is
 * fine. */
static void compare_pages(struct comparison *c)
{
	if (c->from->page_size && c->to->page_size > c->from->page_size)
		add_line(c, "memory is mapped in pages of %llu bytes %s, of %llu at least %s",
			 (unsigned long long)c->from->page_size, c->at_from,
			 (unsigned long long)c->to->page_size, c->at_to);
}

VFM_API int vfm_identity_compare(const struct vfm_identity *from, const char *at_from,
				 const struct vfm_identity *to, const char *at_to,
				 char (*lines)[VFM_ERROR_TEXT_MAX], unsigned max)
{
	struct comparison c = {from, to, at_from, at_to, lines, max, 0};

	compare_drivers(&c);
	compare_pci(&c);
	compare_bars(&c);
	compare_pages(&c);
	if (!(from->mig_flags & VFM_MIG_STOP_COPY))
		add_line(&c, "it has no migration support %s", at_from);
	if (!(to->mig_flags & VFM_MIG_STOP_COPY))
		add_line(&c, "it has no migration support %s", at_to);
	return (int)c.count;
}
