/* SPDX-License-Identifier: BSD-3-Clause */
/* The checks of `demo`: each is failed by its own kind of damage, and none is passed by nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "cli/field.h"
#include "cli/verify.h"

static const struct verify_peer quiet = {
	.known = true, .sent = 40, .arrived = 40, .seen = 50, .late = 0};

static const struct verify_uart serial = {
	.known = true, .sent = 80, .received = 72, .lost = 0, .doubled = 0};

/* Two vCPUs and two devices that arrived as they left, and write to each other; of a third, a
 * serial card, if @uart is set. */
static void fill(struct verify *verify, bool uart)
{
	struct verify_stopped stopped = {
		.taken = true,
		.memory = "00000000000000aa",
		.cpus = 2,
		.devices = 2 + uart,
		.heartbeat = {100, 90},
		.device = {{"dev0", "00000000000000bb", 500, 500, quiet},
			   {"dev1", "00000000000000cc", 600, 600, quiet},
			   {"dev2", "00000000000000dd", 0, 0, quiet}},
	};
	struct verify_live live = {
		.cpus = 2,
		.devices = 2 + uart,
		.heartbeat = {100, 90},
		.pages = {1000, 900},
		.records = {500, 600},
		.doorbells = {7, 8},
		.peer = {quiet, quiet, quiet},
	};

	memset(verify, 0, sizeof(*verify));
	if (uart)
		live.uart[2] = serial;
	verify->p2p = true;
	verify->source.stopped = verify->destination.stopped = stopped;
	verify->source.live = verify->destination.live = live;
	verify->destination.live.running = true;
	verify->destination.live.heartbeat[0] += 5;
	verify->destination.live.heartbeat[1] += 5;
	verify->destination.live.pages[0] += 50;
	verify->destination.live.pages[1] += 50;
	verify->destination.live.records[0] += 20;
	verify->destination.live.records[1] += 20;
	verify->destination.live.doorbells[0]++;
	verify->destination.live.doorbells[1]++;
	verify->destination.live.peer[0].sent += 9;
	verify->destination.live.peer[1].sent += 9;
	verify->destination.live.peer[2].sent += 9;
	verify->destination.live.uart[2].sent += 16;
	verify->destination.live.uart[2].received += 16;
}

static void fill_good(struct verify *verify)
{
	fill(verify, false);
}

static void good_passes(void **state)
{
	struct json_object *report = json_object_new_object();
	struct verify verify;

	fill_good(&verify);
	assert_false(verify_held(&verify)); /* not judged yet */
	verify_judge(&verify);
	assert_true(verify_held(&verify));
	verify_add_to(&verify, report);
	assert_true(field_true(report, "verified.memory"));
	assert_true(field_true(report, "verified.heartbeat"));
	assert_true(field_true(report, "verified.p2p"));
	json_object_put(report);
}

static void nothing_passes_nothing(void **state)
{
	static struct verify verify = {.p2p = true};
	unsigned i;

	verify_judge(&verify);
	for (i = 0; i < VERIFY_CHECKS; i++)
		assert_false(verify.result[i].held);
}

/* A check that is about other devices is not made, and holds nothing up. */
static void checks_belong_to_devices(void **state)
{
	struct verify verify;

	fill_good(&verify);
	assert_false(verify_asks(&verify, VERIFY_UART));
	assert_true(verify_asks(&verify, VERIFY_RING));
	fill(&verify, true);
	assert_true(verify_asks(&verify, VERIFY_UART));
	assert_true(verify_asks(&verify, VERIFY_RING));
	verify_judge(&verify);
	assert_true(verify_held(&verify));
	verify.source.live.uart[0] = verify.source.live.uart[1] = serial;
	assert_false(verify_asks(&verify, VERIFY_RING));
}

static void unknown_is_null(void **state)
{
	struct json_object *report = json_object_new_object();
	static const struct verify verify;

	verify_add_to(&verify, report);
	assert_string_equal(json_object_to_json_string_ext(report, JSON_C_TO_STRING_PLAIN),
			    "{\"verified\":{\"memory\":null,\"device\":null,\"ring\":null,"
			    "\"guest\":null,\"heartbeat\":null}}");
	json_object_put(report);
}

#define DAMAGE(name, statement)                                                                    \
	static void name(struct verify_seen *src, struct verify_seen *dst)                         \
	{                                                                                          \
		(void)src;                                                                         \
		(void)dst;                                                                         \
		statement;                                                                         \
	}

