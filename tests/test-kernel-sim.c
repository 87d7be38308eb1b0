/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * In the test machine: VMs with simulated devices of the kernel (sim/kernel/) on the machine's own
 * KVM. The devices change their memory, write records into the guest's and counters into each
 * other's while the VM moves; memory and devices are compared, and no write may come late.
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

#include "base/compiler.h"
#include "cli/field.h"
#include "tests/mdev.h"
#include "tests/scene.h"

#define COUNT_MAX 16
#define DRIVER    "vfm_sim"

/* What a case is about. */
struct kind {
	const char *way;          /* --vfio-way */
	unsigned count;           /* devices */
	const char *const *types; /* device i is of number i, round and round; NULL: generic */
	bool peers;               /* they write to each other */
};

static struct lab_config config;
static char uuid[LAB_ENDS][COUNT_MAX][MDEV_UUID_MAX];
static char words[LAB_ENDS][COUNT_MAX * MDEV_UUID_MAX];
static char vm_option[64];

/* What a user would set; both sides are alike, but for the contents that they begin with. */
static void set_attributes(const char *name, const struct kind *kind, enum lab_end end)
{
	mdev_set(name, DRIVER "/state_size", "1M");
	mdev_set(name, DRIVER "/initial_size", "256K");
	mdev_set(name, DRIVER "/dirty_rate", "256K");
	mdev_set(name, DRIVER "/seed", end == LAB_SOURCE ? "1" : "2");
	mdev_set(name, DRIVER "/dma_rate", "50");
	if (kind->peers)
		mdev_set(name, DRIVER "/p2p_rate", "50");
}

static void add_side(enum lab_end end, const struct kind *kind)
{
	static const char *const generic[] = {DRIVER "-generic", NULL};
	const char *const *types = kind->types ? kind->types : generic;
	unsigned i, t = 0;

	words[end][0] = '\0';
	for (i = 0; i < kind->count; i++) {
		snprintf(uuid[end][i], MDEV_UUID_MAX, "%08x-0000-0000-0000-%012x", 0x60 + end, i);
		mdev_make(DRIVER, types[t], uuid[end][i]);
		set_attributes(uuid[end][i], kind, end);
		snprintf(words[end] + strlen(words[end]), sizeof(words[end]) - strlen(words[end]),
			 "%s%s", i ? " " : "", uuid[end][i]);
		t = types[t + 1] ? t + 1 : 0;
	}
	config.vfio[end] = words[end];
	config.vm_option[end] = vm_option;
}

static void make_devices(const struct kind *kind)
{
	if (!strcmp(kind->way, "cdev") && access("/dev/iommu", F_OK))
		skip();
	snprintf(vm_option, sizeof(vm_option), "--vfio-way=%s%s", kind->way,
		 kind->peers ? " --p2p" : "");
	config = scene_config();
	config.accel = "kvm";
	add_side(LAB_SOURCE, kind);
	add_side(LAB_DESTINATION, kind);
}

static void start(const struct kind *kind)
{
	if (kind->peers)
		scene_watch_peers();
	scene_start(&config);
	scene_expect_device(LAB_SOURCE);
}

static void set_up(const struct kind *kind)
{
	make_devices(kind);
	start(kind);
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
	set_up(kind_of(state));
	scene_expect_more(LAB_SOURCE, "irqs");
	scene_expect_arrival();
	scene_expect_more(LAB_DESTINATION, "irqs");
	expect_states(LAB_SOURCE, kind_of(state), "STOP");
	expect_states(LAB_DESTINATION, kind_of(state), "RUNNING");
}

static void test_moves_there_and_back(void **state)
{
	set_up(kind_of(state));
	scene_expect_arrival();
	scene_come_back();
	expect_source_works(kind_of(state));
	expect_states(LAB_DESTINATION, kind_of(state), "STOP");
}

/* The number that the report has of the first device. */
static uint64_t of_device(struct json_object *report, const char *member)
{
	struct json_object *devices = field_find(report, "devices");

	return field_u64(json_object_array_get_idx(devices, 0), member, 0);
}

/* The device's initial bytes begin anew at its second query: the destination has to ack again. A kernel
 * without REINIT carries them as dirty bytes. */
