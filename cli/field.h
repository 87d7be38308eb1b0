/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading JSON that another process sent: a path of names joined by dots leads to a value, and
 * whatever is absent or of another type is the caller's fallback, so that no reader has to trust
 * the sender's shape.
 */
#ifndef CLI_FIELD_H
#define CLI_FIELD_H

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json.h>

#define FIELD_NAME_MAX 64

/* The value at @path ("memory.total_bytes"), borrowed; NULL if there is none. */
struct json_object *field_find(struct json_object *object, const char *path);

/* Text, borrowed from @object. */
const char *field_text(struct json_object *object, const char *path, const char *fallback);

double field_number(struct json_object *object, const char *path, double fallback);
uint64_t field_u64(struct json_object *object, const char *path, uint64_t fallback);
bool field_true(struct json_object *object, const char *path);

#endif
