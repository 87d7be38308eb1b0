/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench: what a migration costs, as ratios that hold on a busy machine.
 *
 * A figure in bytes per second says as much about the machine, and about who else uses it, as about
 * the program. So each measurement has a reference that moves the same bytes through the same kind
 * of sockets with the same number of threads and nothing else, and the two alternate: reference,
 * measurement, reference, measurement. Told are the median of the ratios of neighbours and their
 * spread. Nothing here passes or fails by time; what fails is a byte that did not arrive.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#define BENCH_RUNS_MAX 99
#define GIB            ((double)(UINT64_C(1) << 30))
#define MIB            ((double)(UINT64_C(1) << 20))

struct report;

struct bench_options {
	uint64_t size;     /* bytes of guest memory, and of device state */
	uint32_t runs;     /* of each of the two that alternate */
	bool quick;        /* small and once: for correctness */
	const char *json;  /* NULL: none */
	const char *words[5];
};

/* Each does one word. 0, or -errno after a line on standard error. */
int bench_memory(const struct bench_options *options, struct report *report);
int bench_device(const struct bench_options *options, struct report *report);
int bench_downtime(const struct bench_options *options, struct report *report);
int bench_switchover(const struct bench_options *options, struct report *report);
int bench_footprint(const struct bench_options *options, struct report *report);

/* Print "bench: WHAT: ERROR" and return @error, a negative errno. */
int bench_fail(int error, const char *what);

#endif
