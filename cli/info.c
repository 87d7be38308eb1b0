/* SPDX-License-Identifier: BSD-3-Clause */
/* `vfio-migrate info`: what devices are, and what a migration would find in them. Looks only: no
 * device changes its state. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "base/compiler.h"
#include "commands.h"
#include "complain.h"
#include "device.h"
#include "exit.h"
#include "options.h"
#include "report.h"
#include "units.h"

#define COMMAND "info"
#define TEXT_MAX 256

struct info_options {
	const char *json;
	bool quiet;
	const char *device[VFM_DEVICES_MAX];
};

#define ROW(name, key, kind, member, value, help)                                                  \
	{name, key, kind, offsetof(struct info_options, member), 0, 0, value, help, NULL}

static const struct option_row rows[] = {
	ROW("json", 0, OPTION_TEXT, json, "FILE", "write it as JSON to FILE (- is stdout)"),
	ROW("quiet", 'q', OPTION_FLAG, quiet, NULL, "print nothing but errors"),
};

static const struct options options = {
	.args = "DEVICE...",
	.doc = "Show what devices are, and what a migration would find in them. They keep their "
	       "state.\v" CLI_DEVICE_HELP " Exit status 1: one of them could not be opened.",
	.rows = rows,
	.row_count = ARRAY_SIZE(rows),
	.arg_count = VFM_DEVICES_MAX,
	.args_offset = offsetof(struct info_options, device),
};

/* All there is to tell of an open device. */
struct facts {
	struct vfm_identity identity;
	struct vfm_device_info info;
	bool state_known;
	enum vfm_state state;
	uint64_t stop_copy; /* bytes, VFM_SIZE_UNKNOWN */
	const char *tracker;
	char advice[CLI_DEVICE_WHY_MAX]; /* "": it can migrate */
	struct vfm_vfio_user_agreed agreed; /* of a vfio-user server */
};

static void look(struct cli_device *d, struct facts *facts)
{
	memset(facts, 0, sizeof(*facts));
	facts->info.size = sizeof(facts->info);
	facts->agreed.size = sizeof(facts->agreed);
	facts->stop_copy = VFM_SIZE_UNKNOWN;
	cli_device_advise(d, facts->advice);
	if (!d->device)
		return;
	vfm_device_get_info(d->device, &facts->info);
	cli_device_identify(d, &facts->identity);
	facts->tracker = vfm_tracker_name(facts->info.tracker);
	if (d->client)
		vfm_vfio_user_get_agreed(d->client, &facts->agreed);
	if (!facts->info.mig_flags)
		return;
	facts->state_known = !vfm_device_get_state(d->device, &facts->state);
	if (vfm_device_get_stop_copy_size(d->device, &facts->stop_copy))
		facts->stop_copy = VFM_SIZE_UNKNOWN;
}

/* ---- names of bits ---- */

struct bit {
	uint32_t bit;
	const char *name;
};

static const struct bit mig_flags[] = {
	{VFM_MIG_STOP_COPY, "STOP_COPY"},
	{VFM_MIG_P2P, "P2P"},
	{VFM_MIG_PRE_COPY, "PRE_COPY"},
};

enum feature { DMA_LOGGING = 1, DATA_SIZE = 2, PRECOPY_INFO = 4, REINIT = 8 };

static const struct bit features[] = {
	{DMA_LOGGING, "dma-logging"},
	{DATA_SIZE, "data-size"},
	{PRECOPY_INFO, "precopy-info"},
	{REINIT, "reinit"},
};

static uint32_t feature_bits(const struct vfm_device_info *info)
{
	return (info->has_dma_logging ? DMA_LOGGING : 0u) | (info->has_data_size ? DATA_SIZE : 0u) |
	       (info->has_precopy_info ? PRECOPY_INFO : 0u) | (info->has_reinit ? REINIT : 0u);
}

static const char *list_bits(char text[TEXT_MAX], const struct bit *bits, size_t count,
			     uint32_t set)
{
	size_t used = 0;

	snprintf(text, TEXT_MAX, "none");
	for (size_t i = 0; i < count; i++)
		if (set & bits[i].bit)
			used += (size_t)snprintf(text + used, TEXT_MAX - used, "%s%s",
						 used ? ", " : "", bits[i].name);
	return text;
}

