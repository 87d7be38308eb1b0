/* SPDX-License-Identifier: BSD-3-Clause */
/* What a migration that failed leaves behind, on either side. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include "tests/rig.h"

/* A device that has taken the VM's state must not run with it beside the VM on the source. */
static void resets_devices_that_had_left_resuming(void **unused)
{
	struct rig rig;

	(void)unused;
	rig_up(&rig, 2);
	rig.devices[1][1]->refuse_state = true;
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), -EINVAL);
	assert_stayed(&rig);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(rig.devices[1][i]->resets, 1);
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resets_devices_that_had_left_resuming),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
