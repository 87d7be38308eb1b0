/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * In the test machine: a VM with a PCI device of vfio-pci, which has registers that are mapped
 * into the guest, interrupts of both kinds and DMA through the machine's IOMMU. It cannot migrate:
 * that is said, and the VM runs on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/field.h"
#include "tests/scene.h"

#define DEVICE "0000:00:02.0"

struct kind {
	const char *way;
	const char *irq;
	const char *accel;
};

static void set_up(const struct kind *kind)
{
	static char device[64], option[64];
	struct lab_config config = scene_config();

	if (!strcmp(kind->way, "cdev") && access("/dev/iommu", F_OK))
		skip();
	snprintf(device, sizeof(device), DEVICE ",irq=%s", kind->irq);
	snprintf(option, sizeof(option), "--vfio-way=%s", kind->way);
	config.accel = kind->accel;
	config.vfio[LAB_SOURCE] = device;
	config.vfio[LAB_DESTINATION] = ""; /* none */
	config.vm_option[LAB_SOURCE] = option;
	scene_start(&config);
}

static void expect_work(bool interrupts)
{
	scene_expect_guest(LAB_SOURCE);
	scene_expect_more(LAB_SOURCE, "doorbells");
	scene_expect_more(LAB_SOURCE, "records");
	if (interrupts)
		scene_expect_more(LAB_SOURCE, "irqs");
}

/* The VMM has mapped what the kernel offers of the device. */
static void expect_mapped(void)
{
	char path[64], line[512];
	bool found = false;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)scene.side[LAB_SOURCE].vm.pid);
	maps = fopen(path, "re");
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		found |= strstr(line, "vfio-device") || strstr(line, "/dev/vfio/devices/");
	fclose(maps);
	assert_true(found);
}

static void test_works(void **state)
{
	const struct kind *kind = *state;

	set_up(kind);
	expect_mapped();
	expect_work(strcmp(kind->irq, "none"));
}

static void test_cannot_migrate(void **state)
{
	struct json_object *report;

	set_up(*state);
	scene_migrate(scene.address, 0);
	report = scene_expect_end("failed");
	assert_non_null(strstr(field_text(report, "error.text", ""), "dev0"));
	expect_work(true);
}

static const struct kind msi_group = {"group", "msi", "kvm"};
static const struct kind msi_cdev = {"cdev", "msi", "kvm"};
static const struct kind intx_group = {"group", "intx", "kvm"};
static const struct kind intx_cdev = {"cdev", "intx", "kvm"};
static const struct kind none_group = {"group", "none", "kvm"};
static const struct kind intx_thread = {"group", "intx", "thread"};

#define CASE(test, kind)                                                                           \
	{                                                                                          \
		.name = #test "/" #kind, .test_func = test, .teardown_func = scene_stop,           \
		.initial_state = (void *)(uintptr_t)&(kind)                                        \
	}

/* An argument is a filter: test_works* */
int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		CASE(test_works, msi_group),
		CASE(test_works, msi_cdev),
		CASE(test_works, intx_group),
		CASE(test_works, intx_cdev),
		CASE(test_works, none_group),
		CASE(test_works, intx_thread),
		CASE(test_cannot_migrate, msi_group),
	};

	if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, scene_open, NULL);
}
