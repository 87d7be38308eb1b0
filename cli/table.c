/* SPDX-License-Identifier: BSD-3-Clause */
#include "table.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "field.h"
#include "units.h"

#define BAR_MAX   24
#define NOT_KNOWN (-1.0)

static const struct {
	const char *name; /* as in downtime_terms */
	const char *text;
} terms[] = {
	{"stop_ms", "stop the devices"},
	{"memory_ms", "last dirty memory"},
	{"state_ms", "device and VM state"},
	{"load_ms", "load at the destination"},
	{"handover_ms", "hand over and start"},
};

static double term(struct json_object *report, const char *set, const char *name)
{
	return field_number(field_find(report, set), name, NOT_KNOWN);
}

static void print_row(FILE *out, const char *text, double predicted, double measured,
		      const char *tail)
{
	char left[UNITS_SIZE], right[UNITS_SIZE];

	fprintf(out, "  %-25s %11s %11s%s%s\n", text, units_ms(left, predicted),
		units_ms(right, measured), *tail ? "  " : "", tail);
}

/* A bar as long as the term's part of the whole. */
static const char *bar(double part, double whole)
{
	static const char full[] = "########################";
	unsigned length;

	_Static_assert(sizeof(full) == BAR_MAX + 1, "one character per column");
	if (part <= 0 || whole <= 0)
		return "";
	length = (unsigned)(part / whole * BAR_MAX + 0.5);
	return full + BAR_MAX - MIN(length, (unsigned)BAR_MAX);
}

static void print_downtime(FILE *out, struct json_object *report, double limit_ms)
{
	double measured = field_number(report, "downtime_ms", NOT_KNOWN), value;
	char allowed[UNITS_SIZE], tail[UNITS_SIZE + 16] = "no limit";
	size_t i;

	if (measured < 0)
		return;
	fprintf(out, "\n  %-25s %11s %11s\n", "where the downtime went", "predicted", "measured");
	for (i = 0; i < ARRAY_SIZE(terms); i++) {
		value = term(report, "downtime_terms", terms[i].name);
		print_row(out, terms[i].text, term(report, "predicted_terms", terms[i].name), value,
			  bar(value, measured));
	}
	if (limit_ms >= 0)
		snprintf(tail, sizeof(tail), "limit %s", units_ms(allowed, limit_ms));
	print_row(out, "downtime", field_number(report, "predicted_downtime_ms", NOT_KNOWN),
		  measured, tail);
}

static void print_memory(FILE *out, struct json_object *report)
{
	uint64_t pages = field_u64(report, "memory.pages", 0);
	uint64_t zero = MIN(field_u64(report, "memory.zero_pages", 0), pages);
	char total[UNITS_SIZE], sent[UNITS_SIZE], content[UNITS_SIZE], empty[UNITS_SIZE];

	fprintf(out, "\n  memory  %s guest; %s sent in %s page%s; %s more %s all zero\n",
		units_bytes(total, field_u64(report, "memory.total_bytes", 0)),
		units_bytes(sent, field_u64(report, "memory.sent_bytes", 0)),
		units_count(content, pages - zero), pages - zero == 1 ? "" : "s",
		units_count(empty, zero), zero == 1 ? "was" : "were");
}

static struct json_object *list(struct json_object *from, const char *path, size_t *count)
{
	struct json_object *found = field_find(from, path);

	*count = json_object_is_type(found, json_type_array) ? json_object_array_length(found) : 0;
	return found;
}

/* On the way to STOP_COPY, from when the guest had stopped. */
static bool stops(const char *from, const char *to)
{
	return strcmp(from, "STOP_COPY") && strcmp(to, "PRE_COPY") && strcmp(to, "RUNNING");
}

/* On the way to RUNNING, from when the device had loaded. */
static bool starts(const char *from, const char *to)
{
	return !strcmp(to, "RUNNING") || (!strcmp(from, "STOP") && !strcmp(to, "RUNNING_P2P"));
}

