/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The receiver: a frame at a time, to where it belongs.
 *
 * wire_read_frame has checked form and checksum. Here a row per type says which side may get it
 * and whether data must be expected at the moment; its handler checks what depends on the session
 * (does that device exist? is there room in its window?) before a byte of bulk is taken.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/error.h"
#include "engine/acks.h"
#include "engine/link.h"
#include "engine/worker.h"

struct receiver {
	struct wire_sequences sequences;
	struct wire_frame frame;
	struct wire_memory memory;
	struct iovec iov[WIRE_PAGES_MAX];
	uint8_t vm_chunk[LINK_VM_CHUNK];
	uint64_t vm_offset;
	uint64_t device_offset[VFM_DEVICES_MAX];
	bool device_last[VFM_DEVICES_MAX];
	bool cut; /* the channel failed, not what came through it */
};

int receiver_new(struct receiver **receiver, uint64_t control_frames)
{
	*receiver = calloc(1, sizeof(**receiver));
	if (!*receiver)
		return -ENOMEM;
	(*receiver)->sequences.next[WIRE_STREAM_CONTROL] = control_frames;
	return 0;
}

void receiver_free(struct receiver *receiver)
{
	free(receiver);
}

static int read_iov(struct link *link, struct iovec *iov, int count)
{
	int r = channel_recv(link->channel, iov, count);

	link->receiver->cut = r;
	return r;
}

static int read_channel(void *opaque, void *buf, size_t size)
{
	struct iovec iov = { buf, size };

	return read_iov(opaque, &iov, 1);
}

/* The peer's fault: it becomes the session's failure, with the reason. */
static int refuse(struct link *link, const char *why)
{
	struct vfm_error error = { 0 };

	error_set(&error, EPROTO, "%s", why);
	return session_fail_by_peer(link->s, &error);
}

/* ---- data, destination ---- */

static int take_memory(struct link *link, struct wire_frame *f)
{
	struct receiver *t = link->receiver;
	bool live = f->header.flags & WIRE_FLAG_LIVE;
	struct vfm_error error = { 0 };
	int count = 0;
	int r = wire_get_memory(&f->header, f->head, &t->memory);

	if (r)
		return refuse(link, "a memory frame is not well formed");
	if (live && link->peer_stopped)
		return refuse(link, "a page of a running guest came after it had stopped");
	r = memory_load_begin(link->s->memory, &t->memory, t->iov, &count, &error);
	if (!r && count)
		r = read_iov(link, t->iov, count);
	if (!r)
		r = memory_load_end(link->s->memory, &t->memory, live, &error);
	return error.code ? session_fail(link->s, &error) : r;
}

static struct worker *find_worker(struct session *s, uint32_t wire_index)
{
	for (unsigned i = 0; i < s->device_count; i++)
		if (s->workers[i]->wire_index == wire_index)
			return s->workers[i];
	return NULL;
}

static int take_device(struct link *link, struct wire_frame *f)
{
	struct receiver *t = link->receiver;
	uint32_t number = f->header.stream - WIRE_STREAM_DEVICE;
	struct worker *w = find_worker(link->s, number);
	struct wire_bulk bulk;
	struct block *b;
	int r = wire_get_bulk(&f->header, f->head, &bulk);

	if (r || !w || t->device_last[number] || bulk.offset != t->device_offset[number] ||
	    f->header.bulk > link->s->device_chunk)
		return refuse(link, "a device frame is out of order, or of no device here");
	pthread_mutex_lock(&link->s->lock);
	b = QUEUE_ENTRY(queue_pop(&w->free), struct block, node);
	pthread_mutex_unlock(&link->s->lock);
	if (!b)
		return refuse(link, "more device data than the window allows");
	b->size = f->header.bulk;
	b->offset = bulk.offset;
	b->digest = bulk.digest;
	b->last = f->header.flags & WIRE_FLAG_LAST;
	b->initial = f->header.flags & WIRE_FLAG_INITIAL;
	r = b->size ? read_channel(link, b->data, b->size) : 0;
	t->device_offset[number] += b->size;
	t->device_last[number] = b->last;
	pthread_mutex_lock(&link->s->lock);
	queue_push(r ? &w->free : &w->filled, &b->node);
	w->moved += r ? 0 : b->size;
	w->moved_frames += !r;
	pthread_mutex_unlock(&link->s->lock);
	worker_wake(w);
	return r;
}

