/* SPDX-License-Identifier: BSD-3-Clause */
/* How memory and the devices share the wire in pre-copy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include "tests/rig.h"

enum { LARGE = 4 << 20, CHUNK = 64 << 10, BANDWIDTH = 16 << 20 };

/* Bytes of each device that were sent; one test at a time, the sender's thread. */
static struct {
	uint64_t bytes[2];
	uint64_t other_at_half; /* of the second device, when the first had sent half of its state */
	uint64_t at_round;      /* of both, when the first pass over memory was done */
} seen;

static void count(struct rig *rig, const struct wire_header *header)
{
	unsigned device = header->stream - WIRE_STREAM_DEVICE;

	(void)rig;
	if (header->type == WIRE_ROUND && !seen.at_round)
		seen.at_round = seen.bytes[0] + seen.bytes[1];
	if (header->type != WIRE_DEVICE || device > 1)
		return; /* no assertion ends a thread that is not the test's */
	seen.bytes[device] += header->bulk;
	if (seen.bytes[0] >= LARGE / 2 && !seen.other_at_half)
		seen.other_at_half = seen.bytes[1];
}

static void larger_devices(struct rig *rig)
{
	for (int side = 0; side < 2; side++)
		for (unsigned i = 0; i < rig->device_count; i++) {
			char name[16];

			snprintf(name, sizeof(name), "dev%u", i);
			double_device_free(rig->devices[side][i]);
			double_device_new(name, LARGE, ALL_FLAGS, side ? 100 : i + 1,
					  &rig->devices[side][i]);
			rig->devices[side][i]->initial_bytes = side ? UINT64_MAX : LARGE;
		}
}

/*
 * On a wire that is slower than the devices each gets its share, and memory need not wait for the
 * end of theirs. The bounds are wide: a thread that is not scheduled for a while loses its turn.
 */
static void nobody_starves(void **unused)
{
	struct rig rig;

	(void)unused;
	rig_init(&rig, 2);
	larger_devices(&rig);
	rig.on_frame = count;
	rig.options[0].max_bandwidth = BANDWIDTH;
	rig.options[0].downtime_limit_ns = VFM_UNLIMITED;
	rig.options[0].device_chunk = rig.options[1].device_chunk = CHUNK;
	rig_make(&rig);
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), 0);
	assert_moved(&rig);
	assert_true(seen.other_at_half >= LARGE / 8);
	assert_true(seen.at_round < LARGE);
	print_message("second device at the first's half: %llu KiB; both at memory's end: %llu KiB\n",
		      (unsigned long long)seen.other_at_half >> 10,
		      (unsigned long long)seen.at_round >> 10);
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_starves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