/* The time of those of a device's transitions on one side; NOT_KNOWN without any. */
static double arcs_ms(struct json_object *device, const char *side,
		      bool (*counts)(const char *from, const char *to))
{
	struct json_object *arcs, *arc;
	double sum = NOT_KNOWN;
	size_t i, count;

	arcs = list(device, "arcs", &count);
	for (i = 0; i < count; i++) {
		arc = json_object_array_get_idx(arcs, i);
		if (!strcmp(field_text(arc, "side", ""), side) &&
		    counts(field_text(arc, "from", ""), field_text(arc, "to", "")))
			sum = MAX(sum, 0) + field_number(arc, "ms", 0);
	}
	return sum;
}

/* "dev0 (mlx5)", where the personality is known. */
static const char *device_title(struct json_object *device, char *buffer, size_t size)
{
	const char *personality = field_text(device, "personality", "");

	snprintf(buffer, size, "%.24s%s%.16s%s", field_text(device, "name", "?"),
		 *personality ? " (" : "", personality, *personality ? ")" : "");
	return buffer;
}

/* Only the source knows them. */
static const char *bytes_of(struct json_object *device, const char *name, char *buffer)
{
	return field_find(device, name) ? units_bytes(buffer, field_u64(device, name, 0)) : "-";
}

static const char *count_of(struct json_object *device, const char *name, char *buffer)
{
	return field_find(device, name) ? units_count(buffer, field_u64(device, name, 0)) : "-";
}

static void print_device(FILE *out, struct json_object *device)
{
	char before[UNITS_SIZE], after[UNITS_SIZE], load[UNITS_SIZE], here[UNITS_SIZE];
	char there[UNITS_SIZE], acks[UNITS_SIZE], reinits[UNITS_SIZE], title[64];

	fprintf(out, "  %-16s %9s %9s %8s %8s %8s %4s %7s\n",
		device_title(device, title, sizeof(title)),
		bytes_of(device, "precopy_bytes", before),
		bytes_of(device, "stopcopy_bytes", after),
		units_ms(load, field_number(device, "load_ms", NOT_KNOWN)),
		units_ms(here, arcs_ms(device, "source", stops)),
		units_ms(there, arcs_ms(device, "destination", starts)),
		count_of(device, "acks", acks), count_of(device, "reinits", reinits));
}

static void print_arcs(FILE *out, struct json_object *device)
{
	struct json_object *arcs, *arc;
	char ms[UNITS_SIZE];
	size_t i, count;

	arcs = list(device, "arcs", &count);
	for (i = 0; i < count; i++) {
		arc = json_object_array_get_idx(arcs, i);
		fprintf(out, "    %-11s  %12s -> %-12s  %9s\n", field_text(arc, "side", "?"),
			field_text(arc, "from", "?"), field_text(arc, "to", "?"),
			units_ms(ms, field_number(arc, "ms", NOT_KNOWN)));
	}
}

/* Each transition of a single one; of several, that is the report's. */
static void print_devices(FILE *out, struct json_object *report)
{
	struct json_object *devices;
	size_t i, count;

	devices = list(report, "devices", &count);
	if (count)
		fprintf(out, "\n  %-16s %9s %9s %8s %8s %8s %4s %7s\n", "device", "running",
			"stopped", "load", "stop", "start", "acks", "reinits");
	for (i = 0; i < count; i++)
		print_device(out, json_object_array_get_idx(devices, i));
	if (count == 1)
		print_arcs(out, json_object_array_get_idx(devices, 0));
}

/* Switchovers that were taken back, with what each cost the guest. */
static void print_attempts(FILE *out, struct json_object *report)
{
	char at[UNITS_SIZE], cost[UNITS_SIZE];
	struct json_object *attempts, *attempt;
	size_t i, count;

	attempts = list(report, "switchover_attempts", &count);
	for (i = 0; i < count; i++) {
		attempt = json_object_array_get_idx(attempts, i);
		fprintf(out,
			"%s  taken back at %s: %s had new initial bytes; the guest stood still "
			"for %s\n",
			i ? "" : "\n", units_ms(at, field_number(attempt, "at_ms", NOT_KNOWN)),
			field_text(attempt, "device", "?"),
			units_ms(cost, field_number(attempt, "cost_ms", NOT_KNOWN)));
	}
}