static struct json_object *bits_json(const struct bit *bits, size_t count, uint32_t set)
{
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < count; i++)
		if (set & bits[i].bit)
			json_object_array_add(list, json_object_new_string(bits[i].name));
	return list;
}

/* ---- text ---- */

static void print_row(FILE *out, const char *label, const char *text)
{
	fprintf(out, "  %-16s %s\n", label, text);
}

static const char *pci_text(char text[TEXT_MAX], const struct vfm_identity *id)
{
	if (id->pci_vendor == 0xffff)
		snprintf(text, TEXT_MAX, "not known");
	else
		snprintf(text, TEXT_MAX, "%04x:%04x, subsystem %04x:%04x", id->pci_vendor,
			 id->pci_device, id->pci_subsystem_vendor, id->pci_subsystem);
	return text;
}

static void print_bars(FILE *out, const struct vfm_identity *id)
{
	char text[TEXT_MAX] = "none", bytes[UNITS_SIZE];
	size_t used = 0;

	for (unsigned i = 0; id->has_bars && i < VFM_BARS; i++)
		if (id->bar[i])
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%u: %s",
						 used ? ", " : "", i,
						 units_bytes(bytes, id->bar[i]));
	if (id->has_bars)
		print_row(out, "BARs", text);
}

static void print_driver(FILE *out, const struct vfm_identity *id)
{
	if (*id->driver)
		print_row(out, "driver", id->driver);
	if (*id->type)
		print_row(out, "type", id->type);
}

static void print_server(FILE *out, const struct vfm_vfio_user_agreed *agreed)
{
	char text[TEXT_MAX], bytes[UNITS_SIZE];

	if (!agreed->major && !agreed->minor)
		return;
	snprintf(text, sizeof(text), "vfio-user %u.%u, transfers up to %s%s", agreed->major,
		 agreed->minor, units_bytes(bytes, agreed->max_data_xfer),
		 agreed->ext ? ", with our extension" : "");
	print_row(out, "server", text);
}

static const char *tracker_text(const char *tracker)
{
	return strcmp(tracker, "none") ? tracker : "none: all memory counts as dirty";
}

static void print_migration(FILE *out, const struct facts *facts)
{
	char text[TEXT_MAX], bytes[UNITS_SIZE];

	print_row(out, "migration", list_bits(text, mig_flags, ARRAY_SIZE(mig_flags),
					      facts->info.mig_flags));
	if (*facts->advice) {
		print_row(out, "cannot migrate", facts->advice);
		return;
	}
	print_row(out, "features", list_bits(text, features, ARRAY_SIZE(features),
					     feature_bits(&facts->info)));
	print_row(out, "state", facts->state_known ? vfm_state_name(facts->state) : "not known");
	print_row(out, "stop-copy size", facts->stop_copy == VFM_SIZE_UNKNOWN
						 ? "not known"
						 : units_bytes(bytes, facts->stop_copy));
	print_row(out, "dirty tracker", tracker_text(facts->tracker));
}

static void print_device(FILE *out, const struct cli_device *d, const struct facts *facts)
{
	char text[TEXT_MAX];

	fprintf(out, "%s\n", d->text);
	if (!d->device) {
		print_row(out, "cannot be opened:", d->why);
		return;
	}
	print_row(out, "backend", facts->identity.backend);
	print_driver(out, &facts->identity);
	print_server(out, &facts->agreed);
	print_row(out, "PCI", pci_text(text, &facts->identity));
	print_bars(out, &facts->identity);
	print_migration(out, facts);
}

/* ---- JSON ---- */

static struct json_object *text_json(const char *text)
{
	return *text ? json_object_new_string(text) : NULL;
}

static struct json_object *size_json(uint64_t bytes)
{
	return bytes == VFM_SIZE_UNKNOWN ? NULL : json_object_new_uint64(bytes);
}

static struct json_object *hex_json(uint16_t number)
{
	char text[8];

	snprintf(text, sizeof(text), "%04x", number);
	return json_object_new_string(text);
}

