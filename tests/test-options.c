/* SPDX-License-Identifier: BSD-3-Clause */
/* Options that differ between the ends, or are as large as they can be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "tests/rig.h"

static void let_load(struct double_vm *vm, const struct vfm_event *event)
{
	struct rig *rig = vm->on_event_arg;
	struct vfm_progress p = { .size = sizeof(p) };

	if (event->type != VFM_EVENT_ROUND && event->type != VFM_EVENT_ENDED)
		return;
	vfm_source_get_progress(rig->source, &p);
	if (p.round == 5 || event->type == VFM_EVENT_ENDED)
		sem_post(rig->devices[1][0]->hold_writes);
}

/* The window is told in bytes and counts frames: of the source's size, not of the destination's. */
static void keeps_the_window_with_smaller_frames(void **unused)
{
	struct rig rig;
	sem_t hold;

	(void)unused;
	assert_int_equal(sem_init(&hold, 0, 0), 0);
	rig_init(&rig, 1);
	rig.options[0].device_chunk = 4096;
	rig.options[1].device_chunk = 64 << 10;
	rig.devices[0][0]->initial_bytes = 3000;
	rig.devices[1][0]->hold_writes = &hold;
	rig.vm[0].on_event = let_load;
	rig_make(&rig);
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), 0);
	assert_moved(&rig);
	rig_down(&rig);
	sem_destroy(&hold);
}

/* "No limit" is as far away as can be, and not over at once. */
static void waits_as_long_as_it_takes(void **unused)
{
	struct rig rig;

	(void)unused;
	rig_init(&rig, 1);
	for (int side = 0; side < 2; side++) {
		rig.options[side].peer_timeout_ns = VFM_UNLIMITED;
		rig.options[side].doubt_timeout_ns = VFM_UNLIMITED;
	}
	rig_make(&rig);
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), 0);
	assert_moved(&rig);
	rig_down(&rig);
}

/* A device may choose the unit of its log: one whose product wraps must not turn for ever. */
static void counts_all_dirty_in_an_absurd_unit(void **unused)
{
	struct rig rig;

	(void)unused;
	rig_init(&rig, 1);
	rig.devices[0][0]->log_page_size = UINT64_C(1) << 46;
	rig.options[0].downtime_limit_ns = VFM_UNLIMITED;
	rig_make(&rig);
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), 0);
	assert_moved(&rig);
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_the_window_with_smaller_frames),
		cmocka_unit_test(waits_as_long_as_it_takes),
		cmocka_unit_test(counts_all_dirty_in_an_absurd_unit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