/* Without memory there is no guest: devices that moved alone. */
static bool is_devices_alone(struct json_object *report)
{
	return field_u64(report, "memory.total_bytes", 1) == 0;
}

struct outcome {
	const char *status;
	const char *guest;
	const char *alone;
};

/* To whom it was given, and does not run there. */
static const struct outcome lost_here = {
	"failed", "the guest was given to this side, where it does not run",
	"the devices were given to this side, where they do not run",
};

static const struct outcome *outcome_here(struct json_object *report, const char *status)
{
	static const struct outcome outcomes[] = {
		{"completed", "the guest runs here", "the devices run here"},
		{"failed", "nothing was taken over: the guest stays with the source",
		 "nothing was taken over: the devices stay with the source"},
		{"cancelled", "nothing was taken over: the guest stays with the source",
		 "nothing was taken over: the devices stay with the source"},
	};
	size_t i;

	if (!strcmp(status, "failed") && !strcmp(field_text(report, "owner", ""), "destination"))
		return &lost_here;
	for (i = 0; i < ARRAY_SIZE(outcomes); i++)
		if (!strcmp(outcomes[i].status, status))
			return &outcomes[i];
	return NULL;
}

static const struct outcome *outcome_there(const char *status)
{
	static const struct outcome outcomes[] = {
		{"completed", "the guest runs on the destination",
		 "the devices run on the destination"},
		{"failed", "the guest runs on at the source", "the devices run on at the source"},
		{"cancelled", "the guest runs on at the source",
		 "the devices run on at the source"},
		{"in-doubt", "the guest is stopped here until one knows whether the other side runs it",
		 "the devices are stopped here: it is not known whether they run on the other side"},
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(outcomes); i++)
		if (!strcmp(outcomes[i].status, status))
			return &outcomes[i];
	return NULL;
}

/* In the words of the side whose report it is. */
static const char *outcome(struct json_object *report, const char *status)
{
	bool here = !strcmp(field_text(report, "side", "source"), "destination");
	const struct outcome *found = here ? outcome_here(report, status) : outcome_there(status);

	if (!found)
		return "not ended";
	return is_devices_alone(report) ? found->alone : found->guest;
}

/* Nobody listens where the VM was to go. */
static bool nobody_waits(const char *stage, int code)
{
	return !strcmp(stage, "hello") && (code == ECONNREFUSED || code == ENOENT);
}

static void print_error(FILE *out, struct json_object *report)
{
	const char *device = field_text(report, "error.device", "");
	const char *stage = field_text(report, "error.stage", "?");
	const char *text = field_text(report, "error.text", "?");
	int code = (int)field_number(report, "error.errno", 0);

	if (!json_object_is_type(field_find(report, "error"), json_type_object))
		return;
	fprintf(out, "  stage %s%s%s: %s", stage, *device ? ", device " : "", device, text);
	if (nobody_waits(stage, code))
		fputs(": does anybody wait there?", out);
	else if (code && !strstr(text, strerror(code)))
		fprintf(out, " (%s)", strerror(code));
	fputs("\n", out);
}

/* What stood against it, where that was more than the error has room for. */
static void print_reasons(FILE *out, struct json_object *report)
{
	struct json_object *reasons = field_find(report, "reasons");
	size_t i, count = json_object_is_type(reasons, json_type_array) ?
			  json_object_array_length(reasons) : 0;

	for (i = 0; i < count; i++)
		fprintf(out, "  - %s\n",
			field_text(json_object_array_get_idx(reasons, i), "", "?"));
}

void table_print(FILE *out, struct json_object *report, double limit_ms)
{
	const char *status = field_text(report, "status", "?");
	unsigned rounds = (unsigned)field_u64(report, "rounds", 0);
	char total[UNITS_SIZE];

	fprintf(out, "migration %s after %s and %u round%s: %s\n", status,
		units_ms(total, field_number(report, "total_ms", NOT_KNOWN)), rounds,
		rounds == 1 ? "" : "s", outcome(report, status));
	print_error(out, report);
	print_reasons(out, report);
	print_downtime(out, report, limit_ms);
	print_attempts(out, report);
	if (field_u64(report, "memory.pages", 0))
		print_memory(out, report);
	print_devices(out, report);
}