DAMAGE(memory_differs, dst->stopped.memory[0] = '1')
DAMAGE(memory_not_hashed, dst->stopped.memory[0] = '\0')
DAMAGE(device_differs, dst->stopped.device[1].hash[0] = '1')
DAMAGE(device_not_hashed, src->stopped.device[1].hash[0] = '\0')
DAMAGE(ring_cut, dst->stopped.device[1].ring--)
DAMAGE(counter_lost, dst->stopped.device[0].counter = 0)
DAMAGE(counter_behind, dst->stopped.device[1].counter--; dst->stopped.device[1].ring--)
DAMAGE(ring_stands, dst->live.records[1] = 600)
DAMAGE(guest_failed, dst->live.failures = 1)
DAMAGE(guest_failed_here, src->live.failures = 1)
DAMAGE(no_work_there, dst->live.pages[1] = 900)
DAMAGE(no_work_here, src->live.pages[1] = 0)
DAMAGE(stands_there, dst->live.running = false)
DAMAGE(runs_here, src->live.running = true)
DAMAGE(heart_repeats, dst->stopped.heartbeat[1]--)
DAMAGE(heart_skips, dst->stopped.heartbeat[1]++)
DAMAGE(heart_stands, dst->live.heartbeat[1] = 90)
DAMAGE(heart_never_beat, src->stopped.heartbeat[0] = dst->stopped.heartbeat[0] = 0)
DAMAGE(heart_beats_twice, src->live.heartbeat[0]++)
DAMAGE(write_came_late_here, src->stopped.device[1].peer.late = 1)
DAMAGE(write_came_late_there, dst->live.peer[0].late = 1)
DAMAGE(write_was_lost, src->stopped.device[0].peer.arrived--)
DAMAGE(write_was_lost_underway, dst->stopped.device[1].peer.arrived--)
DAMAGE(nobody_wrote, dst->live.peer[1].sent = 40)
DAMAGE(nothing_was_seen, src->stopped.device[1].peer.seen = 0)
DAMAGE(peer_not_asked, dst->stopped.device[1].peer.known = false)

DAMAGE(byte_lost, dst->live.uart[2].lost = 1)
DAMAGE(byte_lost_here, src->live.uart[2].lost = 1)
DAMAGE(byte_doubled, dst->live.uart[2].doubled = 1)
DAMAGE(no_byte_back, dst->live.uart[2].received = 80)
DAMAGE(no_byte_here, src->live.uart[2].received = 0)
DAMAGE(no_uart_there, dst->live.uart[2].known = false)

static const struct {
	enum verify_check check;
	void (*damage)(struct verify_seen *source, struct verify_seen *destination);
} damages[] = {
	{VERIFY_MEMORY, memory_differs},      {VERIFY_MEMORY, memory_not_hashed},
	{VERIFY_DEVICE, device_differs},      {VERIFY_DEVICE, device_not_hashed},
	{VERIFY_RING, ring_cut},	      {VERIFY_RING, counter_lost},
	{VERIFY_RING, counter_behind},	      {VERIFY_RING, ring_stands},
	{VERIFY_GUEST, guest_failed},	      {VERIFY_GUEST, guest_failed_here},
	{VERIFY_GUEST, no_work_there},	      {VERIFY_GUEST, no_work_here},
	{VERIFY_GUEST, stands_there},	      {VERIFY_GUEST, runs_here},
	{VERIFY_HEARTBEAT, heart_repeats},    {VERIFY_HEARTBEAT, heart_skips},
	{VERIFY_HEARTBEAT, heart_stands},     {VERIFY_HEARTBEAT, heart_never_beat},
	{VERIFY_HEARTBEAT, heart_beats_twice},
	{VERIFY_P2P, write_came_late_here},   {VERIFY_P2P, write_came_late_there},
	{VERIFY_P2P, write_was_lost},	      {VERIFY_P2P, write_was_lost_underway},
	{VERIFY_P2P, nobody_wrote},	      {VERIFY_P2P, nothing_was_seen},
	{VERIFY_P2P, peer_not_asked},
	{VERIFY_UART, byte_lost},	      {VERIFY_UART, byte_lost_here},
	{VERIFY_UART, byte_doubled},	      {VERIFY_UART, no_byte_back},
	{VERIFY_UART, no_byte_here},	      {VERIFY_UART, no_uart_there},
};

static void each_damage_fails_its_check_alone(void **state)
{
	struct verify verify;
	unsigned i, check;

	for (i = 0; i < ARRAY_SIZE(damages); i++) {
		fill(&verify, true);
		damages[i].damage(&verify.source, &verify.destination);
		verify_judge(&verify);
		for (check = 0; check < VERIFY_CHECKS; check++)
			assert_int_equal(verify.result[check].held, check != damages[i].check);
		assert_int_not_equal(strlen(verify.result[damages[i].check].text), 0);
		assert_false(verify_held(&verify));
	}
}

/* A device that does no DMA has no ring: its doorbells count, and records would be wrong. */
static void a_silent_device_counts_doorbells(void **state)
{
	struct verify verify;

	fill_good(&verify);
	verify.silent = 1 << 1;
	verify_judge(&verify);
	assert_false(verify.result[VERIFY_RING].held);
	verify.source.stopped.device[1].counter = verify.source.stopped.device[1].ring = 0;
	verify.destination.stopped.device[1].counter = 0;
	verify_judge(&verify);
	assert_true(verify.result[VERIFY_RING].held);
	verify.destination.live.doorbells[1] = 8;
	verify_judge(&verify);
	assert_false(verify.result[VERIFY_RING].held);
}

static void other_devices_are_told(void **state)
{
	struct verify verify;

	fill_good(&verify);
	strcpy(verify.destination.stopped.device[1].name, "dev9");
	verify_judge(&verify);
	assert_false(verify.result[VERIFY_DEVICE].held);
	assert_non_null(strstr(verify.result[VERIFY_DEVICE].text, "dev9"));
	verify.destination.stopped.devices = 1;
	verify_judge(&verify);
	assert_false(verify.result[VERIFY_DEVICE].held);
	assert_false(verify.result[VERIFY_RING].held);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_passes),
		cmocka_unit_test(nothing_passes_nothing),
		cmocka_unit_test(checks_belong_to_devices),
		cmocka_unit_test(unknown_is_null),
		cmocka_unit_test(each_damage_fails_its_check_alone),
		cmocka_unit_test(a_silent_device_counts_doorbells),
		cmocka_unit_test(other_devices_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
