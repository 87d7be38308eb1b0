/* SPDX-License-Identifier: BSD-3-Clause */
/* The table at the end of a migration, from its report (docs/report.md), in 80 columns. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include <stdio.h>

#include <json-c/json.h>

/* @limit_ms: the downtime that was allowed, negative for any. */
void table_print(FILE *out, struct json_object *report, double limit_ms);

#endif
