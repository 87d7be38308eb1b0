/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * In the test machine: VMs with the kernel's mtty devices, on the machine's own KVM, move from one
 * to the other. The guest keeps bytes in flight in every UART and counts those that are lost or
 * doubled. What goes wrong leaves the source's VM and device running; a device that a killed VMM
 * left in the middle is taken over by the next one.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cli/field.h"
#include "tests/mdev.h"
#include "tests/scene.h"

#define COUNT_MAX 4

/* What a case is about. */
struct kind {
	const char *way;     /* --vfio-way */
	unsigned count;      /* devices */
	const char *irq;     /* NULL: what the VMM takes by itself */
	const char *accel;   /* NULL: kvm */
};

static struct lab_config config;
static char uuid[LAB_ENDS][COUNT_MAX][MDEV_UUID_MAX];
static char words[LAB_ENDS][COUNT_MAX * (MDEV_UUID_MAX + 16)];
static char vm_option[64];

static void add_side(enum lab_end end, const struct kind *kind, unsigned ports)
{
	unsigned i;

	words[end][0] = '\0';
	for (i = 0; i < kind->count; i++) {
		snprintf(uuid[end][i], MDEV_UUID_MAX, "%08x-0000-0000-0000-%012x", 0x50 + end, i);
		mdev_make("mtty", ports == 1 ? "mtty-1" : "mtty-2", uuid[end][i]);
		snprintf(words[end] + strlen(words[end]), sizeof(words[end]) - strlen(words[end]),
			 "%s%s%s%s", i ? " " : "", uuid[end][i], kind->irq ? ",irq=" : "",
			 kind->irq ? kind->irq : "");
	}
	config.vfio[end] = words[end];
	config.vm_option[end] = vm_option;
}

static void set_up(const struct kind *kind, unsigned source_ports, unsigned destination_ports)
{
	if (!strcmp(kind->way, "cdev") && access("/dev/iommu", F_OK))
		skip();
	snprintf(vm_option, sizeof(vm_option), "--vfio-way=%s", kind->way);
	config = scene_config();
	config.accel = kind->accel ? kind->accel : "kvm";
	add_side(LAB_SOURCE, kind, source_ports);
	add_side(LAB_DESTINATION, kind, destination_ports);
	scene_start(&config);
	scene_expect_device(LAB_SOURCE);
}

static int tear_down(void **state)
{
	int ret = scene_stop(state);
	unsigned end, i;

	for (end = 0; end < LAB_ENDS; end++)
		for (i = 0; i < COUNT_MAX; i++)
			mdev_remove(uuid[end][i]);
	memset(uuid, 0, sizeof(uuid));
	return ret;
}

static void expect_states(enum lab_end end, const struct kind *kind, const char *wanted)
{
	unsigned i;

	for (i = 0; i < kind->count; i++)
		assert_true(mdev_is_in(uuid[end][i], wanted));
}

static void expect_source_works(const struct kind *kind)
{
	scene_expect_guest(LAB_SOURCE);
	scene_expect_device(LAB_SOURCE);
	expect_states(LAB_SOURCE, kind, "RUNNING");
}

static const struct kind *kind_of(void **state)
{
	return *state;
}

static void test_moves(void **state)
{
	set_up(kind_of(state), 1, 1);
	scene_expect_more(LAB_SOURCE, "irqs");
	scene_expect_arrival();
	scene_expect_more(LAB_DESTINATION, "irqs");
	expect_states(LAB_SOURCE, kind_of(state), "STOP");
	expect_states(LAB_DESTINATION, kind_of(state), "RUNNING");
}

static void test_moves_two_ports(void **state)
{
	set_up(kind_of(state), 2, 2);
	scene_expect_arrival();
	expect_states(LAB_DESTINATION, kind_of(state), "RUNNING");
}

/* The device that was given away, in STOP, takes the VM again. */
static void test_moves_there_and_back(void **state)
{
	set_up(kind_of(state), 1, 1);
	scene_expect_arrival();
	scene_come_back();
	expect_source_works(kind_of(state));
	scene_expect_more(LAB_SOURCE, "irqs");
	assert_int_equal(scene_look(LAB_SOURCE, "uart.lost"), 0);
	assert_int_equal(scene_look(LAB_SOURCE, "uart.doubled"), 0);
	expect_states(LAB_DESTINATION, kind_of(state), "STOP");
}

/* A byte that is taken out of the destination's device is missed. A guest that was stopped when it
 * had just seen that there is one reads another in its place, which it was not due. */
