/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine, both ends in one process over a socket pair, with doubles for VM and devices.
 *
 * What every test asks in the end is the first invariant: the VM runs on exactly one side, and is
 * whole there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <json-c/json.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "tests/rig.h"

static void moves_everything(void **unused)
{
	struct rig rig;
	char *json;

	(void)unused;
	for (unsigned devices = 0; devices <= DEVICES; devices++) {
		rig_up(&rig, devices);
		rig.vm[0].dirty_each_sync = 3;
		assert_int_equal(rig_start(&rig), 0);
		assert_int_equal(rig_finish(&rig), 0);
		assert_moved(&rig);
		json = vfm_source_report_json(rig.source);
		assert_non_null(strstr(json, "\"status\": \"completed\""));
		free(json);
		rig_down(&rig);
	}
}

/* The rig of the two tests below: small, so that every position can be tried. */
static uint64_t total_sent(void)
{
	struct rig rig;
	struct vfm_progress p = { .size = sizeof(p) };

	rig_up(&rig, 1);
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), 0);
	vfm_source_get_progress(rig.source, &p);
	rig_down(&rig);
	return p.memory_sent + p.device_sent;
}

/* Whatever byte the wire breaks behind, the VM is on one side, or the source says that it does not
 * know, and stays stopped. */
static void survives_a_cut_anywhere(void **unused)
{
	uint64_t total = total_sent() + 4000;
	unsigned moved = 0, stayed = 0, doubts = 0;

	(void)unused;
	for (uint64_t at = 0; at < total; at += at < 400 || at > total - 9000 ? 37 : 9973) {
		struct rig rig;
		struct vfm_progress p = { .size = sizeof(p) };

		rig_up(&rig, 1);
		rig.faults.cut_send_after = at;
		assert_int_equal(rig_start(&rig), 0);
		vfm_source_wait(rig.source);
		vfm_source_get_progress(rig.source, &p);
		if (p.status == VFM_STATUS_COMPLETED) {
			vfm_destination_wait(rig.destination);
			assert_moved(&rig);
			moved++;
		} else if (p.status == VFM_STATUS_IN_DOUBT) {
			assert_false(double_vm_running(&rig.vm[0]));
			doubts++;
		} else {
			rig_finish(&rig);
			assert_stayed(&rig);
			stayed++;
		}
		rig_down(&rig);
	}
	print_message("cut: %u stayed, %u moved, %u in doubt\n", stayed, moved, doubts);
	assert_true(stayed > 10);
}

static void refuses_an_altered_byte_anywhere(void **unused)
{
	uint64_t total = total_sent() + 3000;
	unsigned moved = 0, stayed = 0;
	struct vfm_error error;

	(void)unused;
	for (uint64_t at = 0; at < total; at += at < 300 ? 41 : 7919) {
		struct rig rig;

		rig_up(&rig, 1);
		rig.faults.corrupt_send_at = at;
		assert_int_equal(rig_start(&rig), 0);
		if (rig_finish(&rig) == 0) {
			assert_moved(&rig);
			moved++;
		} else {
			assert_stayed(&rig);
			/* Once it has let the source in, the destination tells why. */
			vfm_source_get_error(rig.source, &error);
			assert_true(at < 2000 || error.remote);
			stayed++;
		}
		rig_down(&rig);
	}
	print_message("altered: %u stayed, %u moved (the byte was sent again)\n", stayed, moved);
	assert_true(stayed > 10);
}

/* ---- doubts: COMMIT or its answer is lost ---- */

static void lose_commit(struct double_vm *vm, const struct vfm_event *event)
{
	struct rig *rig = vm->on_event_arg;

	if (event->type != VFM_EVENT_STAGE || event->stage != VFM_STAGE_COMMIT)
		return;
	atomic_store(&rig->lose_next, true);
}

static void lose_running(struct double_vm *vm)
{
	struct rig *rig = vm->on_event_arg;

	shutdown(rig->fds[0], SHUT_RDWR);
}

static void settles_a_lost_commit(void **unused)
{
	struct rig rig;

	(void)unused;
	rig_up(&rig, 2);
	rig.reconnects = 1;
	rig.vm[0].on_event = lose_commit;
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), 0);
	assert_moved(&rig);
	assert_int_equal(rig.reconnects, 0);
	rig_down(&rig);
}

