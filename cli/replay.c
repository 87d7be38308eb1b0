/* SPDX-License-Identifier: BSD-3-Clause */
/* `vfio-migrate replay`: what the switchover policy makes of a recorded migration. */
#include <vfio-migrate/replay.h>

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "commands.h"
#include "exit.h"
#include "field.h"
#include "options.h"
#include "report.h"
#include "units.h"

#define FILE_MAX (64u << 20)

struct replay_options {
	uint64_t downtime_limit; /* ms; 0: the recorded one */
	const char *json;
	bool quiet;
	const char *file[1];
};

#define ROW(name, key, kind, member, min, max, value, help)                                        \
	{name, key, kind, offsetof(struct replay_options, member), min, max, value, help, NULL}

static const struct option_row rows[] = {
	ROW("downtime-limit", 0, OPTION_DURATION, downtime_limit, 1, VFM_UNLIMITED, "MS",
	    "the limit to decide by, or unlimited (the recorded one)"),
	ROW("json", 0, OPTION_TEXT, json, 0, 0, "OUT", "write the rounds to OUT (- is stdout)"),
	ROW("quiet", 'q', OPTION_FLAG, quiet, 0, 0, NULL, "print nothing but errors"),
};

static const struct options options = {
	.args = "FILE",
	.doc = "Let the switchover policy decide again at each round of a migration that was "
	       "recorded.\v"
	       "FILE is a report, as --json of demo and migrate writes it, or the samples of one. "
	       "Exit status 0: it would switch over; 1: never.",
	.rows = rows,
	.row_count = ARRAY_SIZE(rows),
	.arg_count = 1,
	.args_offset = offsetof(struct replay_options, file),
};

struct replay {
	const struct replay_options *options;
	FILE *out;                   /* NULL: quiet */
	struct json_object *report;  /* the file; names of devices are in it */
	struct json_object *rounds;  /* what is written */
};

PRINTF(2, 3) static int complain(int status, const char *format, ...)
{
	va_list args;

	fputs("vfio-migrate replay: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return status;
}

/* The whole file with a NUL behind it; NULL with errno. */
static char *read_file(const char *path)
{
	char *text = malloc(FILE_MAX + 1);
	FILE *in = fopen(path, "re");
	size_t size = 0;

	if (in && text)
		size = fread(text, 1, FILE_MAX + 1, in);
	if (!in || !text || ferror(in) || size > FILE_MAX) {
		errno = size > FILE_MAX ? EFBIG : errno;
		free(text);
		text = NULL;
	} else {
		text[size] = '\0';
	}
	if (in)
		fclose(in);
	return text;
}

/* ---- a round ---- */

static const struct {
	const char *name; /* as in predicted_terms of a report */
	size_t offset;
} terms[] = {
	{"stop_ms", offsetof(struct vfm_downtime, stop_ns)},
	{"memory_ms", offsetof(struct vfm_downtime, memory_ns)},
	{"state_ms", offsetof(struct vfm_downtime, state_ns)},
	{"load_ms", offsetof(struct vfm_downtime, load_ns)},
	{"handover_ms", offsetof(struct vfm_downtime, handover_ns)},
};

/* ms; negative: without end. */
static double in_ms(uint64_t ns)
{
	return ns == VFM_UNLIMITED ? -1 : (double)ns / NS_PER_MSEC;
}

static double term(const struct vfm_downtime *d, size_t i)
{
	uint64_t ns;

	memcpy(&ns, (const char *)d + terms[i].offset, sizeof(ns));
	return in_ms(ns);
}

#define DEVICE_TEXT 24 /* "device " and any int */

/* Its name where the report tells it, else its number in @buffer. */
static const char *device_name(const struct replay *replay, int device, char buffer[DEVICE_TEXT])
{
	struct json_object *devices = field_find(replay->report, "devices");

	snprintf(buffer, DEVICE_TEXT, "device %d", device);
	if (!json_object_is_type(devices, json_type_array) ||
	    (size_t)device >= json_object_array_length(devices))
		return buffer;
	return field_text(json_object_array_get_idx(devices, (size_t)device), "name", buffer);
}

static void print_round(const struct replay *replay, const struct vfm_replay_round *r)
{
	char ms[UNITS_SIZE], number[DEVICE_TEXT];
	size_t i;

	fprintf(replay->out, "%5llu %-14s %9s ", (unsigned long long)r->round, r->verdict,
		units_ms(ms, in_ms(r->predicted.total_ns)));
	for (i = 0; i < ARRAY_SIZE(terms); i++)
		fprintf(replay->out, " %8s", units_ms(ms, term(&r->predicted, i)));
	fprintf(replay->out, "  %s", r->term);
	if (r->device >= 0)
		fprintf(replay->out, " of %s", device_name(replay, r->device, number));
	fputc('\n', replay->out);
}

static struct json_object *ms_json(double ms)
{
	char text[32];

	snprintf(text, sizeof(text), "%.3f", ms);
	return ms < 0 ? NULL : json_object_new_double_s(ms, text);
}

static struct json_object *round_json(const struct replay *replay,
				      const struct vfm_replay_round *r)
{
	struct json_object *o = json_object_new_object(), *parts = json_object_new_object();
	char number[DEVICE_TEXT];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(terms); i++)
		json_object_object_add(parts, terms[i].name, ms_json(term(&r->predicted, i)));
	json_object_object_add(o, "round", json_object_new_uint64(r->round));
	json_object_object_add(o, "go", json_object_new_boolean(r->go));
	json_object_object_add(o, "verdict", json_object_new_string(r->verdict));
	json_object_object_add(o, "predicted_downtime_ms", ms_json(in_ms(r->predicted.total_ns)));
	json_object_object_add(o, "predicted_terms", parts);
	json_object_object_add(o, "term", json_object_new_string(r->term));
	json_object_object_add(o, "device",
			       r->device < 0 ? NULL
					     : json_object_new_string(device_name(replay, r->device,
										  number)));
	return o;
}

