/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Recorded migrations through the policy alone. Each recording says in first_go at which round the
 * policy has to go, 0: never. To record one: `vfio-migrate demo --json FILE`, and keep `samples`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vfio-migrate/replay.h>

static char *path_of(const char *name)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/%s", RECORDINGS, name);
	return path;
}

static json_object *load(const char *name)
{
	json_object *o = json_object_from_file(path_of(name));

	if (!o)
		print_error("%s: %s\n", path_of(name), json_util_get_last_err());
	assert_non_null(o);
	return o;
}

static int64_t first_go(json_object *recording, const uint64_t *limit)
{
	return vfm_replay(json_object_to_json_string(recording), limit, NULL, NULL);
}

static void decides_as_recorded(void **unused)
{
	DIR *dir = opendir(RECORDINGS);
	unsigned count = 0;

	(void)unused;
	assert_non_null(dir);
	for (struct dirent *e; (e = readdir(dir));) {
		json_object *o, *expected;

		if (!strstr(e->d_name, ".json"))
			continue;
		o = load(e->d_name);
		assert_true(json_object_object_get_ex(o, "first_go", &expected));
		print_message("%s\n", e->d_name);
		assert_int_equal(first_go(o, NULL), json_object_get_int64(expected));
		json_object_put(o);
		count++;
	}
	closedir(dir);
	assert_true(count >= 5);
}

static void would_go_with_another_limit(void **unused)
{
	json_object *never = load("never.json"), *at_once = load("at-once.json");
	uint64_t unlimited = VFM_UNLIMITED, nothing = 0;

	(void)unused;
	assert_int_equal(first_go(never, &unlimited), 1);
	assert_int_equal(first_go(at_once, &nothing), 0);
	json_object_put(never);
	json_object_put(at_once);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decides_as_recorded),
		cmocka_unit_test(would_go_with_another_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