static void settles_a_lost_answer(void **unused)
{
	struct rig rig;

	(void)unused;
	rig_up(&rig, 2);
	rig.reconnects = 1;
	rig.vm[1].on_owned = lose_running;
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), 0);
	assert_moved(&rig);
	assert_int_equal(rig.reconnects, 0);
	rig_down(&rig);
}

/* Nobody can be asked: the VM stands still on both sides until an operator says which has it. */
static void stays_in_doubt_until_resolved(void **unused)
{
	(void)unused;
	for (int runs_there = 0; runs_there < 2; runs_there++) {
		struct rig rig;
		struct vfm_progress p = { .size = sizeof(p) };

		rig_up(&rig, 1);
		rig.vm[0].on_event = lose_commit;
		assert_int_equal(rig_start(&rig), 0);
		assert_int_equal(vfm_source_wait(rig.source), -ENOTCONN);
		vfm_source_get_progress(rig.source, &p);
		assert_int_equal(p.status, VFM_STATUS_IN_DOUBT);
		assert_int_equal(p.owner, VFM_OWNER_UNKNOWN);
		assert_false(double_vm_running(&rig.vm[0]));
		assert_false(double_vm_running(&rig.vm[1]));
		assert_int_equal(vfm_source_cancel(rig.source), -EALREADY);
		vfm_destination_cancel(rig.destination);
		vfm_destination_wait(rig.destination);
		assert_int_equal(vfm_source_resolve(rig.source, runs_there), 0);
		assert_int_equal(vfm_source_resolve(rig.source, runs_there), -EINVAL);
		assert_int_equal(double_vm_running(&rig.vm[0]), !runs_there);
		if (!runs_there)
			assert_stayed(&rig);
		rig_down(&rig);
	}
}

/* A destination that was told to give up says so when it is asked, and the source runs on. */
static void cancel_prepared(struct double_vm *vm, const struct vfm_event *event)
{
	struct rig *rig = vm->on_event_arg;

	if (event->type == VFM_EVENT_STAGE && event->stage == VFM_STAGE_COMMIT)
		vfm_destination_cancel(rig->destination);
}

static void takes_back_what_was_given_up(void **unused)
{
	struct rig rig;

	(void)unused;
	rig_up(&rig, 2);
	rig.reconnects = 50;
	rig.vm[0].on_event = cancel_prepared;
	assert_int_equal(rig_start(&rig), 0);
	assert_true(rig_finish(&rig) < 0);
	assert_stayed(&rig);
	rig_down(&rig);
}

/* Nothing to send says nothing of the wire; the rounds must end all the same. */
static void moves_an_empty_vm(void **unused)
{
	struct rig rig;

	(void)unused;
	rig_up(&rig, 0);
	memset(rig.vm[0].memory, 0, MEMORY);
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), 0);
	assert_moved(&rig);
	rig_down(&rig);
}

/* Without memory nothing is tracked, and so nothing is said of a device that cannot. */
static void moves_devices_alone(void **unused)
{
	struct rig rig;

	(void)unused;
	for (unsigned devices = 0; devices <= DEVICES; devices++) {
		rig_init(&rig, devices);
		rig.no_memory = true;
		if (devices)
			rig.devices[0][0]->no_log = true;
		rig_make(&rig);
		assert_int_equal(rig_start(&rig), 0);
		assert_int_equal(rig_finish(&rig), 0);
		assert_moved(&rig);
		for (unsigned i = 0; i < rig.vm[0].log_count; i++)
			assert_null(strstr(rig.vm[0].log[i], "memory"));
		rig_down(&rig);
	}
}

static void names_the_arc_that_failed(void **unused)
{
	(void)unused;
	/* Source: PRE_COPY, PRE_COPY_P2P, STOP_COPY. Destination: STOP, RESUMING, STOP. */
	for (unsigned n = 1; n <= 3; n++) {
		struct rig rig;
		struct vfm_error error;

		rig_up(&rig, 2);
		rig.devices[0][1]->fail_transition = n;
		rig.devices[0][1]->fail_errno = EIO;
		assert_int_equal(rig_start(&rig), 0);
		assert_int_equal(rig_finish(&rig), -EIO);
		assert_stayed(&rig);
		vfm_source_get_error(rig.source, &error);
		assert_string_equal(error.device, "dev1");
		assert_int_equal(error.code, EIO);
		assert_true(error.has_arc);
		rig_down(&rig);
	}
}

