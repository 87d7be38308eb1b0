/* SPDX-License-Identifier: BSD-3-Clause */
/* Writing the report of a migration to a file. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include <json-c/json.h>

/* To @path, "-" being standard output. It is complete or it is not there: a file is written beside
 * it and renamed. 0 or -errno. */
int report_write(const char *path, struct json_object *report);

/* Can @path be written to, as report_write would? To be asked before anything starts whose report
 * could be lost. 0, also for NULL, or -errno. */
int report_check(const char *path);

/* Where text for people goes, so that it does not mix with a report on standard output. NULL:
 * nowhere. @path: as for report_write, NULL for none. */
FILE *report_text_out(const char *path, bool quiet);

/* What looks like a device that was meant as another argument, to a command that changes devices: "is a
 * socket". NULL: it does not. */
const char *report_is_device(const char *path);

#endif
