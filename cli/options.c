/* SPDX-License-Identifier: BSD-3-Clause */
#include "options.h"

#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/compiler.h"
#include "parse.h"

#define KEY_BASE 0x100 /* above every character: row i has the key KEY_BASE + i */

struct reading {
	const struct options *options;
	char *target;
	const char *program;
};

static int complain(const struct reading *reading, const char *why)
{
	fprintf(stderr, "%s: %s\n", reading->program, why);
	return EINVAL;
}

static int read_word(const struct option_row *row, const char *name, const char *text,
		     unsigned *out, char *why)
{
	unsigned count = 0;

	while (row->words[count])
		count++;
	return parse_word(name, text, row->words, count, out, why);
}

static int read_text(const char *name, const char *text, const char **out, char *why)
{
	if (!*text) {
		snprintf(why, PARSE_WHY_MAX, "%s: the value is empty: give at least one character",
			 name);
		return -EINVAL;
	}
	*out = text;
	return 0;
}

static int read_one_more(const char *name, const char *text, struct option_list *out, char *why)
{
	int ret;

	if (out->count == OPTION_LIST_MAX) {
		snprintf(why, PARSE_WHY_MAX, "%s: given too often: at most %d times", name,
			 OPTION_LIST_MAX);
		return -EINVAL;
	}
	ret = read_text(name, text, &out->text[out->count], why);
	if (!ret)
		out->count++;
	return ret;
}

static int read_value(const struct option_row *row, const char *text, void *out, char *why)
{
	char name[64];

	snprintf(name, sizeof(name), "--%s", row->name);
	switch (row->kind) {
	case OPTION_SIZE:
		return parse_size(name, text, row->min, row->max, out, why);
	case OPTION_RATE:
		return parse_rate(name, text, row->min, row->max, out, why);
	case OPTION_DURATION:
		return parse_duration_ms(name, text, row->min, row->max, out, why);
	case OPTION_U32:
		return parse_u32(name, text, (uint32_t)row->min, (uint32_t)row->max, out, why);
	case OPTION_WORD:
		return read_word(row, name, text, out, why);
	case OPTION_TEXT:
		return read_text(name, text, out, why);
	case OPTION_LIST:
		return read_one_more(name, text, out, why);
	case OPTION_FLAG:
		*(bool *)out = true;
		return 0;
	}
	return -EINVAL;
}

static int read_option(const struct reading *reading, int key, const char *text)
{
	char why[PARSE_WHY_MAX] = "";
	unsigned i;

	for (i = 0; i < reading->options->row_count; i++) {
		const struct option_row *row = &reading->options->rows[i];

		if (key != KEY_BASE + (int)i && (!row->key || key != row->key))
			continue;
		if (read_value(row, text, reading->target + row->offset, why))
			return complain(reading, why);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static int read_argument(const struct reading *reading, unsigned place, const char *text)
{
	char why[PARSE_WHY_MAX];
	const char **args;

	if (place >= reading->options->arg_count) {
		snprintf(why, sizeof(why), "one argument too many: \"%.64s\"; see --help", text);
		return complain(reading, why);
	}
	args = (const char **)(reading->target + reading->options->args_offset);
	args[place] = text;
	return 0;
}

static error_t parse_key(int key, char *text, struct argp_state *state)
{
	struct reading *reading = state->input;

	if (key == ARGP_KEY_INIT) {
		/* Without it argp keeps its second line of advice to itself. */
		state->err_stream = NULL;
		return 0;
	}
	if (key == ARGP_KEY_ARG)
		return read_argument(reading, state->arg_num, text);
	return read_option(reading, key, text);
}

static void fill_argp(const struct options *options, struct argp_option *out)
{
	unsigned i;

	for (i = 0; i < options->row_count; i++) {
		const struct option_row *row = &options->rows[i];

		out[i] = (struct argp_option){
			.name = row->name,
			.key = row->key ? row->key : KEY_BASE + (int)i,
			.arg = row->kind == OPTION_FLAG ? NULL : row->value,
			.flags = row->help ? 0 : OPTION_HIDDEN,
			.doc = row->help,
		};
	}
}

int options_parse(const struct options *options, int argc, char **argv, void *target)
{
	struct argp_option rows[OPTIONS_ROWS_MAX + 1] = {0};
	struct argp argp = {rows, parse_key, options->args, options->doc, NULL, NULL, NULL};
	struct reading reading = {options, target, argv[0]};

	if (options->row_count > OPTIONS_ROWS_MAX || options->arg_count > OPTIONS_ARGS_MAX)
		return -EINVAL;
	fill_argp(options, rows);
	return argp_parse(&argp, argc, argv, 0, NULL, &reading) ? -EINVAL : 0;
}
