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
#include <sys/socket.h>
#include "base/clock.h"
#include "engine/link.h"
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

static void assert_logged(struct double_vm *vm, const char *text)
{
	bool found = false;

	for (unsigned i = 0; i < 16; i++)
		found |= strstr(vm->log[i], text) != NULL;
	if (!found)
		print_error("nothing of '%s' in the log\n", text);
	assert_true(found);
}

/* Recover, then reset, then say so: also where the reset was needed on the way to RUNNING_P2P. */
static void tells_of_a_reset_on_the_way_back(void **unused)
{
	struct rig rig;

	(void)unused;
	rig_up(&rig, 2);
	rig.vm[0].fail_save = EIO;
	rig.devices[0][1]->fail_transition = 4; /* STOP_COPY to STOP, after three there */
	rig.devices[0][1]->fail_errno = EIO;
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), -EIO);
	assert_stayed(&rig);
	assert_int_equal(rig.devices[0][1]->resets, 1);
	assert_logged(&rig.vm[0], "device dev1 had to be reset");
	rig_down(&rig);
}

static int do_nothing(void *opaque)
{
	(void)opaque;
	return 0;
}

static int refuse(void *opaque)
{
	(void)opaque;
	return -EIO;
}

static void tells_of_a_handler_that_does_not_start_again(void **unused)
{
	struct vfm_handler handler = { .size = sizeof(handler), .priority = 1,
				       .stop = do_nothing, .start = refuse, .name = "net" };
	struct rig rig;

	(void)unused;
	rig_up(&rig, 1);
	assert_int_equal(vfm_source_add_handler(rig.source, &handler), 0);
	rig.vm[0].fail_save = ENOSPC;
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), -ENOSPC);
	assert_stayed(&rig);
	assert_logged(&rig.vm[0], "handler net did not start");
	rig_down(&rig);
}

/* The source's link breaks while the destination's devices check their state. */
static void cut_when_checked(struct double_vm *vm, const struct vfm_event *event)
{
	struct rig *rig = vm->on_event_arg;
	struct session *s = (struct session *)rig->destination;
	bool lost = false;

	if (event->type != VFM_EVENT_DEVICE || event->state != VFM_STATE_STOP)
		return;
	shutdown(rig->fds[0], SHUT_RDWR);
	while (!lost) {
		poll(NULL, 0, 1);
		pthread_mutex_lock(&s->lock);
		lost = s->link->error;
		pthread_mutex_unlock(&s->lock);
	}
}

/* Who never heard PREPARED has not committed: no operator is needed on the destination. */
static void drops_what_it_cannot_call_prepared(void **unused)
{
	struct rig rig;

	(void)unused;
	rig_up(&rig, 1);
	rig.vm[1].on_event = cut_when_checked;
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(vfm_source_wait(rig.source), -ECONNRESET);
	assert_int_equal(vfm_destination_wait(rig.destination), -ECONNRESET);
	assert_stayed(&rig);
	rig_down(&rig);
}

/* ---- doubts ---- */

static void lose_answer(struct double_vm *vm)
{
	struct rig *rig = vm->on_event_arg;

	shutdown(rig->fds[0], SHUT_RDWR);
}

static struct vfm_destination *stranger;

static int reach_stranger(void *opaque)
{
	int fds[2];

	(void)opaque;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	vfm_destination_attach(stranger, fds[1]);
	return fds[0];
}

/* Another session listens at the address by now: its "busy" is not what ended this one. */
static void reports_the_doubt_and_no_strangers_words(void **unused)
{
	struct vfm_progress p = { .size = sizeof(p) };
	struct rig rig;

	(void)unused;
	rig_init(&rig, 1);
	rig.options[0].reconnect = reach_stranger;
	rig.vm[1].on_owned = lose_answer;
	rig_make(&rig);
	assert_int_equal(vfm_destination_new(rig.vm[1].regions, 2, &double_vm_ops, &rig.vm[1], NULL,
					     &stranger), 0);
	assert_int_equal(vfm_destination_start(stranger), 0);
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(vfm_source_wait(rig.source), -ENOTCONN);
	vfm_source_get_progress(rig.source, &p);
	assert_int_equal(p.status, VFM_STATUS_IN_DOUBT);
	vfm_destination_wait(rig.destination);
	vfm_destination_free(stranger);
	rig_down(&rig);
}