static void test_a_lost_byte_is_counted(void **state)
{
	set_up(kind_of(state), 1, 1);
	scene.config.spoil = "byte";
	scene_renew(LAB_DESTINATION);
	scene_migrate(scene.address, 0);
	scene_expect_end("completed");
	scene_expect_guest(LAB_DESTINATION);
	scene_expect_device(LAB_DESTINATION);
	scene_expect_device(LAB_DESTINATION);
	assert_int_equal(scene_look(LAB_DESTINATION, "uart.lost"), 1);
	assert_true(scene_look(LAB_DESTINATION, "uart.doubled") <= 1);
}

static void test_another_number_of_ports_is_refused(void **state)
{
	set_up(kind_of(state), 1, 2);
	scene_migrate(scene.address, 0);
	scene_expect_end("failed");
	scene_expect_never_ran();
	expect_source_works(kind_of(state));
}

/* The dead VMM leaves its devices in RESUMING; the next one resets them, and takes the VM. */
static void test_killed_destination(void **state)
{
	set_up(kind_of(state), 1, 1);
	scene_migrate_endlessly();
	scene_await_stage(LAB_SOURCE, VFM_STAGE_PRECOPY);
	scene_kill(&scene.side[LAB_DESTINATION].vm, SIGKILL);
	scene_expect_end("failed");
	expect_source_works(kind_of(state));
	expect_states(LAB_DESTINATION, kind_of(state), "RESUMING");
	scene_renew(LAB_DESTINATION);
	scene_expect_said(LAB_DESTINATION, "found in RESUMING");
	expect_states(LAB_DESTINATION, kind_of(state), "RUNNING");
	scene_expect_arrival();
}

/* The same, killed when everything has arrived. */
static void test_killed_as_it_prepares(void **state)
{
	set_up(kind_of(state), 1, 1);
	scene.config.vm_option[LAB_DESTINATION] = "--die-at=prepare";
	scene_renew(LAB_DESTINATION);
	scene_migrate(scene.address, 0);
	scene_expect_end("failed");
	expect_source_works(kind_of(state));
	scene.config.vm_option[LAB_DESTINATION] = vm_option;
	scene_renew(LAB_DESTINATION);
	scene_expect_arrival();
}

/* A source that was killed in pre-copy leaves its devices there. */
static void test_killed_source(void **state)
{
	set_up(kind_of(state), 1, 1);
	scene_migrate_endlessly();
	scene_await_stage(LAB_SOURCE, VFM_STAGE_PRECOPY);
	scene_kill(&scene.side[LAB_SOURCE].vm, SIGKILL);
	scene_expect_never_ran();
	scene_renew(LAB_SOURCE);
	expect_source_works(kind_of(state));
	scene_renew(LAB_DESTINATION);
	scene_expect_arrival();
}

static void test_cancelled(void **state)
{
	set_up(kind_of(state), 1, 1);
	scene_migrate_endlessly();
	scene_await_stage(LAB_SOURCE, VFM_STAGE_PRECOPY);
	scene_execute(LAB_SOURCE, "migrate_cancel", NULL);
	scene_expect_end("cancelled");
	expect_source_works(kind_of(state));
}

static const struct kind one_group = {"group", 1, NULL, NULL};
static const struct kind four_group = {"group", 4, NULL, NULL};
static const struct kind one_cdev = {"cdev", 1, NULL, NULL};
static const struct kind four_cdev = {"cdev", 4, NULL, NULL};
static const struct kind one_msi = {"auto", 1, "msi", NULL};
static const struct kind one_polled = {"auto", 1, "none", NULL};
static const struct kind one_thread = {"auto", 1, NULL, "thread"};

#define CASE(test, kind)                                                                           \
	{                                                                                          \
		.name = #test "/" #kind, .test_func = test, .teardown_func = tear_down,            \
		.initial_state = (void *)(uintptr_t)&(kind)                                        \
	}

/* An argument is a filter: test_moves* */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CASE(test_moves, one_group),
		CASE(test_moves, four_group),
		CASE(test_moves, one_cdev),
		CASE(test_moves, four_cdev),
		CASE(test_moves, one_msi),
		CASE(test_moves, one_thread),
		CASE(test_moves_two_ports, one_polled),
		CASE(test_moves_there_and_back, four_group),
		CASE(test_a_lost_byte_is_counted, one_group),
		CASE(test_another_number_of_ports_is_refused, one_group),
		CASE(test_another_number_of_ports_is_refused, one_cdev),
		CASE(test_killed_destination, one_group),
		CASE(test_killed_destination, one_cdev),
		CASE(test_killed_as_it_prepares, four_group),
		CASE(test_killed_source, one_group),
		CASE(test_cancelled, one_group),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, scene_open, NULL);
}
