/* SPDX-License-Identifier: BSD-3-Clause */
/* The program: words and options, and what stands for which. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <vfio-migrate/vm.h>
#include "base/compiler.h"
#include "bench/report.h"
#include "cli/exit.h"
#include "cli/options.h"

#define SIZE_DEFAULT (UINT64_C(1) << 30)
#define SIZE_QUICK   (UINT64_C(16) << 20)
#define RUNS_DEFAULT 7u

const char *argp_program_version = "bench of libvfio-migrate";

static const struct word {
	const char *name;
	int (*run)(const struct bench_options *options, struct report *report);
} words[] = {
	{"memory", bench_memory},
	{"device", bench_device},
	{"downtime", bench_downtime},
	{"switchover", bench_switchover},
	{"footprint", bench_footprint},
};

static const struct option_row rows[] = {
	{.name = "size", .key = 's', .kind = OPTION_SIZE,
	 .offset = offsetof(struct bench_options, size), .min = 1 << 20, .max = UINT64_C(16) << 30,
	 .value = "SIZE", .help = "guest memory, and device state (1G)"},
	{.name = "runs", .key = 'n', .kind = OPTION_U32,
	 .offset = offsetof(struct bench_options, runs), .min = 1, .max = BENCH_RUNS_MAX,
	 .value = "N", .help = "runs of each measurement and of its reference (7)"},
	{.name = "json", .key = 'j', .kind = OPTION_TEXT,
	 .offset = offsetof(struct bench_options, json), .value = "FILE",
	 .help = "write all figures there, each run's too"},
	{.name = "quick", .key = 'q', .kind = OPTION_FLAG,
	 .offset = offsetof(struct bench_options, quick),
	 .help = "small and once: to see that all bytes arrive, not how fast"},
};

static const struct options cli = {
	.args = "[memory|device|downtime|switchover|footprint...]",
	.doc = "What a migration costs, measured on this machine.",
	.rows = rows,
	.row_count = ARRAY_SIZE(rows),
	.arg_count = 5,
	.args_offset = offsetof(struct bench_options, words),
};

int bench_fail(int error, const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(-error));
	return error;
}

static const struct word *find(const char *name)
{
	for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(words[i].name, name))
			return &words[i];
	return NULL;
}

static int check_words(const struct bench_options *options)
{
	for (unsigned i = 0; i < ARRAY_SIZE(options->words) && options->words[i]; i++)
		if (!find(options->words[i])) {
			fprintf(stderr,
				"bench: \"%.64s\" is none of: memory, device, downtime, "
				"switchover, footprint\n",
				options->words[i]);
			return -EINVAL;
		}
	return 0;
}

static void settle(struct bench_options *options)
{
	if (!options->size)
		options->size = options->quick ? SIZE_QUICK : SIZE_DEFAULT;
	if (!options->runs)
		options->runs = options->quick ? 1 : RUNS_DEFAULT;
	options->size &= ~(uint64_t)(VFM_PAGE_SIZE - 1);
}

static bool wanted(const struct bench_options *options, const char *name)
{
	if (!options->words[0])
		return true;
	for (unsigned i = 0; i < ARRAY_SIZE(options->words) && options->words[i]; i++)
		if (!strcmp(options->words[i], name))
			return true;
	return false;
}

static int run_words(const struct bench_options *options, struct report *report)
{
	int r = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(words) && !r; i++)
		if (wanted(options, words[i].name))
			r = words[i].run(options, report);
	if (!r && options->json) {
		r = report_write(report, options);
		if (r)
			bench_fail(r, options->json);
	}
	return r;
}

int main(int argc, char **argv)
{
	struct bench_options options = {0};
	struct report report;
	int r;

	if (options_parse(&cli, argc, argv, &options) || check_words(&options))
		return CLI_EXIT_USAGE;
	settle(&options);
	if (report_init(&report))
		return CLI_EXIT_FAILED;
	r = run_words(&options, &report);
	report_destroy(&report);
	return r ? CLI_EXIT_FAILED : CLI_EXIT_OK;
}