/* The operator's word for the destination ends the session here as RUNNING would have. */
static void lets_go_by_an_operators_word(void **unused)
{
	struct rig rig;

	(void)unused;
	rig_up(&rig, 2);
	rig.vm[1].on_owned = lose_answer;
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(vfm_source_wait(rig.source), -ENOTCONN);
	assert_int_equal(vfm_source_resolve(rig.source, 1), 0);
	vfm_destination_wait(rig.destination);
	assert_moved(&rig);
	assert_false(rig.source->session.tracking);
	rig_down(&rig);
}

/*
 * A destination that gave up is asked once, and does not stay for its whole patience after that,
 * which is longer than any test may take. COMMIT is lost, so that the source has to ask.
 */
static void lose_commit(struct double_vm *vm, const struct vfm_event *event)
{
	struct rig *rig = vm->on_event_arg;

	if (event->type == VFM_EVENT_STAGE && event->stage == VFM_STAGE_COMMIT)
		atomic_store(&rig->lose_next, true);
}

static int cancel_and_reconnect(void *opaque)
{
	struct double_vm *vm = opaque;
	struct rig *rig = vm->on_event_arg;

	if (!rig->asked)
		vfm_destination_cancel(rig->destination);
	rig->asked = true;
	return rig_reconnect(opaque);
}

static void leaves_when_the_source_has_heard(void **unused)
{
	struct vfm_progress p = { .size = sizeof(p) };
	struct rig rig;

	(void)unused;
	rig_init(&rig, 2);
	rig.options[0].doubt_timeout_ns = rig.options[1].doubt_timeout_ns = 3600 * NS_PER_SEC;
	rig.options[0].reconnect = cancel_and_reconnect;
	rig.reconnects = 50;
	rig.vm[0].on_event = lose_commit;
	rig_make(&rig);
	assert_int_equal(rig_start(&rig), 0);
	assert_true(vfm_source_wait(rig.source) < 0);
	assert_int_equal(vfm_destination_wait(rig.destination), -ECANCELED);
	assert_true(rig.asked);
	assert_stayed(&rig);
	vfm_destination_get_progress(rig.destination, &p);
	assert_int_equal(p.owner, VFM_OWNER_SOURCE);
	assert_int_equal(p.status, VFM_STATUS_CANCELLED);
	rig_down(&rig);
}

/* A destination's device that never comes back: the VM does not wait for it longer than allowed. */
static void bounds_how_long_the_vm_stands(void **unused)
{
	struct vfm_error error;
	struct rig rig;
	sem_t hold;

	(void)unused;
	assert_int_equal(sem_init(&hold, 0, 0), 0);
	rig_init(&rig, 1);
	rig.devices[1][0]->hold_writes = &hold;
	rig.options[0].switchover_ack = VFM_ACK_OFF;
	rig.options[0].standstill_timeout_ns = 200 * NS_PER_MSEC;
	rig.options[0].peer_timeout_ns = VFM_UNLIMITED;
	rig_make(&rig);
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(vfm_source_wait(rig.source), -ETIME);
	assert_true(double_vm_running(&rig.vm[0]));
	assert_int_equal(rig.vm[0].stops, 1);
	vfm_source_get_error(rig.source, &error);
	assert_non_null(strstr(error.text, "stood still"));
	sem_post(&hold);
	vfm_destination_wait(rig.destination);
	assert_stayed(&rig);
	rig_down(&rig);
	sem_destroy(&hold);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resets_devices_that_had_left_resuming),
		cmocka_unit_test(tells_of_a_reset_on_the_way_back),
		cmocka_unit_test(tells_of_a_handler_that_does_not_start_again),
		cmocka_unit_test(drops_what_it_cannot_call_prepared),
		cmocka_unit_test(reports_the_doubt_and_no_strangers_words),
		cmocka_unit_test(lets_go_by_an_operators_word),
		cmocka_unit_test(leaves_when_the_source_has_heard),
		cmocka_unit_test(bounds_how_long_the_vm_stands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