static int take_vm_state(struct link *link, struct wire_frame *f)
{
	struct receiver *t = link->receiver;
	struct wire_bulk bulk;
	int r = wire_get_bulk(&f->header, f->head, &bulk);

	if (r || link->vm_state_last || bulk.offset != t->vm_offset ||
	    f->header.bulk > sizeof(t->vm_chunk))
		return refuse(link, "a frame of VMM state is out of order");
	r = read_channel(link, t->vm_chunk, f->header.bulk);
	if (r)
		return r;
	if (wire_digest(t->vm_chunk, f->header.bulk) != bulk.digest)
		return refuse(link, "VMM state arrived altered");
	t->vm_offset += f->header.bulk;
	pthread_mutex_lock(&link->s->lock);
	r = vfm_buffer_append(&link->s->vm_state, t->vm_chunk, f->header.bulk);
	link->vm_state_last = f->header.flags & WIRE_FLAG_LAST;
	pthread_mutex_unlock(&link->s->lock);
	return r ? session_failf(link->s, -r, "the VMM state is too large") : 0;
}

/* ---- credit, source ---- */

/* With the lock held. How long a device takes over a MiB is told by full blocks: a small one is
 * mostly the cost of a call. */
static int count_credit(struct worker *w, const struct wire_credit *credit)
{
	uint64_t frames = credit->frames - w->consumed_frames;
	uint64_t bytes = credit->consumed - w->consumed;

	if (credit->consumed < w->consumed || credit->consumed > w->moved ||
	    credit->frames < w->consumed_frames || credit->frames > w->moved_frames ||
	    credit->load_ns < w->load_ns)
		return -EPROTO;
	if (frames && bytes / frames >= w->s->device_chunk / 2) {
		w->bulk_bytes += bytes;
		w->bulk_ns += credit->load_ns - w->load_ns;
	}
	w->consumed = credit->consumed;
	w->consumed_frames = credit->frames;
	w->load_ns = credit->load_ns;
	return 0;
}

static int take_credit(struct link *link, struct wire_frame *f)
{
	struct wire_credit credit;
	struct worker *w;
	int r = wire_get_credit(f->head, f->header.head, &credit);

	w = r ? NULL : find_worker(link->s, credit.device);
	if (!w)
		return refuse(link, "credit for no device");
	pthread_mutex_lock(&link->s->lock);
	r = count_credit(w, &credit);
	pthread_mutex_unlock(&link->s->lock);
	pthread_cond_signal(&link->s->send_cond);
	return r ? refuse(link, "credit for data that was not sent") : 0;
}

static int take_ack(struct link *link, struct wire_frame *f)
{
	struct wire_ack ack;
	int r = wire_get_ack(f->head, f->header.head, &ack);

	pthread_mutex_lock(&link->s->lock);
	if (!r)
		r = acks_take(link->s, &ack);
	pthread_mutex_unlock(&link->s->lock);
	if (r)
		return refuse(link, "an ack for nothing that was asked");
	session_wake(link->s);
	return 0;
}

/* ---- control ---- */

static int take_message(struct link *link, struct wire_frame *f)
{
	struct session *s = link->s;
	struct message *m = calloc(1, sizeof(*m) + f->header.head);
	bool full;

	if (!m)
		return -ENOMEM;
	m->header = f->header;
	m->arrived_ns = clock_ns();
	memcpy(m->head, f->head, f->header.head);
	pthread_mutex_lock(&s->lock);
	full = s->inbox_count == SESSION_INBOX_MAX;
	if (!full) {
		*s->inbox_tail = m;
		s->inbox_tail = &m->next;
		s->inbox_count++;
	}
	pthread_mutex_unlock(&s->lock);
	if (full) {
		free(m);
		return refuse(link, "too many control frames at once");
	}
	session_wake(s);
	return 0;
}

