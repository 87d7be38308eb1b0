/* SPDX-License-Identifier: BSD-3-Clause */
#include "field.h"

#include <string.h>

struct json_object *field_find(struct json_object *object, const char *path)
{
	char name[FIELD_NAME_MAX];
	size_t length;

	while (object && *path) {
		length = strcspn(path, ".");
		if (length >= sizeof(name) || !json_object_is_type(object, json_type_object))
			return NULL;
		memcpy(name, path, length);
		name[length] = '\0';
		if (!json_object_object_get_ex(object, name, &object))
			return NULL;
		path += length + (path[length] == '.');
	}
	return object;
}

const char *field_text(struct json_object *object, const char *path, const char *fallback)
{
	struct json_object *value = field_find(object, path);

	return json_object_is_type(value, json_type_string) ? json_object_get_string(value)
							    : fallback;
}

double field_number(struct json_object *object, const char *path, double fallback)
{
	struct json_object *value = field_find(object, path);

	if (!json_object_is_type(value, json_type_double) &&
	    !json_object_is_type(value, json_type_int))
		return fallback;
	return json_object_get_double(value);
}

uint64_t field_u64(struct json_object *object, const char *path, uint64_t fallback)
{
	struct json_object *value = field_find(object, path);

	if (!json_object_is_type(value, json_type_int))
		return fallback;
	return json_object_get_uint64(value);
}

bool field_true(struct json_object *object, const char *path)
{
	struct json_object *value = field_find(object, path);

	return json_object_is_type(value, json_type_boolean) && json_object_get_boolean(value);
}
