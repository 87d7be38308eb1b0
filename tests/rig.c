/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "tests/rig.h"

int rig_reconnect(void *opaque)
{
	struct double_vm *vm = opaque;
	struct rig *rig = vm->on_event_arg;
	int fds[2];

	if (!rig->reconnects)
		return -ECONNREFUSED;
	rig->reconnects--;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return -errno;
	vfm_destination_attach(rig->destination, fds[1]);
	return fds[0];
}

void rig_init(struct rig *rig, unsigned devices)
{
	memset(rig, 0, sizeof(*rig));
	rig->faults = (struct channel_faults)CHANNEL_NO_FAULTS;
	rig->device_count = devices;
	for (int side = 0; side < 2; side++) {
		assert_int_equal(double_vm_init(&rig->vm[side], MEMORY, side == 0), 0);
		rig->vm[side].on_event_arg = rig;
		double_vm_options(&rig->vm[side], &rig->options[side]);
	}
	rig->options[0].reconnect = rig_reconnect;
	for (unsigned i = 0; i < devices; i++) {
		char name[16];

		snprintf(name, sizeof(name), "dev%u", i);
		double_device_new(name, STATE + i, ALL_FLAGS, i + 1, &rig->devices[0][i]);
		double_device_new(name, STATE + i, ALL_FLAGS, 100, &rig->devices[1][i]);
	}
}

void rig_make(struct rig *rig)
{
	unsigned regions = rig->no_memory ? 0 : 2;

	assert_int_equal(vfm_source_new(rig->vm[0].regions, regions, &double_vm_ops, &rig->vm[0],
					&rig->options[0], &rig->source), 0);
	assert_int_equal(vfm_destination_new(rig->vm[1].regions, regions, &double_vm_ops,
					     &rig->vm[1], &rig->options[1], &rig->destination), 0);
	for (unsigned i = 0; i < rig->device_count; i++)
		vfm_source_add_device(rig->source, &rig->devices[0][i]->dev);
	/* In another order: devices are found by name. */
	for (unsigned i = rig->device_count; i-- > 0;)
		vfm_destination_add_device(rig->destination, &rig->devices[1][i]->dev);
}

void rig_up(struct rig *rig, unsigned devices)
{
	rig_init(rig, devices);
	rig_make(rig);
}

/* ---- a channel that is watched, and loses a frame when it is told to ---- */

struct lossy {
	struct channel ch;
	struct channel *inner;
	struct rig *rig;
};

static void show_frame(struct rig *rig, const struct iovec *iov)
{
	struct wire_header header;

	if (rig->on_frame && !wire_get_header(iov->iov_base, &header))
		rig->on_frame(rig, &header);
}

static int lossy_send(struct channel *ch, struct iovec *iov, int count)
{
	struct lossy *l = (struct lossy *)ch;

	show_frame(l->rig, iov);
	if (!atomic_exchange(&l->rig->lose_next, false))
		return channel_send(l->inner, iov, count);
	channel_shutdown(l->inner);
	return 0;
}

static int lossy_recv(struct channel *ch, struct iovec *iov, int count)
{
	return channel_recv(((struct lossy *)ch)->inner, iov, count);
}

static void lossy_drain(struct channel *ch)
{
	channel_drain(((struct lossy *)ch)->inner);
}

static void lossy_shutdown(struct channel *ch)
{
	channel_shutdown(((struct lossy *)ch)->inner);
}

static void lossy_close(struct channel *ch)
{
	channel_close(((struct lossy *)ch)->inner);
	free(ch);
}

static const struct channel_ops lossy_ops = {
	.send = lossy_send,
	.recv = lossy_recv,
	.drain = lossy_drain,
	.shutdown = lossy_shutdown,
	.close = lossy_close,
};

static struct channel *make_lossy(struct channel *inner, struct rig *rig)
{
	struct lossy *l = calloc(1, sizeof(*l));

	assert_non_null(l);
	l->ch.ops = &lossy_ops;
	l->inner = inner;
	l->rig = rig;
	return &l->ch;
}

int rig_start(struct rig *rig)
{
	struct channel *plain, *faulty;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, rig->fds), 0);
	assert_int_equal(vfm_destination_start(rig->destination), 0);
	assert_int_equal(vfm_destination_attach(rig->destination, rig->fds[1]), 0);
	assert_int_equal(channel_new_fd(rig->fds[0], &plain), 0);
	assert_int_equal(channel_new_fault(plain, &rig->faults, &faulty), 0);
	return source_start_channel(rig->source, make_lossy(faulty, rig));
}

int rig_finish(struct rig *rig)
{
	int r = vfm_source_wait(rig->source);

	if (r)
		vfm_destination_cancel(rig->destination);
	vfm_destination_wait(rig->destination);
	return r;
}

void rig_down(struct rig *rig)
{
	vfm_source_free(rig->source);
	vfm_destination_free(rig->destination);
	for (int side = 0; side < 2; side++) {
		for (unsigned i = 0; i < rig->device_count; i++)
			double_device_free(rig->devices[side][i]);
		double_vm_destroy(&rig->vm[side]);
	}
}

void assert_moved(struct rig *rig)
{
	assert_false(double_vm_running(&rig->vm[0]));
	assert_true(double_vm_running(&rig->vm[1]));
	assert_true(rig->vm[1].owned);
	if (!rig->no_memory)
		assert_memory_equal(rig->vm[0].memory, rig->vm[1].memory, MEMORY);
	assert_string_equal(rig->vm[0].state, rig->vm[1].state);
	for (unsigned i = 0; i < rig->device_count; i++) {
		assert_memory_equal(rig->devices[0][i]->state, rig->devices[1][i]->state,
				    rig->devices[0][i]->size);
		assert_int_equal(rig->devices[0][i]->dev.state, VFM_STATE_STOP);
		assert_int_equal(rig->devices[1][i]->dev.state, VFM_STATE_RUNNING);
	}
}

void assert_stayed(struct rig *rig)
{
	assert_true(double_vm_running(&rig->vm[0]));
	assert_false(double_vm_running(&rig->vm[1]));
	assert_false(rig->vm[1].owned);
	assert_int_equal(rig->vm[1].runs, 0);
	for (unsigned i = 0; i < rig->device_count; i++)
		assert_int_equal(rig->devices[0][i]->dev.state, VFM_STATE_RUNNING);
}