static void hears_why_the_destination_refuses(void **unused)
{
	struct rig rig;
	struct vfm_error error;

	(void)unused;
	rig_up(&rig, 2);
	rig.devices[1][1]->refuse_state = true;
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), -EINVAL);
	assert_stayed(&rig);
	vfm_source_get_error(rig.source, &error);
	assert_string_equal(error.device, "dev1");
	assert_true(error.remote);
	assert_true(error.has_arc);
	assert_int_equal(error.from, VFM_STATE_RESUMING);
	assert_int_equal(error.to, VFM_STATE_STOP);
	rig_down(&rig);
}

static void cancel_here(struct double_vm *vm, const struct vfm_event *event)
{
	struct rig *rig = vm->on_event_arg;

	if (event->type == VFM_EVENT_STAGE && (int)event->stage == rig->fds[1])
		vfm_source_cancel(rig->source);
}

static void can_be_cancelled_until_commit(void **unused)
{
	(void)unused;
	for (int stage = VFM_STAGE_HELLO; stage <= VFM_STAGE_COMMIT; stage++) {
		struct rig rig;

		rig_up(&rig, 2);
		rig.vm[0].on_event = cancel_here;
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, rig.fds), 0);
		vfm_destination_start(rig.destination);
		vfm_destination_attach(rig.destination, rig.fds[1]);
		rig.fds[1] = stage;
		assert_int_equal(vfm_source_start(rig.source, rig.fds[0]), 0);
		assert_int_equal(rig_finish(&rig), -ECANCELED);
		assert_stayed(&rig);
		rig_down(&rig);
	}
}

struct reader {
	struct vfm_source *source;
	atomic_bool done;
	unsigned torn;
};

static void *read_reports(void *opaque)
{
	struct reader *reader = opaque;

	do {
		char *text = vfm_source_report_json(reader->source);
		json_object *report = text ? json_tokener_parse(text) : NULL;

		reader->torn += !report || !json_object_object_get_ex(report, "samples", NULL);
		json_object_put(report);
		free(text);
	} while (!atomic_load(&reader->done));
	return NULL;
}

static void a_report_can_be_read_while_it_runs(void **unused)
{
	struct rig rig;
	struct reader reader = { 0 };
	pthread_t thread;

	(void)unused;
	rig_init(&rig, 2);
	rig.vm[0].dirty_each_sync = 30;
	rig.options[0].downtime_limit_ns = 1; /* so that there are rounds, each with its sample */
	rig.options[0].max_rounds = 20;
	rig_make(&rig);
	reader.source = rig.source;
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(pthread_create(&thread, NULL, read_reports, &reader), 0);
	assert_int_equal(rig_finish(&rig), -ETIME);
	atomic_store(&reader.done, true);
	pthread_join(thread, NULL);
	assert_int_equal(reader.torn, 0);
	rig_down(&rig);
}

/* As where a call begins between two looks: the interrupt comes too early for it. */
static void a_call_that_missed_its_interrupt_gets_another(void **unused)
{
	struct rig rig;

	(void)unused;
	rig_up(&rig, 2);
	rig.devices[0][1]->hold_reads = true;
	rig.devices[0][1]->deaf = 2;
	assert_int_equal(rig_start(&rig), 0);
	sem_wait(&rig.devices[0][1]->reading);
	assert_int_equal(vfm_source_cancel(rig.source), 0);
	assert_int_equal(rig_finish(&rig), -ECANCELED);
	assert_false(rig.devices[0][1]->gave_up);
	assert_stayed(&rig);
	rig_down(&rig);
}

static void fails_with_the_guest_running(void **unused)
{
	(void)unused;
	for (int what = 0; what < 4; what++) {
		struct rig rig;

		rig_up(&rig, 1);
		rig.vm[0].fail_stop = what == 0 ? EIO : 0;
		rig.vm[0].fail_save = what == 1 ? EIO : 0;
		rig.vm[1].fail_load = what == 2;
		rig.devices[0][0]->read_errno = what == 3 ? EIO : 0;
		assert_int_equal(rig_start(&rig), 0);
		assert_true(rig_finish(&rig) < 0);
		assert_stayed(&rig);
		rig_down(&rig);
	}
}