static void print_head(const struct replay *replay)
{
	fprintf(replay->out, "%5s %-14s %9s  %8s %8s %8s %8s %8s  %s\n", "round", "verdict",
		"predicted", "stop", "memory", "state", "load", "handover", "mostly");
}

static void on_round(void *opaque, const struct vfm_replay_round *r)
{
	struct replay *replay = opaque;

	if (replay->out && !json_object_array_length(replay->rounds))
		print_head(replay);
	if (replay->out)
		print_round(replay, r);
	json_object_array_add(replay->rounds, round_json(replay, r));
}

/* ---- the whole ---- */

static int write_json(struct replay *replay, int64_t first)
{
	struct json_object *o = json_object_new_object();
	int rc;

	json_object_object_add(o, "first_round", first ? json_object_new_int64(first) : NULL);
	json_object_object_add(o, "rounds", json_object_get(replay->rounds));
	rc = report_write(replay->options->json, o);
	json_object_put(o);
	return rc ? complain(CLI_EXIT_FAILED, "writing %s: %s", replay->options->json,
			     strerror(-rc))
		  : 0;
}

static int complain_of_no_rounds(const struct replay *replay)
{
	bool here = !strcmp(field_text(replay->report, "side", ""), "destination");

	return complain(CLI_EXIT_USAGE, "%s: there is no round to decide on: %s",
			replay->options->file[0],
			here ? "it is the destination's report, and the source decides; take that "
			       "of send or migrate"
			     : "the migration had ended before its first round");
}

static int run(struct replay *replay, const char *text)
{
	const struct replay_options *chosen = replay->options;
	uint64_t limit_ns = chosen->downtime_limit;
	int64_t first;
	int status = 0;

	if (limit_ns != VFM_UNLIMITED)
		limit_ns *= NS_PER_MSEC;
	first = vfm_replay(text, chosen->downtime_limit ? &limit_ns : NULL, on_round, replay);
	if (first < 0)
		return complain(CLI_EXIT_USAGE,
				"%s: no report of a migration, and no samples of one",
				chosen->file[0]);
	if (!json_object_array_length(replay->rounds))
		return complain_of_no_rounds(replay);
	if (replay->out && first)
		fprintf(replay->out, "it would switch over after round %lld\n", (long long)first);
	else if (replay->out)
		fputs("it would never switch over\n", replay->out);
	if (chosen->json)
		status = write_json(replay, first);
	return status || first ? status : CLI_EXIT_FAILED;
}

int replay_main(int argc, char **argv)
{
	struct replay_options chosen = {0};
	struct replay replay = {.options = &chosen};
	char *text;
	int status;

	if (options_parse(&options, argc, argv, &chosen))
		return CLI_EXIT_USAGE;
	if (!chosen.file[0])
		return complain(CLI_EXIT_USAGE, "FILE is missing: the report of a migration");
	if (chosen.downtime_limit != VFM_UNLIMITED &&
	    chosen.downtime_limit > UINT64_MAX / NS_PER_MSEC)
		return complain(CLI_EXIT_USAGE, "--downtime-limit: too large: say unlimited");
	text = read_file(chosen.file[0]);
	if (!text)
		return complain(CLI_EXIT_USAGE, "%s: %s", chosen.file[0], strerror(errno));
	replay.out = report_text_out(chosen.json, chosen.quiet);
	replay.report = json_tokener_parse(text);
	replay.rounds = json_object_new_array();
	status = run(&replay, text);
	json_object_put(replay.rounds);
	json_object_put(replay.report);
	free(text);
	return status;
}