static struct json_object *pci_json(const struct vfm_identity *id)
{
	struct json_object *pci = json_object_new_object();

	json_object_object_add(pci, "vendor", hex_json(id->pci_vendor));
	json_object_object_add(pci, "device", hex_json(id->pci_device));
	json_object_object_add(pci, "subsystem_vendor", hex_json(id->pci_subsystem_vendor));
	json_object_object_add(pci, "subsystem", hex_json(id->pci_subsystem));
	return pci;
}

static struct json_object *bars_json(const struct vfm_identity *id)
{
	struct json_object *bars = id->has_bars ? json_object_new_array() : NULL;

	for (unsigned i = 0; bars && i < VFM_BARS; i++)
		json_object_array_add(bars, json_object_new_uint64(id->bar[i]));
	return bars;
}

static void add_facts(struct json_object *o, const struct facts *facts)
{
	const struct vfm_identity *id = &facts->identity;

	json_object_object_add(o, "backend", json_object_new_string(id->backend));
	json_object_object_add(o, "driver", text_json(id->driver));
	json_object_object_add(o, "type", text_json(id->type));
	json_object_object_add(o, "pci", id->pci_vendor == 0xffff ? NULL : pci_json(id));
	json_object_object_add(o, "bars", bars_json(id));
	json_object_object_add(o, "page_size",
			       id->page_size ? json_object_new_uint64(id->page_size) : NULL);
	json_object_object_add(o, "flags", bits_json(mig_flags, ARRAY_SIZE(mig_flags),
						     facts->info.mig_flags));
	json_object_object_add(o, "features", bits_json(features, ARRAY_SIZE(features),
							feature_bits(&facts->info)));
	json_object_object_add(o, "state",
			       facts->state_known
				       ? json_object_new_string(vfm_state_name(facts->state))
				       : NULL);
	json_object_object_add(o, "stop_copy_bytes", size_json(facts->stop_copy));
	json_object_object_add(o, "dirty_tracker", json_object_new_string(facts->tracker));
}

static struct json_object *device_json(const struct cli_device *d, const struct facts *facts)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "device", json_object_new_string(d->text));
	json_object_object_add(o, "opened", json_object_new_boolean(d->device != NULL));
	json_object_object_add(o, "can_migrate", json_object_new_boolean(!*facts->advice));
	json_object_object_add(o, "reason", text_json(facts->advice));
	if (d->device)
		add_facts(o, facts);
	return o;
}

/* ---- the whole ---- */

static int show(struct cli_devices *devices, const struct info_options *chosen)
{
	struct json_object *all = json_object_new_object(), *list = json_object_new_array();
	FILE *out = report_text_out(chosen->json, chosen->quiet);
	struct facts facts;
	int ret = 0;

	json_object_object_add(all, "devices", list);
	for (unsigned i = 0; i < devices->count; i++) {
		look(&devices->device[i], &facts);
		if (out)
			print_device(out, &devices->device[i], &facts);
		json_object_array_add(list, device_json(&devices->device[i], &facts));
	}
	if (chosen->json)
		ret = report_write(chosen->json, all);
	json_object_put(all);
	return ret ? complain_of(COMMAND, CLI_EXIT_FAILED, "writing %s: %s", chosen->json,
				 strerror(-ret))
		   : CLI_EXIT_OK;
}

int info_main(int argc, char **argv)
{
	struct info_options chosen = {0};
	struct cli_devices devices;
	unsigned count = 0, failed;
	int status;

	if (options_parse(&options, argc, argv, &chosen))
		return CLI_EXIT_USAGE;
	while (count < VFM_DEVICES_MAX && chosen.device[count])
		count++;
	status = report_check(chosen.json);
	if (status)
		return complain_of(COMMAND, CLI_EXIT_USAGE, "--json: %s: %s", chosen.json,
				   strerror(-status));
	status = cli_devices_read(&devices, COMMAND, chosen.device, count, CLI_DEVICE_BY_TEXT);
	if (status)
		return status;
	failed = cli_devices_open(&devices);
	status = show(&devices, &chosen);
	cli_devices_close(&devices);
	return status || !failed ? status : CLI_EXIT_FAILED;
}
