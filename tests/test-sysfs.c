/* SPDX-License-Identifier: BSD-3-Clause */
/* What the program reads of sysfs, out of a made one, and what it makes of that. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "cli/sysfs.h"

#define UUID "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"

static char root[64];

PRINTF(1, 2) static void run(const char *format, ...)
{
	char command[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	assert_int_equal(system(command), 0);
}

/* @driver NULL: bound to none. */
static void make_pci(const char *address, const char *driver, unsigned vendor, unsigned device,
		     unsigned class)
{
	char dir[256];

	snprintf(dir, sizeof(dir), "%s/bus/pci/devices/%s", root, address);
	run("mkdir -p %s && echo 0x%04x >%s/vendor && echo 0x%04x >%s/device && "
	    "echo 0x%06x >%s/class", dir, vendor, dir, device, dir, class, dir);
	if (driver)
		run("ln -s ../../../bus/pci/drivers/%s %s/driver", driver, dir);
}

static int make(void **state)
{
	strcpy(root, "/tmp/test-sysfs-XXXXXX");
	if (!mkdtemp(root))
		return -1;
	make_pci("0000:01:00.0", "vfio-pci", 0x15b3, 0x101e, 0x020000);
	make_pci("0000:01:00.1", "mlx5_core", 0x15b3, 0x101e, 0x020000);
	make_pci("0000:01:00.2", "mlx5_vfio_pci", 0x15b3, 0x101e, 0x020000);
	make_pci("0000:01:00.3", NULL, 0x1af4, 0x1041, 0x020000);
	make_pci("0000:02:00.0", "vfio-pci", 0x8086, 0x56c0, 0x038000);
	make_pci("0000:02:00.1", "vfio-pci", 0x8086, 0x0953, 0x010802);
	make_pci("0000:02:00.2", "xe-vfio-pci", 0x8086, 0x56c0, 0x038000);
	run("mkdir -p %s/bus/mdev/devices/" UUID, root);
	run("ln -s ../../../../bus/mdev/drivers/mtty %s/bus/mdev/devices/" UUID "/driver", root);
	run("ln -s ../mdev_supported_types/mtty-2 %s/bus/mdev/devices/" UUID "/mdev_type", root);
	return 0;
}

static int destroy(void **state)
{
	run("rm -r %s", root);
	return 0;
}

static int read_device(const char *what, struct sysfs_device *d)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/bus/%s", root, what);
	return sysfs_read(path, d);
}

static void reads_what_is_there(void **state)
{
	struct sysfs_device d;
	char path[256];

	assert_int_equal(read_device("pci/devices/0000:02:00.0", &d), 0);
	assert_string_equal(d.driver, "vfio-pci");
	assert_string_equal(d.type, "");
	assert_int_equal(d.vendor, 0x8086);
	assert_int_equal(d.device, 0x56c0);
	assert_int_equal(d.class, 0x038000);
	assert_int_equal(read_device("mdev/devices/" UUID, &d), 0);
	assert_string_equal(d.driver, "mtty");
	assert_string_equal(d.type, "mtty-2");
	assert_int_equal(d.vendor, 0xffff);
	assert_int_equal(read_device("pci/devices/0000:03:00.0", &d), -ENOENT);
	assert_int_equal(sysfs_path_of_fd(root, 99999, path, sizeof(path)), -EBADF);
}

/* The null device stands for one that is nobody's in particular. */
static void finds_the_directory_of_an_fd(void **state)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), dir = open(root, O_RDONLY | O_CLOEXEC);
	char path[256];

	assert_true(null >= 0 && dir >= 0);
	assert_int_equal(sysfs_path_of_fd("/sys", null, path, sizeof(path)), 0);
	assert_string_equal(path, "/sys/dev/char/1:3/device");
	assert_int_equal(sysfs_path_of_fd("/sys", null, path, 10), -ENAMETOOLONG);
	assert_int_equal(sysfs_path_of_fd("/sys", dir, path, sizeof(path)), -EINVAL);
	close(null);
	close(dir);
}

static void knows_what_would_help(void **state)
{
	static const struct {
		const char *address;
		const char *advice;
	} cases[] = {
		{"pci/devices/0000:01:00.0", "bound to vfio-pci; mlx5_vfio_pci has migration"},
		{"pci/devices/0000:01:00.1", "bound to mlx5_core; mlx5_vfio_pci has migration"},
		{"pci/devices/0000:01:00.2",
		 "bound to mlx5_vfio_pci, which has migration, but not on this host"},
		{"pci/devices/0000:01:00.3", "bound to no driver; virtio_vfio_pci has migration"},
		{"pci/devices/0000:02:00.0", "bound to vfio-pci; xe_vfio_pci has migration"},
		{"pci/devices/0000:02:00.1",
		 "bound to vfio-pci; no driver with migration is known for 8086:0953"},
		{"pci/devices/0000:02:00.2", "bound to xe-vfio-pci, which has migration"},
		{"mdev/devices/" UUID, "bound to mtty, of type mtty-2"},
	};
	struct sysfs_device d;
	char text[256];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(read_device(cases[i].address, &d), 0);
		sysfs_advise(&d, text, sizeof(text));
		if (strncmp(text, cases[i].advice, strlen(cases[i].advice)))
			print_error("%s: %s\n", cases[i].address, text);
		assert_memory_equal(text, cases[i].advice, strlen(cases[i].advice));
	}
	assert_true(sysfs_driver_migrates("mlx5_vfio_pci"));
	assert_true(sysfs_driver_migrates("mlx5-vfio-pci"));
	assert_false(sysfs_driver_migrates("mlx5-vfio"));
	assert_false(sysfs_driver_migrates("vfio-pci"));
	assert_false(sysfs_driver_migrates(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_is_there),
		cmocka_unit_test(finds_the_directory_of_an_fd),
		cmocka_unit_test(knows_what_would_help),
	};

	return cmocka_run_group_tests(tests, make, destroy);
}
