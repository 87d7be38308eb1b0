/* SPDX-License-Identifier: BSD-3-Clause */
/* What was measured: printed as a table while it comes, and kept for a JSON file. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <json-c/json.h>
#include "bench/series.h"

struct report {
	struct json_object *rows;
};

/* What a figure should be; the last member of a row that has no aim is AIM_NONE. */
struct aim {
	enum { AIM_NONE, AIM_AT_LEAST, AIM_AT_MOST } kind;
	double value;
};
#define NO_AIM      ((struct aim){AIM_NONE, 0})
#define AT_LEAST(x) ((struct aim){AIM_AT_LEAST, (x)})
#define AT_MOST(x)  ((struct aim){AIM_AT_MOST, (x)})

int report_init(struct report *report);
void report_destroy(struct report *report);

/* A title above the rows that follow, and a line that says what they mean. */
void report_part(struct report *report, const char *title, const char *meaning);

/* A row: median, lowest and highest. */
void report_series(struct report *report, const char *part, const char *name, const char *unit,
		   const struct series *series, struct aim aim);

/* A row with one value. */
void report_value(struct report *report, const char *part, const char *name, const char *unit,
		  double value, struct aim aim);

/* The rows and what machine they are of, as a file. 0 or -errno. */
int report_write(struct report *report, const struct bench_options *options);

#endif