/* Failed reports cost time, not bytes. */
static void counts_everything_dirty_after_a_failed_report(void **unused)
{
	struct rig rig;

	(void)unused;
	rig_up(&rig, 1);
	rig.vm[0].fail_sync = EIO;
	rig.vm[0].dirty_each_sync = 5;
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), 0);
	assert_moved(&rig);
	rig_down(&rig);
}

static void refuses_another_vm_with_every_reason(void **unused)
{
	struct rig rig;
	char *json;

	(void)unused;
	rig_up(&rig, 1);
	vfm_destination_free(rig.destination);
	rig.vm[1].regions[0].size -= VFM_PAGE_SIZE;
	strcpy(rig.vm[1].regions[1].name, "other");
	assert_int_equal(vfm_destination_new(rig.vm[1].regions, 2, &double_vm_ops, &rig.vm[1], NULL,
					     &rig.destination), 0);
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(vfm_source_wait(rig.source), -EINVAL);
	json = vfm_source_report_json(rig.source);
	assert_non_null(strstr(json, "memory low: "));
	assert_non_null(strstr(json, "memory other: "));
	assert_non_null(strstr(json, "device dev0: "));
	free(json);
	assert_true(double_vm_running(&rig.vm[0]));
	rig_down(&rig);
}

static void names_blockers(void **unused)
{
	struct rig rig;
	char lines[4][VFM_ERROR_TEXT_MAX];

	(void)unused;
	rig_up(&rig, 2);
	rig.devices[0][0]->dev.info.mig_flags = 0;
	rig.devices[0][1]->dev.info.mig_flags = VFM_MIG_STOP_COPY;
	assert_int_equal(vfm_source_blockers(rig.source, lines, 4), 2);
	assert_non_null(strstr(lines[0], "dev0"));
	assert_non_null(strstr(lines[1], "P2P"));
	assert_int_equal(rig_start(&rig), -EPERM);
	assert_true(double_vm_running(&rig.vm[0]));
	rig_down(&rig);
}

/* Nobody keeps the right peer out: not garbage, not silence, not many of both. */
static void lets_the_right_peer_in(void **unused)
{
	struct rig rig;
	int strangers[2 * VFM_STRANGERS_MAX][2];

	(void)unused;
	rig_up(&rig, 1);
	vfm_destination_start(rig.destination);
	for (unsigned i = 0; i < 2 * VFM_STRANGERS_MAX; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, strangers[i]), 0);
		vfm_destination_attach(rig.destination, strangers[i][1]);
		if (i % 2)
			assert_true(send(strangers[i][0], "GET / HTTP/1.1\r\n\r\n01234567890123456789xx",
					 40, MSG_NOSIGNAL) > 0 || errno == EPIPE);
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, rig.fds), 0);
	vfm_destination_attach(rig.destination, rig.fds[1]);
	assert_int_equal(vfm_source_start(rig.source, rig.fds[0]), 0);
	assert_int_equal(rig_finish(&rig), 0);
	assert_moved(&rig);
	for (unsigned i = 0; i < 2 * VFM_STRANGERS_MAX; i++)
		close(strangers[i][0]);
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moves_everything),
		cmocka_unit_test(names_the_arc_that_failed),
		cmocka_unit_test(hears_why_the_destination_refuses),
		cmocka_unit_test(can_be_cancelled_until_commit),
		cmocka_unit_test(a_report_can_be_read_while_it_runs),
		cmocka_unit_test(a_call_that_missed_its_interrupt_gets_another),
		cmocka_unit_test(fails_with_the_guest_running),
		cmocka_unit_test(counts_everything_dirty_after_a_failed_report),
		cmocka_unit_test(refuses_another_vm_with_every_reason),
		cmocka_unit_test(names_blockers),
		cmocka_unit_test(lets_the_right_peer_in),
		cmocka_unit_test(settles_a_lost_commit),
		cmocka_unit_test(settles_a_lost_answer),
		cmocka_unit_test(stays_in_doubt_until_resolved),
		cmocka_unit_test(takes_back_what_was_given_up),
		cmocka_unit_test(survives_a_cut_anywhere),
		cmocka_unit_test(refuses_an_altered_byte_anywhere),
		cmocka_unit_test(moves_an_empty_vm),
		cmocka_unit_test(moves_devices_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