static void test_initial_bytes_that_begin_anew(void **state)
{
	const char *kernel = getenv("MACHINE_KERNEL");
	bool has_reinit = kernel && !strcmp(kernel, "new");
	struct json_object *report;

	make_devices(kind_of(state));
	mdev_set(uuid[LAB_SOURCE][0], DRIVER "/reinit", "info=2");
	start(kind_of(state));
	report = scene_expect_arrival();
	assert_int_equal(of_device(report, "reinits"), has_reinit);
	assert_int_equal(of_device(report, "acks"), 1 + has_reinit);
}

/* The last device of four does not get to STOP_COPY: the VM stays, all devices run again. */
static void test_an_arc_that_fails_on_the_source(void **state)
{
	const struct kind *kind = kind_of(state);

	make_devices(kind);
	mdev_set(uuid[LAB_SOURCE][kind->count - 1], DRIVER "/fail_arc",
		 "PRE_COPY_P2P:STOP_COPY=EIO");
	start(kind);
	scene_migrate(scene.address, 0);
	scene_expect_end("failed");
	scene_expect_never_ran();
	expect_source_works(kind);
}

/* The last device refuses what it was given: that is found before the source gives the VM up. */
static void test_a_state_that_is_refused(void **state)
{
	const struct kind *kind = kind_of(state);

	make_devices(kind);
	mdev_set(uuid[LAB_SOURCE][kind->count - 1], DRIVER "/corrupt_stream", "64K");
	start(kind);
	scene_migrate(scene.address, 0);
	scene_expect_end("failed");
	scene_expect_never_ran();
	expect_source_works(kind);
}

/* The next VMM resets what the dead one left, and takes the VM. */
static void test_killed_destination(void **state)
{
	set_up(kind_of(state));
	scene_migrate_endlessly();
	scene_await_stage(LAB_SOURCE, VFM_STAGE_PRECOPY);
	scene_kill(&scene.side[LAB_DESTINATION].vm, SIGKILL);
	scene_expect_end("failed");
	expect_source_works(kind_of(state));
	scene_renew(LAB_DESTINATION);
	expect_states(LAB_DESTINATION, kind_of(state), "RUNNING");
	scene_expect_arrival();
}

static void test_killed_source(void **state)
{
	set_up(kind_of(state));
	scene_migrate_endlessly();
	scene_await_stage(LAB_SOURCE, VFM_STAGE_PRECOPY);
	scene_kill(&scene.side[LAB_SOURCE].vm, SIGKILL);
	scene_expect_never_ran();
	scene_renew(LAB_SOURCE);
	expect_source_works(kind_of(state));
	scene_renew(LAB_DESTINATION);
	scene_expect_arrival();
}

static const char *const with_p2p[] = {DRIVER "-generic", DRIVER "-mlx5", DRIVER "-virtio",
				       DRIVER "-qat", DRIVER "-pds", DRIVER "-xe", NULL};
static const char *const without_p2p[] = {DRIVER "-hisi_acc", NULL};

static const struct kind one_group = {"group", 1, NULL, false};
static const struct kind four_group = {"group", 4, NULL, true};
static const struct kind sixteen_group = {"group", 16, NULL, true};
static const struct kind one_cdev = {"cdev", 1, NULL, false};
static const struct kind four_cdev = {"cdev", 4, NULL, true};
static const struct kind sixteen_cdev = {"cdev", 16, NULL, true};
static const struct kind mixed = {"auto", 6, with_p2p, true};
static const struct kind alone = {"auto", 1, without_p2p, false};

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
		CASE(test_moves, sixteen_group),
		CASE(test_moves, one_cdev),
		CASE(test_moves, four_cdev),
		CASE(test_moves, sixteen_cdev),
		CASE(test_moves, mixed),
		CASE(test_moves, alone),
		CASE(test_moves_there_and_back, four_group),
		CASE(test_initial_bytes_that_begin_anew, four_group),
		CASE(test_an_arc_that_fails_on_the_source, four_group),
		CASE(test_a_state_that_is_refused, four_group),
		CASE(test_killed_destination, four_group),
		CASE(test_killed_source, four_group),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, scene_open, NULL);
}
