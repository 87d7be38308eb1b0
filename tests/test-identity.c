/* SPDX-License-Identifier: BSD-3-Clause */
/* What makes one device another one, and what does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <vfio-migrate/identity.h>

#define LINES 16

static char lines[LINES][VFM_ERROR_TEXT_MAX];

static const struct vfm_identity nic = {
	.size = sizeof(nic),
	.name = "net0",
	.backend = "vfio",
	.driver = "mlx5_vfio_pci",
	.mig_flags = VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY,
	.pci_vendor = 0x15b3,
	.pci_device = 0x101e,
	.pci_subsystem_vendor = 0x15b3,
	.pci_subsystem = 0x0058,
	.page_size = 4096,
	.has_bars = 1,
	.bar = {2 << 20},
};

static int compare(const struct vfm_identity *from, const struct vfm_identity *to)
{
	return vfm_identity_compare(from, "at A", to, "at B", lines, LINES);
}

static void the_same_fits(void **state)
{
	struct vfm_identity other = nic;

	strcpy(other.name, "another");
	other.mig_flags = VFM_MIG_STOP_COPY;
	other.page_size = 1; /* takes smaller pages, too */
	assert_int_equal(compare(&nic, &other), 0);
}

static void what_is_not_known_does_not_count(void **state)
{
	struct vfm_identity other = nic;

	other.driver[0] = '\0';
	strcpy(other.type, "some-1");
	other.page_size = 0;
	other.has_bars = 0;
	other.bar[1] = 4096;
	assert_int_equal(compare(&nic, &other), 0);
	assert_int_equal(compare(&other, &nic), 0);
}

static void each_difference_is_a_line(void **state)
{
	struct vfm_identity from = nic, other = nic;
	int i;

	strcpy(from.type, "some-1");
	strcpy(other.type, "some-2");
	strcpy(other.driver, "other_vfio_pci");
	other.pci_device = 0x1018;
	other.pci_subsystem = 1;
	other.bar[0] = 1 << 20;
	other.bar[2] = 4096;
	other.page_size = 65536;
	other.mig_flags = 0;
	assert_int_equal(compare(&from, &other), 8);
	assert_string_equal(lines[0], "driver mlx5_vfio_pci at A, other_vfio_pci at B");
	assert_string_equal(lines[1], "type some-1 at A, some-2 at B");
	assert_string_equal(lines[2], "a 15b3:101e at A, a 15b3:1018 at B");
	assert_string_equal(lines[3], "subsystem 15b3:0058 at A, 15b3:0001 at B");
	assert_string_equal(lines[4], "BAR 0 has 2097152 bytes at A, 1048576 at B");
	assert_string_equal(lines[5], "BAR 2 has 0 bytes at A, 4096 at B");
	assert_string_equal(lines[6], "memory is mapped in pages of 4096 bytes at A, of 65536 at "
				      "least at B");
	assert_string_equal(lines[7], "it has no migration support at B");
	/* Fewer lines than reasons: the rest is counted, and nothing else written. */
	for (i = 0; i < LINES; i++)
		lines[i][0] = '\0';
	assert_int_equal(vfm_identity_compare(&from, "at A", &other, "at B", lines, 1), 8);
	assert_string_equal(lines[1], "");
	assert_int_equal(vfm_identity_compare(&from, "at A", &other, "at B", NULL, 0), 8);
}

/* Data of one back end means nothing to another; of its drivers then nothing is said. */
static void another_backend_is_another_device(void **state)
{
	struct vfm_identity other = nic;

	strcpy(other.backend, "vfio-user");
	strcpy(other.driver, "whatever");
	assert_int_equal(compare(&nic, &other), 1);
	assert_string_equal(lines[0], "vfio at A, vfio-user at B");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_fits),
		cmocka_unit_test(what_is_not_known_does_not_count),
		cmocka_unit_test(each_difference_is_a_line),
		cmocka_unit_test(another_backend_is_another_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