static int take_round(struct link *link, struct wire_frame *f)
{
	struct wire_round round;

	if (wire_get_round(f->head, f->header.head, &round))
		return refuse(link, "a round mark is not well formed");
	pthread_mutex_lock(&link->s->lock);
	link->round = round.round;
	link->s->progress.round = round.round;
	pthread_mutex_unlock(&link->s->lock);
	return take_message(link, f);
}

/* The guest's running state, as frames see it, changes where the mark stands in the stream. */
static int take_mark(struct link *link, struct wire_frame *f)
{
	pthread_mutex_lock(&link->s->lock);
	if (f->header.type == WIRE_PREPARE)
		link->accept_data = false;
	else
		link->peer_stopped = f->header.type == WIRE_STOPPED;
	pthread_mutex_unlock(&link->s->lock);
	return take_message(link, f);
}

static int take_abort(struct link *link, struct wire_frame *f)
{
	struct vfm_error error;

	if (wire_get_error(f->head, f->header.head, &error))
		return refuse(link, "an abort is not well formed");
	error.remote = 1;
	if (link->s->side == SESSION_DESTINATION)
		return session_fail_by_peer(link->s, &error);
	return session_fail(link->s, &error);
}

enum { TO_SOURCE = 1, TO_DESTINATION = 2, DATA = 4 };

static const struct {
	unsigned rules;
	int (*take)(struct link *, struct wire_frame *);
} rows[] = {
	[WIRE_HELLO_REPLY] = { TO_SOURCE, take_message },
	[WIRE_DESCRIBE] = { TO_DESTINATION, take_message },
	[WIRE_ANSWER] = { TO_SOURCE, take_message },
	[WIRE_SETUP] = { TO_DESTINATION, take_message },
	[WIRE_READY] = { TO_SOURCE, take_message },
	[WIRE_MEMORY] = { TO_DESTINATION | DATA, take_memory },
	[WIRE_DEVICE] = { TO_DESTINATION | DATA, take_device },
	[WIRE_VM_STATE] = { TO_DESTINATION | DATA, take_vm_state },
	[WIRE_CREDIT] = { TO_SOURCE, take_credit },
	[WIRE_ROUND] = { TO_DESTINATION | DATA, take_round },
	[WIRE_ROUND_DONE] = { TO_SOURCE, take_message },
	[WIRE_STOPPED] = { TO_DESTINATION | DATA, take_mark },
	[WIRE_CONTINUE] = { TO_DESTINATION | DATA, take_mark },
	[WIRE_PREPARE] = { TO_DESTINATION | DATA, take_mark },
	[WIRE_PREPARED] = { TO_SOURCE, take_message },
	[WIRE_COMMIT] = { TO_DESTINATION, take_message },
	[WIRE_RUNNING] = { TO_SOURCE, take_message },
	[WIRE_REPORT] = { TO_SOURCE, take_message },
	[WIRE_BYE] = { TO_DESTINATION, take_message },
	[WIRE_ACK] = { TO_SOURCE, take_ack },
	[WIRE_COSTS] = { TO_SOURCE, take_message },
	[WIRE_ARCS] = { TO_SOURCE, take_message },
	[WIRE_ABORT] = { TO_SOURCE | TO_DESTINATION, take_abort },
};

static int take(struct link *link, struct wire_frame *f)
{
	unsigned side = link->s->side == SESSION_SOURCE ? TO_SOURCE : TO_DESTINATION;
	uint16_t type = f->header.type;

	if (type >= ARRAY_SIZE(rows) || !rows[type].take || !(rows[type].rules & side))
		return refuse(link, "a frame came that is not for this side");
	if ((rows[type].rules & DATA) && !link->accept_data)
		return refuse(link, "data came where none was due");
	return rows[type].take(link, f);
}

/* Ends when the link is stopped, the peer has gone, or the first wrong byte has come. */
void receiver_run(void *arg)
{
	struct link *link = arg;
	struct receiver *t = link->receiver;
	struct wire_input input = { read_channel, link };
	int r;

	do {
		r = wire_read_frame(&input, &t->sequences, &t->frame);
		if (!r)
			r = take(link, &t->frame);
	} while (!r);
	pthread_mutex_lock(&link->s->lock);
	link->deaf = !t->cut && !link->error;
	pthread_mutex_unlock(&link->s->lock);
	link_lost(link, r);
}
