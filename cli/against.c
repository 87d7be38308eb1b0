/* SPDX-License-Identifier: BSD-3-Clause */
#include "against.h"

#include <string.h>

#include <vfio-migrate/migrate.h>

#include "alone.h"

static int add_devices(struct vfm_source *source, struct cli_devices *devices)
{
	int ret = 0;

	for (unsigned i = 0; i < devices->count && !ret; i++)
		if (devices->device[i].device)
			ret = vfm_source_add_device(source, devices->device[i].device);
	return ret;
}

/* What a session's line says of this device, NULL: it is about another. */
static const char *said_of(const struct cli_device *d, const char *line)
{
	char start[VFM_NAME_MAX + 16];
	size_t len = (size_t)snprintf(start, sizeof(start), "device %s: ", d->name);

	return d->device && !strncmp(line, start, len) ? line + len : NULL;
}

static void fill(struct against *out, const struct cli_devices *devices, const char *line)
{
	const char *reason;

	for (unsigned i = 0; i < devices->count; i++) {
		reason = said_of(&devices->device[i], line);
		if (!reason)
			continue;
		out->device = &devices->device[i];
		snprintf(out->reason, sizeof(out->reason), "%s", reason);
		cli_device_advise(out->device, out->advice);
	}
}

/* The reason, and apart from it what may help. */
static void explain_shut(const struct cli_device *d, struct against *out)
{
	size_t len = strlen(d->why), tail = d->hint ? strlen(d->hint) + 2 : 0;

	if (tail && len > tail && !strcmp(d->why + len - tail + 2, d->hint))
		len -= tail;
	else
		tail = 0;
	snprintf(out->reason, sizeof(out->reason), "%.*s", (int)len, d->why);
	snprintf(out->advice, sizeof(out->advice), "%s", tail ? d->hint : "");
}

/* Those that are not open; returns how many. */
static int find_shut(const struct cli_devices *devices, struct against *out)
{
	int count = 0;

	for (unsigned i = 0; i < devices->count; i++) {
		const struct cli_device *d = &devices->device[i];

		if (d->device)
			continue;
		out[count].device = d;
		explain_shut(d, &out[count++]);
	}
	return count;
}

int against_find(struct cli_devices *devices, struct against *out)
{
	char lines[VFM_DEVICES_MAX][VFM_ERROR_TEXT_MAX];
	struct vfm_source *source;
	int ret = vfm_source_new(NULL, 0, &alone_ops, NULL, NULL, &source);

	if (ret)
		return ret;
	ret = add_devices(source, devices);
	if (!ret)
		ret = vfm_source_blockers(source, lines, VFM_DEVICES_MAX);
	for (int i = 0; i < ret; i++)
		fill(&out[i], devices, lines[i]);
	vfm_source_free(source);
	return ret < 0 ? ret : ret + find_shut(devices, out + ret);
}

char *against_line(const struct against *against, char *buffer, size_t size)
{
	snprintf(buffer, size, "device %s: %s%s%s", against->device->name, against->reason,
		 *against->advice ? ": " : "", against->advice);
	return buffer;
}
