/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices that fail a migration: they refuse a state, fail an arc, or die, on either side. The
 * report says which device, which arc and which errno; the source's guest goes on.
 *
 * Where it is the source's device that died, the guest's driver sees it gone and gives it up: the
 * heart beats and memory is worked through, and no more records come.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/field.h"
#include "tests/scene.h"

static void start(enum lab_end end, const char *option)
{
	struct lab_config config = scene_config();

	config.sim_option[end] = option;
	scene_start(&config);
}

static void expect_text(struct json_object *report, const char *path, const char *text)
{
	if (strcmp(field_text(report, path, ""), text))
		print_error("%s is not %s in:\n%s\n", path, text,
			    json_object_to_json_string(report));
	assert_string_equal(field_text(report, path, ""), text);
}

/* ---- an arc fails ---- */

struct failing {
	const char *name;
	enum lab_end end;
	const char *option;
	const char *from, *to; /* NULL: no arc is to blame */
	int error;             /* 0: any */
};

static const struct failing arcs[] = {
	{"destination_refuses_a_corrupt_state", LAB_SOURCE, "--corrupt-stream", "RESUMING", "STOP",
	 0},
	{"destination_fails_to_take_a_state", LAB_DESTINATION, "--fail-arc=RESUMING:STOP=EINVAL",
	 "RESUMING", "STOP", EINVAL},
	{"destination_fails_to_begin", LAB_DESTINATION, "--fail-arc=STOP:RESUMING=ENOMEM", "STOP",
	 "RESUMING", ENOMEM},
	{"source_fails_to_begin", LAB_SOURCE, "--fail-arc=RUNNING:PRE_COPY=EIO@1", "RUNNING",
	 "PRE_COPY", EIO},
	{"source_fails_to_quiesce", LAB_SOURCE, "--fail-arc=PRE_COPY:PRE_COPY_P2P=EBUSY@1",
	 "PRE_COPY", "PRE_COPY_P2P", EBUSY},
	{"source_fails_to_stop", LAB_SOURCE, "--fail-arc=PRE_COPY_P2P:STOP_COPY=EIO@1",
	 "PRE_COPY_P2P", "STOP_COPY", EIO},
};

static void an_arc_fails(void **state)
{
	const struct failing *f = *state;
	struct json_object *report;

	start(f->end, f->option);
	scene_migrate(scene.address, 0);
	report = scene_expect_end("failed");
	expect_text(report, "error.device", LAB_DEVICE);
	expect_text(report, "error.from", f->from);
	expect_text(report, "error.to", f->to);
	assert_int_not_equal(field_u64(report, "error.errno", 0), 0);
	if (f->error)
		assert_int_equal(field_u64(report, "error.errno", 0), f->error);
	scene_expect_guest(LAB_SOURCE);
	scene_expect_device(LAB_SOURCE);
	scene_expect_never_ran();
}

/* What failed once does not stand in the way of a second migration. */
static void the_source_can_try_again(void **state)
{
	an_arc_fails(state);
	scene_renew(LAB_DESTINATION);
	scene_expect_arrival();
}

static void another_destination_will_do(void **state)
{
	an_arc_fails(state);
	scene.config.sim_option[LAB_DESTINATION] = NULL;
	scene_renew(LAB_DESTINATION);
	scene_expect_arrival();
}

/* ---- the device's process dies ---- */

static void expect_named(struct json_object *report)
{
	expect_text(report, "error.device", LAB_DEVICE);
	assert_int_not_equal(field_u64(report, "error.errno", 0), 0);
}

static void destination_device_dies(void **state)
{
	start(LAB_DESTINATION, *state);
	scene_migrate(scene.address, 0);
	expect_named(scene_expect_end("failed"));
	scene_expect_guest(LAB_SOURCE);
	scene_expect_device(LAB_SOURCE);
	scene_expect_never_ran();
	scene.config.sim_option[LAB_DESTINATION] = NULL;
	scene_renew(LAB_DESTINATION);
	scene_expect_arrival();
}

static void source_device_dies(void **state)
{
	start(LAB_SOURCE, *state);
	scene_migrate(scene.address, 0);
	expect_named(scene_expect_end("failed"));
	scene_expect_said(LAB_SOURCE, "device " LAB_DEVICE ": lost");
	scene_expect_guest(LAB_SOURCE);
	scene_expect_never_ran();
	/* It is refused again, and by name, rather than moved without its device. */
	scene_renew(LAB_DESTINATION);
	scene_migrate(scene.address, 0);
	expect_named(scene_expect_end("failed"));
	scene_expect_guest(LAB_SOURCE);
}

#define WITH(test, name, with) {name, test, NULL, scene_stop, (void *)(with)}
#define ARC(test, i)           WITH(test, arcs[i].name, &arcs[i])

int main(void)
{
	const struct CMUnitTest tests[] = {
		ARC(an_arc_fails, 0),
		ARC(another_destination_will_do, 1),
		ARC(another_destination_will_do, 2),
		ARC(the_source_can_try_again, 3),
		ARC(the_source_can_try_again, 4),
		ARC(the_source_can_try_again, 5),
		WITH(destination_device_dies, "destination_device_dies_while_loading",
		     "--die-after-bytes=1M"),
		WITH(destination_device_dies, "destination_device_dies_in_resuming",
		     "--die-in=RESUMING"),
		WITH(destination_device_dies, "destination_device_dies_at_its_check",
		     "--die-in=STOP"),
		WITH(source_device_dies, "source_device_dies_in_precopy", "--die-in=PRE_COPY"),
		WITH(source_device_dies, "source_device_dies_while_saving",
		     "--die-after-bytes=1M"),
		WITH(source_device_dies, "source_device_dies_in_p2p", "--die-in=PRE_COPY_P2P"),
		WITH(source_device_dies, "source_device_dies_in_stop_copy", "--die-in=STOP_COPY"),
	};

	return cmocka_run_group_tests(tests, scene_open, NULL);
}
