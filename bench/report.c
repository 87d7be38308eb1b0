/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/report.h"

#include <errno.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

int report_init(struct report *report)
{
	report->rows = json_object_new_array();
	return report->rows ? 0 : -ENOMEM;
}

void report_destroy(struct report *report)
{
	json_object_put(report->rows);
}

void report_part(struct report *report, const char *title, const char *meaning)
{
	printf("\n%s\n  %s\n", title, meaning);
	printf("  %-44s %9s %9s %9s\n", "", "median", "low", "high");
}

static void print_aim(double value, struct aim aim)
{
	bool met = aim.kind == AIM_AT_LEAST ? value >= aim.value : value <= aim.value;

	if (aim.kind != AIM_NONE)
		printf("  aim %s %g: %s", aim.kind == AIM_AT_LEAST ? ">=" : "<=", aim.value,
		       met ? "met" : "missed");
}

static void print_row(const char *name, const char *unit, const struct summary *s, unsigned count,
		      struct aim aim)
{
	char label[64];

	snprintf(label, sizeof(label), "%s%s%s", name, *unit ? ", " : "", unit);
	printf("  %-44s %9.3f", label, s->median);
	if (count > 1)
		printf(" %9.3f %9.3f", s->low, s->high);
	else if (aim.kind != AIM_NONE)
		printf(" %9s %9s", "", "");
	print_aim(s->median, aim);
	putchar('\n');
	fflush(stdout);
}

static void keep_row(struct report *report, const char *part, const char *name, const char *unit,
		     const struct series *series, const struct summary *s)
{
	struct json_object *row = json_object_new_object();
	struct json_object *values = json_object_new_array();

	for (unsigned i = 0; i < series->count; i++)
		json_object_array_add(values, json_object_new_double(series->values[i]));
	json_object_object_add(row, "part", json_object_new_string(part));
	json_object_object_add(row, "name", json_object_new_string(name));
	json_object_object_add(row, "unit", json_object_new_string(unit));
	json_object_object_add(row, "median", json_object_new_double(s->median));
	json_object_object_add(row, "low", json_object_new_double(s->low));
	json_object_object_add(row, "high", json_object_new_double(s->high));
	json_object_object_add(row, "values", values);
	json_object_array_add(report->rows, row);
}

void report_series(struct report *report, const char *part, const char *name, const char *unit,
		   const struct series *series, struct aim aim)
{
	struct summary s = series_summary(series);

	print_row(name, unit, &s, series->count, aim);
	keep_row(report, part, name, unit, series, &s);
}

void report_value(struct report *report, const char *part, const char *name, const char *unit,
		  double value, struct aim aim)
{
	struct series one = {.count = 1, .values = {value}};

	report_series(report, part, name, unit, &one, aim);
}

static struct json_object *describe_machine(void)
{
	struct json_object *machine = json_object_new_object();
	struct utsname name;
	char now[32] = "";
	time_t t = time(NULL);

	strftime(now, sizeof(now), "%Y-%m-%dT%H:%M:%SZ", gmtime(&t));
	json_object_object_add(machine, "time", json_object_new_string(now));
	json_object_object_add(machine, "processors",
			       json_object_new_int64(sysconf(_SC_NPROCESSORS_ONLN)));
	if (!uname(&name)) {
		json_object_object_add(machine, "kernel", json_object_new_string(name.release));
		json_object_object_add(machine, "machine", json_object_new_string(name.machine));
	}
	return machine;
}

int report_write(struct report *report, const struct bench_options *options)
{
	struct json_object *all = json_object_new_object();
	int r = 0;

	if (!all)
		return -ENOMEM;
	json_object_object_add(all, "machine", describe_machine());
	json_object_object_add(all, "size", json_object_new_int64((int64_t)options->size));
	json_object_object_add(all, "runs", json_object_new_int64(options->runs));
	json_object_object_add(all, "rows", json_object_get(report->rows));
	if (json_object_to_file_ext(options->json, all, JSON_C_TO_STRING_PRETTY) < 0)
		r = errno ? -errno : -EIO;
	json_object_put(all);
	return r;
}
